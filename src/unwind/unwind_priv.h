/*
 * What the files of the room share: the CFI parser's contract, checked memory, modules.
 * The architecture's part is arch.h in its own folder.
 */
#ifndef SN_UNWIND_PRIV_H
#define SN_UNWIND_PRIV_H

#include "unwind/unwind.h"

#include <stdatomic.h>

#if defined(__x86_64__)
#include "unwind/x86_64/arch_regs.h"
#else
#error "the unwinder knows x86-64 only, so far"
#endif

#define SN_LIKELY(x)   __builtin_expect(!!(x), 1)
#define SN_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* ---- cfi.c, cfi_row.c, cfi_expr.c: DWARF call frame information ---------------------
 *
 * Pure: bytes in, rules out; nothing outside of the ranges given is read. Bounded in time
 * and stack. DWARF 5, section 6.4; LSB Core 5.0, "Exception Frames".
 */

/* Bytes as they lie in memory, or will: data[0] has the address `addr`. */
struct sn_cfi_bytes {
    const uint8_t *data;
    size_t len;
    uint64_t addr;
};

/* A reader that cannot leave its bytes: past the end it yields 0 and `bad` stays set. */
struct sn_cfi_reader {
    const uint8_t *p, *end;
    bool bad;
};

uint64_t sn_cfi_uint(struct sn_cfi_reader *r, size_t size); /* little endian, <= 8 */
int64_t sn_cfi_sint(struct sn_cfi_reader *r, size_t size);
uint64_t sn_cfi_uleb(struct sn_cfi_reader *r);
int64_t sn_cfi_sleb(struct sn_cfi_reader *r);
/* A pointer in one of the DW_EH_PE encodings; `base` serves DW_EH_PE_datarel. */
uint64_t sn_cfi_pointer(struct sn_cfi_reader *r, const struct sn_cfi_bytes *s,
                        uint8_t encoding, uint64_t base);

/* A function's entry with what its CIE says. Its programs are ranges of the section. */
struct sn_cfi_fde {
    uint64_t start, end; /* the code it covers */
    uint64_t code_align;
    int64_t data_align;
    uint64_t bias; /* start and end lie so far above what the section says */
    unsigned ra;   /* the column of the return address */
    bool signal; /* a signal's trampoline: the caller was interrupted, it did not call */
    uint8_t encoding;
    struct sn_cfi_bytes section; /* expressions are kept as offsets into it */
    const uint8_t *cie_program, *cie_program_end;
    const uint8_t *program, *program_end;
};

enum sn_cfi_status { SN_CFI_OK, SN_CFI_NONE /* not covered */, SN_CFI_BAD };

enum sn_cfi_entry { SN_CFI_FDE, SN_CFI_CIE, SN_CFI_END, SN_CFI_MALFORMED };

/* The entry at *offset, which is moved behind it. `eh` tells .eh_frame from .debug_frame.
 */
enum sn_cfi_entry sn_cfi_next(const struct sn_cfi_bytes *section, bool eh, size_t *offset,
                              struct sn_cfi_fde *fde);
/* The entry that covers pc, through .eh_frame_hdr (whose first byte is at the address
 * `hdr`) if it has its table, else one after the other. Both sections lie in `segment`.
 */
enum sn_cfi_status sn_cfi_find(const struct sn_cfi_bytes *segment, uint64_t hdr,
                               uint64_t pc, struct sn_cfi_fde *fde);

/* Where a caller's register is. `value` is an offset from the CFA, a register, or the
 * offset of an expression's block (a ULEB128 length, then its operations). */
struct sn_cfi_rule {
    enum sn_cfi_kind {
        SN_CFI_SAME, /* also what nothing was said about */
        SN_CFI_UNDEFINED,
        SN_CFI_OFFSET,     /* saved at CFA + value */
        SN_CFI_VAL_OFFSET, /* is CFA + value */
        SN_CFI_REGISTER,   /* in the register `value` */
        SN_CFI_EXPR,       /* saved where the expression says */
        SN_CFI_VAL_EXPR    /* is what the expression says */
    } __attribute__((packed)) kind;
    uint8_t reg; /* of the CFA: its base */
    int32_t value;
};

struct sn_cfi_row {
    struct sn_cfi_rule cfa; /* VAL_OFFSET: reg + value; or VAL_EXPR */
    struct sn_cfi_rule reg[SN_ARCH_REGS];
};

/* Run the programs up to the row of pc, which the entry covers. False: malformed. */
bool sn_cfi_row_at(const struct sn_cfi_fde *fde, uint64_t pc, struct sn_cfi_row *row);

/* What an expression may look at. */
struct sn_cfi_env {
    const uint64_t *regs; /* SN_ARCH_REGS of them */
    bool (*load)(void *arg, uint64_t addr, size_t size, uint64_t *value);
    void *arg;
};

enum sn_cfi_eval { SN_EVAL_OK, SN_EVAL_BAD, SN_EVAL_FAULT /* a load failed */ };

/* Evaluate the block at `offset`; `initial` (the CFA) begins on the stack if not NULL. */
enum sn_cfi_eval sn_cfi_eval(const struct sn_cfi_fde *fde, uint32_t offset,
                             const uint64_t *initial, const struct sn_cfi_env *env,
                             uint64_t *value);

/* ---- memory.c: loads that cannot fault ----------------------------------------------
 */

#define SN_PAGE        ((uintptr_t)4096)
#define SN_PAGES_KNOWN 16

/* Where plain loads of 8 bytes are safe: at lo + [0, span). */
struct sn_window {
    uintptr_t lo, span;
};

struct sn_memory {
    struct sn_window window; /* around the last load */
    struct sn_window stack;  /* the thread's own stack, above the interrupted frame */
    uintptr_t known[SN_PAGES_KNOWN]; /* pages found readable in this walk, by number */
};

void sn_memory_init(struct sn_memory *m, struct sn_stack_range stack, uintptr_t sp);
/* Can [addr, addr + size) be read? Asks the kernel about pages not yet known. */
bool sn_memory_readable(struct sn_memory *m, uintptr_t addr, size_t size);
/* The 8 bytes at addr, and the window moves there. */
bool sn_memory_probe(struct sn_memory *m, uintptr_t addr, uint64_t *value);

/* Sanitizers keep books on the stacks that are walked here: they must look away. */
#define SN_NO_SANITIZE                                                                   \
    __attribute__((no_sanitize("address"), no_sanitize("thread"),                        \
                   no_sanitize("undefined")))

SN_NO_SANITIZE static inline uint64_t sn_memory_raw(uintptr_t addr)
{
    typedef uint64_t __attribute__((aligned(1), may_alias)) word;
    return *(const volatile word *)addr;
}

SN_NO_SANITIZE static inline uint8_t sn_memory_byte(uintptr_t addr)
{
    return *(const volatile uint8_t *)addr;
}

static inline bool sn_window_holds(struct sn_window w, uintptr_t addr)
{
    return SN_LIKELY(addr - w.lo < w.span);
}

/* The 8 bytes at addr. */
static inline bool sn_memory_load(struct sn_memory *m, uintptr_t addr, uint64_t *value)
{
    if (!sn_window_holds(m->window, addr))
        return sn_memory_probe(m, addr, value);
    *value = sn_memory_raw(addr);
    return true;
}

/* ---- module.c, debug_frame.c: whose code is it? -------------------------------------
 */

struct sn_code {
    struct sn_module module;
    uintptr_t bias;
    uintptr_t eh_hdr;               /* .eh_frame_hdr; 0: none */
    struct sn_cfi_bytes eh_segment; /* what holds it and .eh_frame */
};

void sn_code_bind(void);
/* The module of pc; false if there is none. Signal-safe. */
bool sn_code_find(struct sn_memory *m, uintptr_t pc, struct sn_code *code);
/* The entry that covers pc. Signal-safe. */
enum sn_cfi_status sn_code_fde(const struct sn_code *code, uintptr_t pc,
                               struct sn_cfi_fde *fde);

/* Read the .debug_frame of every loaded module that has one and is not known yet. */
void sn_debug_frame_prepare(void);
enum sn_cfi_status sn_debug_frame_find(const struct sn_code *code, uintptr_t pc,
                                       struct sn_cfi_fde *fde);

#endif
