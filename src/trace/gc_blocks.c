/*
 * gc_blocks.c: four bits for each 16 bytes of the collected heap, where no block is
 * smaller and each begins at a multiple of that. They lie in leaves of 16 MB of addresses
 * which are mapped when a block is first met there; pages of a leaf come with use: 3 % of
 * the heap. So sets are compared 64 blocks at a time.
 *
 *     address's bits:  [ twig 11 | leaf 12 | page 12 | bit 8 | 0: 4 ]
 *
 * Blocks of a page are of one size, as libgc's are, whose own pages are no smaller.
 * Bits change by atomic operations, since threads take blocks without libgc's lock while
 * a collection is looked at. What it may meet halfway errs to this side: a block that its
 * function is about to tell is told twice, then the first is taken back.
 */
#include "trace/gc_blocks.h"

#include <stdatomic.h>

#define GRANULE_BITS 4
#define PAGE_BITS    12
#define LEAF_BITS    24
#define TWIG_BITS    36
#define WORDS        (1u << (PAGE_BITS - GRANULE_BITS - 6))
#define LEAF_PAGES   (1u << (LEAF_BITS - PAGE_BITS))
#define TWIG_LEAVES  (1u << (TWIG_BITS - LEAF_BITS))
#define TWIGS        (1u << (47 - TWIG_BITS))
#define LEAVES       ((uint64_t)TWIGS * TWIG_LEAVES)
#define LEAVES_MAX   2048u /* 32 GB of heap, 1 GB of these */

struct page {
    _Atomic uint64_t known[WORDS];  /* allocated */
    _Atomic uint64_t listed[WORDS]; /* on a list of the program's, or taken from it */
    _Atomic uint64_t ready[WORDS];  /* not allocated, even if it is marked */
    uint64_t marked[WORDS];         /* lives; only under libgc's lock */
};

struct leaf {
    struct page pages[LEAF_PAGES];
    atomic_uint stacks[LEAF_PAGES],
        granules[LEAF_PAGES]; /* who took it; a block's size */
    _Atomic uint64_t used[LEAF_PAGES / 64];
};

struct twig {
    _Atomic(struct leaf *) leaves[TWIG_LEAVES];
};

static _Atomic(struct twig *) twigs[TWIGS];
static atomic_uint n_leaves;
static atomic_uint_least64_t unseen, most_homeless;

/* ---- places ---------------------------------------------------------------------------
 */

static struct twig *twig_at(uint64_t i, bool make)
{
    struct twig *t = atomic_load_explicit(&twigs[i], memory_order_acquire);
    if (t != NULL || !make)
        return t;
    struct twig *fresh = sn_pages_map(sizeof *fresh);
    if (fresh != NULL && atomic_compare_exchange_strong(&twigs[i], &t, fresh))
        return fresh;
    sn_pages_unmap(fresh, sizeof *fresh);
    return t;
}

static struct leaf *make_leaf(_Atomic(struct leaf *) *at)
{
    struct leaf *l = NULL, *fresh = NULL;
    if (atomic_fetch_add(&n_leaves, 1) < LEAVES_MAX)
        fresh = sn_pages_map(sizeof *fresh);
    if (fresh != NULL && atomic_compare_exchange_strong(at, &l, fresh))
        return fresh;
    atomic_fetch_sub(&n_leaves, 1);
    sn_pages_unmap(fresh, sizeof *fresh);
    return l;
}

static struct leaf *leaf_at(uint64_t i, bool make)
{
    struct twig *t = twig_at(i / TWIG_LEAVES, make);
    if (t == NULL)
        return NULL;
    _Atomic(struct leaf *) *at = &t->leaves[i % TWIG_LEAVES];
    struct leaf *l = atomic_load_explicit(at, memory_order_acquire);
    return l != NULL || !make ? l : make_leaf(at);
}

/* The first leaf at or after the i-th; LEAVES: none. */
static uint64_t next_leaf(uint64_t i)
{
    while (i < LEAVES && leaf_at(i, false) == NULL)
        i = twig_at(i / TWIG_LEAVES, false) != NULL ? i + 1
                                                    : (i / TWIG_LEAVES + 1) * TWIG_LEAVES;
    return i;
}

struct bit {
    struct leaf *leaf; /* NULL: there is no room */
    struct page *page;
    unsigned number, word; /* the page's; the bit's */
    uint64_t mask;
};

static struct bit bit_in(struct leaf *leaf, uintptr_t address)
{
    unsigned page = (address >> PAGE_BITS) % LEAF_PAGES,
             granule = (address >> GRANULE_BITS) % (WORDS * 64);
    return (struct bit){leaf, &leaf->pages[page], page, granule / 64,
                        UINT64_C(1) << granule % 64};
}

static bool is_no_block(uintptr_t address)
{
    return address % (1u << GRANULE_BITS) != 0 || address >> LEAF_BITS >= LEAVES;
}

static void use(const struct bit *b)
{
    _Atomic uint64_t *used = &b->leaf->used[b->number / 64];
    uint64_t mask = UINT64_C(1) << b->number % 64;
    if ((atomic_load_explicit(used, memory_order_relaxed) & mask) == 0)
        atomic_fetch_or(used, mask);
}

static struct bit bit_of(uintptr_t address, bool make)
{
    struct leaf *l = is_no_block(address) ? NULL : leaf_at(address >> LEAF_BITS, make);
    if (l == NULL) {
        if (make)
            atomic_fetch_add(&unseen, 1);
        return (struct bit){0};
    }
    struct bit b = bit_in(l, address);
    if (make)
        use(&b);
    return b;
}

/* Whether it was set. A bit that is as it should be costs no more than to look. */
static bool set(_Atomic uint64_t *words, const struct bit *b)
{
    return (atomic_load(&words[b->word]) & b->mask) != 0 ||
           (atomic_fetch_or(&words[b->word], b->mask) & b->mask) != 0;
}

static bool clear(_Atomic uint64_t *words, const struct bit *b)
{
    return (atomic_load(&words[b->word]) & b->mask) != 0 &&
           (atomic_fetch_and(&words[b->word], ~b->mask) & b->mask) != 0;
}

static struct sn_gc_block block_at(uintptr_t address, const struct leaf *l, unsigned page)
{
    return (struct sn_gc_block){
        .address = address,
        .size = (size_t)atomic_load_explicit(&l->granules[page], memory_order_relaxed)
                << GRANULE_BITS,
        .stack = atomic_load_explicit(&l->stacks[page], memory_order_relaxed)};
}

static void set_size(const struct bit *b, size_t size)
{
    uint64_t n = (size + (1u << GRANULE_BITS) - 1) >> GRANULE_BITS;
    atomic_uint *to = &b->leaf->granules[b->number];
    unsigned granules = n < UINT32_MAX ? (unsigned)n : UINT32_MAX;
    if (atomic_load_explicit(to, memory_order_relaxed) != granules)
        atomic_store_explicit(to, granules, memory_order_relaxed);
}

/* ---- what is told ---------------------------------------------------------------------
 */

/* Known before it is not ready: whoever compares looks the other way round. */
bool sn_gc_blocks_handed(uintptr_t address)
{
    struct bit b = bit_of(address, true);
    if (b.leaf == NULL)
        return false;
    bool was = set(b.page->known, &b);
    clear(b.page->listed, &b);
    clear(b.page->ready, &b);
    return was;
}

bool sn_gc_blocks_freeing(uintptr_t address, struct sn_gc_block *block)
{
    struct bit b = bit_of(address, true);
    if (b.leaf == NULL)
        return false;
    set(b.page->ready, &b);
    bool known = clear(b.page->known, &b), listed = clear(b.page->listed, &b);
    *block = block_at(address, b.leaf, b.number);
    block->listed = listed;
    return listed && !known;
}

bool sn_gc_blocks_listed(const struct sn_gc_block *block)
{
    struct bit b = bit_of(block->address, true);
    if (b.leaf == NULL)
        return false;
    set_size(&b, block->size);
    atomic_store_explicit(&b.leaf->stacks[b.number], block->stack, memory_order_relaxed);
    bool known = clear(b.page->known, &b);
    set(b.page->listed, &b);
    clear(b.page->ready, &b);
    return known;
}

bool sn_gc_blocks_ready(uintptr_t address)
{
    struct bit b = bit_of(address, true);
    if (b.leaf == NULL)
        return false;
    set(b.page->ready, &b);
    clear(b.page->listed, &b);
    return clear(b.page->known, &b);
}

/* ---- a collection ---------------------------------------------------------------------
 */

struct marking {
    uint64_t number;   /* of the page that the last block was in */
    struct page *page; /* NULL: it has none */
    uint64_t homeless; /* live blocks without a page */
};

/* There, it is in use, and its blocks are of that size. */
static struct page *page_of(uintptr_t address, size_t size)
{
    struct leaf *l = leaf_at(address >> LEAF_BITS, true);
    if (l == NULL)
        return NULL;
    struct bit b = bit_in(l, address);
    use(&b);
    set_size(&b, size);
    return b.page;
}

/* Of millions of blocks: those of a page come in turn. */
static void mark(void *object, size_t size, void *marking)
{
    struct marking *m = marking;
    uintptr_t address = (uintptr_t)object;
    if (m->number != address >> PAGE_BITS && !is_no_block(address)) {
        m->number = address >> PAGE_BITS;
        m->page = page_of(address, size);
    }
    if (m->page == NULL || is_no_block(address)) {
        m->homeless++;
        return;
    }
    unsigned granule = (address >> GRANULE_BITS) % (WORDS * 64);
    m->page->marked[granule / 64] |= UINT64_C(1) << granule % 64;
}

/* The same ones at each collection: counted once. */
static void count_homeless(uint64_t n)
{
    uint64_t most = atomic_load(&most_homeless);
    if (n <= most)
        return;
    atomic_store(&most_homeless, n);
    atomic_fetch_add(&unseen, n - most);
}

struct news {
    uint64_t born, died, listed; /* listed: those of them that came from a list */
};

struct teller {
    sn_gc_blocks_news *news;
    void *argument;
    struct news (*look)(struct page *p, unsigned word);
};

static struct news compare_word(struct page *p, unsigned word)
{
    uint64_t marked = p->marked[word], listed = atomic_load(&p->listed[word]),
             known = atomic_load(&p->known[word]), ready = atomic_load(&p->ready[word]),
             fresh = marked & ~known & ~ready;
    p->marked[word] = 0;
    if (listed != 0)
        listed = atomic_exchange(&p->listed[word], 0);
    if (fresh != 0) /* one that its function has told meanwhile is no news */
        fresh &= ~atomic_fetch_or(&p->known[word], fresh);
    if ((known & ~marked) != 0)
        atomic_fetch_and(&p->known[word], ~(known & ~marked));
    if ((ready & ~marked) != 0)
        atomic_fetch_and(&p->ready[word], ~(ready & ~marked));
    uint64_t passed = listed & ~known & ~marked; /* born and dead since the last one */
    return (struct news){fresh | passed, (known & ~marked) | passed, listed};
}

static struct news flush_word(struct page *p, unsigned word)
{
    uint64_t listed = atomic_load(&p->listed[word]);
    if (listed != 0)
        listed = atomic_exchange(&p->listed[word], 0);
    if (listed != 0)
        listed &= ~atomic_fetch_or(&p->known[word], listed);
    return (struct news){listed, 0, listed};
}

static void tell(const struct teller *t, uintptr_t base, const struct leaf *l,
                 unsigned page, const struct news *n, bool born)
{
    for (uint64_t bits = born ? n->born : n->died; bits != 0; bits &= bits - 1) {
        unsigned i = (unsigned)__builtin_ctzll(bits);
        struct sn_gc_block b = block_at(base + ((uintptr_t)i << GRANULE_BITS), l, page);
        b.listed = (n->listed >> i & 1) != 0;
        t->news(&b, born, t->argument);
    }
}

static void look_at_page(const struct teller *t, uintptr_t at, struct leaf *l,
                         unsigned page)
{
    for (unsigned w = 0; w < WORDS; w++) {
        uintptr_t base = at + ((uintptr_t)w << (6 + GRANULE_BITS));
        struct news n = t->look(&l->pages[page], w);
        tell(t, base, l, page, &n, true);
        tell(t, base, l, page, &n, false);
    }
}

static void look_at_all(const struct teller *t)
{
    for (uint64_t i = next_leaf(0); i < LEAVES; i = next_leaf(i + 1)) {
        struct leaf *l = leaf_at(i, false);
        for (unsigned part = 0; part < SN_COUNT(l->used); part++)
            for (uint64_t bits = atomic_load(&l->used[part]); bits != 0;
                 bits &= bits - 1) {
                unsigned page = part * 64 + (unsigned)__builtin_ctzll(bits);
                look_at_page(t, (i << LEAF_BITS) + ((uintptr_t)page << PAGE_BITS), l,
                             page);
            }
    }
}

void sn_gc_blocks_compare(void (*enumerate)(void (*visit)(void *, size_t, void *),
                                            void *argument),
                          sn_gc_blocks_news *news, void *argument)
{
    const struct teller t = {news, argument, compare_word};
    struct marking m = {0};
    enumerate(mark, &m);
    count_homeless(m.homeless);
    look_at_all(&t);
}

void sn_gc_blocks_flush(sn_gc_blocks_news *news, void *argument)
{
    const struct teller t = {news, argument, flush_word};
    look_at_all(&t);
}

uint64_t sn_gc_blocks_unseen(void)
{
    return atomic_load(&unseen);
}

void sn_gc_blocks_drop(void)
{
    for (uint64_t i = next_leaf(0); i < LEAVES; i = next_leaf(i + 1))
        sn_pages_unmap(leaf_at(i, false), sizeof(struct leaf));
    for (unsigned i = 0; i < TWIGS; i++) {
        struct twig *t = atomic_exchange(&twigs[i], NULL);
        if (t != NULL)
            sn_pages_unmap(t, sizeof *t);
    }
    atomic_store(&n_leaves, 0);
    atomic_store(&unseen, 0);
    atomic_store(&most_homeless, 0);
}
