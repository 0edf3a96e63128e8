/*
 * pages.c: pages from the kernel, and arenas made of them. An arena is a chain of chunks,
 * newest first; a block larger than a chunk gets a chunk of its own size.
 */
#include "base/base.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE  ((size_t)4096)
#define CHUNK ((size_t)256 << 10)
#define HUGE  ((size_t)2 << 20)

#ifdef SN_LIBSONDE /* mmap is a hook of ours there, for the program's mappings */
#define MMAP(...)   ((void *)syscall(SYS_mmap, __VA_ARGS__))
#define MUNMAP(...) syscall(SYS_munmap, __VA_ARGS__)
#else
#define MMAP   mmap
#define MUNMAP munmap
#endif

static unsigned fail_after; /* tests only */

/* In the command, the kernel lays what is large so that large pages fit, if it is whole
 * ones. */
static size_t whole_pages(size_t size)
{
#ifndef SN_LIBSONDE
    if (size >= HUGE)
        return (size + HUGE - 1) & ~(HUGE - 1);
#endif
    return (size + PAGE - 1) & ~(PAGE - 1);
}

void *sn_pages_map(size_t size)
{
    if (fail_after > 0 && --fail_after == 0)
        return NULL;
    size = whole_pages(size);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifndef SN_LIBSONDE /* what is small comes with its pages, at less than one by one */
    if (size < HUGE)
        flags |= MAP_POPULATE;
#endif
    void *p = MMAP(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

#ifndef SN_LIBSONDE
void sn_pages_scattered(void *p, size_t size)
{
    uintptr_t from = ((uintptr_t)p + PAGE - 1) & ~(PAGE - 1), end = (uintptr_t)p + size;
    if (p != NULL && size >= HUGE && from < end)
        madvise((void *)from, (end - from) & ~(PAGE - 1), MADV_HUGEPAGE);
}
#endif

void sn_pages_unmap(void *p, size_t size)
{
    if (p != NULL)
        MUNMAP(p, whole_pages(size));
}

void sn_pages_fail_after(unsigned n)
{
    fail_after = n;
}

struct chunk {
    struct chunk *older;
    size_t size, used; /* bytes, this head included */
};

struct sn_arena {
    struct chunk *newest;
    size_t bytes;
    bool failed;
};

static size_t round16(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

static bool add_chunk(struct sn_arena *a, size_t need)
{
    size_t size = need + sizeof(struct chunk) + 16;
    size = size < CHUNK ? CHUNK : (size + PAGE - 1) & ~(PAGE - 1);
    struct chunk *c = sn_pages_map(size);
    if (c == NULL) {
        a->failed = true;
        return false;
    }
    c->older = a->newest;
    c->size = size;
    c->used = round16(sizeof *c);
    a->newest = c;
    a->bytes += size;
    return true;
}

struct sn_arena *sn_arena_new(void)
{
    struct sn_arena first = {0};
    if (!add_chunk(&first, sizeof first))
        return NULL;
    struct sn_arena *a = (void *)((char *)first.newest + first.newest->used);
    first.newest->used += round16(sizeof *a);
    *a = first;
    return a;
}

void sn_arena_free(struct sn_arena *a)
{
    struct chunk *c = a != NULL ? a->newest : NULL;
    while (c != NULL) { /* the last one holds *a itself */
        struct chunk *older = c->older;
        sn_pages_unmap(c, c->size);
        c = older;
    }
}

void *sn_arena_alloc(struct sn_arena *a, size_t size)
{
    if (size > SIZE_MAX / 4) {
        a->failed = true;
        return NULL;
    }
    size = round16(size > 0 ? size : 1);
    if (a->newest->size - a->newest->used < size && !add_chunk(a, size))
        return NULL;
    void *p = (char *)a->newest + a->newest->used;
    a->newest->used += size;
    return p;
}

void *sn_arena_grow(struct sn_arena *a, void *old, size_t old_size, size_t new_size)
{
    size_t had = round16(old_size > 0 ? old_size : 1);
    struct chunk *c = a->newest;
    if (old != NULL && new_size <= SIZE_MAX / 4 &&
        (char *)old + had == (char *)c + c->used &&
        c->size - (c->used - had) >= round16(new_size)) {
        c->used += round16(new_size) - had;
        return old;
    }
    void *p = sn_arena_alloc(a, new_size);
    if (p != NULL && old != NULL)
        memcpy(p, old, old_size < new_size ? old_size : new_size);
    return p;
}

char *sn_arena_strndup(struct sn_arena *a, const char *s, size_t n)
{
    char *p = sn_arena_alloc(a, n + 1);
    if (p != NULL)
        memcpy(p, s, n);
    return p;
}

char *sn_arena_strdup(struct sn_arena *a, const char *s)
{
    return sn_arena_strndup(a, s, strlen(s));
}

char *sn_arena_printf(struct sn_arena *a, const char *fmt, ...)
{
    struct sn_buf b = {.arena = a};
    va_list ap;
    va_start(ap, fmt);
    sn_buf_vprintf(&b, fmt, ap);
    va_end(ap);
    return b.failed ? NULL : b.data;
}

bool sn_arena_failed(const struct sn_arena *a)
{
    return a->failed;
}

size_t sn_arena_bytes(const struct sn_arena *a)
{
    return a->bytes;
}

bool sn_array_grow(struct sn_arena *a, void **v, uint32_t *cap, uint64_t need,
                   uint64_t wanted, size_t size)
{
    wanted = wanted < need ? need : wanted < SN_NONE ? wanted : SN_NONE - 1;
    void *grown =
        need < SN_NONE ? sn_arena_grow(a, *v, *cap * size, wanted * size) : NULL;
    if (grown == NULL)
        return false;
    *v = grown;
    *cap = (uint32_t)wanted;
    return true;
}

void *sn_array_push(struct sn_arena *a, void **v, uint32_t *n, uint32_t *cap, size_t size)
{
    if (*n == *cap) {
        uint64_t more = *cap < 8 ? 8 : (uint64_t)*cap * 2;
        if (!sn_array_grow(a, v, cap, more, more, size))
            return NULL;
    }
    return memset((char *)*v + (size_t)(*n)++ * size, 0, size);
}
