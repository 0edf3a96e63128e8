/*
 * heap_threads.c: the threads whose heap is recorded: what each has of its own, from the
 * first block that it allocates to its end.
 *
 * Allocates only pages. Signal-safe but for sn_heap_forget_distances and the ends.
 */
#include "runtime/heap_priv.h"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

_Atomic(struct sn_heap_thread *) sn_heap_threads;
static atomic_flag at_end = ATOMIC_FLAG_INIT; /* held by who ends, or looks at `local` */
static pthread_key_t end_key;
static bool have_key;

void sn_heap_begin_distance(struct sn_heap_thread *t, uint64_t behind)
{
    t->random = sn_hash_mix(t->random + UINT64_C(0x9e3779b97f4a7c15));
    double u = (double)((t->random >> 11) + 1) / 9007199254740993.0; /* in (0, 1) */
    uint64_t distance = 1 + (uint64_t)(-sn_ln(u) * sn_heap_kind.rate_bytes);
    sn_heap_local.left = distance > behind ? distance - behind : 0;
    sn_heap_local.over = 0;
}

static void lock_ends(void)
{
    while (atomic_flag_test_and_set_explicit(&at_end, memory_order_acquire))
        sched_yield();
}

void sn_heap_unlock_ends(void)
{
    atomic_flag_clear_explicit(&at_end, memory_order_release);
}

/* What was left of a distance belongs to the recording before, and to its rate: it would
 * hide what is allocated before it is met. */
void sn_heap_forget_distances(void)
{
    lock_ends();
    for (struct sn_heap_thread *t = atomic_load(&sn_heap_threads); t != NULL;
         t = t->next) {
        struct sn_heap_local *local = atomic_load(&t->local);
        if (local != NULL)
            __atomic_store_n(&local->left, 0, __ATOMIC_RELAXED),
                __atomic_store_n(&local->over, 0, __ATOMIC_RELAXED);
    }
    sn_heap_unlock_ends();
}

/* After the destructors of the program, as far as may be: they free, too. */
static void on_thread_end(void *thread)
{
    struct sn_heap_thread *t = thread;
    char name[24];
    sn_control_thread_ends();
    if (++t->ends < PTHREAD_DESTRUCTOR_ITERATIONS) {
        pthread_setspecific(end_key, t);
        return;
    }
    if (sn_heap_on() && t->recording == sn_heap_kind.recording) {
        sn_thread_name(sn_thread_id(), name, sizeof name);
        sn_table_thread_name(&sn_heap_table, t->slot, name);
    }
    sn_heap_local.thread = NULL; /* another is taken if yet more is to come */
    lock_ends();
    atomic_store(&t->local, NULL);
    sn_heap_unlock_ends();
    atomic_store(&t->tid, 0);
}

struct sn_heap_thread *sn_heap_unused_thread(pid_t tid)
{
    struct sn_heap_thread *t = atomic_load(&sn_heap_threads);
    for (; t != NULL; t = t->next) {
        int nobody = 0;
        if (atomic_compare_exchange_strong(&t->tid, &nobody, tid))
            return t;
    }
    if ((t = sn_pages_map(sizeof *t)) == NULL)
        return NULL;
    atomic_store(&t->tid, tid);
    t->next = atomic_load(&sn_heap_threads);
    while (!atomic_compare_exchange_weak(&sn_heap_threads, &t->next, t))
        continue;
    return t;
}

/* Set up for this recording. Busy, since it may allocate. */
void sn_heap_set_up(struct sn_heap_thread *t)
{
    pid_t tid = sn_thread_id();
    char name[17] = "";
    prctl(PR_GET_NAME, name);
    t->slot = sn_table_thread(&sn_heap_table, (uint32_t)tid);
    sn_table_thread_name(&sn_heap_table, t->slot, name);
    t->events = 0;
    t->last = 0;
    t->random = sn_clock_ns(CLOCK_MONOTONIC) ^ (uintptr_t)t ^ (uint64_t)tid << 40;
    t->stack = sn_thread_stack();
    t->pointer = (uintptr_t)__builtin_thread_pointer();
    if (t->ends == 0 && pthread_setspecific(end_key, t) == 0)
        atomic_store(&t->local, &sn_heap_local);
    /* What is behind it counts from here: nothing was ever due. */
    sn_heap_begin_distance(t, sn_heap_local.over);
    t->recording = sn_heap_kind.recording;
}

bool sn_heap_make_key(void)
{
    if (!have_key)
        have_key = pthread_key_create(&end_key, on_thread_end) == 0;
    return have_key;
}

uintptr_t sn_heap_dead_stack(uintptr_t lo, uintptr_t hi)
{
    for (struct sn_heap_thread *t = atomic_load(&sn_heap_threads); t != NULL; t = t->next)
        if (atomic_load(&t->tid) == 0 && t->stack.lo == lo && t->pointer > lo &&
            t->pointer < hi && hi - t->pointer < 65536)
            return t->pointer;
    return 0;
}

void sn_heap_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                   void *argument)
{
    for (struct sn_heap_thread *t = atomic_load(&sn_heap_threads); t != NULL; t = t->next)
        visit(t, sizeof *t, argument);
}
