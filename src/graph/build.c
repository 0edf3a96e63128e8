/*
 * build.c: the graph over the nodes that are kept: their edges and their tags.
 *
 * A node is an info, and an edge or a tag counts a sample once however often it recurs in
 * it. An edge that skips nodes which are not kept is residual. What the nodes themselves
 * come to is known (count.c), and does not depend on what is kept.
 *
 * All cores build, each over a part of the samples; then the parts' edges are added up.
 */
#include "graph_priv.h"

#define DROPPED UINT32_MAX       /* of a location: its one node is not kept */
#define MANY    (UINT32_MAX - 1) /* it has several lines: ask for each */
#define MATRIX  1024             /* nodes up to which edges are found by index */

/* The edges of a part of the samples. */
struct edges {
    struct sn_arena *arena;
    uint32_t n_nodes;
    uint32_t *matrix;   /* index + 1 of src * n_nodes + dst; NULL: too many nodes */
    struct sn_map *map; /* of src << 32 | dst */
    struct sn_edge *v;
    uint32_t n, cap;
};

struct building {
    struct sn_builder *b;
    struct sn_graph *g;
    uint32_t *node_of;  /* of each info; DROPPED */
    uint32_t *at;       /* of each location: its node, DROPPED or MANY */
    const bool *wanted; /* of each node: are its edges? NULL: all are */
    unsigned parts;
    struct edges *edges; /* of each part */
};

/* ---- edges ----------------------------------------------------------------------------
 */

static bool open_edges(struct edges *x, uint32_t n_nodes)
{
    x->arena = sn_arena_new();
    x->n_nodes = n_nodes;
    if (x->arena == NULL)
        return false;
    if (n_nodes <= MATRIX)
        x->matrix =
            sn_arena_alloc(x->arena, ((size_t)n_nodes * n_nodes + 1) * sizeof *x->matrix);
    else
        x->map = sn_map_new(x->arena);
    return x->matrix != NULL || x->map != NULL;
}

/* NULL: no memory, which the arena says. */
static struct sn_edge *edge_of(struct edges *x, uint32_t src, uint32_t dst)
{
    uint32_t *known = x->matrix != NULL ? &x->matrix[(size_t)src * x->n_nodes + dst]
                                        : sn_map_put(x->map, (uint64_t)src << 32 | dst);
    if (known == NULL)
        return NULL;
    if (*known != 0 && *known != SN_NONE)
        return &x->v[*known - 1];
    struct sn_edge *e = SN_PUSH(x->arena, x->v, x->n, x->cap);
    if (e == NULL)
        return NULL;
    *e = (struct sn_edge){.src = src, .dst = dst, .inlined = true};
    *known = x->n;
    return e;
}

struct walk { /* of one sample, from the root */
    const struct building *x;
    struct edges *edges;
    uint32_t parent, stamp; /* the sample's number from 1 */
    bool residual;
    int64_t weight, divisor;
};

static void step(struct walk *w, uint32_t node, bool inlined)
{
    uint32_t parent = w->parent;
    bool residual = w->residual;
    w->parent = node;
    w->residual = false;
    if (parent == SN_NONE || parent == node ||
        (w->x->wanted != NULL && !w->x->wanted[parent] && !w->x->wanted[node]))
        return;
    struct sn_edge *e = edge_of(w->edges, parent, node);
    if (e == NULL || e->seen == w->stamp)
        return;
    e->seen = w->stamp;
    e->weight += w->weight;
    e->weight_div += w->divisor;
    e->residual |= residual;
    e->inlined &= inlined;
}

static void step_lines(struct walk *w, uint32_t location)
{
    const struct sn_builder *b = w->x->b;
    uint32_t first = b->location_first[location], end = b->location_first[location + 1];
    for (uint32_t k = end; k-- > first;) {
        uint32_t node = w->x->node_of[b->location_infos[k]];
        if (node == DROPPED)
            w->residual = true;
        else
            step(w, node, k != end - 1);
    }
}

static void walk(struct walk *w, const struct sn_sample *s)
{
    const uint32_t *locs = w->x->b->v->p->sample_locs + s->loc0;
    for (uint32_t i = s->n_locs; i-- > 0;) {
        uint32_t node = w->x->at[locs[i]];
        if (node == DROPPED)
            w->residual = true;
        else if (node == MANY)
            step_lines(w, locs[i]);
        else
            step(w, node, false);
    }
}

static void connect_part(void *building, unsigned part)
{
    const struct building *x = building;
    const struct sn_view *v = x->b->v;
    uint32_t end = sn_part_begin(v->p->n_samples, part + 1, x->parts);
    for (uint32_t i = sn_part_begin(v->p->n_samples, part, x->parts); i < end; i++) {
        struct walk w = {
            .x = x, .edges = &x->edges[part], .parent = SN_NONE, .stamp = i + 1};
        w.weight = sn_view_weight(v, i, &w.divisor);
        if (w.weight != 0 || w.divisor != 0)
            walk(&w, &v->p->samples[i]);
    }
}

static void add_edges(struct edges *to, const struct edges *from)
{
    for (uint32_t i = 0; i < from->n; i++) {
        const struct sn_edge *e = &from->v[i];
        struct sn_edge *sum = edge_of(to, e->src, e->dst);
        if (sum == NULL)
            return;
        sum->weight += e->weight;
        sum->weight_div += e->weight_div;
        sum->residual |= e->residual;
        sum->inlined &= e->inlined;
    }
}

static bool hand_over(struct sn_graph *g, const struct edges *x)
{
    g->edges = sn_arena_alloc(g->arena, (x->n + 1) * sizeof *g->edges);
    if (g->edges == NULL || sn_arena_failed(x->arena))
        return false;
    if (x->n > 0)
        memcpy(g->edges, x->v, x->n * sizeof *g->edges);
    g->n_edges = g->cap_edges = x->n;
    for (uint32_t i = 0; i < x->n; i++) {
        struct sn_edge *e = &g->edges[i];
        e->next_in = g->nodes[e->dst].in;
        e->next_out = g->nodes[e->src].out;
        g->nodes[e->dst].in = g->nodes[e->src].out = i;
    }
    return true;
}

static bool connect(struct building *x)
{
    bool good = true;
    x->parts = sn_parts(x->b);
    x->edges = sn_arena_alloc(x->g->arena, x->parts * sizeof *x->edges);
    for (unsigned i = 0; x->edges != NULL && i < x->parts; i++)
        good &= open_edges(&x->edges[i], x->g->n_nodes);
    if (good && x->edges != NULL) {
        sn_parallel(x->parts, connect_part, x);
        for (unsigned i = 1; i < x->parts; i++) {
            good &= !sn_arena_failed(x->edges[i].arena);
            add_edges(&x->edges[0], &x->edges[i]);
        }
        good = good && hand_over(x->g, &x->edges[0]);
    }
    for (unsigned i = 0; x->edges != NULL && i < x->parts; i++)
        sn_arena_free(x->edges[i].arena);
    return good && x->edges != NULL;
}

/* ---- nodes ----------------------------------------------------------------------------
 */

bool sn_values_shown(const struct sn_view *v, const struct sn_values *x)
{
    bool negative = x->flat < 0 || (x->flat == 0 && x->cum < 0);
    return (x->cum != 0 || x->flat != 0) && !(v->o.drop_negative && negative);
}

struct sn_node *sn_graph_add(struct sn_graph *g, struct sn_builder *b, uint32_t info,
                             const struct sn_values *v)
{
    struct sn_node *n = SN_PUSH(g->arena, g->nodes, g->n_nodes, g->cap_nodes);
    if (n == NULL)
        return NULL;
    *n = (struct sn_node){.info = b->infos[info],
                          .id = info,
                          .name = sn_builder_name(b, info),
                          .function = b->functions != NULL ? b->functions[info] : 0,
                          .flat = v->flat,
                          .flat_div = v->flat_div,
                          .cum = v->cum,
                          .cum_div = v->cum_div,
                          .in = SN_NONE,
                          .out = SN_NONE,
                          .tags = SN_NONE,
                          .kept = sn_values_shown(b->v, v)};
    return n->name != NULL ? n : NULL;
}

static bool add_nodes(struct sn_graph *g, struct sn_builder *b, const bool *kept)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n_infos; i++)
        n += kept == NULL || kept[i];
    g->nodes = sn_arena_alloc(g->arena, (n + 1) * sizeof *g->nodes);
    g->order = sn_arena_alloc(g->arena, (n + 1) * sizeof *g->order);
    g->cap_nodes = n;
    for (uint32_t i = 0; !sn_arena_failed(g->arena) && i < b->n_infos; i++) {
        if (kept != NULL && !kept[i])
            continue;
        struct sn_node *node = sn_graph_add(g, b, i, &b->values[i]);
        if (node == NULL)
            return false;
        if (node->kept)
            g->order[g->n_order++] = g->n_nodes - 1;
    }
    return !sn_arena_failed(g->arena);
}

struct sn_graph *sn_graph_empty(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_graph *g = a != NULL ? sn_arena_alloc(a, sizeof *g) : NULL;
    if (g != NULL)
        g->arena = a;
    else
        sn_arena_free(a);
    return g;
}

void sn_graph_free(struct sn_graph *g)
{
    if (g != NULL)
        sn_arena_free(g->arena);
}

struct sn_graph *sn_builder_nodes(struct sn_builder *b, const bool *kept)
{
    struct sn_graph *g = sn_graph_empty();
    if (g != NULL && add_nodes(g, b, kept))
        return g;
    sn_graph_free(g);
    return NULL;
}

/* ---- the whole ------------------------------------------------------------------------
 */

/* What each info and each location is in the graph. */
static bool place(struct building *x)
{
    const struct sn_builder *b = x->b;
    uint32_t n_locations = b->v->p->n_locations;
    x->node_of = sn_arena_alloc(x->g->arena, (b->n_infos + 1) * sizeof *x->node_of);
    x->at = sn_arena_alloc(x->g->arena, (n_locations + 1) * sizeof *x->at);
    if (sn_arena_failed(x->g->arena))
        return false;
    memset(x->node_of, 0xff, b->n_infos * sizeof *x->node_of);
    for (uint32_t i = 0; i < x->g->n_nodes; i++)
        x->node_of[x->g->nodes[i].id] = i;
    for (uint32_t i = 0; i < n_locations; i++) {
        uint32_t first = b->location_first[i];
        x->at[i] = b->location_first[i + 1] - first > 1
                       ? MANY
                       : x->node_of[b->location_infos[first]];
    }
    return true;
}

/* Of each node: does its name match? */
static const bool *find_wanted(struct building *x)
{
    bool *wanted = sn_arena_alloc(x->g->arena, x->g->n_nodes + 1);
    for (uint32_t i = 0; wanted != NULL && i < x->g->n_nodes; i++)
        wanted[i] = sn_regex_match(x->b->v->kind.edges_of, x->g->nodes[i].name);
    return wanted;
}

static bool tag(struct building *x)
{
    const struct sn_builder *b = x->b;
    const struct sn_profile *p = b->v->p;
    struct sn_tagger *t = sn_tagger_new(x->b, x->g);
    uint32_t *path = NULL, n, cap = 0;
    for (uint32_t i = 0; t != NULL && i < p->n_samples; i++) {
        const struct sn_sample *s = &p->samples[i];
        if (!sn_tagger_wants(t, i))
            continue;
        n = 0;
        for (uint32_t j = 0; j < s->n_locs; j++) {
            uint32_t loc = p->sample_locs[s->loc0 + j];
            for (uint32_t k = b->location_first[loc]; k < b->location_first[loc + 1];
                 k++) {
                uint32_t *at = SN_PUSH(x->g->arena, path, n, cap);
                if (at == NULL)
                    return false;
                *at = x->node_of[b->location_infos[k]];
            }
        }
        sn_tagger_add(t, path, n);
    }
    return t != NULL && !sn_arena_failed(x->g->arena);
}

bool sn_builder_connect(struct sn_builder *b, struct sn_graph *g)
{
    struct building x = {.b = b, .g = g};
    const struct sn_view_kind *kind = &b->v->kind;
    if (!place(&x) || (kind->edges_of != NULL && (x.wanted = find_wanted(&x)) == NULL))
        return false;
    if ((kind->edges || b->has_inlined) && !connect(&x))
        return false;
    return !kind->drawn || tag(&x);
}
