/*
 * tree.c: the call tree: a node for each path from the root.
 *
 * The samples' paths are sorted, so that those that share a beginning lie together, and
 * gone through once with a stack of the path at hand. A node is over when the next path
 * leaves it: then all that it comes to is known, and only if that is enough does it
 * become a node of the graph. What is kept below one that is not goes to its parent, by a
 * residual edge. So a tree of millions of nodes takes the memory of those that are shown.
 * Most nodes are of one path only and not shown: they are never begun, but counted.
 *
 *     paths  a b c        stack a b c | next leaves c, b: c and b are decided
 *            a b d  ...
 */
#include "graph_priv.h"

#define INLINED 0x80000000u /* in a path: the call was inlined */
#define MANY    256         /* paths, which are sorted without comparing two of them */
#define AHEAD   8 /* paths that are fetched into the cache before it is their turn */

struct path {
    uint32_t *v; /* infos, root first */
    uint32_t n, sample;
    uint32_t shared;         /* with the one before it */
    uint32_t begun;          /* of those, from the root on, so many become nodes */
    int64_t weight, divisor; /* the sample's */
};

struct frame {
    uint32_t info, number; /* the number-th node that was begun */
    bool inlined;
    struct sn_values values;
    uint32_t orphans; /* kept nodes that are below it so far */
};

struct orphan { /* of a node of the graph: its way up so far */
    uint32_t next;
    bool residual, inlined;
};

struct planting {
    struct sn_builder *b;
    struct sn_graph *g;
    struct sn_arena *scratch;
    struct path *paths; /* in the order of the samples; then sorted */
    uint32_t n_paths;
    struct place *places, *spare; /* while they are sorted */
    struct frame *stack;
    uint32_t depth;
    int64_t cut;
    struct orphan *orphans; /* by node */
    uint32_t n_orphans, cap_orphans;
    uint32_t begun;           /* nodes so far */
    bool tags;                /* there will be some */
    uint32_t *node_of;        /* then: of the number-th node: it + 1; 0: not kept */
    struct sn_map *functions; /* if they matter: of a parent and a function to a node */
};

/* ---- paths ----------------------------------------------------------------------------
 */

/* A path while it is sorted. */
struct place {
    uint64_t key; /* two infos of it, as they are compared */
    const uint32_t *v;
    uint32_t n, path;
};

static int by_key(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->path > y->path) - (x->path < y->path);
}

/* How many infos of two paths are the same, if so many are known to be. */
static uint32_t count_same(const uint32_t *a, uint32_t n_a, const uint32_t *b,
                           uint32_t n_b, uint32_t known)
{
    uint32_t n = n_a < n_b ? n_a : n_b, i = known;
    while (i < n && ((a[i] ^ b[i]) & ~INLINED) == 0)
        i++;
    return i;
}

static uint32_t common(const struct path *x, const struct path *y)
{
    return count_same(x->v, x->n, y->v, y->n, 0);
}

/* The infos at `depth` and after it, so that what ends there comes first. */
static uint64_t key_of(const struct place *p, uint32_t depth)
{
    uint64_t key = depth < p->n ? (p->v[depth] & ~INLINED) + 1 : 0;
    return key << 32 | (depth + 1 < p->n ? (p->v[depth + 1] & ~INLINED) + 1 : 0);
}

/* By their keys, byte after byte from the last on; equal ones stay in their order. */
static void sort_by_bytes(struct place *p, struct place *spare, uint32_t n)
{
    struct place *const home = p;
    uint32_t counts[8][256] = {0};
    for (uint32_t i = 0; i < n; i++)
        for (unsigned byte = 0; byte < 8; byte++)
            counts[byte][p[i].key >> 8 * byte & 255]++;
    for (unsigned byte = 0; byte < 8; byte++) {
        uint32_t *at = counts[byte], begin = 0;
        if (at[p[0].key >> 8 * byte & 255] == n)
            continue; /* it is the same in all */
        for (unsigned k = 0; k < 256; k++) {
            begin += at[k];
            at[k] = begin - at[k];
        }
        for (uint32_t i = 0; i < n; i++)
            spare[at[p[i].key >> 8 * byte & 255]++] = p[i];
        struct place *sorted = spare;
        spare = p;
        p = sorted;
    }
    if (p != home)
        memcpy(home, p, n * sizeof *p);
}

/* Paths whose first `depth` infos are the same: sorted by the first two in which they are
 * not, then in each run where those are the same. So runs in runs are as many as there
 * are paths, at most. */
static void sort_places(struct place *p, struct place *spare, uint32_t n, uint32_t depth)
{
    uint32_t same = p[0].n;
    for (uint32_t i = 1; i < n && same > depth; i++)
        same = count_same(p[0].v, same, p[i].v, p[i].n, depth);
    for (uint32_t i = 0; i < n; i++)
        p[i].key = key_of(&p[i], same);
    if (n >= MANY)
        sort_by_bytes(p, spare, n);
    else
        qsort(p, n, sizeof *p, by_key);
    for (uint32_t i = 0, run; i < n; i += run) {
        for (run = 1; i + run < n && p[i + run].key == p[i].key;)
            run++;
        if (run > 1 && (uint32_t)p[i].key != 0)
            sort_places(p + i, spare, run, same + 2);
    }
}

static void put_path(const struct sn_builder *b, const struct sn_sample *s, uint32_t *to)
{
    const uint32_t *locs = b->v->p->sample_locs + s->loc0;
    for (uint32_t i = b->has_inlined ? 0 : s->n_locs; i-- > 0;)
        *to++ = b->location_infos[locs[i]];
    for (uint32_t i = b->has_inlined ? s->n_locs : 0; i-- > 0;) {
        uint32_t first = b->location_first[locs[i]], end = b->location_first[locs[i] + 1];
        for (uint32_t k = end; k-- > first;)
            *to++ = b->location_infos[k] | (k != end - 1 ? INLINED : 0);
    }
}

static size_t path_length(const struct sn_builder *b, const struct sn_sample *s)
{
    size_t n = b->has_inlined ? 0 : s->n_locs;
    for (uint32_t i = 0; b->has_inlined && i < s->n_locs; i++) {
        uint32_t loc = b->v->p->sample_locs[s->loc0 + i];
        n += b->location_first[loc + 1] - b->location_first[loc];
    }
    return n;
}

static void sort_half(void *planting, unsigned half)
{
    struct planting *x = planting;
    uint32_t begin = sn_part_begin(x->n_paths, half, 2),
             end = sn_part_begin(x->n_paths, half + 1, 2);
    for (uint32_t i = begin; i < end; i++) {
        const struct path *p = &x->paths[i];
        put_path(x->b, &x->b->v->p->samples[p->sample], p->v);
        x->places[i] = (struct place){.v = p->v, .n = p->n, .path = i};
    }
    if (end > begin)
        sort_places(x->places + begin, x->spare + begin, end - begin, 0);
}

static bool comes_first(const struct place *x, const struct place *y)
{
    uint32_t same = count_same(x->v, x->n, y->v, y->n, 0);
    return key_of(x, same) <= key_of(y, same);
}

static bool merge_halves(struct planting *x)
{
    uint32_t middle = sn_part_begin(x->n_paths, 1, 2), i = 0, k = middle;
    const struct place *p = x->places;
    struct path *v = sn_arena_alloc(x->scratch, (x->n_paths + 1UL + AHEAD) * sizeof *v);
    for (uint32_t n = 0; v != NULL && n < x->n_paths; n++) {
        __builtin_prefetch(&x->paths[p[i + AHEAD].path]);
        __builtin_prefetch(&x->paths[p[k + AHEAD].path]);
        bool left = k == x->n_paths || (i < middle && comes_first(&p[i], &p[k]));
        v[n] = x->paths[p[left ? i++ : k++].path];
    }
    x->paths = v;
    return v != NULL;
}

static void add_path(struct planting *x, uint32_t sample, uint32_t *to, size_t length)
{
    int64_t divisor, weight = sn_view_weight(x->b->v, sample, &divisor);
    if (length > 0 && (weight != 0 || divisor != 0))
        x->paths[x->n_paths++] = (struct path){.v = to,
                                               .n = (uint32_t)length,
                                               .sample = sample,
                                               .weight = weight,
                                               .divisor = divisor};
}

static bool find_paths(struct planting *x)
{
    const struct sn_profile *p = x->b->v->p;
    size_t n = 0, deepest = 0, length;
    for (uint32_t i = 0; i < p->n_samples; i++) {
        n += length = path_length(x->b, &p->samples[i]);
        deepest = length > deepest ? length : deepest;
        x->tags |= p->samples[i].n_labels > 0 && x->b->v->kind.drawn;
    }
    uint32_t *to = sn_arena_alloc(x->scratch, (n + 1) * sizeof *to);
    x->paths = sn_arena_alloc(x->scratch, ((size_t)p->n_samples + 1) * sizeof *x->paths);
    x->places =
        sn_arena_alloc(x->scratch, (p->n_samples + 1UL + AHEAD) * sizeof *x->places);
    x->spare = sn_arena_alloc(x->scratch, (p->n_samples + 1UL) * sizeof *x->spare);
    x->stack = sn_arena_alloc(x->scratch, (deepest + 1) * sizeof *x->stack);
    if (x->tags) /* as many as there can be: what is not used costs nothing */
        x->node_of = sn_arena_alloc(x->scratch, (n + 1) * sizeof *x->node_of);
    if (sn_arena_failed(x->scratch))
        return false;
    for (uint32_t i = 0; i < p->n_samples; i++, to += length)
        add_path(x, i, to, length = path_length(x->b, &p->samples[i]));
    sn_parallel(2, sort_half, x);
    return merge_halves(x);
}

/* Of all nodes that are shown; those whose flat value is 0 add nothing to it. */
static int64_t total_flat(const struct planting *x)
{
    const struct sn_view *v = x->b->v;
    int64_t total = 0;
    for (uint32_t i = 0, n; i < x->n_paths; i += n) {
        int64_t flat = x->paths[i].weight;
        for (n = 1; i + n < x->n_paths && x->paths[i + n].n == x->paths[i].n &&
                    common(&x->paths[i], &x->paths[i + n]) == x->paths[i].n;
             n++)
            flat += x->paths[i + n].weight;
        total += v->o.drop_negative && flat < 0 ? 0 : flat;
    }
    return total;
}

/* ---- nodes ----------------------------------------------------------------------------
 */

static void begin_node(struct planting *x, uint32_t what)
{
    x->stack[x->depth++] = (struct frame){.info = what & ~INLINED,
                                          .number = x->begun++,
                                          .inlined = true,
                                          .orphans = SN_NONE};
}

/* All that a node which is over has below it becomes its parent's, if it has one. */
static void pass_up(struct planting *x, const struct frame *f)
{
    if (x->depth == 0)
        return;
    struct frame *parent = &x->stack[x->depth - 1];
    for (uint32_t next, i = f->orphans; i != SN_NONE; i = next) {
        struct orphan *o = &x->orphans[i];
        next = o->next;
        o->residual = true;
        o->inlined &= f->inlined;
        o->next = parent->orphans;
        parent->orphans = i;
    }
}

static bool adopt(struct planting *x, uint32_t node, uint32_t orphans)
{
    struct sn_graph *g = x->g;
    for (uint32_t i = orphans; i != SN_NONE; i = x->orphans[i].next) {
        struct sn_node *child = &g->nodes[i];
        struct sn_edge *e = SN_PUSH(g->arena, g->edges, g->n_edges, g->cap_edges);
        if (e == NULL)
            return false;
        *e = (struct sn_edge){.src = node,
                              .dst = i,
                              .weight = child->cum,
                              .weight_div = child->cum_div,
                              .residual = x->orphans[i].residual,
                              .inlined = x->orphans[i].inlined,
                              .next_in = SN_NONE,
                              .next_out = g->nodes[node].out};
        child->in = g->nodes[node].out = g->n_edges - 1;
    }
    return true;
}

/* Under another parent it is another function: callgrind must not merge them. */
static bool number_function(struct planting *x, uint32_t info, uint32_t node)
{
    if (x->functions == NULL)
        return true;
    uint64_t parent = x->depth > 0 ? (uint64_t)x->stack[x->depth - 1].number + 1 : 0;
    uint32_t *first = sn_map_put(x->functions, parent << 32 | x->b->functions[info]);
    if (first == NULL)
        return false;
    if (*first == SN_NONE)
        *first = node;
    x->g->nodes[node].function = *first;
    return true;
}

static bool keep(struct planting *x, const struct frame *f)
{
    struct sn_node *n = sn_graph_add(x->g, x->b, f->info, &f->values);
    struct orphan *o = SN_PUSH(x->scratch, x->orphans, x->n_orphans, x->cap_orphans);
    uint32_t node = x->g->n_nodes - 1;
    if (n == NULL || o == NULL || !number_function(x, f->info, node))
        return false;
    *o = (struct orphan){.next = SN_NONE, .inlined = f->inlined};
    if (x->tags)
        x->node_of[f->number] = node + 1;
    if (!adopt(x, node, f->orphans))
        return false;
    if (x->depth > 0) {
        o->next = x->stack[x->depth - 1].orphans;
        x->stack[x->depth - 1].orphans = node;
    }
    return true;
}

static bool end_node(struct planting *x)
{
    struct frame f = x->stack[--x->depth];
    if (x->depth > 0) {
        struct sn_values *up = &x->stack[x->depth - 1].values;
        up->cum += f.values.cum;
        up->cum_div += f.values.cum_div;
    }
    if (!sn_values_shown(x->b->v, &f.values))
        return true; /* what is below it hangs in the air */
    if (sn_abs(f.values.cum) >= x->cut)
        return keep(x, &f);
    x->g->dropped_nodes++;
    pass_up(x, &f);
    return true;
}

static bool go_to(struct planting *x, const struct path *p, uint32_t shared)
{
    while (x->depth > shared)
        if (!end_node(x))
            return false;
    while (x->depth < p->begun)
        begin_node(x, p->v[x->depth]);
    for (uint32_t k = 0; k < p->begun; k++)
        x->stack[k].inlined &= (p->v[k] & INLINED) != 0;
    return true;
}

/* How much of a path becomes nodes: not the end that it shares with none, if that is
 * below the cut. All its nodes come to the path's own weight. */
static uint32_t drop_end(struct planting *x, const struct path *p, uint32_t shared)
{
    const struct sn_values each = {.cum = p->weight, .cum_div = p->divisor};
    if (sn_abs(p->weight) >= x->cut && sn_values_shown(x->b->v, &each))
        return p->n;
    if (sn_values_shown(x->b->v, &each))
        x->g->dropped_nodes += p->n - shared;
    return shared;
}

static bool plant(struct planting *x)
{
    static const struct path none = {0};
    for (uint32_t i = 0, before = 0, after; i < x->n_paths; i++, before = after) {
        struct path *p = &x->paths[i];
        __builtin_prefetch(p[AHEAD].v);
        after = i + 1 < x->n_paths ? common(p, p + 1) : 0;
        p->shared = before;
        p->begun = drop_end(x, p, before > after ? before : after);
        if (!go_to(x, p, before))
            return false;
        if (p->begun == 0)
            continue;
        struct sn_values *last = &x->stack[p->begun - 1].values;
        last->cum += p->weight;
        last->cum_div += p->divisor;
        if (p->begun == p->n) {
            last->flat += p->weight;
            last->flat_div += p->divisor;
        }
    }
    return go_to(x, &none, 0);
}

/* Once more, along the same way, now that it is known what each node is. */
static bool tag(struct planting *x)
{
    struct sn_tagger *t = sn_tagger_new(x->b, x->g, x->b->arena);
    uint32_t *numbers = (uint32_t *)x->stack, begun = 0, depth = 0;
    for (uint32_t i = 0; t != NULL && i < x->n_paths; i++) {
        const struct path *p = &x->paths[i];
        __builtin_prefetch(&x->b->v->p->samples[p[AHEAD].sample]);
        for (depth = p->shared; depth < p->begun; depth++)
            numbers[depth] = begun++;
        for (uint32_t k = sn_tagger_wants(t, p->sample) ? p->begun : 0; k-- > 0;) {
            uint32_t node = x->node_of[numbers[k]];
            if (node > 0)
                sn_tagger_add(t, node - 1, k == p->n - 1);
        }
    }
    return t != NULL && sn_tagger_hand_over(t);
}

/* ---- the whole ------------------------------------------------------------------------
 */

static bool list_all(struct sn_graph *g)
{
    g->order = sn_arena_alloc(g->arena, (g->n_nodes + 1) * sizeof *g->order);
    for (uint32_t i = 0; g->order != NULL && i < g->n_nodes; i++)
        g->order[g->n_order++] = i;
    return g->order != NULL;
}

struct sn_graph *sn_builder_tree(struct sn_builder *b, double fraction, int64_t *total)
{
    struct planting x = {.b = b, .g = sn_graph_empty(), .scratch = sn_arena_new()};
    bool good = x.g != NULL && x.scratch != NULL && find_paths(&x);
    if (good && b->functions != NULL)
        good = (x.functions = sn_map_new(x.scratch)) != NULL;
    if (good) {
        *total = total_flat(&x);
        x.cut = sn_fraction_of(*total, fraction);
        good = plant(&x) && (!x.tags || tag(&x)) && list_all(x.g);
    }
    good = good && !sn_arena_failed(x.g->arena) && !sn_arena_failed(x.scratch);
    sn_arena_free(x.scratch);
    if (good)
        return x.g;
    sn_graph_free(x.g);
    return NULL;
}
