/* ending.c HOW [MS]: works for MS in `before_the_end`, then ends the process by HOW, a
 * row of `endings`. What was recorded must survive every one of them. */
#include "burn.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

NOINLINE static void before_the_end(uint64_t ms)
{
    for (uint64_t end = thread_ns() + ms * 1000000; thread_ns() < end;)
        burn(50);
    STAY();
}

static char *me;

static void by_exit(void)
{
    exit(3);
}
static void by__exit(void)
{
    _exit(4);
}
static void by_quick_exit(void)
{
    quick_exit(5);
}
static void by_abort(void)
{
    abort();
}
static void by_kill(void)
{
    kill(getpid(), SIGKILL);
}
static void by_segv(void)
{
    volatile int *volatile nowhere = NULL;
    *nowhere = 1;
}
static void by_sigint(void)
{
    raise(SIGINT);
}
static void by_sigterm(void)
{
    raise(SIGTERM);
}

static void on_signal(int number)
{
    _exit(40 + number);
}
static void by_sigint_handled(void)
{
    signal(SIGINT, on_signal);
    raise(SIGINT);
}
static void by_sigint_ignored(void)
{
    signal(SIGINT, SIG_IGN);
    raise(SIGINT);
    exit(6);
}

static void by_exec(void)
{
    execl(me, me, "exit", "200", (char *)NULL);
    _exit(127);
}

/* The child works and ends in its own way; the parent after it. */
static void by_fork(void)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        before_the_end(300);
        exit(7);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 7)
        exit(99);
    before_the_end(100);
    exit(8);
}

static void *leave_main(void *main_thread)
{
    pthread_join(*(pthread_t *)main_thread, NULL);
    before_the_end(200);
    exit(9);
}
static void by_pthread_exit(void)
{
    static pthread_t main_thread;
    pthread_t other;
    main_thread = pthread_self();
    if (pthread_create(&other, NULL, leave_main, &main_thread) != 0)
        exit(99);
    pthread_exit(NULL);
}

static void *exit_here(void *unused)
{
    (void)unused;
    before_the_end(100);
    exit(10);
}
static void by_thread(void)
{
    pthread_t other;
    if (pthread_create(&other, NULL, exit_here, NULL) != 0)
        exit(99);
    for (;;)
        burn(100); /* still at work, on the clock, when the process ends */
}

static const struct {
    const char *how;
    void (*end)(void);
} endings[] = {
    {"exit", by_exit},
    {"_exit", by__exit},
    {"quick_exit", by_quick_exit},
    {"abort", by_abort},
    {"kill", by_kill},
    {"segv", by_segv},
    {"sigint", by_sigint},
    {"sigint_handled", by_sigint_handled},
    {"sigint_ignored", by_sigint_ignored},
    {"sigterm", by_sigterm},
    {"exec", by_exec},
    {"fork", by_fork},
    {"pthread_exit", by_pthread_exit},
    {"thread", by_thread},
};

int main(int argc, char **argv)
{
    me = argv[0];
    for (size_t i = 0; argc > 1 && i < sizeof endings / sizeof *endings; i++) {
        if (strcmp(argv[1], endings[i].how) != 0)
            continue;
        before_the_end(number(argc, argv, 2, 300));
        endings[i].end();
    }
    return 2;
}
