/* alloc_sites.c: what each stack allocated and what became of it; as a table by site. */
#include "report/alloctrace.h"
#include "report_priv.h"

#include <stdio.h>

struct sn_alloc_sites {
    struct sn_arena *arena;
    struct sn_alloc_sum unknown, *v; /* by stack */
    uint32_t n, cap;
};

struct sn_alloc_sites *sn_alloc_sites_new(struct sn_alloctrace *t)
{
    struct sn_alloc_sites *s = sn_arena_alloc(t->arena, sizeof *s);
    if (s != NULL)
        s->arena = t->arena;
    return s;
}

static struct sn_alloc_sum *sum_at(struct sn_alloc_sites *s, uint32_t stack)
{
    if (stack == SN_NONE)
        return &s->unknown;
    while (s->n <= stack)
        if (SN_PUSH(s->arena, s->v, s->n, s->cap) == NULL)
            return NULL;
    return &s->v[stack];
}

/* A free counts where its block came from. A realloc that failed freed nothing; a block
 * that was only ready was not allocated. */
bool sn_alloc_sites_add(struct sn_alloc_sites *s, const struct sn_alloc_event *x)
{
    struct sn_alloc_sum *sum = sum_at(s, sn_alloc_is_alloc(x) ? x->stack
                                         : x->known           ? x->origin
                                                              : SN_NONE);
    if (sum == NULL)
        return false;
    if (sn_alloc_is_alloc(x)) {
        sum->allocs++;
        sum->alloc_bytes += x->size;
    } else if (x->unused && x->known && sum->allocs > 0) {
        sum->allocs--;
        sum->alloc_bytes -= x->size < sum->alloc_bytes ? x->size : sum->alloc_bytes;
    } else if (sn_alloc_is_free(x) && x->known) {
        sum->frees++;
        sum->free_bytes += x->size;
        sum->temporary += x->temporary;
        sum->timed += x->timed;
        sum->life_ns += x->timed ? x->life_ns : 0;
    } else if (x->kind == SN_ALLOC_RESIZE_KEPT && x->known && sum->frees > 0) {
        sum->frees--;
        sum->free_bytes -= x->size < sum->free_bytes ? x->size : sum->free_bytes;
    }
    return true;
}

struct sn_alloc_sum sn_alloc_sum_of(const struct sn_alloc_sites *s, uint32_t stack)
{
    return stack == SN_NONE ? s->unknown
           : stack < s->n   ? s->v[stack]
                            : (struct sn_alloc_sum){0};
}

/* ---- the table ------------------------------------------------------------------------
 */

struct row {
    const char *site;
    struct sn_alloc_sum sum;
};

struct rows {
    struct row *v;
    uint32_t n, cap;
    struct sn_map *by_site;
    struct sn_strtab *names;
};

static void add_sum(struct sn_alloc_sum *to, const struct sn_alloc_sum *x)
{
    to->allocs += x->allocs;
    to->alloc_bytes += x->alloc_bytes;
    to->frees += x->frees;
    to->free_bytes += x->free_bytes;
    to->temporary += x->temporary;
    to->timed += x->timed;
    to->life_ns += x->life_ns;
}

static bool add_row(struct sn_arena *a, struct rows *r, const char *site,
                    const struct sn_alloc_sum *sum)
{
    if (sum->allocs == 0 && sum->frees == 0)
        return true;
    uint32_t *at = sn_map_put(r->by_site, sn_strtab_add(r->names, site));
    if (at == NULL)
        return false;
    if (*at == SN_NONE) {
        struct row *x = SN_PUSH(a, r->v, r->n, r->cap);
        if (x == NULL)
            return false;
        x->site = site;
        *at = r->n - 1;
    }
    add_sum(&r->v[*at].sum, sum);
    return true;
}

static int by_bytes(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    uint64_t i = x->sum.alloc_bytes, j = y->sum.alloc_bytes;
    return i != j ? (i < j) - (i > j) : strcmp(x->site, y->site);
}

static const char *share(uint64_t part, uint64_t all, char *buf, size_t size)
{
    if (all == 0)
        snprintf(buf, size, "-");
    else
        snprintf(buf, size, "%.1f%%", 100.0 * (double)part / (double)all);
    return buf;
}

static void put_row(const char *site, const struct sn_alloc_sum *s, struct sn_buf *out)
{
    char bytes[32], live[32], temporary[32], life[32] = "-";
    uint64_t mean = s->timed > 0 ? s->life_ns / s->timed : 0;
    if (s->timed > 0)
        sn_unit_label((int64_t)mean, "ns", "auto", life, sizeof life);
    uint64_t left = s->alloc_bytes > s->free_bytes ? s->alloc_bytes - s->free_bytes : 0;
    sn_buf_printf(
        out, "%10llu %10llu %10s %10llu %10s %9s %10s  %s\n",
        (unsigned long long)s->allocs, (unsigned long long)s->frees,
        sn_unit_label((int64_t)s->alloc_bytes, "bytes", "auto", bytes, sizeof bytes),
        (unsigned long long)(s->allocs > s->frees ? s->allocs - s->frees : 0),
        sn_unit_label((int64_t)left, "bytes", "auto", live, sizeof live),
        share(s->temporary, s->frees, temporary, sizeof temporary), life, site);
}

bool sn_alloc_put_sites(const struct sn_alloc_sites *s, struct sn_alloc_names *n,
                        const struct sn_alloctrace *t, unsigned rows, struct sn_buf *out,
                        struct sn_error *e)
{
    struct sn_alloc_sum all = {0};
    struct rows r = {.by_site = sn_map_new(s->arena), .names = sn_strtab_new(s->arena)};
    bool good = r.by_site != NULL && r.names != NULL;
    for (uint32_t i = 0; good && i < s->n; i++) {
        add_sum(&all, &s->v[i]);
        good = add_row(s->arena, &r, sn_alloc_site(n, i), &s->v[i]);
    }
    add_sum(&all, &s->unknown);
    if (!good || !add_row(s->arena, &r, "(no stack)", &s->unknown))
        return sn_fail(e, NULL, -1, "out of memory");
    if (r.n > 0)
        qsort(r.v, r.n, sizeof *r.v, by_bytes);
    sn_buf_printf(out, "%s (%u): %llu events, %.3f s", t->header.comm, t->header.pid,
                  (unsigned long long)t->n_events, (double)t->last_ns / 1e9);
    if (t->n_collections > 0 || t->n_late > 0)
        sn_buf_printf(out, "; %llu of them seen late, %llu collections",
                      (unsigned long long)t->n_late,
                      (unsigned long long)t->n_collections);
    sn_buf_putc(out, '\n');
    sn_buf_printf(out, "%10s %10s %10s %10s %10s %9s %10s  %s\n", "allocs", "frees",
                  "bytes", "live", "live bytes", "temporary", "mean life", "site");
    put_row("(all)", &all, out);
    uint32_t shown = rows == 0 || rows > r.n ? r.n : rows;
    for (uint32_t i = 0; i < shown; i++)
        put_row(r.v[i].site, &r.v[i].sum, out);
    if (shown < r.n)
        sn_buf_printf(out, "... %u more sites\n", r.n - shown);
    return sn_report_done(out, e);
}
