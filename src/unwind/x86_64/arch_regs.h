/*
 * arch_regs.h: what the machine-independent part must know of x86-64: how many registers
 * CFI may track, which ones matter, a system call that leaves errno alone. Numbers as in
 * the x86-64 psABI, figure 3.36.
 */
#ifndef SN_ARCH_REGS_H
#define SN_ARCH_REGS_H

#define SN_ARCH_REGS 17

enum { SN_REG_FP = 6, SN_REG_SP = 7, SN_REG_PC = 16 };

static inline long sn_arch_syscall4(long number, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

#endif
