/*
 * stands.c: threads that stand in known functions, in code with frame pointers which
 * library calls leave alone. Prints its number when they do; what epoll_wait returned at
 * the end, since a signal would have ended it.
 *
 *     stands MS
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static int ms, fds[2];
static volatile int over;
static volatile uint64_t turns;

static void *epoll_thread(void *nothing)
{
    struct epoll_event event;
    int result = epoll_wait(epoll_create1(0), &event, 1, ms);
    printf("epoll %d\n", result);
    return nothing;
}

static void read_deep(int n)
{
    volatile char pad[500];
    char byte;
    pad[n] = 0;
    if (n > 0)
        read_deep(n - 1);
    else if (read(fds[0], &byte, 1) != 1)
        puts("no byte");
    turns += (uint64_t)pad[n];
}

static void *read_thread(void *nothing)
{
    read_deep(5);
    return nothing;
}

static void spin(void)
{
    while (!over)
        turns++;
}

static void *spin_thread(void *nothing)
{
    spin();
    return nothing;
}

static void rest(void)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    if (nanosleep(&t, NULL) != 0)
        puts("the sleep was cut");
}

int main(int argc, char **argv)
{
    void *(*const starts[])(void *) = {epoll_thread, read_thread, spin_thread};
    pthread_t threads[3];
    ms = argc > 1 ? atoi(argv[1]) : 100;
    if (pipe(fds) != 0)
        return 1;
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, starts[i], NULL);
    printf("pid %d\n", (int)getpid());
    fflush(stdout);
    rest();
    over = 1;
    if (write(fds[1], "x", 1) != 1)
        return 1;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
