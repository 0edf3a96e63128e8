/*
 * scene.c: a trimmed graph as a picture: words, sizes and colours, as pprof draws them.
 * Where nodes go is the layout's business.
 */
#include "report_priv.h"

#include <math.h>

#define MAX_NODELETS 4

struct painter {
    struct sn_report r;
    struct sn_scene *s;
    struct sn_shortener *shortener;
    int64_t max_flat;
    uint32_t *scene_node; /* of a graph's node */
    bool *has_tags;       /* by node of the graph */
    bool hide_labels;     /* all samples have the same: they say nothing */
    bool pprof_boxes;     /* of the options */
};

/* ---- colours: grey at 0, to red at 1, to green at -1
 * ------------------------------------------ */

static uint32_t channel(double x)
{
    return (uint32_t)(x * 255.0);
}

uint32_t sn_score_color(double score, bool background)
{
    double saturation = background ? 0.1 : 1.0, value = background ? 0.93 : 0.7;
    double r = value, g = value;
    score = fmax(-1, fmin(1, score));
    if (fabs(score) < 0.2) /* or it would be yellow */
        saturation *= fabs(score) / 0.2;
    if (score > 0)
        score = pow(score, 0.3);
    else if (score < 0)
        score = -pow(-score, 0.3);
    if (score < 0)
        r = value * (1 + saturation * score);
    else
        g = value * (1 - saturation * score);
    return channel(r) << 16 | channel(g) << 8 | channel(value * (1 - saturation));
}

static uint32_t color(const struct painter *x, int64_t value, bool background)
{
    return sn_score_color((double)value / (double)sn_abs(x->r.v.total), background);
}

/* ---- boxes
 * ----------------------------------------------------------------------------------------
 */

static const char *value_text(const struct painter *x, int64_t value)
{
    char buf[64];
    return sn_arena_strdup(x->s->arena, sn_view_value(&x->r.v, value, buf, sizeof buf));
}

static const char *share_text(const struct painter *x, int64_t value)
{
    char buf[32];
    const char *s = sn_unit_percent(value, x->r.v.total, buf, sizeof buf);
    return sn_arena_strdup(x->s->arena, s + strspn(s, " "));
}

double sn_score_font(int64_t value, int64_t max)
{
    if (max == 0 || value == 0)
        return 8;
    return 8 + ceil(16 * sqrt((double)sn_abs(value) / (double)max));
}

static double font_size(const struct painter *x, int64_t flat)
{
    return sn_score_font(flat, x->max_flat);
}

static const char *node_label(const struct painter *x, const struct sn_node *n,
                              int64_t flat, int64_t cum)
{
    struct sn_buf b = {.arena = x->s->arena};
    sn_buf_puts(&b, sn_node_box_name(x->shortener, x->r.v.p, &n->info, x->pprof_boxes,
                                     x->s->arena));
    sn_buf_putc(&b, '\n');
    if (flat != 0)
        sn_buf_printf(&b, "%s (%s)", value_text(x, flat), share_text(x, flat));
    else
        sn_buf_putc(&b, '0');
    if (cum != flat)
        sn_buf_printf(&b, "%cof %s (%s)", flat != 0 ? '\n' : ' ', value_text(x, cum),
                      share_text(x, cum));
    return b.data;
}

static uint32_t add_box(struct painter *x, struct sn_scene_node box)
{
    struct sn_scene *s = x->s;
    struct sn_scene_node *n = SN_PUSH(s->arena, s->nodes, s->n_nodes, s->cap_nodes);
    if (n != NULL)
        *n = box;
    return s->n_nodes - 1;
}

static void add_arrow(struct painter *x, struct sn_scene_edge arrow)
{
    struct sn_scene *s = x->s;
    struct sn_scene_edge *e = SN_PUSH(s->arena, s->edges, s->n_edges, s->cap_edges);
    if (e != NULL)
        *e = arrow;
}

/* ---- tags: the heaviest, as small boxes below their node
 * ----------------------------------------- */

struct tags {
    struct sn_tag *v;
    uint32_t n;
};

static int by_weight(const void *a, const void *b, void *flat)
{
    const struct sn_tag *x = a, *y = b;
    if (flat == NULL && x->cum != y->cum && sn_abs(x->cum) != sn_abs(y->cum))
        return sn_abs(x->cum) > sn_abs(y->cum) ? -1 : 1;
    if (x->flat != y->flat && sn_abs(x->flat) != sn_abs(y->flat))
        return sn_abs(x->flat) > sn_abs(y->flat) ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void sort_tags(struct tags t, bool flat)
{
    if (t.n > 1)
        qsort_r(t.v, t.n, sizeof *t.v, by_weight, flat ? &flat : NULL);
}

/* Copies of a node's label tags, or of the numbers that belong to one (0: to none;
 * SN_NONE: to whichever). */
static struct tags tags_of(struct painter *x, const struct sn_node *n, bool numbers,
                           uint32_t label)
{
    const struct sn_graph *g = x->r.g;
    struct tags t = {0};
    uint32_t all = 0;
    for (uint32_t i = n->tags; i != SN_NONE; i = g->tags[i].next)
        all++;
    t.v = sn_arena_alloc(x->s->arena, (all + 1) * sizeof *t.v);
    for (uint32_t i = n->tags; t.v != NULL && i != SN_NONE; i = g->tags[i].next) {
        const struct sn_tag *tag = &g->tags[i];
        if (!tag->gone && (tag->unit != NULL) == numbers &&
            (!numbers || label == SN_NONE || tag->label == label))
            t.v[t.n++] = *tag;
    }
    return t;
}

static double distance(const struct sn_tag *a, const struct sn_tag *b)
{
    const char *unit;
    return fabs((double)a->value - sn_unit_scale(b->value, b->unit, a->unit, &unit));
}

/* One tag that stands for several: "1kB..3kB". */
static struct sn_tag join(struct painter *x, struct tags group)
{
    struct sn_tag sum = group.v[0];
    const struct sn_tag *low = &group.v[0], *high = &group.v[0];
    char from[64], to[64];
    const char *unit;
    for (uint32_t i = 1; i < group.n; i++) {
        const struct sn_tag *t = &group.v[i];
        if ((int64_t)sn_unit_scale(t->value, t->unit, low->unit, &unit) < low->value)
            low = t;
        if ((int64_t)sn_unit_scale(t->value, t->unit, high->unit, &unit) > high->value)
            high = t;
        sum.flat += t->flat;
        sum.flat_div += t->flat_div;
        sum.cum += t->cum;
        sum.cum_div += t->cum_div;
    }
    sn_unit_label(low->value, low->unit, "auto", from, sizeof from);
    sn_unit_label(high->value, high->unit, "auto", to, sizeof to);
    sum.name = group.n == 1 ? sn_arena_strdup(x->s->arena, from)
                            : sn_arena_printf(x->s->arena, "%s..%s", from, to);
    sum.flat = sn_mean(sum.flat, sum.flat_div);
    sum.cum = sn_mean(sum.cum, sum.cum_div);
    sum.flat_div = sum.cum_div = 0;
    return sum;
}

/* The heaviest few, each with the tags that are nearest to it. */
static struct tags collapse(struct painter *x, struct tags t, bool flat)
{
    struct tags groups[MAX_NODELETS], out = {.n = MAX_NODELETS};
    sort_tags(t, flat);
    if (t.n <= MAX_NODELETS)
        return t;
    out.v = sn_arena_alloc(x->s->arena, MAX_NODELETS * sizeof *out.v);
    for (uint32_t i = 0; i < MAX_NODELETS; i++) {
        groups[i].v = sn_arena_alloc(x->s->arena, t.n * sizeof *t.v);
        if (groups[i].v == NULL || out.v == NULL)
            return (struct tags){0};
        groups[i].v[0] = t.v[i];
        groups[i].n = 1;
    }
    for (uint32_t i = MAX_NODELETS; i < t.n; i++) {
        uint32_t nearest = 0;
        for (uint32_t k = 1; k < MAX_NODELETS; k++)
            if (distance(&t.v[i], &groups[k].v[0]) <
                distance(&t.v[i], &groups[nearest].v[0]))
                nearest = k;
        groups[nearest].v[groups[nearest].n++] = t.v[i];
    }
    for (uint32_t i = 0; i < MAX_NODELETS; i++)
        out.v[i] = join(x, groups[i]);
    sort_tags(out, flat);
    return out;
}

static uint32_t add_tag(struct painter *x, uint32_t from, const char *name,
                        const char *label, int64_t weight, bool dotted)
{
    const char *value = value_text(x, weight);
    uint32_t box =
        add_box(x, (struct sn_scene_node){.name = name,
                                          .label = sn_arena_strdup(x->s->arena, label),
                                          .tooltip = value,
                                          .font_size = 8,
                                          .color = 0,
                                          .fill = 0xf8f8f8,
                                          .tag = true,
                                          .flat = weight,
                                          .cum = weight});
    add_arrow(x,
              (struct sn_scene_edge){.from = from,
                                     .to = box,
                                     .tooltip = value,
                                     .weight = 100,
                                     .label = sn_arena_printf(x->s->arena, " %s", value),
                                     .color = 0x888888,
                                     .pen_width = 1,
                                     .dotted = dotted,
                                     .tag = true,
                                     .min_len = 1});
    return box;
}

static bool add_numbers(struct painter *x, struct tags t, uint32_t from, bool flat)
{
    bool any = false;
    t = collapse(x, t, flat);
    for (uint32_t i = 0; i < t.n; i++) {
        const struct sn_tag *tag = &t.v[i];
        int64_t own = sn_mean(tag->flat, tag->flat_div),
                all = sn_mean(tag->cum, tag->cum_div);
        bool solid = flat || own == all;
        int64_t weight = solid ? own : all;
        if (weight == 0)
            continue;
        any = true;
        add_tag(x, from,
                sn_arena_printf(x->s->arena, "N%s_%u", x->s->nodes[from].name, i),
                tag->name, weight, !solid);
    }
    return any;
}

static bool add_tags(struct painter *x, const struct sn_node *n, uint32_t box)
{
    bool any = false, flat = false;
    for (uint32_t e = n->out; e != SN_NONE; e = x->r.g->edges[e].next_out)
        flat |= !x->r.g->edges[e].gone; /* its callees have theirs */
    struct tags labels = x->hide_labels ? (struct tags){0} : tags_of(x, n, false, 0);
    sort_tags(labels, flat);
    for (uint32_t i = 0; i < labels.n && i < MAX_NODELETS; i++) {
        const struct sn_tag *t = &labels.v[i];
        int64_t weight =
            flat ? sn_mean(t->flat, t->flat_div) : sn_mean(t->cum, t->cum_div);
        if (weight == 0)
            continue;
        any = true;
        uint32_t tag = add_tag(
            x, box, sn_arena_printf(x->s->arena, "%s_%u", x->s->nodes[box].name, i),
            t->name, weight, false);
        add_numbers(x, tags_of(x, n, true, t->label), tag, flat);
    }
    uint32_t whose = x->hide_labels ? SN_NONE : 0; /* sizes stay */
    return add_numbers(x, tags_of(x, n, true, whose), box, flat) || any;
}

static void add_node(struct painter *x, uint32_t index, uint32_t number)
{
    const struct sn_node *n = &x->r.g->nodes[index];
    int64_t flat = sn_mean(n->flat, n->flat_div), cum = sn_mean(n->cum, n->cum_div);
    struct sn_arena *a = x->s->arena;
    x->scene_node[index] =
        add_box(x, (struct sn_scene_node){.name = sn_arena_printf(a, "N%u", number),
                                          .label = node_label(x, n, flat, cum),
                                          .tooltip = sn_arena_printf(
                                              a, "%s (%s)", n->name,
                                              value_text(x, cum != flat ? cum : flat)),
                                          .font_size = font_size(x, flat),
                                          .color = color(x, cum, false),
                                          .fill = color(x, cum, true),
                                          .flat = flat,
                                          .cum = cum});
}

/* ---- arrows
 * ------------------------------------------------------------------------------------------
 */

static int64_t at_most(int64_t x, int64_t max)
{
    x = sn_abs(x);
    return x < max ? x : max;
}

static void add_edge(struct painter *x, const struct sn_edge *e)
{
    struct sn_arena *a = x->s->arena;
    const struct sn_graph *g = x->r.g;
    int64_t weight = sn_mean(e->weight, e->weight_div), total = x->r.v.total;
    const char *value = value_text(x, weight);
    struct sn_scene_edge arrow = {
        .from = x->scene_node[e->src],
        .to = x->scene_node[e->dst],
        .label = sn_arena_printf(a, " %s%s", value, e->inlined ? "\n (inline)" : ""),
        .tooltip =
            sn_arena_printf(a, "%s %s %s (%s)", g->nodes[e->src].name,
                            e->residual ? "..." : "->", g->nodes[e->dst].name, value),
        .weight = 1,
        .pen_width = 1,
        .dotted = e->residual,
        .min_len = x->has_tags[e->src] ? 2 : 1};
    if (total != 0) {
        arrow.weight += (int)at_most(weight * 100 / total, 100);
        arrow.pen_width += (double)at_most(weight * 5 / total, 5);
        arrow.color = color(x, weight, false);
    }
    add_arrow(x, arrow);
}

/* ---- the whole
 * ----------------------------------------------------------------------------------------
 */

/* The next label of words from *i on: numbers, such as a thread's, are other boxes. */
static const struct sn_label *next_words(const struct sn_profile *p,
                                         const struct sn_sample *s, uint32_t *i)
{
    while (*i < s->n_labels) {
        const struct sn_label *l = &p->labels[s->label0 + (*i)++];
        if (l->str != 0)
            return l;
    }
    return NULL;
}

static bool same_labels(const struct sn_profile *p, const struct sn_sample *a,
                        const struct sn_sample *b)
{
    uint32_t i = 0, k = 0;
    const struct sn_label *x, *y;
    do {
        x = next_words(p, a, &i);
        y = next_words(p, b, &k);
        if (x == NULL || y == NULL)
            return x == y;
    } while (x->key == y->key && x->str == y->str);
    return false;
}

static bool labels_vary(const struct sn_profile *p)
{
    for (uint32_t i = 1; i < p->n_samples; i++)
        if (!same_labels(p, &p->samples[0], &p->samples[i]))
            return true;
    return false;
}

static bool describe(struct painter *x)
{
    struct sn_buf b = {.arena = x->s->arena};
    sn_report_head(&x->r, true, &b);
    x->s->legend = b.data;
    x->s->title = sn_arena_strdup(x->s->arena, x->r.v.title);
    x->s->total = x->r.v.total;
    x->s->see = "https://git.io/JfYMW";
    for (uint32_t i = 0; i < x->r.g->n_order; i++) {
        const struct sn_node *n = &x->r.g->nodes[x->r.g->order[i]];
        int64_t flat = sn_abs(sn_mean(n->flat, n->flat_div));
        x->max_flat = flat > x->max_flat ? flat : x->max_flat;
    }
    size_t n = x->r.g->n_nodes + 1;
    x->scene_node = sn_arena_alloc(x->s->arena, n * sizeof *x->scene_node);
    x->has_tags = sn_arena_alloc(x->s->arena, n * sizeof *x->has_tags);
    return !sn_arena_failed(x->s->arena);
}

static void paint(struct painter *x)
{
    struct sn_graph *g = x->r.g;
    struct sn_edge **edges;
    for (uint32_t i = 0; i < g->n_order; i++) {
        uint32_t node = g->order[i];
        add_node(x, node, i + 1);
        if (sn_arena_failed(x->s->arena))
            return;
        x->has_tags[node] = add_tags(x, &g->nodes[node], x->scene_node[node]);
    }
    uint32_t n = sn_graph_all(g, &edges);
    for (uint32_t i = 0; i < n; i++)
        add_edge(x, edges[i]);
}

struct sn_scene *sn_scene_empty(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_scene *s = a != NULL ? sn_arena_alloc(a, sizeof *s) : NULL;
    if (s != NULL)
        s->arena = a;
    else
        sn_arena_free(a);
    return s;
}

struct sn_scene *sn_scene_new(struct sn_profile *p, const struct sn_options *o,
                              struct sn_error *e)
{
    struct sn_view_kind kind = {.node_count = 80, .drawn = true, .edges = true};
    struct painter x = {.s = sn_scene_empty(),
                        .shortener = sn_shortener_new(e),
                        .pprof_boxes = o->pprof_boxes};
    bool good = x.s != NULL && x.shortener != NULL &&
                sn_report_open(&x.r, p, o, kind, true, e) && describe(&x);
    x.hide_labels = good && !o->pprof_boxes && !labels_vary(p);
    if (good)
        paint(&x);
    good = good && !sn_arena_failed(x.s->arena) && !sn_arena_failed(x.r.g->arena);
    sn_report_close(&x.r);
    sn_shortener_free(x.shortener);
    if (good)
        return x.s;
    sn_scene_free(x.s);
    sn_fail(e, NULL, -1, "out of memory");
    return NULL;
}

void sn_scene_free(struct sn_scene *s)
{
    if (s != NULL)
        sn_arena_free(s->arena);
}
