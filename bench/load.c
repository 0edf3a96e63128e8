/*
 * load.c UNITS DEPTH THREADS: a fixed piece of work at the bottom of DEPTH frames, spread
 * over eight leaf functions and two kinds of caller, on each of THREADS threads. Prints
 * the CPU nanoseconds of the whole process: what a profiler costs is what that grows by.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NOINLINE __attribute__((noinline, noclone, no_icf))

static unsigned units, depth;
static volatile uint64_t sink;

#define LEAF(name)                                                                       \
    NOINLINE static uint64_t name(uint64_t x)                                            \
    {                                                                                    \
        for (int i = 0; i < 2048; i++) {                                                 \
            x = x * UINT64_C(6364136223846793005) + 1;                                   \
            __asm__ volatile("" : "+r"(x));                                              \
        }                                                                                \
        return x;                                                                        \
    }
LEAF(leaf0)
LEAF(leaf1)
LEAF(leaf2)
LEAF(leaf3)
LEAF(leaf4)
LEAF(leaf5)
LEAF(leaf6)
LEAF(leaf7)

static uint64_t (*const leaves[])(uint64_t) = {leaf0, leaf1, leaf2, leaf3,
                                               leaf4, leaf5, leaf6, leaf7};

NOINLINE static uint64_t bottom(uint64_t x)
{
    for (unsigned i = 0; i < 64; i++)
        x += leaves[i % 8](x);
    return x + 1;
}

NOINLINE static uint64_t odd(unsigned left, uint64_t x);

NOINLINE static uint64_t even(unsigned left, uint64_t x)
{
    volatile uint64_t local[4] = {x};
    return (left > 0 ? odd(left - 1, x) : bottom(x)) + local[0];
}

NOINLINE static uint64_t odd(unsigned left, uint64_t x)
{
    volatile uint64_t local[8] = {x};
    return (left > 0 ? even(left - 1, x) : bottom(x)) + local[0];
}

static void *work(void *unused)
{
    uint64_t x = 1;
    (void)unused;
    for (unsigned i = 0; i < units; i++)
        x += even(depth - 1, x);
    sink = x;
    return NULL;
}

int main(int argc, char **argv)
{
    struct timespec t;
    pthread_t others[64];
    if (argc != 4)
        return 2;
    units = (unsigned)atoi(argv[1]);
    depth = (unsigned)atoi(argv[2]);
    int threads = atoi(argv[3]) < 64 ? atoi(argv[3]) : 64;
    for (int i = 1; i < threads; i++)
        if (pthread_create(&others[i], NULL, work, NULL) != 0)
            return 1;
    work(NULL);
    for (int i = 1; i < threads; i++)
        pthread_join(others[i], NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    printf("%lld\n", (long long)t.tv_sec * 1000000000 + t.tv_nsec);
    return 0;
}
