/*
 * list.c: the source of each function that matches, with what its lines cost.
 *
 * A sample counts once for a line and once for a function, however often these recur in
 * its stack: pprof's sums over nodes count each recurrence.
 */
#include "report_priv.h"

#define MARGIN 5 /* lines before the first and behind the last with a cost */

struct routine { /* of one name, in one file */
    uint32_t name, file;
    uint32_t first, n; /* of its nodes, in members */
    struct sn_values sum;
};

struct listing {
    struct sn_report *r;
    struct sn_sources *sources;
    struct sn_arena *arena;
    uint32_t *members; /* matching nodes: by name, file, then as the graph has them */
    uint32_t n_members;
    uint32_t *group_of;      /* of each node: its routine */
    uint32_t *line_of;       /* of each node: its line's number */
    struct sn_values *lines; /* of each line's number */
    uint32_t n_lines;
    struct routine *routines;
    uint32_t n_routines, cap_routines;
    struct sn_buf *out;
};

struct member {
    const char *name, *file;
    uint32_t node, at;
};

static int by_name_and_file(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    if (order == 0)
        order = strcmp(x->file, y->file);
    return order != 0 ? order : (x->at > y->at) - (x->at < y->at);
}

/* ---- which ----------------------------------------------------------------------------
 */

static bool find_members(struct listing *l, struct sn_regex *rx)
{
    const struct sn_graph *g = l->r->g;
    const struct sn_profile *p = l->r->v.p;
    struct member *v = sn_arena_alloc(l->arena, (g->n_order + 1) * sizeof *v);
    l->members = sn_arena_alloc(l->arena, (g->n_order + 1) * sizeof *l->members);
    for (uint32_t i = 0; !sn_arena_failed(l->arena) && i < g->n_order; i++) {
        const struct sn_node_info *info = &g->nodes[g->order[i]].info;
        const char *name = sn_profile_str(p, info->name);
        if (*name != '\0' && sn_regex_match(rx, name))
            v[l->n_members++] =
                (struct member){name, sn_profile_str(p, info->file), g->order[i], i};
    }
    if (sn_arena_failed(l->arena))
        return false;
    qsort(v, l->n_members, sizeof *v, by_name_and_file);
    for (uint32_t i = 0; i < l->n_members; i++)
        l->members[i] = v[i].node;
    return true;
}

static const struct sn_node *member(const struct listing *l, uint32_t i)
{
    return &l->r->g->nodes[l->members[i]];
}

/* Runs of one name and file, and within them the lines, numbered. */
static bool find_routines(struct listing *l)
{
    struct sn_map *lines = sn_map_new(l->arena);
    size_t n_nodes = (size_t)l->r->g->n_nodes + 1;
    l->group_of = sn_arena_alloc(l->arena, n_nodes * sizeof *l->group_of);
    l->line_of = sn_arena_alloc(l->arena, n_nodes * sizeof *l->line_of);
    if (lines == NULL || l->group_of == NULL || l->line_of == NULL)
        return false;
    memset(l->group_of, 0xff, n_nodes * sizeof *l->group_of);
    memset(l->line_of, 0xff, n_nodes * sizeof *l->line_of);
    for (uint32_t i = 0; i < l->n_members; i++) {
        const struct sn_node_info *info = &member(l, i)->info;
        struct routine *last = l->n_routines > 0 ? &l->routines[l->n_routines - 1] : NULL;
        if (last == NULL || last->name != info->name || last->file != info->file) {
            last = SN_PUSH(l->arena, l->routines, l->n_routines, l->cap_routines);
            if (last == NULL)
                return false;
            *last = (struct routine){.name = info->name, .file = info->file, .first = i};
        }
        last->n++;
        uint32_t *line =
            sn_map_put(lines, (uint64_t)(l->n_routines - 1) << 32 | (uint32_t)info->line);
        if (line == NULL)
            return false;
        if (*line == SN_NONE)
            *line = l->n_lines++;
        l->group_of[l->members[i]] = l->n_routines - 1;
        l->line_of[l->members[i]] = *line;
    }
    return true;
}

static bool count(struct listing *l, struct sn_error *e)
{
    struct sn_values *sums =
        sn_graph_group(&l->r->v, l->r->g, l->group_of, l->n_routines, e);
    l->lines = sn_graph_group(&l->r->v, l->r->g, l->line_of, l->n_lines, e);
    for (uint32_t i = 0; sums != NULL && i < l->n_routines; i++)
        l->routines[i].sum = sums[i];
    return sums != NULL && l->lines != NULL;
}

/* ---- text -----------------------------------------------------------------------------
 */

const char *sn_value_or_dot(const struct sn_view *v, int64_t value, char *buf,
                            size_t size)
{
    return value == 0 ? "." : sn_view_value(v, value, buf, size);
}

static void range(const struct listing *l, const struct routine *x, int64_t *start,
                  int64_t *end)
{
    const struct sn_node_info *first = &member(l, x->first)->info;
    *start = first->start_line != 0 ? first->start_line : first->line - MARGIN;
    *end = first->line + MARGIN;
    for (uint32_t i = 0; i < x->n; i++) {
        const struct sn_node_info *info = &member(l, x->first + i)->info;
        int64_t from = info->start_line != 0 ? info->start_line : info->line - MARGIN;
        if (from < *start)
            *start = from;
        else if (info->line + MARGIN > *end)
            *end = info->line + MARGIN;
    }
    *start = *start < 1 ? 1 : *start;
}

static void put_lines(struct listing *l, const struct routine *x, const char *file)
{
    const struct sn_view *v = &l->r->v;
    char flat_text[64], cum_text[64];
    int64_t start, end;
    size_t length;
    const char *text;
    struct sn_map *at = sn_map_new(l->arena); /* line to its number */
    for (uint32_t i = 0; at != NULL && i < x->n; i++) {
        uint32_t *number = sn_map_put(at, (uint64_t)member(l, x->first + i)->info.line);
        if (number != NULL)
            *number = l->line_of[l->members[x->first + i]];
    }
    range(l, x, &start, &end);
    for (int64_t line = start;
         at != NULL && line <= end &&
         (text = sn_source_line(l->sources, file, line, &length)) != NULL;
         line++) {
        static const struct sn_values nothing;
        uint32_t number = sn_map_get(at, (uint64_t)line);
        const struct sn_values *s = number != SN_NONE ? &l->lines[number] : &nothing;
        sn_buf_printf(
            l->out, "%10s %10s %6lld:",
            sn_value_or_dot(v, sn_mean(s->flat, s->flat_div), flat_text,
                            sizeof flat_text),
            sn_value_or_dot(v, sn_mean(s->cum, s->cum_div), cum_text, sizeof cum_text),
            (long long)line);
        sn_buf_add(l->out, text, length);
        sn_buf_putc(l->out, '\n');
    }
}

static void put_routine(struct listing *l, const struct routine *x)
{
    const struct sn_view *v = &l->r->v;
    const char *name = sn_profile_str(v->p, x->name),
               *file = sn_profile_str(v->p, x->file);
    int64_t flat = sn_mean(x->sum.flat, x->sum.flat_div);
    int64_t cum = sn_mean(x->sum.cum, x->sum.cum_div);
    char flat_text[64], cum_text[64], percent[32];
    if (*file == '\0') /* unless another part of it has a file */
        return;
    sn_buf_printf(l->out,
                  "ROUTINE ======================== %s in %s\n"
                  "%10s %10s (flat, cum) %s of Total\n",
                  name, file, sn_view_value(v, flat, flat_text, sizeof flat_text),
                  sn_view_value(v, cum, cum_text, sizeof cum_text),
                  sn_unit_percent(cum, v->total, percent, sizeof percent));
    const char *error = sn_source_error(l->sources, file);
    if (error == NULL) {
        put_lines(l, x, file);
        return;
    }
    sn_buf_printf(l->out, " Error: %s\n", error);
    sn_source_tried(l->sources, file, l->out);
}

static void put_routines(struct listing *l)
{
    for (uint32_t i = 0, n; i < l->n_routines; i += n) {
        const struct routine *x = &l->routines[i];
        bool file = false;
        for (n = 0; i + n < l->n_routines && x[n].name == x->name; n++)
            file |= x[n].file != 0;
        if (!file)
            sn_buf_printf(l->out, "No source information for %s\n",
                          sn_profile_str(l->r->v.p, x->name));
        for (uint32_t k = 0; k < n; k++)
            put_routine(l, &x[k]);
    }
}

bool sn_report_list(struct sn_profile *p, const struct sn_options *o,
                    const char *argument, struct sn_buf *out, struct sn_error *e)
{
    struct sn_report r = {.g = NULL};
    struct sn_view_kind kind = {.no_trim = true, .lines = true, .objects = true};
    struct sn_regex *rx = sn_regex_new(argument, "list", e);
    struct listing l = {.r = &r, .arena = p->arena, .out = out};
    bool good = rx != NULL && sn_report_open(&r, p, o, kind, true, e);
    if (good)
        r.v.out_unit = r.v.o.unit; /* of each value its own */
    if (good && !(find_members(&l, rx) && find_routines(&l)))
        good = sn_fail(e, NULL, -1, "out of memory");
    if (good && l.n_members == 0)
        good = sn_fail(e, NULL, -1, "no matches found for regexp: %s", argument);
    good = good && count(&l, e);
    if (good && (l.sources = sn_sources_new(o, p->arena)) != NULL) {
        char total[64];
        sn_buf_printf(out, "Total: %s\n",
                      sn_view_value(&r.v, r.v.total, total, sizeof total));
        put_routines(&l);
    }
    sn_report_close(&r);
    sn_regex_free(rx);
    return good && sn_report_done(out, e);
}
