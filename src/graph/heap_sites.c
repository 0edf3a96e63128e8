/*
 * heap_sites.c: what sites retain, and how they refer to each other.
 *
 * Two steps. First, from the dominator tree, what single blocks of a site dominate: the
 * sum over its blocks that have no other of the site above them. That is all if no two
 * blocks hold something together, and a lower bound else. Then, for 64 sites at once, the
 * truth: which blocks can be reached without passing through a block of the site. A bit a
 * site flows from the entries along the edges and stops at the site's blocks; where it
 * does not come, the site is needed.
 */
#include "heap_priv.h"

#define BATCH 64 /* sites, as many as a word has bits */
#define WORK                                                                             \
    40000000 /* blocks and edges that are looked at, about, before it is enough */

/* ---- what single blocks dominate -----------------------------------------------------
 */

static void add_block(struct sn_heap *h, uint32_t v, const uint32_t *above)
{
    uint32_t block = h->order[v], site = h->site_of[block];
    struct sn_heap_site *s = &h->sites[site];
    struct sn_heap_sum *sum = v <= h->n_live ? &s->live : &s->leaked;
    sum->flat += h->d->blocks[block].size;
    sum->blocks++;
    if (above[site] == 0)
        sum->retained += h->retained[v];
}

/* Down and up the dominator tree; above[site] counts the blocks on the way from its root.
 */
static void walk_tree(struct sn_heap *h, const uint32_t *child, const uint32_t *sibling,
                      uint32_t *above)
{
    uint32_t v = child[0];
    while (v != 0) {
        add_block(h, v, above);
        if (child[v] != 0) {
            above[h->site_of[h->order[v]]]++;
            v = child[v];
            continue;
        }
        while (v != 0 && sibling[v] == 0) {
            v = h->idom[v];
            if (v != 0)
                above[h->site_of[h->order[v]]]--;
        }
        v = v != 0 ? sibling[v] : 0;
    }
}

static bool sum_dominated(struct sn_heap *h, struct sn_arena *scratch)
{
    size_t size = ((size_t)h->n + 1) * sizeof(uint32_t);
    uint32_t *child = sn_arena_alloc(scratch, size);
    uint32_t *sibling = sn_arena_alloc(scratch, size);
    uint32_t *above = sn_arena_alloc(scratch, (size_t)h->n_sites * sizeof *above);
    if (sn_arena_failed(scratch))
        return false;
    for (uint32_t v = h->n; v > 0; v--) {
        sibling[v] = child[h->idom[v]];
        child[h->idom[v]] = v;
    }
    walk_tree(h, child, sibling, above);
    return true;
}

/* ---- the truth, for some -------------------------------------------------------------
 */

struct flood {
    struct sn_heap *h;
    uint64_t *free;        /* of a block: the sites without which it can be reached */
    unsigned char *bit_of; /* of a site: its bit + 1; 0: not of this batch */
    uint32_t *queue;       /* a ring of blocks whose bits have grown ... */
    unsigned char *queued; /* ... each once */
    uint32_t head, length;
};

static uint64_t own_bit(const struct flood *f, uint32_t block)
{
    unsigned char bit = f->bit_of[f->h->site_of[block]];
    return bit != 0 ? UINT64_C(1) << (bit - 1) : 0;
}

static void pour(struct flood *f, uint32_t block, uint64_t bits)
{
    bits &= ~f->free[block];
    if (bits == 0 || (bits &= ~own_bit(f, block)) == 0)
        return;
    f->free[block] |= bits;
    if (f->queued[block])
        return;
    uint64_t end = (uint64_t)f->head + f->length++;
    f->queue[end < f->h->n ? end : end - f->h->n] = block;
    f->queued[block] = 1;
}

static void flood(struct flood *f)
{
    const struct sn_heap *h = f->h;
    bool leaks = h->n_live < h->n;
    for (uint32_t b = 0; b < h->n; b++)
        if (sn_heap_is_entry(h, b))
            pour(f, b, UINT64_MAX);
    while (f->length > 0) {
        uint32_t b = f->queue[f->head];
        f->head = f->head + 1 < h->n ? f->head + 1 : 0;
        f->length--;
        f->queued[b] = 0;
        for (uint32_t i = h->first_out[b]; i < h->first_out[b + 1]; i++) {
            uint32_t to = h->d->edges[i].to;
            if (!leaks || !sn_heap_is_stray(h, b, to))
                pour(f, to, f->free[b]);
        }
    }
}

static void sum_needed(struct flood *f, const uint32_t *batch, uint32_t n)
{
    struct sn_heap *h = f->h;
    uint64_t all = n < 64 ? (UINT64_C(1) << n) - 1 : UINT64_MAX;
    for (uint32_t i = 0; i < n; i++) {
        struct sn_heap_site *s = &h->sites[batch[i]];
        s->live.retained = s->leaked.retained = 0;
        s->exact = true;
    }
    for (uint32_t b = 0; b < h->n; b++) {
        bool leaked = sn_heap_is_leaked(h, b);
        for (uint64_t bits = all & ~f->free[b]; bits != 0; bits &= bits - 1) {
            struct sn_heap_site *s = &h->sites[batch[__builtin_ctzll(bits)]];
            *(leaked ? &s->leaked.retained : &s->live.retained) += h->d->blocks[b].size;
        }
    }
}

static void do_batch(struct flood *f, const uint32_t *batch, uint32_t n)
{
    memset(f->free, 0, (size_t)f->h->n * sizeof *f->free);
    memset(f->bit_of, 0, f->h->n_sites);
    for (uint32_t i = 0; i < n; i++)
        f->bit_of[batch[i]] = (unsigned char)(i + 1);
    flood(f);
    sum_needed(f, batch, n);
}

static uint64_t weight(const struct sn_heap_site *s)
{
    return s->live.retained + s->leaked.retained;
}

static int by_weight(const void *a, const void *b, void *heap)
{
    const struct sn_heap *h = heap;
    uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    uint64_t x = weight(&h->sites[i]), y = weight(&h->sites[k]);
    return x != y ? (x > y ? -1 : 1) : (i > k) - (i < k);
}

static bool sum_exactly(struct sn_heap *h, struct sn_arena *scratch)
{
    struct flood f = {.h = h};
    uint64_t done = 0, each = (uint64_t)h->n + h->d->n_edges;
    uint32_t *order = sn_arena_alloc(scratch, (size_t)h->n_sites * sizeof *order);
    f.free = sn_arena_alloc(scratch, (size_t)h->n * sizeof *f.free);
    f.bit_of = sn_arena_alloc(scratch, h->n_sites);
    f.queue = sn_arena_alloc(scratch, (size_t)h->n * sizeof *f.queue);
    f.queued = sn_arena_alloc(scratch, h->n);
    if (sn_arena_failed(scratch))
        return false;
    for (uint32_t i = 0; i < h->n_sites; i++)
        order[i] = i;
    qsort_r(order, h->n_sites, sizeof *order, by_weight, h);
    for (uint32_t i = 0; i < h->n_sites && (i == 0 || done + each <= WORK); i += BATCH) {
        do_batch(&f, order + i, h->n_sites - i < BATCH ? h->n_sites - i : BATCH);
        done += each;
    }
    return true;
}

bool sn_heap_group(struct sn_heap *h, const uint32_t *site_of, uint32_t n_sites,
                   struct sn_error *e)
{
    struct sn_arena *scratch = sn_arena_new();
    h->site_of = site_of;
    h->n_sites = n_sites;
    h->sites = sn_arena_alloc(h->arena, (size_t)n_sites * sizeof *h->sites);
    bool good = scratch != NULL && h->sites != NULL && sum_dominated(h, scratch);
    sn_arena_free(scratch);
    scratch = good ? sn_arena_new() : NULL;
    good = scratch != NULL && sum_exactly(h, scratch);
    sn_arena_free(scratch);
    return good || sn_fail(e, NULL, -1, "out of memory");
}

/* ---- links ---------------------------------------------------------------------------
 */

struct linking {
    struct sn_heap *h;
    struct sn_map *of_pair;
    struct sn_heap_link *v;
    uint32_t n, cap;
};

static bool add_link(struct linking *x, uint32_t from, uint32_t block)
{
    uint32_t to = x->h->site_of[block];
    uint32_t *known =
        from != to ? sn_map_put(x->of_pair, (uint64_t)from << 32 | to) : NULL;
    if (known == NULL)
        return from == to;
    if (*known == SN_NONE) {
        struct sn_heap_link *l = SN_PUSH(x->h->arena, x->v, x->n, x->cap);
        if (l == NULL)
            return false;
        *l = (struct sn_heap_link){.from = from, .to = to};
        *known = x->n - 1;
    }
    x->v[*known].blocks++;
    x->v[*known].bytes += x->h->d->blocks[block].size;
    return true;
}

/* Each site once a block, however many of its blocks refer to it. */
static bool link_blocks(struct linking *x, uint32_t *last_to)
{
    struct sn_heap *h = x->h;
    for (uint32_t b = 0; b < h->n; b++) {
        for (uint32_t i = h->first_in[b]; i < h->first_in[b + 1]; i++) {
            uint32_t from = h->site_of[h->in[i]];
            if (last_to[from] == b + 1)
                continue;
            last_to[from] = b + 1;
            if (!add_link(x, from, b))
                return false;
        }
        if (sn_heap_is_leaked(h, b) && sn_heap_is_entry(h, b) &&
            !add_link(x, h->n_sites, b))
            return false;
    }
    return true;
}

/* Each kind of root once a block. */
static bool link_roots(struct linking *x, unsigned char *seen)
{
    struct sn_heap *h = x->h;
    for (uint32_t i = 0; i < h->d->n_roots; i++) {
        const struct sn_heapdump_root *r = &h->d->roots[i];
        unsigned char bit = (unsigned char)(1u << r->kind);
        if (!(seen[r->block] & bit) && !add_link(x, h->n_sites + r->kind, r->block))
            return false;
        seen[r->block] |= bit;
    }
    return true;
}

bool sn_heap_links(struct sn_heap *h, struct sn_heap_link **links, uint32_t *n,
                   struct sn_error *e)
{
    struct sn_arena *scratch = sn_arena_new();
    struct linking x = {.h = h};
    bool good = scratch != NULL;
    if (good) {
        x.of_pair = sn_map_new(scratch);
        uint32_t *last_to = sn_arena_alloc(scratch, (size_t)h->n_sites * sizeof *last_to);
        unsigned char *seen = sn_arena_alloc(scratch, h->n);
        good = x.of_pair != NULL && last_to != NULL && seen != NULL &&
               link_blocks(&x, last_to) && link_roots(&x, seen);
    }
    sn_arena_free(scratch);
    *links = x.v;
    *n = x.n;
    return good || sn_fail(e, NULL, -1, "out of memory");
}
