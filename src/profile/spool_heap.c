/*
 * spool_heap.c: what a heap's spool says, sampled or exact: sample types as Go's heap
 * profile has them, then those that only we have. Needs libc alone.
 *
 * The values of an entry were weighed when they were counted: each block stands for as
 * many as its size makes it, so that here they need only be divided by the scale.
 */
#include "profile_priv.h"

#include <stdio.h>

/* Pairs of sample types. */
enum { ALLOC, INUSE, PEAK, TEMPORARY, LEAKED, FAMILIES };

static const char *const families[FAMILIES] = {"alloc", "inuse", "peak", "temporary",
                                               "leaked"};

struct sn_spool_sums {
    struct sn_heap_amount families[FAMILIES];
    uint64_t frees, truncated[16]; /* objects */
};

static bool is_exact(const struct sn_spool_reader *r)
{
    return r->h->n_values == SN_HEAP_VALUES;
}

static bool n_values_good(uint32_t n)
{
    return n == SN_HEAP_SAMPLED_VALUES || n == SN_HEAP_VALUES;
}

static bool add_types(struct sn_spool_reader *r)
{
    struct sn_profile *p = r->p;
    char name[32];
    for (unsigned i = 0; i < (is_exact(r) ? FAMILIES : TEMPORARY); i++) {
        snprintf(name, sizeof name, "%s_objects", families[i]);
        if (!sn_spool_add_type(p, name, "count"))
            return false;
        snprintf(name, sizeof name, "%s_space", families[i]);
        if (!sn_spool_add_type(p, name, "bytes"))
            return false;
    }
    r->sums = sn_arena_alloc(p->arena, sizeof *r->sums);
    p->period_type = (struct sn_value_type){sn_strtab_add(p->strings, "space"),
                                            sn_strtab_add(p->strings, "bytes")};
    p->default_sample_type = sn_strtab_add(p->strings, "inuse_space");
    return r->sums != NULL;
}

static struct sn_heap_amount amount_at(const struct sn_spool_entry *x, unsigned i)
{
    return (struct sn_heap_amount){sn_spool_value(x, i), sn_spool_value(x, i + 1)};
}

/* a - b; it may be counting while we read. */
static struct sn_heap_amount less(struct sn_heap_amount a, struct sn_heap_amount b)
{
    return (struct sn_heap_amount){a.objects > b.objects ? a.objects - b.objects : 0,
                                   a.bytes > b.bytes ? a.bytes - b.bytes : 0};
}

static int64_t unscaled(uint64_t value, uint32_t scale)
{
    return (int64_t)(value / scale) + (value % scale >= (scale + 1) / 2);
}

static bool add_sample(struct sn_spool_reader *r, const struct sn_spool_entry *x,
                       const struct sn_heap_amount *amounts, int64_t block_bytes,
                       int64_t lifetime_ns)
{
    struct sn_profile *p = r->p;
    int64_t v[2 * FAMILIES];
    uint32_t bytes = sn_strtab_add(p->strings, "bytes");
    for (unsigned i = 0; i < FAMILIES; i++) {
        v[2 * i] = unscaled(amounts[i].objects, r->h->scale);
        v[2 * i + 1] = unscaled(amounts[i].bytes, r->h->scale);
    }
    if (sn_spool_add_sample(r, x, v) == NULL ||
        !sn_spool_add_label(
            p, (struct sn_label){.key = bytes, .num = block_bytes, .num_unit = bytes}))
        return false;
    return lifetime_ns < 0 ||
           sn_spool_add_label(
               p,
               (struct sn_label){.key = sn_strtab_add(p->strings, "lifetime"),
                                 .num = lifetime_ns,
                                 .num_unit = sn_strtab_add(p->strings, "nanoseconds")});
}

/* Those that were freed, by how long they lived; what was temporary is told with those
 * that lived shortest. */
static bool add_freed(struct sn_spool_reader *r, const struct sn_spool_entry *x,
                      int64_t block_bytes)
{
    struct sn_heap_amount temporary = amount_at(x, SN_HEAP_TEMPORARY_OBJECTS);
    int64_t from_ns = 0;
    for (unsigned i = 0; i < SN_HEAP_DECADES; i++) {
        struct sn_heap_amount v[FAMILIES] = {[ALLOC] =
                                                 amount_at(x, SN_HEAP_LIFETIMES + 2 * i)};
        if (v[ALLOC].objects > 0 || v[ALLOC].bytes > 0) { /* or a part of a mapping */
            v[TEMPORARY] = temporary;
            temporary = (struct sn_heap_amount){0};
            if (!add_sample(r, x, v, block_bytes, from_ns))
                return false;
        }
        from_ns = from_ns == 0 ? 1000 : from_ns * 10;
    }
    return true;
}

static struct sn_heap_amount all_freed(const struct sn_spool_entry *x)
{
    struct sn_heap_amount all = {0};
    for (unsigned i = 0; i < SN_HEAP_DECADES; i++) {
        struct sn_heap_amount some = amount_at(x, SN_HEAP_LIFETIMES + 2 * i);
        all.objects += some.objects;
        all.bytes += some.bytes;
    }
    return all;
}

static void sum(struct sn_heap_amount *to, struct sn_heap_amount a)
{
    to->objects += a.objects;
    to->bytes += a.bytes;
}

static bool add_entry(struct sn_spool_reader *r, const struct sn_spool_entry *x)
{
    struct sn_spool_sums *all = r->sums;
    struct sn_heap_amount v[FAMILIES] = {[ALLOC] = amount_at(x, SN_HEAP_ALLOC_OBJECTS)};
    if (v[ALLOC].objects == 0 || v[ALLOC].objects > INT64_MAX ||
        v[ALLOC].bytes > INT64_MAX)
        return true; /* published, not yet counted; or nonsense */
    int64_t block_bytes = (int64_t)(v[ALLOC].bytes / v[ALLOC].objects);
    struct sn_heap_amount freed = amount_at(x, SN_HEAP_FREE_OBJECTS);
    v[INUSE] = less(v[ALLOC], freed);
    v[PEAK] = sn_spool_value(x, SN_HEAP_EPOCH) == r->h->peak_epoch
                  ? amount_at(x, SN_HEAP_PEAK_OBJECTS)
                  : v[INUSE];
    sum(&all->families[ALLOC], v[ALLOC]);
    sum(&all->families[INUSE], v[INUSE]);
    sum(&all->families[PEAK], v[PEAK]);
    all->frees += freed.objects;
    all->truncated[x->end % SN_COUNT(all->truncated)] += v[ALLOC].objects / r->h->scale;
    if (is_exact(r)) {
        v[ALLOC] = less(v[ALLOC], all_freed(x));
        v[LEAKED] = amount_at(x, SN_HEAP_LEAKED_OBJECTS);
        sum(&all->families[LEAKED], v[LEAKED]);
        if (!add_freed(r, x, block_bytes))
            return false;
    }
    return (v[ALLOC].objects == 0 && v[PEAK].objects == 0) ||
           add_sample(r, x, v, block_bytes, -1);
}

/* A new epoch: an entry that has not changed in it has what is live. What is allocated
 * between the two steps is at once a new height, or part of the one that is marked. */
void sn_spool_mark_peak(struct sn_spool_header *h)
{
    uint64_t live = __atomic_load_n(&h->live_bytes, __ATOMIC_RELAXED), peak;
    __atomic_store_n(&h->peak_bytes, live, __ATOMIC_RELAXED);
    __atomic_fetch_add(&h->peak_epoch, 1, __ATOMIC_RELAXED);
    live = __atomic_load_n(&h->live_bytes, __ATOMIC_RELAXED);
    peak = __atomic_load_n(&h->peak_bytes, __ATOMIC_RELAXED);
    if (live > peak && __atomic_compare_exchange_n(&h->peak_bytes, &peak, live, false,
                                                   __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        __atomic_fetch_add(&h->peak_epoch, 1, __ATOMIC_RELAXED);
}

/* ---- what is said of the whole ------------------------------------------------------
 */

static const char *const unknown_leaks[] = {
    [SN_LEAKS_NOT_ASKED] =
        "it is looked for when a recording ends, which this one did not",
    [SN_LEAKS_IN_ALLOCATOR] = "the program ended inside its allocator",
    [SN_LEAKS_NO_MEMORY] = "there was no memory to look for it",
    [SN_LEAKS_NOT_READ] = "the memory could not be read (no /proc, or no descriptor)",
};

static unsigned long long shown(const struct sn_spool_reader *r, uint64_t value)
{
    return (unsigned long long)unscaled(value, r->h->scale);
}

const char *sn_spool_leaks_unknown(uint32_t leaks)
{
    if (leaks == SN_LEAKS_KNOWN)
        return NULL;
    return unknown_leaks[leaks < SN_COUNT(unknown_leaks) ? leaks : SN_LEAKS_NOT_ASKED];
}

static void add_leaks(struct sn_spool_reader *r)
{
    struct sn_heap_amount leaked = r->sums->families[LEAKED],
                          live = r->sums->families[INUSE];
    struct sn_heap_amount reachable = less(live, leaked);
    const char *unknown = sn_spool_leaks_unknown(r->h->leaks);
    if (unknown == NULL)
        sn_profile_comment(
            r->p,
            "leaked: %llu bytes in %llu blocks, still reachable: %llu bytes "
            "in %llu blocks",
            shown(r, leaked.bytes), shown(r, leaked.objects), shown(r, reachable.bytes),
            shown(r, reachable.objects));
    else
        sn_profile_comment(r->p, "leaked: not known, %s", unknown);
}

static void add_comments(struct sn_spool_reader *r)
{
    const struct sn_spool_header *h = r->h;
    const struct sn_heap_amount *all = r->sums->families;
    if (is_exact(r))
        sn_profile_comment(r->p, "heap: exact");
    else
        sn_profile_comment(r->p, "heap: sampled every %llu bytes",
                           (unsigned long long)h->period);
    if (h->mappings != 0)
        sn_profile_comment(r->p, "mappings are counted as blocks");
    sn_profile_comment(r->p,
                       "allocations: %llu, frees: %llu, peak: %llu bytes in %llu blocks",
                       shown(r, all[ALLOC].objects), shown(r, r->sums->frees),
                       shown(r, all[PEAK].bytes), shown(r, all[PEAK].objects));
    if (is_exact(r))
        add_leaks(r);
    sn_spool_comment_loss(r, "blocks not recorded, the spool was full",
                          h->dropped[SN_DROP_FULL]);
    sn_spool_comment_loss(r, "blocks not recorded, a signal's handler allocated them",
                          h->dropped[SN_DROP_NESTED]);
    sn_spool_comment_cut(r, r->sums->truncated);
}

static struct sn_heap_amount whole(const struct sn_spool_reader *r, int family)
{
    struct sn_heap_amount a = r->sums->families[family];
    return (struct sn_heap_amount){shown(r, a.objects), shown(r, a.bytes)};
}

static void sum_up(const struct sn_spool_reader *r, struct sn_heap_sums *sums)
{
    *sums = (struct sn_heap_sums){.alloc = whole(r, ALLOC),
                                  .inuse = whole(r, INUSE),
                                  .peak = whole(r, PEAK),
                                  .leaked = whole(r, LEAKED),
                                  .frees = shown(r, r->sums->frees)};
    for (size_t i = 1; i < SN_COUNT(r->sums->truncated); i++) /* 0 is complete */
        sums->truncated += r->sums->truncated[i];
}

const struct sn_spool_kind_reader sn_spool_heap_reader = {
    .max_period = UINT32_MAX,
    .n_values_good = n_values_good,
    .add_types = add_types,
    .add_entry = add_entry,
    .add_comments = add_comments,
    .sum = sum_up,
};
