/*
 * trace.h: the lines that a runtime prints about itself, read one by one: Go's (1.1 to
 * 1.26; GODEBUG=schedtrace, scheddetail, gctrace, scavtrace, allocfreetrace) and
 * libsonde's, which keep Go's grammar. What is no such line is handed back.
 *
 *     bytes -> lines -> one parser a kind of line -> events, bounded -> charts, sums
 *
 * Sources of the grammar: Go's runtime (proc.go schedtrace, mgc.go gcMarkTermination,
 * mgcscavenge.go printScavTrace, mheap.go scavenge, mprof.go tracealloc; before 1.5
 * proc.c and mgc0.c). Fields may stand in any order; `key=value` of any name may follow.
 *
 * Nothing in a line is believed: numbers are clamped, a line is cut at 64 KiB, names at
 * 120 bytes, and of each kind of event a bounded number is kept, thinned evenly (every
 * second one goes) when there are more. What is counted or summed up in `struct sn_trace`
 * is of all of them. Allocates in one arena; one thread at a time; never signal-safe.
 */
#ifndef SN_FORMATS_TRACE_H
#define SN_FORMATS_TRACE_H

#include "base/base.h"

#define SN_TRACE_ABSENT (-1) /* a quantity that a line did not say */

enum sn_trace_line {                 /* what a line is */
                     SN_TRACE_OTHER, /* none of ours: the program's own */
                     SN_TRACE_SCHED,
                     SN_TRACE_P, /* a CPU (Go: a processor) */
                     SN_TRACE_M, /* a thread */
                     SN_TRACE_G, /* a goroutine */
                     SN_TRACE_GC,
                     SN_TRACE_SCAV,
                     SN_TRACE_ALLOC,
                     SN_TRACE_FREE,
                     SN_TRACE_STACK,   /* of the line before it */
                     SN_TRACE_POINTER, /* an invalid pointer was found */
                     SN_TRACE_NOTE, /* the runtime's, and nothing is made of it: pacer, GC
                                       forced */
                     SN_TRACE_LINES
};

enum sn_trace_state {
    SN_STATE_RUNNING,
    SN_STATE_RUNNABLE, /* waits for a CPU */
    SN_STATE_BLOCKED,  /* waits for something else, the reason */
    SN_STATE_SYSCALL,
    SN_STATE_IDLE, /* parked, has no work */
    SN_STATE_GONE, /* dead, or not known */
    SN_STATES
};

/* One SCHED line, and the P, M and G lines behind it. */
struct sn_trace_sweep {
    int64_t time_ns;
    int32_t cpus, idle_cpus, threads, spinning, idle_threads; /* or ABSENT */
    int32_t queue;   /* runnable and not running: everywhere; or ABSENT */
    int32_t longest; /* the longest of the CPUs' own queues; or ABSENT */
    uint32_t first, n_samples;
};

struct sn_trace_sample { /* one P, M or G line */
    uint32_t lane;
    uint32_t reason; /* string */
    int16_t cpu;     /* -1: none */
    uint8_t state;   /* enum sn_trace_state */
};

enum sn_trace_counter {                  /* what a thread has summed up so far */
                        SN_COUNTER_RUN,  /* ns on a CPU */
                        SN_COUNTER_WAIT, /* ns in a run queue */
                        SN_COUNTER_VOLUNTARY,
                        SN_COUNTER_INVOLUNTARY,
                        SN_COUNTER_MIGRATIONS,
                        SN_COUNTERS
};

struct sn_trace_lane { /* one CPU, thread or goroutine through all sweeps */
    char kind;         /* 'P', 'M' or 'G' */
    int64_t id;
    uint32_t name; /* string; "" if none was said */
    uint64_t states[SN_STATES];
    int64_t first[SN_COUNTERS], last[SN_COUNTERS]; /* ABSENT: never said */
    int64_t first_ns, last_ns;                     /* of its lines */
    char attributes[120]; /* of the last line: "key=value ..." of no other use here */
};

#define SN_TRACE_STOPS 2

struct sn_trace_gc {
    int64_t time_ns; /* when it began */
    int64_t number;
    int64_t wall_ns;                  /* from its begin to its end */
    int64_t stops_ns[SN_TRACE_STOPS]; /* the world stood still: first, last */
    uint32_t n_stops;
    int64_t cpu_ns;                                      /* or ABSENT */
    int64_t before, at_end, live, goal, stacks, globals; /* bytes, or ABSENT */
    int64_t rss, objects;                                /* or ABSENT */
    int32_t cpus;                                        /* or ABSENT */
    double percent;  /* of CPU, since the program began; negative: not said */
    uint32_t marker; /* string: "malloc", "libgc"; "" is Go's */
    bool forced;
};

struct sn_trace_scav {
    int64_t time_ns;
    int64_t inuse, idle, sys, released, consumed, rss; /* bytes, or ABSENT */
    int64_t work; /* bytes that went back just now, or ABSENT */
    int32_t util; /* percent, or ABSENT */
    bool forced;
};

struct sn_trace_site { /* where blocks are allocated */
    uint32_t name;     /* string */
    uint64_t allocs, bytes, frees, freed_bytes;
};

struct sn_trace_limits {
    uint32_t sweeps, samples, gcs, scavs, lanes, sites, strings, blocks;
};
extern const struct sn_trace_limits sn_trace_usual_limits;

struct sn_trace_sums { /* of all collections, also those not kept */
    uint64_t n, forced, stops;
    int64_t stopped_ns, longest_ns, wall_ns, cpu_ns;
    int64_t first_live, last_live, least_live, most_live, most_heap; /* or ABSENT */
    int64_t first_goal, last_goal, most_goal, most_rss;              /* or ABSENT */
    double percent; /* the last; negative: not said */
};

struct sn_trace {
    struct sn_arena *arena;
    struct sn_strtab *strings;
    struct sn_trace_limits limits;
    uint64_t lines[SN_TRACE_LINES];
    uint32_t source;  /* string: whence our scheduler's lines have it; "" not said */
    uint64_t n_heads; /* SCHED lines of that kind: how it will be looked, no look */
    char head[160];   /* attributes of the last SCHED line, of no other use here */
    int64_t counters[SN_COUNTERS]; /* of all threads, those that ended too; or ABSENT */
    int64_t first_ns, last_ns;     /* of all events with a time; ABSENT: none has one */
    bool ordinal;                  /* no time anywhere: a second stands for an event */
    bool stamped;                  /* times are those of arrival (live) */
    uint64_t back;                 /* times that were before the one before */

    struct sn_trace_sweep *sweeps;
    uint32_t n_sweeps, cap_sweeps;
    struct sn_trace_sample *samples;
    uint32_t n_samples, cap_samples;
    struct sn_trace_lane *lanes;
    uint32_t n_lanes, cap_lanes;
    struct sn_trace_gc *gcs;
    uint32_t n_gcs, cap_gcs;
    struct sn_trace_scav *scavs;
    uint32_t n_scavs, cap_scavs;
    struct sn_trace_site *sites;
    uint32_t n_sites, cap_sites;

    /* One of so many is kept; 1: all. */
    uint32_t sweep_stride, gc_stride, scav_stride;
    uint64_t lost_lanes, lost_sites, lost_blocks, lost_strings; /* past the limits */
    struct sn_trace_sums gc;
    uint64_t allocs, bytes, frees, freed_bytes, unknown_frees;
    uint64_t late;     /* of allocs and frees, seen by a collection of libgc's */
    int64_t released;  /* bytes that all SCAV lines say went back */
    char pointer[320]; /* the first line about an invalid pointer */

    /* Lines that end with " pid=N" are of that process, those without of the first. */
    int64_t pid;              /* whose are read; 0: the first's */
    uint64_t lines_of_others; /* these are recognised, and no more */
    int64_t others[8];        /* the first of the processes; 0: none */
    bool more_others;         /* there are more */

    struct sn_trace_reader *reader; /* trace_priv.h */
};

/* `limits` may be NULL: the usual ones. NULL: out of memory. */
struct sn_trace *sn_trace_new(const struct sn_trace_limits *limits);
void sn_trace_free(struct sn_trace *t); /* NULL-safe */
/* Before the first line: only lines of this process. */
static inline void sn_trace_set_pid(struct sn_trace *t, int64_t pid)
{
    t->pid = pid;
}

/* What is handed back: whole lines, each with its '\n' if it had one, in order. */
typedef void sn_trace_other_fn(void *to, const char *bytes, size_t n);

/* The next bytes of a stream. `other` may be NULL. `now_ns` is when they came, for lines
 * that say no time; ABSENT: not a live stream. False: out of memory. */
bool sn_trace_feed(struct sn_trace *t, const char *bytes, size_t n, int64_t now_ns,
                   sn_trace_other_fn *other, void *to);
/* The stream has ended: the last line, then all events in order of their time. */
bool sn_trace_finish(struct sn_trace *t, sn_trace_other_fn *other, void *to);
/* One line without its end. For tests, and for who has lines. */
enum sn_trace_line sn_trace_line(struct sn_trace *t, const char *line, size_t n);

const char *sn_trace_str(const struct sn_trace *t, uint32_t id);
const char *sn_trace_state_name(enum sn_trace_state s);
/* "M12 name", "G3", "P0"; returns buf. */
char *sn_trace_lane_label(const struct sn_trace *t, const struct sn_trace_lane *l,
                          char *buf, size_t size);
/* The kind of lane whose states are worth a picture: 'M', 'G', or 0: none. */
char sn_trace_lane_kind(const struct sn_trace *t);
/* The interval between sweeps that are kept, on the average, ns; 0: fewer than two. */
int64_t sn_trace_interval_ns(const struct sn_trace *t);

/* trace_json.c: Chrome's trace-event format, which Perfetto reads too. */
void sn_trace_json(const struct sn_trace *t, const char *title, struct sn_buf *out);

#endif
