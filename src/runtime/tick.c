/*
 * tick.c: the handler of the clock's signal. It counts the interrupted thread's stack.
 *
 * Everything here runs in a signal handler: no lock, no allocation, no loader call, errno
 * kept; tests/signal_safety.py looks at what this object needs. All signals are blocked
 * meanwhile, so that no handler of the program runs on top of it.
 *
 * Ticks come in batches, and each batch has a period of its own, so that a program that
 * repeats itself in step with the clock is met at all its points:
 *
 *     offset from     2 |   /\        /\         one batch up, to a random place in [1,
 * 2) an even grid,   1 | /    \  /\/    \       one down, to a random place in [0, 1)
 *     in periods      0 |/      \/        \
 *
 * Whatever the program's period, a multiple or a fraction of ours, each offset is met as
 * often as each other; and no more than a tick is ever missing from the mean. A batch is
 * also what the kernel may send before it hears from us again (PERF_EVENT_IOC_REFRESH; a
 * batch more, so that it need not wait for us): a thread that blocks every signal does
 * not fill the queue of signals.
 */
#include "runtime/runtime.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_SHED   64
#define WALK_STACK 3584 /* bytes: what a walk may need at most */

_Atomic(struct sn_sampler *) sn_samplers;
__thread struct sn_sampler *sn_self __attribute__((tls_model("initial-exec")));
struct sigaction sn_program_actions[SN_OWN_SIGNALS];

static atomic_bool enabled;
static atomic_int inside; /* threads in the handler */
static uint64_t period_ns;

void sn_tick_enable(uint64_t period)
{
    period_ns = period;
    atomic_store(&enabled, true);
}

void sn_tick_disable(void)
{
    atomic_store(&enabled, false);
    while (atomic_load(&inside) > 0)
        sched_yield();
}

bool sn_tick_enabled(void)
{
    return atomic_load(&enabled);
}

void sn_tick_reset(void)
{
    atomic_store(&enabled, false);
    atomic_store(&inside, 0);
}

static uint64_t thread_cpu_ns(void)
{
    return sn_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* Short, so that a brief recording has many; but to change the period costs a
 * microsecond, and what passed of it since the last tick. */
static uint32_t batch_size(void)
{
    return period_ns >= 250000 ? 8 : 128;
}

static uint64_t next_period_ns(struct sn_sampler *s)
{
    uint64_t base = period_ns * s->shed;
    uint64_t to = sn_hash_mix(sn_clock_ns(CLOCK_MONOTONIC) ^ (uintptr_t)s) % base;
    s->up = !s->up;
    if (s->up)
        to += base;
    int64_t step = ((int64_t)to - (int64_t)s->offset_ns) / (int64_t)batch_size();
    s->offset_ns = to;
    return base + (uint64_t)step;
}

/* The calling thread's sampler. One that was there before the recording learns of it
 * here. */
static struct sn_sampler *find_self(void)
{
    if (sn_self != NULL)
        return sn_self;
    pid_t tid = (pid_t)syscall(SYS_gettid);
    struct sn_sampler *s = atomic_load_explicit(&sn_samplers, memory_order_acquire);
    while (s != NULL && atomic_load(&s->tid) != tid)
        s = s->next;
    return sn_self = s;
}

static bool is_tick(const struct sn_sampler *s, const siginfo_t *info)
{
    bool event = info->si_code == POLL_IN || info->si_code == POLL_HUP;
    bool timer = info->si_code == SI_TIMER;
    const struct sigaction *program = &sn_program_actions[SN_OWN_CLOCK];
    if (program->sa_handler == SIG_DFL || program->sa_handler == SIG_IGN)
        return event || timer; /* of a clock that may just have been stopped */
    return s != NULL &&
           ((event && info->si_fd == s->fd) || (timer && info->si_value.sival_ptr == s));
}

void sn_signal_pass_on(enum sn_own_signal own, int signal, siginfo_t *info, void *context)
{
    const struct sigaction *a = &sn_program_actions[own];
    if (a->sa_handler == SIG_IGN)
        return;
    if (a->sa_flags & SA_SIGINFO) {
        a->sa_sigaction(signal, info, context);
    } else if (a->sa_handler != SIG_DFL) {
        a->sa_handler(signal);
    } else {
        struct sigaction deadly = {.sa_handler = SIG_DFL};
        sn_real_sigaction(signal, &deadly, NULL);
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signal);
    }
}

/* How many periods this tick stands for. */
static uint64_t weigh(struct sn_sampler *s, const siginfo_t *info)
{
    if (s->kind == SN_CLOCK_PERF)
        return s->shed;
    if (s->kind == SN_CLOCK_TIMER)
        return 1 + (info->si_overrun > 0 ? (uint64_t)info->si_overrun : 0);
    uint64_t ticks = (thread_cpu_ns() - s->counted_ns) / period_ns;
    s->counted_ns += ticks * period_ns; /* the rest counts for the next */
    return ticks;
}

/* Is the thread's stack for signals too small for a walk, which would write below it?
 * Such ticks are lost; the end of the recording finds them missing. */
static bool is_cramped(const ucontext_t *uc)
{
    uintptr_t room =
        (uintptr_t)__builtin_frame_address(0) - (uintptr_t)uc->uc_stack.ss_sp;
    return room < uc->uc_stack.ss_size && room < WALK_STACK;
}

static void sample(struct sn_sampler *s, const siginfo_t *info, const void *context)
{
    enum sn_unwind_end end;
    if (is_cramped(context))
        return;
    uint64_t ticks = weigh(s, info);
    if (ticks == 0)
        return;
    size_t n = sn_unwind(context, s->stack, s->pcs, SN_MAX_DEPTH, &end);
    sn_table_count(s->thread, end, s->pcs, n, ticks);
    s->ticks += ticks;
}

/* Ask the kernel for another batch. Where the handler takes most of the period, the
 * program would not get on: let each tick stand for more periods. */
static void next_batch(struct sn_sampler *s, uint64_t handler_ns)
{
    char name[17] = "";
    prctl(PR_GET_NAME, name);
    sn_table_thread_name(&sn_cpu_table, s->thread, name);
    sn_cpu_table.header->last_mono_ns = sn_clock_ns(CLOCK_MONOTONIC);
    s->batch = batch_size();
    if (s->kind == SN_CLOCK_TIMER)
        return;
    if (handler_ns > period_ns * s->shed / 2 && s->shed < MAX_SHED)
        s->shed *= 2;
    else if (handler_ns < period_ns * s->shed / 8 && s->shed > 1)
        s->shed /= 2;
    s->period_ns = next_period_ns(s);
    ioctl(s->fd, PERF_EVENT_IOC_PERIOD, &s->period_ns);
    ioctl(s->fd, PERF_EVENT_IOC_REFRESH, s->batch << s->fresh);
    s->fresh = false;
}

static void tick(struct sn_sampler *s, const siginfo_t *info, const void *context)
{
    if (s->batch > 1) {
        s->batch--;
        sample(s, info, context);
        return;
    }
    uint64_t before = thread_cpu_ns();
    sample(s, info, context);
    next_batch(s, thread_cpu_ns() - before);
}

void sn_on_tick(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    struct sn_sampler *s = find_self();
    if (!is_tick(s, info)) {
        sn_signal_pass_on(SN_OWN_CLOCK, signal, info, context);
        errno = saved;
        return;
    }
    atomic_fetch_add(&inside, 1);
    if (atomic_load(&enabled) && s != NULL && s->kind != SN_CLOCK_NONE)
        tick(s, info, context); /* else it comes late: its clock is gone */
    atomic_fetch_sub(&inside, 1);
    errno = saved;
}
