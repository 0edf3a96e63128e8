/* tags.c: the labels: each key with its values and what they weigh. */
#include "report_priv.h"

struct value {
    uint32_t key, text; /* string ids */
    int64_t weight;
};

struct tally {
    const struct sn_view *v;
    struct sn_arena *arena;
    struct value *values;
    uint32_t n_values, cap_values;
    struct sn_map *index; /* key << 32 | text */
};

static void add(struct tally *t, uint32_t key, uint32_t text, int64_t weight)
{
    uint32_t *known = sn_map_put(t->index, (uint64_t)key << 32 | text);
    if (known == NULL)
        return;
    if (*known == SN_NONE) {
        struct value *x = SN_PUSH(t->arena, t->values, t->n_values, t->cap_values);
        if (x == NULL)
            return;
        *x = (struct value){key, text, 0};
        *known = t->n_values - 1;
    }
    t->values[*known].weight += weight;
}

static void add_sample(struct tally *t, const struct sn_sample *s, int64_t weight)
{
    struct sn_profile *p = t->v->p;
    char number[64];
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct sn_label *l = &p->labels[s->label0 + i];
        uint32_t text = l->str;
        if (text == 0 && l->num == 0 && l->num_unit == 0)
            continue;
        if (text == 0) {
            sn_unit_label(l->num, sn_view_label_unit(t->v, l->key), t->v->out_unit,
                          number, sizeof number);
            text = sn_strtab_add(p->strings, number);
        }
        add(t, l->key, text, weight);
    }
}

static int by_key_and_weight(const void *a, const void *b, void *profile)
{
    const struct value *x = a, *y = b;
    const struct sn_profile *p = profile;
    int64_t wx = sn_abs(x->weight), wy = sn_abs(y->weight);
    if (x->key != y->key)
        return strcmp(sn_profile_str(p, x->key), sn_profile_str(p, y->key));
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
static void put_key(struct tally *t, const struct value *x, uint32_t n,
                    struct sn_buf *out)
{
    const struct sn_profile *p = t->v->p;
    char sum_text[64], total_text[64], percent[32];
    const char *key = sn_arena_printf(t->arena, "%s:", sn_profile_str(p, x->key));
    size_t wide = 0;
    int64_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        const char *cell = weight_cell(t, x[i].weight);
        size_t w = cell != NULL ? width_of(cell) : 0;
        wide = w > wide ? w : wide;
        sum += x[i].weight;
    }
    if (sn_arena_failed(t->arena))
        return;
    put_right(out, key, width_of(key) + 1);
    sn_buf_printf(out, " Total %s of %s",
                  sn_view_value(t->v, sum, sum_text, sizeof sum_text),
                  sn_view_value(t->v, t->v->total, total_text, sizeof total_text));
    if (t->v->total > 0)
        sn_buf_printf(out, " (%s)",
                      sn_unit_percent(sum, t->v->total, percent, sizeof percent));
    sn_buf_putc(out, '\n');
    for (uint32_t i = 0; i < n; i++) {
        put_right(out, "", width_of(key) + 1);
        put_right(out, weight_cell(t, x[i].weight), wide + 1);
        sn_buf_printf(out, " %s\n", sn_profile_str(p, x[i].text));
    }
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
