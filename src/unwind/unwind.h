/*
 * unwind: from a signal's registers to the return addresses of the interrupted thread.
 *
 * In process and signal-safe: no malloc, no lock, no loader call but _dl_find_object.
 * Rules come from a per-process cache, else are compiled from .eh_frame (or a
 * .debug_frame table prepared outside the handler). Loads are checked before they are
 * made.
 *
 * cfi.c knows DWARF (CIE, FDE, the CFA program, expressions) and no architecture, no
 * process: it works on any bytes given to it. x86_64/ and aarch64/ know registers. walk.c
 * walks.
 */
#ifndef SN_UNWIND_H
#define SN_UNWIND_H

#include "base/base.h"

#include <ucontext.h>

/* Why a stack ends where it does. Stored in spools and shown to users: do not renumber.
 */
enum sn_unwind_end {
    SN_END_OUTERMOST =
        0,              /* complete: _start, the thread's start, a fibre's first frame */
    SN_END_DEPTH,       /* more frames than the buffer holds */
    SN_END_NO_MODULE,   /* code that belongs to no loaded file (JIT, or a wild address) */
    SN_END_NO_CFI,      /* its file has no unwind information for that address */
    SN_END_BAD_CFI,     /* the information is malformed or uses what we do not support */
    SN_END_BAD_ADDRESS, /* a frame lies outside readable memory */
    SN_END_NOT_ABOVE,   /* a caller's frame is not above its callee's, or is too large */
    SN_END_COUNT
};

const char *sn_unwind_end_name(enum sn_unwind_end end); /* "complete", "too deep", ... */

/* A loaded file as the walker met it. The strings are the file's own: they live as long
 * as it is loaded. */
struct sn_module {
    uintptr_t map_start, map_end;   /* the whole file's mapping */
    uintptr_t text_start, text_end; /* the executable segment that holds the address */
    uint64_t text_offset;           /* of that segment in the file */
    const char *path;              /* from the link map: may be "" (the program itself) */
    const unsigned char *build_id; /* in the module's memory; NULL if none */
    size_t build_id_len;
};

/* What the walker may read without asking: the thread's own stack. hi == 0: not known. */
struct sn_stack_range {
    uintptr_t lo, hi;
};

struct sn_unwind_hooks {
    /* Called in the handler the first time a module is met (again after a dlclose). */
    void (*on_module)(const struct sn_module *m);
};

/* Call once before the first sn_unwind, outside any handler: binds _dl_find_object,
 * prepares .debug_frame tables of modules that have no .eh_frame. Safe to call again
 * (after dlopen). */
bool sn_unwind_prepare(const struct sn_unwind_hooks *hooks, struct sn_error *e);
/* A module may have gone (dlclose): cached rules are no longer believed. Thread-safe. */
void sn_unwind_forget(void);

/*
 * Walk from a signal's context. pcs[0] is the interrupted pc; each later one is a return
 * address minus one (so that it lies in its call), except right above a signal frame.
 * Returns the number of frames (>= 1 when max >= 1). Signal-safe, errno kept.
 */
size_t sn_unwind(const ucontext_t *uc, struct sn_stack_range stack, uintptr_t *pcs,
                 size_t max, enum sn_unwind_end *end);
/* The same from where it is called; the first frames are its own and its callers'. */
size_t sn_unwind_here(struct sn_stack_range stack, uintptr_t *pcs, size_t max,
                      enum sn_unwind_end *end);
/*
 * The same of another thread, of which only these two are known: it sleeps in a system
 * call. pcs[0] is the pc. A frame pointer that is needed and was saved nowhere is looked
 * for (sn_unwind_frame_pointer), so that one frame may be wrong or left out.
 */
size_t sn_unwind_asleep(uintptr_t pc, uintptr_t sp, uintptr_t *pcs, size_t max,
                        enum sn_unwind_end *end);

/* A process's memory, as one looks for frames in it. */
struct sn_unwind_env {
    bool (*load)(void *arg, uint64_t addr,
                 uint64_t *value); /* false: it cannot be read */
    bool (*is_code)(void *arg, uint64_t addr);
    void *arg;
};
/*
 * The frame pointer of a function that has one, whose stack pointer is `sp` and which
 * begins at `function` (0: not known). By what lies there: a saved frame pointer and,
 * above it, a return address that follows a call of this very function; else the most
 * likely pair. False: there is none.
 */
bool sn_unwind_frame_pointer(const struct sn_unwind_env *env, uint64_t sp,
                             uint64_t function, uint64_t *fp);
/* The general registers of a signal's context (24 at most, the rest 0), and its stack
 * pointer. Signal-safe. */
void sn_unwind_registers(const ucontext_t *uc, uint64_t registers[24], uintptr_t *sp);

/* The processor's count of time, in units of its own. A few nanoseconds. Signal-safe. */
static inline uint64_t sn_unwind_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#endif
}

#endif
