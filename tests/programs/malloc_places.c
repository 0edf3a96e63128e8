/* malloc_places.c [DIR [BYTES]]: the allocator where it is hard to be one, in TAP: before
 * main and after it, in handlers, on small stacks, in forks amid a storm, from the
 * loader. DIR has libplugin_alloc.so. */
#include "../tap.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

extern char **environ;
static const char *directory = ".";

/* Allocates in each of the ways, writes to all of it, frees it. */
__attribute__((noinline)) static bool works(void)
{
    enum { N = 12 };
    char *p[N];
    void *aligned = NULL;
    bool good = posix_memalign(&aligned, 256, 300) == 0;
    for (size_t i = 0; i < N; i++) {
        size_t size = (size_t)1 << i;
        p[i] = i % 2 == 0 ? malloc(size) : calloc(1, size);
        p[i] = realloc(p[i], 3 * size);
        good &= p[i] != NULL;
        memset(p[i], (int)i, 3 * size);
    }
    for (size_t i = 0; i < N; i++) {
        good &= p[i][0] == (char)i && p[i][((size_t)3 << i) - 1] == (char)i;
        free(p[i]);
    }
    free(aligned);
    return good;
}

/* ---- before main, after it ---- */

static bool worked_first, worked_early;
static char *held_first, *held_early;

/* Before the constructors of any library. */
static void first(int argc, char **argv, char **environment)
{
    (void)argc, (void)argv, (void)environment;
    worked_first = works();
    held_first = strdup("first");
}
__attribute__((section(".preinit_array"),
               used)) static void (*const before)(int, char **, char **) = first;

__attribute__((constructor)) static void early(void)
{
    worked_early = works();
    held_early = strdup("early");
}

static void before_main(void)
{
    ok(worked_first && strcmp(held_first, "first") == 0, "before all constructors");
    ok(worked_early && strcmp(held_early, "early") == 0, "in a constructor");
    free(held_first);
    held_early = realloc(held_early, 100000);
    ok(strcmp(held_early, "early") == 0, "what was got there can be given back");
    free(held_early);
}

static char *held_last;

static void at_exit(void)
{
    ok(works(), "in atexit");
}

__attribute__((destructor)) static void late(void)
{
    ok(works() && held_last != NULL, "in a destructor");
    free(held_last);
    done();
    fflush(stdout);
}

/* ---- handlers and small stacks ---- */

static atomic_int handled;

static void on_signal(int number)
{
    (void)number;
    handled += works();
}

static void in_handlers(void)
{
    signal(SIGUSR1, on_signal);
    for (int i = 0; i < 100; i++)
        raise(SIGUSR1);
    ok(handled == 100, "in a handler");
}

static void on_alternate_stack(void)
{
    static char stack[16384];
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack},
            none = {.ss_flags = SS_DISABLE};
    sigaltstack(&alternate, NULL);
    sigaction(SIGUSR2, &action, NULL);
    handled = 0;
    raise(SIGUSR2);
    sigaltstack(&none, NULL);
    ok(handled == 1, "on an alternate stack of 16 KB");
}

static void *on_thread(void *unused)
{
    (void)unused;
    return works() ? &handled : NULL;
}

/* pthread_getattr_np allocates with the thread's own lock held. */
static void *asks_first(void *result)
{
    pthread_attr_t attributes;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return NULL;
    pthread_attr_getstacksize(&attributes, &size);
    pthread_attr_destroy(&attributes);
    return size > 0 ? result : NULL;
}

static void on_asking_thread(void)
{
    pthread_t thread;
    void *result = NULL;
    if (pthread_create(&thread, NULL, asks_first, &handled) == 0)
        pthread_join(thread, &result);
    ok(result != NULL, "on a thread that first asks for its attributes");
}

static size_t more_stack; /* what another allocator and ticks on top of it need */

static void on_small_thread(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    void *result = NULL;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN + more_stack);
    if (pthread_create(&thread, &attributes, on_thread, NULL) == 0)
        pthread_join(thread, &result);
    ok(result != NULL, "on a thread of the smallest stack");
}

static ucontext_t home, fibre;
static bool worked_there;

static void in_fibre(void)
{
    worked_there = works();
}

static void on_fibre(void)
{
    static char stack[16384];
    getcontext(&fibre);
    fibre.uc_stack.ss_sp = stack;
    fibre.uc_stack.ss_size = sizeof stack;
    fibre.uc_link = &home;
    makecontext(&fibre, in_fibre, 0);
    swapcontext(&home, &fibre);
    ok(worked_there, "on a fibre of 16 KB");
}

/* ---- threads ---- */

static pthread_key_t key;
static atomic_int ended;

static void end(void *held)
{
    ended += works() && strcmp(held, "held") == 0;
    free(held);
}

static void *with_end(void *round)
{
    pthread_setspecific(key, strdup("held"));
    return works() ? round : NULL;
}

static void many_threads(void)
{
    enum { N = 100 };
    pthread_t threads[N];
    int good = 0;
    pthread_key_create(&key, end);
    for (int i = 0; i < N; i++)
        pthread_create(&threads[i], NULL, with_end, &handled);
    for (int i = 0; i < N; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        good += result != NULL;
    }
    is_int(good, N, "on a hundred threads");
    is_int(ended, N, "in the destructors of what is theirs");
}

/* ---- processes ---- */

static atomic_bool calm;

static void *storm(void *unused)
{
    (void)unused;
    while (!calm)
        works();
    return NULL;
}

static bool reap(pid_t pid)
{
    int status = -1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void *works_too(void *unused)
{
    (void)unused;
    works();
    return NULL;
}

static int in_child(void)
{
    pthread_t thread;
    alarm(20);
    if (!works() || pthread_create(&thread, NULL, works_too, NULL) != 0)
        return 1;
    pthread_join(thread, NULL);
    return !works();
}

static void forks_in_a_storm(void)
{
    enum { N = 3, FORKS = 20 };
    pthread_t threads[N];
    int good = 0;
    fflush(stdout);
    for (int i = 0; i < N; i++)
        pthread_create(&threads[i], NULL, storm, NULL);
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(in_child());
        good += reap(pid) && works();
    }
    calm = true;
    for (int i = 0; i < N; i++)
        pthread_join(threads[i], NULL);
    is_int(good, FORKS, "in forks amid a storm of threads");
}

static void after_vfork(void)
{
    char *const words[] = {"true", NULL};
    void *p = malloc(1000);
    pid_t pid = vfork();
    if (pid == 0) {
        execv("/bin/true", words);
        _exit(1);
    }
    ok(reap(pid) && works(), "after vfork and exec");
    pid = vfork();
    if (pid == 0)
        _exit(0);
    ok(reap(pid) && works(), "after vfork and _exit");
    ok(posix_spawn(&pid, "/bin/true", NULL, NULL, words, environ) == 0 && reap(pid),
       "after posix_spawn");
    free(p);
}

/* ---- the loader ---- */

static void in_loader(void)
{
    char path[4096];
    int good = 0;
    for (int i = 0; i < 20; i++) {
        snprintf(path, sizeof path, "%s/libplugin_alloc.so", directory);
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        void *(*get)(size_t) =
            library ? (void *(*)(size_t))dlsym(library, "alloc_plugin") : NULL;
        char *(*local)(void) =
            library ? (char *(*)(void))dlsym(library, "alloc_plugin_local") : NULL;
        if (get == NULL || local == NULL)
            break;
        void *p = get(100);
        good += p != NULL && local()[4095] == 0 &&
                dlsym(library, "no such name") == NULL && dlerror() != NULL;
        dlclose(library);
        free(p);
    }
    is_int(good, 20, "from dlopen, dlsym and dlerror, in and for a plugin");
    ok(dlopen("/no/such/library.so", RTLD_NOW) == NULL && dlerror() && works(),
       "from a dlopen that fails");
}

/* As every allocator's wrapper does. */
static void by_next(void)
{
    void *(*get)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "malloc");
    void (*put)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "free");
    void *p = get(100), *q = malloc(200);
    ok(p && q, "by dlsym");
    free(p);
    put(q);
}

static void closed(void)
{
    int status = -1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 64; i++)
            close(i);
        _exit(!works());
    }
    waitpid(pid, &status, 0);
    is_int(status, 0, "without any descriptor");
}

int main(int argc, char **argv)
{
    if (argc > 1)
        directory = argv[1];
    if (argc > 2)
        more_stack = (size_t)strtoul(argv[2], NULL, 10);
    atexit(at_exit);
    before_main();
    in_handlers();
    on_alternate_stack();
    on_small_thread();
    on_asking_thread();
    on_fibre();
    many_threads();
    forks_in_a_storm();
    after_vfork();
    in_loader();
    by_next();
    closed();
    held_last = strdup("held");
    return 0;
}
