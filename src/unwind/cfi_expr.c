/*
 * cfi_expr.c: DWARF expressions (DWARF 5, section 2.5), as far as call frame information
 * may use them.
 *
 * Pure but for the loads its caller grants; allocates nothing, signal-safe. Bounded: the
 * stack has 32 entries, and a block that branches back runs at most 1000 operations.
 */
#include "unwind/unwind_priv.h"

#define STACK_MAX 32
#define STEPS_MAX 1000

enum {
    OP_ADDR = 0x03,
    OP_DEREF = 0x06,
    OP_CONST1U = 0x08, /* 1U 1S 2U 2S 4U 4S 8U 8S */
    OP_CONST8S = 0x0f,
    OP_CONSTU = 0x10,
    OP_CONSTS = 0x11,
    OP_DUP = 0x12,
    OP_DROP = 0x13,
    OP_OVER = 0x14,
    OP_PICK = 0x15,
    OP_SWAP = 0x16,
    OP_ROT = 0x17,
    OP_ABS = 0x19,
    OP_AND = 0x1a,
    OP_DIV = 0x1b,
    OP_MINUS = 0x1c,
    OP_MOD = 0x1d,
    OP_MUL = 0x1e,
    OP_NEG = 0x1f,
    OP_NOT = 0x20,
    OP_OR = 0x21,
    OP_PLUS = 0x22,
    OP_PLUS_UCONST = 0x23,
    OP_SHL = 0x24,
    OP_SHR = 0x25,
    OP_SHRA = 0x26,
    OP_XOR = 0x27,
    OP_BRA = 0x28,
    OP_EQ = 0x29,
    OP_GE = 0x2a,
    OP_GT = 0x2b,
    OP_LE = 0x2c,
    OP_LT = 0x2d,
    OP_NE = 0x2e,
    OP_SKIP = 0x2f,
    OP_LIT0 = 0x30,
    OP_LIT31 = 0x4f,
    OP_REG0 = 0x50,
    OP_REG31 = 0x6f,
    OP_BREG0 = 0x70,
    OP_BREG31 = 0x8f,
    OP_REGX = 0x90,
    OP_BREGX = 0x92,
    OP_DEREF_SIZE = 0x94,
    OP_NOP = 0x96
};

struct machine {
    const uint8_t *start; /* of the block: branches stay inside */
    struct sn_cfi_reader r;
    const struct sn_cfi_env *env;
    uint64_t stack[STACK_MAX];
    unsigned n;
    bool fault;
};

static void push(struct machine *m, uint64_t v)
{
    if (m->n == STACK_MAX)
        m->r.bad = true;
    else
        m->stack[m->n++] = v;
}

static uint64_t pop(struct machine *m)
{
    if (m->n == 0) {
        m->r.bad = true;
        return 0;
    }
    return m->stack[--m->n];
}

static void pick(struct machine *m, uint64_t depth)
{
    if (depth >= m->n)
        m->r.bad = true;
    else
        push(m, m->stack[m->n - 1 - depth]);
}

static void push_reg(struct machine *m, uint64_t reg, int64_t offset)
{
    if (reg >= SN_ARCH_REGS)
        m->r.bad = true;
    else
        push(m, m->env->regs[reg] + (uint64_t)offset);
}

static void deref(struct machine *m, uint64_t size)
{
    uint64_t v = 0, addr = pop(m);
    if (m->r.bad || size == 0 || size > 8)
        m->r.bad = true;
    else if (!m->env->load(m->env->arg, addr, (size_t)size, &v))
        m->fault = true;
    push(m, v);
}

static void branch(struct machine *m, bool taken)
{
    int64_t distance = sn_cfi_sint(&m->r, 2);
    if (!taken || m->r.bad)
        return;
    if (distance < m->start - m->r.p || distance > m->r.end - m->r.p)
        m->r.bad = true;
    else
        m->r.p += distance;
}

static void rotate(struct machine *m)
{
    uint64_t a = pop(m), b = pop(m), c = pop(m);
    push(m, a);
    push(m, c);
    push(m, b);
}

static uint64_t divide(struct machine *m, int64_t a, int64_t b)
{
    if (b == 0) {
        m->r.bad = true;
        return 0;
    }
    return b == -1 ? -(uint64_t)a : (uint64_t)(a / b);
}

static uint64_t modulo(struct machine *m, uint64_t a, uint64_t b)
{
    if (b == 0) {
        m->r.bad = true;
        return 0;
    }
    return a % b;
}

static uint64_t shift(uint8_t op, uint64_t a, uint64_t by)
{
    if (op == OP_SHRA)
        return (uint64_t)((int64_t)a >> (by < 64 ? by : 63));
    if (by >= 64)
        return 0;
    return op == OP_SHL ? a << by : a >> by;
}

static bool compare(uint8_t op, int64_t a, int64_t b)
{
    switch (op) {
    case OP_EQ:
        return a == b;
    case OP_GE:
        return a >= b;
    case OP_GT:
        return a > b;
    case OP_LE:
        return a <= b;
    case OP_LT:
        return a < b;
    default:
        return a != b;
    }
}

/* What takes two and gives one. */
static void binary(struct machine *m, uint8_t op)
{
    uint64_t b = pop(m), a = pop(m);
    switch (op) {
    case OP_AND:
        push(m, a & b);
        break;
    case OP_DIV:
        push(m, divide(m, (int64_t)a, (int64_t)b));
        break;
    case OP_MINUS:
        push(m, a - b);
        break;
    case OP_MOD:
        push(m, modulo(m, a, b));
        break;
    case OP_MUL:
        push(m, a * b);
        break;
    case OP_OR:
        push(m, a | b);
        break;
    case OP_PLUS:
        push(m, a + b);
        break;
    case OP_XOR:
        push(m, a ^ b);
        break;
    case OP_SHL:
    case OP_SHR:
    case OP_SHRA:
        push(m, shift(op, a, b));
        break;
    case OP_EQ:
    case OP_GE:
    case OP_GT:
    case OP_LE:
    case OP_LT:
    case OP_NE:
        push(m, compare(op, (int64_t)a, (int64_t)b));
        break;
    default: /* among them what names no address: pieces, calls, values on the stack */
        m->r.bad = true;
    }
}

/* The ranges of operations; false: it is none of them. */
static bool run_range(struct machine *m, uint8_t op)
{
    if (op >= OP_LIT0 && op <= OP_LIT31) {
        push(m, op - OP_LIT0);
    } else if (op >= OP_BREG0 && op <= OP_BREG31) {
        push_reg(m, op - OP_BREG0, sn_cfi_sleb(&m->r));
    } else if (op >= OP_REG0 && op <= OP_REG31) {
        push_reg(m, op - OP_REG0, 0);
    } else if (op >= OP_CONST1U && op <= OP_CONST8S) {
        size_t size = (size_t)1 << ((op - OP_CONST1U) / 2);
        push(m,
             op % 2 == 0 ? sn_cfi_uint(&m->r, size) : (uint64_t)sn_cfi_sint(&m->r, size));
    } else {
        return false;
    }
    return true;
}

static void run_op(struct machine *m, uint8_t op)
{
    uint64_t v;
    if (run_range(m, op))
        return;
    switch (op) {
    case OP_NOP:
        break;
    case OP_ADDR:
        push(m, sn_cfi_uint(&m->r, 8));
        break;
    case OP_CONSTU:
        push(m, sn_cfi_uleb(&m->r));
        break;
    case OP_CONSTS:
        push(m, (uint64_t)sn_cfi_sleb(&m->r));
        break;
    case OP_DEREF:
        deref(m, 8);
        break;
    case OP_DEREF_SIZE:
        deref(m, sn_cfi_uint(&m->r, 1));
        break;
    case OP_DUP:
        pick(m, 0);
        break;
    case OP_OVER:
        pick(m, 1);
        break;
    case OP_PICK:
        pick(m, sn_cfi_uint(&m->r, 1));
        break;
    case OP_DROP:
        pop(m);
        break;
    case OP_SWAP:
        v = pop(m);
        pick(m, 0);
        if (m->n >= 2)
            m->stack[m->n - 2] = v;
        break;
    case OP_ROT:
        rotate(m);
        break;
    case OP_ABS:
        v = pop(m);
        push(m, (int64_t)v < 0 ? -v : v);
        break;
    case OP_NEG:
        push(m, -pop(m));
        break;
    case OP_NOT:
        push(m, ~pop(m));
        break;
    case OP_PLUS_UCONST:
        v = pop(m);
        push(m, v + sn_cfi_uleb(&m->r));
        break;
    case OP_REGX:
        push_reg(m, sn_cfi_uleb(&m->r), 0);
        break;
    case OP_BREGX:
        v = sn_cfi_uleb(&m->r);
        push_reg(m, v, sn_cfi_sleb(&m->r));
        break;
    case OP_SKIP:
        branch(m, true);
        break;
    case OP_BRA:
        branch(m, pop(m) != 0);
        break;
    default:
        binary(m, op);
    }
}

enum sn_cfi_eval sn_cfi_eval(const struct sn_cfi_fde *fde, uint32_t offset,
                             const uint64_t *initial, const struct sn_cfi_env *env,
                             uint64_t *value)
{
    const struct sn_cfi_bytes *s = &fde->section;
    struct machine m;
    if (offset > s->len)
        return SN_EVAL_BAD;
    m.r = (struct sn_cfi_reader){s->data + offset, s->data + s->len, false};
    uint64_t length = sn_cfi_uleb(&m.r);
    if (m.r.bad || length > (size_t)(m.r.end - m.r.p))
        return SN_EVAL_BAD;
    m.start = m.r.p;
    m.r.end = m.r.p + length;
    m.env = env;
    m.n = 0;
    m.fault = false;
    if (initial != NULL)
        push(&m, *initial);
    for (unsigned i = 0; m.r.p < m.r.end && !m.r.bad && !m.fault; i++) {
        if (i == STEPS_MAX)
            return SN_EVAL_BAD;
        run_op(&m, (uint8_t)sn_cfi_uint(&m.r, 1));
    }
    if (m.fault)
        return SN_EVAL_FAULT;
    *value = pop(&m);
    return m.r.bad ? SN_EVAL_BAD : SN_EVAL_OK;
}
