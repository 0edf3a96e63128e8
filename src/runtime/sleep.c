/*
 * sleep.c: the calls that wait, and that SA_RESTART does not restart (signal(7)).
 *
 * A tick that comes while such a call is being entered would end it with EINTR, which the
 * program did not ask for. So the clock's signal is blocked for as long as the thread
 * waits: no CPU time passes meanwhile, and a tick that was due comes right after. Costs
 * two system calls, none where the call takes a mask itself. What reads and writes
 * sockets waits so only where one has a timeout, so it costs nothing until the program
 * has set one.
 *
 * The signals on which a running program answers must reach one that sleeps. They are
 * rare, and not blocked: their handler looks at where it came, and where that is right
 * behind a system call that ended with EINTR, the call is begun anew here, for what is
 * left of its time. The program's own handlers interrupt as ever: on top of one, ours
 * does not come right behind a system call.
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

/* type, name, parameters, arguments. The kernel itself writes to `t` what is left of
 * select's time. */
#define WAITS(X)                                                                         \
    X(int, select, (int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *t),          \
      (n, r, w, x, t))                                                                   \
    X(int, pause, (void), ())                                                            \
    X(int, sem_wait, (sem_t * s), (s))                                                   \
    X(int, sem_timedwait, (sem_t *restrict s, const struct timespec *restrict t),        \
      (s, t))                                                                            \
    X(int, sem_clockwait,                                                                \
      (sem_t *restrict s, clockid_t clock, const struct timespec *restrict t),           \
      (s, clock, t))                                                                     \
    X(ssize_t, msgrcv, (int id, void *m, size_t n, long type, int flags),                \
      (id, m, n, type, flags))                                                           \
    X(int, msgsnd, (int id, const void *m, size_t n, int flags), (id, m, n, flags))      \
    X(int, semop, (int id, struct sembuf *ops, size_t n), (id, ops, n))

/* With a time to wait in milliseconds (-1: for ever). */
#define MS_WAITS(X)                                                                      \
    X(int, poll, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms))                  \
    X(int, __poll_chk, (struct pollfd * fds, nfds_t n, int ms, size_t size),             \
      (fds, n, ms, size))                                                                \
    X(int, epoll_wait, (int fd, struct epoll_event *v, int n, int ms), (fd, v, n, ms))

/* With a time to wait as `t` (NULL: for ever). */
#define TIMED_WAITS(X)                                                                   \
    X(int, nanosleep, (const struct timespec *t, struct timespec *left), (t, left))      \
    X(int, semtimedop, (int id, struct sembuf *ops, size_t n, const struct timespec *t), \
      (id, ops, n, t))

/* Those that tell an interruption each in its own way. */
#define SLEEPS(X)                                                                        \
    X(int, clock_nanosleep,                                                              \
      (clockid_t clock, int flags, const struct timespec *t, struct timespec *left), )   \
    X(int, thrd_sleep, (const struct timespec *t, struct timespec *left), )              \
    X(unsigned, sleep, (unsigned s), )

/* The same, for calls that wait for a socket with a timeout (SO_RCVTIMEO, SO_SNDTIMEO).
 */
#define RECEIVING_WAITS(X)                                                               \
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
      (fd, m, n, flags, t))
#define ACCEPTING_WAITS(X)                                                               \
    X(int, accept, (int fd, __SOCKADDR_ARG from, socklen_t *restrict len),               \
      (fd, from, len))                                                                   \
    X(int, accept4, (int fd, __SOCKADDR_ARG from, socklen_t *restrict len, int flags),   \
      (fd, from, len, flags))
#define CONNECTING_WAITS(X)                                                              \
    X(int, connect, (int fd, __CONST_SOCKADDR_ARG to, socklen_t len), (fd, to, len))
#define SENDING_WAITS(X)                                                                 \
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
    X(int, epoll_pwait2,                                                                 \
      (int fd, struct epoll_event *v, int n, const struct timespec *t,                   \
       const sigset_t *mask),                                                            \
      (fd, v, n, t, mask))
#define MASKED_MS_WAITS(X)                                                               \
    X(int, epoll_pwait,                                                                  \
      (int fd, struct epoll_event *v, int n, int ms, const sigset_t *mask),              \
      (fd, v, n, ms, mask))

#define DECLARE(type, name, parameters, arguments) type(*name) parameters;
#define ALL(X)                                                                           \
    WAITS(X)                                                                             \
    MS_WAITS(X)                                                                          \
    TIMED_WAITS(X)                                                                       \
    SLEEPS(X)                                                                            \
    RECEIVING_WAITS(X)                                                                   \
    ACCEPTING_WAITS(X)                                                                   \
    SENDING_WAITS(X) CONNECTING_WAITS(X) MASKED_WAITS(X) MASKED_MS_WAITS(X)
static struct {
    ALL(DECLARE)
    int (*sigsuspend)(const sigset_t *mask);
    int (*setsockopt)(int fd, int level, int name, const void *value, socklen_t len);
} real;
static atomic_bool timeouts; /* some socket has one */

#define REAL(name) (real.name != NULL ? real.name : (sn_sleep_bind(), real.name))

void sn_sleep_bind(void)
{
#define BIND(type, name, parameters, arguments)                                          \
    *(void **)&real.name = dlsym(RTLD_NEXT, #name);
    ALL(BIND)
    BIND(int, sigsuspend, , )
    BIND(int, setsockopt, , )
}

/* ---- interrupted by us, or by the program
 * ------------------------------------------------ */

/* Has a handler of ours ended a system call, which its caller has not heard of yet? */
static __thread bool cut __attribute__((tls_model("initial-exec")));

/* Does a handler of the program come as soon as ours is done? Then it is the program that
 * interrupts: its handler must not be followed by a wait. */
static bool program_is_next(const sigset_t *blocked)
{
    struct sigaction now;
    sigset_t pending;
    if (sigpending(&pending) != 0 || sigisemptyset(&pending))
        return false;
    for (int signal = 1; signal < NSIG; signal++)
        if (sigismember(&pending, signal) == 1 && sigismember(blocked, signal) == 0 &&
            sn_signal_own(signal) < 0 && sn_real_sigaction(signal, NULL, &now) == 0 &&
            now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN)
            return true;
    return false;
}

/* Only where the program would go on right behind a system call. */
void sn_wait_note(const void *context)
{
    const ucontext_t *c = context;
    const mcontext_t *m = &c->uc_mcontext;
#if defined __x86_64__
    const unsigned char *next = (const void *)m->gregs[REG_RIP];
    bool syscall_before =
        m->gregs[REG_RAX] == -EINTR && next[-2] == 0x0f && next[-1] == 0x05;
#elif defined __aarch64__
    const uint32_t *next = (const void *)m->pc;
    bool syscall_before = m->regs[0] == (uint64_t)-EINTR && next[-1] == 0xd4000001;
#endif
    if (syscall_before && !program_is_next(&c->uc_sigmask))
        cut = true;
}

bool sn_wait_was_cut(void)
{
    bool was = cut;
    cut = false;
    return was;
}

uint64_t sn_wait_end_ns(const struct timespec *length)
{
    if (length == NULL || !sn_control_enabled() || length->tv_sec < 0 ||
        length->tv_sec > 1000000000)
        return 0;
    return sn_clock_ns(CLOCK_MONOTONIC) + (uint64_t)length->tv_sec * 1000000000u +
           (uint64_t)length->tv_nsec;
}

static uint64_t rest_ns(uint64_t end_ns)
{
    uint64_t now = sn_clock_ns(CLOCK_MONOTONIC);
    return end_ns > now ? end_ns - now : 0;
}

const struct timespec *sn_wait_rest(const struct timespec *length, uint64_t end_ns,
                                    struct timespec *rest)
{
    if (end_ns == 0)
        return length;
    uint64_t ns = rest_ns(end_ns);
    *rest = (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    return rest;
}

static uint64_t end_of_ms(int ms)
{
    if (ms <= 0 || !sn_control_enabled())
        return 0;
    return sn_clock_ns(CLOCK_MONOTONIC) + (uint64_t)ms * 1000000u;
}

static int rest_of_ms(int ms, uint64_t end_ns)
{
    return end_ns == 0 ? ms : (int)((rest_ns(end_ns) + 999999) / 1000000u);
}

/* ---- the waits
 * --------------------------------------------------------------------------- */

/* Was the clock's signal blocked before? */
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
    cut = false;
    return sn_self != NULL && sn_tick_enabled() && !change(SIG_BLOCK);
}

void sn_wait_end(bool begun)
{
    if (begun)
        change(SIG_UNBLOCK);
}

/* `call`, and again as long as only we have ended it; `next` says how then. */
#define CALL(result, call, next)                                                         \
    do {                                                                                 \
        int before = errno;                                                              \
        while (((result) = call) == -1 && errno == EINTR && sn_wait_was_cut()) {         \
            (void)(next);                                                                \
            errno = before;                                                              \
        }                                                                                \
    } while (0)

#define FUNCTION(type, name, parameters, ...)                                            \
    SN_PUBLIC type name parameters; /* those of _FORTIFY_SOURCE are in no header */      \
    SN_PUBLIC type name parameters                                                       \
    {                                                                                    \
        __VA_ARGS__                                                                      \
        return result;                                                                   \
    }

#define WAIT(type, name, parameters, arguments)                                          \
    FUNCTION(type, name, parameters, bool begun = sn_wait_begin(); type result;          \
             CALL(result, REAL(name) arguments, 0); sn_wait_end(begun);)
#define MS_WAIT(type, name, parameters, arguments)                                       \
    FUNCTION(type, name, parameters, bool begun = sn_wait_begin();                       \
             uint64_t end_ns = end_of_ms(ms); type result;                               \
             CALL(result, REAL(name) arguments, ms = rest_of_ms(ms, end_ns));            \
             sn_wait_end(begun);)
#define TIMED_WAIT(type, name, parameters, arguments)                                    \
    FUNCTION(type, name, parameters, bool begun = sn_wait_begin();                       \
             uint64_t end_ns = sn_wait_end_ns(t); struct timespec rest; type result;     \
             CALL(result, REAL(name) arguments, t = sn_wait_rest(t, end_ns, &rest));     \
             sn_wait_end(begun);)
WAITS(WAIT)
MS_WAITS(MS_WAIT)
TIMED_WAITS(TIMED_WAIT)

/* When a call at a socket began; 0: it need not be known. */
static uint64_t socket_begin_ns(bool guarded)
{
    return guarded && sn_control_enabled() ? sn_clock_ns(CLOCK_MONOTONIC) : 0;
}

/* Has the socket's own time passed? What is left cannot be told to the call, so that it
 * may take twice as long, but not for ever where many ask. */
static bool socket_time_is_up(int fd, int option, uint64_t begin_ns)
{
    struct timeval limit = {0};
    socklen_t len = sizeof limit;
    if (begin_ns == 0 || getsockopt(fd, SOL_SOCKET, option, &limit, &len) != 0 ||
        (limit.tv_sec == 0 && limit.tv_usec == 0))
        return false;
    return sn_clock_ns(CLOCK_MONOTONIC) - begin_ns >=
           (uint64_t)limit.tv_sec * 1000000000u + (uint64_t)limit.tv_usec * 1000u;
}

#define SOCKET_WAIT(option, late, check, type, name, parameters, arguments)              \
    FUNCTION(type, name, parameters, bool guarded = atomic_load(&timeouts);              \
             bool begun = guarded && sn_wait_begin();                                    \
             uint64_t begin_ns = socket_begin_ns(guarded); type result; bool up = false; \
             CALL(result, up ? -1 : REAL(name) arguments,                                \
                  up = socket_time_is_up(fd, option, begin_ns));                         \
             if (up) errno = late; sn_wait_end(begun); AFTER_##check(#name, arguments))
#define RECEIVING_WAIT(...)  SOCKET_WAIT(SO_RCVTIMEO, EAGAIN, RECEIVED, __VA_ARGS__)
#define ACCEPTING_WAIT(...)  SOCKET_WAIT(SO_RCVTIMEO, EAGAIN, NOTHING, __VA_ARGS__)
#define SENDING_WAIT(...)    SOCKET_WAIT(SO_SNDTIMEO, EAGAIN, SENT, __VA_ARGS__)
#define CONNECTING_WAIT(...) SOCKET_WAIT(SO_SNDTIMEO, EINPROGRESS, NOTHING, __VA_ARGS__)

/* A tracer is told what the kernel could not reach of what it was given, of which it may
 * have written a part. */
#define SECOND(fd, b, ...)   (uintptr_t)(b)
#define THIRD(fd, b, c, ...) (uintptr_t)(c)
#define AFTER_NOTHING(name, arguments)
#define AFTER_RECEIVED(name, arguments)                                                  \
    if (__builtin_expect(result == -1 && errno == EFAULT, 0))                            \
        sn_trace_kernel_fault(name, SECOND arguments, THIRD arguments, result,           \
                              __builtin_return_address(0));
#define AFTER_SENT(name, arguments)                                                      \
    if (__builtin_expect(                                                                \
            result == -1 ? errno == EFAULT : (uintptr_t)result < THIRD arguments, 0))    \
        sn_trace_kernel_fault(name, SECOND arguments, THIRD arguments, result,           \
                              __builtin_return_address(0));
RECEIVING_WAITS(RECEIVING_WAIT)
ACCEPTING_WAITS(ACCEPTING_WAIT)
SENDING_WAITS(SENDING_WAIT)
CONNECTING_WAITS(CONNECTING_WAIT)

SN_PUBLIC int clock_nanosleep(clockid_t clock, int flags, const struct timespec *t,
                              struct timespec *left)
{
    bool begun = sn_wait_begin(), absolute = (flags & TIMER_ABSTIME) != 0;
    uint64_t end_ns = absolute ? 0 : sn_wait_end_ns(t);
    struct timespec rest;
    int error;
    while ((error = REAL(clock_nanosleep)(clock, flags, t, left)) == EINTR &&
           sn_wait_was_cut())
        t = sn_wait_rest(t, end_ns, &rest);
    sn_wait_end(begun);
    return error;
}

SN_PUBLIC int thrd_sleep(const struct timespec *t, struct timespec *left)
{
    bool begun = sn_wait_begin();
    uint64_t end_ns = sn_wait_end_ns(t);
    struct timespec rest;
    int result;
    while ((result = REAL(thrd_sleep)(t, left)) == -1 && sn_wait_was_cut())
        t = sn_wait_rest(t, end_ns, &rest);
    sn_wait_end(begun);
    return result;
}

SN_PUBLIC int usleep(useconds_t us)
{
    struct timespec length = {us / 1000000, (long)(us % 1000000) * 1000};
    return nanosleep(&length, NULL);
}

SN_PUBLIC unsigned sleep(unsigned s)
{
    bool begun = sn_wait_begin();
    struct timespec length = {.tv_sec = (time_t)s};
    uint64_t end_ns = sn_wait_end_ns(&length);
    int before = errno;
    unsigned left = REAL(sleep)(s);
    while (sn_wait_was_cut() && end_ns != 0) { /* less than a second left is 0, too */
        const struct timespec *t = sn_wait_rest(&length, end_ns, &length);
        struct timespec rest = {0};
        errno = before;
        left = REAL(nanosleep)(t, &rest) == 0 ? 0 : (unsigned)rest.tv_sec + 1;
    }
    sn_wait_end(begun);
    return left;
}

SN_PUBLIC int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO))
        atomic_store(&timeouts, true);
    return REAL(setsockopt)(fd, level, name, value, len);
}

/* The mask and the clock's signal, but not the other, where they are in use. */
static const sigset_t *with_ours(const sigset_t *mask, sigset_t *copy)
{
    bool ticks = sn_tick_enabled(), control = sn_control_enabled();
    if (!ticks && !control)
        return mask;
    *copy = *mask;
    if (ticks)
        sigaddset(copy, SN_CLOCK_SIGNAL);
    if (control)
        sigdelset(copy, SN_CONTROL_SIGNAL);
    return copy;
}

#define MASKED(type, name, parameters, arguments, prepare, next)                         \
    FUNCTION(type, name, parameters, sigset_t copy;                                      \
             bool begun = mask == NULL && sn_wait_begin(); cut = false;                  \
             if (mask != NULL) mask = with_ours(mask, &copy); prepare; type result;      \
             CALL(result, REAL(name) arguments, next); sn_wait_end(begun);)
#define MASKED_WAIT(type, name, parameters, arguments)                                   \
    MASKED(type, name, parameters, arguments, struct timespec rest;                      \
           uint64_t end_ns = sn_wait_end_ns(t), t = sn_wait_rest(t, end_ns, &rest))
#define MASKED_MS_WAIT(type, name, parameters, arguments)                                \
    MASKED(type, name, parameters, arguments, uint64_t end_ns = end_of_ms(ms),           \
           ms = rest_of_ms(ms, end_ns))
MASKED_WAITS(MASKED_WAIT)
MASKED_MS_WAITS(MASKED_MS_WAIT)

SN_PUBLIC int sigsuspend(const sigset_t *mask)
{
    sigset_t copy;
    int result;
    cut = false;
    mask = with_ours(mask, &copy);
    CALL(result, REAL(sigsuspend)(mask), 0);
    return result;
}
