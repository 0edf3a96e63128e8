/* malloc_table.c: what the allocator promises, case by case, in TAP: what glibc answers
 * to odd sizes, bad alignments and too much, and what it leaves alone. */
#include "../tap.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* GCC must not know what it asks for. */
static volatile size_t zero = 0, most = SIZE_MAX, half = SIZE_MAX / 2 + 1;

/* ---- nothing, and too much ---- */

static void nothing(void)
{
    void *a = malloc(zero), *b = malloc(zero), *c = calloc(zero, 8), *d = calloc(8, zero);
    ok(a && b && a != b, "malloc(0) is a block of its own");
    ok(c && d && c != d, "so is calloc(0, n) and calloc(n, 0)");
    void *e = realloc(NULL, zero), *f = NULL;
    ok(e != NULL, "so is realloc(NULL, 0)");
    ok(posix_memalign(&f, 64, zero) == 0, "posix_memalign of 0 bytes succeeds");
    void *all[] = {a, b, c, d, e, f, NULL};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    ok(malloc_usable_size(NULL) == 0, "malloc_usable_size(NULL) is 0");
    void *g = malloc(100);
    ok(realloc(g, zero) == NULL, "realloc(p, 0) frees");
    g = reallocarray(malloc(100), zero, 10);
    ok(g == NULL, "reallocarray(p, 0, n) frees");
    g = realloc(NULL, 123);
    ok(g && malloc_usable_size(g) >= 123, "realloc(NULL, n) is malloc");
    free(g);
}

static void *by_valloc(size_t n)
{
    return valloc(n);
}
static void *by_pvalloc(size_t n)
{
    return pvalloc(n);
}
static void *by_memalign(size_t n)
{
    return memalign(64, n);
}
static void *by_aligned_alloc(size_t n)
{
    return aligned_alloc(64, n);
}
static void *by_calloc(size_t n)
{
    return calloc(n, 1);
}
static void *by_realloc(size_t n)
{
    return realloc(NULL, n);
}
static void *by_reallocarray(size_t n)
{
    return reallocarray(NULL, n, 1);
}
static void *by_posix_memalign(size_t n)
{
    void *p = NULL;
    errno = posix_memalign(&p, 64, n);
    return p;
}

static const struct {
    const char *name;
    void *(*get)(size_t n);
    size_t alignment;
} makers[] = {
    {"malloc", malloc, 16},
    {"calloc", by_calloc, 16},
    {"realloc", by_realloc, 16},
    {"reallocarray", by_reallocarray, 16},
    {"posix_memalign", by_posix_memalign, 64},
    {"aligned_alloc", by_aligned_alloc, 64},
    {"memalign", by_memalign, 64},
    {"valloc", by_valloc, 4096},
    {"pvalloc", by_pvalloc, 4096}, /* the last: some allocators leave it to glibc */
};
static size_t n_makers = sizeof makers / sizeof *makers;
#define FOR_MAKERS(i) for (size_t i = 0; i < n_makers; i++)

static void too_much(void)
{
    size_t sizes[] = {most, most - 8, most - 4096, half, half - 1};
    FOR_MAKERS(i)
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        errno = 0;
        void *p = makers[i].get(sizes[k]);
        ok(p == NULL && errno == ENOMEM, "%s of %zx fails with ENOMEM", makers[i].name,
           sizes[k]);
    }
}

static void overflows(void)
{
    errno = 0;
    ok(calloc(half, 2) == NULL && errno == ENOMEM, "calloc overflows to ENOMEM");
    errno = 0;
    ok(calloc(3, most / 2) == NULL && errno == ENOMEM, "either way");
    char *volatile p = malloc(100);
    memset(p, 'x', 100);
    errno = 0;
    ok(reallocarray(p, half, 2) == NULL && errno == ENOMEM, "reallocarray overflows");
    errno = 0;
    ok(realloc(p, half) == NULL && errno == ENOMEM, "realloc to too much fails");
    ok(p[0] == 'x' && p[99] == 'x', "and leaves the block");
    free(p);
}

static void bad_alignments(void)
{
    size_t bad[] = {0, 1, 2, 3, 4, 7, 12, 24, 4095, most};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        void *p = &bad;
        errno = 42;
        int result = posix_memalign(&p, bad[i], 100);
        ok(result == EINVAL, "posix_memalign to %zu: EINVAL", bad[i]);
        ok(p == &bad && errno == 42, "the pointer and errno are left alone");
    }
    void *p = &bad;
    ok(posix_memalign(&p, 64, half) == ENOMEM && p == &bad, "so they are by ENOMEM");
}

/* ---- what comes is as it should be ---- */

static void alignments(void)
{
    FOR_MAKERS(i)
    {
        size_t wrong = 0;
        void *held[400];
        for (size_t n = 0; n < 400; n++) {
            held[n] = makers[i].get(1 + n * n % 9973);
            wrong += held[n] == NULL || (uintptr_t)held[n] % makers[i].alignment != 0;
        }
        for (size_t n = 0; n < 400; n++)
            free(held[n]);
        ok(wrong == 0, "%s is aligned to %zu", makers[i].name, makers[i].alignment);
    }
    size_t wrong = 0;
    for (size_t to = sizeof(void *); to <= 1 << 20; to *= 2) {
        void *p = NULL, *q = memalign(to, 77), *r = aligned_alloc(to, to);
        wrong += posix_memalign(&p, to, 77) != 0;
        wrong += (uintptr_t)p % to || (uintptr_t)q % to || (uintptr_t)r % to;
        free(p);
        free(q);
        free(r);
    }
    ok(wrong == 0, "any power of two to a megabyte is an alignment");
}

/* Every byte that a block says it has may be written, and is nobody else's. */
static void usable(void)
{
    FOR_MAKERS(i)
    {
        unsigned char *held[200];
        size_t wrong = 0;
        for (size_t n = 0; n < 200; n++) {
            size_t size = 1 + n * n * 3;
            held[n] = makers[i].get(size);
            wrong += malloc_usable_size(held[n]) < size;
            memset(held[n], (int)n, malloc_usable_size(held[n]));
        }
        for (size_t n = 0; n < 200; n++)
            for (size_t k = 0; k < malloc_usable_size(held[n]); k++)
                wrong += held[n][k] != (unsigned char)n;
        for (size_t n = 0; n < 200; n++)
            free(held[n]);
        ok(wrong == 0, "%s: all of malloc_usable_size is usable", makers[i].name);
    }
}

static void fill(unsigned char *p, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        p[i] = (unsigned char)(i * 31 >> 3);
}

static size_t differing(const unsigned char *p, size_t to)
{
    size_t wrong = 0;
    for (size_t i = 0; i < to; i++)
        wrong += p[i] != (unsigned char)(i * 31 >> 3);
    return wrong;
}

static void reallocs(void)
{
    static const size_t sizes[] = {1,     8,       24,     25,    100,    1000,
                                   4096,  5000,    131071, 65536, 140000, 3000000,
                                   70000, 1 << 20, 900,    901,   16,     1};
    FOR_MAKERS(i)
    {
        size_t have = 10, wrong = 0;
        unsigned char *p = makers[i].get(have);
        fill(p, 0, have);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            p = realloc(p, sizes[k]);
            wrong += differing(p, have < sizes[k] ? have : sizes[k]);
            wrong += (uintptr_t)p % 16 != 0 || malloc_usable_size(p) < sizes[k];
            fill(p, 0, have = sizes[k]);
        }
        free(p);
        ok(wrong == 0, "realloc keeps what %s got, up and down", makers[i].name);
    }
}

static void callocs(void)
{
    static const size_t sizes[] = {1, 24, 100, 1000, 5000, 70000, 200000, 5000000};
    size_t wrong = 0;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (int again = 0; again < 10; again++) {
            size_t size = sizes[k];
            char *dirty = malloc(size);
            memset(dirty, 0xff, malloc_usable_size(dirty));
            free(dirty);
            char *clean = again % 2 == 0 ? calloc(size, 1) : calloc(1, size);
            for (size_t i = 0; i < size; i++)
                wrong += clean[i] != 0;
            memset(clean, 0xff, size);
            free(clean);
        }
    ok(wrong == 0, "calloc is zero where it was dirty");
}

/* ---- what is left alone ---- */

static void keeps_errno(void)
{
    static const size_t sizes[] = {1, 100, 5000, 200000, 40 << 20};
    int kept = 1;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *p = malloc(sizes[i]);
        errno = 77;
        free(p);
        kept &= errno == 77;
    }
    free(NULL);
    ok(kept && errno == 77, "free keeps errno");
    kept = 1;
    for (size_t i = 0; i < 10000; i++) {
        errno = 78;
        void *p = malloc(i);
        kept &= errno == 78;
        p = realloc(p, i + 100);
        kept &= errno == 78;
        free(p);
    }
    ok(kept, "malloc and realloc that succeed keep errno");
}

/* Where the address space ends, allocations fail, and what was got is not lost. */
static int starve(void)
{
    static void *held[4096];
    struct rlimit none = {(rlim_t)1 << 26, (rlim_t)1 << 26};
    size_t n = 0;
    if (setrlimit(RLIMIT_AS, &none) != 0)
        return 1;
    errno = 0;
    while (n < 4096 && (held[n] = malloc(100000)) != NULL)
        memset(held[n++], 'x', 100000);
    if (n == 4096 || errno != ENOMEM)
        return 2;
    if (n > 0 && realloc(held[0], (size_t)1 << 28) != NULL)
        return 3;
    while (n > 0)
        free(held[--n]);
    return 0;
}

static void starves(void)
{
    int status = -1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(starve());
    waitpid(pid, &status, 0);
    is_int(status, 0, "where memory ends, malloc fails with ENOMEM, free goes on");
}

/* What the C library allocates, the program frees. */
static void from_libc(void)
{
    char *text = NULL, *line = NULL, *stream = NULL;
    size_t size = 0, room = 0;
    ok(asprintf(&text, "%d and %s", 12, "twelve") > 0, "asprintf");
    FILE *file = open_memstream(&stream, &size);
    for (int i = 0; i < 1000; i++)
        fprintf(file, "%d\n", i);
    fclose(file);
    ok(size == 3890 && stream != NULL, "open_memstream");
    file = fmemopen(stream, size, "r");
    ok(file != NULL && getline(&line, &room, file) == 2, "fmemopen, getline");
    fclose(file);
    char *copy = strdup(text), *part = strndup(text, 2), *here = getcwd(NULL, 0);
    char *real = realpath("/proc/self/exe", NULL);
    ok(copy && part && here && real, "strdup, strndup, getcwd, realpath");
    char *all[] = {text, line, stream, copy, part, here, real};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "nopvalloc") == 0)
        n_makers--;
    nothing();
    too_much();
    overflows();
    bad_alignments();
    alignments();
    usable();
    reallocs();
    callocs();
    keeps_errno();
    starves();
    from_libc();
    return done();
}
