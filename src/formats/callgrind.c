/*
 * callgrind.c: what valgrind's callgrind (and whoever writes its format) counted:
 * https://valgrind.org/docs/manual/cl-format.html
 *
 * The format has no stacks: a function has its own cost by line, and, by line, the
 * inclusive cost of each function that it called. Both are kept as far as they go:
 *
 *     own cost of f          a sample of the one frame f:line
 *     a call from f to g     nothing of its own, as g's cost is already g's
 *
 * So flat values are exact, and a function's cum is its flat; who called whom is kept as
 * samples of two frames with the value 0 of all events, and the inclusive cost as the
 * last sample type, "inclusive", of the first event: its flat at g is what calls brought.
 */
#include "readers_priv.h"

#define MAX_EVENTS 15 /* and inclusive */

struct reader {
    struct sn_build *b;
    struct sn_map *names[3]; /* of objects, files, functions: number to string id */
    uint32_t file, function, called_file, called;
    unsigned positions, n_events;
    int64_t at[2]; /* the last position: instruction, line */
    bool calls;    /* the next costs are those of a call */
};

bool sn_is_callgrind(const unsigned char *data, size_t len)
{
    struct sn_lines l;
    sn_lines_open(&l, data, len < 65536 ? len : 65536);
    while (sn_lines_next(&l)) {
        if (sn_lines_begin(&l, "# callgrind format") || sn_lines_begin(&l, "events:"))
            return true;
        const char *colon = l.n > 0 ? memchr(l.line, ':', l.n) : NULL;
        if (!sn_lines_blank(&l) && colon == NULL)
            return false;
    }
    return false;
}

/* "(7) name", "(7)", or "name". */
static uint32_t name_of(struct reader *r, unsigned kind, struct sn_piece x)
{
    int64_t number;
    struct sn_piece whole = x;
    if (!sn_piece_eat(&x, "(") || !sn_piece_number(&x, &number, false) ||
        !sn_piece_eat(&x, ")"))
        return sn_build_str(r->b, whole.s, whole.n);
    sn_piece_blanks(&x);
    uint32_t *id = sn_map_put(r->names[kind], (uint64_t)number);
    if (id == NULL)
        return 0;
    if (x.n > 0)
        *id = sn_build_str(r->b, x.s, x.n);
    return *id != SN_NONE ? *id : sn_build_str(r->b, whole.s, whole.n);
}

static bool name_line(struct reader *r, struct sn_piece x)
{
    enum { OBJECT, FILE_, FUNCTION };
    const struct {
        const char *key;
        unsigned kind;
        uint32_t *to;
    } keys[] = {{"ob=", OBJECT, NULL},
                {"fl=", FILE_, &r->file},
                {"fi=", FILE_, &r->file},
                {"fe=", FILE_, &r->file},
                {"fn=", FUNCTION, &r->function},
                {"cob=", OBJECT, NULL},
                {"cfi=", FILE_, &r->called_file},
                {"cfl=", FILE_, &r->called_file},
                {"cfn=", FUNCTION, &r->called}};
    for (size_t i = 0; i < SN_COUNT(keys); i++)
        if (sn_piece_eat(&x, keys[i].key)) {
            uint32_t id = name_of(r, keys[i].kind, x);
            if (keys[i].to != NULL)
                *keys[i].to = id;
            return true;
        }
    return false;
}

/* "+3", "-3", "*", "0x10", "16" */
static bool position(struct sn_piece *x, int64_t *at)
{
    struct sn_piece w = sn_piece_word(x);
    int64_t n;
    uint64_t hex;
    if (sn_piece_is(w, "*"))
        return true;
    bool plus = sn_piece_eat(&w, "+"), minus = !plus && sn_piece_eat(&w, "-");
    if (sn_piece_eat(&w, "0x")) {
        if (!sn_piece_hex(&w, &hex))
            return false;
        n = (int64_t)hex;
    } else if (!sn_piece_number(&w, &n, false)) {
        return false;
    }
    uint64_t old = (uint64_t)*at, by = (uint64_t)n;
    *at = (int64_t)(plus ? old + by : minus ? old - by : by);
    return w.n == 0;
}

static bool add_costs(struct reader *r, const struct sn_lines *l)
{
    struct sn_piece x = {l->line, l->n};
    int64_t values[MAX_EVENTS + 1] = {0};
    for (unsigned i = 0; i < 2; i++)
        if ((r->positions & 1u << i) != 0 && !position(&x, &r->at[i]))
            return sn_build_fail(r->b, l->at, "this is no line of callgrind's");
    for (unsigned i = 0; i < r->n_events; i++) {
        sn_piece_blanks(&x);
        if (x.n > 0 && !sn_piece_number(&x, &values[i], true))
            return sn_build_fail(r->b, l->at, "a cost is no number");
    }
    if (r->n_events == 0)
        return sn_build_fail(r->b, l->at, "costs before the line of events");
    int64_t line = (r->positions & 2) != 0 ? r->at[1] : 0;
    if (!r->calls)
        return sn_build_sample(r->b, values) &&
               sn_build_frame(r->b, r->function, r->file, line);
    int64_t inclusive[MAX_EVENTS + 1] = {0};
    inclusive[r->n_events] = values[0];
    uint32_t file = r->called_file != 0 ? r->called_file : r->file;
    r->calls = false;
    r->called_file = 0;
    return sn_build_sample(r->b, inclusive) && sn_build_frame(r->b, r->called, file, 0) &&
           sn_build_frame(r->b, r->function, r->file, line);
}

static bool add_events(struct reader *r, struct sn_piece x)
{
    for (struct sn_piece w; (w = sn_piece_word(&x)).n > 0; r->n_events++) {
        const char *name = sn_arena_strndup(r->b->p->arena, w.s, w.n);
        if (r->n_events == MAX_EVENTS || name == NULL)
            return false;
        sn_build_type(r->b, name, "count");
    }
    if (r->n_events == 0)
        return false;
    sn_build_type(r->b, "inclusive", "count");
    r->b->p->default_sample_type = r->b->p->types[0].type;
    return true;
}

static bool read_line(struct reader *r, const struct sn_lines *l)
{
    struct sn_piece x = {l->line, l->n};
    if (sn_piece_eat(&x, "events:")) {
        if (r->n_events > 0)
            return true;
        return add_events(r, x) ||
               sn_build_fail(r->b, l->at, "it has no events, or more than 15");
    }
    if (sn_piece_eat(&x, "positions:")) {
        bool instr = memmem(x.s, x.n, "instr", 5) != NULL;
        r->positions = (instr ? 1u : 0u) | (memmem(x.s, x.n, "line", 4) ? 2u : 0u);
        return true;
    }
    if (sn_piece_eat(&x, "calls=")) {
        r->calls = true;
        return true;
    }
    if (name_line(r, x))
        return true;
    bool costs = l->n > 0 && strchr("0123456789+-*", *l->line) != NULL;
    return costs ? add_costs(r, l)
                 : memchr(l->line, ':', l->n) != NULL || memchr(l->line, '=', l->n) ||
                       sn_build_fail(r->b, l->at, "this is no line of callgrind's");
}

bool sn_read_callgrind(struct sn_build *b, struct sn_lines *l)
{
    struct reader r = {.b = b, .positions = 2};
    for (unsigned i = 0; i < 3; i++)
        if ((r.names[i] = sn_map_new(b->p->arena)) == NULL)
            return false;
    while (sn_lines_next(l))
        if (!sn_lines_blank(l) && !read_line(&r, l))
            return false;
    return true;
}
