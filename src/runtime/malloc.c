/*
 * malloc.c: the allocator's functions, as the program calls them.
 *
 * Each calls the real one (the C library's, or that of an allocator preloaded or linked
 * behind us), and tells heap.c. Off, that is a look at the mode and an indirect jump;
 * sampled, a subtraction before it, or a look at a bit. What is more is apart, so that
 * the way past it saves no registers, and so that it need not ask for what is rare:
 *
 *     mode      real.malloc ...   a call
 *     off       unbound_...       the first: looks them up, which makes it early
 *     early     the real ones     each is noted
 *     off       the real ones     a jump
 *     some      the real ones     a jump past what is counted; else told
 *     each      the real ones     told
 *
 * The first call may come before our constructor, and from dlsym itself: until the real
 * ones are known, blocks come from `first`, which is never freed. While it is early,
 * blocks are noted, so that a recording that begins with the program knows all. After
 * that each function is as safe to call as the real one.
 */
#include "runtime/runtime.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <stdlib.h>

#define REALS(X)                                                                         \
    X(malloc)                                                                            \
    X(calloc)                                                                            \
    X(realloc)                                                                           \
    X(free)                                                                              \
    X(posix_memalign)                                                                    \
    X(aligned_alloc)                                                                     \
    X(memalign)                                                                          \
    X(valloc)                                                                            \
    X(pvalloc)                                                                           \
    X(malloc_usable_size)

#define ENTRY  SN_PUBLIC SN_MALLOC_ENTRY
#define CALLER __builtin_return_address(0)
#define APART  SN_MALLOC_ENTRY

APART static void *unbound_malloc(size_t size);
APART static void *unbound_calloc(size_t n, size_t size);
APART static void *unbound_realloc(void *p, size_t size);
APART static void unbound_free(void *p);

/* Or what a tracer has put before it. The others ask whether the last is there. */
static struct sn_allocator real = {.malloc = unbound_malloc,
                                   .calloc = unbound_calloc,
                                   .realloc = unbound_realloc,
                                   .free = unbound_free};

/* ---- before the real ones are known ---------------------------------------------------
 */

#define FIRST_BYTES 65536

static _Alignas(16) char first[FIRST_BYTES];
static atomic_size_t first_used;

/* What real.free would be, where it must look whether the block is of `first`. */
static void (*_Atomic free_others)(void *p);

static bool is_first(const void *p)
{
    return (uintptr_t)p - (uintptr_t)first < FIRST_BYTES;
}

APART static void free_unless_first(void *p)
{
    if (!is_first(p))
        atomic_load_explicit(&free_others, memory_order_acquire)(p);
}

static void (*guarded(void (*function)(void *p)))(void *p)
{
    atomic_store(&free_others, function);
    return atomic_load(&first_used) > 0 ? free_unless_first : function;
}

/* Zeroed. Its size stands before the block. */
static void *first_alloc(size_t size)
{
    size_t need = ((size + 15) & ~(size_t)15) + 16;
    size_t at = size < FIRST_BYTES ? atomic_fetch_add(&first_used, need) : FIRST_BYTES;
    if (at + need > FIRST_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    if (atomic_load(&free_others) != NULL) /* they have become known meanwhile */
        __atomic_store_n(&real.free, free_unless_first, __ATOMIC_RELEASE);
    *(size_t *)(void *)(first + at) = size;
    return first + at + 16;
}

static size_t first_size(const void *p)
{
    return ((const size_t *)p)[-2];
}

/* Looking them up may allocate: the functions below see to that. False: this is a call
 * from within. */
static bool bind_first(void)
{
    static atomic_flag looking = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&looking))
        return false;
    atomic_store(&sn_heap_switch.mode, SN_HEAP_EARLY);
#define BIND(name) *(void **)&real.name = dlsym(RTLD_NEXT, #name);
    REALS(BIND)
    real.free = guarded(real.free);
    return real.malloc_usable_size != NULL;
}

#define READY()   (__builtin_expect(real.malloc_usable_size != NULL, 1) || bind_first())

/* ---- before it is settled whether there is a recording --------------------------------
 */

#define EARLY_MAX 2048

static struct {
    void *p; /* NULL: freed */
    size_t size;
} early[EARLY_MAX];
static unsigned n_early;
static atomic_flag early_lock = ATOMIC_FLAG_INIT;
static bool early_full;

static bool is_early(void)
{
    return __builtin_expect(sn_heap_mode() == SN_HEAP_EARLY, 0);
}

static void note(void *p, size_t size)
{
    while (atomic_flag_test_and_set(&early_lock))
        continue;
    if (n_early == EARLY_MAX) {
        early_full = true;
    } else {
        early[n_early].p = p;
        early[n_early++].size = size;
    }
    atomic_flag_clear(&early_lock);
}

static void strike(void *p)
{
    while (atomic_flag_test_and_set(&early_lock))
        continue;
    for (unsigned i = n_early; i-- > 0;)
        if (early[i].p == p) {
            early[i].p = NULL;
            break;
        }
    atomic_flag_clear(&early_lock);
}

void sn_malloc_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                     void *argument)
{
    visit(early, sizeof early, argument);
}

const char *sn_malloc_whose(void)
{
    void *symbol = NULL, *called = dlsym(RTLD_DEFAULT, "malloc");
    Dl_info where, ours;
    /* `malloc` is here, too, whatever the whole program calls so. READY: while something
     * is recorded, nobody asks. */
    if (!READY() || dladdr(&real, &ours) == 0 ||
        dladdr1(called, &where, &symbol, RTLD_DL_SYMENT) == 0 ||
        where.dli_fbase == ours.dli_fbase)
        return NULL;
    /* A program that is not position-independent and takes malloc's address has it in a
     * stub, which leads to whose it is. */
    if (symbol != NULL && ((const ElfW(Sym) *)symbol)->st_shndx == SHN_UNDEF)
        return NULL;
    return where.dli_fname;
}

bool sn_malloc_early(void (*visit)(void *p, size_t size))
{
    (void)READY(); /* it is early, even if nobody has allocated yet */
    for (unsigned i = 0; i < n_early && is_early(); i++)
        if (early[i].p != NULL)
            visit(early[i].p, early[i].size);
    bool all = is_early() && !early_full;
    n_early = 0; /* what the recording sees is not noted: once is all */
    early_full = true;
    return all;
}

static void *(*_Atomic replaced)(size_t); /* the real malloc, where another stands in */

bool sn_malloc_is_at(const void *code)
{
    struct dl_find_object one, other;
    void *(*allocator)(size_t) = atomic_load(&replaced);
    if (allocator == NULL)
        allocator = real.malloc;
    return _dl_find_object((void *)(uintptr_t)code, &one) == 0 &&
           _dl_find_object((void *)allocator, &other) == 0 &&
           one.dlfo_map_start == other.dlfo_map_start;
}

void sn_malloc_beside(const void *function)
{
    if (is_early() && sn_malloc_is_at(function))
        early_full = true;
}

void sn_malloc_settle(void)
{
    enum sn_heap_mode mode = SN_HEAP_EARLY; /* else there is a recording */
    if (READY())
        atomic_compare_exchange_strong(&sn_heap_switch.mode, &mode, SN_HEAP_OFF);
}

void sn_real_free(void *p)
{
    real.free(p);
}

/* One by one: a call between two of them meets functions that know each other's blocks.
 */
void sn_malloc_replace(const struct sn_allocator *by, struct sn_allocator *old)
{
    (void)READY();
    if (old != NULL) {
        *old = real;
        old->free = free_others;
    }
    if (by == NULL)
        return;
    if (atomic_load(&replaced) == NULL) {
        atomic_store(&replaced, real.malloc);
        sn_new_by_malloc();
    }
#define STORE(name) __atomic_store_n(&real.name, next.name, __ATOMIC_RELEASE);
    struct sn_allocator next = *by;
    next.free = guarded(by->free);
    REALS(STORE)
}

extern const char __start_sn_malloc[], __stop_sn_malloc[]; /* the linker's */

bool sn_malloc_is_entry(uintptr_t pc)
{
    return pc >= (uintptr_t)__start_sn_malloc && pc < (uintptr_t)__stop_sn_malloc;
}

/* ---- the functions --------------------------------------------------------------------
 */

/* Sampled is the straight way, without a jump but the last: off does less, anyway. */
#define UNLIKELY(x) __builtin_expect(x, 0)

/* Nothing is to be told or noted: then each function is a tail call of the real one. So
 * it is where, sampled, the next sample is farther away than so many bytes, which are
 * counted; but not for operator new, which wants to be told. */
static inline bool is_passed(size_t size)
{
    unsigned mode = sn_heap_mode();
    if (UNLIKELY(mode != SN_HEAP_SOME))
        return mode < SN_HEAP_SOME;
    return !UNLIKELY(sn_heap_local.news > 0) && sn_heap_passes(size);
}

/* The same of the block that goes. */
static inline bool is_nobodys(const void *p)
{
    unsigned mode = sn_heap_mode();
    if (UNLIKELY(mode != SN_HEAP_SOME))
        return mode < SN_HEAP_SOME;
    return !UNLIKELY(!sn_heap_filter_misses(p));
}

static inline void *told(void *p, size_t size, const void *caller)
{
    if (sn_heap_on()) {
        sn_within_new.told = ~(uintptr_t)p;
        if (p != NULL && sn_heap_due(size)) /* what failed counts for nothing */
            sn_heap_allocated(p, size, caller);
    } else if (is_early() && p != NULL) {
        note(p, size);
    }
    return p;
}

APART static void *malloc_told(size_t size, const void *caller)
{
    return READY() ? told(real.malloc(size), size, caller) : first_alloc(size);
}

ENTRY void *malloc(size_t size)
{
    if (UNLIKELY(!is_passed(size)))
        return malloc_told(size, CALLER);
    return real.malloc(size);
}

APART static void *unbound_malloc(size_t size)
{
    return malloc_told(size, CALLER);
}

APART static void *calloc_told(size_t n, size_t size, const void *caller)
{
    size_t all;
    if (__builtin_mul_overflow(n, size, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    return READY() ? told(real.calloc(n, size), all, caller) : first_alloc(all);
}

ENTRY void *calloc(size_t n, size_t size)
{
    size_t all;
    if (UNLIKELY(__builtin_mul_overflow(n, size, &all) || !is_passed(all)))
        return calloc_told(n, size, CALLER);
    return real.calloc(n, size);
}

APART static void *unbound_calloc(size_t n, size_t size)
{
    return calloc_told(n, size, CALLER);
}

APART static void free_told(void *p)
{
    if (is_first(p) || (sn_heap_on() && !sn_heap_is_unknown(p) && p != NULL &&
                        p != sn_within_new.freed && !sn_heap_freeing(p)))
        return;
    if (is_early())
        strike(p);
    if (READY())
        real.free(p);
}

ENTRY void free(void *p)
{
    if (UNLIKELY(!is_nobodys(p)))
        free_told(p);
    else
        real.free(p);
}

APART static void unbound_free(void *p)
{
    free_told(p);
}

/* A block of `first`, or one that must not be freed now. */
SN_MALLOC_ENTRY static void *copied(void *p, size_t old_size, size_t size)
{
    void *fresh = READY() ? real.malloc(size) : first_alloc(size);
    if (fresh != NULL)
        memcpy(fresh, p, old_size < size ? old_size : size);
    if (fresh != NULL || size == 0)
        free(p);
    return fresh;
}

APART static void *resize(void *p, size_t size, const void *caller)
{
    struct sn_block aside = {0};
    if (is_first(p))
        return copied(p, first_size(p), size);
    if (!READY())
        return first_alloc(size); /* p is NULL: there is no block yet */
    if (sn_heap_on() && !sn_heap_is_unknown(p) && p != NULL && !sn_heap_moving(p, &aside))
        return copied(p, real.malloc_usable_size(p), size);
    if (is_early() && p != NULL)
        strike(p);
    void *fresh = real.realloc(p, size);
    if (aside.address != 0 && sn_heap_moved(&aside, fresh, size, caller))
        return fresh;
    return told(fresh, size, caller);
}

ENTRY void *realloc(void *p, size_t size)
{
    if (UNLIKELY(is_first(p) || !is_nobodys(p) || !is_passed(size)))
        return resize(p, size, CALLER);
    return real.realloc(p, size);
}

APART static void *unbound_realloc(void *p, size_t size)
{
    return resize(p, size, CALLER);
}

/* By realloc, which is what the C library does, and would be told twice. */
ENTRY void *reallocarray(void *p, size_t n, size_t size)
{
    size_t all;
    void *fresh = NULL;
    if (!__builtin_mul_overflow(n, size, &all))
        fresh = resize(p, all, CALLER);
    else
        all = SIZE_MAX;
    if (fresh == NULL && all != 0)
        errno = ENOMEM;
    return fresh;
}

ENTRY int posix_memalign(void **p, size_t alignment, size_t size)
{
    if (!READY())
        return ENOMEM;
    int error = real.posix_memalign(p, alignment, size);
    if (error == 0)
        told(*p, size, CALLER);
    return error;
}

ENTRY void *aligned_alloc(size_t alignment, size_t size)
{
    return READY() ? told(real.aligned_alloc(alignment, size), size, CALLER) : NULL;
}

ENTRY void *memalign(size_t alignment, size_t size)
{
    return READY() ? told(real.memalign(alignment, size), size, CALLER) : NULL;
}

ENTRY void *valloc(size_t size)
{
    return READY() ? told(real.valloc(size), size, CALLER) : NULL;
}

ENTRY void *pvalloc(size_t size)
{
    return READY() ? told(real.pvalloc(size), size, CALLER) : NULL;
}

ENTRY size_t malloc_usable_size(void *p)
{
    if (is_first(p))
        return first_size(p);
    return READY() ? real.malloc_usable_size(p) : 0;
}
