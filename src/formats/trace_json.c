/*
 * trace_json.c: a runtime's trace in Chrome's trace-event format ("Trace Event Format",
 * Google, 2016), the JSON object form: chrome://tracing and ui.perfetto.dev open it.
 *
 *     process 1, the program: counters, and a thread for the collector with a slice a
 *     collection and a nested one for each time the world stood still; process 2, 3, 4:
 *     CPUs, threads, goroutines, a track each, a slice for as long as a state was seen
 *
 * Times are microseconds with three decimals. Strings are valid UTF-8: bytes that are not
 * are replaced.
 */
#include "formats/json.h"
#include "formats/trace.h"

#include <inttypes.h>

struct writer {
    const struct sn_trace *t;
    struct sn_buf *out;
    bool any;
    int64_t collected_ns; /* the end of the last collection */
};

/* ---- JSON -----------------------------------------------------------------------------
 */

/* The length of the UTF-8 character at s; 0: it is none. */
static size_t utf8_length(const unsigned char *s)
{
    static const struct {
        unsigned char mask, is;
        uint32_t least;
    } forms[] = {
        {0x80, 0, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t n = 0; n < SN_COUNT(forms); n++) {
        if ((s[0] & forms[n].mask) != forms[n].is)
            continue;
        uint32_t c = s[0] & (unsigned char)~forms[n].mask;
        for (size_t i = 1; i <= n; i++) {
            if ((s[i] & 0xc0) != 0x80)
                return 0;
            c = c << 6 | (s[i] & 0x3f);
        }
        bool good = c >= forms[n].least && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
        return good ? n + 1 : 0;
    }
    return 0;
}

void sn_json_string(struct sn_buf *out, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    sn_buf_putc(out, '"');
    while (*s != '\0') {
        size_t n = utf8_length(s);
        if (n == 0)
            sn_buf_puts(out, "\\ufffd");
        else if (n == 1 && (*s < 0x20 || *s == '"' || *s == '\\'))
            sn_buf_printf(out, "\\u%04x", *s);
        else
            sn_buf_add(out, s, n);
        s += n > 0 ? n : 1;
    }
    sn_buf_putc(out, '"');
}

static void put_time(struct sn_buf *out, const char *key, int64_t ns)
{
    sn_buf_printf(out, ",\"%s\":%" PRId64 ".%03d", key, ns / 1000, (int)(ns % 1000));
}

/* {"ph":"X","pid":1,"tid":2,"name":"...": the rest and the '}' follow. */
static void begin(struct writer *w, char phase, int pid, int64_t tid, const char *name)
{
    sn_buf_printf(w->out, "%s{\"ph\":\"%c\",\"pid\":%d,\"tid\":%" PRId64 ",\"name\":",
                  w->any ? ",\n" : "", phase, pid, tid);
    sn_json_string(w->out, name);
    w->any = true;
}

static void end(struct writer *w)
{
    sn_buf_putc(w->out, '}');
}

static void name_track(struct writer *w, const char *what, int pid, int64_t tid,
                       const char *name)
{
    begin(w, 'M', pid, tid, what);
    sn_buf_puts(w->out, ",\"args\":{\"name\":");
    sn_json_string(w->out, name);
    sn_buf_puts(w->out, "}");
    end(w);
}

/* ---- counters -------------------------------------------------------------------------
 */

struct value {
    const char *name;
    int64_t v; /* ABSENT: left out */
};

static void counter(struct writer *w, const char *name, int64_t time_ns,
                    const struct value *values, size_t n)
{
    bool any = false;
    for (size_t i = 0; i < n; i++)
        any |= values[i].v >= 0;
    if (!any)
        return;
    begin(w, 'C', 1, 0, name);
    put_time(w->out, "ts", time_ns);
    any = false;
    for (size_t i = 0; i < n; i++) {
        if (values[i].v < 0)
            continue;
        sn_buf_printf(w->out, "%s\"%s\":%" PRId64, any ? "," : ",\"args\":{",
                      values[i].name, values[i].v);
        any = true;
    }
    sn_buf_puts(w->out, "}");
    end(w);
}

static void counters(struct writer *w)
{
    const struct sn_trace *t = w->t;
    for (uint32_t i = 0; i < t->n_scavs; i++) {
        const struct sn_trace_scav *v = &t->scavs[i];
        const struct value values[] = {{"in use", v->inuse}, {"idle", v->idle}};
        const struct value released[] = {{"released", v->released}};
        const struct value rss[] = {{"rss", v->rss >= 0 ? v->rss : v->consumed}};
        counter(w, "memory (bytes)", v->time_ns, values, SN_COUNT(values));
        counter(w, "released (bytes)", v->time_ns, released, 1);
        counter(w, "RSS (bytes)", v->time_ns, rss, 1);
    }
    for (uint32_t i = 0; i < t->n_sweeps; i++) {
        const struct sn_trace_sweep *s = &t->sweeps[i];
        const struct value queue[] = {{"waiting", s->queue}};
        const struct value idle[] = {{"idle", s->idle_cpus}};
        const struct value threads[] = {{"threads", s->threads}};
        counter(w, "run queue", s->time_ns, queue, 1);
        counter(w, "idle CPUs", s->time_ns, idle, 1);
        counter(w, "threads", s->time_ns, threads, 1);
    }
}

/* ---- collections ----------------------------------------------------------------------
 */

static void slice(struct writer *w, int pid, int64_t tid, const char *name, int64_t from,
                  int64_t length)
{
    begin(w, 'X', pid, tid, name);
    put_time(w->out, "ts", from);
    put_time(w->out, "dur", length);
}

static void collection(struct writer *w, const struct sn_trace_gc *g)
{
    const struct value args[] = {{"number", g->number}, {"before", g->before},
                                 {"at end", g->at_end}, {"live", g->live},
                                 {"goal", g->goal},     {"objects", g->objects},
                                 {"cpu ns", g->cpu_ns}};
    const struct value live[] = {{"heap", g->live}}, goal[] = {{"goal", g->goal}},
                       rss[] = {{"rss", g->rss}},
                       before[] = {
                           {"heap", g->at_end > g->before ? g->at_end : g->before}};
    /* Go says when in whole ms: slices of one track must not overlap. */
    int64_t length = g->wall_ns,
            from = g->time_ns > w->collected_ns ? g->time_ns : w->collected_ns;
    if (from < INT64_MAX / 2)
        w->collected_ns = from + length;
    slice(w, 1, 1, g->forced ? "collection (forced)" : "collection", from, length);
    sn_buf_puts(w->out, ",\"cat\":\"gc\",\"args\":{");
    for (size_t i = 0, any = 0; i < SN_COUNT(args); i++)
        if (args[i].v >= 0)
            sn_buf_printf(w->out, "%s\"%s\":%" PRId64, any++ > 0 ? "," : "", args[i].name,
                          args[i].v);
    sn_buf_puts(w->out, "}");
    end(w);
    for (uint32_t i = 0; i < g->n_stops; i++) {
        int64_t at = from + (i > 0 ? length - g->stops_ns[i] : 0);
        slice(w, 1, 1, "world stopped", at, g->stops_ns[i]);
        sn_buf_puts(w->out, ",\"cat\":\"gc\"");
        end(w);
    }
    counter(w, "heap (bytes)", from, before, 1);
    counter(w, "heap (bytes)", from + length, live, 1);
    counter(w, "heap goal (bytes)", g->time_ns, goal, 1);
    counter(w, "RSS (bytes)", g->time_ns, rss, 1);
}

/* ---- lanes ----------------------------------------------------------------------------
 */

struct track { /* what a lane does at the moment */
    int64_t from, to;
    uint32_t reason;
    uint32_t last; /* the last sweep that saw it */
    int state;     /* -1: nothing */
};

static int pid_of(char kind)
{
    return kind == 'P' ? 2 : kind == 'M' ? 3 : 4;
}

static void finish_track(struct writer *w, const struct sn_trace_lane *l,
                         const struct track *k)
{
    const char *reason = sn_trace_str(w->t, k->reason);
    const char *state =
        k->state >= 0 ? sn_trace_state_name((enum sn_trace_state)k->state) : "";
    if (k->state < 0 || k->state == SN_STATE_GONE || k->to <= k->from)
        return;
    slice(w, pid_of(l->kind), l->id, *reason != '\0' ? reason : state, k->from,
          k->to - k->from);
    sn_buf_printf(w->out, ",\"cat\":\"%s\"", state);
    end(w);
}

static void lanes(struct writer *w)
{
    const struct sn_trace *t = w->t;
    int64_t interval = sn_trace_interval_ns(t);
    struct track *tracks =
        sn_arena_alloc(w->out->arena, ((size_t)t->n_lanes + 1) * sizeof *tracks);
    if (tracks == NULL) {
        w->out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < t->n_lanes; i++)
        tracks[i].state = -1;
    for (uint32_t i = 0; i < t->n_sweeps; i++) {
        const struct sn_trace_sweep *s = &t->sweeps[i];
        int64_t to = i + 1 < t->n_sweeps ? s[1].time_ns : s->time_ns + interval;
        for (uint32_t j = s->first; j < s->first + s->n_samples; j++) {
            const struct sn_trace_sample *m = &t->samples[j];
            struct track *k = &tracks[m->lane];
            if (k->state >= 0 && k->last == i)
                continue; /* said twice */
            k->last = i;
            if (k->state != m->state || k->reason != m->reason || k->to != s->time_ns) {
                finish_track(w, &t->lanes[m->lane], k);
                *k = (struct track){s->time_ns, to, m->reason, i, m->state};
            }
            k->to = to;
        }
    }
    for (uint32_t i = 0; i < t->n_lanes; i++)
        finish_track(w, &t->lanes[i], &tracks[i]);
}

static void names(struct writer *w, const char *title)
{
    static const char *const groups[] = {"CPUs", "threads", "goroutines"};
    const struct sn_trace *t = w->t;
    bool met[SN_COUNT(groups)] = {false};
    char label[160];
    name_track(w, "process_name", 1, 0, title);
    if (t->n_gcs > 0)
        name_track(w, "thread_name", 1, 1, "collector");
    for (uint32_t i = 0; i < t->n_lanes; i++) {
        const struct sn_trace_lane *l = &t->lanes[i];
        int pid = pid_of(l->kind);
        if (!met[pid - 2])
            name_track(w, "process_name", pid, 0, groups[pid - 2]);
        met[pid - 2] = true;
        name_track(w, "thread_name", pid, l->id,
                   sn_trace_lane_label(t, l, label, sizeof label));
    }
}

void sn_trace_json(const struct sn_trace *t, const char *title, struct sn_buf *out)
{
    struct writer w = {.t = t, .out = out};
    sn_buf_puts(out, "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"source\":\"sonde\"},"
                     "\"traceEvents\":[\n");
    names(&w, title);
    for (uint32_t i = 0; i < t->n_gcs; i++)
        collection(&w, &t->gcs[i]);
    counters(&w);
    lanes(&w);
    sn_buf_puts(out, "\n]}\n");
}
