/* heap_priv.h: what the files of the heap's graph share. */
#ifndef SN_GRAPH_HEAP_PRIV_H
#define SN_GRAPH_HEAP_PRIV_H

#include "graph/heap.h"

/* dominators.c: fill h->idom. `parent` is the depth-first spanning tree by number. */
bool sn_heap_dominators(struct sn_heap *h, const uint32_t *parent,
                        struct sn_arena *scratch);

#endif
