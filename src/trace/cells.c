/*
 * cells.c: what became of the block at an address. A cell of 16 bytes for each 16 bytes
 * of the heap, in leaves of 16 MB of addresses that are mapped when a block is first met
 * in one; pages of a leaf come with use. So a block is found without a lock, and stays
 * known after it was freed, until another one begins at its address.
 *
 *     address:  [ 23 bits: leaf | 20 bits: cell | 4 bits: 0 ]
 *
 * Blocks that begin at no multiple of 16 (jemalloc's of 8 bytes) have no cell.
 * Signal-safe.
 */
#include "trace/trace_priv.h"

#define CELL_BITS  4
#define LEAF_BITS  24
#define LEAVES     (UINT64_C(1) << (47 - LEAF_BITS))
#define LEAF_CELLS (1u << (LEAF_BITS - CELL_BITS))

typedef _Atomic(struct sn_cell *) leaf;
static leaf *leaves;

bool sn_cells_open(void)
{
    if (leaves == NULL)
        leaves = sn_pages_map(LEAVES * sizeof *leaves);
    return leaves != NULL;
}

static struct sn_cell *leaf_at(uint64_t i, bool make)
{
    struct sn_cell *found = atomic_load_explicit(&leaves[i], memory_order_acquire);
    if (found != NULL || !make)
        return found;
    struct sn_cell *fresh = sn_pages_map(LEAF_CELLS * sizeof *fresh);
    if (fresh == NULL)
        return NULL;
    if (atomic_compare_exchange_strong(&leaves[i], &found, fresh))
        return fresh;
    sn_pages_unmap(fresh, LEAF_CELLS * sizeof *fresh);
    return found;
}

struct sn_cell *sn_cell_at(uintptr_t address, bool make)
{
    uint64_t i = address >> LEAF_BITS;
    if (address % (1u << CELL_BITS) != 0 || i >= LEAVES)
        return NULL;
    struct sn_cell *l = leaf_at(i, make);
    return l != NULL ? &l[(address >> CELL_BITS) % LEAF_CELLS] : NULL;
}

/* Backwards from the address: a large block's cell may be many leaves before. */
uintptr_t sn_cell_around(uintptr_t address, enum sn_cell_state state,
                         struct sn_cell **cell)
{
    uint64_t first = address >> LEAF_BITS;
    for (uint64_t i = first; i < LEAVES && first - i < 256; i--) {
        struct sn_cell *l = leaf_at(i, false);
        uint64_t k = i == first ? (address >> CELL_BITS) % LEAF_CELLS : LEAF_CELLS - 1;
        for (k++; l != NULL && k-- > 0;) {
            uint64_t what = atomic_load_explicit(&l[k].what, memory_order_relaxed);
            uintptr_t at = (i << LEAF_BITS) + (k << CELL_BITS);
            uint64_t size = sn_cell_size(what);
            if (sn_cell_state(what) != state)
                continue;
            if (address - at < (size > 0 ? size : 1)) {
                *cell = &l[k];
                return at;
            }
            if (state == SN_CELL_LIVE)
                return 0; /* live blocks do not overlap: none before it can */
        }
    }
    return 0;
}

void sn_cells_each(enum sn_cell_state state,
                   void (*visit)(uintptr_t address, struct sn_cell *cell, void *argument),
                   void *argument)
{
    for (uint64_t i = 0; leaves != NULL && i < LEAVES; i++) {
        struct sn_cell *l = leaf_at(i, false);
        for (uint64_t k = 0; l != NULL && k < LEAF_CELLS; k++)
            if (sn_cell_state(atomic_load_explicit(&l[k].what, memory_order_acquire)) ==
                state)
                visit((i << LEAF_BITS) + (k << CELL_BITS), &l[k], argument);
    }
}

void sn_cells_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                    void *argument)
{
    if (leaves == NULL)
        return;
    visit(leaves, LEAVES * sizeof *leaves, argument);
    for (uint64_t i = 0; i < LEAVES; i++) {
        struct sn_cell *l = leaf_at(i, false);
        if (l != NULL)
            visit(l, LEAF_CELLS * sizeof *l, argument);
    }
}
