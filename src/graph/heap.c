/*
 * heap.c: from a dump to a graph: edges in both directions, the order in which a
 * depth-first walk meets the blocks, dominators, retained sizes.
 *
 * The walk starts at the roots; then at blocks that the recorder called reached although
 * no root that it wrote leads there; then at leaks. Where a set of blocks is to be
 * reached from as few of its own as possible, these are, from the last that a first walk
 * finished back to the first, those that the ones before did not reach: one for each
 * cycle (or block) that nothing else leads to.
 */
#include "heap_priv.h"

struct edges {
    uint32_t next, end;
};

struct walk {
    struct sn_heap *h;
    uint32_t *parent;   /* by number */
    struct edges *left; /* by number: those that are still to be followed */
    uint32_t *cursor;   /* of a block in a first walk: its next edge */
    uint32_t count;     /* blocks numbered */
    uint32_t *up;       /* of a block in a first walk: where it came from */
    uint32_t *ended;    /* the blocks a first walk finished, in order */
    uint32_t n_ended;
};

/* ---- edges ---------------------------------------------------------------------------
 */

static void index_edges(struct sn_heap *h)
{
    const struct sn_heapdump *d = h->d;
    for (uint32_t i = 0; i < d->n_edges; i++) {
        h->first_out[d->edges[i].from + 1]++;
        h->first_in[d->edges[i].to]++;
    }
    for (uint32_t b = 0; b < h->n; b++) {
        h->first_out[b + 1] += h->first_out[b];
        h->first_in[b + 1] += h->first_in[b];
    }
    for (uint32_t i = d->n_edges; i-- > 0;) /* from the end of each to its start */
        h->in[--h->first_in[d->edges[i].to]] = d->edges[i].from;
}

static void mark_entry(struct sn_heap *h, uint32_t block)
{
    h->entries[block / 8] |= (unsigned char)(1u << block % 8);
}

/* ---- the walk ------------------------------------------------------------------------
 */

static void meet(struct walk *w, uint32_t block, uint32_t parent)
{
    w->h->number[block] = ++w->count;
    w->h->order[w->count] = block;
    w->parent[w->count] = parent;
    for (uint32_t i = w->h->first_out[block]; i < w->h->first_out[block + 1]; i++)
        __builtin_prefetch(&w->h->number[w->h->d->edges[i].to]);
    w->left[w->count] =
        (struct edges){w->h->first_out[block], w->h->first_out[block + 1]};
}

/* Number all that is reached from here, and was not before. */
static void walk_from(struct walk *w, uint32_t block)
{
    struct sn_heap *h = w->h;
    if (h->number[block] != 0)
        return;
    meet(w, block, 0);
    for (uint32_t number = w->count; number != 0;) {
        struct edges *left = &w->left[number];
        if (left->next == left->end) {
            number = w->parent[number];
            continue;
        }
        uint32_t to = h->d->edges[left->next++].to;
        if (h->number[to] != 0)
            continue;
        meet(w, to, number);
        number = w->count;
    }
}

/* ---- blocks that no root leads to ----------------------------------------------------
 */

/* List what is reached from here in the order in which it is finished. */
static void finish_from(struct walk *w, uint32_t start)
{
    struct sn_heap *h = w->h;
    uint32_t block = start;
    if (w->up[block] != SN_NONE)
        return;
    w->up[block] = block;
    for (;;) {
        if (w->cursor[block] < h->first_out[block + 1]) {
            uint32_t to = h->d->edges[w->cursor[block]++].to;
            if (h->number[to] != 0 || w->up[to] != SN_NONE)
                continue;
            w->up[to] = block;
            block = to;
        } else {
            w->ended[w->n_ended++] = block;
            if (block == start)
                return;
            block = w->up[block];
        }
    }
}

/* Reach all that are left, or all of them that have the flag, from as few as need be;
 * that many are returned. */
static uint32_t walk_rest(struct walk *w, uint32_t flag)
{
    struct sn_heap *h = w->h;
    uint32_t n = 0;
    w->n_ended = 0;
    for (uint32_t b = 0; b < h->n; b++)
        if (h->number[b] == 0 && (h->d->blocks[b].flags & flag) == flag)
            finish_from(w, b);
    for (uint32_t i = 0; i < w->n_ended; i++) {
        uint32_t b = w->ended[i];
        w->cursor[b] = h->first_out[b]; /* for the next first walk */
        w->up[b] = SN_NONE;
    }
    for (uint32_t i = w->n_ended; i-- > 0;) {
        if (h->number[w->ended[i]] != 0)
            continue;
        mark_entry(h, w->ended[i]);
        walk_from(w, w->ended[i]);
        n++;
    }
    return n;
}

static bool number_blocks(struct sn_heap *h, uint32_t *parent, struct sn_arena *scratch)
{
    size_t size = ((size_t)h->n + 1) * sizeof(uint32_t);
    struct walk w = {.h = h, .parent = parent};
    w.left = sn_arena_alloc(scratch, ((size_t)h->n + 1) * sizeof *w.left);
    w.cursor = sn_arena_alloc(scratch, size);
    w.up = sn_arena_alloc(scratch, size);
    w.ended = sn_arena_alloc(scratch, size);
    if (sn_arena_failed(scratch))
        return false;
    memcpy(w.cursor, h->first_out, size);
    memset(w.up, 0xff, size);
    for (uint32_t i = 0; i < h->d->n_roots; i++)
        mark_entry(h, h->d->roots[i].block);
    for (uint32_t i = 0; i < h->d->n_roots; i++)
        walk_from(&w, h->d->roots[i].block);
    h->n_unlisted = w.count;
    if (w.count < h->n)
        walk_rest(&w, SN_HEAPDUMP_REACHED);
    h->n_unlisted = w.count - h->n_unlisted;
    h->n_live = w.count;
    if (w.count < h->n)
        h->n_leaks = walk_rest(&w, 0);
    return true;
}

/* ---- the whole -----------------------------------------------------------------------
 */

static bool number_and_dominate(struct sn_heap *h)
{
    size_t size = ((size_t)h->n + 1) * sizeof(uint32_t);
    struct sn_arena *kept = sn_arena_new(), *scratch = sn_arena_new();
    uint32_t *parent = kept != NULL ? sn_arena_alloc(kept, size) : NULL;
    bool good = parent != NULL && scratch != NULL && number_blocks(h, parent, scratch);
    sn_arena_free(scratch);
    scratch = good ? sn_arena_new() : NULL;
    good = scratch != NULL && sn_heap_dominators(h, parent, scratch);
    sn_arena_free(scratch);
    sn_arena_free(kept);
    return good;
}

static void sum_up(struct sn_heap *h)
{
    for (uint32_t v = 1; v <= h->n; v++)
        h->retained[v] = h->d->blocks[h->order[v]].size;
    for (uint32_t v = h->n; v > 0; v--) {
        *(v <= h->n_live ? &h->live_bytes : &h->leaked_bytes) +=
            h->d->blocks[h->order[v]].size;
        h->retained[h->idom[v]] += h->retained[v];
    }
}

static bool build(struct sn_heap *h)
{
    size_t n = (size_t)h->n + 1;
    h->first_out = sn_arena_alloc(h->arena, n * sizeof *h->first_out);
    h->first_in = sn_arena_alloc(h->arena, n * sizeof *h->first_in);
    h->in = sn_arena_alloc(h->arena, (size_t)h->d->n_edges * sizeof *h->in);
    h->entries = sn_arena_alloc(h->arena, n / 8 + 1);
    h->number = sn_arena_alloc(h->arena, n * sizeof *h->number);
    h->order = sn_arena_alloc(h->arena, n * sizeof *h->order);
    if (sn_arena_failed(h->arena))
        return false;
    index_edges(h);
    if (!number_and_dominate(h))
        return false;
    h->retained = sn_arena_alloc(h->arena, n * sizeof *h->retained);
    if (h->retained == NULL)
        return false;
    sum_up(h);
    return true;
}

struct sn_heap *sn_heap_new(const struct sn_heapdump *d, struct sn_error *e)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_heap *h = a != NULL ? sn_arena_alloc(a, sizeof *h) : NULL;
    if (h != NULL) {
        *h = (struct sn_heap){.arena = a, .d = d, .n = d->n_blocks};
        if (build(h))
            return h;
    }
    sn_arena_free(a);
    sn_fail(e, NULL, -1, "out of memory");
    return NULL;
}

void sn_heap_free(struct sn_heap *h)
{
    if (h != NULL)
        sn_arena_free(h->arena);
}
