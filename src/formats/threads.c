/*
 * threads.c: what each thread does, as text (threadz):
 *
 *     --- threadz 1 ---
 *     --- Thread 7f794ab90940 (name: main/14748) stack: ---
 *       PC:  0x00bc8f1c: helper(arg *)
 *       0x0040be31: main
 *     --- Thread 7f7948978700 (name: thread3/14759) stack: ---
 *       [same as previous thread]
 *     --- Memory map: ---
 */
#include "readers_priv.h"

static bool is_thread(const struct sn_lines *l)
{
    return sn_lines_begin(l, "--- Thread ") && sn_lines_have(l, "(name: ") &&
           sn_lines_have(l, ") stack: ---");
}

static bool read_head(struct sn_lines *l)
{
    while (sn_lines_next(l) && sn_lines_blank(l))
        continue;
    return sn_lines_begin(l, "--- threadz ") || is_thread(l);
}

bool sn_is_threads(const unsigned char *data, size_t len)
{
    struct sn_lines l;
    sn_lines_open(&l, data, len < 4096 ? len : 4096);
    return read_head(&l);
}

/* One thread's stack, up to the next line of dashes. */
static bool read_thread(struct sn_build *b, struct sn_lines *l)
{
    const int64_t one = 1;
    struct sn_profile *p = b->p;
    bool same = false;
    if (!sn_build_sample(b, &one))
        return false;
    while (sn_lines_next(l) && !sn_lines_begin(l, "---")) {
        if (sn_lines_have(l, "same as previous thread"))
            same = true;
        else if (!sn_build_addresses(b, l, (struct sn_piece){l->line, l->n}, 1))
            return false;
    }
    if (!same && p->samples[p->n_samples - 1].n_locs > 0)
        return true;
    p->n_sample_locs = p->samples[--p->n_samples].loc0;
    p->n_values--;
    if (p->n_values > 0)
        p->values[p->n_values - 1]++;
    return true;
}

bool sn_read_threads(struct sn_build *b, struct sn_lines *l)
{
    sn_build_type(b, "thread", "count");
    sn_build_period(b, "thread", "count", 1);
    if (!read_head(l))
        return sn_build_fail(b, 0, "its first line is not that of a profile of threads");
    if (!is_thread(l))
        while (sn_lines_next(l) && !sn_is_maps_head(l) && !sn_lines_begin(l, "-"))
            continue;
    while (l->n > 0 && !sn_is_maps_head(l) &&
           !sn_lines_begin(l, "---- no stack trace for")) {
        if (!is_thread(l))
            return sn_build_fail(b, l->at, "a thread's line was to be here");
        if (!read_thread(b, l))
            return false;
    }
    if (!sn_build_skip_to_maps(b, l))
        return false;
    sn_build_single_leaves(b);
    return true;
}
