/*
 * memory.c: loads that cannot fault.
 *
 * Above the interrupted stack pointer the thread's own stack is there: plain loads.
 * Everything else (a fibre's stack, a signal's, a wild pointer) is asked about first, a
 * page at a time; the answers are kept for the walk. Allocates nothing, signal-safe,
 * leaves errno alone.
 */
#include "unwind/unwind_priv.h"

#include <errno.h>
#include <sys/syscall.h>

void sn_memory_init(struct sn_memory *m, struct sn_stack_range stack, uintptr_t sp)
{
    m->lo = m->span = 0;
    if (sp >= stack.lo && sp < stack.hi && stack.hi - sp >= 8) {
        m->lo = sp;
        m->span = stack.hi - sp - 7;
    }
    for (unsigned i = 0; i < SN_PAGES_KNOWN; i++)
        m->known[i] = 0;
}

/* The kernel reads the new mask before it finds that the operation asked for does not
 * exist: EFAULT if it cannot be read, EINVAL if it can. Nothing else happens. */
static bool page_readable(uintptr_t page)
{
    long result = sn_arch_syscall4(SYS_rt_sigprocmask, -1, (long)page, 0, 8);
    return result == -EINVAL;
}

bool sn_memory_readable(struct sn_memory *m, uintptr_t addr, size_t size)
{
    uintptr_t last;
    if (addr < SN_PAGE || __builtin_add_overflow(addr, size - 1, &last))
        return false;
    for (uintptr_t page = addr / SN_PAGE; page <= last / SN_PAGE; page++) {
        uintptr_t *known = &m->known[page % SN_PAGES_KNOWN];
        if (*known == page)
            continue;
        if (!page_readable(page * SN_PAGE))
            return false;
        *known = page;
    }
    return true;
}

bool sn_memory_probe(struct sn_memory *m, uintptr_t addr, uint64_t *value)
{
    if (!sn_memory_readable(m, addr, sizeof *value))
        return false;
    *value = sn_memory_raw(addr);
    return true;
}
