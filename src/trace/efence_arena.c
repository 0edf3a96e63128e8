/*
 * efence_arena.c: the addresses of the fenced blocks.
 *
 *     never used -> open (current: blocks are cut from it) -> full -> buried -> (again)
 *
 * One word says which chunk is current, and how much of it is taken, so that a block is
 * cut off by one compare-and-swap. A chunk's balance begins high; each block that goes
 * takes one off, and when the chunk is full its blocks are put to it and the high number
 * taken off: whoever brings it to 0 buries the chunk. Buried, it has neither memory nor
 * page tables, but its records are kept as long as there is room for history; when all
 * addresses were used, the oldest buried chunks are opened again.
 *
 * Who opens or buries has the lock, all signals blocked, and leaves no moment at which
 * the table is wrong: a fork's child takes the lock away from a thread that it lacks.
 */
#include "trace/efence.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARENA_MAX     ((size_t)16 << 40)
#define ARENA_MIN     ((size_t)64 << 20)
#define HISTORY_BYTES ((size_t)256 << 20) /* of records of freed blocks */
#define HIGH          (1 << 20)
#define NOWHERE       UINT32_MAX

enum kind { UNUSED, SMALL, LARGE, PART, BURIED, FORGOTTEN };

struct chunk {
    _Atomic int balance;
    _Atomic uint8_t kind; /* of a run, the first says all; PART: the others */
    uint8_t fence;
    uint32_t n;     /* chunks in the run */
    uint32_t first; /* page that can have a record, of all there are; PART: its run */
    uint32_t next;  /* buried after this one */
};

struct ef_arena ef_arena;
static struct ef_block *blocks; /* one a page */
static struct chunk *chunks;
static uint32_t n_chunks;
static size_t base_align;

/* The current chunk in 32 bits, its pages taken in 16, its blocks in 16. */
static _Atomic uint64_t cursor;
#define CURSOR(chunk, pages, taken) ((uint64_t)(chunk) << 32 | (pages) << 16 | (taken))
#define CLOSED                      CURSOR(0u, 0xffffu, 0u)
#define CURSOR_CHUNK(c)             ((uint32_t)((c) >> 32))
#define CURSOR_PAGES(c)             ((uint32_t)(c) >> 16)
#define CURSOR_TAKEN(c)             ((uint32_t)(c)&0xffff)

/* ---- under the lock -------------------------------------------------------------------
 */

static atomic_flag lock = ATOMIC_FLAG_INIT;
static uint32_t next_chunk;             /* never used from here on */
static uint32_t oldest, newest, recent; /* buried; the oldest that has its records */
static size_t history;                  /* bytes of records that are kept */
static uint32_t fence;                  /* of the chunks that are opened */
static uint32_t n_mapped_max;           /* blocks that mprotect may fence */
static _Atomic uint32_t n_mapped;
static atomic_uint skipped;

struct held {
    sigset_t signals;
    int error;
};

static struct held hold(void)
{
    struct held h = {.error = errno};
    sigset_t all;
    sigfillset(&all);
    sn_real_sigmask(SIG_SETMASK, &all, &h.signals);
    /* Asleep, not only yielding: who holds it may be of lower priority than we are. */
    const struct timespec moment = {.tv_nsec = 20000};
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        syscall(SYS_nanosleep, &moment, NULL);
    return h;
}

static void release(const struct held *h)
{
    atomic_flag_clear_explicit(&lock, memory_order_release);
    sn_real_sigmask(SIG_SETMASK, &h->signals, NULL);
    errno = h->error;
}

/* ---- places ---------------------------------------------------------------------------
 */

static char *chunk_at(uint32_t c)
{
    return ef_arena.base + (size_t)c * EF_CHUNK;
}

static uint32_t number_of(const struct ef_block *b)
{
    return (uint32_t)(b - blocks);
}

char *ef_block_page(const struct ef_block *b)
{
    return ef_arena.base + (size_t)number_of(b) * EF_PAGE;
}

char *ef_block_at(const struct ef_block *b)
{
    return ef_block_page(b) + b->offset;
}

struct ef_block *ef_arena_block(const void *p)
{
    struct ef_block *b = &blocks[((uintptr_t)p - (uintptr_t)ef_arena.base) / EF_PAGE];
    bool is_one = atomic_load(&b->state) != EF_NONE && ef_block_at(b) == p;
    return is_one ? b : NULL;
}

static struct ef_block *known(uint32_t page)
{
    return atomic_load(&blocks[page].state) != EF_NONE ? &blocks[page] : NULL;
}

/* The last record in [from, to), or the first. */
static struct ef_block *last_in(uint32_t from, uint32_t to)
{
    while (to > from)
        if (known(--to) != NULL)
            return &blocks[to];
    return NULL;
}

static struct ef_block *first_in(uint32_t from, uint32_t to)
{
    for (; from < to; from++)
        if (known(from) != NULL)
            return &blocks[from];
    return NULL;
}

/* The pages of a run that records can be at: those of a chunk, or one. */
static void span(uint32_t run, uint32_t *from, uint32_t *to)
{
    *from = chunks[run].first;
    *to = chunks[run].n == 1 ? *from + EF_CHUNK_PAGES : *from + (*from > 0);
}

static uint32_t run_of(uint32_t c)
{
    return chunks[c].kind == PART ? chunks[c].first : c;
}

void ef_arena_near(uintptr_t address, struct ef_block **before, struct ef_block **after)
{
    uint32_t page = (uint32_t)((address - (uintptr_t)ef_arena.base) / EF_PAGE);
    uint32_t run = run_of(page / EF_CHUNK_PAGES), from, to;
    span(run, &from, &to);
    *before = last_in(from, page + 1 < to ? page + 1 : to);
    *after = first_in(page + 1 > from ? page + 1 : from, to);
    if (*before == NULL && run > 0) {
        span(run_of(run - 1), &from, &to);
        *before = last_in(from, to);
    }
    if (*after == NULL && run + chunks[run].n < n_chunks) {
        span(run + chunks[run].n, &from, &to);
        *after = first_in(from, to);
    }
}

/* ---- burying --------------------------------------------------------------------------
 */

static size_t record_bytes(const struct chunk *c)
{
    return c->n == 1 ? EF_CHUNK_PAGES * sizeof(struct ef_block) : EF_PAGE;
}

static void forget(uint32_t c)
{
    madvise(&blocks[(size_t)c * EF_CHUNK_PAGES],
            chunks[c].n * EF_CHUNK_PAGES * sizeof *blocks, MADV_DONTNEED);
    history -= record_bytes(&chunks[c]);
    chunks[c].kind = FORGOTTEN;
}

/* Nothing in the run is live. If the kernel has no room for one more mapping its pages
 * fault as they are. */
static void bury(uint32_t c)
{
    struct held h = hold();
    ef_fence_bury(chunk_at(c), chunks[c].n * EF_CHUNK);
    chunks[c].next = NOWHERE;
    chunks[c].kind = BURIED;
    if (newest != NOWHERE)
        chunks[newest].next = c;
    if (oldest == NOWHERE)
        oldest = c;
    if (recent == NOWHERE)
        recent = c;
    newest = c;
    history += record_bytes(&chunks[c]);
    while (history > HISTORY_BYTES && recent != newest) {
        uint32_t old = recent;
        recent = chunks[old].next;
        forget(old);
    }
    release(&h);
}

static void settle(uint32_t c, int change)
{
    if (atomic_fetch_add(&chunks[c].balance, change) + change == 0)
        bury(c);
}

/* ---- opening --------------------------------------------------------------------------
 */

/* The oldest buried chunk, or what is left of its run; NOWHERE: none is. */
static uint32_t take_oldest(void)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    uint32_t c = oldest;
    if (c == NOWHERE || c == newest)
        return NOWHERE;
    ef_say_once(&said,
                "efence: all %zu GB of addresses were used; from now on those of "
                "the blocks that were freed first are used again\n",
                ef_arena.bytes >> 30);
    if (chunks[c].kind == BURIED) {
        recent = recent == c ? chunks[c].next : recent;
        forget(c);
    }
    if (chunks[c].n == 1) {
        oldest = chunks[c].next;
        return c;
    }
    uint32_t last = c + --chunks[c].n;
    return last;
}

/* `n` chunks in a row, at a multiple of `align`; NOWHERE: there are none. */
static uint32_t take_chunks(uint32_t n, uint32_t align)
{
    uint64_t c = (next_chunk + (uint64_t)align - 1) & ~(uint64_t)(align - 1);
    if (c + n > n_chunks)
        return n == 1 && align == 1 ? take_oldest() : NOWHERE;
    next_chunk = (uint32_t)(c + n);
    return (uint32_t)c;
}

static bool open_chunk(uint32_t c)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    if (ef_fence_bury(chunk_at(c), EF_CHUNK)) {
        munlock(chunk_at(c), EF_CHUNK); /* as mlockall wants all that is to come */
        for (; fence < EF_FENCES; fence++) {
            if (ef_fences[fence].open(chunk_at(c))) {
                chunks[c].fence = (uint8_t)fence;
                return true;
            }
            if (fence != EF_MAPPED)
                ef_say_once(&said, "efence: %s works no longer: %s\n",
                            ef_fences[fence].name, strerror(errno));
        }
    }
    fence = EF_MAPPED;
    return false;
}

/* A new current chunk in the place of `closed`, from which nothing is cut any more. */
static bool next_current(uint64_t closed)
{
    uint32_t c = NOWHERE, old = CURSOR_CHUNK(closed);
    struct held h = hold();
    bool done = atomic_load(&cursor) != closed; /* somebody else was here */
    if (!done && (c = take_chunks(1, 1)) != NOWHERE && open_chunk(c)) {
        chunks[c].n = 1;
        chunks[c].first = c * EF_CHUNK_PAGES;
        chunks[c].balance = HIGH;
        chunks[c].kind = SMALL;
        atomic_store(&cursor, CURSOR(c, 1u, 0u)); /* page 0 faults: no block's guard */
    }
    bool changed = !done && atomic_load(&cursor) != closed;
    release(&h);
    if (changed && old != NOWHERE)
        settle(old, (int)CURSOR_TAKEN(closed) - HIGH);
    return done || changed;
}

/* So many pages in a row, the first at a multiple of `align` pages. */
static uint32_t cut(uint32_t pages, uint32_t align)
{
    uint64_t now = atomic_load(&cursor);
    for (;;) {
        uint32_t at = (CURSOR_PAGES(now) + align - 1) & ~(align - 1);
        bool fits = at + pages <= EF_CHUNK_PAGES;
        uint64_t then = fits
                            ? CURSOR(CURSOR_CHUNK(now), at + pages, CURSOR_TAKEN(now) + 1)
                            : now | CLOSED;
        if (!atomic_compare_exchange_weak(&cursor, &now, then))
            continue;
        if (fits)
            return CURSOR_CHUNK(now) * EF_CHUNK_PAGES + at;
        if (!next_current(then))
            return NOWHERE;
        now = atomic_load(&cursor);
    }
}

void ef_arena_spoil(uintptr_t address)
{
    uint32_t c = (uint32_t)((address - (uintptr_t)ef_arena.base) / EF_CHUNK);
    uint64_t now = atomic_load(&cursor);
    while (CURSOR_CHUNK(now) == c &&
           !atomic_compare_exchange_weak(&cursor, &now, now | CLOSED))
        continue;
}

/* ---- blocks ---------------------------------------------------------------------------
 */

/* Where blocks are mappings there is not room for all: of what is left, the emptier half
 * of the half, and so on, is for fewer and fewer. */
static bool may_map(void)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    uint32_t used = atomic_load(&n_mapped), left = n_mapped_max - used, every = 1;
    if (used >= n_mapped_max)
        return false;
    while (left < n_mapped_max / 2 && every < 1024) {
        left *= 2;
        every *= 2;
    }
    if (every > 1)
        ef_say_once(&said,
                    "efence: %u blocks are fenced, and at most %u can be here "
                    "(vm.max_map_count): from now on a sample is\n",
                    used, n_mapped_max);
    return atomic_fetch_add(&skipped, 1) % every == 0;
}

static bool give(uint32_t fence_of, uint32_t page, uint32_t pages)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    char *at = ef_arena.base + (size_t)page * EF_PAGE;
    if (fence_of == EF_MAPPED && !may_map())
        return false;
    if (pages > 0 && !ef_fences[fence_of].give(at, pages * EF_PAGE)) {
        ef_say_once(&said, "efence: a block is not fenced: %s\n", strerror(errno));
        return false;
    }
    if (fence_of == EF_MAPPED)
        atomic_fetch_add(&n_mapped, 1);
    return true;
}

static struct ef_block *get_small(uint32_t pages, uint32_t align)
{
    uint32_t own = pages > 0 ? pages : 1, page = cut(own + 1, align);
    if (page == NOWHERE)
        return NULL;
    uint32_t c = page / EF_CHUNK_PAGES;
    if (!give(chunks[c].fence, page, pages)) {
        settle(c, -1);
        return NULL;
    }
    blocks[page].guard = 1;
    return &blocks[page];
}

/* A run of chunks: a page that faults, as many as align the block, the block's, the
 * rest, at least one. It is not in the current chunk, and the fence is mprotect's. */
static struct ef_block *get_large(size_t pages, size_t align)
{
    size_t skip = align > 1 ? align : 1, all = skip + pages + 1;
    size_t n = (all + EF_CHUNK_PAGES - 1) / EF_CHUNK_PAGES;
    size_t run = align > EF_CHUNK_PAGES ? align / EF_CHUNK_PAGES : 1;
    if (n >= n_chunks || run >= n_chunks)
        return NULL;
    struct held h = hold();
    uint32_t c = take_chunks((uint32_t)n, (uint32_t)run);
    if (c != NOWHERE) {
        for (uint32_t i = 1; i < n; i++) {
            chunks[c + i].first = c;
            chunks[c + i].kind = PART;
        }
        chunks[c].n = (uint32_t)n;
        chunks[c].balance = 1;
        chunks[c].fence = EF_MAPPED;
        chunks[c].first = c * EF_CHUNK_PAGES + (uint32_t)skip;
        chunks[c].kind = LARGE;
    }
    release(&h);
    if (c == NOWHERE)
        return NULL;
    if (!give(EF_MAPPED, chunks[c].first, (uint32_t)pages)) {
        settle(c, -1);
        return NULL;
    }
    blocks[chunks[c].first].guard = (uint32_t)(n * EF_CHUNK_PAGES - skip - pages);
    return &blocks[chunks[c].first];
}

/* To the right, the block's end is at its last page's, as near as its alignment lets. */
static uint32_t offset_of(size_t size, size_t alignment, size_t pages, bool left)
{
    if (left || alignment > EF_PAGE)
        return 0;
    size_t whole = size > 0 ? (size + alignment - 1) & -alignment : alignment;
    return (uint32_t)((pages > 0 ? pages : 1) * EF_PAGE - whole);
}

struct ef_block *ef_arena_get(size_t size, size_t alignment, bool left)
{
    size_t pages = size / EF_PAGE + (size % EF_PAGE != 0);
    size_t align = alignment > EF_PAGE ? alignment / EF_PAGE : 1;
    if (size >= ef_arena.bytes || alignment > base_align)
        return NULL;
    bool large = size >= EF_LARGE || alignment >= EF_LARGE;
    struct ef_block *b =
        large ? get_large(pages, align) : get_small((uint32_t)pages, (uint32_t)align);
    if (b == NULL)
        return NULL;
    b->size = size;
    b->pages = (uint32_t)pages;
    b->offset = offset_of(size, alignment, pages, left);
    b->gone = b->killer = 0;
    return b;
}

/* Once it is the caller's alone to put: its state went from EF_LIVE to EF_FREED by him.
 */
void ef_arena_put(struct ef_block *b)
{
    uint32_t c = run_of(number_of(b) / EF_CHUNK_PAGES);
    const struct ef_fence *f = &ef_fences[chunks[c].fence];
    if (b->pages > 0)
        f->take(ef_block_page(b), b->pages * EF_PAGE);
    if (chunks[c].fence == EF_MAPPED)
        atomic_fetch_sub(&n_mapped, 1);
    settle(c, -1);
}

/* ---- the whole ------------------------------------------------------------------------
 */

static void *reserve(size_t bytes, int protection)
{
    long p = syscall(SYS_mmap, NULL, bytes, protection,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == -1 ? NULL : (void *)p;
}

/* Tables whose pages come with use, and are in no core file. */
static bool make_tables(void)
{
    size_t for_blocks = (size_t)n_chunks * EF_CHUNK_PAGES * sizeof *blocks,
           for_chunks = n_chunks * sizeof *chunks;
    blocks = reserve(for_blocks, PROT_READ | PROT_WRITE);
    chunks = reserve(for_chunks, PROT_READ | PROT_WRITE);
    if (blocks != NULL && chunks != NULL) {
        madvise(blocks, for_blocks, MADV_DONTDUMP);
        madvise(chunks, for_chunks, MADV_DONTDUMP);
        return true;
    }
    sn_pages_unmap(blocks, for_blocks);
    sn_pages_unmap(chunks, for_chunks);
    return false;
}

/* As many addresses as there are, but where they are limited a half of those: base is at
 * a multiple of the largest alignment that a run of chunks can have. */
static bool make_arena(void)
{
    struct rlimit limit;
    size_t bytes = ARENA_MAX;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        while (bytes > limit.rlim_cur / 2 && bytes > ARENA_MIN)
            bytes /= 2;
    for (; bytes >= ARENA_MIN; bytes /= 2) {
        char *p = reserve(bytes, PROT_NONE);
        if (p == NULL)
            continue;
        size_t skip = -(uintptr_t)p & (bytes / 4 - 1);
        n_chunks = (uint32_t)((bytes - skip) / EF_CHUNK);
        ef_arena.base = p + skip;
        base_align = bytes / 4;
        if (make_tables()) {
            ef_arena.bytes = (size_t)n_chunks * EF_CHUNK;
            return true;
        }
        sn_pages_unmap(p, bytes);
    }
    return false;
}

bool ef_arena_open(struct sn_error *e)
{
    if (ef_arena.bytes > 0)
        return true;
    fence = ef_fence_choose();
    if (fence == EF_FENCES)
        return sn_fail(e, "SONDE_EFENCE_BY", -1, "efence cannot work by that here");
    /* A block takes two; the program has some, too. */
    n_mapped_max = (uint32_t)(ef_fence_maps_max() / 2 - ef_fence_maps_max() / 32);
    oldest = newest = recent = NOWHERE;
    cursor = CURSOR(NOWHERE, 0xffffu, 0u); /* closed */
    return make_arena() ||
           sn_fail(e, NULL, -1, "efence: no addresses (a limit of memory: ulimit -v)");
}

static void unlock(void *pages, size_t bytes, void *unused)
{
    (void)unused;
    munlock(pages, bytes);
}

void ef_arena_unlock(void)
{
    if (ef_arena.bytes > 0)
        munlock(ef_arena.base, ef_arena.bytes);
    ef_arena_pages(unlock, NULL);
}

void ef_arena_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                    void *argument)
{
    if (ef_arena.bytes == 0)
        return;
    visit(blocks, (size_t)n_chunks * EF_CHUNK_PAGES * sizeof *blocks, argument);
    visit(chunks, n_chunks * sizeof *chunks, argument);
}

void ef_arena_after_fork(void)
{
    if (ef_arena.bytes == 0)
        return;
    atomic_flag_clear(&lock);
    ef_fence_after_fork();
    for (uint32_t c = 0; c < next_chunk; c++) {
        const struct ef_fence *f = &ef_fences[chunks[c].fence];
        if (chunks[c].kind == SMALL && f->renew != NULL)
            f->renew(chunk_at(c), EF_CHUNK);
    }
}
