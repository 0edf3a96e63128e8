/*
 * libgc_dump.c: libgc's part of a heap dump. The dump is written when a collection has
 * just marked what lives: libgc holds its lock and its world is stopped, so that its
 * blocks are known exactly and nobody changes them.
 *
 *     sonde_heapdump_write -> collect -> MARK_END: run -> runtime/dump.c -> reach.c
 *                                                            asks us <───────┘
 *
 * Which of its functions allocated a block is not known, but for whether it may hold
 * pointers, or is never collected: so its sites are GC_malloc, GC_malloc_atomic and
 * GC_malloc_uncollectable, without callers. No malloc.
 */
#include "trace/libgc.h"

/* Of gc_mark.h and the collector's private header: kinds of blocks. */
enum { POINTER_FREE, NORMAL, UNCOLLECTABLE, POINTER_FREE_UNCOLLECTABLE };

static struct {
    void (*run)(void *argument);
    void *argument;
    bool done;
} job;
static atomic_flag busy = ATOMIC_FLAG_INIT;
static __thread bool is_ours __attribute__((tls_model("initial-exec")));
static bool at_rest; /* in `run` */
static struct sn_gc_sites sites;

/* The spool's entry of a stack that has but this function in it. */
static uint32_t site_of(const void *function)
{
    const uintptr_t pc = (uintptr_t)function + 1; /* as one that is returned to */
    const struct sn_table_key key = {
        .thread = sn_table_find_thread(&sn_heap_table, (uint32_t)sn_thread_id()),
        .pcs = &pc,
        .n = 1};
    const struct sn_spool_entry *x =
        function != NULL ? sn_table_entry(&sn_heap_table, &key) : NULL;
    return x != NULL ? (uint32_t)(((uintptr_t)x - (uintptr_t)sn_heap_table.header) / 8)
                     : 0;
}

/* We are called by libgc: our stack has its file noted in the spool. */
static bool find_sites(void)
{
    uintptr_t pcs[SN_TRACE_DEPTH];
    enum sn_unwind_end end;
    if (sn_heap_table.header == NULL || sn_libgc.kind_and_size == NULL ||
        sn_libgc.is_heap_ptr == NULL)
        return false;
    sn_unwind_here(sn_thread_stack(), pcs, SN_COUNT(pcs), &end);
    sites.pointers = site_of(sn_libgc.malloc);
    sites.pointer_free = site_of(sn_libgc.malloc_atomic);
    sites.uncollectable = site_of(sn_libgc.malloc_uncollectable);
    return sites.pointers != 0 && sites.pointer_free != 0 && sites.uncollectable != 0;
}

void sn_libgc_at_mark_end(void)
{
    if (!is_ours || job.done)
        return;
    job.done = true;
    at_rest = find_sites();
    job.run(job.argument);
    at_rest = false;
}

bool sn_trace_gc_at_rest(void (*run)(void *argument), void *argument)
{
    if (!sn_libgc_find(NULL) || !sn_libgc_is_used() || atomic_flag_test_and_set(&busy))
        return false;
    job.run = run;
    job.argument = argument;
    job.done = false;
    is_ours = true;
    sn_libgc_collect(sn_libgc.gcollect);
    is_ours = false;
    bool done = job.done;
    atomic_flag_clear(&busy);
    return done;
}

const struct sn_gc_sites *sn_trace_gc_sites(void)
{
    return at_rest ? &sites : NULL;
}

bool sn_trace_gc_owns(uintptr_t page)
{
    return sn_libgc.is_heap_ptr((const void *)page) != 0;
}

struct visit {
    void (*visit)(struct sn_block *block, void *argument);
    void *argument;
};

static void visit_object(void *object, size_t bytes, void *visit)
{
    const struct visit *v = visit;
    size_t unused;
    int kind = sn_libgc.kind_and_size(object, &unused);
    struct sn_block b = {.address = (uintptr_t)object, .size = bytes};
    b.entry = kind == POINTER_FREE ? sites.pointer_free
              : kind == UNCOLLECTABLE || kind == POINTER_FREE_UNCOLLECTABLE
                  ? sites.uncollectable
                  : sites.pointers;
    v->visit(&b, v->argument);
}

void sn_trace_gc_each(void (*visit)(struct sn_block *block, void *argument),
                      void *argument)
{
    struct visit v = {visit, argument};
    if (at_rest)
        sn_libgc.enumerate(visit_object, &v);
}
