/* edges.h: the edges of a graph while they are counted, and what they come to. */
#ifndef SN_EDGES_H
#define SN_EDGES_H

#include "graph_priv.h"

enum { /* what an edge is in some sample */
       SN_RESIDUAL = 1,
       SN_CALLED = 2 /* not inlined */
};

/* What an edge comes to. It lies in one line of the cache. */
struct sn_tally {
    uint64_t ends; /* src << 32 | dst */
    int64_t weight, weight_div;
    uint32_t seen;  /* the last sample counted, from 1; 0: there is no such edge */
    uint32_t flags; /* all that it ever was */
};

/* The edges that one thread counts. */
struct sn_edges {
    struct sn_tally *v;
    uint32_t size; /* n_nodes * n_nodes, by src and dst; else a power of two, by hash, */
    uint32_t n;    /* and never full */
    uint32_t n_nodes;
    bool by_hash, failed;
};

#define SN_SQUARE 512 /* nodes up to which edges are found by index */

/* For the edges of so many of the nodes. No memory: it has failed. */
void sn_edges_open(struct sn_edges *x, uint32_t n_nodes, uint32_t of_nodes);
void sn_edges_close(struct sn_edges *x);

struct sn_passage { /* over an edge */
    uint64_t ends;
    uint32_t stamp, flags; /* in which sample: its number from 1 */
};

/* Count n of them, those of a sample together. An edge is in a sample what it is first.
 */
void sn_edges_count(struct sn_edges *x, const struct sn_view *v,
                    const struct sn_passage *p, uint32_t n);
/* What another has counted, which is then empty. */
void sn_edges_add(struct sn_edges *x, struct sn_edges *from);

#endif
