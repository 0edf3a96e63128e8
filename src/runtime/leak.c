/*
 * leak.c: what is still allocated at the end of a recording, and that nothing leads to.
 * The heap is held meanwhile (sn_heap_hold): who allocates waits.
 */
#include "runtime/runtime.h"

static void count_leaked(const struct sn_heapdump_block *b)
{
    struct sn_spool_header *h = sn_heap_table.header;
    struct sn_spool_entry *x = (void *)((char *)h + (uint64_t)b->site * 8);
    x->values[SN_HEAP_LEAKED_OBJECTS]++;
    x->values[SN_HEAP_LEAKED_BYTES] += b->size;
}

/* What the registers hold goes to the stack, above the frame that is told. */
static __attribute__((noinline)) bool mark(struct sn_reach *r)
{
    __builtin_unwind_init();
    return sn_reach_mark(r, (uintptr_t)__builtin_frame_address(0) - 128, NULL, NULL);
}

static enum sn_heap_leaks scan(struct sn_reach *r)
{
    uint32_t n = 0;
    if (r == NULL)
        return SN_LEAKS_NO_MEMORY;
    if (!mark(r))
        return SN_LEAKS_NOT_READ;
    const struct sn_heapdump_block *v = sn_reach_blocks(r, &n);
    for (uint32_t i = 0; i < n; i++)
        if (!(v[i].flags & SN_HEAPDUMP_REACHED))
            count_leaked(&v[i]);
    return SN_LEAKS_KNOWN;
}

/* A handler that ran meanwhile could wait for a thread that is stopped. */
enum sn_heap_leaks sn_leak_scan(bool dying)
{
    struct sn_guard guard;
    sn_guard_begin(&guard, true);
    struct sn_world *w = sn_world_stop(dying);
    struct sn_reach *r = w != NULL ? sn_reach_new(w, NULL) : NULL;
    enum sn_heap_leaks found = scan(r);
    sn_world_go_on(w);
    sn_reach_free(r);
    sn_guard_end(&guard);
    return found;
}
