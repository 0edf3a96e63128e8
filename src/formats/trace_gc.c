/*
 * trace_gc.c: lines of collectors and scavengers.
 *
 *     gc4(2): 42+2+116+0 us, 0 -> 0 MB, 1473 (1487-14) objects, 4 goroutines, ...
 * (to 1.4) gc 1 @0.005s 15%: 1.4+7.0+0.003 ms clock, 2.8+0.63/0.95/0+0.007 ms cpu,
 * 3->4->2 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 2 P (forced) (from 1.5) scvg3: 0 MB
 * released                                                   (to 1.13) scvg3: inuse: 5,
 * idle: 0, sys: 6, released: 0, consumed: 5 (MB) scav 0 KiB work (bg), 0 KiB work
 * (eager), 512 KiB now, 73% util        (from 1.14)
 *
 * and of ours with gctrace=2 a second line, "gc 1 phases: ...", sizes in bytes.
 *
 * What stands between commas says by its unit and its word what it is, so one reader of
 * such items serves all versions. Before 1.5 the world stood still from begin to end;
 * since, in the first phase and in the last. With libgc it stands still in all of them.
 */
#include "trace_priv.h"

#define NUMBERS_MAX 12
#define BYTES_MAX   1e18
#define TIME_MAX    1e18

struct item { /* "1.4+7.0+0.003 ms clock", "3->4->2 MB", "2 P" */
    double v[NUMBERS_MAX], sum;
    unsigned n;
    bool arrows; /* else pluses and slashes */
    struct sn_scan unit, word;
};

static bool joint(struct sn_scan *s, bool *arrows)
{
    if (sn_scan_literal(s, "->") || sn_scan_literal(s, " -> "))
        return *arrows = true;
    return sn_scan_literal(s, "+") || sn_scan_literal(s, "/");
}

/* Numbers, "(1487-14)", a unit and a word. */
static bool read_item(struct sn_scan *s, struct item *i)
{
    struct sn_scan group, back;
    double x;
    *i = (struct item){0};
    do {
        if (!sn_scan_number(s, &x))
            return i->n > 0;
        i->sum += x > 0 ? x : 0;
        i->v[i->n < NUMBERS_MAX ? i->n++ : NUMBERS_MAX - 1] = x; /* the last one counts */
    } while (joint(s, &i->arrows));
    back = *s;
    sn_scan_spaces(s);
    if (!sn_scan_group(s, &group))
        *s = back;
    sn_scan_spaces(s);
    i->unit = sn_scan_word(s);
    i->word = (struct sn_scan){s->p, s->p};
    if (sn_scan_time_unit(i->unit) == 0 && sn_scan_memory_unit(i->unit) == 0 &&
        !sn_scan_is(i->unit, "%"))
        return true; /* what follows is no word of this number */
    sn_scan_spaces(s);
    if (!sn_scan_at_pair(*s) && (s->p == s->end || *s->p < '0' || *s->p > '9'))
        i->word = sn_scan_word(s);
    return true;
}

/* ---- collections ----------------------------------------------------------------------
 */

static void set_heap(struct sn_trace_gc *g, const struct item *i, double unit)
{
    g->before = sn_clamp(i->v[0] * unit, BYTES_MAX);
    g->live = sn_clamp(i->v[i->n - 1] * unit, BYTES_MAX);
    g->at_end = i->n > 2 ? sn_clamp(i->v[1] * unit, BYTES_MAX) : SN_TRACE_ABSENT;
}

static void set_clock(struct sn_trace_gc *g, const struct item *i, double unit, bool old)
{
    g->wall_ns = sn_clamp(i->sum * unit, TIME_MAX);
    g->stops_ns[0] = sn_clamp((old ? i->sum : i->v[0]) * unit, TIME_MAX);
    g->n_stops = old || i->n < 2 ? 1 : 2;
    if (g->n_stops == 2)
        g->stops_ns[1] = sn_clamp(i->v[i->n - 1] * unit, TIME_MAX);
}

static void take_item(struct sn_trace_gc *g, const struct item *i, bool old)
{
    const struct {
        const char *word;
        int64_t *to;
    } sizes[] = {{"goal", &g->goal},
                 {"stacks", &g->stacks},
                 {"globals", &g->globals},
                 {"rss", &g->rss}};
    double time = sn_scan_time_unit(i->unit), memory = sn_scan_memory_unit(i->unit);
    if (time > 0 && sn_scan_is(i->word, "cpu"))
        g->cpu_ns = sn_clamp(i->sum * time, TIME_MAX);
    else if (time > 0 && g->wall_ns < 0)
        set_clock(g, i, time, old);
    else if (memory > 0 && i->arrows)
        set_heap(g, i, memory);
    else if (sn_scan_is(i->unit, "P"))
        g->cpus = (int32_t)sn_clamp(i->v[0], 1e6);
    else if (sn_scan_is(i->unit, "objects"))
        g->objects = sn_clamp(i->v[i->n - 1], 1e15);
    for (size_t k = 0; memory > 0 && k < SN_COUNT(sizes); k++)
        if (sn_scan_is(i->word, sizes[k].word))
            *sizes[k].to = sn_clamp(i->v[0] * memory, BYTES_MAX);
}

/* What is no number: "(forced)", a marker, key=value. */
static void take_words(struct sn_trace *t, struct sn_trace_gc *g, struct sn_scan *s)
{
    struct sn_scan group, word;
    struct sn_pair pair;
    if (sn_scan_group(s, &group)) {
        g->forced |= sn_scan_is(group, "forced");
    } else if (sn_scan_at_pair(*s) && sn_scan_pair(s, &pair)) {
        if (sn_scan_is(pair.key, "rss"))
            g->rss = sn_scan_bytes(pair.value);
        else if (sn_scan_is(pair.key, "objects"))
            g->objects = sn_scan_bytes(pair.value);
    } else {
        word = sn_scan_word(s);
        if (word.p == word.end)
            s->p++;
        else if (!sn_scan_is(word, "yields"))
            g->marker = sn_trace_name(t, word);
    }
}

static void read_items(struct sn_trace *t, struct sn_trace_gc *g, struct sn_scan s,
                       bool old)
{
    struct item i;
    for (sn_scan_spaces(&s); s.p < s.end; sn_scan_spaces(&s)) {
        if (*s.p == ',')
            s.p++;
        else if (read_item(&s, &i))
            take_item(g, &i, old);
        else
            take_words(t, g, &s);
    }
}

static void add(int64_t *to, int64_t x)
{
    const int64_t limit = INT64_MAX / 2;
    if (x > 0)
        *to = *to > limit - x ? limit : *to + x;
}

static void most(int64_t *to, int64_t x)
{
    if (x > *to)
        *to = x;
}

static void sum_up(struct sn_trace_sums *a, const struct sn_trace_gc *g)
{
    int64_t heap = g->at_end > g->before ? g->at_end : g->before;
    a->n++;
    a->forced += g->forced;
    add(&a->wall_ns, g->wall_ns);
    add(&a->cpu_ns, g->cpu_ns);
    for (uint32_t i = 0; i < g->n_stops; i++) {
        a->stops++;
        add(&a->stopped_ns, g->stops_ns[i]);
        most(&a->longest_ns, g->stops_ns[i]);
    }
    if (g->percent >= 0)
        a->percent = g->percent;
    most(&a->most_heap, heap);
    most(&a->most_goal, g->goal);
    most(&a->most_rss, g->rss);
    if (g->goal >= 0) {
        a->last_goal = g->goal;
        a->first_goal = a->first_goal < 0 ? g->goal : a->first_goal;
    }
    if (g->live >= 0) {
        a->last_live = g->live;
        a->first_live = a->first_live < 0 ? g->live : a->first_live;
        a->least_live =
            a->least_live < 0 || g->live < a->least_live ? g->live : a->least_live;
        most(&a->most_live, g->live);
    }
}

static void thin_gcs(struct sn_trace *t)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n_gcs; i += 2)
        t->gcs[n++] = t->gcs[i];
    t->n_gcs = n;
    t->gc_stride *= 2;
}

static void add_gc(struct sn_trace *t, const struct sn_trace_gc *g)
{
    struct sn_trace_reader *r = t->reader;
    r->sums_before = t->gc;
    sum_up(&t->gc, g);
    sn_trace_event(t, g->time_ns);
    if (t->n_gcs >= t->limits.gcs)
        thin_gcs(t);
    if (r->n_gcs++ % t->gc_stride != 0)
        return;
    struct sn_trace_gc *to = SN_PUSH(t->arena, t->gcs, t->n_gcs, t->cap_gcs);
    if (to != NULL)
        *to = *g;
}

static const struct sn_trace_gc nothing = {.wall_ns = -1,
                                           .cpu_ns = -1,
                                           .before = -1,
                                           .at_end = -1,
                                           .live = -1,
                                           .goal = -1,
                                           .stacks = -1,
                                           .globals = -1,
                                           .rss = -1,
                                           .objects = -1,
                                           .cpus = -1,
                                           .percent = -1};

/* With libgc the world stands still until all is done. */
static void finish_gc(struct sn_trace *t, struct sn_trace_gc *g)
{
    const char *marker = sn_trace_str(t, g->marker);
    if (strcmp(marker, "libgc") == 0 && g->wall_ns >= 0) {
        g->stops_ns[0] = g->wall_ns;
        g->n_stops = 1;
    } else if (strcmp(marker, "malloc") == 0) {
        g->n_stops = 0;
    }
    if (g->wall_ns < 0)
        g->wall_ns = 0;
    int64_t rest = g->wall_ns; /* whatever the line says, they are parts of it */
    for (uint32_t i = 0; i < g->n_stops; i++) {
        int64_t stop = g->stops_ns[i] < rest ? g->stops_ns[i] : rest;
        g->stops_ns[i] = stop > 0 ? stop : 0;
        rest -= g->stops_ns[i];
    }
    add_gc(t, g);
}

/* "gc 2 phases: prepare 4.8, stop 0.003, ... ms libgc, 2016800->2016800->1576320 B": of
 * our gctrace=2: the heap of the line before it to the byte. */
bool sn_trace_parse_phases(struct sn_trace *t, struct sn_scan s)
{
    struct sn_trace_gc exact = nothing;
    struct sn_trace_gc *last = t->n_gcs > 0 ? &t->gcs[t->n_gcs - 1] : NULL;
    const char *comma = memrchr(s.p, ',', (size_t)(s.end - s.p));
    if (!sn_scan_literal(&s, "gc ") || !sn_scan_integer(&s, &exact.number) ||
        !sn_scan_literal(&s, " phases: ") || comma == NULL || comma < s.p)
        return false;
    read_items(t, &exact, (struct sn_scan){comma + 1, s.end}, false);
    if (last == NULL || last->number != exact.number || exact.live < 0 ||
        t->reader->sums_before.n + 1 != t->gc.n)
        return true;
    last->before = exact.before;
    last->at_end = exact.at_end;
    last->live = exact.live;
    t->gc = t->reader->sums_before;
    sum_up(&t->gc, last);
    return true;
}

bool sn_trace_parse_gc(struct sn_trace *t, struct sn_scan s)
{
    struct sn_trace_gc g = nothing;
    struct sn_scan group;
    double seconds;
    if (!sn_scan_literal(&s, "gc ") || !sn_scan_integer(&s, &g.number) ||
        !sn_scan_literal(&s, " @") || !sn_scan_number(&s, &seconds) ||
        !sn_scan_literal(&s, "s"))
        return false;
    sn_scan_spaces(&s);
    if (sn_scan_number(&s, &g.percent) && !sn_scan_literal(&s, "%"))
        return false;
    sn_scan_spaces(&s);
    while (sn_scan_group(&s, &group)) /* "(checking for goroutine leaks)" */
        sn_scan_spaces(&s);
    if (!sn_scan_literal(&s, ":"))
        return false;
    read_items(t, &g, s, false);
    if (g.live < 0 && g.wall_ns < 0)
        return false;
    g.time_ns = sn_clamp(seconds * 1e9, TIME_MAX);
    if (g.time_ns < 0)
        g.time_ns = 0;
    sn_trace_said(t, g.time_ns, &t->reader->gc_ns);
    finish_gc(t, &g);
    return true;
}

bool sn_trace_parse_old_gc(struct sn_trace *t, struct sn_scan s)
{
    struct sn_trace_gc g = nothing;
    int64_t cpus;
    if (!sn_scan_literal(&s, "gc") || !sn_scan_integer(&s, &g.number) ||
        !sn_scan_literal(&s, "(") || !sn_scan_integer(&s, &cpus) ||
        !sn_scan_literal(&s, "): "))
        return false;
    read_items(t, &g, s, true);
    if (g.live < 0 || g.wall_ns < 0)
        return false;
    g.cpus = (int32_t)sn_clamp((double)cpus, 1e6);
    g.time_ns = sn_trace_when(t);
    finish_gc(t, &g);
    return true;
}

/* ---- scavenging -----------------------------------------------------------------------
 */

static void add_scav(struct sn_trace *t, struct sn_trace_scav *v)
{
    struct sn_trace_reader *r = t->reader;
    v->time_ns = sn_trace_when(t);
    sn_trace_event(t, v->time_ns);
    add(&t->released, v->work);
    if (t->n_scavs >= t->limits.scavs) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < t->n_scavs; i += 2)
            t->scavs[n++] = t->scavs[i];
        t->n_scavs = n;
        t->scav_stride *= 2;
    }
    if (r->n_scavs++ % t->scav_stride != 0)
        return;
    struct sn_trace_scav *to = SN_PUSH(t->arena, t->scavs, t->n_scavs, t->cap_scavs);
    if (to != NULL)
        *to = *v;
}

static const struct sn_trace_scav no_scav = {0, -1, -1, -1, -1, -1, -1, -1, -1, false};

/* "inuse: 5, idle: 0, ... (MB)": the unit is last. */
static bool read_sizes(struct sn_trace_scav *v, struct sn_scan *s)
{
    const struct {
        const char *word;
        int64_t *to;
    } sizes[] = {{"inuse", &v->inuse},       {"idle", &v->idle},
                 {"sys", &v->sys},           {"released", &v->released},
                 {"consumed", &v->consumed}, {"rss", &v->rss}};
    double said[SN_COUNT(sizes)], x, unit = 0x1p20;
    struct sn_scan group, word;
    for (size_t i = 0; i < SN_COUNT(sizes); i++)
        said[i] = -1;
    do {
        sn_scan_spaces(s);
        word = sn_scan_word(s);
        if (!sn_scan_literal(s, ": ") || !sn_scan_number(s, &x))
            return false;
        for (size_t i = 0; i < SN_COUNT(sizes); i++)
            if (sn_scan_is(word, sizes[i].word))
                said[i] = x;
    } while (sn_scan_literal(s, ","));
    sn_scan_spaces(s);
    if (sn_scan_group(s, &group) && sn_scan_memory_unit(group) > 0)
        unit = sn_scan_memory_unit(group);
    for (size_t i = 0; i < SN_COUNT(sizes); i++)
        *sizes[i].to = sn_clamp(said[i] * unit, BYTES_MAX);
    return v->inuse >= 0 || v->sys >= 0;
}

/* What may stand at the end of either kind. */
static void read_tail(struct sn_trace_scav *v, struct sn_scan s)
{
    struct sn_scan group;
    struct sn_pair pair;
    for (sn_scan_spaces(&s); s.p < s.end; sn_scan_spaces(&s)) {
        if (sn_scan_group(&s, &group))
            v->forced |= sn_scan_is(group, "forced");
        else if (sn_scan_at_pair(s) && sn_scan_pair(&s, &pair))
            v->rss = sn_scan_is(pair.key, "rss") ? sn_scan_bytes(pair.value) : v->rss;
        else
            s.p++;
    }
}

bool sn_trace_parse_scvg(struct sn_trace *t, struct sn_scan s)
{
    struct sn_trace_scav v = no_scav;
    int64_t number;
    double x, unit;
    v.forced = sn_scan_literal(&s, "forced ");
    if (!sn_scan_literal(&s, "scvg"))
        return false;
    if (sn_scan_integer(&s, &number))
        v.forced |= number < 0;
    if (!sn_scan_literal(&s, ": "))
        return false;
    if (sn_scan_number(&s, &x)) {
        sn_scan_spaces(&s);
        unit = sn_scan_memory_unit(sn_scan_word(&s));
        if (unit == 0 || !sn_scan_literal(&s, " released"))
            return false;
        v.work = sn_clamp(x * unit, BYTES_MAX);
    } else if (!read_sizes(&v, &s)) {
        return false;
    }
    read_tail(&v, s);
    add_scav(t, &v);
    return true;
}

static void take_scav(struct sn_trace_scav *v, const struct item *i)
{
    double unit = sn_scan_memory_unit(i->unit), bytes = i->v[0] * unit;
    if (unit > 0 && sn_scan_is(i->word, "work"))
        v->work = sn_clamp((v->work > 0 ? (double)v->work : 0) + bytes, BYTES_MAX);
    else if (unit > 0)
        v->released = sn_clamp(bytes, BYTES_MAX);
    else if (sn_scan_is(i->word, "util"))
        v->util = (int32_t)sn_clamp(i->v[0], 1000);
}

bool sn_trace_parse_scav(struct sn_trace *t, struct sn_scan s)
{
    struct sn_trace_scav v = no_scav;
    struct sn_scan group, before;
    struct item i;
    int64_t number;
    if (!sn_scan_literal(&s, "scav "))
        return false;
    before = s; /* Go 1.15 and 1.16 number them */
    if (!sn_scan_integer(&s, &number) || !sn_scan_literal(&s, " ") || s.p == s.end ||
        *s.p < '0' || *s.p > '9')
        s = before;
    while (read_item(&s, &i)) {
        take_scav(&v, &i);
        sn_scan_spaces(&s);
        if (sn_scan_group(&s, &group))
            v.forced |= sn_scan_is(group, "forced");
        if (!sn_scan_literal(&s, ","))
            break;
        sn_scan_spaces(&s);
    }
    if (v.work < 0)
        return false;
    read_tail(&v, s);
    add_scav(t, &v);
    return true;
}
