/*
 * sleep.c: the calls that wait, and that SA_RESTART does not restart (signal(7)).
 *
 * A tick that comes while such a call is being entered would end it with EINTR, which the
 * program did not ask for. So our signal is blocked for as long as the thread waits: no
 * CPU time passes meanwhile, and a tick that was due comes right after. Costs two system
 * calls, none where the call takes a mask itself.
 */
#include "runtime/runtime.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <unistd.h>

/* type, name, parameters, arguments */
#define WAITS(X)                                                                         \
    X(int, poll, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms))                  \
    X(int, select, (int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *t),          \
      (n, r, w, x, t))                                                                   \
    X(int, epoll_wait, (int fd, struct epoll_event *v, int n, int ms), (fd, v, n, ms))   \
    X(int, nanosleep, (const struct timespec *t, struct timespec *left), (t, left))      \
    X(int, clock_nanosleep,                                                              \
      (clockid_t clock, int flags, const struct timespec *t, struct timespec *left),     \
      (clock, flags, t, left))                                                           \
    X(int, usleep, (useconds_t us), (us))                                                \
    X(unsigned, sleep, (unsigned s), (s))                                                \
    X(int, pause, (void), ())                                                            \
    X(int, sem_wait, (sem_t * s), (s))                                                   \
    X(int, sem_timedwait, (sem_t *restrict s, const struct timespec *restrict t),        \
      (s, t))                                                                            \
    X(ssize_t, msgrcv, (int id, void *m, size_t n, long type, int flags),                \
      (id, m, n, type, flags))                                                           \
    X(int, msgsnd, (int id, const void *m, size_t n, int flags), (id, m, n, flags))      \
    X(int, semop, (int id, struct sembuf *ops, size_t n), (id, ops, n))                  \
    X(int, semtimedop, (int id, struct sembuf *ops, size_t n, const struct timespec *t), \
      (id, ops, n, t))

/* The same, for calls with a mask (not NULL) that stands while they wait. */
#define MASKED_WAITS(X)                                                                  \
    X(int, ppoll,                                                                        \
      (struct pollfd * fds, nfds_t n, const struct timespec *t, const sigset_t *mask),   \
      (fds, n, t, mask))                                                                 \
    X(int, pselect,                                                                      \
      (int n, fd_set *r, fd_set *w, fd_set *x, const struct timespec *t,                 \
       const sigset_t *mask),                                                            \
      (n, r, w, x, t, mask))                                                             \
    X(int, epoll_pwait,                                                                  \
      (int fd, struct epoll_event *v, int n, int ms, const sigset_t *mask),              \
      (fd, v, n, ms, mask))

#define DECLARE(type, name, parameters, arguments) type(*name) parameters;
static struct {
    WAITS(DECLARE)
    MASKED_WAITS(DECLARE)
    int (*sigsuspend)(const sigset_t *mask);
} real;

#define REAL(name) (real.name != NULL ? real.name : (sn_sleep_bind(), real.name))

void sn_sleep_bind(void)
{
#define BIND(type, name, parameters, arguments)                                          \
    *(void **)&real.name = dlsym(RTLD_NEXT, #name);
    WAITS(BIND)
    MASKED_WAITS(BIND)
    BIND(int, sigsuspend, , )
}

static void change(int how)
{
    int saved = errno;
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, SN_CLOCK_SIGNAL);
    sn_real_sigmask(how, &ours, NULL);
    errno = saved;
}

static bool begin_wait(void)
{
    bool ticks = sn_self != NULL && sn_tick_enabled();
    if (ticks)
        change(SIG_BLOCK);
    return ticks;
}

static void end_wait(bool begun)
{
    if (begun)
        change(SIG_UNBLOCK);
}

#define WAIT(type, name, parameters, arguments)                                          \
    SN_PUBLIC type name parameters                                                       \
    {                                                                                    \
        bool begun = begin_wait();                                                       \
        type result = REAL(name) arguments;                                              \
        end_wait(begun);                                                                 \
        return result;                                                                   \
    }
WAITS(WAIT)

/* The mask and our signal, where that is in use. */
static const sigset_t *with_ours(const sigset_t *mask, sigset_t *copy)
{
    if (!sn_tick_enabled())
        return mask;
    *copy = *mask;
    sigaddset(copy, SN_CLOCK_SIGNAL);
    return copy;
}

#define MASKED_WAIT(type, name, parameters, arguments)                                   \
    SN_PUBLIC type name parameters                                                       \
    {                                                                                    \
        sigset_t copy;                                                                   \
        bool begun = mask == NULL && begin_wait();                                       \
        if (mask != NULL)                                                                \
            mask = with_ours(mask, &copy);                                               \
        type result = REAL(name) arguments;                                              \
        end_wait(begun);                                                                 \
        return result;                                                                   \
    }
MASKED_WAITS(MASKED_WAIT)

SN_PUBLIC int sigsuspend(const sigset_t *mask)
{
    sigset_t copy;
    return REAL(sigsuspend)(with_ours(mask, &copy));
}
