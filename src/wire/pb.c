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
 */

static size_t encode_varint(unsigned char out[10], uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        out[n++] = (unsigned char)(v | 0x80);
    out[n++] = (unsigned char)v;
    return n;
}

void sn_pb_put_raw_varint(struct sn_buf *b, uint64_t v)
{
    unsigned char out[10];
    sn_buf_add(b, out, encode_varint(out, v));
}

void sn_pb_put_packed(struct sn_buf *b, const uint32_t *v, size_t n, uint64_t more)
{
    unsigned char out[1024];
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        if (len > sizeof out - 10) {
            sn_buf_add(b, out, len);
            len = 0;
        }
        len += encode_varint(out + len, v[i] + more);
    }
    sn_buf_add(b, out, len);
}

void sn_pb_put_always(struct sn_buf *b, uint32_t field, uint64_t v)
{
    unsigned char out[20];
    size_t n = encode_varint(out, (uint64_t)field << 3 | SN_PB_VARINT);
    n += encode_varint(out + n, v);
    sn_buf_add(b, out, n);
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
    sn_pb_put_raw_varint(b, (uint64_t)field << 3 | SN_PB_BYTES);
    sn_pb_put_raw_varint(b, len);
    sn_buf_add(b, data, len);
}

size_t sn_pb_begin(struct sn_buf *b, uint32_t field)
{
    sn_pb_put_raw_varint(b, (uint64_t)field << 3 | SN_PB_BYTES);
    sn_buf_putc(b, 0); /* one byte of length is nearly always enough */
    return b->len;
}

void sn_pb_end(struct sn_buf *b, size_t mark)
{
    unsigned char out[10];
    if (b->failed)
        return;
    size_t len = b->len - mark, n = encode_varint(out, len);
    static const unsigned char room[10];
    sn_buf_add(b, room, n - 1);
    if (b->failed)
        return;
    memmove(b->data + mark + n - 1, b->data + mark, len);
    memcpy(b->data + mark - 1, out, n);
}
