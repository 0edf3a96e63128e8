/*
 * edges.c: a table of edges that are counted: of few nodes a square of all that there can
 * be; of many, one by hash, in pages of its own, that doubles when it is full.
 */
#include "edges.h"

/* Pages are met by one thread: several that meet new ones at once wait for one another.
 */
void sn_edges_open(struct sn_edges *x, uint32_t n_nodes, uint32_t of_nodes)
{
    *x = (struct sn_edges){
        .n_nodes = n_nodes, .by_hash = n_nodes > SN_SQUARE, .size = 4096};
    while (x->size / 16 < of_nodes && x->size < 1u << 20)
        x->size *= 2;
    if (!x->by_hash)
        x->size = n_nodes * n_nodes + 1;
    x->v = sn_pages_map(x->size * sizeof *x->v);
    sn_pages_scattered(x->v, x->size * sizeof *x->v);
    x->failed = x->v == NULL;
    if (!x->failed && x->size < 1u << 16)
        memset(x->v, 0, x->size * sizeof *x->v);
}

void sn_edges_close(struct sn_edges *x)
{
    sn_pages_unmap(x->v, x->size * sizeof *x->v);
}

/* Where it should be. */
static uint32_t slot_of(const struct sn_edges *x, uint64_t ends)
{
    if (!x->by_hash)
        return (uint32_t)(ends >> 32) * x->n_nodes + (uint32_t)ends;
    return (uint32_t)(ends * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (x->size - 1);
}

/* Where it is, or where it goes: in its slot or after it. */
static struct sn_tally *probe(const struct sn_edges *x, uint64_t ends)
{
    uint32_t slot = slot_of(x, ends);
    while (x->v[slot].seen != 0 && x->v[slot].ends != ends)
        slot = (slot + 1) & (x->size - 1);
    return &x->v[slot];
}

/* Where looks are short, if there is memory to spare: half of a small one. */
static uint32_t full(const struct sn_edges *x)
{
    return x->size <= 1u << 14 ? x->size / 2 : x->size / 8 * 7;
}

/* Room for so many more: a table twice as large, if need be. */
static bool reserve(struct sn_edges *x, uint32_t more)
{
    if (!x->by_hash || x->n + more <= full(x) || x->failed)
        return !x->failed;
    struct sn_edges bigger = *x;
    bigger.size = x->size * 2;
    bigger.v = x->size < 1u << 30 ? sn_pages_map(bigger.size * sizeof *x->v) : NULL;
    sn_pages_scattered(bigger.v, bigger.size * sizeof *x->v);
    x->failed = bigger.v == NULL;
    if (x->failed)
        return false;
    for (uint32_t i = 0; i < x->size; i++)
        if (x->v[i].seen != 0)
            *probe(&bigger, x->v[i].ends) = x->v[i];
    sn_edges_close(x);
    *x = bigger;
    return true;
}

/* There is room for it. */
static struct sn_tally *tally_of(struct sn_edges *x, uint64_t ends)
{
    struct sn_tally *t = probe(x, ends);
    x->n += t->seen == 0;
    t->ends = ends;
    return t;
}

static void count_passage(struct sn_edges *x, const struct sn_view *v,
                          const struct sn_passage *p)
{
    struct sn_tally *t = tally_of(x, p->ends);
    if (t->seen == p->stamp)
        return;
    int64_t divisor;
    t->seen = p->stamp;
    t->weight += sn_view_weight(v, p->stamp - 1, &divisor);
    t->weight_div += divisor;
    t->flags |= p->flags;
}

/* Each takes a look into memory that may be in no cache: those of a batch are under way
 * together. */
void sn_edges_count(struct sn_edges *x, const struct sn_view *v,
                    const struct sn_passage *p, uint32_t n)
{
    if (!reserve(x, n))
        return;
    for (uint32_t i = 0; i < n; i++)
        __builtin_prefetch(&x->v[slot_of(x, p[i].ends)]);
    for (uint32_t i = 0; i < n; i++)
        count_passage(x, v, &p[i]);
}

void sn_edges_add(struct sn_edges *x, struct sn_edges *from)
{
    x->failed |= from->failed;
    for (uint32_t i = 0; i < from->size && from->n > 0; i++) {
        const struct sn_tally *t = &from->v[i];
        if (t->seen == 0 || !reserve(x, 1))
            continue;
        struct sn_tally *to = tally_of(x, t->ends);
        to->seen = t->seen;
        to->weight += t->weight;
        to->weight_div += t->weight_div;
        to->flags |= t->flags;
    }
    from->n = 0;
}
