/*
 * heap_life.c: a recording of the heap begins, is held for a moment, and ends.
 *
 *     off ──start──> some                           ──stop──> off
 *     off ──start──> each <──hold, release──> held  ──stop──> off
 *
 * Held, who comes to the accounts waits: for a dump, and for the scan at the end. Not for
 * handlers but for hold and release. Allocates only pages.
 */
#include "runtime/heap_priv.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHARDS_OF_ALL  1024
#define SHARDS_OF_SOME 8

static void learn_ticks(void)
{
    char name[16];
    sn_file_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", name,
                 sizeof name);
    sn_heap_kind.ticks_steady = strcmp(name, "tsc") == 0;
    sn_heap_kind.ns_per_tick = 1;
    if (!sn_heap_kind.ticks_steady)
        return;
    uint64_t from_ns = sn_clock_ns(CLOCK_MONOTONIC), from = sn_unwind_ticks(), ns;
    while ((ns = sn_clock_ns(CLOCK_MONOTONIC) - from_ns) < 20000)
        continue; /* to a hundredth: lifetimes are told in decades */
    sn_heap_kind.ns_per_tick = (double)ns / (double)(sn_unwind_ticks() - from);
}

bool sn_heap_start(const struct sn_settings *s, struct sn_error *e)
{
    if (!sn_heap_make_key())
        return sn_fail(e, "mem", -1, "no thread-specific key is left");
    const char *whose = sn_malloc_whose();
    if (whose != NULL)
        return sn_fail(e, "mem", -1,
                       "%s (%d) calls the malloc of %s, which is not seen: no heap is "
                       "recorded",
                       program_invocation_short_name, (int)getpid(), whose);
    bool each = s->mem_exact || s->mem_rate == 1;
    if (!sn_live_open(&sn_heap_live, each ? SHARDS_OF_ALL : SHARDS_OF_SOME) ||
        !sn_maps_open(s->mem_mmap))
        return sn_fail(e, "mem", -1, "out of memory");
    sn_heap_kind.exact = s->mem_exact;
    sn_heap_kind.filtered = !each;
    sn_heap_filter_clear();
    sn_heap_kind.rate_bytes = s->mem_rate;
    sn_heap_forget_distances();
    sn_heap_kind.start_ns = sn_heap_table.header->start_mono_ns;
    if (sn_heap_kind.exact)
        learn_ticks();
    sn_heap_kind.recording++;
    /* A child of fork that is not ours to tell (a bare system call) finds it off. */
    madvise(&sn_heap_switch, sizeof sn_heap_switch, MADV_WIPEONFORK);
    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0);
    sn_heap_kind.knows_all = sn_malloc_early(sn_heap_know);
    sn_heap_table.header->mappings = s->mem_mmap;
    atomic_store(&sn_heap_switch.mode, each ? SN_HEAP_EACH : SN_HEAP_SOME);
    return true;
}

bool sn_heap_is_exact(void)
{
    return sn_heap_kind.exact && sn_heap_on();
}

bool sn_heap_knows_all(void)
{
    return sn_heap_kind.knows_all;
}

/* No other thread is in here after this. False: one still is after a second. */
static bool wait_for_others(void)
{
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0) != 0)
        syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0);
    for (struct sn_heap_thread *t = atomic_load(&sn_heap_threads); t != NULL;
         t = t->next) {
        struct timespec pause = {.tv_nsec = 100000};
        for (int i = 0; t != sn_heap_local.thread &&
                        (atomic_load(&t->busy) || atomic_load(&t->moving) > 0);
             i++) {
            if (i == 10000 || atomic_load(&t->tid) == 0 ||
                (i % 100 == 99 &&
                 syscall(SYS_tgkill, getpid(), atomic_load(&t->tid), 0) != 0))
                return false;
            syscall(SYS_nanosleep, &pause, NULL);
        }
    }
    return true;
}

bool sn_heap_is_inside(void)
{
    struct sn_heap_thread *t = sn_heap_local.thread;
    return t != NULL && (atomic_load(&t->busy) || atomic_load(&t->moving) > 0);
}

bool sn_heap_hold(void)
{
    enum sn_heap_mode each = SN_HEAP_EACH;
    if (sn_heap_is_inside() ||
        !atomic_compare_exchange_strong(&sn_heap_switch.mode, &each, SN_HEAP_HELD))
        return false;
    if (wait_for_others())
        return true;
    sn_heap_release();
    return false;
}

void sn_heap_release(void)
{
    enum sn_heap_mode held = SN_HEAP_HELD;
    atomic_compare_exchange_strong(&sn_heap_switch.mode, &held, SN_HEAP_EACH);
    syscall(SYS_futex, &sn_heap_switch.mode, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void sn_heap_stop(bool dying)
{
    struct sn_spool_header *h = sn_heap_table.header;
    /* Held, not off: what was freed or moved unseen would be looked at where it was. */
    if (sn_heap_kind.exact)
        h->leaks = sn_heap_hold() ? (uint32_t)sn_leak_scan(dying) : SN_LEAKS_IN_ALLOCATOR;
    atomic_store(&sn_heap_switch.mode, SN_HEAP_OFF);
    syscall(SYS_futex, &sn_heap_switch.mode, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    if (!dying && wait_for_others() && !sn_heap_is_inside()) {
        sn_live_close(&sn_heap_live);
        sn_maps_close();
    }
}
