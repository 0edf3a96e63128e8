/* heap_path.c: single blocks: where they are, what leads to them, what cannot be left out
 * on the way. */
#include "heap_priv.h"

uint32_t sn_heap_find(const struct sn_heap *h, uint64_t address)
{
    const struct sn_heapdump_block *b = h->d->blocks;
    uint32_t low = 0, high = h->n; /* the first block behind the address */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (b[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return SN_NONE;
    const struct sn_heapdump_block *x = &b[low - 1];
    return address == x->address || address - x->address < x->size ? low - 1 : SN_NONE;
}

/* Breadth first, backwards: from the block to the nearest entry. `next` leads back. */
static uint32_t find_entry(const struct sn_heap *h, uint32_t block, uint32_t *next,
                           uint32_t *queue)
{
    uint32_t head = 0, tail = 0;
    next[block] = block;
    queue[tail++] = block;
    while (head < tail) {
        uint32_t b = queue[head++];
        if (sn_heap_is_entry(h, b))
            return b;
        for (uint32_t i = h->first_in[b]; i < h->first_in[b + 1]; i++) {
            uint32_t from = h->in[i];
            if (next[from] != SN_NONE || sn_heap_is_stray(h, from, b))
                continue;
            next[from] = b;
            queue[tail++] = from;
        }
    }
    return SN_NONE; /* not where every block was numbered */
}

/* All dominators of the last are on the way, in their order. */
static void mark_needed(const struct sn_heap *h, struct sn_heap_hop *path, uint32_t n)
{
    uint32_t v = h->number[path[n - 1].block];
    while (n-- > 0)
        if (h->number[path[n].block] == v) {
            path[n].needed = true;
            v = h->idom[v];
        }
}

static uint32_t list_path(struct sn_heap *h, uint32_t from, uint32_t to,
                          const uint32_t *next, struct sn_heap_hop **path)
{
    uint32_t n = 1;
    for (uint32_t b = from; b != to; b = next[b])
        n++;
    *path = sn_arena_alloc(h->arena, n * sizeof **path);
    if (*path == NULL)
        return 0;
    for (uint32_t i = 0, b = from; i < n; i++, b = next[b])
        (*path)[i].block = b;
    mark_needed(h, *path, n);
    return n;
}

uint32_t sn_heap_path(struct sn_heap *h, uint32_t block, struct sn_heap_hop **path)
{
    size_t size = (size_t)h->n * sizeof(uint32_t);
    struct sn_arena *a = sn_arena_new();
    uint32_t n = 0;
    uint32_t *next = a != NULL ? sn_arena_alloc(a, size) : NULL;
    uint32_t *queue = next != NULL ? sn_arena_alloc(a, size) : NULL;
    if (queue != NULL) {
        memset(next, 0xff, size);
        uint32_t from = find_entry(h, block, next, queue);
        n = from != SN_NONE ? list_path(h, from, block, next, path) : 0;
    }
    sn_arena_free(a);
    return n;
}
