/* graph_priv.h: what the files of the graph room share. */
#ifndef SN_GRAPH_PRIV_H
#define SN_GRAPH_PRIV_H

#include "graph/graph.h"

void sn_warn(const struct sn_options *o, const char *text);

/* filter.c: focus, ignore, hide, show, show_from, prune_from, the tag options, and the
 * frames that the profile itself asks to drop. */
bool sn_filter(struct sn_view *v, struct sn_error *e);
bool sn_filter_uninteresting(struct sn_profile *p, struct sn_error *e);
/* Keep the samples for which keep() says so. */
typedef bool sn_keep_fn(void *arg, struct sn_profile *p, struct sn_sample *s);
void sn_filter_samples(struct sn_profile *p, sn_keep_fn *keep, void *arg);

/* tags.c */
bool sn_filter_tags(struct sn_view *v, struct sn_error *e);
bool sn_tag_frames(struct sn_view *v, struct sn_error *e);

/* infos.c, build.c */
struct sn_builder {
    struct sn_view *v;
    struct sn_arena *arena;
    struct sn_node_info *infos; /* what nodes can be */
    uint32_t n_infos, cap_infos;
    const char **names;  /* of each */
    uint32_t *functions; /* of each: a number that all of one function share */
    struct sn_map *by_hash;
    uint32_t *next; /* info of the same hash */
    uint32_t n_next, cap_next;
    /* Infos of the lines of location i, innermost first:
     * [location_first[i], location_first[i + 1]) */
    uint32_t *location_infos, *location_first;
    bool has_inlined;
};
bool sn_builder_open(struct sn_builder *b, struct sn_view *v);
/* The untrimmed graph of all nodes, or of those whose infos are kept. NULL: no memory. */
struct sn_graph *sn_builder_run(struct sn_builder *b, const bool *kept);

#endif
