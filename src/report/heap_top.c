/* heap_top.c: a heap in a few lines, and the sites that retain most; and all its blocks.
 */
#include "heap_priv.h"

#include <stdio.h>
#include <time.h>

static const char *const root_names[SN_ROOT_KINDS] = {
    [0] = "leaked",
    [SN_ROOT_GLOBAL] = "global data",
    [SN_ROOT_STACK] = "stack",
    [SN_ROOT_REGISTERS] = "registers",
    [SN_ROOT_OTHER] = "other memory",
};

const char *sn_heap_root_name(uint32_t kind)
{
    return kind < SN_ROOT_KINDS ? root_names[kind] : "";
}

/* ---- the head ------------------------------------------------------------------------
 */

static const char *share(uint64_t part, uint64_t whole, char buf[32])
{
    const char *s = sn_unit_percent((int64_t)part, (int64_t)whole, buf, 32);
    return s + strspn(s, " ");
}

static void put_blocks(struct sn_buf *out, uint64_t n, uint64_t bytes)
{
    char text[64];
    sn_buf_printf(out, "%llu block%s, %s", (unsigned long long)n, n == 1 ? "" : "s",
                  sn_heap_bytes(bytes, text));
}

static void put_origin(const struct sn_heap_view *v, struct sn_buf *out)
{
    const struct sn_profile *p = v->p;
    char text[64];
    struct tm tm;
    time_t seconds = (time_t)(p->time_ns / 1000000000);
    if (p->n_mappings > 0 && p->mappings[0].file != 0)
        sn_buf_printf(out, "File: %s\n",
                      sn_base_name(sn_profile_str(p, p->mappings[0].file)));
    sn_buf_printf(out, "Heap of process %llu", (unsigned long long)v->d->header->pid);
    if (p->time_ns != 0 && localtime_r(&seconds, &tm) != NULL) {
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %Z", &tm);
        sn_buf_printf(out, " at %s", text);
    }
    sn_buf_putc(out, '\n');
}

static void put_roots(const struct sn_heap_view *v, struct sn_buf *out)
{
    uint32_t n[SN_ROOT_KINDS] = {0};
    const char *comma = "Roots: ";
    for (uint32_t i = 0; i < v->d->n_roots; i++)
        n[v->d->roots[i].kind]++;
    for (uint32_t kind = 1; kind < SN_ROOT_KINDS; kind++) {
        if (n[kind] == 0)
            continue;
        sn_buf_printf(out, "%s%u in %s", comma, n[kind], root_names[kind]);
        comma = ", ";
    }
    sn_buf_puts(out, v->d->n_roots > 0 ? "\n" : "Roots: none\n");
    if (v->h->n_unlisted > 0)
        sn_buf_printf(out,
                      "%u blocks are reachable by roots that the dump does not name\n",
                      v->h->n_unlisted);
}

void sn_heap_head(const struct sn_heap_view *v, struct sn_buf *out)
{
    const struct sn_heap *h = v->h;
    char percent[32];
    put_origin(v, out);
    sn_buf_puts(out, "Total: ");
    put_blocks(out, h->n, v->d->bytes);
    sn_buf_puts(out, "\nReachable: ");
    put_blocks(out, h->n_live, h->live_bytes);
    sn_buf_printf(out, " (%s)\nLeaked: ", share(h->live_bytes, v->d->bytes, percent));
    put_blocks(out, h->n - h->n_live, h->leaked_bytes);
    sn_buf_printf(out, " (%s)", share(h->leaked_bytes, v->d->bytes, percent));
    if (h->n_leaks > 0)
        sn_buf_printf(out, ", all held by %u of them", h->n_leaks);
    sn_buf_putc(out, '\n');
    put_roots(v, out);
}

/* ---- sites ---------------------------------------------------------------------------
 */

struct table {
    const struct sn_heap_view *v;
    enum sn_heap_order sort;
    bool leaked;
    uint64_t total;
    uint32_t *order, n;
};

static const struct sn_heap_sum *sum_of(const struct table *t, uint32_t site)
{
    const struct sn_heap_site *s = &t->v->h->sites[site];
    return t->leaked ? &s->leaked : &s->live;
}

static uint64_t key_of(const struct table *t, uint32_t site)
{
    const struct sn_heap_sum *s = sum_of(t, site);
    return t->sort == SN_HEAP_FLAT     ? s->flat
           : t->sort == SN_HEAP_BLOCKS ? s->blocks
                                       : s->retained;
}

static int compare_sites(const void *a, const void *b, void *table)
{
    const struct table *t = table;
    uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    uint64_t x = key_of(t, i), y = key_of(t, k);
    if (x != y)
        return x > y ? -1 : 1;
    return strcmp(t->v->names[i], t->v->names[k]);
}

static bool sort_sites(struct table *t, struct sn_error *e)
{
    t->order = sn_arena_alloc(t->v->p->arena, (t->v->n_sites + 1) * sizeof *t->order);
    if (t->order == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    for (uint32_t i = 0; i < t->v->n_sites; i++)
        if (sum_of(t, i)->blocks > 0)
            t->order[t->n++] = i;
    qsort_r(t->order, t->n, sizeof *t->order, compare_sites, t);
    return true;
}

/* False: the row's first number is a lower bound. */
static bool put_row(const struct table *t, uint32_t site, struct sn_buf *out)
{
    const struct sn_heap_sum *s = sum_of(t, site);
    bool exact = t->v->h->sites[site].exact || s->retained == t->total;
    char retained[64], flat[64], text[80], pct[2][32];
    snprintf(text, sizeof text, "%s%s",
             exact ? "" : ">=", sn_heap_bytes(s->retained, retained));
    sn_buf_printf(
        out, "%10s %s %10s %s %9u  ", text,
        sn_unit_percent((int64_t)s->retained, (int64_t)t->total, pct[0], sizeof pct[0]),
        sn_heap_bytes(s->flat, flat),
        sn_unit_percent((int64_t)s->flat, (int64_t)t->total, pct[1], sizeof pct[1]),
        s->blocks);
    sn_buf_printf(out, "%s\n", t->v->names[site]);
    return exact;
}

static bool put_table(const struct sn_heap_view *v, const struct sn_heap_options *o,
                      bool leaked, struct sn_buf *out, struct sn_error *e)
{
    static const char *const by[] = {"what they retain", "what they retain",
                                     "their own bytes", "their blocks"};
    struct table t = {.v = v,
                      .sort = o->sort,
                      .leaked = leaked,
                      .total = leaked ? v->h->leaked_bytes : v->h->live_bytes};
    bool exact = true;
    if (!sort_sites(&t, e))
        return false;
    uint32_t n = o->top != 0 && o->top < t.n ? o->top : t.n;
    sn_buf_printf(out, "\n%s: showing %u of %u sites, by %s\n",
                  leaked ? "Leaked" : "Reachable", n, t.n, by[o->sort]);
    sn_buf_puts(out, "  retained retd%       flat  flat%    blocks  site\n");
    for (uint32_t i = 0; i < n; i++)
        exact &= put_row(&t, t.order[i], out);
    if (!exact)
        sn_buf_puts(out, ">= counts what single blocks retain; together they may more\n");
    return true;
}

bool sn_heap_report_top(const struct sn_heap_view *v, const struct sn_heap_options *o,
                        struct sn_buf *out, struct sn_error *e)
{
    sn_heap_head(v, out);
    return (v->h->n_live == 0 || put_table(v, o, false, out, e)) &&
           (v->h->n_live == v->h->n || put_table(v, o, true, out, e)) &&
           sn_report_done(out, e);
}

/* ---- blocks --------------------------------------------------------------------------
 */

struct sorting {
    const struct sn_heap_view *v;
    bool flat;
};

static int compare_blocks(const void *a, const void *b, void *sorting)
{
    const struct sorting *s = sorting;
    uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    uint64_t x = s->flat ? s->v->d->blocks[i].size : sn_heap_retained(s->v->h, i);
    uint64_t y = s->flat ? s->v->d->blocks[k].size : sn_heap_retained(s->v->h, k);
    return x != y ? (x > y ? -1 : 1) : (i > k) - (i < k);
}

uint32_t *sn_heap_block_order(const struct sn_heap_view *v,
                              const struct sn_heap_options *o, uint32_t *n,
                              struct sn_error *e)
{
    struct sorting s = {v, o->sort == SN_HEAP_FLAT};
    uint32_t all = v->d->n_blocks;
    *n = o->top != 0 && o->top < all ? o->top : all;
    if (o->sort != SN_HEAP_RETAINED && o->sort != SN_HEAP_FLAT)
        return NULL;
    uint32_t *order = sn_arena_alloc(v->p->arena, ((size_t)all + 1) * sizeof *order);
    if (order == NULL) {
        sn_fail(e, NULL, -1, "out of memory");
        return NULL;
    }
    for (uint32_t i = 0; i < all; i++)
        order[i] = i;
    qsort_r(order, all, sizeof *order, compare_blocks, &s);
    return order;
}

void sn_heap_report_blocks(const struct sn_heap_view *v, const uint32_t *order,
                           uint32_t from, uint32_t to, struct sn_buf *out)
{
    if (from == 0)
        sn_buf_puts(out, "           address       size   retained  state   site\n");
    for (uint32_t i = from; i < to; i++) {
        uint32_t b = order != NULL ? order[i] : i;
        const struct sn_heapdump_block *x = &v->d->blocks[b];
        sn_buf_printf(out, "0x%016llx %10llu %10llu  %s  ",
                      (unsigned long long)x->address, (unsigned long long)x->size,
                      (unsigned long long)sn_heap_retained(v->h, b),
                      sn_heap_is_leaked(v->h, b) ? "leaked" : "live  ");
        sn_buf_printf(out, "%s\n", v->names[v->site_of[b]]);
    }
}
