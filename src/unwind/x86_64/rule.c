/*
 * rule.c: rows of call frame information as 64-bit rules, and the signal frame of Linux
 * on x86-64. Allocates nothing, signal-safe (but for
 * sn_arch_fibre_start).
 */
#include "unwind/x86_64/arch.h"

#define SLOT_MIN (-(1 << 27))
#define SLOT_MAX ((1 << 27) - 1)

/* Where ucontext_t keeps the registers, by DWARF number: rax rdx rcx rbx rsi rdi rbp rsp,
 * r8 to r15, rip. */
static const uint8_t greg_of[SN_ARCH_REGS] = {
    REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
    REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};

static intptr_t context_offset(unsigned reg)
{
    return (intptr_t)(offsetof(ucontext_t, uc_mcontext.gregs) + 8u * greg_of[reg]);
}

void sn_arch_context(const ucontext_t *uc, uint64_t *regs)
{
    for (unsigned i = 0; i < SN_ARCH_REGS; i++)
        regs[i] = (uint64_t)uc->uc_mcontext.gregs[greg_of[i]];
}

static void nothing(void)
{
}

uintptr_t sn_arch_fibre_start(void)
{
    ucontext_t uc;
    uint64_t stack[256], ra;
    if (getcontext(&uc) != 0)
        return 0;
    uc.uc_stack.ss_sp = stack;
    uc.uc_stack.ss_size = sizeof stack;
    uc.uc_link = NULL;
    makecontext(&uc, nothing, 0);
    memcpy(&ra, (const void *)uc.uc_mcontext.gregs[REG_RSP], sizeof ra);
    return ra;
}

bool sn_arch_signal(struct sn_memory *m, uintptr_t sp, uint64_t *regs)
{
    for (unsigned i = 0; i < SN_ARCH_REGS; i++)
        if (!sn_memory_load(m, sp + (uintptr_t)context_offset(i), &regs[i]))
            return false;
    return true;
}

/* The bytes of an expression. */
static struct sn_cfi_reader expression(const struct sn_cfi_fde *fde,
                                       struct sn_cfi_rule rule)
{
    const struct sn_cfi_bytes *s = &fde->section;
    struct sn_cfi_reader r = {s->data + rule.value, s->data + s->len, false};
    uint64_t length = sn_cfi_uleb(&r); /* the row's maker saw that it fits */
    r.end = r.p + length;
    return r;
}

/* An expression that is a register plus an offset and, if so said, what lies there. */
static bool is_based(const struct sn_cfi_fde *fde, struct sn_cfi_rule rule,
                     enum sn_cfi_kind kind, unsigned reg, bool deref, int64_t *offset)
{
    if (rule.kind != kind)
        return false;
    struct sn_cfi_reader r = expression(fde, rule);
    if (sn_cfi_uint(&r, 1) != 0x70u + reg) /* DW_OP_breg<reg> */
        return false;
    *offset = sn_cfi_sleb(&r);
    return (!deref || sn_cfi_uint(&r, 1) == 0x06 /* DW_OP_deref */) && r.p == r.end &&
           !r.bad;
}

/* A signal's trampoline that says what we know: each register is in the ucontext. */
static bool is_signal(const struct sn_cfi_fde *fde, const struct sn_cfi_row *row)
{
    int64_t at;
    if (!fde->signal || !is_based(fde, row->cfa, SN_CFI_VAL_EXPR, SN_REG_SP, true, &at) ||
        at != context_offset(SN_REG_SP))
        return false;
    static const uint8_t told[] = {SN_REG_PC, SN_REG_FP};
    for (unsigned i = 0; i < SN_COUNT(told); i++)
        if (!is_based(fde, row->reg[told[i]], SN_CFI_EXPR, SN_REG_SP, false, &at) ||
            at != context_offset(told[i]))
            return false;
    return true;
}

/*
 * The linker describes a whole PLT by one expression: an entry of 16 bytes pushes one
 * word, and *pushed tells at which byte that is done:
 *     rsp + 8 + ((rip & 15) >= pushed) << 3
 */
static bool is_plt(const struct sn_cfi_fde *fde, struct sn_cfi_rule cfa, unsigned *pushed)
{
    static const uint8_t shape[] = {0x77, 8,    0x80, 0,    0x3f, 0x1a,
                                    0x30, 0x2a, 0x33, 0x24, 0x22};
    if (cfa.kind != SN_CFI_VAL_EXPR)
        return false;
    struct sn_cfi_reader r = expression(fde, cfa);
    if (r.end - r.p != sizeof shape)
        return false;
    for (unsigned i = 0; i < sizeof shape; i++)
        if (i != 6 && r.p[i] != shape[i])
            return false;
    *pushed = r.p[6] - 0x30u; /* DW_OP_lit<n> */
    return *pushed < 16;
}

/* Code that aligned its stack keeps the CFA beside the saved rbp. */
static bool is_drap(const struct sn_cfi_fde *fde, const struct sn_cfi_row *row,
                    int64_t *offset, int64_t *slot)
{
    return is_based(fde, row->cfa, SN_CFI_VAL_EXPR, SN_REG_FP, true, offset) &&
           is_based(fde, row->reg[SN_REG_FP], SN_CFI_EXPR, SN_REG_FP, false, slot) &&
           *offset == (int32_t)*offset && *slot >= SLOT_MIN && *slot <= SLOT_MAX;
}

sn_rule sn_arch_rule(const struct sn_cfi_fde *fde, const struct sn_cfi_row *row,
                     uintptr_t pc)
{
    struct sn_cfi_rule ra = row->reg[fde->ra], fp = row->reg[SN_REG_FP], cfa = row->cfa;
    int64_t offset, slot;
    unsigned kind = SN_RULE_SP, pushed;
    if (ra.kind == SN_CFI_UNDEFINED)
        return sn_rule_make(SN_RULE_END, 0, 0);
    if (is_signal(fde, row))
        return sn_rule_make(SN_RULE_SIGNAL, 0, 0);
    if (ra.kind != SN_CFI_OFFSET || ra.value != -8 || fde->signal)
        return sn_rule_make(SN_RULE_SLOW, 0, 0);
    if (is_drap(fde, row, &offset, &slot))
        return sn_rule_make(SN_RULE_DRAP, (int32_t)offset, (int32_t)slot);
    if (is_plt(fde, cfa, &pushed))
        cfa = (struct sn_cfi_rule){SN_CFI_VAL_OFFSET, SN_REG_SP,
                                   8 + ((pc & 15) >= pushed ? 8 : 0)};
    if (cfa.kind != SN_CFI_VAL_OFFSET || (cfa.reg != SN_REG_SP && cfa.reg != SN_REG_FP))
        return sn_rule_make(SN_RULE_SLOW, 0, 0);
    if (cfa.reg == SN_REG_FP)
        kind |= SN_RULE_BASE_FP;
    if (fp.kind == SN_CFI_OFFSET && fp.value >= SLOT_MIN && fp.value <= SLOT_MAX)
        kind |= SN_RULE_FP_SAVED;
    else if (fp.kind != SN_CFI_SAME && fp.kind != SN_CFI_UNDEFINED)
        return sn_rule_make(SN_RULE_SLOW, 0, 0);
    return sn_rule_make(kind, cfa.value, kind & SN_RULE_FP_SAVED ? fp.value : 0);
}
