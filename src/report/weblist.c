/*
 * weblist.c: the source of functions with the instructions of each line, as one HTML page
 * that needs nothing beside it. A line opens by a click or a key, without a script.
 */
#include "weblist.h"

#include <inttypes.h>

#define NEIGHBOURS 5    /* lines shown around those that cost */
#define GAP        20   /* lines between two that cost, beyond which they are apart */
#define MAX_INSTS  2000 /* shown of one line */

static const char style[] =
    ":root{color-scheme:light dark;--fg:#1b1b1f;--bg:#fff;--dim:#77777f;--rule:#d8d8de;"
    "--hot:215,60,30;--link:#0b57d0;--asm:#f5f5f8}\n"
    "@media(prefers-color-scheme:dark){:root{--fg:#e6e6ea;--bg:#17171a;--dim:#8e8e98;"
    "--rule:#36363d;--hot:255,120,80;--link:#8ab4f8;--asm:#202026}}\n"
    "body{font:14px/1.45 system-ui,sans-serif;color:var(--fg);background:var(--bg);"
    "margin:0 auto;padding:1rem 1.5rem;max-width:1500px}\n"
    "a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}\n"
    "h1{font-size:1.2rem}h2{font-size:1rem;margin:2rem 0 .2rem}\n"
    "p{margin:.2rem 0;color:var(--dim)}\n"
    "table{border-collapse:collapse;margin:1rem 0}\n"
    "td,th{padding:.1rem .8rem;text-align:right;font-variant-numeric:tabular-nums}\n"
    "td:last-child,th:last-child{text-align:left}tr:hover td{background:var(--asm)}\n"
    ".code{font:12px/1.5 ui-monospace,Menlo,Consolas,monospace;white-space:pre;"
    "tab-size:8;overflow-x:auto;border:1px solid var(--rule);border-radius:6px;"
    "padding:.4rem 0}\n"
    "summary{list-style:none;cursor:pointer}summary::-webkit-details-marker{display:none}"
    "\n"
    "summary:hover,details[open]>summary{background:var(--asm)}\n"
    "summary:focus-visible{outline:2px solid var(--link);outline-offset:-2px}\n"
    ".n{color:var(--dim)}.l{padding:0 .6rem}.a{background:var(--asm);padding:0 .6rem;"
    "color:var(--dim)}.a b{font-weight:400;color:var(--fg)}\n"
    ".cut{border-top:1px dashed var(--rule);margin:.2rem 0}\n";

static void put_word(struct sn_buf *out, const char *text)
{
    sn_buf_add_xml(out, text, strlen(text));
}

struct page {
    struct weblist *w;
    struct sn_sources *sources;
    struct sn_buf *out;
};

static void put_values(const struct page *x, const struct sn_values *s)
{
    const struct sn_view *v = &x->w->r->v;
    char flat[64], cum[64];
    sn_buf_printf(x->out, "%10s %10s ",
                  sn_value_or_dot(v, sn_mean(s->flat, s->flat_div), flat, sizeof flat),
                  sn_value_or_dot(v, sn_mean(s->cum, s->cum_div), cum, sizeof cum));
}

/* How warm the line is, by its share of the function. */
static void put_heat(const struct page *x, const struct web_line *l)
{
    int64_t most = sn_abs(x->w->functions[l->function].sum.cum);
    double share = most != 0 ? (double)sn_abs(l->sum.cum) / (double)most : 0;
    if (share > 0.01)
        sn_buf_printf(x->out, " style=\"background:rgba(var(--hot),%.2f)\"", 0.4 * share);
}

/* ---- instructions ---------------------------------------------------------------------
 */

/* The calls inlined below the line, outermost first, where they are not those of the
 * instruction before. */
static void put_calls(const struct page *x, const struct web_entry *e,
                      const struct web_entry *before)
{
    const struct web_inst *i = &x->w->insts[e->inst];
    const struct web_inst *b = before != NULL ? &x->w->insts[before->inst] : NULL;
    uint32_t depth = e->frame, shared = 0;
    while (b != NULL && shared < depth && shared < before->frame &&
           i->frames[depth - 1 - shared].line ==
               b->frames[before->frame - 1 - shared].line &&
           strcmp(i->frames[depth - 1 - shared].file,
                  b->frames[before->frame - 1 - shared].file) == 0)
        shared++;
    for (uint32_t k = shared; k < depth; k++) {
        const struct sn_object_frame *f = &i->frames[depth - 1 - k];
        size_t n = 0;
        const char *text = sn_source_line(x->sources, f->file, f->line, &n);
        while (n > 0 && (*text == ' ' || *text == '\t'))
            text++, n--;
        sn_buf_printf(x->out, "%*s", (int)(36 + 2 * k), "");
        sn_buf_add_xml(x->out, text != NULL ? text : "", text != NULL ? n : 0);
        sn_buf_puts(x->out, "  <i>");
        put_word(x->out, sn_base_name(f->file));
        sn_buf_printf(x->out, ":%" PRId64 "</i>\n", f->line);
    }
}

static void put_inst(const struct page *x, const struct web_entry *e)
{
    const struct web_inst *i = &x->w->insts[e->inst];
    put_values(x, &i->sum);
    sn_buf_printf(x->out, "%12" PRIx64 "  %*s<b>", i->address, (int)(2 * e->frame), "");
    put_word(x->out, i->text != NULL ? i->text : "(its code is not here)");
    sn_buf_puts(x->out, "</b>");
    if (i->n_frames > 0 && *i->frames[0].file != '\0') {
        size_t n = i->text != NULL ? strlen(i->text) + 2 * (size_t)e->frame : 22;
        sn_buf_printf(x->out, "%*s", n < 50 ? (int)(50 - n) : 1, "");
        put_word(x->out, sn_base_name(i->frames[0].file));
        sn_buf_printf(x->out, ":%" PRId64, i->frames[0].line);
    }
    sn_buf_putc(x->out, '\n');
}

static void put_insts(const struct page *x, const struct web_line *l)
{
    const struct web_entry *before = NULL;
    sn_buf_puts(x->out, "<div class=a>");
    for (uint32_t i = 0; i < l->n && i < MAX_INSTS; i++) {
        const struct web_entry *e = &x->w->entries[l->first + i];
        if (before != NULL && x->w->insts[before->inst].next != e->inst) {
            sn_buf_puts(x->out, "<div class=cut></div>");
            before = NULL;
        }
        put_calls(x, e, before);
        put_inst(x, e);
        before = e;
    }
    if (l->n > MAX_INSTS)
        sn_buf_printf(x->out, "and %u more instructions\n", l->n - MAX_INSTS);
    sn_buf_puts(x->out, "</div>");
}

/* ---- lines ----------------------------------------------------------------------------
 */

static void put_source(const struct page *x, const char *file, int64_t number)
{
    size_t n = 0;
    const char *text = sn_source_line(x->sources, file, number, &n);
    sn_buf_printf(x->out, "<span class=n>%6" PRId64 "</span>  ", number);
    if (text != NULL)
        sn_buf_add_xml(x->out, text, n);
    else if (number == 0)
        sn_buf_puts(x->out, "<i>instructions whose line is not known</i>");
    sn_buf_putc(x->out, '\n');
}

static void put_line(const struct page *x, const char *file, const struct web_line *l)
{
    sn_buf_puts(x->out, "<details><summary class=l");
    put_heat(x, l);
    sn_buf_putc(x->out, '>');
    put_values(x, &l->sum);
    put_source(x, file, l->number);
    sn_buf_puts(x->out, "</summary>");
    put_insts(x, l);
    sn_buf_puts(x->out, "</details>");
}

/* Lines that cost nothing, as far as there are any. */
static void put_between(const struct page *x, const char *file, int64_t from, int64_t to)
{
    static const struct sn_values nothing;
    size_t n;
    for (int64_t i = from < 1 ? 1 : from; i < to; i++) {
        if (sn_source_line(x->sources, file, i, &n) == NULL)
            return;
        sn_buf_puts(x->out, "<div class=l>");
        put_values(x, &nothing);
        put_source(x, file, i);
        sn_buf_puts(x->out, "</div>");
    }
}

static void put_lines(const struct page *x, const struct web_function *f)
{
    const struct web_line *v = x->w->lines + f->first;
    for (uint32_t i = 0; i < f->n; i++) {
        int64_t from = v[i].number - NEIGHBOURS;
        if (i > 0 && v[i].number - v[i - 1].number <= GAP) {
            from = v[i - 1].number + 1;
        } else if (i > 0) {
            int64_t end = v[i - 1].number + 1 + NEIGHBOURS;
            put_between(x, f->file, v[i - 1].number + 1, end);
            sn_buf_puts(x->out, "<div class=cut></div>");
            from = from < end ? end : from;
        }
        if (v[i].number > 0)
            put_between(x, f->file, from, v[i].number);
        put_line(x, f->file, &v[i]);
    }
    if (f->n > 0 && v[f->n - 1].number > 0)
        put_between(x, f->file, v[f->n - 1].number + 1,
                    v[f->n - 1].number + 1 + NEIGHBOURS);
}

/* ---- the page -------------------------------------------------------------------------
 */

static bool is_shown(const struct web_function *f)
{
    return f->sum.cum != 0 || f->sum.flat != 0;
}

static void put_sum(const struct page *x, const struct web_function *f,
                    const char *before, const char *joint)
{
    const struct sn_view *v = &x->w->r->v;
    char flat[64], cum[64], percent[32];
    int64_t own = sn_mean(f->sum.flat, f->sum.flat_div);
    int64_t all = sn_mean(f->sum.cum, f->sum.cum_div);
    sn_buf_printf(x->out, "%s%s%s%s%s%s", before,
                  sn_view_value(v, own, flat, sizeof flat), joint,
                  sn_view_value(v, all, cum, sizeof cum), joint,
                  sn_unit_percent(all, v->total, percent, sizeof percent));
}

static int by_cum(const void *a, const void *b, void *functions)
{
    const struct web_function *v = functions;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int64_t m = sn_abs(v[x].sum.cum), n = sn_abs(v[y].sum.cum);
    return m != n ? (m < n ? 1 : -1) : (x > y) - (x < y);
}

static void put_index(const struct page *x, const uint32_t *order, uint32_t n)
{
    sn_buf_puts(
        x->out,
        "<table><tr><th>flat</th><th>cum</th><th>cum%</th><th>function</th></tr>\n");
    for (uint32_t i = 0; i < n; i++) {
        const struct web_function *f = &x->w->functions[order[i]];
        put_sum(x, f, "<tr><td>", "</td><td>");
        sn_buf_printf(x->out, "</td><td><a href=\"#f%u\">", order[i]);
        put_word(x->out, f->name);
        sn_buf_puts(x->out, "</a></td></tr>\n");
    }
    sn_buf_puts(x->out, "</table>\n");
}

static void put_function(const struct page *x, uint32_t index)
{
    const struct web_function *f = &x->w->functions[index];
    sn_buf_printf(x->out, "<h2 id=f%u>", index);
    put_word(x->out, f->name);
    sn_buf_puts(x->out, "</h2>\n<p>");
    put_word(x->out, *f->file != '\0' ? f->file : "no source file is known");
    put_sum(x, f, "</p>\n<p>", " \302\267 ");
    sn_buf_puts(x->out, " of the total (flat, cum)</p>\n");
    const char *error = sn_source_error(x->sources, f->file);
    if (error != NULL && *f->file != '\0') {
        struct sn_buf tried = {.arena = x->w->arena};
        sn_source_tried(x->sources, f->file, &tried);
        sn_buf_puts(x->out, "<p>Its source is not shown: ");
        put_word(x->out, error);
        sn_buf_puts(x->out, "</p><pre>");
        sn_buf_add_xml(x->out, tried.data != NULL ? tried.data : "", tried.len);
        sn_buf_puts(x->out, "</pre>\n");
    }
    sn_buf_puts(x->out, "<div class=code>");
    put_lines(x, f);
    sn_buf_puts(x->out, "</div>\n");
}

static void put_head(const struct page *x, const char *argument)
{
    const struct sn_view *v = &x->w->r->v;
    char total[64];
    struct sn_buf about = {.arena = x->w->arena};
    sn_report_profile_head(v, &about);
    sn_buf_puts(x->out, "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>\n"
                        "<meta name=viewport content=\"width=device-width\">\n<title>");
    put_word(x->out, argument);
    sn_buf_puts(x->out, " \302\267 ");
    put_word(x->out, v->title);
    sn_buf_printf(x->out, "</title>\n<style>%s</style></head><body>\n<h1>", style);
    put_word(x->out, v->title);
    sn_buf_puts(x->out, "</h1>\n<pre>");
    sn_buf_add_xml(x->out, about.data != NULL ? about.data : "", about.len);
    sn_buf_printf(x->out, "Total: %s</pre>\n",
                  sn_view_value(v, v->total, total, sizeof total));
    sn_buf_puts(x->out, "<p>A line opens by a click: its instructions, under the calls "
                        "that were inlined into it.</p>\n");
    if (x->w->n_left_out > 0)
        sn_buf_printf(x->out, "<p>The code of %u more functions is left out.</p>\n",
                      x->w->n_left_out);
}

static bool put_page(const struct page *x, const char *argument)
{
    struct weblist *w = x->w;
    uint32_t *order = sn_arena_alloc(w->arena, (w->n_functions + 1) * sizeof *order);
    uint32_t n = 0;
    for (uint32_t i = 0; order != NULL && i < w->n_functions; i++)
        if (is_shown(&w->functions[i]))
            order[n++] = i;
    if (order == NULL)
        return false;
    qsort_r(order, n, sizeof *order, by_cum, w->functions);
    put_head(x, argument);
    put_index(x, order, n);
    for (uint32_t i = 0; i < n; i++)
        put_function(x, order[i]);
    sn_buf_puts(x->out, "</body></html>\n");
    return true;
}

bool sn_report_weblist(struct sn_profile *p, const struct sn_options *o,
                       const char *argument, struct sn_buf *out, struct sn_error *e)
{
    struct sn_report r = {.g = NULL};
    struct sn_options whole = *o;
    struct sn_view_kind kind = {.no_trim = true, .addresses = true, .objects = true};
    struct weblist w = {.r = &r, .arena = p->arena};
    whole.no_inlines = false; /* or there are no calls to open */
    bool good = sn_report_open(&r, p, &whole, kind, false, e);
    if (good)
        r.v.out_unit = r.v.o.unit; /* of each value its own */
    good = good && web_find(&w, argument, e);
    struct page x = {&w, good ? sn_sources_new(o, p->arena) : NULL, out};
    if (good && (x.sources == NULL || !put_page(&x, argument)))
        good = sn_fail(e, NULL, -1, "out of memory");
    sn_code_close(w.code);
    sn_report_close(&r);
    return good && sn_report_done(out, e);
}
