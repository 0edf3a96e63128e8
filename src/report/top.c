/* top.c: a line a function, the largest first. */
#include "report_priv.h"

/* Whether the calls to a node were inlined: all, some, none. */
static const char *inlining(const struct sn_graph *g, const struct sn_node *n)
{
    bool some = false, all = true;
    for (uint32_t e = n->in; e != SN_NONE; e = g->edges[e].next_in) {
        if (g->edges[e].gone)
            continue;
        some |= g->edges[e].inlined;
        all &= g->edges[e].inlined;
    }
    return !some ? "" : all ? " (inline)" : " (partial-inline)";
}

bool sn_report_top(struct sn_profile *p, const struct sn_options *o, const char *argument,
                   struct sn_buf *out, struct sn_error *e)
{
    struct sn_report r;
    int64_t sum = 0, total;
    char flat_text[64], cum_text[64], flat_pct[32], sum_pct[32], cum_pct[32];
    (void)argument;
    if (!sn_report_open(&r, p, o, (struct sn_view_kind){.node_count = 0}, true, e))
        return false;
    total = r.v.total;
    sn_report_head(&r, false, out);
    sn_buf_puts(out, "      flat  flat%   sum%        cum   cum%\n");
    for (uint32_t i = 0; i < r.g->n_order; i++) {
        const struct sn_node *n = &r.g->nodes[r.g->order[i]];
        int64_t flat = sn_mean(n->flat, n->flat_div), cum = sn_mean(n->cum, n->cum_div);
        sum += flat;
        sn_buf_printf(out, "%10s %s %s %10s %s  %s%s\n",
                      sn_view_value(&r.v, flat, flat_text, sizeof flat_text),
                      sn_unit_percent(flat, total, flat_pct, sizeof flat_pct),
                      sn_unit_percent(sum, total, sum_pct, sizeof sum_pct),
                      sn_view_value(&r.v, cum, cum_text, sizeof cum_text),
                      sn_unit_percent(cum, total, cum_pct, sizeof cum_pct), n->name,
                      inlining(r.g, n));
    }
    sn_report_close(&r);
    return sn_report_done(out, e);
}
