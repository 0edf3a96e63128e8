/*
 * clock.c: a CPU clock for each thread, delivered to that thread as a real-time signal.
 *
 * A thread's sampler is taken when pthread_create's hook sees it start, or when a
 * recording starts and finds it in /proc/self/task; it is given back when the thread ends
 * (a thread-specific key's destructor). `lock` guards who owns which sampler; the handler
 * never takes it, it only reads.
 */
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t end_key;
static bool have_key;
static uint64_t period_ns;
static enum sn_clock_kind first_clock, last_clock;

/* What the holder of the lock goes back to. */
struct before {
    sigset_t mask;
    int cancel;
};
static struct before before_fork;

/* With all signals blocked: a handler of the program may fork, and fork takes the lock.
 * Nor may the thread be cancelled at an open() or read() of ours. */
static void enter(struct before *b)
{
    sigset_t all;
    sigfillset(&all);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &b->cancel);
    sn_real_sigmask(SIG_SETMASK, &all, &b->mask);
    pthread_mutex_lock(&lock);
}

static void leave(const struct before *b)
{
    pthread_mutex_unlock(&lock);
    sn_real_sigmask(SIG_SETMASK, &b->mask, NULL);
    pthread_setcancelstate(b->cancel, NULL);
}

static uint64_t cpu_ns_of(pid_t tid)
{
    return sn_clock_ns((clockid_t)((~(unsigned)tid << 3) | 6u));
}

/* ---- arming
 * ----------------------------------------------------------------------------- */

static int open_perf(const struct sn_sampler *s, pid_t tid)
{
    struct perf_event_attr a = {.size = sizeof a,
                                .type = PERF_TYPE_SOFTWARE,
                                .config = PERF_COUNT_SW_TASK_CLOCK,
                                .sample_period = s->period_ns,
                                .disabled = 1,
                                .exclude_kernel = s->kind == SN_CLOCK_PERF_USER,
                                .exclude_hv = 1,
                                .wakeup_events = 1};
    return (int)syscall(SYS_perf_event_open, &a, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static bool arm_perf(struct sn_sampler *s, pid_t tid)
{
    struct f_owner_ex owner = {F_OWNER_TID, tid};
    int fd = open_perf(s, tid);
    if (fd < 0 || (fd = sn_fd_move_high(fd)) < 0)
        return false;
    s->fd = fd; /* the handler asks for it */
    if (ioctl(fd, PERF_EVENT_IOC_ID, &s->event_id) == 0 &&
        fcntl(fd, F_SETOWN_EX, &owner) == 0 &&
        fcntl(fd, F_SETSIG, SN_CLOCK_SIGNAL) == 0 &&
        fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK) == 0 &&
        ioctl(fd, PERF_EVENT_IOC_REFRESH, 1) == 0)
        return true;
    s->fd = -1;
    close(fd);
    return false;
}

static struct timespec to_timespec(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

static bool set_timer(struct sn_sampler *s, uint64_t first_ns, uint64_t every_ns)
{
    struct itimerspec when = {.it_interval = to_timespec(every_ns),
                              .it_value = to_timespec(first_ns)};
    return timer_settime(s->timer, 0, &when, NULL) == 0;
}

static bool arm_timer(struct sn_sampler *s, pid_t tid)
{
    clockid_t clock = (clockid_t)((~(unsigned)tid << 3) | 6u);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                             .sigev_signo = SN_CLOCK_SIGNAL,
                             .sigev_value.sival_ptr = s};
    event._sigev_un._tid = tid;
    if (timer_create(clock, &event, &s->timer) != 0)
        return false;
    if (set_timer(s, s->period_ns, period_ns))
        return true;
    timer_delete(s->timer);
    return false;
}

/* The best clock that the kernel grants the thread. Its first tick is uniform in (0,
 * period], else short threads are over-counted. */
static void arm(struct sn_sampler *s, pid_t tid)
{
    uint64_t random = sn_hash_mix(sn_clock_ns(CLOCK_MONOTONIC) ^ ((uint64_t)tid << 40));
    s->fd = -1;
    s->shed = 1;
    s->batch = 1; /* its period may be tiny: no more than one such tick */
    s->fresh = true;
    s->up = false;
    s->offset_ns = period_ns;
    s->ticks = 0;
    s->period_ns = 1 + random % period_ns;
    s->begin_cpu_ns = cpu_ns_of(tid);
    s->counted_ns = s->begin_cpu_ns - (period_ns - s->period_ns);
    for (s->kind = first_clock; s->kind <= last_clock; s->kind++)
        if (s->kind == SN_CLOCK_TIMER ? arm_timer(s, tid) : arm_perf(s, tid))
            return;
    s->kind = SN_CLOCK_NONE;
    sn_table_drop(&sn_cpu_table, SN_DROP_THREADS, 1);
}

/* The descriptor may have been closed by the program, and its number used again. */
static bool still_ours(const struct sn_sampler *s)
{
    uint64_t id = 0;
    return s->fd >= 0 && ioctl(s->fd, PERF_EVENT_IOC_ID, &id) == 0 && id == s->event_id;
}

/* First it is nobody's: our own close() guards what is a sampler's. */
static void close_fd(struct sn_sampler *s)
{
    int fd = still_ours(s) ? s->fd : -1;
    s->fd = -1;
    if (fd >= 0)
        close(fd);
}

static void disarm(struct sn_sampler *s)
{
    if (s->kind == SN_CLOCK_TIMER)
        timer_delete(s->timer);
    close_fd(s);
    s->kind = SN_CLOCK_NONE;
}

int sn_clock_fd(unsigned first, unsigned last)
{
    int found = -1;
    for (struct sn_sampler *s = atomic_load(&sn_samplers); s != NULL; s = s->next)
        if (s->fd >= 0 && (unsigned)s->fd >= first && (unsigned)s->fd <= last &&
            (found < 0 || s->fd < found))
            found = s->fd;
    return found;
}

/* ---- who has which sampler
 * --------------------------------------------------------------- */

/* With `lock` held: the sampler of `tid`, armed or not; a new one where there is none. */
static struct sn_sampler *sampler_of(pid_t tid)
{
    struct sn_sampler *s, *unused = NULL;
    for (s = atomic_load(&sn_samplers); s != NULL; s = s->next) {
        int owner = atomic_load(&s->tid);
        if (owner == tid)
            return s;
        if (owner == 0)
            unused = s;
    }
    if (unused == NULL && (unused = sn_pages_map(sizeof *unused)) != NULL) {
        unused->next = atomic_load(&sn_samplers);
        atomic_store(&sn_samplers, unused);
    }
    if (unused == NULL)
        return NULL;
    unused->kind = SN_CLOCK_NONE;
    unused->fd = -1;
    unused->stack = (struct sn_stack_range){0, 0};
    atomic_store(&unused->tid, tid);
    return unused;
}

static void reset(struct sn_sampler *s)
{
    disarm(s);
    s->stack = (struct sn_stack_range){0, 0};
}

/* With `lock` held. */
static void meet(pid_t tid)
{
    char name[24];
    struct sn_sampler *s = sampler_of(tid);
    if (s == NULL) {
        sn_table_drop(&sn_cpu_table, SN_DROP_THREADS, 1);
        return;
    }
    if (s->kind != SN_CLOCK_NONE)
        return;
    sn_thread_name(tid, name, sizeof name);
    s->thread = sn_table_thread(&sn_cpu_table, (uint32_t)tid);
    sn_table_thread_name(&sn_cpu_table, s->thread, name);
    arm(s, tid);
}

/* Ticks that the thread should have had and had not: its signal was blocked, its
 * descriptor closed. A tenth is no loss: the kernel's own switching, which the event
 * does not see, the jitter, what is left of the last period. */
static void settle(const struct sn_sampler *s)
{
    uint64_t now = cpu_ns_of(atomic_load(&s->tid)); /* 0: it has ended */
    uint64_t due = now > s->begin_cpu_ns ? (now - s->begin_cpu_ns) / period_ns : 0;
    if (s->kind != SN_CLOCK_NONE && due > s->ticks + 2 + due / 10)
        sn_table_drop(&sn_cpu_table, SN_DROP_MISSED, due - s->ticks);
}

static void on_thread_end(void *sampler)
{
    struct sn_sampler *s = sampler;
    char name[24];
    struct before b;
    enter(&b);
    if (sn_tick_enabled() && s->kind != SN_CLOCK_NONE) {
        sn_thread_name(sn_thread_id(), name, sizeof name);
        sn_table_thread_name(&sn_cpu_table, s->thread, name);
        settle(s);
    }
    disarm(s);
    sn_self = NULL;
    atomic_store(&s->tid, 0);
    leave(&b);
}

static void unblock_signal(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SN_CLOCK_SIGNAL);
    sn_real_sigmask(SIG_UNBLOCK, &set, NULL);
}

void sn_clock_thread_begin(void)
{
    int saved = errno;
    struct before b;
    sn_thread_learn_stack(); /* calls malloc, so not with the lock */
    enter(&b);
    if (sn_tick_enabled()) {
        struct sn_sampler *s = sampler_of(sn_thread_id());
        if (s != NULL && s != sn_self) /* perhaps of a dead thread with our number */
            reset(s);
        if (s != NULL && s->stack.hi == 0)
            s->stack = sn_thread_stack();
        sn_self = s;
        pthread_setspecific(end_key, s);
        meet(sn_thread_id());
    }
    leave(&b);
    unblock_signal();
    errno = saved;
}

static void meet_other(pid_t tid, void *more)
{
    struct before b;
    if (tid == sn_thread_id())
        return;
    enter(&b);
    struct sn_sampler *s = sampler_of(tid);
    if (s != NULL && s->kind == SN_CLOCK_NONE) {
        meet(tid);
        *(bool *)more |= s->kind != SN_CLOCK_NONE;
    }
    leave(&b);
}

/* Threads that were there before. New ones come while we look: look until none is. */
static void meet_others(void)
{
    bool more = true;
    for (int round = 0; more && round < 8; round++) {
        more = false;
        sn_thread_each(meet_other, &more);
    }
}

/* ---- start, stop, fork, exec
 * --------------------------------------------------------------- */

static void forget_dead(void)
{
    for (struct sn_sampler *s = atomic_load(&sn_samplers); s != NULL; s = s->next) {
        pid_t tid = atomic_load(&s->tid);
        if (tid != 0 && syscall(SYS_tgkill, getpid(), tid, 0) != 0)
            atomic_store(&s->tid, 0);
    }
}

bool sn_clock_start(const struct sn_settings *s, struct sn_error *e)
{
    period_ns = 1000000000u / s->cpu_hz;
    first_clock = s->clock;
    last_clock = s->clock_forced ? s->clock : SN_CLOCK_TIMER;
    if (!have_key)
        have_key = pthread_key_create(&end_key, on_thread_end) == 0;
    if (!have_key)
        return sn_fail(e, "cpu", -1, "no thread-specific key is left");
    if (!sn_signal_take(SN_OWN_CLOCK))
        return sn_fail(e, "cpu", -1, "cannot take signal %d: %s", SN_CLOCK_SIGNAL,
                       strerror(errno));
    forget_dead();
    sn_tick_enable(period_ns);
    meet_others();
    sn_clock_thread_begin(); /* last: our own start is nobody's concern */
    if (sn_self == NULL || sn_self->kind == SN_CLOCK_NONE) {
        sn_clock_stop(false);
        return sn_fail(e, "cpu", -1, "the kernel grants no CPU clock (%s)",
                       s->clock_forced ? sn_clock_names[s->clock]
                                       : "neither perf_event_open nor timer_create");
    }
    snprintf(sn_cpu_table.header->clock, sizeof sn_cpu_table.header->clock, "%s",
             sn_clock_names[sn_self->kind]);
    return true;
}

void sn_clock_stop(bool dying)
{
    struct before b;
    sn_tick_disable();
    if (!dying)
        enter(&b);
    else if (pthread_mutex_trylock(&lock) != 0)
        return;
    for (struct sn_sampler *s = atomic_load(&sn_samplers); s != NULL; s = s->next) {
        if (atomic_load(&s->tid) != 0)
            settle(s);
        disarm(s);
    }
    if (!dying)
        leave(&b);
    else
        pthread_mutex_unlock(&lock);
}

void sn_clock_pause(void)
{
    struct sn_sampler *s = sn_self;
    if (s == NULL || s->kind == SN_CLOCK_NONE)
        return;
    if (s->kind == SN_CLOCK_TIMER)
        set_timer(s, 0, 0);
    else
        ioctl(s->fd, PERF_EVENT_IOC_DISABLE, 0);
}

void sn_clock_resume(void)
{
    struct sn_sampler *s = sn_self;
    if (s == NULL || s->kind == SN_CLOCK_NONE)
        return;
    if (s->kind == SN_CLOCK_TIMER)
        set_timer(s, period_ns, period_ns);
    else
        ioctl(s->fd, PERF_EVENT_IOC_ENABLE, 0);
}

/* A tick during fork makes the kernel start it over, and a large process never ends. */
void sn_clock_before_fork(void)
{
    struct before b;
    enter(&b);
    before_fork = b;
}

void sn_clock_after_fork(bool child)
{
    for (struct sn_sampler *s = child ? atomic_load(&sn_samplers) : NULL; s != NULL;
         s = s->next) {
        close_fd(s); /* our copy; POSIX timers are not inherited */
        s->kind = SN_CLOCK_NONE;
        atomic_store(&s->tid, s == sn_self ? sn_thread_id() : 0);
    }
    struct before b = before_fork;
    leave(&b);
}
