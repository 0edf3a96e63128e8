/*
 * alloctrace.h: what a trace of allocations is shown as: lines, a table of sites, a
 * profile; and what part of it.
 *
 *     events -> sn_alloc_wanted -> sn_alloc_put_event   alloc_lines.c
 *                               -> sn_alloc_sites_add   alloc_sites.c: table, profile
 */
#ifndef SN_REPORT_ALLOCTRACE_H
#define SN_REPORT_ALLOCTRACE_H

#include "graph/graph.h"
#include "profile/alloctrace.h"
#include "symbolize/symbolize.h"

/* ---- alloc_lines.c --------------------------------------------------------------------
 */

struct sn_alloc_names; /* of the frames of a trace, each found once */

/* `shared` (may be NULL) outlives it: files that several traces name are opened once.
 * NULL: no memory. */
struct sn_alloc_names *sn_alloc_names_new(const struct sn_alloctrace *t,
                                          struct sn_namer *shared);
void sn_alloc_names_free(struct sn_alloc_names *n); /* NULL-safe */
/* Who allocates, by the stack's innermost frame: "function" and "function file:line". */
const char *sn_alloc_function(struct sn_alloc_names *n, uint32_t stack);
const char *sn_alloc_site(struct sn_alloc_names *n, uint32_t stack);

/*
 * The event in Go's grammar, its stack as Go prints one, and an empty line. In place of
 * the type stands who allocates, and a guess at the type where there is one:
 *
 *     tracealloc(0x55d0c8a012a0, 0x20, main: struct node) @0.000512204s thread=4711
 *     main(...)
 *     	/home/me/x.c:12 pc=0x55d0c6f0113d
 *
 * A block of a collected heap has " gc" behind that, and where the event was seen late
 * " late since=0.000400000s" (it happened between that time and the line's), or " unused
 * since=..." where it takes an allocation back that had been seen late.
 * `tail` ends the first line: "", or " pid=4712".
 */
void sn_alloc_put_event(struct sn_alloc_names *n, const struct sn_alloc_event *x,
                        const char *tail, struct sn_buf *out);

/* ---- what part ------------------------------------------------------------------------
 */

struct sn_alloc_filter {   /* all zero: everything */
    struct sn_regex *site; /* of the block: NULL: any */
    bool by_address, by_size, by_thread, by_heap, by_lateness, leaked;
    bool gc;   /* by_heap: of the collected one; else malloc's */
    bool late; /* by_lateness: seen by a collection; else told by a function */
    uint64_t address, min_size, max_size;
    uint32_t tid;
    uint64_t from_ns, to_ns; /* to 0: for ever */
};

/* `all`: the whole trace was read before (for `leaked`), with another reader. */
bool sn_alloc_wanted(const struct sn_alloc_filter *f, struct sn_alloc_names *n,
                     const struct sn_alloctrace *all, const struct sn_alloc_event *x);

/* ---- alloc_sites.c --------------------------------------------------------------------
 */

struct sn_alloc_sites; /* sums, by the stack that allocated */

struct sn_alloc_sum {
    uint64_t allocs, alloc_bytes, frees, free_bytes, temporary;
    uint64_t timed, life_ns; /* of the frees, those whose life is known; their sum */
};

struct sn_alloc_sites *sn_alloc_sites_new(struct sn_alloctrace *t); /* in its arena */
/* False: no memory. */
bool sn_alloc_sites_add(struct sn_alloc_sites *s, const struct sn_alloc_event *x);
/* Of a stack, or (SN_NONE) of those that are not known. */
struct sn_alloc_sum sn_alloc_sum_of(const struct sn_alloc_sites *s, uint32_t stack);

/* A table by function and line, what allocated most bytes first; `rows` 0: all. */
bool sn_alloc_put_sites(const struct sn_alloc_sites *s, struct sn_alloc_names *n,
                        const struct sn_alloctrace *t, unsigned rows, struct sn_buf *out,
                        struct sn_error *e);

/* ---- alloc_proto.c --------------------------------------------------------------------
 */

/* A profile, without names: alloc_ and inuse_ objects and space, by stack. NULL: *e. */
struct sn_profile *sn_alloc_profile(const struct sn_alloc_sites *s,
                                    const struct sn_alloctrace *t, struct sn_error *e);

#endif
