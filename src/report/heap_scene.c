/*
 * heap_scene.c: a heap as a picture: sites as boxes as large as what they retain, and
 * arrows for the blocks of one that those of another refer to. The kinds of roots, and
 * what is leaked, are boxes without a size.
 *
 *     sites above a fraction -> the best N -> their references above a fraction
 */
#include "heap_priv.h"

#include <math.h>

struct painter {
    const struct sn_heap_view *v;
    const struct sn_heap_options *o;
    struct sn_scene *s;
    struct sn_shortener *shortener;
    uint32_t *order, n_order; /* the sites shown, heaviest first */
    uint32_t *box;            /* of a site, and behind them of a kind of root; SN_NONE */
    uint32_t dropped_sites, dropped_links, n_sites;
};

static uint64_t weight(const struct sn_heap_view *v, uint32_t site)
{
    return v->h->sites[site].live.retained + v->h->sites[site].leaked.retained;
}

static double share(const struct painter *x, uint64_t bytes)
{
    return x->v->d->bytes != 0 ? (double)bytes / (double)x->v->d->bytes : 0;
}

static const char *percent(const struct painter *x, uint64_t bytes, char buf[32])
{
    const char *s = sn_unit_percent((int64_t)bytes, (int64_t)x->v->d->bytes, buf, 32);
    return s + strspn(s, " ");
}

/* ---- which are shown -----------------------------------------------------------------
 */

static int by_weight(const void *a, const void *b, void *view)
{
    uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    uint64_t x = weight(view, i), y = weight(view, k);
    return x != y ? (x > y ? -1 : 1) : (i > k) - (i < k);
}

static bool choose_sites(struct painter *x)
{
    const struct sn_heap_view *v = x->v;
    uint32_t n = v->n_sites + SN_ROOT_KINDS;
    x->order = sn_arena_alloc(x->s->arena, n * sizeof *x->order);
    x->box = sn_arena_alloc(x->s->arena, n * sizeof *x->box);
    if (x->order == NULL || x->box == NULL)
        return false;
    memset(x->box, 0xff, n * sizeof *x->box);
    for (uint32_t i = 0; i < v->n_sites; i++) {
        if (v->h->sites[i].live.blocks + v->h->sites[i].leaked.blocks == 0)
            continue;
        x->n_sites++;
        if (share(x, weight(v, i)) >= x->o->node_fraction)
            x->order[x->n_order++] = i;
        else
            x->dropped_sites++;
    }
    qsort_r(x->order, x->n_order, sizeof *x->order, by_weight, (void *)(uintptr_t)v);
    if (x->o->node_count > 0 && x->n_order > (uint32_t)x->o->node_count)
        x->n_order = (uint32_t)x->o->node_count;
    return true;
}

/* ---- boxes ---------------------------------------------------------------------------
 */

static uint32_t add_box(struct painter *x, struct sn_scene_node box)
{
    struct sn_scene *s = x->s;
    struct sn_scene_node *n = SN_PUSH(s->arena, s->nodes, s->n_nodes, s->cap_nodes);
    if (n == NULL)
        return SN_NONE;
    *n = box;
    n->name = sn_arena_printf(s->arena, "N%u", s->n_nodes);
    return s->n_nodes - 1;
}

/* A function a line, shortened. */
static void put_name(const struct painter *x, const char *name, struct sn_buf *b)
{
    const char *end;
    do {
        end = strstr(name, SN_HEAP_JOINT);
        size_t n = end != NULL ? (size_t)(end - name) : strlen(name);
        const char *one = sn_arena_strndup(b->arena, name, n);
        sn_buf_printf(b, "%s\n",
                      one != NULL ? sn_shorten(x->shortener, one, b->arena) : "");
        name += n + strlen(SN_HEAP_JOINT);
    } while (end != NULL);
}

static void add_site(struct painter *x, uint32_t site)
{
    const struct sn_heap_site *s = &x->v->h->sites[site];
    uint64_t retained = weight(x->v, site), most = weight(x->v, x->order[0]);
    uint64_t blocks = (uint64_t)s->live.blocks + s->leaked.blocks;
    struct sn_buf b = {.arena = x->s->arena};
    char text[64], pct[32];
    put_name(x, x->v->names[site], &b);
    sn_buf_printf(&b, "retains %s%s (%s)\n",
                  s->exact ? "" : ">=", sn_heap_bytes(retained, text),
                  percent(x, retained, pct));
    sn_buf_printf(&b, "%s in %llu block%s",
                  sn_heap_bytes(s->live.flat + s->leaked.flat, text),
                  (unsigned long long)blocks, blocks == 1 ? "" : "s");
    if (s->leaked.blocks > 0 && s->live.blocks > 0)
        sn_buf_printf(&b, "\nleaked: %s in %u", sn_heap_bytes(s->leaked.flat, text),
                      s->leaked.blocks);
    x->box[site] = add_box(
        x, (struct sn_scene_node){
               .label = b.data != NULL ? b.data : "",
               .tooltip = sn_arena_printf(x->s->arena, "%s (%s)", x->v->names[site],
                                          sn_heap_bytes(retained, text)),
               .font_size = sn_score_font((int64_t)retained, (int64_t)most),
               .color = sn_score_color(share(x, retained), false),
               .fill = sn_score_color(share(x, retained), true),
               .flat = (int64_t)(s->live.flat + s->leaked.flat),
               .cum = (int64_t)retained});
}

static void add_root(struct painter *x, uint32_t kind)
{
    const char *name = sn_heap_root_name(kind);
    x->box[x->v->n_sites + kind] =
        add_box(x, (struct sn_scene_node){.label = name,
                                          .tooltip = name,
                                          .font_size = 12,
                                          .color = kind == 0 ? 0xb20000 : 0x666666,
                                          .fill = kind == 0 ? 0xedd6d5 : 0xf8f8f8});
}

/* ---- arrows --------------------------------------------------------------------------
 */

static const char *name_of(const struct painter *x, uint32_t site)
{
    return site < x->v->n_sites ? x->v->names[site]
                                : sn_heap_root_name(site - x->v->n_sites);
}

static void add_arrow(struct painter *x, const struct sn_heap_link *l)
{
    struct sn_scene *s = x->s;
    struct sn_scene_edge *e = SN_PUSH(s->arena, s->edges, s->n_edges, s->cap_edges);
    double part = share(x, l->bytes);
    char bytes[64];
    if (e == NULL)
        return;
    sn_heap_bytes(l->bytes, bytes);
    *e = (struct sn_scene_edge){
        .from = x->box[l->from],
        .to = x->box[l->to],
        .label = sn_arena_printf(s->arena, " %s\n in %u", bytes, l->blocks),
        .tooltip =
            sn_arena_printf(s->arena, "%s -> %s (%s in %u blocks)", name_of(x, l->from),
                            name_of(x, l->to), bytes, l->blocks),
        .weight = 1 + (int)fmin(100 * part, 100),
        .pen_width = 1 + floor(fmin(5 * part, 5)),
        .color = sn_score_color(part, false),
        .min_len = 1};
}

static int by_bytes(const void *a, const void *b)
{
    const struct sn_heap_link *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return (x->to > y->to) - (x->to < y->to);
}

static bool add_arrows(struct painter *x, struct sn_error *e)
{
    struct sn_heap_link *links;
    uint32_t n;
    if (!sn_heap_links(x->v->h, &links, &n, e))
        return false;
    if (n > 1)
        qsort(links, n, sizeof *links, by_bytes);
    for (uint32_t i = 0; i < n; i++) {
        const struct sn_heap_link *l = &links[i];
        bool is_root = l->from >= x->v->n_sites;
        if (x->box[l->to] == SN_NONE || (!is_root && x->box[l->from] == SN_NONE))
            continue;
        if (share(x, l->bytes) < x->o->edge_fraction && !is_root) {
            x->dropped_links++;
            continue;
        }
        if (x->box[l->from] == SN_NONE)
            add_root(x, l->from - x->v->n_sites);
        if (x->box[l->from] != SN_NONE)
            add_arrow(x, l);
    }
    return true;
}

/* ---- the whole -----------------------------------------------------------------------
 */

static void describe(struct painter *x)
{
    const struct sn_profile *p = x->v->p;
    struct sn_buf b = {.arena = x->s->arena};
    sn_heap_head(x->v, &b);
    sn_buf_printf(&b, "Showing %u sites of %u\n", x->n_order, x->n_sites);
    if (x->dropped_sites > 0)
        sn_buf_printf(&b, "Dropped %u sites (retain < %g%%)\n", x->dropped_sites,
                      100 * x->o->node_fraction);
    if (x->dropped_links > 0)
        sn_buf_printf(&b, "Dropped %u references (< %g%%)\n", x->dropped_links,
                      100 * x->o->edge_fraction);
    if (b.len > 0)
        b.data[--b.len] = '\0'; /* the last line's end */
    x->s->legend = b.data != NULL ? b.data : "";
    x->s->title =
        p->n_mappings > 0 ? sn_base_name(sn_profile_str(p, p->mappings[0].file)) : "heap";
    x->s->title = sn_arena_strdup(x->s->arena, x->s->title);
    x->s->total = (int64_t)x->v->d->bytes;
}

struct sn_scene *sn_heap_scene(const struct sn_heap_view *v,
                               const struct sn_heap_options *o, struct sn_error *e)
{
    struct painter x = {
        .v = v, .o = o, .s = sn_scene_empty(), .shortener = sn_shortener_new(e)};
    bool good = x.s != NULL && x.shortener != NULL && choose_sites(&x);
    for (uint32_t i = 0; good && i < x.n_order; i++)
        add_site(&x, x.order[i]);
    good = good && add_arrows(&x, e);
    if (good)
        describe(&x);
    sn_shortener_free(x.shortener);
    if (good && !sn_arena_failed(x.s->arena))
        return x.s;
    sn_scene_free(x.s);
    sn_fail(e, NULL, -1, "out of memory");
    return NULL;
}
