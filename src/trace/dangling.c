/*
 * dangling.c: pointers to blocks that were freed (invalidptr=2). What the program frees
 * is kept back; when as much has been kept as was live at the last look (64 MB at least),
 * the world is stopped, and every word of its memory, its stacks and registers that
 * points into a kept block is told, in the words of Go's collector. Then what was kept is
 * freed.
 *
 * What efence has it takes back at once, since it gives out no address again: it faults
 * from then on, and is only looked for.
 *
 * Where the program would get no memory because of what is kept, that goes at once.
 *
 * A conservative look: a word may lie where nobody will read it again, so nothing is
 * aborted. What frees while another thread looks is kept for the next time.
 */
#include "trace/efence.h"
#include "trace/trace_priv.h"

#include <errno.h>
#include <inttypes.h>

#define LEAST_BYTES ((uint64_t)64 << 20)
#define CHILD_BYTES ((uint64_t)1 << 20) /* of which a fork's child has more to tell */
#define TOLD        20                  /* of one look, each of another pair of sites */

struct finding {
    uintptr_t at, word, base; /* *(base + (at - base)) = word */
    enum sn_heapdump_root_kind kind;
    uintptr_t block;
    uint64_t size;
    uint32_t allocated, freed, holder; /* who made the block, freed it, made its holder */
    uint64_t n;                        /* such words */
};

struct list { /* of blocks, by address; pages of its own */
    uintptr_t *v;
    size_t n, cap;
};

struct look {
    struct list kept, live;
    const struct sn_reach *reach;
    struct finding v[256];
    uint32_t n_findings;
    uint64_t n_words, n_others; /* others: there was no room */
    bool done;
    struct sn_text text;
};

static atomic_bool on;
static atomic_flag looking = ATOMIC_FLAG_INIT;
static atomic_uint_least64_t kept_bytes, limit = LEAST_BYTES;
static bool in_child; /* of a fork */
static struct sn_layer layer;

bool sn_dangling_on(void)
{
    return atomic_load_explicit(&on, memory_order_relaxed);
}

/* ---- what was kept --------------------------------------------------------------------
 */

static void add(uintptr_t address, struct sn_cell *cell, void *list)
{
    struct list *l = list;
    (void)cell;
    if (l->n == l->cap) {
        size_t cap = l->cap > 0 ? 2 * l->cap : 4096;
        uintptr_t *v = sn_pages_map(cap * sizeof *v);
        if (v == NULL)
            return; /* it is as if that one were not there */
        if (l->n > 0)
            memcpy(v, l->v, l->n * sizeof *v);
        sn_pages_unmap(l->v, l->cap * sizeof *v);
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = address;
}

/* One that its thread has yet to bring is not known below to be over. */
static void add_kept(uintptr_t address, struct sn_cell *c, void *list)
{
    if (atomic_load(&c->what) & SN_CELL_THERE)
        add(address, c, list);
}

static void drop(struct list *l)
{
    sn_pages_unmap(l->v, l->cap * sizeof *l->v);
}

/* The block of the list that holds the address; 0: none does. */
static uintptr_t block_around(const struct list *l, uintptr_t address)
{
    size_t lo = 0, n = l->n;
    while (n > 0) { /* the first behind it */
        bool right = l->v[lo + n / 2] <= address;
        lo += right ? n / 2 + 1 : 0;
        n = right ? n - n / 2 - 1 : n / 2;
    }
    if (lo == 0)
        return 0;
    uintptr_t start = l->v[lo - 1];
    return address - start < sn_cell_size(sn_cell_at(start, false)->what) ? start : 0;
}

/* Unless it has begun another life, as addresses of efence do when all were used. */
static void let_go_one(uintptr_t address, struct sn_cell *c, void *nothing)
{
    uint64_t what = atomic_load(&c->what);
    (void)nothing;
    if ((what & SN_CELL_THERE) &&
        atomic_compare_exchange_strong(&c->what, &what,
                                       sn_cell_size(what) << 2 | SN_CELL_FREED) &&
        !ef_arena_has((void *)address))
        layer.below->release(layer.below, (void *)address);
}

static void let_go(const struct look *l)
{
    for (size_t i = 0; i < l->kept.n; i++)
        let_go_one(l->kept.v[i], sn_cell_at(l->kept.v[i], false), NULL);
}

/* ---- looking --------------------------------------------------------------------------
 */

static struct look *current; /* by who holds `looking` */

static void each_kept(void (*visit)(struct sn_block *block, void *argument),
                      void *argument)
{
    for (size_t i = 0; i < current->kept.n; i++) {
        const struct sn_cell *c = sn_cell_at(current->kept.v[i], false);
        struct sn_block b = {
            .address = current->kept.v[i], .size = sn_cell_size(c->what), .entry = 1};
        visit(&b, argument);
    }
}

static bool is_same(const struct finding *a, const struct finding *b)
{
    return a->kind == b->kind && a->allocated == b->allocated && a->freed == b->freed &&
           a->holder == b->holder;
}

static void note(struct look *l, const struct finding *f)
{
    l->n_words++;
    for (uint32_t i = 0; i < l->n_findings; i++)
        if (is_same(&l->v[i], f)) {
            l->v[i].n++;
            return;
        }
    if (l->n_findings == SN_COUNT(l->v)) {
        l->n_others++;
        return;
    }
    l->v[l->n_findings] = *f;
    l->v[l->n_findings++].n = 1;
}

/* A word in memory that the allocator has back is nobody's. */
static void on_pointer(void *look, uint32_t i, enum sn_heapdump_root_kind kind,
                       uint64_t at)
{
    struct look *l = look;
    uint32_t n;
    const struct sn_heapdump_block *b = &sn_reach_blocks(l->reach, &n)[i];
    const struct sn_cell *c = sn_cell_at(b->address, false);
    struct finding f = {.at = at,
                        .base = at,
                        .kind = kind,
                        .block = b->address,
                        .size = b->size,
                        .allocated = c->allocated,
                        .freed = c->freed};
    f.word = kind == SN_ROOT_REGISTERS ? b->address : *(const uintptr_t *)at;
    if (kind == SN_ROOT_OTHER) {
        f.base = block_around(&l->live, at);
        if (f.base == 0)
            return;
        f.holder = sn_cell_at(f.base, false)->allocated;
    }
    note(l, &f);
}

/* What the registers hold goes to the stack, above the frame that is told. */
static __attribute__((noinline)) bool mark(struct sn_reach *r, struct look *l)
{
    __builtin_unwind_init();
    return sn_reach_mark(r, (uintptr_t)__builtin_frame_address(0) - 128, on_pointer, l);
}

/* A handler that ran meanwhile could wait for a thread that is stopped. */
static void look_around(struct look *l)
{
    struct sn_guard guard;
    sn_guard_begin(&guard, true);
    struct sn_world *w = sn_world_stop(false);
    sn_cells_each(SN_CELL_KEPT, add_kept, &l->kept);
    sn_cells_each(SN_CELL_LIVE, add, &l->live);
    struct sn_reach *r = w != NULL ? sn_reach_new(w, each_kept) : NULL;
    l->reach = r;
    l->done = r != NULL && mark(r, l);
    sn_world_go_on(w);
    sn_reach_free(r);
    sn_guard_end(&guard);
}

/* ---- telling --------------------------------------------------------------------------
 */

void sn_dangling_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                       void *argument)
{
    if (current == NULL)
        return;
    visit(current, sizeof *current, argument);
    visit(current->kept.v, current->kept.cap * sizeof *current->kept.v, argument);
    visit(current->live.v, current->live.cap * sizeof *current->live.v, argument);
}

static const char *const places[] = {
    [SN_ROOT_GLOBAL] = "global data",
    [SN_ROOT_STACK] = "a stack",
    [SN_ROOT_REGISTERS] = "a register",
    [SN_ROOT_OTHER] = "a live block",
};

static void tell(struct sn_text *t, const struct finding *f)
{
    sn_text_add(t,
                "runtime: garbage collector found invalid heap pointer "
                "*(0x%" PRIxPTR "+0x%" PRIxPTR ")=0x%" PRIxPTR " span=0x%" PRIxPTR
                "-0x%" PRIxPTR "-0x%" PRIxPTR " state=freed%s\n",
                f->base, f->at - f->base, f->word, f->block, f->block + f->size,
                f->block + f->size, sn_trace_pid());
    sn_text_add(t, "  in %s", places[f->kind]);
    if (f->n > 1)
        sn_text_add(t, ", as %" PRIu64 " more are", f->n - 1);
    if (f->kind == SN_ROOT_OTHER) {
        sn_text_add(t, ", allocated at\n");
        sn_text_add_stack(t, f->holder);
    } else {
        sn_text_add(t, "\n");
    }
    sn_text_add(t, "  the freed block of %" PRIu64 " bytes was allocated at\n", f->size);
    sn_text_add_stack(t, f->allocated);
    sn_text_add(t, "  freed at\n");
    sn_text_add_stack(t, f->freed);
    sn_text_send(t);
}

static void tell_all(struct look *l)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    if (!l->done && !atomic_flag_test_and_set(&said))
        sn_trace_printf("invalidptr: there is no memory to look for pointers to what was "
                        "freed, or it cannot be read%s\n",
                        sn_trace_pid());
    for (uint32_t i = 0; i < l->n_findings && i < TOLD; i++)
        tell(&l->text, &l->v[i]);
    if (l->n_findings > TOLD || l->n_others > 0)
        sn_trace_printf("runtime: and more invalid heap pointers, %" PRIu64 " in all%s\n",
                        l->n_words, sn_trace_pid());
}

/* ---- when -----------------------------------------------------------------------------
 */

static uint64_t bytes_of(const struct list *l)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < l->n; i++)
        sum += sn_cell_size(sn_cell_at(l->v[i], false)->what);
    return sum;
}

void sn_dangling_let_go(void)
{
    if (atomic_flag_test_and_set(&looking))
        return;
    sn_cells_each(SN_CELL_KEPT, let_go_one, NULL);
    atomic_flag_clear(&looking);
}

/* Who comes while another looks goes on. */
static void look_once(void)
{
    struct look *l;
    if (atomic_flag_test_and_set(&looking))
        return;
    if ((l = sn_pages_map(sizeof *l)) != NULL) {
        current = l;
        look_around(l);
        tell_all(l);
        let_go(l);
        atomic_store(&kept_bytes, 0);
        uint64_t live = bytes_of(&l->live);
        atomic_store(&limit, live > LEAST_BYTES ? live : LEAST_BYTES);
        current = NULL;
        drop(&l->kept);
        drop(&l->live);
        sn_pages_unmap(l, sizeof *l);
    }
    atomic_flag_clear(&looking);
}

/* ---- the layer ------------------------------------------------------------------------
 */

/* Memory is short: would what is kept have done? Then it goes, after a look if there is
 * room for one. */
static bool give_way(size_t size)
{
    uint64_t kept = atomic_load(&kept_bytes);
    if (kept == 0 || size > kept)
        return false;
    look_once();
    sn_dangling_let_go();
    atomic_store(&kept_bytes, 0);
    return true;
}

static void *allocate(struct sn_layer *self, size_t size, size_t alignment, bool zeroed)
{
    int saved = errno;
    void *p = self->below->allocate(self->below, size, alignment, zeroed);
    if (p != NULL || !give_way(size))
        return p;
    errno = saved;
    return self->below->allocate(self->below, size, alignment, zeroed);
}

/* invalidptr moves the blocks that it knows by itself. */
static void *resize(struct sn_layer *self, void *p, size_t size)
{
    return self->below->resize(self->below, p, size);
}

static void release(struct sn_layer *self, void *p)
{
    struct sn_cell *c = sn_cell_at((uintptr_t)p, false);
    uint64_t what = c != NULL ? atomic_load(&c->what) : 0, size = sn_cell_size(what);
    if (sn_cell_state(what) != SN_CELL_KEPT) {
        self->below->release(self->below, p);
        return;
    }
    bool fenced = ef_arena_has(p);
    atomic_fetch_or(&c->what, SN_CELL_THERE);
    if (fenced)
        self->below->release(self->below, p);
    if (atomic_fetch_add(&kept_bytes, size) + size > atomic_load(&limit))
        look_once();
}

static size_t usable(struct sn_layer *self, void *p)
{
    return self->below->usable(self->below, p);
}

static struct sn_layer layer = {allocate, resize, release, usable, NULL};

bool sn_dangling_start(struct sn_error *e)
{
    (void)e;
    sn_layer_lay(SN_LAYER_QUARANTINE, &layer);
    on = true;
    return true;
}

void sn_dangling_stop(bool dying)
{
    (void)dying;
    if (atomic_exchange(&on, false) && (!in_child || kept_bytes > CHILD_BYTES))
        look_once();
}

void sn_dangling_after_fork(void)
{
    atomic_flag_clear(&looking); /* the thread that did is not here */
    in_child = true;
    kept_bytes = 0; /* the rest is for the parent to tell */
}
