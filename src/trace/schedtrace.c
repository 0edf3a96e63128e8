/*
 * schedtrace.c: lines on the scheduler by the clock, as `sonde sched` prints of another
 * process (sched/sched.h). A last one when it stops, so that also a program that ends
 * before the first is due has its sums.
 *
 *     start -> head -> [take records, every 50 ms or less] -> [sweep when it is due] ->
 * last
 *
 * No malloc; the lock is held while a sweep runs, and over a fork, so that the child
 * finds the descriptors as they are in the list.
 */
#include "trace_priv.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#define MAX_FDS 192 /* of the last 256 numbers, which the CPU clocks also use */

static atomic_int fds[MAX_FDS]; /* -1: none */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sn_sched *sched; /* NULL: stopped */
static uint64_t period_ns, due_ns;
static atomic_uint allowed; /* of fds; 0: not yet begun */

static bool wanted(const struct sn_settings *s)
{
    return s->trace.schedtrace_ms > 0;
}

static void write_sweep(void)
{
    size_t len;
    const char *text = sn_sched_sweep(sched, sn_trace_ns() / 1000000, &len);
    if (text != NULL)
        sn_trace_write(text, len);
}

/* Until there is something to do. */
static uint64_t step_ns(void)
{
    uint64_t take_ns = sn_sched_take_ms(sched) * UINT64_C(1000000);
    return take_ns > 0 && take_ns < period_ns ? take_ns : period_ns;
}

static void run(void)
{
    pthread_mutex_lock(&lock);
    uint64_t now = sn_trace_ns();
    if (sched != NULL)
        sn_sched_leave_out(sched, sn_monitor_tid());
    if (sched != NULL && now + 500000 >= due_ns) {
        write_sweep();
        due_ns += period_ns;
        if (due_ns <= now)
            due_ns = now + period_ns;
    } else if (sched != NULL) {
        sn_sched_take(sched);
    }
    if (sched != NULL)
        sn_monitor_set_period(run, step_ns());
    pthread_mutex_unlock(&lock);
}

/* An eighth of what the program may open, at most. */
static unsigned descriptors(void)
{
    struct rlimit limit = {1024, 1024};
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t part = limit.rlim_cur / 8;
    return part < MAX_FDS ? (unsigned)part : MAX_FDS;
}

static void forget_fds(void)
{
    for (unsigned i = 0; i < MAX_FDS; i++)
        atomic_store(&fds[i], -1);
    atomic_store(&allowed, descriptors());
}

static bool open_sched(const struct sn_settings *s, struct sn_error *e)
{
    const char *source = s->trace.schedsource;
    forget_fds();
    struct sn_sched_plan plan = {
        .pid = getpid(),
        .detail = s->trace.scheddetail > 0,
        .stacks = s->trace.scheddetail > 1 ? &sn_trace_sched_stacks : NULL,
        .forced = *source != '\0',
        .source = *source != '\0' ? sn_sched_source_find(source) : SN_SCHED_TRACEPOINTS,
        .interval_ms = s->trace.schedtrace_ms,
        .tail = sn_trace_pid(),
        .fds = fds,
        .max_fds = atomic_load(&allowed),
        .keep_fd = sn_fd_move_high};
    sched = sn_sched_open(&plan, e);
    return sched != NULL;
}

static void stop(bool dying);

static bool start(const struct sn_settings *s, struct sn_error *e)
{
    size_t len;
    if (!open_sched(s, e))
        return false;
    const char *head = sn_sched_head(sched, sn_trace_ns() / 1000000, &len);
    if (head != NULL)
        sn_trace_write(head, len);
    period_ns = s->trace.schedtrace_ms * UINT64_C(1000000);
    due_ns = sn_trace_ns() + period_ns;
    bool begun = sn_monitor_start(run, step_ns(), e);
    pthread_mutex_lock(&lock);
    sn_sched_leave_out(sched, sn_monitor_tid());
    pthread_mutex_unlock(&lock);
    if (!begun)
        stop(false);
    return begun;
}

/* Dying, perhaps in the middle of a sweep: then that was the last. */
static void stop(bool dying)
{
    sn_monitor_stop(run, dying);
    if (dying && pthread_mutex_trylock(&lock) != 0)
        return;
    if (!dying)
        pthread_mutex_lock(&lock);
    if (sched != NULL)
        write_sweep();
    if (!dying) {
        sn_sched_close(sched, false);
        sched = NULL;
    }
    pthread_mutex_unlock(&lock);
}

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork(bool child)
{
    if (child) {
        sn_sched_close(sched, true);
        sched = NULL;
    }
    pthread_mutex_unlock(&lock);
}

static int own_fd(unsigned first, unsigned last)
{
    return sn_sched_fd(fds, atomic_load(&allowed), first, last);
}

const struct sn_tracer sn_schedtrace = {.name = "schedtrace",
                                        .wanted = wanted,
                                        .start = start,
                                        .stop = stop,
                                        .before_fork = before_fork,
                                        .after_fork = after_fork,
                                        .fd = own_fd};
