/*
 * sleep.c: the calls that wait, and that SA_RESTART does not restart (signal(7)).
 *
 * A tick that comes while such a call is being entered would end it with EINTR, which the
 * program did not ask for. So our signal is blocked for as long as the thread waits: no
 * CPU time passes meanwhile, and a tick that was due comes right after. Costs two system
 * calls, none where the call takes a mask itself. What reads and writes sockets waits so
 * only where one has a timeout, so it costs nothing until the program has set one.
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
#include <sys/socket.h>
#include <sys/uio.h>
#include <threads.h>
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
    X(int, thrd_sleep, (const struct timespec *t, struct timespec *left), (t, left))     \
    X(int, pause, (void), ())                                                            \
    X(int, sem_wait, (sem_t * s), (s))                                                   \
    X(int, sem_timedwait, (sem_t *restrict s, const struct timespec *restrict t),        \
      (s, t))                                                                            \
    X(int, sem_clockwait,                                                                \
      (sem_t *restrict s, clockid_t clock, const struct timespec *restrict t),           \
      (s, clock, t))                                                                     \
    X(int, __poll_chk, (struct pollfd * fds, nfds_t n, int ms, size_t size),             \
      (fds, n, ms, size))                                                                \
    X(ssize_t, msgrcv, (int id, void *m, size_t n, long type, int flags),                \
      (id, m, n, type, flags))                                                           \
    X(int, msgsnd, (int id, const void *m, size_t n, int flags), (id, m, n, flags))      \
    X(int, semop, (int id, struct sembuf *ops, size_t n), (id, ops, n))                  \
    X(int, semtimedop, (int id, struct sembuf *ops, size_t n, const struct timespec *t), \
      (id, ops, n, t))

/* The same, for calls that wait for a socket with a timeout (SO_RCVTIMEO, SO_SNDTIMEO).
 */
#define SOCKET_WAITS(X)                                                                  \
    X(ssize_t, read, (int fd, void *to, size_t n), (fd, to, n))                          \
    X(ssize_t, __read_chk, (int fd, void *to, size_t n, size_t size), (fd, to, n, size)) \
    X(ssize_t, readv, (int fd, const struct iovec *v, int n), (fd, v, n))                \
    X(ssize_t, recv, (int fd, void *to, size_t n, int flags), (fd, to, n, flags))        \
    X(ssize_t, __recv_chk, (int fd, void *to, size_t n, size_t size, int flags),         \
      (fd, to, n, size, flags))                                                          \
    X(ssize_t, recvfrom,                                                                 \
      (int fd, void *restrict to, size_t n, int flags, __SOCKADDR_ARG from,              \
       socklen_t *restrict len),                                                         \
      (fd, to, n, flags, from, len))                                                     \
    X(ssize_t, __recvfrom_chk,                                                           \
      (int fd, void *restrict to, size_t n, size_t size, int flags, __SOCKADDR_ARG from, \
       socklen_t *restrict len),                                                         \
      (fd, to, n, size, flags, from, len))                                               \
    X(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))           \
    X(int, recvmmsg,                                                                     \
      (int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *t),            \
      (fd, m, n, flags, t))                                                              \
    X(int, accept, (int fd, __SOCKADDR_ARG from, socklen_t *restrict len),               \
      (fd, from, len))                                                                   \
    X(int, accept4, (int fd, __SOCKADDR_ARG from, socklen_t *restrict len, int flags),   \
      (fd, from, len, flags))                                                            \
    X(int, connect, (int fd, __CONST_SOCKADDR_ARG to, socklen_t len), (fd, to, len))     \
    X(ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n))               \
    X(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))               \
    X(ssize_t, send, (int fd, const void *from, size_t n, int flags),                    \
      (fd, from, n, flags))                                                              \
    X(ssize_t, sendto,                                                                   \
      (int fd, const void *from, size_t n, int flags, __CONST_SOCKADDR_ARG to,           \
       socklen_t len),                                                                   \
      (fd, from, n, flags, to, len))                                                     \
    X(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))     \
    X(int, sendmmsg, (int fd, struct mmsghdr *m, unsigned n, int flags),                 \
      (fd, m, n, flags))

/* The same, for calls with a mask (not NULL) that stands while they wait. */
#define MASKED_WAITS(X)                                                                  \
    X(int, ppoll,                                                                        \
      (struct pollfd * fds, nfds_t n, const struct timespec *t, const sigset_t *mask),   \
      (fds, n, t, mask))                                                                 \
    X(int, __ppoll_chk,                                                                  \
      (struct pollfd * fds, nfds_t n, const struct timespec *t, const sigset_t *mask,    \
       size_t size),                                                                     \
      (fds, n, t, mask, size))                                                           \
    X(int, pselect,                                                                      \
      (int n, fd_set *r, fd_set *w, fd_set *x, const struct timespec *t,                 \
       const sigset_t *mask),                                                            \
      (n, r, w, x, t, mask))                                                             \
    X(int, epoll_pwait,                                                                  \
      (int fd, struct epoll_event *v, int n, int ms, const sigset_t *mask),              \
      (fd, v, n, ms, mask))                                                              \
    X(int, epoll_pwait2,                                                                 \
      (int fd, struct epoll_event *v, int n, const struct timespec *t,                   \
       const sigset_t *mask),                                                            \
      (fd, v, n, t, mask))

#define DECLARE(type, name, parameters, arguments) type(*name) parameters;
static struct {
    WAITS(DECLARE)
    SOCKET_WAITS(DECLARE)
    MASKED_WAITS(DECLARE)
    int (*sigsuspend)(const sigset_t *mask);
    int (*setsockopt)(int fd, int level, int name, const void *value, socklen_t len);
} real;
static atomic_bool timeouts; /* some socket has one */

#define REAL(name) (real.name != NULL ? real.name : (sn_sleep_bind(), real.name))

void sn_sleep_bind(void)
{
#define BIND(type, name, parameters, arguments)                                          \
    *(void **)&real.name = dlsym(RTLD_NEXT, #name);
    WAITS(BIND)
    SOCKET_WAITS(BIND)
    MASKED_WAITS(BIND)
    BIND(int, sigsuspend, , )
    BIND(int, setsockopt, , )
}

/* Was our signal blocked before? */
static bool change(int how)
{
    int saved = errno;
    sigset_t ours, old;
    sigemptyset(&ours);
    sigaddset(&ours, SN_CLOCK_SIGNAL);
    sn_real_sigmask(how, &ours, &old);
    errno = saved;
    return sigismember(&old, SN_CLOCK_SIGNAL);
}

/* False also where a wait is under way: a handler of the program waits within it. */
bool sn_wait_begin(void)
{
    return sn_self != NULL && sn_tick_enabled() && !change(SIG_BLOCK);
}

void sn_wait_end(bool begun)
{
    if (begun)
        change(SIG_UNBLOCK);
}

#define WAIT_IF(condition, type, name, parameters, arguments)                            \
    SN_PUBLIC type name parameters; /* those of _FORTIFY_SOURCE are in no header */      \
    SN_PUBLIC type name parameters                                                       \
    {                                                                                    \
        bool begun = (condition) && sn_wait_begin();                                     \
        type result = REAL(name) arguments;                                              \
        sn_wait_end(begun);                                                              \
        return result;                                                                   \
    }
#define WAIT(...)        WAIT_IF(true, __VA_ARGS__)
#define SOCKET_WAIT(...) WAIT_IF(atomic_load(&timeouts), __VA_ARGS__)
WAITS(WAIT)
SOCKET_WAITS(SOCKET_WAIT)

SN_PUBLIC int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO))
        atomic_store(&timeouts, true);
    return REAL(setsockopt)(fd, level, name, value, len);
}

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
    SN_PUBLIC type name parameters;                                                      \
    SN_PUBLIC type name parameters                                                       \
    {                                                                                    \
        sigset_t copy;                                                                   \
        bool begun = mask == NULL && sn_wait_begin();                                    \
        if (mask != NULL)                                                                \
            mask = with_ours(mask, &copy);                                               \
        type result = REAL(name) arguments;                                              \
        sn_wait_end(begun);                                                              \
        return result;                                                                   \
    }
MASKED_WAITS(MASKED_WAIT)

SN_PUBLIC int sigsuspend(const sigset_t *mask)
{
    sigset_t copy;
    return REAL(sigsuspend)(with_ours(mask, &copy));
}
