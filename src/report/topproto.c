/*
 * topproto.c: the lines of top as a profile: a sample of one frame a node, with what it
 * costs in all and by itself. As google/pprof's -topproto.
 */
#include "report_priv.h"

static void add_type(struct sn_profile *q, const char *type, const char *unit)
{
    struct sn_value_type *t = SN_PUSH(q->arena, q->types, q->n_types, q->cap_types);
    if (t != NULL)
        *t = (struct sn_value_type){sn_strtab_add(q->strings, type),
                                    sn_strtab_add(q->strings, unit)};
}

static uint32_t add_function(struct sn_profile *q, struct sn_map *known,
                             const struct sn_profile *p, const struct sn_node_info *n)
{
    uint32_t name = sn_strtab_add(q->strings, sn_profile_str(p, n->name));
    uint32_t file = sn_strtab_add(q->strings, sn_profile_str(p, n->file));
    uint32_t *index = sn_map_put(known, (uint64_t)name << 32 | file);
    if (index != NULL && *index != SN_NONE)
        return *index;
    struct sn_function *f =
        SN_PUSH(q->arena, q->functions, q->n_functions, q->cap_functions);
    if (f == NULL || index == NULL)
        return SN_NONE;
    *f = (struct sn_function){name, 0, file, n->start_line};
    return *index = q->n_functions - 1;
}

static bool add_node(struct sn_profile *q, struct sn_map *known, const struct sn_view *v,
                     const struct sn_node *n)
{
    const char *unit;
    uint32_t f = add_function(q, known, v->p, &n->info);
    struct sn_line *x = SN_PUSH(q->arena, q->lines, q->n_lines, q->cap_lines);
    struct sn_location *l =
        SN_PUSH(q->arena, q->locations, q->n_locations, q->cap_locations);
    struct sn_sample *s = SN_PUSH(q->arena, q->samples, q->n_samples, q->cap_samples);
    uint32_t *at =
        SN_PUSH(q->arena, q->sample_locs, q->n_sample_locs, q->cap_sample_locs);
    bool room = SN_PUSH(q->arena, q->values, q->n_values, q->cap_values) != NULL;
    int64_t *flat = SN_PUSH(q->arena, q->values, q->n_values, q->cap_values);
    if (f == SN_NONE || !room || flat == NULL || sn_arena_failed(q->arena))
        return false;
    int64_t *cum = flat - 1; /* pushed before, but it may have moved */
    *x = (struct sn_line){f, n->info.line, n->info.column};
    *l = (struct sn_location){.mapping = SN_NONE,
                              .address = n->info.address,
                              .line0 = q->n_lines - 1,
                              .n_lines = 1};
    *at = q->n_locations - 1;
    *s = (struct sn_sample){.loc0 = q->n_sample_locs - 1, .n_locs = 1};
    *cum =
        (int64_t)sn_unit_scale(sn_mean(n->cum, n->cum_div), v->unit, v->out_unit, &unit);
    *flat = (int64_t)sn_unit_scale(sn_mean(n->flat, n->flat_div), v->unit, v->out_unit,
                                   &unit);
    return true;
}

struct sn_profile *sn_report_topproto(struct sn_profile *p, const struct sn_options *o,
                                      struct sn_error *e)
{
    struct sn_report r;
    struct sn_profile *q = sn_profile_new();
    if (q == NULL) {
        sn_fail(e, NULL, -1, "out of memory");
        return NULL;
    }
    if (!sn_report_open(&r, p, o, (struct sn_view_kind){.node_count = 0}, true, e)) {
        sn_profile_free(q);
        return NULL;
    }
    struct sn_map *known = sn_map_new(q->arena);
    bool good = known != NULL;
    add_type(q, "cum", r.v.out_unit);
    add_type(q, "flat", r.v.out_unit);
    q->time_ns = p->time_ns;
    q->duration_ns = p->duration_ns;
    q->period = p->period;
    q->period_type.type =
        sn_strtab_add(q->strings, sn_profile_str(p, p->period_type.type));
    q->period_type.unit =
        sn_strtab_add(q->strings, sn_profile_str(p, p->period_type.unit));
    for (uint32_t i = 0; good && i < r.g->n_order; i++)
        good = add_node(q, known, &r.v, &r.g->nodes[r.g->order[i]]);
    sn_report_close(&r);
    if (good && !sn_arena_failed(q->arena))
        return q;
    sn_fail(e, NULL, -1, "out of memory");
    sn_profile_free(q);
    return NULL;
}
