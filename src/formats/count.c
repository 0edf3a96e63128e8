/*
 * count.c: Go's text profiles of counts (goroutine, threadcreate, ..., debug=1):
 *
 *     goroutine profile: total 5
 *     1 @ 0x43a1b6 0x4066af ...
 *     #   0x43a1b6  main.f+0x20  /src/main.go:3          (comments)
 */
#include "readers_priv.h"

static bool read_head(struct sn_lines *l, struct sn_piece *name)
{
    int64_t total;
    while (sn_lines_next(l) && sn_lines_blank(l))
        continue;
    struct sn_piece x = {l->line, l->n};
    *name = sn_piece_word(&x);
    return name->n > 0 && sn_piece_eat(&x, " profile: total ") &&
           sn_piece_number(&x, &total, false) && x.n == 0;
}

bool sn_is_count(const unsigned char *data, size_t len)
{
    struct sn_lines l;
    struct sn_piece name;
    sn_lines_open(&l, data, len < 4096 ? len : 4096);
    return read_head(&l, &name);
}

static bool read_counts(struct sn_build *b, struct sn_lines *l)
{
    int64_t n;
    while (sn_lines_next(l) && !sn_lines_begin(l, "---")) {
        if (sn_lines_blank(l))
            continue;
        struct sn_piece x = {l->line, l->n};
        if (!sn_piece_number(&x, &n, false) || !sn_piece_eat(&x, " @ 0x"))
            return sn_build_fail(b, l->at, "this is no line of a profile of counts");
        x.s -= 2;
        x.n += 2;
        if (!sn_build_sample(b, &n) || !sn_build_addresses(b, l, x, 0))
            return false;
    }
    return sn_build_skip_to_maps(b, l);
}

bool sn_read_count(struct sn_build *b, struct sn_lines *l)
{
    struct sn_piece name;
    if (!read_head(l, &name))
        return true;
    const char *type = sn_arena_strndup(b->p->arena, name.s, name.n);
    if (type == NULL)
        return false;
    sn_build_type(b, type, "count");
    sn_build_period(b, type, "count", 1);
    return read_counts(b, l);
}
