/*
 * guard.c: what of ours must not be broken off halfway: a file that is being written, the
 * world while it is stopped.
 *
 * A thread that is to be cancelled goes on until it is done, and what a write raises
 * (SIGPIPE: nobody reads any more; SIGXFSZ: the file is as large as it may be) does not
 * kill the program, which did not write. System calls only; signal-safe; keeps errno.
 */
#include "runtime/runtime.h"

#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>

static const int raised[] = {SIGPIPE, SIGXFSZ};               /* by writing */
static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL}; /* by the thread itself */

static bool is_pending(int signal)
{
    sigset_t pending;
    return sigpending(&pending) == 0 && sigismember(&pending, signal) == 1;
}

void sn_guard_begin(struct sn_guard *g, bool all)
{
    int saved = errno;
    sigset_t set;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &g->cancel);
    sigemptyset(&set);
    for (size_t i = 0; i < SN_COUNT(raised); i++)
        sigaddset(&set, raised[i]);
    if (all)
        sigfillset(&set);
    for (size_t i = 0; i < SN_COUNT(fatal); i++)
        sigdelset(&set, fatal[i]);
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, &g->mask, _NSIG / 8);
    g->pending = 0;
    for (size_t i = 0; i < SN_COUNT(raised); i++)
        g->pending |= is_pending(raised[i]) ? 1u << i : 0;
    errno = saved;
}

void sn_guard_end(const struct sn_guard *g)
{
    const struct timespec at_once = {0};
    int saved = errno;
    for (size_t i = 0; i < SN_COUNT(raised); i++)
        if (!(g->pending & 1u << i) && is_pending(raised[i])) {
            sigset_t one;
            sigemptyset(&one);
            sigaddset(&one, raised[i]);
            syscall(SYS_rt_sigtimedwait, &one, NULL, &at_once, _NSIG / 8);
        }
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &g->mask, NULL, _NSIG / 8);
    pthread_setcancelstate(g->cancel, NULL);
    errno = saved;
}
