/*
 * reach.c: which of the live blocks can be reached, and by what. A conservative scan: a
 * word that lies in a block, at its start or within, is taken for a pointer to it.
 *
 *     /proc/thread-self/maps ──> roots ──> blocks ──> blocks in them ──> ...
 *
 * Roots are all memory that can be written, but for: the blocks themselves, our own
 * pages, stacks below their pointers, those of threads that have ended, and the
 * allocator's memory between blocks, which is full of pointers to what was freed. That
 * last is known of the C library's allocator only; and only where every block is known,
 * which takes a recording that began with the program: else what lies between is taken
 * for blocks that we missed.
 *
 * In the C library's own data only pointers to the start of a block count: its bins point
 * at headers, which lie in the tail of the block before.
 *
 * In a dump of a program that uses libgc, its blocks are blocks, too. Those without
 * pointers are not looked into, those that it never collects are roots. Memory of no file
 * is no root for it, nor is what its heap has between the blocks.
 *
 * Memory is read by the kernel, so that what cannot be read is no fault, and pages that
 * were never touched are passed over. Allocates pages, never malloc.
 */
#include "runtime/runtime.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE         ((uintptr_t)4096)
#define STRETCH_BITS 20
#define COPY_BYTES   ((size_t)64 << 10)
#define WINDOW_PAGES 512                   /* whose presence is asked for at once */
#define ARENA        ((uintptr_t)64 << 20) /* glibc's, and its alignment */
#define MAPS_BYTES   ((size_t)16 << 20)    /* 65530 mappings of the longest usual lines */

typedef struct sn_heapdump_block block;

struct range {
    uintptr_t lo, hi;
};

/* The blocks that begin in, or reach into, one stretch of addresses. */
struct stretch {
    uint64_t number; /* address >> STRETCH_BITS, plus 1; 0: empty */
    uint32_t first, n;
};

struct piece { /* of our own memory: one allocation of sn_reach_new */
    void *p;
    size_t bytes;
};

struct sn_reach {
    const struct sn_world *world;
    bool knows_all;   /* blocks that there are: what lies between is free */
    bool all_is_root; /* what the blocks hold, too: only pointers to them are asked for */
    block *blocks;
    uint32_t n_blocks, cap_blocks;
    struct stretch *stretches; /* hashed */
    uint32_t stretch_mask;
    uint32_t *work; /* reached, not yet scanned */
    uint32_t n_work;
    struct range *own; /* sorted: pages that are no roots */
    uint32_t n_own, cap_own;
    char *maps; /* of /proc/thread-self: that of the process is empty once the main thread
                 * has ended */
    uint64_t *copy;
    struct range window; /* what is in it, after scan_small */
    uint64_t present[WINDOW_PAGES];
    struct piece pieces[16];
    unsigned n_pieces;
    int pagemap;
    /* While marking. */
    void (*on_root)(void *argument, uint32_t block, enum sn_heapdump_root_kind kind,
                    uint64_t at);
    void (*on_edge)(void *argument, uint32_t to);
    void *argument;
    enum sn_heapdump_root_kind kind;
    bool starts_only;
    const struct sn_gc_sites *gc; /* NULL: none of the blocks are a collector's */
};

static void *get(struct sn_reach *r, size_t bytes)
{
    void *p = r->n_pieces < SN_COUNT(r->pieces) ? sn_pages_map(bytes + 1) : NULL;
    if (p != NULL)
        r->pieces[r->n_pieces++] = (struct piece){p, bytes + 1};
    return p;
}

void sn_reach_free(struct sn_reach *r)
{
    if (r == NULL)
        return;
    if (r->pagemap >= 0)
        close(r->pagemap);
    for (unsigned i = 0; i < r->n_pieces; i++)
        sn_pages_unmap(r->pieces[i].p, r->pieces[i].bytes);
    sn_pages_unmap(r, sizeof *r);
}

/* ---- the blocks, by address -----------------------------------------------------------
 */

static void count_block(struct sn_block *b, void *reach)
{
    (void)b;
    ((struct sn_reach *)reach)->cap_blocks++;
}

static void add_block(struct sn_block *b, void *reach)
{
    struct sn_reach *r = reach;
    if (r->n_blocks < r->cap_blocks)
        r->blocks[r->n_blocks++] =
            (block){.address = b->address, .size = b->size, .site = b->entry};
}

/* By 12 bits of the address at a time, of which there are 48. at: 4096 numbers. */
static void sort_blocks(block *v, block *spare, uint32_t n, uint32_t *at)
{
    for (unsigned shift = 0; shift < 48; shift += 12) {
        uint32_t sum = 0;
        memset(at, 0, 4096 * sizeof *at);
        for (uint32_t i = 0; i < n; i++)
            at[v[i].address >> shift & 4095]++;
        for (unsigned i = 0; i < 4096; i++) {
            uint32_t here = at[i];
            at[i] = sum;
            sum += here;
        }
        for (uint32_t i = 0; i < n; i++)
            spare[at[v[i].address >> shift & 4095]++] = v[i];
        block *other = v;
        v = spare;
        spare = other;
    } /* an even number of rounds: what was given is what is sorted */
}

static uintptr_t end_of(const block *b)
{
    return b->address + (b->size > 0 ? b->size : 1);
}

static struct stretch *stretch_at(const struct sn_reach *r, uint64_t number)
{
    uint32_t i = (uint32_t)sn_hash_mix(number) & r->stretch_mask;
    while (r->stretches[i].number != 0 && r->stretches[i].number != number + 1)
        i = (i + 1) & r->stretch_mask;
    return &r->stretches[i];
}

/* Visit the stretches of each block; what is done there must be done in order. */
static uint64_t count_stretches(const struct sn_reach *r)
{
    uint64_t n = 0, last = 0;
    for (uint32_t i = 0; i < r->n_blocks; i++) {
        uint64_t from = (r->blocks[i].address >> STRETCH_BITS) + 1,
                 to = ((end_of(&r->blocks[i]) - 1) >> STRETCH_BITS) + 1;
        from = from > last ? from : last + 1;
        n += to >= from ? to - from + 1 : 0;
        last = to > last ? to : last;
    }
    return n;
}

static bool index_stretches(struct sn_reach *r)
{
    uint64_t n = count_stretches(r), size = 64;
    while (size < 2 * n)
        size *= 2;
    if (size > UINT32_MAX || (r->stretches = get(r, size * sizeof *r->stretches)) == NULL)
        return false;
    r->stretch_mask = (uint32_t)size - 1;
    for (uint32_t i = 0; i < r->n_blocks; i++) {
        uint64_t to = (end_of(&r->blocks[i]) - 1) >> STRETCH_BITS;
        for (uint64_t k = r->blocks[i].address >> STRETCH_BITS; k <= to; k++) {
            struct stretch *s = stretch_at(r, k);
            if (s->number == 0)
                *s = (struct stretch){.number = k + 1, .first = i};
            s->n = i - s->first + 1;
        }
    }
    return true;
}

/* The block that the address lies in; SN_NONE: none. */
static uint32_t block_at(const struct sn_reach *r, uintptr_t address)
{
    if (r->n_blocks == 0 || address < r->blocks[0].address)
        return SN_NONE;
    const struct stretch *s = stretch_at(r, address >> STRETCH_BITS);
    if (s->number == 0)
        return SN_NONE;
    uint32_t lo = s->first, n = s->n;
    while (n > 1) { /* the last that begins at or before it */
        uint32_t half = n / 2;
        bool right = r->blocks[lo + half].address <= address;
        lo += right ? half : 0;
        n = right ? n - half : half;
    }
    const block *b = &r->blocks[lo];
    return address >= b->address && address < end_of(b) ? lo : SN_NONE;
}

/* ---- our own pages --------------------------------------------------------------------
 */

static void count_own(void *pages, size_t bytes, void *reach)
{
    (void)pages;
    (void)bytes;
    ((struct sn_reach *)reach)->cap_own++;
}

static void add_own(void *pages, size_t bytes, void *reach)
{
    struct sn_reach *r = reach;
    if (r->n_own < r->cap_own)
        r->own[r->n_own++] = (struct range){(uintptr_t)pages, (uintptr_t)pages + bytes};
}

static void sift_down(struct range *v, uint32_t i, uint32_t n)
{
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && v[child + 1].lo > v[child].lo;
        if (v[i].lo >= v[child].lo)
            return;
        struct range moved = v[i];
        v[i] = v[child];
        v[child] = moved;
    }
}

static void sort_ranges(struct range *v, uint32_t n) /* heapsort: qsort allocates */
{
    for (uint32_t i = n / 2; i-- > 0;)
        sift_down(v, i, n);
    for (uint32_t end = n; end-- > 1;) {
        struct range top = v[0];
        v[0] = v[end];
        v[end] = top;
        sift_down(v, 0, end);
    }
}

static void each_own(struct sn_reach *r,
                     void (*visit)(void *pages, size_t bytes, void *reach))
{
    sn_live_pages(&sn_heap_live, visit, r);
    sn_heap_pages(visit, r);
    sn_maps_pages(visit, r);
    sn_stack_pages(visit, r);
    sn_custom_pages(visit, r);
    sn_malloc_pages(visit, r);
    sn_trace_pages(visit, r);
}

static bool list_own(struct sn_reach *r)
{
    r->cap_own = SN_COUNT(r->pieces) + 4;
    each_own(r, count_own);
    if ((r->own = get(r, r->cap_own * sizeof *r->own)) == NULL)
        return false;
    each_own(r, add_own);
    for (unsigned i = 0; i < r->n_pieces; i++)
        add_own(r->pieces[i].p, r->pieces[i].bytes, r);
    add_own(r, sizeof *r, r);
    add_own((void *)(uintptr_t)r->world, sizeof *r->world, r);
    sort_ranges(r->own, r->n_own);
    return true;
}

static void each_live(void (*visit)(struct sn_block *block, void *argument),
                      void *argument)
{
    sn_live_each(&sn_heap_live, visit, argument);
    sn_trace_gc_each(visit, argument);
}

struct sn_reach *sn_reach_new(const struct sn_world *w, sn_reach_each *each)
{
    struct sn_reach *r = sn_pages_map(sizeof *r);
    if (r == NULL)
        return NULL;
    r->pagemap = -1;
    r->world = w;
    r->knows_all = each == NULL && sn_heap_knows_all();
    r->all_is_root = each != NULL;
    r->gc = each == NULL ? sn_trace_gc_sites() : NULL;
    each = each != NULL ? each : each_live;
    each(count_block, r);
    size_t bytes = (size_t)r->cap_blocks * sizeof *r->blocks;
    r->blocks = get(r, bytes);
    block *spare = get(r, bytes);
    r->work = get(r, (size_t)r->cap_blocks * sizeof *r->work);
    r->maps = get(r, MAPS_BYTES);
    r->copy = get(r, COPY_BYTES);
    if (r->blocks != NULL && spare != NULL && r->work != NULL && r->maps != NULL &&
        r->copy != NULL) {
        each(add_block, r);
        sort_blocks(r->blocks, spare, r->n_blocks, (uint32_t *)r->copy);
        if (index_stretches(r) && list_own(r))
            return r;
    }
    sn_reach_free(r);
    return NULL;
}

const struct sn_heapdump_block *sn_reach_blocks(const struct sn_reach *r, uint32_t *n)
{
    *n = r->n_blocks;
    return r->blocks;
}

/* ---- scanning -------------------------------------------------------------------------
 */

static bool is_collected(const struct sn_reach *r, const block *b)
{
    return r->gc != NULL && b->site != 0 &&
           (b->site == r->gc->pointers || b->site == r->gc->pointer_free);
}

static void meet_word(struct sn_reach *r, uint64_t word, uint64_t at)
{
    uint32_t i = block_at(r, word);
    if (i == SN_NONE || (r->starts_only && word != r->blocks[i].address))
        return;
    if (r->kind == SN_ROOT_OTHER && is_collected(r, &r->blocks[i]))
        return;
    if (r->on_edge != NULL) {
        r->on_edge(r->argument, i);
        return;
    }
    if (r->on_root != NULL && r->kind != 0)
        r->on_root(r->argument, i, r->kind, at);
    if (r->all_is_root || r->blocks[i].flags & SN_HEAPDUMP_REACHED)
        return;
    r->blocks[i].flags |= SN_HEAPDUMP_REACHED;
    r->work[r->n_work++] = i;
}

/* Small blocks lie close together: their pages are read at once, and of those that are
 * met in order the next ones, too. False: they cannot be read whole. */
static bool scan_small(struct sn_reach *r, uintptr_t lo, uintptr_t hi)
{
    if (lo < r->window.lo || hi > r->window.hi) {
        uintptr_t page = lo & -PAGE;
        size_t len = r->on_edge != NULL ? COPY_BYTES : (hi - page + PAGE - 1) & -PAGE;
        struct iovec to = {r->copy, len}, from = {(void *)page, len};
        ssize_t n = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
        r->window = (struct range){page, page + (n > 0 ? (size_t)n : 0)};
        if (hi > r->window.hi)
            return false;
    }
    for (uintptr_t at = lo; at < hi; at += 8)
        meet_word(r, r->copy[(at - r->window.lo) / 8], at);
    return true;
}

/* The aligned words in [lo, hi), as far as they can be read. */
static void scan_present(struct sn_reach *r, uintptr_t lo, uintptr_t hi)
{
    r->window = (struct range){0};
    while (lo < hi) {
        size_t len = hi - lo < COPY_BYTES ? hi - lo : COPY_BYTES;
        struct iovec to = {r->copy, len}, from = {(void *)lo, len};
        ssize_t n = process_vm_readv(sn_thread_id(), &to, 1, &from, 1, 0);
        if (n < 8) { /* on with the next page */
            lo = (lo & -PAGE) + PAGE;
            continue;
        }
        for (size_t i = 0; i < (size_t)n / 8; i++)
            meet_word(r, r->copy[i], lo + 8 * i);
        lo += (size_t)n & ~(size_t)7;
    }
}

/* Is the i-th page of the window present, or swapped out? If the kernel says. */
static bool is_touched(const struct sn_reach *r, size_t i, size_t known)
{
    return i >= known || r->present[i] >> 62 != 0;
}

/* The same without pages that were never touched. */
static void scan(struct sn_reach *r, uintptr_t lo, uintptr_t hi)
{
    lo = (lo + 7) & ~(uintptr_t)7;
    hi &= ~(uintptr_t)7;
    if (lo >= hi || (hi - lo <= PAGE && scan_small(r, lo, hi)))
        return;
    while (lo < hi) {
        uintptr_t first = lo / PAGE, last = (hi - 1) / PAGE;
        size_t n = last - first + 1 < WINDOW_PAGES ? last - first + 1 : WINDOW_PAGES;
        uintptr_t end = (first + n) * PAGE < hi ? (first + n) * PAGE : hi;
        ssize_t got = n > 16 ? pread(r->pagemap, r->present, n * 8, (off_t)(first * 8))
                             : 0; /* not worth the question */
        size_t known = got > 0 ? (size_t)got / 8 : 0;
        for (size_t i = 0; i < n;) {
            size_t from = i;
            while (i < n && is_touched(r, i, known))
                i++;
            uintptr_t a = (first + from) * PAGE, b = (first + i) * PAGE;
            if (i > from)
                scan_present(r, a > lo ? a : lo, b < end ? b : end);
            i += i < n;
        }
        lo = end;
    }
}

/* [lo, hi) without our own pages. */
static void scan_not_own(struct sn_reach *r, uintptr_t lo, uintptr_t hi)
{
    for (uint32_t i = 0; i < r->n_own && lo < hi; i++) {
        if (r->own[i].hi <= lo || r->own[i].lo >= hi)
            continue;
        if (r->own[i].lo > lo)
            scan(r, lo, r->own[i].lo);
        lo = r->own[i].hi;
    }
    if (lo < hi)
        scan(r, lo, hi);
}

/* What lies between two blocks. The collector's heap is no root. */
static void scan_gap(struct sn_reach *r, uintptr_t lo, uintptr_t hi)
{
    while (r->gc != NULL && lo < hi) {
        uintptr_t end = lo;
        while (end < hi && !sn_trace_gc_owns(end & -PAGE))
            end = (end & -PAGE) + PAGE;
        scan_not_own(r, lo, end < hi ? end : hi);
        for (lo = end; lo < hi && sn_trace_gc_owns(lo & -PAGE);)
            lo = (lo & -PAGE) + PAGE;
    }
    if (lo < hi)
        scan_not_own(r, lo, hi);
}

/* [lo, hi) without the blocks in it: those count when something leads to them. */
static void scan_between(struct sn_reach *r, uintptr_t lo, uintptr_t hi)
{
    uint32_t from = 0, n = r->n_blocks;
    while (n > 0) { /* the first that ends behind lo */
        uint32_t half = n / 2;
        bool right = end_of(&r->blocks[from + half]) <= lo;
        from += right ? half + 1 : 0;
        n = right ? n - half - 1 : half;
    }
    for (uint32_t i = from; i < r->n_blocks && r->blocks[i].address < hi; i++) {
        if (r->blocks[i].address > lo)
            scan_gap(r, lo, r->blocks[i].address);
        lo = end_of(&r->blocks[i]);
    }
    if (lo < hi)
        scan_gap(r, lo, hi);
}

/* ---- roots ----------------------------------------------------------------------------
 */

/* glibc's head of an arena's part: arena, previous, size, size that may be used. */
static bool is_arena(uintptr_t at, uintptr_t hi, uintptr_t *end)
{
    uint64_t head[4];
    struct iovec to = {head, sizeof head}, from = {(void *)at, sizeof head};
    if (at % ARENA != 0 ||
        process_vm_readv(sn_thread_id(), &to, 1, &from, 1, 0) != (ssize_t)sizeof head)
        return false;
    *end = at + head[3];
    return head[0] != 0 && head[0] % ARENA < PAGE && head[2] <= head[3] &&
           head[3] % PAGE == 0 && head[3] > 0 && head[3] <= ARENA && *end <= hi;
}

/* Memory of no file: without the arenas in it. */
static void scan_anonymous(struct sn_reach *r, uintptr_t lo, uintptr_t hi)
{
    if (r->all_is_root) {
        scan_not_own(r, lo, hi);
        return;
    }
    for (uintptr_t at = (lo + ARENA - 1) & -ARENA; at < hi; at += ARENA) {
        uintptr_t end;
        if (!r->knows_all || !is_arena(at, hi, &end))
            continue;
        scan_between(r, lo, at);
        lo = end;
    }
    scan_between(r, lo, hi);
}

/* The lowest stack pointer in [lo, hi) of a thread; 0: none. */
static uintptr_t stack_in(const struct sn_reach *r, uintptr_t frame, uintptr_t lo,
                          uintptr_t hi)
{
    uintptr_t found = frame >= lo && frame < hi ? frame : 0;
    for (unsigned i = 0; r->world != NULL && i < r->world->n; i++) {
        uintptr_t sp = r->world->threads[i].sp;
        if (sp >= lo && sp < hi && (found == 0 || sp < found))
            found = sp;
    }
    return found;
}

struct mapping {
    uintptr_t lo, hi;
    char permissions[5];
    const char *name; /* "" if none */
};

static void scan_mapping(struct sn_reach *r, const struct mapping *m, uintptr_t frame,
                         bool behind_data)
{
    uintptr_t lo = m->lo, sp = stack_in(r, frame, m->lo, m->hi);
    r->starts_only = false;
    if (m->permissions[1] != 'w' || sn_spool_is_name(m->name))
        return;
    if (strcmp(m->name, "[heap]") == 0 && r->knows_all && !sn_maps_own_break())
        return;
    if (sp != 0) {
        r->kind = SN_ROOT_STACK;
        lo = sp > lo + 128 ? sp - 128 : lo; /* what leaf functions keep below it */
    } else if (m->name[0] == '/') {
        const char *file = strrchr(m->name, '/');
        r->kind = SN_ROOT_GLOBAL;
        r->starts_only =
            strncmp(file, "/libc.so", 8) == 0 || strncmp(file, "/libc-2", 7) == 0;
    } else {
        uintptr_t dead = sn_heap_dead_stack(m->lo, m->hi);
        r->kind = behind_data ? SN_ROOT_GLOBAL : SN_ROOT_OTHER;
        lo = dead != 0 ? dead : lo;
    }
    scan_anonymous(r, lo, m->hi);
    r->starts_only = false;
}

/* A line of it, cut out of the text. False: it is none. */
static bool parse_mapping(char *line, struct mapping *m)
{
    char *at;
    m->lo = strtoul(line, &at, 16);
    if (*at != '-')
        return false;
    m->hi = strtoul(at + 1, &at, 16);
    if (*at != ' ' || strlen(at) < 5)
        return false;
    memcpy(m->permissions, at + 1, 4);
    m->permissions[4] = '\0';
    at += 6;
    for (int field = 0; field < 3; field++) { /* offset, device, inode */
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    m->name = at;
    return true;
}

/* False: it cannot be read, or not to its end. */
static bool read_maps(struct sn_reach *r)
{
    size_t used = 0;
    ssize_t n;
    int fd = open("/proc/thread-self/maps", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && used < MAPS_BYTES &&
           (n = read(fd, r->maps + used, MAPS_BYTES - used)) > 0)
        used += (size_t)n;
    if (fd >= 0)
        close(fd);
    r->maps[used] = '\0';
    return used > 0 && used < MAPS_BYTES;
}

/* A system call may be forbidden: then all would seem to be empty. */
static bool can_read(const struct sn_reach *r)
{
    uint64_t word = 0;
    struct iovec to = {&word, sizeof word}, from = {(void *)(uintptr_t)r, sizeof word};
    return process_vm_readv(sn_thread_id(), &to, 1, &from, 1, 0) == (ssize_t)sizeof word;
}

static void scan_registers(struct sn_reach *r)
{
    r->kind = SN_ROOT_REGISTERS;
    for (unsigned i = 0; r->world != NULL && i < r->world->n; i++)
        for (unsigned k = 0; k < SN_COUNT(r->world->threads[i].registers); k++)
            meet_word(r, r->world->threads[i].registers[k], 0);
}

/* Blocks that are known but not counted are roots: nobody asks what holds them. */
static void reach_uncounted(struct sn_reach *r)
{
    for (uint32_t i = 0; i < r->n_blocks; i++)
        if (r->blocks[i].site == 0 && !(r->blocks[i].flags & SN_HEAPDUMP_REACHED)) {
            r->blocks[i].flags |= SN_HEAPDUMP_REACHED;
            r->work[r->n_work++] = i;
        }
}

/* What the collector never frees. */
static void reach_uncollectable(struct sn_reach *r)
{
    r->kind = SN_ROOT_OTHER;
    for (uint32_t i = 0; r->gc != NULL && i < r->n_blocks; i++)
        if (r->blocks[i].site == r->gc->uncollectable)
            meet_word(r, r->blocks[i].address, r->blocks[i].address);
}

/* The pointers in it are met. */
static void scan_block(struct sn_reach *r, const block *b)
{
    if (r->gc == NULL || b->site != r->gc->pointer_free)
        scan(r, b->address, b->address + b->size);
}

bool sn_reach_mark(struct sn_reach *r, uintptr_t frame,
                   void (*on_root)(void *argument, uint32_t block,
                                   enum sn_heapdump_root_kind kind, uint64_t at),
                   void *argument)
{
    struct mapping m;
    uintptr_t data_end = 0;
    r->on_root = on_root;
    r->argument = argument;
    if (!read_maps(r) || !can_read(r))
        return false;
    r->pagemap =
        open("/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC); /* one at a time */
    char *rest = r->maps, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (!parse_mapping(line, &m))
            continue;
        bool behind_data = m.lo == data_end;
        scan_mapping(r, &m, frame, behind_data);
        if (m.permissions[1] == 'w' && (m.name[0] == '/' || behind_data))
            data_end = m.hi;
    }
    scan_registers(r);
    if (r->all_is_root)
        return true;
    reach_uncollectable(r);
    reach_uncounted(r);
    r->kind = 0;
    while (r->n_work > 0) {
        scan_block(r, &r->blocks[r->work[--r->n_work]]);
    }
    return true;
}

void sn_reach_edges(struct sn_reach *r, uint32_t from,
                    void (*on_edge)(void *argument, uint32_t to), void *argument)
{
    r->on_edge = on_edge;
    r->argument = argument;
    scan_block(r, &r->blocks[from]);
    r->on_edge = NULL;
}
