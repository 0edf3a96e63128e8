/* made_heap.h: heap dumps made by hand, for the tests of who reads them. */
#ifndef MADE_HEAP_H
#define MADE_HEAP_H

#include "profile/heapdump.h"

#define MADE_PCS 3 /* at most, of a stack */

struct made_heap {
    struct sn_heapdump_block *blocks;
    struct sn_heapdump_edge *edges;
    struct sn_heapdump_root *roots;
    uint32_t n_blocks, n_edges, n_roots;
    const uint64_t (*stacks)[MADE_PCS]; /* ended by 0; a block's site is 1 + its index */
    uint32_t n_stacks;                  /* 0: no spool */
};

#define MADE_ENTRY                                                                       \
    (sizeof(struct sn_spool_entry) + (SN_HEAP_VALUES + MADE_PCS) * sizeof(uint64_t))
#define MADE_MODULE 0x400000

static inline void made_spool(const struct made_heap *m, unsigned char *to)
{
    struct sn_spool_header *h = (void *)to;
    struct sn_spool_module *module = (void *)(to + SN_SPOOL_AT_MODULES);
    *h = (struct sn_spool_header){.magic = SN_SPOOL_MAGIC,
                                  .version = 1,
                                  .state = 1,
                                  .kind = SN_SPOOL_HEAP,
                                  .n_values = SN_HEAP_VALUES,
                                  .scale = 1,
                                  .period = 1,
                                  .exe = "/bin/made",
                                  .n_modules = 1,
                                  .used = m->n_stacks * MADE_ENTRY};
    *module = (struct sn_spool_module){.start = MADE_MODULE,
                                       .limit = MADE_MODULE + 0x100000,
                                       .ready = 1,
                                       .path = "/bin/made"};
    for (uint32_t i = 0; i < m->n_stacks; i++) {
        struct sn_spool_entry *x = (void *)(to + SN_SPOOL_AT_ENTRIES + i * MADE_ENTRY);
        while (x->n_pcs < MADE_PCS && m->stacks[i][x->n_pcs] != 0) {
            sn_spool_pcs(h, x)[x->n_pcs] = m->stacks[i][x->n_pcs];
            x->n_pcs++;
        }
    }
}

/* The file, in the arena. */
static inline unsigned char *made_heap(struct sn_arena *a, const struct made_heap *m,
                                       size_t *len)
{
    struct sn_heapdump_header h = {.magic = SN_HEAPDUMP_MAGIC,
                                   .version = SN_HEAPDUMP_VERSION,
                                   .pid = 42,
                                   .time_real_ns = 1700000000000000000,
                                   .n_blocks = m->n_blocks,
                                   .n_edges = m->n_edges,
                                   .n_roots = m->n_roots,
                                   .at_blocks = sizeof h};
    h.at_edges = h.at_blocks + m->n_blocks * sizeof *m->blocks;
    h.at_roots = h.at_edges + m->n_edges * sizeof *m->edges;
    h.at_spool = h.at_roots + m->n_roots * sizeof *m->roots;
    h.spool_len = m->n_stacks > 0 ? SN_SPOOL_AT_ENTRIES + m->n_stacks * MADE_ENTRY : 0;
    *len = h.at_spool + h.spool_len;
    unsigned char *data = sn_arena_alloc(a, *len);
    memcpy(data, &h, sizeof h);
    if (m->n_blocks > 0)
        memcpy(data + h.at_blocks, m->blocks, m->n_blocks * sizeof *m->blocks);
    if (m->n_edges > 0)
        memcpy(data + h.at_edges, m->edges, m->n_edges * sizeof *m->edges);
    if (m->n_roots > 0)
        memcpy(data + h.at_roots, m->roots, m->n_roots * sizeof *m->roots);
    struct sn_heapdump_block *blocks = (void *)(data + h.at_blocks);
    for (uint32_t i = 0; i < m->n_blocks; i++)
        if (blocks[i].site != 0)
            blocks[i].site =
                (uint32_t)((SN_SPOOL_AT_ENTRIES + (blocks[i].site - 1) * MADE_ENTRY) / 8);
    if (m->n_stacks > 0)
        made_spool(m, data + h.at_spool);
    return data;
}

#endif
