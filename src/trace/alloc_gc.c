/*
 * alloc_gc.c: allocfreetrace in a collected heap.
 *
 *     GC_malloc and its like -> an event, with its stack        \
 *     a list of blocks is taken -> who took it is kept            > gc_blocks.c
 *     a collection has ended -> what lives is compared with it   /
 *              └─> events that come late: born, or died, since the collection before
 *
 * The comparison is made at RECLAIM_END, not at MARK_END: what finalizers keep is marked
 * by then, what the collector only has on its own lists is not, nothing has been swept
 * that could be another block, and the world goes on. It still holds libgc's lock: no
 * malloc here, none of libgc's functions that take it, pages only.
 *
 * A block is known once: where its function tells of one that is taken for allocated, the
 * log says so before (SN_ALLOC_LATE_AGAIN). As signal-safe as what is below; keeps errno.
 */
#include "trace/alloc_gc.h"
#include "trace/alloclog.h"
#include "trace/gc_blocks.h"
#include "trace/libgc.h"

#define LIST_MAX (1u << 20) /* blocks of a list: libgc's are of a page, or one */

static bool held_first;      /* the first collection sees what was there before */
static atomic_bool has_said; /* that there is no room */

/* ---- events ---------------------------------------------------------------------------
 */

static void note_room(void)
{
    uint64_t n = sn_gc_blocks_unseen();
    if (n == 0)
        return;
    __atomic_store_n(&sn_alloclog_header()->unseen, n, __ATOMIC_RELAXED);
    if (!atomic_exchange(&has_said, true) && !sn_recording_is_quiet())
        sn_say("allocfreetrace: there is no room to follow all blocks of libgc; what it "
               "frees of them is not seen");
}

struct now {
    uint64_t moment;
    bool is_first; /* of a heap that was there before */
};

static void log_born(const struct now *n, const struct sn_gc_block *b)
{
    bool held = n->is_first && !b->listed;
    sn_alloc_log_at(n->moment, held ? SN_ALLOC_HELD : SN_ALLOC_GC_LATE, b->address,
                    b->size > 0 ? b->size : 1, b->listed ? b->stack : 0);
}

static void log_died(const struct now *n, uintptr_t address, uint32_t how)
{
    sn_alloc_log_at(n->moment, SN_ALLOC_GC_LATE, address, 0, how);
}

static void tell(const struct sn_gc_block *b, bool born, void *now)
{
    if (born)
        log_born(now, b);
    else
        log_died(now, b->address, SN_ALLOC_LATE_DIED);
}

/* ---- collections ----------------------------------------------------------------------
 */

static void enumerate(void (*visit)(void *, size_t, void *), void *argument)
{
    sn_libgc.enumerate(visit, argument);
}

static void on_reclaimed(void)
{
    atomic_uint *mine;
    if (!sn_alloc_enter(&mine))
        return;
    struct now now = {sn_alloc_log_collection(), held_first};
    held_first = false;
    sn_gc_blocks_compare(enumerate, tell, &now);
    note_room();
    sn_alloc_leave(mine);
}

/* ---- functions ------------------------------------------------------------------------
 */

void sn_allocfreetrace_gc_allocated(void *p, size_t size)
{
    atomic_uint *mine;
    if (p == NULL || !sn_alloc_enter(&mine))
        return;
    if (sn_gc_blocks_handed((uintptr_t)p)) {
        struct now now = {sn_alloc_moment(), false};
        log_died(&now, (uintptr_t)p, SN_ALLOC_LATE_AGAIN);
    }
    sn_alloc_log(SN_ALLOC_GC_ALLOC, p, size);
    note_room();
    sn_alloc_leave(mine);
}

void sn_allocfreetrace_gc_freeing(void *p)
{
    struct sn_gc_block b;
    atomic_uint *mine;
    if (p == NULL || !sn_alloc_enter(&mine))
        return;
    if (sn_gc_blocks_freeing((uintptr_t)p, &b)) {
        struct now now = {sn_alloc_moment(), false};
        log_born(&now, &b);
    }
    sn_alloc_log(SN_ALLOC_GC_FREE, p, 0);
    sn_alloc_leave(mine);
}

/* A block's first word is the next one's address. */
void sn_allocfreetrace_gc_listed(void *list, size_t size, bool program)
{
    struct sn_gc_block b = {.size = size, .listed = program};
    atomic_uint *mine;
    if (list == NULL || !sn_alloc_enter(&mine))
        return;
    struct now now = {sn_alloc_moment(), false};
    if (program)
        b.stack = sn_alloc_stack();
    if (program && sn_libgc.kind_and_size != NULL) /* what it has made of it */
        sn_libgc.kind_and_size(list, &b.size);
    for (unsigned i = 0; list != NULL && i < LIST_MAX; i++, list = *(void **)list) {
        b.address = (uintptr_t)list;
        if (program ? sn_gc_blocks_listed(&b) : sn_gc_blocks_ready(b.address))
            log_died(&now, b.address, SN_ALLOC_LATE_DIED); /* nobody told us */
    }
    note_room();
    sn_alloc_leave(mine);
}

/* ---- its life -------------------------------------------------------------------------
 */

void sn_alloc_gc_start(void)
{
    sn_libgc_find(NULL);
    held_first = sn_libgc_is_used();
    atomic_store(&has_said, false);
    sn_libgc_on_reclaimed(on_reclaimed);
}

void sn_alloc_gc_last(void)
{
    atomic_uint *mine;
    if (!sn_alloc_enter(&mine))
        return;
    struct now now = {sn_alloc_moment(), false};
    sn_gc_blocks_flush(tell, &now);
    sn_alloc_leave(mine);
}

void sn_alloc_gc_stop(void)
{
    sn_libgc_on_reclaimed(NULL);
    sn_gc_blocks_drop();
}
