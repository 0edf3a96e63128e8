/*
 * types.c: profiles of different sample types, made fit to be merged. Either what they
 * have in common is kept, in the order of the first, as google/pprof does it
 * (profile.CompatibilizeSampleTypes): an exact heap so compares with a sampled one. Or
 * all that any of them has is, and is 0 where it was not counted. Units of one family
 * become the smallest of them.
 */
#include "profile_priv.h"

static const char *type_name(const struct sn_profile *p, uint32_t i)
{
    return sn_profile_str(p, p->types[i].type);
}

static uint32_t find_type(const struct sn_profile *p, const char *name)
{
    uint32_t i = 0;
    while (i < p->n_types && strcmp(type_name(p, i), name) != 0)
        i++;
    return i < p->n_types ? i : SN_NONE;
}

static bool all_have(struct sn_profile *const *v, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (find_type(v[i], name) == SN_NONE)
            return false;
    return true;
}

/* "samples, cpu" */
static const char *list_types(const struct sn_profile *p)
{
    struct sn_buf b = {.arena = p->arena};
    for (uint32_t i = 0; i < p->n_types; i++)
        sn_buf_printf(&b, "%s%s", i > 0 ? ", " : "", type_name(p, i));
    return b.data != NULL ? b.data : "none";
}

static bool fail(struct sn_profile *const *v, size_t n, struct sn_error *e)
{
    size_t other = 1;
    for (size_t i = 1; i < n; i++) /* one that has nothing of the first's, if any */
        for (uint32_t t = 0; t < v[0]->n_types; t++)
            if (find_type(v[i], type_name(v[0], t)) == SN_NONE)
                other = i;
    return sn_fail(e, NULL, -1,
                   "the profiles have no sample type in common: the first has %s; "
                   "profile %zu has %s",
                   list_types(v[0]), other + 1, list_types(v[other]));
}

/* A sample type, whoever has it. */
struct type {
    const char *name, *unit;
};

static bool is_same(const struct sn_profile *p, const uint32_t *from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (from[i] != i)
            return false;
    return p->n_types == n;
}

/* Value i of each sample becomes what value from[i] was; SN_NONE: 0. */
static bool reorder(struct sn_profile *p, const struct type *wanted, const uint32_t *from,
                    uint32_t n)
{
    if (is_same(p, from, n))
        return true;
    struct sn_value_type *types = sn_arena_alloc(p->arena, n * sizeof *types);
    int64_t *values = sn_arena_alloc(p->arena, (size_t)p->n_samples * n * sizeof *values);
    if (types == NULL || values == NULL)
        return false;
    bool has_default = false;
    for (uint32_t i = 0; i < n; i++) {
        bool known = from[i] != SN_NONE;
        types[i] =
            known ? p->types[from[i]]
                  : (struct sn_value_type){sn_strtab_add(p->strings, wanted[i].name),
                                           sn_strtab_add(p->strings, wanted[i].unit)};
        has_default |= types[i].type == p->default_sample_type;
        for (uint32_t s = 0; s < p->n_samples && known; s++)
            values[(size_t)s * n + i] = p->values[(size_t)s * p->n_types + from[i]];
    }
    if (!has_default)
        p->default_sample_type = types[0].type;
    p->types = types;
    p->values = values;
    p->n_types = p->cap_types = n;
    p->n_values = p->cap_values = p->n_samples * n;
    return true;
}

/* All n get those types. */
static bool give(struct sn_profile *const *v, size_t n, const struct type *wanted,
                 uint32_t n_wanted, struct sn_error *e)
{
    uint32_t *from = sn_arena_alloc(v[0]->arena, (n_wanted + 1) * sizeof *from);
    for (size_t i = 0; i < n && from != NULL; i++) {
        for (uint32_t t = 0; t < n_wanted; t++)
            from[t] = find_type(v[i], wanted[t].name);
        if (!reorder(v[i], wanted, from, n_wanted))
            from = NULL;
    }
    return from != NULL || sn_fail(e, NULL, -1, "out of memory");
}

static struct type type_of(const struct sn_profile *p, uint32_t i)
{
    return (struct type){type_name(p, i), sn_profile_str(p, p->types[i].unit)};
}

/* ---- units ----------------------------------------------------------------------------
 */

static uint32_t unit_id(struct sn_profile *p, const char *unit)
{
    return sn_strtab_add(p->strings, unit);
}

/* To the smallest unit that the others of the family have for it. */
static void rescale_type(struct sn_profile *const *v, size_t n, uint32_t t)
{
    const char *least = sn_profile_str(v[0], v[0]->types[t].unit);
    double ratio;
    for (size_t i = 1; i < n; i++) {
        const char *unit = sn_profile_str(v[i], v[i]->types[t].unit);
        if (sn_unit_compatible(unit, least, &ratio) && ratio < 1)
            least = unit;
    }
    for (size_t i = 0; i < n; i++) {
        struct sn_profile *p = v[i];
        const char *unit = sn_profile_str(p, p->types[t].unit);
        if (strcmp(unit, least) == 0 || !sn_unit_compatible(unit, least, &ratio))
            continue;
        p->types[t].unit = unit_id(p, least);
        for (uint32_t k = t; ratio != 1 && k < p->n_values; k += p->n_types)
            p->values[k] = (int64_t)((double)p->values[k] * ratio);
    }
}

static bool same_period(const struct sn_profile *a, const struct sn_profile *b)
{
    return strcmp(sn_profile_str(a, a->period_type.type),
                  sn_profile_str(b, b->period_type.type)) == 0;
}

/* The period is of one kind of samples: where there are several, there is none. */
static void rescale_period(struct sn_profile *const *v, size_t n)
{
    const char *least = sn_profile_str(v[0], v[0]->period_type.unit);
    bool same = true;
    double ratio;
    for (size_t i = 1; i < n; i++) {
        const char *unit = sn_profile_str(v[i], v[i]->period_type.unit);
        same &= same_period(v[0], v[i]) &&
                (strcmp(unit, least) == 0 || sn_unit_compatible(unit, least, &ratio));
        if (same && sn_unit_compatible(unit, least, &ratio) && ratio < 1)
            least = unit;
    }
    for (size_t i = 0; i < n; i++) {
        struct sn_profile *p = v[i];
        const char *unit = sn_profile_str(p, p->period_type.unit);
        if (!same) {
            p->period_type = (struct sn_value_type){0, 0};
            p->period = 0;
        } else if (strcmp(unit, least) != 0 && sn_unit_compatible(unit, least, &ratio)) {
            p->period_type.unit = unit_id(p, least);
            p->period = (int64_t)((double)p->period * ratio);
        }
    }
}

static bool rescale(struct sn_profile *const *v, size_t n, struct sn_error *e)
{
    for (uint32_t t = 0; t < v[0]->n_types; t++)
        rescale_type(v, n, t);
    rescale_period(v, n);
    for (size_t i = 0; i < n; i++)
        if (sn_arena_failed(v[i]->arena))
            return sn_fail(e, NULL, -1, "out of memory");
    return true;
}

bool sn_profile_common_types(struct sn_profile *const *v, size_t n, struct sn_error *e)
{
    const struct sn_profile *first = v[0];
    struct type *common =
        sn_arena_alloc(first->arena, (first->n_types + 1) * sizeof *common);
    uint32_t kept = 0;
    if (common == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    for (uint32_t i = 0; i < first->n_types; i++)
        if (all_have(v, n, type_name(first, i)))
            common[kept++] = type_of(first, i);
    return kept > 0 ? give(v, n, common, kept, e) && rescale(v, n, e) : fail(v, n, e);
}

bool sn_profile_all_types(struct sn_profile *const *v, size_t n, struct sn_error *e)
{
    size_t most = 0;
    uint32_t kept = 0;
    for (size_t i = 0; i < n; i++)
        most += v[i]->n_types;
    struct type *all = sn_arena_alloc(v[0]->arena, (most + 1) * sizeof *all);
    if (all == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    for (size_t i = 0; i < n; i++)
        for (uint32_t t = 0, k; t < v[i]->n_types; t++) {
            for (k = 0; k < kept && strcmp(all[k].name, type_name(v[i], t)) != 0;)
                k++;
            if (k == kept)
                all[kept++] = type_of(v[i], t);
        }
    /* The type shown stays that of the first, also where that was just its last. */
    if (v[0]->default_sample_type == 0 && kept > v[0]->n_types)
        v[0]->default_sample_type = v[0]->types[v[0]->n_types - 1].type;
    return give(v, n, all, kept, e) && rescale(v, n, e);
}
