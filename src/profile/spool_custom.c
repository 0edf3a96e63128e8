/* spool_custom.c: a profile of the program's own: NAME/count, as Go's. Needs libc alone.
 */
#include "profile_priv.h"

static bool n_values_good(uint32_t n)
{
    return n == SN_CUSTOM_VALUES;
}

static bool add_types(struct sn_spool_reader *r)
{
    char name[64];
    size_t n = strnlen(r->h->output, sizeof name - 1);
    memcpy(name, r->h->output, n);
    name[n] = '\0';
    bool good = sn_spool_add_type(r->p, name, "count");
    if (good)
        r->p->period_type = r->p->types[0];
    return good;
}

static bool add_entry(struct sn_spool_reader *r, const struct sn_spool_entry *x)
{
    uint64_t added = sn_spool_value(x, SN_CUSTOM_ADDED),
             removed = sn_spool_value(x, SN_CUSTOM_REMOVED);
    if (added <= removed || added > INT64_MAX)
        return true;
    return sn_spool_add_sample(r, x, (int64_t[]){(int64_t)(added - removed)}) != NULL;
}

static void add_comments(struct sn_spool_reader *r)
{
    sn_spool_comment_loss(r, "keys not recorded, the table was full",
                          r->h->dropped[SN_DROP_FULL]);
}

const struct sn_spool_kind_reader sn_spool_custom_reader = {
    .max_period = 1,
    .n_values_good = n_values_good,
    .add_types = add_types,
    .add_entry = add_entry,
    .add_comments = add_comments,
};
