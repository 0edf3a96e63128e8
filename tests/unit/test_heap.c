/* test_heap.c: dominators, retained sizes, sites and paths against what brute force
 * finds.
 */
#include "../made_heap.h"
#include "../tap.h"
#include "graph/heap.h"

#include <stdlib.h>

#define MANY 50 /* blocks of a random heap */

struct world {
    struct sn_arena *arena;
    struct made_heap m;
    struct sn_heapdump d;
    struct sn_heap *h;
};

static uint64_t state = 1;

static uint32_t any(uint32_t below)
{
    state = sn_hash_mix(state + 0x9e3779b97f4a7c15);
    return (uint32_t)(state >> 33) % below;
}

static void world_new(struct world *w, uint32_t blocks, uint32_t edges, uint32_t roots)
{
    *w = (struct world){.arena = sn_arena_new()};
    w->m = (struct made_heap){
        .blocks = sn_arena_alloc(w->arena, (blocks + 1) * sizeof *w->m.blocks),
        .edges = sn_arena_alloc(w->arena, (edges + 1) * sizeof *w->m.edges),
        .roots = sn_arena_alloc(w->arena, (roots + 1) * sizeof *w->m.roots),
        .n_blocks = blocks};
    for (uint32_t i = 0; i < blocks; i++)
        w->m.blocks[i] =
            (struct sn_heapdump_block){.address = 0x1000 + i * 64ull, .size = 1 + i % 7};
}

static void edge(struct world *w, uint32_t from, uint32_t to)
{
    w->m.edges[w->m.n_edges++] = (struct sn_heapdump_edge){from, to};
}

static void root(struct world *w, uint32_t block)
{
    w->m.roots[w->m.n_roots++] =
        (struct sn_heapdump_root){block, SN_ROOT_GLOBAL, 0x404000};
}

static bool world_open(struct world *w)
{
    struct sn_error e = {.offset = -1};
    size_t len;
    unsigned char *data = made_heap(w->arena, &w->m, &len);
    w->h = sn_heapdump_open(&w->d, data, len, "made", &e) ? sn_heap_new(&w->d, &e) : NULL;
    return w->h != NULL || ok(false, "the heap opens: %s", e.what);
}

static void world_free(struct world *w)
{
    sn_heap_free(w->h);
    sn_arena_free(w->arena);
}

static uint32_t idom(const struct world *w, uint32_t block)
{
    uint32_t v = w->h->idom[w->h->number[block]];
    return v == 0 ? SN_NONE : w->h->order[v];
}

/* ---- shapes whose answer is known ----------------------------------------------------
 */

static void diamond(void)
{
    struct world w;
    world_new(&w, 6, 6, 1);
    edge(&w, 0, 1);
    edge(&w, 0, 2);
    edge(&w, 1, 3);
    edge(&w, 2, 3);
    edge(&w, 3, 4);
    edge(&w, 5, 4); /* leaked, and holds nothing that lives */
    root(&w, 0);
    if (!world_open(&w))
        return;
    is_int(idom(&w, 0), SN_NONE, "the root's block hangs on the virtual root");
    is_int(idom(&w, 1), 0, "a side");
    is_int(idom(&w, 3), 0, "where the sides meet, neither is needed");
    is_int(idom(&w, 4), 3, "a leaked block's reference counts for nothing");
    is_int((long long)sn_heap_retained(w.h, 0), 1 + 2 + 3 + 4 + 5, "the top retains all");
    is_int((long long)sn_heap_retained(w.h, 3), 4 + 5, "the meeting retains its tail");
    is_int(w.h->n_live, 5, "reached");
    is_int(w.h->n_leaks, 1, "one leak");
    ok(sn_heap_is_leaked(w.h, 5), "which is known");
    is_int((long long)w.h->leaked_bytes, 6, "and weighed");
    is_int(sn_heap_find(w.h, 0x1040), 1, "a block by its address");
    is_int(sn_heap_find(w.h, 0x1041), 1, "... by one inside");
    is_int(sn_heap_find(w.h, 0x1042), SN_NONE, "... not behind its end");
    is_int(sn_heap_find(w.h, 0xfff), SN_NONE, "... nor before the first");
    world_free(&w);
}

static void cycles(void)
{
    struct world w;
    world_new(&w, 7, 9, 2);
    edge(&w, 0, 1); /* two that refer to each other, entered at both */
    edge(&w, 1, 0);
    edge(&w, 2, 3); /* a leaked ring with a tail */
    edge(&w, 3, 4);
    edge(&w, 4, 2);
    edge(&w, 4, 5);
    edge(&w, 6, 6);
    root(&w, 0);
    root(&w, 1);
    if (!world_open(&w))
        return;
    is_int(idom(&w, 0), SN_NONE, "a ring with two entries");
    is_int(idom(&w, 1), SN_NONE, "... needs neither");
    is_int(w.h->n_leaks, 2, "a leaked ring is one leak, a lone block another");
    uint64_t most = 0;
    for (uint32_t b = 2; b < 6; b++)
        most = sn_heap_retained(w.h, b) > most ? sn_heap_retained(w.h, b) : most;
    is_int((long long)most, 3 + 4 + 5 + 6, "one of the ring retains it all");
    world_free(&w);
}

/* A block that the recorder reached by a root it did not write. */
static void unlisted(void)
{
    struct world w;
    world_new(&w, 4, 3, 1);
    w.m.blocks[1].flags = w.m.blocks[2].flags = SN_HEAPDUMP_REACHED;
    edge(&w, 1, 2);
    edge(&w, 3, 1);
    if (!world_open(&w))
        return;
    is_int(w.h->n_live, 2, "what the recorder reached lives");
    is_int(w.h->n_unlisted, 2, "though no root leads to it");
    is_int(idom(&w, 2), 1, "it is entered where it must be");
    is_int((long long)sn_heap_retained(w.h, 3), 4, "and no leak holds it");
    world_free(&w);
}

static void chain(void)
{
    enum { LONG = 1000000 };
    struct world w;
    struct sn_error e = {.offset = -1};
    struct sn_heap_hop *path;
    world_new(&w, LONG, 2 * LONG, 1);
    for (uint32_t i = 0; i < LONG; i++) {
        w.m.blocks[i].size = 1;
        if (i + 1 < LONG)
            edge(&w, i, i + 1);
        if (i > 0)
            edge(&w, i, i - 1);
    }
    root(&w, 0);
    if (!world_open(&w))
        return;
    is_int((long long)sn_heap_retained(w.h, 0), LONG, "the head of a list retains it");
    is_int((long long)sn_heap_retained(w.h, LONG / 2), LONG / 2, "its middle a half");
    uint32_t *site_of = sn_arena_alloc(w.arena, LONG * sizeof *site_of);
    for (uint32_t i = 0; i < LONG; i++)
        site_of[i] = i % 3;
    ok(sn_heap_group(w.h, site_of, 3, &e), "its sites");
    is_int((long long)w.h->sites[0].live.retained, LONG, "the head's site retains it");
    is_int((long long)w.h->sites[1].live.retained, LONG - 1, "the next all but one");
    is_int(sn_heap_path(w.h, LONG - 1, &path), LONG, "the way to its end");
    ok(path[0].needed && path[LONG / 2].needed && path[LONG - 1].needed, "is the only");
    world_free(&w);
}

static void nothing(void)
{
    struct world w;
    struct sn_error e = {.offset = -1};
    struct sn_heap_link *links;
    uint32_t n;
    world_new(&w, 0, 0, 0);
    if (!world_open(&w))
        return;
    is_int((long long)w.h->retained[0], 0, "an empty heap");
    ok(sn_heap_group(w.h, NULL, 0, &e) && sn_heap_links(w.h, &links, &n, &e) && n == 0,
       "has no sites");
    is_int(sn_heap_find(w.h, 0x1000), SN_NONE, "and no blocks");
    world_free(&w);
}

/* ---- brute force ---------------------------------------------------------------------
 */

/* What is reached from the virtual root without the blocks left out. `live`: only from
 * what lives, and only that. */
static void reach(const struct world *w, const bool *out, bool *seen)
{
    memset(seen, 0, MANY);
    for (uint32_t b = 0; b < w->m.n_blocks; b++)
        seen[b] = sn_heap_is_entry(w->h, b) && !out[b];
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < w->m.n_edges; i++) {
            uint32_t from = w->m.edges[i].from, to = w->m.edges[i].to;
            if (seen[from] && !seen[to] && !out[to] &&
                !(sn_heap_is_leaked(w->h, from) && !sn_heap_is_leaked(w->h, to)))
                more = seen[to] = true;
        }
    }
}

static void plain_reach(const struct world *w, bool *seen)
{
    memset(seen, 0, MANY);
    for (uint32_t i = 0; i < w->m.n_roots; i++)
        seen[w->m.roots[i].block] = true;
    for (uint32_t round = 0; round < MANY; round++)
        for (uint32_t i = 0; i < w->m.n_edges; i++)
            if (seen[w->m.edges[i].from])
                seen[w->m.edges[i].to] = true;
}

static bool liveness_is_true(const struct world *w)
{
    bool seen[MANY];
    plain_reach(w, seen);
    for (uint32_t b = 0; b < w->m.n_blocks; b++)
        if (seen[b] == sn_heap_is_leaked(w->h, b))
            return false;
    return true;
}

/* dominates[x][y]: without x, y is not reached. */
static bool dominators_are_true(const struct world *w, bool dominates[MANY][MANY])
{
    uint32_t n = w->m.n_blocks;
    for (uint32_t x = 0; x < n; x++) {
        bool out[MANY] = {false}, seen[MANY];
        uint64_t lost = 0;
        out[x] = true;
        reach(w, out, seen);
        for (uint32_t y = 0; y < n; y++) {
            dominates[x][y] = !seen[y];
            lost += seen[y] ? 0 : w->m.blocks[y].size;
        }
        if (lost != sn_heap_retained(w->h, x))
            return false;
    }
    for (uint32_t y = 0; y < n; y++) {
        uint32_t up = idom(w, y), above = 0, above_up = 0;
        for (uint32_t x = 0; x < n; x++) {
            above += x != y && dominates[x][y];
            above_up += up != SN_NONE && dominates[x][up];
        }
        if (above != above_up || (up != SN_NONE && !dominates[up][y]))
            return false;
    }
    return true;
}

static bool sites_are_true(const struct world *w, uint32_t n_sites)
{
    for (uint32_t s = 0; s < n_sites; s++) {
        struct sn_heap_sum live = {0}, leaked = {0};
        bool out[MANY] = {false}, seen[MANY];
        for (uint32_t b = 0; b < w->m.n_blocks; b++)
            out[b] = w->h->site_of[b] == s;
        reach(w, out, seen);
        for (uint32_t b = 0; b < w->m.n_blocks; b++) {
            struct sn_heap_sum *sum = sn_heap_is_leaked(w->h, b) ? &leaked : &live;
            sum->retained += seen[b] ? 0 : w->m.blocks[b].size;
            sum->flat += out[b] ? w->m.blocks[b].size : 0;
            sum->blocks += out[b];
        }
        const struct sn_heap_site *x = &w->h->sites[s];
        if (!x->exact || x->live.retained != live.retained || x->live.flat != live.flat ||
            x->live.blocks != live.blocks || x->leaked.retained != leaked.retained ||
            x->leaked.flat != leaked.flat || x->leaked.blocks != leaked.blocks)
            return false;
    }
    return true;
}

static bool path_is_true(const struct world *w, uint32_t block,
                         bool dominates[MANY][MANY])
{
    struct sn_heap_hop *path;
    uint32_t n = sn_heap_path(w->h, block, &path);
    if (n == 0 || path[n - 1].block != block || !sn_heap_is_entry(w->h, path[0].block))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        bool found = i == 0;
        for (uint32_t k = 0; k < w->m.n_edges && !found; k++)
            found = w->m.edges[k].from == path[i - 1].block &&
                    w->m.edges[k].to == path[i].block;
        if (!found || path[i].needed != dominates[path[i].block][block])
            return false;
    }
    return true;
}

static bool links_are_true(const struct world *w)
{
    struct sn_error e = {.offset = -1};
    struct sn_heap_link *v;
    uint32_t n;
    if (!sn_heap_links(w->h, &v, &n, &e))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct sn_heap_link truth = {0};
        for (uint32_t b = 0; b < w->m.n_blocks; b++) {
            bool found = false;
            for (uint32_t k = 0; k < w->m.n_edges; k++)
                found |= w->m.edges[k].to == b &&
                         w->h->site_of[w->m.edges[k].from] == v[i].from;
            for (uint32_t k = 0; k < w->m.n_roots; k++)
                found |= w->m.roots[k].block == b &&
                         v[i].from == w->h->n_sites + w->m.roots[k].kind;
            found |= v[i].from == w->h->n_sites && sn_heap_is_leaked(w->h, b) &&
                     sn_heap_is_entry(w->h, b);
            if (found && w->h->site_of[b] == v[i].to) {
                truth.blocks++;
                truth.bytes += w->m.blocks[b].size;
            }
        }
        if (truth.blocks != v[i].blocks || truth.bytes != v[i].bytes)
            return false;
    }
    return true;
}

static int by_from(const void *a, const void *b)
{
    const struct sn_heapdump_edge *x = a, *y = b;
    return x->from != y->from ? (x->from > y->from) - (x->from < y->from)
                              : (x->to > y->to) - (x->to < y->to);
}

static void random_world(struct world *w, uint32_t n_sites, uint32_t *site_of)
{
    uint32_t n = 1 + any(MANY), edges = any(3 * n), roots = any(4);
    world_new(w, n, edges, roots);
    while (edges-- > 0)
        edge(w, any(n), any(n));
    while (roots-- > 0)
        root(w, any(n));
    qsort(w->m.edges, w->m.n_edges, sizeof *w->m.edges, by_from);
    for (uint32_t b = 0; b < n; b++)
        site_of[b] = any(n_sites);
}

static void against_brute_force(void)
{
    enum { ROUNDS = 400 };
    uint32_t live = 0, dominated = 0, summed = 0, walked = 0, linked = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct world w;
        struct sn_error e = {.offset = -1};
        bool dominates[MANY][MANY];
        uint32_t site_of[MANY], n_sites = round % 4 == 0 ? 100 : 1 + any(8);
        random_world(&w, n_sites, site_of);
        if (!world_open(&w) || !sn_heap_group(w.h, site_of, n_sites, &e))
            return;
        bool paths = true;
        live += liveness_is_true(&w);
        dominated += dominators_are_true(&w, dominates);
        summed += sites_are_true(&w, n_sites);
        linked += links_are_true(&w);
        for (uint32_t b = 0; b < w.m.n_blocks; b++)
            paths &= path_is_true(&w, b, dominates);
        walked += paths;
        world_free(&w);
    }
    is_int(live, ROUNDS, "random heaps: what is leaked");
    is_int(dominated, ROUNDS, "random heaps: dominators and retained sizes");
    is_int(summed, ROUNDS, "random heaps: retained by site");
    is_int(walked, ROUNDS, "random heaps: ways to blocks");
    is_int(linked, ROUNDS, "random heaps: references from site to site");
}

/* Many sites, so many that not all can be exact: none claims too much. */
static void bounds(void)
{
    enum { WIDE = 300000, FEW = 40000 };
    struct world w;
    struct sn_error e = {.offset = -1};
    world_new(&w, WIDE, 2 * WIDE, 1);
    for (uint32_t i = 0; i + 2 < WIDE; i++) {
        edge(&w, i, i + 1);
        edge(&w, i, i + 2);
    }
    root(&w, 0);
    uint32_t *site_of = sn_arena_alloc(w.arena, WIDE * sizeof *site_of);
    for (uint32_t i = 0; i < WIDE; i++)
        site_of[i] = i / 2 % FEW;
    if (!world_open(&w) || !sn_heap_group(w.h, site_of, FEW, &e))
        return;
    uint32_t exact = 0, sound = 0;
    for (uint32_t s = 0; s < FEW; s++) {
        const struct sn_heap_site *x = &w.h->sites[s];
        exact += x->exact;
        sound += x->live.retained >= x->live.flat && x->live.retained <= w.h->live_bytes;
    }
    ok(exact >= 64 && exact < FEW, "of many sites %u are exact", exact);
    is_int(sound, FEW, "all are between their own size and the whole");
    world_free(&w);
}

int main(void)
{
    diamond();
    cycles();
    unlisted();
    nothing();
    against_brute_force();
    chain();
    bounds();
    return done();
}
