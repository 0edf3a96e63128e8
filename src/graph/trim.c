/*
 * trim.c: what of a graph is worth showing.
 *
 *     all nodes -> those above a fraction of the total -> the best N -> their edges above
 * a fraction, without those that say nothing new
 *
 * After each cut a graph is built anew from the samples, so that edges over nodes that
 * went are known for what they are. A call tree is pruned instead.
 */
#include "graph_priv.h"

#include <math.h>
#include <stdio.h>

#define MAX_NODELETS 4
#define MANY         16384 /* edges: worth a second thread */

/* ---- edges
 * ------------------------------------------------------------------------------------ */

static int compare_edges(const void *a, const void *b, void *graph)
{
    const struct sn_edge *x = *(struct sn_edge *const *)a,
                         *y = *(struct sn_edge *const *)b;
    const struct sn_graph *g = graph;
    int64_t wx = sn_abs(x->weight), wy = sn_abs(y->weight);
    if (x->weight != y->weight && wx != wy)
        return wx > wy ? -1 : 1;
    int order = strcmp(g->nodes[x->src].name, g->nodes[y->src].name);
    if (order == 0)
        order = strcmp(g->nodes[x->dst].name, g->nodes[y->dst].name);
    if (order == 0) /* whatever the order in which they were found */
        order = x->src != y->src ? (x->src > y->src) - (x->src < y->src)
                                 : (x->dst > y->dst) - (x->dst < y->dst);
    return order;
}

static uint32_t sorted(struct sn_graph *g, uint32_t first, bool in,
                       struct sn_edge ***edges)
{
    uint32_t n = 0, i = 0;
    for (uint32_t e = first; e != SN_NONE;
         e = in ? g->edges[e].next_in : g->edges[e].next_out)
        n += !g->edges[e].gone;
    struct sn_edge **v = sn_arena_alloc(g->arena, (n + 1) * sizeof(struct sn_edge *));
    *edges = v;
    if (v == NULL)
        return 0;
    for (uint32_t e = first; e != SN_NONE;
         e = in ? g->edges[e].next_in : g->edges[e].next_out)
        if (!g->edges[e].gone)
            v[i++] = &g->edges[e];
    qsort_r(v, n, sizeof *v, compare_edges, g);
    return n;
}

uint32_t sn_graph_in(struct sn_graph *g, uint32_t node, struct sn_edge ***edges)
{
    return sorted(g, g->nodes[node].in, true, edges);
}

uint32_t sn_graph_out(struct sn_graph *g, uint32_t node, struct sn_edge ***edges)
{
    return sorted(g, g->nodes[node].out, false, edges);
}

static bool is_shown(const struct sn_graph *g, const struct sn_edge *e)
{
    return !e->gone && g->nodes[e->src].kept && g->nodes[e->dst].kept;
}

uint32_t sn_graph_all(struct sn_graph *g, struct sn_edge ***edges)
{
    uint32_t n = 0;
    struct sn_edge **v =
        sn_arena_alloc(g->arena, (g->n_edges + 1) * sizeof(struct sn_edge *));
    for (uint32_t i = 0; v != NULL && i < g->n_edges; i++)
        if (is_shown(g, &g->edges[i]))
            v[n++] = &g->edges[i];
    if (v != NULL)
        qsort_r(v, n, sizeof *v, compare_edges, g);
    *edges = v;
    return n;
}

static uint32_t drop_light_edges(struct sn_graph *g, int64_t cut)
{
    uint32_t dropped = 0;
    for (uint32_t i = 0; i < g->n_edges; i++) {
        struct sn_edge *e = &g->edges[i];
        if (!e->gone && g->nodes[e->dst].kept && sn_abs(e->weight) < cut) {
            e->gone = true;
            dropped++;
        }
    }
    return dropped;
}

/* Is there another way from the edge's source to its end? */
static bool is_redundant(struct sn_graph *g, const struct sn_edge *edge, uint32_t *queue,
                         uint32_t mark)
{
    uint32_t head = 0, tail = 0;
    queue[tail++] = edge->dst;
    g->nodes[edge->dst].seen = mark;
    while (head < tail) {
        for (uint32_t i = g->nodes[queue[head++]].in; i != SN_NONE;
             i = g->edges[i].next_in) {
            const struct sn_edge *e = &g->edges[i];
            if (e->gone || e == edge || g->nodes[e->src].seen == mark)
                continue;
            if (e->src == edge->src)
                return true;
            g->nodes[e->src].seen = mark;
            queue[tail++] = e->src;
        }
    }
    return false;
}

static void drop_redundant_edges(struct sn_graph *g)
{
    uint32_t *queue = sn_arena_alloc(g->arena, (g->n_nodes + 1) * sizeof *queue);
    uint32_t mark = 0;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        g->nodes[i].seen = 0;
    for (uint32_t i = g->n_order; queue != NULL && i-- > 0;) {
        struct sn_edge **in;
        uint32_t n = sn_graph_in(g, g->order[i], &in);
        /* What is heavier than a real call stays. */
        while (n > 0 && in[n - 1]->residual) {
            n--;
            if (is_redundant(g, in[n], queue, ++mark))
                in[n]->gone = true;
        }
    }
}

/* ---- tags
 * ------------------------------------------------------------------------------------------
 */

static void drop_light_tags(struct sn_graph *g, int64_t cut)
{
    for (uint32_t i = 0; i < g->n_tags; i++)
        if (sn_abs(g->tags[i].flat) < cut && sn_abs(g->tags[i].cum) < cut)
            g->tags[i].gone = true;
}

static uint32_t count_tags(const struct sn_graph *g, const struct sn_node *n)
{
    uint32_t count = 0;
    for (uint32_t t = n->tags; t != SN_NONE; t = g->tags[t].next)
        count += !g->tags[t].gone && g->tags[t].flat != 0;
    return count < MAX_NODELETS ? count : MAX_NODELETS;
}

/* ---- order
 * -----------------------------------------------------------------------------------------
 */

struct ranked {
    uint32_t node;
    int64_t score;
};

static int descending(int64_t a, int64_t b)
{
    a = sn_abs(a);
    b = sn_abs(b);
    return (a < b) - (a > b);
}

/* The order of last resort: all that a node is, printed. */
static int compare_infos(const struct sn_profile *p, const struct sn_node_info *a,
                         const struct sn_node_info *b)
{
    char text[2][4096];
    const struct sn_node_info *both[] = {a, b};
    for (int i = 0; i < 2; i++)
        snprintf(text[i], sizeof text[i], "{%s  %llu %s %lld %lld %lld %s}",
                 sn_profile_str(p, both[i]->name), (unsigned long long)both[i]->address,
                 sn_profile_str(p, both[i]->file), (long long)both[i]->start_line,
                 (long long)both[i]->line, (long long)both[i]->column,
                 sn_profile_str(p, both[i]->object));
    return strcmp(text[0], text[1]);
}

static int compare_names(const struct sn_node *x, const struct sn_node *y)
{
    const struct sn_node_info *a = &x->info, *b = &y->info;
    if (a->address != 0 && b->address != 0 && a->address != b->address)
        return a->address < b->address ? -1 : 1;
    return strcmp(x->name, y->name);
}

struct sorting {
    const struct sn_graph *g;
    const struct sn_profile *p;
    bool by_flat;
};

static int compare_nodes(const void *a, const void *b, void *arg)
{
    const struct ranked *x = a, *y = b;
    const struct sorting *s = arg;
    const struct sn_node *m = &s->g->nodes[x->node], *n = &s->g->nodes[y->node];
    int order = descending(x->score, y->score);
    if (order == 0)
        order = compare_names(m, n);
    if (order == 0)
        order = s->by_flat ? descending(m->cum, n->cum) : descending(m->flat, n->flat);
    return order != 0 ? order : compare_infos(s->p, &m->info, &n->info);
}

/* The edges of one side of a node. */
struct side {
    int64_t total;
    double score; /* -f log2 f of each edge's share f of the total */
    bool has_edges;
};

/* Of a part of a total; of an edge that cancels out: no number. */
static double entropy(int64_t part, int64_t total)
{
    double share = (double)part / (double)total;
    return -(share * log2(share));
}

/* As many of both as there are nodes, zeroed but for what stays in a node, which is of
 * `out`. */
struct scoring {
    const struct sn_graph *g;
    struct side *in, *out;
};

/* One side of all nodes, in passes over the edges as they lie: 0: in, 1: out. */
static void score_side(void *scoring, unsigned which)
{
    const struct scoring *s = scoring;
    const struct sn_edge *edges = s->g->edges, *e, *end = edges + s->g->n_edges;
    struct side *sides = which == 0 ? s->in : s->out;
    for (e = edges; e < end; e++) {
        struct side *x = &sides[which == 0 ? e->dst : e->src];
        x->has_edges |= !e->gone;
        x->total += !e->gone && e->weight > 0 ? e->weight : 0;
    }
    for (e = edges; e < end; e++) {
        struct side *x = &sides[which == 0 ? e->dst : e->src];
        if (!e->gone && x->total != 0)
            x->score += entropy(sn_abs(e->weight), x->total);
    }
}

static void score_sides(struct scoring *s)
{
    if (s->g->n_edges >= MANY) {
        sn_parallel(2, score_side, s);
        return;
    }
    score_side(s, 0);
    score_side(s, 1);
}

/* How interesting a node is to look at: little, if what comes in just goes out. */
static int64_t entropy_score(const struct sn_node *n, const struct side *in,
                             const struct side *out)
{
    double into = in->has_edges ? in->score : 1, from = out->has_edges ? out->score : 1;
    if (out->has_edges && out->total != 0 && n->flat > 0)
        from += entropy(n->flat, out->total);
    double score = (into + from) * (double)n->cum;
    /* pprof's order is kept where the score is no number: its processors make it that. */
    int64_t whole = isnan(score) ? INT64_MIN : (int64_t)score;
    return (int64_t)((uint64_t)whole + (uint64_t)n->flat);
}

static bool rank_by_entropy(struct sn_graph *g, struct ranked *r)
{
    struct side *in = sn_arena_alloc(g->arena, (g->n_nodes + 1) * sizeof *in);
    struct side *out = sn_arena_alloc(g->arena, (g->n_nodes + 1) * sizeof *out);
    if (in == NULL || out == NULL)
        return false;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        out[i].total = g->nodes[i].flat;
    score_sides(&(struct scoring){g, in, out});
    for (uint32_t i = 0; i < g->n_order; i++) {
        uint32_t n = g->order[i];
        r[i] = (struct ranked){n, entropy_score(&g->nodes[n], &in[n], &out[n])};
    }
    return true;
}

static void rank_by_value(const struct sn_graph *g, bool cum, struct ranked *r)
{
    for (uint32_t i = 0; i < g->n_order; i++) {
        const struct sn_node *n = &g->nodes[g->order[i]];
        r[i] = (struct ranked){g->order[i], cum ? n->cum : n->flat};
    }
}

/* Those that are asked for come first. How many they are. */
static uint32_t wanted_first(struct sn_graph *g)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n_order; i++) {
        uint32_t node = g->order[i];
        if (!g->nodes[node].wanted)
            continue;
        g->order[i] = g->order[n];
        g->order[n++] = node;
    }
    return n;
}

/* Where only some nodes are asked for, the others need no order. */
static bool sort_nodes(struct sn_graph *g, const struct sn_view *v)
{
    struct sorting s = {g, v->p, !v->kind.drawn && !v->o.cum};
    uint32_t n = v->kind.edges_of != NULL ? wanted_first(g) : g->n_order;
    struct ranked *r = sn_arena_alloc(g->arena, (g->n_order + 1) * sizeof *r);
    if (r == NULL)
        return false;
    if (!v->kind.drawn)
        rank_by_value(g, v->o.cum, r);
    else if (!rank_by_entropy(g, r))
        return false;
    qsort_r(r, n, sizeof *r, compare_nodes, &s);
    for (uint32_t i = 0; i < n; i++)
        g->order[i] = r[i].node;
    return true;
}

/* ---- cutting trees
 * ------------------------------------------------------------------------------------ */

/* The children of a node that goes are its parent's now. */
static void bypass(struct sn_graph *g, uint32_t node)
{
    struct sn_node *n = &g->nodes[node];
    uint32_t up = n->in;
    while (up != SN_NONE && g->edges[up].gone)
        up = g->edges[up].next_in;
    if (up != SN_NONE)
        g->edges[up].gone = true;
    for (uint32_t next, i = n->out; i != SN_NONE; i = next) {
        struct sn_edge *e = &g->edges[i];
        next = e->next_out;
        if (e->gone)
            continue;
        if (up == SN_NONE) {
            e->gone = true;
            continue;
        }
        e->src = g->edges[up].src;
        e->residual = true;
        e->inlined &= g->edges[up].inlined;
        e->next_out = g->nodes[e->src].out;
        g->nodes[e->src].out = i;
    }
    n->out = SN_NONE;
}

/* Take out the nodes that are no longer kept: the order has them all. */
static void cut_tree(struct sn_graph *g)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n_order; i++) {
        if (g->nodes[g->order[i]].kept)
            g->order[n++] = g->order[i];
        else
            bypass(g, g->order[i]);
    }
    g->n_order = n;
    drop_redundant_edges(g);
}

/* ---- the steps
 * --------------------------------------------------------------------------------------------
 */

struct trimming {
    struct sn_builder b;
    struct sn_view *v;
    struct sn_graph *g;
    bool tree, connected; /* edges are there */
    uint32_t tagged;      /* so many nodes, in the first order, have their tags */
    bool *kept;           /* of each info, as the last cut left them; NULL: all are */
    int64_t total;        /* the flat values of all that is shown */
    int64_t node_cut, edge_cut;
};

int64_t sn_fraction_of(int64_t total, double fraction)
{
    return sn_abs((int64_t)((double)total * fraction));
}

/* Edges are needed to order the nodes of a picture, and for what is shown at last; with
 * those of some nodes only, it is known which are asked for. */
static bool connect(struct trimming *t)
{
    if (!t->connected && !sn_builder_connect(&t->b, t->g))
        return false;
    return t->connected = true;
}

/* The tags of those that may be shown. */
static bool tag(struct trimming *t)
{
    const struct sn_view *v = t->v;
    uint32_t n = t->g->n_order, max = (uint32_t)v->o.node_count;
    if (v->o.node_count > 0 && max < n)
        n = max;
    if (v->kind.drawn && t->tagged < n && !sn_builder_tag(&t->b, t->g, n))
        return false;
    t->tagged = n;
    return true;
}

/* A node's tags, which do not depend on what else there is. Both graphs have their nodes
 * in the order of their ids. */
static void take_tags(struct sn_graph *g, const struct sn_graph *from)
{
    uint32_t k = 0;
    g->tags = from->tags;
    g->n_tags = from->n_tags;
    for (uint32_t i = 0; i < from->n_nodes && k < g->n_nodes; i++)
        if (from->nodes[i].id == g->nodes[k].id)
            g->nodes[k++].tags = from->nodes[i].tags;
}

/* A graph of what is kept, for the one that there is. */
static bool rebuild(struct trimming *t)
{
    if (t->tree) {
        cut_tree(t->g);
        return true;
    }
    struct sn_graph *old = t->g;
    t->connected = false;
    t->g = sn_builder_nodes(&t->b, t->kept);
    if (old != NULL && t->g != NULL)
        take_tags(t->g, old);
    sn_graph_free(old);
    return t->g != NULL;
}

/* All nodes; or, if some are below the cut, the others. */
static bool first_graph(struct trimming *t)
{
    struct sn_builder *b = &t->b;
    uint32_t dropped = 0;
    bool *kept = sn_arena_alloc(b->arena, (b->n_infos + 1) * sizeof *kept);
    if (kept == NULL || !sn_builder_count(b))
        return false;
    for (uint32_t i = 0; i < b->n_infos; i++)
        t->total += sn_values_shown(t->v, &b->values[i]) ? b->values[i].flat : 0;
    t->node_cut = sn_fraction_of(t->total, t->v->o.node_fraction);
    for (uint32_t i = 0; i < b->n_infos; i++) {
        bool shown = sn_values_shown(t->v, &b->values[i]);
        kept[i] = shown && sn_abs(b->values[i].cum) >= t->node_cut;
        dropped += shown && !kept[i];
    }
    t->kept = dropped > 0 ? kept : NULL;
    if (!rebuild(t))
        return false;
    t->g->dropped_nodes = dropped;
    return true;
}

static bool first_tree(struct trimming *t)
{
    t->g = sn_builder_tree(&t->b, t->v->o.node_fraction, &t->total);
    t->node_cut = sn_fraction_of(t->total, t->v->o.node_fraction);
    t->connected = true;
    t->tagged = SN_NONE;
    if (t->g != NULL && t->g->dropped_nodes > 0)
        drop_redundant_edges(t->g);
    return t->g != NULL;
}

/* In a picture the tags of a node take room too. */
static uint32_t how_many(const struct trimming *t)
{
    const struct sn_graph *g = t->g;
    uint32_t max = (uint32_t)t->v->o.node_count, count = 0;
    for (uint32_t i = 0; t->v->kind.drawn && i < g->n_order; i++) {
        count += 1 + count_tags(g, &g->nodes[g->order[i]]);
        if (count >= max)
            return i + 1;
    }
    return max < g->n_order ? max : g->n_order;
}

static bool cut_to_count(struct trimming *t)
{
    struct sn_graph *g = t->g;
    drop_light_tags(g, t->node_cut);
    drop_light_edges(g, t->edge_cut);
    uint32_t n = how_many(t);
    if (n == g->n_order)
        return true;
    t->kept = sn_arena_alloc(t->b.arena, (t->b.n_infos + 1) * sizeof *t->kept);
    if (t->kept == NULL)
        return false;
    for (uint32_t i = 0; i < g->n_order; i++) {
        g->nodes[g->order[i]].kept = i < n;
        t->kept[g->nodes[g->order[i]].id] = i < n;
    }
    return rebuild(t) && (!t->v->kind.drawn || connect(t)) && sort_nodes(t->g, t->v);
}

static bool trim(struct trimming *t)
{
    struct sn_view *v = t->v;
    if (t->tree ? !first_tree(t) : !first_graph(t))
        return false;
    uint32_t dropped = t->g->dropped_nodes, before = t->g->n_order;
    t->edge_cut = sn_fraction_of(t->total, v->o.edge_fraction);
    if ((v->kind.drawn || v->kind.edges_of != NULL) && !connect(t))
        return false;
    if (!sort_nodes(t->g, v) || !tag(t) || (v->o.node_count > 0 && !cut_to_count(t)) ||
        !connect(t) || !tag(t))
        return false;
    drop_light_tags(t->g, t->node_cut);
    t->g->dropped_edges = drop_light_edges(t->g, t->edge_cut);
    if (v->kind.drawn)
        drop_redundant_edges(t->g);
    t->g->n_before = before;
    t->g->dropped_nodes = dropped;
    return true;
}

/* "minimum": the unit in which the smallest value shown can be told. */
static void choose_unit(struct sn_view *v, const struct sn_graph *g)
{
    int64_t least = 0, most = v->total;
    const char *low, *high;
    if (strcmp(v->o.unit, "minimum") != 0 || g->n_order == 0)
        return;
    for (uint32_t i = 0; i < g->n_order; i++) {
        const struct sn_node *n = &g->nodes[g->order[i]];
        int64_t x = sn_abs(sn_mean(n->flat, n->flat_div));
        if (x == 0)
            x = sn_abs(sn_mean(n->cum, n->cum_div));
        if (x > 0 && (least == 0 || x < least))
            least = x;
    }
    if (least == 0)
        least = most;
    if (v->ratio > 0 && v->ratio != 1) {
        least = (int64_t)((double)least * v->ratio);
        most = (int64_t)((double)most * v->ratio);
    }
    sn_unit_scale(least, v->unit, "minimum", &low);
    sn_unit_scale(most, v->unit, "minimum", &high);
    if (strcmp(low, high) != 0 && least * 100 < most && !v->kind.integers)
        sn_unit_scale(100 * least, v->unit, "minimum", &low);
    v->out_unit = *low != '\0' ? low : v->unit;
}

struct sn_graph *sn_graph_new(struct sn_view *v, struct sn_error *e)
{
    struct trimming t = {.v = v,
                         .tree = v->o.call_tree &&
                                 (v->kind.drawn || (v->kind.objects && v->kind.edges))};
    if (sn_builder_open(&t.b, v) && trim(&t) && !sn_arena_failed(t.g->arena)) {
        choose_unit(v, t.g);
        t.g->location_ids = t.b.location_infos;
        t.g->location_first = t.b.location_first;
        t.g->n_ids = t.b.n_infos;
        return t.g;
    }
    sn_graph_free(t.g);
    sn_fail(e, NULL, -1, "out of memory");
    return NULL;
}
