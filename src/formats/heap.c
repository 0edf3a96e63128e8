/*
 * heap.c: the text heap profiles of gperftools and of Go (debug=1):
 *
 *     heap profile: OBJECTS: BYTES [OBJECTS: BYTES] @ heap_v2/524288
 *     1: 9216 [2: 18432] @ 0xc635c8 0x42ecc3 ...        in use [allocated] @ stack
 *     MAPPED_LIBRARIES:
 *
 * What follows the "@" of the head says how blocks were chosen: heap_v2 and heapz_v2
 * (by Poisson, about one in so many bytes), heap (Go's: twice the rate is told),
 * heapprofile (all), growth, fragmentation.
 */
#include "readers_priv.h"

enum { IN_OBJECTS, IN_BYTES, OUT_OBJECTS, OUT_BYTES, NUMBERS };

struct heap {
    bool sampled, allocations;
    int64_t rate;
};

/* "1: 9216 [2: 18432] @ ", eaten. */
static bool numbers(struct sn_piece *x, int64_t v[NUMBERS])
{
    static const char *const before[] = {"", ":", "[", ":"};
    for (int i = 0; i < NUMBERS; i++) {
        sn_piece_blanks(x);
        sn_piece_eat(x, before[i]);
        sn_piece_blanks(x);
        if (!sn_piece_number(x, &v[i], true))
            return false;
    }
    sn_piece_blanks(x);
    bool closed = sn_piece_eat(x, "]");
    sn_piece_blanks(x);
    return closed && sn_piece_eat(x, "@");
}

static bool read_head(struct sn_piece x, struct heap *h)
{
    static const struct {
        const char *name;
        bool sampled;
        int64_t rate; /* 0: what the head says */
        int64_t divisor;
        bool plain; /* growth: never of two kinds */
    } kinds[] = {
        {"heapz_v2", true, 0, 1, false},       {"heap_v2", true, 0, 1, false},
        {"heapprofile", false, 1, 1, false},   {"heap", true, 0, 2, false},
        {"growthz", false, 1, 1, true},        {"growth", false, 1, 1, true},
        {"fragmentationz", false, 1, 1, true}, {"fragmentation", false, 1, 1, true},
    };
    int64_t v[NUMBERS], rate = 0;
    if (!sn_piece_eat(&x, "heap profile:") || !numbers(&x, v))
        return false;
    struct sn_piece name = sn_piece_word(&x), told = name;
    const char *slash = memchr(name.s, '/', name.n);
    if (slash != NULL) {
        name.n = (size_t)(slash - name.s);
        told = (struct sn_piece){slash + 1, told.n - name.n - 1};
        if (told.n > 0 && !sn_piece_number(&told, &rate, false))
            return false;
    }
    for (size_t i = 0; i < SN_COUNT(kinds); i++)
        if (sn_piece_is(name, kinds[i].name)) {
            h->sampled = kinds[i].sampled;
            h->rate = kinds[i].rate != 0 ? kinds[i].rate : rate / kinds[i].divisor;
            h->allocations = !kinds[i].plain &&
                             ((v[OUT_OBJECTS] != v[IN_OBJECTS] && v[OUT_OBJECTS] != 0) ||
                              (v[OUT_BYTES] != v[IN_BYTES] && v[OUT_BYTES] != 0));
            return true;
        }
    return false;
}

bool sn_is_heap(const unsigned char *data, size_t len)
{
    return sn_begins((const char *)data, len, "heap profile:");
}

static bool add_block(struct sn_build *b, const struct sn_lines *l, const struct heap *h)
{
    struct sn_piece x = {l->line, l->n};
    int64_t v[NUMBERS], bytes = 0, values[NUMBERS];
    int n = 0;
    if (!numbers(&x, v))
        return sn_build_fail(b, l->at, "this is no line of a heap profile");
    for (int i = h->allocations ? OUT_OBJECTS : IN_OBJECTS;;
         i = IN_OBJECTS) { /* what was allocated first, if at all */
        if (v[i] == 0 && v[i + 1] != 0)
            return sn_build_fail(b, l->at, "it has bytes, but of no blocks");
        if (v[i] != 0) {
            bytes = v[i] == -1 ? -v[i + 1] : v[i + 1] / v[i];
            if (h->sampled)
                sn_unsample(&v[i], &v[i + 1], h->rate);
        }
        values[n++] = v[i];
        values[n++] = v[i + 1];
        if (i == IN_OBJECTS)
            break;
    }
    return sn_build_sample(b, values) && sn_build_addresses(b, l, x, 0) &&
           sn_build_bytes(b, bytes);
}

bool sn_read_heap(struct sn_build *b, struct sn_lines *l)
{
    struct heap h;
    if (!sn_lines_next(l) || !read_head((struct sn_piece){l->line, l->n}, &h))
        return sn_build_fail(b, 0, "its first line is not that of a heap profile");
    if (h.allocations) {
        sn_build_type(b, "alloc_objects", "count");
        sn_build_type(b, "alloc_space", "bytes");
    }
    sn_build_type(b, h.allocations ? "inuse_objects" : "objects", "count");
    sn_build_type(b, h.allocations ? "inuse_space" : "space", "bytes");
    sn_build_period(b, "space", "bytes", h.rate);
    while (sn_lines_next(l) && !sn_is_maps_head(l))
        if (!sn_lines_blank(l) && !add_block(b, l, &h))
            return false;
    return sn_build_skip_to_maps(b, l);
}
