/*
 * pb.c: the protobuf wire format, read and written. Reading borrows from the message and
 * allocates nothing; writing appends to a buffer. Needs libc alone.
 */
#include "wire/wire.h"

/* ---- reading --------------------------------------------------------------------------
 */

void sn_pb_open(struct sn_pb *r, const void *data, size_t len)
{
    const unsigned char *p = data;
    *r = (struct sn_pb){.p = p, .end = p + len, .base = p};
}

void sn_pb_set_bad(struct sn_pb *r, const char *why)
{
    if (r->bad == NULL) {
        r->bad = why;
        r->bad_offset = (uint64_t)(r->p - r->base);
    }
    r->p = r->end;
}

static bool bad(struct sn_pb *r, const char *why)
{
    sn_pb_set_bad(r, why);
    return false;
}

bool sn_pb_long_varint(struct sn_pb *r, uint64_t *v)
{
    const unsigned char *p = r->p;
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (p == r->end)
            return r->p == r->end ? false : bad(r, "a number is cut short");
        value |= (uint64_t)(*p & 0x7f) << shift;
        if (*p++ < 0x80) {
            *v = value;
            r->p = p;
            return true;
        }
    }
    return bad(r, "a number is longer than ten bytes");
}

static bool fixed(struct sn_pb *r, size_t size, uint64_t *v)
{
    if ((size_t)(r->end - r->p) < size)
        return bad(r, "a number is cut short");
    *v = 0;
    for (size_t i = 0; i < size; i++)
        *v |= (uint64_t)r->p[i] << (8 * i);
    r->p += size;
    return true;
}

static bool bytes(struct sn_pb *r, struct sn_pb_field *f)
{
    uint64_t len;
    if (!sn_pb_varint(r, &len))
        return bad(r, "a field is cut short");
    if (len > (uint64_t)(r->end - r->p))
        return bad(r, "a field is longer than what holds it");
    f->bytes = r->p;
    f->len = (size_t)len;
    r->p += len;
    return true;
}

bool sn_pb_any_next(struct sn_pb *r, struct sn_pb_field *f)
{
    uint64_t key;
    if (r->p == r->end || !sn_pb_varint(r, &key))
        return false;
    if (key >> 3 == 0 || key >> 3 >= 1u << 29)
        return bad(r, "a field has no valid number");
    *f = (struct sn_pb_field){.number = (uint32_t)(key >> 3), .bytes = r->p};
    f->type = (enum sn_pb_type)(key & 7);
    switch (f->type) {
    case SN_PB_VARINT:
        return sn_pb_varint(r, &f->value) || bad(r, "a field is cut short");
    case SN_PB_FIXED64:
        return fixed(r, 8, &f->value);
    case SN_PB_FIXED32:
        return fixed(r, 4, &f->value);
    case SN_PB_BYTES:
        return bytes(r, f);
    }
    return bad(r, "a field has an unknown wire type");
}

/* ---- writing --------------------------------------------------------------------------
 *
 * Straight into room that was made beforehand for as much as it can be.
 */

#define LONGEST 10 /* bytes of a number; of one below 2^35: 5 */

static unsigned char *room(struct sn_buf *b, size_t most)
{
    return (unsigned char *)sn_buf_room(b, most);
}

static void wrote(struct sn_buf *b, unsigned char *end)
{
    *end = '\0';
    b->len = (size_t)((char *)end - b->data);
}

static unsigned char *put_varint(unsigned char *at, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *at++ = (unsigned char)(v | 0x80);
    *at++ = (unsigned char)v;
    return at;
}

static unsigned char *put_key(unsigned char *at, uint32_t field, enum sn_pb_type type)
{
    return put_varint(at, (uint64_t)field << 3 | type);
}

void sn_pb_put_raw_varint(struct sn_buf *b, uint64_t v)
{
    unsigned char *at = room(b, LONGEST);
    if (at != NULL)
        wrote(b, put_varint(at, v));
}

/* Numbers of three bytes at most, as nearly all are, without a branch that would be
 * guessed wrong; four bytes are stored. */
static unsigned char *put_mostly_short(unsigned char *at, uint64_t v)
{
    if (v >> 21 != 0)
        return put_varint(at, v);
    uint32_t x = (uint32_t)v, longer = (x > 0x7f) + (x > 0x3fff);
    uint32_t more = 0x8080u >> (16 - 8 * longer);
    x = (x & 0x7f) | (x & 0x3f80) << 1 | (x & 0x1fc000) << 2 | more;
    const unsigned char out[4] = {(unsigned char)x, (unsigned char)(x >> 8),
                                  (unsigned char)(x >> 16), 0};
    memcpy(at, out, sizeof out);
    return at + 1 + longer;
}

void sn_pb_put_packed(struct sn_buf *b, const uint32_t *v, size_t n, uint32_t more)
{
    unsigned char *at = n < SIZE_MAX / 8 ? room(b, 5 * n) : NULL;
    if (at == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        at = put_mostly_short(at, (uint64_t)v[i] + more);
    wrote(b, at);
}

void sn_pb_put_always(struct sn_buf *b, uint32_t field, uint64_t v)
{
    unsigned char *at = room(b, 2 * LONGEST);
    if (at != NULL)
        wrote(b, put_varint(put_key(at, field, SN_PB_VARINT), v));
}

void sn_pb_put_uint(struct sn_buf *b, uint32_t field, uint64_t v)
{
    if (v != 0)
        sn_pb_put_always(b, field, v);
}

void sn_pb_put_int(struct sn_buf *b, uint32_t field, int64_t v)
{
    sn_pb_put_uint(b, field, (uint64_t)v);
}

void sn_pb_put_bytes(struct sn_buf *b, uint32_t field, const void *data, size_t len)
{
    unsigned char *at = room(b, len + 2 * LONGEST);
    if (at == NULL)
        return;
    at = put_varint(put_key(at, field, SN_PB_BYTES), len);
    memcpy(at, data, len);
    wrote(b, at + len);
}

size_t sn_pb_begin(struct sn_buf *b, uint32_t field)
{
    unsigned char *at = room(b, LONGEST + 1);
    if (at != NULL)
        wrote(b, put_key(at, field, SN_PB_BYTES) + 1); /* a length is mostly one byte */
    return b->len;
}

void sn_pb_end(struct sn_buf *b, size_t mark)
{
    if (room(b, LONGEST) == NULL)
        return;
    unsigned char *at = (unsigned char *)b->data + mark, length[LONGEST];
    size_t len = b->len - mark, longer = (size_t)(put_varint(length, len) - length) - 1;
    if (longer > 0)
        memmove(at + longer, at, len);
    memcpy(at - 1, length, longer + 1);
    wrote(b, at + longer + len);
}
