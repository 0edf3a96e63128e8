/* ids.c: the ids of a file as dense indices. */
#include "profile_priv.h"

bool sn_ids_init(struct sn_ids *ids, struct sn_arena *a, uint64_t expected)
{
    ids->n_dense = expected * 2 + 16; /* ids start at 1, and some are left out */
    ids->dense = sn_arena_alloc(a, ids->n_dense * sizeof ids->dense[0]);
    ids->sparse = sn_map_new(a);
    return ids->dense != NULL && ids->sparse != NULL;
}

bool sn_ids_put(struct sn_ids *ids, uint64_t id, uint32_t index)
{
    if (id < ids->n_dense) {
        bool fresh = ids->dense[id] == 0;
        ids->dense[id] = index + 1;
        return fresh;
    }
    uint32_t *slot = sn_map_put(ids->sparse, id);
    bool fresh = slot != NULL && *slot == SN_NONE;
    if (fresh)
        *slot = index;
    return fresh;
}
