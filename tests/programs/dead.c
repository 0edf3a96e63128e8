/* dead.c: looks at what is no longer its own: freed, cut off by realloc, moved, below the
 * stack. Prints the words there. */
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define KEEP __attribute__((noinline))

KEEP static void words(const char *name, const volatile uint64_t *v, size_t n)
{
    uint64_t copy[64];
    for (size_t i = 0; i < n; i++) /* before printing allocates */
        copy[i] = v[i];
    printf("%s", name);
    for (size_t i = 0; i < n; i++)
        printf(" %016llx", (unsigned long long)copy[i]);
    printf("\n");
}

KEEP static char *fresh(size_t size)
{
    char *p = malloc(size);
    memset(p, 'a', size);
    return p;
}

/* What a frame of this size left there, seen again from a frame at the same place. */
KEEP static void leave_on_stack(void)
{
    volatile uint64_t v[128];
    for (int i = 0; i < 128; i++)
        v[i] = 0x1122334455667788;
}

KEEP static void look_at_stack(void)
{
    static uint64_t copy[128];
    volatile uint64_t v[128];
    for (int i = 0; i < 128; i++) { /* uninitialised, which is the point */
        __asm__ volatile("" : "=m"(v[i]));
        copy[i] = v[i];
    }
    printf("stack");
    for (int i = 0; i < 128; i++)
        printf(" %016llx", (unsigned long long)copy[i]);
    printf("\n");
}

/* A block that memory has not got room for twice, where there is room for one. */
static int grow_alone(void)
{
    char *p = fresh(200u << 20), *more, *less;
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm == NULL || fscanf(statm, "%lu", &pages) != 1)
        return 3;
    rlim_t bytes = pages * 4096 + (150u << 20);
    struct rlimit limit = {bytes, bytes};
    setrlimit(RLIMIT_AS, &limit);
    p[0] = 'b';
    if ((more = realloc(p, 300u << 20)) == NULL)
        return 1;
    more[(200u << 20) - 1] = 'c';
    if ((less = realloc(more, 250u << 20)) == NULL)
        return 2;
    printf("alone %c%c%c\n", less[0], less[1], less[(200u << 20) - 1]);
    return 0;
}

int main(int argc, char **argv)
{
    static char out[1 << 16];
    if (argc > 1 && strcmp(argv[1], "alone") == 0)
        return grow_alone();
    setvbuf(stdout, out, _IOFBF, sizeof out); /* no block of the heap's */
    char *big = fresh(800), *small = fresh(40), *cut = fresh(500), *kept = fresh(24);
    volatile uint64_t *was;

    was = (void *)big;
    free(big);
    words("freed", was + 4, 32);
    was = (void *)small;
    free(small);
    words("cached", was + 2, 3);
    was = (void *)cut;
    cut = realloc(cut, 480);
    words("cut", was + 60, 2);
    strcpy(kept, "hello");
    was = (void *)fresh(100);
    memcpy((void *)was, kept, 6);
    kept = realloc((void *)was, 300000);
    words("moved", was + 2, 8);
    leave_on_stack();
    free(malloc(10));
    look_at_stack();
    printf("kept %s\n", kept);
    return 0;
}
