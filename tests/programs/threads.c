/* threads.c [MS]: four named threads that burn 40, 30, 20 and 10 % of MS together. The
 * first is started before the others sleep, the main thread only joins. */
#include "burn.h"

#include <pthread.h>

struct job {
    const char *name;
    uint64_t ns;
    uint64_t took_ns;
};

NOINLINE static void work(uint64_t until_ns)
{
    while (thread_ns() < until_ns)
        burn(100);
    STAY();
}

static void *run(void *argument)
{
    struct job *job = argument;
    pthread_setname_np(pthread_self(), job->name);
    work(job->ns);
    job->took_ns = thread_ns();
    return NULL;
}

int main(int argc, char **argv)
{
    uint64_t tenth_ns = UINT64_C(100000) * number(argc, argv, 1, 4000);
    struct job jobs[4] = {{.name = "forty", .ns = 4 * tenth_ns},
                          {.name = "thirty", .ns = 3 * tenth_ns},
                          {.name = "twenty", .ns = 2 * tenth_ns},
                          {.name = "ten", .ns = tenth_ns}};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, run, &jobs[i]) != 0)
            return 1;
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        truth(jobs[i].name, jobs[i].took_ns);
    }
    return 0;
}
