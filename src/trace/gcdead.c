/*
 * gcdead.c: what is dead is overwritten, so that who still uses it does not get away with
 * it: a block when it is freed (all of it, by the allocator's own measure of its size,
 * and what realloc cuts off), and the stack below the caller at each call of the
 * allocator. The word is Go's.
 *
 * Where the program uses libgc, the stack below is overwritten before each collection,
 * too: what the collector's own frames do not write would be taken for pointers, and keep
 * alive what is dead. (libgc clears the blocks that it frees.)
 *
 * Signal-safe, no allocation.
 */
#include "trace/libgc.h"
#include "trace/trace_priv.h"

#include <alloca.h>
#include <errno.h>

#define DEAD_WORD      UINT64_C(0xf969696969696969)
#define STACK_WORDS    64 /* 20 ns a call; deeper would be felt */

#define GC_STACK_BYTES ((size_t)32 << 10) /* before a collection; 2 us */
#define GC_STACK_LEFT  ((size_t)8 << 10)  /* for those who come after us */

static atomic_bool on;

static void kill_bytes(void *p, size_t size)
{
    const uint64_t dead = DEAD_WORD;
    char *at = p, *end = at + size;
    for (; end - at >= (ptrdiff_t)sizeof dead; at += sizeof dead)
        memcpy(at, &dead, sizeof dead);
    memcpy(at, &dead, (size_t)(end - at));
}

/* Its own frame is what is overwritten: everything below the allocator's functions. */
static __attribute__((noinline)) void kill_stack(void)
{
    uint64_t dead[STACK_WORDS];
    for (size_t i = 0; i < STACK_WORDS; i++)
        dead[i] = DEAD_WORD;
    __asm__ volatile("" : : "r"(dead) : "memory");
}

static void *allocate(struct sn_layer *self, size_t size, size_t alignment, bool zeroed)
{
    struct sn_layer *below = self->below;
    void *p = below->allocate(below, size, alignment, zeroed);
    if (on)
        kill_stack();
    return p;
}

static void release(struct sn_layer *self, void *p)
{
    struct sn_layer *below = self->below;
    if (on)
        kill_bytes(p, below->usable(below, p));
    below->release(below, p);
    if (on)
        kill_stack();
}

/* Not by the real realloc where the block may move, which would leave the old one as it
 * was; unless there is no memory for both: then it does not copy. */
static void *resize(struct sn_layer *self, void *p, size_t size)
{
    struct sn_layer *below = self->below;
    size_t usable = on ? below->usable(below, p) : 0;
    if (usable == 0 || size == usable)
        return below->resize(below, p, size);
    int saved = errno;
    void *fresh = below->allocate(below, size, 0, false);
    if (fresh == NULL) {
        errno = saved;
        return below->resize(below, p, size);
    }
    memcpy(fresh, p, size < usable ? size : usable);
    release(self, p);
    return fresh;
}

static size_t usable(struct sn_layer *self, void *p)
{
    return self->below->usable(self->below, p);
}

static struct sn_layer layer = {allocate, resize, release, usable, NULL};

/* As much as there is; little where that is not known (a fibre's). */
static void before_collection(void)
{
    uintptr_t sp = (uintptr_t)__builtin_frame_address(0);
    struct sn_stack_range stack = sn_thread_stack();
    bool known = sp > stack.lo && sp < stack.hi;
    size_t left = known ? sp - stack.lo : 0, size = STACK_WORDS * sizeof(uint64_t);
    if (left > GC_STACK_LEFT + GC_STACK_BYTES)
        size = GC_STACK_BYTES;
    void *dead = alloca(size);
    kill_bytes(dead, size);
    __asm__ volatile("" : : "r"(dead) : "memory");
}

static bool wanted(const struct sn_settings *s)
{
    return s->trace.gcdead;
}

static bool start(const struct sn_settings *s, struct sn_error *e)
{
    (void)s;
    if (!sn_libgc_or_malloc("gcdead", e))
        return false;
    sn_layer_lay(SN_LAYER_GCDEAD, &layer);
    sn_libgc_on_start(before_collection);
    on = true;
    return true;
}

static void stop(bool dying)
{
    (void)dying;
    on = false;
    sn_libgc_on_start(NULL);
}

static void after_fork(bool child)
{
    if (child)
        stop(true);
}

const struct sn_tracer sn_gcdead = {.name = "gcdead",
                                    .wanted = wanted,
                                    .start = start,
                                    .stop = stop,
                                    .after_fork = after_fork};
