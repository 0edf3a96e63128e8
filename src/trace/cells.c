/*
 * cells.c: what became of the block at an address. A cell of 16 bytes for each 16 bytes
 * of the heap, in leaves of 16 MB of addresses that are mapped when a block is first met
 * in one; pages of a leaf come with use. So a block is found without a lock, and stays
 * known after it was freed, until another one begins at its address.
 *
 *     address:  [ 11 bits: twig | 12 bits: leaf | 20 bits: cell | 4 bits: 0 ]
 *
 * Blocks that begin at no multiple of 16 (jemalloc's of 8 bytes) have no cell.
 * Signal-safe.
 */
#include "trace/trace_priv.h"

#define CELL_BITS   4
#define LEAF_BITS   24
#define TWIG_BITS   36
#define LEAF_CELLS  (1u << (LEAF_BITS - CELL_BITS))
#define TWIG_LEAVES (1u << (TWIG_BITS - LEAF_BITS))
#define TWIGS       (1u << (47 - TWIG_BITS))
#define LEAVES      ((uint64_t)TWIGS * TWIG_LEAVES)

/* Which pages of it have been used: to read the others would cost a fault for each. */
#define PART_CELLS  (4096 / sizeof(struct sn_cell))
#define PARTS       (LEAF_CELLS / PART_CELLS)

struct leaf {
    struct sn_cell cells[LEAF_CELLS];
    _Atomic uint64_t used[PARTS / 64];
};

struct twig {
    _Atomic(struct leaf *) leaves[TWIG_LEAVES];
};

static _Atomic(struct twig *) twigs[TWIGS];

/* What the place holds, made if need be; NULL: nothing, or no memory. */
#define GET(place, bytes, make)                                                          \
    __extension__({                                                                      \
        __typeof__(atomic_load(place)) got =                                             \
            atomic_load_explicit(place, memory_order_acquire);                           \
        if (got == NULL && (make)) {                                                     \
            __typeof__(got) fresh = sn_pages_map(bytes);                                 \
            if (fresh != NULL && atomic_compare_exchange_strong(place, &got, fresh))     \
                got = fresh;                                                             \
            else                                                                         \
                sn_pages_unmap(fresh, bytes);                                            \
        }                                                                                \
        got;                                                                             \
    })

static struct leaf *leaf_at(uint64_t i, bool make)
{
    struct twig *t = GET(&twigs[i / TWIG_LEAVES], sizeof *t, make);
    return t == NULL ? NULL : GET(&t->leaves[i % TWIG_LEAVES], sizeof(struct leaf), make);
}

static bool is_used(const struct leaf *l, uint64_t cell)
{
    uint64_t part = cell / PART_CELLS;
    return atomic_load_explicit(&l->used[part / 64], memory_order_acquire) &
           1ULL << part % 64;
}

static void use(struct leaf *l, uint64_t cell)
{
    uint64_t part = cell / PART_CELLS;
    if (!is_used(l, cell))
        atomic_fetch_or(&l->used[part / 64], 1ULL << part % 64);
}

struct sn_cell *sn_cell_at(uintptr_t address, bool make)
{
    uint64_t i = address >> LEAF_BITS;
    if (address % (1u << CELL_BITS) != 0 || i >= LEAVES)
        return NULL;
    struct leaf *l = leaf_at(i, make);
    uint64_t k = (address >> CELL_BITS) % LEAF_CELLS;
    if (l == NULL)
        return NULL;
    if (make)
        use(l, k);
    return &l->cells[k];
}

/* Backwards from the address: a large block's cell may be many leaves before. */
uintptr_t sn_cell_around(uintptr_t address, enum sn_cell_state state,
                         struct sn_cell **cell)
{
    uint64_t first = address >> LEAF_BITS;
    for (uint64_t i = first; i < LEAVES && first - i < 256; i--) {
        struct leaf *l = leaf_at(i, false);
        uint64_t k = i == first ? (address >> CELL_BITS) % LEAF_CELLS : LEAF_CELLS - 1;
        for (k++; l != NULL && k-- > 0;) {
            if (!is_used(l, k)) {
                k -= k % PART_CELLS;
                continue;
            }
            uint64_t what = atomic_load_explicit(&l->cells[k].what, memory_order_relaxed);
            uintptr_t at = (i << LEAF_BITS) + (k << CELL_BITS);
            uint64_t size = sn_cell_size(what);
            if (sn_cell_state(what) != state)
                continue;
            if (address - at < (size > 0 ? size : 1)) {
                *cell = &l->cells[k];
                return at;
            }
            if (state == SN_CELL_LIVE)
                return 0; /* live blocks do not overlap: none before it can */
        }
    }
    return 0;
}

/* The first leaf at or after the i-th; LEAVES: none. */
static uint64_t next_leaf(uint64_t i)
{
    while (i < LEAVES && leaf_at(i, false) == NULL)
        i = atomic_load(&twigs[i / TWIG_LEAVES]) != NULL
                ? i + 1
                : (i / TWIG_LEAVES + 1) * TWIG_LEAVES;
    return i;
}

void sn_cells_each(enum sn_cell_state state,
                   void (*visit)(uintptr_t address, struct sn_cell *cell, void *argument),
                   void *argument)
{
    for (uint64_t i = next_leaf(0); i < LEAVES; i = next_leaf(i + 1)) {
        struct leaf *l = leaf_at(i, false);
        for (uint64_t k = 0; k < LEAF_CELLS; k++)
            if (!is_used(l, k))
                k += PART_CELLS - 1; /* k is its first */
            else if (sn_cell_state(atomic_load_explicit(&l->cells[k].what,
                                                        memory_order_acquire)) == state)
                visit((i << LEAF_BITS) + (k << CELL_BITS), &l->cells[k], argument);
    }
}

static void forget(uintptr_t address, struct sn_cell *cell, void *state)
{
    uint64_t what = atomic_load(&cell->what);
    (void)address;
    if (sn_cell_state(what) == *(const enum sn_cell_state *)state)
        atomic_compare_exchange_strong(&cell->what, &what, SN_CELL_NEVER);
}

void sn_cells_forget(void)
{
    enum sn_cell_state each[] = {SN_CELL_LIVE, SN_CELL_FREED};
    for (size_t i = 0; i < SN_COUNT(each); i++)
        sn_cells_each(each[i], forget, &each[i]);
}

void sn_cells_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                    void *argument)
{
    for (unsigned i = 0; i < TWIGS; i++) {
        struct twig *t = atomic_load(&twigs[i]);
        if (t != NULL)
            visit(t, sizeof *t, argument);
    }
    for (uint64_t i = next_leaf(0); i < LEAVES; i = next_leaf(i + 1))
        visit(leaf_at(i, false), sizeof(struct leaf), argument);
}
