/*
 * runtime: libsonde. config.c reads SONDE; table.c counts stacks in the spool; tick.c is
 * the signal handler; clock.c gives every thread a CPU clock; signals.c takes the signals
 * that are ours; control.c answers who asks a running program; hooks.c meets new threads,
 * exec and the signal calls of the program; sleep.c keeps our signals out of its waits,
 * close.c our descriptors out of its hands. malloc.c and new.c stand before the
 * allocator, heap.c (heap_threads.c, heap_life.c) keeps its accounts, live.c its blocks,
 * maps.c the program's mappings, leak.c finds what nothing leads to. recording.c starts
 * and stops them all; sonde.c is the public interface and the process's life.
 *
 * The only room (with trace) that has mutable globals: a process is profiled once at a
 * time. What the handler calls is in table.c and tick.c, and nothing else is in them.
 */
#ifndef SN_RUNTIME_H
#define SN_RUNTIME_H

#include "profile/heapdump.h"
#include "profile/profile.h"
#include "unwind/unwind.h"

#include <limits.h>
#include <pthread.h>
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

/* Go's GODEBUG, and in words of its own what that leaves to defaults. */
struct sn_trace_settings {
    unsigned schedtrace_ms; /* 0: off */
    unsigned scheddetail;   /* 0: off; 2: with the threads' stacks */
    char schedsource[16];   /* insists on one; "": the best that is allowed */
    bool allocfreetrace;
    enum {
        SN_EFENCE_OFF,
        SN_EFENCE_RIGHT,
        SN_EFENCE_LEFT
    } efence;         /* where the fence is */
    unsigned gctrace; /* 0: off; 2: each collection in its phases */
    bool gcdead;
    enum {
        SN_INVALIDPTR_DEFAULT,
        SN_INVALIDPTR_OFF,
        SN_INVALIDPTR_ON,
        SN_INVALIDPTR_SCAN
    } invalidptr;
    bool scavenge;
    unsigned first; /* the process whose lines need not say whose they are; 0: this one */
    char path[PATH_MAX]; /* of the lines, %p in it the process; "": stderr */
};

struct sn_settings {
    struct sn_trace_settings trace;
    bool cpu, mem, quiet, no_shutdown_hook, sigterm_hook;
    bool mem_exact;           /* every allocation, and what becomes of it */
    bool mem_mmap;            /* the program's own mappings, too */
    bool spool;               /* leave the spool, write no profile (sonde run) */
    bool clock_forced;        /* `clock`, or none */
    enum sn_clock_kind clock; /* the first to try */
    unsigned cpu_hz;          /* 0: the default */
    unsigned mem_rate;        /* bytes a sample; 0: the default */
    int mem_signal;           /* on which the heap's profile is written; 0: none */
    char path[PATH_MAX];      /* directory; "": a fresh temporary one */
};

#define SN_HZ_DEFAULT        100
#define SN_HZ_MAX            10000
#define SN_MEM_RATE          524288
#define SN_SCHEDTRACE_MS_MAX 3600000

/* Parse "cpu=997,path=out,quiet". False: *e names the key, nothing is to be recorded. */
bool sn_settings_signal_good(int signal); /* may mem_signal be that? */
bool sn_settings_parse(struct sn_settings *s, const char *text, struct sn_error *e);

/* ---- table.c: signal-safe but for open and close --------------------------------------
 */

/* A spool that is being written; all zero: not open. Any number of threads. */
struct sn_table {
    struct sn_spool_header *header; /* NULL: not open */
    size_t bytes;                   /* mapped */
    struct sn_table *next;          /* of all that ever were open */
    bool listed;
};

extern struct sn_table sn_cpu_table, sn_heap_table;

struct sn_table_plan {
    const char *path; /* must not exist (errno EEXIST otherwise); NULL: without a file */
    const char *output; /* the profile it is for; of a custom profile, its name */
    enum sn_spool_kind kind;
    uint32_t n_values; /* of each entry */
    uint32_t scale;
    uint64_t period;
    size_t bytes; /* at most, of the file */
    bool few;     /* stacks are expected: there are less places to look through */
};

bool sn_table_open(struct sn_table *t, const struct sn_table_plan *plan,
                   struct sn_error *e);
void sn_table_close(struct sn_table *t); /* unmaps; the file stays */
struct sn_table_key {
    uint32_t thread;          /* slot */
    uint16_t end, size_class; /* enum sn_unwind_end; of heap blocks, else 0 */
    const uintptr_t *pcs;
    size_t n;
};
/* The entry of a stack, made if there is none (its values are 0 then); NULL: no room. */
struct sn_spool_entry *sn_table_entry(struct sn_table *t, const struct sn_table_key *key);
/* Count one stack of the cpu spool, which stands for `ticks` periods. */
void sn_table_count(uint32_t thread, enum sn_unwind_end end, const uintptr_t *pcs,
                    size_t n, uint64_t ticks);
void sn_table_drop(struct sn_table *t, enum sn_spool_drop why, uint64_t n);
void sn_table_module(const struct sn_module *m); /* in each that is open */
/* A file was closed: another may come to lie at its addresses. */
void sn_table_closed_module(void);
/* A new slot for the thread `tid`; 0 when there is none left. */
uint32_t sn_table_thread(struct sn_table *t, uint32_t tid);
/* The slot of `tid` that is there, else a new one. */
uint32_t sn_table_find_thread(struct sn_table *t, uint32_t tid);
void sn_table_thread_name(struct sn_table *t, uint32_t slot, const char *name);

/* Visit each entry, while they may still count. */
void sn_table_each(const struct sn_table *t,
                   void (*visit)(const struct sn_spool_entry *x, void *argument),
                   void *argument);

/* ---- guard.c: what must not be broken off ---------------------------------------------
 */

struct sn_guard {
    sigset_t mask; /* as it was */
    int cancel;
    unsigned pending; /* of what a write may raise: was there before */
};

/* Until the end the calling thread is not cancelled, nor killed by what it writes; nor
 * do handlers run on it if `all`. Signal-safe. */
void sn_guard_begin(struct sn_guard *g, bool all);
void sn_guard_end(const struct sn_guard *g);

/* ---- stack.c: stacks of our own, for handlers that write ------------------------------
 */

enum sn_own_stack { SN_STACK_PROFILE, SN_STACK_CONTROL, SN_OWN_STACKS };

void sn_stack_open(enum sn_own_stack which); /* once; not for handlers */
/* One caller at a time has it. Without it, on the stack there is. */
void sn_stack_call(enum sn_own_stack which, void (*function)(void));
/* The frame in which the calling thread left its own stack; 0: it is there. */
uintptr_t sn_stack_left_at(void);
void sn_stack_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                    void *argument);

/* ---- write.c ------------------------------------------------------------------------
 */

/* Write the table's profile, whole or not at all. It may still be counting. */
bool sn_table_write(const struct sn_table *t, const char *path, struct sn_error *e);

/* ---- signals.c
 * -------------------------------------------------------------------------- */

#define SN_CLOCK_SIGNAL   (SIGRTMAX - 3)
#define SN_CONTROL_SIGNAL (SIGRTMAX - 4)

enum sn_own_signal { SN_OWN_CLOCK, SN_OWN_CONTROL, SN_OWN_SIGNALS };

extern struct sigaction sn_program_actions[]; /* what the program set for them */

int sn_signal_number(enum sn_own_signal own);
int sn_signal_own(int signal); /* which it is; -1: none of ours */
/* Is `now` our handler? */
bool sn_signal_is_taken(enum sn_own_signal own, const struct sigaction *now);
bool sn_signal_take(enum sn_own_signal own); /* False: errno */

/* ---- tick.c: the handler
 * --------------------------------------------------------------- */

#define SN_MAX_DEPTH 2048

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
    tls_model("initial-exec"))); /* the calling thread's, once it is known */

void sn_tick_enable(uint64_t period_ns); /* ticks count from now on */
/* Ticks count no more; on return no other thread is inside the handler. */
void sn_tick_disable(void);
bool sn_tick_enabled(void);
void sn_tick_reset(void); /* in a fork's child */
void sn_on_tick(int signal, siginfo_t *info, void *context);

/* The program uses our signal too. */
void sn_signal_pass_on(enum sn_own_signal own, int signal, siginfo_t *info,
                       void *context);

/* ---- clock.c
 * ---------------------------------------------------------------------------- */

/* Take the signal, give a clock to each thread there is. */
bool sn_clock_start(const struct sn_settings *s, struct sn_error *e);
/* After it no handler is inside the table. A dying process (perhaps in a handler of its
 * own) must not wait for a lock: its clocks may tick on, uncounted. */
void sn_clock_stop(bool dying);
/* The calling thread begins, while a recording is on. */
void sn_clock_thread_begin(void);
/* The lowest descriptor of a clock in [first, last]; -1: none. Signal-safe. */
int sn_clock_fd(unsigned first, unsigned last);
/* Silence the calling thread's clock (before exec), and wake it (when exec failed). */
void sn_clock_pause(void);
void sn_clock_resume(void);
/* Around fork: no tick may come between; the child drops the parent's clocks. */
void sn_clock_before_fork(void);
void sn_clock_after_fork(bool child);

/* ---- thread.c
 * --------------------------------------------------------------------------- */

pid_t sn_thread_id(void);
void sn_thread_name(pid_t tid, char *name, size_t size); /* "" if it has ended */
/* The calling thread's own stack; without malloc and locks. */
struct sn_stack_range sn_thread_stack(void);
/* Find it out where the C library may be asked, which is cheaper. */
void sn_thread_learn_stack(void);
void sn_thread_each(void (*visit)(pid_t tid, void *argument), void *argument);

#define SN_OWN_FRAMES 12 /* at most: ours, and operator new's */
/* Which of the first n pcs of sn_unwind_here is in the call that returns to `caller`: the
 * frames before it are ours. n: none of the first few. */
size_t sn_thread_frame_of(const uintptr_t *pcs, size_t n, const void *caller);

/* ---- live.c: blocks by address
 * ---------------------------------------------------------- */

struct sn_block {
    uintptr_t address;
    uint64_t size : 40;    /* asked for, in bytes */
    uint64_t time_hi : 24; /* when it was allocated, in ticks of heap.c */
    uint32_t entry;        /* offset / 8 in the heap's spool */
    uint32_t time_lo;
};

struct sn_shard;
struct sn_live { /* all zero: not open */
    struct sn_shard *shards;
    unsigned n_shards; /* a power of two */
};

bool sn_live_open(struct sn_live *l, unsigned n_shards); /* false: no memory */
void sn_live_close(struct sn_live *l); /* no other thread may be in here */
/* False: no memory. *replaced: what was known at its address (address 0: nothing), whose
 * end was not seen. */
bool sn_live_put(struct sn_live *l, const struct sn_block *block,
                 struct sn_block *replaced);
bool sn_live_take(struct sn_live *l, uintptr_t address, struct sn_block *block);
/* While nobody puts or takes. */
void sn_live_pages(const struct sn_live *l,
                   void (*visit)(void *pages, size_t bytes, void *argument),
                   void *argument); /* what it holds for itself */
void sn_live_each(const struct sn_live *l,
                  void (*visit)(struct sn_block *block, void *argument), void *argument);

/* ---- heap.c: the accounts of the heap
 * --------------------------------------------------- */

enum sn_heap_mode {
    SN_HEAP_OFF,
    SN_HEAP_SOME, /* a sample is recorded */
    SN_HEAP_EACH,
    SN_HEAP_HELD, /* each, but who comes waits for a while */
    SN_HEAP_EARLY /* it is not settled yet whether there is a recording */
};

/* A page of its own, which a fork's child finds empty. */
extern union sn_heap_switch {
    _Atomic(enum sn_heap_mode) mode;
    char page[4096];
} sn_heap_switch;

/* The calling thread's. */
struct sn_heap_local {
    uint64_t left; /* bytes until the next sample; 0: it is due */
    unsigned news; /* of C++'s operators that it is in, or was when they threw */
    uint64_t over; /* bytes since it was due */
    struct sn_heap_thread *thread;
};
extern __thread struct sn_heap_local sn_heap_local
    __attribute__((tls_model("initial-exec")));

static inline enum sn_heap_mode sn_heap_mode(void)
{
    return atomic_load_explicit(&sn_heap_switch.mode, memory_order_relaxed);
}

static inline bool sn_heap_on(void)
{
    unsigned mode = sn_heap_mode();
    return __builtin_expect(mode - SN_HEAP_SOME <= SN_HEAP_HELD - SN_HEAP_SOME, 0);
}

/* Sampled: has a recorded block an address of that hash? Every free asks: so it is bits,
 * 8 KB that leave the program most of its first-level cache. */
#define SN_HEAP_FILTER_BITS 16
extern _Atomic(uint64_t) sn_heap_filter[1 << (SN_HEAP_FILTER_BITS - 6)];

static inline uint32_t sn_heap_filter_hash(uintptr_t address)
{
    return (uint32_t)address * UINT32_C(0x9e3779b1) >> (32 - SN_HEAP_FILTER_BITS);
}

static inline bool sn_heap_filter_misses(const void *p)
{
    uint32_t hash = sn_heap_filter_hash((uintptr_t)p);
    return (atomic_load_explicit(&sn_heap_filter[hash >> 6], memory_order_relaxed) >>
                (hash & 63) &
            1) == 0;
}

/* Is the block surely none that is recorded? */
static inline bool sn_heap_is_unknown(const void *p)
{
    return sn_heap_mode() == SN_HEAP_SOME && sn_heap_filter_misses(p);
}

/* Sampled: are so many bytes, just allocated, before the next sample? Then they are
 * counted. */
static inline bool sn_heap_passes(size_t size)
{
    uint64_t left = sn_heap_local.left;
    if (__builtin_expect(size >= left, 0))
        return false;
    sn_heap_local.left = left - size;
    return true;
}

/* Is the block of `size` bytes, just allocated, to be recorded? Not of one that could not
 * be: its size may be any number. */
static inline bool sn_heap_due(size_t size)
{
    if (sn_heap_mode() != SN_HEAP_SOME)
        return sn_heap_on();
    if (sn_heap_passes(size))
        return false;
    sn_heap_local.over += size - sn_heap_local.left;
    sn_heap_local.left = 0;
    return true;
}

#define SN_HEAP_SCALE 1024 /* of sampled weights */

extern struct sn_live sn_heap_live; /* the blocks that are recorded */

bool sn_heap_start(const struct sn_settings *s, struct sn_error *e);
void sn_heap_stop(bool dying); /* as sn_clock_stop */
void sn_heap_before_fork(void);
void sn_heap_after_fork(bool child);
bool sn_heap_is_exact(void);
/* Is the calling thread at work in here? Signal-safe. */
bool sn_heap_is_inside(void);
/* Let nobody be at work in here, until it is released. Of an exact recording. False: the
 * calling thread is, or somebody does not leave. */
bool sn_heap_hold(void);
void sn_heap_release(void);
/* Was the recording begun so early that every block is known? */
bool sn_heap_knows_all(void);
/* Where [lo, hi) is the stack of a thread that has ended, which the C library keeps: the
 * end of what has no meaning any more; else 0. */
uintptr_t sn_heap_dead_stack(uintptr_t lo, uintptr_t hi);
void sn_heap_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                   void *argument);
/* What the calling thread allocates between the two is ours, and not recorded. */
struct sn_heap_thread *sn_heap_own_begin(void);
void sn_heap_own_end(struct sn_heap_thread *t);
/* `caller` is where the program's call returns to. Keeps errno. */
void sn_heap_allocated(void *p, size_t size, const void *caller);
/* The block is about to be freed. False: not now, it will be freed later (a signal's
 * handler frees on top of our own work). */
bool sn_heap_freeing(void *p);
/* The same for realloc: what is known of the block is set aside. address 0: nothing is
 * known. False: it must not be moved now. */
bool sn_heap_moving(void *p, struct sn_block *aside);
/* It has become `fresh`, of `size` bytes, and is counted as freed; NULL: put it back, or
 * if size is 0, it was freed. True: the fresh one is told, too. */
bool sn_heap_moved(const struct sn_block *aside, void *fresh, size_t size,
                   const void *caller);

/* ---- maps.c: the program's mappings, as blocks
 * ------------------------------------------ */

/* One, or what is left of it. */
struct sn_mapped {
    uintptr_t lo, hi;
    uint64_t born;  /* sn_heap_now */
    uint32_t entry; /* as a block's */
};

/* Record them from now on, if that is wanted. False: no memory. */
bool sn_maps_open(bool wanted);
void sn_maps_close(void);
void sn_maps_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                   void *argument); /* what it holds for itself */
void sn_maps_bind(void);
/* Has the program moved the end of the [heap] itself? Then there is more than blocks. */
bool sn_maps_own_break(void);

/* heap.c's part, between sn_heap_own_begin and end. A mapping stands for itself, also
 * where blocks are sampled. The entry it is counted in; 0: there is no room. */
uint32_t sn_heap_mapped(struct sn_heap_thread *t, const struct sn_mapped *m,
                        const void *caller);
/* So many bytes of it have gone. It is in one piece less (it is gone), in one more, or as
 * before. */
void sn_heap_unmapped(struct sn_heap_thread *t, const struct sn_mapped *m, uint64_t bytes,
                      int pieces);
uint64_t sn_heap_now(void);

/* ---- world.c: the other threads, held for a moment
 * -------------------------------------- */

#define SN_WORLD_THREADS 4096

struct sn_world_thread {
    pid_t tid;
    uint32_t state;         /* world.c's */
    uintptr_t sp;           /* 0: not known */
    uintptr_t pc;           /* of one that sleeps; else 0 */
    const void *context;    /* of one that is held, a signal's; else NULL */
    uint64_t registers[24]; /* of one that was held; else 0 */
};

struct sn_world {
    uint32_t stopped;
    int signal;
    struct sigaction old;
    unsigned n;
    struct sn_world_thread threads[SN_WORLD_THREADS]; /* all but the calling one */
};

/* Not all need stand still in the end. A process that is `dying` does not mind waits that
 * end with EINTR: then the registers of those that sleep are known too. NULL: no memory,
 * or another has stopped it and does not let go. */
struct sn_world *sn_world_stop(bool dying);
void sn_world_go_on(struct sn_world *w); /* NULL-safe */
/* sn_file_asleep of a thread of this process. */
bool sn_thread_asleep(pid_t tid, uint64_t *sp, uint64_t *pc);
void sn_world_reset(void); /* in a fork's child */

/* ---- reach.c: what leads to which block
 * ------------------------------------------------ */

struct sn_reach; /* all live blocks, by address */

/* Visit blocks, whose `entry` becomes their site; twice, in whatever order. */
typedef void sn_reach_each(void (*visit)(struct sn_block *block, void *argument),
                           void *argument);
/* With the world stopped. Of all blocks of the heap's recording, with nobody in heap.c;
 * or, with `each`, of other blocks: then roots are all there is, their contents too.
 * NULL: no memory. */
struct sn_reach *sn_reach_new(const struct sn_world *w, sn_reach_each *each);
void sn_reach_free(struct sn_reach *r);
const struct sn_heapdump_block *sn_reach_blocks(const struct sn_reach *r, uint32_t *n);
/* Mark what can be reached from the roots. False: this memory cannot be read (there is no
 * /proc, or no descriptor left), and nothing is known. `on_root` (may be NULL) is told
 * each pointer from a root to a block. `frame`: of the calling thread, what is below is
 * no root. */
bool sn_reach_mark(struct sn_reach *r, uintptr_t frame,
                   void (*on_root)(void *argument, uint32_t block,
                                   enum sn_heapdump_root_kind kind, uint64_t at),
                   void *argument);
/* Tell each pointer in the block to another one. */
void sn_reach_edges(struct sn_reach *r, uint32_t block,
                    void (*on_edge)(void *argument, uint32_t to), void *argument);

/* ---- leak.c
 * ----------------------------------------------------------------------------- */

/* Find the live blocks that nothing leads to, and count them in their entries. */
enum sn_heap_leaks sn_leak_scan(bool dying);

/* ---- dump.c
 * ----------------------------------------------------------------------------- */

/* Write a heap dump, whole or not at all. Only of an exact recording. From any thread,
 * also in a signal's handler. */
bool sn_heap_dump(const char *path, struct sn_error *e);

/* ---- memstats.c
 * ------------------------------------------------------------------------------ */

struct sonde_mem_stats;
/* The allocator's own figures; it takes its locks. Does it tell what it has released? */
bool sn_mem_ask(struct sonde_mem_stats *s);
void sn_mem_release(void); /* let it give back what it keeps free */

/* ---- malloc.c, new.c: the allocator's functions
 * ------------------------------------------ */

/* The calling thread's: which of C++'s operators it is in, or was when they threw. */
extern __thread struct sn_within_new { /* sn_heap_local.news of them */
    const void *callers[4];            /* where they return to, outermost first */
    uintptr_t frames[4];               /* their own */
    uintptr_t told; /* what malloc has told last, ~: it is to lead nowhere */
    void *freed;    /* what delete has told, and will free; NULL: nothing */
} sn_within_new __attribute__((tls_model("initial-exec")));

/* pcs[own] has called the allocator. If it did so for operator new: who called that. */
size_t sn_new_frame_of(const uintptr_t *pcs, size_t n, size_t own);
/* Is the code one of C++'s operators that allocate, ours or the real ones? Whether
 * anything is recorded or not. */
bool sn_new_is_operator(uintptr_t pc);
/* From now on C++'s operators of an allocator that has its own, and so does not call
 * malloc for them, are ours, which do. */
void sn_new_by_malloc(void);

/* The allocator's functions: the real ones, or what stands before them. */
struct sn_allocator {
    void *(*malloc)(size_t size);
    void *(*calloc)(size_t n, size_t size);
    void *(*realloc)(void *p, size_t size);
    void (*free)(void *p);
    int (*posix_memalign)(void **p, size_t alignment, size_t size);
    void *(*aligned_alloc)(size_t alignment, size_t size);
    void *(*memalign)(size_t alignment, size_t size);
    void *(*valloc)(size_t size);
    void *(*pvalloc)(size_t size);
    size_t (*malloc_usable_size)(void *p);
};

/* *old (may be NULL) is what is called now; `by` (NULL: no change) from now on. The calls
 * under way may still reach the old ones. */
void sn_malloc_replace(const struct sn_allocator *by, struct sn_allocator *old);
/* Of what the program calls, and what stands before it: where their code lies. */
#define SN_MALLOC_ENTRY __attribute__((noinline, section("sn_malloc")))
bool sn_malloc_is_entry(uintptr_t pc);
/* The file whose malloc the program calls in place of ours: its own, or that of an
 * allocator that was preloaded before us. NULL: it calls ours. */
const char *sn_malloc_whose(void);
/* Each block that was allocated before it was settled whether there is a recording. True:
 * those are all. */
bool sn_malloc_early(void (*visit)(void *p, size_t size));
/* Where those are noted: no root of the program. */
void sn_malloc_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                     void *argument);
void sn_malloc_settle(void);
/* A function was met that also hands out blocks. Is it of the same file as the real
 * malloc, it does not call ours, and may have done so early. */
void sn_malloc_beside(const void *function);
/* Is the code of the same file as the real malloc? */
bool sn_malloc_is_at(const void *code);
void sn_real_free(void *p);

/* ---- custom.c: profiles of the program's own
 * -------------------------------------------- */

struct sonde_profile;
const struct sn_table *sn_custom_table(const struct sonde_profile *p);
/* Write each that is not empty into the directory, as NAME, suffix, .pprof. */
void sn_custom_write_all(const char *directory, const char *suffix, bool quiet);
void sn_custom_before_fork(void);
void sn_custom_after_fork(bool child);
void sn_custom_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                     void *argument); /* their keys: what is in them is not kept alive */

/* ---- recording.c
 * ------------------------------------------------------------------------ */

/* Begin all that the settings want; paths are chosen and written back to them. With
 * `child`, in a fork's child: files of its own. False: *e, errno, and nothing is left. */
bool sn_recording_wanted(const struct sn_settings *s); /* does it name anything? */
bool sn_recording_start(struct sn_settings *s, bool child, struct sn_error *e);
/* End it and write the profiles. Once; true where there is none. `dying`: no lock, no
 * malloc, the process is about to go. */
bool sn_recording_stop(bool dying, struct sn_error *e);
/* In a fork's child: the parent's is dropped. False: there was none. */
bool sn_recording_drop(void);
/* Is this process (not its vfork child) being recorded? Signal-safe. */
bool sn_recording_here(void);
/* Between the two, the tables stay mapped. False: nothing is recorded. Signal-safe. */
bool sn_recording_look(void);
void sn_recording_looked(void);
bool sn_recording_is_quiet(void);
const char *sn_recording_heap_spool(void); /* paths */
const char *sn_recording_heap_output(void);
void sn_finish(void);                 /* stop, dying */
void sn_on_deadly_signal(int signal); /* the hook on SIGINT and SIGTERM */
void sn_on_stray_io(int signal);
/* "sonde: ..." to standard error, without stdio. */
void sn_say(const char *fmt, ...) SN_PRINTF(1, 2);

/* ---- now.c: the heap's profile at any moment
 * ------------------------------------------- */

/* Into `path`, whole or not at all. From any thread, also in a signal's handler. */
bool sn_heap_write(const char *path, struct sn_error *e);
/* mem_signal: DIR/mem.1.pprof, mem.2.pprof, ... False: the program uses it. */
bool sn_heap_signal_take(int signal);
void sn_heap_signal_give_back(void);
void sn_heap_signal_reset(void); /* in a fork's child */
void sn_on_heap_signal(int signal, siginfo_t *info, void *context);

/* ---- control.c: the socket beside the spool
 * -------------------------------------------- */

/* `spool` is the heap's. Without a socket if there cannot be one: it is not an error. */
void sn_control_start(const char *spool);
void sn_control_stop(void);
/* Around exec, whose new program must not get our signal. */
void sn_control_pause(void);
void sn_control_resume(void);
void sn_control_drop(void); /* in a fork's child: the parent's */
void sn_control_thread_ends(void);
bool sn_control_enabled(void); /* may a signal of this or of now.c come? */
int sn_control_fd(unsigned first, unsigned last); /* as sn_clock_fd */
/* What came while the calling thread was at work in heap.c; signal-safe. */
extern atomic_bool sn_control_due;
void sn_control_serve(void);
void sn_on_control(int signal, siginfo_t *info, void *context);

/* ---- sleep.c
 * ---------------------------------------------------------------------------- */

/* No tick between the two: the calling thread waits. `begun` is what begin returned. */
bool sn_wait_begin(void);
void sn_wait_end(bool begun);
/* A handler of ours tells whether it ended a wait, which its caller then begins anew. */
void sn_wait_note(const void *context);
bool sn_wait_was_cut(void); /* says it once */
/* When a wait of that length (NULL: for ever) ends, and what is left of it. 0: it need
 * not be known. */
uint64_t sn_wait_end_ns(const struct timespec *length);
const struct timespec *sn_wait_rest(const struct timespec *length, uint64_t end_ns,
                                    struct timespec *rest);

/* ---- close.c
 * ---------------------------------------------------------------------------- */

/* The same file under one of the last numbers there are; -1: none is free. */
int sn_fd_move_high(int fd);

/* ---- trace: the tracers, which stand behind this room (src/trace/trace.h)
 * ------------------------------------------------------------------------- */

bool sn_trace_wanted(const struct sn_settings *s); /* any of them */
bool sn_trace_needs_directory(const struct sn_settings *s);
/* All that are wanted. False: *e, and none is left. */
bool sn_trace_start(const struct sn_settings *s, struct sn_error *e);
void sn_trace_stop(bool dying); /* as sn_clock_stop */
void sn_trace_before_fork(void);
void sn_trace_after_fork(bool child);           /* in the child they are stopped */
int sn_trace_fd(unsigned first, unsigned last); /* as sn_clock_fd */
/* A signal that a tracer holds: what the program sets for it is kept, and comes to pass
 * where it is not the tracer's. Signal-safe. */
bool sn_trace_holds(int signal);
int sn_trace_sigaction(int signal, const struct sigaction *action, struct sigaction *old);
/* A system call failed with EFAULT (result -1) or wrote less than it was given. `second`
 * and `third` are its arguments, `caller` where it returns to. Signal-safe, keeps errno.
 */
void sn_trace_kernel_fault(const char *name, uintptr_t second, uintptr_t third,
                           int64_t result, const void *caller);
void sn_trace_bind(void); /* the functions that it stands before */
void sn_trace_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                    void *argument);               /* what they take for themselves */
void sn_trace_gc_stats(struct sonde_mem_stats *s); /* the collector's, if there is one */
/* Collect, and call `run` when all is marked, and the program's threads stand still.
 * False: it was not called, there is no collector in use. Not in a signal's handler. */
bool sn_trace_gc_at_rest(void (*run)(void *argument), void *argument);
bool sn_trace_gc_watch(void);   /* find it, if it is there; it takes the loader's lock */
bool sn_trace_gc_is_used(void); /* has it been found? Signal-safe */
/* Call `run` thus with copies of both, when a thread of the program next allocates from
 * the collector. False: another is waiting, `run` is not called. Signal-safe. */
bool sn_trace_gc_later(void (*run)(int fd, const char *path), int fd, const char *path);
void sn_trace_gc_not_later(void); /* what waits is forgotten */
/* Within `run`: the collector's blocks, by what they are. Their sites are functions of
 * the collector, as entries of the heap's spool; NULL: there are none. */
struct sn_gc_sites {
    uint32_t pointers, pointer_free, uncollectable;
};
const struct sn_gc_sites *sn_trace_gc_sites(void);
void sn_trace_gc_each(void (*visit)(struct sn_block *block, void *argument),
                      void *argument);
bool sn_trace_gc_owns(uintptr_t page); /* is it of the collector's heap? */

/* ---- hooks.c
 * ---------------------------------------------------------------------------- */

void sn_sleep_bind(void); /* sleep.c's */
void sn_close_bind(void); /* close.c's */
/* Look the real functions up, while that is safe. False: there are none. */
bool sn_hooks_bind(void);
/* A thread of ours, which is neither sampled nor the program's. 0 or an error number. */
int sn_real_thread(pthread_t *thread, const pthread_attr_t *attr,
                   void *(*function)(void *));
int sn_real_sigaction(int signal, const struct sigaction *action, struct sigaction *old);
int sn_real_sigmask(int how, const sigset_t *set, sigset_t *old);
/* Does the calling thread believe so, of a signal that a tracer holds? Signal-safe. */
bool sn_signal_is_blocked(int signal);

#endif
