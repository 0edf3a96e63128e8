/*
 * gc.c: a program on libgc whose heap is known.
 *
 *     gc truth           a list of 20000 nodes, each with a text, then half, then none
 *     gc churn MB N      N threads make so much garbage each
 *     gc handler         has an event handler of its own, and looks at the dead stack
 *     gc fork            collects, and so does its child
 *     gc stats           sonde_read_mem_stats, if libsonde is there
 *     gc dump FILE       sonde_heapdump_write, of a planted graph
 *     gc late PLUGIN     libgc comes with a plugin (without -DLATE: is that plugin)
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef LATE
int main(int argc, char **argv)
{
    void *plugin = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    void (*run)(void) = NULL;
    if (plugin != NULL)
        *(void **)&run = dlsym(plugin, "run");
    if (run == NULL)
        return 1;
    run();
    return 0;
}
#else

#define GC_THREADS
#include <gc/gc.h>

#ifdef PLUGIN
__attribute__((visibility("default"))) void run(void);
void run(void)
{
    GC_INIT();
    for (int i = 0; i < 200000; i++)
        if (GC_MALLOC(64) == NULL)
            abort();
    GC_gcollect();
    printf("truth collections %lu\n", (unsigned long)GC_get_gc_no());
}
#else
#include "sonde.h"

#define NODES 20000

struct node {
    struct node *next;
    char *text;
    uintptr_t number;
};

static struct node *list;

/* Not inlined, so that main's frame holds no node. */
static __attribute__((noinline)) void build(void)
{
    for (int i = 0; i < NODES; i++) {
        struct node *n = GC_MALLOC(sizeof *n);
        n->text = GC_MALLOC_ATOMIC(100);
        n->number = (uintptr_t)i;
        n->next = list;
        list = n;
    }
}

static __attribute__((noinline)) void cut(unsigned keep)
{
    struct node *n = list;
    for (unsigned i = 1; i < keep && n != NULL; i++)
        n = n->next;
    if (keep == 0)
        list = NULL;
    else if (n != NULL)
        n->next = NULL;
}

static __attribute__((noinline)) void tell(void)
{
    size_t objects = 0, bytes = 0;
    for (struct node *n = list; n != NULL; n = n->next) {
        objects += 2;
        bytes += GC_size(n) + GC_size(n->text);
    }
    printf("truth %zu %zu\n", objects, bytes);
}

static void truth(void)
{
    static const unsigned keep[] = {NODES, NODES / 2, 0};
    build();
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
        cut(keep[i]);
        tell();
        GC_gcollect();
    }
}

static void *make_garbage(void *megabytes)
{
    size_t left = (uintptr_t)megabytes << 20;
    for (size_t size = 16; left > size; left -= size, size = size % 1000 + 16)
        if (GC_MALLOC(size) == NULL)
            abort();
    return NULL;
}

static void churn(uintptr_t megabytes, int n)
{
    pthread_t threads[64];
    for (int i = 0; i < n; i++)
        pthread_create(&threads[i], NULL, make_garbage, (void *)megabytes);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    printf("truth collections %lu\n", (unsigned long)GC_get_gc_no());
}

/* ---- its own handler ------------------------------------------------------------------
 */

static unsigned events[16], dead_words;

static __attribute__((noinline)) void on_event(GC_EventType event)
{
    const volatile uint64_t *here = __builtin_frame_address(0);
    __asm__("" : "+r"(here)); /* as far as the compiler knows, it is any */
    events[event & 15]++;
    for (int i = 128; event == GC_EVENT_START && i < 2048; i++) /* far below us */
        dead_words += here[-i] == UINT64_C(0xf969696969696969);
}

static void handler(void)
{
    GC_set_on_collection_event(on_event);
    printf("truth mine %d\n", GC_get_on_collection_event() == on_event);
    for (int i = 0; i < 5; i++)
        GC_gcollect();
    printf("truth starts %u\n", events[GC_EVENT_START]);
    printf("truth ends %u\n", events[GC_EVENT_END]);
    printf("truth marks %u\n", events[GC_EVENT_MARK_END]);
    printf("truth dead %u\n", dead_words);
}

static void collect_and_fork(void)
{
    build();
    GC_gcollect();
    pid_t child = fork();
    if (child == 0) {
        make_garbage((void *)32);
        GC_gcollect();
        _exit(0);
    }
    printf("truth child %d\n", (int)child);
    waitpid(child, NULL, 0);
    GC_gcollect();
}

/* ---- with libsonde --------------------------------------------------------------------
 */

static void stats(void)
{
    static struct sonde_mem_stats s = {.size = sizeof s};
    int (*read)(struct sonde_mem_stats *);
    *(void **)&read = dlsym(RTLD_DEFAULT, "sonde_read_mem_stats");
    if (read == NULL || read(&s) != 0)
        return;
    build();
    size_t before = s.gc_pauses, total = 0;
    for (int i = 0; i < 300; i++)
        GC_gcollect();
    read(&s);
    for (size_t i = 0; i < 256; i++)
        total += s.gc_pause_ns[i] > 0;
    printf("truth gc %d\n", s.gc);
    printf("truth collections %zu\n", s.gc_collections);
    printf("truth libgc %lu\n", (unsigned long)GC_get_gc_no());
    printf("truth pauses %zu\n", s.gc_pauses - before);
    printf("truth kept %zu\n", total);
    printf("truth heap %d\n", s.gc_heap_bytes == GC_get_heap_size());
    printf("truth allocated %d\n", s.gc_allocated_bytes > NODES * sizeof(struct node));
    printf("truth total %d\n",
           s.gc_pause_total_ns >= s.gc_pause_ns[(before + 299) % 256]);
}

static void dump(const char *path)
{
    int (*write)(const char *);
    const char *(*error)(void);
    *(void **)&write = dlsym(RTLD_DEFAULT, "sonde_heapdump_write");
    *(void **)&error = dlsym(RTLD_DEFAULT, "sonde_error");
    build();
    tell();
    if (write != NULL && write(path) != 0)
        printf("%s\n", error());
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    GC_set_handle_fork(1);
    GC_INIT();
    if (strcmp(mode, "truth") == 0)
        truth();
    else if (strcmp(mode, "churn") == 0 && argc > 3)
        churn(strtoul(argv[2], NULL, 10), atoi(argv[3]));
    else if (strcmp(mode, "handler") == 0)
        handler();
    else if (strcmp(mode, "fork") == 0)
        collect_and_fork();
    else if (strcmp(mode, "stats") == 0)
        stats();
    else if (strcmp(mode, "dump") == 0 && argc > 2)
        dump(argv[2]);
    else
        return 2;
    return 0;
}
#endif
#endif
