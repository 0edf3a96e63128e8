/* sched_api.c: schedtrace by configuration, twice, in a program that has threads already;
 * afterwards no descriptor and no thread is left of it. */
#include "sonde.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define THREADS 5

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

static void *wait_for_it(void *nothing)
{
    pthread_mutex_lock(&held);
    pthread_mutex_unlock(&held);
    return nothing;
}

static int entries(const char *path)
{
    int n = 0;
    DIR *d = opendir(path);
    while (d != NULL && readdir(d) != NULL)
        n++;
    if (d != NULL)
        closedir(d);
    return n;
}

int main(void)
{
    const struct timespec some = {0, 220000000};
    pthread_t t[THREADS];
    pthread_mutex_lock(&held);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, wait_for_it, NULL);
    int fds = entries("/proc/self/fd"), tasks = entries("/proc/self/task");
    for (int i = 0; i < 2; i++) {
        struct sonde *s =
            sonde_start(&(struct sonde_config){.schedtrace_ms = 50, .scheddetail = true});
        if (s == NULL) {
            fprintf(stderr, "%s\n", sonde_error());
            return 1;
        }
        nanosleep(&some, NULL);
        sonde_stop(s);
    }
    printf("fds %d tasks %d\n", entries("/proc/self/fd") - fds,
           entries("/proc/self/task") - tasks);
    pthread_mutex_unlock(&held);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    return 0;
}
