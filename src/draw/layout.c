/*
 * layout.c: Graphviz's library behind sn_layout_run, until our own layered layout stands.
 *
 * Boxes and labels come with their sizes: Graphviz sees no text and needs no fonts. It is
 * kept from trying for ever by limits that tighten as the graph grows.
 */
#include "draw_priv.h"

#include <graphviz/gvc.h>
#include <math.h>
#include <stdio.h>

#define INCH           72.0
/* Room for labels takes a rank of its own between any two; of more edges than these,
 * labels are put on the middle of the curve. */
#define EDGES_LABELLED 300

static void set_graph(Agraph_t *g, const char *name, const char *value)
{
    agattr(g, AGRAPH, (char *)name, (char *)value);
}

/* Rank and position are searched by network simplex, crossings by sweeps; each is cut
 * short where a graph is large, and the curves become simpler. */
static void limit_effort(Agraph_t *g, const struct sn_layout *l)
{
    char text[32];
    double size = l->n_nodes + l->n_edges / 2.0;
    double effort = size < 250 ? 0 : fmax(0.01, 250 / size * 0.1);
    if (effort == 0)
        return;
    snprintf(text, sizeof text, "%.3f", effort);
    set_graph(g, "nslimit", text);
    set_graph(g, "nslimit1", text);
    set_graph(g, "mclimit", text);
    set_graph(g, "maxiter", "50");
    if (size > 3000)
        set_graph(g, "splines", "line");
    else if (size > 1200)
        set_graph(g, "splines", "polyline");
}

static bool add_nodes(Agraph_t *g, const struct sn_layout *l, Agnode_t **nodes)
{
    char text[48];
    for (uint32_t i = 0; i < l->n_nodes; i++) {
        snprintf(text, sizeof text, "n%u", i);
        nodes[i] = agnode(g, text, 1);
        if (nodes[i] == NULL)
            return false;
        snprintf(text, sizeof text, "%.4f", l->nodes[i].width / INCH);
        agset(nodes[i], "width", text);
        snprintf(text, sizeof text, "%.4f", l->nodes[i].height / INCH);
        agset(nodes[i], "height", text);
    }
    return true;
}

/* Room for a label, without a word in it. */
static void set_label(Agraph_t *g, Agedge_t *e, const struct sn_layout_edge *x)
{
    char text[160];
    if (x->label_width <= 0)
        return;
    snprintf(text, sizeof text,
             "<table border=\"0\" cellborder=\"0\" fixedsize=\"true\" width=\"%d\" "
             "height=\"%d\"><tr><td></td></tr></table>",
             (int)ceil(x->label_width), (int)ceil(x->label_height));
    char *html = agstrdup_html(g, text);
    agset(e, "label", html);
    agstrfree(g, html);
}

static bool add_edges(Agraph_t *g, const struct sn_layout *l, Agnode_t **nodes,
                      Agedge_t **edges)
{
    char text[32];
    for (uint32_t i = 0; i < l->n_edges; i++) {
        const struct sn_layout_edge *x = &l->edges[i];
        edges[i] = agedge(g, nodes[x->from], nodes[x->to], NULL, 1);
        if (edges[i] == NULL)
            return false;
        snprintf(text, sizeof text, "%d", x->weight);
        agset(edges[i], "weight", text);
        snprintf(text, sizeof text, "%d", x->min_len);
        agset(edges[i], "minlen", text);
        if (l->n_edges < EDGES_LABELLED)
            set_label(g, edges[i], x);
    }
    return true;
}

static bool read_curve(struct sn_layout *l, struct sn_layout_edge *x, const Agedge_t *e,
                       double top)
{
    const splines *s = ED_spl(e);
    if (s == NULL || s->size < 1)
        return true;
    const bezier *b = &s->list[0];
    x->points = sn_arena_alloc(l->arena, (size_t)b->size * sizeof *x->points);
    if (x->points == NULL)
        return false;
    x->n_points = (uint32_t)b->size;
    for (uint32_t i = 0; i < x->n_points; i++) {
        x->points[i][0] = b->list[i].x;
        x->points[i][1] = top - b->list[i].y;
    }
    x->label_x = x->points[x->n_points / 2][0];
    x->label_y = x->points[x->n_points / 2][1];
    if (ED_label(e) != NULL) {
        x->label_x = ED_label(e)->pos.x;
        x->label_y = top - ED_label(e)->pos.y;
    }
    return true;
}

static bool read_back(struct sn_layout *l, Agraph_t *g, Agnode_t **nodes,
                      Agedge_t **edges)
{
    boxf bb = GD_bb(g);
    double top = bb.UR.y;
    l->width = bb.UR.x - bb.LL.x;
    l->height = bb.UR.y - bb.LL.y;
    for (uint32_t i = 0; i < l->n_nodes; i++) {
        l->nodes[i].x = ND_coord(nodes[i]).x;
        l->nodes[i].y = top - ND_coord(nodes[i]).y;
    }
    for (uint32_t i = 0; i < l->n_edges; i++)
        if (!read_curve(l, &l->edges[i], edges[i], top))
            return false;
    return true;
}

static Agraph_t *open_graph(const struct sn_layout *l)
{
    Agraph_t *g = agopen("g", Agdirected, NULL);
    if (g == NULL)
        return NULL;
    agattr(g, AGNODE, "shape", "box");
    agattr(g, AGNODE, "fixedsize", "true");
    agattr(g, AGNODE, "label", "");
    agattr(g, AGNODE, "width", "1");
    agattr(g, AGNODE, "height", "1");
    agattr(g, AGEDGE, "weight", "1");
    agattr(g, AGEDGE, "minlen", "1");
    agattr(g, AGEDGE, "label", "");
    agattr(g, AGEDGE, "dir", "none"); /* arrows are ours */
    set_graph(g, "nodesep", "0.3");
    set_graph(g, "ranksep", "0.45");
    limit_effort(g, l);
    return g;
}

static bool run(struct sn_layout *l, GVC_t *gvc, Agraph_t *g)
{
    Agnode_t **nodes = sn_arena_alloc(l->arena, (l->n_nodes + 1) * sizeof *nodes);
    Agedge_t **edges = sn_arena_alloc(l->arena, (l->n_edges + 1) * sizeof *edges);
    if (nodes == NULL || edges == NULL || !add_nodes(g, l, nodes) ||
        !add_edges(g, l, nodes, edges) || gvLayout(gvc, g, "dot") != 0)
        return false;
    bool good = read_back(l, g, nodes, edges);
    gvFreeLayout(gvc, g);
    return good;
}

bool sn_layout_run(struct sn_layout *l, struct sn_error *e)
{
    if (l->n_nodes == 0)
        return true;
    agseterr(AGMAX); /* it would print its warnings */
    GVC_t *gvc = gvContext();
    Agraph_t *g = gvc != NULL ? open_graph(l) : NULL;
    bool good = g != NULL && run(l, gvc, g);
    if (g != NULL)
        agclose(g);
    if (gvc != NULL)
        gvFreeContext(gvc);
    return good || sn_fail(e, NULL, -1, "the graph could not be laid out");
}
