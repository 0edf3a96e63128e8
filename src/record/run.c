/*
 * run.c: the program under the library, with everything that is the terminal's passed
 * through.
 *
 *     block signals -> fork -> [child: restore, environment, exec] -> sigwaitinfo loop
 *
 * The child shares the process group, so the keyboard's signals reach it from the kernel;
 * those are only swallowed here. A signal sent by a process to us alone is handed on.
 */
#include "record_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const int handed_on[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

/* What LD_PRELOAD and SONDE cannot hold in a path. */
static bool is_plain(const char *path)
{
    return strpbrk(path, " :,;\t\n") == NULL;
}

struct sn_record *sn_record_new(struct sn_error *e)
{
    struct sn_arena *arena = sn_arena_new();
    struct sn_record *r = arena != NULL ? sn_arena_alloc(arena, sizeof *r) : NULL;
    const char *tmp = getenv("TMPDIR");
    if (r == NULL) {
        sn_arena_free(arena);
        sn_fail(e, NULL, -1, "out of memory");
        return NULL;
    }
    r->arena = arena;
    if (tmp == NULL || tmp[0] != '/' || !is_plain(tmp) || strlen(tmp) > PATH_MAX - 64)
        tmp = "/tmp";
    snprintf(r->dir, sizeof r->dir, "%s/sonde-run.XXXXXX", tmp);
    if (mkdtemp(r->dir) == NULL) {
        sn_fail(e, tmp, -1, "cannot make a directory for the recording: %s",
                strerror(errno));
        sn_arena_free(arena);
        return NULL;
    }
    return r;
}

const char *sn_record_dir(const struct sn_record *r)
{
    return r->dir;
}

/* ---- the environment ------------------------------------------------------------------
 */

/* The library's path as LD_PRELOAD can hold it: a link in our directory if need be. */
static const char *preloadable(struct sn_record *r, const char *library,
                               struct sn_error *e)
{
    if (is_plain(library))
        return library;
    char *link = sn_arena_printf(r->arena, "%s/libsonde.so", r->dir);
    if (link != NULL && symlink(library, link) == 0)
        return link;
    sn_fail(e, library, -1,
            "LD_PRELOAD cannot hold this path, and no link could be made");
    return NULL;
}

/* Ours beside what the user set. */
static bool add_env(struct sn_record *r, const char *name, const char *separator,
                    const char *value, bool first)
{
    const char *old = getenv(name);
    if (old == NULL || *old == '\0')
        return setenv(name, value, 1) == 0;
    char *both = sn_arena_printf(r->arena, "%s%s%s", first ? value : old, separator,
                                 first ? old : value);
    return both != NULL && setenv(name, both, 1) == 0;
}

/* A sanitizer wants to be the first. Another allocator must not be, or its blocks are not
 * seen. */
static bool preload_first(const struct sn_record_plan *plan)
{
    static const char *const sanitizers[] = {"asan", "tsan", "msan", "lsan"};
    const char *old = getenv("LD_PRELOAD");
    for (size_t i = 0; i < SN_COUNT(sanitizers) && old != NULL; i++)
        if (strstr(old, sanitizers[i]) != NULL)
            return false;
    return plan->blocks;
}

/* SONDE's keys. */
static char *keys_of(struct sn_record *r, const struct sn_record_plan *plan)
{
    struct sn_buf keys = {.arena = r->arena};
    if (plan->cpu)
        sn_buf_puts(&keys, "cpu");
    if (plan->cpu && plan->cpu_hz > 0)
        sn_buf_printf(&keys, "=%u", plan->cpu_hz);
    if (plan->mem)
        sn_buf_puts(&keys, plan->cpu ? ",mem" : "mem");
    if (plan->mem && plan->mem_exact)
        sn_buf_puts(&keys, "=exact");
    else if (plan->mem && plan->mem_rate > 0)
        sn_buf_printf(&keys, "=%u", plan->mem_rate);
    if (plan->mem && plan->mem_mmap)
        sn_buf_puts(&keys, ",mem_mmap");
    sn_buf_printf(&keys, "%s,path=%s,quiet,spool", plan->tracers, r->dir);
    return keys.failed ? NULL : keys.data;
}

static bool set_environment(struct sn_record *r, const struct sn_record_plan *plan,
                            struct sn_error *e)
{
    const char *library = preloadable(r, plan->library, e);
    if (library == NULL)
        return false;
    const char *keys = keys_of(r, plan);
    return (keys != NULL && add_env(r, "SONDE", ",", keys, false) && /* the last wins */
            add_env(r, "LD_PRELOAD", ":", library, preload_first(plan)) &&
            /* A program that is built with it would refuse to have us loaded before. */
            add_env(r, "ASAN_OPTIONS", ":", "verify_asan_link_order=0", true)) ||
           sn_fail(e, NULL, -1, "out of memory");
}

/* ---- start and wait -------------------------------------------------------------------
 */

struct saved_signals {
    sigset_t mask;
    struct sigaction child; /* an inherited SIG_IGN would reap our child for us */
};

static void take_signals(sigset_t *watched, struct saved_signals *saved)
{
    struct sigaction normal = {.sa_handler = SIG_DFL};
    sigemptyset(watched);
    sigaddset(watched, SIGCHLD);
    for (size_t i = 0; i < SN_COUNT(handed_on); i++)
        sigaddset(watched, handed_on[i]);
    sigprocmask(SIG_BLOCK, watched, &saved->mask);
    sigaction(SIGCHLD, &normal, &saved->child);
}

static void give_signals_back(const struct saved_signals *saved)
{
    sigaction(SIGCHLD, &saved->child, NULL);
    sigprocmask(SIG_SETMASK, &saved->mask, NULL);
}

/* In the child: what it starts is traced, too, and its lines say whose they are. */
static void say_who_is_first(void)
{
    char *keys = NULL;
    const char *old = getenv("SONDE");
    if (old != NULL && asprintf(&keys, "%s,trace_first=%d", old, (int)getpid()) > 0)
        setenv("SONDE", keys, 1);
    free(keys);
}

/* In the child: execute, or tell the parent through the pipe why not. */
static _Noreturn void become(const struct sn_record_plan *plan,
                             const struct saved_signals *saved, int tell)
{
    give_signals_back(saved);
    if (plan->tracers[0] != '\0')
        say_who_is_first();
    execvp(plan->program, plan->argv);
    int error = errno;
    if (write(tell, &error, sizeof error) < 0)
        _exit(126);
    _exit(127);
}

static bool start(struct sn_record *r, const struct sn_record_plan *plan,
                  const struct saved_signals *saved, struct sn_error *e)
{
    int told[2], error = 0;
    if (pipe2(told, O_CLOEXEC) != 0)
        return sn_fail(e, plan->program, -1, "cannot start: %s", strerror(errno));
    r->child = fork();
    if (r->child == 0)
        become(plan, saved, told[1]);
    error = r->child < 0 ? errno : 0;
    close(told[1]);
    ssize_t n = 0;
    while (error == 0 && (n = read(told[0], &error, sizeof error)) < 0 && errno == EINTR)
        continue; /* the pipe closes when exec succeeds */
    close(told[0]);
    if (error == 0)
        return true;
    if (n > 0)
        waitpid(r->child, NULL, 0);
    r->child = 0;
    return sn_fail(e, plan->program, -1, "cannot start: %s", strerror(error));
}

/* The program stopped itself: the shell should see the whole job stop. */
static void stop_too(pid_t child)
{
    int terminal = open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY);
    bool foreground = terminal >= 0 && tcgetpgrp(terminal) == getpgrp();
    if (terminal >= 0)
        close(terminal);
    if (!foreground)
        return;
    raise(SIGSTOP);
    kill(child, SIGCONT);
}

/* The next signal, while there is something to do besides. */
static int next_signal(const sigset_t *watched, const struct sn_record_plan *plan,
                       siginfo_t *info)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    if (plan->meanwhile == NULL)
        return sigwaitinfo(watched, info);
    plan->meanwhile(plan->argument);
    return sigtimedwait(watched, info, &pause);
}

/* Until the program has ended. */
static void wait_for(pid_t child, const struct sn_record_plan *plan,
                     const sigset_t *watched, int *status, struct rusage *use)
{
    for (;;) {
        pid_t who = wait4(child, status, WNOHANG | WUNTRACED, use);
        if (who == child && !WIFSTOPPED(*status))
            return;
        if (who == child)
            stop_too(child);
        siginfo_t info;
        int signal = next_signal(watched, plan, &info);
        if (signal > 0 && signal != SIGCHLD && info.si_code <= 0)
            kill(child, signal); /* from a process, not from the keyboard */
    }
}

/* The Ctrl-C that ended the program is pending here too: it must not end us as well. */
static void drop_pending(const sigset_t *watched)
{
    const struct timespec at_once = {0};
    while (sigtimedwait(watched, NULL, &at_once) > 0)
        continue;
}

static uint64_t cpu_time_ns(const struct rusage *use)
{
    return (uint64_t)(use->ru_utime.tv_sec + use->ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(use->ru_utime.tv_usec + use->ru_stime.tv_usec) * 1000u;
}

bool sn_record_run(struct sn_record *r, const struct sn_record_plan *plan, int *status,
                   uint64_t *cpu_ns, struct sn_error *e)
{
    sigset_t watched;
    struct saved_signals saved;
    struct rusage use = {0};
    if (!set_environment(r, plan, e))
        return false;
    take_signals(&watched, &saved);
    bool started = start(r, plan, &saved, e);
    if (started) {
        wait_for(r->child, plan, &watched, status, &use);
        *cpu_ns = cpu_time_ns(&use);
        drop_pending(&watched);
    }
    give_signals_back(&saved);
    return started;
}
