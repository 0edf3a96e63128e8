/* polite.c: does a profiled program still see the world it was promised? Each check is a
 * line "yes NAME" or "no NAME"; the same program unprofiled says yes to all. While it
 * waits, other threads keep the clocks firing. */
#include "burn.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

extern char **environ;

static volatile int stop;

static void check(const char *name, int good)
{
    printf("%s %s\n", good ? "yes" : "no", name);
}

/* Burns with every signal blocked: it must be sampled all the same. */
NOINLINE static void *all_blocked(void *unused)
{
    sigset_t all;
    (void)unused;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    for (uint64_t end = thread_ns() + 300000000; thread_ns() < end;)
        burn(50);
    STAY();
    return NULL;
}

static void *write_late(void *fd)
{
    for (uint64_t end = thread_ns() + 50000000; thread_ns() < end;)
        burn(50);
    return (void *)(intptr_t)(write(*(int *)fd, "x", 1) == 1);
}

/* A reader that is on the CPU now and then, and must never see EINTR. */
static void reads(void)
{
    int fds[2], good = 1;
    for (int i = 0; i < 4; i++) {
        pthread_t writer;
        char c = 0;
        if (pipe(fds) != 0 || pthread_create(&writer, NULL, write_late, &fds[1]) != 0)
            good = 0;
        burn(3000);
        good &= read(fds[0], &c, 1) == 1 && c == 'x';
        pthread_join(writer, NULL);
        close(fds[0]);
        close(fds[1]);
    }
    check("read is not interrupted", good);
}

/* These are never restarted by the kernel when a handler ran: the clock of a sleeping
 * thread must stand still. */
static void sleeps(void)
{
    struct timespec nap = {.tv_nsec = 20000000};
    sem_t never;
    struct timespec until;
    int good = 1;
    for (int i = 0; i < 10; i++) {
        burn(3000);
        good &= nanosleep(&nap, NULL) == 0;
        burn(3000);
        good &= poll(NULL, 0, 10) == 0;
    }
    check("nanosleep and poll are not interrupted", good);
    sem_init(&never, 0, 0);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 20000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    check("sem_timedwait times out",
          sem_timedwait(&never, &until) < 0 && errno == ETIMEDOUT);
}

/* Many short waits: now and then a tick falls into one. */
static void timeouts(void)
{
    struct timespec soon = {.tv_nsec = 50000}, until;
    struct timeval limit = {.tv_usec = 1000};
    sigset_t set;
    sem_t never;
    int fds[2],
        good = socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0 &&
               setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0;
    char c;
    for (int i = 0; i < 100; i++)
        good &= recv(fds[0], &c, 1, 0) < 0 && errno == EAGAIN;
    check("a socket's timeout is not cut short", good);
    close(fds[0]);
    close(fds[1]);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sem_init(&never, 0, 0);
    good = 1;
    for (int i = 0; i < 1000; i++) {
        good &= sigtimedwait(&set, NULL, &soon) < 0 && errno == EAGAIN;
        good &= thrd_sleep(&soon, NULL) == 0;
        clock_gettime(CLOCK_MONOTONIC, &until);
        good &= sem_clockwait(&never, CLOCK_MONOTONIC, &until) < 0 && errno == ETIMEDOUT;
    }
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    check("sigtimedwait, thrd_sleep and sem_clockwait are not interrupted", good);
}

static void *send_usr1(void *unused)
{
    (void)unused;
    burn(20000);
    kill(getpid(), SIGUSR1);
    return NULL;
}

static void waits(void)
{
    sigset_t set, old, now;
    pthread_t sender;
    int got = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    burn(20000);
    pthread_create(&sender, NULL, send_usr1, NULL);
    int error = sigwait(&set, &got);
    pthread_join(sender, NULL);
    check("sigwait gets its signal", error == 0 && got == SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &old, &now);
    check("the mask is what was set",
          sigismember(&now, SIGUSR2) && !sigismember(&old, SIGUSR2));
    sigfillset(&set);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    burn(20000);
    pthread_sigmask(SIG_SETMASK, &old, &now);
    int open = 0; /* a profiler may keep one for itself */
    for (int i = 1; i < NSIG; i++)
        open +=
            i != SIGKILL && i != SIGSTOP && i != 32 && i != 33 && !sigismember(&now, i);
    check("a full mask is full, but for one signal at most", open <= 1);
}

static void *wait_for_cancel(void *unused)
{
    for (;;)
        pause();
    return unused;
}

/* Room for the smallest handler: what lies below it is the program's. */
static void small_signal_stack(void)
{
    static unsigned char memory[16384];
    size_t size = getauxval(AT_MINSIGSTKSZ) + 800, below = sizeof memory - size;
    stack_t small = {.ss_sp = memory + below, .ss_size = size};
    stack_t none = {.ss_flags = SS_DISABLE};
    int good = sigaltstack(&small, NULL) == 0;
    burn(30000);
    sigaltstack(&none, NULL);
    for (size_t i = 0; i < below; i++)
        good &= memory[i] == 0;
    check("nothing is written below a small stack for signals", good);
}

static void cancels(void)
{
    int good = 1;
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        void *result = NULL;
        good &= pthread_create(&thread, NULL, wait_for_cancel, NULL) == 0 &&
                pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0 &&
                result == PTHREAD_CANCELED;
    }
    check("threads are cancelled as soon as they begin", good);
}

static int exit_of(pid_t child)
{
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char *const exit_3[] = {"sh", "-c", "exit 3", NULL};

static int by_vfork(void)
{
    pid_t child = vfork();
    if (child == 0) {
        execv("/bin/sh", exit_3);
        _exit(127);
    }
    return exit_of(child);
}

static int by_spawn(void)
{
    pid_t child;
    int error = posix_spawn(&child, "/bin/sh", NULL, NULL, exit_3, environ);
    return error == 0 ? exit_of(child) : -1;
}

static void children(void)
{
    int good = 1;
    for (int i = 0; i < 5; i++) {
        good &= by_vfork() == 3;
        good &= by_spawn() == 3;
        int status = system("exit 4");
        good &= WEXITSTATUS(status) == 4;
        burn(3000);
    }
    check("vfork, posix_spawn and system", good);
    FILE *echo = popen("echo hello", "r");
    char line[16] = "";
    good = echo != NULL && fgets(line, sizeof line, echo) != NULL && pclose(echo) == 0;
    check("popen", good && strcmp(line, "hello\n") == 0);
}

static void *spin(void *unused)
{
    (void)unused;
    while (!stop)
        burn(50);
    return NULL;
}

__attribute__((noinline)) static void after_close(void)
{
    burn(100000);
}

/* As daemons do; what is recorded goes on all the same. */
static void close_all(void)
{
    for (int fd = 3; fd < (int)sysconf(_SC_OPEN_MAX) && fd < 70000; fd++)
        close(fd);
    close_range(3, ~0u, 0);
    closefrom(3);
    check("every other descriptor is closed", dup(0) == 3 && close(3) == 0);
    after_close();
}

int main(void)
{
    pthread_t blocked, spinner;
    sigset_t waited;
    sigemptyset(&waited);
    sigaddset(&waited, SIGUSR1); /* in each thread, or one that does not wait takes it */
    pthread_sigmask(SIG_BLOCK, &waited, NULL);
    setvbuf(stdout, NULL, _IONBF, 0);
    if (pthread_create(&blocked, NULL, all_blocked, NULL) != 0 ||
        pthread_create(&spinner, NULL, spin, NULL) != 0)
        return 1;
    errno = 77;
    burn(20000);
    check("errno is kept", errno == 77);
    reads();
    sleeps();
    timeouts();
    waits();
    cancels();
    small_signal_stack();
    children();
    check("low descriptors are free", dup(0) < 16);
    close_all();
    stop = 1;
    pthread_join(spinner, NULL);
    pthread_join(blocked, NULL);
    return 0;
}
