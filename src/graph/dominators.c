/*
 * dominators.c: immediate dominators, by T. Lengauer and R. E. Tarjan, "A fast algorithm
 * for finding dominators in a flowgraph", TOPLAS 1 (1979), in its simple form with path
 * compression: O(m log n). Nothing recurses: a heap may be one list of ten million
 * blocks.
 *
 * All vertices are their depth-first numbers here. `parent` is the spanning tree, and,
 * above `linked`, the forest that is being built from it: its paths are compressed.
 */
#include "heap_priv.h"

#define AHEAD 32 /* predecessors that are fetched before they are needed */

struct vertex { /* what is looked at together lies together: a heap is full of misses */
    uint32_t parent, semi, label;
    uint32_t bucket; /* the first whose semidominator it is */
};

struct flow {
    const struct sn_heap *h;
    struct vertex *v;
    uint32_t *idom; /* the result; and of one in a bucket, the next in it */
    uint32_t *path;
    uint32_t *first_pred, *preds; /* of w: [first_pred[w], first_pred[w + 1]) */
    uint32_t linked;              /* the vertices from it on are in the forest */
};

/* On the way from x up to where the forest ends, the one of the least semidominator. */
static uint32_t eval(struct flow *f, uint32_t x)
{
    struct vertex *v = f->v;
    uint32_t n = 0;
    if (x < f->linked)
        return x;
    while (v[x].parent >= f->linked) {
        f->path[n++] = x;
        x = v[x].parent;
    }
    while (n > 0) {
        uint32_t below = f->path[--n];
        if (v[v[x].label].semi < v[v[below].label].semi)
            v[below].label = v[x].label;
        v[below].parent = v[x].parent;
        x = below;
    }
    return v[x].label;
}

/* The predecessors that count, as numbers and in the order of the numbers: this pass and
 * the next then wait for memory many at a time rather than one by one. */
static void list_preds(struct flow *f)
{
    const struct sn_heap *h = f->h;
    uint32_t n = 0;
    for (uint32_t w = 1; w <= h->n; w++) {
        uint32_t block = h->order[w];
        uint32_t last = w <= h->n_live ? h->n_live : h->n; /* strays keep nothing */
        f->first_pred[w] = n;
        for (uint32_t i = h->first_in[block]; i < h->first_in[block + 1]; i++) {
            uint32_t from = h->number[h->in[i]];
            if (from <= last)
                f->preds[n++] = from;
        }
    }
    f->first_pred[h->n + 1] = n;
}

static void find_semi(struct flow *f, uint32_t w)
{
    uint32_t best = f->v[w].parent;
    if (sn_heap_is_entry(f->h, f->h->order[w]))
        best = 0;
    for (uint32_t i = f->first_pred[w + 1]; i-- > f->first_pred[w];) {
        if (i >= AHEAD)
            __builtin_prefetch(&f->v[f->preds[i - AHEAD]]);
        if (best == 0)
            continue;
        uint32_t semi = f->v[eval(f, f->preds[i])].semi;
        best = semi < best ? semi : best;
    }
    f->v[w].semi = best;
}

/* Those whose semidominator w's parent is: now it is known whether it dominates them. */
static void empty_bucket(struct flow *f, uint32_t parent)
{
    for (uint32_t next, x = f->v[parent].bucket; x != 0; x = next) {
        next = f->idom[x];
        uint32_t u = eval(f, x);
        f->idom[x] = f->v[u].semi < f->v[x].semi ? u : parent;
    }
    f->v[parent].bucket = 0;
}

static void run(struct flow *f, uint32_t n)
{
    f->linked = n + 1;
    for (uint32_t w = n; w > 0; w--) {
        uint32_t parent = f->v[w].parent;
        find_semi(f, w);
        struct vertex *semi = &f->v[f->v[w].semi];
        f->idom[w] = semi->bucket;
        semi->bucket = w;
        f->linked = w;
        empty_bucket(f, parent);
    }
    for (uint32_t w = 1; w <= n; w++)
        if (f->idom[w] != f->v[w].semi)
            f->idom[w] = f->idom[f->idom[w]];
}

bool sn_heap_dominators(struct sn_heap *h, const uint32_t *parent,
                        struct sn_arena *scratch)
{
    size_t n = (size_t)h->n + 1;
    struct flow f = {.h = h};
    f.v = sn_arena_alloc(scratch, n * sizeof *f.v);
    f.path = sn_arena_alloc(scratch, n * sizeof *f.path);
    f.first_pred = sn_arena_alloc(scratch, (n + 1) * sizeof *f.first_pred);
    f.preds = sn_arena_alloc(scratch, (size_t)h->d->n_edges * sizeof *f.preds);
    h->idom = f.idom = sn_arena_alloc(h->arena, n * sizeof *f.idom);
    if (sn_arena_failed(scratch) || sn_arena_failed(h->arena))
        return false;
    for (uint32_t x = 0; x <= h->n; x++)
        f.v[x] = (struct vertex){.parent = parent[x], .semi = x, .label = x};
    list_preds(&f);
    run(&f, h->n);
    return true;
}
