/* labels.c: the words above a report: what was profiled, when, and what is shown of it.
 */
#include "report_priv.h"

#include <inttypes.h>
#include <time.h>

#define FILTER_MAX 80 /* bytes of a filter that are shown */

static void add_time(const struct sn_profile *p, struct sn_buf *out)
{
    char text[64];
    struct tm tm;
    time_t seconds = (time_t)(p->time_ns / 1000000000);
    if (p->time_ns % 1000000000 < 0)
        seconds--;
    if (p->time_ns == 0 || localtime_r(&seconds, &tm) == NULL)
        return;
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %Z", &tm);
    sn_buf_printf(out, "Time: %s\n", text);
}

static void add_duration(const struct sn_view *v, struct sn_buf *out)
{
    char duration[64], total[64], percent[32];
    const char *unit;
    int64_t ns = v->p->duration_ns;
    if (ns == 0)
        return;
    double busy = sn_unit_scale(v->total, v->unit, "nanoseconds", &unit);
    sn_buf_printf(out, "Duration: %s, Total samples = %s ",
                  sn_unit_label(ns, "nanoseconds", "auto", duration, sizeof duration),
                  sn_view_value(v, v->total, total, sizeof total));
    if (strcmp(unit, "ns") == 0 && busy != 0)
        sn_buf_printf(out, "(%s)",
                      sn_unit_percent((int64_t)busy, ns, percent, sizeof percent));
    sn_buf_putc(out, '\n');
}

void sn_report_profile_head(const struct sn_view *v, struct sn_buf *out)
{
    const struct sn_profile *p = v->p;
    if (p->n_mappings > 0 && p->mappings[0].file != 0)
        sn_buf_printf(out, "File: %s\n", v->title);
    if (p->n_mappings > 0 && p->mappings[0].build_id != 0)
        sn_buf_printf(out, "Build ID: %s\n", sn_profile_str(p, p->mappings[0].build_id));
    for (uint32_t i = 0; i < p->n_comments; i++)
        if (*sn_profile_str(p, p->comments[i]) != '#')
            sn_buf_printf(out, "%s\n", sn_profile_str(p, p->comments[i]));
    if (*v->type != '\0')
        sn_buf_printf(out, "Type: %s\n", v->type);
    if (p->doc_url != 0)
        sn_buf_printf(out, "Doc: %s\n", sn_profile_str(p, p->doc_url));
    add_time(p, out);
    add_duration(v, out);
}

static void add_filters(const struct sn_view *v, struct sn_buf *out)
{
    if (v->n_filters > 0)
        sn_buf_puts(out, "Active filters:\n");
    for (uint32_t i = 0; i < v->n_filters; i++) {
        size_t n = strlen(v->filters[i]);
        sn_buf_printf(out, "   %.*s%s\n", n > FILTER_MAX ? FILTER_MAX : (int)n,
                      v->filters[i], n > FILTER_MAX ? "\u2026" : "");
    }
}

static void add_dropped(const struct sn_view *v, uint32_t n, const char *what,
                        const char *by, double fraction, struct sn_buf *out)
{
    char value[64];
    if (n == 0)
        return;
    int64_t cut = sn_abs((int64_t)((double)v->total * fraction));
    sn_buf_printf(out, "Dropped %u %s%s (%s <= %s)\n", n, what, n > 1 ? "s" : "", by,
                  sn_view_value(v, cut, value, sizeof value));
}

static const char *without_spaces(const char *s)
{
    return s + strspn(s, " ");
}

void sn_report_head(const struct sn_report *r, bool full, struct sn_buf *out)
{
    const struct sn_view *v = &r->v;
    const struct sn_graph *g = r->g;
    char shown_text[64], total_text[64], percent[32];
    int64_t shown = 0;
    for (uint32_t i = 0; i < g->n_order; i++) {
        const struct sn_node *n = &g->nodes[g->order[i]];
        shown += sn_mean(n->flat, n->flat_div);
    }
    if (full || !v->o.compact_labels)
        sn_report_profile_head(v, out);
    add_filters(v, out);
    sn_buf_printf(
        out, "Showing nodes accounting for %s, %s of %s total\n",
        sn_view_value(v, shown, shown_text, sizeof shown_text),
        without_spaces(sn_unit_percent(shown, v->total, percent, sizeof percent)),
        sn_view_value(v, v->total, total_text, sizeof total_text));
    if (v->total != 0) {
        add_dropped(v, g->dropped_nodes, "node", "cum", v->o.node_fraction, out);
        if (full)
            add_dropped(v, g->dropped_edges, "edge", "freq", v->o.edge_fraction, out);
        if (g->n_order > 0 && g->n_order < g->n_before)
            sn_buf_printf(out, "Showing top %u nodes out of %u\n", g->n_order,
                          g->n_before);
    }
}

bool sn_report_greeting(struct sn_profile *p, const struct sn_options *o,
                        struct sn_buf *out, bool *empty, struct sn_error *e)
{
    struct sn_view v;
    if (!sn_view_open(&v, p, o, (struct sn_view_kind){.no_trim = true}, e))
        return false;
    sn_report_profile_head(&v, out);
    *empty = v.total == 0 && p->n_types > 1;
    return sn_report_done(out, e);
}
