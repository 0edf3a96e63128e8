/*
 * deflate.c: a gzip file of one member (RFC 1952). One piece is deflated thoroughly, by
 * libdeflate. Several are large: they are made and deflated on all cores, each for
 * itself, by ISA-L, whose streams can be joined: each ends on a byte ("full flush", an
 * empty stored block), and only the last with a last block (RFC 1951, 3.2.3). zlib, which
 * deflates at a third of the speed, knows how to join checksums.
 */
#include "wire/wire.h"

#include <isa-l/igzip_lib.h>
#include <libdeflate.h>
#include <pthread.h>
#include <stdatomic.h>
#include <zlib.h>

#define THOROUGH 6
#define AT_ONCE  (1u << 30) /* bytes given to ISA-L, which counts in 32 bits */

/* ---- one piece ------------------------------------------------------------------------
 */

static bool deflate_whole(sn_gzip_make *make, const void *arg, struct sn_buf *out)
{
    struct sn_buf whole = {.arena = out->arena};
    make(arg, 0, 1, &whole);
    struct libdeflate_compressor *c = libdeflate_alloc_compressor(THOROUGH);
    size_t bound = c != NULL ? libdeflate_gzip_compress_bound(c, whole.len) : 0;
    char *to = c != NULL && !whole.failed ? sn_buf_room(out, bound) : NULL;
    size_t done =
        to != NULL ? libdeflate_gzip_compress(c, whole.data, whole.len, to, bound) : 0;
    libdeflate_free_compressor(c);
    out->len += done;
    return done > 0;
}

/* ---- several --------------------------------------------------------------------------
 */

struct deflating {
    sn_gzip_make *make;
    const void *arg;
    unsigned n;
    atomic_uint next; /* piece that nobody has taken */
    pthread_mutex_t lock;
    pthread_cond_t turned;
    /* Under the lock: */
    unsigned turn; /* the piece that comes next in `out` */
    struct sn_buf *out;
    uint32_t crc; /* of what is there, before it was deflated */
    size_t len;
};

/* What a thread has, for one piece after another: pages that are new cost more than what
 * is done in them. */
struct worker {
    struct sn_buf plain, packed; /* in an arena each */
    struct isal_zstream *z;
    unsigned char *tables;
};

static bool hire(struct worker *w)
{
    *w =
        (struct worker){{.arena = sn_arena_new()}, {.arena = sn_arena_new()}, NULL, NULL};
    if (w->plain.arena == NULL || w->packed.arena == NULL)
        return false;
    w->z = sn_arena_alloc(w->packed.arena, sizeof *w->z);
    w->tables = sn_arena_alloc(w->packed.arena, ISAL_DEF_LVL1_DEFAULT);
    return w->z != NULL && w->tables != NULL;
}

/* All that is given now. `ends`: it is the end of all. */
static bool feed(struct isal_zstream *z, bool ends, struct sn_buf *out)
{
    do {
        size_t room = z->avail_in + z->avail_in / 16 + 4096;
        char *to = sn_buf_room(out, room);
        if (to == NULL)
            return false;
        z->next_out = (unsigned char *)to;
        z->avail_out = (uint32_t)room;
        if (isal_deflate(z) != COMP_OK)
            return false;
        out->len += room - z->avail_out;
    } while (z->avail_out == 0 || z->avail_in > 0);
    return !ends || z->internal_state.state == ZSTATE_END;
}

static bool deflate_one(struct worker *w, bool ends)
{
    const struct sn_buf *in = &w->plain;
    struct isal_zstream *z = w->z;
    isal_deflate_init(z);
    z->level = 1;
    z->level_buf = w->tables;
    z->level_buf_size = ISAL_DEF_LVL1_DEFAULT;
    size_t at = 0;
    do {
        size_t n = in->len - at < AT_ONCE ? in->len - at : AT_ONCE;
        bool last = at + n == in->len;
        z->next_in = (unsigned char *)in->data + at;
        z->avail_in = (uint32_t)n;
        z->flush = last && !ends ? FULL_FLUSH : NO_FLUSH;
        z->end_of_stream = last && ends;
        if (!feed(z, last && ends, &w->packed))
            return false;
        at += n;
    } while (at < in->len);
    return true;
}

/* The piece before is always in work, or there. */
static void put_in_turn(struct deflating *d, unsigned i, const struct worker *w,
                        uint32_t crc, bool good)
{
    pthread_mutex_lock(&d->lock);
    while (d->turn != i)
        pthread_cond_wait(&d->turned, &d->lock);
    d->out->failed |= !good;
    if (good)
        sn_buf_add(d->out, w->packed.data, w->packed.len);
    d->crc = (uint32_t)crc32_combine(d->crc, crc, (z_off_t)w->plain.len);
    d->len += w->plain.len;
    d->turn++;
    pthread_cond_broadcast(&d->turned);
    pthread_mutex_unlock(&d->lock);
}

static void work(void *deflating, unsigned which)
{
    struct deflating *d = deflating;
    struct worker w;
    unsigned i;
    bool good = hire(&w);
    (void)which;
    while ((i = atomic_fetch_add(&d->next, 1)) < d->n) {
        w.plain.len = w.packed.len = 0;
        if (good)
            d->make(d->arg, i, d->n, &w.plain);
        good = good && !w.plain.failed && deflate_one(&w, i + 1 == d->n);
        put_in_turn(d, i, &w, libdeflate_crc32(0, w.plain.data, w.plain.len), good);
    }
    sn_arena_free(w.plain.arena);
    sn_arena_free(w.packed.arena);
}

static void put_word(struct sn_buf *out, uint32_t word)
{
    for (int i = 0; i < 4; i++)
        sn_buf_putc(out, (char)(word >> 8 * i));
}

static bool deflate_pieces(struct deflating *d)
{
    static const char head[10] = {0x1f, (char)0x8b, 8, 0, 0, 0, 0, 0, 4, (char)0xff};
    unsigned workers = sn_cores() < d->n ? sn_cores() : d->n;
    sn_buf_add(d->out, head, sizeof head);
    sn_parallel(workers, work, d);
    put_word(d->out, d->crc);
    put_word(d->out, (uint32_t)d->len);
    return !d->out->failed;
}

bool sn_gzip_deflate(sn_gzip_make *make, const void *arg, unsigned n, struct sn_buf *out,
                     struct sn_error *e)
{
    struct deflating d = {.make = make,
                          .arg = arg,
                          .n = n,
                          .out = out,
                          .lock = PTHREAD_MUTEX_INITIALIZER,
                          .turned = PTHREAD_COND_INITIALIZER};
    return (n > 1 ? deflate_pieces(&d) : deflate_whole(make, arg, out)) ||
           sn_fail(e, NULL, -1, "out of memory");
}
