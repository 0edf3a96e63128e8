/*
 * libgc_dump.c: libgc's part of a heap dump. The dump is written when a collection has
 * just marked what lives: libgc holds its lock and its world is stopped, so that its
 * blocks are known exactly and nobody changes them.
 *
 *     sonde_heapdump_write -> collect -> MARK_END: run -> runtime/dump.c -> reach.c
 *                                                            asks us <───────┘
 *
 * One that is asked for from outside comes in a signal's handler, where nothing can be
 * collected: it waits until a thread of the program allocates.
 *
 * Which of its functions allocated a block is not known, but for whether it may hold
 * pointers, or is never collected: so its sites are GC_malloc, GC_malloc_atomic and
 * GC_malloc_uncollectable, without callers. No malloc.
 */
#include "trace/libgc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/* ---- later ----------------------------------------------------------------------------
 */

static struct {
    atomic_int state;
    void (*run)(int fd, const char *path);
    int fd;
    char path[PATH_MAX];
} waiting;
enum { NOTHING, COMING, READY, UNDER_WAY };

bool sn_trace_gc_watch(void)
{
    return sn_libgc_find(NULL);
}

bool sn_trace_gc_is_used(void)
{
    return sn_libgc_is_used();
}

bool sn_trace_gc_later(void (*run)(int fd, const char *path), int fd, const char *path)
{
    int state = NOTHING;
    if (!atomic_compare_exchange_strong(&waiting.state, &state, COMING))
        return false;
    int copy = dup(fd);
    waiting.fd = copy >= 0 ? sn_fd_move_high(copy) : -1;
    waiting.run = run;
    bool good = waiting.fd >= 0 && snprintf(waiting.path, sizeof waiting.path, "%s",
                                            path) < (int)sizeof waiting.path;
    if (!good && waiting.fd >= 0)
        syscall(SYS_close, waiting.fd);
    atomic_store(&waiting.state, good ? READY : NOTHING);
    if (good)
        sn_libgc_ask(SN_LIBGC_DUMP);
    return good;
}

static void run_waiting(void *nothing)
{
    (void)nothing;
    waiting.run(waiting.fd, waiting.path);
}

void sn_libgc_dump(void)
{
    int state = READY;
    if (!atomic_compare_exchange_strong(&waiting.state, &state, UNDER_WAY))
        return;
    if (!sn_trace_gc_at_rest(run_waiting, NULL))
        run_waiting(NULL);
    syscall(SYS_close, waiting.fd);
    atomic_store(&waiting.state, NOTHING);
}

void sn_trace_gc_not_later(void)
{
    int state = READY;
    if (!atomic_compare_exchange_strong(&waiting.state, &state, COMING))
        return;
    syscall(SYS_close, waiting.fd);
    atomic_store(&waiting.state, NOTHING);
}

void sn_libgc_drop_dump(void)
{
    if (atomic_exchange(&waiting.state, NOTHING) >= READY)
        syscall(SYS_close, waiting.fd);
}

/* ---- for reach.c ----------------------------------------------------------------------
 */

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
