/*
 * alloc_gc_late.c: blocks of libgc's that come from lists of the program's own, and
 * garbage, of known numbers.
 *
 *     alloc_gc_late lists N      N blocks from lists, of which every fourth is kept and
 *                                every eighth of the others is freed by hand
 *     alloc_gc_late functions N  the same, by GC_MALLOC
 *     alloc_gc_late final N      N blocks with finalizers, garbage
 *     alloc_gc_late again N      lists, then GC_MALLOC, then lists, all of it garbage
 *     alloc_gc_late hidden N     N by GC_MALLOC, freed by a GC_free that is not seen
 *     alloc_gc_late later N DIR  as lists, after as much that is not traced
 *     alloc_gc_late threads N    four threads: lists and functions, while they collect
 *     alloc_gc_late heap MB N    so much that lives, of N bytes each; how long each of
 *                                some collections takes, in ms: bench/gctrace.py
 *
 * "truth allocated kept freed": of the site by_list, then of by_function; then how many
 * finalizers ran, and what libgc says lives.
 */
#define GC_THREADS
#include "sonde.h"
#include <gc/gc.h>
#include <gc/gc_mark.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIZE        48
#define KEEP        100000
#define THREADS     4
#define COLLECTIONS 11

struct count {
    atomic_ulong allocated, kept, freed;
} by_list_count, by_function_count;
static atomic_ulong finalized;
static void *kept[KEEP];
static atomic_uint n_kept;

struct list {
    void *first;
};

/* The site of a list's blocks. */
__attribute__((noinline, noclone)) static void by_list(struct list *l)
{
    l->first = GC_malloc_many(SIZE);
    __asm__ volatile("" ::: "memory");
    for (void *p = l->first; p != NULL; p = GC_NEXT(p))
        by_list_count.allocated++;
}

/* As an inlined allocator does, to which nobody listens. */
static inline void *pop(struct list *l)
{
    if (l->first == NULL)
        by_list(l);
    void *p = l->first;
    l->first = GC_NEXT(p);
    GC_NEXT(p) = NULL;
    return p;
}

__attribute__((noinline, noclone)) static void *by_function(struct list *l)
{
    (void)l;
    by_function_count.allocated++;
    void *p = GC_MALLOC(SIZE);
    __asm__ volatile("" : "+r"(p)::"memory");
    return p;
}

__attribute__((noinline, noclone)) static void by_free(void *p)
{
    GC_FREE(p);
    __asm__ volatile("" ::: "memory");
}

static void keep(void *p, struct count *c)
{
    unsigned i = atomic_fetch_add(&n_kept, 1);
    if (i >= KEEP)
        abort();
    kept[i] = p;
    c->kept++;
}

/* What is left of a list is neither: each is taken, and is garbage. */
__attribute__((noinline)) static void make(unsigned long n, void *(*next)(struct list *),
                                           struct count *c)
{
    struct list l = {NULL};
    for (unsigned long i = 0; i < n; i++) {
        void *p = next(&l);
        if (i % 4 == 0) {
            keep(p, c);
        } else if (i % 8 == 1) {
            by_free(p);
            c->freed++;
        }
        if (i % 5000 == 4999)
            GC_gcollect();
    }
    while (l.first != NULL)
        pop(&l);
}

static void on_final(void *object, void *data)
{
    (void)object;
    (void)data;
    finalized++;
}

__attribute__((noinline)) static void make_final(unsigned long n)
{
    for (unsigned long i = 0; i < n; i++)
        GC_REGISTER_FINALIZER(by_function(NULL), on_final, NULL, NULL, NULL);
}

__attribute__((noinline)) static void drop_all(void)
{
    memset(kept, 0, sizeof kept);
    n_kept = 0;
    by_list_count.kept = by_function_count.kept = 0;
}

/* The dead stack keeps nothing. */
__attribute__((noinline)) static void settle(void)
{
    char dead[20000];
    memset(dead, 0, sizeof dead);
    __asm__ volatile("" : : "r"(dead) : "memory");
    for (int i = 0; i < 3; i++)
        GC_gcollect();
}

static void again(unsigned long n)
{
    make(n, pop, &by_list_count);
    drop_all();
    settle();
    make(n, by_function, &by_function_count);
    drop_all();
    settle();
    make(n, pop, &by_list_count);
    drop_all();
}

/* dlsym finds libgc's own. */
static void hidden(unsigned long n)
{
    void (*release)(void *);
    *(void **)&release = dlsym(RTLD_DEFAULT, "GC_free");
    if (release == NULL)
        abort();
    for (unsigned long i = 0; i < n; i++)
        release(by_function(NULL));
}

/* A program that is not traced from the start. */
static void later(unsigned long n, const char *directory)
{
    struct sonde *(*start)(const struct sonde_config *);
    *(void **)&start = dlsym(RTLD_DEFAULT, "sonde_start");
    make(n, pop, &by_list_count);
    by_list_count.allocated = by_list_count.kept = by_list_count.freed = 0;
    struct sonde_config config = {
        .allocfreetrace = true, .profile_path = directory, .quiet = true};
    if (start == NULL || start(&config) == NULL)
        abort();
    make(n, pop, &by_list_count);
}

static void *work(void *n)
{
    for (int i = 0; i < 4; i++) {
        make((uintptr_t)n / 8, pop, &by_list_count);
        make((uintptr_t)n / 8, by_function, &by_function_count);
    }
    return NULL;
}

static void threads(unsigned long n)
{
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], NULL, work, (void *)n) != 0) /* libgc's */
            abort();
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Blocks of `bytes`, in one list. */
static void heap(unsigned long megabytes, size_t bytes)
{
    void *head = NULL, *next = NULL;
    for (unsigned long i = 0; i < megabytes << 20; i += bytes) {
        if (next == NULL)
            next = GC_malloc_many(bytes);
        void **p = next;
        next = GC_NEXT(p);
        *p = head;
        head = p;
    }
    kept[0] = head;
    for (int i = 0; i < COLLECTIONS; i++) {
        double begin_ms = now_ms();
        GC_gcollect();
        printf("collect %.3f\n", now_ms() - begin_ms);
    }
}

static void count_one(void *object, size_t bytes, void *n)
{
    (void)object;
    (void)bytes;
    ++*(unsigned long *)n;
}

static void *count_live(void *n)
{
    GC_enumerate_reachable_objects_inner(count_one, n);
    return NULL;
}

int main(int argc, char **argv)
{
    const char *way = argc > 1 ? argv[1] : "lists";
    unsigned long n = argc > 2 ? strtoul(argv[2], NULL, 10) : 10000, live = 0;
    GC_set_all_interior_pointers(0); /* as Guile does: a block is no larger than asked */
    GC_INIT();
    if (strcmp(way, "lists") == 0)
        make(n, pop, &by_list_count);
    else if (strcmp(way, "functions") == 0)
        make(n, by_function, &by_function_count);
    else if (strcmp(way, "final") == 0)
        make_final(n);
    else if (strcmp(way, "again") == 0)
        again(n);
    else if (strcmp(way, "hidden") == 0)
        hidden(n);
    else if (strcmp(way, "later") == 0)
        later(n, argc > 3 ? argv[3] : ".");
    else if (strcmp(way, "threads") == 0)
        threads(n);
    else
        heap(n, argc > 3 ? strtoul(argv[3], NULL, 10) : 16);
    settle();
    GC_call_with_alloc_lock(count_live, &live);
    struct count *counts[] = {&by_list_count, &by_function_count};
    for (int i = 0; i < 2; i++)
        printf("truth %lu %lu %lu\n", counts[i]->allocated, counts[i]->kept,
               counts[i]->freed);
    printf("truth %lu %lu\n", finalized, live);
    return 0;
}
