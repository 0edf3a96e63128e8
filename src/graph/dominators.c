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

struct flow {
    const struct sn_heap *h;
    uint32_t *parent, *semi, *label;
    uint32_t *bucket; /* of a vertex: the first whose semidominator it is */
    uint32_t *idom;   /* the result; and of one in a bucket, the next in it */
    uint32_t *path;
    uint32_t linked; /* the vertices from it on are in the forest */
};

/* On the way from v up to where the forest ends, the one of the least semidominator. */
static uint32_t eval(struct flow *f, uint32_t v)
{
    uint32_t n = 0;
    if (v < f->linked)
        return v;
    while (f->parent[v] >= f->linked) {
        f->path[n++] = v;
        v = f->parent[v];
    }
    while (n > 0) {
        uint32_t x = f->path[--n];
        if (f->semi[f->label[v]] < f->semi[f->label[x]])
            f->label[x] = f->label[v];
        f->parent[x] = f->parent[v];
        v = x;
    }
    return f->label[v];
}

static void find_semi(struct flow *f, uint32_t w)
{
    const struct sn_heap *h = f->h;
    uint32_t block = h->order[w], best = f->parent[w];
    if (sn_heap_is_entry(h, block))
        best = 0;
    for (uint32_t i = h->first_in[block]; best > 0 && i < h->first_in[block + 1]; i++) {
        if (sn_heap_is_stray(h, h->in[i], block))
            continue;
        uint32_t u = eval(f, h->number[h->in[i]]);
        if (f->semi[u] < best)
            best = f->semi[u];
    }
    f->semi[w] = best;
}

/* Those whose semidominator w's parent is: now it is known whether it dominates them. */
static void empty_bucket(struct flow *f, uint32_t parent)
{
    for (uint32_t next, v = f->bucket[parent]; v != 0; v = next) {
        next = f->idom[v];
        uint32_t u = eval(f, v);
        f->idom[v] = f->semi[u] < f->semi[v] ? u : parent;
    }
    f->bucket[parent] = 0;
}

static void run(struct flow *f, uint32_t n)
{
    for (uint32_t v = 0; v <= n; v++)
        f->semi[v] = f->label[v] = v;
    f->linked = n + 1;
    for (uint32_t w = n; w > 0; w--) {
        uint32_t parent = f->parent[w];
        find_semi(f, w);
        f->idom[w] = f->bucket[f->semi[w]];
        f->bucket[f->semi[w]] = w;
        f->linked = w;
        empty_bucket(f, parent);
    }
    for (uint32_t w = 1; w <= n; w++)
        if (f->idom[w] != f->semi[w])
            f->idom[w] = f->idom[f->idom[w]];
}

bool sn_heap_dominators(struct sn_heap *h, uint32_t *parent, struct sn_arena *scratch)
{
    size_t size = ((size_t)h->n + 1) * sizeof(uint32_t);
    struct flow f = {.h = h, .parent = parent};
    f.semi = sn_arena_alloc(scratch, size);
    f.label = sn_arena_alloc(scratch, size);
    f.bucket = sn_arena_alloc(scratch, size);
    f.path = sn_arena_alloc(scratch, size);
    h->idom = f.idom = sn_arena_alloc(h->arena, size);
    if (sn_arena_failed(scratch) || sn_arena_failed(h->arena))
        return false;
    run(&f, h->n);
    return true;
}
