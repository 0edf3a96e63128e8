/*
 * inflater.c: a gzip file, inflated by a thread of its own while what it gives is read,
 * part by part, in a ring of a few parts: nothing of it is ever in memory as a whole. By
 * ISA-L, which goes on in another place whenever one is full. For the usual: a file of
 * one member, which nothing follows; inflate.c does all, and says what is wrong.
 *
 * A part is lent to the reader until it asks for the next; only then it is filled again.
 */
#include "base/thread.h"
#include "wire/wire.h"

#include <isa-l/igzip_lib.h>

/* So often, for a millisecond or so, the reader looks before it sleeps: the next part
 * comes soon, and who is woken may be put on the core of who wakes. */
#define PATIENCE 3000
#define PARTS    4
#define PART     ((size_t)256 << 10)
#define ROOM                                                                             \
    (SN_INFLATER_REST + PART) /* what is left of the part before goes before it */

struct sn_inflater {
    struct sn_arena *arena; /* owned */
    struct sn_pieces pieces;
    size_t left; /* of what it may become */
    struct inflate_state z;
    unsigned char *ring; /* PARTS times ROOM */
    struct sn_thread thread;
    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t changed;
    size_t len[PARTS];      /* of each part */
    unsigned filled, taken; /* how many parts, so far */
    bool over;              /* nothing more is filled ... */
    bool good;              /* ... since all has been */
    bool stopped;           /* the reader wants no more */
};

static unsigned char *part(const struct sn_inflater *s, unsigned i)
{
    return s->ring + i % PARTS * ROOM + SN_INFLATER_REST;
}

/* False: the file is at its end, or cannot be read. */
static bool feed(struct sn_inflater *s)
{
    const unsigned char *data;
    size_t n = s->pieces.next(s->pieces.arg, &data);
    s->z.next_in = (unsigned char *)(uintptr_t)data;
    s->z.avail_in = (uint32_t)n;
    return n > 0;
}

/* As much as there is room for in a part; *n gets how much. False: something is wrong. */
static bool inflate_part(struct sn_inflater *s, unsigned char *to, size_t *n)
{
    s->z.next_out = to;
    s->z.avail_out = (uint32_t)PART;
    while (s->z.avail_out > 0 && s->z.block_state != ISAL_BLOCK_FINISH)
        if ((s->z.avail_in == 0 && !feed(s)) || isal_inflate(&s->z) < 0)
            return false;
    *n = PART - s->z.avail_out;
    return true;
}

/* Waits until the next part may be filled. False: the reader wants none. */
static bool part_free(struct sn_inflater *s)
{
    pthread_mutex_lock(&s->lock);
    while (!s->stopped && s->filled - s->taken == PARTS - 1)
        pthread_cond_wait(&s->changed, &s->lock);
    bool wanted = !s->stopped;
    pthread_mutex_unlock(&s->lock);
    return wanted;
}

static void hand_over(struct sn_inflater *s, size_t n)
{
    pthread_mutex_lock(&s->lock);
    s->len[s->filled++ % PARTS] = n;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static bool inflate(struct sn_inflater *s)
{
    size_t n;
    while (s->z.block_state != ISAL_BLOCK_FINISH) {
        if (!part_free(s) || !inflate_part(s, part(s, s->filled), &n) || n > s->left)
            return false;
        s->left -= n;
        hand_over(s, n);
    }
    return s->z.avail_in == 0 && !feed(s); /* a second member, or what follows the last */
}

static void run(void *inflater)
{
    struct sn_inflater *s = inflater;
    bool good = inflate(s);
    pthread_mutex_lock(&s->lock);
    s->over = true;
    s->good = good;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

struct sn_inflater *sn_inflater_new(struct sn_pieces pieces, size_t limit)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_inflater *s = a != NULL ? sn_arena_alloc(a, sizeof *s) : NULL;
    if (s != NULL && (s->ring = sn_arena_alloc(a, PARTS * ROOM)) != NULL) {
        s->arena = a;
        s->pieces = pieces;
        s->left = limit;
        isal_inflate_init(&s->z);
        s->z.crc_flag = ISAL_GZIP;
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->changed, NULL);
        if (sn_thread_start(&s->thread, run, s))
            return s;
    }
    sn_arena_free(a);
    return NULL;
}

size_t sn_inflater_next(struct sn_inflater *s, const unsigned char *rest, size_t n,
                        const unsigned char **data)
{
    size_t len = 0;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < PATIENCE && !s->over && s->filled == s->taken; i++) {
        pthread_mutex_unlock(&s->lock);
        sched_yield();
        pthread_mutex_lock(&s->lock);
    }
    while (!s->over && s->filled == s->taken)
        pthread_cond_wait(&s->changed, &s->lock);
    if (s->filled > s->taken && n <= SN_INFLATER_REST) {
        unsigned char *next = part(s, s->taken) - n;
        if (n > 0)
            memcpy(next, rest, n);
        len = n + s->len[s->taken++ % PARTS];
        *data = next;
        pthread_cond_signal(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return len;
}

bool sn_inflater_free(struct sn_inflater *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopped = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    sn_thread_join(&s->thread);
    bool good = s->good && s->taken == s->filled;
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    sn_arena_free(s->arena);
    return good;
}
