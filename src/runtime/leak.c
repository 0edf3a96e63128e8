/*
 * leak.c: what is still allocated at the end of a recording, and that nothing leads to.
 * Not for programs that go on to allocate meanwhile: heap.c is off.
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
static __attribute__((noinline)) void mark(struct sn_reach *r)
{
    __builtin_unwind_init();
    sn_reach_mark(r, (uintptr_t)__builtin_frame_address(0) - 128, NULL, NULL);
}

enum sn_heap_leaks sn_leak_scan(bool dying)
{
    struct sn_world *w = sn_world_stop(dying);
    struct sn_reach *r = w != NULL ? sn_reach_new(w, NULL) : NULL;
    uint32_t n = 0;
    if (r != NULL) {
        mark(r);
        const struct sn_heapdump_block *v = sn_reach_blocks(r, &n);
        for (uint32_t i = 0; i < n; i++)
            if (!(v[i].flags & SN_HEAPDUMP_REACHED))
                count_leaked(&v[i]);
    }
    sn_world_go_on(w);
    enum sn_heap_leaks found = r != NULL ? SN_LEAKS_KNOWN : SN_LEAKS_NO_MEMORY;
    sn_reach_free(r);
    return found;
}
