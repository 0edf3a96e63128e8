/* shares.c [MS]: four functions that take 40, 30, 20 and 10 % of the time, in random
 * order, so that no sampling period fits. Built with several sets of flags. */
#include "burn.h"

NOINLINE static void forty(unsigned n)
{
    burn(4 * n);
}
NOINLINE static void thirty(unsigned n)
{
    burn(3 * n);
}
NOINLINE static void twenty(unsigned n)
{
    burn(2 * n);
}
NOINLINE static void ten(unsigned n)
{
    burn(n);
}

static const struct {
    const char *name;
    void (*run)(unsigned n);
} parts[] = {{"forty", forty}, {"thirty", thirty}, {"twenty", twenty}, {"ten", ten}};

NOINLINE static void work(uint64_t until_ns, uint64_t sums[4])
{
    unsigned order[4] = {0, 1, 2, 3}, seed = 1;
    while (thread_ns() < until_ns) {
        for (unsigned i = 3; i > 0; i--) {
            seed = seed * 1103515245 + 12345;
            unsigned j = (seed >> 16) % (i + 1), k = order[i];
            order[i] = order[j];
            order[j] = k;
        }
        for (unsigned i = 0; i < 4; i++)
            TIMED(sums[order[i]], parts[order[i]].run(100));
    }
    STAY();
}

int main(int argc, char **argv)
{
    uint64_t sums[4] = {0};
    work(UINT64_C(1000000) * number(argc, argv, 1, 2000), sums);
    for (unsigned i = 0; i < 4; i++)
        truth(parts[i].name, sums[i]);
    return 0;
}
