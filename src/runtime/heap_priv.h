/* heap_priv.h: what heap.c, heap_threads.c and heap_life.c share: the threads that are
 * recorded, and what kind of recording it is. Nobody else includes it. */
#ifndef SN_RUNTIME_HEAP_PRIV_H
#define SN_RUNTIME_HEAP_PRIV_H

#include "runtime/runtime.h"

#pragma GCC visibility push(hidden)

#define DEFERRED_MAX 256

/* Never unmapped: reused by a later thread. */
struct sn_heap_thread {
    struct sn_heap_thread *next; /* of all there ever were; immutable */
    atomic_int tid;              /* whose it is; 0: free */
    unsigned recording;          /* for which it is set up */
    atomic_bool busy;            /* its thread is in here */
    atomic_uint moving;          /* ... in realloc: blocks set aside, by handlers, too */
    _Atomic(struct sn_heap_local *) local; /* its own; NULL: it has ended, or may */
    bool forking;                          /* ... for as long as fork takes */
    bool own;                              /* ... and what it allocates is ours */
    uint32_t slot;                         /* in the spool */
    uint32_t events;
    int ends; /* how often its end was told */
    uint64_t random;
    uintptr_t last; /* the block that its last event allocated; else 0 */
    struct sn_stack_range stack;
    uintptr_t pointer; /* to the C library's own block, above its stack */
    atomic_uint n_deferred;
    struct deferred {
        void *p;
        size_t size;
        bool freed; /* to be freed; else it was allocated: to be known */
    } deferred[DEFERRED_MAX];
    uintptr_t pcs[SN_MAX_DEPTH + SN_OWN_FRAMES];
};

/* Set when it starts, but for knows_all. */
extern struct sn_heap_kind {
    bool exact;     /* every block, and what becomes of it */
    bool filtered;  /* few blocks are recorded: sn_heap_filter says which are not */
    bool knows_all; /* no block is unknown; until one is */
    bool ticks_steady;
    unsigned recording; /* counts them */
    double rate_bytes;
    double ns_per_tick;
    uint64_t start_ns;
} sn_heap_kind;

extern _Atomic(struct sn_heap_thread *) sn_heap_threads; /* newest first; grows only */

/* ---- heap_threads.c -------------------------------------------------------------------
 */

bool sn_heap_make_key(void); /* that tells the ends of threads; false: none is left */
/* To the calling thread's next sample, of which so many bytes are behind it already. */
void sn_heap_begin_distance(struct sn_heap_thread *t, uint64_t behind);
/* One for the calling thread; NULL: no memory. */
struct sn_heap_thread *sn_heap_unused_thread(pid_t tid);
/* For this recording. Busy, since it may allocate. */
void sn_heap_set_up(struct sn_heap_thread *t);
void sn_heap_forget_distances(void);
void sn_heap_unlock_ends(void); /* in a fork's child */

/* ---- heap.c ---------------------------------------------------------------------------
 */

/* A block that is there, but not counted. */
void sn_heap_know(void *p, size_t size);
void sn_heap_filter_clear(void); /* nothing is recorded so far */

#pragma GCC visibility pop

#endif
