/*
 * cpu.c: a CPU clock a thread, delivered to that thread as a real-time signal, and the
 * handler that counts its stack.
 *
 *     perf        a task-clock perf_event: true at every rate, ticks in the kernel
 * included perf-user   the same where the kernel may not be watched: weighted by the CPU
 * clock timer       timer_create on the thread's CPU clock: each expiry counts its
 * overruns
 *
 * A thread owns one slot of `slots` while it has a clock; the signal's value says which.
 * The handler takes no lock and allocates nothing; `inside` lets stop wait for the last
 * of them.
 */
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_DEPTH    2048
#define CLOCK_SIGNAL (SIGRTMAX - 3)

enum clock_kind { PERF, PERF_USER, TIMER, NO_CLOCK };
static const char *const clock_names[] = {"perf", "perf-user", "timer", "none"};

/* What a thread needs while it is sampled: pages of its own, kept for the thread's life.
 */
struct sampler {
    enum clock_kind kind;
    int fd;
    timer_t timer;
    uint32_t thread; /* slot in the spool */
    uint64_t last_cpu_ns;
    struct sn_stack_range stack;
    volatile bool busy;
    uintptr_t pcs[MAX_DEPTH];
};

static __thread struct sampler *self __attribute__((tls_model("initial-exec")));
static atomic_bool recording;
static atomic_int inside;
static uint64_t period_ns;
static enum clock_kind first_clock;

static uint64_t thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* How many periods this signal stands for. */
static uint64_t weigh(struct sampler *s, const siginfo_t *info)
{
    if (s->kind == PERF)
        return 1;
    if (s->kind == TIMER)
        return 1 + (info->si_overrun > 0 ? (uint64_t)info->si_overrun : 0);
    uint64_t ticks = (thread_cpu_ns() - s->last_cpu_ns) / period_ns;
    s->last_cpu_ns += ticks * period_ns; /* the rest counts for the next */
    return ticks;
}

static void on_tick(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    int saved = errno;
    struct sampler *s = self;
    atomic_fetch_add(&inside, 1);
    if (!atomic_load(&recording)) {
        sn_table_drop(SN_DROP_LATE, 1);
    } else if (s != NULL && s->busy) {
        sn_table_drop(SN_DROP_BUSY, 1);
    } else if (s != NULL) {
        s->busy = true;
        uint64_t ticks = weigh(s, info);
        if (ticks > 0) {
            enum sn_unwind_end end;
            size_t n = sn_unwind(context, s->stack, s->pcs, MAX_DEPTH, &end);
            sn_table_count(s->thread, end, s->pcs, n, ticks);
        }
        s->busy = false;
    }
    atomic_fetch_sub(&inside, 1);
    errno = saved;
}

static int open_perf(bool user_only)
{
    struct perf_event_attr a = {.size = sizeof a,
                                .type = PERF_TYPE_SOFTWARE,
                                .config = PERF_COUNT_SW_TASK_CLOCK,
                                .sample_period = period_ns,
                                .disabled = 1,
                                .exclude_kernel = user_only,
                                .exclude_hv = 1,
                                .wakeup_events = 1};
    return (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static bool arm_perf(struct sampler *s)
{
    int fd = open_perf(s->kind == PERF_USER);
    if (fd < 0)
        return false;
    /* High numbers: a program may count on the low ones being free. */
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 512);
    if (high >= 0) {
        close(fd);
        fd = high;
    }
    struct f_owner_ex owner = {F_OWNER_TID, (pid_t)syscall(SYS_gettid)};
    s->last_cpu_ns = thread_cpu_ns();
    if (fcntl(fd, F_SETOWN_EX, &owner) < 0 || fcntl(fd, F_SETSIG, CLOCK_SIGNAL) < 0 ||
        fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK) < 0 ||
        ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) < 0) {
        close(fd);
        return false;
    }
    s->fd = fd;
    return true;
}

/* The first expiry is uniform in (0, period], else short threads are over-counted. */
static uint64_t first_expiry_ns(void)
{
    return 1 + sn_hash_mix(thread_cpu_ns() ^ (uint64_t)syscall(SYS_gettid)) % period_ns;
}

static bool arm_timer(struct sampler *s)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                             .sigev_signo = CLOCK_SIGNAL};
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    uint64_t first = first_expiry_ns();
    struct itimerspec when = {
        .it_interval = {(time_t)(period_ns / 1000000000u),
                        (long)(period_ns % 1000000000u)},
        .it_value = {(time_t)(first / 1000000000u), (long)(first % 1000000000u)}};
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &s->timer) != 0)
        return false;
    return timer_settime(s->timer, 0, &when, NULL) == 0;
}

/* The best clock that the kernel grants this thread. */
static void arm(struct sampler *s)
{
    for (s->kind = first_clock; s->kind < NO_CLOCK; s->kind++)
        if (s->kind == TIMER ? arm_timer(s) : arm_perf(s))
            return;
}

static void find_stack(struct sampler *s)
{
    pthread_attr_t attr;
    void *low;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attr) != 0)
        return;
    if (pthread_attr_getstack(&attr, &low, &size) == 0)
        s->stack = (struct sn_stack_range){(uintptr_t)low, (uintptr_t)low + size};
    pthread_attr_destroy(&attr);
}

void sn_cpu_thread_begin(void)
{
    char name[17] = "";
    sigset_t set;
    if (!atomic_load(&recording) || self != NULL)
        return;
    struct sampler *s = sn_pages_map(sizeof *s);
    if (s == NULL) {
        sn_table_drop(SN_DROP_THREADS, 1);
        return;
    }
    prctl(PR_GET_NAME, name);
    find_stack(s);
    s->fd = -1;
    s->thread = sn_table_thread((uint32_t)syscall(SYS_gettid), name);
    self = s;
    sigemptyset(&set);
    sigaddset(&set, CLOCK_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    arm(s);
    if (s->kind == NO_CLOCK)
        sn_table_drop(SN_DROP_THREADS, 1);
}

void sn_cpu_thread_end(void)
{
    struct sampler *s = self;
    if (s == NULL)
        return;
    if (s->fd >= 0)
        close(s->fd);
    if (s->kind == TIMER)
        timer_delete(s->timer);
    self = NULL; /* before the pages go: a signal may still be under way */
    atomic_signal_fence(memory_order_seq_cst);
    sn_pages_unmap(s, sizeof *s);
}

bool sn_cpu_start(const struct sn_settings *s, struct sn_error *e)
{
    struct sigaction action = {.sa_sigaction = on_tick,
                               .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    struct sn_unwind_hooks hooks = {.on_module = sn_table_module};
    period_ns = 1000000000u / s->cpu_hz;
    first_clock = s->clock == SN_CLOCK_TIMER ? TIMER : PERF;
    if (!sn_unwind_prepare(&hooks, e))
        return false;
    sigemptyset(&action.sa_mask);
    if (sigaction(CLOCK_SIGNAL, &action, NULL) != 0)
        return sn_fail(e, "cpu", -1, "cannot take signal %d: %s", CLOCK_SIGNAL,
                       strerror(errno));
    sn_unwind_forget(); /* so that modules are met again, for this spool */
    atomic_store(&recording, true);
    sn_cpu_thread_begin();
    if (self == NULL || self->kind == NO_CLOCK) {
        sn_cpu_stop();
        return sn_fail(e, "cpu", -1,
                       "neither perf_event_open nor timer_create works here");
    }
    snprintf(sn_table_header()->clock, sizeof sn_table_header()->clock, "%s",
             clock_names[self->kind]);
    return true;
}

void sn_cpu_stop(void)
{
    atomic_store(&recording, false);
    sn_cpu_thread_end();
    while (atomic_load(&inside) > 0)
        sched_yield();
}

void sn_cpu_forget(void)
{
    struct sampler *s = self;
    atomic_store(&recording, false);
    atomic_store(&inside, 0);
    self = NULL;
    if (s != NULL && s->fd >= 0)
        close(s->fd); /* POSIX timers are not inherited */
}
