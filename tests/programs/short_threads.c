/* short_threads.c [COUNT [MS]]: COUNT threads of MS each, one after the other, and the
 * main thread between them for as long: short threads must neither vanish nor count
 * twice. */
#include "burn.h"

#include <pthread.h>

NOINLINE static uint64_t brief(uint64_t ms)
{
    uint64_t start = thread_ns();
    while (thread_ns() - start < ms * 1000000)
        burn(10);
    return thread_ns() - start;
}

NOINLINE static void on_main(uint64_t ms, uint64_t *sum)
{
    *sum += brief(ms);
    STAY();
}

struct job {
    uint64_t ms, sum;
};

static void *on_thread(void *argument)
{
    struct job *job = argument;
    job->sum += brief(job->ms);
    STAY();
    return NULL;
}

int main(int argc, char **argv)
{
    struct job job = {.ms = number(argc, argv, 2, 2)};
    uint64_t mine = 0;
    for (unsigned i = number(argc, argv, 1, 500); i > 0; i--) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, on_thread, &job) != 0)
            return 1;
        pthread_join(thread, NULL);
        on_main(job.ms, &mine);
    }
    truth("on_thread", job.sum);
    truth("on_main", mine);
    return 0;
}
