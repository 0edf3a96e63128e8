/* heap_limits.c WAY DIR: meets a limit, or is broken off, while its heap is recorded: a
 * row of `ways`. Says what it saw, "KEY NUMBER" a line. */
#include "sonde.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { BLOCKS = 1000, LIST = 100000, THREADS = 4 };

static void *kept[3 * BLOCKS];
static const char *directory;
static atomic_int go;

static const char *in_directory(const char *name)
{
    static __thread char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void keep(void)
{
    for (size_t i = 0; i < BLOCKS; i++)
        kept[i] = malloc(100 + i);
}

static void keep_list(void)
{
    for (size_t i = 0; i < LIST; i++) {
        void **p = malloc(50);
        *p = kept[0];
        kept[0] = p;
    }
}

static void limit(int what, rlim_t most)
{
    struct rlimit r;
    getrlimit(what, &r);
    r.rlim_cur = most;
    setrlimit(what, &r);
}

static void start_all(pthread_t *threads, size_t n, void *(*function)(void *))
{
    for (size_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, function, (void *)(i + 1)) != 0)
            abort();
}

/* ---- leaks ---- */

static void no_descriptor(void)
{
    keep();
    limit(RLIMIT_NOFILE, 3);
}

static void own_break(void)
{
    void **mine = sbrk(4096);
    keep();
    for (size_t i = 0; i < 500; i++)
        mine[i] = malloc(77);
}

static void *move(void *unused)
{
    size_t n = 2000000;
    void **v = calloc(n, sizeof *v);
    for (size_t i = 0; i < BLOCKS; i++)
        v[i] = malloc(24);
    for (size_t k = 0;; k++)
        if ((v = realloc(v, (n + (k & 1) * (n / 2)) * sizeof *v)) == NULL)
            return unused;
}

static void moving(void)
{
    pthread_t threads[3];
    mallopt(M_MMAP_THRESHOLD, 1 << 30); /* moved by copying, which takes its time */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    start_all(threads, 3, move);
    usleep(200000);
}

/* The kernel then tells nothing of the process, but of its threads. */
static void *end_process(void *unused)
{
    usleep(50000);
    keep();
    exit(0);
    return unused;
}

static void main_ended(void)
{
    pthread_t thread;
    start_all(&thread, 1, end_process);
    pthread_exit(NULL);
}

/* ---- dumps ---- */

static void on_alarm(int signal)
{
    (void)signal;
    free(malloc(100));
}

static void handler_allocates(void)
{
    const struct itimerval often = {{0, 500}, {0, 500}}, never = {0};
    keep_list();
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 5; i++)
        printf("dump %d\n", sonde_heapdump_write(in_directory("alarm.heap")));
    setitimer(ITIMER_REAL, &never, NULL);
}

static void *dump_cancelled(void *unused)
{
    while (go != 1)
        continue;
    printf("dump %d\n", sonde_heapdump_write(in_directory("cancel.heap")));
    return unused;
}

static void cancelled(void)
{
    pthread_t thread;
    void *end;
    keep();
    start_all(&thread, 1, dump_cancelled);
    pthread_cancel(thread);
    go = 1;
    pthread_join(thread, &end);
    printf("cancelled %d\n", end == PTHREAD_CANCELED);
}

static void *allocate_cancelled(void *unused)
{
    while (go != 1)
        continue;
    free(malloc(1000));
    go = 2;
    return unused;
}

/* A thread that was there before the recording, which then learns of it in malloc. */
static void cancelled_in_malloc(void)
{
    pthread_t thread;
    start_all(&thread, 1, allocate_cancelled);
    struct sonde *p =
        sonde_start(&(struct sonde_config){.size = sizeof(struct sonde_config),
                                           .mem_profile = true,
                                           .mem_exact = true,
                                           .quiet = true,
                                           .profile_path = directory});
    pthread_cancel(thread);
    go = 1;
    pthread_join(thread, NULL);
    printf("through %d\n", go == 2);
    sonde_stop(p);
}

static void *dump_often(void *bad)
{
    struct stat st;
    const char *path = in_directory("same.heap");
    for (int i = 0; i < 20; i++)
        if (sonde_heapdump_write(path) != 0 || stat(path, &st) != 0 || st.st_size < 65536)
            atomic_fetch_add(&go, 1);
    return bad;
}

static void one_path(void)
{
    pthread_t threads[THREADS];
    keep();
    start_all(threads, THREADS, dump_often);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("bad %d\n", go);
}

static void file_size(void)
{
    keep_list();
    limit(RLIMIT_FSIZE, 100000);
    printf("dump %d\n", sonde_heapdump_write(in_directory("large.heap")));
    limit(RLIMIT_FSIZE, RLIM_INFINITY);
}

static void *write_often(void *unused)
{
    for (;;)
        sonde_heap_write(in_directory("often.pprof"));
    return unused;
}

static void ends_meanwhile(void)
{
    pthread_t threads[THREADS];
    keep_list();
    start_all(threads, THREADS, write_often);
    usleep(50000);
}

/* ---- little stack ---- */

static void *spin(void *unused)
{
    for (int i = 0; i < 1000; i++)
        free(malloc(100));
    while (go == 0)
        continue;
    return unused;
}

/* The signal comes to the thread that does not block it. */
static void small_thread(void)
{
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t set;
    keep();
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 16384);
    if (pthread_create(&thread, &attr, spin, NULL) != 0)
        abort();
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 3; i++) {
        usleep(50000);
        kill(getpid(), SIGUSR2);
    }
    usleep(100000);
    go = 1;
    pthread_join(thread, NULL);
}

static ucontext_t outside, inside;
static volatile bool read_to_end;

static void wait_for_end(void)
{
    char c;
    read_to_end = read(STDIN_FILENO, &c, 1) == 0;
}

/* 16 KB, which end at a page that cannot be touched. */
static void small_fibre(void)
{
    enum { PAGE = 4096, ROOM = 16384 };
    char *stack = mmap(NULL, PAGE + ROOM, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(stack, PAGE, PROT_NONE);
    keep();
    puts("ready");
    fflush(stdout);
    getcontext(&inside);
    inside.uc_stack.ss_sp = stack + PAGE;
    inside.uc_stack.ss_size = ROOM;
    inside.uc_link = &outside;
    makecontext(&inside, wait_for_end, 0);
    swapcontext(&outside, &inside);
    printf("end %d\n", read_to_end);
}

/* ---- the rest ---- */

static void nobody_reads(void)
{
    int ends[2];
    keep();
    if (pipe(ends) != 0)
        abort();
    close(ends[0]);
    dup2(ends[1], STDERR_FILENO);
}

static struct sonde_profile *own;

static void *churn(void *number)
{
    uintptr_t first = (uintptr_t)number * 1000;
    while (go == 0) {
        for (uintptr_t i = 0; i < 100; i++)
            sonde_profile_add(own, (void *)(first + i));
        for (uintptr_t i = 0; i < 100; i++)
            sonde_profile_remove(own, (void *)(first + i));
    }
    return NULL;
}

static void fork_own(void)
{
    pthread_t threads[THREADS];
    int bad = 0, status;
    own = sonde_profile_new("own");
    start_all(threads, THREADS, churn);
    for (int i = 0; i < 200 && bad == 0; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(5);
            for (uintptr_t k = 0; k < 100; k++)
                sonde_profile_add(own, (void *)(900000 + k));
            _exit(0);
        }
        waitpid(child, &status, 0);
        bad += status != 0;
    }
    go = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("bad %d\n", bad);
}

static void allocate_and_tell(void)
{
    struct sonde_mem_stats stats = {.size = sizeof stats};
    for (size_t i = 0; i < SIZE_MAX && i < 2 * BLOCKS; i++)
        kept[BLOCKS + i] = malloc(1024);
    sonde_read_mem_stats(&stats);
    printf("allocations %zu\n", stats.allocations);
}

/* What is left of a long distance is none of the second recording's. */
static void two_rates(void)
{
    struct sonde_config c = {.size = sizeof c,
                             .mem_profile = true,
                             .quiet = true,
                             .profile_path = directory,
                             .mem_rate = 100 << 20};
    struct sonde *p = sonde_start(&c);
    keep();
    sonde_stop(p);
    c.mem_rate = 1024;
    p = sonde_start(&c);
    allocate_and_tell();
    sonde_stop(p);
}

static void failed(void)
{
    volatile size_t size = PTRDIFF_MAX;
    void *none = malloc(size);
    printf("failed %d\n", none == NULL);
    free(malloc(200));
    allocate_and_tell();
}

static const struct {
    const char *name;
    void (*run)(void);
} ways[] = {
    {"no_descriptor", no_descriptor},
    {"own_break", own_break},
    {"moving", moving},
    {"main_ended", main_ended},
    {"handler_allocates", handler_allocates},
    {"cancelled", cancelled},
    {"cancelled_in_malloc", cancelled_in_malloc},
    {"one_path", one_path},
    {"file_size", file_size},
    {"ends_meanwhile", ends_meanwhile},
    {"small_thread", small_thread},
    {"small_fibre", small_fibre},
    {"nobody_reads", nobody_reads},
    {"fork_own", fork_own},
    {"two_rates", two_rates},
    {"failed", failed},
};

int main(int argc, char **argv)
{
    directory = argv[argc - 1];
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (argc == 3 && strcmp(argv[1], ways[i].name) == 0) {
            ways[i].run();
            return 0;
        }
    return 9;
}
