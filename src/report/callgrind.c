/*
 * callgrind.c: costs and calls for KCachegrind and callgrind_annotate.
 *
 * Format: https://valgrind.org/docs/manual/cl-format.html, with compressed names and
 * addresses relative to the entry before, as pprof writes it.
 */
#include "report_priv.h"

#include <inttypes.h>
#include <stdio.h>

/* "(7) name" the first time, "(7)" after. */
struct names {
    struct sn_map *known; /* string id to number */
    uint32_t n;
};

struct writer {
    struct sn_report *r;
    struct sn_buf *out;
    struct names objects, files, functions;
    struct sn_strtab *texts; /* of the names that are made up here */
    const struct sn_node_info *previous;
};

static void put_name(struct writer *w, struct names *names, const char *prefix,
                     const char *name)
{
    sn_buf_puts(w->out, prefix);
    uint32_t *number =
        *name != '\0' ? sn_map_put(names->known, sn_strtab_add(w->texts, name)) : NULL;
    if (number != NULL && *number != SN_NONE) {
        sn_buf_printf(w->out, "(%u)", *number);
    } else if (number != NULL) {
        *number = ++names->n;
        sn_buf_printf(w->out, "(%u) %s", *number, name);
    }
    sn_buf_putc(w->out, '\n');
}

static const char *str(const struct writer *w, uint32_t id)
{
    return sn_profile_str(w->r->v.p, id);
}

static void put_address(struct writer *w, uint64_t address)
{
    char whole[32], relative[32];
    snprintf(whole, sizeof whole, address != 0 ? "%#" PRIx64 : "0x%" PRIx64, address);
    if (w->previous == NULL) {
        sn_buf_puts(w->out, whole);
    } else if (w->previous->address == address) {
        sn_buf_putc(w->out, '*');
    } else {
        snprintf(relative, sizeof relative, "%+" PRId64,
                 (int64_t)(address - w->previous->address));
        sn_buf_puts(w->out, strlen(relative) < strlen(whole) ? relative : whole);
    }
}

static int64_t scaled(const struct writer *w, int64_t value)
{
    const char *unit;
    return (int64_t)sn_unit_scale(value, w->r->v.unit, w->r->v.out_unit, &unit);
}

/* ---- names that are told apart: functions of one name and file, but not the same
 * ------------ */

struct same_name {
    uint64_t key; /* file and name */
    uint32_t function, node;
    uint32_t at; /* in the nodes' order */
};

static int by_key(const void *a, const void *b)
{
    const struct same_name *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

static bool number_group(struct sn_graph *g, const struct same_name *v, uint32_t n,
                         const char **names)
{
    struct sn_map *numbers = sn_map_new(g->arena);
    uint32_t count = 0;
    for (uint32_t i = 0; numbers != NULL && i < n; i++) {
        uint32_t *number = sn_map_put(numbers, v[i].function);
        if (number != NULL && *number == SN_NONE)
            *number = ++count;
    }
    for (uint32_t i = 0; numbers != NULL && count > 1 && i < n; i++)
        names[v[i].node] = sn_arena_printf(g->arena, "%s [%u/%u]", names[v[i].node],
                                           sn_map_get(numbers, v[i].function), count);
    return !sn_arena_failed(g->arena);
}

static const char **distinct_names(struct writer *w)
{
    struct sn_graph *g = w->r->g;
    const char **names = sn_arena_alloc(g->arena, (g->n_nodes + 1) * sizeof *names);
    struct same_name *v = sn_arena_alloc(g->arena, (g->n_order + 1) * sizeof *v);
    if (names == NULL || v == NULL)
        return NULL;
    for (uint32_t i = 0; i < g->n_order; i++) {
        const struct sn_node *n = &g->nodes[g->order[i]];
        names[g->order[i]] = str(w, n->info.name);
        v[i] = (struct same_name){(uint64_t)n->info.file << 32 | n->info.name,
                                  n->function, g->order[i], i};
    }
    qsort(v, g->n_order, sizeof *v, by_key);
    for (uint32_t i = 0, n; i < g->n_order; i += n) {
        for (n = 1; i + n < g->n_order && v[i + n].key == v[i].key; n++)
            continue;
        if (!number_group(g, v + i, n, names))
            return NULL;
    }
    return names;
}

/* ---- entries
 * ------------------------------------------------------------------------------------ */

static bool same_place(const struct sn_node_info *a, const struct sn_node_info *b)
{
    return a != NULL && a->object == b->object && a->file == b->file &&
           a->name == b->name;
}

static void put_node(struct writer *w, uint32_t index, const char *const *names)
{
    struct sn_graph *g = w->r->g;
    const struct sn_node *n = &g->nodes[index];
    struct sn_edge **edges;
    if (!same_place(w->previous, &n->info)) {
        sn_buf_putc(w->out, '\n');
        put_name(w, &w->objects, "ob=", str(w, n->info.object));
        put_name(w, &w->files, "fl=", str(w, n->info.file));
        put_name(w, &w->functions, "fn=", str(w, n->info.name));
    }
    put_address(w, n->info.address);
    sn_buf_printf(w->out, " %" PRId64 " %" PRId64 "\n", n->info.line,
                  scaled(w, sn_mean(n->flat, n->flat_div)));
    uint32_t count = sn_graph_out(g, index, &edges);
    for (uint32_t i = 0; i < count; i++) {
        const struct sn_node *callee = &g->nodes[edges[i]->dst];
        const char *name = names[edges[i]->dst];
        put_name(w, &w->files, "cfl=", str(w, callee->info.file));
        put_name(w, &w->functions, "cfn=", name != NULL ? name : ""); /* not shown */
        sn_buf_puts(w->out, "calls=0 ");
        put_address(w, callee->info.address);
        sn_buf_printf(w->out, " %" PRId64 "\n* * %" PRId64 "\n", callee->info.line,
                      scaled(w, edges[i]->weight));
    }
    w->previous = &n->info;
}

bool sn_report_callgrind(struct sn_profile *p, const struct sn_options *o,
                         const char *argument, struct sn_buf *out, struct sn_error *e)
{
    struct sn_report r;
    struct sn_view_kind kind = {.edges = true,
                                .no_trim = true,
                                .addresses = true,
                                .objects = true,
                                .integers = true};
    (void)argument;
    if (!sn_report_open(&r, p, o, kind, true, e))
        return false;
    struct writer w = {.r = &r, .out = out, .texts = sn_strtab_new(r.g->arena)};
    w.objects.known = sn_map_new(r.g->arena);
    w.files.known = sn_map_new(r.g->arena);
    w.functions.known = sn_map_new(r.g->arena);
    const char **names = sn_arena_failed(r.g->arena) ? NULL : distinct_names(&w);
    if (names != NULL) {
        sn_buf_printf(out, "positions: instr line\nevents: %s(%s)\n", r.v.type,
                      r.v.out_unit);
        for (uint32_t i = 0; i < r.g->n_order; i++)
            put_node(&w, r.g->order[i], names);
    }
    sn_report_close(&r);
    return names != NULL ? sn_report_done(out, e) : sn_fail(e, NULL, -1, "out of memory");
}
