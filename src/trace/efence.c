/*
 * efence.c: Electric Fence: each block lies on pages of its own, its end (or beginning)
 * beside one that faults, and faults as a whole when it is freed. A layer over the
 * allocator that is an allocator itself: what it cannot fence, and what was there before
 * it, the real one has.
 *
 * The rest of a block's pages is filled with a pattern and looked at when the block is
 * freed. No lock, signal-safe; the arena says where that ends.
 */
#include "trace/efence.h"
#include "trace/trace_priv.h"

#include <errno.h>
#include <stdlib.h>

#define ALIGNMENT ((size_t)16) /* malloc's promise */

static atomic_bool on, left;
static __thread uint32_t own_tid __attribute__((tls_model("initial-exec")));

static uint32_t tid(void)
{
    if (own_tid == 0)
        own_tid = (uint32_t)sn_thread_id();
    return own_tid;
}

static uint32_t stack(void)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    uint32_t id = sn_stacks_here();
    if (id == 0)
        ef_say_once(&said, "efence: no room for more stacks: those of some blocks will "
                           "not be known\n");
    return id;
}

/* ---- the gaps -------------------------------------------------------------------------
 */

/* In the block's pages, before it and behind it. */
struct gaps {
    unsigned char *begin, *block, *block_end, *end;
};

static struct gaps gaps_of(const struct ef_block *b)
{
    unsigned char *page = (void *)ef_block_page(b);
    if (b->pages == 0)
        return (struct gaps){page, page, page, page};
    return (struct gaps){page, page + b->offset, page + b->offset + b->size,
                         page + b->pages * EF_PAGE};
}

static void fill(const struct ef_block *b)
{
    struct gaps g = gaps_of(b);
    memset(g.begin, EF_FILL, (size_t)(g.block - g.begin));
    memset(g.block_end, EF_FILL, (size_t)(g.end - g.block_end));
}

/* Each byte is the pattern if the first is, and each is as the one before it. */
static bool is_filled(const unsigned char *p, size_t n)
{
    return n == 0 || (p[0] == EF_FILL && memcmp(p, p + 1, n - 1) == 0);
}

/* The farthest byte that was written is what is told. */
static void check(const struct ef_block *b)
{
    struct gaps g = gaps_of(b);
    bool before = !is_filled(g.begin, (size_t)(g.block - g.begin));
    if (!before && is_filled(g.block_end, (size_t)(g.end - g.block_end)))
        return;
    if (before)
        while (*g.begin == EF_FILL)
            g.begin++;
    else
        while (g.end[-1] == EF_FILL)
            g.end--;
    ef_report_gap(b, before, (size_t)(before ? g.block - g.begin : g.end - g.block_end));
    abort();
}

/* ---- the allocator --------------------------------------------------------------------
 */

static void *allocate(struct sn_layer *self, size_t size, size_t alignment, bool zeroed)
{
    struct sn_layer *below = self->below;
    int saved = errno;
    struct ef_block *b =
        on ? ef_arena_get(size, alignment > ALIGNMENT ? alignment : ALIGNMENT, left)
           : NULL;
    errno = saved;
    if (b == NULL)
        return below->allocate(below, size, alignment, zeroed);
    b->made = stack();
    b->maker = tid();
    fill(b);
    atomic_store_explicit(&b->state, EF_LIVE, memory_order_release);
    return ef_block_at(b);
}

static _Noreturn void refuse(const void *p, const char *by)
{
    ef_report_free(p, by);
    abort();
}

/* Of two threads that free it, one is told. */
static void release(struct sn_layer *self, void *p)
{
    struct sn_layer *below = self->below;
    if (!ef_arena_has(p)) {
        below->release(below, p);
        return;
    }
    int saved = errno;
    uint32_t live = EF_LIVE;
    struct ef_block *b = ef_arena_block(p);
    if (b == NULL || !atomic_compare_exchange_strong(&b->state, &live, EF_FREED))
        refuse(p, "free");
    b->gone = stack();
    b->killer = tid();
    check(b);
    ef_arena_put(b);
    errno = saved;
}

static const struct ef_block *live_block(const void *p)
{
    const struct ef_block *b = ef_arena_block(p);
    return b != NULL && atomic_load(&b->state) == EF_LIVE ? b : NULL;
}

/* It always moves, so that who keeps the old address is found. */
static void *resize(struct sn_layer *self, void *p, size_t size)
{
    struct sn_layer *below = self->below;
    bool fenced = ef_arena_has(p);
    if (!fenced && !on)
        return below->resize(below, p, size);
    if (fenced && live_block(p) == NULL)
        refuse(p, "realloc");
    size_t usable = self->usable(self, p);
    void *fresh = self->allocate(self, size, 0, false);
    if (fresh == NULL)
        return NULL;
    memcpy(fresh, p, size < usable ? size : usable);
    self->release(self, p);
    return fresh;
}

static size_t usable(struct sn_layer *self, void *p)
{
    struct sn_layer *below = self->below;
    if (!ef_arena_has(p))
        return below->usable(below, p);
    const struct ef_block *b = live_block(p);
    if (b == NULL && sn_layer_asked())
        refuse(p, "malloc_usable_size");
    return b != NULL ? b->size : 0;
}

static struct sn_layer layer = {allocate, resize, release, usable, NULL};

/* ---- the tracer -----------------------------------------------------------------------
 */

static bool wanted(const struct sn_settings *s)
{
    return s->trace.efence != SN_EFENCE_OFF;
}

static bool start(const struct sn_settings *s, struct sn_error *e)
{
    const char *whose = sn_malloc_whose();
    if (whose != NULL)
        return sn_fail(
            e, "efence", -1,
            "malloc is that of %s, which is not seen: its blocks cannot be fenced",
            whose[0] != '\0' ? whose : "the program");
    if (!sn_stacks_open(e) || !ef_arena_open(e) || !ef_fault_take(e))
        return false;
    left = s->trace.efence == SN_EFENCE_LEFT;
    sn_layer_lay(SN_LAYER_EFENCE, &layer);
    on = true;
    return true;
}

/* Blocks that are fenced stay so, and the signals ours. */
static void stop(bool dying)
{
    (void)dying;
    on = false;
}

static void after_fork(bool child)
{
    if (!child)
        return;
    on = false;
    own_tid = 0;
    ef_report_after_fork();
    ef_fault_after_fork();
    ef_arena_after_fork();
}

const struct sn_tracer sn_efence = {.name = "efence",
                                    .wanted = wanted,
                                    .start = start,
                                    .stop = stop,
                                    .after_fork = after_fork,
                                    .pages = ef_arena_pages,
                                    .fd = ef_fence_fd};
