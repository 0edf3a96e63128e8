/*
 * tags.c: the labels: each key with its values and what they weigh, as pprof prints them;
 * or, as histograms, sizes and times put together by powers, in their order, with bars.
 */
#include "report_priv.h"

#include <stdio.h>

#define BAR 40 /* characters, of the heaviest */

struct value {
    uint32_t key, text; /* string ids */
    int64_t weight;
    bool in_order; /* by `low` */
    double low;
};

struct tally {
    const struct sn_view *v;
    struct sn_arena *arena;
    struct value *values;
    uint32_t n_values, cap_values;
    struct sn_map *index; /* key << 32 | text */
};

static void add(struct tally *t, struct value v)
{
    uint32_t *known = sn_map_put(t->index, (uint64_t)v.key << 32 | v.text);
    if (known == NULL)
        return;
    if (*known == SN_NONE) {
        struct value *x = SN_PUSH(t->arena, t->values, t->n_values, t->cap_values);
        if (x == NULL)
            return;
        *x = v;
        *known = t->n_values - 1;
        return;
    }
    t->values[*known].weight += v.weight;
}

/* ---- histograms -----------------------------------------------------------------------
 */

/* Twofold sizes, tenfold times; the last of these is open, as libsonde's lifetimes are.
 */
static const struct family {
    const char *unit;
    double first, step, last; /* the first begins at 0 */
} sizes = {"bytes", 8, 2, 0x1p60}, times = {"nanoseconds", 1e3, 10, 1e11};

static const char *range_text(const struct family *f, double low, double high, char *buf,
                              size_t size)
{
    char from[64], to[64];
    sn_unit_label((int64_t)low, f->unit, "auto", from, sizeof from);
    sn_unit_label((int64_t)high, f->unit, "auto", to, sizeof to);
    if (low == 0)
        snprintf(buf, size, "below %s", to);
    else if (low >= f->last)
        snprintf(buf, size, "%s and more", from);
    else
        snprintf(buf, size, "%s to %s", from, to);
    return buf;
}

/* The bar in which this number is. False: it is neither a size nor a time. */
static bool put_in_order(const struct tally *t, const struct sn_label *l, struct value *v)
{
    const char *unit = sn_view_label_unit(t->v, l->key);
    char buf[160];
    double ratio;
    const struct family *f = &sizes;
    if (!sn_unit_compatible(unit, f->unit, &ratio))
        f = &times;
    if (!sn_unit_compatible(unit, f->unit, &ratio))
        return false;
    double x = (double)l->num * ratio, high = f->first;
    while (x >= high && high <= f->last) {
        v->low = high;
        high *= f->step;
    }
    v->in_order = true;
    range_text(f, v->low, high, buf, sizeof buf);
    v->text = sn_strtab_add(t->v->p->strings, buf);
    return true;
}

static void put_bar(int64_t weight, int64_t heaviest, struct sn_buf *out)
{
    int n = (int)((double)sn_abs(weight) / (double)heaviest * BAR + 0.5);
    for (int i = 0; i < n || i == 0; i++)
        sn_buf_putc(out, weight < 0 ? '-' : '#');
}

/* ---- counting -------------------------------------------------------------------------
 */

static void add_sample(struct tally *t, const struct sn_sample *s, int64_t weight)
{
    struct sn_profile *p = t->v->p;
    char number[64];
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct sn_label *l = &p->labels[s->label0 + i];
        struct value v = {.key = l->key, .text = l->str, .weight = weight};
        if (l->str == 0 && !(t->v->o.histogram && put_in_order(t, l, &v))) {
            sn_unit_label(l->num, sn_view_label_unit(t->v, l->key), t->v->out_unit,
                          number, sizeof number);
            v.text = sn_strtab_add(p->strings, number);
        }
        add(t, v);
    }
}

static int by_key_and_weight(const void *a, const void *b, void *profile)
{
    const struct value *x = a, *y = b;
    const struct sn_profile *p = profile;
    int64_t wx = sn_abs(x->weight), wy = sn_abs(y->weight);
    if (x->key != y->key)
        return strcmp(sn_profile_str(p, x->key), sn_profile_str(p, y->key));
    if (x->in_order && y->in_order)
        return (x->low > y->low) - (x->low < y->low);
    if (x->weight != y->weight && wx != wy)
        return wx > wy ? -1 : 1;
    return strcmp(sn_profile_str(p, x->text), sn_profile_str(p, y->text));
}

static size_t width_of(const char *s)
{
    size_t n = 0;
    for (; *s != '\0'; s++)
        n += (*s & 0xc0) != 0x80; /* characters, not bytes */
    return n;
}

static void put_right(struct sn_buf *out, const char *s, size_t width)
{
    for (size_t n = width_of(s); n < width; n++)
        sn_buf_putc(out, ' ');
    sn_buf_puts(out, s);
}

/* "1.20s (10.00%):" */
static const char *weight_cell(struct tally *t, int64_t weight)
{
    char value[64], percent[32];
    sn_view_value(t->v, weight, value, sizeof value);
    if (t->v->total <= 0)
        return sn_arena_printf(t->arena, "%s:", value);
    return sn_arena_printf(t->arena, "%s (%s):", value,
                           sn_unit_percent(weight, t->v->total, percent, sizeof percent));
}

/* Columns are as wide as their widest cell and one blank; cells stand at the right. */
struct columns {
    size_t key, weight, text;
    int64_t sum, heaviest;
};

static struct columns measure(struct tally *t, const char *key, const struct value *x,
                              uint32_t n)
{
    struct columns c = {.key = width_of(key) + 1};
    for (uint32_t i = 0; i < n; i++) {
        const char *cell = weight_cell(t, x[i].weight);
        size_t weight = cell != NULL ? width_of(cell) : 0,
               text = width_of(sn_profile_str(t->v->p, x[i].text));
        c.weight = weight > c.weight ? weight : c.weight;
        c.text = text > c.text ? text : c.text;
        c.sum += x[i].weight;
        if (sn_abs(x[i].weight) > c.heaviest)
            c.heaviest = sn_abs(x[i].weight);
    }
    return c;
}

static void put_value(struct tally *t, const struct value *x, const struct columns *c,
                      struct sn_buf *out)
{
    const char *text = sn_profile_str(t->v->p, x->text);
    if (x->in_order && x->weight == 0)
        return;
    put_right(out, "", c->key);
    put_right(out, weight_cell(t, x->weight), c->weight + 1);
    sn_buf_printf(out, " %s", text);
    if (x->in_order) {
        put_right(out, "  ", c->text + 2 - width_of(text));
        put_bar(x->weight, c->heaviest, out);
    }
    sn_buf_putc(out, '\n');
}

static void put_key(struct tally *t, const struct value *x, uint32_t n,
                    struct sn_buf *out)
{
    char sum_text[64], total_text[64], percent[32];
    const char *key = sn_arena_printf(t->arena, "%s:", sn_profile_str(t->v->p, x->key));
    if (key == NULL)
        return;
    struct columns c = measure(t, key, x, n);
    if (sn_arena_failed(t->arena))
        return;
    put_right(out, key, c.key);
    sn_buf_printf(out, " Total %s of %s",
                  sn_view_value(t->v, c.sum, sum_text, sizeof sum_text),
                  sn_view_value(t->v, t->v->total, total_text, sizeof total_text));
    if (t->v->total > 0)
        sn_buf_printf(out, " (%s)",
                      sn_unit_percent(c.sum, t->v->total, percent, sizeof percent));
    sn_buf_putc(out, '\n');
    for (uint32_t i = 0; i < n; i++)
        put_value(t, &x[i], &c, out);
    sn_buf_putc(out, '\n');
}

bool sn_report_tags(struct sn_profile *p, const struct sn_options *o,
                    const char *argument, struct sn_buf *out, struct sn_error *e)
{
    struct sn_report r;
    (void)argument;
    if (!sn_report_open(&r, p, o, (struct sn_view_kind){.node_count = 80}, false, e))
        return false;
    struct tally t = {.v = &r.v, .arena = p->arena, .index = sn_map_new(p->arena)};
    for (uint32_t i = 0; t.index != NULL && i < p->n_samples; i++) {
        int64_t divisor, weight = sn_view_weight(&r.v, i, &divisor);
        add_sample(&t, &p->samples[i], weight);
    }
    if (t.n_values > 0)
        qsort_r(t.values, t.n_values, sizeof *t.values, by_key_and_weight, p);
    for (uint32_t i = 0, n; i < t.n_values; i += n) {
        for (n = 1; i + n < t.n_values && t.values[i + n].key == t.values[i].key; n++)
            continue;
        put_key(&t, &t.values[i], n, out);
    }
    if (sn_arena_failed(p->arena))
        return sn_fail(e, NULL, -1, "out of memory");
    return sn_report_done(out, e);
}
