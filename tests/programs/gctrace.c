/*
 * gctrace.c: N threads that each keep M blocks and free as many, between two large
 * blocks, for each of which gctrace has a line: what is live at the second and was not at
 * the first is known.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void ***kept; /* of each thread */
static size_t m;

static void *work(void *number)
{
    void **mine = kept[(uintptr_t)number];
    for (size_t i = 0; i < m; i++) {
        void *gone = malloc(200 + i % 50);
        mine[i] = i % 2 ? malloc(100) : realloc(malloc(20), 100);
        free(gone);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    uintptr_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    pthread_t threads[64];
    m = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
    kept = calloc(n, sizeof *kept);
    for (uintptr_t i = 0; i < n; i++)
        kept[i] = calloc(m, sizeof **kept);
    free(malloc(64 << 20));
    for (uintptr_t i = 0; i < n; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (uintptr_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    free(malloc(512 << 20));
    printf("truth %zu %zu\n", n * m, n * m * 104);
    return 0;
}
