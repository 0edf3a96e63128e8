/*
 * efence_load.c: blocks of 24 bytes.
 *
 *     efence_load pairs N    allocate, touch and free one, N times: microseconds of CPU
 * time a block efence_load live N     hold up to N, each touched: how many there were (a
 * fence that has no room for more ends the program, so that the number is printed on the
 * way), and microseconds of CPU time a block
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 24
#define STEP  1000

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static char *touched(void)
{
    char *volatile p = malloc(BLOCK);
    if (p != NULL)
        memset(p, 1, BLOCK);
    return p;
}

/* Without stdio, whose buffer would be lost. */
static void tell(const char *what, double figure)
{
    char line[64];
    int n = snprintf(line, sizeof line, "%s %.3f\n", what, figure);
    if (write(STDOUT_FILENO, line, (size_t)n) != n)
        _exit(1);
}

static void pairs(long n)
{
    double begin = now_us();
    for (long i = 0; i < n; i++)
        free(touched());
    tell("us", (now_us() - begin) / (double)n);
}

static void live(long n)
{
    char **held = calloc((size_t)n, sizeof *held);
    double begin = now_us();
    long i = 0;
    for (; held != NULL && i < n && (held[i] = touched()) != NULL; i++)
        if (i % STEP == STEP - 1)
            tell("live", (double)(i + 1));
    tell("us", (now_us() - begin) / (double)(i > 0 ? i : 1));
    _exit(0); /* to free them all is not asked for */
}

int main(int argc, char **argv)
{
    long n = argc > 2 ? atol(argv[2]) : 0;
    if (n > 0 && strcmp(argv[1], "pairs") == 0)
        pairs(n);
    else if (n > 0 && strcmp(argv[1], "live") == 0)
        live(n);
    else
        return 2;
    return 0;
}
