/*
 * new.c: C++'s operator new and delete, in all overloads (the names are mangled as the
 * Itanium C++ ABI has it).
 *
 * Each calls the next definition, of whichever C++ library or allocator is loaded. Most
 * of those call malloc, which tells heap.c; where one does not, we do. The real new may
 * throw through our frame: where the calling thread's operators return to is kept in
 * sn_within_new, what a throw has left there is found by its frame, and believed only if
 * the stack has it.
 *
 * A C++ library that was opened by dlopen for somebody else alone is not behind us in the
 * order of look-up: it is then asked for by name. Where it was linked statically, its
 * operators are nowhere, since ours were met first: then malloc does.
 */
#include "runtime/runtime.h"

#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>

/* What has no use for all that it is given has its signature from C++. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

typedef struct { /* std::nothrow_t const & */
    char unused;
} nothrow;

/* name, parameters, arguments, alignment, does it throw: what allocates */
#define NEWS(X)                                                                          \
    X(_Znwm, (size_t size), (size), 0, true)                                             \
    X(_Znam, (size_t size), (size), 0, true)                                             \
    X(_ZnwmRKSt9nothrow_t, (size_t size, const nothrow *n), (size, n), 0, false)         \
    X(_ZnamRKSt9nothrow_t, (size_t size, const nothrow *n), (size, n), 0, false)         \
    X(_ZnwmSt11align_val_t, (size_t size, size_t alignment), (size, alignment),          \
      alignment, true)                                                                   \
    X(_ZnamSt11align_val_t, (size_t size, size_t alignment), (size, alignment),          \
      alignment, true)                                                                   \
    X(_ZnwmSt11align_val_tRKSt9nothrow_t,                                                \
      (size_t size, size_t alignment, const nothrow *n), (size, alignment, n),           \
      alignment, false)                                                                  \
    X(_ZnamSt11align_val_tRKSt9nothrow_t,                                                \
      (size_t size, size_t alignment, const nothrow *n), (size, alignment, n),           \
      alignment, false)

/* ... and what frees */
#define DELETES(X)                                                                       \
    X(_ZdlPv, (void *p), (p))                                                            \
    X(_ZdaPv, (void *p), (p))                                                            \
    X(_ZdlPvm, (void *p, size_t size), (p, size))                                        \
    X(_ZdaPvm, (void *p, size_t size), (p, size))                                        \
    X(_ZdlPvRKSt9nothrow_t, (void *p, const nothrow *n), (p, n))                         \
    X(_ZdaPvRKSt9nothrow_t, (void *p, const nothrow *n), (p, n))                         \
    X(_ZdlPvSt11align_val_t, (void *p, size_t alignment), (p, alignment))                \
    X(_ZdaPvSt11align_val_t, (void *p, size_t alignment), (p, alignment))                \
    X(_ZdlPvmSt11align_val_t, (void *p, size_t size, size_t alignment),                  \
      (p, size, alignment))                                                              \
    X(_ZdaPvmSt11align_val_t, (void *p, size_t size, size_t alignment),                  \
      (p, size, alignment))                                                              \
    X(_ZdlPvSt11align_val_tRKSt9nothrow_t,                                               \
      (void *p, size_t alignment, const nothrow *n), (p, alignment, n))                  \
    X(_ZdaPvSt11align_val_tRKSt9nothrow_t,                                               \
      (void *p, size_t alignment, const nothrow *n), (p, alignment, n))

#define DECLARE_NEW(name, parameters, ...)          void *(*name)parameters;
#define DECLARE_DELETE(name, parameters, arguments) void(*name) parameters;
static struct {
    NEWS(DECLARE_NEW)
    DELETES(DECLARE_DELETE)
} real;

/* What of ours stands between the program and its memory. */
#define OURS __attribute__((section("sn_new")))

/* ---- where there is no C++ library ----------------------------------------------------
 */

/* std::get_new_handler, and what std::bad_alloc is thrown with, if the program has it:
 * one that catches it does. */
typedef void new_handler(void);
extern new_handler *_ZSt15get_new_handlerv(void) __attribute__((weak));
extern void *__cxa_allocate_exception(size_t size) __attribute__((weak));
extern void __cxa_throw(void *what, const void *type, void (*destroy)(void *))
    __attribute__((weak));
extern void _ZNSt9bad_allocD1Ev(void *what) __attribute__((weak)); /* its destructor, */
extern const char _ZTISt9bad_alloc[] __attribute__((weak));        /* type, */
extern const void *const _ZTVSt9bad_alloc[] __attribute__((weak)); /* and virtual table */

static _Noreturn void throw_bad_alloc(void)
{
    if (__cxa_allocate_exception != NULL && __cxa_throw != NULL &&
        _ZNSt9bad_allocD1Ev != NULL && _ZTISt9bad_alloc != NULL &&
        _ZTVSt9bad_alloc != NULL) {
        const void **what = __cxa_allocate_exception(sizeof *what);
        *what = &_ZTVSt9bad_alloc[2]; /* behind its offset and type */
        __cxa_throw(what, _ZTISt9bad_alloc, _ZNSt9bad_allocD1Ev);
    }
    sn_say("operator new has no memory, and there is no C++ library to tell");
    abort();
}

OURS static void *allocate(size_t size, size_t alignment)
{
    size_t whole;
    if (alignment == 0)
        return malloc(size > 0 ? size : 1);
    if (__builtin_add_overflow(size > 0 ? size - 1 : 0, alignment, &whole))
        return NULL;
    return aligned_alloc(alignment, whole & -alignment);
}

OURS static void *instead_of_new(size_t size, size_t alignment, bool throws)
{
    void *p;
    while ((p = allocate(size, alignment)) == NULL) {
        new_handler *handler =
            _ZSt15get_new_handlerv != NULL ? _ZSt15get_new_handlerv() : NULL;
        if (!throws) /* nor may a handler, which C cannot catch */
            return NULL;
        if (handler == NULL)
            throw_bad_alloc();
        handler();
    }
    return p;
}

#define INSTEAD_OF_NEW(name, parameters, arguments, alignment, throws)                   \
    OURS static void *instead_of##name parameters                                        \
    {                                                                                    \
        return instead_of_new(size, alignment, throws);                                  \
    }
NEWS(INSTEAD_OF_NEW)

#define INSTEAD_OF_DELETE(name, parameters, arguments)                                   \
    OURS static void instead_of##name parameters                                         \
    {                                                                                    \
        free(p);                                                                         \
    }
DELETES(INSTEAD_OF_DELETE)

/* ---- the real ones --------------------------------------------------------------------
 */

/* Where they are: few files, in each of which there may be several. */
#define PLACES_MAX 8
static struct {
    _Atomic(uintptr_t) start, end; /* 0: none yet */
} places[PLACES_MAX];

static bool is_in_place(uintptr_t pc)
{
    for (unsigned i = 0; i < PLACES_MAX && atomic_load(&places[i].end) != 0; i++)
        if (pc >= atomic_load(&places[i].start) && pc < atomic_load(&places[i].end))
            return true;
    return false;
}

/* The functions themselves, as their file's symbols tell. */
#define OPERATORS_MAX 32
static struct {
    _Atomic(uintptr_t) start, end; /* 0: not yet */
} operators[OPERATORS_MAX];

static void add_operator(void *function)
{
    static atomic_uint n_operators;
    Dl_info where;
    void *symbol = NULL;
    unsigned i = atomic_fetch_add(&n_operators, 1);
    if (i >= OPERATORS_MAX || dladdr1(function, &where, &symbol, RTLD_DL_SYMENT) == 0 ||
        symbol == NULL)
        return;
    atomic_store(&operators[i].start, (uintptr_t)function);
    atomic_store(&operators[i].end,
                 (uintptr_t)function + ((const ElfW(Sym) *)symbol)->st_size);
}

/* By two threads at once: then it is there twice. */
static void add_place(void *function)
{
    struct dl_find_object where;
    static atomic_uint n_places;
    if (is_in_place((uintptr_t)function) || _dl_find_object(function, &where) != 0)
        return;
    unsigned i = atomic_fetch_add(&n_places, 1);
    if (i >= PLACES_MAX)
        return;
    atomic_store(&places[i].start, (uintptr_t)where.dlfo_map_start);
    atomic_store(&places[i].end, (uintptr_t)where.dlfo_map_end);
}

/* Where malloc is not the real one: an allocator's own new would go past it. */
static atomic_bool by_malloc_only;

/* A program calls new only where there is one; it may have come by dlopen. */
static void *find(const char *name, void *instead)
{
    static const char *const libraries[] = {"libstdc++.so.6", "libc++.so.1"};
    struct sn_heap_thread *own = sn_heap_own_begin(); /* errors, too, are allocated */
    void *found = dlsym(RTLD_NEXT, name);
    for (size_t i = 0; found == NULL && i < SN_COUNT(libraries); i++) {
        void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
        found = library != NULL ? dlsym(library, name) : NULL;
    }
    dlerror(); /* which were ours */
    sn_heap_own_end(own);
    if (found == NULL)
        return instead;
    sn_malloc_beside(found);
    add_place(found);
    add_operator(found);
    return atomic_load(&by_malloc_only) && sn_malloc_is_at(found) ? instead : found;
}

/* Not at load: a program without C++ need not pay for 20 look-ups. */
#define REAL(name)                                                                       \
    (__builtin_expect(real.name != NULL, 1)                                              \
         ? real.name                                                                     \
         : (*(void **)&real.name = find(#name, (void *)instead_of##name), real.name))

/* Deletes first: what our new hands out is not the real delete's. */
void sn_new_by_malloc(void)
{
    atomic_store(&by_malloc_only, true);
#define TURN(name, ...)                                                                  \
    if (real.name != NULL && sn_malloc_is_at((void *)real.name))                         \
        *(void **)&real.name = (void *)instead_of##name;
    DELETES(TURN)
    NEWS(TURN)
}

/* ---- who called -----------------------------------------------------------------------
 */

__thread struct sn_within_new sn_within_new __attribute__((tls_model("initial-exec")));

/* What is as deep as the frame, or deeper, has returned or was left by a throw. */
static inline void leave_new(uintptr_t frame)
{
    while (sn_heap_local.news > 0 &&
           sn_within_new.frames[sn_heap_local.news - 1] <= frame)
        sn_heap_local.news--;
}

static inline void enter_new(const void *caller, uintptr_t frame)
{
    struct sn_within_new *w = &sn_within_new;
    leave_new(frame);
    unsigned n = sn_heap_local.news;
    if (n == SN_COUNT(w->frames)) { /* the outermost is far away */
        n--;
        memmove(w->callers, w->callers + 1, n * sizeof *w->callers);
        memmove(w->frames, w->frames + 1, n * sizeof *w->frames);
    }
    w->callers[n] = caller;
    w->frames[n] = frame;
    w->told = 0;
    sn_heap_local.news = n + 1;
}

#define LIST(...) __VA_ARGS__ /* without its parentheses */

/* new[] jumps to new rather than to call it: then our new returns to our new[]. */
extern const char __start_sn_new[], __stop_sn_new[] __attribute__((visibility("hidden")));

static bool is_ours(uintptr_t pc)
{
    return pc >= (uintptr_t)__start_sn_new && pc < (uintptr_t)__stop_sn_new;
}

bool sn_new_is_operator(uintptr_t pc)
{
    bool is = is_ours(pc);
    for (unsigned i = 0; i < OPERATORS_MAX && !is; i++)
        is =
            pc >= atomic_load(&operators[i].start) && pc < atomic_load(&operators[i].end);
    return is;
}

/* From the one that asked for memory outwards, over nothing but operators: a handler of
 * new's that allocates is itself the caller. */
size_t sn_new_frame_of(const uintptr_t *pcs, size_t n, size_t own)
{
    for (unsigned i = sn_heap_local.news; i-- > 0;) {
        size_t at = sn_thread_frame_of(pcs, n, sn_within_new.callers[i]), between = own;
        while (between < at && (is_in_place(pcs[between]) || is_ours(pcs[between])))
            between++;
        if (at < n && between == at)
            own = at;
    }
    return own;
}

/* ---- the functions --------------------------------------------------------------------
 */

/* Nothing is recorded; or malloc counts the bytes, and the next sample is far away. */
static inline bool is_at_ease(size_t size, const atomic_bool *by_malloc)
{
    return !sn_heap_on() ||
           (sn_heap_mode() == SN_HEAP_SOME &&
            atomic_load_explicit(by_malloc, memory_order_relaxed) &&
            sn_heap_local.left > 4096 && size < sn_heap_local.left - 4096);
}

/* Apart from the others, which so need no registers of their own: off, they are a load,
 * a test and a jump. `caller` is theirs.
 *
 * A real one that has called malloc once always does, and that has told. */
#define NEW_TOLD(name, parameters, arguments, ...)                                       \
    OURS static                                                                          \
        __attribute__((noinline)) void *told##name(LIST parameters, const void *caller)  \
    {                                                                                    \
        static atomic_bool by_malloc;                                                    \
        if (is_at_ease(size, &by_malloc))                                                \
            return REAL(name) arguments;                                                 \
        uintptr_t frame = (uintptr_t)__builtin_frame_address(0);                         \
        enter_new(caller, frame);                                                        \
        void *p = REAL(name) arguments;                                                  \
        if (p != NULL && sn_within_new.told == ~(uintptr_t)p)                            \
            atomic_store_explicit(&by_malloc, true, memory_order_relaxed);               \
        else if (p != NULL && !atomic_load_explicit(&by_malloc, memory_order_relaxed) && \
                 sn_heap_due(size))                                                      \
            sn_heap_allocated(p, size, caller);                                          \
        leave_new(frame);                                                                \
        sn_within_new.told = ~(uintptr_t)p; /* whoever is around us need not */          \
        return p;                                                                        \
    }
NEWS(NEW_TOLD)

#define NEW(name, parameters, arguments, ...)                                            \
    SN_PUBLIC OURS void *name parameters;                                                \
    SN_PUBLIC void *name parameters                                                      \
    {                                                                                    \
        if (__builtin_expect(!sn_heap_on() && real.name != NULL, 1))                     \
            return real.name arguments;                                                  \
        return told##name(LIST arguments, __builtin_return_address(0));                  \
    }
NEWS(NEW)

#define DELETE_TOLD(name, parameters, arguments)                                         \
    OURS static __attribute__((noinline)) void told##name parameters                     \
    {                                                                                    \
        void *before = sn_within_new.freed;                                              \
        if (!sn_heap_on()) {                                                             \
            REAL(name) arguments;                                                        \
        } else if (sn_heap_is_unknown(p) || p == NULL || p == before ||                  \
                   sn_heap_freeing(p)) {                                                 \
            sn_within_new.freed = p;                                                     \
            REAL(name) arguments;                                                        \
            sn_within_new.freed = before;                                                \
        }                                                                                \
    }
DELETES(DELETE_TOLD)

#define DELETE(name, parameters, arguments)                                              \
    SN_PUBLIC OURS void name parameters;                                                 \
    SN_PUBLIC void name parameters                                                       \
    {                                                                                    \
        if (__builtin_expect(!sn_heap_on() && real.name != NULL, 1))                     \
            real.name arguments;                                                         \
        else                                                                             \
            told##name arguments;                                                        \
    }
DELETES(DELETE)
