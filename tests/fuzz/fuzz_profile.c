/* fuzz_profile.c: any bytes as a profile, gzipped or not; what is accepted is merged with
 * itself and written, and must be read back. The quick ways are held against the careful
 * ones: bytes that come piece by piece against the whole, and numbers that are believed
 * against those that are looked up. */
#include "profile/profile.h"
#include "wire/wire.h"

#define LIMIT ((size_t)64 << 20)

static void must(bool good)
{
    if (!good)
        abort();
}

static void use(struct sn_profile *p)
{
    struct sn_error e = {.offset = -1};
    struct sn_profile *twice[] = {p, p}, *sum = sn_profile_merge(twice, 2, &e);
    must(sum != NULL);
    struct sn_buf b = {.arena = sum->arena};
    sn_profile_encode(sum, &b);
    struct sn_profile *again = sn_profile_decode(b.data, b.len, "again", &e);
    must(again != NULL);
    sn_profile_free(again);
    sn_profile_free(sum);
}

/* Bytes that come `step` at a time, after what is left of those before. */
struct slices {
    const unsigned char *data;
    size_t len, at, step;
    struct sn_arena *arena;
};

static size_t next_slice(void *slices, const unsigned char **data)
{
    struct slices *s = slices;
    size_t left = s->len - s->at, n = left < s->step ? left : s->step;
    *data = s->data + s->at;
    s->at += n;
    return n;
}

static size_t next_with_rest(void *slices, const unsigned char *rest, size_t n,
                             const unsigned char **data)
{
    struct slices *s = slices;
    const unsigned char *next;
    size_t more = next_slice(s, &next);
    unsigned char *both = sn_arena_alloc(s->arena, n + more);
    if (n > 0)
        memcpy(both, rest, n);
    if (more > 0)
        memcpy(both + n, next, more);
    *data = both;
    return more > 0 ? n + more : 0;
}

/* What is given piece by piece, to its end, is what is given whole. `plain`: NULL if that
 * is refused. */
static void inflate_pieces(const uint8_t *data, size_t len, const unsigned char *plain,
                           size_t n)
{
    struct slices s = {data, len, 0, len / 7 + 1, NULL};
    struct sn_inflater *i = sn_inflater_new((struct sn_pieces){next_slice, &s}, LIMIT);
    const unsigned char *part;
    bool same = plain != NULL;
    size_t at = 0, got;
    while ((got = sn_inflater_next(i, NULL, 0, &part)) > 0) {
        same = same && at + got <= n && memcmp(plain + at, part, got) == 0;
        at += got;
    }
    if (sn_inflater_free(i))
        must(plain == NULL || (same && at == n));
}

static void must_be_same(const struct sn_profile *p, struct sn_profile *q)
{
    struct sn_buf a = {.arena = q->arena}, b = {.arena = q->arena};
    sn_profile_encode(p, &a);
    sn_profile_encode(q, &b);
    must(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
}

/* p: of the whole, or NULL. */
static void decode_pieces(const unsigned char *plain, size_t len,
                          const struct sn_profile *p, struct sn_arena *a)
{
    struct slices s = {plain, len, 0, len / 5 + 1, a};
    struct sn_coming c = {next_with_rest, &s, len % 3 * len};
    struct sn_profile *q = sn_profile_decode_coming(&c);
    must(q == NULL || p != NULL);
    if (q != NULL)
        must_be_same(p, q);
    sn_profile_free(q);
}

/* A string that was there before: no number is believed. */
static void decode_carefully(const unsigned char *plain, size_t len,
                             const struct sn_profile *p, struct sn_arena *a)
{
    static const unsigned char empty_string[] = {6 << 3 | SN_PB_BYTES, 0};
    struct sn_error e = {.offset = -1};
    unsigned char *more = sn_arena_alloc(a, len + sizeof empty_string);
    memcpy(more, plain, len);
    memcpy(more + len, empty_string, sizeof empty_string);
    struct sn_profile *q = sn_profile_decode(more, len + sizeof empty_string, "q", &e);
    must(q != NULL);
    must_be_same(p, q);
    sn_profile_free(q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_error e = {.offset = -1};
    unsigned char *plain = (unsigned char *)data;
    size_t n = len;
    if (sn_gzip_is(data, len)) {
        if (!sn_gzip_inflate(data, len, LIMIT, a, &plain, &n, "fuzz", &e))
            plain = NULL;
        inflate_pieces(data, len, plain, n);
    }
    struct sn_profile *p = plain != NULL ? sn_profile_decode(plain, n, "fuzz", &e) : NULL;
    if (plain != NULL)
        decode_pieces(plain, n, p, a);
    if (p != NULL) {
        decode_carefully(plain, n, p, a);
        use(p);
    }
    sn_profile_free(p);
    sn_arena_free(a);
    return 0;
}
