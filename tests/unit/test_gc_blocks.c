/* test_gc_blocks.c: what is known of a collected heap's blocks, by collections of ours.
 */
#include "../tap.h"
#include "trace/gc_blocks.h"

#include <pthread.h>
#include <stdatomic.h>

#define HEAP UINT64_C(0x7f0000ff0000) /* across two leaves */

static struct {
    uintptr_t address;
    size_t size;
} alive[64];
static unsigned n_alive;

static void lives(uintptr_t address, size_t size)
{
    alive[n_alive].address = address;
    alive[n_alive++].size = size;
}

static void enumerate(void (*visit)(void *, size_t, void *), void *argument)
{
    for (unsigned i = 0; i < n_alive; i++)
        visit((void *)alive[i].address, alive[i].size, argument);
}

static char told[1024];

/* "+10:32/7" is a block of 32 bytes at HEAP + 0x10, born, by 7; "-10" one that died. */
static void hear(const struct sn_gc_block *b, bool born, void *argument)
{
    size_t n = strlen(told), room = sizeof told - n;
    unsigned long at = b->address - HEAP;
    (void)argument;
    if (!born)
        snprintf(told + n, room, " -%lx", at);
    else if (b->listed)
        snprintf(told + n, room, " +%lx:%zu/%u", at, b->size, b->stack);
    else
        snprintf(told + n, room, " +%lx:%zu", at, b->size);
}

static const char *collect(void)
{
    told[0] = '\0';
    sn_gc_blocks_compare(enumerate, hear, NULL);
    n_alive = 0;
    return told;
}

static void functions(void)
{
    ok(!sn_gc_blocks_handed(HEAP), "a block is handed out");
    lives(HEAP, 32);
    is_str(collect(), "", "it lives: no news");
    lives(HEAP, 32);
    is_str(collect(), "", "still");
    is_str(collect(), " -0", "it died");
    is_str(collect(), "", "once");
    ok(!sn_gc_blocks_handed(HEAP), "and is handed out again");
    ok(sn_gc_blocks_handed(HEAP), "and again, though nobody freed it");
    struct sn_gc_block b;
    ok(!sn_gc_blocks_freeing(HEAP, &b), "it is freed");
    lives(HEAP, 32);
    is_str(collect(), "", "one that is about to be freed is no news, if it is marked");
    is_str(collect(), "", "nor if it is not");
    lives(HEAP, 32);
    is_str(collect(), " +0:32", "but then it is another");
    is_str(collect(), " -0", "and dies");
}

static void lists(void)
{
    struct sn_gc_block b = {.address = HEAP + 0x40, .size = 60, .stack = 7}, other;
    ok(!sn_gc_blocks_listed(&b), "on a list");
    is_str(collect(), " +40:64/7 -40", "from a list, and dead");
    is_str(collect(), "", "once");
    sn_gc_blocks_listed(&b);
    lives(b.address, 64);
    is_str(collect(), " +40:64/7", "from a list, and alive");
    lives(b.address, 64);
    is_str(collect(), "", "once");
    ok(!sn_gc_blocks_freeing(b.address, &other), "freed by hand");
    sn_gc_blocks_listed(&b);
    ok(sn_gc_blocks_freeing(b.address, &other) && other.size == 64 && other.stack == 7 &&
           other.listed,
       "freed by hand before any collection saw it: its allocation is told then");
    is_str(collect(), "", "and by none");
    sn_gc_blocks_ready(b.address);
    lives(b.address, 64);
    is_str(collect(), "", "on a list of libgc's own it is not in use");
    ok(!sn_gc_blocks_handed(b.address), "until it is handed out");
    lives(b.address, 64);
    is_str(collect(), "", "... which is told by its function");
    is_str(collect(), " -40", "it dies");
    sn_gc_blocks_handed(b.address);
    ok(sn_gc_blocks_ready(b.address), "it comes onto a list: then it was freed");
    sn_gc_blocks_handed(b.address);
    ok(sn_gc_blocks_listed(&b), "so it was");
    is_str(collect(), " +40:64/7 -40", "... and is another");
    b.address = HEAP + 0x80;
    sn_gc_blocks_listed(&b);
    told[0] = '\0';
    sn_gc_blocks_flush(hear, NULL);
    is_str(told, " +80:64/7", "what is on lists at the end is told");
    told[0] = '\0';
    sn_gc_blocks_flush(hear, NULL);
    is_str(told, "", "once");
}

static void places(void)
{
    lives(HEAP + 0xff0, 16);
    lives(HEAP + 0x10000, 1 << 20);
    lives(HEAP + 0x5000000, 48);
    is_str(collect(), " -80 +ff0:16 +10000:1048576 +5000000:48",
           "the last of a page, one of many pages, one that is far away");
    is_str(collect(), " -ff0 -10000 -5000000", "they die");
    sn_gc_blocks_handed(HEAP);
    sn_gc_blocks_drop();
    is_str(collect(), "", "all is forgotten");
    is_int(sn_gc_blocks_unseen(), 0, "and nothing was lost");
}

static void no_room(void)
{
    bool good = true;
    for (unsigned i = 1; i < 3; i++) {
        sn_pages_fail_after(i);
        good &= !sn_gc_blocks_handed(HEAP);
        sn_pages_fail_after(0);
        good &= sn_gc_blocks_unseen() == 1;
        sn_pages_fail_after(i);
        lives(HEAP, 32);
        lives(HEAP + 8, 32);                                /* where none can be */
        good &= i == 1 || strcmp(collect(), " +0:32") == 0; /* it has room then */
        sn_pages_fail_after(0);
        sn_gc_blocks_drop();
    }
    ok(good, "without room blocks are counted, not followed");
    n_alive = 0;
    for (int i = 0; i < 3; i++) {
        lives(HEAP + 8, 32);
        lives(HEAP + 24, 32);
        collect();
    }
    is_int(sn_gc_blocks_unseen(), 2, "and once, however often they are met");
    sn_gc_blocks_drop();
}

/* ---- at once --------------------------------------------------------------------------
 */

enum { THREADS = 4, ROUNDS = 20000 };
static atomic_bool ended;
static atomic_uint wrong;

/* Each thread's blocks are its own, and live while it has them: of these nothing is told
 * but what the thread tells itself. */
static void *work(void *number)
{
    uintptr_t at = HEAP + 16 * (uintptr_t)number;
    struct sn_gc_block b;
    for (int i = 0; i < ROUNDS; i++) {
        for (int k = 0; k < 4; k++)
            wrong += sn_gc_blocks_handed(at + 0x100 * (uintptr_t)k);
        for (int k = 0; k < 4; k++)
            wrong += sn_gc_blocks_freeing(at + 0x100 * (uintptr_t)k, &b);
    }
    return NULL;
}

static void hear_none(const struct sn_gc_block *b, bool born, void *n)
{
    (void)b;
    (void)born;
    ++*(unsigned *)n;
}

static void each(void (*visit)(void *, size_t, void *), void *argument)
{
    for (uintptr_t k = 0; k < 4; k++)
        for (uintptr_t i = 0; i < THREADS; i++)
            visit((void *)(HEAP + 16 * i + 0x100 * k), 16, argument);
}

static void *collect_all(void *told_too_much)
{
    while (!ended)
        sn_gc_blocks_compare(each, hear_none, told_too_much);
    return NULL;
}

static void at_once(void)
{
    pthread_t t[THREADS], collector;
    struct sn_gc_block b;
    unsigned n = 0;
    for (uintptr_t k = 0; k < 4; k++) /* as freed: marked all the time, not in use */
        for (uintptr_t i = 0; i < THREADS; i++)
            sn_gc_blocks_freeing(HEAP + 16 * i + 0x100 * k, &b);
    pthread_create(&collector, NULL, collect_all, &n);
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, work, (void *)i);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    ended = true;
    pthread_join(collector, NULL);
    is_int(wrong, 0, "no block is handed out twice");
    /* But where it looks twice at a word while a block comes and goes in between. */
    ok(n < 10, "and a collection tells of none that its function tells of: %u", n);
    sn_gc_blocks_drop();
}

int main(void)
{
    functions();
    lists();
    places();
    no_room();
    at_once();
    return done();
}
