/*
 * nodelets.c: the tags of a graph's nodes: what the labels of a node's samples amount to.
 *
 * Samples of equal labels share a set of classes, found once: all their text labels as
 * one text, and, of the numeric ones, each number of bytes under that text. A node has a
 * tag for each class of its samples. Several taggers may each see a part of the samples:
 * what they come to is as if one had seen them all.
 */
#include "graph_priv.h"

#define NO_SET 0

struct class
{
    uint64_t key;
    uint32_t label; /* of a number: the text it stands under; 0: none */
    const char *name, *unit;
    int64_t value;
};

struct set { /* of classes; of the first sample that has it */
    uint32_t label0, n_labels;
    uint32_t first, n; /* into members */
    uint32_t next;     /* of the same hash */
};

struct sum {        /* what a tag comes to */
    uint64_t owner; /* node << 32 | class */
    int64_t flat, flat_div, cum, cum_div;
};

struct sn_tagger {
    struct sn_builder *b;
    struct sn_graph *g;
    struct sn_arena *arena;
    struct sn_strtab *texts;
    struct class *classes;
    uint32_t n_classes, cap_classes;
    struct sn_map *class_of; /* text << 32 | number's text + 1, or 0 */
    uint32_t *members;       /* classes of sets */
    uint32_t n_members, cap_members;
    struct set *sets; /* [NO_SET]: of samples without */
    uint32_t n_sets, cap_sets;
    struct sn_map *set_of; /* hash of labels to the newest */
    struct sn_map *sum_of; /* node << 32 | class */
    struct sum *sums;      /* of all nodes, as they are met */
    uint32_t n_sums, cap_sums;
    uint32_t *seen;       /* of each node: the last sample counted */
    uint32_t sample, set; /* its number from 1, and its set */
    int64_t weight, divisor;
};

/* ---- classes --------------------------------------------------------------------------
 */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "key:value" of all text labels, sorted, a line each; its id. */
static uint32_t label_text(struct sn_tagger *x, const struct sn_sample *s)
{
    const struct sn_profile *p = x->b->v->p;
    struct sn_arena *a = x->arena;
    const char **lines = sn_arena_alloc(a, (s->n_labels + 1) * sizeof(char *));
    uint32_t n = 0;
    for (uint32_t i = 0; lines != NULL && i < s->n_labels; i++) {
        const struct sn_label *l = &p->labels[s->label0 + i];
        const char *key = sn_profile_str(p, l->key);
        if (l->str != 0 && strcmp(key, "pprof::base") != 0)
            lines[n++] = sn_arena_printf(a, "%s:%s", key, sn_profile_str(p, l->str));
    }
    if (n == 0 || sn_arena_failed(a))
        return 0;
    qsort(lines, n, sizeof *lines, by_text);
    struct sn_buf b = {.arena = a};
    for (uint32_t i = 0; i < n; i++)
        sn_buf_printf(&b, "%s%s", i > 0 ? "\n" : "", lines[i]);
    return b.data != NULL ? sn_strtab_addn(x->texts, b.data, b.len) : 0;
}

/* The class of that key; if it is new, c. SN_NONE: no memory. */
static uint32_t class_of(struct sn_tagger *x, struct class c)
{
    uint32_t *known = sn_map_put(x->class_of, c.key);
    if (known == NULL || *known != SN_NONE)
        return known != NULL ? *known : SN_NONE;
    struct class *added = SN_PUSH(x->arena, x->classes, x->n_classes, x->cap_classes);
    if (added == NULL)
        return SN_NONE;
    *added = c;
    return *known = x->n_classes - 1;
}

static void add_class(struct sn_tagger *x, struct class c)
{
    uint32_t class = class_of(x, c);
    uint32_t *member = class != SN_NONE
                           ? SN_PUSH(x->arena, x->members, x->n_members, x->cap_members)
                           : NULL;
    if (member != NULL)
        *member = class;
}

static uint64_t text_key(uint32_t label)
{
    return (uint64_t)label << 32;
}

static uint64_t number_key(uint32_t label, uint32_t name)
{
    return (uint64_t)label << 32 | (name + 1);
}

/* Of the numeric labels only "bytes" are shown as boxes. */
static void classify(struct sn_tagger *x, const struct sn_sample *s)
{
    const struct sn_view *v = x->b->v;
    uint32_t label = label_text(x, s);
    char text[64];
    if (label != 0)
        add_class(x, (struct class){.key = text_key(label),
                                    .label = label,
                                    .name = sn_strtab_get(x->texts, label)});
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct sn_label *l = &v->p->labels[s->label0 + i];
        if (l->str != 0 || strcmp(sn_profile_str(v->p, l->key), "bytes") != 0)
            continue;
        const char *unit = sn_view_label_unit(v, l->key);
        sn_unit_label(l->num, unit, v->o.unit, text, sizeof text);
        uint32_t name = sn_strtab_add(x->texts, text);
        add_class(x, (struct class){number_key(label, name), label,
                                    sn_strtab_get(x->texts, name), unit, l->num});
    }
}

/* ---- sets -----------------------------------------------------------------------------
 */

static uint64_t hash_labels(const struct sn_label *v, uint32_t n)
{
    uint64_t h = n;
    for (uint32_t i = 0; i < n; i++) {
        h = sn_hash_mix(h ^ ((uint64_t)v[i].key << 32 | v[i].str));
        h = sn_hash_mix(h ^ (uint64_t)v[i].num ^ (uint64_t)v[i].num_unit << 40);
    }
    return h;
}

static bool same_labels(const struct sn_label *a, const struct sn_label *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (a[i].key != b[i].key || a[i].str != b[i].str || a[i].num != b[i].num ||
            a[i].num_unit != b[i].num_unit)
            return false;
    return true;
}

static uint32_t set_of(struct sn_tagger *x, const struct sn_sample *s)
{
    const struct sn_label *labels = x->b->v->p->labels;
    if (s->n_labels == 0)
        return NO_SET;
    uint32_t *newest =
        sn_map_put(x->set_of, hash_labels(labels + s->label0, s->n_labels));
    uint32_t i = newest != NULL ? *newest : NO_SET;
    while (i != SN_NONE && i != NO_SET &&
           (x->sets[i].n_labels != s->n_labels ||
            !same_labels(labels + x->sets[i].label0, labels + s->label0, s->n_labels)))
        i = x->sets[i].next;
    if (i != SN_NONE)
        return i;
    struct set *added = SN_PUSH(x->arena, x->sets, x->n_sets, x->cap_sets);
    if (added == NULL)
        return NO_SET;
    *added = (struct set){s->label0, s->n_labels, x->n_members, 0, *newest};
    *newest = x->n_sets - 1;
    classify(x, s);
    added->n = x->n_members - added->first;
    return *newest;
}

/* ---- sums -----------------------------------------------------------------------------
 */

static struct sum *sum_of(struct sn_tagger *x, uint32_t node, uint32_t class)
{
    uint64_t owner = (uint64_t)node << 32 | class;
    uint32_t *known = sn_map_put(x->sum_of, owner);
    if (known == NULL)
        return NULL;
    if (*known != SN_NONE)
        return &x->sums[*known];
    struct sum *s = SN_PUSH(x->arena, x->sums, x->n_sums, x->cap_sums);
    if (s == NULL)
        return NULL;
    s->owner = owner;
    *known = x->n_sums - 1;
    return s;
}

static void count(struct sn_tagger *x, const struct set *set, uint32_t node, bool flat)
{
    for (uint32_t i = 0; i < set->n; i++) {
        struct sum *s = sum_of(x, node, x->members[set->first + i]);
        if (s == NULL)
            return;
        *(flat ? &s->flat : &s->cum) += x->weight;
        *(flat ? &s->flat_div : &s->cum_div) += x->divisor;
    }
}

bool sn_tagger_wants(struct sn_tagger *x, uint32_t sample)
{
    x->set = set_of(x, &x->b->v->p->samples[sample]);
    if (x->sets[x->set].n == 0)
        return false;
    x->sample = sample + 1;
    x->weight = sn_view_weight(x->b->v, sample, &x->divisor);
    return x->weight != 0 || x->divisor != 0;
}

void sn_tagger_add(struct sn_tagger *x, uint32_t node, bool leaf)
{
    const struct set *set = &x->sets[x->set];
    if (leaf)
        count(x, set, node, true);
    if (x->seen[node] == x->sample)
        return;
    x->seen[node] = x->sample;
    count(x, set, node, false);
}

/* ---- the whole ------------------------------------------------------------------------
 */

struct sn_tagger *sn_tagger_new(struct sn_builder *b, struct sn_graph *g,
                                struct sn_arena *a)
{
    struct sn_tagger *x = sn_arena_alloc(a, sizeof *x);
    if (x == NULL)
        return NULL;
    *x = (struct sn_tagger){.b = b,
                            .g = g,
                            .arena = a,
                            .texts = sn_strtab_new(a),
                            .class_of = sn_map_new(a),
                            .set_of = sn_map_new(a),
                            .sum_of = sn_map_new(a),
                            .seen =
                                sn_arena_alloc(a, (g->n_nodes + 1UL) * sizeof *x->seen)};
    return SN_PUSH(a, x->sets, x->n_sets, x->cap_sets) != NULL && !sn_arena_failed(a)
               ? x
               : NULL;
}

/* Another's class, of the same texts. */
static uint32_t same_class(struct sn_tagger *x, const struct sn_tagger *from,
                           struct class c)
{
    bool number = (uint32_t)c.key != 0;
    if (c.label != 0)
        c.label = sn_strtab_add(x->texts, sn_strtab_get(from->texts, c.label));
    uint32_t name = sn_strtab_add(x->texts, c.name);
    c.name = sn_strtab_get(x->texts, name);
    c.key = number ? number_key(c.label, name) : text_key(c.label);
    return class_of(x, c);
}

bool sn_tagger_add_up(struct sn_tagger *x, const struct sn_tagger *from)
{
    uint32_t *classes = sn_arena_alloc(x->arena, (from->n_classes + 1) * sizeof *classes);
    for (uint32_t i = 0; classes != NULL && i < from->n_classes; i++)
        classes[i] = same_class(x, from, from->classes[i]);
    for (uint32_t i = 0; !sn_arena_failed(x->arena) && i < from->n_sums; i++) {
        const struct sum *more = &from->sums[i];
        struct sum *s =
            sum_of(x, (uint32_t)(more->owner >> 32), classes[(uint32_t)more->owner]);
        if (s == NULL)
            return false;
        s->flat += more->flat;
        s->flat_div += more->flat_div;
        s->cum += more->cum;
        s->cum_div += more->cum_div;
    }
    return !sn_arena_failed(x->arena) && !sn_arena_failed(from->arena);
}

bool sn_tagger_hand_over(struct sn_tagger *x)
{
    struct sn_graph *g = x->g;
    g->tags = sn_arena_alloc(x->arena, (x->n_sums + 1UL) * sizeof *g->tags);
    if (sn_arena_failed(x->arena))
        return false;
    g->n_tags = x->n_sums;
    for (uint32_t i = 0; i < g->n_tags; i++) {
        const struct sum *s = &x->sums[i];
        const struct class *c = &x->classes[(uint32_t)s->owner];
        uint32_t *first = &g->nodes[s->owner >> 32].tags;
        g->tags[i] = (struct sn_tag){.name = c->name,
                                     .unit = c->unit,
                                     .value = c->value,
                                     .label = c->label,
                                     .flat = s->flat,
                                     .flat_div = s->flat_div,
                                     .cum = s->cum,
                                     .cum_div = s->cum_div,
                                     .next = *first};
        *first = i;
    }
    return true;
}
