/*
 * new.c: C++'s operator new and delete, in all overloads (the names are mangled as the
 * Itanium C++ ABI has it).
 *
 * Each calls the next definition, of whichever C++ library or allocator is loaded. Most
 * of those call malloc, which tells heap.c; where one does not, we do. The caller of new
 * is to be the leaf: heap.c looks for it in the stack, and so is not misled where a throw
 * has left `sn_within_new` as it was.
 *
 * A C++ library that was opened by dlopen for somebody else alone is not behind us in the
 * order of look-up: it is then asked for by name.
 */
#include "runtime/runtime.h"

#include <dlfcn.h>
#include <stdlib.h>

typedef struct { /* std::nothrow_t const & */
    char unused;
} nothrow;

/* name, parameters, arguments: what allocates */
#define NEWS(X)                                                                          \
    X(_Znwm, (size_t size), (size))                                                      \
    X(_Znam, (size_t size), (size))                                                      \
    X(_ZnwmRKSt9nothrow_t, (size_t size, const nothrow *n), (size, n))                   \
    X(_ZnamRKSt9nothrow_t, (size_t size, const nothrow *n), (size, n))                   \
    X(_ZnwmSt11align_val_t, (size_t size, size_t alignment), (size, alignment))          \
    X(_ZnamSt11align_val_t, (size_t size, size_t alignment), (size, alignment))          \
    X(_ZnwmSt11align_val_tRKSt9nothrow_t,                                                \
      (size_t size, size_t alignment, const nothrow *n), (size, alignment, n))           \
    X(_ZnamSt11align_val_tRKSt9nothrow_t,                                                \
      (size_t size, size_t alignment, const nothrow *n), (size, alignment, n))

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

#define DECLARE_NEW(name, parameters, arguments)    void *(*name)parameters;
#define DECLARE_DELETE(name, parameters, arguments) void(*name) parameters;
static struct {
    NEWS(DECLARE_NEW)
    DELETES(DECLARE_DELETE)
} real;

/* A program calls new only where there is one; it may have come by dlopen. */
static void *find(const char *name)
{
    static const char *const libraries[] = {"libstdc++.so.6", "libc++.so.1"};
    void *found = dlsym(RTLD_NEXT, name);
    for (size_t i = 0; found == NULL && i < SN_COUNT(libraries); i++) {
        void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
        found = library != NULL ? dlsym(library, name) : NULL;
    }
    if (found == NULL) {
        sn_say("%s was called, and no C++ library has it", name);
        abort();
    }
    return found;
}

/* Not at load: a program without C++ need not pay for 20 look-ups. */
#define REAL(name)                                                                       \
    (__builtin_expect(real.name != NULL, 1)                                              \
         ? real.name                                                                     \
         : (*(void **)&real.name = find(#name), real.name))

__thread struct sn_within_new sn_within_new __attribute__((tls_model("initial-exec")));

#define NEW(name, parameters, arguments)                                                 \
    SN_PUBLIC void *name parameters;                                                     \
    SN_PUBLIC void *name parameters                                                      \
    {                                                                                    \
        if (!sn_heap_on())                                                               \
            return REAL(name) arguments;                                                 \
        struct sn_within_new before = sn_within_new;                                     \
        if (before.frame <= (uintptr_t)__builtin_frame_address(0))                       \
            before = (struct sn_within_new){0}; /* none, or left by a throw */           \
        sn_within_new.inner = __builtin_return_address(0);                               \
        if (before.caller == NULL) { /* else it is new[] that calls new */               \
            sn_within_new.caller = sn_within_new.inner;                                  \
            sn_within_new.frame = (uintptr_t)__builtin_frame_address(0);                 \
        }                                                                                \
        sn_within_new.told = NULL;                                                       \
        void *p = REAL(name) arguments;                                                  \
        if (p != NULL && sn_within_new.told != p && sn_heap_due(size))                   \
            sn_heap_allocated(p, size, sn_within_new.inner);                             \
        before.told = p; /* whoever is around us need not */                             \
        sn_within_new = before;                                                          \
        return p;                                                                        \
    }
NEWS(NEW)

#define DELETE(name, parameters, arguments)                                              \
    SN_PUBLIC void name parameters;                                                      \
    SN_PUBLIC void name parameters                                                       \
    {                                                                                    \
        if (!sn_heap_on()) {                                                             \
            REAL(name) arguments;                                                        \
        } else if (sn_heap_is_unknown(p) || p == NULL || sn_heap_freeing(p)) {           \
            sn_within_new.freed = p;                                                     \
            REAL(name) arguments;                                                        \
            sn_within_new.freed = NULL;                                                  \
        }                                                                                \
    }
DELETES(DELETE)
