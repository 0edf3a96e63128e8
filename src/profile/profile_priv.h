/* profile_priv.h: what the files of the profile room share. */
#ifndef SN_PROFILE_PRIV_H
#define SN_PROFILE_PRIV_H

#include "profile/profile.h"

/* File ids to dense indices: an array while they are small, as they nearly always are. */
struct sn_ids {
    uint32_t *dense;
    uint64_t n_dense;
    struct sn_map *sparse;
};

bool sn_ids_init(struct sn_ids *ids, struct sn_arena *a, uint64_t expected);
/* False: out of memory, or the id was there already. */
bool sn_ids_put(struct sn_ids *ids, uint64_t id, uint32_t index);
static inline uint32_t sn_ids_get(const struct sn_ids *ids, uint64_t id)
{
    if (id < ids->n_dense)
        return ids->dense[id] - 1; /* 0: absent, wraps to SN_NONE */
    return sn_map_get(ids->sparse, id);
}

#endif
