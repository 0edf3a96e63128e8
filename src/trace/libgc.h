/*
 * libgc.h: the Boehm collector (libgc: Guile's and others'), as a program has it loaded.
 * libsonde does not link it. libgc.c finds it and hears of its collections, libgc_hooks.c
 * stands in front of the few of its functions that must be met; who wants to know of
 * collections listens.
 */
#ifndef SN_TRACE_LIBGC_H
#define SN_TRACE_LIBGC_H

#include "trace/trace.h"

/* A collection. Times are nanoseconds of the clock, but for cpu_ns of the processors. */
struct sn_gc_cycle {
    uint64_t number; /* libgc's own */
    bool forced;     /* the program asked for it */
    uint64_t prepare_ns, stop_ns, mark_ns, restart_ns, reclaim_ns;
    uint64_t whole_ns; /* without what we took to count */
    struct {
        uint64_t stop_ns, restart_ns;
        uint64_t own_ns, others_ns; /* marking: who began it, and its helpers */
    } cpu;
    uint64_t before, at_end, live, goal; /* bytes */
    uint64_t objects;
    unsigned markers; /* threads that mark */
};

/* libgc's functions; those below `optional` may be NULL. */
struct sn_libgc_functions {
    void (*set_event)(void (*on_event)(int event));
    void (*(*get_event)(void))(int event);
    size_t (*prof_stats)(uint64_t *stats, size_t bytes);
    void (*enumerate)(void (*visit)(void *object, size_t bytes, void *argument),
                      void *argument);
    void (*gcollect)(void);
    size_t (*heap_size)(void), (*free_bytes)(void), (*unmapped_bytes)(void),
        (*total_bytes)(void);
    uintptr_t (*gc_no)(void);
    int (*is_init_called)(void); /* optional */
    void (*gcollect_and_unmap)(void);
    int (*kind_and_size)(const void *object, size_t *bytes);
    int (*is_heap_ptr)(const void *p);
    void *malloc, *malloc_atomic, *malloc_uncollectable;
};

extern struct sn_libgc_functions sn_libgc;

/* Look for it, if it was not found yet; from then on its collections are heard. Takes the
 * loader's and libgc's lock. `of` (may be NULL): code of who uses it. False: there is
 * none, or one older than 8.0, which cannot tell. */
bool sn_libgc_find(const void *of);
bool sn_libgc_is_awaited(void); /* it was looked for in vain */
/* The same, or is the malloc that the program calls one that we see? Else a tracer that
 * hears of both has nothing to hear: *e. */
bool sn_libgc_or_malloc(const char *tracer, struct sn_error *e);
/* Is it loaded and in use? Signal-safe. */
bool sn_libgc_is_used(void);

/* Who listens; NULL: nobody. Called under libgc's lock: no malloc, none of libgc's
 * functions that take it. */
void sn_libgc_on_cycle(void (*cycle)(const struct sn_gc_cycle *c));
void sn_libgc_on_start(void (*start)(void)); /* of a collection, before anything else */
/* What lives is marked, finalizers are chosen; the world goes on, nothing is swept. */
void sn_libgc_on_reclaimed(void (*reclaimed)(void));

/* What is to be done when a thread of the program allocates next, and holds no lock. */
enum sn_libgc_due {
    SN_LIBGC_AGAIN = 1, /* collect once more */
    SN_LIBGC_UNMAP = 2, /* collect, and give back what is free */
    SN_LIBGC_DUMP = 4   /* collect, and write the heap meanwhile */
};
void sn_libgc_repeat(bool each); /* each collection is followed by a second one */
void sn_libgc_ask(enum sn_libgc_due what);
void sn_libgc_after_fork(void); /* in the child */

void sn_libgc_dump(void);        /* libgc_dump.c's: what was to be done later */
void sn_libgc_drop_dump(void);   /* in a fork's child */
void sn_libgc_at_mark_end(void); /* libgc_dump.c's: the world stands still */
/* Collect; each collection is one of ours. Not under libgc's lock. */
void sn_libgc_collect(void (*collect)(void));

/* libgc_invalid.c's: look for pointers to no object at the end of each marking. */
void sn_libgc_look_always(bool wanted);
void sn_libgc_look(void); /* the world stands still */

/* ---- for the hooks --------------------------------------------------------------------
 */

extern atomic_uint sn_libgc_due; /* of enum sn_libgc_due */
void sn_libgc_serve(void);

/* Before the program's allocation, where a collection may happen at any rate. */
static inline void sn_libgc_safe_point(void)
{
    if (__builtin_expect(atomic_load_explicit(&sn_libgc_due, memory_order_relaxed), 0))
        sn_libgc_serve();
}

/* The calling thread's collections are asked for, from +1 to -1. */
void sn_libgc_forced(int change);
/* What the program sets and gets as its own handler of events. */
void sn_libgc_set_program(void (*on_event)(int event));
bool sn_libgc_get_program(void (**on_event)(int event)); /* false: ask libgc */

#endif
