/*
 * inflate.c: whole gzip files in memory, by libdeflate. A file may have several members
 * (RFC 1952, 2.2); what follows the last is refused unless it is padding of zeros.
 */
#include "wire/wire.h"

#include <libdeflate.h>
#include <sys/mman.h>

#define EXPANDS 4    /* what a profile usually does */
#define MOST    1032 /* what deflate can at most: RFC 1951's 258 bytes of two bits */

bool sn_gzip_is(const void *data, size_t len)
{
    const unsigned char *p = data;
    return len >= 3 && p[0] == 0x1f && p[1] == 0x8b && p[2] == 8;
}

struct inflate {
    struct libdeflate_decompressor *d;
    struct sn_arena *arena;
    unsigned char *out;
    size_t len, cap, limit;
};

/* What was inflated in vain, since there was too little room, takes no memory. */
static void forget(const struct inflate *s)
{
    uintptr_t page = 4096, from = ((uintptr_t)s->out + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)s->out + s->cap) & ~(page - 1);
    if (from < to)
        madvise((void *)from, to - from, MADV_DONTNEED);
}

static bool make_room(struct inflate *s, size_t more)
{
    size_t cap = s->len + more;
    if (cap < s->len || cap > s->limit)
        cap = s->limit;
    if (s->len == 0 && s->out != NULL)
        forget(s);
    unsigned char *out = s->len > 0 ? sn_arena_grow(s->arena, s->out, s->cap, cap)
                                    : sn_arena_alloc(s->arena, cap);
    if (out == NULL)
        return false;
    s->out = out;
    s->cap = cap;
    return true;
}

/* One member; *used gets its length. NULL, or why not. */
static const char *inflate_member(struct inflate *s, const unsigned char *p, size_t len,
                                  size_t *used)
{
    for (;;) {
        size_t got = 0;
        switch (libdeflate_gzip_decompress_ex(s->d, p, len, s->out + s->len,
                                              s->cap - s->len, used, &got)) {
        case LIBDEFLATE_SUCCESS:
            s->len += got;
            return NULL;
        case LIBDEFLATE_INSUFFICIENT_SPACE:
            if (s->cap == s->limit)
                return "it expands to more than is allowed";
            if (!make_room(s, s->cap - s->len > 0 ? 2 * (s->cap - s->len) : 4096))
                return "out of memory";
            break;
        default:
            return "the compressed data is cut short or corrupt";
        }
    }
}

static bool only_zeros(const unsigned char *p, size_t len)
{
    while (len > 0 && *p == 0)
        p++, len--;
    return len == 0;
}

static bool inflate_all(struct inflate *s, const unsigned char *p, size_t len,
                        const char *where, struct sn_error *e)
{
    for (size_t at = 0; at < len;) {
        size_t used = 0;
        const char *why = NULL;
        if (!sn_gzip_is(p + at, len - at)) {
            if (at > 0 && only_zeros(p + at, len - at))
                break;
            why = "what follows is not gzip";
        } else {
            why = inflate_member(s, p + at, len - at, &used);
        }
        if (why != NULL)
            return sn_fail(e, where, (int64_t)at, "%s", why);
        at += used;
    }
    return true;
}

size_t sn_gzip_said(const unsigned char last[4], size_t len)
{
    size_t said =
        last[0] | (size_t)last[1] << 8 | (size_t)last[2] << 16 | (size_t)last[3] << 24;
    return said / MOST <= len ? said : 0;
}

static size_t guess(const unsigned char *p, size_t len)
{
    size_t usual = len <= SIZE_MAX / EXPANDS ? len * EXPANDS : len;
    if (len < 18)
        return usual;
    size_t said = sn_gzip_said(p + len - 4, len);
    return said >= len ? said + 1 : usual;
}

bool sn_gzip_inflate(const void *data, size_t len, size_t limit, struct sn_arena *a,
                     unsigned char **out, size_t *out_len, const char *where,
                     struct sn_error *e)
{
    struct inflate s = {.arena = a, .limit = limit};
    s.d = libdeflate_alloc_decompressor();
    if (s.d == NULL || !make_room(&s, guess(data, len))) {
        libdeflate_free_decompressor(s.d);
        return sn_fail(e, where, -1, "out of memory");
    }
    bool good = inflate_all(&s, data, len, where, e);
    libdeflate_free_decompressor(s.d);
    *out = s.out;
    *out_len = s.len;
    return good;
}
