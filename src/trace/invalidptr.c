/*
 * invalidptr.c: what free, realloc and malloc_usable_size are given must be the address
 * of a live block. If it is not, who allocated and who freed what lies there is told, and
 * the program is aborted before its heap is corrupted.
 *
 *          allocate                release: to the layer below, or (invalidptr=2) kept
 *     never -------> live ------------------------------------> freed
 *                     ^                                           |
 *                     +-------------------------------------------+ allocate
 *
 * What was allocated before the tracer began is known if that was early enough; else an
 * address that was never met is let pass. No lock: a state changes by one exchange, so of
 * two threads that free the same block one is told. Signal-safe.
 */
#include "trace/libgc.h"
#include "trace/trace_priv.h"

#include <dlfcn.h>

static atomic_bool on;
static atomic_bool complete; /* each block is known */
static atomic_bool brief;    /* nobody asked for it: without whose blocks they were */

/* ---- the report -----------------------------------------------------------------------
 */

static void add_history(struct sn_text *t, const struct sn_cell *c)
{
    if (brief) {
        sn_text_add(t, "  invalidptr=1 tells who allocated and who freed it\n");
        return;
    }
    sn_text_add(t, "  allocated at\n");
    sn_text_add_stack(t, c->allocated);
    if (sn_cell_state(c->what) == SN_CELL_LIVE)
        return;
    sn_text_add(t, "  freed at\n");
    sn_text_add_stack(t, c->freed);
}

static void add_block(struct sn_text *t, uintptr_t p, uintptr_t start,
                      const struct sn_cell *c, const char *state)
{
    sn_text_add(t, "  it points %lu bytes into a %s block of %lu bytes at 0x%lx\n",
                (unsigned long)(p - start), state, (unsigned long)sn_cell_size(c->what),
                (unsigned long)start);
    add_history(t, c);
}

/* Where it points, if not into the heap. */
static const char *place_of(uintptr_t p)
{
    struct sn_stack_range stack = sn_thread_stack();
    struct dl_find_object found;
    if (p >= (uintptr_t)__builtin_frame_address(0) && p < stack.hi)
        return "it points into the stack of this thread";
    if (_dl_find_object((void *)p, &found) == 0)
        return "it points into a loaded file's code or data";
    return "no block was ever allocated there";
}

static void describe(struct sn_text *t, uintptr_t p)
{
    struct sn_cell *c = sn_cell_at(p, false), *around;
    uintptr_t start = sn_cell_around(p, SN_CELL_LIVE, &around);
    if (start != 0 && start != p)
        add_block(t, p, start, around, "live");
    else if (c != NULL && sn_cell_state(c->what) != SN_CELL_NEVER)
        add_block(t, p, p, c, "freed");
    else if ((start = sn_cell_around(p, SN_CELL_KEPT, &around)) != 0 ||
             (start = sn_cell_around(p, SN_CELL_FREED, &around)) != 0)
        add_block(t, p, start, around, "freed");
    else
        sn_text_add(t, "  %s\n", place_of(p));
}

/* Does not return: to go on would corrupt the heap. */
static __attribute__((noinline, cold)) void refuse(const char *function, uintptr_t p)
{
    uintptr_t pcs[SN_TRACE_DEPTH];
    enum sn_unwind_end end;
    struct sn_text *t = sn_pages_map(sizeof *t);
    if (t != NULL) {
        sn_text_add(t, "runtime: invalid pointer 0x%lx passed to %s%s\n",
                    (unsigned long)p, function, sn_trace_pid());
        sn_text_add_frames(t, pcs, sn_trace_stack(pcs, SN_COUNT(pcs), &end));
        describe(t, p);
        sn_text_send(t);
    }
    abort();
}

/* ---- the layer ------------------------------------------------------------------------
 */

static uint32_t by_whom(void)
{
    return brief ? 0 : sn_stacks_here();
}

static void *came(void *p, size_t size)
{
    struct sn_cell *c = p != NULL ? sn_cell_at((uintptr_t)p, true) : NULL;
    if (c == NULL) {
        if (p != NULL)
            complete = false; /* one more that is not known */
        return p;
    }
    c->allocated = by_whom();
    c->freed = 0;
    atomic_store_explicit(&c->what, (uint64_t)size << 2 | SN_CELL_LIVE,
                          memory_order_release);
    return p;
}

/* Its cell if it is live; NULL: it is not known, and may be good. */
static struct sn_cell *checked(const char *function, void *p)
{
    struct sn_cell *c = sn_cell_at((uintptr_t)p, false);
    uint64_t what = c != NULL ? atomic_load(&c->what) : 0;
    if (sn_cell_state(what) == SN_CELL_LIVE)
        return c;
    if (complete || sn_cell_state(what) != SN_CELL_NEVER)
        refuse(function, (uintptr_t)p);
    return NULL;
}

/* Live no more, by this thread and no other; unless it has been forgotten meanwhile, by
 * another recording that began. */
static void end_life(const char *function, void *p, struct sn_cell *c,
                     enum sn_cell_state state)
{
    uint64_t what = atomic_load(&c->what);
    bool ended =
        sn_cell_state(what) == SN_CELL_LIVE &&
        atomic_compare_exchange_strong(&c->what, &what, sn_cell_size(what) << 2 | state);
    if (ended)
        c->freed = by_whom();
    else if (sn_cell_state(what) != SN_CELL_NEVER)
        refuse(function, (uintptr_t)p);
}

static void *allocate(struct sn_layer *self, size_t size, size_t alignment, bool zeroed)
{
    void *p = self->below->allocate(self->below, size, alignment, zeroed);
    return on ? came(p, size) : p;
}

static void release_as(struct sn_layer *self, void *p, const char *function)
{
    struct sn_cell *c = on ? checked(function, p) : NULL;
    if (c != NULL)
        end_life(function, p, c, sn_dangling_on() ? SN_CELL_KEPT : SN_CELL_FREED);
    self->below->release(self->below, p);
}

static void release(struct sn_layer *self, void *p)
{
    release_as(self, p, "free");
}

/* Kept back, it must not be moved by the real realloc, which would release it. */
static void *move(struct sn_layer *self, void *p, size_t size)
{
    size_t old_size = self->below->usable(self->below, p);
    void *fresh = allocate(self, size, 0, false);
    if (fresh == NULL)
        return NULL;
    memcpy(fresh, p, old_size < size ? old_size : size);
    release_as(self, p, "realloc");
    return fresh;
}

/* The old block is over before the real realloc, since what it frees may be another
 * thread's at once. */
static void *resize(struct sn_layer *self, void *p, size_t size)
{
    struct sn_cell *c = on ? checked("realloc", p) : NULL;
    if (c == NULL) {
        p = self->below->resize(self->below, p, size);
        return on ? came(p, size) : p;
    }
    uint64_t was = atomic_load(&c->what);
    if (sn_dangling_on())
        return move(self, p, size);
    end_life("realloc", p, c, SN_CELL_FREED);
    void *fresh = self->below->resize(self->below, p, size);
    if (fresh == NULL)
        atomic_store(&c->what, was);
    return came(fresh, size);
}

static size_t usable(struct sn_layer *self, void *p)
{
    if (on)
        checked("malloc_usable_size", p);
    return self->below->usable(self->below, p);
}

static struct sn_layer layer = {allocate, resize, release, usable, NULL};

/* ---- the tracer -----------------------------------------------------------------------
 */

/* Unless it is said, with the tracers that have the blocks in hand. Not with efence,
 * which tells what is freed twice itself, and whose addresses, never used again, would
 * each cost a cell for good; nor with allocfreetrace, whose pair it would make a third
 * dearer for what the log has. */
static bool wanted(const struct sn_settings *s)
{
    const struct sn_trace_settings *t = &s->trace;
    if (t->invalidptr == SN_INVALIDPTR_DEFAULT)
        return (t->gcdead || t->gctrace > 0) && !t->allocfreetrace &&
               t->efence == SN_EFENCE_OFF;
    return t->invalidptr != SN_INVALIDPTR_OFF;
}

/* Two stacks a block cost more than gctrace does. */
static bool is_brief(const struct sn_trace_settings *t)
{
    return t->invalidptr == SN_INVALIDPTR_DEFAULT && !t->gcdead;
}

static void know(void *p, size_t size)
{
    struct sn_cell *c = sn_cell_at((uintptr_t)p, true);
    if (c != NULL)
        c->what = (uint64_t)size << 2 | SN_CELL_LIVE;
    else
        complete = false;
}

static bool start(const struct sn_settings *s, struct sn_error *e)
{
    if (!sn_libgc_or_malloc("invalidptr", e)) {
        if (s->trace.invalidptr != SN_INVALIDPTR_DEFAULT)
            return false;
        *e =
            (struct sn_error){.offset = -1}; /* it came with another, and is not missed */
        return true;
    }
    if (!sn_stacks_open(e))
        return sn_fail(e, NULL, -1, "invalidptr has no memory for its accounts");
    if (!on) { /* it still is in a fork's child */
        sn_dangling_let_go();
        sn_cells_forget(); /* what became of blocks meanwhile is not known */
        complete = true;
        if (!sn_malloc_early(know))
            complete = false;
    }
    brief = is_brief(&s->trace);
    bool scans = s->trace.invalidptr == SN_INVALIDPTR_SCAN;
    if (scans && !sn_dangling_start(e))
        return false;
    sn_libgc_look_always(scans);
    on = true;
    sn_layer_lay(SN_LAYER_INVALIDPTR, &layer);
    return true;
}

static void stop(bool dying)
{
    sn_dangling_stop(dying);
    sn_libgc_look_always(false);
    if (!dying) /* to the very end of the program otherwise */
        on = false;
}

static void after_fork(bool child)
{
    if (child)
        sn_dangling_after_fork();
}

static void pages(void (*visit)(void *pages, size_t bytes, void *argument),
                  void *argument)
{
    sn_cells_pages(visit, argument);
    sn_dangling_pages(visit, argument);
}

const struct sn_tracer sn_invalidptr = {.name = "invalidptr",
                                        .wanted = wanted,
                                        .start = start,
                                        .stop = stop,
                                        .after_fork = after_fork,
                                        .pages = pages};
