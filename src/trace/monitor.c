/*
 * monitor.c: one thread of ours in the program, for what comes by the clock. It is only
 * there while a tracer needs it (docs/architecture.md says what a thread changes), blocks
 * all signals, and is not the program's: pthread_create's hook does not see it.
 *
 *     the first start: thread -> [sleep until the next is due -> run it]... <- the last
 * stop
 *
 * It begins and ends under `life`, and ends for as long as a call takes that wants a
 * process without threads (alone.c).
 *
 * A program whose main thread ends by pthread_exit ends with its last thread: when only
 * this one is left it returns, and the C library does what it does then.
 */
#include "trace/trace.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TASKS       8
#define LONGEST_NS  UINT64_C(500000000) /* until it looks whether it is alone */
#define STACK_BYTES ((size_t)256 << 10)

static struct {
    void (*run)(void);
    uint64_t period_ns, due_ns;
} tasks[TASKS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* held while one runs */
static pthread_mutex_t life = PTHREAD_MUTEX_INITIALIZER;
static pthread_t thread;
static bool begun;    /* under `life`, as is the next */
static pid_t process; /* that it is of */
static atomic_int tid;
static atomic_uint changed; /* a futex: look at the tasks again */
static atomic_bool over;

pid_t sn_monitor_tid(void)
{
    return atomic_load(&tid);
}

/* The main thread has ended, and all others but us. */
static void count_thread(pid_t one, void *count)
{
    (void)one;
    ++*(unsigned *)count;
}

static bool is_alone(void)
{
    char line[512];
    unsigned n = 0;
    sn_thread_each(count_thread, &n);
    if (n != 2)
        return n < 2;
    sn_file_line("/proc/self/stat", line, sizeof line); /* of the main thread */
    const char *name_end = strrchr(line, ')');
    return name_end != NULL && (name_end[2] == 'Z' || name_end[2] == 'X');
}

/* Run what is due. The next time something is. */
static uint64_t run_due(void)
{
    uint64_t now = sn_clock_ns(CLOCK_MONOTONIC), next = now + LONGEST_NS;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < TASKS; i++) {
        if (tasks[i].run == NULL)
            continue;
        if (tasks[i].due_ns <= now) {
            tasks[i].run();
            tasks[i].due_ns += tasks[i].period_ns;
            if (tasks[i].due_ns <= now) /* late by more than one: those are left out */
                tasks[i].due_ns = now + tasks[i].period_ns;
        }
        next = tasks[i].due_ns < next ? tasks[i].due_ns : next;
    }
    pthread_mutex_unlock(&lock);
    return next;
}

static void sleep_until(uint64_t when_ns, unsigned seen)
{
    struct timespec when = {.tv_sec = (time_t)(when_ns / 1000000000u),
                            .tv_nsec = (long)(when_ns % 1000000000u)};
    syscall(SYS_futex, &changed, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, seen, &when,
            NULL, FUTEX_BITSET_MATCH_ANY);
}

static void *watch(void *nothing)
{
    atomic_store(&tid, sn_thread_id());
    pthread_setname_np(pthread_self(), "sonde");
    uint64_t look_ns = 0; /* it costs as much as a sweep of the threads */
    while (!atomic_load(&over)) {
        unsigned seen = atomic_load(&changed);
        uint64_t next = run_due(), now = sn_clock_ns(CLOCK_MONOTONIC);
        if (now >= look_ns && is_alone())
            break;
        if (now >= look_ns)
            look_ns = now + LONGEST_NS;
        sleep_until(next, seen);
    }
    atomic_store(&tid, 0);
    return nothing;
}

static void wake(void)
{
    atomic_fetch_add(&changed, 1);
    syscall(SYS_futex, &changed, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

/* Its number, before it has run: the program may end sooner. The number is in that of its
 * clock (clock_gettime(2)). */
static void know_thread(void)
{
    clockid_t clock;
    int unknown = 0;
    if (pthread_getcpuclockid(thread, &clock) == 0)
        atomic_compare_exchange_strong(&tid, &unknown, (int)~(clock >> 3));
}

static bool begin(struct sn_error *e)
{
    pthread_attr_t attr;
    sigset_t all, before;
    sigfillset(&all);
    atomic_store(&over, false);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sn_real_sigmask(SIG_SETMASK, &all, &before);
    int error = sn_real_thread(&thread, &attr, watch);
    sn_real_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    begun = error == 0;
    process = getpid();
    if (begun)
        know_thread();
    return begun || sn_fail(e, NULL, -1, "no thread can be started for the tracers: %s",
                            strerror(error));
}

static size_t find(void (*run)(void))
{
    size_t i = 0;
    while (i < TASKS && tasks[i].run != run)
        i++;
    return i;
}

bool sn_monitor_start(void (*run)(void), uint64_t period_ns, struct sn_error *e)
{
    pthread_mutex_lock(&lock);
    size_t i = find(run);
    if (i == TASKS)
        i = find(NULL);
    if (i < TASKS) {
        tasks[i].run = run;
        tasks[i].period_ns = period_ns;
        tasks[i].due_ns = sn_clock_ns(CLOCK_MONOTONIC) + period_ns;
    }
    pthread_mutex_unlock(&lock);
    wake();
    if (i == TASKS)
        return sn_fail(e, NULL, -1, "too many tracers");
    pthread_mutex_lock(&life);
    bool good = begun || begin(e);
    pthread_mutex_unlock(&life);
    return good;
}

void sn_monitor_set_period(void (*run)(void), uint64_t period_ns)
{
    size_t i = find(run);
    if (i < TASKS)
        tasks[i].period_ns = period_ns;
}

/* `life` is held. */
static void end(void)
{
    atomic_store(&over, true);
    wake();
    pthread_join(thread, NULL);
    begun = false;
}

bool sn_monitor_pause(void)
{
    if (!begun || process != getpid() || pthread_mutex_trylock(&life) != 0)
        return false;
    if (begun && !atomic_load(&over) && sn_thread_id() != sn_monitor_tid()) {
        end();
        return true;
    }
    pthread_mutex_unlock(&life);
    return false;
}

void sn_monitor_go_on(void)
{
    struct sn_error e = {.offset = -1};
    char text[640];
    if (!begin(&e))
        sn_say("%s; they end here", sn_error_text(&e, text, sizeof text));
    pthread_mutex_unlock(&life);
}

void sn_monitor_stop(void (*run)(void), bool dying)
{
    if (dying) {
        atomic_store(&over, true);
        return;
    }
    pthread_mutex_lock(&lock);
    size_t i = find(run);
    if (i < TASKS)
        tasks[i].run = NULL;
    bool last = true;
    for (i = 0; i < TASKS; i++)
        last &= tasks[i].run == NULL;
    pthread_mutex_unlock(&lock);
    if (!last)
        return;
    pthread_mutex_lock(&life);
    if (begun)
        end();
    pthread_mutex_unlock(&life);
}

void sn_monitor_after_fork(void)
{
    pthread_mutex_init(&lock, NULL);
    pthread_mutex_init(&life, NULL);
    memset(tasks, 0, sizeof tasks);
    begun = false;
    atomic_store(&tid, 0);
}
