/*
 * view.c: from a profile and options to what reports work on. The profile is changed in
 * place: samples filtered, frames left out, names reduced to the granularity asked for.
 */
#include "graph_priv.h"

#include <errno.h>
#include <stdio.h>

/* ---- which value
 * ---------------------------------------------------------------------------- */

static const char *type_name(const struct sn_profile *p, uint32_t i)
{
    return sn_profile_str(p, p->types[i].type);
}

static const char *all_types(struct sn_profile *p)
{
    struct sn_buf b = {.arena = p->arena};
    for (uint32_t i = 0; i < p->n_types; i++)
        sn_buf_printf(&b, "%s%s", i > 0 ? " " : "", type_name(p, i));
    return b.data != NULL ? b.data : "";
}

/* How a profile is made that has such a type; "" if any. */
static const char *how_recorded(const char *type)
{
    static const struct {
        const char *prefix, *how;
    } rows[] = {{"leaked_", "; sonde run --mem=exact records that"},
                {"temporary_", "; sonde run --mem=exact records that"},
                {"peak_", "; sonde run --mem records that"},
                {"inuse_", "; sonde run --mem records that"},
                {"alloc_", "; sonde run --mem records that"}};
    for (size_t i = 0; i < SN_COUNT(rows); i++)
        if (strncmp(type, rows[i].prefix, strlen(rows[i].prefix)) == 0)
            return rows[i].how;
    return "";
}

bool sn_view_type(struct sn_profile *p, const struct sn_options *o, uint32_t *type,
                  struct sn_error *e)
{
    const char *want = o->sample_index, *plain = want;
    char *end;
    *type = p->n_types - 1;
    if (want == NULL || *want == '\0') {
        for (uint32_t i = p->n_types; p->default_sample_type != 0 && i-- > 0;)
            if (p->types[i].type == p->default_sample_type)
                *type = i;
        return true;
    }
    errno = 0;
    long number = strtol(want, &end, 10);
    if (*end == '\0') {
        *type = (uint32_t)number;
        return (errno == 0 && number >= 0 && number < (long)p->n_types) ||
               sn_fail(e, NULL, -1, "sample_index %s is outside the range [0..%u]", want,
                       p->n_types - 1);
    }
    if (strncmp(want, "inuse_", 6) == 0)
        plain += 6; /* as profiles were written before there was alloc_space */
    for (*type = 0; *type < p->n_types; ++*type)
        if (strcmp(type_name(p, *type), want) == 0 ||
            strcmp(type_name(p, *type), plain) == 0)
            return true;
    return sn_fail(e, NULL, -1, "sample_index \"%s\" must be one of: [%s]%s", want,
                   all_types(p), how_recorded(want));
}

static bool is_base(const struct sn_profile *p, const struct sn_sample *s)
{
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct sn_label *l = &p->labels[s->label0 + i];
        if (strcmp(sn_profile_str(p, l->key), "pprof::base") == 0 &&
            strcmp(sn_profile_str(p, l->str), "true") == 0)
            return true;
    }
    return false;
}

/* Of what is compared with, where there is such. */
static int64_t total_of(const struct sn_view *v)
{
    int64_t sum[2] = {0}, divisors[2] = {0};
    for (uint32_t i = 0; i < v->p->n_samples; i++) {
        int64_t d, x = sn_abs(sn_view_weight(v, i, &d));
        bool base = is_base(v->p, &v->p->samples[i]);
        sum[0] += x;
        divisors[0] += d;
        if (base) {
            sum[1] += x;
            divisors[1] += d;
        }
    }
    return sn_mean(sum[sum[1] > 0], divisors[sum[1] > 0]);
}

/* ---- units
 * ------------------------------------------------------------------------------------ */

char *sn_view_value(const struct sn_view *v, int64_t value, char *buf, size_t size)
{
    if (v->ratio > 0 && v->ratio != 1)
        value = (int64_t)((double)value * v->ratio);
    return sn_unit_label(value, v->unit, v->out_unit, buf, size);
}

const char *sn_view_label_unit(const struct sn_view *v, uint32_t key)
{
    uint32_t unit = sn_map_get(v->label_units, key);
    return unit != SN_NONE ? sn_profile_str(v->p, unit) : "";
}

/* The first unit given for a key; where none is, it is the key's own name. */
static bool find_label_units(struct sn_view *v)
{
    struct sn_profile *p = v->p;
    v->label_units = sn_map_new(p->arena);
    if (v->label_units == NULL)
        return false;
    for (uint32_t i = 0; i < p->n_labels; i++) {
        const struct sn_label *l = &p->labels[i];
        uint32_t *unit = l->str == 0 ? sn_map_put(v->label_units, l->key) : NULL;
        if (unit != NULL && (*unit == SN_NONE || *unit == 0))
            *unit = l->num_unit;
    }
    for (uint32_t i = 0; i < p->n_labels; i++) {
        const struct sn_label *l = &p->labels[i];
        uint32_t *unit = l->str == 0 ? sn_map_put(v->label_units, l->key) : NULL;
        const char *key = sn_profile_str(p, l->key);
        bool bytes = strcmp(key, "alignment") == 0 || strcmp(key, "request") == 0;
        if (unit != NULL && *unit == 0)
            *unit = bytes ? sn_strtab_add(p->strings, "bytes") : l->key;
    }
    return !sn_arena_failed(p->arena);
}

/* ---- granularity
 * ------------------------------------------------------------------------------- */

/* What stays of a frame. */
static const struct kept {
    bool function, file, line, address;
} kept_by[] = {
    [SN_BY_FUNCTIONS] = {.function = true},
    [SN_BY_FILEFUNCTIONS] = {.function = true, .file = true},
    [SN_BY_FILES] = {.file = true},
    [SN_BY_LINES] = {.function = true, .file = true, .line = true},
    [SN_BY_ADDRESSES] = {true, true, true, true},
};

static void reduce_location(struct sn_profile *p, struct sn_location *l,
                            const struct sn_options *o, const struct kept *keep)
{
    if (o->no_inlines && l->n_lines > 1) {
        l->line0 += l->n_lines - 1; /* the function that was really called */
        l->n_lines = 1;
    }
    for (uint32_t k = 0; k < l->n_lines; k++) {
        struct sn_line *line = &p->lines[l->line0 + k];
        if (!keep->line)
            line->line = 0;
        if (!keep->line || !o->show_columns)
            line->column = 0;
    }
    if (!keep->address)
        l->address = 0;
}

static void reduce(struct sn_view *v)
{
    struct sn_profile *p = v->p;
    const struct sn_options *o = &v->o;
    const struct kept *keep = &kept_by[o->granularity];
    if (o->granularity == SN_BY_ADDRESSES && !o->no_inlines)
        return;
    for (uint32_t i = 0; i < p->n_functions; i++) {
        struct sn_function *f = &p->functions[i];
        if (!keep->function)
            f->name = f->system_name = 0;
        if (!keep->file)
            f->file = 0;
    }
    for (uint32_t i = 0; i < p->n_locations; i++)
        reduce_location(p, &p->locations[i], o, keep);
}

/* ---- opening
 * ---------------------------------------------------------------------------------------
 */

static void apply_kind(struct sn_view *v)
{
    struct sn_options *o = &v->o;
    if (o->node_count < 0)
        o->node_count = v->kind.node_count;
    if (v->kind.addresses)
        o->granularity = SN_BY_ADDRESSES;
    if (v->kind.lines)
        o->granularity = SN_BY_LINES;
    o->no_inlines |= v->kind.no_inlines;
    if (v->kind.no_trim || !o->trim) {
        o->node_count = 0;
        o->node_fraction = o->edge_fraction = 0;
    }
    if (o->unit == NULL)
        o->unit = "minimum";
}

static bool list_filters(struct sn_view *v)
{
    const struct sn_options *o = &v->o;
    struct sn_arena *a = v->p->arena;
    const struct {
        const char *name, *value;
    } all[] = {{"focus", o->focus},
               {"ignore", o->ignore},
               {"hide", o->hide},
               {"show", o->show},
               {"show_from", o->show_from},
               {"tagfocus", o->tag_focus},
               {"tagignore", o->tag_ignore},
               {"tagshow", o->tag_show},
               {"taghide", o->tag_hide}};
    for (size_t i = 0; i < SN_COUNT(all); i++) {
        if (all[i].value == NULL || *all[i].value == '\0')
            continue;
        const char **f = SN_PUSH(a, v->filters, v->n_filters, v->cap_filters);
        if (f == NULL)
            return false;
        *f = sn_arena_printf(a, "%s=%s", all[i].name, all[i].value);
    }
    return !sn_arena_failed(a);
}

static bool add_comment(struct sn_view *v)
{
    struct sn_profile *p = v->p;
    if (v->o.add_comment == NULL || *v->o.add_comment == '\0')
        return true;
    return sn_profile_comment(p, "%s", v->o.add_comment);
}

static bool describe(struct sn_view *v, struct sn_error *e)
{
    struct sn_profile *p = v->p;
    if (!sn_view_type(p, &v->o, &v->value, e))
        return false;
    if (v->o.divide_by == 0)
        return sn_fail(e, NULL, -1, "option 'divide_by' must not be 0");
    v->ratio = 1 / v->o.divide_by;
    v->type = type_name(p, v->value);
    if (v->o.mean)
        v->type = sn_arena_printf(p->arena, "mean_%s", v->type);
    v->unit = sn_profile_str(p, p->types[v->value].unit);
    v->out_unit = v->o.unit;
    v->title =
        p->n_mappings > 0 ? sn_base_name(sn_profile_str(p, p->mappings[0].file)) : "";
    return (v->type != NULL && list_filters(v) && add_comment(v)) ||
           sn_fail(e, NULL, -1, "out of memory");
}

bool sn_view_open(struct sn_view *v, struct sn_profile *p, const struct sn_options *o,
                  struct sn_view_kind kind, struct sn_error *e)
{
    *v = (struct sn_view){.p = p, .o = *o, .kind = kind};
    apply_kind(v);
    if (!v->o.all_frames && !sn_filter_uninteresting(p, e))
        return false;
    if (!find_label_units(v))
        return sn_fail(e, NULL, -1, "out of memory");
    if (!sn_tag_frames(v, e))
        return false;
    if (v->o.relative_percentages && !sn_filter(v, e))
        return false;
    if (!describe(v, e))
        return false;
    v->total = total_of(v);
    if (!v->o.relative_percentages && !sn_filter(v, e))
        return false;
    reduce(v);
    return true;
}
