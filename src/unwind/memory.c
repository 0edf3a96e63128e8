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
    m->stack = (struct sn_window){0};
    if (sp >= stack.lo && sp < stack.hi && stack.hi - sp >= 8)
        m->stack = (struct sn_window){sp, stack.hi - sp - 7};
    m->window = m->stack;
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

/* The window that holds addr, all of whose pages can be read: one that grows upwards as
 * the walk does. */
static struct sn_window window_at(const struct sn_memory *m, uintptr_t addr)
{
    uintptr_t page = addr & -SN_PAGE, last = (addr + 7) & -SN_PAGE;
    struct sn_window old = m->window;
    if (sn_window_holds(m->stack, addr))
        return m->stack;
    if (old.span > 0 && addr - old.lo < old.span + SN_PAGE && addr >= old.lo)
        return (struct sn_window){old.lo, last + SN_PAGE - 7 - old.lo};
    return (struct sn_window){page, last + SN_PAGE - 7 - page};
}

bool sn_memory_probe(struct sn_memory *m, uintptr_t addr, uint64_t *value)
{
    if (!sn_window_holds(m->stack, addr) && !sn_memory_readable(m, addr, sizeof *value))
        return false;
    m->window = window_at(m, addr);
    *value = sn_memory_raw(addr);
    return true;
}
