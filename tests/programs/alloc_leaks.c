/* alloc_leaks.c DIR [_exit]: leaves blocks behind whose only pointer is where the name of
 * the function that allocated them says, and exits. DIR has libplugin_alloc.so.
 *
 * What a scan could find by accident is swept away: pointers are kept inverted, stacks
 * are wiped, and sizes are such that the header of the next chunk, which glibc's arena
 * may point to, does not lie within a block. */
#include "alloc.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { LONG = 100000, NODE = 41, BLOCK = 1001, MAPPED = 1 << 16, STACK = 1 << 18 };

struct node {
    struct node *next;
};

static const char *directory;
static struct account *current;

NOINLINE static void *plant(size_t size)
{
    void *p = malloc(size);
    count_alloc(current, p, size);
    return memset(p, 0, size);
}

/* A block that holds a pointer to another, not in the words that free overwrites. */
static void *holder(void *held)
{
    void **p = plant(BLOCK);
    p[20] = held;
    return p;
}

static struct node *chain(unsigned length, struct node **last)
{
    struct node *first = NULL;
    for (unsigned i = 0; i < length; i++) {
        struct node *n = plant(NODE);
        n->next = first;
        if (first == NULL)
            *last = n;
        first = n;
    }
    return first;
}

static struct node *ring(void)
{
    struct node *last, *first = chain(7, &last);
    last->next = first;
    return first;
}

static void *map(int flags, size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        _exit(96);
    return p;
}

static void **plugin(void **handle)
{
    char path[4096];
    size_t n = strlen(directory);
    if (n > sizeof path - 32)
        _exit(95);
    memcpy(path, directory, n);
    strcpy(path + n, "/libplugin_alloc.so");
    *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void **keeps = *handle ? dlsym(*handle, "alloc_plugin_keeps") : NULL;
    if (keeps == NULL)
        _exit(94);
    return keeps;
}

/* ---- reachable ---- */

static void *volatile global, *volatile global_block, *volatile global_inside;
static struct node *volatile global_chain, *volatile global_ring;
static uintptr_t hidden_stack;
static __thread void *volatile thread_local;
static pthread_key_t key;
static void *volatile *mapping, *volatile *shared;

NOINLINE static void in_global(void)
{
    global = plant(BLOCK);
    STAY();
}
NOINLINE static void in_stack(void)
{
    hidden_stack = hide(plant(BLOCK));
    STAY();
}
NOINLINE static void in_thread_local(void)
{
    thread_local = plant(BLOCK);
    STAY();
}
NOINLINE static void in_thread_key(void)
{
    pthread_key_create(&key, NULL);
    pthread_setspecific(key, plant(BLOCK));
    STAY();
}
NOINLINE static void in_block(void)
{
    global_block = holder(holder(plant(BLOCK)));
    STAY();
}
NOINLINE static void in_its_middle(void)
{
    global_inside = (char *)plant(BLOCK) + BLOCK / 2;
    STAY();
}
NOINLINE static void in_mapping(void)
{
    mapping = map(MAP_PRIVATE, MAPPED);
    mapping[1000] = plant(BLOCK);
    STAY();
}
NOINLINE static void in_shared_mapping(void)
{
    shared = map(MAP_SHARED, MAPPED);
    shared[1000] = plant(BLOCK);
    STAY();
}
NOINLINE static void in_plugin(void)
{
    void *handle;
    *plugin(&handle) = plant(BLOCK);
    STAY();
}
NOINLINE static void in_chain(void)
{
    struct node *last;
    global_chain = chain(LONG, &last);
    STAY();
}
NOINLINE static void in_ring(void)
{
    global_ring = ring();
    STAY();
}

/* ---- leaked ---- */

static void *volatile global_freed;
static uintptr_t hidden_xor;

NOINLINE static void lost(void)
{
    plant(BLOCK);
    STAY();
}
NOINLINE static void lost_small(void)
{
    plant(9);
    STAY();
}
NOINLINE static void lost_large(void)
{
    plant((3 << 20) + 9);
    STAY();
}
NOINLINE static void lost_holder(void)
{
    holder(holder(plant(BLOCK)));
    STAY();
}
NOINLINE static void lost_chain(void)
{
    struct node *last;
    chain(LONG, &last);
    STAY();
}
NOINLINE static void lost_ring(void)
{
    ring();
    STAY();
}
NOINLINE static void lost_itself(void)
{
    void **p = plant(BLOCK);
    p[3] = p;
    STAY();
}
NOINLINE static void lost_hidden(void)
{
    hidden_xor = hide(plant(BLOCK));
    STAY();
}
NOINLINE static void lost_in_unmapped(void)
{
    void *volatile *m = map(MAP_PRIVATE, MAPPED);
    m[1000] = plant(BLOCK);
    munmap((void *)m, MAPPED);
    STAY();
}
NOINLINE static void lost_overwritten(void)
{
    global_freed = plant(BLOCK);
    STAY();
    global_freed = NULL;
}

/* The holder is freed, and not counted: what it held is what was lost. */
NOINLINE static void lost_in_freed(void)
{
    void **p = malloc(BLOCK);
    p[20] = plant(BLOCK);
    global_freed = p;
    free(p);
    STAY();
}

/* ---- threads ---- */

static atomic_uint ready;

NOINLINE static void sweep(void)
{
    volatile char below[1 << 15];
    memset((char *)below, 0, sizeof below);
    STAY();
}

static void wait_for_ever(void)
{
    atomic_fetch_add(&ready, 1);
    for (;;)
        pause();
}

NOINLINE static void in_threads_stack(void)
{
    void *volatile here = plant(BLOCK);
    sweep();
    wait_for_ever();
    (void)here;
}
NOINLINE static void in_threads_local(void)
{
    thread_local = plant(BLOCK);
    sweep();
    wait_for_ever();
}

/* In the clear it is only in a register that a system call keeps. */
NOINLINE static void wait_with(uintptr_t hidden)
{
#if defined __x86_64__
    __asm__ volatile("not %0\n lock incl %1\n 1: mov $34, %%eax\n syscall\n jmp 1b"
                     : "+b"(hidden), "+m"(ready)
                     :
                     : "rax", "rcx", "r11", "memory");
#else
    void *volatile here = unhide(hidden);
    wait_for_ever();
    (void)here;
#endif
}
NOINLINE static void in_threads_register(void)
{
    uintptr_t hidden = hide(plant(BLOCK));
    sweep();
    wait_with(hidden);
    STAY();
}
/* In an arena of its own, which is a mapping like any other. */
NOINLINE static void lost_by_thread(void)
{
    void **p = malloc(BLOCK);
    p[20] = holder(plant(BLOCK));
    free(p);
    sweep();
    STAY();
}

static void *on_thread(void *plants)
{
    ((void (*)(void))plants)();
    sweep();
    atomic_fetch_add(&ready, 1);
    return NULL;
}

static const struct {
    const char *name;
    void (*plant)(void);
    bool leaked, threaded;
} kinds[] = {
#define KIND(name, ...)                                                                  \
    {                                                                                    \
#name, name, __VA_ARGS__                                                         \
    }
    KIND(in_global, false, false),
    KIND(in_stack, false, false),
    KIND(in_thread_local, false, false),
    KIND(in_thread_key, false, false),
    KIND(in_block, false, false),
    KIND(in_its_middle, false, false),
    KIND(in_mapping, false, false),
    KIND(in_shared_mapping, false, false),
    KIND(in_plugin, false, false),
    KIND(in_chain, false, false),
    KIND(in_ring, false, false),
    KIND(in_threads_stack, false, true),
    KIND(in_threads_local, false, true),
    KIND(in_threads_register, false, true),
    KIND(lost, true, false),
    KIND(lost_small, true, false),
    KIND(lost_large, true, false),
    KIND(lost_holder, true, false),
    KIND(lost_chain, true, false),
    KIND(lost_ring, true, false),
    KIND(lost_itself, true, false),
    KIND(lost_hidden, true, false),
    KIND(lost_in_unmapped, true, false),
    KIND(lost_overwritten, true, false),
    KIND(lost_in_freed, true, false),
    KIND(lost_by_thread, true, true),
};

static void start(void (*plants)(void))
{
    pthread_t thread;
    unsigned before = atomic_load(&ready);
    if (pthread_create(&thread, NULL, on_thread, (void *)plants) != 0)
        _exit(93);
    while (atomic_load(&ready) == before)
        usleep(100);
}

/* A thread that is gone, with all that may still lie on its stack. */
static void start_and_end(void (*plants)(void))
{
    pthread_attr_t attributes;
    pthread_t thread;
    void *stack = map(MAP_PRIVATE, STACK);
    pthread_attr_init(&attributes);
    if (pthread_attr_setstack(&attributes, stack, STACK) != 0 ||
        pthread_create(&thread, &attributes, on_thread, (void *)plants) != 0)
        _exit(93);
    pthread_join(thread, NULL);
    munmap(stack, STACK);
}

static void plant_all(void)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        current = account_open(kinds[i].name, "plant");
        if (kinds[i].threaded)
            (kinds[i].leaked ? start_and_end : start)(kinds[i].plant);
        else
            kinds[i].plant();
        if (kinds[i].leaked)
            current->leaked = current->inuse;
    }
}

NOINLINE static void leave(bool by__exit)
{
    void *volatile here = unhide(hidden_stack);
    sweep();
    if (by__exit)
        _exit(0);
    exit(0);
    (void)here;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    directory = argv[1];
    /* Nobody may look in here. */
    mmap(NULL, (size_t)1 << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    plant_all();
    sweep();
    truths_print();
    leave(argc > 2);
}
