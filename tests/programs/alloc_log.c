/* alloc_log.c MODE LOG [SEED [EVENTS [THREADS]]]: allocates and frees in an order that
 * SEED decides, and logs each event itself: a record of 48 bytes, native-endian, in LOG,
 * which is mapped shared: kind (1 allocated, 2 freed), thread's id, address, size, and
 * the function that called the allocator. A realloc is two records.
 *
 *     locked    threads one at a time: the log's order is that of the events
 *     free      threads as they come, who also free each other's blocks: each thread's
 *               records are in order, in a part of the log of its own
 *     kill      as locked, and kills itself in the end
 *     forever   as free, until it is killed
 *     fork      as locked with one thread; then a child does the same into LOG.child, and
 *               a child of _Fork (which runs no handlers) allocates unseen
 *     exec      as locked with one thread; then executes itself: locked LOG.exec
 *     handler   as locked; every so many events a signal, whose handler does some
 *     failing   reallocs that cannot be, amid others
 */
#include "alloc.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { MAX_THREADS = 8, LIVE = 512, MAX_SIZE = 3000 };

struct record {
    uint32_t kind, tid;
    uint64_t address, size;
    char site[24];
};

struct held {
    void *p;
    size_t size;
};

static struct record *records; /* a part for each thread; or all in one */
static atomic_uint used[MAX_THREADS];
static unsigned part_size, n_events;
static bool locked = true, for_ever, signals;
static atomic_flag lock = ATOMIC_FLAG_INIT;
static struct held blocks[LIVE];        /* under the lock */
static _Atomic(struct held *) swap[64]; /* from thread to thread */
static uint64_t seed;

static void note(unsigned part, uint32_t kind, const void *p, size_t size,
                 const char *site)
{
    unsigned i = atomic_load(&used[part]);
    if (i >= part_size)
        _exit(96);
    struct record *r = &records[(size_t)part * part_size + i];
    r->tid = (uint32_t)syscall(SYS_gettid);
    r->address = (uintptr_t)p;
    r->size = size;
    for (size_t c = 0; c + 1 < sizeof r->site && site[c] != '\0'; c++)
        r->site[c] = site[c];
    __atomic_store_n(&r->kind, kind, __ATOMIC_RELEASE);
    atomic_store(&used[part], i + 1);
}

/* ---- sites ---- */

#define SITE(name, call)                                                                 \
    NOINLINE static void *name(void *p, size_t size)                                     \
    {                                                                                    \
        p = call;                                                                        \
        STAY();                                                                          \
        return p;                                                                        \
    }
SITE(by_malloc, (p = NULL, malloc(size)))
SITE(by_calloc, (p = NULL, calloc(size, 1)))
SITE(by_aligned, (p = NULL, aligned_alloc(64, size)))
SITE(by_memalign, posix_memalign(&p, 256, size) == 0 ? p : NULL)
SITE(by_realloc, realloc(p, size))
SITE(by_reallocarray, reallocarray(p, size, 1))

NOINLINE static void by_free(void *p)
{
    free(p);
    STAY();
}

static const struct {
    const char *name;
    void *(*call)(void *p, size_t size);
} sites[] = {{"by_malloc", by_malloc},   {"by_calloc", by_calloc},
             {"by_aligned", by_aligned}, {"by_memalign", by_memalign},
             {"by_realloc", by_realloc}, {"by_reallocarray", by_reallocarray}};

static struct held make(unsigned part, unsigned site, size_t size)
{
    void *p = sites[site].call(NULL, size);
    if (p == NULL)
        _exit(95);
    note(part, 1, p, size, sites[site].name);
    return (struct held){p, size};
}

static void drop(unsigned part, struct held h)
{
    if (!locked) /* first: another thread may be handed the address at once */
        note(part, 2, h.p, h.size, "by_free");
    by_free(h.p);
    if (locked)
        note(part, 2, h.p, h.size, "by_free");
}

static struct held grow(unsigned part, struct held h, unsigned site, size_t size)
{
    void *p = sites[site].call(h.p, size);
    if (p == NULL)
        _exit(95);
    note(part, 2, h.p, h.size, sites[site].name);
    note(part, 1, p, size, sites[site].name);
    return (struct held){p, size};
}

/* ---- steps ---- */

static void step(struct held *h, unsigned part, uint64_t *random)
{
    size_t size = 1 + below(random, MAX_SIZE);
    unsigned site = (unsigned)below(random, 6);
    if (h->p == NULL) {
        *h = make(part, site, size);
    } else if (site >= 4) {
        *h = grow(part, *h, site, size);
    } else {
        drop(part, *h);
        h->p = NULL;
    }
}

static struct held handlers_own[4];

static void on_signal(int number)
{
    static uint64_t random = 7;
    (void)number;
    step(&handlers_own[below(&random, 4)], 0, &random);
}

static void step_locked(uint64_t *random)
{
    while (atomic_flag_test_and_set(&lock))
        sched_yield();
    step(&blocks[below(random, LIVE)], 0, random);
    if (signals && below(random, 50) == 0)
        raise(SIGUSR1);
    atomic_flag_clear(&lock);
}

/* Without a lock: blocks of its own, now and then given away by a table. */
static void step_free(unsigned part, struct held *own, struct held **room,
                      uint64_t *random)
{
    step(&own[below(random, 64)], part, random);
    if (below(random, 4) != 0 || *room == NULL)
        return;
    struct held *gift = *room;
    *gift = make(part, 0, 1 + below(random, 500));
    struct held *got = atomic_exchange(&swap[below(random, 64)], gift);
    *room = got;
    if (got != NULL)
        drop(part, *got);
    else
        *room = NULL;
}

static void *work(void *number)
{
    unsigned part = (unsigned)(uintptr_t)number;
    uint64_t random = seed + part;
    static struct held own[MAX_THREADS][64], rooms[MAX_THREADS][70];
    struct held *room = NULL;
    unsigned fresh = 0;
    for (unsigned i = 0; for_ever || i < n_events; i++) {
        if (locked) {
            step_locked(&random);
            continue;
        }
        if (room == NULL && fresh < 64)
            room = &rooms[part][fresh++];
        step_free(part, own[part], &room, &random);
        if (for_ever && atomic_load(&used[part]) + 8 > part_size)
            break;
    }
    while (for_ever)
        sched_yield();
    return NULL;
}

static void open_log(const char *path, unsigned parts, unsigned size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    part_size = size;
    size_t bytes = (size_t)parts * size * sizeof(struct record);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
        _exit(94);
    records = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (records == MAP_FAILED)
        _exit(93);
    close(fd);
    for (unsigned i = 0; i < MAX_THREADS; i++)
        atomic_store(&used[i], 0);
}

static void run(unsigned threads)
{
    pthread_t v[MAX_THREADS];
    for (unsigned i = 1; i < threads; i++)
        pthread_create(&v[i], NULL, work, (void *)(uintptr_t)i);
    work(NULL);
    for (unsigned i = 1; i < threads; i++)
        pthread_join(v[i], NULL);
}

static void fork_child(const char *path)
{
    static char name[4096];
    if (fork() == 0) {
        snprintf(name, sizeof name, "%s.child", path);
        open_log(name, 1, 4 * n_events + 64);
        run(1);
        _exit(0);
    }
    wait(NULL);
    if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0) {
        for (int i = 0; i < 1000; i++)
            by_free(by_malloc(NULL, 3777));
        _exit(0);
    }
    wait(NULL);
}

static void fail_often(void)
{
    for (unsigned i = 0; i < n_events; i++) {
        struct held h = make(0, 0, 100 + i);
        volatile size_t most = PTRDIFF_MAX;
        if (by_realloc(h.p, most - i) != NULL)
            _exit(92);
        drop(0, h);
    }
}

int main(int argc, char **argv)
{
    static char name[4096];
    const char *mode = argc > 2 ? argv[1] : "";
    seed = number(argc, argv, 3, 1);
    n_events = (unsigned)number(argc, argv, 4, 1000);
    unsigned threads = (unsigned)number(argc, argv, 5, 1);
    if (argc < 3 || threads > MAX_THREADS)
        return 2;
    locked = strcmp(mode, "free") != 0 && strcmp(mode, "forever") != 0;
    for_ever = strcmp(mode, "forever") == 0;
    signals = strcmp(mode, "handler") == 0;
    signal(SIGUSR1, on_signal);
    open_log(argv[2], locked ? 1 : threads,
             for_ever ? 2000000 : (locked ? threads : 1) * 4 * n_events + 64);
    if (strcmp(mode, "failing") == 0)
        fail_often();
    else
        run(threads);
    if (strcmp(mode, "kill") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(mode, "fork") == 0)
        fork_child(argv[2]);
    if (strcmp(mode, "exec") == 0) {
        snprintf(name, sizeof name, "%s.exec", argv[2]);
        execl("/proc/self/exe", argv[0], "locked", name, argv[3], argv[4], NULL);
        return 91;
    }
    return 0;
}
