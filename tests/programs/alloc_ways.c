/* alloc_ways.c WAY [DIR]: allocates in an uncommon way, a row of `ways`, and prints its
 * truth. Where a process has a child or a second life, each prints what it did itself. */
#include "alloc.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <sys/wait.h>

static const char *directory, *me;

/* The site of an allocation is the function that has this as its one call of malloc. */
#define GET(block, account, size)                                                        \
    do {                                                                                 \
        size_t size_ = (size);                                                           \
        void *p_ = malloc(size_);                                                        \
        (block) = count_alloc((account), p_, size_);                                     \
        STAY();                                                                          \
    } while (0)

static void put(struct block b)
{
    count_free(b);
    free(unhide(b.hidden));
}

/* ---- events in an order that matters ---- */

NOINLINE static struct block first_kind(struct account *a, size_t size)
{
    struct block b;
    GET(b, a, size);
    return b;
}

NOINLINE static struct block second_kind(struct account *a, size_t size)
{
    struct block b;
    GET(b, a, size);
    return b;
}

static void by_order(void)
{
    struct account *a = account_open("first_kind", "by_order");
    struct account *b = account_open("second_kind", "by_order");
    for (size_t i = 0; i < 1000; i++) {
        struct block x = first_kind(a, 100); /* outlives the next event */
        struct block y = second_kind(b, 200);
        put(y); /* temporary */
        put(x);
        x = first_kind(a, 300 + i); /* temporary */
        put(x);
        x = first_kind(a, 50);
        y = second_kind(b, 60);
        put(x); /* not y's end, but the next event: y is not temporary */
        put(y);
    }
}

/* ---- threads without a lock ---- */

enum { THREADS = 4, EACH = 4000, SLOTS = 64 };
static pthread_barrier_t barrier;
static _Atomic(struct block *) slots[SLOTS];
static struct block held[THREADS][EACH], passed[THREADS][EACH];

static void enter_and_free(struct block b)
{
    enter_free(b);
    free(unhide(b.hidden));
}

NOINLINE static struct block grows(struct account *a, size_t size)
{
    return enter_alloc(a, malloc(size), size);
}

NOINLINE static struct block passes(struct account *a, size_t size)
{
    return enter_alloc(a, malloc(size), size);
}

/* The heap only grows, is at its highest, and never comes near again: what is passed from
 * hand to hand is less than what was freed. */
NOINLINE static void *in_storm(void *number)
{
    size_t me_here = (size_t)number;
    uint64_t luck = me_here + 1;
    pthread_setname_np(pthread_self(),
                       (const char[][8]){"ant", "bee", "cat", "dog"}[me_here]);
    struct account *mine = &accounts[2 * me_here], *given = mine + 1;
    for (size_t i = 0; i < EACH; i++)
        held[me_here][i] = grows(mine, 900 + below(&luck, 200));
    if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
        peak_open = true;
        peak_close();
    }
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < EACH; i += 2)
        enter_and_free(held[me_here][i]);
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < EACH; i++) {
        passed[me_here][i] = passes(given, 900 + below(&luck, 200));
        struct block *got =
            atomic_exchange(&slots[below(&luck, SLOTS)], &passed[me_here][i]);
        if (got != NULL)
            enter_and_free(*got);
    }
    return NULL;
}

static void by_storm(void)
{
    pthread_t threads[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (size_t i = 0; i < THREADS; i++) {
        strcpy(account_open("grows", "in_storm")->thread,
               (const char[][8]){"ant", "bee", "cat", "dog"}[i]);
        strcpy(account_open("passes", "in_storm")->thread, accounts[2 * i].thread);
    }
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, in_storm, (void *)i) != 0) /* NOLINT */
            _exit(93);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* ---- threads that die and leave what they hold ---- */

enum { DEAD = 50, LEFT = 20 };
static struct block left[DEAD][LEFT];

NOINLINE static void *dying(void *number)
{
    size_t i = (size_t)number;
    struct account *a = &accounts[0];
    for (size_t k = 0; k < LEFT; k++)
        GET(left[i][k], a, 100 * (k + 1) + i);
    return NULL;
}

/* One after the other: numbers and stacks of the dead are used again. */
static void by_dying(void)
{
    account_open("dying", "dying");
    for (size_t i = 0; i < DEAD; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, dying, (void *)i) != 0) /* NOLINT */
            _exit(93);
        pthread_join(thread, NULL);
        for (size_t k = 0; k < LEFT; k += 2)
            put(left[i][k]);
    }
}

/* ---- a second process, a second program ---- */

static struct block before_all[100];

NOINLINE static struct block before_fork(struct account *a, size_t size)
{
    struct block b;
    GET(b, a, size);
    return b;
}

NOINLINE static struct block in_child(struct account *a, size_t size)
{
    struct block b;
    GET(b, a, size);
    return b;
}

NOINLINE static struct block in_parent(struct account *a, size_t size)
{
    struct block b;
    GET(b, a, size);
    return b;
}

/* The child's books begin anew; what it frees of its parent's is in nobody's. */
static void child(void)
{
    for (size_t i = 0; i < 50; i++)
        free(unhide(before_all[i].hidden));
    memset(accounts, 0, sizeof accounts);
    n_accounts = 0;
    live_bytes = peak_bytes = thread_last = 0;
    struct account *a = account_open("in_child", "by_fork");
    for (size_t i = 0; i < 300; i++) {
        struct block b = in_child(a, 10 + i);
        if (i % 3 == 0)
            put(b);
    }
    truths_print();
    exit(0);
}

NOINLINE static void by_fork(void)
{
    struct account *a = account_open("before_fork", "by_fork");
    for (size_t i = 0; i < 100; i++)
        before_all[i] = before_fork(a, 1000 + i);
    pid_t pid = fork();
    if (pid == 0)
        child();
    a = account_open("in_parent", "by_fork");
    for (size_t i = 0; i < 200; i++) {
        struct block b = in_parent(a, 50 + i);
        if (i % 2 == 0)
            put(b);
    }
    for (size_t i = 50; i < 100; i++)
        put(before_all[i]);
    int status = -1;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        _exit(92);
    STAY();
}

NOINLINE static void before_the_end(void)
{
    struct account *a = account_open("first_kind", "before_the_end");
    for (size_t i = 0; i < 500; i++) {
        struct block b = first_kind(a, 64 + i);
        if (i % 2 == 0)
            put(b);
    }
    STAY();
}

static void by_exec(void)
{
    before_the_end();
    truths_print();
    execl(me, me, "order", (char *)NULL);
    _exit(91);
}
static void by_kill(void)
{
    before_the_end();
    truths_print();
    raise(SIGKILL);
}
static void by__exit(void)
{
    before_the_end();
    truths_print();
    _exit(0);
}
static void by_abort(void)
{
    before_the_end();
    truths_print();
    abort();
}

/* ---- handlers ---- */

static struct account *handlers, *outside;
static struct block from_handler, from_outside;

NOINLINE static void on_signal(int number)
{
    (void)number;
    struct block b;
    if (from_outside.hidden != 0)
        put(from_outside);
    from_outside.hidden = 0;
    GET(b, handlers, 77);
    put(b);
    GET(from_handler, handlers, 99);
}

static void by_signal(void)
{
    handlers = account_open("on_signal", "on_signal");
    outside = account_open("first_kind", "by_signal");
    signal(SIGUSR1, on_signal);
    for (size_t i = 0; i < 1000; i++) {
        from_outside = first_kind(outside, 100 + i);
        raise(SIGUSR1);
        if (i % 2 == 0)
            put(from_handler);
    }
}

static atomic_uint ticks;

NOINLINE static void on_alarm(int number)
{
    (void)number;
    struct block b;
    GET(b, handlers, 123);
    if (atomic_fetch_add(&ticks, 1) % 2 == 0)
        put(b);
}

/* Between two allocations of its own, in the middle of something else. */
static void by_alarm(void)
{
    handlers = account_open("on_alarm", "on_alarm");
    struct itimerval often = {{0, 1000}, {0, 1000}}, never = {0};
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &often, NULL);
    for (volatile unsigned i = 0; atomic_load(&ticks) < 50;)
        i++;
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGALRM, SIG_IGN);
}

/* ---- the ends of threads and of the program ---- */

static struct account *enders, *destroyers;
static struct block kept_until_end, kept_until_destructor;
static bool ends;
static pthread_key_t key;

NOINLINE static void at_end(void)
{
    struct block b;
    put(kept_until_end);
    GET(b, enders, 555);
    (void)b;
}

__attribute__((destructor)) NOINLINE static void destroyed(void)
{
    struct block b;
    if (!ends)
        return;
    put(kept_until_destructor);
    GET(b, destroyers, 777);
    (void)b;
    truths_print();
}

static void by_atexit(void)
{
    destroyers = account_open("destroyed", "destroyed");
    struct account *a = account_open("first_kind", "by_atexit");
    kept_until_end = first_kind(a, 10000);
    kept_until_destructor = first_kind(a, 20000);
    enders = account_open("at_end", "at_end");
    ends = true;
    atexit(at_end);
}

NOINLINE static void end_of_thread(void *block)
{
    struct block b;
    put(*(struct block *)block);
    GET(b, enders, 333);
    put(b);
    GET(b, enders, 444);
}

NOINLINE static void *with_end(void *account)
{
    static struct block until_end;
    GET(until_end, (struct account *)account, 222);
    pthread_setspecific(key, &until_end);
    return NULL;
}

static void by_thread_end(void)
{
    struct account *a = account_open("with_end", "with_end");
    enders = account_open("end_of_thread", "end_of_thread");
    pthread_key_create(&key, end_of_thread);
    for (size_t i = 0; i < 20; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, with_end, a) != 0)
            _exit(93);
        pthread_join(thread, NULL);
    }
}

/* ---- code that comes and goes ---- */

NOINLINE static void through_plugin(struct account *a)
{
    char path[4096];
    strcpy(stpncpy(path, directory, sizeof path - 64), "/libplugin_alloc.so");
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *(*allocate)(size_t) =
        library ? (void *(*)(size_t))dlsym(library, "alloc_plugin") : NULL;
    if (allocate == NULL)
        _exit(90);
    for (size_t i = 0; i < 10; i++) {
        struct block b = count_alloc(a, allocate(500 + i), 500 + i);
        if (i % 2 == 0)
            put(b);
    }
    dlclose(library);
}

static void by_plugin(void)
{
    struct account *a = account_open("alloc_plugin", "through_plugin");
    for (size_t i = 0; i < 20; i++)
        through_plugin(a);
}

/* ---- deep stacks ---- */

NOINLINE static struct block deep(struct account *a, unsigned depth)
{
    struct block b;
    if (depth > 1)
        b = deep(a, depth - 1);
    else
        GET(b, a, 40);
    STAY();
    return b;
}

static void by_depth(void)
{
    struct account *a = account_open("deep", "deep");
    for (unsigned i = 0; i < 300; i++) {
        struct block b = deep(a, 1 + i % 100);
        if (i % 2 == 0)
            put(b);
    }
}

static const struct {
    const char *name;
    void (*go)(void);
} ways[] = {
    {"order", by_order},   {"storm", by_storm},   {"dying", by_dying},
    {"fork", by_fork},     {"exec", by_exec},     {"kill", by_kill},
    {"_exit", by__exit},   {"abort", by_abort},   {"signal", by_signal},
    {"alarm", by_alarm},   {"atexit", by_atexit}, {"thread_end", by_thread_end},
    {"plugin", by_plugin}, {"depth", by_depth},
};

int main(int argc, char **argv)
{
    me = argv[0];
    directory = argc > 2 ? argv[2] : ".";
    for (size_t i = 0; argc > 1 && i < sizeof ways / sizeof *ways; i++) {
        if (strcmp(argv[1], ways[i].name) != 0)
            continue;
        ways[i].go();
        if (!ends)
            truths_print();
        return 0;
    }
    return 2;
}
