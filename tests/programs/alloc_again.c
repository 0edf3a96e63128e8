/* alloc_again.c DIR: traces its allocations by the library's functions, three times, with
 * threads that allocate all the while; between, nothing is traced. */
#include "alloc.h"
#include "sonde.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_bool over;

NOINLINE static void by_main(size_t size)
{
    free(malloc(size));
    STAY();
}

static void *work(void *nothing)
{
    while (!atomic_load(&over)) {
        void *volatile p = malloc(99);
        free(p);
    }
    return nothing;
}

int main(int argc, char **argv)
{
    pthread_t threads[2];
    if (argc < 2)
        return 2;
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    for (size_t round = 1; round <= 3; round++) {
        struct sonde *p =
            sonde_start(&(struct sonde_config){.size = sizeof(struct sonde_config),
                                               .allocfreetrace = true,
                                               .quiet = true,
                                               .profile_path = argv[1]});
        if (p == NULL) {
            fprintf(stderr, "%s\n", sonde_error());
            return 1;
        }
        for (int i = 0; i < 100; i++)
            by_main(5000 + round);
        if (sonde_stop(p) != 0)
            return 1;
        by_main(5555);
    }
    atomic_store(&over, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
