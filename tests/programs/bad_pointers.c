/*
 * bad_pointers.c WAY: does one wrong thing to the allocator, after enough that is right.
 * Prints the address it is about, and "survived" if nobody stopped it.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define KEEP __attribute__((noinline))

struct node {
    struct node *next;
    char text[40];
};

static struct node *head;
static char global[64];
static void *shared;

KEEP static void *allocating_site(size_t size)
{
    void *p = malloc(size);
    __asm__ volatile("" : : "r"(p) : "memory");
    return p;
}

KEEP static void freeing_site(void *p)
{
    free(p);
    __asm__ volatile("" : : : "memory");
}

KEEP static void wrong_site(void *p)
{
    printf("%p\n", p);
    fflush(stdout);
    free(p);
    __asm__ volatile("" : : : "memory");
}

static void twice(void)
{
    void *p = allocating_site(40);
    freeing_site(p);
    wrong_site(p);
}

static void twice_later(void) /* when many others have come and gone */
{
    void *p = allocating_site(5000), *others[100], *stop = malloc(40);
    freeing_site(p);
    for (int i = 0; i < 100; i++)
        others[i] = malloc(6000); /* too large for the hole */
    for (int i = 0; i < 100; i++)
        free(others[i]);
    wrong_site(p);
    free(stop);
}

static void interior(void)
{
    wrong_site((char *)allocating_site(40) + 16);
}

static void far_interior(void)
{
    wrong_site((char *)allocating_site(40u << 20) + (39u << 20));
}

static void misaligned(void)
{
    wrong_site((char *)allocating_site(40) + 3);
}

static void into_freed(void)
{
    char *p = allocating_site(4000);
    freeing_site(p);
    wrong_site(p + 2000);
}

static void of_stack(void)
{
    char local[64];
    __asm__ volatile("" : : "r"(local) : "memory");
    wrong_site(local);
}

static void of_global(void)
{
    wrong_site(global);
}

static void wild(void)
{
    wrong_site((void *)(uintptr_t)0x123450);
}

static void tagged(void)
{
    wrong_site((void *)(uintptr_t)0xdead000000001230);
}

static void moved(void) /* freed by a realloc that moved it */
{
    void *p = allocating_site(40);
    void *stop = malloc(40), *q = realloc(p, 100000);
    wrong_site(p);
    free(stop);
    free(q);
}

static void reallocated(void)
{
    void *p = allocating_site(40);
    freeing_site(p);
    printf("%p\n", p);
    fflush(stdout);
    p = realloc(p, 50);
    __asm__ volatile("" : : "r"(p) : "memory");
}

static void *free_shared(void *nothing)
{
    freeing_site(shared);
    return nothing;
}

static void by_threads(void)
{
    pthread_t t;
    shared = allocating_site(100);
    pthread_create(&t, NULL, free_shared, NULL);
    pthread_join(t, NULL);
    wrong_site(shared);
}

static void dangling(void) /* the list's head leads to what was freed */
{
    for (int i = 0; i < 10; i++) {
        struct node *n = allocating_site(sizeof *n);
        n->next = head;
        head = n;
    }
    printf("%p\n", (void *)head->next->next);
    fflush(stdout);
    freeing_site(head->next->next);
}

static void on_signal(int signal)
{
    (void)signal;
    free(malloc(33));
}

static void right(void) /* nothing wrong, much of it, with handlers that allocate */
{
    void *v[512] = {0};
    unsigned seed = 1;
    signal(SIGALRM, on_signal);
    for (int i = 0; i < 200000; i++) {
        void **at = &v[rand_r(&seed) % 512];
        if (i % 100 == 0)
            raise(
                SIGALRM); /* never within the allocator, where no program may allocate */
        size_t size = (size_t)rand_r(&seed) % 3000;
        if (rand_r(&seed) % 3 == 0 && *at != NULL) {
            void *moved_to = realloc(*at, size + 1);
            *at = moved_to;
        } else {
            free(*at);
            *at = rand_r(&seed) % 5 == 0 ? aligned_alloc(64, size) : malloc(size);
        }
    }
    for (int i = 0; i < 512; i++)
        free(v[i]);
}

KEEP static void *deep(void *nothing)
{
    char used[5500];
    memset(used, 1, sizeof used);
    for (int i = 0; i < 300; i++) {
        char *p = malloc(100000u + (unsigned)used[i] + (unsigned)i);
        p = realloc(p, 200000);
        free(p);
    }
    return nothing;
}

/* Nothing wrong, where there is little stack left: a third of the least. */
static void small_stack(void)
{
    pthread_attr_t attr;
    pthread_t t;
    pthread_attr_init(&attr);
    if (pthread_attr_setstacksize(&attr, 16384) != 0 ||
        pthread_create(&t, &attr, deep, NULL) != 0)
        abort();
    pthread_join(t, NULL);
}

/* So little memory that what was freed is needed. */
static void scarce(void)
{
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm == NULL || fscanf(statm, "%lu", &pages) != 1)
        abort();
    rlim_t bytes = pages * 4096 + (30u << 20);
    setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes});
    for (int i = 0; i < 2000; i++) {
        char *p = malloc(40000);
        if (p == NULL)
            abort();
        memset(p, 1, 40000);
        p = realloc(p, 50000);
        if (p == NULL || p[39999] != 1)
            abort();
        free(p);
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} ways[] = {
    {"twice", twice},
    {"twice_later", twice_later},
    {"interior", interior},
    {"far_interior", far_interior},
    {"misaligned", misaligned},
    {"into_freed", into_freed},
    {"of_stack", of_stack},
    {"of_global", of_global},
    {"wild", wild},
    {"tagged", tagged},
    {"moved", moved},
    {"reallocated", reallocated},
    {"by_threads", by_threads},
    {"dangling", dangling},
    {"right", right},
    {"scarce", scarce},
    {"small_stack", small_stack},
};

int main(int argc, char **argv)
{
    static char out[4096];
    setvbuf(stdout, out, _IOFBF, sizeof out); /* no block of the heap's */
    for (size_t i = 0; argc > 1 && i < sizeof ways / sizeof *ways; i++)
        if (strcmp(argv[1], ways[i].name) == 0) {
            ways[i].run();
            puts("survived");
            return 0;
        }
    return 2;
}
