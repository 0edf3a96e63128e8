/*
 * perf_script.c: what `perf script` prints by default (perf-script(1)):
 *
 *     comm  pid/tid [cpu] 1234.567890:     250000 cycles:u:
 *             55d0c0de1149 spin+0x9 (/tmp/program)
 *             55d0c0de1180 main+0x20 (/tmp/program)
 *       program.c:12
 *
 * Where no stacks were recorded, the one frame is at the end of the first line. A
 * sample's period is its value of that event; without periods a sample counts 1. Lines of
 * sources (-F +srcline) belong to the frame above them. What perf tells of mappings and
 * threads (PERF_RECORD_...) is skipped. Events become sample types in the order in which
 * they are met; at most 16.
 */
#include "readers_priv.h"

#define MAX_EVENTS 16

struct head {
    struct sn_piece comm, event, rest; /* rest: after the event */
    int64_t pid, tid, period;
    bool has_period;
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
        h->has_period = true;
        w = sn_piece_word(&x);
    }
    while (w.n > 0 && w.s[w.n - 1] == ':')
        w.n--;
    h->event = w;
    h->rest = x;
    return w.n > 0;
}

/* "PERF_RECORD_MMAP2 904/904: ...": no sample */
static bool is_news(const struct head *h)
{
    return sn_begins(h->event.s, h->event.n, "PERF_RECORD_");
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

/* The source line below a frame, which is indented by two blanks: "  program.c:12", or,
 * of an address that has none, "  object[1234]". False: it is another line. */
static bool source_line(const struct sn_lines *l, struct sn_piece *file, int64_t *line)
{
    if (l->at < 3 || memcmp(l->line - 3, "\n  ", 3) != 0 || l->n == 0)
        return false;
    const char *colon = memrchr(l->line, ':', l->n), last = l->line[l->n - 1];
    if (colon == NULL)
        return last == ']';
    struct sn_piece n = {colon + 1, (size_t)(l->line + l->n - colon) - 1};
    if (!sn_piece_number(&n, line, false) || n.n > 0)
        return last == ']';
    if (*l->line != '?')
        *file = (struct sn_piece){l->line, (size_t)(colon - l->line)};
    return true;
}

struct frame {
    uint64_t address;
    struct sn_piece name, object;
};

/* "55d0c0de1149 spin+0x9 (/tmp/program)"; false: it is none */
static bool read_frame(struct sn_piece x, struct frame *f)
{
    struct sn_piece w = sn_piece_word(&x);
    *f = (struct frame){.object = {"", 0}};
    if (!sn_piece_hex(&w, &f->address) || w.n > 0)
        return false;
    sn_piece_blanks(&x);
    const char *open = x.n > 0 && x.s[x.n - 1] == ')' ? memrchr(x.s, '(', x.n) : NULL;
    if (open != NULL) {
        f->object = (struct sn_piece){open + 1, (size_t)(x.s + x.n - open) - 2};
        x.n = (size_t)(open - x.s);
        while (x.n > 0 && x.s[x.n - 1] == ' ')
            x.n--;
    }
    const char *plus = x.n > 0 ? memrchr(x.s, '+', x.n) : NULL;
    if (plus != NULL && sn_begins(plus, (size_t)(x.s + x.n - plus), "+0x"))
        x.n = (size_t)(plus - x.s);
    f->name = x;
    return true;
}

/* Adds it, with the source line that may follow. */
static bool add_frame(struct sn_build *b, struct sn_lines *l, const struct frame *f)
{
    struct sn_piece name = f->name, file = {"", 0};
    struct sn_lines below = *l;
    int64_t line = 0;
    if (name.n == 0 || sn_piece_is(name, "[unknown]")) {
        struct sn_piece object = f->object;
        const char *slash = object.n > 0 ? memrchr(object.s, '/', object.n) : NULL;
        struct sn_buf text = {.arena = b->p->arena};
        const char *base = slash != NULL ? slash + 1 : object.s;
        sn_buf_printf(&text, "0x%llx", (unsigned long long)f->address);
        if (object.n > 0)
            sn_buf_printf(&text, " (%.*s)", (int)(object.s + object.n - base), base);
        if (text.failed)
            return false;
        name = (struct sn_piece){text.data, text.len};
    }
    if (sn_lines_next(&below) && source_line(&below, &file, &line))
        *l = below;
    return sn_build_frame(b, sn_build_str(b, name.s, name.n),
                          sn_build_str(b, file.s, file.n), line);
}

/* The one frame of a sample without a stack, at the end of its head: "... (object)". An
 * event's own words are none: there is a stack below, or they do not end like that. */
static bool add_only_frame(struct sn_build *b, struct sn_lines *l, const struct head *h)
{
    struct frame f, below_it;
    struct sn_lines below = *l;
    if (!read_frame(h->rest, &f) || f.object.n == 0)
        return true;
    if (sn_lines_next(&below) &&
        read_frame((struct sn_piece){below.line, below.n}, &below_it) &&
        below_it.object.n > 0)
        return true;
    return add_frame(b, l, &f);
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
                      const struct head *h)
{
    uint32_t id = sn_build_str(b, h->event.s, h->event.n);
    if (type_of(b, events, id) < b->p->n_types)
        return true;
    if (b->p->n_types == MAX_EVENTS)
        return false;
    events[b->p->n_types] = id;
    const char *name = sn_strtab_get(b->p->strings, id);
    static const char *const clocks[] = {"cpu-clock", "task-clock"};
    bool time = false;
    for (size_t i = 0; i < SN_COUNT(clocks); i++)
        time |= h->has_period && strncmp(name, clocks[i], strlen(clocks[i])) == 0;
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
    struct frame f;
    uint32_t events[MAX_EVENTS] = {0};
    /* The types come first: all samples have a value of each. A frame begins with an
     * address, which is no head. */
    while (sn_lines_next(&ahead))
        if (!sn_lines_blank(&ahead) && read_head(&ahead, &h) && !is_news(&h) &&
            !add_event(b, events, &h))
            return sn_build_fail(b, ahead.at, "it has more than 16 kinds of events");
    while (sn_lines_next(l)) {
        if (sn_lines_blank(l))
            continue;
        if (read_head(l, &h)) {
            if (!is_news(&h) && (!add_sample(b, events, &h) || !add_only_frame(b, l, &h)))
                return false;
        } else if (b->p->n_samples == 0 ||
                   !read_frame((struct sn_piece){l->line, l->n}, &f)) {
            return sn_build_fail(b, l->at, "this is neither a sample nor a frame of one");
        } else if (!add_frame(b, l, &f)) {
            return false;
        }
    }
    return true;
}
