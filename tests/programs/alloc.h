/*
 * alloc.h: the books of the allocator programs. A program counts each event it causes, by
 * account (who asked, for what size class, on which thread), and prints at the end
 *
 *     truth SITE CLASS THREAD ALLOC INUSE PEAK TEMPORARY LEAKED
 *
 * where each of the last five is two numbers, objects and bytes. SITE and CLASS are
 * functions that are on the stack of each allocation of the account.
 *
 *   PEAK       what was live the first time that the live bytes of all accounts were at
 *              their highest. A realloc is one event: the old block goes as the new
 * comes. TEMPORARY  freed by the very next event (an allocation, a free, a realloc) of
 * the thread that allocated it. LEAKED     what the program says it left behind without a
 * pointer to it.
 *
 * Nothing here allocates, and no pointer to a block is kept in the clear. The books are
 * not locked: who has threads locks around the event and its entry, or enters by atomics.
 */
#ifndef ALLOC_H
#define ALLOC_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone, no_icf))
/* Last in a function: keeps the call before it from becoming a jump. */
#define STAY()   __asm__ volatile("" ::: "memory")

struct count {
    uint64_t objects, bytes;
};

struct account {
    const char *site, *size_class;
    char thread[16];
    struct count alloc, inuse, peak, temporary, leaked;
};

/* A block as its owner remembers it. */
struct block {
    uintptr_t hidden;
    size_t size;
    struct account *account;
    uint64_t serial; /* 1, 2, ...: addresses are used again */
};

enum { MAX_ACCOUNTS = 1024 };
static struct account accounts[MAX_ACCOUNTS];
static unsigned n_accounts;
static uint64_t live_bytes, peak_bytes;
static bool
    peak_open; /* the peak is now; its blocks are copied before the first one goes */
static uint64_t last_serial;
static __thread uint64_t thread_last; /* what this thread's last event allocated, or 0 */

static inline uintptr_t hide(const void *p)
{
    return ~(uintptr_t)p;
}

static inline void *unhide(uintptr_t hidden)
{
    return (void *)~hidden; /* NOLINT(performance-no-int-to-ptr) */
}

static inline struct account *account_open(const char *site, const char *size_class)
{
    assert(n_accounts < MAX_ACCOUNTS);
    struct account *a = &accounts[n_accounts++];
    a->site = site;
    a->size_class = size_class;
    prctl(PR_GET_NAME, a->thread, 0, 0, 0);
    return a;
}

static inline void more(struct count *c, size_t size)
{
    __atomic_fetch_add(&c->objects, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&c->bytes, size, __ATOMIC_RELAXED);
}

static inline void less(struct count *c, size_t size)
{
    __atomic_fetch_sub(&c->objects, 1, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&c->bytes, size, __ATOMIC_RELAXED);
}

static inline void peak_close(void)
{
    for (unsigned i = 0; peak_open && i < n_accounts; i++)
        accounts[i].peak = accounts[i].inuse;
    peak_open = false;
}

/* The live heap is now `bytes`: call before what goes is entered, after what comes is. */
static inline void peak_move(uint64_t bytes)
{
    if (bytes < live_bytes)
        peak_close();
    if (bytes > peak_bytes) {
        peak_bytes = bytes;
        peak_open = true;
    }
    live_bytes = bytes;
}

static inline struct block enter_alloc(struct account *a, void *p, size_t size)
{
    if (p == NULL)
        _exit(98);
    more(&a->alloc, size);
    more(&a->inuse, size);
    thread_last = __atomic_add_fetch(&last_serial, 1, __ATOMIC_RELAXED);
    return (struct block){hide(p), size, a, thread_last};
}

static inline void enter_free(struct block b)
{
    less(&b.account->inuse, b.size);
    if (thread_last == b.serial)
        more(&b.account->temporary, b.size);
    thread_last = 0;
}

static inline struct block count_alloc(struct account *a, void *p, size_t size)
{
    struct block b = enter_alloc(a, p, size);
    peak_move(live_bytes + size);
    return b;
}

static inline void count_free(struct block b)
{
    peak_move(live_bytes - b.size);
    enter_free(b);
}

/* `was` has become `p`. It was not the thread's last event's: whether a block that is
 * reallocated at once was temporary is not said. */
static inline struct block count_realloc(struct block was, struct account *a, void *p,
                                         size_t size)
{
    assert(thread_last != was.serial);
    if (size == was.size) /* the height is the same, and the first time was before */
        peak_close();
    if (size < was.size)
        peak_move(live_bytes - was.size + size);
    less(&was.account->inuse, was.size);
    struct block b = enter_alloc(a, p, size);
    if (size >= was.size)
        peak_move(live_bytes - was.size + size);
    return b;
}

static inline void count_leak(struct block b)
{
    more(&b.account->leaked, b.size);
}

/* ---- printing without stdio ---- */

static char out_text[1 << 16];
static size_t out_used;

static inline void out_flush(void)
{
    for (size_t at = 0; at < out_used;) {
        ssize_t n = write(STDOUT_FILENO, out_text + at, out_used - at);
        if (n <= 0)
            _exit(97);
        at += (size_t)n;
    }
    out_used = 0;
}

static inline void out(const char *text)
{
    size_t n = strlen(text);
    if (out_used + n > sizeof out_text)
        out_flush();
    memcpy(out_text + out_used, text, n);
    out_used += n;
}

static inline void out_number(uint64_t n)
{
    char digits[24];
    char *at = digits + sizeof digits;
    *--at = '\0';
    do
        *--at = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    out(at);
}

static inline void out_count(struct count c)
{
    out(" ");
    out_number(c.objects);
    out(" ");
    out_number(c.bytes);
}

static inline void truths_print(void)
{
    peak_close();
    for (struct account *a = accounts; a < accounts + n_accounts; a++) {
        if (a->alloc.objects == 0)
            continue;
        out("truth ");
        out(a->site);
        out(" ");
        out(a->size_class);
        out(" ");
        out(a->thread);
        const struct count *all[] = {&a->alloc, &a->inuse, &a->peak, &a->temporary,
                                     &a->leaked};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            out_count(*all[i]);
        out("\n");
    }
    out_flush();
}

/* ---- chance, the same in every run ---- */

static inline uint64_t chance(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline size_t below(uint64_t *state, size_t limit)
{
    return (size_t)(((unsigned __int128)chance(state) * limit) >> 64);
}

static inline unsigned long number(int argc, char **argv, int n, unsigned long usual)
{
    return argc > n ? strtoul(argv[n], NULL, 10) : usual;
}

#endif
