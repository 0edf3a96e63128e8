/* run.h: what the files of `sonde run` share: run.c starts, deliver.c and written.c end,
 * destination.c names the files, sum_up.c says what a kind comes to. */
#ifndef SN_CLI_RUN_H
#define SN_CLI_RUN_H

#include "cli.h"
#include "record/record.h"

struct run_request {
    bool cpu, mem, mem_exact; /* neither: cpu */
    bool mem_mmap;
    unsigned cpu_hz, mem_rate; /* 0: the library's default */
    const char *output;
    bool merge, quiet, help;
    struct tracer_keys { /* of SONDE, as "schedtrace=1000,efence" */
        char text[2 * PATH_MAX];
        bool any;                 /* is on */
        bool of_blocks;           /* one of those that need to see each */
        bool allocfreetrace;      /* its text is ours to print */
        bool sched, sched_detail; /* the second needs the first */
        bool frames;              /* one that prints stacks */
        const char *trace_path;   /* NULL: standard error */
    } tracers;
};

/* ---- destination.c --------------------------------------------------------------------
 */

struct destination {
    /* A directory, or the main process's file; "": not chosen yet. Leaves room for more.
     */
    char path[PATH_MAX - 64];
    bool is_dir;
    bool held; /* made empty, so that two recordings do not choose the same name */
};

/* Can `output` hold all that is recorded? */
bool destination_fits(const struct run_request *r, struct sn_error *e);
/* Where `output` (may be NULL) is; refused now rather than when an hour is recorded. */
bool destination_choose(const struct run_request *r, struct destination *d,
                        struct sn_error *e);
/* The first of KIND.pprof, KIND.2.pprof, ... that is free, if nothing is chosen yet. */
bool destination_hold(struct destination *d, const char *kind, struct sn_error *e);
void destination_release(const struct destination *d); /* a name that was not needed */
/* FILE for the program, FILE.PID for another process, with .1, .2, ... behind it for what
 * ran in a process before its last exec; in a directory KIND.PID.pprof, KIND.PID.1.pprof.
 */
void destination_file(const struct destination *d, const char *kind,
                      const struct sn_recorded *p, uint32_t main_pid,
                      char path[PATH_MAX]);

/* The path of a file named `base` in the directory where they go; "./" is left out. */
void destination_beside(const struct destination *d, const char *base, char *path,
                        size_t size);

/* ---- deliver.c ------------------------------------------------------------------------
 */

/* What the program left. */
struct harvest {
    const struct sn_record *record;
    uint32_t main_pid;
    struct destination to;
    uint64_t cpu_ns;
};

/* Write the files, print what they say. */
bool run_deliver(const struct harvest *h, const struct run_request *r,
                 struct sn_error *e);

/* ---- follow.c ------------------------------------------------------------------------
 */

/* The tracers' lines on standard error as the program writes them, with the names of
 * functions. The file is in the directory. NULL: *e. */
struct follow *follow_new(const char *directory, struct sn_error *e);
const char *follow_path(const struct follow *f); /* trace_path for the program */
void follow_on(void *follow);                    /* print what has come */
bool follow_is_written(const struct follow *f);  /* does a process of it still run? */
void follow_free(struct follow *f);              /* prints what has come; NULL-safe */

/* ---- written.c ------------------------------------------------------------------------
 */

/* The profiles that the program wrote itself. */
bool written_deliver(const struct harvest *h, bool quiet, struct sn_error *e);

/* ---- sum_up.c -------------------------------------------------------------------------
 */

/* All images of one kind; loaded. */
struct batch {
    struct sn_recorded *v; /* in the record */
    uint32_t n;
    uint64_t cpu_ns;
};

struct run_kind {
    const char *name;    /* of its files */
    const char *nothing; /* what is said where there are no samples */
    /* One line and more, as `say` prints them. */
    void (*head)(const struct batch *b);
    /* Of one image, for the line that names its file. */
    void (*size)(const struct sn_recorded *p, char *buf, size_t size);
    /* What each of many processes said of itself says nothing of them all. */
    void (*comment)(struct sn_profile *p, const struct batch *b);
    /* What used most. */
    bool (*tables)(struct sn_profile *p, const struct batch *b, struct sn_buf *out,
                   struct sn_error *e);
};

extern const struct run_kind run_kinds[SN_SPOOL_KINDS]; /* name NULL: not delivered */

#endif
