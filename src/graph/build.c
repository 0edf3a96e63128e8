/*
 * build.c: the graph over the nodes that are kept: their edges and their tags.
 *
 * A node is an info, and an edge or a tag counts a sample once however often it recurs in
 * it. An edge that skips nodes which are not kept is residual. What the nodes themselves
 * come to is known (count.c), and does not depend on what is kept.
 *
 * All cores build. Where there will be few edges, each counts those of its share of the
 * samples, and they are added up in the end. Where there may be many, each goes through
 * all samples and counts the edges from its share of the nodes: nothing is held twice.
 */
#include "edges.h"

#define DROPPED UINT32_MAX       /* of a location: its one node is not kept */
#define MANY    (UINT32_MAX - 1) /* it has several lines: ask for each */
#define AHEAD   16               /* samples whose frames are fetched before their turn */
#define BLOCK   64               /* frames that are looked at together */
#define BATCH   256              /* passages that are counted together */

struct building {
    struct sn_builder *b;
    struct sn_graph *g;
    uint32_t *node_of;  /* of each info; DROPPED */
    uint32_t *at;       /* of each location: its node, DROPPED or MANY */
    const bool *wanted; /* of each node: are its edges asked for? NULL: all are */
    uint32_t n_wanted;
    /* Of each location a bit: is it to be looked at? It is if it has a node that is kept;
     * or, where few are wanted, if it has one that is. */
    const uint64_t *marks;
    bool few; /* and all nodes are kept */
    unsigned parts;
    bool by_samples;        /* parts are of those, not of the nodes */
    struct sn_edges *edges; /* of each part */
    uint32_t *first;        /* in g->edges, of each part: what it hands over */
};

/* ---- edges ----------------------------------------------------------------------------
 */

struct walk { /* of samples, one after the other, from the root */
    const struct building *x;
    struct sn_edges edges;  /* here, not beside those that another core changes */
    unsigned share, shares; /* of the nodes, whose edges are counted */
    uint32_t parent, stamp; /* the sample's number from 1 */
    uint32_t residual;      /* SN_RESIDUAL: frames after the parent are not kept */
    struct sn_passage *end, batch[BATCH + BLOCK];
};

/* Whose are the edges from that node? */
static unsigned part_of(uint32_t node, unsigned parts)
{
    return (unsigned)((uint64_t)(node * UINT32_C(0x9e3779b1)) * parts >> 32);
}

/* To the end of a batch, which has room, or not: without a branch, which could not be
 * foretold. The end as it is then. */
static inline struct sn_passage *pass(const struct walk *w, struct sn_passage *end,
                                      uint32_t src, uint32_t dst, uint32_t flags)
{
    const struct building *x = w->x;
    bool counts = (src != dst) & (part_of(src, w->shares) == w->share);
    if (x->wanted != NULL)
        counts &= x->wanted[src] | x->wanted[dst];
    *end = (struct sn_passage){(uint64_t)src << 32 | dst, w->stamp, flags};
    return end + counts;
}

/* Passages between locations of one node each become those between nodes. */
static void find_nodes(struct walk *w)
{
    const uint32_t *at = w->x->at, stamp = w->stamp;
    struct sn_passage *p, *end = w->batch;
    for (p = w->batch; p < w->end; p++) {
        w->stamp = p->stamp;
        end = pass(w, end, at[p->ends >> 32], at[(uint32_t)p->ends], p->flags);
    }
    w->end = end;
    w->stamp = stamp;
}

static void count_batch(struct walk *w)
{
    if (w->x->few && !w->x->b->has_inlined)
        find_nodes(w);
    sn_edges_count(&w->edges, w->x->b->v, w->batch, (uint32_t)(w->end - w->batch));
    w->end = w->batch;
}

static void step(struct walk *w, uint32_t node, uint32_t called)
{
    if (w->parent != SN_NONE)
        w->end = pass(w, w->end, w->parent, node, w->residual | called);
    w->parent = node;
    w->residual = 0;
    if (w->end >= w->batch + BATCH)
        count_batch(w);
}

static void step_lines(struct walk *w, uint32_t location)
{
    const struct sn_builder *b = w->x->b;
    uint32_t first = b->location_first[location], end = b->location_first[location + 1];
    for (uint32_t k = end; k-- > first;) {
        uint32_t node = w->x->node_of[b->location_infos[k]];
        if (node == DROPPED)
            w->residual = SN_RESIDUAL;
        else
            step(w, node, k == end - 1 ? SN_CALLED : 0);
    }
}

/* Frames some of which have several lines. */
static void walk_lines(struct walk *w, const uint32_t *locs, uint32_t n)
{
    while (n-- > 0) {
        uint32_t node = w->x->at[locs[n]];
        if (node == DROPPED)
            w->residual = SN_RESIDUAL;
        else if (node == MANY)
            step_lines(w, locs[n]);
        else
            step(w, node, SN_CALLED);
    }
}

static bool is_marked(const struct building *x, uint32_t location)
{
    return x->marks[location / 64] >> location % 64 & 1;
}

/* The places of the n frames that are to be looked at, from the root on. */
static uint32_t find_marked(const struct building *x, const uint32_t *locs, uint32_t n,
                            uint32_t *places)
{
    uint32_t found = 0;
    for (uint32_t i = n; i-- > 0;) {
        places[found] = i;
        found += is_marked(x, locs[i]);
    }
    return found;
}

/* A block of frames, from its last to its first. Those that are kept are gathered without
 * a branch; an edge is residual if they are not next to one another. */
static void walk_block(struct walk *w, const uint32_t *locs, uint32_t n)
{
    uint32_t nodes[BLOCK], places[BLOCK];
    uint32_t kept = find_marked(w->x, locs, n, places);
    bool many = false;
    for (uint32_t i = 0; i < kept; i++) {
        nodes[i] = w->x->at[locs[places[i]]];
        many |= nodes[i] == MANY;
    }
    if (many) {
        walk_lines(w, locs, n);
        return;
    }
    if (kept == 0) {
        w->residual = SN_RESIDUAL;
        return;
    }
    struct sn_passage *end = w->end;
    if (w->parent != SN_NONE)
        end = pass(w, end, w->parent, nodes[0],
                   w->residual | SN_CALLED | (places[0] < n - 1 ? SN_RESIDUAL : 0));
    for (uint32_t i = 1; i < kept; i++)
        end = pass(w, end, nodes[i - 1], nodes[i],
                   SN_CALLED | (places[i - 1] - places[i] > 1 ? SN_RESIDUAL : 0));
    w->end = end;
    w->parent = nodes[kept - 1];
    w->residual = places[kept - 1] > 0 ? SN_RESIDUAL : 0;
    if (w->end >= w->batch + BATCH)
        count_batch(w);
}

static void walk(struct walk *w, const struct sn_sample *s)
{
    const uint32_t *locs = w->x->b->v->p->sample_locs + s->loc0;
    w->parent = SN_NONE;
    w->residual = 0;
    for (uint32_t n = s->n_locs, block; n > 0; n -= block) {
        block = n < BLOCK ? n : BLOCK;
        walk_block(w, locs + n - block, block);
    }
}

/* ---- where few are wanted, and all are kept -------------------------------------------
 */

/* The node of a location's line, counted from the innermost. */
static uint32_t node_at(const struct building *x, uint32_t line)
{
    return x->node_of[x->b->location_infos[line]];
}

/* What leads to the frame, and from line to line in it. */
static void walk_frame(struct walk *w, const uint32_t *locs, uint32_t frame, bool called)
{
    const struct building *x = w->x;
    uint32_t caller = locs[frame + called], callee = locs[frame];
    if (!x->b->has_inlined) {
        *w->end++ =
            (struct sn_passage){(uint64_t)caller << 32 | callee, w->stamp, SN_CALLED};
        return;
    }
    w->parent = called ? node_at(x, x->b->location_first[caller]) : SN_NONE;
    step_lines(w, callee);
}

/* Which of up to 64 frames are marked: a bit of each. */
static uint64_t marked(const struct building *x, const uint32_t *locs, uint32_t n)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < n; i++)
        bits = bits >> 1 | (uint64_t)is_marked(x, locs[i]) << 63;
    return bits >> (64 - n);
}

/* The frames that are wanted, and those that they call. */
static void walk_few(struct walk *w, const struct sn_sample *s)
{
    const uint32_t *locs = w->x->b->v->p->sample_locs + s->loc0;
    uint64_t bits = 0;
    for (uint32_t end = s->n_locs, n; end > 0; end -= n) {
        n = end < BLOCK ? end : BLOCK;
        uint64_t called = (bits & 1) << (n - 1);
        bits = marked(w->x, locs + end - n, n);
        for (uint64_t todo = bits | bits >> 1 | called; todo != 0;) {
            uint32_t i = 63 - (uint32_t)__builtin_clzll(todo), frame = end - n + i;
            todo ^= UINT64_C(1) << i;
            walk_frame(w, locs, frame, frame + 1 < s->n_locs);
        }
        if (w->end >= w->batch + BATCH)
            count_batch(w);
    }
}

/* ---- all ------------------------------------------------------------------------------
 */

static void connect_part(void *building, unsigned part)
{
    const struct building *x = building;
    const struct sn_view *v = x->b->v;
    uint32_t n = v->p->n_samples, begin = 0, end = n;
    struct walk w = {.x = x, .edges = x->edges[part], .share = part, .shares = x->parts};
    w.end = w.batch;
    if (x->by_samples) {
        w.share = 0;
        w.shares = 1;
        begin = sn_part_begin(n, part, x->parts);
        end = sn_part_begin(n, part + 1, x->parts);
    }
    for (uint32_t i = begin; i < end; i++) {
        int64_t divisor, weight = sn_view_weight(v, i, &divisor);
        w.stamp = i + 1;
        if (weight == 0 && divisor == 0)
            continue;
        if (x->few)
            walk_few(&w, &v->p->samples[i]);
        else
            walk(&w, &v->p->samples[i]);
    }
    count_batch(&w);
    x->edges[part] = w.edges;
}

static void hand_over_part(void *building, unsigned part)
{
    const struct building *x = building;
    const struct sn_edges *from = &x->edges[part];
    struct sn_edge *e = x->g->edges + x->first[part];
    for (uint32_t i = 0; from->n > 0 && i < from->size; i++) {
        const struct sn_tally *t = &from->v[i];
        if (t->seen != 0)
            *e++ = (struct sn_edge){.src = (uint32_t)(t->ends >> 32),
                                    .dst = (uint32_t)t->ends,
                                    .weight = t->weight,
                                    .weight_div = t->weight_div,
                                    .residual = t->flags & SN_RESIDUAL,
                                    .inlined = !(t->flags & SN_CALLED)};
    }
}

/* All parts' edges, in one array, and from their nodes. */
static bool hand_over(struct building *x)
{
    struct sn_graph *g = x->g;
    uint64_t n = 0;
    x->first = sn_arena_alloc(g->arena, x->parts * sizeof *x->first);
    for (unsigned i = 0; x->first != NULL && i < x->parts; i++) {
        x->first[i] = (uint32_t)n;
        n += x->edges[i].failed ? SN_NONE : x->edges[i].n;
    }
    if (n >= SN_NONE || x->first == NULL)
        return false;
    g->edges = sn_arena_alloc(g->arena, (n + 1) * sizeof *g->edges);
    if (g->edges == NULL)
        return false;
    g->n_edges = g->cap_edges = (uint32_t)n;
    sn_parallel(x->parts, hand_over_part, x);
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
    x->parts = sn_parts(x->b);
    x->by_samples = x->few || x->g->n_nodes <= SN_SQUARE;
    x->edges = sn_arena_alloc(x->g->arena, x->parts * sizeof *x->edges);
    if (x->edges == NULL)
        return false;
    bool good = true;
    for (unsigned i = 0; i < x->parts; i++) {
        sn_edges_open(&x->edges[i], x->g->n_nodes, x->n_wanted);
        good &= !x->edges[i].failed;
    }
    if (good) {
        sn_parallel(x->parts, connect_part, x);
        for (unsigned i = 1; i < x->parts && x->by_samples; i++)
            sn_edges_add(&x->edges[0], &x->edges[i]);
        good = hand_over(x);
    }
    for (unsigned i = 0; i < x->parts; i++)
        sn_edges_close(&x->edges[i]);
    return good;
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

static uint64_t *open_marks(const struct building *x)
{
    return sn_arena_alloc(x->g->arena, (x->b->v->p->n_locations / 64 + 1) * 8UL);
}

static void mark(uint64_t *marks, uint32_t location, bool yes)
{
    marks[location / 64] |= (uint64_t)yes << location % 64;
}

/* What each info and each location is, if the graph has but those nodes: the first n of
 * `order`; NULL: of all. */
static bool place(struct building *x, const uint32_t *order, uint32_t n)
{
    const struct sn_builder *b = x->b;
    uint32_t n_locations = b->v->p->n_locations;
    uint64_t *marks = open_marks(x);
    x->at = sn_arena_alloc(x->g->arena, (n_locations + 1) * sizeof *x->at);
    if (x->at == NULL || marks == NULL || !open_places(x))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t node = order != NULL ? order[i] : i;
        x->node_of[x->g->nodes[node].id] = node;
    }
    for (uint32_t i = 0; i < n_locations; i++) {
        uint32_t first = b->location_first[i];
        x->at[i] = b->location_first[i + 1] - first > 1
                       ? MANY
                       : x->node_of[b->location_infos[first]];
        mark(marks, i, x->at[i] != DROPPED);
    }
    x->marks = marks;
    return true;
}

static bool is_wanted(const struct building *x, uint32_t location)
{
    const struct sn_builder *b = x->b;
    bool wanted = false;
    for (uint32_t k = b->location_first[location]; k < b->location_first[location + 1];
         k++)
        wanted |= x->wanted[node_at(x, k)];
    return wanted;
}

/* The nodes whose names match, and whether they are few. */
static bool find_wanted(struct building *x)
{
    uint32_t n = x->b->v->p->n_locations, count = 0;
    struct sn_node *nodes = x->g->nodes;
    bool *wanted = sn_arena_alloc(x->g->arena, x->g->n_nodes + 1UL);
    uint64_t *marks = open_marks(x);
    if (wanted == NULL || marks == NULL)
        return false;
    x->wanted = wanted;
    x->n_wanted = 0;
    for (uint32_t i = 0; i < x->g->n_nodes; i++) {
        wanted[i] = nodes[i].wanted =
            sn_regex_match(x->b->v->kind.edges_of, nodes[i].name);
        x->n_wanted += wanted[i];
    }
    if (x->g->n_nodes < x->b->n_infos)
        return true;
    for (uint32_t i = 0; i < n; i++) {
        bool yes = is_wanted(x, i);
        mark(marks, i, yes);
        count += yes;
    }
    x->few = count < n / 4;
    if (x->few)
        x->marks = marks;
    return true;
}

bool sn_builder_connect(struct sn_builder *b, struct sn_graph *g)
{
    struct building x = {.b = b, .g = g, .n_wanted = g->n_nodes};
    const struct sn_view_kind *kind = &b->v->kind;
    if (!kind->edges && !b->has_inlined)
        return true;
    return place(&x, NULL, g->n_nodes) && (kind->edges_of == NULL || find_wanted(&x)) &&
           connect(&x);
}

static void tag_frame(const struct building *x, struct sn_tagger *t, uint32_t location,
                      bool leaf)
{
    const struct sn_builder *b = x->b;
    uint32_t first = b->location_first[location], end = b->location_first[location + 1];
    for (uint32_t k = first; k < end; k++) {
        uint32_t node = x->node_of[b->location_infos[k]];
        if (node != DROPPED)
            sn_tagger_add(t, node, leaf && k == first);
    }
}

static void tag_sample(const struct building *x, struct sn_tagger *t,
                       const struct sn_sample *s)
{
    const uint32_t *locs = x->b->v->p->sample_locs + s->loc0;
    uint32_t places[BLOCK];
    for (uint32_t begin = 0, n; begin < s->n_locs; begin += n) {
        n = s->n_locs - begin < BLOCK ? s->n_locs - begin : BLOCK;
        for (uint32_t k = find_marked(x, locs + begin, n, places); k-- > 0;) {
            uint32_t i = begin + places[k];
            tag_frame(x, t, locs[i], i == 0);
        }
    }
}

/* Few samples have labels: no processor foresees which. */
static void fetch_frames(const struct sn_profile *p, uint32_t sample)
{
    const struct sn_sample *s = &p->samples[sample];
    for (uint32_t i = 0; s->n_labels > 0 && i < s->n_locs; i += 16)
        __builtin_prefetch(&p->sample_locs[s->loc0 + i]);
}

struct tagging {
    const struct building *x;
    struct sn_tagger **taggers; /* of each part of the samples */
    unsigned parts;
};

static void tag_part(void *tagging, unsigned part)
{
    const struct tagging *t = tagging;
    const struct sn_profile *p = t->x->b->v->p;
    struct sn_tagger *tagger = t->taggers[part];
    uint32_t end = sn_part_begin(p->n_samples, part + 1, t->parts);
    for (uint32_t i = sn_part_begin(p->n_samples, part, t->parts); i < end; i++) {
        if (i + AHEAD < end)
            fetch_frames(p, i + AHEAD);
        if (sn_tagger_wants(tagger, i))
            tag_sample(t->x, tagger, &p->samples[i]);
    }
}

/* The first part's tags are to stay. */
static bool tag_parts(struct tagging *t, struct sn_arena **arenas)
{
    struct sn_builder *b = t->x->b;
    for (unsigned i = 0; i < t->parts; i++) {
        arenas[i] = i > 0 ? sn_arena_new() : b->arena;
        if (arenas[i] == NULL)
            return false;
        t->taggers[i] = sn_tagger_new(b, t->x->g, arenas[i]);
        if (t->taggers[i] == NULL)
            return false;
    }
    sn_parallel(t->parts, tag_part, t);
    for (unsigned i = 1; i < t->parts; i++)
        if (!sn_tagger_add_up(t->taggers[0], t->taggers[i]))
            return false;
    return sn_tagger_hand_over(t->taggers[0]);
}

bool sn_builder_tag(struct sn_builder *b, struct sn_graph *g, uint32_t n)
{
    struct building x = {.b = b, .g = g};
    struct sn_tagger *taggers[SN_CORES_MAX];
    struct sn_arena *arenas[SN_CORES_MAX] = {0};
    struct tagging t = {&x, taggers, sn_parts(b)};
    bool good = place(&x, g->order, n) && tag_parts(&t, arenas);
    for (unsigned i = 1; i < t.parts; i++)
        sn_arena_free(arenas[i]);
    return good;
}
