/* sched_priv.h: what the files of the room share. */
#ifndef SN_SCHED_PRIV_H
#define SN_SCHED_PRIV_H

#include "sched/sched.h"

#include <sched.h>

#define SN_SCHED_CPUS 1024
#define SN_LEFT_OUT   8
#define SN_NO_FD      UINT16_MAX

enum sn_state {
    SN_BLOCKED,
    SN_RUNNABLE, /* could run, and does not */
    SN_RUNNING,
    SN_ENDED
};

enum sn_task_file { SN_FILE_STAT, SN_FILE_SCHEDSTAT, SN_FILE_SYSCALL, SN_TASK_FILES };

enum sn_asked {
    SN_NOT_ASKED,
    SN_WAITS,     /* in a system call, which is known */
    SN_WAITS_NOT, /* it runs, or could */
    SN_WAITS_UNSEEN
};

struct sn_sums {
    uint64_t run_ns, wait_ns; /* on a CPU; able to, but not on one */
    uint64_t voluntary, involuntary;
    uint64_t migrations; /* seen in records only */
};

struct sn_thread {
    pid_t tid;
    char name[16];
    /* ---- state.c: as of the last record */
    enum sn_state state;
    bool guessed;   /* it was running or runnable when it was first seen */
    bool preempted; /* it is runnable, because it was sent off */
    int cpu;        /* where it was last; -1: nowhere yet */
    uint64_t since_ns;
    uint64_t ins; /* times it came on a CPU */
    struct sn_sums sums;
    /* ---- a sweep's */
    bool listed;         /* it is in the directory */
    bool has_run;        /* since its details were read */
    enum sn_asked asked; /* in this sweep, of its system call */
    unsigned looks;      /* sweeps it was in */
    enum sn_state told;  /* what is said of it */
    uint64_t last_ins;
    uint64_t last_run_ns, last_wait_ns; /* of schedstat, at the sweep before */
    uint64_t grown_run, grown_wait;     /* since that */
    char letter;                        /* state in stat: R, S, D, ... */
    uint16_t files[SN_TASK_FILES];      /* places in the list of descriptors */
    /* ---- waits.c: kept while it does not run */
    char where[32]; /* the system call, or the kernel's function */
    char on[128];
    int on_fd; /* -1: none */
};

struct sn_threads {
    struct sn_thread *v; /* dense */
    uint32_t n, cap;
    uint32_t *index; /* by tid: place + 1; a power of two, at most half full */
    uint32_t mask;
};

struct sn_cpu {
    bool usable;         /* one that the process may use, or was seen to */
    uint32_t running;    /* a thread's place; SN_NONE: none of its threads */
    uint32_t queued;     /* of its threads */
    uint64_t ticks;      /* times a thread came on it */
    uint32_t could_run;  /* judge.c */
    uint64_t chances_ms; /* likewise, in thousandths */
};

struct sn_module { /* a file that is mapped */
    uint64_t lo, hi, bias;
    char path[256];
};

struct sn_named {
    uint64_t address;
    char name[96];
};

#define SN_NAMED   1024
#define SN_MODULES 256

struct sn_symbols {
    struct sn_module modules[SN_MODULES];
    unsigned n_modules;
    uint64_t read_ns; /* when they were read; 0: never */
    struct sn_named named[SN_NAMED];
};

struct sn_sched {
    struct sn_sched_plan plan;
    struct sn_arena *arena;
    struct sn_buf out;
    char note[320]; /* why there is no better source */
    enum sn_sched_source source;
    uint16_t task_dir;
    unsigned free_from;          /* no place of the descriptors before is free */
    bool keeps_files;            /* there are descriptors to spare for /proc's files */
    pid_t left_out[SN_LEFT_OUT]; /* the last of them: a new one may follow an old one */
    unsigned n_left_out;
    struct sn_threads threads;
    struct sn_cpu cpus[SN_SCHED_CPUS];
    unsigned n_cpus; /* the highest that is usable, plus one */
    /* Of the threads that have ended. */
    struct sn_sums ended;
    uint64_t n_ended;
    uint64_t now_ns;   /* until when records were taken; of a sweep of /proc, its time */
    uint64_t sweep_ns; /* the one before */
    bool resync;       /* records were lost: /proc says how things stand */
    bool is_over;
    uint64_t lost;
    struct sn_perf *perf; /* NULL: there are no records */
    unsigned take_ms;
    struct sn_symbols symbols;
};

/* ---- source.c: descriptors */

static inline int sn_slot_fd(const struct sn_sched *s, uint16_t slot)
{
    return slot == SN_NO_FD ? -1 : atomic_load(&s->plan.fds[slot]);
}
/* Keep it open: its place, or SN_NO_FD: there is none, and it is closed. */
uint16_t sn_slot_keep(struct sn_sched *s, int fd);
void sn_slot_close(struct sn_sched *s, uint16_t *slot);
void sn_fd_close(int fd); /* by the system call: the library's own close() protects */
uint64_t sn_now_ns(void);
bool sn_left_out(const struct sn_sched *s, pid_t tid);

/* ---- threads.c */

bool sn_threads_open(struct sn_threads *t);
void sn_threads_close(struct sn_threads *t);
struct sn_thread *sn_threads_find(const struct sn_threads *t, pid_t tid);
/* A new one, all zero but for what has no value yet. NULL: no memory. Moves the others.
 */
struct sn_thread *sn_threads_add(struct sn_threads *t, pid_t tid);
/* The last one takes its place. */
void sn_threads_remove(struct sn_threads *t, struct sn_thread *x);

/* ---- proc.c */

/* Each thread there is; one that is new is added, as its files say. False: none is left.
 */
bool sn_proc_list(struct sn_sched *s);
/* How many threads there are, with such as have ended but are not gone. */
unsigned sn_proc_count(const struct sn_sched *s);
/* False: the thread has ended. */
bool sn_proc_stat(struct sn_sched *s, struct sn_thread *t); /* name, letter, cpu */
bool sn_proc_schedstat(struct sn_sched *s, struct sn_thread *t, uint64_t *run_ns,
                       uint64_t *wait_ns);
bool sn_proc_status(struct sn_sched *s, struct sn_thread *t); /* switches */
/* A file of a thread, read whole into text, NUL-terminated. False: it cannot be. */
bool sn_proc_read(struct sn_sched *s, const struct sn_thread *t, const char *name,
                  char *text, size_t size);
bool sn_proc_read_kept(struct sn_sched *s, struct sn_thread *t, enum sn_task_file file,
                       char *text, size_t size);
void sn_proc_drop(struct sn_sched *s, struct sn_thread *t); /* its descriptors */
/* All that /proc knows, after which records go on. */
void sn_proc_sync(struct sn_sched *s, struct sn_thread *t);
void sn_proc_sweep(struct sn_sched *s);

/* ---- state.c */

struct sn_record {
    enum { SN_REC_IN, SN_REC_OUT, SN_REC_WAKE, SN_REC_NEW, SN_REC_END, SN_REC_NAME } kind;
    pid_t tid;
    int cpu;
    bool able;        /* of OUT: it could go on */
    bool exec;        /* of NAME */
    const char *name; /* of NAME */
    pid_t parent;     /* of NEW */
    uint64_t time_ns;
};
void sn_state_apply(struct sn_sched *s, const struct sn_record *r);
/* A thread has ended: into the sums of those. */
void sn_state_end(struct sn_sched *s, struct sn_thread *t);
struct sn_sums sn_state_sums(const struct sn_sched *s, const struct sn_thread *t);
void sn_cpu_seen(struct sn_sched *s, int cpu);

/* ---- perf.c */

/* False: *e. With `tracepoints` also wakings. */
bool sn_perf_open(struct sn_sched *s, bool tracepoints, struct sn_error *e);
void sn_perf_close(struct sn_sched *s, bool forked);
void sn_perf_take(struct sn_sched *s);

/* ---- tracefs.c */

struct sn_tracepoint {
    uint64_t id;
    unsigned pid_at; /* byte offset of the field */
};
bool sn_tracefs_waking(struct sn_tracepoint *p, struct sn_error *e);

/* ---- judge.c: fills `told` of each thread, and the CPUs */

void sn_judge_records(struct sn_sched *s);
void sn_judge_proc(struct sn_sched *s);

/* ---- waits.c, symbols.c */

/* In which system call is it? If it has run, what it waits for is found anew. */
enum sn_asked sn_waits_ask(struct sn_sched *s, struct sn_thread *t);
/* Of a blocked thread whose system call is not to be seen: the kernel's function. */
void sn_waits_guess(struct sn_sched *s, struct sn_thread *t);
/* The variable at the address, else FILE+0xOFFSET, else the number. */
void sn_symbols_name(struct sn_sched *s, uint64_t address, char *name, size_t size);
/* The function there, "" if that is not known, and where: in which file, how far above
 * its load address; NULL: in none. The string until the next call. */
const char *sn_symbols_function(struct sn_sched *s, uint64_t address, char *name,
                                size_t size, uint64_t *offset);

/* ---- lines.c */

void sn_lines_head(struct sn_sched *s, uint64_t now_ms);
void sn_lines_sweep(struct sn_sched *s, uint64_t now_ms);

#endif
