/*
 * cfi_row.c: runs a CIE's and an FDE's program up to one address: the row of the table of
 * DWARF 5, section 6.4.2.
 *
 * Pure, allocates nothing, signal-safe: about 1 KiB of stack. Time is linear in the bytes
 * of the programs. Registers that we do not track (vector registers) are read over.
 */
#include "unwind/unwind_priv.h"

#define STATES_MAX 6 /* nested remember_state; compilers nest them once */

enum {
    CFA_NOP = 0x00,
    CFA_SET_LOC = 0x01,
    CFA_ADVANCE_LOC1 = 0x02,
    CFA_ADVANCE_LOC2 = 0x03,
    CFA_ADVANCE_LOC4 = 0x04,
    CFA_OFFSET_EXTENDED = 0x05,
    CFA_RESTORE_EXTENDED = 0x06,
    CFA_UNDEFINED = 0x07,
    CFA_SAME_VALUE = 0x08,
    CFA_REGISTER = 0x09,
    CFA_REMEMBER_STATE = 0x0a,
    CFA_RESTORE_STATE = 0x0b,
    CFA_DEF_CFA = 0x0c,
    CFA_DEF_CFA_REGISTER = 0x0d,
    CFA_DEF_CFA_OFFSET = 0x0e,
    CFA_DEF_CFA_EXPRESSION = 0x0f,
    CFA_EXPRESSION = 0x10,
    CFA_OFFSET_EXTENDED_SF = 0x11,
    CFA_DEF_CFA_SF = 0x12,
    CFA_DEF_CFA_OFFSET_SF = 0x13,
    CFA_VAL_OFFSET = 0x14,
    CFA_VAL_OFFSET_SF = 0x15,
    CFA_VAL_EXPRESSION = 0x16,
    CFA_ARGS_SIZE = 0x2e,
    CFA_NEGATIVE_OFFSET_EXTENDED = 0x2f,
    CFA_ADVANCE_LOC = 0x40, /* the top two bits; an operand in the other six */
    CFA_OFFSET = 0x80,
    CFA_RESTORE = 0xc0
};

struct machine {
    const struct sn_cfi_fde *fde;
    struct sn_cfi_reader r;
    uint64_t loc, pc;
    struct sn_cfi_row *row;
    const struct sn_cfi_row *initial; /* what `restore` goes back to; NULL in the CIE */
    struct sn_cfi_row states[STATES_MAX];
    unsigned n_states;
};

static int32_t narrow(struct machine *m, int64_t v)
{
    if (v < INT32_MIN || v > INT32_MAX)
        m->r.bad = true;
    return (int32_t)v;
}

/* An offset in units of the data alignment. */
static int32_t factored(struct machine *m, int64_t units)
{
    int64_t v;
    if (__builtin_mul_overflow(units, m->fde->data_align, &v))
        m->r.bad = true;
    return narrow(m, v);
}

static int32_t factored_uleb(struct machine *m)
{
    return factored(m, (int64_t)sn_cfi_uleb(&m->r));
}

static int32_t factored_sleb(struct machine *m)
{
    return factored(m, sn_cfi_sleb(&m->r));
}

static void set(struct machine *m, uint64_t reg, enum sn_cfi_kind kind, int32_t value)
{
    if (reg < SN_ARCH_REGS)
        m->row->reg[reg] = (struct sn_cfi_rule){.kind = kind, .value = value};
}

static void restore(struct machine *m, uint64_t reg)
{
    if (m->initial == NULL)
        m->r.bad = true;
    else if (reg < SN_ARCH_REGS)
        m->row->reg[reg] = m->initial->reg[reg];
}

static void set_cfa(struct machine *m, uint64_t reg, int64_t offset)
{
    if (reg >= SN_ARCH_REGS)
        m->r.bad = true;
    m->row->cfa =
        (struct sn_cfi_rule){SN_CFI_VAL_OFFSET, (uint8_t)reg, narrow(m, offset)};
}

/* Keep one half of the CFA's rule: it must be register plus offset already. */
static uint8_t cfa_reg(struct machine *m)
{
    if (m->row->cfa.kind != SN_CFI_VAL_OFFSET)
        m->r.bad = true;
    return m->row->cfa.reg;
}

static void set_cfa_reg(struct machine *m, uint64_t reg)
{
    cfa_reg(m);
    set_cfa(m, reg, m->row->cfa.value);
}

/* Where the block that follows lies; it is skipped. */
static int32_t block(struct machine *m)
{
    int32_t at = narrow(m, m->r.p - m->fde->section.data);
    uint64_t length = sn_cfi_uleb(&m->r);
    if (length > (size_t)(m->r.end - m->r.p))
        m->r.bad = true;
    else
        m->r.p += length;
    return at;
}

static void remember(struct machine *m)
{
    if (m->n_states == STATES_MAX)
        m->r.bad = true;
    else
        m->states[m->n_states++] = *m->row;
}

static void recall(struct machine *m)
{
    if (m->n_states == 0)
        m->r.bad = true;
    else
        *m->row = m->states[--m->n_states];
}

static void advance(struct machine *m, uint64_t units)
{
    uint64_t step;
    if (__builtin_mul_overflow(units, m->fde->code_align, &step) ||
        __builtin_add_overflow(m->loc, step, &m->loc))
        m->r.bad = true;
}

static void set_loc(struct machine *m)
{
    m->loc = m->fde->bias + sn_cfi_pointer(&m->r, &m->fde->section, m->fde->encoding, 0);
}

/* What has a register first. */
static void run_register(struct machine *m, uint8_t op)
{
    uint64_t reg = sn_cfi_uleb(&m->r);
    switch (op) {
    case CFA_OFFSET_EXTENDED:
        set(m, reg, SN_CFI_OFFSET, factored_uleb(m));
        break;
    case CFA_OFFSET_EXTENDED_SF:
        set(m, reg, SN_CFI_OFFSET, factored_sleb(m));
        break;
    case CFA_NEGATIVE_OFFSET_EXTENDED:
        set(m, reg, SN_CFI_OFFSET, narrow(m, -(int64_t)factored_uleb(m)));
        break;
    case CFA_VAL_OFFSET:
        set(m, reg, SN_CFI_VAL_OFFSET, factored_uleb(m));
        break;
    case CFA_VAL_OFFSET_SF:
        set(m, reg, SN_CFI_VAL_OFFSET, factored_sleb(m));
        break;
    case CFA_RESTORE_EXTENDED:
        restore(m, reg);
        break;
    case CFA_UNDEFINED:
        set(m, reg, SN_CFI_UNDEFINED, 0);
        break;
    case CFA_SAME_VALUE:
        set(m, reg, SN_CFI_SAME, 0);
        break;
    case CFA_REGISTER: {
        uint64_t other = sn_cfi_uleb(&m->r);
        if (other >= SN_ARCH_REGS)
            m->r.bad = true;
        set(m, reg, SN_CFI_REGISTER, (int32_t)(other % SN_ARCH_REGS));
        break;
    }
    case CFA_EXPRESSION:
        set(m, reg, SN_CFI_EXPR, block(m));
        break;
    case CFA_VAL_EXPRESSION:
        set(m, reg, SN_CFI_VAL_EXPR, block(m));
        break;
    case CFA_DEF_CFA:
        set_cfa(m, reg, (int64_t)sn_cfi_uleb(&m->r));
        break;
    case CFA_DEF_CFA_SF:
        set_cfa(m, reg, factored_sleb(m));
        break;
    case CFA_DEF_CFA_REGISTER:
        set_cfa_reg(m, reg);
        break;
    default:
        m->r.bad = true;
    }
}

static void run_op(struct machine *m, uint8_t op)
{
    switch (op & 0xc0) {
    case CFA_ADVANCE_LOC:
        advance(m, op & 0x3f);
        return;
    case CFA_OFFSET:
        set(m, op & 0x3f, SN_CFI_OFFSET, factored_uleb(m));
        return;
    case CFA_RESTORE:
        restore(m, op & 0x3f);
        return;
    }
    switch (op) {
    case CFA_NOP:
        break;
    case CFA_SET_LOC:
        set_loc(m);
        break;
    case CFA_ADVANCE_LOC1:
        advance(m, sn_cfi_uint(&m->r, 1));
        break;
    case CFA_ADVANCE_LOC2:
        advance(m, sn_cfi_uint(&m->r, 2));
        break;
    case CFA_ADVANCE_LOC4:
        advance(m, sn_cfi_uint(&m->r, 4));
        break;
    case CFA_REMEMBER_STATE:
        remember(m);
        break;
    case CFA_RESTORE_STATE:
        recall(m);
        break;
    case CFA_DEF_CFA_OFFSET:
        set_cfa(m, cfa_reg(m), (int64_t)sn_cfi_uleb(&m->r));
        break;
    case CFA_DEF_CFA_OFFSET_SF:
        set_cfa(m, cfa_reg(m), factored_sleb(m));
        break;
    case CFA_DEF_CFA_EXPRESSION:
        m->row->cfa = (struct sn_cfi_rule){.kind = SN_CFI_VAL_EXPR, .value = block(m)};
        break;
    case CFA_ARGS_SIZE: /* of interest to landing pads only */
        sn_cfi_uleb(&m->r);
        break;
    default:
        run_register(m, op);
    }
}

/* Until the row of pc is behind, or the program ends. */
static bool run(struct machine *m, const uint8_t *p, const uint8_t *end)
{
    m->r = (struct sn_cfi_reader){p, end, false};
    while (m->r.p < m->r.end && !m->r.bad) {
        run_op(m, (uint8_t)sn_cfi_uint(&m->r, 1));
        if (m->loc > m->pc)
            break;
    }
    return !m->r.bad;
}

bool sn_cfi_row_at(const struct sn_cfi_fde *fde, uint64_t pc, struct sn_cfi_row *row)
{
    struct machine m;
    struct sn_cfi_row initial;
    m.fde = fde;
    m.loc = fde->start;
    m.pc = pc;
    m.row = row;
    m.initial = NULL;
    m.n_states = 0;
    memset(row, 0, sizeof *row);
    if (!run(&m, fde->cie_program, fde->cie_program_end))
        return false;
    initial = *row;
    m.initial = &initial;
    m.loc = fde->start;
    m.n_states = 0;
    return run(&m, fde->program, fde->program_end) && row->cfa.kind != SN_CFI_SAME;
}
