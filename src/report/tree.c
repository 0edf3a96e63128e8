/* tree.c: each function between its callers and its callees; peek shows those whose name
 * matches. */
#include "report_priv.h"

static const char line[] =
    "----------------------------------------------------------+-------------\n";

static void put_edges(const struct sn_report *r, struct sn_edge **edges, uint32_t n,
                      bool callers, int64_t cum, struct sn_buf *out)
{
    char value[64], percent[32];
    for (uint32_t i = 0; i < n; i++) {
        const struct sn_edge *e = edges[i];
        int64_t weight = sn_mean(e->weight, e->weight_div);
        sn_buf_printf(
            out, "%50s %s |   %s%s\n", sn_view_value(&r->v, weight, value, sizeof value),
            sn_unit_percent(weight, cum, percent, sizeof percent),
            r->g->nodes[callers ? e->src : e->dst].name, e->inlined ? " (inline)" : "");
    }
}

static void put_node(struct sn_report *r, uint32_t index, int64_t *sum,
                     struct sn_buf *out)
{
    const struct sn_node *n = &r->g->nodes[index];
    int64_t flat = sn_mean(n->flat, n->flat_div), cum = sn_mean(n->cum, n->cum_div);
    char flat_text[64], cum_text[64], flat_pct[32], sum_pct[32], cum_pct[32];
    struct sn_edge **edges;
    uint32_t count = sn_graph_in(r->g, index, &edges);
    sn_buf_puts(out, line);
    put_edges(r, edges, count, true, cum, out);
    *sum += flat;
    sn_buf_printf(out, "%10s %s %s %10s %s                | %s\n",
                  sn_view_value(&r->v, flat, flat_text, sizeof flat_text),
                  sn_unit_percent(flat, r->v.total, flat_pct, sizeof flat_pct),
                  sn_unit_percent(*sum, r->v.total, sum_pct, sizeof sum_pct),
                  sn_view_value(&r->v, cum, cum_text, sizeof cum_text),
                  sn_unit_percent(cum, r->v.total, cum_pct, sizeof cum_pct), n->name);
    count = sn_graph_out(r->g, index, &edges);
    put_edges(r, edges, count, false, cum, out);
}

/* The number of nodes shown. */
static uint32_t put_tree(struct sn_report *r, struct sn_buf *out)
{
    int64_t sum = 0;
    uint32_t shown = 0;
    sn_report_head(r, false, out);
    sn_buf_puts(out, line);
    sn_buf_puts(out,
                "      flat  flat%   sum%        cum   cum%   calls calls% + context "
                "\t \t \n");
    for (uint32_t i = 0; i < r->g->n_order; i++) {
        uint32_t node = r->g->order[i];
        if (r->v.kind.edges_of != NULL && !r->g->nodes[node].wanted)
            continue;
        put_node(r, node, &sum, out);
        shown++;
    }
    if (r->g->n_order > 0)
        sn_buf_puts(out, line);
    return shown;
}

bool sn_report_tree(struct sn_profile *p, const struct sn_options *o,
                    const char *argument, struct sn_buf *out, struct sn_error *e)
{
    struct sn_report r;
    struct sn_view_kind kind = {.node_count = 80, .edges = true};
    (void)argument;
    if (!sn_report_open(&r, p, o, kind, true, e))
        return false;
    put_tree(&r, out);
    sn_report_close(&r);
    return sn_report_done(out, e);
}

bool sn_report_peek(struct sn_profile *p, const struct sn_options *o,
                    const char *argument, struct sn_buf *out, struct sn_error *e)
{
    struct sn_report r;
    struct sn_regex *rx = sn_regex_new(argument, "peek", e);
    struct sn_view_kind kind = {.edges = true, .no_trim = true, .edges_of = rx};
    if (rx == NULL || !sn_report_open(&r, p, o, kind, true, e)) {
        sn_regex_free(rx);
        return false;
    }
    bool found = put_tree(&r, out) > 0;
    sn_report_close(&r);
    sn_regex_free(rx);
    return found ? sn_report_done(out, e)
                 : sn_fail(e, NULL, -1, "no matches found for regexp: %s", argument);
}
