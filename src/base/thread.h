/*
 * thread.h: threads of the command, for work that is to be done beside the caller's. They
 * hear no signals. Not in libsonde.
 */
#ifndef SN_THREAD_H
#define SN_THREAD_H

#include "base/base.h"

#include <pthread.h>
#include <sched.h>

struct sn_thread { /* stays where it is until it is joined */
    pthread_t id;
    void (*run)(void *arg);
    void *arg;
    cpu_set_t cores; /* that it may use */
};

/* False: there can be none. It begins on another core than the caller's, if there is one:
 * the scheduler parts those that it has put together only after some milliseconds. */
bool sn_thread_start(struct sn_thread *t, void (*run)(void *arg), void *arg);
void sn_thread_join(const struct sn_thread *t);

#endif
