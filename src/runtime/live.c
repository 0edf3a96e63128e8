/*
 * live.c: the blocks that are live and recorded, by address.
 *
 * Shards by address: a stretch of a megabyte lies in one shard, so that threads whose
 * allocator gives them places of their own do not meet. A shard is an open-addressed
 * table with linear probing under a spin lock; a removal moves what follows back, so that
 * there are no tombs; it grows by half, which keeps an average of 37 bytes a block.
 *
 * Pages from the kernel, no malloc; not to be entered twice by a thread.
 */
#include "runtime/runtime.h"

#include <sched.h>
#include <stdatomic.h>

#define STRETCH_BITS 20 /* of an address, within one shard */
#define FIRST_BYTES  4096
#define FULL_PERCENT 80

struct slab {
    uint32_t capacity;
    struct sn_block blocks[]; /* address 0: empty */
};

struct sn_shard {
    atomic_uint lock;
    struct slab *slab;
    uint32_t used;
} __attribute__((aligned(64)));

static struct sn_shard *shard_of(const struct sn_live *l, uintptr_t address)
{
    uint64_t stretch = address >> STRETCH_BITS;
    return &l->shards[(stretch * UINT64_C(0x9e3779b97f4a7c15) >> 40) & (l->n_shards - 1)];
}

/* Its first place. */
static uint32_t home_of(const struct slab *s, uintptr_t address)
{
    uint64_t hash = (address >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    return (uint32_t)(hash * s->capacity >> 32);
}

static uint32_t next_place(const struct slab *s, uint32_t i)
{
    return i + 1 < s->capacity ? i + 1 : 0;
}

static size_t slab_bytes(uint32_t capacity)
{
    return sizeof(struct slab) + capacity * sizeof(struct sn_block);
}

static void lock(struct sn_shard *s)
{
    unsigned spins = 0;
    while (atomic_exchange_explicit(&s->lock, 1, memory_order_acquire) != 0)
        while (atomic_load_explicit(&s->lock, memory_order_relaxed) != 0)
            if (++spins % 128 == 0)
                sched_yield();
}

static void unlock(struct sn_shard *s)
{
    atomic_store_explicit(&s->lock, 0, memory_order_release);
}

bool sn_live_open(struct sn_live *l, unsigned n_shards)
{
    l->shards = sn_pages_map(n_shards * sizeof *l->shards);
    l->n_shards = n_shards;
    return l->shards != NULL;
}

static void free_slab(struct slab *s)
{
    if (s != NULL)
        sn_pages_unmap(s, slab_bytes(s->capacity));
}

void sn_live_close(struct sn_live *l)
{
    for (unsigned i = 0; l->shards != NULL && i < l->n_shards; i++)
        free_slab(l->shards[i].slab);
    sn_pages_unmap(l->shards, l->n_shards * sizeof *l->shards);
    *l = (struct sn_live){0};
}

/* The place of the block, or the empty one where it would be. */
static struct sn_block *place_of(struct slab *s, uintptr_t address)
{
    uint32_t i = home_of(s, address);
    while (s->blocks[i].address != 0 && s->blocks[i].address != address)
        i = next_place(s, i);
    return &s->blocks[i];
}

/* Half as much again, in whole pages. */
static uint32_t larger(const struct slab *old)
{
    size_t bytes = old == NULL ? FIRST_BYTES : slab_bytes(old->capacity) / 2 * 3;
    bytes = (bytes + 4095) & ~(size_t)4095;
    return (uint32_t)((bytes - sizeof *old) / sizeof old->blocks[0]);
}

static bool grow(struct sn_shard *s)
{
    struct slab *old = s->slab;
    uint32_t capacity = larger(old);
    struct slab *fresh = sn_pages_map(slab_bytes(capacity));
    if (fresh == NULL)
        return false;
    fresh->capacity = capacity;
    for (uint32_t i = 0; old != NULL && i < old->capacity; i++)
        if (old->blocks[i].address != 0)
            *place_of(fresh, old->blocks[i].address) = old->blocks[i];
    s->slab = fresh; /* a stop of the world may come now: what it sees is there */
    free_slab(old);
    return true;
}

bool sn_live_put(struct sn_live *l, const struct sn_block *block,
                 struct sn_block *replaced)
{
    struct sn_shard *s = shard_of(l, block->address);
    replaced->address = 0;
    lock(s);
    struct slab *slab = s->slab;
    bool good = (slab != NULL && (uint64_t)(s->used + 1) * 100 <=
                                     (uint64_t)slab->capacity * FULL_PERCENT) ||
                grow(s);
    slab = s->slab;
    if (good) {
        struct sn_block *b = place_of(slab, block->address);
        *replaced = *b; /* its address is 0 if there was none */
        *b = *block;
        s->used += replaced->address == 0;
    }
    unlock(s);
    return good;
}

/* Empty the place, and move back what would not be found behind the gap. */
static void close_gap(struct slab *s, uint32_t gap)
{
    for (uint32_t i = next_place(s, gap); s->blocks[i].address != 0;
         i = next_place(s, i)) {
        uint32_t home = home_of(s, s->blocks[i].address);
        bool stays = gap <= i ? gap < home && home <= i : gap < home || home <= i;
        if (stays)
            continue;
        s->blocks[gap] = s->blocks[i];
        gap = i;
    }
    s->blocks[gap] = (struct sn_block){0};
}

bool sn_live_take(struct sn_live *l, uintptr_t address, struct sn_block *block)
{
    struct sn_shard *s = shard_of(l, address);
    bool found = false;
    lock(s);
    struct slab *slab = s->slab;
    struct sn_block *b = slab != NULL ? place_of(slab, address) : NULL;
    if (b != NULL && b->address != 0) {
        found = true;
        *block = *b;
        close_gap(slab, (uint32_t)(b - slab->blocks));
        s->used--;
    }
    unlock(s);
    return found;
}

void sn_live_each(const struct sn_live *l,
                  void (*visit)(struct sn_block *block, void *argument), void *argument)
{
    for (unsigned i = 0; i < l->n_shards; i++) {
        struct slab *slab = l->shards[i].slab;
        for (uint32_t k = 0; slab != NULL && k < slab->capacity; k++)
            if (slab->blocks[k].address != 0)
                visit(&slab->blocks[k], argument);
    }
}

void sn_live_pages(const struct sn_live *l,
                   void (*visit)(void *pages, size_t bytes, void *argument),
                   void *argument)
{
    for (unsigned i = 0; i < l->n_shards; i++)
        if (l->shards[i].slab != NULL)
            visit(l->shards[i].slab, slab_bytes(l->shards[i].slab->capacity), argument);
}
