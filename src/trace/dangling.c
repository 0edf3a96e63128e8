/*
 * dangling.c: pointers to blocks that were freed (invalidptr=2). What the program frees
 * is kept back; when as much has been kept as the process was large at the last look, the
 * world is stopped, and every word of its memory, its stacks and registers that points
 * into a kept block is told, in the words of Go's collector. Then what was kept is freed.
 *
 * A conservative look: a word may lie where nobody will read it again, so nothing is
 * aborted. What frees while another thread looks is kept for the next time.
 */
#include "trace/trace_priv.h"

#include <inttypes.h>
#include <unistd.h>

#define LEAST_BYTES ((uint64_t)16 << 20)
#define TOLD        20 /* of one look, each of another pair of sites */

struct finding {
    uintptr_t at, word, base; /* *(base + (at - base)) = word */
    enum sn_heapdump_root_kind kind;
    uintptr_t block;
    uint64_t size;
    uint32_t allocated, freed, holder; /* who made the block, freed it, made its holder */
    uint64_t n;                        /* such words */
};

struct look {
    uintptr_t *blocks;
    uint32_t n, cap;
    const struct sn_reach *reach;
    struct finding v[256];
    uint32_t n_findings;
    uint64_t n_words, n_others; /* others: there was no room */
    struct sn_text text;
};

static atomic_bool on;
static atomic_flag looking = ATOMIC_FLAG_INIT;
static atomic_uint_least64_t kept_bytes, limit = LEAST_BYTES;
static struct sn_layer *below;

bool sn_dangling_on(void)
{
    return atomic_load_explicit(&on, memory_order_relaxed);
}

/* ---- what was kept --------------------------------------------------------------------
 */

static void count(uintptr_t address, struct sn_cell *cell, void *look)
{
    (void)address;
    (void)cell;
    ((struct look *)look)->cap++;
}

static void add(uintptr_t address, struct sn_cell *cell, void *look)
{
    struct look *l = look;
    (void)cell;
    if (l->n < l->cap)
        l->blocks[l->n++] = address;
}

static void free_look(struct look *l)
{
    if (l == NULL)
        return;
    sn_pages_unmap(l->blocks, (size_t)l->cap * sizeof *l->blocks);
    sn_pages_unmap(l, sizeof *l);
}

/* All that are kept at this moment. */
static struct look *new_look(void)
{
    struct look *l = sn_pages_map(sizeof *l);
    if (l == NULL)
        return NULL;
    sn_cells_each(SN_CELL_KEPT, count, l);
    l->blocks = l->cap > 0 ? sn_pages_map((size_t)l->cap * sizeof *l->blocks) : NULL;
    if (l->blocks != NULL)
        sn_cells_each(SN_CELL_KEPT, add, l);
    return l;
}

static void let_go(const struct look *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        struct sn_cell *c = sn_cell_at(l->blocks[i], false);
        uint64_t size = sn_cell_size(c->what);
        atomic_store(&c->what, size << 2 | SN_CELL_FREED);
        atomic_fetch_sub(&kept_bytes, size);
        below->release(below, (void *)l->blocks[i]);
    }
}

/* ---- looking --------------------------------------------------------------------------
 */

static struct look *current; /* by who holds `looking` */

static void each_kept(void (*visit)(struct sn_block *block, void *argument),
                      void *argument)
{
    for (uint32_t i = 0; i < current->n; i++) {
        const struct sn_cell *c = sn_cell_at(current->blocks[i], false);
        struct sn_block b = {
            .address = current->blocks[i], .size = sn_cell_size(c->what), .entry = i + 1};
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
    struct sn_cell *c = sn_cell_at(b->address, false), *holder = NULL;
    struct finding f = {.at = at,
                        .base = at,
                        .kind = kind,
                        .block = b->address,
                        .size = b->size,
                        .allocated = c->allocated,
                        .freed = c->freed};
    f.word = kind == SN_ROOT_REGISTERS ? b->address : *(const uintptr_t *)at;
    if (kind == SN_ROOT_OTHER) {
        uintptr_t start = sn_cell_around(at, SN_CELL_LIVE, &holder);
        if (start == 0)
            return;
        f.base = start;
        f.holder = holder->allocated;
    }
    note(l, &f);
}

/* What the registers hold goes to the stack, above the frame that is told. */
static __attribute__((noinline)) void mark(struct sn_reach *r, struct look *l)
{
    __builtin_unwind_init();
    sn_reach_mark(r, (uintptr_t)__builtin_frame_address(0) - 128, on_pointer, l);
}

static void look_around(struct look *l)
{
    struct sn_world *w = sn_world_stop(false);
    struct sn_reach *r = w != NULL ? sn_reach_new(w, each_kept) : NULL;
    l->reach = r;
    if (r != NULL)
        mark(r, l);
    sn_world_go_on(w);
    sn_reach_free(r);
}

/* ---- telling --------------------------------------------------------------------------
 */

void sn_dangling_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                       void *argument)
{
    if (current == NULL)
        return;
    visit(current, sizeof *current, argument);
    visit(current->blocks, (size_t)current->cap * sizeof *current->blocks, argument);
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
    for (uint32_t i = 0; i < l->n_findings && i < TOLD; i++)
        tell(&l->text, &l->v[i]);
    if (l->n_findings > TOLD || l->n_others > 0)
        sn_trace_printf("runtime: and more invalid heap pointers, %" PRIu64 " in all%s\n",
                        l->n_words, sn_trace_pid());
}

/* ---- when -----------------------------------------------------------------------------
 */

static uint64_t resident_bytes(void)
{
    char line[128], *at = line;
    sn_file_line("/proc/self/statm", line, sizeof line);
    strtoul(at, &at, 10); /* the size of its addresses */
    return strtoul(at, NULL, 10) * (uint64_t)getpagesize();
}

/* Who comes while another looks goes on. */
static void look_once(void)
{
    if (atomic_flag_test_and_set(&looking))
        return;
    struct look *l = new_look();
    if (l != NULL && l->n > 0) {
        current = l;
        look_around(l);
        tell_all(l);
        let_go(l);
        current = NULL;
    }
    uint64_t resident = resident_bytes();
    atomic_store(&limit, resident > LEAST_BYTES ? resident : LEAST_BYTES);
    free_look(l);
    atomic_flag_clear(&looking);
}

void sn_dangling_kept(struct sn_layer *layer_below, size_t size)
{
    below = layer_below;
    /* Many small blocks take more than their bytes. */
    if (atomic_fetch_add(&kept_bytes, size) + size > atomic_load(&limit))
        look_once();
}

bool sn_dangling_start(struct sn_error *e)
{
    (void)e;
    on = true;
    return true;
}

void sn_dangling_stop(bool dying)
{
    (void)dying;
    if (!atomic_exchange(&on, false))
        return;
    look_once();
}

void sn_dangling_after_fork(void)
{
    atomic_flag_clear(&looking); /* the thread that did is not here */
}
