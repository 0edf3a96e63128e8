/* test_wire.c: protobuf and gzip, there and back, cut short everywhere, and hostile. */
#include "../tap.h"
#include "wire/wire.h"

static void numbers(void)
{
    static const uint64_t rows[] = {
        0, 1, 127, 128, 300, UINT32_MAX, (uint64_t)1 << 56, UINT64_MAX};
    unsigned char b[SN_PB_FIELD];
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct sn_pb r;
        struct sn_pb_field f;
        size_t len = (size_t)(sn_pb_put_always(b, 536870911, rows[i]) - b);
        sn_pb_open(&r, b, len);
        ok(len <= sizeof b && sn_pb_next(&r, &f) && f.number == 536870911 &&
               f.value == rows[i] && !sn_pb_next(&r, &f) && r.bad == NULL,
           "%llu there and back", (unsigned long long)rows[i]);
        bool cut = true;
        for (size_t n = 1; n < len; n++) {
            sn_pb_open(&r, b, n);
            cut = cut && !sn_pb_next(&r, &f) && (r.bad != NULL || n == 0);
        }
        ok(cut, "... and cut short at any byte it is an error");
    }
    ok(sn_pb_put(b, 1, 0) == b, "a zero is left out");
}

/* Of every length, of one length for long, and any; all beginnings of a block. */
static void packed(void)
{
    enum { N = 4000 };
    static uint32_t v[N];
    static unsigned char b[SN_PB_PACKED(N)];
    uint32_t state = 1;
    for (size_t i = 0; i < N; i++) {
        state = state * 1103515245 + 12345;
        v[i] = i < 1000 ? state >> (11 + i % 21) : state >> (i / 1000 * 9 % 32);
        if (i % 97 == 0)
            v[i] = (const uint32_t[]){0x7e,     0x7f,     0x3ffe,     0x3fff,
                                      0xffffe,  0xfffff,  0x100000,   0x1ffffe,
                                      0x1fffff, 0x200000, UINT32_MAX, 0}[i / 97 % 12];
    }
    for (uint32_t more = 0; more < 2; more++) {
        bool good = true;
        for (size_t from = 0; from < 100; from++) {
            struct sn_pb r;
            uint64_t x;
            sn_pb_open(&r, b,
                       (size_t)(sn_pb_put_packed(b, v + from, N - from, more) - b));
            for (size_t i = from; i < N; i++)
                good = good && sn_pb_varint(&r, &x) && x == (uint64_t)v[i] + more;
            good = good && r.p == r.end;
        }
        ok(good, "%u numbers packed, plus %u, there and back", N, more);
    }
}

static void nested(void)
{
    static unsigned char b[1002 * SN_PB_FIELD];
    struct sn_pb r, inner;
    struct sn_pb_field f;
    unsigned char *outer = sn_pb_begin(b, 1), *middle = sn_pb_begin(outer, 2);
    unsigned char *at = middle;
    for (unsigned i = 0; i < 1000; i++)
        at = sn_pb_put_always(at, 3, i);
    at = sn_pb_end(middle, at);
    at = sn_pb_put_bytes(at, 4, "tail", 4);
    at = sn_pb_end(outer, at);
    sn_pb_open(&r, b, (size_t)(at - b));
    ok(sn_pb_next(&r, &f) && f.type == SN_PB_BYTES && r.p == r.end, "one field in all");
    inner = sn_pb_sub(&r, &f);
    ok(sn_pb_next(&inner, &f) && f.number == 2 && f.len > 2000,
       "a long one in it, whose length took more than a byte");
    ok(sn_pb_next(&inner, &f) && f.number == 4 && memcmp(f.bytes, "tail", 4) == 0,
       "what follows it is in place");
}

static void hostile(void)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *what;
    } rows[] = {
        {"\x00\x00", 2, "field number 0"},
        {"\x0b\x00", 2, "a group"},
        {"\x0a\x05"
         "abc",
         5, "a string longer than the message"},
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "a length of 2^64"},
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, "a number of 11 bytes"},
        {"\x09\x01\x02", 3, "half a fixed64"},
    };
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct sn_pb r;
        struct sn_pb_field f;
        sn_pb_open(&r, rows[i].bytes, rows[i].len);
        while (sn_pb_next(&r, &f))
            continue;
        ok(r.bad != NULL && r.bad_offset <= rows[i].len, "%s: %s", rows[i].what,
           r.bad != NULL ? r.bad : "accepted");
    }
}

/* A text in so many pieces. */
static void make_text(const void *text, unsigned i, unsigned n, struct sn_buf *out)
{
    uint32_t len = (uint32_t)strlen(text), begin = sn_part_begin(len, i, n);
    sn_buf_add(out, (const char *)text + begin, sn_part_begin(len, i + 1, n) - begin);
}

static void pieces(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_error e = {.offset = -1};
    char *text = sn_arena_alloc(a, 1000001);
    uint32_t state = 1;
    for (size_t i = 0; i < 1000000; i++) {
        state = state * 1103515245 + 12345;
        text[i] = (char)('a' + (i % 1000 < 500 ? state >> 28 : i % 7));
    }
    static const unsigned counts[] = {2, 3, 17, 64};
    for (size_t i = 0; i < SN_COUNT(counts); i++) {
        struct sn_buf z = {.arena = a};
        unsigned char *out;
        size_t n;
        ok(sn_gzip_deflate(make_text, text, counts[i], &z, &e) &&
               sn_gzip_inflate(z.data, z.len, 1 << 20, a, &out, &n, "z", &e) &&
               n == 1000000 && memcmp(out, text, n) == 0,
           "%u pieces are one member: %zu bytes", counts[i], z.len);
    }
    struct sn_buf z = {.arena = a};
    unsigned char *out;
    size_t n;
    ok(sn_gzip_deflate(make_text, "ab", 5, &z, &e) &&
           sn_gzip_inflate(z.data, z.len, 1 << 20, a, &out, &n, "z", &e) && n == 2,
       "empty pieces");
    sn_arena_free(a);
}

struct slices { /* of a file */
    const struct sn_buf *file;
    size_t at, size;
};

static size_t slice(void *arg, const unsigned char **data)
{
    struct slices *s = arg;
    size_t left = s->file->len - s->at, n = left < s->size ? left : s->size;
    *data = (const unsigned char *)s->file->data + s->at;
    s->at += n;
    return n;
}

/* Read part by part, `rest` bytes of each with the next. True: it was `text`, to the end.
 */
static bool read_parts(const struct sn_buf *file, size_t size, size_t limit, size_t rest,
                       const char *text, size_t n, bool *good)
{
    struct slices s = {file, 0, size};
    struct sn_inflater *i = sn_inflater_new((struct sn_pieces){slice, &s}, limit);
    const unsigned char *data = NULL;
    size_t at = 0, keep = 0, len;
    bool same = true;
    while ((len = sn_inflater_next(i, data, keep, &data)) > 0) {
        same &= at + len <= n + keep && memcmp(data, text + at, len) == 0;
        keep = rest < len ? rest : len;
        data += len - keep;
        at += len - keep;
    }
    *good = sn_inflater_free(i);
    return same && at + keep == n;
}

static void inflating(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_buf z = {.arena = a};
    struct sn_error e = {.offset = -1};
    uint32_t state = 7;
    size_t n = 5000000;
    bool good;
    char *text = sn_arena_alloc(a, n + 1);
    for (size_t i = 0; i < n; i++)
        text[i] =
            (char)('a' + (i < 500000 ? (state = state * 1103515245 + 12345) >> 28 : 0));
    sn_gzip_deflate(make_text, text, 1, &z, &e);
    static const size_t sizes[] = {1, 1000, 262144, 1u << 30},
                        rests[] = {0, 1, 100, 65536};
    for (size_t i = 0; i < SN_COUNT(sizes); i++)
        ok(read_parts(&z, sizes[i], n, rests[i], text, n, &good) && good,
           "in slices of %zu, %zu bytes again with what follows", sizes[i], rests[i]);
    ok(!read_parts(&z, 4096, n, 65537, text, n, &good) && !good,
       "more than 64 KB again: no more comes");
    ok(!read_parts(&z, 4096, n - 1, 0, text, n, &good) && !good, "not above the limit");
    size_t whole = z.len;
    for (z.len = 0; z.len < whole; z.len += whole / 7)
        ok(!read_parts(&z, 4096, n, 0, text, n, &good) && !good, "cut at %zu", z.len);
    z.len = whole;
    sn_buf_putc(&z, 0);
    read_parts(&z, 4096, n, 0, text, n, &good);
    ok(!good, "with something behind it, it is for sn_gzip_inflate");
    z.len = whole;
    z.data[whole - 5] ^= 1;
    read_parts(&z, 4096, n, 0, text, n, &good);
    ok(!good, "a wrong checksum");
    struct slices s = {&z, 0, 4096};
    struct sn_inflater *left = sn_inflater_new((struct sn_pieces){slice, &s}, n);
    ok(!sn_inflater_free(left), "not wanted any more");
    sn_arena_free(a);
}

/* Drained while later pieces are deflated; and a drain that fails. */
struct collecting {
    struct sn_drain drain;
    struct sn_buf all;
    size_t times, most; /* drained, at most */
};

static bool collect(struct sn_drain *d, const char *data, size_t len)
{
    struct collecting *c = (struct collecting *)d;
    sn_buf_add(&c->all, data, len);
    return ++c->times < c->most;
}

static void drained(void)
{
    enum { N = 4 << 20 };
    struct sn_arena *a = sn_arena_new();
    struct sn_error e = {.offset = -1};
    char *text = sn_arena_alloc(a, N + 1);
    uint32_t state = 1;
    for (size_t i = 0; i < N; i++)
        text[i] = (char)((state = state * 1103515245 + 12345) >> 24 | 1);
    for (size_t most = 3; most < 1000; most += 990) {
        struct collecting c = {{collect}, {.arena = a}, 0, most};
        struct sn_buf z = {.arena = a, .drain = &c.drain};
        unsigned char *out;
        size_t n;
        bool good = sn_gzip_deflate(make_text, text, 41, &z, &e);
        if (most < 10) {
            ok(!good && c.times == most, "a drain that fails is not asked again");
            e = (struct sn_error){.offset = -1};
            continue;
        }
        sn_buf_add(&c.all, z.data, z.len);
        ok(good && c.times > 3 && z.len < 1 << 20 &&
               sn_gzip_inflate(c.all.data, c.all.len, N, a, &out, &n, "z", &e) &&
               n == N && memcmp(out, text, n) == 0,
           "written as it comes, in order: %s", e.what);
    }
    sn_arena_free(a);
}

static void gzip(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_buf z = {.arena = a};
    struct sn_error e = {.offset = -1};
    unsigned char *out;
    size_t n;
    char *text = sn_arena_alloc(a, 300000);
    memset(text, 'x', 300000);
    ok(sn_gzip_deflate(make_text, text, 1, &z, &e) && z.len < 3000, "deflates");
    ok(sn_gzip_is(z.data, z.len) && !sn_gzip_is("hello", 5),
       "is told by its first bytes");
    ok(sn_gzip_inflate(z.data, z.len, 1 << 20, a, &out, &n, "z", &e) && n == 300000 &&
           memcmp(out, text, n) == 0,
       "inflates");
    ok(!sn_gzip_inflate(z.data, z.len, 100000, a, &out, &n, "z", &e) &&
           strstr(e.what, "more than is allowed"),
       "not beyond the limit: %s", e.what);
    bool refused = true;
    for (size_t cut = 0; cut < z.len; cut++) {
        e = (struct sn_error){.offset = -1};
        refused = refused && (cut == 0 || !sn_gzip_inflate(z.data, cut, 1 << 20, a, &out,
                                                           &n, "z", &e));
    }
    ok(refused, "cut short at any byte it is an error");
    size_t one = z.len;
    sn_gzip_deflate(make_text, "tail", 1, &z, &e);
    e = (struct sn_error){.offset = -1};
    ok(sn_gzip_inflate(z.data, z.len, 1 << 20, a, &out, &n, "z", &e) && n == 300004 &&
           memcmp(out + n - 4, "tail", 4) == 0,
       "two members are one file");
    z.data[one] = 'X';
    ok(!sn_gzip_inflate(z.data, z.len, 1 << 20, a, &out, &n, "z", &e) &&
           e.offset == (int64_t)one,
       "what follows and is no member: the error says where");
    sn_arena_free(a);
}

int main(void)
{
    numbers();
    packed();
    nested();
    hostile();
    gzip();
    inflating();
    pieces();
    drained();
    return done();
}
