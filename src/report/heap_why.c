/* heap_why.c: what keeps a block alive: a shortest way to it from a root, and what on it
 * cannot be left out. */
#include "heap_priv.h"

#include <errno.h>

#define RUN 8 /* hops through one site in a row that are shown: half at each end */

static void put_block(const struct sn_heap_view *v, uint32_t block, const char *mark,
                      struct sn_buf *out)
{
    const struct sn_heapdump_block *b = &v->d->blocks[block];
    char size[64], retained[64];
    sn_buf_printf(out, "%s0x%llx  %s, retains %s  ", mark, (unsigned long long)b->address,
                  sn_heap_bytes(b->size, size),
                  sn_heap_bytes(sn_heap_retained(v->h, block), retained));
    sn_buf_printf(out, "%s\n", v->names[v->site_of[block]]);
}

static void put_root(const struct sn_heap_view *v, uint32_t block, struct sn_buf *out)
{
    const struct sn_heapdump_root *first = NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->d->n_roots; i++)
        if (v->d->roots[i].block == block && n++ == 0)
            first = &v->d->roots[i];
    if (first != NULL) {
        sn_buf_printf(out, "%s at 0x%llx", sn_heap_root_name(first->kind),
                      (unsigned long long)first->address);
        if (n > 1)
            sn_buf_printf(out, ", and %u more", n - 1);
        sn_buf_putc(out, '\n');
    } else {
        sn_buf_puts(out, sn_heap_is_leaked(v->h, block)
                             ? "leaked: no root leads here\n"
                             : "a root that the dump does not name\n");
    }
}

/* How many hops from i on are of one site and alike. */
static uint32_t run_from(const struct sn_heap_view *v, const struct sn_heap_hop *path,
                         uint32_t i, uint32_t n)
{
    uint32_t k = i + 1;
    while (k < n && v->site_of[path[k].block] == v->site_of[path[i].block] &&
           path[k].needed == path[i].needed)
        k++;
    return k - i;
}

static void put_path(const struct sn_heap_view *v, const struct sn_heap_hop *path,
                     uint32_t n, struct sn_buf *out)
{
    put_root(v, path[0].block, out);
    for (uint32_t i = 0; i < n;) {
        uint32_t run = run_from(v, path, i, n), hidden = run > RUN ? run - RUN : 0;
        for (uint32_t k = 0; k < run; k++) {
            if (hidden > 0 && k == RUN / 2) {
                sn_buf_printf(out, "    ... %u more of these\n", hidden);
                k += hidden;
            }
            put_block(v, path[i + k].block, path[i + k].needed ? "  * " : "    ", out);
        }
        i += run;
    }
    sn_buf_puts(out, "* every way to the block leads through it\n");
}

static bool put_why(const struct sn_heap_view *v, uint32_t block, struct sn_buf *out,
                    struct sn_error *e)
{
    struct sn_heap_hop *path;
    uint32_t n = sn_heap_path(v->h, block, &path);
    if (n == 0)
        return sn_fail(e, NULL, -1, "out of memory");
    put_block(v, block, "", out);
    uint32_t n_in = v->h->first_in[block + 1] - v->h->first_in[block];
    sn_buf_printf(out, "referred to by %u block%s\n\n", n_in, n_in == 1 ? "" : "s");
    put_path(v, path, n, out);
    return sn_report_done(out, e);
}

/* Of the blocks of the sites that match, the one that retains most. */
static bool find_by_site(const struct sn_heap_view *v, const char *pattern,
                         uint32_t *block, struct sn_buf *out, struct sn_error *e)
{
    struct sn_regex *rx = sn_regex_new(pattern, "why", e);
    bool *matches = sn_arena_alloc(v->p->arena, v->n_sites + 1);
    uint32_t sites = 0, n = 0;
    *block = SN_NONE;
    for (uint32_t i = 0; rx != NULL && matches != NULL && i < v->n_sites; i++)
        sites += matches[i] = sn_regex_match(rx, v->names[i]);
    sn_regex_free(rx);
    for (uint32_t b = 0; sites > 0 && b < v->d->n_blocks; b++) {
        if (!matches[v->site_of[b]])
            continue;
        n++;
        if (*block == SN_NONE ||
            sn_heap_retained(v->h, b) > sn_heap_retained(v->h, *block))
            *block = b;
    }
    if (*block == SN_NONE)
        return sn_fail(e, NULL, -1, "no block is of a site that matches '%s'", pattern);
    sn_buf_printf(out, "%u block%s of %u site%s; of these retains most:\n", n,
                  n == 1 ? "" : "s", sites, sites == 1 ? "" : "s");
    return true;
}

bool sn_heap_report_why(const struct sn_heap_view *v, const char *what,
                        struct sn_buf *out, struct sn_error *e)
{
    char *end;
    uint32_t block;
    errno = 0;
    uint64_t address = strtoull(what, &end, 0);
    if (*what < '0' || *what > '9' || *end != '\0' || errno != 0)
        return find_by_site(v, what, &block, out, e) && put_why(v, block, out, e);
    block = sn_heap_find(v->h, address);
    return block != SN_NONE ? put_why(v, block, out, e)
                            : sn_fail(e, NULL, -1, "no block is at address %s", what);
}
