/*
 * heap.c: the accounts of the heap: who allocated what, and what became of it.
 *
 *     malloc ──> due? ──> stack ──> entry of the spool: alloc ──┐
 *                                                               ├──> peak
 *     free ──> known? ──> block ──> entry of the spool: free ───┘
 *
 * Sampled, a block is due when a countdown of bytes runs out, whose lengths are
 * exponential: a block of S bytes is met with probability 1 - e^(-S/R) and stands for
 * the inverse of that many. Exact, every block is due and stands for itself.
 *
 * Invariants: a block is in live.c exactly while its allocation is counted and its end is
 * not; what is on the way (between `busy` and not) is one thread's. A signal's handler
 * may allocate and free on top of that: what it allocates is known to be there but not
 * counted (and told as such), what it frees is freed when the work below is done.
 *
 * The highest heap is kept a stack without ever going over all of them: each rise of the
 * whole to a new height begins an epoch, and an entry that changes first takes what it
 * has as its share in the last height, if its epoch is older (profile.h). The whole and
 * its entry are two words, changed one after the other: where three threads meet within
 * the few instructions between, a share may be one event off. Of one thread, or of
 * threads that change the heap under a lock of theirs, it never is.
 *
 * Allocates only pages. Locks: an entry's and a shard's, for a few instructions.
 */
#include "runtime/heap_priv.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME_EVERY 1024 /* recorded events of a thread */

_Alignas(4096) union sn_heap_switch sn_heap_switch;
__thread struct sn_heap_local sn_heap_local __attribute__((tls_model("initial-exec")));

struct sn_heap_kind sn_heap_kind;
struct sn_live sn_heap_live;
_Atomic(uint64_t) sn_heap_filter[1 << (SN_HEAP_FILTER_BITS - 6)];
/* How many blocks a bit stands for; 255: or more, for good. */
static unsigned char filter_counts[1 << SN_HEAP_FILTER_BITS];
static atomic_flag filter_lock = ATOMIC_FLAG_INIT;
static bool filter_used; /* else it is clear, in pages that were never touched */

/* ---- at work, and done ----------------------------------------------------------------
 */

/* Busy from now on; else it waited, or all is over. */
static bool may_work(struct sn_heap_thread *t)
{
    atomic_store_explicit(&t->busy, true, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst); /* what stops us has a barrier for all */
    enum sn_heap_mode mode = sn_heap_mode();
    if (mode == SN_HEAP_SOME || mode == SN_HEAP_EACH)
        return true;
    if (mode == SN_HEAP_HELD && atomic_load_explicit(&t->moving, memory_order_relaxed))
        return true; /* who holds it waits for the end of that */
    atomic_store_explicit(&t->busy, false, memory_order_release);
    if (mode == SN_HEAP_HELD)
        syscall(SYS_futex, &sn_heap_switch.mode, FUTEX_WAIT, SN_HEAP_HELD, NULL, NULL, 0);
    return false;
}

/* NULL: this is on top of our own work, or there is no memory, or it is all over. */
static struct sn_heap_thread *enter(void)
{
    struct sn_heap_thread *t = sn_heap_local.thread;
    if (t == NULL) {
        if ((t = sn_heap_unused_thread(sn_thread_id())) == NULL)
            return NULL;
        t->recording = 0;
        t->ends = 0;
        t->moving = 0;
        sn_heap_local.thread = t;
    }
    if (atomic_load_explicit(&t->busy, memory_order_relaxed))
        return NULL;
    while (!may_work(t))
        if (!sn_heap_on())
            return NULL;
    if (t->recording != sn_heap_kind.recording)
        sn_heap_set_up(t);
    return t;
}

static void forget(struct sn_heap_thread *t, uintptr_t address);

/* What was done on top of our work, and is while we do this. */
static void do_deferred(struct sn_heap_thread *t, bool counted)
{
    unsigned n = 0, all = atomic_load_explicit(&t->n_deferred, memory_order_relaxed);
    if (all == 0)
        return;
    do {
        for (; n < all; n++) {
            const struct deferred *d = &t->deferred[n];
            if (counted && d->freed)
                forget(t, (uintptr_t)d->p);
            else if (counted)
                sn_heap_know(d->p, d->size);
            if (d->freed)
                sn_real_free(d->p);
        }
    } while (!atomic_compare_exchange_strong(&t->n_deferred, &all, 0));
}

static void leave(struct sn_heap_thread *t)
{
    do {
        do_deferred(t, true);
        atomic_store_explicit(&t->busy, false, memory_order_release);
        atomic_signal_fence(memory_order_seq_cst);
    } while (atomic_load_explicit(&t->n_deferred, memory_order_relaxed) > 0 &&
             !atomic_exchange(&t->busy, true));
    if (__builtin_expect(atomic_load_explicit(&sn_control_due, memory_order_relaxed), 0))
        sn_control_serve();
}

/* ---- accounts -------------------------------------------------------------------------
 */

/* How many blocks a recorded one stands for, in units of 1 / scale. */
static uint64_t weight_of(uint64_t size)
{
    if (sn_heap_table.header->scale == 1)
        return 1;
    double met =
        sn_one_minus_exp((double)(size > 0 ? size : 1) / sn_heap_kind.rate_bytes);
    return (uint64_t)(SN_HEAP_SCALE / met + 0.5);
}

static void lock(struct sn_spool_entry *x)
{
    unsigned spins = 0;
    while (__atomic_exchange_n(&x->lock, 1, __ATOMIC_ACQUIRE) != 0)
        if (++spins % 128 == 0)
            sched_yield();
}

static void unlock(struct sn_spool_entry *x)
{
    __atomic_store_n(&x->lock, 0, __ATOMIC_RELEASE);
}

static void add(struct sn_spool_entry *x, unsigned i, uint64_t objects, uint64_t bytes)
{
    __atomic_store_n(&x->values[i], x->values[i] + objects, __ATOMIC_RELAXED);
    __atomic_store_n(&x->values[i + 1], x->values[i + 1] + bytes, __ATOMIC_RELAXED);
}

/* What the entry had at the last height, before it changes. With its lock. */
static void settle_peak(struct sn_spool_entry *x)
{
    uint64_t *v = x->values;
    uint64_t now = __atomic_load_n(&sn_heap_table.header->peak_epoch, __ATOMIC_RELAXED);
    if (v[SN_HEAP_EPOCH] == now)
        return;
    v[SN_HEAP_PEAK_OBJECTS] = v[SN_HEAP_ALLOC_OBJECTS] - v[SN_HEAP_FREE_OBJECTS];
    v[SN_HEAP_PEAK_BYTES] = v[SN_HEAP_ALLOC_BYTES] - v[SN_HEAP_FREE_BYTES];
    __atomic_store_n(&v[SN_HEAP_EPOCH], now, __ATOMIC_RELAXED);
}

static void raise_peak(struct sn_spool_header *h, uint64_t live)
{
    uint64_t peak = __atomic_load_n(&h->peak_bytes, __ATOMIC_RELAXED);
    while (live > peak)
        if (__atomic_compare_exchange_n(&h->peak_bytes, &peak, live, true,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            __atomic_fetch_add(&h->peak_epoch, 1, __ATOMIC_RELAXED);
            return;
        }
}

static struct sn_spool_entry *entry_of(const struct sn_block *b)
{
    return (void *)((char *)sn_heap_table.header + (uint64_t)b->entry * 8);
}

/* In the processor's ticks where they are steady (which they are where the kernel goes by
 * them), else in nanoseconds. */
static uint64_t now_ticks(void)
{
    return sn_heap_kind.ticks_steady
               ? sn_unwind_ticks()
               : sn_clock_ns(CLOCK_MONOTONIC) - sn_heap_kind.start_ns;
}

static unsigned decade_of(uint64_t ticks)
{
    unsigned decade = 0;
    uint64_t ns = (uint64_t)((double)ticks * sn_heap_kind.ns_per_tick);
    for (uint64_t limit = 1000; decade + 1 < SN_HEAP_DECADES && ns >= limit; limit *= 10)
        decade++;
    return decade;
}

/* Objects and bytes as the entry counts them. Of blocks a constant number: inlined, that
 * costs them nothing. */
static inline __attribute__((always_inline)) void
count_gone(struct sn_spool_entry *x, uint64_t objects, uint64_t bytes, uint64_t born,
           bool temporary)
{
    struct sn_spool_header *h = sn_heap_table.header;
    lock(x);
    /* A rise that another thread has made, but not told, is told for it: it was with the
     * block. */
    raise_peak(h, __atomic_fetch_sub(&h->live_bytes, bytes, __ATOMIC_RELAXED));
    settle_peak(x); /* at once: a rise in between would be without the block */
    add(x, SN_HEAP_FREE_OBJECTS, objects, bytes);
    if (sn_heap_kind.exact) {
        uint64_t age = (now_ticks() - born) & (UINT64_MAX >> 8);
        add(x, SN_HEAP_LIFETIMES + 2 * decade_of(age), objects, bytes);
        if (temporary)
            add(x, SN_HEAP_TEMPORARY_OBJECTS, objects, bytes);
    }
    unlock(x);
}

static void count_freed(const struct sn_block *b, bool temporary)
{
    uint64_t weight = weight_of(b->size);
    count_gone(entry_of(b), weight, weight * b->size,
               (uint64_t)b->time_hi << 32 | b->time_lo, temporary);
}

static inline __attribute__((always_inline)) void
count_come(struct sn_spool_entry *x, uint64_t objects, uint64_t bytes)
{
    struct sn_spool_header *h = sn_heap_table.header;
    lock(x);
    settle_peak(x);
    add(x, SN_HEAP_ALLOC_OBJECTS, objects, bytes);
    /* At once: another thread's rise between the two would count the block here only. */
    uint64_t live = __atomic_add_fetch(&h->live_bytes, bytes, __ATOMIC_RELAXED);
    unlock(x);
    raise_peak(h, live);
}

static void count_allocated(struct sn_spool_entry *x, uint64_t size)
{
    uint64_t weight = weight_of(size);
    count_come(x, weight, weight * size);
}

/* The entry of the stack above the call that returns to `caller`, or to that of new.
 * Inlined for the sake of blocks, as what counts them. */
static inline __attribute__((always_inline)) struct sn_spool_entry *
stack_entry(struct sn_heap_thread *t, uint64_t size, const void *caller)
{
    enum sn_unwind_end end;
    size_t n = sn_unwind_here(t->stack, t->pcs, SN_COUNT(t->pcs), &end);
    size_t own = sn_thread_frame_of(t->pcs, n, caller);
    if (own == n)
        own = 0; /* not met: better too much than nothing */
    else if (sn_heap_local.news > 0)
        own = sn_new_frame_of(t->pcs, n, own);
    n = n - own < SN_MAX_DEPTH ? n - own : SN_MAX_DEPTH;
    struct sn_table_key key = {.thread = t->slot,
                               .end = (uint16_t)end,
                               .size_class = sn_spool_size_class(size),
                               .pcs = t->pcs + own,
                               .n = n};
    return sn_table_entry(&sn_heap_table, &key);
}

static inline __attribute__((always_inline)) void tick_name(struct sn_heap_thread *t)
{
    char name[17] = "";
    if (++t->events % NAME_EVERY != 0)
        return;
    prctl(PR_GET_NAME, name);
    sn_table_thread_name(&sn_heap_table, t->slot, name);
    sn_heap_table.header->last_mono_ns = sn_clock_ns(CLOCK_MONOTONIC);
}

/* The count and its bit in one, else a block that comes could lose its bit to one that
 * goes. */
static void pass_filter(uintptr_t address, int change)
{
    uint32_t hash = sn_heap_filter_hash(address);
    unsigned char *count = &filter_counts[hash];
    unsigned spins = 0;
    if (!sn_heap_kind.filtered)
        return;
    while (atomic_flag_test_and_set_explicit(&filter_lock, memory_order_acquire))
        if (++spins % 128 == 0)
            sched_yield();
    filter_used = true;
    if (*count != UCHAR_MAX)
        *count = (unsigned char)(*count + change);
    if (*count != 0)
        atomic_fetch_or(&sn_heap_filter[hash >> 6], UINT64_C(1) << (hash & 63));
    else
        atomic_fetch_and(&sn_heap_filter[hash >> 6], ~(UINT64_C(1) << (hash & 63)));
    atomic_flag_clear_explicit(&filter_lock, memory_order_release);
}

void sn_heap_filter_clear(void)
{
    if (filter_used) {
        memset(sn_heap_filter, 0, sizeof sn_heap_filter);
        memset(filter_counts, 0, sizeof filter_counts);
        filter_used = false;
    }
    atomic_flag_clear(&filter_lock); /* a fork's parent may have held it */
}

static bool put_block(const struct sn_block *block, struct sn_block *replaced)
{
    bool good = sn_live_put(&sn_heap_live, block, replaced);
    if (good && replaced->address == 0)
        pass_filter(block->address, 1);
    return good;
}

static bool take_block(uintptr_t address, struct sn_block *block)
{
    bool found = sn_live_take(&sn_heap_live, address, block);
    if (found)
        pass_filter(address, -1);
    return found;
}

static void record(struct sn_heap_thread *t, uintptr_t p, uint64_t size,
                   const void *caller)
{
    struct sn_block replaced, block = {.address = p, .size = size};
    struct sn_spool_entry *x = stack_entry(t, size, caller);
    uint64_t now = sn_heap_kind.exact ? now_ticks() : 0;
    if (x == NULL) {
        sn_table_drop(&sn_heap_table, SN_DROP_FULL, 1);
        sn_heap_know((void *)p, size);
        return;
    }
    block.entry = (uint32_t)(((uintptr_t)x - (uintptr_t)sn_heap_table.header) / 8);
    block.time_hi = now >> 32 & 0xffffff;
    block.time_lo = (uint32_t)now;
    if (!put_block(&block, &replaced)) {
        sn_table_drop(&sn_heap_table, SN_DROP_FULL, 1);
        sn_heap_kind.knows_all = false;
        return;
    }
    if (replaced.address != 0 && replaced.entry != 0)
        count_freed(&replaced, false); /* by a way that we do not see */
    count_allocated(x, block.size);
}

void sn_heap_know(void *p, size_t size)
{
    struct sn_block replaced, block = {.address = (uintptr_t)p, .size = size};
    if (sn_heap_kind.exact && !put_block(&block, &replaced))
        sn_heap_kind.knows_all = false;
}

static void forget(struct sn_heap_thread *t, uintptr_t address)
{
    struct sn_block block;
    if (take_block(address, &block) && block.entry != 0)
        count_freed(&block, address == t->last);
    t->last = 0;
}

/* ---- what the allocator's functions call ----------------------------------------------
 */

/* On top of our own work: later. False: it cannot be. */
static bool defer(struct sn_heap_thread *t, struct deferred d)
{
    if (t == NULL || !sn_heap_on())
        return false;
    unsigned n = atomic_load_explicit(&t->n_deferred, memory_order_relaxed);
    if (n == DEFERRED_MAX) {
        sn_heap_kind.knows_all =
            false; /* its record ends when its address is met again */
        return false;
    }
    t->deferred[n] = d;
    atomic_store_explicit(&t->n_deferred, n + 1, memory_order_relaxed);
    return true;
}

void sn_heap_allocated(void *p, size_t size, const void *caller)
{
    int saved = errno;
    struct sn_heap_thread *t = enter();
    if (t == NULL) {
        t = sn_heap_local.thread;
        bool later = defer(t, (struct deferred){.p = p, .size = size});
        if (later && t->recording == sn_heap_kind.recording &&
            !t->own) /* not in set_up */
            sn_table_drop(&sn_heap_table, SN_DROP_NESTED, 1);
        errno = saved;
        return;
    }
    bool each = sn_heap_mode() != SN_HEAP_SOME;
    if (each || sn_heap_local.left == 0) { /* else it was the thread's first */
        record(t, (uintptr_t)p, size, caller);
        t->last = (uintptr_t)p;
        if (!each)
            sn_heap_begin_distance(t, 0);
        tick_name(t);
    }
    leave(t);
    errno = saved;
}

struct sn_heap_thread *sn_heap_own_begin(void)
{
    struct sn_heap_thread *t = sn_heap_on() ? enter() : NULL;
    if (t != NULL)
        t->own = true;
    return t;
}

void sn_heap_own_end(struct sn_heap_thread *t)
{
    if (t == NULL)
        return;
    t->own = false;
    leave(t);
}

uint32_t sn_heap_mapped(struct sn_heap_thread *t, const struct sn_mapped *m,
                        const void *caller)
{
    uint64_t bytes = m->hi - m->lo, scale = sn_heap_table.header->scale;
    struct sn_spool_entry *x = stack_entry(t, bytes, caller);
    if (x == NULL) {
        sn_table_drop(&sn_heap_table, SN_DROP_FULL, 1);
        return 0;
    }
    count_come(x, scale, scale * bytes);
    t->last = m->lo;
    tick_name(t);
    return (uint32_t)(((uintptr_t)x - (uintptr_t)sn_heap_table.header) / 8);
}

void sn_heap_unmapped(struct sn_heap_thread *t, const struct sn_mapped *m, uint64_t bytes,
                      int pieces)
{
    uint64_t scale = sn_heap_table.header->scale;
    struct sn_spool_entry *x = entry_of(&(struct sn_block){.entry = m->entry});
    count_gone(x, pieces < 0 ? scale : 0, scale * bytes, m->born,
               pieces < 0 && t->last == m->lo);
    if (pieces > 0)
        count_come(x, scale, 0);
    t->last = 0;
}

uint64_t sn_heap_now(void)
{
    return sn_heap_kind.exact ? now_ticks() : 0;
}

bool sn_heap_freeing(void *p)
{
    int saved = errno;
    struct sn_heap_thread *t = enter();
    bool later = t == NULL &&
                 defer(sn_heap_local.thread, (struct deferred){.p = p, .freed = true});
    if (t != NULL) {
        forget(t, (uintptr_t)p);
        leave(t);
    }
    errno = saved;
    return !later;
}

bool sn_heap_moving(void *p, struct sn_block *aside)
{
    aside->address = 0;
    struct sn_heap_thread *t = enter();
    if (t == NULL)
        return !sn_heap_on();
    if (!take_block((uintptr_t)p, aside))
        aside->address = 0;
    else
        atomic_fetch_add_explicit(&t->moving, 1, memory_order_relaxed);
    leave(t);
    return true;
}

/* A scan that came between the two would miss the block, and all that it leads to. */
static void end_moving(struct sn_heap_thread *t)
{
    if (t != NULL && atomic_load(&t->moving) > 0)
        atomic_fetch_sub(&t->moving, 1);
}

bool sn_heap_moved(const struct sn_block *aside, void *fresh, size_t size,
                   const void *caller)
{
    struct sn_block replaced;
    int saved = errno;
    struct sn_heap_thread *t = enter();
    bool told = t != NULL && fresh != NULL && sn_heap_mode() != SN_HEAP_SOME;
    if (t == NULL) {
        end_moving(sn_heap_local.thread);
        return false;
    }
    if (fresh == NULL && size > 0) {
        put_block(aside, &replaced);
    } else {
        if (aside->entry != 0)
            count_freed(aside, aside->address == t->last);
        t->last = 0;
    }
    if (told) {
        record(t, (uintptr_t)fresh, size, caller);
        t->last = (uintptr_t)fresh;
        tick_name(t);
    }
    end_moving(t);
    leave(t);
    errno = saved;
    return told;
}

/* ---- fork -----------------------------------------------------------------------------
 */

/* What other handlers of fork allocate meanwhile is not recorded, and takes no lock. */
void sn_heap_before_fork(void)
{
    struct sn_heap_thread *t = sn_heap_on() ? enter() : NULL;
    if (t != NULL)
        t->forking = true; /* and stays busy */
}

void sn_heap_after_fork(bool child)
{
    struct sn_heap_thread *own = sn_heap_local.thread;
    bool left = own != NULL && own->forking;
    if (left)
        own->forking = false;
    if (!child) {
        if (left)
            leave(own);
        return;
    }
    if (sn_heap_on())
        atomic_store(&sn_heap_switch.mode, SN_HEAP_OFF);
    sn_heap_unlock_ends();
    for (struct sn_heap_thread *t = atomic_load(&sn_heap_threads); t != NULL;
         t = t->next) {
        if (t != own)
            atomic_store(&t->local, NULL);
        atomic_store(&t->tid, t == own ? (int)sn_thread_id() : 0);
        atomic_store(&t->busy, false);
        atomic_store(&t->moving, 0);
        t->recording = 0;
    }
    sn_live_close(&sn_heap_live);
    sn_maps_close();
    if (left) /* they were the parent's to count */
        do_deferred(own, false);
}
