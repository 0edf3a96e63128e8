/* alloc_gc.c N: blocks of libgc's, of known sites and numbers: N of each kind, of which
 * every fourth is freed and every fifth grows. */
#include <gc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SITE(name, call)                                                                 \
    __attribute__((noinline, noclone, no_icf)) static void *name(void *p, size_t size)   \
    {                                                                                    \
        p = call;                                                                        \
        __asm__ volatile("" : "+r"(p)::"memory");                                        \
        return p;                                                                        \
    }
SITE(by_malloc, (p = NULL, GC_malloc(size)))
SITE(by_atomic, (p = NULL, GC_malloc_atomic(size)))
SITE(by_uncollectable, (p = NULL, GC_malloc_uncollectable(size)))
SITE(by_realloc, GC_realloc(p, size))
SITE(by_strdup, (p = NULL, GC_strdup("twelve bytes" + size % 12)))

__attribute__((noinline, noclone)) static void by_free(void *p)
{
    GC_free(p);
    __asm__ volatile("" ::: "memory");
}

static void *kept[4];

int main(int argc, char **argv)
{
    void *(*const sites[])(void *, size_t) = {by_malloc, by_atomic, by_uncollectable,
                                              by_strdup};
    GC_INIT();
    for (int i = 0; i < (argc > 1 ? atoi(argv[1]) : 100); i++)
        for (int k = 0; k < 4; k++) {
            kept[k] = sites[k](NULL, 16 + (size_t)i % 300);
            if (i % 5 == 0 && k != 3)
                kept[k] = by_realloc(kept[k], 700);
            if (i % 4 == 0)
                by_free(kept[k]);
        }
    puts("done");
    return 0;
}
