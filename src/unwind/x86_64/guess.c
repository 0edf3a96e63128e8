/*
 * guess.c: code about which no table tells anything (made at run time, or assembly): its
 * bytes, and frame pointers if what they lead to looks like a return address.
 *
 * Allocates nothing, signal-safe. Reads only what sn_memory finds readable.
 */
#include "unwind/x86_64/arch.h"

#define GUESS_FRAME_MAX ((uintptr_t)1 << 20)

static bool code_is(struct sn_memory *m, uintptr_t at, const char *bytes, size_t n)
{
    if (!sn_memory_readable(m, at, n))
        return false;
    for (size_t i = 0; i < n; i++)
        if (sn_memory_byte(at + i) != (uint8_t)bytes[i])
            return false;
    return true;
}

bool sn_arch_is_sigreturn(struct sn_memory *m, uintptr_t pc)
{
    /* mov $15, %rax (or %eax); syscall */
    return code_is(m, pc, "\x48\xc7\xc0\x0f\0\0\0\x0f\x05", 9) ||
           code_is(m, pc, "\xb8\x0f\0\0\0\x0f\x05", 7);
}

/* The length of an indirect call (opcode 0xff /2) by its ModRM and SIB bytes; 0 if it is
 * none. */
static unsigned call_length(uint8_t modrm, uint8_t sib)
{
    unsigned mod = modrm >> 6, rm = modrm & 7;
    if ((modrm >> 3 & 7) != 2)
        return 0;
    if (mod == 3)
        return 2;
    unsigned length = rm == 4 ? 3 : 2;
    if (mod == 1)
        return length + 1;
    if (mod == 2 || rm == 5 || (rm == 4 && (sib & 7) == 5))
        return length + 4;
    return length;
}

bool sn_arch_is_call(const uint8_t before[8], uint64_t next, uint64_t *target)
{
    int32_t distance;
    *target = 0;
    if (before[3] == 0xe8) {
        memcpy(&distance, before + 4, sizeof distance);
        *target = next + (uint64_t)(int64_t)distance;
        return true;
    }
    for (unsigned n = 2; n <= 7; n++)
        if (before[8 - n] == 0xff &&
            call_length(before[9 - n], n > 2 ? before[10 - n] : 0) == n)
            return true;
    return false;
}

/* Is there a call right before it? */
static bool is_return_address(struct sn_memory *m, uintptr_t ra)
{
    uint8_t before[8];
    uint64_t target;
    if (ra < 16 || !sn_memory_readable(m, ra - 8, 8))
        return false;
    for (unsigned i = 0; i < 8; i++)
        before[i] = sn_memory_byte(ra - 8 + i);
    return sn_arch_is_call(before, ra, &target);
}

/* The return address at `at`; the caller's frame begins behind. The outermost has none,
 * and no caller whose frame pointer were to be saved. */
static bool take_return(struct sn_memory *m, struct sn_frame *f, uintptr_t at,
                        uint64_t fp)
{
    uint64_t ra;
    if (!sn_memory_load(m, at, &ra) || !(ra == 0 ? fp == 0 : is_return_address(m, ra)))
        return false;
    *f = (struct sn_frame){.ip = ra, .sp = at + 8, .fp = fp};
    return true;
}

/* Instructions that tell where the return address is, because they stand where a frame is
 * not made yet or not any more. */
static const struct edge {
    const char *bytes;
    uint8_t n, ra; /* return address at rsp + ra */
    bool saved;    /* the caller's frame pointer at rsp */
} edges[] = {
    {"\xf3\x0f\x1e\xfa", 4, 0, false},     /* endbr64 */
    {"\x55", 1, 0, false},                 /* push %rbp */
    {"\x48\x89\xe5", 3, 8, true},          /* mov %rsp, %rbp */
    {"\x48\x8b\xec", 3, 8, true},          /* the same */
    {"\x48\x83\xec\x08", 4, 0, false},     /* sub $8, %rsp */
    {"\x48\x83\xc4\x08\xc3", 5, 8, false}, /* add $8, %rsp; ret */
    {"\x5d\xc3", 2, 8, true},              /* pop %rbp; ret */
    {"\xc3", 1, 0, false},                 /* ret */
};

static bool guess_edge(struct sn_memory *m, struct sn_frame *f)
{
    uint64_t saved = f->fp;
    if (!sn_memory_readable(m, f->ip, 1))
        return take_return(m, f, f->sp, f->fp); /* a call to nowhere */
    for (const struct edge *e = edges; e < edges + SN_COUNT(edges); e++)
        if (code_is(m, f->ip, e->bytes, e->n))
            return (!e->saved || sn_memory_load(m, f->sp, &saved)) &&
                   take_return(m, f, f->sp + e->ra, saved);
    return false;
}

bool sn_arch_guess(struct sn_memory *m, struct sn_frame *f, bool interrupted)
{
    uint64_t saved;
    if (interrupted && guess_edge(m, f))
        return true;
    if (f->fp % 8 != 0 || f->fp - f->sp >= GUESS_FRAME_MAX)
        return false;
    return sn_memory_load(m, f->fp, &saved) && take_return(m, f, f->fp + 8, saved);
}
