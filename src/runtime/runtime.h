/*
 * runtime: libsonde. config.c reads SONDE; table.c counts stacks in the spool; tick.c is
 * the signal handler; clock.c gives every thread a CPU clock; hooks.c meets new threads,
 * exec and the signal calls of the program; sleep.c keeps ticks out of its waits, close.c
 * our descriptors out of its hands; sonde.c is the public interface and the process's
 * life.
 *
 * The only room (with trace) that has mutable globals: a process is profiled once at a
 * time. What the handler calls is in table.c and tick.c, and nothing else is in them.
 */
#ifndef SN_RUNTIME_H
#define SN_RUNTIME_H

#include "profile/profile.h"
#include "unwind/unwind.h"

#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <time.h>

#define SN_PUBLIC __attribute__((visibility("default")))

static inline uint64_t sn_clock_ns(clockid_t clock) /* signal-safe */
{
    struct timespec t = {0};
    clock_gettime(clock, &t); /* 0: there is no such clock (any more) */
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- config.c -----------------------------------------------------------------------
 */

/* In the order in which they are tried. */
enum sn_clock_kind {
    SN_CLOCK_PERF, /* task-clock perf_event: true at every rate, the kernel included */
    SN_CLOCK_PERF_USER, /* the same where the kernel may not be watched: weighted */
    SN_CLOCK_TIMER,     /* timer_create: each expiry counts its overruns */
    SN_CLOCK_NONE
};
extern const char *const sn_clock_names[]; /* "perf", "perf-user", "timer" */

struct sn_settings {
    bool cpu, quiet, no_shutdown_hook, sigterm_hook;
    bool spool;               /* leave the spool, write no profile (sonde run) */
    bool clock_forced;        /* `clock`, or none */
    enum sn_clock_kind clock; /* the first to try */
    unsigned cpu_hz;          /* 0: the default */
    char path[PATH_MAX];      /* directory; "": a fresh temporary one */
};

#define SN_HZ_DEFAULT 100
#define SN_HZ_MAX     10000

/* Parse "cpu=997,path=out,quiet". False: *e names the key, nothing is to be recorded. */
bool sn_settings_parse(struct sn_settings *s, const char *text, struct sn_error *e);

/* ---- table.c: signal-safe but for open and close --------------------------------------
 */

/* Create the spool at `path`, which must not exist (errno EEXIST otherwise). */
bool sn_table_open(const char *path, const char *output, uint64_t period_ns,
                   struct sn_error *e);
struct sn_spool_header *sn_table_header(void); /* NULL: not open */
size_t sn_table_bytes(void);
/* Count one stack, which stands for `ticks` periods. */
void sn_table_count(uint32_t thread, enum sn_unwind_end end, const uintptr_t *pcs,
                    size_t n, uint64_t ticks);
void sn_table_drop(enum sn_spool_drop why, uint64_t ticks);
void sn_table_module(const struct sn_module *m);
/* A file was closed: another may come to lie at its addresses. */
void sn_table_closed_module(void);
/* A slot for the thread `tid`; 0 when there is none left. */
uint32_t sn_table_thread(uint32_t tid);
void sn_table_thread_name(uint32_t slot, const char *name);
void sn_table_close(void); /* unmaps; the file stays */

/* ---- tick.c: the handler
 * --------------------------------------------------------------- */

#define SN_CLOCK_SIGNAL (SIGRTMAX - 3)
#define SN_MAX_DEPTH    2048

/* What a thread needs while it is sampled. Never unmapped: a handler may look at it. */
struct sn_sampler {
    struct sn_sampler *next; /* of all there ever were; immutable */
    atomic_int tid;          /* whose it is; 0: free */
    enum sn_clock_kind kind; /* SN_CLOCK_NONE: not armed */
    int fd;                  /* of the perf event; -1: none */
    uint64_t event_id;       /* tells whether fd is still ours */
    timer_t timer;
    uint32_t thread;       /* slot in the spool */
    uint32_t batch;        /* ticks until the next change of the period */
    bool fresh;            /* no tick yet */
    uint64_t period_ns;    /* of the batch under way */
    uint64_t offset_ns;    /* of its end from an even grid of ticks */
    bool up;               /* it drifts away from the grid, not back */
    unsigned shed;         /* periods a tick stands for: 1, or more under load */
    uint64_t counted_ns;   /* of the thread's CPU time, the part already sampled */
    uint64_t begin_cpu_ns; /* the thread's CPU time when it was armed */
    uint64_t ticks;        /* brought since */
    struct sn_stack_range stack;
    uintptr_t pcs[SN_MAX_DEPTH];
};

extern _Atomic(struct sn_sampler *) sn_samplers; /* all, newest first; grows only */
extern __thread struct sn_sampler *sn_self __attribute__((
    tls_model("initial-exec")));           /* the calling thread's, once it is known */
extern struct sigaction sn_program_action; /* what the program set for our signal */

void sn_tick_enable(uint64_t period_ns); /* ticks count from now on */
/* Ticks count no more; on return no other thread is inside the handler. */
void sn_tick_disable(void);
bool sn_tick_enabled(void);
void sn_tick_reset(void); /* in a fork's child */
void sn_on_tick(int signal, siginfo_t *info, void *context);

/* ---- clock.c
 * ---------------------------------------------------------------------------- */

/* Take the signal, give a clock to each thread there is. */
bool sn_clock_start(const struct sn_settings *s, struct sn_error *e);
/* After it no handler is inside the table. A dying process (perhaps in a handler of its
 * own) must not wait for a lock: its clocks may tick on, uncounted. */
void sn_clock_stop(bool dying);
/* The calling thread begins, while a recording is on. */
void sn_clock_thread_begin(void);
/* The lowest descriptor of ours in [first, last]; -1: none. Signal-safe. */
int sn_clock_fd(unsigned first, unsigned last);
/* Silence the calling thread's clock (before exec), and wake it (when exec failed). */
void sn_clock_pause(void);
void sn_clock_resume(void);
/* Around fork: no tick may come between; the child drops the parent's clocks. */
void sn_clock_before_fork(void);
void sn_clock_after_fork(bool child);

/* ---- sonde.c
 * ---------------------------------------------------------------------------- */

/* Is this process (not its vfork child) being recorded? Signal-safe. */
bool sn_recording_here(void);
/* The process is about to go: write what there is. Once; no lock, no malloc. */
void sn_finish(void);
void sn_on_deadly_signal(int signal); /* the hook on SIGINT and SIGTERM */
void sn_on_stray_io(int signal);

/* ---- sleep.c
 * ---------------------------------------------------------------------------- */

/* No tick between the two: the calling thread waits. `begun` is what begin returned. */
bool sn_wait_begin(void);
void sn_wait_end(bool begun);

/* ---- hooks.c
 * ---------------------------------------------------------------------------- */

void sn_sleep_bind(void); /* sleep.c's */
void sn_close_bind(void); /* close.c's */
/* Look the real functions up, while that is safe. False: there are none. */
bool sn_hooks_bind(void);
int sn_real_sigaction(int signal, const struct sigaction *action, struct sigaction *old);
int sn_real_sigmask(int how, const sigset_t *set, sigset_t *old);

#endif
