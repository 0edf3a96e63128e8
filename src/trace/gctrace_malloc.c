/*
 * gctrace_malloc.c: the line of a collection for a program that has no collector, where
 * one at GOGC=100 would have run: when as many bytes were allocated as were live at the
 * line before, and at least until there are 4 MB.
 *
 *     gc 3 @0.210s 0%: 0+0+0 ms clock, 0+0/0/0+0 ms cpu, 16->16->9 MB, 16 MB goal, 2 P
 *     malloc, 40213 (90412-50199) objects
 *
 * The first two sizes are what such a heap had grown to, with what was freed meanwhile;
 * the third is what is live. Bytes are the allocator's own measure of its blocks.
 *
 * Each thread counts for itself, in a slot that only it writes: two threads do not slow
 * each other. After each 64 KiB of its own it adds up all slots. Who finds that a line is
 * due writes it; others go on. Slots outlive their threads, whose counts stay. Once laid
 * the layer counts for ever, so that the sums are right when it is started again.
 *
 * No lock, no malloc; in a signal's handler a count may be lost.
 */
#include "trace/gctrace.h"
#include "trace/libgc.h"

#include "sonde.h"

#include <sched.h>

#define LEAST_GOAL  (UINT64_C(4) << 20)
#define CHECK_BYTES (UINT64_C(64) << 10)
#define SLOTS       63

struct counts {
    atomic_uint_least64_t allocated, freed, mallocs, frees; /* the first two bytes */
};

struct slot {
    _Alignas(64) struct counts c;
    uint64_t checked; /* of c.allocated, when it was looked at last */
    bool shared;      /* several threads write it */
    atomic_bool taken;
};

struct chunk {
    struct chunk *next;
    struct slot slots[SLOTS];
};

static struct slot common = {.shared = true}; /* of threads that end, or found no room */
static _Atomic(struct chunk *) chunks;
static __thread struct slot *mine __attribute__((tls_model("initial-exec")));
static pthread_key_t end_key;
static bool have_key;

static atomic_bool on;
static atomic_flag writing = ATOMIC_FLAG_INIT;
/* Whose `writing` is: what was there at the last line. */
static struct {
    atomic_uint_least64_t allocated, live;
    unsigned lines, cpus;
} last;

/* ---- slots ----------------------------------------------------------------------------
 */

static struct slot *claim(struct chunk *c)
{
    for (size_t i = 0; i < SLOTS; i++)
        if (!atomic_load_explicit(&c->slots[i].taken, memory_order_relaxed) &&
            !atomic_exchange(&c->slots[i].taken, true))
            return &c->slots[i];
    return NULL;
}

static struct slot *take_slot(void)
{
    struct slot *s = NULL;
    for (struct chunk *c = atomic_load(&chunks); c != NULL && s == NULL; c = c->next)
        s = claim(c);
    if (s != NULL)
        return s;
    struct chunk *fresh = sn_pages_map(sizeof *fresh);
    if (fresh == NULL)
        return &common;
    fresh->slots[0].taken = true;
    fresh->next = atomic_load(&chunks);
    while (!atomic_compare_exchange_weak(&chunks, &fresh->next, fresh))
        continue;
    return &fresh->slots[0];
}

static void on_thread_end(void *slot)
{
    mine = &common; /* what other destructors free */
    atomic_store(&((struct slot *)slot)->taken, false);
}

static __attribute__((noinline)) struct slot *begin_thread(void)
{
    mine = take_slot(); /* before the key, which may allocate */
    if (mine != &common && have_key)
        pthread_setspecific(end_key, mine);
    return mine;
}

static inline struct slot *slot(void)
{
    struct slot *s = mine;
    return __builtin_expect(s != NULL, 1) ? s : begin_thread();
}

static inline void add(struct slot *s, atomic_uint_least64_t *to, uint64_t n)
{
    if (__builtin_expect(s->shared, 0))
        atomic_fetch_add_explicit(to, n, memory_order_relaxed);
    else
        atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + n,
                              memory_order_relaxed);
}

struct sums {
    uint64_t allocated, freed, mallocs, frees;
};

static void add_counts(struct sums *to, const struct counts *c)
{
    to->frees += atomic_load_explicit(&c->frees, memory_order_relaxed);
    to->freed += atomic_load_explicit(&c->freed, memory_order_relaxed);
    to->mallocs += atomic_load_explicit(&c->mallocs, memory_order_relaxed);
    to->allocated += atomic_load_explicit(&c->allocated, memory_order_relaxed);
}

static struct sums add_up(void)
{
    struct sums s = {0};
    add_counts(&s, &common.c);
    for (const struct chunk *c = atomic_load(&chunks); c != NULL; c = c->next)
        for (size_t i = 0; i < SLOTS; i++)
            add_counts(&s, &c->slots[i].c);
    return s;
}

static uint64_t difference(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* ---- the line -------------------------------------------------------------------------
 */

static uint64_t goal_of(uint64_t live)
{
    return 2 * live > LEAST_GOAL ? 2 * live : LEAST_GOAL;
}

static bool is_due(const struct sums *s)
{
    uint64_t live = last.live;
    return difference(s->allocated, last.allocated) >= goal_of(live) - live;
}

static void write_line(const struct sums *s)
{
    struct sn_gc_number at;
    uint64_t before = last.live + difference(s->allocated, last.allocated);
    uint64_t goal = goal_of(last.live), live = difference(s->allocated, s->freed);
    last.live = live;
    last.allocated = s->allocated;
    if (sn_libgc_is_used())
        return;
    sn_trace_printf("gc %u @%ss 0%%: 0+0+0 ms clock, 0+0/0/0+0 ms cpu, %lu->%lu->%lu MB, "
                    "%lu MB goal, %u P malloc, %lu (%lu-%lu) objects%s\n",
                    ++last.lines, sn_gc_seconds(&at, sn_trace_ns()),
                    (unsigned long)(before >> 20), (unsigned long)(before >> 20),
                    (unsigned long)(live >> 20), (unsigned long)(goal >> 20), last.cpus,
                    (unsigned long)difference(s->mallocs, s->frees),
                    (unsigned long)s->mallocs, (unsigned long)s->frees, sn_trace_pid());
}

static __attribute__((noinline)) void check(struct slot *s)
{
    s->checked = s->c.allocated;
    struct sums sums = add_up();
    if (!on || !is_due(&sums) || atomic_flag_test_and_set(&writing))
        return;
    sums = add_up();
    if (is_due(&sums)) /* else somebody has just written it */
        write_line(&sums);
    atomic_flag_clear(&writing);
}

/* ---- the layer ------------------------------------------------------------------------
 */

static inline void came(uint64_t bytes, uint64_t blocks)
{
    struct slot *s = slot();
    add(s, &s->c.mallocs, blocks);
    add(s, &s->c.allocated, bytes);
    if (__builtin_expect(s->c.allocated - s->checked >= CHECK_BYTES, 0))
        check(s);
}

static inline void went(uint64_t bytes, uint64_t blocks)
{
    struct slot *s = slot();
    add(s, &s->c.frees, blocks);
    add(s, &s->c.freed, bytes);
}

static void *allocate(struct sn_layer *self, size_t size, size_t alignment, bool zeroed)
{
    struct sn_layer *below = self->below;
    void *p = below->allocate(below, size, alignment, zeroed);
    if (p != NULL)
        came(below->usable(below, p), 1);
    return p;
}

static void release(struct sn_layer *self, void *p)
{
    struct sn_layer *below = self->below;
    went(below->usable(below, p), 1);
    below->release(below, p);
}

/* Where it stays, only what it grows by was allocated. */
static void *resize(struct sn_layer *self, void *p, size_t size)
{
    struct sn_layer *below = self->below;
    uint64_t old = below->usable(below, p);
    uintptr_t was = (uintptr_t)p;
    void *fresh = below->resize(below, p, size);
    if (fresh == NULL)
        return NULL;
    uint64_t now = below->usable(below, fresh);
    bool moved = (uintptr_t)fresh != was;
    if (moved || now < old)
        went(moved ? old : old - now, moved);
    if (moved || now > old)
        came(moved ? now : now - old, moved);
    return fresh;
}

static size_t usable(struct sn_layer *self, void *p)
{
    return self->below->usable(self->below, p);
}

static struct sn_layer layer = {allocate, resize, release, usable, NULL};

/* ---- its life -------------------------------------------------------------------------
 */

static void count_early(void *p, size_t size)
{
    (void)size;
    atomic_fetch_add(&common.c.allocated, layer.below->usable(layer.below, p));
    atomic_fetch_add(&common.c.mallocs, 1);
}

/* What is live already: block by block at the program's beginning, else as a sum. */
static void count_what_is_there(void)
{
    struct sonde_mem_stats stats = {0};
    if (sn_malloc_early(count_early))
        return;
    sn_mem_ask(&stats);
    atomic_store(&common.c.allocated, stats.in_use_bytes);
    atomic_store(&common.c.mallocs, 0);
}

void sn_gc_malloc_start(void)
{
    cpu_set_t cpus;
    static bool laid;
    if (!laid) {
        have_key = pthread_key_create(&end_key, on_thread_end) == 0;
        sn_layer_lay(SN_LAYER_GCTRACE, &layer);
        count_what_is_there();
        laid = true;
    }
    last.cpus = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    struct sums s = add_up();
    last.allocated = s.allocated;
    last.live = difference(s.allocated, s.freed);
    on = true;
}

void sn_gc_malloc_stop(void)
{
    on = false;
}

void sn_gc_malloc_after_fork(void)
{
    on = false;
    last.lines = 0;
    atomic_flag_clear(&writing);
    for (struct chunk *c = atomic_load(&chunks); c != NULL; c = c->next)
        for (size_t i = 0; i < SLOTS; i++)
            if (&c->slots[i] != mine)
                atomic_store(&c->slots[i].taken, false);
}

void sn_gc_malloc_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                        void *argument)
{
    for (struct chunk *c = atomic_load(&chunks); c != NULL; c = c->next)
        visit(c, sizeof *c, argument);
}
