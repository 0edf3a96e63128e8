/*
 * trace: the runtime's tracers, those of Go's GODEBUG, for a native program. A tracer is
 * a row of tracers.c: what asks for it, how it starts and stops, what a fork does to it.
 *
 *     tracers.c   the table; start, stop, fork (runtime/runtime.h declares them: the
 *                 recording calls what stands behind it)
 *     out.c       whole lines to stderr or to trace_path
 *     layers.c    what a tracer lays over the allocator
 *     monitor.c   a thread for what comes by the clock
 *     stack.c     who called the allocator; stacks.c keeps each once, and prints it
 *
 * As in runtime: pages of its own, never malloc; what an allocator's function or a
 * handler reaches takes no lock that the program could hold, and keeps errno.
 */
#ifndef SN_TRACE_H
#define SN_TRACE_H

#include "runtime/runtime.h"

/* ---- tracers.c ------------------------------------------------------------------------
 */

/* Each function but `wanted` and `start` may be NULL. */
struct sn_tracer {
    const char *name;     /* its key */
    bool needs_directory; /* start finds one in s->path */
    bool (*wanted)(const struct sn_settings *s);
    /* False: *e. May be called again after stop, and in a fork's child. */
    bool (*start)(const struct sn_settings *s, struct sn_error *e);
    /* As an engine's: `dying`, no lock and no malloc. */
    void (*stop)(bool dying);
    void (*before_fork)(void);      /* wanted or not */
    void (*after_fork)(bool child); /* in the child it is stopped now */
    void (*pages)(void (*visit)(void *pages, size_t bytes, void *argument),
                  void *argument); /* what it takes for itself: no roots of the program */
    int (*fd)(unsigned first, unsigned last); /* the lowest of its own, as sn_clock_fd */
};

/* ---- out.c ----------------------------------------------------------------------------
 */

/* Nanoseconds since the process began to be traced; a line's "@0.005s" and "202ms". */
uint64_t sn_trace_ns(void);
/* Whole lines in one write: to trace_path, else to stderr as long as descriptor 2 is the
 * file that it was at the start. Signal-safe, keeps errno. */
void sn_trace_write(const char *text, size_t len);
/* The same, formatted; at most 512 bytes. Signal-safe if the format has no %f. */
void sn_trace_printf(const char *fmt, ...) SN_PRINTF(1, 2);
/* What ends a line of a fork's child, so that its lines are told from its parent's:
 * " pid=123"; "" in the process that began. */
const char *sn_trace_pid(void);
bool sn_trace_out_open(const struct sn_settings *s, struct sn_error *e);
void sn_trace_out_close(void);
int sn_trace_out_fd(unsigned first, unsigned last); /* as sn_clock_fd */

/* ---- layers.c -------------------------------------------------------------------------
 *
 *     program -> malloc.c -> [layer] -> [layer] -> ... -> the real allocator
 *
 * Four functions stand for all of the allocator's. A layer hears of each call that comes
 * from above, and passes it below, changed or not; `self` is the layer, self->below the
 * next. It stays for ever, since blocks that it handed out come back to it: one that is
 * stopped passes calls on. It may be laid while threads run, who hold blocks from below.
 */
struct sn_layer {
    /* alignment 0: malloc's; else a power of two. NULL, and errno, if there is no memory.
     */
    void *(*allocate)(struct sn_layer *self, size_t size, size_t alignment, bool zeroed);
    void *(*resize)(struct sn_layer *self, void *p, size_t size); /* neither is 0 */
    void (*release)(struct sn_layer *self, void *p);              /* not NULL */
    /* Not NULL. Of what is no live block, 0, where that can be known. */
    size_t (*usable)(struct sn_layer *self, void *p);
    struct sn_layer *below; /* set when it is laid */
};

/* Where in the pile, outermost last. */
enum sn_layer_rank {
    SN_LAYER_EFENCE,     /* is an allocator itself */
    SN_LAYER_QUARANTINE, /* of invalidptr: the others hear at once of what is kept back */
    SN_LAYER_GCTRACE,
    SN_LAYER_GCDEAD,
    SN_LAYER_ALLOCFREETRACE,
    SN_LAYER_INVALIDPTR, /* sees a bad pointer first */
    SN_LAYERS
};

/* Is it malloc_usable_size that the program calls? Else a layer asks how large is what it
 * is to free or to move: whoever does that tells of a bad pointer. */
bool sn_layer_asked(void);

/* Once for each rank; a second time it does nothing. Not from several threads at once. */
void sn_layer_lay(enum sn_layer_rank rank, struct sn_layer *layer);

/* ---- stack.c --------------------------------------------------------------------------
 */

#define SN_TRACE_DEPTH 64

/* The stack of who called the allocator, innermost first, without the frames that are
 * ours and C++'s operators. For a layer's functions. Signal-safe, keeps errno. */
size_t sn_trace_stack(uintptr_t *pcs, size_t max, enum sn_unwind_end *end);

/* ---- stacks.c -------------------------------------------------------------------------
 */

/* Once opened they stay. False: *e, no memory. Again does nothing. */
bool sn_stacks_open(struct sn_error *e);
/* The number of the allocator's caller's stack; 0: none, there is no room. */
uint32_t sn_stacks_here(void);
void sn_stacks_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                     void *argument);
size_t sn_stacks_get(uint32_t id, uintptr_t *pcs, size_t max); /* innermost first */

/* A report on its way; too large for a program's stack. What does not fit is cut. */
struct sn_text {
    char v[32768];
    size_t n;
};

void sn_text_add(struct sn_text *t, const char *fmt, ...) SN_PRINTF(2, 3);
void sn_text_add_frames(struct sn_text *t, const uintptr_t *pcs, size_t n);
void sn_text_add_stack(struct sn_text *t, uint32_t id);
void sn_text_send(struct sn_text *t); /* in one write; it is empty then */

/* ---- alloc_gc.c -----------------------------------------------------------------------
 */

/* A collector's function has handed out a block, or is about to free one: that is an
 * event, too, where they are traced. From a function that is SN_MALLOC_ENTRY. */
void sn_allocfreetrace_gc_allocated(void *p, size_t size); /* NULL: nothing */
void sn_allocfreetrace_gc_freeing(void *p);                /* likewise */
/* It has made a list of blocks of `size`, each of which holds the next one's address: for
 * the program, which empties it itself, or for its own functions. */
void sn_allocfreetrace_gc_listed(void *list, size_t size, bool program);

/* ---- monitor.c ------------------------------------------------------------------------
 */

/*
 * `run` is called every `period_ns` from one thread that all share; it takes no signal,
 * is not profiled, and ends when it is the last one. Start by name: a second start
 * changes the period. It may call malloc and take locks. False: *e.
 */
bool sn_monitor_start(void (*run)(void), uint64_t period_ns, struct sn_error *e);
/* Only of the one that is running, from within: from its next time on. */
void sn_monitor_set_period(void (*run)(void), uint64_t period_ns);
/* After it `run` is not running, nor will it; unless `dying`, then it may be. */
void sn_monitor_stop(void (*run)(void), bool dying);
void sn_monitor_after_fork(void); /* in the child: there is no thread, nothing runs */
/* End the thread for now, so that the calling one may be the only one. False: there is
 * none, or it is being begun or ended, or this is a vfork's child. Signal-safe. */
bool sn_monitor_pause(void);
void sn_monitor_go_on(void); /* once after it; what cannot be is told */
/* The thread's id, which is not the program's; 0: there is none. */
pid_t sn_monitor_tid(void);

#endif
