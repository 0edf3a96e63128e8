/* traces.c: every sample, with its labels and its stack. */
#include "report_priv.h"

#define RULE "-----------+-------------------------------------------------------\n"

struct group {
    const char *line; /* "       key:  value value\n" */
    bool number;
};

static int by_kind_and_text(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    return x->number != y->number ? x->number - y->number : strcmp(x->line, y->line);
}

static bool first_of_key(const struct sn_label *v, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++)
        if (v[k].key == v[i].key && (v[k].str == 0) == (v[i].str == 0))
            return false;
    return true;
}

/* A line for each key, its values parted by spaces. */
static const char *group_line(const struct sn_view *v, const struct sn_label *labels,
                              uint32_t i, uint32_t n)
{
    const struct sn_profile *p = v->p;
    struct sn_buf b = {.arena = p->arena};
    char number[64];
    sn_buf_printf(&b, "%10s: ", sn_profile_str(p, labels[i].key));
    for (uint32_t k = i; k < n; k++) {
        const struct sn_label *l = &labels[k];
        if (l->key != labels[i].key || (l->str == 0) != (labels[i].str == 0))
            continue;
        sn_buf_printf(&b, " %s",
                      l->str != 0 ? sn_profile_str(p, l->str)
                                  : sn_unit_label(l->num, sn_view_label_unit(v, l->key),
                                                  "auto", number, sizeof number));
    }
    sn_buf_putc(&b, '\n');
    return b.data;
}

static void put_labels(const struct sn_view *v, const struct sn_sample *s,
                       struct sn_buf *out)
{
    const struct sn_label *labels = v->p->labels + s->label0;
    struct group groups[64];
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_labels && n < SN_COUNT(groups); i++) {
        bool number = labels[i].str == 0;
        if (!first_of_key(labels, i) ||
            (number && labels[i].num == 0 && labels[i].num_unit == 0))
            continue;
        groups[n].line = group_line(v, labels, i, s->n_labels);
        groups[n].number = number;
        n += groups[n].line != NULL;
    }
    qsort(groups, n, sizeof *groups, by_kind_and_text);
    for (uint32_t i = 0; i < n; i++)
        sn_buf_puts(out, groups[i].line);
}

struct names {
    const char **of_line; /* by index of line, then by location */
    const char **of_location;
};

static struct sn_node_info line_info(const struct sn_profile *p,
                                     const struct sn_location *l, const struct sn_line *x,
                                     struct sn_strtab *t)
{
    uint32_t object = l->mapping != SN_NONE ? p->mappings[l->mapping].file : 0;
    struct sn_node_info info = {.address = l->address, .object = object};
    if (x == NULL || x->function == SN_NONE)
        return info;
    const struct sn_function *f = &p->functions[x->function];
    info.name = f->name;
    info.line = x->line;
    info.column = x->column;
    info.file = sn_strtab_add(t, sn_clean_path(sn_profile_str(p, f->file), p->arena));
    if (f->name != 0)
        info.object = 0;
    return info;
}

/* Each line's name once, not once a sample. */
static bool find_names(struct sn_profile *p, struct names *n)
{
    n->of_line = sn_arena_alloc(p->arena, (p->n_lines + 1) * sizeof(char *));
    n->of_location = sn_arena_alloc(p->arena, (p->n_locations + 1) * sizeof(char *));
    for (uint32_t i = 0; !sn_arena_failed(p->arena) && i < p->n_locations; i++) {
        const struct sn_location *l = &p->locations[i];
        struct sn_node_info info = line_info(p, l, NULL, p->strings);
        if (l->n_lines == 0)
            n->of_location[i] = sn_node_name(p, &info, p->arena);
        for (uint32_t k = l->line0; k < l->line0 + l->n_lines; k++) {
            info = line_info(p, l, &p->lines[k], p->strings);
            n->of_line[k] = sn_node_name(p, &info, p->arena);
        }
    }
    return !sn_arena_failed(p->arena);
}

static void put_frame(const char *value, const char *name, bool inlined,
                      struct sn_buf *out)
{
    static const char spaces[] = "          ";
    size_t n = strlen(value);
    sn_buf_add(out, spaces, n < 10 ? 10 - n : 0);
    sn_buf_add(out, value, n);
    sn_buf_puts(out, "   ");
    sn_buf_puts(out, name);
    sn_buf_puts(out, inlined ? " (inline)\n" : "\n");
}

static void put_stack(const struct sn_view *v, const struct sn_sample *s,
                      const struct names *names, const char *value, struct sn_buf *out)
{
    const struct sn_profile *p = v->p;
    for (uint32_t i = 0; i < s->n_locs; i++) {
        uint32_t loc = p->sample_locs[s->loc0 + i];
        const struct sn_location *l = &p->locations[loc];
        if (l->n_lines == 0)
            put_frame(i == 0 ? value : "", names->of_location[loc], false, out);
        for (uint32_t k = 0; k < l->n_lines; k++)
            put_frame(i + k == 0 ? value : "", names->of_line[l->line0 + k],
                      k + 1 < l->n_lines, out);
    }
}

bool sn_report_traces(struct sn_profile *p, const struct sn_options *o,
                      const char *argument, struct sn_buf *out, struct sn_error *e)
{
    struct sn_report r;
    struct names names;
    char value[64];
    (void)argument;
    if (!sn_report_open(&r, p, o, (struct sn_view_kind){.node_count = 80}, false, e))
        return false;
    if (!find_names(p, &names))
        return sn_fail(e, NULL, -1, "out of memory");
    sn_report_profile_head(&r.v, out);
    for (uint32_t i = 0; i < p->n_samples; i++) {
        int64_t divisor, weight = sn_view_weight(&r.v, i, &divisor);
        if (p->samples[i].n_locs == 0)
            continue;
        sn_buf_puts(out, RULE);
        put_labels(&r.v, &p->samples[i], out);
        sn_view_value(&r.v, sn_mean(weight, divisor), value, sizeof value);
        put_stack(&r.v, &p->samples[i], &names, value, out);
    }
    sn_buf_puts(out, RULE);
    return sn_report_done(out, e);
}
