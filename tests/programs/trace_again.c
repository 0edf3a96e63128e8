/* trace_again.c N TRACE: two threads allocate and free while tracers that watch them are
 * started and stopped N times, in turn: no block is refused. */
#include "sonde.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_bool done;

static void *allocate(void *seed)
{
    void *v[64] = {NULL};
    unsigned x = (unsigned)(size_t)seed;
    while (!atomic_load(&done)) {
        unsigned i = (x = x * 1103515245 + 12345) >> 16;
        free(v[i % 64]);
        v[i % 64] = malloc(1 + i % 3000);
        memset(v[i % 64], 1, 1 + i % 3000);
        if (i % 5 == 0)
            v[i % 64] = realloc(v[i % 64], 1 + i % 4001);
    }
    for (int i = 0; i < 64; i++)
        free(v[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, allocate, (void *)(i + 1));
    for (int i = 0; i < (argc > 1 ? atoi(argv[1]) : 30); i++) {
        struct sonde_config c = {.size = sizeof c,
                                 .quiet = true,
                                 .gcdead = i % 2,
                                 .invalidptr = 1 + i % 3 / 2,
                                 .trace_path = argc > 2 ? argv[2] : "trace"};
        struct sonde *p = sonde_start(&c);
        if (p == NULL)
            printf("start: %s\n", sonde_error());
        usleep(3000);
        if (sonde_stop(p) != 0)
            printf("stop: %s\n", sonde_error());
        usleep(1000);
    }
    atomic_store(&done, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    puts("survived");
    return 0;
}
