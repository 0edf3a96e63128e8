/*
 * fence_stress.c: threads that allocate, write to and free blocks of each other, of all
 * sizes, under a signal whose handler does so too, while the process forks. No fault is
 * in it under efence (the C library's malloc is not to be called in a handler).
 * fence_stress [ROUNDS]: "good" at the end.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 4
#define PLACES  256

static _Atomic(unsigned char *) places[PLACES]; /* first its size, then its mark */
static int rounds = 4000;

struct block {
    size_t size;
    unsigned char mark;
};

static size_t random_size(unsigned *seed)
{
    unsigned r = (unsigned)rand_r(seed);
    if (r % 1000 == 0)
        return 1000000 + r % 3000000;
    return sizeof(struct block) + (r % 8 == 0 ? r % 20000 : r % 200);
}

static unsigned char *fresh(size_t size, unsigned mark, unsigned how)
{
    void *p = NULL;
    if (how % 4 == 0)
        p = calloc(1, size);
    else if (how % 4 == 1 && posix_memalign(&p, 16u << how % 12, size) != 0)
        p = NULL;
    else if (how % 4 > 1)
        p = malloc(size);
    if (p == NULL)
        abort();
    if (how % 4 == 0)
        for (size_t i = 0; i < size; i += 97)
            if (((unsigned char *)p)[i] != 0)
                abort();
    memset(p, (int)mark, size);
    *(struct block *)p = (struct block){size, (unsigned char)mark};
    return p;
}

static void check_and_free(unsigned char *p)
{
    struct block b = *(struct block *)(void *)p;
    if (p[b.size - 1] != b.mark && b.size > sizeof b)
        abort();
    free(p);
}

static void one(unsigned *seed)
{
    unsigned r = (unsigned)rand_r(seed);
    size_t size = random_size(seed);
    unsigned char *p = fresh(size, r & 0xff, r >> 8);
    if (r % 5 == 0) {
        struct block b = *(struct block *)(void *)p;
        p = realloc(p, size + r % 300);
        if (p == NULL || ((struct block *)(void *)p)->mark != b.mark)
            abort();
    }
    p = atomic_exchange(&places[r % PLACES], p);
    if (p != NULL)
        check_and_free(p);
}

static void on_alarm(int signal)
{
    static unsigned seed = 5;
    (void)signal;
    for (int i = 0; i < 3; i++) {
        char *p = malloc(20 + (unsigned)rand_r(&seed) % 5000);
        memset(p, 1, 20);
        free(p);
    }
}

static void *work(void *number)
{
    unsigned seed = (unsigned)(uintptr_t)number + 1;
    for (int i = 0; i < rounds; i++)
        one(&seed);
    return NULL;
}

static void fork_once(unsigned *seed)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 50; i++)
            one(seed);
        _exit(7);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
        WEXITSTATUS(status) != 7) {
        printf("a child: %x\n", (unsigned)status);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    unsigned seed = 77;
    struct sigaction alarm = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 2000}, {0, 2000}};
    if (argc > 1)
        rounds = atoi(argv[1]);
    sigaction(SIGALRM, &alarm, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < 20; i++)
        fork_once(&seed);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    puts("good");
    return 0;
}
