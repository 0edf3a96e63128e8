/*
 * heap_load.c loop PAIRS MIN MAX THREADS [LIVE [SEED]]
 * heap_load.c hold BLOCKS
 *
 * loop: each of THREADS threads frees a block and allocates another, PAIRS times in all,
 * at the bottom of a call path of MIN to MAX frames; LIVE blocks a thread stay allocated.
 * Which block, its size (one of 64 from 16 to 4096 bytes, small ones as many as large)
 * and the path (one of 16 a depth) come from SEED, so that every run does the same.
 * Filling the live blocks is not timed. Prints the CPU and the wall nanoseconds of a
 * pair: CPU is that of all threads, wall is that of a thread's own pairs.
 *
 * hold: BLOCKS blocks of 1 KB are allocated on paths of 1 to 24 frames and kept to the
 * end. Prints the CPU and wall nanoseconds of a block.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOINLINE __attribute__((noinline, noclone, no_icf))
#define SIZES    64u /* different ones, a power of two */
#define PATHS    16u /* different paths a depth */

struct worker {
    uint64_t random;
    void **slot; /* where the pair frees and allocates */
    size_t bytes;
    void **live;
};

static unsigned min_frames, max_frames, n_live;
static unsigned long pairs;
static uint64_t seed = 1;
static uint16_t sizes[SIZES];
static pthread_barrier_t filled, go, done;

/* xorshift64: a few cycles, the same everywhere. */
static uint64_t next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* The compiler must not pair them up and drop both. */
NOINLINE static void pair(struct worker *w)
{
    free(*w->slot);
    char *block = malloc(w->bytes);
    if (block == NULL)
        abort();
    block[0] = 1;
    __asm__ volatile("" : "+r"(block) : : "memory");
    *w->slot = block;
}

NOINLINE static int even(struct worker *w, unsigned left, unsigned path);

/* Two kinds of frame; a bit of `path` says which comes next, and the work after the call
 * keeps the compiler from jumping instead of calling. */
NOINLINE static int odd(struct worker *w, unsigned left, unsigned path)
{
    unsigned rest = path >> 1 | (path & 1) << 3;
    volatile int local[5];
    local[0] = 1;
    if (left == 0)
        pair(w);
    else if (path & 1)
        local[0] += odd(w, left - 1, rest);
    else
        local[0] += even(w, left - 1, rest);
    return local[0];
}

NOINLINE static int even(struct worker *w, unsigned left, unsigned path)
{
    unsigned rest = path >> 1 | (path & 1) << 3;
    volatile int local[2];
    local[0] = 2;
    if (left == 0)
        pair(w);
    else if (path & 1)
        local[0] += odd(w, left - 1, rest);
    else
        local[0] += even(w, left - 1, rest);
    return local[0];
}

/* A pair counts as one frame, so does each caller up to here. */
static int descend(struct worker *w)
{
    uint64_t r = next(&w->random);
    unsigned frames = min_frames;
    frames += (unsigned)((r >> 32) * (max_frames - min_frames + 1) >> 32);
    if (frames <= 1)
        return pair(w), 1;
    return even(w, frames - 2, (unsigned)r & (PATHS - 1));
}

static void one_pair(struct worker *w)
{
    uint64_t r = next(&w->random);
    w->slot = &w->live[(r >> 32) * n_live >> 32];
    w->bytes = sizes[r & (SIZES - 1)];
    descend(w);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < n_live; i++) {
        w->slot = &w->live[i];
        w->bytes = sizes[next(&w->random) & (SIZES - 1)];
        descend(w);
    }
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&go);
    for (unsigned long i = 0; i < pairs; i++)
        one_pair(w);
    pthread_barrier_wait(&done);
    return NULL;
}

static double now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void fill_sizes(void)
{
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    for (unsigned i = 0; i < SIZES; i++) {
        unsigned low = 16u << next(&state) % 8; /* 16, 32, ... 2048 */
        sizes[i] = (uint16_t)(low + next(&state) % low + 1);
    }
}

static int loop(unsigned threads)
{
    struct worker *workers = calloc(threads, sizeof *workers);
    pthread_t *others = calloc(threads, sizeof *others);
    if (workers == NULL || others == NULL || threads == 0)
        return 1;
    pthread_barrier_init(&filled, NULL, threads + 1);
    pthread_barrier_init(&go, NULL, threads + 1);
    pthread_barrier_init(&done, NULL, threads + 1);
    pairs /= threads;
    for (unsigned i = 0; i < threads; i++) {
        workers[i].random = (seed + i) * UINT64_C(0x9e3779b97f4a7c15) | 1;
        workers[i].live = calloc(n_live, sizeof(void *));
        if (workers[i].live == NULL ||
            pthread_create(&others[i], NULL, work, &workers[i]) != 0)
            return 1;
    }
    pthread_barrier_wait(&filled);
    double cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID), wall = now_ns(CLOCK_MONOTONIC);
    pthread_barrier_wait(&go);
    pthread_barrier_wait(&done);
    cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    wall = now_ns(CLOCK_MONOTONIC) - wall;
    for (unsigned i = 0; i < threads; i++)
        pthread_join(others[i], NULL);
    printf("%.2f %.2f\n", cpu / (double)(pairs * threads), wall / (double)pairs);
    return 0;
}

static int hold(unsigned long blocks)
{
    static void **held; /* reachable at the end, and no leak */
    struct worker w = {.random = seed, .bytes = 1024};
    held = calloc(blocks, sizeof *held);
    if (held == NULL)
        return 1;
    double cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID), wall = now_ns(CLOCK_MONOTONIC);
    for (unsigned long i = 0; i < blocks; i++) {
        w.slot = &held[i];
        descend(&w);
    }
    cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    wall = now_ns(CLOCK_MONOTONIC) - wall;
    printf("%.2f %.2f\n", cpu / (double)blocks, wall / (double)blocks);
    return 0;
}

int main(int argc, char **argv)
{
    min_frames = 1;
    max_frames = 24;
    n_live = 16384;
    if (argc == 3 && strcmp(argv[1], "hold") == 0)
        return hold(strtoul(argv[2], NULL, 10));
    if (argc < 6 || strcmp(argv[1], "loop") != 0)
        return 2;
    pairs = strtoul(argv[2], NULL, 10);
    min_frames = (unsigned)atoi(argv[3]);
    max_frames = (unsigned)atoi(argv[4]);
    n_live = argc > 6 ? (unsigned)atoi(argv[6]) : n_live;
    seed = argc > 7 ? strtoul(argv[7], NULL, 10) : seed;
    fill_sizes();
    return loop((unsigned)atoi(argv[5]));
}
