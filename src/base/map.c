/* map.c: open addressing with linear probing, at most half full; old tables stay in the
 * arena. */
#include "base/base.h"

struct slot {
    uint64_t key;
    uint32_t value, used;
};

struct sn_map {
    struct sn_arena *arena;
    struct slot *slots;
    uint32_t n, size; /* size: a power of two */
};

struct sn_map *sn_map_new(struct sn_arena *a)
{
    struct sn_map *m = sn_arena_alloc(a, sizeof *m);
    if (m == NULL)
        return NULL;
    m->arena = a;
    m->size = 64;
    m->slots = sn_arena_alloc(a, m->size * sizeof *m->slots);
    return m->slots != NULL ? m : NULL;
}

static struct slot *probe(const struct sn_map *m, uint64_t key)
{
    uint32_t i = (uint32_t)sn_hash_mix(key) & (m->size - 1);
    while (m->slots[i].used && m->slots[i].key != key)
        i = (i + 1) & (m->size - 1);
    return &m->slots[i];
}

/* While it is small, in large steps. */
static bool grow(struct sn_map *m)
{
    struct sn_map bigger = *m;
    if (m->size >= UINT32_C(1) << 30)
        return false;
    bigger.size *= m->size < 16384 ? 4 : 2;
    bigger.slots = sn_arena_alloc(m->arena, bigger.size * sizeof *m->slots);
    if (bigger.slots == NULL)
        return false;
    for (uint32_t i = 0; i < m->size; i++)
        if (m->slots[i].used)
            *probe(&bigger, m->slots[i].key) = m->slots[i];
    *m = bigger;
    return true;
}

uint32_t *sn_map_put(struct sn_map *m, uint64_t key)
{
    struct slot *s = probe(m, key);
    if (s->used)
        return &s->value;
    if (m->n * 2 >= m->size) {
        if (!grow(m))
            return NULL;
        s = probe(m, key);
    }
    *s = (struct slot){.key = key, .value = SN_NONE, .used = 1};
    m->n++;
    return &s->value;
}

uint32_t sn_map_get(const struct sn_map *m, uint64_t key)
{
    const struct slot *s = probe(m, key);
    return s->used ? s->value : SN_NONE;
}

uint64_t sn_hash_bytes(const void *data, size_t len)
{
    const unsigned char *p = data;
    uint64_t h = len, word;
    for (; len >= 8; p += 8, len -= 8) {
        memcpy(&word, p, 8);
        h = sn_hash_mix(h ^ word);
    }
    word = 0;
    memcpy(&word, p, len);
    return sn_hash_mix(h ^ word);
}
