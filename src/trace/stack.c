/* stack.c: who called the allocator. Signal-safe. */
#include "trace/trace.h"

#include <errno.h>

size_t sn_trace_stack(uintptr_t *pcs, size_t max, enum sn_unwind_end *end)
{
    uintptr_t all[SN_TRACE_DEPTH + SN_OWN_FRAMES];
    int saved = errno;
    size_t n = sn_unwind_here(sn_thread_stack(), all, SN_COUNT(all), end), own = 0;
    for (size_t i = 0; i < n && i < SN_OWN_FRAMES; i++)
        if (sn_malloc_is_entry(all[i]))
            own = i + 1;
    while (own < n && sn_new_is_operator(all[own]))
        own++;
    size_t rest = n - own < max ? n - own : max;
    if (rest < n - own)
        *end = SN_END_DEPTH;
    memcpy(pcs, all + own, rest * sizeof *pcs);
    errno = saved;
    return rest;
}
