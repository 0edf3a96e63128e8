/*
 * parallel.c: threads, and work on all cores, whose threads live for one piece of work
 * only and are not needed: where there can be none, the caller does it all. Not in
 * libsonde.
 */
#include "base/thread.h"

#include <signal.h>
#include <stdatomic.h>

unsigned sn_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > SN_CORES_MAX ? SN_CORES_MAX : (unsigned)n;
}

static void *begin(void *thread)
{
    struct sn_thread *t = thread;
    sched_setaffinity(0, sizeof t->cores, &t->cores);
    t->run(t->arg);
    return NULL;
}

bool sn_thread_start(struct sn_thread *t, void (*run)(void *arg), void *arg)
{
    pthread_attr_t elsewhere;
    sigset_t all, old;
    int core = sched_getcpu();
    *t = (struct sn_thread){.run = run, .arg = arg};
    if (sched_getaffinity(0, sizeof t->cores, &t->cores) != 0 ||
        pthread_attr_init(&elsewhere) != 0)
        return false;
    cpu_set_t others = t->cores;
    if (core >= 0 && core < CPU_SETSIZE)
        CPU_CLR(core, &others);
    if (CPU_COUNT(&others) > 0)
        pthread_attr_setaffinity_np(&elsewhere, sizeof others, &others);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool started = pthread_create(&t->id, &elsewhere, begin, t) == 0 ||
                   pthread_create(&t->id, NULL, begin, t) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&elsewhere);
    return started;
}

void sn_thread_join(const struct sn_thread *t)
{
    pthread_join(t->id, NULL);
}

struct work {
    void (*run)(void *arg, unsigned part);
    void *arg;
    unsigned n;
    atomic_uint next;
};

static void take(void *arg)
{
    struct work *w = arg;
    unsigned part;
    while ((part = atomic_fetch_add(&w->next, 1)) < w->n)
        w->run(w->arg, part);
}

void sn_parallel(unsigned n, void (*run)(void *arg, unsigned part), void *arg)
{
    struct work w = {.run = run, .arg = arg, .n = n};
    struct sn_thread threads[SN_CORES_MAX];
    unsigned want = sn_cores() < n ? sn_cores() : n, started = 0;
    while (started + 1 < want && sn_thread_start(&threads[started], take, &w))
        started++;
    take(&w);
    while (started > 0)
        sn_thread_join(&threads[--started]);
}
