/*
 * sched.c: a program whose scheduling is known. Threads do one thing for so long, then
 * wait at `at_the_end`, all still there when the program ends; what they used by their
 * own measure is printed: "truth run=NS voluntary=N involuntary=N".
 *
 *     sched MODE THREADS MS
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 2048

pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t turn_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static pthread_cond_t at_the_end = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t end_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rusage used[MOST + 1];
static uint64_t until_ns, ms;
static int turn, pipe_fds[2];
static char **arguments;

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void rest_ms(uint64_t n)
{
    struct timespec t = {(time_t)(n / 1000), (long)(n % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        continue;
}

/* ---- what a thread does ---------------------------------------------------------------
 */

static void spin(int me)
{
    (void)me;
    while (now_ns(CLOCK_MONOTONIC) < until_ns)
        continue;
}

static void spin_on_first(int me)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof one, &one);
    spin(me);
}

static void rest(int me)
{
    (void)me;
    rest_ms(ms);
}

static void wait_for_lock(int me)
{
    (void)me;
    pthread_mutex_lock(&table_lock);
    pthread_mutex_unlock(&table_lock);
}

/* Two take turns; each turn is a wait and a wakening. */
static void take_turns(int me)
{
    pthread_mutex_lock(&turn_lock);
    while (now_ns(CLOCK_MONOTONIC) < until_ns) {
        while (turn != me && now_ns(CLOCK_MONOTONIC) < until_ns)
            pthread_cond_wait(&turn_changed, &turn_lock);
        turn = !me;
        pthread_cond_broadcast(&turn_changed);
    }
    pthread_mutex_unlock(&turn_lock);
}

/* The same, slowly: nearly always both wait. */
static void take_turns_slowly(int me)
{
    pthread_mutex_lock(&turn_lock);
    while (now_ns(CLOCK_MONOTONIC) < until_ns) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_sec += 10;
        if (me == 1) {
            pthread_mutex_unlock(&turn_lock);
            rest_ms(5);
            pthread_mutex_lock(&turn_lock);
        } else {
            while (turn != me && now_ns(CLOCK_MONOTONIC) < until_ns)
                pthread_cond_timedwait(&turn_changed, &turn_lock, &t);
        }
        turn = !me;
        pthread_cond_broadcast(&turn_changed);
    }
    pthread_mutex_unlock(&turn_lock);
}

static void read_pipe(int me)
{
    char byte;
    (void)me;
    if (read(pipe_fds[0], &byte, 1) < 0)
        perror("read");
}

static void *briefly(void *nothing)
{
    uint64_t end = now_ns(CLOCK_THREAD_CPUTIME_ID) + 100000;
    while (now_ns(CLOCK_THREAD_CPUTIME_ID) < end)
        continue;
    return nothing;
}

static void start_short_ones(int me)
{
    pthread_t t;
    (void)me;
    int made = 0;
    for (; now_ns(CLOCK_MONOTONIC) < until_ns; made++)
        if (pthread_create(&t, NULL, briefly, NULL) != 0 || pthread_join(t, NULL) != 0)
            exit(1);
    printf("made %d\n", made);
}

/* ---- what the program does first ------------------------------------------------------
 */

static void nothing(void)
{
}

static void lock(void)
{
    pthread_mutex_lock(&table_lock);
}

static void lock_and_be_nobody(void)
{
    lock();
    if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)
        exit(77);
}

static void close_all(void)
{
    for (int fd = 3; fd < 4096; fd++)
        close(fd);
    close_range(3, ~0u, 0);
}

static void fork_one(void)
{
    pid_t child = fork();
    printf("pid %d\n", (int)getpid());
    fflush(stdout);
    if (child != 0)
        waitpid(child, NULL, 0);
    until_ns = now_ns(CLOCK_MONOTONIC) + ms * 1000000;
}

static void become_daemon(void)
{
    if (daemon(1, 1) != 0)
        exit(1);
}

static void execute(void)
{
    arguments[1] = "spin";
    execv("/proc/self/exe", arguments);
    exit(1);
}

static void *execute_later(void *nothing)
{
    rest_ms(ms);
    execute();
    return nothing;
}

static void execute_aside(void)
{
    pthread_t t;
    if (pthread_create(&t, NULL, execute_later, NULL) == 0)
        pause();
}

static const struct mode {
    const char *name;
    void (*first)(void);
    void (*work)(int me);
    int leaves; /* the main thread ends before the others */
} modes[] = {
    {"spin", nothing, spin, 0},
    {"pinned", nothing, spin_on_first, 0},
    {"sleep", nothing, rest, 0},
    {"lock", lock, wait_for_lock, 0},
    {"nobody", lock_and_be_nobody, wait_for_lock, 0},
    {"pingpong", nothing, take_turns, 0},
    {"slowly", nothing, take_turns_slowly, 0},
    {"pipe", nothing, read_pipe, 0},
    {"short", nothing, start_short_ones, 0},
    {"closes", close_all, spin, 0},
    {"fork", fork_one, spin, 0},
    {"daemon", become_daemon, spin, 0},
    {"exec", execute, spin, 0},
    {"aside", execute_aside, spin, 0},
    {"leaves", nothing, spin, 1},
};
static const struct mode *mode;

static void *live(void *number)
{
    int me = (int)(intptr_t)number;
    char name[16];
    snprintf(name, sizeof name, "%.8s \"%d\"", mode->name, me);
    pthread_setname_np(pthread_self(), name);
    mode->work(me);
    getrusage(RUSAGE_THREAD, &used[me]);
    pthread_mutex_lock(&end_lock);
    while (!mode->leaves)
        pthread_cond_wait(&at_the_end, &end_lock);
    pthread_mutex_unlock(&end_lock);
    return NULL;
}

static void tell(int n)
{
    uint64_t run = 0;
    long voluntary = 0, involuntary = 0;
    getrusage(RUSAGE_THREAD, &used[n]);
    for (int i = 0; i <= n; i++) {
        const struct rusage *u = &used[i];
        run += (uint64_t)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000000000u +
               (uint64_t)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) * 1000u;
        voluntary += u->ru_nvcsw;
        involuntary += u->ru_nivcsw;
    }
    printf("truth run=%llu voluntary=%ld involuntary=%ld\n", (unsigned long long)run,
           voluntary, involuntary);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int n = atoi(argv[2]);
    n = n < MOST ? n : MOST;
    ms = strtoull(argv[3], NULL, 10);
    arguments = argv;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(modes[i].name, argv[1]) == 0)
            mode = &modes[i];
    if (mode == NULL || pipe(pipe_fds) != 0)
        return 2;
    printf("pid %d\n", (int)getpid());
    printf("pipe %d\n", pipe_fds[0]);
    fflush(stdout);
    until_ns = now_ns(CLOCK_MONOTONIC) + ms * 1000000;
    mode->first();
    for (int i = 0; i < n; i++) {
        pthread_t t;
        pthread_attr_t small;
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 65536);
        if (pthread_create(&t, &small, live, (void *)(intptr_t)i) != 0)
            return 3;
        pthread_detach(t);
    }
    if (mode->leaves)
        pthread_exit(NULL);
    rest_ms(ms + 100);
    tell(n);
    fflush(stdout);
    return 0;
}
