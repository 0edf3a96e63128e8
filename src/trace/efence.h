/*
 * efence.h: what the files of efence share.
 *
 *     efence.c         the allocator: a layer; the row of the tracer
 *     efence_arena.c   the addresses: chunks, records of blocks, what lies where
 *     efence_fence.c   the ways to make pages fault
 *     efence_fault.c   SIGSEGV and SIGBUS: whose is it?
 *     efence_report.c  the words
 *     efence_io.c      what the kernel found beyond a block
 *
 *     arena:  | chunk, 4 MiB        | chunk               | run of chunks, one large ...
 *     chunk:  |#|..bb|#|...b|#|bbbb:...bb|#|.....
 *              # a page that faults   b a block   . filled with a pattern
 *
 * Addresses are not used again until all of the arena has been. All of it is lock-free
 * and signal-safe but for opening and burying chunks, which is done under a lock with all
 * signals blocked, and in such an order that a fork's child may drop the lock at any
 * point.
 */
#ifndef SN_TRACE_EFENCE_H
#define SN_TRACE_EFENCE_H

#include "trace/trace.h"

#define EF_PAGE        ((size_t)4096)
#define EF_CHUNK_PAGES 1024u
#define EF_CHUNK       (EF_CHUNK_PAGES * EF_PAGE)
#define EF_LARGE       (EF_CHUNK / 4) /* from here on a block has chunks of its own */

/* ---- efence_arena.c -------------------------------------------------------------------
 */

enum ef_state { EF_NONE, EF_LIVE, EF_FREED };

/* Of a block; in the place of its first page. A freed one keeps it as long as there is
 * room for history. */
struct ef_block {
    _Atomic uint32_t state;
    uint32_t offset; /* of the block in its first page */
    uint64_t size;
    uint32_t pages; /* that it was given; 0 of a block of no bytes, which has one all the
                       same */
    uint32_t guard; /* pages that fault behind them */
    uint32_t made, gone;    /* stacks */
    uint32_t maker, killer; /* threads */
};

/* False: *e; nothing is left. Again does nothing. */
bool ef_arena_open(struct sn_error *e);
static inline bool ef_arena_has(const void *p);
/* Pages for a block, its record filled in but for its stack; NULL: there are none (any
 * more). Zeroed. */
struct ef_block *ef_arena_get(size_t size, size_t alignment, bool left);
/* The pages of a block that is EF_FREED now: they fault, and memory is given back. */
void ef_arena_put(struct ef_block *b);
char *ef_block_page(const struct ef_block *b); /* its first page */
char *ef_block_at(const struct ef_block *b);   /* the block */
/* The block that begins at p, or began; NULL: none. */
struct ef_block *ef_arena_block(const void *p);
/* What the address lies in or beside: the last block that does not begin behind its page,
 * and the one after. Either may be NULL: there is none near, or it is forgotten. */
void ef_arena_near(uintptr_t address, struct ef_block **before, struct ef_block **after);
/* A page was touched that must not be, and no longer faults as others do: nothing is
 * handed out from its chunk. */
void ef_arena_spoil(uintptr_t address);
void ef_arena_after_fork(void); /* in the child */
void ef_arena_unlock(void);     /* it is not to be kept in memory (mlockall) */
void ef_arena_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                    void *argument); /* of the tables */

extern struct ef_arena {
    char *base;
    size_t bytes; /* 0: not open */
} ef_arena;

static inline bool ef_arena_has(const void *p)
{
    return (uintptr_t)p - (uintptr_t)ef_arena.base < ef_arena.bytes;
}

/* ---- efence_fence.c -------------------------------------------------------------------
 */

/* A way to make pages fault. What is handed out by `give` reads as zeros. False: errno.
 */
struct ef_fence {
    const char *name;
    bool (*start)(void);                       /* does this system have it? */
    bool (*open)(char *chunk);                 /* all of it faults; it was PROT_NONE */
    bool (*give)(char *pages, size_t bytes);   /* they do not */
    bool (*take)(char *pages, size_t bytes);   /* they do again, and hold no memory */
    bool (*renew)(char *chunks, size_t bytes); /* in a fork's child; may be NULL */
};

#define EF_FENCES 3
extern const struct ef_fence ef_fences[EF_FENCES]; /* in the order they are tried */
#define EF_MAPPED 2 /* by mprotect: always there; of the large blocks, too */

/* The first that works, or the one that SONDE_EFENCE_BY names (for tests); EF_FENCES:
 * none does. */
unsigned ef_fence_choose(void);
int ef_fence_fd(unsigned first, unsigned last); /* as sn_clock_fd */
void ef_fence_after_fork(void);
/* Such pages cost two mappings a block, of which there are so many. */
size_t ef_fence_maps_max(void);
/* PROT_NONE, as if never used: without pages, without page tables. */
bool ef_fence_bury(char *pages, size_t bytes);

/* ---- efence_report.c ------------------------------------------------------------------
 */

#define EF_FILL 0xfe /* what is in the gaps beside a block */

/* A fault at the address, which is in the arena. Once for each, up to a number of them.
 */
void ef_report_fault(const siginfo_t *info, const ucontext_t *context);
/* What was written to the gaps beside the block, `size` the bytes, `before` or behind. */
void ef_report_gap(const struct ef_block *b, bool before, size_t distance);
void ef_report_free(const void *p, const char *by); /* twice, or not a block's start */
/* The kernel was to read or write at the address. */
void ef_report_kernel(const char *call, uintptr_t address, bool write,
                      const void *caller);
void ef_report_after_fork(void); /* in the child */
void ef_say_once(atomic_flag *said, const char *fmt, ...) SN_PRINTF(2, 3);

/* ---- efence_fault.c -------------------------------------------------------------------
 */

bool ef_fault_take(struct sn_error *e); /* the signals, for good */
/* In the child: a thread that it lacks may have been at work. */
void ef_fault_after_fork(void);

#endif
