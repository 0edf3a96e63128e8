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

struct piece {
    struct sn_buf to; /* in an arena of its own */
    size_t len;       /* of what was deflated, as is the next */
    uint32_t crc;
};

struct deflating {
    sn_gzip_make *make;
    const void *arg;
    unsigned n;
    struct piece *pieces;
};

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

static bool deflate_one(const struct sn_buf *in, bool ends, struct sn_buf *out)
{
    struct isal_zstream *z = sn_arena_alloc(out->arena, sizeof *z);
    unsigned char *tables = sn_arena_alloc(out->arena, ISAL_DEF_LVL2_DEFAULT);
    if (z == NULL || tables == NULL)
        return false;
    isal_deflate_init(z);
    z->level = 2;
    z->level_buf = tables;
    z->level_buf_size = ISAL_DEF_LVL2_DEFAULT;
    size_t at = 0;
    do {
        size_t n = in->len - at < AT_ONCE ? in->len - at : AT_ONCE;
        bool last = at + n == in->len;
        z->next_in = (unsigned char *)in->data + at;
        z->avail_in = (uint32_t)n;
        z->flush = last && !ends ? FULL_FLUSH : NO_FLUSH;
        z->end_of_stream = last && ends;
        if (!feed(z, last && ends, out))
            return false;
        at += n;
    } while (at < in->len);
    return true;
}

static void deflate_piece(void *deflating, unsigned i)
{
    const struct deflating *d = deflating;
    struct piece *p = &d->pieces[i];
    struct sn_buf plain = {.arena = sn_arena_new()};
    p->to.arena = sn_arena_new();
    if (plain.arena != NULL)
        d->make(d->arg, i, d->n, &plain);
    p->to.failed = plain.arena == NULL || plain.failed || p->to.arena == NULL ||
                   !deflate_one(&plain, i + 1 == d->n, &p->to);
    p->len = plain.len;
    p->crc = libdeflate_crc32(0, plain.data, plain.len);
    sn_arena_free(plain.arena);
}

static void put_word(struct sn_buf *out, uint32_t word)
{
    for (int i = 0; i < 4; i++)
        sn_buf_putc(out, (char)(word >> 8 * i));
}

static void join(const struct deflating *d, struct sn_buf *out)
{
    static const char head[10] = {0x1f, (char)0x8b, 8, 0, 0, 0, 0, 0, 4, (char)0xff};
    uint32_t crc = 0;
    size_t len = 0, packed = 0;
    for (unsigned i = 0; i < d->n; i++)
        packed += d->pieces[i].to.len;
    (void)sn_buf_room(out, packed + 32);
    sn_buf_add(out, head, sizeof head);
    for (unsigned i = 0; i < d->n; i++) {
        struct piece *p = &d->pieces[i];
        sn_buf_add(out, p->to.data, p->to.len);
        out->failed |= p->to.failed;
        crc = (uint32_t)crc32_combine(crc, p->crc, (z_off_t)p->len);
        len += p->len;
        sn_arena_free(p->to.arena);
    }
    put_word(out, crc);
    put_word(out, (uint32_t)len);
}

static bool deflate_pieces(struct deflating *d, struct sn_buf *out)
{
    d->pieces = sn_arena_alloc(out->arena, d->n * sizeof *d->pieces);
    if (d->pieces == NULL)
        return false;
    sn_parallel(d->n, deflate_piece, d);
    join(d, out);
    return !out->failed;
}

bool sn_gzip_deflate(sn_gzip_make *make, const void *arg, unsigned n, struct sn_buf *out,
                     struct sn_error *e)
{
    struct deflating d = {make, arg, n, NULL};
    return (n > 1 ? deflate_pieces(&d, out) : deflate_whole(make, arg, out)) ||
           sn_fail(e, NULL, -1, "out of memory");
}
