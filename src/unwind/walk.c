/*
 * walk.c: the walk itself.
 *
 *               hit                       plain, realigned, signal
 *     pc ──> rule cache ───────────────> fast step: three registers ──> next pc
 *              │ miss                      │ slow
 *              └─> module, FDE, row,       └─> from the last frame whose registers are
 * all rule; into the cache        known, with all of them, up to this one
 *
 * The cache is direct-mapped and shared by all threads without a lock. An entry is two
 * words written apart: `check` is the tag xor the rule, so that an entry torn between two
 * writers, or of another pc or generation, does not match. Tags mix pc and generation by
 * an odd factor: different pairs have different tags.
 *
 * Signal-safe, allocates nothing, about 3 KiB of stack.
 */
#include "unwind/unwind_priv.h"

#include "unwind/x86_64/arch.h"

#include <elf.h>
#include <sys/auxv.h>

#define CACHE_BITS   13
#define MET_BITS     12
#define MET_PROBES   64
/* How often a walk may go to a frame that is not above: each is a change of stacks. */
#define SWITCHES_MAX 16
/* How far a program's start code, which has no tables in some places, may reach. */
#define START_MAX    128

struct cached {
    _Atomic uint64_t check, rule;
};

static struct cached cache[1u << CACHE_BITS];
/* The same, by a hash: what shares a place in the one does not here. Two return addresses
 * of one stack whose low bits are equal would otherwise drive each other out. */
static struct cached second[1u << CACHE_BITS];
static _Atomic uint64_t generation = 1;
/* Text segments reported to on_module: page number and generation. */
static _Atomic uint64_t met[1u << MET_BITS];
static void (*on_module)(const struct sn_module *);
/* Code without tables above which no frame is: its first byte, how far it may reach. */
static struct {
    uintptr_t at, length;
} starts[3];

struct walk {
    struct sn_memory memory;
    uint64_t generation;
    struct sn_frame frame;
    bool fp_unknown;  /* of another thread, and saved nowhere yet */
    bool interrupted; /* frame.ip is where it stands, not where a call returns to */
    unsigned switches;
    enum sn_unwind_end end;
    size_t n; /* frames so far; the last is `frame` */
    /* The last frame whose registers are all known, and its number. */
    uint64_t regs[SN_ARCH_REGS];
    bool regs_interrupted;
    size_t regs_n;
};

static const char *const end_names[SN_END_COUNT] = {
    [SN_END_OUTERMOST] = "complete",
    [SN_END_DEPTH] = "too deep",
    [SN_END_NO_MODULE] = "code of no file",
    [SN_END_NO_CFI] = "no unwind information",
    [SN_END_BAD_CFI] = "bad unwind information",
    [SN_END_BAD_ADDRESS] = "unreadable memory",
    [SN_END_NOT_ABOVE] = "frames out of order"};

const char *sn_unwind_end_name(enum sn_unwind_end end)
{
    return end < SN_END_COUNT ? end_names[end] : "unknown";
}

bool sn_unwind_prepare(const struct sn_unwind_hooks *hooks, struct sn_error *e)
{
    (void)e;
    on_module = hooks != NULL ? hooks->on_module : NULL;
    const Elf64_Ehdr *loader = (const Elf64_Ehdr *)getauxval(AT_BASE);
    starts[0].at = getauxval(AT_ENTRY);
    starts[0].length = 40;
    starts[1].at = loader != NULL ? (uintptr_t)loader + loader->e_entry : 0;
    starts[1].length = 112;
    starts[2].at = sn_arch_fibre_start();
    starts[2].length = 32;
    sn_code_bind();
    sn_debug_frame_prepare();
    sn_unwind_forget();
    return true;
}

void sn_unwind_forget(void)
{
    atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed);
}

/* ---- from a pc to its rule ----------------------------------------------------------
 */

/* Report a text segment once in a generation. Entries of older ones are free to take. */
static void meet(const struct walk *w, const struct sn_module *module)
{
    if (on_module == NULL)
        return;
    uint64_t page = module->text_start / SN_PAGE;
    uint64_t mine = page << 24 | (w->generation & 0xffffff);
    for (unsigned i = 0; i < MET_PROBES; i++) {
        _Atomic uint64_t *slot = &met[(sn_hash_mix(page) + i) & ((1u << MET_BITS) - 1)];
        uint64_t old = atomic_load_explicit(slot, memory_order_relaxed);
        while (old != mine && (old & 0xffffff) != (w->generation & 0xffffff))
            if (atomic_compare_exchange_weak_explicit(
                    slot, &old, mine, memory_order_relaxed, memory_order_relaxed)) {
                on_module(module);
                return;
            }
        if (old == mine)
            return;
    }
}

static sn_rule fail(enum sn_unwind_end why)
{
    return sn_rule_make(SN_RULE_FAIL, (int32_t)why, 0);
}

/* A return address may point at the very start, and then pc lies before it. */
static bool is_start(uintptr_t pc, bool exactly)
{
    for (unsigned i = 0; i < SN_COUNT(starts); i++)
        if (starts[i].at != 0 && pc + 1 - starts[i].at < (exactly ? 1 : starts[i].length))
            return true;
    return false;
}

/* Code that no table covers: what else is known about it. */
static sn_rule uncovered(struct walk *w, uintptr_t pc, enum sn_unwind_end why)
{
    if (is_start(pc, false))
        return sn_rule_make(SN_RULE_END, 0, 0);
    /* Likewise a signal's trampoline. */
    if (sn_arch_is_sigreturn(&w->memory, pc) || sn_arch_is_sigreturn(&w->memory, pc + 1))
        return sn_rule_make(SN_RULE_SIGNAL, 0, 0);
    return fail(why);
}

static sn_rule compile(struct walk *w, uintptr_t pc, struct sn_cfi_fde *fde,
                       struct sn_cfi_row *row)
{
    struct sn_code code;
    if (!sn_code_find(&w->memory, pc, &code))
        return uncovered(w, pc, SN_END_NO_MODULE);
    meet(w, &code.module);
    if (is_start(pc, true)) /* the function before may reach up to it */
        return sn_rule_make(SN_RULE_END, 0, 0);
    enum sn_cfi_status status = sn_code_fde(&code, pc, fde);
    if (status == SN_CFI_NONE)
        return uncovered(w, pc, SN_END_NO_CFI);
    if (status != SN_CFI_OK ||
        !sn_cfi_row_at(fde, pc < fde->start ? fde->start : pc, row))
        return fail(SN_END_BAD_CFI);
    return sn_arch_rule(fde, row, pc);
}

static uint64_t tag_of(uint64_t now, uintptr_t pc)
{
    return (pc ^ now << 47) * UINT64_C(0x9e3779b97f4a7c15);
}

static struct cached *slot_of(uintptr_t pc)
{
    return &cache[pc & ((1u << CACHE_BITS) - 1)];
}

static struct cached *second_of(uint64_t tag)
{
    return &second[tag >> (64 - CACHE_BITS)];
}

static void keep(struct cached *c, uint64_t tag, sn_rule rule)
{
    atomic_store_explicit(&c->rule, rule, memory_order_relaxed);
    atomic_store_explicit(&c->check, tag ^ rule, memory_order_relaxed);
}

static inline bool holds(const struct cached *c, uint64_t tag, sn_rule *rule)
{
    *rule = atomic_load_explicit(&c->rule, memory_order_relaxed);
    uint64_t check = atomic_load_explicit(&c->check, memory_order_relaxed);
    return SN_LIKELY((check ^ *rule) == tag);
}

__attribute__((noinline, cold)) static sn_rule miss(struct walk *w, uintptr_t pc)
{
    struct sn_cfi_fde fde;
    struct sn_cfi_row row;
    uint64_t tag = tag_of(w->generation, pc);
    sn_rule rule;
    if (!holds(second_of(tag), tag, &rule)) {
        rule = compile(w, pc, &fde, &row);
        /* A file may yet be loaded there, or code be written: do not remember. */
        if (rule == fail(SN_END_NO_MODULE))
            return rule;
        keep(second_of(tag), tag, rule);
    }
    keep(slot_of(pc), tag, rule);
    return rule;
}

/* False: not cached. */
static inline bool cached_rule(uint64_t now, uintptr_t pc, sn_rule *rule)
{
    return holds(slot_of(pc), tag_of(now, pc), rule);
}

/* ---- with all registers -------------------------------------------------------------
 */

static bool load_sized(void *arg, uint64_t addr, size_t size, uint64_t *value)
{
    struct walk *w = arg;
    if (!sn_memory_readable(&w->memory, addr, size))
        return false;
    *value = 0;
    for (size_t i = 0; i < size; i++)
        *value |= (uint64_t)sn_memory_byte(addr + i) << (8 * i);
    return true;
}

static bool stop(struct walk *w, enum sn_unwind_end why)
{
    w->end = why;
    return false;
}

static bool evaluate(struct walk *w, const struct sn_cfi_fde *fde,
                     struct sn_cfi_rule rule, const uint64_t *cfa, uint64_t *value)
{
    const struct sn_cfi_env env = {w->regs, load_sized, w};
    switch (sn_cfi_eval(fde, (uint32_t)rule.value, cfa, &env, value)) {
    case SN_EVAL_OK:
        return true;
    case SN_EVAL_FAULT:
        return stop(w, SN_END_BAD_ADDRESS);
    default:
        return stop(w, SN_END_BAD_CFI);
    }
}

/* The caller's value of one register. */
static bool recover(struct walk *w, const struct sn_cfi_fde *fde, struct sn_cfi_rule rule,
                    uint64_t cfa, uint64_t *value)
{
    uint64_t at = cfa + (uint64_t)(int64_t)rule.value;
    switch (rule.kind) {
    case SN_CFI_SAME:
    case SN_CFI_UNDEFINED:
        return true;
    case SN_CFI_VAL_OFFSET:
        *value = at;
        return true;
    case SN_CFI_REGISTER:
        *value = w->regs[rule.value];
        return true;
    case SN_CFI_VAL_EXPR:
        return evaluate(w, fde, rule, &cfa, value);
    case SN_CFI_EXPR:
        if (!evaluate(w, fde, rule, &cfa, &at))
            return false;
        /* GCC keeps saying "saved at rbp" of realigned functions when rbp has been
         * restored: what is not in this frame is back in its register. */
        if (!fde->signal && at - w->regs[SN_REG_SP] >= cfa - w->regs[SN_REG_SP])
            return true;
        break;
    case SN_CFI_OFFSET:
        break;
    }
    return sn_memory_load(&w->memory, at, value) || stop(w, SN_END_BAD_ADDRESS);
}

static bool apply_row(struct walk *w, const struct sn_cfi_fde *fde,
                      const struct sn_cfi_row *row)
{
    uint64_t caller[SN_ARCH_REGS], cfa;
    if (row->cfa.kind == SN_CFI_VAL_EXPR) {
        if (!evaluate(w, fde, row->cfa, NULL, &cfa))
            return false;
    } else {
        cfa = w->regs[row->cfa.reg] + (uint64_t)(int64_t)row->cfa.value;
    }
    for (unsigned i = 0; i < SN_ARCH_REGS; i++) {
        caller[i] = i == SN_REG_SP ? cfa : w->regs[i];
        if (!recover(w, fde, row->reg[i], cfa, &caller[i]))
            return false;
    }
    if (row->reg[fde->ra].kind == SN_CFI_UNDEFINED)
        return stop(w, SN_END_OUTERMOST);
    if (row->reg[fde->ra].kind == SN_CFI_SAME)
        return stop(w, SN_END_BAD_CFI); /* it would return to itself */
    caller[SN_REG_PC] = caller[fde->ra];
    memcpy(w->regs, caller, sizeof caller);
    w->regs_interrupted = fde->signal;
    return true;
}

static bool guess(struct walk *w, struct sn_frame *f, bool interrupted,
                  enum sn_unwind_end why)
{
    bool guessed = (why == SN_END_NO_MODULE || why == SN_END_NO_CFI) &&
                   sn_arch_guess(&w->memory, f, interrupted);
    return guessed || stop(w, why);
}

static bool load_word(void *arg, uint64_t addr, uint64_t *value)
{
    struct walk *w = arg;
    return sn_memory_load(&w->memory, addr, value);
}

static bool is_code(void *arg, uint64_t addr)
{
    struct walk *w = arg;
    struct sn_code code;
    return sn_code_find(&w->memory, addr, &code) && addr >= code.module.text_start &&
           addr < code.module.text_end;
}

/* By a row; the frame pointer is looked for if it takes one that is not known. */
static bool apply_row_asleep(struct walk *w, const struct sn_cfi_fde *fde,
                             const struct sn_cfi_row *row)
{
    const struct sn_unwind_env env = {load_word, is_code, w};
    if (row->cfa.kind == SN_CFI_VAL_OFFSET && row->cfa.reg == SN_REG_FP) {
        if (!sn_unwind_frame_pointer(&env, w->regs[SN_REG_SP], fde->start,
                                     &w->regs[SN_REG_FP]))
            return stop(w, SN_END_BAD_ADDRESS);
        w->fp_unknown = false;
    }
    if (!apply_row(w, fde, row))
        return false;
    enum sn_cfi_kind saved = row->reg[SN_REG_FP].kind;
    w->fp_unknown &= saved == SN_CFI_SAME || saved == SN_CFI_UNDEFINED;
    return true;
}

static struct sn_frame frame_of(const uint64_t *regs)
{
    return (struct sn_frame){regs[SN_REG_PC], regs[SN_REG_SP], regs[SN_REG_FP]};
}

/* Take `regs` one frame up. */
static bool slow_step(struct walk *w)
{
    struct sn_cfi_fde fde;
    struct sn_cfi_row row;
    uintptr_t pc = w->regs[SN_REG_PC] - !w->regs_interrupted;
    sn_rule rule = compile(w, pc, &fde, &row);
    switch (sn_rule_kind(rule)) {
    case SN_RULE_END:
        return stop(w, SN_END_OUTERMOST);
    case SN_RULE_SIGNAL:
        w->regs_interrupted = true;
        w->fp_unknown = false;
        return sn_arch_signal(&w->memory, w->regs[SN_REG_SP], w->regs) ||
               stop(w, SN_END_BAD_ADDRESS);
    case SN_RULE_FAIL: {
        struct sn_frame f = frame_of(w->regs);
        if (!guess(w, &f, w->regs_interrupted, (enum sn_unwind_end)sn_rule_offset(rule)))
            return false;
        w->regs[SN_REG_PC] = f.ip;
        w->regs[SN_REG_SP] = f.sp;
        w->regs[SN_REG_FP] = f.fp;
        w->regs_interrupted = false;
        return true;
    }
    default:
        return w->fp_unknown ? apply_row_asleep(w, &fde, &row) : apply_row(w, &fde, &row);
    }
}

/* The registers catch up with the frame, and go one beyond. */
__attribute__((noinline, cold)) static bool slow(struct walk *w)
{
    for (; w->regs_n <= w->n; w->regs_n++)
        if (!slow_step(w))
            return false;
    w->frame = frame_of(w->regs);
    w->interrupted = w->regs_interrupted;
    return true;
}

/* ---- with three ---------------------------------------------------------------------
 */

/* A frame that is not above its callee's: a change of stacks, or nonsense. */
static bool odd_place(struct walk *w)
{
    return ++w->switches <= SWITCHES_MAX || stop(w, SN_END_NOT_ABOVE);
}

static bool step_drap(struct walk *w, sn_rule rule)
{
    struct sn_frame *f = &w->frame;
    uint64_t cfa, saved;
    if (!sn_memory_load(&w->memory, f->fp + (uintptr_t)sn_rule_offset(rule), &cfa) ||
        !sn_memory_load(&w->memory, f->fp + (uintptr_t)sn_rule_slot(rule), &saved) ||
        !sn_memory_load(&w->memory, cfa - 8, &f->ip))
        return stop(w, SN_END_BAD_ADDRESS);
    if (!sn_frame_above(f->sp, cfa) && !odd_place(w))
        return false;
    f->sp = cfa;
    f->fp = saved;
    w->interrupted = false;
    return true;
}

static bool step_signal(struct walk *w)
{
    uint64_t regs[SN_ARCH_REGS];
    if (!sn_arch_signal(&w->memory, w->frame.sp, regs))
        return stop(w, SN_END_BAD_ADDRESS);
    memcpy(w->regs, regs, sizeof regs);
    w->frame = frame_of(regs);
    w->interrupted = w->regs_interrupted = true;
    w->regs_n = w->n + 1;
    return true;
}

/* Every kind of rule but the plain ones. */
static bool step_special(struct walk *w, sn_rule rule)
{
    switch (sn_rule_kind(rule)) {
    case SN_RULE_DRAP:
        return step_drap(w, rule);
    case SN_RULE_SIGNAL:
        return step_signal(w);
    case SN_RULE_SLOW: {
        uintptr_t sp = w->frame.sp;
        return slow(w) &&
               (w->interrupted || sn_frame_above(sp, w->frame.sp) || odd_place(w));
    }
    case SN_RULE_FAIL: {
        bool interrupted = w->interrupted;
        w->interrupted = false;
        return guess(w, &w->frame, interrupted, (enum sn_unwind_end)sn_rule_offset(rule));
    }
    default:
        return stop(w, SN_END_OUTERMOST);
    }
}

/* Any step. */
__attribute__((noinline)) static bool step(struct walk *w, sn_rule rule)
{
    if (sn_rule_kind(rule) >= SN_RULE_PLAIN_COUNT)
        return step_special(w, rule);
    if (!sn_frame_above(w->frame.sp, sn_rule_cfa(rule, &w->frame)) && !odd_place(w))
        return false;
    w->interrupted = false;
    return sn_rule_apply(rule, &w->memory, &w->frame) || stop(w, SN_END_BAD_ADDRESS);
}

static void start(struct walk *w, struct sn_stack_range stack)
{
    w->frame = frame_of(w->regs);
    w->interrupted = w->regs_interrupted = true;
    w->fp_unknown = false;
    w->n = w->regs_n = 1;
    w->switches = 0;
    w->end = SN_END_DEPTH;
    w->generation = atomic_load_explicit(&generation, memory_order_relaxed);
    sn_memory_init(&w->memory, stack, w->frame.sp);
}

/* From w->regs. */
static size_t walk(struct walk *w, struct sn_stack_range stack, uintptr_t *pcs,
                   size_t max)
{
    start(w, stack);
    /* What the loop needs is kept out of *w, whose address is known elsewhere: it then
     * lives in registers. */
    struct sn_frame f = w->frame;
    struct sn_window window = w->memory.window;
    const uint64_t now = w->generation;
    uintptr_t pc = f.ip;
    size_t n = 0;
    while (n < max) {
        sn_rule rule;
        pcs[n++] = pc;
        bool known = cached_rule(now, pc, &rule);
        if (SN_LIKELY(known && sn_rule_kind(rule) < SN_RULE_PLAIN_COUNT) &&
            SN_LIKELY(sn_rule_fast(rule, window, &f))) {
            pc = f.ip - 1;
        } else {
            sn_frame_scalar(&f);
            w->frame = f;
            w->interrupted = pc == f.ip;
            w->n = n;
            if (!step(w, known ? rule : miss(w, pc)))
                break;
            f = w->frame;
            window = w->memory.window;
            pc = f.ip - !w->interrupted;
        }
        if (SN_UNLIKELY(f.ip == 0)) {
            /* So fibres begin; a thread's own stack ends where its start says so. */
            bool own = sn_window_holds(w->memory.stack, f.sp - 8);
            w->end = own ? SN_END_NO_MODULE : SN_END_OUTERMOST;
            break;
        }
    }
    return n;
}

size_t sn_unwind(const ucontext_t *uc, struct sn_stack_range stack, uintptr_t *pcs,
                 size_t max, enum sn_unwind_end *end)
{
    struct walk w;
    sn_arch_context(uc, w.regs);
    size_t n = walk(&w, stack, pcs, max);
    *end = w.end;
    return n;
}

size_t sn_unwind_here(struct sn_stack_range stack, uintptr_t *pcs, size_t max,
                      enum sn_unwind_end *end)
{
    struct walk w;
    sn_arch_here(w.regs);
    size_t n = walk(&w, stack, pcs, max);
    *end = w.end;
    return n;
}

size_t sn_unwind_asleep(uintptr_t pc, uintptr_t sp, uintptr_t *pcs, size_t max,
                        enum sn_unwind_end *end)
{
    struct walk w = {.regs = {[SN_REG_PC] = pc, [SN_REG_SP] = sp}};
    size_t n = 0;
    start(&w, (struct sn_stack_range){0});
    w.fp_unknown = true;
    while (n < max) {
        uint64_t below = w.regs[SN_REG_SP];
        pcs[n++] = w.regs[SN_REG_PC] - !w.regs_interrupted;
        if (!slow_step(&w) ||
            (!w.regs_interrupted && !sn_frame_above(below, w.regs[SN_REG_SP]) &&
             !odd_place(&w)))
            break;
        if (w.regs[SN_REG_PC] == 0) {
            w.end = SN_END_OUTERMOST;
            break;
        }
    }
    *end = w.end;
    return n;
}

void sn_unwind_registers(const ucontext_t *uc, uint64_t registers[24], uintptr_t *sp)
{
    uint64_t regs[SN_ARCH_REGS];
    sn_arch_context(uc, regs);
    for (unsigned i = 0; i < 24; i++)
        registers[i] = i < SN_ARCH_REGS ? regs[i] : 0;
    *sp = regs[SN_REG_SP];
}
