/*
 * world.c: the other threads held for a moment, so that memory can be looked at.
 *
 * A thread that sleeps in the kernel is left asleep: a signal would end its wait with
 * EINTR. The kernel tells its stack pointer (/proc/self/task/TID/syscall), and should it
 * wake meanwhile, that is a risk taken. A thread that runs (and each, where the process
 * is about to end) gets a signal, in whose handler it notes its registers and waits until
 * the world goes on, or for ten seconds.
 *
 * One stop at a time: who comes second (a process that ends, while a dump is being
 * written) waits for the first. There is one world, mapped for good: a thread that blocks
 * signals gets ours late, perhaps in another stop, which it is then held by.
 *
 * Allocates pages, never malloc.
 */
#include "runtime/runtime.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRIES    200   /* a millisecond each */
#define PATIENCE 20    /* of them, with those that sleep on */
#define TURN     10000 /* milliseconds until the world is given up for another's */

enum { RUNNING, SIGNALLED, HELD, ASLEEP, GONE };

static _Atomic(struct sn_world *) world; /* once there was a stop */
static atomic_int stopper;               /* who has stopped it; 0: nobody */
static atomic_int sent;                  /* signals that did not arrive yet */
static atomic_int inside;                /* threads in the handler */
static int left_signal; /* whose handler is still ours, since one may arrive; 0: none */

static void wait_on(uint32_t *word, uint32_t value)
{
    const struct timespec longest = {.tv_sec = 10};
    syscall(SYS_futex, word, FUTEX_WAIT, value, &longest, NULL, 0);
}

static void hold(struct sn_world *w, struct sn_world_thread *t, const void *context)
{
    t->context = context;
    sn_unwind_registers(context, t->registers, &t->sp);
    __atomic_store_n(&t->state, HELD, __ATOMIC_RELEASE);
    while (__atomic_load_n(&w->stopped, __ATOMIC_ACQUIRE) == 1) {
        wait_on(&w->stopped, 1);
        if (errno == ETIMEDOUT)
            break;
    }
}

static void on_stop(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    struct sn_world *w = atomic_load(&world);
    pid_t tid = sn_thread_id();
    (void)signal;
    (void)info;
    atomic_fetch_add(&inside, 1);
    atomic_fetch_sub(&sent, 1);
    for (unsigned i = 0; w != NULL && i < w->n; i++)
        if (w->threads[i].tid == tid) {
            hold(w, &w->threads[i], context);
            break;
        }
    atomic_fetch_sub(&inside, 1);
    errno = saved;
}

bool sn_thread_asleep(pid_t tid, uint64_t *sp, uint64_t *pc)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)tid);
    return sn_file_asleep(path, sp, pc);
}

/* What sleeps is left asleep, or has the signal blocked and does not heed it. */
static void look_at(struct sn_world_thread *t, int signal, bool leave_asleep)
{
    uint32_t state = __atomic_load_n(&t->state, __ATOMIC_ACQUIRE);
    if (state == ASLEEP || state == GONE || state == HELD)
        return;
    uint64_t sp, pc;
    if (leave_asleep && sn_thread_asleep(t->tid, &sp, &pc)) {
        t->sp = sp;
        t->pc = pc;
        if (state == RUNNING)
            t->state = ASLEEP;
    } else if (state == RUNNING) {
        t->state = SIGNALLED;
        atomic_fetch_add(&sent, 1);
        if (syscall(SYS_tgkill, getpid(), t->tid, signal) != 0) {
            atomic_fetch_sub(&sent, 1);
            t->state = GONE;
        }
    }
}

/* Has every thread been seen to stand still? Those that block the signal do not. */
static bool stands_still(struct sn_world *w, int signal, bool leave_asleep)
{
    bool still = true;
    for (unsigned i = 0; i < w->n; i++) {
        struct sn_world_thread *t = &w->threads[i];
        look_at(t, signal, leave_asleep);
        unsigned state = __atomic_load_n(&t->state, __ATOMIC_ACQUIRE);
        still &= (state != RUNNING && state != SIGNALLED) || t->sp != 0;
    }
    return still;
}

static void add_thread(pid_t tid, void *argument)
{
    struct sn_world *w = argument;
    if (tid != sn_thread_id() && w->n < SN_WORLD_THREADS)
        w->threads[w->n++] = (struct sn_world_thread){.tid = tid};
}

/* A real-time signal that the program does not handle; ours of before if it still is. */
static int free_signal(struct sigaction *old)
{
    int left = left_signal;
    left_signal = 0;
    if (left != 0 && sn_real_sigaction(left, NULL, old) == 0 &&
        old->sa_sigaction == on_stop) {
        *old = (struct sigaction){.sa_handler = SIG_DFL};
        return left;
    }
    for (int signal = SN_CLOCK_SIGNAL - 1; signal > SIGRTMIN; signal--)
        if (sn_real_sigaction(signal, NULL, old) == 0 && old->sa_handler == SIG_DFL)
            return signal;
    return 0;
}

static bool take_turn(void)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int me = (int)sn_thread_id();
    for (int i = 0; i < TURN; i++) {
        int nobody = 0;
        if (atomic_compare_exchange_strong(&stopper, &nobody, me))
            return true;
        if (nobody == me) /* we are on top of our own */
            return false;
        syscall(SYS_nanosleep, &pause, NULL);
    }
    return false;
}

static struct sn_world *the_world(void)
{
    struct sn_world *w = atomic_load(&world);
    if (w == NULL)
        atomic_store(&world, w = sn_pages_map(sizeof *w));
    return w;
}

static struct sn_world *stop(bool dying)
{
    struct sigaction action = {.sa_sigaction = on_stop,
                               .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    struct sn_world *w = the_world();
    if (w == NULL)
        return NULL;
    w->n = 0;
    w->signal = 0;
    __atomic_store_n(&w->stopped, 1, __ATOMIC_RELEASE);
    sn_thread_each(add_thread, w);
    if (w->n == 0)
        return w;
    sigfillset(&action.sa_mask);
    w->signal = free_signal(&w->old);
    if (w->signal == 0 || sn_real_sigaction(w->signal, &action, NULL) != 0) {
        w->signal = 0;
        w->n = 0;
        return w;
    }
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < TRIES; i++) {
        if (stands_still(w, w->signal, !dying || i >= PATIENCE))
            break;
        syscall(SYS_nanosleep, &pause, NULL);
    }
    return w;
}

struct sn_world *sn_world_stop(bool dying)
{
    if (!take_turn())
        return NULL;
    struct sn_world *w = stop(dying);
    if (w == NULL)
        atomic_store(&stopper, 0);
    return w;
}

void sn_world_reset(void)
{
    struct sn_world *w = atomic_load(&world);
    if (w != NULL)
        w->stopped = 0;
    atomic_store(&sent, 0);
    atomic_store(&inside, 0);
    atomic_store(&stopper, 0);
}

static bool may_arrive(void)
{
    return atomic_load(&sent) > 0 || atomic_load(&inside) > 0;
}

/* Their signals went with them. */
static void forget_the_dead(struct sn_world *w)
{
    for (unsigned i = 0; i < w->n; i++) {
        struct sn_world_thread *t = &w->threads[i];
        uint32_t was = SIGNALLED;
        if (syscall(SYS_tgkill, getpid(), t->tid, 0) != 0 &&
            __atomic_compare_exchange_n(&t->state, &was, GONE, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            atomic_fetch_sub(&sent, 1);
    }
}

static void go_on(struct sn_world *w)
{
    const struct timespec pause = {.tv_nsec = 200000};
    __atomic_store_n(&w->stopped, 0, __ATOMIC_RELEASE);
    syscall(SYS_futex, &w->stopped, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
    for (int i = 0; i < 500 && may_arrive(); i++)
        syscall(SYS_nanosleep, &pause, NULL);
    if (may_arrive())
        forget_the_dead(w);
    if (may_arrive()) /* by default it would kill */
        left_signal = w->signal;
    else if (w->signal != 0)
        sn_real_sigaction(w->signal, &w->old, NULL);
}

void sn_world_go_on(struct sn_world *w)
{
    if (w == NULL)
        return;
    go_on(w);
    atomic_store(&stopper, 0);
}
