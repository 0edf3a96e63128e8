/*
 * inflate.c: gzip files in memory, by ISA-L, which gives what it has so far: a large file
 * is inflated by a thread of its own, while what is there already is read. A file may
 * have several members (RFC 1952, 2.2); what follows the last is refused unless it is
 * padding of zeros.
 *
 * The thread alone touches the arena and what is not under the lock.
 */
#include "wire/wire.h"

#include <isa-l/igzip_lib.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#define EXPANDS 4    /* what a profile usually does */
#define MOST    1032 /* what deflate can at most: RFC 1951's 258 bytes of two bits */
#define SMALL   ((size_t)64 << 10)  /* not worth a thread */
#define STEP    ((size_t)256 << 10) /* after so much the reader is told */
#define AT_ONCE ((size_t)1 << 30)   /* bytes given to ISA-L, which counts in 32 bits */

bool sn_gzip_is(const void *data, size_t len)
{
    const unsigned char *p = data;
    return len >= 3 && p[0] == 0x1f && p[1] == 0x8b && p[2] == 8;
}

size_t sn_gzip_size(const void *data, size_t len)
{
    const unsigned char *p = data;
    size_t usual = len <= SIZE_MAX / EXPANDS ? len * EXPANDS : len;
    if (len < 18)
        return usual;
    size_t said = p[len - 4] | (size_t)p[len - 3] << 8 | (size_t)p[len - 2] << 16 |
                  (size_t)p[len - 1] << 24;
    return said >= len && said / MOST <= len ? said : usual;
}

struct sn_inflate {
    const unsigned char *in;
    size_t in_len, limit;
    const char *where;
    struct sn_arena *arena;
    struct inflate_state *z;
    unsigned char *out;
    size_t len, cap;
    bool has_thread;
    pthread_t thread;
    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t more;
    const unsigned char *data; /* what there is: where, and how much */
    size_t ready;
    bool reading; /* what there was when the reader asked last: it must stay there */
    bool over, good;
    struct sn_error error;
};

/* ---- one member -----------------------------------------------------------------------
 */

static void tell(struct sn_inflate *s)
{
    pthread_mutex_lock(&s->lock);
    s->ready = s->len < s->limit ? s->len : s->limit;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
}

/* What was too small and has been left takes no memory. */
static void forget(const unsigned char *left, size_t cap)
{
    uintptr_t page = 4096, from = ((uintptr_t)left + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)left + cap) & ~(page - 1);
    if (from < to)
        madvise((void *)from, to - from, MADV_DONTNEED);
}

/* One byte more than is allowed shows that it is too much. Waits for the reader to ask
 * for more, before what there is goes elsewhere. */
static bool make_room(struct sn_inflate *s, size_t cap)
{
    if (cap < s->cap || cap > s->limit)
        cap = s->limit + 1;
    pthread_mutex_lock(&s->lock);
    while (s->reading)
        pthread_cond_wait(&s->more, &s->lock);
    unsigned char *left = s->out, *out = sn_arena_grow(s->arena, left, s->cap, cap);
    if (out != NULL) {
        if (left != NULL && left != out)
            forget(left, s->cap);
        s->data = s->out = out;
        s->cap = cap;
    }
    pthread_mutex_unlock(&s->lock);
    return out != NULL;
}

static void set_reading(struct sn_inflate *s, bool reading)
{
    s->reading = reading;
    pthread_cond_signal(&s->more);
}

static void feed(struct sn_inflate *s, size_t at)
{
    size_t left = s->in_len - at;
    s->z->next_in = (unsigned char *)(uintptr_t)s->in + at;
    s->z->avail_in = (uint32_t)(left < AT_ONCE ? left : AT_ONCE);
}

/* How far ISA-L has come in the file. */
static size_t position(const struct sn_inflate *s)
{
    return (size_t)(s->z->next_in - s->in);
}

/* A member up to its end, or NULL; else why not. */
static const char *inflate_member(struct sn_inflate *s, size_t at)
{
    struct inflate_state *z = s->z;
    isal_inflate_reset(z);
    z->crc_flag = ISAL_GZIP;
    feed(s, at);
    while (z->block_state != ISAL_BLOCK_FINISH) {
        if (s->len > s->limit)
            return "it expands to more than is allowed";
        if (s->len == s->cap && !make_room(s, 2 * s->cap))
            return "out of memory";
        if (z->avail_in == 0)
            feed(s, position(s));
        size_t room = s->cap - s->len < STEP ? s->cap - s->len : STEP;
        uint32_t had = z->avail_in;
        z->next_out = s->out + s->len;
        z->avail_out = (uint32_t)room;
        if (isal_inflate(z) < 0)
            return "the compressed data is corrupt";
        s->len += room - z->avail_out;
        if (z->avail_out == room && z->avail_in == had &&
            z->block_state != ISAL_BLOCK_FINISH)
            return "the compressed data is cut short";
        tell(s);
    }
    return s->len > s->limit ? "it expands to more than is allowed" : NULL;
}

/* ---- the file -------------------------------------------------------------------------
 */

static bool only_zeros(const unsigned char *p, size_t len)
{
    while (len > 0 && *p == 0)
        p++, len--;
    return len == 0;
}

static bool inflate_all(struct sn_inflate *s, struct sn_error *e)
{
    for (size_t at = 0; at < s->in_len; at = position(s)) {
        const unsigned char *p = s->in + at;
        size_t left = s->in_len - at;
        if (at > 0 && only_zeros(p, left))
            break;
        if (!sn_gzip_is(p, left))
            return sn_fail(e, s->where, (int64_t)at, "what follows is not gzip");
        const char *why = inflate_member(s, at);
        if (why != NULL)
            return sn_fail(e, s->where, (int64_t)position(s), "%s", why);
    }
    return true;
}

static void *run(void *inflate)
{
    struct sn_inflate *s = inflate;
    struct sn_error e = {.offset = -1};
    bool good;
    s->z = sn_arena_alloc(s->arena, sizeof *s->z);
    if (s->z == NULL || !make_room(s, sn_gzip_size(s->in, s->in_len) + 1)) {
        good = sn_fail(&e, s->where, -1, "out of memory");
    } else {
        isal_inflate_init(s->z);
        good = inflate_all(s, &e);
    }
    pthread_mutex_lock(&s->lock);
    s->over = true;
    s->good = good;
    s->error = e;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

struct sn_inflate *sn_inflate_begin(const void *data, size_t len, size_t limit,
                                    struct sn_arena *a, const char *where)
{
    struct sn_inflate *s = sn_arena_alloc(a, sizeof *s);
    sigset_t all, old;
    if (s == NULL)
        return NULL;
    *s = (struct sn_inflate){.in = data,
                             .in_len = len,
                             .limit = limit < SIZE_MAX ? limit : SIZE_MAX - 1,
                             .where = where,
                             .arena = a};
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->more, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    s->has_thread = len > SMALL && pthread_create(&s->thread, NULL, run, s) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!s->has_thread)
        run(s);
    return s;
}

size_t sn_inflate_wait(struct sn_inflate *s, size_t have, const unsigned char **data)
{
    pthread_mutex_lock(&s->lock);
    set_reading(s, false);
    while (!s->over && s->ready <= have)
        pthread_cond_wait(&s->more, &s->lock);
    size_t ready = s->ready;
    s->reading = true;
    *data = s->data;
    pthread_mutex_unlock(&s->lock);
    return ready;
}

bool sn_inflate_end(struct sn_inflate *s, const unsigned char **data, size_t *len,
                    struct sn_error *e)
{
    pthread_mutex_lock(&s->lock);
    set_reading(s, false);
    pthread_mutex_unlock(&s->lock);
    if (s->has_thread)
        pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->more);
    pthread_mutex_destroy(&s->lock);
    *data = s->out;
    *len = s->len;
    return s->good || sn_fail(e, s->error.where, s->error.offset, "%s", s->error.what);
}

bool sn_gzip_inflate(const void *data, size_t len, size_t limit, struct sn_arena *a,
                     const unsigned char **out, size_t *out_len, const char *where,
                     struct sn_error *e)
{
    struct sn_inflate *s = sn_inflate_begin(data, len, limit, a, where);
    if (s == NULL)
        return sn_fail(e, where, -1, "out of memory");
    return sn_inflate_end(s, out, out_len, e);
}
