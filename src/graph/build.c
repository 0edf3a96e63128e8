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
#include "graph_priv.h"

#define DROPPED UINT32_MAX       /* of a location: its one node is not kept */
#define MANY    (UINT32_MAX - 1) /* it has several lines: ask for each */
#define SQUARE  512              /* nodes up to which edges are found by index */
#define AHEAD   16               /* samples whose frames are fetched before their turn */
#define BLOCK   64               /* frames whose edges are looked for together */

enum { /* what an edge is in some sample */
       RESIDUAL = 1,
       CALLED = 2 /* not inlined */
};

/* What an edge comes to. It lies in one line of the cache. */
struct tally {
    uint64_t ends; /* src << 32 | dst */
    int64_t weight, weight_div;
    uint32_t seen;  /* the last sample counted, from 1; 0: there is no such edge */
    uint32_t flags; /* all that it ever was */
};

/* The edges that a part counts. */
struct edges {
    struct tally *v;
    uint32_t size; /* n_nodes * n_nodes, by src and dst; else a power of two, by hash, */
    uint32_t n;    /* and at most 7/8 full */
    uint32_t n_nodes;
    bool by_hash, failed;
};

struct building {
    struct sn_builder *b;
    struct sn_graph *g;
    uint32_t *node_of;  /* of each info; DROPPED */
    uint32_t *at;       /* of each location: its node, DROPPED or MANY */
    const bool *wanted; /* of each node: are its edges asked for? NULL: all are */
    uint32_t n_wanted;
    /* Of each location a bit: is it to be looked at? It is if it has a node that is kept;
     * or, where few are wanted, if it has one that is wanted or not kept. */
    const uint64_t *marks;
    bool few;
    unsigned parts;
    bool by_samples;     /* parts are of those, not of the nodes */
    struct edges *edges; /* of each part */
    uint32_t *first;     /* in g->edges, of each part: what it hands over */
};

/* ---- edges ----------------------------------------------------------------------------
 */

/* For the edges of so many of the nodes. Pages are met by one thread: several that meet
 * new ones at once wait for one another. */
static void open_edges(struct edges *x, uint32_t n_nodes, uint32_t of_nodes)
{
    *x = (struct edges){.n_nodes = n_nodes, .by_hash = n_nodes > SQUARE, .size = 4096};
    while (x->size / 8 < of_nodes && x->size < 1u << 20)
        x->size *= 2;
    if (!x->by_hash)
        x->size = n_nodes * n_nodes + 1;
    x->v = sn_pages_map(x->size * sizeof *x->v);
    sn_pages_scattered(x->v, x->size * sizeof *x->v);
    x->failed = x->v == NULL;
    if (!x->failed && x->size < 1u << 16)
        memset(x->v, 0, x->size * sizeof *x->v);
}

static void close_edges(struct edges *x)
{
    sn_pages_unmap(x->v, x->size * sizeof *x->v);
}

/* Where it should be. */
static uint32_t slot_of(const struct edges *x, uint64_t ends)
{
    if (!x->by_hash)
        return (uint32_t)(ends >> 32) * x->n_nodes + (uint32_t)ends;
    return (uint32_t)(ends * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (x->size - 1);
}

/* Where it is, or where it goes: in that slot or after it. */
static struct tally *probe(const struct edges *x, uint64_t ends, uint32_t slot)
{
    while (x->v[slot].seen != 0 && x->v[slot].ends != ends)
        slot = (slot + 1) & (x->size - 1);
    return &x->v[slot];
}

/* Room for so many more: a table twice as large, if need be. */
static bool reserve(struct edges *x, uint32_t more)
{
    if (!x->by_hash || x->n + more <= x->size / 8 * 7 || x->failed)
        return !x->failed;
    struct edges bigger = *x;
    bigger.size = x->size * 2;
    bigger.v = x->size < 1u << 30 ? sn_pages_map(bigger.size * sizeof *x->v) : NULL;
    sn_pages_scattered(bigger.v, bigger.size * sizeof *x->v);
    x->failed = bigger.v == NULL;
    if (x->failed)
        return false;
    for (uint32_t i = 0; i < x->size; i++)
        if (x->v[i].seen != 0)
            *probe(&bigger, x->v[i].ends, slot_of(&bigger, x->v[i].ends)) = x->v[i];
    close_edges(x);
    *x = bigger;
    return true;
}

/* There is room for it. */
static struct tally *tally_of(struct edges *x, uint64_t ends, uint32_t slot)
{
    struct tally *t = probe(x, ends, slot);
    x->n += t->seen == 0;
    t->ends = ends;
    return t;
}

struct passage { /* over an edge */
    uint64_t ends;
    uint32_t slot, flags;
};

struct walk { /* of one sample, from the root */
    const struct building *x;
    struct edges edges;     /* here, not beside those that another core changes */
    unsigned share, shares; /* of the nodes, whose edges are counted */
    uint32_t parent, stamp; /* the sample's number from 1 */
    uint32_t residual;      /* RESIDUAL: frames after the parent are not kept */
    int64_t weight, divisor;
    struct passage *end, batch[2 * BLOCK];
};

static void count_passage(struct walk *w, const struct passage *p)
{
    struct tally *t = tally_of(&w->edges, p->ends, p->slot);
    if (t->seen == w->stamp)
        return;
    t->seen = w->stamp;
    t->weight += w->weight;
    t->weight_div += w->divisor;
    t->flags |= p->flags;
}

/* Each takes a look into memory that may be in no cache: those of a batch are under way
 * together. */
static void count_batch(struct walk *w)
{
    const struct edges *x = &w->edges;
    struct passage *p, *end = w->end;
    w->end = w->batch;
    if (!reserve(&w->edges, (uint32_t)(end - w->batch)))
        return;
    for (p = w->batch; p < end; p++) {
        p->slot = slot_of(x, p->ends);
        __builtin_prefetch(&x->v[p->slot]);
    }
    for (p = w->batch; p < end; p++)
        count_passage(w, p);
}

/* Whose are the edges from that node? */
static unsigned part_of(uint32_t node, unsigned parts)
{
    return (unsigned)((uint64_t)(node * UINT32_C(0x9e3779b1)) * parts >> 32);
}

/* To the end of a batch, which has room, or not: without a branch, which could not be
 * foretold. The end as it is then. */
static inline struct passage *pass(const struct walk *w, struct passage *end,
                                   uint32_t src, uint32_t dst, uint32_t flags)
{
    const struct building *x = w->x;
    bool counts = (src != dst) & (part_of(src, w->shares) == w->share);
    if (x->wanted != NULL)
        counts &= x->wanted[src] | x->wanted[dst];
    *end = (struct passage){.ends = (uint64_t)src << 32 | dst, .flags = flags};
    return end + counts;
}

static void step(struct walk *w, uint32_t node, uint32_t called)
{
    if (w->parent != SN_NONE)
        w->end = pass(w, w->end, w->parent, node, w->residual | called);
    w->parent = node;
    w->residual = 0;
    if (w->end >= w->batch + BLOCK)
        count_batch(w);
}

static void step_lines(struct walk *w, uint32_t location)
{
    const struct sn_builder *b = w->x->b;
    uint32_t first = b->location_first[location], end = b->location_first[location + 1];
    for (uint32_t k = end; k-- > first;) {
        uint32_t node = w->x->node_of[b->location_infos[k]];
        if (node == DROPPED)
            w->residual = RESIDUAL;
        else
            step(w, node, k == end - 1 ? CALLED : 0);
    }
}

/* Frames some of which have several lines. */
static void walk_lines(struct walk *w, const uint32_t *locs, uint32_t n)
{
    while (n-- > 0) {
        uint32_t node = w->x->at[locs[n]];
        if (node == DROPPED)
            w->residual = RESIDUAL;
        else if (node == MANY)
            step_lines(w, locs[n]);
        else
            step(w, node, CALLED);
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
        w->residual = RESIDUAL;
        return;
    }
    struct passage *end = w->end;
    if (w->parent != SN_NONE)
        end = pass(w, end, w->parent, nodes[0],
                   w->residual | CALLED | (places[0] < n - 1 ? RESIDUAL : 0));
    for (uint32_t i = 1; i < kept; i++)
        end = pass(w, end, nodes[i - 1], nodes[i],
                   CALLED | (places[i - 1] - places[i] > 1 ? RESIDUAL : 0));
    w->end = end;
    w->parent = nodes[kept - 1];
    w->residual = places[kept - 1] > 0 ? RESIDUAL : 0;
    count_batch(w);
}

/* The node of a location without any that is not kept, which calls what comes next. */
static uint32_t last_node(const struct building *x, uint32_t location)
{
    const struct sn_builder *b = x->b;
    uint32_t node = x->at[location];
    return node != MANY ? node
                        : x->node_of[b->location_infos[b->location_first[location]]];
}

/* A block of frames from `begin` on, of which few are wanted: those, and the one before
 * and after each. `last` was walked last. */
static uint32_t walk_near(struct walk *w, const uint32_t *locs, uint32_t begin,
                          uint32_t n, uint32_t last)
{
    const struct building *x = w->x;
    uint32_t places[BLOCK], found = find_marked(x, locs + begin, n, places);
    for (uint32_t k = 0; k < found; k++) {
        uint32_t i = begin + places[k];
        if (last > i + 1)
            w->parent = last_node(x, locs[i + 1]);
        last = i > 0 && !is_marked(x, locs[i - 1]) ? i - 1 : i;
        walk_lines(w, locs + last, i + 1 - last);
    }
    return last;
}

static void walk(struct walk *w, const struct sn_sample *s)
{
    const uint32_t *locs = w->x->b->v->p->sample_locs + s->loc0;
    uint32_t last = s->n_locs;
    w->parent = SN_NONE;
    w->residual = 0;
    for (uint32_t n = s->n_locs, block; n > 0; n -= block) {
        block = n < BLOCK ? n : BLOCK;
        if (w->x->few)
            last = walk_near(w, locs, n - block, block, last);
        else
            walk_block(w, locs + n - block, block);
    }
    count_batch(w);
}

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
        w.stamp = i + 1;
        w.weight = sn_view_weight(v, i, &w.divisor);
        if (w.weight != 0 || w.divisor != 0)
            walk(&w, &v->p->samples[i]);
    }
    x->edges[part] = w.edges;
}

/* The edges of all parts to the first. */
static void add_up(struct building *x)
{
    struct edges *sum = &x->edges[0];
    for (unsigned part = 1; part < x->parts; part++) {
        struct edges *from = &x->edges[part];
        sum->failed |= from->failed;
        for (uint32_t i = 0; i < from->size; i++) {
            const struct tally *t = &from->v[i];
            if (t->seen == 0 || !reserve(sum, 1))
                continue;
            struct tally *to = tally_of(sum, t->ends, slot_of(sum, t->ends));
            to->seen = t->seen;
            to->weight += t->weight;
            to->weight_div += t->weight_div;
            to->flags |= t->flags;
        }
        from->n = 0;
    }
}

static void hand_over_part(void *building, unsigned part)
{
    const struct building *x = building;
    const struct edges *from = &x->edges[part];
    struct sn_edge *e = x->g->edges + x->first[part];
    for (uint32_t i = 0; from->n > 0 && i < from->size; i++) {
        const struct tally *t = &from->v[i];
        if (t->seen != 0)
            *e++ = (struct sn_edge){.src = (uint32_t)(t->ends >> 32),
                                    .dst = (uint32_t)t->ends,
                                    .weight = t->weight,
                                    .weight_div = t->weight_div,
                                    .residual = t->flags & RESIDUAL,
                                    .inlined = !(t->flags & CALLED)};
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
    x->by_samples = x->few || x->g->n_nodes <= SQUARE;
    x->edges = sn_arena_alloc(x->g->arena, x->parts * sizeof *x->edges);
    if (x->edges == NULL)
        return false;
    bool good = true;
    for (unsigned i = 0; i < x->parts; i++) {
        open_edges(&x->edges[i], x->g->n_nodes, x->n_wanted);
        good &= !x->edges[i].failed;
    }
    if (good) {
        sn_parallel(x->parts, connect_part, x);
        if (x->by_samples)
            add_up(x);
        good = hand_over(x);
    }
    for (unsigned i = 0; i < x->parts; i++)
        close_edges(&x->edges[i]);
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

static bool is_near_wanted(const struct building *x, uint32_t location)
{
    const struct sn_builder *b = x->b;
    bool near = false;
    for (uint32_t k = b->location_first[location]; k < b->location_first[location + 1];
         k++) {
        uint32_t node = x->node_of[b->location_infos[k]];
        near |= node == DROPPED || x->wanted[node];
    }
    return near;
}

/* The nodes whose names match, and whether they are few. */
static bool find_wanted(struct building *x)
{
    uint32_t n = x->b->v->p->n_locations, count = 0;
    struct sn_node *nodes = x->g->nodes;
    bool *wanted = sn_arena_alloc(x->g->arena, x->g->n_nodes + 1UL);
    uint64_t *near = open_marks(x);
    if (wanted == NULL || near == NULL)
        return false;
    x->wanted = wanted;
    x->n_wanted = 0;
    for (uint32_t i = 0; i < x->g->n_nodes; i++) {
        wanted[i] = nodes[i].wanted =
            sn_regex_match(x->b->v->kind.edges_of, nodes[i].name);
        x->n_wanted += wanted[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        bool yes = is_near_wanted(x, i);
        mark(near, i, yes);
        count += yes;
    }
    x->few = count < n / 4;
    if (x->few)
        x->marks = near;
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

bool sn_builder_tag(struct sn_builder *b, struct sn_graph *g, uint32_t n)
{
    struct building x = {.b = b, .g = g};
    const struct sn_profile *p = b->v->p;
    struct sn_tagger *t = place(&x, g->order, n) ? sn_tagger_new(b, g) : NULL;
    for (uint32_t i = 0; t != NULL && i < p->n_samples; i++) {
        if (i + AHEAD < p->n_samples)
            fetch_frames(p, i + AHEAD);
        if (sn_tagger_wants(t, i))
            tag_sample(&x, t, &p->samples[i]);
    }
    return t != NULL && !sn_arena_failed(b->arena);
}
