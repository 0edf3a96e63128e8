/*
 * heap.h: a dumped heap as a graph: what is reached from the roots, what is leaked, what
 * each block and each site keeps alive.
 *
 *     virtual root -> roots of the program -> blocks -> blocks ...
 *                  -> the leaks' first blocks -> blocks that only leaked ones hold ...
 *
 * A block *dominates* another if every path from the virtual root to the other leads
 * through it: were it freed, the other would be unreachable. What it *retains* is its own
 * size and that of all it dominates. A *site* (blocks of one origin) retains what would
 * be unreachable without all of its blocks.
 *
 * All of a heap is in one arena; arrays are by block or, where said, by *number*: blocks
 * are numbered from 1 on in depth-first order from the virtual root, which is 0.
 */
#ifndef SN_GRAPH_HEAP_H
#define SN_GRAPH_HEAP_H

#include "profile/heapdump.h"

struct sn_heap_sum {
    uint64_t retained, flat; /* bytes; flat: of the blocks themselves */
    uint32_t blocks;
};

struct sn_heap_site {
    struct sn_heap_sum live, leaked;
    bool exact; /* else `retained` counts only what single blocks dominate: at least */
};

struct sn_heap {
    struct sn_arena *arena;      /* owned */
    const struct sn_heapdump *d; /* borrowed */
    uint32_t n;                  /* blocks */
    uint32_t n_live;             /* numbers 1..n_live are reached, those above leaked */
    uint32_t n_unlisted;         /* said to be reached, but not by a root in the dump */
    uint32_t n_leaks;            /* blocks that hold all that is leaked */
    uint64_t live_bytes, leaked_bytes;
    uint32_t *first_out;    /* of block b: edges [first_out[b], first_out[b + 1]) */
    uint32_t *first_in;     /* the same into `in`: */
    uint32_t *in;           /* the blocks that refer to it */
    unsigned char *entries; /* a bit a block: it hangs on the virtual root */
    uint32_t *number;       /* of a block */
    uint32_t *order;        /* of a number: the block */
    uint32_t *idom;         /* of a number: that of its immediate dominator; smaller */
    uint64_t *retained;     /* of a number: bytes; [0] of all */
    /* After sn_heap_group: */
    const uint32_t *site_of; /* of a block; borrowed */
    struct sn_heap_site *sites;
    uint32_t n_sites;
};

static inline bool sn_heap_is_entry(const struct sn_heap *h, uint32_t block)
{
    return h->entries[block / 8] >> block % 8 & 1;
}
static inline bool sn_heap_is_leaked(const struct sn_heap *h, uint32_t block)
{
    return h->number[block] > h->n_live;
}
static inline uint64_t sn_heap_retained(const struct sn_heap *h, uint32_t block)
{
    return h->retained[h->number[block]];
}
/* Does the edge lead out of what is leaked into what is not? It then keeps nothing. */
static inline bool sn_heap_is_stray(const struct sn_heap *h, uint32_t from, uint32_t to)
{
    return sn_heap_is_leaked(h, from) && !sn_heap_is_leaked(h, to);
}

/* Numbers, dominators and retained sizes; O((blocks + edges) log blocks), and no
 * recursion. NULL: out of memory. */
struct sn_heap *sn_heap_new(const struct sn_heapdump *d, struct sn_error *e);
void sn_heap_free(struct sn_heap *h); /* NULL-safe */
/* Sum up by site; site_of[block] < n_sites. All sites are exact but the lightest where
 * that would take long. */
bool sn_heap_group(struct sn_heap *h, const uint32_t *site_of, uint32_t n_sites,
                   struct sn_error *e);
/* The block that holds this address, or SN_NONE. */
uint32_t sn_heap_find(const struct sn_heap *h, uint64_t address);

struct sn_heap_hop {
    uint32_t block;
    bool needed; /* every way to the last leads through it */
};

/* A shortest way from the virtual root to the block, the block last: n hops, in the
 * heap's arena. 0: out of memory. */
uint32_t sn_heap_path(struct sn_heap *h, uint32_t block, struct sn_heap_hop **path);

/* ---- references from site to site ----------------------------------------------------
 */

struct sn_heap_link {
    uint32_t from, to; /* sites; from n_sites on: n_sites + kind of root, 0: leaked */
    uint32_t blocks;   /* different ones that are referred to */
    uint64_t bytes;    /* of these */
};

/* All between different sites, in no order, in the heap's arena. After sn_heap_group. */
bool sn_heap_links(struct sn_heap *h, struct sn_heap_link **links, uint32_t *n,
                   struct sn_error *e);

#endif
