/*
 * wire: the protobuf wire format (https://protobuf.dev/programming-guides/encoding/) and
 * gzip (RFC 1952). pb.c needs libc alone and serves libsonde too; inflate.c, inflater.c
 * and deflate.c need libdeflate and ISA-L and are linked into the command only.
 */
#ifndef SN_WIRE_H
#define SN_WIRE_H

#include "base/base.h"

/* ---- reading ---------------------------------------------------------------------- */

enum sn_pb_type {
    SN_PB_VARINT = 0,
    SN_PB_FIXED64 = 1,
    SN_PB_BYTES = 2,
    SN_PB_FIXED32 = 5
};

/* A cursor over one message. Reads past the end or malformed bytes set `bad` for good:
 * look at it once, after the loop. */
struct sn_pb {
    const unsigned char *p, *end;
    const unsigned char *base; /* start of the outermost message: offsets in errors */
    const char *bad;           /* NULL, or what was wrong */
    uint64_t bad_offset;       /* where, from base */
};

struct sn_pb_field {
    uint32_t number;
    enum sn_pb_type type;
    uint64_t value;             /* VARINT, FIXED64, FIXED32 */
    const unsigned char *bytes; /* BYTES: borrowed from the message */
    size_t len;
};

void sn_pb_open(struct sn_pb *r, const void *data, size_t len);
/* A cursor over field f's bytes, which keeps r's base. */
static inline struct sn_pb sn_pb_sub(const struct sn_pb *r, const struct sn_pb_field *f)
{
    return (struct sn_pb){.p = f->bytes, .end = f->bytes + f->len, .base = r->base};
}
void sn_pb_set_bad(struct sn_pb *r, const char *why);
bool sn_pb_long_varint(struct sn_pb *r, uint64_t *v);
/* For packed fields. Nearly all numbers have three bytes at most. */
static inline bool sn_pb_varint(struct sn_pb *r, uint64_t *v)
{
    const unsigned char *p = r->p;
    if (r->end - p < 3 || (p[0] & p[1] & p[2] & 0x80) != 0)
        return sn_pb_long_varint(r, v);
    size_t n = p[0] < 0x80 ? 1 : p[1] < 0x80 ? 2 : 3;
    *v = (p[0] & 0x7fu) | (n > 1 ? (p[1] & 0x7fu) << 7 : 0) |
         (n > 2 ? (uint32_t)p[2] << 14 : 0);
    r->p = p + n;
    return true;
}
bool sn_pb_any_next(struct sn_pb *r, struct sn_pb_field *f);
/* False at the end or when bad. Nearly all fields are numbers, or runs of bytes, of a
 * number below 16. */
static inline bool sn_pb_next(struct sn_pb *r, struct sn_pb_field *f)
{
    const unsigned char *p = r->p + 1;
    if (r->end - r->p < 2 || r->p[0] < 8 || r->p[0] >= 0x80)
        return sn_pb_any_next(r, f);
    unsigned type = r->p[0] & 7;
    uint64_t v = *p++;
    for (unsigned shift = 7; p[-1] >= 0x80 && p < r->end && shift < 70; shift += 7)
        v += (*p++ - UINT64_C(1)) << shift; /* less the bit that said there is more */
    if (p[-1] >= 0x80 ||
        (type != SN_PB_VARINT && (type != SN_PB_BYTES || v > (uint64_t)(r->end - p))))
        return sn_pb_any_next(r, f); /* which says what is wrong, if it is */
    f->number = r->p[0] >> 3;
    f->type = (enum sn_pb_type)type;
    f->bytes = p;
    f->value = type == SN_PB_VARINT ? v : 0;
    f->len = type == SN_PB_VARINT ? 0 : v;
    r->p = p + f->len;
    return true;
}

/* ---- writing ----------------------------------------------------------------------
 *
 * Straight into memory: each function writes at `at` and returns where it ended. Who
 * calls has made room there for as much as it can be.
 */
#define SN_PB_NUMBER 10                 /* bytes of a number at most */
#define SN_PB_FIELD  (2 * SN_PB_NUMBER) /* of a field, but for the bytes that it holds */

static inline unsigned char *sn_pb_put_number(unsigned char *at, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *at++ = (unsigned char)(v | 0x80);
    *at++ = (unsigned char)v;
    return at;
}

/* proto3: a zero value is left out by the second. */
static inline unsigned char *sn_pb_put_always(unsigned char *at, uint32_t field,
                                              uint64_t v)
{
    at = sn_pb_put_number(at, (uint64_t)field << 3 | SN_PB_VARINT);
    return sn_pb_put_number(at, v);
}

static inline unsigned char *sn_pb_put(unsigned char *at, uint32_t field, uint64_t v)
{
    return v != 0 ? sn_pb_put_always(at, field, v) : at;
}

unsigned char *sn_pb_put_bytes(unsigned char *at, uint32_t field, const void *data,
                               size_t len);
/* v[0] + more, v[1] + more, ... within a packed run. Room: */
#define SN_PB_PACKED(n) (5 * (size_t)(n) + 4)
unsigned char *sn_pb_put_packed(unsigned char *at, const uint32_t *v, size_t n,
                                uint32_t more);

/* A submessage or packed run, which may be within others: what it holds is written where
 * `begin` returns. `end` gets that, and where it ended, and fills its length in, for
 * which all may move on a little. Room: SN_PB_FIELD and what it holds. */
static inline unsigned char *sn_pb_begin(unsigned char *at, uint32_t field)
{
    return sn_pb_put_number(at, (uint64_t)field << 3 | SN_PB_BYTES) + 1;
}

unsigned char *sn_pb_end_long(unsigned char *begun, unsigned char *at);
static inline unsigned char *sn_pb_end(unsigned char *begun, unsigned char *at)
{
    if (at - begun >= 0x80)
        return sn_pb_end_long(begun, at);
    begun[-1] = (unsigned char)(at - begun);
    return at;
}

/* ---- gzip ------------------------------------------------------------------------- */

bool sn_gzip_is(const void *data, size_t len);
/* What the last four bytes of a file of `len` bytes say that its last member becomes; 0
 * if that cannot be. A hint: mostly there is one member. */
size_t sn_gzip_said(const unsigned char last[4], size_t len);
/* Inflate all members of a gzip file into `a`. Refuses more than `limit` bytes. `where`
 * names the file in errors. */
bool sn_gzip_inflate(const void *data, size_t len, size_t limit, struct sn_arena *a,
                     unsigned char **out, size_t *out_len, const char *where,
                     struct sn_error *e);
/* A file piece by piece. next(): how many bytes lie at *data until it is asked again; 0:
 * no more. */
struct sn_pieces {
    size_t (*next)(void *arg, const unsigned char **data);
    void *arg;
};
/* A gzip file of one member, inflated by a thread of its own, which alone asks for its
 * pieces. NULL: no memory, or no thread. */
struct sn_inflater;
struct sn_inflater *sn_inflater_new(struct sn_pieces pieces, size_t limit);
/* What comes after the n bytes at `rest`, the end of what came before: *data gets the
 * place of these and of what follows, until more is asked for. How many there are; 0: no
 * more comes, or n is above SN_INFLATER_REST, and all stays as it is. */
#define SN_INFLATER_REST ((size_t)64 << 10)
size_t sn_inflater_next(struct sn_inflater *s, const unsigned char *rest, size_t n,
                        const unsigned char **data);
/* Has all of it been given? Else the file is cut short, corrupt, of several members,
 * larger than the limit, or not wanted any more. */
bool sn_inflater_free(struct sn_inflater *s);
/* Make n pieces, on all cores if there are several, deflate each, and append them as one
 * member. make(arg, i, n, out): piece i, at the end of `out`. */
typedef void sn_gzip_make(const void *arg, unsigned i, unsigned n, struct sn_buf *out);
bool sn_gzip_deflate(sn_gzip_make *make, const void *arg, unsigned n, struct sn_buf *out,
                     struct sn_error *e);

#endif
