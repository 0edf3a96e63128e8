/* pieces.c: the message of a profile in pieces that follow one another, so that several
 * threads can make it. Not in libsonde. */
#include "profile_priv.h"

#define LEAST (1u << 16) /* frames of a piece */

unsigned sn_profile_pieces(const struct sn_profile *p)
{
    unsigned parts = p->n_sample_locs / LEAST;
    return parts == 0 ? 1 : parts < SN_PIECES ? parts + 1 : SN_PIECES;
}

/* The last is all that follows the samples. */
void sn_profile_piece(const struct sn_profile *p, unsigned i, unsigned n,
                      struct sn_buf *out)
{
    unsigned parts = n > 1 ? n - 1 : 1;
    if (i == 0)
        sn_encode_types(p, out);
    if (i < parts)
        sn_encode_samples(p, sn_part_begin(p->n_samples, i, parts),
                          sn_part_begin(p->n_samples, i + 1, parts), out);
    if (i + 1 == n)
        sn_encode_tables(p, out);
}
