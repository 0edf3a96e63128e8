/*
 * arch.h: the walker's view of x86-64. A frame is three registers; a rule is 64 bits that
 * take one frame to its caller:
 *
 *     63            32 31              4 3    0
 *     [ CFA's offset  ][ rbp's slot      ][ kind ]     both signed, in bytes
 *
 * In a plain rule the CFA is rsp or rbp plus an offset, the return address lies right
 * below it, and rbp is unchanged or saved at CFA + slot. Everything here is signal-safe.
 */
#ifndef SN_ARCH_H
#define SN_ARCH_H

#include "unwind/unwind_priv.h"

typedef uint64_t sn_rule;

enum sn_rule_kind {
    SN_RULE_SP = 0, /* plain: bit 0 says that rbp is the base, bit 1 that rbp is saved */
    SN_RULE_BASE_FP = 1,
    SN_RULE_FP_SAVED = 2,
    SN_RULE_PLAIN_COUNT = 4,
    SN_RULE_DRAP = SN_RULE_PLAIN_COUNT, /* realigned: CFA at [rbp + offset], rbp at [rbp +
                                           slot] */
    SN_RULE_SIGNAL,                     /* rsp points at a ucontext */
    SN_RULE_END,                        /* no caller */
    SN_RULE_SLOW,                       /* needs all registers */
    SN_RULE_FAIL                        /* the offset is an enum sn_unwind_end */
};

static inline enum sn_rule_kind sn_rule_kind(sn_rule r)
{
    return (enum sn_rule_kind)(r & 15);
}

static inline int64_t sn_rule_offset(sn_rule r)
{
    return (int64_t)r >> 32;
}

static inline int64_t sn_rule_slot(sn_rule r)
{
    return (int32_t)(uint32_t)r >> 4;
}

static inline sn_rule sn_rule_make(enum sn_rule_kind kind, int32_t offset, int32_t slot)
{
    return (uint64_t)(uint32_t)offset << 32 | (uint32_t)slot << 4 | kind;
}

struct sn_frame {
    uintptr_t ip, sp, fp;
};

/* Keeps compilers from pairing the three in vector registers, which costs twice the time:
 * each is an address soon. */
static inline void sn_frame_scalar(struct sn_frame *f)
{
    __asm__("" : "+r"(f->ip), "+r"(f->sp), "+r"(f->fp));
}

/* Is the caller's frame where it should be: above, and not too far? */
#define SN_FRAME_MAX ((uintptr_t)8 << 20)
static inline bool sn_frame_above(uintptr_t sp, uintptr_t cfa)
{
    return SN_LIKELY(cfa - sp - 1 < SN_FRAME_MAX);
}

/* Where the caller's stack pointer will be by a plain rule. */
static inline uintptr_t sn_rule_cfa(sn_rule r, const struct sn_frame *f)
{
    return (r & SN_RULE_BASE_FP ? f->fp : f->sp) + (uintptr_t)sn_rule_offset(r);
}

/* To the caller by a plain rule; false, and nothing done, if that is not plain at all: a
 * frame that is not above, or not in the window. */
static inline bool sn_rule_fast(sn_rule r, struct sn_window window, struct sn_frame *f)
{
    uintptr_t cfa = sn_rule_cfa(r, f), slot = cfa + (uintptr_t)sn_rule_slot(r);
    if (!sn_frame_above(f->sp, cfa) || !sn_window_holds(window, cfa - 8))
        return false;
    if (r & SN_RULE_FP_SAVED) {
        if (!sn_window_holds(window, slot))
            return false;
        f->fp = sn_memory_raw(slot);
    }
    f->ip = sn_memory_raw(cfa - 8);
    f->sp = cfa;
    return true;
}

/* The same wherever it is; false if memory cannot be read. */
static inline bool sn_rule_apply(sn_rule r, struct sn_memory *m, struct sn_frame *f)
{
    uintptr_t cfa = sn_rule_cfa(r, f);
    if (!sn_memory_load(m, cfa - 8, &f->ip))
        return false;
    if (r & SN_RULE_FP_SAVED &&
        !sn_memory_load(m, cfa + (uintptr_t)sn_rule_slot(r), &f->fp))
        return false;
    f->sp = cfa;
    return true;
}

/* The rule for a row; SN_RULE_SLOW if it cannot be said in 64 bits. */
sn_rule sn_arch_rule(const struct sn_cfi_fde *fde, const struct sn_cfi_row *row,
                     uintptr_t pc);
void sn_arch_context(const ucontext_t *uc, uint64_t *regs);
/* The registers as they are here, DWARF's numbers; those that a call may change are of no
 * use to a walk. */
static inline __attribute__((always_inline)) void sn_arch_here(uint64_t *regs)
{
    __asm__ volatile("movq %%rbx, 24(%0)\n\t"
                     "movq %%rbp, 48(%0)\n\t"
                     "movq %%rsp, 56(%0)\n\t"
                     "movq %%r12, 96(%0)\n\t"
                     "movq %%r13, 104(%0)\n\t"
                     "movq %%r14, 112(%0)\n\t"
                     "movq %%r15, 120(%0)\n\t"
                     "leaq 0(%%rip), %%rax\n\t"
                     "movq %%rax, 128(%0)"
                     :
                     : "r"(regs)
                     : "rax", "memory");
}
/* What the first function of makecontext's fibres returns to; 0: not found. */
uintptr_t sn_arch_fibre_start(void);
/* The registers that a signal frame at sp keeps; false if it cannot be read. */
bool sn_arch_signal(struct sn_memory *m, uintptr_t sp, uint64_t *regs);
/*
 * Do these eight bytes, which lie before the address `next`, end in a call? *target:
 * where it leads, if its bytes say so; else 0.
 */
bool sn_arch_is_call(const uint8_t before[8], uint64_t next, uint64_t *target);
/* Is pc at a call of sigreturn, as a trampoline without CFI has it? */
bool sn_arch_is_sigreturn(struct sn_memory *m, uintptr_t pc);
/*
 * To the caller of code about which nothing is known, by frame pointers. `interrupted`:
 * f->ip is where it stands, not a return address. False if what is found is implausible.
 */
bool sn_arch_guess(struct sn_memory *m, struct sn_frame *f, bool interrupted);

#endif
