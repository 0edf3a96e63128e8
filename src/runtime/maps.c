/*
 * maps.c: the program's own mappings as blocks of its heap, where mem_mmap asks for it.
 *
 * That is private anonymous memory which it gets by mmap and mremap and may use at once:
 * PROT_NONE is a reservation, and what mprotect makes of it later is not seen. Nor is
 * what the C library (stacks of threads), the allocator and we ourselves map. Each one is
 * recorded, also where blocks are sampled. What munmap, or a mapping put over it, cuts
 * away is freed; a mapping that is cut in two is two from then on, of one stack. mremap
 * frees and allocates, as realloc does.
 *
 * A mapping is no block to the leak scan and the heap dump: it is a root, as ever.
 *
 * Invariant: `mapped` is sorted and without overlaps, and says what the kernel has: the
 * system call is made under the same lock. On top of our own work (in a signal's handler)
 * a call is made and not recorded; what is wrong after it ends when its addresses are met
 * again. Signal-safe; allocates nothing but its one table.
 */
#include "runtime/runtime.h"

#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAPPED_MAX ((size_t)1 << 17) /* the kernel's usual limit is the half; 4 MB */

static struct sn_mapped *mapped; /* NULL: not asked for */
static size_t n_mapped;
static atomic_bool on;
static atomic_flag busy = ATOMIC_FLAG_INIT;

/* Not through <sys/mman.h>, where the names may stand for one another. */
static struct {
    void *(*mmap)(void *, size_t, int, int, int, off_t);
    int (*munmap)(void *, size_t);
    void *(*mremap)(void *, size_t, size_t, int, ...);
} real;

extern void *__sbrk(intptr_t by); /* the C library's, by its other name */
static atomic_bool own_break;

void sn_maps_bind(void)
{
    *(void **)&real.mmap = dlsym(RTLD_NEXT, "mmap");
    *(void **)&real.munmap = dlsym(RTLD_NEXT, "munmap");
    *(void **)&real.mremap = dlsym(RTLD_NEXT, "mremap");
}

/* Before that, and it is not for dlsym to be called here: the allocator may be what maps.
 */
static void *real_mmap(void *p, size_t size, int protection, int flags, int fd,
                       off_t offset)
{
    return real.mmap != NULL
               ? real.mmap(p, size, protection, flags, fd, offset)
               : (void *)syscall(SYS_mmap, p, size, protection, flags, fd, offset);
}

static int real_munmap(void *p, size_t size)
{
    return real.munmap != NULL ? real.munmap(p, size) : (int)syscall(SYS_munmap, p, size);
}

static void *real_mremap(void *p, size_t size, size_t fresh_size, int flags, void *to)
{
    return real.mremap != NULL
               ? real.mremap(p, size, fresh_size, flags, to)
               : (void *)syscall(SYS_mremap, p, size, fresh_size, flags, to);
}

/* ---- what is mapped -------------------------------------------------------------------
 */

bool sn_maps_open(bool wanted)
{
    mapped = wanted ? sn_pages_map(MAPPED_MAX * sizeof *mapped) : NULL;
    n_mapped = 0;
    atomic_flag_clear(&busy);
    atomic_store(&on, mapped != NULL);
    return mapped != NULL || !wanted;
}

void sn_maps_close(void)
{
    atomic_store(&on, false);
    sn_pages_unmap(mapped, MAPPED_MAX * sizeof *mapped);
    mapped = NULL;
}

void sn_maps_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                   void *argument)
{
    if (mapped != NULL)
        visit(mapped, MAPPED_MAX * sizeof *mapped, argument);
}

static uintptr_t end_of(uintptr_t lo, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    return lo + ((size + page - 1) & -page);
}

/* The first that ends behind the address. */
static size_t first_behind(uintptr_t address)
{
    size_t lo = 0, n = n_mapped;
    while (n > 0) {
        size_t half = n / 2;
        bool right = mapped[lo + half].hi <= address;
        lo += right ? half + 1 : 0;
        n = right ? n - half - 1 : half;
    }
    return lo;
}

static bool any_in(uintptr_t lo, uintptr_t hi)
{
    size_t i = first_behind(lo);
    return i < n_mapped && mapped[i].lo < hi;
}

static bool insert(size_t i, const struct sn_mapped *m)
{
    if (n_mapped == MAPPED_MAX)
        return false;
    memmove(&mapped[i + 1], &mapped[i], (n_mapped++ - i) * sizeof *mapped);
    mapped[i] = *m;
    return true;
}

/* Take [lo, hi) from the i-th, which it meets. Returns where to go on. */
static size_t cut_one(struct sn_heap_thread *t, size_t i, uintptr_t lo, uintptr_t hi)
{
    struct sn_mapped was = mapped[i], rest = was;
    bool left = was.lo < lo, right = hi < was.hi;
    lo = left ? lo : was.lo;
    hi = right ? hi : was.hi;
    mapped[i].hi = left ? lo : mapped[i].hi;
    rest.lo = hi;
    if (left && right && !insert(i + 1, &rest)) {
        hi = was.hi; /* no room: it is lost to us */
        right = false;
        sn_table_drop(&sn_heap_table, SN_DROP_FULL, 1);
    }
    sn_heap_unmapped(t, &was, hi - lo, left + right - 1);
    if (left)
        return i + 1;
    if (right)
        mapped[i].lo = hi;
    else
        memmove(&mapped[i], &mapped[i + 1], (--n_mapped - i) * sizeof *mapped);
    return i + right;
}

static void cut(struct sn_heap_thread *t, uintptr_t lo, uintptr_t hi)
{
    for (size_t i = first_behind(lo); i < n_mapped && mapped[i].lo < hi;)
        i = cut_one(t, i, lo, hi);
}

static void put(struct sn_heap_thread *t, uintptr_t lo, uintptr_t hi, const void *caller)
{
    struct sn_mapped m = {.lo = lo, .hi = hi, .born = sn_heap_now()};
    if (n_mapped == MAPPED_MAX) {
        sn_table_drop(&sn_heap_table, SN_DROP_FULL, 1);
        return;
    }
    m.entry = sn_heap_mapped(t, &m, caller);
    if (m.entry != 0)
        insert(first_behind(lo), &m);
}

/* ---- the functions --------------------------------------------------------------------
 */

#define CALLER __builtin_return_address(0)

/* NULL: not recorded. Else nobody else maps until `end`. */
static struct sn_heap_thread *begin(const void *caller)
{
    if (!atomic_load_explicit(&on, memory_order_relaxed) || sn_malloc_is_at(caller))
        return NULL;
    int saved = errno;
    struct sn_heap_thread *t = sn_heap_own_begin();
    while (t != NULL && atomic_flag_test_and_set_explicit(&busy, memory_order_acquire))
        sched_yield();
    errno = saved;
    return t;
}

static void end(struct sn_heap_thread *t)
{
    int saved = errno;
    atomic_flag_clear_explicit(&busy, memory_order_release);
    sn_heap_own_end(t);
    errno = saved;
}

static void *map(void *p, size_t size, int protection, int flags, int fd, off_t offset,
                 const void *caller)
{
    struct sn_heap_thread *t = begin(caller);
    void *fresh = real_mmap(p, size, protection, flags, fd, offset);
    if (t == NULL)
        return fresh;
    if (fresh != MAP_FAILED) {
        uintptr_t lo = (uintptr_t)fresh, hi = end_of(lo, size);
        bool is_block = (flags & MAP_TYPE) == MAP_PRIVATE &&
                        (flags & MAP_ANONYMOUS) != 0 && protection != PROT_NONE;
        cut(t, lo, hi); /* it may lie over others */
        if (is_block)
            put(t, lo, hi, caller);
    }
    end(t);
    return fresh;
}

SN_PUBLIC void *sn_mmap(void *p, size_t size, int protection, int flags, int fd,
                        off_t offset) __asm__("mmap");
SN_PUBLIC void *sn_mmap(void *p, size_t size, int protection, int flags, int fd,
                        off_t offset)
{
    return sn_heap_on() ? map(p, size, protection, flags, fd, offset, CALLER)
                        : real_mmap(p, size, protection, flags, fd, offset);
}

/* Offsets are of 64 bits either way. */
SN_PUBLIC void *sn_mmap64(void *p, size_t size, int protection, int flags, int fd,
                          off_t offset) __asm__("mmap64") __attribute__((alias("mmap")));

SN_PUBLIC int munmap(void *p, size_t size)
{
    struct sn_heap_thread *t = sn_heap_on() ? begin(CALLER) : NULL;
    int result = real_munmap(p, size);
    if (t == NULL)
        return result;
    if (result == 0)
        cut(t, (uintptr_t)p, end_of((uintptr_t)p, size));
    end(t);
    return result;
}

SN_PUBLIC void *mremap(void *p, size_t size, size_t fresh_size, int flags, ...)
{
    void *to = NULL;
    if (flags & MREMAP_FIXED) {
        va_list ap;
        va_start(ap, flags);
        to = va_arg(ap, void *);
        va_end(ap);
    }
    struct sn_heap_thread *t = sn_heap_on() ? begin(CALLER) : NULL;
    void *fresh = real_mremap(p, size, fresh_size, flags, to);
    if (t == NULL)
        return fresh;
    if (fresh != MAP_FAILED) {
        uintptr_t lo = (uintptr_t)p, hi = end_of(lo, size), to_lo = (uintptr_t)fresh;
        bool is_block = any_in(lo, hi);
        if (!(flags & MREMAP_DONTUNMAP))
            cut(t, lo, hi);
        cut(t, to_lo, end_of(to_lo, fresh_size));
        if (is_block)
            put(t, to_lo, end_of(to_lo, fresh_size), CALLER);
    }
    end(t);
    return fresh;
}

/* The C library's allocator calls its own. */
SN_PUBLIC void *sbrk(intptr_t by)
{
    if (by != 0 && !sn_malloc_is_at(CALLER))
        atomic_store(&own_break, true);
    return __sbrk(by);
}

bool sn_maps_own_break(void)
{
    return atomic_load(&own_break);
}
