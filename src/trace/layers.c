/*
 * layers.c: the allocator's functions on top of the pile of layers, and the real ones at
 * its bottom. Allocates nothing; as safe to call as what is below.
 */
#include "trace/trace.h"

#include <errno.h>
#include <malloc.h>
#include <unistd.h>

static struct sn_allocator real; /* what was there before the first layer */

/* ---- the bottom -----------------------------------------------------------------------
 */

static void *real_allocate(struct sn_layer *self, size_t size, size_t alignment,
                           bool zeroed)
{
    (void)self;
    if (alignment == 0)
        return zeroed ? real.calloc(1, size) : real.malloc(size);
    void *p = real.memalign(alignment, size);
    return zeroed && p != NULL ? memset(p, 0, size) : p;
}

static void *real_resize(struct sn_layer *self, void *p, size_t size)
{
    (void)self;
    return real.realloc(p, size);
}

static void real_release(struct sn_layer *self, void *p)
{
    (void)self;
    real.free(p);
}

static size_t real_usable(struct sn_layer *self, void *p)
{
    (void)self;
    return real.malloc_usable_size(p);
}

static struct sn_layer bottom = {real_allocate, real_resize, real_release, real_usable,
                                 NULL};
static struct sn_layer *pile[SN_LAYERS];
static _Atomic(struct sn_layer *) top = &bottom;

/* ---- the top --------------------------------------------------------------------------
 */

/* These functions are on the stack of what they call, which finds there where the
 * program's part begins (stack.c): a tail call would take them off. */
#define STAY __asm__ volatile("")

static inline struct sn_layer *first(void)
{
    return atomic_load_explicit(&top, memory_order_acquire);
}

SN_MALLOC_ENTRY static void *top_malloc(size_t size)
{
    struct sn_layer *l = first();
    void *block = l->allocate(l, size, 0, false);
    STAY;
    return block;
}

SN_MALLOC_ENTRY static void *top_calloc(size_t n, size_t size)
{
    struct sn_layer *l = first();
    size_t all;
    if (__builtin_mul_overflow(n, size, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    void *block = l->allocate(l, all, 0, true);
    STAY;
    return block;
}

/* As the C library's: a size of 0 frees. */
SN_MALLOC_ENTRY static void *top_realloc(void *p, size_t size)
{
    struct sn_layer *l = first();
    void *fresh = NULL;
    if (p == NULL)
        fresh = l->allocate(l, size, 0, false);
    else if (size != 0)
        fresh = l->resize(l, p, size);
    else
        l->release(l, p);
    STAY;
    return fresh;
}

SN_MALLOC_ENTRY static void top_free(void *p)
{
    struct sn_layer *l = first();
    if (p != NULL)
        l->release(l, p);
    STAY;
}

static bool is_power_of_two(size_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

SN_MALLOC_ENTRY static int top_posix_memalign(void **p, size_t alignment, size_t size)
{
    struct sn_layer *l = first();
    int saved = errno;
    if (alignment % sizeof(void *) != 0 || !is_power_of_two(alignment))
        return EINVAL;
    void *block = l->allocate(l, size, alignment, false);
    errno = saved;
    if (block == NULL)
        return ENOMEM;
    *p = block;
    return 0;
}

/* As the C library's memalign: what is no power of two is rounded up to one. */
SN_MALLOC_ENTRY static void *top_memalign(size_t alignment, size_t size)
{
    struct sn_layer *l = first();
    size_t power = _Alignof(max_align_t);
    if (alignment > SIZE_MAX / 2 + 1) {
        errno = EINVAL;
        return NULL;
    }
    while (power < alignment)
        power *= 2;
    void *block = l->allocate(l, size, power, false);
    STAY;
    return block;
}

SN_MALLOC_ENTRY static void *top_aligned_alloc(size_t alignment, size_t size)
{
    return top_memalign(alignment, size);
}

SN_MALLOC_ENTRY static void *top_valloc(size_t size)
{
    return top_memalign((size_t)getpagesize(), size);
}

SN_MALLOC_ENTRY static void *top_pvalloc(size_t size)
{
    size_t page = (size_t)getpagesize(), whole;
    if (__builtin_add_overflow(size, page - 1, &whole)) {
        errno = ENOMEM;
        return NULL;
    }
    return top_memalign(page, whole & -page);
}

static __thread bool asked __attribute__((tls_model("initial-exec")));

bool sn_layer_asked(void)
{
    return asked;
}

SN_MALLOC_ENTRY static size_t top_usable(void *p)
{
    struct sn_layer *l = first();
    asked = true;
    size_t usable = p != NULL ? l->usable(l, p) : 0;
    asked = false;
    return usable;
}

static const struct sn_allocator layered = {
    .malloc = top_malloc,
    .calloc = top_calloc,
    .realloc = top_realloc,
    .free = top_free,
    .posix_memalign = top_posix_memalign,
    .aligned_alloc = top_aligned_alloc,
    .memalign = top_memalign,
    .valloc = top_valloc,
    .pvalloc = top_pvalloc,
    .malloc_usable_size = top_usable,
};

/* A thread that is on its way down misses the new layer, and no harm is done. */
void sn_layer_lay(enum sn_layer_rank rank, struct sn_layer *layer)
{
    if (pile[rank] != NULL)
        return;
    if (first() == &bottom)
        sn_malloc_replace(NULL, &real);
    pile[rank] = layer;
    layer->below = &bottom;
    for (int i = 0; i < (int)rank; i++)
        if (pile[i] != NULL)
            layer->below = pile[i];
    struct sn_layer *above = NULL;
    for (int i = SN_LAYERS - 1; i > (int)rank; i--)
        if (pile[i] != NULL)
            above = pile[i];
    if (above != NULL)
        __atomic_store_n(&above->below, layer, __ATOMIC_RELEASE);
    else
        atomic_store_explicit(&top, layer, memory_order_release);
    sn_malloc_replace(&layered, NULL);
}
