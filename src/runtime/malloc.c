/*
 * malloc.c: the allocator's functions, as the program calls them.
 *
 * Each calls the real one (the C library's, or that of an allocator preloaded or linked
 * behind us), and tells heap.c. Off, that is a load, a test and an indirect jump;
 * sampled, a subtraction before it, or a look at a bit. What is more is apart, so that
 * the way past it saves no registers.
 *
 * The real ones are looked up at the first call, which may come before our constructor,
 * and from dlsym itself: until they are known, blocks come from `first`, which is never
 * freed. Until it is settled whether there is a recording, blocks are noted, so that one
 * that begins with the program knows all. After that each function is as safe to call as
 * the real one.
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

static struct sn_allocator real; /* or what a tracer has put before it */

#define ENTRY       SN_PUBLIC SN_MALLOC_ENTRY
#define CALLER      __builtin_return_address(0)
#define APART       SN_MALLOC_ENTRY

/* ---- before the real ones are known ---------------------------------------------------
 */

#define FIRST_BYTES 65536

static _Alignas(16) char first[FIRST_BYTES];
static atomic_size_t first_used;

/* Zeroed. Its size stands before the block. */
static void *first_alloc(size_t size)
{
    size_t need = ((size + 15) & ~(size_t)15) + 16;
    size_t at = size < FIRST_BYTES ? atomic_fetch_add(&first_used, need) : FIRST_BYTES;
    if (at + need > FIRST_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    *(size_t *)(void *)(first + at) = size;
    return first + at + 16;
}

static bool is_first(const void *p)
{
    return (uintptr_t)p - (uintptr_t)first < FIRST_BYTES;
}

static size_t first_size(const void *p)
{
    return ((const size_t *)p)[-2];
}

/* Looking them up may allocate: the functions below see to that. */
void sn_malloc_bind(void)
{
#define BIND(name) *(void **)&real.name = dlsym(RTLD_NEXT, #name);
    REALS(BIND)
}

/* False: this is a call from within the look-up. */
static bool bind_first(void)
{
    static atomic_flag looking = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&looking))
        return false;
    sn_malloc_bind();
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
static bool settled, early_full;

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
    for (unsigned i = 0; i < n_early && !settled; i++)
        if (early[i].p != NULL)
            visit(early[i].p, early[i].size);
    bool all = !settled && !early_full;
    n_early = 0; /* what the recording sees is not noted: once is all */
    early_full = true;
    return all;
}

bool sn_malloc_is_at(const void *code)
{
    struct dl_find_object one, other;
    return _dl_find_object((void *)(uintptr_t)code, &one) == 0 &&
           _dl_find_object((void *)real.malloc, &other) == 0 &&
           one.dlfo_map_start == other.dlfo_map_start;
}

void sn_malloc_beside(const void *function)
{
    if (!settled && sn_malloc_is_at(function))
        early_full = true;
}

void sn_malloc_settle(void)
{
    settled = READY(); /* from now on nobody asks */
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
    if (old != NULL)
        *old = real;
    if (by == NULL)
        return;
#define STORE(name) __atomic_store_n(&real.name, by->name, __ATOMIC_RELEASE);
    REALS(STORE)
}

extern const char __start_sn_malloc[], __stop_sn_malloc[]; /* the linker's */

bool sn_malloc_is_entry(uintptr_t pc)
{
    return pc >= (uintptr_t)__start_sn_malloc && pc < (uintptr_t)__stop_sn_malloc;
}

/* ---- the functions --------------------------------------------------------------------
 */

/* Nothing is to be told or noted: then each function is a tail call of the real one. */
static inline bool at_rest(void)
{
    return __builtin_expect(settled && sn_heap_mode() == SN_HEAP_OFF, 1);
}

/* Sampled, and the next sample is farther away than so many bytes, which are counted. Not
 * for operator new, which wants to be told. */
static inline bool is_passed(size_t size)
{
    int64_t left = sn_heap_local.left;
    if (sn_heap_mode() != SN_HEAP_SOME || left <= 0 || size >= (uint64_t)left ||
        sn_within_new.n > 0)
        return false;
    sn_heap_local.left = left - (int64_t)size;
    return true;
}

static inline void *told(void *p, size_t size, const void *caller)
{
    if (sn_heap_on()) {
        sn_within_new.told = ~(uintptr_t)p;
        if (p != NULL && sn_heap_due(size)) /* what failed counts for nothing */
            sn_heap_allocated(p, size, caller);
    } else if (__builtin_expect(!settled, 0) && p != NULL) {
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
    if (at_rest() || is_passed(size))
        return real.malloc(size);
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
    if (at_rest() || (!__builtin_mul_overflow(n, size, &all) && is_passed(all)))
        return real.calloc(n, size);
    return calloc_told(n, size, CALLER);
}

APART static void free_told(void *p)
{
    if (sn_heap_on() && !sn_heap_is_unknown(p) && p != NULL && p != sn_within_new.freed &&
        !sn_heap_freeing(p))
        return;
    if (__builtin_expect(!settled, 0))
        strike(p);
    if (READY())
        real.free(p);
}

ENTRY void free(void *p)
{
    if (is_first(p))
        return;
    if (at_rest() || sn_heap_is_unknown(p))
        real.free(p);
    else
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
    if (__builtin_expect(!settled, 0) && p != NULL)
        strike(p);
    void *fresh = real.realloc(p, size);
    if (aside.address != 0 && sn_heap_moved(&aside, fresh, size, caller))
        return fresh;
    return told(fresh, size, caller);
}

ENTRY void *realloc(void *p, size_t size)
{
    if (!is_first(p) && (at_rest() || (sn_heap_is_unknown(p) && is_passed(size))))
        return real.realloc(p, size);
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
