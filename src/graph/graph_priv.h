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

/* ---- infos.c: what nodes can be ------------------------------------------------------
 */

struct sn_builder {
    struct sn_view *v;
    struct sn_arena *arena;
    struct sn_node_info *infos; /* what nodes can be */
    uint32_t n_infos, cap_infos;
    const char **names;  /* of each, once asked for: sn_builder_name */
    uint32_t *functions; /* of each: a number that all of one function share; NULL unless
                            the view tells objects apart */
    struct sn_values *values; /* of each; NULL before sn_builder_count */
    uint32_t *slots;          /* by an info's hash: it + 1; 0: none */
    uint32_t n_slots;         /* a power of two */
    /* Infos of the lines of location i, innermost first:
     * [location_first[i], location_first[i + 1]) */
    uint32_t *location_infos, *location_first;
    bool has_inlined; /* if not, location i has the info location_infos[i] */
};
bool sn_builder_open(struct sn_builder *b, struct sn_view *v);
const char *sn_builder_name(struct sn_builder *b, uint32_t info);
/* How many parts of the samples to work on at once. */
unsigned sn_parts(const struct sn_builder *b);

/* ---- count.c, build.c, tree.c, nodelets.c: graphs. False or NULL: no memory ---------
 */

/* b->values: in a graph, where a node counts a sample once. */
bool sn_builder_count(struct sn_builder *b);
/* Is there anything of it to be shown? */
bool sn_values_shown(const struct sn_view *v, const struct sn_values *x);
struct sn_graph *sn_graph_empty(void);
struct sn_node *sn_graph_add(struct sn_graph *g, struct sn_builder *b, uint32_t info,
                             const struct sn_values *v);
/* A graph of all infos, or of those that are kept, without edges. */
struct sn_graph *sn_builder_nodes(struct sn_builder *b, const bool *kept);
/* Its edges, if they are shown; and the tags of the first n nodes in its order. */
bool sn_builder_connect(struct sn_builder *b, struct sn_graph *g);
bool sn_builder_tag(struct sn_builder *b, struct sn_graph *g, uint32_t n);
/* The call tree without nodes below a fraction of *total, the flat values of all; how
 * many those were is in dropped_nodes. */
struct sn_graph *sn_builder_tree(struct sn_builder *b, double fraction, int64_t *total);
int64_t sn_fraction_of(int64_t total, double fraction);

struct sn_tagger; /* lives in an arena, as the tags do: at last the profile's */
struct sn_tagger *sn_tagger_new(struct sn_builder *b, struct sn_graph *g,
                                struct sn_arena *a);
/* Has the sample labels that are shown? */
bool sn_tagger_wants(struct sn_tagger *x, uint32_t sample);
/* Then its labels, to one of its nodes after the other; `leaf`: to the one that the
 * sample was taken in. */
void sn_tagger_add(struct sn_tagger *x, uint32_t node, bool leaf);
/* What another found in later samples. */
bool sn_tagger_add_up(struct sn_tagger *x, const struct sn_tagger *from);
/* The tags, to the graph's nodes, which have none. False: no memory. */
bool sn_tagger_hand_over(struct sn_tagger *x);

#endif
