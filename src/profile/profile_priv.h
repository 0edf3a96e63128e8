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

/* All that sn_profile_check asks for but that each sample is within its arrays, and looks
 * at each frame: `largest` is the largest location that is in a stack. NULL: good. */
const char *sn_check_tables(const struct sn_profile *p, uint32_t largest);

/* ---- encode.c: the message's parts, in this order -----------------------------------
 */

typedef void sn_encode_part(const struct sn_profile *p, uint32_t from, uint32_t to,
                            struct sn_buf *out);
sn_encode_part sn_encode_types, sn_encode_samples, sn_encode_mappings,
    sn_encode_locations, sn_encode_functions, sn_encode_strings;
void sn_encode_rest(const struct sn_profile *p, struct sn_buf *out);

/* ---- spool.c, and a file a kind: from the spool to a profile ------------------------
 */

struct sn_spool_reader {
    const struct sn_spool_header *h;
    const unsigned char *data;
    uint64_t end; /* of the entries, in bytes from the file's start */
    struct sn_profile *p;
    struct sn_map *locations; /* of a generation: pc to index */
    uint32_t *generations;    /* of each mapping: when it was met */
    uint32_t thread_key, tid_key;
    const struct sn_spool_entry *last; /* of which there was a sample */
    uint64_t read;                     /* bytes of entries so far */
    uint64_t skipped;
    bool goes_on;               /* the process is alive and records */
    struct sn_spool_sums *sums; /* spool_heap.c's */
};

/* What the file says of one kind. False: out of memory. */
struct sn_spool_kind_reader {
    uint32_t max_period;
    bool (*n_values_good)(uint32_t n);
    bool (*add_types)(struct sn_spool_reader *r);
    bool (*add_entry)(struct sn_spool_reader *r, const struct sn_spool_entry *x);
    void (*add_comments)(struct sn_spool_reader *r);
    void (*sum)(const struct sn_spool_reader *r, struct sn_heap_sums *sums); /* or NULL */
};
extern const struct sn_spool_kind_reader sn_spool_cpu_reader, sn_spool_heap_reader,
    sn_spool_custom_reader;

static inline uint64_t sn_spool_value(const struct sn_spool_entry *x, unsigned i)
{
    return __atomic_load_n(&x->values[i], __ATOMIC_RELAXED); /* it may still count */
}

bool sn_spool_add_type(struct sn_profile *p, const char *type, const char *unit);
/* A sample of the entry's stack and thread (shared with the sample before it where that
 * is of the same entry), with the values of its types. NULL: out of memory. */
struct sn_sample *sn_spool_add_sample(struct sn_spool_reader *r,
                                      const struct sn_spool_entry *x, const int64_t *v);
/* To the sample that was added last. */
bool sn_spool_add_label(struct sn_profile *p, struct sn_label label);
/* "why: n", unless n is 0. */
void sn_spool_comment_loss(struct sn_spool_reader *r, const char *why, uint64_t n);
void sn_spool_comment_cut(struct sn_spool_reader *r, const uint64_t *truncated);

#endif
