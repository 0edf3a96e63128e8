/* alloc_proto.c: a trace of allocations as a pprof profile, as Go's heap profile. */
#include "report/alloctrace.h"

struct writer {
    struct sn_profile *p;
    const struct sn_alloctrace *t;
    struct sn_map *locations; /* pc and module: index */
};

static bool add_type(struct sn_profile *p, const char *type, const char *unit)
{
    struct sn_value_type *t = SN_PUSH(p->arena, p->types, p->n_types, p->cap_types);
    if (t != NULL)
        *t = (struct sn_value_type){sn_strtab_add(p->strings, type),
                                    sn_strtab_add(p->strings, unit)};
    return t != NULL;
}

/* All of them in their order, the program's own first if it was met: readers take the
 * first for the program. where[i]: the mapping of module i. */
static bool add_mappings(struct writer *w, uint32_t *where)
{
    struct sn_profile *p = w->p;
    for (int program = 1; program >= 0; program--)
        for (uint32_t i = 0; i < w->t->n_modules; i++) {
            const struct sn_alloc_module *m = &w->t->modules[i];
            if ((strcmp(m->path, w->t->header.exe) == 0) != program)
                continue;
            struct sn_mapping *x =
                SN_PUSH(p->arena, p->mappings, p->n_mappings, p->cap_mappings);
            if (x == NULL)
                return false;
            where[i] = p->n_mappings - 1;
            *x = (struct sn_mapping){.start = m->start,
                                     .limit = m->limit,
                                     .offset = m->offset,
                                     .file = sn_strtab_add(p->strings, m->path),
                                     .build_id = sn_strtab_add(p->strings, m->build_id)};
        }
    return true;
}

static uint32_t location(struct writer *w, const uint32_t *where,
                         const struct sn_alloc_stack *s, uint64_t pc)
{
    struct sn_profile *p = w->p;
    const struct sn_alloc_module *m = sn_alloctrace_module(w->t, s, pc);
    uint32_t mapping = m != NULL ? where[m - w->t->modules] : SN_NONE;
    uint32_t *at = sn_map_put(w->locations, pc ^ (uint64_t)(mapping + 1) << 48);
    if (at == NULL || *at != SN_NONE)
        return at != NULL ? *at : SN_NONE;
    struct sn_location *l =
        SN_PUSH(p->arena, p->locations, p->n_locations, p->cap_locations);
    if (l == NULL)
        return SN_NONE;
    *l = (struct sn_location){.mapping = mapping, .address = pc};
    return *at = p->n_locations - 1;
}

static bool add_sample(struct writer *w, const uint32_t *where, uint32_t stack,
                       const struct sn_alloc_sum *sum)
{
    struct sn_profile *p = w->p;
    const int64_t v[] = {(int64_t)sum->allocs, (int64_t)sum->alloc_bytes,
                         (int64_t)(sum->allocs - sum->frees),
                         (int64_t)(sum->alloc_bytes - sum->free_bytes)};
    if (sum->allocs == 0)
        return true;
    struct sn_sample *x = SN_PUSH(p->arena, p->samples, p->n_samples, p->cap_samples);
    if (x == NULL)
        return false;
    x->loc0 = p->n_sample_locs;
    const struct sn_alloc_stack *s = stack != SN_NONE ? &w->t->stacks[stack] : NULL;
    for (uint32_t i = 0; s != NULL && i < s->n_pcs; i++, x->n_locs++) {
        uint32_t *l =
            SN_PUSH(p->arena, p->sample_locs, p->n_sample_locs, p->cap_sample_locs);
        if (l == NULL || (*l = location(w, where, s, w->t->pcs[s->pc0 + i])) == SN_NONE)
            return false;
    }
    for (size_t i = 0; i < SN_COUNT(v); i++) {
        int64_t *value = SN_PUSH(p->arena, p->values, p->n_values, p->cap_values);
        if (value == NULL)
            return false;
        *value = v[i] > 0 ? v[i] : 0;
    }
    return true;
}

static bool fill(struct writer *w, const struct sn_alloc_sites *s)
{
    struct sn_profile *p = w->p;
    const struct sn_alloctrace *t = w->t;
    uint32_t *where = sn_arena_alloc(p->arena, (t->n_modules + 1) * sizeof *where);
    struct sn_alloc_sum unknown = sn_alloc_sum_of(s, SN_NONE);
    w->locations = sn_map_new(p->arena);
    if (where == NULL || w->locations == NULL || !add_type(p, "alloc_objects", "count") ||
        !add_type(p, "alloc_space", "bytes") || !add_type(p, "inuse_objects", "count") ||
        !add_type(p, "inuse_space", "bytes") || !add_mappings(w, where))
        return false;
    for (uint32_t i = 0; i < t->n_stacks; i++) {
        struct sn_alloc_sum sum = sn_alloc_sum_of(s, i);
        if (!add_sample(w, where, i, &sum))
            return false;
    }
    p->time_ns =
        t->header.start_real_ns <= INT64_MAX ? (int64_t)t->header.start_real_ns : 0;
    p->duration_ns = t->last_ns <= INT64_MAX ? (int64_t)t->last_ns : 0;
    p->period = 1;
    p->period_type = (struct sn_value_type){sn_strtab_add(p->strings, "space"),
                                            sn_strtab_add(p->strings, "bytes")};
    p->drop_frames = sn_strtab_add(p->strings, "operator (new|delete).*");
    p->default_sample_type = sn_strtab_add(p->strings, "alloc_space");
    return add_sample(w, where, SN_NONE, &unknown);
}

struct sn_profile *sn_alloc_profile(const struct sn_alloc_sites *s,
                                    const struct sn_alloctrace *t, struct sn_error *e)
{
    struct writer w = {.p = sn_profile_new(), .t = t};
    if (w.p != NULL && fill(&w, s) && sn_profile_check(w.p, "profile", e))
        return w.p;
    sn_fail(e, NULL, -1, "out of memory");
    sn_profile_free(w.p);
    return NULL;
}
