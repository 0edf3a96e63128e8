/*
 * fuzz_cfi.c: the CFI parser on any bytes: as .eh_frame_hdr with .eh_frame behind it, as
 * .eh_frame and as .debug_frame; each entry's rows, and what their expressions yield.
 */
#include "unwind/x86_64/arch.h"

#define ENTRIES_MAX 64

static bool load(void *arg, uint64_t addr, size_t size, uint64_t *value)
{
    const struct sn_cfi_bytes *s = arg;
    if (addr < s->addr || addr - s->addr > s->len || s->len - (addr - s->addr) < size)
        return false;
    *value = 0;
    memcpy(value, s->data + (addr - s->addr), size);
    return true;
}

static void try_rule(const struct sn_cfi_fde *fde, struct sn_cfi_rule rule)
{
    uint64_t regs[SN_ARCH_REGS], cfa = fde->section.addr, value;
    const struct sn_cfi_env env = {regs, load, (void *)(uintptr_t)&fde->section};
    if (rule.kind != SN_CFI_EXPR && rule.kind != SN_CFI_VAL_EXPR)
        return;
    for (unsigned i = 0; i < SN_ARCH_REGS; i++)
        regs[i] = fde->section.addr + i;
    sn_cfi_eval(fde, (uint32_t)rule.value, &cfa, &env, &value);
}

static void try_row(const struct sn_cfi_fde *fde, uint64_t pc)
{
    struct sn_cfi_row row;
    if (!sn_cfi_row_at(fde, pc, &row))
        return;
    sn_arch_rule(fde, &row, pc);
    try_rule(fde, row.cfa);
    for (unsigned i = 0; i < SN_ARCH_REGS; i++)
        try_rule(fde, row.reg[i]);
}

static void try_fde(const struct sn_cfi_fde *fde)
{
    try_row(fde, fde->start);
    try_row(fde, fde->start + (fde->end - fde->start) / 2);
    try_row(fde, fde->end - 1);
}

static void try_section(const struct sn_cfi_bytes *s, bool eh)
{
    struct sn_cfi_fde fde;
    size_t offset = 0;
    for (unsigned i = 0; i < ENTRIES_MAX; i++) {
        enum sn_cfi_entry kind = sn_cfi_next(s, eh, &offset, &fde);
        if (kind == SN_CFI_FDE)
            try_fde(&fde);
        if (kind == SN_CFI_END || kind == SN_CFI_MALFORMED)
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sn_cfi_bytes s = {data, size, 0x400000};
    struct sn_cfi_fde fde;
    try_section(&s, true);
    try_section(&s, false);
    for (uint64_t pc = 0x3fff00; pc < 0x400400; pc += 0x40)
        if (sn_cfi_find(&s, s.addr, pc, &fde) == SN_CFI_OK)
            try_row(&fde, pc);
    return 0;
}
