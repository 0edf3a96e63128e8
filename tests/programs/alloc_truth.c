/* alloc_truth.c [SEED [KB [THREADS]]]: allocates about KB kilobytes in each of nine size
 * classes, from nine sites, in an order that SEED decides; frees some at once, some
 * later, some on another thread than allocated them, and keeps the rest. The heap has two
 * tides, so that its peak lies somewhere within. Events are in one order, under a lock,
 * so that the peak is known also of several threads. All that is kept is reachable. */
#include "alloc.h"

#include <malloc.h>
#include <pthread.h>

enum { N_CLASSES = 9, N_SITES = 9, MAX_THREADS = 4, MAX_LIVE = 1 << 20, TEXT = 2 << 20 };

typedef void *site_fn(void *old, size_t size);
typedef void *class_fn(site_fn *site, void *old, size_t size);

static char text[TEXT]; /* a string to duplicate: the last n bytes are one of n */

#define SITE(name, call)                                                                 \
    NOINLINE static void *name(void *old, size_t size)                                   \
    {                                                                                    \
        void *p = old;                                                                   \
        p = call;                                                                        \
        STAY();                                                                          \
        return p;                                                                        \
    }
SITE(by_malloc, malloc(size))
SITE(by_calloc, calloc(1, size))
SITE(by_realloc, realloc(p, size))
SITE(by_reallocarray, reallocarray(p, size, 1))
SITE(by_posix_memalign, posix_memalign(&p, 64, size) == 0 ? p : NULL)
SITE(by_aligned_alloc, aligned_alloc(32, size))
SITE(by_memalign, memalign(128, size))
SITE(by_strdup, strdup(text + TEXT - size))
SITE(by_strndup, strndup(text, size - 1))

#define CLASS(name)                                                                      \
    NOINLINE static void *name(site_fn *site, void *old, size_t size)                    \
    {                                                                                    \
        void *p = site(old, size);                                                       \
        STAY();                                                                          \
        return p;                                                                        \
    }
CLASS(of_16)
CLASS(of_64)
CLASS(of_256)
CLASS(of_1k)
CLASS(of_4k)
CLASS(of_16k)
CLASS(of_64k)
CLASS(of_256k)
CLASS(of_1m)

static const struct {
    const char *name;
    site_fn *call;
} sites[N_SITES] = {
    {"by_malloc", by_malloc},
    {"by_calloc", by_calloc},
    {"by_realloc", by_realloc},
    {"by_reallocarray", by_reallocarray},
    {"by_posix_memalign", by_posix_memalign},
    {"by_aligned_alloc", by_aligned_alloc},
    {"by_memalign", by_memalign},
    {"by_strdup", by_strdup},
    {"by_strndup", by_strndup},
};

static const struct {
    const char *name;
    class_fn *call;
} classes[N_CLASSES] = {
    {"of_16", of_16},   {"of_64", of_64},     {"of_256", of_256},
    {"of_1k", of_1k},   {"of_4k", of_4k},     {"of_16k", of_16k},
    {"of_64k", of_64k}, {"of_256k", of_256k}, {"of_1m", of_1m},
};

struct worker {
    uint64_t chance;
    size_t quota[N_CLASSES], left, all; /* allocations to be made */
    struct account *accounts[N_SITES][N_CLASSES];
    pthread_t thread;
    char name[16];
};

static struct block live[MAX_LIVE];
static size_t n_live;
/* Where the live blocks are, in the clear, for a scan to find. */
static void *volatile kept[MAX_LIVE];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A class that has allocations left; the size is of it, at least and up to a quarter
 * more. */
static size_t pick_class(struct worker *w, size_t *size)
{
    size_t at = below(&w->chance, w->left), class = 0;
    while (at >= w->quota[class])
        at -= w->quota[class ++];
    w->quota[class]--;
    w->left--;
    size_t least = (size_t)16 << (2 * class);
    *size = least + below(&w->chance, least / 4);
    return class;
}

static struct block allocate(struct worker *w)
{
    size_t size, class = pick_class(w, &size), site = below(&w->chance, N_SITES);
    void *p = classes[class].call(sites[site].call, NULL, size);
    return count_alloc(w->accounts[site][class], p, size);
}

static void release(struct block b)
{
    count_free(b);
    free(unhide(b.hidden));
}

static void put(size_t at, struct block b)
{
    live[at] = b;
    kept[at] = unhide(b.hidden);
}

static void keep(struct worker *w)
{
    assert(n_live < MAX_LIVE);
    put(n_live++, allocate(w));
}

static void allocate_and_release(struct worker *w)
{
    release(allocate(w));
}

static void release_one(struct worker *w)
{
    if (n_live == 0)
        return;
    size_t at = below(&w->chance, n_live);
    release(live[at]);
    put(at, live[--n_live]);
    kept[n_live] = NULL;
}

static void resize_one(struct worker *w)
{
    enum { REALLOC = 2 };
    size_t at = n_live > 0 ? below(&w->chance, n_live) : 0;
    if (n_live == 0 || live[at].serial == thread_last)
        return;
    size_t size, class = pick_class(w, &size), site = REALLOC + below(&w->chance, 2);
    struct block was = live[at];
    void *p = classes[class].call(sites[site].call, unhide(was.hidden), size);
    put(at, count_realloc(was, w->accounts[site][class], p, size));
}

/* Of a hundred steps so many do this, by flood and by ebb. */
static const struct {
    void (*step)(struct worker *w);
    unsigned flood, ebb;
} steps[] = {
    {keep, 55, 30},
    {allocate_and_release, 15, 15},
    {release_one, 15, 40},
    {resize_one, 15, 15},
};

static void step(struct worker *w)
{
    bool flood = w->left * 5 / (w->all + 1) % 2 == 0;
    unsigned dice = (unsigned)below(&w->chance, 100);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        unsigned part = flood ? steps[i].flood : steps[i].ebb;
        if (dice < part) {
            steps[i].step(w);
            return;
        }
        dice -= part;
    }
}

static void *work(void *argument)
{
    struct worker *w = argument;
    if (w->name[0] != '\0')
        pthread_setname_np(pthread_self(), w->name);
    pthread_mutex_lock(&lock);
    for (size_t site = 0; site < N_SITES; site++)
        for (size_t class = 0; class < N_CLASSES; class ++)
            w->accounts[site][class] =
                account_open(sites[site].name, classes[class].name);
    pthread_mutex_unlock(&lock);
    while (w->left > 0) {
        pthread_mutex_lock(&lock);
        step(w);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void prepare(struct worker *w, size_t bytes)
{
    for (size_t class = 0; class < N_CLASSES; class ++) {
        w->quota[class] = bytes / ((size_t)16 << (2 * class));
        w->all += w->quota[class];
    }
    w->left = w->all;
}

static struct worker workers[MAX_THREADS];

int main(int argc, char **argv)
{
    uint64_t seed = number(argc, argv, 1, 1);
    size_t bytes = number(argc, argv, 2, 1024) << 10;
    size_t n_threads = number(argc, argv, 3, 1);
    if (n_threads == 0 || n_threads > MAX_THREADS)
        return 2;
    memset(text, 'x', sizeof text - 1);
    for (size_t i = 0; i < n_threads; i++) {
        workers[i].chance = seed * MAX_THREADS + i;
        prepare(&workers[i], bytes / n_threads);
    }
    if (n_threads == 1)
        work(&workers[0]);
    for (size_t i = 0; n_threads > 1 && i < n_threads; i++) {
        memcpy(workers[i].name, "worker0", sizeof "worker0");
        workers[i].name[6] = (char)('1' + i);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            return 1;
    }
    for (size_t i = 0; n_threads > 1 && i < n_threads; i++)
        pthread_join(workers[i].thread, NULL);
    truths_print();
    return 0;
}
