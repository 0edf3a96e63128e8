/*
 * stack.c: stacks of our own, for handlers that write files. Where such a signal comes,
 * the program may have little room: a thread of PTHREAD_STACK_MIN, a fibre. What is left
 * of it holds the kernel's frame and a few words of ours.
 *
 * Each stack has one user at a time, its callers see to that. It is never unmapped. There
 * is no unwinding through here: nothing on these stacks allocates.
 */
#include "runtime/runtime.h"

#include <sys/mman.h>

#define PAGE        ((size_t)4096)
#define STACK_BYTES ((size_t)256 << 10)

static char *stacks[SN_OWN_STACKS]; /* NULL: none, the program's must do */
static __thread uintptr_t left_at __attribute__((tls_model("initial-exec")));

void sn_stack_open(enum sn_own_stack which)
{
    if (stacks[which] != NULL)
        return;
    char *p = sn_pages_map(STACK_BYTES);
    if (p != NULL)
        mprotect(p, PAGE, PROT_NONE);
    stacks[which] = p;
}

void sn_stack_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                    void *argument)
{
    for (int i = 0; i < SN_OWN_STACKS; i++)
        if (stacks[i] != NULL)
            visit(stacks[i], STACK_BYTES, argument);
}

/* Call `function` with the stack pointer at `top`, a multiple of 16. */
void sn_stack_switch(void *top, void (*function)(void))
    __attribute__((visibility("hidden")));
#if defined __x86_64__
__asm__(".text\n"
        ".hidden sn_stack_switch\n"
        ".globl sn_stack_switch\n"
        ".type sn_stack_switch, @function\n"
        "sn_stack_switch:\n"
        ".cfi_startproc\n"
        "endbr64\n"
        "pushq %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset %rbp, -16\n"
        "movq %rsp, %rbp\n"
        ".cfi_def_cfa_register %rbp\n"
        "movq %rdi, %rsp\n"
        "callq *%rsi\n"
        "leave\n"
        ".cfi_def_cfa %rsp, 8\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size sn_stack_switch, .-sn_stack_switch\n");
#elif defined __aarch64__
__asm__(".text\n"
        ".hidden sn_stack_switch\n"
        ".globl sn_stack_switch\n"
        ".type sn_stack_switch, %function\n"
        "sn_stack_switch:\n"
        ".cfi_startproc\n"
        "stp x29, x30, [sp, #-16]!\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset 29, -16\n"
        ".cfi_offset 30, -8\n"
        "mov x29, sp\n"
        ".cfi_def_cfa_register 29\n"
        "mov sp, x0\n"
        "blr x1\n"
        "mov sp, x29\n"
        "ldp x29, x30, [sp], #16\n"
        ".cfi_def_cfa 31, 0\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size sn_stack_switch, .-sn_stack_switch\n");
#endif

/* What the registers hold goes to the stack that is left, where a scan finds it. */
__attribute__((noinline)) void sn_stack_call(enum sn_own_stack which,
                                             void (*function)(void))
{
    uintptr_t before = left_at;
    __builtin_unwind_init();
    if (stacks[which] == NULL) {
        function();
        return;
    }
    if (before == 0)
        left_at = (uintptr_t)__builtin_frame_address(0);
    sn_stack_switch(stacks[which] + STACK_BYTES, function);
    left_at = before;
}

uintptr_t sn_stack_left_at(void)
{
    return left_at;
}
