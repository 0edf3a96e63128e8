/*
 * hooks.c: the functions of the C library that libsonde stands in front of.
 *
 *     pthread_create, thrd_create     a new thread gets its clock
 *     exec*                           the clock is silenced: its signal would kill the
 *                                     new program
 *     _exit, _Exit                    what was recorded is written first
 *     dlclose                         unwind rules of what went are forgotten
 *     sigaction, signal, ...          our handlers are not seen, our signals stay ours
 *     sigprocmask, sigwait, ...       our signals are neither blocked nor waited for
 *
 * The real ones are looked up once, when the library is loaded, since dlsym is neither
 * signal-safe nor right after vfork; each hook is as safe to call as what it stands for.
 */
#include "runtime/runtime.h"

#include <alloca.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <threads.h>
#include <unistd.h>

#define REALS(X)                                                                         \
    X(int, pthread_create,                                                               \
      (pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))                  \
    X(int, thrd_create, (thrd_t *, thrd_start_t, void *))                                \
    X(int, execve, (const char *, char *const[], char *const[]))                         \
    X(int, execvpe, (const char *, char *const[], char *const[]))                        \
    X(int, fexecve, (int, char *const[], char *const[]))                                 \
    X(int, execveat, (int, const char *, char *const[], char *const[], int))             \
    X(void, _exit, (int))                                                                \
    X(int, dlclose, (void *))                                                            \
    X(int, sigaction, (int, const struct sigaction *, struct sigaction *))               \
    X(sighandler_t, signal, (int, sighandler_t))                                         \
    X(sighandler_t, sysv_signal, (int, sighandler_t))                                    \
    X(int, pthread_sigmask, (int, const sigset_t *, sigset_t *))                         \
    X(int, sigwait, (const sigset_t *, int *))                                           \
    X(int, sigwaitinfo, (const sigset_t *, siginfo_t *))                                 \
    X(int, sigtimedwait, (const sigset_t *, siginfo_t *, const struct timespec *))

#define DECLARE(type, name, args) type(*name) args;
static struct {
    REALS(DECLARE)
} real;

/* Another library's constructor may call a hook before ours has run. */
#define REAL(name) (real.name != NULL ? real.name : (sn_hooks_bind(), real.name))

bool sn_hooks_bind(void)
{
#define BIND(type, name, args) *(void **)&real.name = dlsym(RTLD_NEXT, #name);
    REALS(BIND)
    sn_sleep_bind();
    sn_close_bind();
    sn_maps_bind();
    sn_trace_bind();
    return dlsym(RTLD_NEXT, "sigaction") != NULL;
}

int sn_real_sigaction(int signal, const struct sigaction *action, struct sigaction *old)
{
    return REAL(sigaction)(signal, action, old);
}

int sn_real_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    return REAL(pthread_sigmask)(how, set, old);
}

/* ---- threads
 * ------------------------------------------------------------------------------ */

/* Which of our signals the calling thread has blocked, as far as it knows: bits. */
static __thread unsigned thinks_blocked __attribute__((tls_model("initial-exec")));

struct thread_call {
    void *(*function)(void *);
    int (*c11_function)(void *);
    void *argument;
    unsigned thinks_blocked; /* its creator: masks are inherited */
};

static struct thread_call take(void *call)
{
    struct thread_call c = *(struct thread_call *)call;
    sn_pages_unmap(call, sizeof c);
    thinks_blocked = c.thinks_blocked;
    sn_thread_learn_stack();
    sn_clock_thread_begin();
    return c;
}

/* The calls are tail calls: no frame of ours stays in the thread's stacks. */
static void *enter_thread(void *call)
{
    struct thread_call c = take(call);
    return c.function(c.argument);
}

static int enter_c11_thread(void *call)
{
    struct thread_call c = take(call);
    return c.c11_function(c.argument);
}

static bool is_watched(void)
{
    return sn_tick_enabled() || sn_heap_on() || thinks_blocked != 0;
}

int sn_real_thread(pthread_t *thread, const pthread_attr_t *attr,
                   void *(*function)(void *))
{
    return REAL(pthread_create)(thread, attr, function, NULL);
}

SN_PUBLIC int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                             void *(*function)(void *), void *argument)
{
    struct thread_call *c = is_watched() ? sn_pages_map(sizeof *c) : NULL;
    if (c == NULL)
        return REAL(pthread_create)(thread, attr, function, argument);
    *c = (struct thread_call){function, NULL, argument, thinks_blocked};
    int error = REAL(pthread_create)(thread, attr, enter_thread, c);
    if (error != 0)
        sn_pages_unmap(c, sizeof *c);
    return error;
}

SN_PUBLIC int thrd_create(thrd_t *thread, thrd_start_t function, void *argument)
{
    struct thread_call *c = is_watched() ? sn_pages_map(sizeof *c) : NULL;
    if (c == NULL)
        return REAL(thrd_create)(thread, function, argument);
    *c = (struct thread_call){NULL, function, argument, thinks_blocked};
    int error = REAL(thrd_create)(thread, enter_c11_thread, c);
    if (error != thrd_success)
        sn_pages_unmap(c, sizeof *c);
    return error;
}

/* ---- exec, exit, dlclose
 * --------------------------------------------------------------------- */

/* Call the real function with clock and socket silenced. It returns only when it failed;
 * a vfork's child, which runs on the parent's memory, has neither. */
#define EXEC(call)                                                                       \
    do {                                                                                 \
        bool ours = sn_recording_here();                                                 \
        if (ours) {                                                                      \
            sn_clock_pause();                                                            \
            sn_control_pause();                                                          \
        }                                                                                \
        int result = (call), error = errno;                                              \
        if (ours) {                                                                      \
            sn_control_resume();                                                         \
            sn_clock_resume();                                                           \
        }                                                                                \
        errno = error;                                                                   \
        return result;                                                                   \
    } while (0)

SN_PUBLIC int execve(const char *path, char *const argv[], char *const envp[])
{
    EXEC(REAL(execve)(path, argv, envp));
}

SN_PUBLIC int execv(const char *path, char *const argv[])
{
    EXEC(REAL(execve)(path, argv, environ));
}

SN_PUBLIC int execvpe(const char *file, char *const argv[], char *const envp[])
{
    EXEC(REAL(execvpe)(file, argv, envp));
}

SN_PUBLIC int execvp(const char *file, char *const argv[])
{
    EXEC(REAL(execvpe)(file, argv, environ));
}

SN_PUBLIC int fexecve(int fd, char *const argv[], char *const envp[])
{
    EXEC(REAL(fexecve)(fd, argv, envp));
}

SN_PUBLIC int execveat(int fd, const char *path, char *const argv[], char *const envp[],
                       int flags)
{
    EXEC(REAL(execveat)(fd, path, argv, envp, flags));
}

/* The arguments up to the NULL, as an array on the caller's stack. */
#define LIST_TO_ARGV(argv, first, after)                                                 \
    size_t count = 0;                                                                    \
    va_list ap;                                                                          \
    va_start(ap, first);                                                                 \
    for (const char *a = first; a != NULL; a = va_arg(ap, char *))                       \
        count++;                                                                         \
    va_end(ap);                                                                          \
    char **argv = alloca((count + 1) * sizeof *argv);                                    \
    argv[0] = (char *)first;                                                             \
    va_start(ap, first);                                                                 \
    for (size_t i = 1; i <= count; i++)                                                  \
        argv[i] = va_arg(ap, char *);                                                    \
    after;                                                                               \
    va_end(ap)

SN_PUBLIC int execl(const char *path, const char *arg, ...)
{
    LIST_TO_ARGV(argv, arg, (void)0);
    EXEC(REAL(execve)(path, argv, environ));
}

SN_PUBLIC int execlp(const char *file, const char *arg, ...)
{
    LIST_TO_ARGV(argv, arg, (void)0);
    EXEC(REAL(execvpe)(file, argv, environ));
}

SN_PUBLIC int execle(const char *path, const char *arg, ...)
{
    char *const *envp;
    LIST_TO_ARGV(argv, arg, envp = va_arg(ap, char *const *));
    EXEC(REAL(execve)(path, argv, envp));
}

SN_PUBLIC _Noreturn void _exit(int status)
{
    sn_finish();
    REAL(_exit)(status);
    __builtin_unreachable();
}

SN_PUBLIC _Noreturn void _Exit(int status)
{
    _exit(status);
}

SN_PUBLIC int dlclose(void *handle)
{
    int result = REAL(dlclose)(handle);
    sn_table_closed_module();
    sn_unwind_forget();
    return result;
}

/* ---- signals
 * -------------------------------------------------------------------------------- */

/* What the program is to see where a handler of ours stands. */
static void hide_ours(struct sigaction *seen)
{
    if (seen->sa_handler == sn_on_deadly_signal || seen->sa_handler == sn_on_stray_io ||
        seen->sa_sigaction == sn_on_heap_signal)
        memset(seen, 0, sizeof *seen); /* SIG_DFL */
}

SN_PUBLIC int sigaction(int signal, const struct sigaction *action, struct sigaction *old)
{
    struct sigaction now;
    int own = sn_signal_own(signal);
    if (sn_trace_holds(signal))
        return sn_trace_sigaction(signal, action, old);
    if (own < 0) {
        int result = REAL(sigaction)(signal, action, old);
        if (result == 0 && old != NULL)
            hide_ours(old);
        return result;
    }
    if (REAL(sigaction)(signal, NULL, &now) != 0 || !sn_signal_is_taken(own, &now))
        return REAL(sigaction)(signal, action, old);
    now = sn_program_actions[own]; /* our handler passes the program's signals on */
    if (action != NULL)
        sn_program_actions[own] = *action;
    if (old != NULL)
        *old = now;
    return 0;
}

SN_PUBLIC sighandler_t signal(int signal, sighandler_t handler)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
    sigaddset(&action.sa_mask, signal);
    if (sn_signal_own(signal) >= 0 || sn_trace_holds(signal))
        return sigaction(signal, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
    old.sa_handler = REAL(signal)(signal, handler);
    hide_ours(&old);
    return old.sa_handler;
}

/* System V's: what signal() is in a program that asks for strict X/Open. */
SN_PUBLIC sighandler_t sysv_signal(int signal, sighandler_t handler)
{
    struct sigaction action = {.sa_handler = handler,
                               .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)},
                     old;
    if (!sn_trace_holds(signal))
        return REAL(sysv_signal)(signal, handler);
    return sigaction(signal, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

extern __typeof__(sysv_signal) __sysv_signal SN_PUBLIC
    __attribute__((alias("sysv_signal")));

/* The signals that are never blocked while they are in use: ours, and those of a tracer
 * whose handler must run in a thread that has blocked all. */
static const int unblocked[] = {SIGSEGV, SIGBUS};
#define UNBLOCKED (SN_OWN_SIGNALS + SN_COUNT(unblocked))

static int number(unsigned i)
{
    return i < SN_OWN_SIGNALS ? sn_signal_number(i) : unblocked[i - SN_OWN_SIGNALS];
}

static bool in_use(unsigned i)
{
    if (i >= SN_OWN_SIGNALS)
        return sn_trace_holds(number(i));
    return i == SN_OWN_CLOCK ? sn_tick_enabled() : sn_control_enabled();
}

bool sn_signal_is_blocked(int signal)
{
    for (unsigned i = 0; i < UNBLOCKED; i++)
        if (number(i) == signal)
            return thinks_blocked & 1u << i;
    return false;
}

/* The set without our signals, where they are in use; NULL stays NULL. */
static const sigset_t *without_ours(const sigset_t *set, sigset_t *copy)
{
    const sigset_t *same = set;
    for (unsigned i = 0; set != NULL && i < UNBLOCKED; i++) {
        if (!in_use(i))
            continue;
        if (same == set)
            *copy = *set;
        same = copy;
        sigdelset(copy, number(i));
    }
    return same;
}

/* Keep in mind what the thread was told of our signals. */
static void note_mask(int how, const sigset_t *set)
{
    for (unsigned i = 0; i < UNBLOCKED; i++) {
        bool named = sigismember(set, number(i));
        if (how == SIG_SETMASK || named)
            thinks_blocked &= ~(1u << i);
        if (how != SIG_UNBLOCK && named && in_use(i))
            thinks_blocked |= 1u << i;
    }
}

/* What the program asks of the mask, done but for our signals; it reads back what it
 * believes. 0 or an error number. */
static int change_mask(int how, const sigset_t *set, sigset_t *old)
{
    sigset_t copy;
    unsigned was = thinks_blocked;
    int error =
        sn_real_sigmask(how, how != SIG_UNBLOCK ? without_ours(set, &copy) : set, old);
    if (error != 0)
        return error;
    for (unsigned i = 0; old != NULL && i < UNBLOCKED; i++)
        if (was & 1u << i)
            sigaddset(old, number(i));
    if (set != NULL)
        note_mask(how, set);
    return 0;
}

SN_PUBLIC int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    int error = change_mask(how, set, old);
    if (error != 0)
        errno = error;
    return error != 0 ? -1 : 0;
}

SN_PUBLIC int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    return change_mask(how, set, old);
}

SN_PUBLIC int sigwait(const sigset_t *set, int *signal)
{
    sigset_t copy;
    return REAL(sigwait)(without_ours(set, &copy), signal);
}

SN_PUBLIC int sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
    sigset_t copy;
    bool begun = sn_wait_begin();
    int result, before = errno;
    while ((result = REAL(sigwaitinfo)(without_ours(set, &copy), info)) < 0 &&
           errno == EINTR && sn_wait_was_cut())
        errno = before;
    sn_wait_end(begun);
    return result;
}

SN_PUBLIC int sigtimedwait(const sigset_t *set, siginfo_t *info,
                           const struct timespec *timeout)
{
    sigset_t copy;
    bool begun = sn_wait_begin();
    uint64_t end_ns = sn_wait_end_ns(timeout);
    struct timespec rest;
    int result, before = errno;
    while ((result = REAL(sigtimedwait)(without_ours(set, &copy), info, timeout)) < 0 &&
           errno == EINTR && sn_wait_was_cut()) {
        timeout = sn_wait_rest(timeout, end_ns, &rest);
        errno = before;
    }
    sn_wait_end(begun);
    return result;
}
