/*
 * pieces.c: the message of a profile in pieces that follow one another, so that several
 * threads can make it. Not in libsonde.
 *
 * Pieces are of about the same size, which is reckoned: each part of the message is taken
 * to have things of one size. Where a piece begins within a part depends on nothing but
 * its number, so that each can be made without the one before.
 */
#include "profile_priv.h"

#define PIECE (UINT64_C(256) << 10) /* bytes: with what it is deflated to, in a cache */
#define PARTS 6

struct part {
    uint32_t n;
    uint64_t each; /* bytes, about */
    sn_encode_part *put;
};

static uint64_t reckon(const struct sn_profile *p, struct part parts[PARTS])
{
    uint64_t bytes = 0, samples = p->n_samples + UINT64_C(1);
    const struct part all[PARTS] = {
        {p->n_types, 8, sn_encode_types},
        {p->n_samples,
         16 + (UINT64_C(3) * p->n_sample_locs + UINT64_C(12) * p->n_labels) / samples,
         sn_encode_samples},
        {p->n_mappings, 32, sn_encode_mappings},
        {p->n_locations, 24, sn_encode_locations},
        {p->n_functions, 20, sn_encode_functions},
        {sn_strtab_count(p->strings), 48, sn_encode_strings}};
    memcpy(parts, all, sizeof all);
    for (unsigned i = 0; i < PARTS; i++)
        bytes += parts[i].n * parts[i].each;
    return bytes;
}

unsigned sn_profile_pieces(const struct sn_profile *p)
{
    struct part parts[PARTS];
    return (unsigned)(reckon(p, parts) / PIECE) + 1;
}

/* The first of its things at or behind so many bytes from the part's beginning. */
static uint32_t thing_at(const struct part *x, int64_t at)
{
    uint64_t i = at > 0 ? (uint64_t)at / x->each : 0;
    return i < x->n ? (uint32_t)i : x->n;
}

void sn_profile_piece(const struct sn_profile *p, unsigned i, unsigned n,
                      struct sn_buf *out)
{
    struct part parts[PARTS];
    uint64_t bytes = reckon(p, parts);
    int64_t from = (int64_t)(bytes / n * i), to = (int64_t)(bytes / n * (i + 1));
    if (i + 1 == n)
        to = INT64_MAX;
    (void)sn_buf_room(out, bytes / n * 5 / 4);
    for (unsigned k = 0; k < PARTS; k++) {
        const struct part *x = &parts[k];
        int64_t size = (int64_t)(x->n * x->each);
        x->put(p, thing_at(x, from), thing_at(x, to), out);
        from -= size;
        to -= size;
    }
    if (i + 1 == n)
        sn_encode_rest(p, out);
}
