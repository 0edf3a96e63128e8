/*
 * libgc_hooks.c: the functions of libgc that libsonde stands in front of.
 *
 *     GC_init                          a libgc that comes late is met
 *     GC_set_on_collection_event, ...  the program's own handler goes behind ours
 *     GC_gcollect, GC_try_to_collect   a collection that was asked for is told as such
 *     GC_malloc and its like           allocfreetrace hears of blocks and of lists of
 *                                      them (GC_malloc_many); and what is due
 *                                      when no lock is held is done (libgc.h)
 *
 * They bear the version SONDE_HOOKS, hidden and the first of libsonde.map. So the loader
 * binds a program's calls to them; but the link editor does not (a program that is linked
 * with -lsonde -lgc needs libgc as before), and dlsym, ours too, finds libgc's. Nothing
 * else refers to this file: a static libsonde does without it.
 *
 * Each is as safe to call as the real one.
 */
#include "trace/libgc.h"

#include <dlfcn.h>

typedef void (*handler)(int);

#define REALS(X)                                                                         \
    X(void, GC_init, (void))                                                             \
    X(void, GC_set_on_collection_event, (handler))                                       \
    X(handler, GC_get_on_collection_event, (void))                                       \
    X(void, GC_gcollect, (void))                                                         \
    X(void, GC_gcollect_and_unmap, (void))                                               \
    X(int, GC_try_to_collect, (int (*)(void)))                                           \
    X(void *, GC_malloc_many, (size_t))                                                  \
    X(void, GC_generic_malloc_many, (size_t, int, void **))                              \
    X(void *, GC_malloc, (size_t))                                                       \
    X(void *, GC_malloc_atomic, (size_t))                                                \
    X(void *, GC_malloc_uncollectable, (size_t))                                         \
    X(void *, GC_malloc_ignore_off_page, (size_t))                                       \
    X(void *, GC_malloc_atomic_ignore_off_page, (size_t))                                \
    X(void *, GC_malloc_kind, (size_t, int))                                             \
    X(void *, GC_generic_malloc, (size_t, int))                                          \
    X(void *, GC_malloc_explicitly_typed, (size_t, uintptr_t))                           \
    X(void *, GC_gcj_malloc, (size_t, void *))                                           \
    X(void *, GC_gcj_malloc_ignore_off_page, (size_t, void *))                           \
    X(void *, GC_realloc, (void *, size_t))                                              \
    X(void, GC_free, (void *))

#define DECLARE(type, name, args) type(*name) args;
static struct {
    REALS(DECLARE)
} real;
static atomic_bool is_bound;

/* Where the caller finds it, if it is not there for all. */
static void *look_up(const char *name, const void *caller)
{
    struct dl_find_object of;
    void *p = dlsym(RTLD_DEFAULT, name);
    if (p == NULL && _dl_find_object((void *)(uintptr_t)caller, &of) == 0)
        p = dlsym(of.dlfo_link_map, name);
    return p;
}

static __attribute__((noinline)) void bind(const void *caller)
{
#define BIND(type, name, args) *(void **)&real.name = look_up(#name, caller);
    REALS(BIND)
    atomic_store_explicit(&is_bound, true, memory_order_release);
}

#define ENTER()                                                                          \
    do {                                                                                 \
        if (!__builtin_expect(atomic_load_explicit(&is_bound, memory_order_acquire), 1)) \
            bind(__builtin_return_address(0));                                           \
    } while (0)

#define HOOK(type, name, args)                                                           \
    SN_PUBLIC SN_MALLOC_ENTRY type sn_hook_##name args;                                  \
    __asm__(".symver sn_hook_" #name "," #name "@SONDE_HOOKS,remove");                   \
    SN_PUBLIC SN_MALLOC_ENTRY type sn_hook_##name args

/* ---- its life, its events -------------------------------------------------------------
 */

HOOK(void, GC_init, (void))
{
    ENTER();
    if (sn_libgc_is_awaited())
        sn_libgc_find(__builtin_return_address(0));
    real.GC_init();
}

HOOK(void, GC_set_on_collection_event, (handler on_event))
{
    handler before;
    ENTER();
    if (sn_libgc_get_program(&before))
        sn_libgc_set_program(on_event);
    else
        real.GC_set_on_collection_event(on_event);
}

HOOK(handler, GC_get_on_collection_event, (void))
{
    handler theirs;
    ENTER();
    return sn_libgc_get_program(&theirs) ? theirs : real.GC_get_on_collection_event();
}

/* ---- collections that are asked for ---------------------------------------------------
 */

HOOK(void, GC_gcollect, (void))
{
    ENTER();
    sn_libgc_safe_point();
    sn_libgc_forced(+1);
    real.GC_gcollect();
    sn_libgc_forced(-1);
}

HOOK(void, GC_gcollect_and_unmap, (void))
{
    ENTER();
    sn_libgc_safe_point();
    sn_libgc_forced(+1);
    real.GC_gcollect_and_unmap();
    sn_libgc_forced(-1);
}

HOOK(int, GC_try_to_collect, (int (*stop)(void)))
{
    ENTER();
    sn_libgc_safe_point();
    sn_libgc_forced(+1);
    int done = real.GC_try_to_collect(stop);
    sn_libgc_forced(-1);
    return done;
}

/* ---- blocks ---------------------------------------------------------------------------
 */

/* libgc calls itself by these names, too: of calls within one another, the outermost is
 * told. A call from elsewhere is that, whatever longjmp left behind. */
static __thread uintptr_t outer __attribute__((tls_model("initial-exec")));

/* Or ours, where it ends in a jump to the next. */
static bool is_in_libgc(const void *code)
{
    struct dl_find_object of;
    return sn_malloc_is_entry((uintptr_t)code) ||
           (_dl_find_object((void *)(uintptr_t)code, &of) == 0 &&
            (uintptr_t)real.GC_malloc >= (uintptr_t)of.dlfo_map_start &&
            (uintptr_t)real.GC_malloc < (uintptr_t)of.dlfo_map_end);
}

static bool begin(const void *caller, const void *frame)
{
    uintptr_t here = (uintptr_t)frame;
    if (outer != 0 && here < outer && is_in_libgc(caller))
        return false;
    outer = here;
    return true;
}

static void end(void)
{
    outer = 0;
}

#define BEGIN() (begin(__builtin_return_address(0), __builtin_frame_address(0)))

#define ALLOCATOR(name, args, pass)                                                      \
    HOOK(void *, name, args)                                                             \
    {                                                                                    \
        ENTER();                                                                         \
        sn_libgc_safe_point();                                                           \
        if (!BEGIN())                                                                    \
            return real.name pass;                                                       \
        void *p = real.name pass;                                                        \
        sn_allocfreetrace_gc_allocated(p, size);                                         \
        end();                                                                           \
        return p;                                                                        \
    }

ALLOCATOR(GC_malloc, (size_t size), (size))
ALLOCATOR(GC_malloc_atomic, (size_t size), (size))
ALLOCATOR(GC_malloc_uncollectable, (size_t size), (size))
ALLOCATOR(GC_malloc_ignore_off_page, (size_t size), (size))
ALLOCATOR(GC_malloc_atomic_ignore_off_page, (size_t size), (size))
ALLOCATOR(GC_malloc_kind, (size_t size, int kind), (size, kind))
ALLOCATOR(GC_generic_malloc, (size_t size, int kind), (size, kind))
ALLOCATOR(GC_malloc_explicitly_typed, (size_t size, uintptr_t type), (size, type))

ALLOCATOR(GC_gcj_malloc, (size_t size, void *layout), (size, layout))
ALLOCATOR(GC_gcj_malloc_ignore_off_page, (size_t size, void *layout), (size, layout))

/* The collector moves a block only where it has to, and then frees the old one. One that
 * stays has been freed and allocated, as by realloc. */
HOOK(void *, GC_realloc, (void *p, size_t size))
{
    ENTER();
    sn_libgc_safe_point();
    if (!BEGIN())
        return real.GC_realloc(p, size);
    sn_allocfreetrace_gc_freeing(p);
    void *fresh = real.GC_realloc(p, size);
    sn_allocfreetrace_gc_allocated(fresh, size);
    end();
    return fresh;
}

HOOK(void, GC_free, (void *p))
{
    ENTER();
    bool told = BEGIN();
    if (told)
        sn_allocfreetrace_gc_freeing(p);
    real.GC_free(p);
    if (told)
        end();
}

/* ---- lists of blocks ------------------------------------------------------------------
 *
 * Those that the program asks for are handed out by nobody that we see. Those that one of
 * the functions above asks for, for its thread, are handed out by these.
 */

HOOK(void *, GC_malloc_many, (size_t size))
{
    ENTER();
    sn_libgc_safe_point();
    if (!BEGIN())
        return real.GC_malloc_many(size);
    void *list = real.GC_malloc_many(size);
    sn_allocfreetrace_gc_listed(list, size, true);
    end();
    return list;
}

HOOK(void, GC_generic_malloc_many, (size_t size, int kind, void **list))
{
    ENTER();
    sn_libgc_safe_point();
    bool program = BEGIN();
    real.GC_generic_malloc_many(size, kind, list);
    sn_allocfreetrace_gc_listed(*list, size, program);
    if (program)
        end();
}
