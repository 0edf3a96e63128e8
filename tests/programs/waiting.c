/*
 * waiting.c HOW: a program that waits, and says what it waited for: does a profiled
 * program that is asked from outside notice it? It says "ready", then waits in the call
 * HOW: what has a time, for two seconds; what has none, until SIGUSR1, which it handles.
 * Then "HOW: RESULT ERRNO, N ms, M signals".
 *
 * waiting main_ends: the main thread ends, and the program goes on for two seconds.
 *
 * waiting obey: does what its standard input says, a word a line, each answered by
 * "done": "alloc N" keeps N blocks of 1000 bytes, "free" gives all back, "write PATH"
 * asks for the heap's profile, "exec" becomes cat. "keep N" is alloc from another place.
 */
#include "burn.h"

#include <sonde.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <threads.h>
#include <unistd.h>

static volatile int signals;

static void on_usr1(int signal)
{
    (void)signal;
    signals++;
}

static const struct timespec two = {2, 0};
static struct timespec until(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    t.tv_sec += 2;
    return t;
}

/* ---- with a time ----------------------------------------------------------------------
 */

static long do_poll(void)
{
    return poll(NULL, 0, 2000);
}

static long do_ppoll(void)
{
    return ppoll(NULL, 0, &two, NULL);
}

static long do_ppoll_masked(void)
{
    sigset_t all;
    sigfillset(&all);
    return ppoll(NULL, 0, &two, &all);
}

static long do_select(void)
{
    return select(0, NULL, NULL, NULL, &(struct timeval){.tv_sec = 2});
}

static long do_pselect(void)
{
    return pselect(0, NULL, NULL, NULL, &two, NULL);
}

static long do_epoll(void)
{
    struct epoll_event event;
    return epoll_wait(epoll_create1(0), &event, 1, 2000);
}

static long do_epoll_pwait(void)
{
    struct epoll_event event;
    return epoll_pwait(epoll_create1(0), &event, 1, 2000, NULL);
}

static long do_nanosleep(void)
{
    return nanosleep(&two, NULL);
}

static long do_clock_nanosleep(void)
{
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &two, NULL);
}

static long do_clock_nanosleep_until(void)
{
    struct timespec t = until(CLOCK_MONOTONIC);
    return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static long do_usleep(void)
{
    return usleep(2000000);
}

static long do_sleep(void)
{
    return sleep(2);
}

static long do_thrd_sleep(void)
{
    return thrd_sleep(&two, NULL);
}

static long do_sem_timedwait(void)
{
    struct timespec t = until(CLOCK_REALTIME);
    sem_t never;
    sem_init(&never, 0, 0);
    return sem_timedwait(&never, &t);
}

static long do_cond_timedwait(void)
{
    struct timespec t = until(CLOCK_REALTIME);
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t never = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&mutex);
    return pthread_cond_timedwait(&never, &mutex, &t);
}

static long do_semtimedop(void)
{
    struct sembuf take = {.sem_op = -1};
    int id = semget(IPC_PRIVATE, 1, 0600);
    long result = semtimedop(id, &take, 1, &two);
    int error = errno;
    semctl(id, 0, IPC_RMID);
    errno = error;
    return result;
}

static long do_sigtimedwait(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return sigtimedwait(&set, NULL, &two);
}

static long do_recv(void)
{
    int fds[2];
    char c;
    socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
    return recv(fds[0], &c, 1, 0);
}

/* ---- without --------------------------------------------------------------------------
 */

static long do_poll_ever(void)
{
    return poll(NULL, 0, -1);
}

static long do_epoll_ever(void)
{
    struct epoll_event event;
    return epoll_wait(epoll_create1(0), &event, 1, -1);
}

static long do_select_ever(void)
{
    return select(0, NULL, NULL, NULL, NULL);
}

static long do_pause(void)
{
    return pause();
}

static long do_sigsuspend(void)
{
    sigset_t none;
    sigemptyset(&none);
    return sigsuspend(&none);
}

static long do_sem_wait(void)
{
    sem_t never;
    sem_init(&never, 0, 0);
    return sem_wait(&never);
}

static long do_read(void)
{
    int fds[2];
    char c;
    return pipe(fds) == 0 ? read(fds[0], &c, 1) : 0;
}

static long do_accept(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(fd, (struct sockaddr *)&name, sizeof name.sun_family);
    listen(fd, 1);
    return accept(fd, NULL, NULL);
}

static const struct way {
    const char *name;
    long (*wait)(void);
} ways[] = {
    {"poll", do_poll},
    {"ppoll", do_ppoll},
    {"ppoll_masked", do_ppoll_masked},
    {"select", do_select},
    {"pselect", do_pselect},
    {"epoll_wait", do_epoll},
    {"epoll_pwait", do_epoll_pwait},
    {"nanosleep", do_nanosleep},
    {"clock_nanosleep", do_clock_nanosleep},
    {"clock_nanosleep_until", do_clock_nanosleep_until},
    {"usleep", do_usleep},
    {"sleep", do_sleep},
    {"thrd_sleep", do_thrd_sleep},
    {"sem_timedwait", do_sem_timedwait},
    {"cond_timedwait", do_cond_timedwait},
    {"semtimedop", do_semtimedop},
    {"sigtimedwait", do_sigtimedwait},
    {"poll_ever", do_poll_ever},
    {"epoll_ever", do_epoll_ever},
    {"select_ever", do_select_ever},
    {"pause", do_pause},
    {"sigsuspend", do_sigsuspend},
    {"sem_wait", do_sem_wait},
    {"read", do_read},
    {"accept", do_accept},
    {"recv", do_recv},
};

/* The main thread ends; another goes on for two seconds. */
static void *go_on(void *unused)
{
    sleep(1);
    long result = poll(NULL, 0, 1000);
    printf("main_ends: %ld\n", result);
    exit(0);
    return unused;
}

static void end_main(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, go_on, NULL);
    puts("ready");
    pthread_exit(NULL);
}

static long ms_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int wait_in(const struct way *w)
{
    struct sigaction handled = {.sa_handler = on_usr1}; /* no SA_RESTART */
    sigaction(SIGUSR1, &handled, NULL);
    puts("ready");
    long begin = ms_now();
    errno = 0;
    long result = w->wait();
    int error = errno;
    printf("%s: %ld %s, %ld ms, %d signals\n", w->name, result,
           error != 0 ? strerrorname_np(error) : "0", ms_now() - begin, signals);
    return 0;
}

/* ---- at one's word --------------------------------------------------------------------
 */

#define MAX_BLOCKS 100000

static void *blocks[MAX_BLOCKS];
static int n_blocks;

NOINLINE static void alloc_blocks(int n)
{
    while (n-- > 0 && n_blocks < MAX_BLOCKS)
        blocks[n_blocks++] = malloc(1000);
    STAY();
}

NOINLINE static void keep_blocks(int n)
{
    while (n-- > 0 && n_blocks < MAX_BLOCKS)
        blocks[n_blocks++] = malloc(1000);
    STAY();
}

static void obey(const char *line)
{
    static char path[4096];
    int n = 0;
    if (sscanf(line, "alloc %d", &n) == 1) {
        alloc_blocks(n);
    } else if (sscanf(line, "keep %d", &n) == 1) {
        keep_blocks(n);
    } else if (strncmp(line, "free", 4) == 0) {
        while (n_blocks > 0)
            free(blocks[--n_blocks]);
    } else if (sscanf(line, "write %4095s", path) == 1) {
        if (sonde_heap_write(path) != 0)
            printf("%s %s; ", strerrorname_np(errno), sonde_error());
    } else if (strncmp(line, "exec", 4) == 0) {
        execlp("cat", "cat", NULL);
    } else if (strncmp(line, "fork", 4) == 0) {
        printf("%d ", (int)fork());
    }
    puts("done");
}

int main(int argc, char **argv)
{
    static char line[8192];
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; argc == 2 && i < sizeof ways / sizeof *ways; i++)
        if (strcmp(argv[1], ways[i].name) == 0)
            return wait_in(&ways[i]);
    if (argc == 2 && strcmp(argv[1], "main_ends") == 0)
        end_main();
    puts("ready");
    while (fgets(line, sizeof line, stdin) != NULL)
        obey(line);
    return 0;
}
