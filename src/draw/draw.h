/*
 * draw: a scene or a chart as SVG, PDF, PostScript or PNG. layout.h is the one small
 * interface behind which Graphviz stands for now: sized nodes and weighted edges in,
 * positions and curves out.
 */
#ifndef SN_DRAW_H
#define SN_DRAW_H

#include "report/chart.h"
#include "report/report.h"

/* ---- layout
 * ----------------------------------------------------------------------------- */

struct sn_layout_node {
    double width, height; /* in: points */
    double x, y;          /* out: centre, points, y down from the top */
};

struct sn_layout_edge {
    uint32_t from, to;
    int weight, min_len;              /* in */
    double label_width, label_height; /* in: 0 for none */
    double label_x, label_y;          /* out: centre of the label */
    double (*points)[2]; /* out: Bezier curve: 1 + 3k points; arrow at the last */
    uint32_t n_points;
};

struct sn_layout {
    struct sn_arena *arena; /* borrowed: points are allocated here */
    struct sn_layout_node *nodes;
    uint32_t n_nodes;
    struct sn_layout_edge *edges;
    uint32_t n_edges;
    double width, height; /* out */
};

bool sn_layout_run(struct sn_layout *l, struct sn_error *e);

/* ---- pictures
 * --------------------------------------------------------------------------- */

enum sn_picture { SN_PICTURE_SVG, SN_PICTURE_PDF, SN_PICTURE_PNG, SN_PICTURE_PS };

/* Is there what draws? To be asked before what may take long; else *e says why not. */
bool sn_draw_ready(struct sn_error *e);
/* Draw the scene whole into *out. In the command, the first picture loads the module that
 * draws (load.c), and an error may be that it cannot be loaded. */
bool sn_draw_scene(const struct sn_scene *s, enum sn_picture kind, struct sn_buf *out,
                   struct sn_error *e);
/* Likewise a chart, as one page. */
bool sn_draw_chart(const struct sn_chart *c, enum sn_picture kind, struct sn_buf *out,
                   struct sn_error *e);

#endif
