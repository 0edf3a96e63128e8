/* recurse.c [MS [DEPTH]]: works at the bottom of DEPTH frames of one function. */
#include "burn.h"

NOINLINE static void bottom(uint64_t until_ns)
{
    while (thread_ns() < until_ns)
        burn(50);
    STAY();
}

NOINLINE static unsigned down(unsigned depth, uint64_t until_ns)
{
    unsigned below = 0;
    if (depth > 1)
        below = down(depth - 1, until_ns);
    else
        bottom(until_ns);
    STAY();
    return below + 1;
}

int main(int argc, char **argv)
{
    unsigned frames =
        down(number(argc, argv, 2, 100), UINT64_C(1000000) * number(argc, argv, 1, 1000));
    printf("frames %u\n", frames);
    return 0;
}
