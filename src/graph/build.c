/*
 * build.c: from samples to nodes and edges.
 *
 * In a graph a node is an info, and counts a sample once however often it recurs. In a
 * call tree a node is an info under a parent. An edge that skips nodes which are not kept
 * is residual.
 */
#include "graph_priv.h"

struct build {
    struct sn_builder *b;
    struct sn_graph *g;
    const bool *kept; /* by info; NULL: all */
    bool tree, edges, tags;
    struct sn_map *edge_of; /* src << 32 | dst */
    struct sn_map *node_of; /* of trees: (parent + 1) << 32 | info */
    /* tags: what a sample's labels amount to, numbered */
    struct sn_strtab *label_texts;
    struct sn_map *tag_of; /* node << 32 | class */
    struct class
    {
        uint32_t label;
        const char *name, *unit;
        int64_t value;
    } * classes;
    uint32_t n_classes, cap_classes;
    struct sn_map *class_of;  /* label << 32 | text of the number + 1, or 0 */
    uint32_t *sample_classes; /* of the sample at hand */
    uint32_t n_sample_classes, cap_sample_classes;
    uint32_t sample; /* its number from 1 */
    int64_t weight, divisor;
};

/* ---- tags
 * ------------------------------------------------------------------------------------ */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "key:value" of all text labels, sorted, a line each; its id. */
static uint32_t label_text(struct build *x, const struct sn_sample *s)
{
    const struct sn_profile *p = x->b->v->p;
    const char *lines[64];
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_labels && n < SN_COUNT(lines); i++) {
        const struct sn_label *l = &p->labels[s->label0 + i];
        const char *key = sn_profile_str(p, l->key);
        if (l->str != 0 && strcmp(key, "pprof::base") != 0)
            lines[n++] =
                sn_arena_printf(x->g->arena, "%s:%s", key, sn_profile_str(p, l->str));
    }
    if (n == 0 || sn_arena_failed(x->g->arena))
        return 0;
    qsort(lines, n, sizeof *lines, by_text);
    struct sn_buf b = {.arena = x->g->arena};
    for (uint32_t i = 0; i < n; i++)
        sn_buf_printf(&b, "%s%s", i > 0 ? "\n" : "", lines[i]);
    return b.data != NULL ? sn_strtab_addn(x->label_texts, b.data, b.len) : 0;
}

static void add_class(struct build *x, uint64_t key, struct class c)
{
    struct sn_arena *a = x->g->arena;
    uint32_t *known = sn_map_put(x->class_of, key);
    if (known == NULL)
        return;
    if (*known == SN_NONE) {
        struct class *added = SN_PUSH(a, x->classes, x->n_classes, x->cap_classes);
        if (added == NULL)
            return;
        *added = c;
        *known = x->n_classes - 1;
    }
    uint32_t *at =
        SN_PUSH(a, x->sample_classes, x->n_sample_classes, x->cap_sample_classes);
    if (at != NULL)
        *at = *known;
}

/* Of the numeric labels only "bytes" are shown as boxes. */
static void classify(struct build *x, const struct sn_sample *s)
{
    const struct sn_view *v = x->b->v;
    uint32_t label = label_text(x, s);
    char text[64];
    x->n_sample_classes = 0;
    if (label != 0)
        add_class(
            x, (uint64_t)label << 32,
            (struct class){.label = label, .name = sn_strtab_get(x->label_texts, label)});
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct sn_label *l = &v->p->labels[s->label0 + i];
        if (l->str != 0 || (l->num == 0 && l->num_unit == 0) ||
            strcmp(sn_profile_str(v->p, l->key), "bytes") != 0)
            continue;
        const char *unit = sn_view_label_unit(v, l->key);
        sn_unit_label(l->num, unit, v->o.unit, text, sizeof text);
        uint32_t name = sn_strtab_add(x->label_texts, text);
        add_class(
            x, (uint64_t)label << 32 | (name + 1),
            (struct class){label, sn_strtab_get(x->label_texts, name), unit, l->num});
    }
}

static struct sn_tag *tag_of(struct build *x, uint32_t node, uint32_t class)
{
    struct sn_graph *g = x->g;
    uint32_t *known = sn_map_put(x->tag_of, (uint64_t)node << 32 | class);
    if (known == NULL)
        return NULL;
    if (*known != SN_NONE)
        return &g->tags[*known];
    struct sn_tag *t = SN_PUSH(g->arena, g->tags, g->n_tags, g->cap_tags);
    if (t == NULL)
        return NULL;
    const struct class *c = &x->classes[class];
    *t = (struct sn_tag){.name = c->name,
                         .unit = c->unit,
                         .value = c->value,
                         .label = c->label,
                         .next = g->nodes[node].tags};
    *known = g->nodes[node].tags = g->n_tags - 1;
    return t;
}

/* ---- counting
 * ----------------------------------------------------------------------------------- */

static void count(struct build *x, uint32_t node, bool flat)
{
    struct sn_node *n = &x->g->nodes[node];
    *(flat ? &n->flat : &n->cum) += x->weight;
    *(flat ? &n->flat_div : &n->cum_div) += x->divisor;
    for (uint32_t i = 0; i < x->n_sample_classes; i++) {
        struct sn_tag *t = tag_of(x, node, x->sample_classes[i]);
        if (t == NULL)
            return;
        *(flat ? &t->flat : &t->cum) += x->weight;
        *(flat ? &t->flat_div : &t->cum_div) += x->divisor;
    }
}

static struct sn_edge *edge_of(struct build *x, uint32_t src, uint32_t dst)
{
    struct sn_graph *g = x->g;
    uint32_t newest = g->nodes[src].out;
    if (newest != SN_NONE && g->edges[newest].dst == dst)
        return &g->edges[newest];
    uint32_t *known = sn_map_put(x->edge_of, (uint64_t)src << 32 | dst);
    if (known == NULL)
        return NULL;
    if (*known != SN_NONE)
        return &g->edges[*known];
    struct sn_edge *e = SN_PUSH(g->arena, g->edges, g->n_edges, g->cap_edges);
    if (e == NULL)
        return NULL;
    *e = (struct sn_edge){.src = src,
                          .dst = dst,
                          .inlined = true,
                          .next_in = g->nodes[dst].in,
                          .next_out = g->nodes[src].out};
    *known = g->nodes[dst].in = g->nodes[src].out = g->n_edges - 1;
    return e;
}

static void connect(struct build *x, uint32_t src, uint32_t dst, bool residual,
                    bool inlined)
{
    struct sn_edge *e = edge_of(x, src, dst);
    if (e == NULL || (!x->tree && e->seen == x->sample))
        return;
    e->seen = x->sample;
    e->weight += x->weight;
    e->weight_div += x->divisor;
    e->residual |= residual;
    e->inlined &= inlined;
}

static uint32_t tree_node(struct build *x, uint32_t parent, uint32_t info)
{
    struct sn_graph *g = x->g;
    uint32_t *known = sn_map_put(x->node_of, (uint64_t)(parent + 1) << 32 | info);
    if (known == NULL)
        return SN_NONE;
    if (*known != SN_NONE)
        return *known;
    struct sn_node *n = SN_PUSH(g->arena, g->nodes, g->n_nodes, g->cap_nodes);
    if (n == NULL)
        return SN_NONE;
    *n = (struct sn_node){.info = x->b->infos[info],
                          .name = x->b->names[info],
                          .in = SN_NONE,
                          .out = SN_NONE,
                          .tags = SN_NONE};
    /* Under another parent it is another function: callgrind must not merge them. */
    n->function = g->n_nodes - 1;
    return *known = g->n_nodes - 1;
}

static void add_sample(struct build *x, const struct sn_sample *s)
{
    const struct sn_builder *b = x->b;
    const uint32_t *locs = b->v->p->sample_locs + s->loc0;
    uint32_t parent = SN_NONE;
    bool residual = false;
    for (uint32_t i = s->n_locs; i-- > 0;) {
        uint32_t first = b->location_first[locs[i]], end = b->location_first[locs[i] + 1];
        for (uint32_t k = end; k-- > first;) {
            uint32_t n = b->location_infos[k];
            if (x->kept != NULL && !x->kept[n]) {
                residual = true;
                continue;
            }
            if (x->tree && (n = tree_node(x, parent, n)) == SN_NONE)
                return;
            if (x->tree || x->g->nodes[n].seen != x->sample) {
                x->g->nodes[n].seen = x->sample;
                count(x, n, false);
            }
            if (x->edges && parent != SN_NONE && n != parent)
                connect(x, parent, n, residual, k != end - 1);
            parent = n;
            residual = false;
        }
    }
    if (parent != SN_NONE && !residual)
        count(x, parent, true);
}

/* ---- the whole
 * ------------------------------------------------------------------------------------ */

static bool open_graph(struct build *x)
{
    struct sn_graph *g = x->g;
    struct sn_builder *b = x->b;
    x->edge_of = sn_map_new(g->arena);
    x->node_of = sn_map_new(g->arena);
    x->tag_of = sn_map_new(g->arena);
    x->class_of = sn_map_new(g->arena);
    x->label_texts = sn_strtab_new(g->arena);
    if (!x->tree) {
        g->nodes = sn_arena_alloc(g->arena, (b->n_infos + 1) * sizeof *g->nodes);
        g->n_nodes = g->cap_nodes = b->n_infos;
    }
    if (sn_arena_failed(g->arena))
        return false;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        g->nodes[i] = (struct sn_node){.info = b->infos[i],
                                       .name = b->names[i],
                                       .function = b->functions[i],
                                       .in = SN_NONE,
                                       .out = SN_NONE,
                                       .tags = SN_NONE};
    return true;
}

static bool is_shown(const struct sn_view *v, const struct sn_node *n)
{
    bool negative = n->flat < 0 || (n->flat == 0 && n->cum < 0);
    return (n->cum != 0 || n->flat != 0) && !(v->o.drop_negative && negative);
}

static bool list_shown(struct sn_graph *g, const struct sn_view *v)
{
    g->order = sn_arena_alloc(g->arena, (g->n_nodes + 1) * sizeof *g->order);
    for (uint32_t i = 0; g->order != NULL && i < g->n_nodes; i++) {
        g->nodes[i].kept = is_shown(v, &g->nodes[i]);
        if (g->nodes[i].kept)
            g->order[g->n_order++] = i;
    }
    return g->order != NULL;
}

struct sn_graph *sn_builder_run(struct sn_builder *b, const bool *kept)
{
    const struct sn_view *v = b->v;
    struct sn_arena *a = sn_arena_new();
    struct sn_graph *g = a != NULL ? sn_arena_alloc(a, sizeof *g) : NULL;
    struct build x = {.b = b, .g = g, .kept = kept, .tags = v->kind.drawn};
    x.tree = v->o.call_tree && (v->kind.drawn || v->kind.objects);
    x.edges = v->kind.edges || b->has_inlined;
    if (g != NULL)
        g->arena = a;
    if (g == NULL || !open_graph(&x)) {
        sn_arena_free(a);
        return NULL;
    }
    for (uint32_t i = 0; i < v->p->n_samples; i++) {
        x.sample = i + 1;
        x.weight = sn_view_weight(v, i, &x.divisor);
        if (x.weight == 0 && x.divisor == 0)
            continue;
        if (x.tags)
            classify(&x, &v->p->samples[i]);
        add_sample(&x, &v->p->samples[i]);
    }
    if (list_shown(g, v) && !sn_arena_failed(a))
        return g;
    sn_arena_free(a);
    return NULL;
}

void sn_graph_free(struct sn_graph *g)
{
    if (g != NULL)
        sn_arena_free(g->arena);
}
