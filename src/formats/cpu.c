/*
 * cpu.c: the CPU profile of gperftools, and Java's. Words of 4 or 8 bytes, of either
 * endianness (https://gperftools.github.io/gperftools/cpuprofile-fileformat.html):
 *
 *     0, 3, 0 (Java: 1), period in microseconds, 0
 *     count, n, n addresses, leaf first         ... a stack each
 *     0, 1, 0                                   the end
 *     the mappings, as text (Java: the names of the addresses)
 */
#include "readers_priv.h"

struct words {
    const unsigned char *data;
    size_t len, at;
    unsigned size;
    bool big;
};

static bool next(struct words *w, uint64_t *value)
{
    if (w->len - w->at < w->size)
        return false;
    *value = 0;
    for (unsigned i = 0; i < w->size; i++)
        *value = *value << 8 | w->data[w->at + (w->big ? i : w->size - 1 - i)];
    w->at += w->size;
    return true;
}

static bool head(struct words *w, const unsigned char *data, size_t len, uint64_t *java,
                 uint64_t *period)
{
    static const struct {
        unsigned size;
        bool big;
    } shapes[] = {{4, false}, {4, true}, {8, false}, {8, true}};
    for (size_t i = 0; i < SN_COUNT(shapes); i++) {
        uint64_t zero, three, pad;
        *w = (struct words){data, len, 0, shapes[i].size, shapes[i].big};
        if (next(w, &zero) && next(w, &three) && next(w, java) && next(w, period) &&
            next(w, &pad) && zero == 0 && three == 3 && *java <= 1 && *period > 0 &&
            pad == 0)
            return true;
    }
    return false;
}

bool sn_is_cpu(const unsigned char *data, size_t len)
{
    struct words w;
    uint64_t java, period;
    return head(&w, data, len, &java, &period);
}

static bool add_stack(struct sn_build *b, struct words *w, uint64_t count, uint64_t n,
                      uint32_t moved)
{
    const int64_t values[] = {(int64_t)count, (int64_t)(count * (uint64_t)b->p->period)};
    if (!sn_build_sample(b, values))
        return false;
    for (uint64_t i = 0, address; i < n; i++)
        if (!next(w, &address) || !sn_build_address(b, address - (i >= moved)))
            return false;
    return true;
}

static bool read_stacks(struct sn_build *b, struct words *w, uint32_t moved)
{
    uint64_t count, n;
    while (w->at < w->len) {
        size_t at = w->at;
        if (!next(w, &count) || !next(w, &n))
            return sn_build_fail(b, at, "it is cut short within a stack");
        if (n > (w->len - w->at) / w->size)
            return sn_build_fail(b, at,
                                 "a stack is longer than what is left of the file");
        struct words ahead = *w;
        uint64_t address;
        if (count == 0 && n == 1 && next(&ahead, &address) && address == 0) {
            *w = ahead;
            return true;
        }
        if (!add_stack(b, w, count, n, moved))
            return false;
    }
    return true;
}

/* The address most stacks have next to the leaf, if nearly all have it. */
static bool common_second(const struct sn_build *b, struct sn_map *counts,
                          uint64_t *address)
{
    const struct sn_profile *p = b->p;
    uint32_t most = 0;
    for (uint32_t i = 0; i < p->n_samples; i++) {
        if (p->samples[i].n_locs < 2)
            continue;
        uint64_t a = p->locations[p->sample_locs[p->samples[i].loc0 + 1]].address;
        uint32_t *n = sn_map_put(counts, a);
        if (n == NULL)
            return false;
        *n = *n == SN_NONE ? 1 : *n + 1;
        if (*n > most) {
            most = *n;
            *address = a;
        }
    }
    return most > 0 && most >= p->n_samples - p->n_samples / 32;
}

/* A frame that the signal's delivery put between the leaf and its caller: up to twice. */
static bool drop_handlers(struct sn_build *b)
{
    struct sn_profile *p = b->p;
    for (int round = 0; round < 2; round++) {
        struct sn_map *counts = sn_map_new(p->arena);
        uint64_t address;
        if (counts == NULL)
            return false;
        if (!common_second(b, counts, &address))
            return !sn_arena_failed(p->arena);
        for (uint32_t i = 0; i < p->n_samples; i++)
            if (p->samples[i].n_locs > 1 &&
                p->locations[p->sample_locs[p->samples[i].loc0 + 1]].address == address)
                sn_build_drop_second(b, i);
    }
    return true;
}

bool sn_read_cpu(struct sn_build *b, struct sn_lines *l)
{
    struct words w;
    uint64_t java = 0, period = 0;
    if (!head(&w, (const unsigned char *)l->data, l->len, &java, &period) ||
        period > INT64_MAX / 1000)
        return sn_build_fail(b, 0, "its period is too long");
    sn_build_type(b, "samples", "count");
    sn_build_type(b, "cpu", "nanoseconds");
    sn_build_period(b, "cpu", "nanoseconds", (int64_t)period * 1000);
    if (!read_stacks(b, &w, java != 0 ? SN_NONE : 1))
        return false;
    l->next = w.at;
    if (java != 0)
        return sn_lines_next(l) ? sn_build_java_names(b, l) : sn_build_renumber(b);
    if (!drop_handlers(b) || !sn_build_maps(b, l))
        return false;
    sn_build_single_leaves(b);
    return true;
}
