/*
 * efence_fault.c: SIGSEGV and SIGBUS are ours for as long as there are fenced blocks.
 * What the program sets for them is kept here and comes to pass after the report, or at
 * once where the fault is none of ours: our handler stands in the kernel with the
 * program's own flags and mask, so that what its handler finds (its stack, the blocked
 * signals, the context that it may change or leave by siglongjmp) is what it would be
 * without us. Where the program has no handler the default action is put back and the
 * access made again, which kills, with a core file of the right place.
 *
 * A page that userfaultfd watches raises SIGBUS: it is given up to mprotect, and the
 * access made again raises the SIGSEGV that it would be anywhere else.
 *
 * Signal-safe. The report is made on a stack of its own, since the program's for signals
 * may be small.
 */
#include "trace/efence.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)128 << 10)
#define VERSIONS    8

/* What the program has set, in the last of some versions: a handler may read one while a
 * thread writes the next. */
static struct kept {
    int signal;
    _Atomic unsigned next, newest;
    struct sigaction versions[VERSIONS];
} kept[] = {{.signal = SIGSEGV}, {.signal = SIGBUS}};
static atomic_bool taken;
static pid_t owner; /* the process whose memory this is */

static struct kept *kept_of(int signal)
{
    return &kept[signal == SIGBUS];
}

static struct sigaction read_kept(struct kept *k)
{
    return k->versions[atomic_load(&k->newest) % VERSIONS];
}

static void write_kept(struct kept *k, const struct sigaction *action)
{
    unsigned version = atomic_fetch_add(&k->next, 1) + 1;
    k->versions[version % VERSIONS] = *action;
    atomic_store(&k->newest, version);
}

/* A vfork's child has signals of its own, but what is kept here is its parent's. */
static bool is_lent(void)
{
    return getpid() != owner;
}

static bool is_handler(const struct sigaction *a)
{
    return a->sa_handler != SIG_DFL && a->sa_handler != SIG_IGN;
}

/* ---- the report -----------------------------------------------------------------------
 */

static char *stack;
static atomic_flag in_use = ATOMIC_FLAG_INIT; /* the stack, and what follows */
static struct {
    const siginfo_t *info;
    const ucontext_t *context;
} fault;
static ucontext_t there, here;

static void report(void)
{
    ef_report_fault(fault.info, fault.context);
}

/* With all signals blocked: nothing leaves it halfway. */
static void report_on_own_stack(const siginfo_t *info, const ucontext_t *context)
{
    sigset_t all, before;
    sigfillset(&all);
    sn_real_sigmask(SIG_SETMASK, &all, &before);
    while (atomic_flag_test_and_set(&in_use))
        sched_yield();
    fault.info = info;
    fault.context = context;
    getcontext(&there);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = STACK_BYTES;
    there.uc_link = &here;
    makecontext(&there, report, 0);
    swapcontext(&here, &there);
    atomic_flag_clear(&in_use);
    sn_real_sigmask(SIG_SETMASK, &before, NULL);
}

void ef_fault_after_fork(void)
{
    owner = getpid();
    atomic_flag_clear(&in_use);
}

/* ---- what belongs to the program ------------------------------------------------------
 */

/* The signal comes again: the access is made anew, or what was sent is sent. */
static void die_by(int signal, siginfo_t *info)
{
    struct sigaction deadly = {.sa_handler = SIG_DFL};
    sn_real_sigaction(signal, &deadly, NULL);
    if (info->si_code <= 0)
        syscall(SYS_rt_tgsigqueueinfo, getpid(), sn_thread_id(), signal, info);
}

static void pass_on(int signal, siginfo_t *info, void *context)
{
    struct kept *k = kept_of(signal);
    struct sigaction program = read_kept(k);
    bool sent = info->si_code <= 0;
    if (!is_handler(&program) || (!sent && sn_signal_is_blocked(signal))) {
        if (!sent || program.sa_handler != SIG_IGN)
            die_by(signal, info);
        return;
    }
    if (program.sa_flags & SA_RESETHAND) {
        struct sigaction reset = program;
        reset.sa_handler = SIG_DFL;
        if (is_lent())
            sn_real_sigaction(signal, &reset, NULL);
        else
            write_kept(k, &reset);
    }
    if (program.sa_flags & SA_SIGINFO)
        program.sa_sigaction(signal, info, context);
    else
        program.sa_handler(signal);
}

static bool give_up(uintptr_t address)
{
    ef_arena_spoil(address);
    return syscall(SYS_mprotect, address & -EF_PAGE, EF_PAGE, PROT_NONE) == 0;
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    bool ours = info->si_code > 0 && ef_arena_has(info->si_addr);
    if (ours && signal == SIGBUS && give_up((uintptr_t)info->si_addr)) {
        errno = saved;
        return;
    }
    if (ours)
        report_on_own_stack(info, context);
    errno = saved;
    pass_on(signal, info, context);
}

/* ---- sigaction ------------------------------------------------------------------------
 */

/* Ours in the kernel, as the program's would be. */
static int stand(struct kept *k)
{
    struct sigaction program = read_kept(k), ours = {.sa_flags = SA_ONSTACK | SA_RESTART};
    if (is_handler(&program)) {
        ours = program;
        ours.sa_flags &= ~SA_RESETHAND;
    }
    ours.sa_sigaction = on_fault;
    ours.sa_flags |= SA_SIGINFO;
    return sn_real_sigaction(k->signal, &ours, NULL);
}

bool sn_trace_holds(int signal)
{
    return (signal == SIGSEGV || signal == SIGBUS) && atomic_load(&taken);
}

/* What the C library adds to each that is set, and the program reads back. */
static struct sigaction added;

int sn_trace_sigaction(int signal, const struct sigaction *action, struct sigaction *old)
{
    struct kept *k = kept_of(signal);
    struct sigaction before = read_kept(k), now;
    if (is_lent()) {
        if (sn_real_sigaction(signal, action, &now) != 0)
            return -1;
        before = now.sa_sigaction == on_fault ? before : now;
    } else if (action != NULL) {
        struct sigaction whole = *action;
        whole.sa_flags |= added.sa_flags;
        whole.sa_restorer = added.sa_restorer;
        write_kept(k, &whole);
        if (stand(k) != 0)
            return -1;
    }
    if (old != NULL)
        *old = before;
    return 0;
}

bool ef_fault_take(struct sn_error *e)
{
    struct sigaction now;
    if (atomic_load(&taken))
        return true;
    owner = getpid();
    if ((stack = sn_pages_map(STACK_BYTES)) == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    for (size_t i = 0; i < SN_COUNT(kept); i++)
        if (sn_real_sigaction(kept[i].signal, NULL, &now) == 0) {
            write_kept(&kept[i], &now);
            stand(&kept[i]);
        }
    sn_real_sigaction(SIGSEGV, NULL, &added);
    added.sa_flags &= ~(SA_SIGINFO | SA_ONSTACK | SA_RESTART | (int)SA_NODEFER |
                        SA_NOCLDSTOP | SA_NOCLDWAIT);
    atomic_store(&taken, true);
    return true;
}
