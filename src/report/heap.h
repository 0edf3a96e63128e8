/*
 * heap.h: reports of a dumped heap (graph/heap.h): a summary with the sites that retain
 * most, what keeps a block, a line a block, a profile, and a scene to be drawn.
 */
#ifndef SN_REPORT_HEAP_H
#define SN_REPORT_HEAP_H

#include "graph/heap.h"
#include "report/report.h"

#define SN_HEAP_JOINT " < " /* between the functions of a site: "is called by" */

/* A heap with names. All but `names` is borrowed; reports allocate in p's arena. */
struct sn_heap_view {
    const struct sn_heapdump *d;
    struct sn_heap *h;
    struct sn_profile *p; /* sn_heapdump_stacks, symbolised */
    uint32_t *site_of;    /* of a block: its stack, and after sn_heap_name its site */
    const char **names;   /* of a site: its functions, innermost first */
    uint32_t n_sites;
};

enum sn_heap_order { SN_HEAP_DEFAULT, SN_HEAP_RETAINED, SN_HEAP_FLAT, SN_HEAP_BLOCKS };

struct sn_heap_options {
    enum sn_heap_order sort; /* default: retained; of single blocks: by address */
    uint32_t top;            /* rows; 0: all */
    uint32_t frames; /* stacks that share this many functions are one site; 0: all */
    int node_count;  /* sites in a picture; 0: all */
    double node_fraction, edge_fraction; /* of all bytes: smaller ones are not drawn */
};

/* Make sites of stacks, and sum them up. */
bool sn_heap_name(struct sn_heap_view *v, uint32_t frames, struct sn_error *e);
/* Every stack a site, without a name. */
bool sn_heap_name_stacks(struct sn_heap_view *v, struct sn_error *e);

bool sn_heap_report_top(const struct sn_heap_view *v, const struct sn_heap_options *o,
                        struct sn_buf *out, struct sn_error *e);
/* `what` is an address in a block, or a regular expression of sites: then of all their
 * blocks the one that retains most. */
bool sn_heap_report_why(const struct sn_heap_view *v, const char *what,
                        struct sn_buf *out, struct sn_error *e);

/* The blocks in the order wanted; NULL: by address, or (with *e) no memory. *n of them.
 */
uint32_t *sn_heap_block_order(const struct sn_heap_view *v,
                              const struct sn_heap_options *o, uint32_t *n,
                              struct sn_error *e);
/* A line for each of order[from..to), or of these blocks; before the first the head. */
void sn_heap_report_blocks(const struct sn_heap_view *v, const uint32_t *order,
                           uint32_t from, uint32_t to, struct sn_buf *out);

/* After sn_heap_name_stacks: give v->p values and types, so that every report of profiles
 * reads it: inuse_objects, inuse_space, retained_space, leaked_objects, leaked_space. */
bool sn_heap_fill_profile(const struct sn_heap_view *v, struct sn_error *e);

/* Sites as boxes, references as arrows; the kinds of roots are boxes too. NULL on error.
 */
struct sn_scene *sn_heap_scene(const struct sn_heap_view *v,
                               const struct sn_heap_options *o, struct sn_error *e);

#endif
