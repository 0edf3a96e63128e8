/*
 * burn.h: work of a steady price for the truth programs, and the clock that says what it
 * cost.
 *
 * A truth program runs named functions in known proportions, measures by its own thread
 * clock what each took, and prints "truth NAME NANOSECONDS" lines. The tests hold a
 * profile against them: what is asserted is the shape, never how long anything took.
 */
#ifndef BURN_H
#define BURN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NOINLINE __attribute__((noinline, noclone, no_icf))
/* Last in a function: keeps the call before it from becoming a jump, which would take the
 * function off the stack. */
#define STAY()   __asm__ volatile("" ::: "memory")

static volatile uint64_t burn_sink;

/* About a microsecond a unit, in the caller's own frame. */
__attribute__((always_inline)) static inline void burn(unsigned units)
{
    uint64_t x = burn_sink | 1;
    for (unsigned i = 0; i < units * 512; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        __asm__ volatile("" : "+r"(x));
    }
    burn_sink = x;
}

static inline uint64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#define TIMED(sum, call)                                                                 \
    do {                                                                                 \
        uint64_t before_ns = thread_ns();                                                \
        call;                                                                            \
        (sum) += thread_ns() - before_ns;                                                \
    } while (0)

static inline void truth(const char *name, uint64_t ns)
{
    printf("truth %s %llu\n", name, (unsigned long long)ns);
}

/* The n-th argument as a number, or what is usual. */
static inline unsigned number(int argc, char **argv, int n, unsigned usual)
{
    return argc > n ? (unsigned)strtoul(argv[n], NULL, 10) : usual;
}

#endif
