/*
 * collapsed.c: collapsed stacks, as stackcollapse scripts and flamegraph.pl have them:
 *
 *     # samples/count
 *     main;work;spin 12
 *
 * root first, a number last (its fraction is cut). Lines with "#" are comments; the first
 * one may tell the type of the value, and its unit.
 */
#include "readers_priv.h"

/* The number at the end of the line; what is before it becomes the stack. */
static bool split(const struct sn_lines *l, struct sn_piece *stack, int64_t *n)
{
    size_t at = l->n;
    while (at > 0 && l->line[at - 1] != ' ' && l->line[at - 1] != '\t')
        at--;
    struct sn_piece number = {l->line + at, l->n - at};
    if (at < 2 || !sn_piece_number(&number, n, true))
        return false;
    if (sn_piece_eat(&number, "."))
        while (number.n > 0 && *number.s >= '0' && *number.s <= '9')
            number.s++, number.n--;
    while (at > 0 && (l->line[at - 1] == ' ' || l->line[at - 1] == '\t'))
        at--;
    *stack = (struct sn_piece){l->line, at};
    return number.n == 0 && at > 0;
}

static bool is_text(const unsigned char *data, size_t len)
{
    return memchr(data, '\0', len) == NULL;
}

bool sn_is_collapsed(const unsigned char *data, size_t len)
{
    struct sn_lines l;
    struct sn_piece stack;
    int64_t n;
    size_t seen = len < 65536 ? len : 65536;
    if (!is_text(data, seen))
        return false;
    sn_lines_open(&l, data, len); /* a deep stack's line may be longer than that */
    while (l.next < seen && sn_lines_next(&l))
        if (!sn_lines_blank(&l))
            return is_text((const unsigned char *)l.line, l.n) && split(&l, &stack, &n);
    return false;
}

static bool add_stack(struct sn_build *b, struct sn_piece x, int64_t n)
{
    if (!sn_build_sample(b, &n))
        return false;
    while (x.n > 0) { /* from the leaf on, which is last */
        const char *semicolon = memrchr(x.s, ';', x.n);
        const char *name = semicolon != NULL ? semicolon + 1 : x.s;
        size_t len = (size_t)(x.s + x.n - name);
        uint32_t id = len > 0 ? sn_build_str(b, name, len)
                              : sn_strtab_add(b->p->strings, "[unknown]");
        if (!sn_build_frame(b, id, 0, 0))
            return false;
        x.n = semicolon != NULL ? (size_t)(semicolon - x.s) : 0;
    }
    return true;
}

/* "# cpu/nanoseconds" */
static bool told_type(struct sn_build *b, const struct sn_lines *l)
{
    struct sn_piece x = {l->line + 1, l->n - 1}, w = sn_piece_word(&x);
    const char *slash = w.n > 0 ? memchr(w.s, '/', w.n) : NULL;
    if (slash == NULL || slash == w.s || slash + 1 == w.s + w.n || x.n > 0)
        return false;
    size_t n = (size_t)(slash - w.s);
    const char *type = sn_arena_strndup(b->p->arena, w.s, n);
    const char *unit = sn_arena_strndup(b->p->arena, slash + 1, w.n - n - 1);
    if (type == NULL || unit == NULL)
        return false;
    sn_build_type(b, type, unit);
    return true;
}

bool sn_read_collapsed(struct sn_build *b, struct sn_lines *l)
{
    struct sn_piece stack;
    int64_t n;
    while (sn_lines_next(l)) {
        if (l->n > 0 && *l->line == '#' && b->p->n_types == 0)
            told_type(b, l);
        if (sn_lines_blank(l))
            continue;
        if (b->p->n_types == 0)
            sn_build_type(b, "samples", "count");
        if (!split(l, &stack, &n))
            return sn_build_fail(b, l->at, "a stack and a number were to be here");
        if (!add_stack(b, stack, n))
            return false;
    }
    return true;
}
