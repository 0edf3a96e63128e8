/*
 * graph: what every report shows: options, filters, and the aggregation of a profile into
 * nodes and edges with flat and cumulative values. Semantics are google/pprof's, to the
 * byte.
 *
 *     profile --view (options checked, frames and samples filtered, names aggregated)-->
 *     view --graph (nodes and edges summed, the small ones trimmed)--> graph
 */
#ifndef SN_GRAPH_H
#define SN_GRAPH_H

#include "profile/profile.h"

/* ---- options.c ------------------------------------------------------------------------
 */

enum sn_granularity {
    SN_BY_FUNCTIONS,
    SN_BY_FILEFUNCTIONS,
    SN_BY_FILES,
    SN_BY_LINES,
    SN_BY_ADDRESSES
};

/* pprof's options by their names. Strings are borrowed; NULL is "not given". */
struct sn_options {
    enum sn_granularity granularity;
    bool no_inlines, show_columns, call_tree, cum, trim, drop_negative,
        relative_percentages, compact_labels, all_frames, mean, intel_syntax, normalize;
    int node_count;       /* -1: the report's own default; 0: all */
    double node_fraction; /* of the total; below it nodes are dropped */
    double edge_fraction;
    double divide_by;
    const char *unit, *sample_index;
    const char *focus, *ignore, *hide, *show, *show_from, *prune_from;
    const char *tag_focus, *tag_ignore, *tag_show, *tag_hide, *tag_root, *tag_leaf;
    const char *source_path, *trim_path, *title;
    const char *add_comment;
    bool histogram;   /* in tags: sizes and times by powers, in order, with bars */
    bool pprof_boxes; /* in pictures: labels that all samples share, and names broken
                         within their arguments, as pprof does */
    /* Told what may be a mistake ("Focus expression matched no samples"); may be NULL. */
    void (*warn)(void *arg, const char *text);
    void *warn_arg;
};

struct sn_options sn_options_default(void);
/* Set one by pprof's name ("focus", "nodecount", "cum", "lines", ...). False: *e says
 * that the name is unknown or what the value should be. `value` is borrowed. */
bool sn_options_set(struct sn_options *o, const char *name, const char *value,
                    struct sn_error *e);

/* The value that it has, as sn_options_set takes it, cut to `size`. False: not known. */
bool sn_options_get(const struct sn_options *o, const char *name, char *buf, size_t size);

/* ---- regex.c: PCRE2, compiled; matching is bounded
 * ------------------------------------- */

struct sn_regex;

/* `what` names the option in errors. NULL on error. */
struct sn_regex *sn_regex_new(const char *pattern, const char *what, struct sn_error *e);
void sn_regex_free(struct sn_regex *rx); /* NULL-safe */
bool sn_regex_match(struct sn_regex *rx, const char *text);
/* The first match and its groups: spans[2*i], spans[2*i+1] for i < max; the number of
 * groups filled, 0 where nothing matches. Unset groups are SIZE_MAX. */
size_t sn_regex_find(struct sn_regex *rx, const char *text, size_t len, size_t *spans,
                     size_t max);

/* ---- view.c: a profile seen through the options
 * ---------------------------------------- */

/* What a report wants of its view. */
struct sn_view_kind {
    int node_count; /* where the user gave none */
    bool drawn;     /* a picture: tags, edges, call trees, sorted by entropy */
    bool edges;     /* edges are shown */
    bool no_trim;
    bool addresses;  /* at addresses, whatever the user says */
    bool lines;      /* ... at lines */
    bool no_inlines; /* ... of functions that were really called */
    bool objects;    /* functions of different files of code are different */
    bool integers;   /* no fractions: the smallest unit */
    bool raw;        /* nothing is aggregated */
    struct sn_regex
        *edges_of; /* the edges are only of nodes whose names match; NULL: of all */
};

struct sn_view {
    struct sn_profile *p; /* borrowed, and changed in place */
    struct sn_view_kind kind;
    struct sn_options o; /* as the kind has them */
    uint32_t value;      /* the sample type shown: its index */
    const char *type, *unit;
    const char *out_unit; /* values are told in it: "auto", "minimum", or a unit */
    double ratio;
    int64_t total;              /* 100 % */
    struct sn_map *label_units; /* numeric labels: key to the unit's string id */
    const char *title;          /* the program's name; "" if not known */
    const char **filters;       /* "focus=x": what is left out */
    uint32_t n_filters, cap_filters;
};

/* Filters p in place. Not to be closed: what it allocates is in p's arena. */
bool sn_view_open(struct sn_view *v, struct sn_profile *p, const struct sn_options *o,
                  struct sn_view_kind kind, struct sn_error *e);
/* Which sample type the options ask for: its index. */
bool sn_view_type(struct sn_profile *p, const struct sn_options *o, uint32_t *type,
                  struct sn_error *e);
/* A sample's value and, for means, its divisor. */
static inline int64_t sn_view_weight(const struct sn_view *v, uint32_t sample,
                                     int64_t *divisor)
{
    const int64_t *values = v->p->values + (size_t)sample * v->p->n_types;
    *divisor = v->o.mean ? values[0] : 0;
    return values[v->value];
}
/* "12.34ms". Returns buf. */
char *sn_view_value(const struct sn_view *v, int64_t value, char *buf, size_t size);
const char *sn_view_label_unit(const struct sn_view *v, uint32_t key);

/* ---- names.c
 * ------------------------------------------------------------------------------ */

/* What a node stands for. Two nodes of a graph differ in it, but for those of a tree. */
struct sn_node_info {
    uint64_t address;
    int64_t line, column, start_line;
    uint32_t name, file, object; /* string ids */
};

/* "main file.c:12", as pprof prints it: parts joined by `joint`. In the arena `a`. */
const char *sn_node_name(const struct sn_profile *p, const struct sn_node_info *info,
                         struct sn_arena *a);
/* Shortens the names of functions for boxes: the package of a Go function, the path of a
 * Java one, the namespaces of a C++ one. */
struct sn_shortener;
struct sn_shortener *sn_shortener_new(struct sn_error *e);
void sn_shortener_free(struct sn_shortener *s); /* NULL-safe */
const char *sn_shorten(struct sn_shortener *s, const char *name, struct sn_arena *a);
/* Several lines, shortened, for a box: broken at each "::" and "." outside of brackets,
 * or everywhere, as pprof does. */
const char *sn_node_box_name(struct sn_shortener *s, const struct sn_profile *p,
                             const struct sn_node_info *info, bool everywhere,
                             struct sn_arena *a);
const char *sn_base_name(const char *path); /* a pointer into path */
/* A source file's name as trim_path and source_path have it: a part of `path`. */
const char *sn_trim_path(const struct sn_options *o, const char *path);
/* A path without "//", "/./" and "x/..", as Go's filepath.Clean. */
const char *sn_clean_path(const char *path, struct sn_arena *a);

/* ---- build.c, trim.c: the graph
 * ------------------------------------------------------------- */

struct sn_edge {
    uint32_t src, dst;
    int64_t weight, weight_div;
    bool residual, inlined, gone;
    uint32_t next_in, next_out; /* of the same dst, of the same src */
};

struct sn_tag {
    const char *name, *unit; /* unit: of a numeric one, else NULL */
    int64_t value;
    uint32_t label; /* of a numeric one: the label tag it belongs to (0: none) */
    uint32_t id;    /* of a label tag */
    int64_t flat, flat_div, cum, cum_div;
    uint32_t next; /* of the same node */
    bool gone;
};

struct sn_node {
    struct sn_node_info info;
    uint32_t id;      /* of the info */
    const char *name; /* sn_node_name */
    int64_t flat, flat_div, cum, cum_div;
    uint32_t in, out, tags; /* first of each; SN_NONE */
    uint32_t
        function; /* equal for nodes of the same function, if objects are told apart */
    uint32_t seen;
    bool kept;
    bool wanted; /* its name matches the kind's edges_of, and its edges are there */
};

struct sn_graph {
    struct sn_arena *arena; /* owned */
    struct sn_node *nodes;
    uint32_t n_nodes, cap_nodes;
    struct sn_edge *edges;
    uint32_t n_edges, cap_edges;
    struct sn_tag *tags; /* in the profile's arena */
    uint32_t n_tags;
    uint32_t *order; /* the nodes shown, in their order */
    uint32_t n_order;
    uint32_t n_before, dropped_nodes, dropped_edges; /* what trimming did */
    /* The ids of the nodes that the profile's location i can be, innermost first:
     * [location_first[i], location_first[i + 1]); in the profile's arena. */
    const uint32_t *location_ids, *location_first;
    uint32_t n_ids;
};

/* The trimmed graph; then v->out_unit is a definite unit. NULL on error. */
struct sn_graph *sn_graph_new(struct sn_view *v, struct sn_error *e);
void sn_graph_free(struct sn_graph *g); /* NULL-safe */
struct sn_values {
    int64_t flat, flat_div, cum, cum_div; /* the divisors: of means, else 0 */
};
/* A sample's value, once for each stamp. Samples are walked from the leaf on, which has
 * the flat value, too. */
static inline void sn_values_add(struct sn_values *v, uint32_t *seen, uint32_t stamp,
                                 int64_t weight, int64_t divisor, bool leaf)
{
    if (*seen == stamp)
        return;
    *seen = stamp;
    v->cum += weight;
    v->cum_div += divisor;
    if (leaf) {
        v->flat += weight;
        v->flat_div += divisor;
    }
}
/* The sums of groups of a graph's nodes (of each node its group, or SN_NONE), where a
 * sample counts once for a group, however many of its nodes it has. In the profile's
 * arena. NULL on error. */
struct sn_values *sn_graph_group(const struct sn_view *v, const struct sn_graph *g,
                                 const uint32_t *group_of, uint32_t n_groups,
                                 struct sn_error *e);
/* The node's edges, heaviest first, in an array of the graph's arena. */
uint32_t sn_graph_in(struct sn_graph *g, uint32_t node, struct sn_edge ***edges);
uint32_t sn_graph_out(struct sn_graph *g, uint32_t node, struct sn_edge ***edges);
/* All edges between nodes shown, heaviest first. */
uint32_t sn_graph_all(struct sn_graph *g, struct sn_edge ***edges);

static inline int64_t sn_mean(int64_t value, int64_t divisor)
{
    return divisor != 0 ? value / divisor : value;
}
static inline int64_t sn_abs(int64_t x)
{
    return x < 0 ? (int64_t)(0 - (uint64_t)x) : x;
}

#endif
