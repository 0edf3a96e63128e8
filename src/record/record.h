/*
 * record: runs a program under libsonde and gathers what it and its children left.
 *
 *     find program, library -> sn_record_new -> sn_record_run -> sn_record_collect
 *         -> sn_record_images, sn_recorded_load -> sn_record_free
 *
 * The library counts stacks in a spool file for each kind and process image, in a
 * directory of this recording. What kills the process leaves its spool, so collecting is
 * the same for a program that returned from main and for one that was killed. One thread;
 * no globals.
 */
#ifndef SN_RECORD_H
#define SN_RECORD_H

#include "profile/profile.h"
#include "sched/sched.h"

#include <limits.h>
#include <sys/types.h>

/* What would be executed for `name`, looked for in PATH as execvp does. */
bool sn_record_find_program(const char *name, char path[PATH_MAX], struct sn_error *e);
/* libsonde.so: beside the running command, else where it is installed. */
bool sn_record_find_library(char path[PATH_MAX], struct sn_error *e);

struct sn_record_plan {
    const char *program; /* path; argv[0] may be another word */
    char *const *argv;   /* NULL-terminated */
    const char *library; /* path of libsonde.so */
    bool cpu, mem;       /* what is recorded */
    bool blocks;         /* the program's blocks have to be seen: ours is the malloc */
    unsigned cpu_hz;     /* 0: the library's default */
    unsigned mem_rate;   /* bytes; 0: the library's default */
    bool mem_exact;
    const char *tracers; /* keys of SONDE for them, each behind a comma; "": none */
    /* What to do meanwhile, ten times a second; NULL: nothing. */
    void (*meanwhile)(void *argument);
    void *argument;
    bool mem_mmap; /* the program's own mappings, too */
};

/* One kind of one program image: a process has one more after each exec. */
struct sn_recorded {
    enum sn_spool_kind kind;
    uint32_t pid;
    unsigned image; /* 0: the last of its process; the earlier ones count from 1 */
    char name[64];
    uint64_t period; /* nanoseconds, or bytes */
    uint64_t start_mono_ns;
    uint64_t size;      /* what they are ordered by: samples, or bytes at the peak */
    uint64_t lost;      /* ticks that brought no sample; blocks not recorded */
    uint64_t truncated; /* samples or blocks whose stack is not complete */
    const char *spool;  /* path */

    char clock[32]; /* of CPU time */
    uint64_t samples;
    uint64_t blind; /* threads that had no clock */

    bool exact;                /* of a heap */
    const char *leaks_unknown; /* why; NULL: they are known */
    struct sn_heap_sums sums;  /* after sn_recorded_load, as is its `truncated` */
    uint64_t duration_ns;      /* likewise */
};

struct sn_record; /* one recording: a directory of spools */

/* Make the directory (under TMPDIR or /tmp). NULL on failure. */
struct sn_record *sn_record_new(struct sn_error *e);
/* Remove the directory, unless it is kept or a process still writes in it. NULL-safe. */
void sn_record_free(struct sn_record *r);
/* The spools stay: they could not be turned into profiles. False: there are none. */
bool sn_record_keep(struct sn_record *r);
void sn_record_leave(struct sn_record *r); /* it stays, since a process writes in it */
const char *sn_record_dir(const struct sn_record *r);

/*
 * Start the program and wait for it. The terminal stays the program's: signals from the
 * keyboard reach it directly and are let pass here; signals sent to this process are
 * handed on; when it stops in the foreground, so does this process. False: it could not
 * be started. *status is waitpid's, *cpu_ns what it and its waited-for children used.
 */
bool sn_record_run(struct sn_record *r, const struct sn_record_plan *plan, int *status,
                   uint64_t *cpu_ns, struct sn_error *e);

/*
 * Look at every spool. A file that is no spool is skipped; the first such error is left
 * in *e. False: out of memory, or the directory cannot be read.
 */
bool sn_record_collect(struct sn_record *r, struct sn_error *e);
/* *n images of a kind (in the record): those of the main process first, the last one
 * before the others, then by size. What is empty is left out, but for that first one. */
struct sn_recorded *sn_record_images(const struct sn_record *r, enum sn_spool_kind kind,
                                     uint32_t *n);
/* Paths of the *n profiles that the programs wrote themselves. */
const char *const *sn_record_written(const struct sn_record *r, uint32_t *n);
/* What one image recorded; owned by the caller. NULL on error. */
struct sn_profile *sn_recorded_load(struct sn_recorded *image, struct sn_error *e);
uint32_t sn_record_main_pid(const struct sn_record *r);
/* After collecting: does a process still write in the directory? */
bool sn_record_in_use(const struct sn_record *r);

/* ---- attach.c: a running program that records its heap ------------------------------
 */

struct sn_attached {
    pid_t pid;
    char name[32];
    char proc[96];            /* its directory under /proc */
    char path[PATH_MAX + 32]; /* of its spool, as it sees it */
    bool foreign;             /* it sees other files than we: it is in a container */
    int root, spool;          /* descriptors */
    struct sn_spool_header *header; /* mapped shared */
};

/* False: there is no such process, it is another user's, or records no heap; *e says what
 * to do. Else it is to be detached. */
bool sn_attach(pid_t pid, struct sn_attached *a, struct sn_error *e);
void sn_detach(struct sn_attached *a);
bool sn_attached_lives(const struct sn_attached *a); /* and still records */
bool sn_attached_is_exact(const struct sn_attached *a);
/* The heap's profile so far; owned by the caller. Also when the process has just ended.
 */
struct sn_profile *sn_attached_read(const struct sn_attached *a, struct sn_error *e);
/* The peak begins anew from what is live now. */
void sn_attached_mark(const struct sn_attached *a);
/* Send the program a request (runtime/control.c). *answers is to be closed. */
bool sn_attached_ask(struct sn_attached *a, const char *request, int *answers,
                     struct sn_error *e);

enum sn_answer {
    SN_ANSWER_NONE,  /* so far */
    SN_ANSWER_LATER, /* when the program next allocates from its collector */
    SN_ANSWER_BEGUN, /* it is at it */
    SN_ANSWER_GOOD,  /* "ok ..." */
    SN_ANSWER_BAD,   /* "error ..." */
    SN_ANSWER_GONE   /* the process ended */
};
enum sn_answer sn_attached_answer(int answers, unsigned wait_ms, char *line, size_t size);
/* Move a file that the program wrote (its path as the program sees it) to `to`; "-" is
 * standard output. */
bool sn_attached_fetch(const struct sn_attached *a, const char *path, const char *to,
                       struct sn_error *e);

/* ---- stacks.c: where the threads of another process stand
 * --------------------------------- */

struct sn_record_stacks;

/* NULL: *e; they may not be read. */
struct sn_record_stacks *sn_record_stacks_open(pid_t pid, struct sn_error *e);
/* For a plan of that process: valid until it is closed. */
const struct sn_sched_stacks *sn_record_stacks_hooks(const struct sn_record_stacks *s);
void sn_record_stacks_close(struct sn_record_stacks *s); /* NULL-safe */

#endif
