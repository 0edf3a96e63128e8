/*
 * table.h: a hash table of elements that lie elsewhere, by index: open addressing, at
 * most half full, old arrays stay in the arena. Inline: merging spends its time here.
 */
#ifndef SN_TABLE_H
#define SN_TABLE_H

#include "base/base.h"

struct entry {
    uint32_t hash, index; /* of the element, plus one; 0: free */
};

struct table {
    struct sn_arena *arena;
    struct entry *v;
    uint32_t n, mask;
};

static bool table_grow(struct table *t, uint32_t size)
{
    struct table old = *t;
    struct entry *v = sn_arena_alloc(t->arena, (size_t)size * sizeof *v);
    if (v == NULL)
        return false;
    sn_pages_scattered(v, (size_t)size * sizeof *v);
    t->v = v;
    t->mask = size - 1;
    for (uint32_t i = 0; old.v != NULL && i <= old.mask; i++) {
        uint32_t at = old.v[i].hash & t->mask;
        if (old.v[i].index == 0)
            continue;
        while (v[at].index != 0)
            at = (at + 1) & t->mask;
        v[at] = old.v[i];
    }
    return true;
}

/* For about so many elements. False: no memory. */
static inline bool table_open(struct table *t, struct sn_arena *a, uint32_t n)
{
    uint32_t size = 256;
    while (size / 2 < n && size < UINT32_C(1) << 31)
        size *= 2;
    *t = (struct table){.arena = a};
    return table_grow(t, size);
}

/* Is element i equal to `key`? */
typedef bool table_same(const void *owner, uint32_t i, const void *key);

/* The element equal to `key`, or SN_NONE: then *at is where it goes (table_put). */
static inline uint32_t table_find(const struct table *t, uint64_t hash, table_same *same,
                                  const void *owner, const void *key, struct entry **at)
{
    for (uint32_t i = (uint32_t)hash & t->mask;; i = (i + 1) & t->mask) {
        *at = &t->v[i];
        if ((*at)->index == 0)
            return SN_NONE;
        if ((*at)->hash == (uint32_t)hash && same(owner, (*at)->index - 1, key))
            return (*at)->index - 1;
    }
}

/* Nothing was put since it was looked for. False: no memory. */
static inline bool table_put(struct table *t, struct entry *at, uint64_t hash,
                             uint32_t index)
{
    *at = (struct entry){(uint32_t)hash, index + 1};
    return ++t->n <= t->mask / 2 ||
           (t->mask < UINT32_C(1) << 30 && table_grow(t, 2 * (t->mask + 1)));
}

#endif
