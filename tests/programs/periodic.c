/* periodic.c [MS [PERIOD_US]]: repeats exactly the same 40, 30, 20 and 10 % every
 * PERIOD_US of its own CPU time: a clock of a fixed period can fall in step with it. */
#include "burn.h"

NOINLINE static void until(uint64_t end_ns)
{
    while (thread_ns() < end_ns)
        burn(1);
    STAY();
}

NOINLINE static void forty(uint64_t end_ns)
{
    until(end_ns);
    STAY();
}
NOINLINE static void thirty(uint64_t end_ns)
{
    until(end_ns);
    STAY();
}
NOINLINE static void twenty(uint64_t end_ns)
{
    until(end_ns);
    STAY();
}
NOINLINE static void ten(uint64_t end_ns)
{
    until(end_ns);
    STAY();
}

int main(int argc, char **argv)
{
    uint64_t total_ns = UINT64_C(1000000) * number(argc, argv, 1, 2000);
    uint64_t period_ns = UINT64_C(1000) * number(argc, argv, 2, 3400);
    uint64_t sums[4] = {0};
    for (uint64_t t = thread_ns(); t < total_ns; t += period_ns) {
        TIMED(sums[0], forty(t + period_ns * 4 / 10));
        TIMED(sums[1], thirty(t + period_ns * 7 / 10));
        TIMED(sums[2], twenty(t + period_ns * 9 / 10));
        TIMED(sums[3], ten(t + period_ns));
    }
    truth("forty", sums[0]);
    truth("thirty", sums[1]);
    truth("twenty", sums[2]);
    truth("ten", sums[3]);
    return 0;
}
