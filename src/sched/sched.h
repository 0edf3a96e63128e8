/*
 * sched: what the kernel's scheduler does with the threads of a process, this one or
 * another, in lines of Go's schedtrace. The library's tracer and `sonde sched` share it.
 *
 *     open: source -> [take records]... -> sweep: lines -> ... -> close
 *
 *     source.c    the table of sources: the best that is allowed
 *     perf.c      records of switches and wakings, from the kernel's rings
 *     tracefs.c   what a tracepoint's number and fields are
 *     state.c     records -> what each thread does, and its sums
 *     proc.c      the files of /proc/PID/task
 *     judge.c     which of those that could run does
 *     threads.c   the threads, by number
 *     waits.c     what a thread waits for
 *     symbols.c   an address -> the variable or function that lies there
 *     lines.c     the lines
 *
 * Pages of its own, never malloc, so that it serves inside a program; descriptors only in
 * the list that its caller gives. One thread at a time; no globals. Not for handlers.
 */
#ifndef SN_SCHED_H
#define SN_SCHED_H

#include "base/base.h"

#include <stdatomic.h>
#include <sys/types.h>

/* In the order in which they are tried. */
enum sn_sched_source {
    SN_SCHED_TRACEPOINTS, /* switches, and sched:sched_waking: root */
    SN_SCHED_SWITCH,      /* PERF_RECORD_SWITCH: of one's own, where perf_event is let */
    SN_SCHED_PROC,        /* /proc: always */
    SN_SCHED_SOURCES
};
extern const char *const sn_sched_source_names[]; /* "tracepoints", "switch", "proc" */
/* By name; SN_SCHED_SOURCES: there is none of that name. */
enum sn_sched_source sn_sched_source_find(const char *name);

#define SN_SCHED_DEPTH 64

/* Where the threads stand: the caller's, who knows how a stack is walked. */
struct sn_sched_stacks {
    /* Now, of all threads. Called once a sweep, before any `of`. */
    void (*take)(void *self);
    /* What was taken of one: pcs[0] is where it is, each later one lies in a call. *why:
     * what cut it, or why there is none (0); NULL: it is whole. */
    size_t (*of)(void *self, pid_t tid, uint64_t pcs[SN_SCHED_DEPTH], const char **why);
    void *self;
};

struct sn_sched_plan {
    pid_t pid;
    bool detail;
    const struct sn_sched_stacks *stacks; /* with detail, of each thread; NULL: none */
    bool forced;                          /* `source`, or none */
    enum sn_sched_source source;          /* the first to try */
    unsigned interval_ms;                 /* only said */
    const char *tail;                     /* what ends each line; borrowed */
    /* Its descriptors, -1 where there is none: read by others at any time, never moved.
     * So many it may keep open. */
    atomic_int *fds;
    unsigned max_fds;
    int (*keep_fd)(int fd); /* moves one out of the program's way, or -1; may be NULL */
};

struct sn_sched;

/* NULL: *e. `plan` is copied. */
struct sn_sched *sn_sched_open(const struct sn_sched_plan *plan, struct sn_error *e);
/* `forked`: in a fork's child, whose memory no longer has the parent's rings. NULL-safe.
 */
void sn_sched_close(struct sn_sched *s, bool forked);
/* How often sn_sched_take should be called, so that no ring overflows. 0: never. */
unsigned sn_sched_take_ms(const struct sn_sched *s);
void sn_sched_take(struct sn_sched *s);
/* The first line, which names the source and why none better. Until the next call. */
const char *sn_sched_head(struct sn_sched *s, uint64_t now_ms, size_t *len);
/* Not the program's: nothing is said of it. */
void sn_sched_leave_out(struct sn_sched *s, pid_t tid);
/*
 * One SCHED line, with detail also one for each CPU and thread. NULL: the process has
 * ended, or there is no memory. Until the next call.
 */
const char *sn_sched_sweep(struct sn_sched *s, uint64_t now_ms, size_t *len);
/* The lowest of its descriptors in [first, last]; -1: none. Signal-safe. */
int sn_sched_fd(const atomic_int *fds, unsigned max_fds, unsigned first, unsigned last);

#endif
