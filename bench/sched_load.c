/* sched_load.c: N threads for S seconds; each rests, and wakes ten times a second to run
 * for an instant, so that all have run since the sweep before. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void *rest(void *number)
{
    struct timespec first = {0, (long)((intptr_t)number % 100) * 1000000};
    const struct timespec tenth = {0, 100000000};
    nanosleep(&first, NULL);
    for (;;)
        nanosleep(&tenth, NULL);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_attr_t small;
    pthread_t t;
    if (argc < 3)
        return 2;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    for (int i = 0; i < atoi(argv[1]); i++)
        if (pthread_create(&t, &small, rest, (void *)(intptr_t)i) != 0)
            return 1;
    puts("begun");
    fflush(stdout);
    sleep((unsigned)atoi(argv[2]));
    return 0;
}
