/*
 * pb.c: the protobuf wire format, read and written. Reading borrows from the message,
 * writing goes to where the caller has made room; neither allocates. Needs libc alone.
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

unsigned char *sn_pb_put_bytes(unsigned char *at, uint32_t field, const void *data,
                               size_t len)
{
    at = sn_pb_put_number(at, (uint64_t)field << 3 | SN_PB_BYTES);
    at = sn_pb_put_number(at, len);
    memcpy(at, data, len);
    return at + len;
}

#define BLOCK 8
#define SHORT (1u << 21) /* from here on, numbers have more than three bytes */

/* So many at once, without a branch that would be guessed wrong: the bytes of each in a
 * word, of which all four are stored. False: one is not short. */
static bool put_short(unsigned char **at, const uint32_t *v, uint32_t more)
{
    uint32_t words[BLOCK], lengths[BLOCK], all = more;
    for (unsigned i = 0; i < BLOCK; i++) {
        int32_t x = (int32_t)(v[i] + more), two = -(x > 0x7f), three = -(x > 0x3fff);
        all |= v[i];
        words[i] = ((uint32_t)x & 0x7f) | ((uint32_t)x & 0x3f80) << 1 |
                   ((uint32_t)x & 0x1fc000) << 2 | (two & 0x80) | (three & 0x8000);
        lengths[i] = (uint32_t)(1 - two - three);
    }
    for (unsigned i = 0; all < SHORT / 2 && i < BLOCK; i++) {
        const uint32_t w = words[i];
        const unsigned char bytes[4] = {(unsigned char)w, (unsigned char)(w >> 8),
                                        (unsigned char)(w >> 16),
                                        (unsigned char)(w >> 24)};
        memcpy(*at, bytes, sizeof bytes);
        *at += lengths[i];
    }
    return all < SHORT / 2;
}

unsigned char *sn_pb_put_packed(unsigned char *at, const uint32_t *v, size_t n,
                                uint32_t more)
{
    while (n > 0) {
        bool done = n >= BLOCK && put_short(&at, v, more);
        size_t k = n < BLOCK ? n : BLOCK;
        for (size_t i = 0; !done && i < k; i++)
            at = sn_pb_put_number(at, (uint64_t)v[i] + more);
        v += k;
        n -= k;
    }
    return at;
}

unsigned char *sn_pb_end_long(unsigned char *begun, unsigned char *at)
{
    unsigned char length[SN_PB_NUMBER];
    size_t len = (size_t)(at - begun);
    size_t longer = (size_t)(sn_pb_put_number(length, len) - length) - 1;
    memmove(begun + longer, begun, len);
    memcpy(begun - 1, length, longer + 1);
    return at + longer;
}
