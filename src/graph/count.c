/*
 * count.c: what each node comes to, without what leads from one to another: all that is
 * needed to decide which are worth building a graph of. All cores count, each a part of
 * the samples.
 */
#include "graph_priv.h"

struct total {
    int64_t cum;
    uint32_t seen; /* the last sample counted, from 1 */
};

struct counting {
    const struct sn_builder *b;
    bool divisors; /* count those, not the values */
    unsigned parts;
    struct total *totals; /* of each part, of each info */
    int64_t *flat;
};

static inline void count_info(struct total *t, uint32_t stamp, int64_t weight)
{
    t->cum += t->seen != stamp ? weight : 0;
    t->seen = stamp;
}

static void count_sample(const struct sn_builder *b, const struct sn_sample *s,
                         struct total *totals, uint32_t stamp, int64_t weight)
{
    const uint32_t *locs = b->v->p->sample_locs + s->loc0, *infos = b->location_infos;
    for (uint32_t i = 0; i < s->n_locs && !b->has_inlined; i++)
        count_info(&totals[infos[locs[i]]], stamp, weight);
    for (uint32_t i = 0; i < s->n_locs && b->has_inlined; i++) {
        uint32_t k = b->location_first[locs[i]], end = b->location_first[locs[i] + 1];
        do {
            count_info(&totals[infos[k]], stamp, weight);
        } while (++k < end);
    }
}

/* The info that it was taken in. */
static uint32_t leaf_of(const struct sn_builder *b, const struct sn_sample *s)
{
    uint32_t location = b->v->p->sample_locs[s->loc0];
    return b->location_infos[b->has_inlined ? b->location_first[location] : location];
}

static void count_part(void *counting, unsigned part)
{
    const struct counting *c = counting;
    const struct sn_builder *b = c->b;
    const struct sn_profile *p = b->v->p;
    struct total *totals = c->totals + (size_t)part * b->n_infos;
    int64_t *flat = c->flat + (size_t)part * b->n_infos;
    uint32_t end = sn_part_begin(p->n_samples, part + 1, c->parts);
    for (uint32_t i = sn_part_begin(p->n_samples, part, c->parts); i < end; i++) {
        const struct sn_sample *s = &p->samples[i];
        int64_t divisor, weight = sn_view_weight(b->v, i, &divisor);
        if (c->divisors)
            weight = divisor;
        if (weight == 0 || s->n_locs == 0)
            continue;
        count_sample(b, s, totals, i + 1, weight);
        flat[leaf_of(b, s)] += weight;
    }
}

static bool count(struct sn_builder *b, bool divisors)
{
    struct counting c = {.b = b, .divisors = divisors, .parts = sn_parts(b)};
    struct sn_arena *a = sn_arena_new();
    bool good = a != NULL;
    if (good) {
        size_t n = (size_t)c.parts * b->n_infos + 1;
        c.totals = sn_arena_alloc(a, n * sizeof *c.totals);
        c.flat = sn_arena_alloc(a, n * sizeof *c.flat);
        good = !sn_arena_failed(a);
    }
    if (good) { /* several threads that meet new pages at once wait for one another */
        memset(c.totals, 0, (size_t)c.parts * b->n_infos * sizeof *c.totals);
        memset(c.flat, 0, (size_t)c.parts * b->n_infos * sizeof *c.flat);
        sn_parallel(c.parts, count_part, &c);
    }
    for (size_t i = 0; good && i < (size_t)c.parts * b->n_infos; i++) {
        struct sn_values *v = &b->values[i % b->n_infos];
        *(divisors ? &v->cum_div : &v->cum) += c.totals[i].cum;
        *(divisors ? &v->flat_div : &v->flat) += c.flat[i];
    }
    sn_arena_free(a);
    return good;
}

bool sn_builder_count(struct sn_builder *b)
{
    b->values = sn_arena_alloc(b->arena, (b->n_infos + 1) * sizeof *b->values);
    return b->values != NULL && count(b, false) && (!b->v->o.mean || count(b, true));
}

struct sn_values *sn_graph_group(const struct sn_view *v, const struct sn_graph *g,
                                 const uint32_t *group_of, uint32_t n_groups,
                                 struct sn_error *e)
{
    const struct sn_profile *p = v->p;
    struct sn_values *sums = sn_arena_alloc(p->arena, (n_groups + 1UL) * sizeof *sums);
    uint32_t *seen = sn_arena_alloc(p->arena, (n_groups + 1UL) * sizeof *seen);
    uint32_t *group = sn_arena_alloc(p->arena, (g->n_ids + 1UL) * sizeof *group);
    if (sums == NULL || seen == NULL || group == NULL) {
        sn_fail(e, NULL, -1, "out of memory");
        return NULL;
    }
    memset(group, 0xff, g->n_ids * sizeof *group);
    for (uint32_t i = 0; i < g->n_nodes; i++)
        group[g->nodes[i].id] = group_of[i];
    for (uint32_t i = 0; i < p->n_samples; i++) {
        const struct sn_sample *s = &p->samples[i];
        int64_t divisor, weight = sn_view_weight(v, i, &divisor);
        for (uint32_t j = 0; j < s->n_locs; j++) {
            uint32_t loc = p->sample_locs[s->loc0 + j], first = g->location_first[loc];
            for (uint32_t k = first; k < g->location_first[loc + 1]; k++) {
                uint32_t x = group[g->location_ids[k]];
                if (x == SN_NONE)
                    continue;
                sn_values_add(&sums[x], &seen[x], i + 1, weight, divisor,
                              j == 0 && k == first);
            }
        }
    }
    return sums;
}
