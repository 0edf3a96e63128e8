/* trace_priv.h: the rows of the table of tracers, and what some of them share. */
#ifndef SN_TRACE_PRIV_H
#define SN_TRACE_PRIV_H

#include "sched/sched.h"
#include "trace/trace.h"

extern const struct sn_tracer sn_efence, sn_gcdead, sn_invalidptr, sn_allocfreetrace,
    sn_schedtrace, sn_gctrace, sn_scavenge;

extern const struct sn_sched_stacks sn_trace_sched_stacks; /* sched_stacks.c */

void sn_alone_bind(void); /* alone.c: the calls that it stands before */

/* ---- cells.c: what became of the block at an address
 * ----------------------------------- */

enum sn_cell_state {
    SN_CELL_NEVER, /* was there one */
    SN_CELL_LIVE,
    SN_CELL_FREED,
    SN_CELL_KEPT /* freed as far as the program goes, but kept back */
};

struct sn_cell {
    _Atomic uint64_t what;             /* size << 2 | state, and SN_CELL_THERE */
    _Atomic uint32_t allocated, freed; /* by whom: stacks.c */
};

/* What is kept has come to where it is: until then it is not to be let go. */
#define SN_CELL_THERE (1ULL << 63)

static inline enum sn_cell_state sn_cell_state(uint64_t what)
{
    return what & 3;
}

static inline uint64_t sn_cell_size(uint64_t what)
{
    return (what & ~SN_CELL_THERE) >> 2;
}

/* The cell of a block that begins there; NULL: there can be none, or (`make`) no memory,
 * or no block was ever met near it. */
struct sn_cell *sn_cell_at(uintptr_t address, bool make);
/* Where the block of that state begins that holds the address; 0: there is none. */
uintptr_t sn_cell_around(uintptr_t address, enum sn_cell_state state,
                         struct sn_cell **cell);
/* Each of that state, by address. */
void sn_cells_each(enum sn_cell_state state,
                   void (*visit)(uintptr_t address, struct sn_cell *cell, void *argument),
                   void *argument);
/* Each is as if there had never been a block, but for those that are kept. What another
 * thread is about to write may stay. */
void sn_cells_forget(void);
void sn_cells_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                    void *argument); /* what they take for themselves */

/* ---- dangling.c: pointers to what was freed
 * -------------------------------------------- */

/* Freed blocks are kept back from now on. False: *e. */
bool sn_dangling_start(struct sn_error *e);
void sn_dangling_stop(bool dying); /* after a last look */
/* What is still kept, since it came too late for the last look, is freed. */
void sn_dangling_let_go(void);
/* Is what is SN_CELL_KEPT kept back, when it comes to the layer of its own? */
bool sn_dangling_on(void);
void sn_dangling_after_fork(void); /* in the child */
void sn_dangling_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                       void *argument);

#endif
