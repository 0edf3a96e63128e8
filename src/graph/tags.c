/*
 * tags.c: samples and labels left out by what the labels say, and labels as frames.
 *
 * A filter is a range of numbers ("1kb:2mb"), or a list of regular expressions parted by
 * commas; either may be of one key only ("key=...").
 */
#include "graph_priv.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#define MAX_REGEXES 64

struct tag_filter {
    const struct sn_view *v;
    const char *key; /* NULL: any */
    bool wanted, is_range, has_low, has_high;
    double low, high;
    const char *unit;
    struct sn_regex *rx[MAX_REGEXES];
    size_t n_rx;
};

static bool is_text(const struct sn_label *l)
{
    return l->str != 0;
}

static bool is_number(const struct sn_label *l)
{
    return l->str == 0;
}

/* ---- parsing
 * -------------------------------------------------------------------------------- */

/* A number and its unit: "+12", "30kb". */
struct quantity {
    const char *begin, *end;
    int64_t value;
    char unit[24];
};

static bool find_quantity(const char *s, struct quantity *q)
{
    const char *digits;
    for (q->begin = s; *q->begin != '\0'; q->begin++) {
        digits = q->begin + (*q->begin == '+' || *q->begin == '-');
        if (isdigit((unsigned char)*digits))
            break;
    }
    if (*q->begin == '\0')
        return false;
    errno = 0;
    q->value = strtoll(q->begin, (char **)&q->end, 10);
    size_t n = 0;
    while (isalpha((unsigned char)q->end[n]) && n + 1 < sizeof q->unit)
        n++;
    memcpy(q->unit, q->end, n);
    q->unit[n] = '\0';
    q->end += n;
    return errno == 0;
}

/* False: it is no range, but a regular expression. */
static bool parse_range(struct tag_filter *f, const char *s, struct sn_arena *a)
{
    struct quantity x, y;
    const char *other;
    if (!find_quantity(s, &x))
        return false;
    const char *unit = sn_arena_strdup(a, x.unit);
    f->low = f->high = sn_unit_scale(x.value, unit, unit, &f->unit);
    bool colon_before = x.begin == s + 1 && *s == ':';
    if (find_quantity(x.end, &y)) {
        f->has_low = f->has_high = true;
        f->high = sn_unit_scale(y.value, y.unit, f->unit, &other);
        return x.begin == s && *x.end == ':' && y.begin == x.end + 1 && *y.end == '\0' &&
               strcmp(other, f->unit) == 0;
    }
    f->has_low = x.begin == s;
    f->has_high = *x.end == '\0';
    return (f->has_low || colon_before) &&
           (f->has_high || (f->has_low && strcmp(x.end, ":") == 0));
}

static bool add_regex(struct tag_filter *f, const char *rx, const char *what,
                      struct sn_error *e)
{
    if (f->n_rx == MAX_REGEXES)
        return sn_fail(e, NULL, -1, "%s: more than %d regular expressions", what,
                       MAX_REGEXES);
    f->rx[f->n_rx] = sn_regex_new(rx, what, e);
    return f->rx[f->n_rx++] != NULL;
}

static bool parse_filter(struct tag_filter *f, const struct sn_view *v, const char *text,
                         const char *what, struct sn_error *e)
{
    struct sn_arena *a = v->p->arena;
    *f = (struct tag_filter){.v = v};
    if (text == NULL || *text == '\0')
        return true;
    f->wanted = true;
    char *copy = sn_arena_strdup(a, text), *word;
    if (copy == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    char *equals = strchr(copy, '=');
    if (equals != NULL) {
        *equals = '\0';
        f->key = copy;
        copy = equals + 1;
    }
    if (parse_range(f, copy, a)) {
        f->is_range = true;
        sn_warn(&v->o, sn_arena_printf(a,
                                       "%s: taken for a range, not for a regular "
                                       "expression: '%s'",
                                       what, copy));
        return true;
    }
    while ((word = strsep(&copy, ",")) != NULL)
        if (!add_regex(f, word, what, e))
            return false;
    return true;
}

static void close_filter(struct tag_filter *f)
{
    for (size_t i = 0; i < f->n_rx; i++)
        sn_regex_free(f->rx[i]);
}

/* ---- matching
 * --------------------------------------------------------------------------------- */

static const char *key_of(const struct tag_filter *f, const struct sn_label *l)
{
    return sn_profile_str(f->v->p, l->key);
}

static bool in_range(const struct tag_filter *f, const struct sn_label *l)
{
    const char *unit;
    double x = sn_unit_scale(l->num, sn_view_label_unit(f->v, l->key), f->unit, &unit);
    return strcmp(unit, f->unit) == 0 && (!f->has_low || x >= f->low) &&
           (!f->has_high || x <= f->high);
}

static bool matches_range(struct tag_filter *f, const struct sn_label *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (is_number(&v[i]) &&
            (f->key == NULL || strcmp(key_of(f, &v[i]), f->key) == 0) &&
            in_range(f, &v[i]))
            return true;
    return false;
}

/* With a key one of the expressions must match; without, each must, "key:value". */
static bool matches_value(struct tag_filter *f, const struct sn_label *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!is_text(&v[i]) || strcmp(key_of(f, &v[i]), f->key) != 0)
            continue;
        for (size_t k = 0; k < f->n_rx; k++)
            if (sn_regex_match(f->rx[k], sn_profile_str(f->v->p, v[i].str)))
                return true;
    }
    return false;
}

static bool matches_one(struct tag_filter *f, struct sn_regex *rx,
                        const struct sn_label *v, uint32_t n)
{
    char pair[1024];
    for (uint32_t i = 0; i < n; i++) {
        if (!is_text(&v[i]))
            continue;
        int len = snprintf(pair, sizeof pair, "%s:%s", key_of(f, &v[i]),
                           sn_profile_str(f->v->p, v[i].str));
        const char *text = pair;
        if (len >= (int)sizeof pair)
            text = sn_arena_printf(f->v->p->arena, "%s:%s", key_of(f, &v[i]),
                                   sn_profile_str(f->v->p, v[i].str));
        if (text != NULL && sn_regex_match(rx, text))
            return true;
    }
    return false;
}

static bool matches(struct tag_filter *f, const struct sn_sample *s)
{
    const struct sn_label *v = f->v->p->labels + s->label0;
    if (f->is_range)
        return matches_range(f, v, s->n_labels);
    if (f->key != NULL)
        return matches_value(f, v, s->n_labels);
    for (size_t k = 0; k < f->n_rx; k++)
        if (!matches_one(f, f->rx[k], v, s->n_labels))
            return false;
    return true;
}

struct by_tag {
    struct tag_filter focus, ignore;
    bool any_focused, any_ignored;
};

static bool keep_by_tag(void *arg, struct sn_profile *p, struct sn_sample *s)
{
    struct by_tag *f = arg;
    (void)p;
    bool focused = !f->focus.wanted || matches(&f->focus, s);
    bool ignored = f->ignore.wanted && matches(&f->ignore, s);
    f->any_focused |= focused;
    f->any_ignored |= ignored;
    return focused && !ignored;
}

static bool filter_by_tag(struct sn_view *v, struct sn_error *e)
{
    struct by_tag f = {0};
    bool good = parse_filter(&f.focus, v, v->o.tag_focus, "tagfocus", e) &&
                parse_filter(&f.ignore, v, v->o.tag_ignore, "tagignore", e);
    if (good && (f.focus.wanted || f.ignore.wanted)) {
        sn_filter_samples(v->p, keep_by_tag, &f);
        if (f.focus.wanted && !f.any_focused)
            sn_warn(&v->o, "TagFocus expression matched no samples");
        if (f.ignore.wanted && !f.any_ignored)
            sn_warn(&v->o, "TagIgnore expression matched no samples");
    }
    close_filter(&f.focus);
    close_filter(&f.ignore);
    return good;
}

/* ---- tagshow, taghide: labels left out
 * ---------------------------------------------------------- */

struct label_keys {
    struct sn_regex *show, *hide;
    bool any_shown, any_hidden;
};

static bool drop_labels(void *arg, struct sn_profile *p, struct sn_sample *s)
{
    struct label_keys *f = arg;
    struct sn_label *v = p->labels + s->label0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const char *key = sn_profile_str(p, v[i].key);
        bool shown = f->show == NULL || sn_regex_match(f->show, key);
        bool hidden = f->hide != NULL && sn_regex_match(f->hide, key);
        f->any_shown |= shown;
        f->any_hidden |= hidden;
        if (shown && !hidden)
            v[n++] = v[i];
    }
    s->n_labels = n;
    return true;
}

static bool given(const char *option)
{
    return option != NULL && *option != '\0';
}

static bool filter_labels(struct sn_view *v, struct sn_error *e)
{
    struct label_keys f = {0};
    const struct sn_options *o = &v->o;
    if (given(o->tag_show))
        f.show = sn_regex_new(o->tag_show, "tagshow", e);
    if (given(o->tag_hide))
        f.hide = sn_regex_new(o->tag_hide, "taghide", e);
    bool good = (f.show != NULL || !given(o->tag_show)) &&
                (f.hide != NULL || !given(o->tag_hide));
    if (good && (f.show != NULL || f.hide != NULL)) {
        sn_filter_samples(v->p, drop_labels, &f);
        if (f.show != NULL && !f.any_shown)
            sn_warn(o, "TagShow expression matched no samples");
        if (f.hide != NULL && !f.any_hidden)
            sn_warn(o, "TagHide expression matched no samples");
    }
    sn_regex_free(f.show);
    sn_regex_free(f.hide);
    return good;
}

bool sn_filter_tags(struct sn_view *v, struct sn_error *e)
{
    return filter_by_tag(v, e) && filter_labels(v, e);
}

/* ---- tagroot, tagleaf: labels as frames
 * ------------------------------------------------------------ */

#define MAX_KEYS 32

struct label_frames {
    const char *keys[MAX_KEYS];
    uint32_t n;
    bool matched;
};

static bool split_keys(struct label_frames *f, struct sn_arena *a, const char *list,
                       const char *what, struct sn_error *e)
{
    char *rest = list != NULL ? sn_arena_strdup(a, list) : NULL, *word;
    while (rest != NULL && (word = strsep(&rest, ",")) != NULL) {
        if (*word == '\0')
            continue;
        if (f->n == MAX_KEYS)
            return sn_fail(e, NULL, -1, "%s: more than %d keys", what, MAX_KEYS);
        f->keys[f->n++] = word;
    }
    return true;
}

static void add_value(struct sn_buf *b, const char *value)
{
    if (b->len > 0)
        sn_buf_putc(b, ',');
    sn_buf_puts(b, value);
}

/* The sample's values of one key, parted by commas. */
static const char *values_of(struct sn_view *v, const struct sn_sample *s,
                             const char *key)
{
    const struct sn_profile *p = v->p;
    struct sn_buf b = {.arena = p->arena};
    char text[64];
    bool any_unit = false;
    const struct sn_label *l = p->labels + s->label0, *end = l + s->n_labels;
    for (; l < end; l++) {
        if (strcmp(sn_profile_str(p, l->key), key) != 0)
            continue;
        any_unit |= l->num_unit != 0;
        if (is_text(l))
            add_value(&b, sn_profile_str(p, l->str));
    }
    for (l = p->labels + s->label0; l < end; l++)
        if (is_number(l) && strcmp(sn_profile_str(p, l->key), key) == 0)
            add_value(&b, sn_unit_label(l->num, sn_profile_str(p, l->num_unit),
                                        any_unit ? v->o.unit : "", text, sizeof text));
    return b.data != NULL ? b.data : "";
}

static uint32_t frame_of(struct sn_profile *p, struct sn_map *known, const char *name,
                         const char *key)
{
    uint32_t name_id = sn_strtab_add(p->strings, name);
    uint32_t key_id = sn_strtab_add(p->strings, key);
    uint32_t *slot = sn_map_put(known, (uint64_t)name_id << 32 | key_id);
    if (slot == NULL || *slot != SN_NONE)
        return slot != NULL ? *slot : 0;
    struct sn_function *f =
        SN_PUSH(p->arena, p->functions, p->n_functions, p->cap_functions);
    struct sn_line *line = SN_PUSH(p->arena, p->lines, p->n_lines, p->cap_lines);
    struct sn_location *l =
        SN_PUSH(p->arena, p->locations, p->n_locations, p->cap_locations);
    if (f == NULL || line == NULL || l == NULL)
        return 0;
    *f = (struct sn_function){.name = name_id, .file = key_id};
    *line = (struct sn_line){.function = p->n_functions - 1};
    *l = (struct sn_location){.mapping = SN_NONE, .line0 = p->n_lines - 1, .n_lines = 1};
    return *slot = p->n_locations - 1;
}

/* The first key is nearest to the root. */
static uint32_t put_frames(struct sn_view *v, const struct sn_sample *s,
                           struct label_frames *f, struct sn_map *known, uint32_t *to)
{
    for (uint32_t i = 0; i < f->n; i++) {
        const char *key = f->keys[f->n - 1 - i], *values = values_of(v, s, key);
        f->matched |= *values != '\0';
        to[i] = frame_of(v->p, known, values, key);
    }
    return f->n;
}

bool sn_tag_frames(struct sn_view *v, struct sn_error *e)
{
    struct sn_profile *p = v->p;
    struct label_frames root = {0}, leaf = {0};
    if (!split_keys(&root, p->arena, v->o.tag_root, "tagroot", e) ||
        !split_keys(&leaf, p->arena, v->o.tag_leaf, "tagleaf", e))
        return false;
    if (root.n + leaf.n == 0)
        return true;
    size_t n = sn_profile_frames(p) + (size_t)(root.n + leaf.n) * p->n_samples;
    uint32_t *locs = sn_arena_alloc(p->arena, n * sizeof *locs), at = 0;
    struct sn_map *known = sn_map_new(p->arena);
    if (locs == NULL || known == NULL || n >= SN_NONE)
        return sn_fail(e, NULL, -1, "out of memory");
    for (uint32_t i = 0; i < p->n_samples; i++) {
        struct sn_sample *s = &p->samples[i];
        uint32_t first = at, n_own = s->n_locs;
        /* The root's first: pprof numbers them so. */
        at += put_frames(v, s, &root, known, locs + first + leaf.n + n_own);
        at += put_frames(v, s, &leaf, known, locs + first) + n_own;
        if (n_own > 0)
            memcpy(locs + first + leaf.n, p->sample_locs + s->loc0, n_own * sizeof *locs);
        s->loc0 = first;
        s->n_locs = at - first;
    }
    p->sample_locs = locs;
    p->n_sample_locs = p->cap_sample_locs = at;
    if (root.n > 0 && !root.matched)
        sn_warn(&v->o, "TagRoot expression matched no samples");
    if (leaf.n > 0 && !leaf.matched)
        sn_warn(&v->o, "TagLeaf expression matched no samples");
    return !sn_arena_failed(p->arena) || sn_fail(e, NULL, -1, "out of memory");
}
