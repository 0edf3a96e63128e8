/*
 * contention.c: where threads waited for locks, as text: gperftools' contentionz, and
 * Go's mutex and block (debug=1):
 *
 *     --- contentionz 1 ---          (Go: --- mutex: or --- contention:)
 *     cycles/second = 3201000000
 *     sampling period = 100
 *     19490304 27 @ 0xbccc97 ...     cycles, how often, stack
 *     --- Memory map: ---
 */
#include "readers_priv.h"

struct contention {
    int64_t hz, period;
};

bool sn_is_contention(const unsigned char *data, size_t len)
{
    static const char *const heads[] = {"--- contentionz ",
                                        "--- mutex:", "--- contention:"};
    for (size_t i = 0; i < SN_COUNT(heads); i++)
        if (sn_begins((const char *)data, len, heads[i]))
            return !sn_is_java(data, len);
    return false;
}

enum what { NOT_KNOWN, HZ, PERIOD, MILLISECONDS, NOTHING };

static bool setting(struct sn_build *b, const struct sn_lines *l, struct contention *c)
{
    static const struct {
        const char *name;
        enum what what;
    } known[] = {{"cycles/second", HZ},
                 {"sampling period", PERIOD},
                 {"ms since reset", MILLISECONDS},
                 {"discarded samples", NOTHING}};
    const char *eq = memchr(l->line, '=', l->n);
    struct sn_piece name = {l->line, (size_t)(eq - l->line)};
    struct sn_piece value = {eq + 1, l->n - name.n - 1};
    enum what what = NOT_KNOWN;
    int64_t n = 0;
    while (name.n > 0 && name.s[name.n - 1] == ' ')
        name.n--;
    sn_piece_blanks(&value);
    for (size_t i = 0; i < SN_COUNT(known); i++)
        if (sn_piece_is(name, known[i].name))
            what = known[i].what;
    if (what == NOT_KNOWN)
        return sn_build_fail(b, l->at, "a setting that contention profiles do not have");
    if (what != NOTHING && (!sn_piece_number(&value, &n, true) || value.n > 0))
        return sn_build_fail(b, l->at, "the setting's value is no number");
    if (what == HZ)
        c->hz = n;
    else if (what == PERIOD)
        c->period = n;
    else if (what == MILLISECONDS)
        b->p->duration_ns = (int64_t)((uint64_t)n * 1000000);
    return true;
}

static bool add_wait(struct sn_build *b, const struct sn_lines *l,
                     const struct contention *c)
{
    struct sn_piece x = {l->line, l->n};
    int64_t delay, count;
    bool good = sn_piece_number(&x, &delay, false);
    sn_piece_blanks(&x);
    good = good && sn_piece_number(&x, &count, false);
    sn_piece_blanks(&x);
    if (!good || !sn_piece_eat(&x, "@"))
        return sn_build_fail(b, l->at, "this is no line of a contention profile");
    if (c->period > 0) {
        if (c->hz > 0) {
            double ghz = (double)c->hz / 1e9;
            double ns = (double)delay * (double)c->period / ghz;
            delay = ns < 9.2e18 ? (int64_t)ns : INT64_MIN;
        }
        count = (int64_t)((uint64_t)count * (uint64_t)c->period);
    }
    const int64_t values[] = {count, delay};
    return sn_build_sample(b, values) && sn_build_addresses(b, l, x, 0);
}

bool sn_read_contention(struct sn_build *b, struct sn_lines *l)
{
    struct contention c = {.period = 1};
    sn_build_type(b, "contentions", "count");
    sn_build_type(b, "delay", "nanoseconds");
    bool more = sn_lines_next(l) && sn_lines_next(l);
    for (; more && !sn_lines_begin(l, "---"); more = sn_lines_next(l)) {
        if (sn_lines_blank(l))
            continue;
        if (memchr(l->line, '=', l->n) == NULL)
            break;
        if (!setting(b, l, &c))
            return false;
    }
    sn_build_period(b, "contentions", "count", c.period);
    for (; more && !sn_lines_begin(l, "---"); more = sn_lines_next(l))
        if (!sn_lines_blank(l) && !add_wait(b, l, &c))
            return false;
    return sn_build_skip_to_maps(b, l);
}
