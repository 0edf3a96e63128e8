/*
 * heapdump.c: the checked reader of heap dumps (heapdump.h).
 *
 * Nothing in the file is trusted. What sn_heapdump_open lets through keeps these:
 *   1. each table lies inside the file and begins at a multiple of 8;
 *   2. there are fewer than SN_NONE blocks, edges and roots;
 *   3. addresses ascend, and the sizes add up to no more than INT64_MAX;
 *   4. edges ascend in `from`; every index is of a block; every root's kind is known;
 *   5. every site is 0 or lies among the entries of the spool.
 * Needs libc alone.
 */
#include "profile/heapdump.h"

bool sn_heapdump_is(const void *data, size_t len)
{
    const struct sn_heapdump_header *h = data;
    return len >= sizeof h->magic && h->magic == SN_HEAPDUMP_MAGIC;
}

/* ---- tables --------------------------------------------------------------------------
 */

struct file {
    const unsigned char *data;
    size_t len;
    const char *where;
    struct sn_error *e;
};

static bool bad(const struct file *f, const void *at, const char *why)
{
    return sn_fail(f->e, f->where, (const unsigned char *)at - f->data, "%s", why);
}

/* A table's first element; NULL with an error. `field` is where its offset is written. */
static const void *table(const struct file *f, const uint64_t *field, uint64_t n,
                         size_t size, const char *what)
{
    uint64_t at = *field;
    int64_t offset = (const unsigned char *)field - f->data;
    if (n >= SN_NONE)
        sn_fail(f->e, f->where, offset, "there are more %s than can be read", what);
    else if (at % 8 != 0)
        sn_fail(f->e, f->where, offset, "the %s begin at no multiple of 8", what);
    else if (at > f->len || n > (f->len - at) / size)
        sn_fail(f->e, f->where, offset, "the %s lie outside the file: is it cut short?",
                what);
    else
        return f->data + at;
    return NULL;
}

static bool open_tables(const struct file *f, struct sn_heapdump *d)
{
    const struct sn_heapdump_header *h = d->header;
    d->blocks = table(f, &h->at_blocks, h->n_blocks, sizeof *d->blocks, "blocks");
    if (d->blocks != NULL)
        d->edges = table(f, &h->at_edges, h->n_edges, sizeof *d->edges, "edges");
    if (d->edges != NULL)
        d->roots = table(f, &h->at_roots, h->n_roots, sizeof *d->roots, "roots");
    if (d->roots == NULL)
        return false;
    d->n_blocks = (uint32_t)h->n_blocks;
    d->n_edges = (uint32_t)h->n_edges;
    d->n_roots = (uint32_t)h->n_roots;
    if (h->spool_len == 0)
        return true;
    d->spool = table(f, &h->at_spool, h->spool_len / 8, 8, "stacks");
    if (d->spool == NULL)
        return false;
    if (h->spool_len > f->len - h->at_spool)
        return bad(f, &h->spool_len, "the stacks lie outside the file");
    d->spool_len = h->spool_len;
    return sn_spool_is(d->spool, d->spool_len) ||
           bad(f, d->spool, "the stacks are no spool of this version");
}

/* ---- rows ----------------------------------------------------------------------------
 */

static bool check_blocks(const struct file *f, struct sn_heapdump *d)
{
    for (uint32_t i = 0; i < d->n_blocks; i++) {
        const struct sn_heapdump_block *b = &d->blocks[i];
        if (i > 0 && b->address <= b[-1].address)
            return bad(f, b, "the blocks are not in the order of their addresses");
        if (b->size > UINT64_MAX - b->address || b->size > INT64_MAX - d->bytes)
            return bad(f, b, "a block is larger than memory can be");
        if (b->site != 0 && (d->spool == NULL || (uint64_t)b->site * 8 >= d->spool_len ||
                             (uint64_t)b->site * 8 < SN_SPOOL_AT_ENTRIES))
            return bad(f, b, "a block's stack is not there");
        d->bytes += b->size;
    }
    return true;
}

static bool check_edges(const struct file *f, const struct sn_heapdump *d)
{
    for (uint32_t i = 0; i < d->n_edges; i++) {
        const struct sn_heapdump_edge *x = &d->edges[i];
        if (x->from >= d->n_blocks || x->to >= d->n_blocks)
            return bad(f, x, "an edge refers to a block that is not there");
        if (i > 0 && x->from < x[-1].from)
            return bad(f, x, "the edges are not in the order of their blocks");
    }
    return true;
}

static bool check_roots(const struct file *f, const struct sn_heapdump *d)
{
    for (uint32_t i = 0; i < d->n_roots; i++) {
        const struct sn_heapdump_root *r = &d->roots[i];
        if (r->block >= d->n_blocks)
            return bad(f, r, "a root refers to a block that is not there");
        if (r->kind == 0 || r->kind >= SN_ROOT_KINDS)
            return bad(f, r, "a root is of a kind that is not known");
    }
    return true;
}

bool sn_heapdump_open(struct sn_heapdump *d, const void *data, size_t len,
                      const char *where, struct sn_error *e)
{
    const struct file f = {data, len, where, e};
    *d = (struct sn_heapdump){.header = data};
    if (!sn_heapdump_is(data, len))
        return sn_fail(e, where, 0, "it is no heap dump");
    if (len < sizeof *d->header)
        return sn_fail(e, where, (int64_t)len, "the heap dump is cut short");
    if (d->header->version != SN_HEAPDUMP_VERSION)
        return bad(&f, &d->header->version,
                   "it is a heap dump of another version of sonde");
    return open_tables(&f, d) && check_blocks(&f, d) && check_edges(&f, d) &&
           check_roots(&f, d);
}

/* ---- stacks --------------------------------------------------------------------------
 */

struct stacks {
    struct sn_spool_stacks *spool; /* NULL: there is none */
    struct sn_profile *p;
    struct sn_strtab *seen;  /* stacks by the bytes of their locations */
    struct sn_map *of_entry; /* site to sample */
    uint32_t *of_seen;       /* by id in `seen`: sample */
    uint32_t n_seen, cap_seen;
};

/* The sample of the stack that was just read; read once, it is dropped again. */
static uint32_t intern(struct stacks *x, const struct sn_sample *stack)
{
    struct sn_profile *p = x->p;
    const char *bytes =
        stack->n_locs > 0 ? (const char *)(p->sample_locs + stack->loc0) : "";
    uint32_t id = sn_strtab_addn(x->seen, bytes, stack->n_locs * sizeof *p->sample_locs);
    while (x->n_seen <= id) {
        uint32_t *slot = SN_PUSH(p->arena, x->of_seen, x->n_seen, x->cap_seen);
        if (slot == NULL)
            return SN_NONE;
        *slot = SN_NONE;
    }
    if (x->of_seen[id] != SN_NONE) {
        p->n_sample_locs = stack->loc0;
        return x->of_seen[id];
    }
    struct sn_sample *s = SN_PUSH(p->arena, p->samples, p->n_samples, p->cap_samples);
    if (s == NULL)
        return SN_NONE;
    *s = *stack;
    return x->of_seen[id] = p->n_samples - 1;
}

static uint32_t stack_of_site(struct stacks *x, uint32_t site, struct sn_error *e)
{
    struct sn_sample stack = {.loc0 = x->p->n_sample_locs};
    uint32_t *known = sn_map_put(x->of_entry, site);
    if (known == NULL || *known != SN_NONE)
        return known == NULL ? SN_NONE : *known;
    if (site != 0 && !sn_spool_stack(x->spool, (uint64_t)site * 8, &stack, e))
        return SN_NONE;
    return *known = intern(x, &stack);
}

static bool read_stacks(struct stacks *x, const struct sn_heapdump *d, uint32_t *stack_of,
                        struct sn_error *e)
{
    uint32_t last_site = 0, last = SN_NONE; /* neighbours are often of one site */
    for (uint32_t i = 0; i < d->n_blocks; i++) {
        uint32_t site = d->blocks[i].site;
        if (last == SN_NONE || site != last_site)
            last = stack_of_site(x, last_site = site, e);
        stack_of[i] = last;
        if (last == SN_NONE)
            return false;
    }
    return true;
}

struct sn_profile *sn_heapdump_stacks(const struct sn_heapdump *d, uint32_t *stack_of,
                                      const char *where, struct sn_error *e)
{
    struct sn_arena *a = sn_arena_new();
    struct stacks x = {.p = sn_profile_new()};
    bool good = a != NULL && x.p != NULL;
    if (good && d->spool != NULL) {
        x.spool = sn_spool_stacks_new(x.p, d->spool, d->spool_len, where, e);
        good = x.spool != NULL;
    }
    if (good) {
        x.seen = sn_strtab_new(a);
        x.of_entry = sn_map_new(a);
        good = x.seen != NULL && x.of_entry != NULL && read_stacks(&x, d, stack_of, e) &&
               !sn_arena_failed(a) && !sn_arena_failed(x.p->arena);
    }
    sn_arena_free(a);
    if (good) {
        x.p->time_ns =
            d->header->time_real_ns <= INT64_MAX ? (int64_t)d->header->time_real_ns : 0;
        return x.p;
    }
    sn_profile_free(x.p);
    sn_fail(e, where, -1, "out of memory");
    return NULL;
}
