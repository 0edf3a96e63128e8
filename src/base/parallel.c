/*
 * parallel.c: work on all cores. The threads live for one piece of work only, hear no
 * signals, and are not needed: where there can be none, the caller does it all. Not in
 * libsonde.
 */
#include "base/base.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

unsigned sn_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > SN_CORES_MAX ? SN_CORES_MAX : (unsigned)n;
}

struct work {
    void (*run)(void *arg, unsigned part);
    void *arg;
    unsigned n;
    atomic_uint next;
};

static void *take(void *arg)
{
    struct work *w = arg;
    unsigned part;
    while ((part = atomic_fetch_add(&w->next, 1)) < w->n)
        w->run(w->arg, part);
    return NULL;
}

void sn_parallel(unsigned n, void (*run)(void *arg, unsigned part), void *arg)
{
    struct work w = {.run = run, .arg = arg, .n = n};
    pthread_t threads[SN_CORES_MAX];
    unsigned want = sn_cores() < n ? sn_cores() : n, started = 0;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (started + 1 < want && pthread_create(&threads[started], NULL, take, &w) == 0)
        started++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    take(&w);
    while (started > 0)
        pthread_join(threads[--started], NULL);
}
