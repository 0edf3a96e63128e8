/* spool_cpu.c: what a cpu spool says: samples/count, cpu/nanoseconds. Needs libc alone.
 */
#include "profile_priv.h"

static bool n_values_good(uint32_t n)
{
    return n == SN_CPU_VALUES;
}

static bool add_types(struct sn_spool_reader *r)
{
    bool good = sn_spool_add_type(r->p, "samples", "count") &&
                sn_spool_add_type(r->p, "cpu", "nanoseconds");
    if (good)
        r->p->period_type = r->p->types[1];
    return good;
}

static bool add_entry(struct sn_spool_reader *r, const struct sn_spool_entry *x)
{
    uint64_t ticks = sn_spool_value(x, SN_CPU_TICKS), period = r->h->period;
    if (ticks == 0 || ticks > INT64_MAX / period)
        return true; /* published, not yet counted; or nonsense */
    return sn_spool_add_sample(
               r, x, (int64_t[]){(int64_t)ticks, (int64_t)(ticks * period)}) != NULL;
}

static void add_comments(struct sn_spool_reader *r)
{
    const struct sn_spool_header *h = r->h;
    sn_profile_comment(r->p, "clock: %.*s, %llu Hz", (int)sizeof h->clock - 1, h->clock,
                       (unsigned long long)(1000000000u / h->period));
    uint64_t lost = h->dropped[SN_DROP_FULL] + h->dropped[SN_DROP_MISSED], cut = 0;
    for (size_t i = 1; i < SN_COUNT(h->truncated); i++)
        cut += h->truncated[i];
    sn_profile_comment(r->p, "samples: %llu, lost: %llu, truncated: %llu",
                       (unsigned long long)h->samples, (unsigned long long)lost,
                       (unsigned long long)cut);
    sn_spool_comment_loss(r, "lost, the spool was full", h->dropped[SN_DROP_FULL]);
    sn_spool_comment_loss(r,
                          "lost, the thread's signal was blocked or had no room on its "
                          "stack, or its clock closed",
                          h->dropped[SN_DROP_MISSED]);
    sn_spool_comment_loss(r, "threads without a clock", h->dropped[SN_DROP_THREADS]);
    sn_spool_comment_cut(r, h->truncated);
}

const struct sn_spool_kind_reader sn_spool_cpu_reader = {
    .max_period = 1000000000u,
    .n_values_good = n_values_good,
    .add_types = add_types,
    .add_entry = add_entry,
    .add_comments = add_comments,
};
