/*
 * report: top, tree, peek, traces, tags, raw, comments, dot: a file each, one table of
 * them. And the scene: a call graph with its words, sizes and colours decided, which
 * dot.c prints and the draw room paints, so that both show the same picture.
 */
#ifndef SN_REPORT_H
#define SN_REPORT_H

#include "graph/graph.h"

/* ---- the scene: what a drawn call graph says ------------------------------------------
 */

struct sn_scene_node {
    const char *name;  /* "N1", "N2", ... as pprof numbers them; tags: "N1_0" */
    const char *label; /* lines parted by '\n' */
    const char *tooltip;
    double font_size;     /* points */
    uint32_t color, fill; /* 0xRRGGBB of the border and of the inside */
    bool tag;             /* a nodelet (tag value), drawn as a small note ("box3d") */
    int64_t flat, cum;
};

struct sn_scene_edge {
    uint32_t from, to; /* indices into nodes */
    const char *label; /* " 12.30s" or " 12.30s (inline)" */
    const char *tooltip;
    int weight;       /* >= 1: how straight and short it should be */
    double pen_width; /* points */
    uint32_t color;
    bool dotted; /* residual: hidden frames between */
    bool tag;    /* from a node to one of its tags */
    int min_len; /* ranks it spans at least; 1 */
};

/* A tag follows its node, or the tag it refines; edges to tags come first, in the order
 * of the tags. */
struct sn_scene {
    struct sn_arena *arena; /* owned */
    const char *title;      /* "example1" */
    const char *legend;     /* lines parted by '\n': type, time, duration, totals */
    const char *see;        /* where it is said how to read it; NULL: nowhere */
    int64_t total;          /* 100 % */
    struct sn_scene_node *nodes;
    uint32_t n_nodes, cap_nodes;
    struct sn_scene_edge *edges;
    uint32_t n_edges, cap_edges;
};

void sn_scene_free(struct sn_scene *s); /* NULL-safe */
/* Filters p in place (as pprof does), aggregates, trims. */
struct sn_scene *sn_scene_new(struct sn_profile *p, const struct sn_options *o,
                              struct sn_error *e);

/* dot.c: in Graphviz's language. */
void sn_scene_dot(const struct sn_scene *s, struct sn_buf *out);

/* ---- text reports
 * ----------------------------------------------------------------------- */

struct sn_report_format {
    const char *name;  /* "top", "tree", "dot", ... pprof's flag */
    const char *alias; /* "text" for top; may be NULL */
    bool takes_regexp; /* peek, list, ... */
    bool binary;       /* not for a terminal */
    const char *help;  /* one line */
    int node_count;    /* default for this report when not given; 0 all */
    /* `out` is only appended to. */
    bool (*write)(struct sn_profile *p, const struct sn_options *o, const char *argument,
                  struct sn_buf *out, struct sn_error *e);
    bool drawn; /* by the draw room */
};

/* sites.c: the n largest sites of a kind of blocks: bytes, blocks, and where they were
 * allocated, "leaf file.c:12 < caller file.c:30 < ...". Changes nothing in p, which has
 * its names. */
bool sn_report_sites(struct sn_profile *p, const char *bytes_type,
                     const char *objects_type, uint32_t n, struct sn_buf *out,
                     struct sn_error *e);

/* topproto.c: what top shows, as a profile of its own; the caller frees it. NULL on
 * error. Filters p in place. */
struct sn_profile *sn_report_topproto(struct sn_profile *p, const struct sn_options *o,
                                      struct sn_error *e);

/* labels.c: what was profiled, when, for how long: the lines above a shell. *empty: the
 * sample type shown adds up to nothing, though there are others. */
bool sn_report_greeting(struct sn_profile *p, const struct sn_options *o,
                        struct sn_buf *out, bool *empty, struct sn_error *e);

extern const struct sn_report_format sn_report_formats[];
extern const size_t sn_report_formats_count;
const struct sn_report_format *sn_report_format_find(const char *name);

#endif
