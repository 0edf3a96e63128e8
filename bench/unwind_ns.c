/*
 * unwind_ns.c: nanoseconds a frame of our walk, cached and not, beside libunwind's cached
 * trace (unw_backtrace) and its cursor (unw_step): one signal handler, one stack.
 *
 *     cc -O2 -D_GNU_SOURCE -Isrc bench/unwind_ns.c \
 *        src/unwind/[a-z]*.c src/unwind/x86_64/[a-z]*.c src/base/[a-z]*.c \
 *        -lunwind -o unwind_ns
 *     ./unwind_ns [depth...]
 */
#define UNW_LOCAL_ONLY
#include "unwind/unwind.h"

#include <libunwind.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MAX    2048
#define ROUNDS 7 /* the fastest counts */

struct method {
    const char *name;
    size_t (*walk)(const ucontext_t *uc);
    unsigned repeat;
};

static uintptr_t pcs[MAX];
static struct sn_stack_range range;
static volatile int sink;

static size_t ours(const ucontext_t *uc)
{
    enum sn_unwind_end end;
    return sn_unwind(uc, range, pcs, MAX, &end);
}

static size_t ours_no_range(const ucontext_t *uc)
{
    enum sn_unwind_end end;
    return sn_unwind(uc, (struct sn_stack_range){0}, pcs, MAX, &end);
}

static size_t ours_uncached(const ucontext_t *uc)
{
    sn_unwind_forget();
    return ours(uc);
}

static size_t libunwind_trace(const ucontext_t *uc)
{
    (void)uc;
    return (size_t)unw_backtrace((void **)pcs, MAX);
}

static size_t libunwind_cursor(const ucontext_t *uc)
{
    unw_cursor_t cursor;
    unw_context_t context;
    size_t n = 0;
    (void)uc;
    unw_getcontext(&context);
    unw_init_local(&cursor, &context);
    do {
        unw_word_t ip;
        unw_get_reg(&cursor, UNW_REG_IP, &ip);
        pcs[n++] = ip;
    } while (n < MAX && unw_step(&cursor) > 0);
    return n;
}

static const struct method methods[] = {
    {"sonde", ours, 20000},
    {"sonde, stack not known", ours_no_range, 20000},
    {"sonde, not cached", ours_uncached, 500},
    {"libunwind, unw_backtrace", libunwind_trace, 20000},
    {"libunwind, unw_step", libunwind_cursor, 200},
};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double best_ns(const struct method *m, const ucontext_t *uc, size_t *frames)
{
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (unsigned i = 0; i < m->repeat; i++)
            *frames = m->walk(uc);
        double ns = (now_ns() - start) / m->repeat;
        if (ns < best)
            best = ns;
    }
    return best;
}

static void on_signal(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    (void)info;
    for (size_t i = 0; i < SN_COUNT(methods); i++) {
        size_t frames = 0;
        double ns = best_ns(&methods[i], uc, &frames);
        printf("%-28s %4zu frames %9.1f ns %7.2f ns/frame\n", methods[i].name, frames, ns,
               ns / (double)frames);
    }
}

/* Frames of different shapes and sizes, so that their rules differ. */
static void odd(int n);
static void third(int n);

__attribute__((noinline)) static void even(int n)
{
    volatile char room[40] = {(char)n};
    if (n <= 0)
        raise(SIGUSR1);
    else
        odd(n - 1);
    sink += room[0];
}

__attribute__((noinline)) static void odd(int n)
{
    volatile char *room = __builtin_alloca((size_t)(16 + n % 3 * 16));
    room[0] = (char)n;
    if (n <= 0)
        raise(SIGUSR1);
    else
        third(n - 1);
    sink += room[0];
}

__attribute__((noinline)) static void third(int n)
{
    if (n <= 0)
        raise(SIGUSR1);
    else if (n % 2)
        even(n - 1);
    else
        odd(n - 1);
    sink += n;
}

int main(int argc, char **argv)
{
    struct sigaction a = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    pthread_attr_t attr;
    void *low;
    size_t size;
    if (!sn_unwind_prepare(NULL, NULL) || pthread_getattr_np(pthread_self(), &attr) != 0)
        return 1;
    pthread_attr_getstack(&attr, &low, &size);
    range = (struct sn_stack_range){(uintptr_t)low, (uintptr_t)low + size};
    sigaction(SIGUSR1, &a, NULL);
    if (argc < 2) {
        even(20);
        even(100);
    }
    for (int i = 1; i < argc; i++)
        even(atoi(argv[i]));
    return 0;
}
