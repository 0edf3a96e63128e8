/* allocator.c: a program with an allocator of its own, which as others do takes its lock
 * before a fork and gives it back after. Threads begin while it forks. */
#include "burn.h"

#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Alignas(16) char heap[32 << 20];
static size_t used;
static volatile int stop;

/* A block's size lies before it. Nothing is given back. */
PUBLIC void *malloc(size_t size)
{
    pthread_mutex_lock(&lock);
    char *p = heap + used;
    used += (size + 31) & ~(size_t)15;
    pthread_mutex_unlock(&lock);
    *(size_t *)p = size;
    return p + 16;
}

PUBLIC void free(void *p)
{
    (void)p;
}

PUBLIC void *calloc(size_t n, size_t size)
{
    return malloc(n * size);
}

PUBLIC void *realloc(void *old, size_t size)
{
    size_t had = old != NULL ? *(size_t *)((char *)old - 16) : 0;
    void *p = malloc(size);
    return had > 0 ? memcpy(p, old, had < size ? had : size) : p;
}

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

static void *nothing(void *unused)
{
    return unused;
}

static void *begin_threads(void *unused)
{
    pthread_t thread;
    while (!stop)
        if (pthread_create(&thread, NULL, nothing, NULL) == 0)
            pthread_join(thread, NULL);
    return unused;
}

int main(void)
{
    pthread_t beginner;
    int status = 0;
    if (pthread_atfork(before_fork, after_fork, after_fork) != 0 ||
        pthread_create(&beginner, NULL, begin_threads, NULL) != 0)
        return 1;
    for (int i = 0; i < 50 && status == 0; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        if (child < 0 || waitpid(child, &status, 0) != child)
            status = 1;
    }
    stop = 1;
    pthread_join(beginner, NULL);
    return status != 0;
}
