/* fibres.c [MS]: four fibres on stacks of their own (two from malloc, two mapped), which
 * hand the thread round in the middle of their work, twelve frames deep. */
#include "burn.h"

#include <sys/mman.h>
#include <ucontext.h>

#define FIBRES      4
#define STACK_BYTES ((size_t)64 << 10)

static ucontext_t home, fibres[FIBRES];
static unsigned turn;
static uint64_t until_ns;

NOINLINE static void hand_over(void)
{
    unsigned from = turn;
    turn = (turn + 1) % FIBRES;
    if (swapcontext(&fibres[from], &fibres[turn]) != 0)
        abort();
}

NOINLINE static void deep(unsigned depth)
{
    if (depth > 0) {
        deep(depth - 1);
    } else {
        burn(400);
        hand_over();
        burn(400);
    }
    STAY();
}

NOINLINE static void fibre(void)
{
    while (thread_ns() < until_ns)
        deep(12);
    swapcontext(&fibres[turn], &home);
}

static void *new_stack(unsigned i)
{
    if (i % 2 == 0)
        return malloc(STACK_BYTES);
    return mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
}

static void prepare(unsigned i)
{
    getcontext(&fibres[i]);
    fibres[i].uc_stack.ss_sp = new_stack(i);
    fibres[i].uc_stack.ss_size = STACK_BYTES;
    makecontext(&fibres[i], fibre, 0);
}

int main(int argc, char **argv)
{
    until_ns = UINT64_C(1000000) * number(argc, argv, 1, 1000);
    for (unsigned i = 0; i < FIBRES; i++)
        prepare(i);
    swapcontext(&home, &fibres[0]);
    puts("home");
    return 0;
}
