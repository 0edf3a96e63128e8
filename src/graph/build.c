/*
 * build.c: the graph over the nodes that are kept: their edges and their tags.
 *
 * A node is an info, and an edge or a tag counts a sample once however often it recurs in
 * it. An edge that skips nodes which are not kept is residual. What the nodes themselves
 * come to is known (count.c), and does not depend on what is kept.
 *
 * All cores build: each goes through all samples and counts the edges from its share of
 * the nodes, so that there is nothing to add up in the end.
 */
#include "graph_priv.h"

#define DROPPED UINT32_MAX       /* of a location: its one node is not kept */
#define MANY    (UINT32_MAX - 1) /* it has several lines: ask for each */
#define MATRIX  1024             /* nodes up to which edges are found by index */
#define BLOCK   64               /* frames whose edges are looked for together */

/* The edges from a part of the nodes. */
struct edges {
    struct sn_arena *arena;
    uint32_t n_nodes;
    /* Their indices + 1; 0: none. Where there are few nodes, of src * n_nodes + dst, else
     * by the hash of both, at most half full. */
    uint32_t *matrix, *slots;
    uint32_t size; /* of the slots: a power of two */
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

/* Room for as many edges as there can be, up to a million: what is not used costs none.
 */
static bool open_edges(struct edges *x, uint32_t n_nodes, uint32_t most)
{
    x->arena = sn_arena_new();
    x->n_nodes = n_nodes;
    x->size = 1024;
    if (x->arena == NULL)
        return false;
    while (x->size < most && x->size / 32 < n_nodes)
        x->size *= 2;
    if (n_nodes <= MATRIX)
        x->matrix =
            sn_arena_alloc(x->arena, ((size_t)n_nodes * n_nodes + 1) * sizeof *x->matrix);
    else
        x->slots = sn_arena_alloc(x->arena, x->size * sizeof *x->slots);
    x->cap = most < 1u << 20 ? most + 1 : 1u << 20;
    x->v = sn_arena_alloc(x->arena, x->cap * sizeof *x->v);
    return !sn_arena_failed(x->arena);
}

/* Where it should be. */
static uint32_t *slot_of(const struct edges *x, uint32_t src, uint32_t dst)
{
    if (x->matrix != NULL)
        return &x->matrix[(size_t)src * x->n_nodes + dst];
    uint64_t hash = ((uint64_t)src << 32 | dst) * UINT64_C(0x9e3779b97f4a7c15);
    return &x->slots[(uint32_t)(hash >> 32) & (x->size - 1)];
}

/* Where it is, or where it goes. */
static uint32_t *probe(const struct edges *x, uint32_t src, uint32_t dst)
{
    uint32_t i = (uint32_t)(slot_of(x, src, dst) - x->slots);
    while (x->slots[i] != 0 &&
           (x->v[x->slots[i] - 1].dst != dst || x->v[x->slots[i] - 1].src != src))
        i = (i + 1) & (x->size - 1);
    return &x->slots[i];
}

static bool grow(struct edges *x)
{
    struct edges bigger = *x;
    if (x->size > UINT32_MAX / 4)
        return false;
    bigger.size = x->size * 4;
    bigger.slots = sn_arena_alloc(x->arena, bigger.size * sizeof *bigger.slots);
    if (bigger.slots == NULL)
        return false;
    for (uint32_t i = 0; i < x->n; i++)
        *probe(&bigger, x->v[i].src, x->v[i].dst) = i + 1;
    *x = bigger;
    return true;
}

/* NULL: no memory, which the arena says. */
static struct sn_edge *edge_of(struct edges *x, uint32_t src, uint32_t dst)
{
    uint32_t *known = x->matrix != NULL ? slot_of(x, src, dst) : probe(x, src, dst);
    if (*known != 0)
        return &x->v[*known - 1];
    if (x->matrix == NULL && x->n >= x->size / 2) {
        if (!grow(x))
            return NULL;
        known = probe(x, src, dst);
    }
    struct sn_edge *e = SN_PUSH(x->arena, x->v, x->n, x->cap);
    if (e == NULL)
        return NULL;
    *e = (struct sn_edge){.src = src, .dst = dst, .inlined = true};
    *known = x->n;
    return e;
}

struct passage { /* over an edge */
    uint32_t src, dst;
    bool residual, inlined;
};

struct walk { /* of one sample, from the root */
    const struct building *x;
    struct edges *edges;
    unsigned part;
    uint32_t parent, stamp; /* the sample's number from 1 */
    bool residual;
    int64_t weight, divisor;
    uint32_t n; /* of the batch */
    struct passage batch[2 * BLOCK];
};

static void count_passage(const struct walk *w, const struct passage *p)
{
    struct sn_edge *e = edge_of(w->edges, p->src, p->dst);
    if (e == NULL || e->seen == w->stamp)
        return;
    e->seen = w->stamp;
    e->weight += w->weight;
    e->weight_div += w->divisor;
    e->residual |= p->residual;
    e->inlined &= p->inlined;
}

/* Each takes two looks into memory that is in no cache: those of a batch are under way
 * together. */
static void count_batch(struct walk *w)
{
    const struct edges *x = w->edges;
    for (uint32_t i = 0; i < w->n; i++)
        __builtin_prefetch(slot_of(x, w->batch[i].src, w->batch[i].dst));
    for (uint32_t i = 0; i < w->n; i++) {
        uint32_t known = *slot_of(x, w->batch[i].src, w->batch[i].dst);
        __builtin_prefetch(&x->v[known > 0 ? known - 1 : 0]);
    }
    for (uint32_t i = 0; i < w->n; i++)
        count_passage(w, &w->batch[i]);
    w->n = 0;
}

/* Whose are the edges from that node? */
static unsigned part_of(uint32_t node, unsigned parts)
{
    return (unsigned)((uint64_t)(node * UINT32_C(0x9e3779b1)) * parts >> 32);
}

/* Into the batch, which has room, or not: without a branch, which could not be foretold.
 */
static inline void pass(struct walk *w, uint32_t src, uint32_t dst, bool residual,
                        bool inlined)
{
    const struct building *x = w->x;
    bool counts = (src != dst) & (part_of(src, x->parts) == w->part);
    if (x->wanted != NULL)
        counts &= x->wanted[src] | x->wanted[dst];
    w->batch[w->n] = (struct passage){src, dst, residual, inlined};
    w->n += counts;
}

static void step(struct walk *w, uint32_t node, bool inlined)
{
    if (w->parent != SN_NONE)
        pass(w, w->parent, node, w->residual, inlined);
    w->parent = node;
    w->residual = false;
    if (w->n >= BLOCK)
        count_batch(w);
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

/* Frames some of which have several lines. */
static void walk_lines(struct walk *w, const uint32_t *locs, uint32_t n)
{
    while (n-- > 0) {
        uint32_t node = w->x->at[locs[n]];
        if (node == DROPPED)
            w->residual = true;
        else if (node == MANY)
            step_lines(w, locs[n]);
        else
            step(w, node, false);
    }
}

/* A block of frames, from its last to its first. Those that are kept are gathered without
 * a branch; an edge is residual if they are not next to one another. */
static void walk_block(struct walk *w, const uint32_t *locs, uint32_t n)
{
    uint32_t nodes[BLOCK + 1], places[BLOCK + 1], kept = 0;
    bool many = false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t node = w->x->at[locs[n - 1 - i]];
        nodes[kept] = node;
        places[kept] = i;
        kept += node < MANY;
        many |= node == MANY;
    }
    if (many) {
        walk_lines(w, locs, n);
        return;
    }
    if (kept == 0) {
        w->residual = true;
        return;
    }
    if (w->parent != SN_NONE)
        pass(w, w->parent, nodes[0], w->residual || places[0] > 0, false);
    for (uint32_t i = 1; i < kept; i++)
        pass(w, nodes[i - 1], nodes[i], places[i] - places[i - 1] > 1, false);
    w->parent = nodes[kept - 1];
    w->residual = places[kept - 1] + 1 < n;
    count_batch(w);
}

static void walk(struct walk *w, const struct sn_sample *s)
{
    const uint32_t *locs = w->x->b->v->p->sample_locs + s->loc0;
    for (uint32_t n = s->n_locs, block; n > 0; n -= block) {
        block = n < BLOCK ? n : BLOCK;
        walk_block(w, locs + n - block, block);
    }
    count_batch(w);
}

static void connect_part(void *building, unsigned part)
{
    const struct building *x = building;
    const struct sn_view *v = x->b->v;
    struct walk w = {.x = x, .edges = &x->edges[part], .part = part};
    for (uint32_t i = 0; i < v->p->n_samples; i++) {
        w.parent = SN_NONE;
        w.stamp = i + 1;
        w.residual = false;
        w.weight = sn_view_weight(v, i, &w.divisor);
        if (w.weight != 0 || w.divisor != 0)
            walk(&w, &v->p->samples[i]);
    }
}

/* All parts' edges, in one array, and from their nodes. */
static bool hand_over(struct sn_graph *g, const struct edges *parts, unsigned n_parts)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < n_parts; i++)
        n += sn_arena_failed(parts[i].arena) ? SN_NONE : parts[i].n;
    if (n >= SN_NONE)
        return false;
    g->edges = sn_arena_alloc(g->arena, (n + 1) * sizeof *g->edges);
    if (g->edges == NULL)
        return false;
    for (unsigned i = 0; i < n_parts; i++) {
        if (parts[i].n > 0)
            memcpy(g->edges + g->n_edges, parts[i].v, parts[i].n * sizeof *g->edges);
        g->n_edges += parts[i].n;
    }
    g->cap_edges = g->n_edges;
    for (uint32_t i = 0; i < g->n_edges; i++) {
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
        good &= open_edges(&x->edges[i], x->g->n_nodes, x->b->v->p->n_sample_locs);
    if (good && x->edges != NULL) {
        sn_parallel(x->parts, connect_part, x);
        good = hand_over(x->g, x->edges, x->parts);
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

/* Room for what each info is in the graph: nothing, so far. */
static bool open_places(struct building *x)
{
    size_t bytes = (x->b->n_infos + (size_t)1) * sizeof *x->node_of;
    x->node_of = sn_arena_alloc(x->g->arena, bytes);
    if (x->node_of != NULL)
        memset(x->node_of, 0xff, bytes);
    return x->node_of != NULL;
}

/* What each info and each location is. */
static bool place(struct building *x)
{
    const struct sn_builder *b = x->b;
    uint32_t n_locations = b->v->p->n_locations;
    x->at = sn_arena_alloc(x->g->arena, (n_locations + 1) * sizeof *x->at);
    if (x->at == NULL || !open_places(x))
        return false;
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

bool sn_builder_connect(struct sn_builder *b, struct sn_graph *g)
{
    struct building x = {.b = b, .g = g};
    const struct sn_view_kind *kind = &b->v->kind;
    if (!kind->edges && !b->has_inlined)
        return true;
    return place(&x) &&
           (kind->edges_of == NULL || (x.wanted = find_wanted(&x)) != NULL) &&
           connect(&x);
}

bool sn_builder_tag(struct sn_builder *b, struct sn_graph *g, uint32_t n)
{
    struct building x = {.b = b, .g = g};
    const struct sn_profile *p = b->v->p;
    struct sn_tagger *t = open_places(&x) ? sn_tagger_new(b, g) : NULL;
    uint32_t *path = NULL, length, cap = 0;
    for (uint32_t i = 0; t != NULL && i < n; i++)
        x.node_of[g->nodes[g->order[i]].id] = g->order[i];
    for (uint32_t i = 0; t != NULL && i < p->n_samples; i++) {
        const struct sn_sample *s = &p->samples[i];
        if (!sn_tagger_wants(t, i))
            continue;
        length = 0;
        for (uint32_t j = 0; j < s->n_locs; j++) {
            uint32_t loc = p->sample_locs[s->loc0 + j];
            for (uint32_t k = b->location_first[loc]; k < b->location_first[loc + 1];
                 k++) {
                uint32_t *at = SN_PUSH(g->arena, path, length, cap);
                if (at == NULL)
                    return false;
                *at = x.node_of[b->location_infos[k]];
            }
        }
        sn_tagger_add(t, path, length);
    }
    return t != NULL && !sn_arena_failed(g->arena);
}
