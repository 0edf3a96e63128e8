/*
 * perf_script.c: what `perf script` prints by default (perf-script(1)):
 *
 *     comm  pid/tid [cpu] 1234.567890:     250000 cycles:u:
 *             55d0c0de1149 spin+0x9 (/tmp/program)
 *             55d0c0de1180 main+0x20 (/tmp/program)
 *
 * A sample's period is its value of that event; samples without a stack have an empty
 * one. Events become sample types in the order in which they are met; at most 16.
 */
#include "readers_priv.h"

#define MAX_EVENTS 16

struct head {
    struct sn_piece comm, event;
    int64_t pid, tid, period;
};

static bool digits(struct sn_piece w)
{
    for (size_t i = 0; i < w.n; i++)
        if (w.s[i] < '0' || w.s[i] > '9')
            return false;
    return w.n > 0;
}

/* "1234" or "1234/1235" */
static bool ids(struct sn_piece w, struct head *h)
{
    if (!sn_piece_number(&w, &h->tid, false))
        return false;
    h->pid = h->tid;
    return w.n == 0 ||
           (sn_piece_eat(&w, "/") && sn_piece_number(&w, &h->tid, false) && w.n == 0);
}

/* "1234.567890:" */
static bool is_time(struct sn_piece w)
{
    int64_t n;
    return w.n > 3 && sn_piece_number(&w, &n, false) && sn_piece_eat(&w, ".") &&
           sn_piece_number(&w, &n, false) && sn_piece_eat(&w, ":") && w.n == 0;
}

static bool read_head(const struct sn_lines *l, struct head *h)
{
    struct sn_piece x = {l->line, l->n}, w = sn_piece_word(&x);
    const char *comm = w.s;
    *h = (struct head){.period = 1};
    if (w.n == 0 || *w.s == '#')
        return false;
    h->comm = w;
    /* The name may have blanks: it ends where the rest makes sense. */
    for (;;) {
        struct sn_piece rest = x, id = sn_piece_word(&rest);
        if (id.n == 0)
            return false;
        struct sn_piece after = rest, t = sn_piece_word(&after);
        if (t.n > 2 && *t.s == '[' && t.s[t.n - 1] == ']')
            t = sn_piece_word(&after);
        if (ids(id, h) && is_time(t)) {
            x = after;
            break;
        }
        h->comm.n = (size_t)(id.s + id.n - comm);
        x = rest;
    }
    w = sn_piece_word(&x);
    if (digits(w)) {
        if (!sn_piece_number(&w, &h->period, false))
            return false;
        w = sn_piece_word(&x);
    }
    while (w.n > 0 && w.s[w.n - 1] == ':')
        w.n--;
    h->event = w;
    return w.n > 0;
}

bool sn_is_perf_script(const unsigned char *data, size_t len)
{
    struct sn_lines l;
    struct head h;
    sn_lines_open(&l, data, len < 65536 ? len : 65536);
    while (sn_lines_next(&l))
        if (!sn_lines_blank(&l))
            return read_head(&l, &h);
    return false;
}

/* "55d0c0de1149 spin+0x9 (/tmp/program)" */
static bool add_frame(struct sn_build *b, const struct sn_lines *l)
{
    struct sn_piece x = {l->line, l->n}, w = sn_piece_word(&x), dso = {"", 0};
    uint64_t address;
    if (!sn_piece_hex(&w, &address) || w.n > 0)
        return sn_build_fail(b, l->at, "a frame's address was to be here");
    sn_piece_blanks(&x);
    const char *open = x.n > 0 && x.s[x.n - 1] == ')' ? memrchr(x.s, '(', x.n) : NULL;
    if (open != NULL) {
        dso = (struct sn_piece){open + 1, (size_t)(x.s + x.n - open) - 2};
        x.n = (size_t)(open - x.s);
        while (x.n > 0 && x.s[x.n - 1] == ' ')
            x.n--;
    }
    const char *plus = x.n > 0 ? memrchr(x.s, '+', x.n) : NULL;
    if (plus != NULL && sn_begins(plus, (size_t)(x.s + x.n - plus), "+0x"))
        x.n = (size_t)(plus - x.s);
    if (x.n == 0 || sn_piece_is(x, "[unknown]")) {
        const char *slash = dso.n > 0 ? memrchr(dso.s, '/', dso.n) : NULL;
        struct sn_buf name = {.arena = b->p->arena};
        const char *base = slash != NULL ? slash + 1 : dso.s;
        sn_buf_printf(&name, "0x%llx", (unsigned long long)address);
        if (dso.n > 0)
            sn_buf_printf(&name, " (%.*s)", (int)(dso.s + dso.n - base), base);
        if (name.failed)
            return false;
        x = (struct sn_piece){name.data, name.len};
    }
    return sn_build_frame(b, sn_build_str(b, x.s, x.n), 0, 0);
}

static uint32_t type_of(struct sn_build *b, uint32_t events[MAX_EVENTS], uint32_t event)
{
    const struct sn_profile *p = b->p;
    uint32_t i = 0;
    while (i < p->n_types && events[i] != event)
        i++;
    return i;
}

static bool add_event(struct sn_build *b, uint32_t events[MAX_EVENTS],
                      struct sn_piece event)
{
    uint32_t id = sn_build_str(b, event.s, event.n);
    if (type_of(b, events, id) < b->p->n_types)
        return true;
    if (b->p->n_types == MAX_EVENTS)
        return false;
    events[b->p->n_types] = id;
    const char *name = sn_strtab_get(b->p->strings, id);
    static const char *const clocks[] = {"cpu-clock", "task-clock"};
    bool time = false;
    for (size_t i = 0; i < SN_COUNT(clocks); i++)
        time |= strncmp(name, clocks[i], strlen(clocks[i])) == 0;
    sn_build_type(b, name, time ? "nanoseconds" : "count");
    return true;
}

static bool add_sample(struct sn_build *b, uint32_t events[MAX_EVENTS],
                       const struct head *h)
{
    int64_t values[MAX_EVENTS] = {0};
    struct sn_strtab *t = b->p->strings;
    uint32_t type = type_of(b, events, sn_build_str(b, h->event.s, h->event.n));
    if (type < MAX_EVENTS)
        values[type] = h->period;
    return sn_build_sample(b, values) &&
           sn_build_label(
               b, (struct sn_label){.key = sn_strtab_add(t, "thread"),
                                    .str = sn_build_str(b, h->comm.s, h->comm.n)}) &&
           sn_build_label(
               b, (struct sn_label){.key = sn_strtab_add(t, "thread_id"), .num = h->tid});
}

bool sn_read_perf_script(struct sn_build *b, struct sn_lines *l)
{
    struct sn_lines ahead = *l;
    struct head h;
    uint32_t events[MAX_EVENTS] = {0};
    /* The types come first: all samples have a value of each. A frame begins with an
     * address, which is no head. */
    while (sn_lines_next(&ahead))
        if (!sn_lines_blank(&ahead) && read_head(&ahead, &h) &&
            !add_event(b, events, h.event))
            return sn_build_fail(b, ahead.at, "it has more than 16 kinds of events");
    while (sn_lines_next(l)) {
        if (sn_lines_blank(l))
            continue;
        if (read_head(l, &h) ? !add_sample(b, events, &h)
                             : b->p->n_samples == 0 || !add_frame(b, l))
            return sn_build_fail(b, l->at, "this is neither a sample nor a frame of one");
    }
    return true;
}
