/*
 * trace_chart.c: a runtime's trace as a page of panels, those for which it has data: heap
 * and collections, pauses, memory, CPUs, run queue, lanes, and how long pauses are.
 */
#include "trace_priv.h"

#include <math.h>
#include <stdio.h>

#define COLUMNS     900 /* more values side by side than that cannot be seen */
#define LANES       200
#define REASONS     5  /* that have a colour of their own */
#define BINS_DECADE 10 /* of the histogram */

/* ---- fewer points ---------------------------------------------------------------------
 */

/* Of very many points the first, the least, the most and the last of each column. */
static void reduce(struct sn_chart_series *s)
{
    uint32_t used = 0, begin = 0;
    if (s->n <= 4 * COLUMNS)
        return;
    double from = s->x[0], width = (s->x[s->n - 1] - from) / COLUMNS;
    while (begin < s->n) {
        double until = from + width * (floor((s->x[begin] - from) / width) + 1);
        uint32_t end = begin, pick[4] = {begin, begin, begin, begin};
        for (; end < s->n && (s->x[end] < until || end == begin); end++) {
            if (s->y[end] < s->y[pick[1]])
                pick[1] = end;
            if (s->y[end] > s->y[pick[2]])
                pick[2] = end;
        }
        pick[3] = end - 1;
        if (pick[1] > pick[2]) {
            uint32_t swap = pick[1];
            pick[1] = pick[2];
            pick[2] = swap;
        }
        for (unsigned i = 0; i < 4; i++) {
            if (i > 0 && pick[i] == pick[i - 1])
                continue;
            double x = s->x[pick[i]], y = s->y[pick[i]];
            s->x[used] = x;
            s->y[used++] = y;
        }
        begin = end;
    }
    s->n = used;
}

static void reduce_all(struct sn_chart *c)
{
    for (uint32_t i = 0; i < c->n_panels; i++)
        for (uint32_t k = 0; k < c->panels[i].n_series; k++)
            if (c->panels[i].series[k].style != SN_CHART_STACK)
                reduce(&c->panels[i].series[k]);
}

/* ---- heap -----------------------------------------------------------------------------
 */

static int64_t heap_before(const struct sn_trace_gc *g)
{
    return g->at_end > g->before ? g->at_end : g->before;
}

/* It grows to a collection, and is smaller after it. */
static void heap_series(struct sn_chart *c, struct sn_chart_panel *p,
                        const struct sn_trace *t)
{
    struct sn_chart_series *s =
        sn_chart_series_add(c, p, "heap", SN_BLUE, SN_CHART_FILL, 2 * t->n_gcs);
    for (uint32_t i = 0; s != NULL && i < t->n_gcs; i++) {
        const struct sn_trace_gc *g = &t->gcs[i];
        if (heap_before(g) >= 0)
            sn_chart_point(s, (double)g->time_ns, (double)heap_before(g));
        if (g->live >= 0)
            sn_chart_point(s, (double)(g->time_ns + g->wall_ns), (double)g->live);
    }
    for (uint32_t i = 1; s != NULL && i < s->n; i++) /* one may end behind the next */
        s->x[i] = fmax(s->x[i], s->x[i - 1]);
}

static void gc_series(struct sn_chart *c, struct sn_chart_panel *p,
                      const struct sn_trace *t, const char *name, uint32_t color,
                      enum sn_chart_style style,
                      int64_t (*value)(const struct sn_trace_gc *))
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n_gcs; i++)
        n += value(&t->gcs[i]) >= 0;
    if (n == 0)
        return;
    struct sn_chart_series *s = sn_chart_series_add(c, p, name, color, style, n);
    for (uint32_t i = 0; s != NULL && i < t->n_gcs; i++)
        if (value(&t->gcs[i]) >= 0)
            sn_chart_point(s, (double)t->gcs[i].time_ns, (double)value(&t->gcs[i]));
}

/* What a collection aimed at holds since the one before it. */
static void goal_series(struct sn_chart *c, struct sn_chart_panel *p,
                        const struct sn_trace *t)
{
    if (t->gc.most_goal < 0)
        return;
    struct sn_chart_series *s =
        sn_chart_series_add(c, p, "goal", SN_GREY, SN_CHART_LIMIT, t->n_gcs + 1);
    double since = c->from;
    for (uint32_t i = 0; s != NULL && i < t->n_gcs; i++) {
        if (t->gcs[i].goal >= 0)
            sn_chart_point(s, since, (double)t->gcs[i].goal);
        since = (double)t->gcs[i].time_ns;
    }
    if (s != NULL && s->n > 0)
        sn_chart_point(s, since, s->y[s->n - 1]);
}

static int64_t rss_of(const struct sn_trace_gc *g)
{
    return g->rss;
}

static int64_t nothing_of(const struct sn_trace_gc *g)
{
    (void)g;
    return 0;
}

/* What the scavenger's lines say of RSS; "consumed", which is from the system and not
 * released, is near to it. */
static void scav_rss(struct sn_chart *c, struct sn_chart_panel *p,
                     const struct sn_trace *t)
{
    bool rss = false, consumed = false;
    for (uint32_t i = 0; i < t->n_scavs; i++) {
        rss |= t->scavs[i].rss >= 0;
        consumed |= t->scavs[i].consumed >= 0;
    }
    if (!rss && !consumed)
        return;
    struct sn_chart_series *s = sn_chart_series_add(c, p, rss ? "RSS" : "consumed",
                                                    SN_PURPLE, SN_CHART_STEP, t->n_scavs);
    for (uint32_t i = 0; s != NULL && i < t->n_scavs; i++) {
        int64_t v = rss ? t->scavs[i].rss : t->scavs[i].consumed;
        if (v >= 0)
            sn_chart_point(s, (double)t->scavs[i].time_ns, (double)v);
    }
}

static void heap_panel(struct sn_chart *c, const struct sn_trace *t)
{
    struct sn_chart_panel *p =
        t->n_gcs > 0 ? sn_chart_panel_add(c, SN_PANEL_XY, "Heap", "bytes") : NULL;
    if (p == NULL)
        return;
    p->height = 150;
    p->note = sn_arena_printf(c->arena, "%llu collection%s", (unsigned long long)t->gc.n,
                              t->gc.n == 1 ? "" : "s");
    heap_series(c, p, t);
    goal_series(c, p, t);
    gc_series(c, p, t, "RSS", SN_PURPLE, SN_CHART_STEP, rss_of);
    if (t->gc.most_rss < 0)
        scav_rss(c, p, t);
    gc_series(c, p, t, "collection", SN_VERMILLION, SN_CHART_MARKS, nothing_of);
}

/* ---- pauses ---------------------------------------------------------------------------
 */

static void pause_panel(struct sn_chart *c, const struct sn_trace *t)
{
    if (t->gc.stops == 0 || t->gc.longest_ns <= 0)
        return;
    struct sn_chart_panel *p = sn_chart_panel_add(c, SN_PANEL_XY, "Pauses", "ns");
    if (p == NULL)
        return;
    p->note = sn_arena_printf(c->arena, "the world stood still for %s in all",
                              sn_trace_duration(c->arena, t->gc.stopped_ns));
    struct sn_chart_series *s = sn_chart_series_add(
        c, p, "stop", SN_VERMILLION, SN_CHART_STEMS, SN_TRACE_STOPS * t->n_gcs);
    for (uint32_t i = 0; s != NULL && i < t->n_gcs; i++) {
        const struct sn_trace_gc *g = &t->gcs[i];
        for (uint32_t k = 0; k < g->n_stops; k++) /* the last one is at its end */
            sn_chart_point(s, (double)(g->time_ns + (k > 0 ? g->wall_ns : 0)),
                           (double)g->stops_ns[k]);
    }
    for (uint32_t i = 1; s != NULL && i < s->n; i++)
        s->x[i] = fmax(s->x[i], s->x[i - 1]);
}

static void histogram_bins(struct sn_chart *c, struct sn_chart_panel *p, const int64_t *v,
                           uint32_t n)
{
    double least = 0;
    for (uint32_t i = 0; i < n && least <= 0; i++)
        least = (double)v[i]; /* sorted: the first that is any */
    int low = (int)floor(log10(fmax(least, 1)) * BINS_DECADE);
    int high = (int)floor(log10(fmax((double)v[n - 1], 1)) * BINS_DECADE);
    uint32_t at = 0;
    for (int i = low; i <= high; i++) {
        struct sn_chart_bin *b = SN_PUSH(c->arena, p->bins, p->n_bins, p->cap_bins);
        if (b == NULL)
            return;
        *b = (struct sn_chart_bin){pow(10, (double)i / BINS_DECADE),
                                   pow(10, (double)(i + 1) / BINS_DECADE), 0};
        for (; at < n && ((double)v[at] < b->to || i == high); at++)
            b->n++;
    }
}

static void histogram_panel(struct sn_chart *c, const struct sn_trace *t)
{
    uint32_t n;
    int64_t *v = sn_trace_stops(t, c->arena, &n);
    if (v == NULL || n < 2 || t->gc.longest_ns <= 0)
        return;
    struct sn_spread s = sn_spread_of(v, n);
    struct sn_chart_panel *p =
        sn_chart_panel_add(c, SN_PANEL_HISTOGRAM, "How long pauses are", "ns");
    if (p == NULL)
        return;
    const struct {
        const char *name;
        int64_t at;
    } marks[] = {
        {"p50", s.p50}, {"p90", s.p90}, {"p99", s.p99}, {"max", t->gc.longest_ns}};
    histogram_bins(c, p, v, n);
    const char *names = "";
    for (size_t i = 0; i < SN_COUNT(marks); i++) {
        bool same = i > 0 && marks[i].at == marks[i - 1].at; /* one mark for both */
        names = same ? sn_arena_printf(c->arena, "%s, %s", names, marks[i].name)
                     : marks[i].name;
        struct sn_chart_mark *m =
            same ? &p->marks[p->n_marks - 1]
                 : SN_PUSH(c->arena, p->marks, p->n_marks, p->cap_marks);
        if (m == NULL || names == NULL)
            return;
        m->name = sn_arena_printf(c->arena, "%s %s", names,
                                  sn_trace_duration(c->arena, marks[i].at));
        m->at = (double)marks[i].at;
    }
    p->note = sn_arena_printf(c->arena, "%llu stop%s", (unsigned long long)t->gc.stops,
                              t->gc.stops == 1 ? "" : "s");
}

/* ---- memory ---------------------------------------------------------------------------
 */

static int64_t or_zero(int64_t x)
{
    return x > 0 ? x : 0;
}

/* In use, idle and kept, released: together what came from the system. */
static void memory_stack(struct sn_chart *c, struct sn_chart_panel *p,
                         const struct sn_trace *t)
{
    static const struct {
        const char *name;
        uint32_t color;
    } layers[] = {{"in use", SN_BLUE}, {"idle, kept", SN_SKY}, {"released", SN_PALE}};
    uint32_t stride = t->n_scavs / COLUMNS + 1;
    for (unsigned k = 0; k < SN_COUNT(layers); k++) {
        struct sn_chart_series *s = sn_chart_series_add(
            c, p, layers[k].name, layers[k].color, SN_CHART_STACK, t->n_scavs);
        for (uint32_t i = 0; s != NULL && i < t->n_scavs; i++) {
            const struct sn_trace_scav *v = &t->scavs[i];
            int64_t released = or_zero(v->released),
                    idle = v->idle >= 0 ? v->idle : or_zero(v->sys - or_zero(v->inuse));
            const int64_t values[] = {or_zero(v->inuse), or_zero(idle - released),
                                      released};
            if (v->inuse >= 0 && s->n <= i / stride)
                sn_chart_point(s, (double)v->time_ns, (double)values[k]);
        }
    }
}

static void memory_panel(struct sn_chart *c, const struct sn_trace *t)
{
    bool sizes = false, released = false;
    for (uint32_t i = 0; i < t->n_scavs; i++) {
        sizes |= t->scavs[i].inuse >= 0;
        released |= t->scavs[i].released >= 0;
    }
    if (!sizes && !released)
        return;
    struct sn_chart_panel *p = sn_chart_panel_add(
        c, SN_PANEL_XY, sizes ? "Memory" : "Released to the system", "bytes");
    if (p == NULL)
        return;
    if (sizes) {
        memory_stack(c, p, t);
        return;
    }
    p->height = 80;
    struct sn_chart_series *s =
        sn_chart_series_add(c, p, "released", SN_SKY, SN_CHART_STEP, t->n_scavs);
    for (uint32_t i = 0; s != NULL && i < t->n_scavs; i++)
        if (t->scavs[i].released >= 0)
            sn_chart_point(s, (double)t->scavs[i].time_ns, (double)t->scavs[i].released);
}

/* ---- the scheduler --------------------------------------------------------------------
 */

static void cpu_panel(struct sn_chart *c, const struct sn_trace *t)
{
    uint32_t n = 0, stride;
    for (uint32_t i = 0; i < t->n_sweeps; i++)
        n += t->sweeps[i].cpus >= 0 && t->sweeps[i].idle_cpus >= 0;
    if (n < 2)
        return;
    struct sn_chart_panel *p = sn_chart_panel_add(c, SN_PANEL_XY, "CPUs", "count");
    if (p == NULL)
        return;
    p->height = 70;
    stride = n / COLUMNS + 1;
    for (unsigned k = 0; k < 2; k++) {
        struct sn_chart_series *s =
            sn_chart_series_add(c, p, k == 0 ? "busy" : "idle",
                                k == 0 ? 0x66c4a8 : SN_PALE, SN_CHART_STACK, n);
        uint32_t at = 0;
        for (uint32_t i = 0; s != NULL && i < t->n_sweeps; i++) {
            const struct sn_trace_sweep *w = &t->sweeps[i];
            if (w->cpus < 0 || w->idle_cpus < 0 || at++ % stride != 0)
                continue;
            int32_t idle = w->idle_cpus < w->cpus ? w->idle_cpus : w->cpus;
            sn_chart_point(s, (double)w->time_ns, k == 0 ? w->cpus - idle : idle);
        }
    }
}

static void queue_panel(struct sn_chart *c, const struct sn_trace *t)
{
    uint32_t n = 0, n_longest = 0;
    for (uint32_t i = 0; i < t->n_sweeps; i++) {
        n += t->sweeps[i].queue >= 0;
        n_longest += t->sweeps[i].longest >= 0;
    }
    if (n < 2)
        return;
    struct sn_chart_panel *p = sn_chart_panel_add(c, SN_PANEL_XY, "Run queue", "count");
    if (p == NULL)
        return;
    p->height = 90;
    for (unsigned k = 0; k < 2; k++) {
        if (k == 1 && n_longest == 0)
            continue;
        struct sn_chart_series *s = sn_chart_series_add(
            c, p, k == 0 ? "all that wait for a CPU" : "the longest of one CPU",
            k == 0 ? SN_ORANGE : SN_GREY, k == 0 ? SN_CHART_STEP : SN_CHART_LIMIT,
            k == 0 ? n : n_longest);
        for (uint32_t i = 0; s != NULL && i < t->n_sweeps; i++) {
            int32_t v = k == 0 ? t->sweeps[i].queue : t->sweeps[i].longest;
            if (v >= 0)
                sn_chart_point(s, (double)t->sweeps[i].time_ns, v);
        }
    }
}

/* ---- lanes ----------------------------------------------------------------------------
 */

struct painter { /* which colour a sample has */
    uint32_t reasons[REASONS];
    uint32_t n_reasons;
    uint32_t kinds[SN_STATES + REASONS + 1]; /* of a state, of a reason: its kind */
    bool used[SN_STATES + REASONS + 1];
};

#define UNUSED UINT32_MAX

static int by_frequency(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return x[1] != y[1] ? (x[1] < y[1] ? 1 : -1) : (x[0] > y[0]) - (x[0] < y[0]);
}

/* The reasons met most among the lanes shown. */
static void choose_reasons(const struct sn_trace *t, const uint32_t *row_of,
                           struct sn_arena *a, struct painter *p)
{
    uint32_t n = sn_strtab_count(t->strings);
    uint32_t(*counts)[2] = sn_arena_alloc(a, ((size_t)n + 1) * sizeof *counts);
    if (counts == NULL)
        return;
    for (uint32_t i = 0; i < n; i++)
        counts[i][0] = i;
    for (uint32_t i = 0; i < t->n_samples; i++)
        if (t->samples[i].state == SN_STATE_BLOCKED &&
            row_of[t->samples[i].lane] != SN_NONE)
            counts[t->samples[i].reason][1]++;
    counts[0][1] = 0; /* no reason is none */
    qsort(counts, n, sizeof *counts, by_frequency);
    for (uint32_t i = 0; i < REASONS && i < n && counts[i][1] > 0; i++)
        p->reasons[p->n_reasons++] = counts[i][0];
}

static uint32_t slot_of(const struct painter *p, const struct sn_trace_sample *s)
{
    if (s->state != SN_STATE_BLOCKED || s->reason == 0)
        return s->state;
    for (uint32_t i = 0; i < p->n_reasons; i++)
        if (p->reasons[i] == s->reason)
            return SN_STATES + i;
    return SN_STATES + REASONS;
}

/* A kind for each that is met, in an order that reads well. */
static void name_kinds(struct sn_chart *c, struct sn_chart_panel *panel,
                       const struct sn_trace *t, struct painter *p)
{
    static const struct {
        uint32_t slot, color;
    } order[] = {{SN_STATE_RUNNING, SN_GREEN},      {SN_STATE_RUNNABLE, SN_ORANGE},
                 {SN_STATE_SYSCALL, SN_VERMILLION}, {SN_STATES + 0, SN_SKY},
                 {SN_STATES + 1, SN_PURPLE},        {SN_STATES + 2, SN_BLUE},
                 {SN_STATES + 3, SN_YELLOW},        {SN_STATES + 4, 0x8c6d46},
                 {SN_STATES + REASONS, 0xb9c4cf},   {SN_STATE_BLOCKED, 0xb9c4cf},
                 {SN_STATE_IDLE, SN_PALE}};
    for (size_t i = 0; i < SN_COUNT(p->kinds); i++)
        p->kinds[i] = UNUSED;
    for (size_t i = 0; i < SN_COUNT(order); i++) {
        uint32_t slot = order[i].slot;
        if (!p->used[slot])
            continue;
        struct sn_chart_kind *k =
            SN_PUSH(c->arena, panel->kinds, panel->n_kinds, panel->cap_kinds);
        if (k == NULL)
            return;
        p->kinds[slot] = panel->n_kinds - 1;
        k->color = order[i].color;
        k->name = slot < SN_STATES ? sn_trace_state_name((enum sn_trace_state)slot)
                  : slot == SN_STATES + REASONS
                      ? "other waits"
                      : sn_trace_str(t, p->reasons[slot - SN_STATES]);
    }
}

static void add_span(struct sn_chart *c, struct sn_chart_lane *l, double from, double to,
                     uint32_t kind)
{
    struct sn_chart_span *last = l->n > 0 ? &l->spans[l->n - 1] : NULL;
    if (last != NULL && last->kind == kind && last->to >= from) {
        last->to = to;
        return;
    }
    struct sn_chart_span *s = SN_PUSH(c->arena, l->spans, l->n, l->cap);
    if (s != NULL)
        *s = (struct sn_chart_span){from, to, kind};
}

/* What a sweep saw holds until the next one. */
static void fill_lanes(struct sn_chart *c, struct sn_chart_panel *panel,
                       const struct sn_trace *t, const uint32_t *row_of,
                       const struct painter *p)
{
    uint32_t stride = t->n_sweeps / COLUMNS + 1;
    double interval = (double)sn_trace_interval_ns(t);
    for (uint32_t i = 0; i < t->n_sweeps; i += stride) {
        const struct sn_trace_sweep *w = &t->sweeps[i];
        double from = (double)w->time_ns, to;
        to = i + stride < t->n_sweeps ? (double)t->sweeps[i + stride].time_ns
                                      : from + interval * stride;
        for (uint32_t k = w->first; k < w->first + w->n_samples; k++) {
            uint32_t row = row_of[t->samples[k].lane];
            uint32_t kind =
                row != SN_NONE ? p->kinds[slot_of(p, &t->samples[k])] : UNUSED;
            if (kind != UNUSED)
                add_span(c, &panel->lanes[row], from, fmin(to, c->to), kind);
        }
    }
}

static const char *tooltip(struct sn_chart *c, const char *label,
                           const struct sn_lane_use *u)
{
    struct sn_buf b = {.arena = c->arena};
    sn_buf_puts(&b, label);
    for (unsigned k = 0; k < SN_STATES; k++)
        if (u->shares[k] > 0)
            sn_buf_printf(&b, "%s %.1f%% %s", k == 0 ? ":" : ",", 100 * u->shares[k],
                          sn_trace_state_name((enum sn_trace_state)k));
    return b.data != NULL ? b.data : label;
}

/* Rows in the order of their numbers: who is who is easier found so. */
static int by_number(const void *a, const void *b)
{
    const struct sn_lane_use *x = a, *y = b;
    return (x->lane > y->lane) - (x->lane < y->lane);
}

static void lane_panel(struct sn_chart *c, const struct sn_trace *t, uint32_t limit)
{
    struct painter p = {.n_reasons = 0};
    char kind = sn_trace_lane_kind(t), label[160];
    uint32_t n, all;
    struct sn_lane_use *uses =
        kind != '\0' && t->n_sweeps > 1 ? sn_trace_lanes(t, kind, c->arena, &all) : NULL;
    uint32_t *row_of =
        sn_arena_alloc(c->arena, ((size_t)t->n_lanes + 1) * sizeof *row_of);
    if (uses == NULL || all == 0 || row_of == NULL)
        return;
    n = all > limit ? limit : all;
    qsort(uses, n, sizeof *uses, by_number);
    struct sn_chart_panel *panel =
        sn_chart_panel_add(c, SN_PANEL_LANES, kind == 'G' ? "Goroutines" : "Threads", "");
    if (panel == NULL)
        return;
    memset(row_of, 0xff, ((size_t)t->n_lanes + 1) * sizeof *row_of);
    for (uint32_t i = 0; i < n; i++) {
        struct sn_chart_lane *l =
            SN_PUSH(c->arena, panel->lanes, panel->n_lanes, panel->cap_lanes);
        if (l == NULL)
            return;
        row_of[uses[i].lane] = i;
        l->label =
            sn_arena_strdup(c->arena, sn_trace_lane_label(t, &t->lanes[uses[i].lane],
                                                          label, sizeof label));
        l->tooltip = tooltip(c, l->label, &uses[i]);
    }
    choose_reasons(t, row_of, c->arena, &p);
    for (uint32_t i = 0; i < t->n_samples; i++)
        if (row_of[t->samples[i].lane] != SN_NONE)
            p.used[slot_of(&p, &t->samples[i])] = true;
    p.used[SN_STATE_GONE] = false;
    name_kinds(c, panel, t, &p);
    fill_lanes(c, panel, t, row_of, &p);
    panel->note = sn_arena_printf(
        c->arena,
        n < all ? "the %2$u of %3$u that ran most; %4$u are left out; seen "
                  "every %1$s"
                : "seen every %1$s",
        sn_trace_duration(c->arena, sn_trace_interval_ns(t)), n, all, all - n);
}

/* ---- the page -------------------------------------------------------------------------
 */

static void set_time(struct sn_chart *c, const struct sn_trace *t)
{
    double from = (double)t->first_ns, to = (double)t->last_ns;
    for (uint32_t i = 0; i < t->n_gcs; i++)
        to = fmax(to, (double)(t->gcs[i].time_ns + t->gcs[i].wall_ns));
    if (t->n_sweeps > 1)
        to = fmax(to,
                  (double)(t->sweeps[t->n_sweeps - 1].time_ns + sn_trace_interval_ns(t)));
    if (from < to / 5)
        from = 0;
    if (to <= from)
        to = from + 1e6;
    c->from = from;
    c->to = to;
    c->unit = t->ordinal ? "events" : "ns";
}

static void add_word(struct sn_buf *b, const char *fmt, ...) SN_PRINTF(2, 3);

static void add_word(struct sn_buf *b, const char *fmt, ...)
{
    va_list ap;
    if (b->len > 0)
        sn_buf_puts(b, "  \u00b7  ");
    va_start(ap, fmt);
    sn_buf_vprintf(b, fmt, ap);
    va_end(ap);
}

static void set_words(struct sn_chart *c, const struct sn_trace *t, const char *title)
{
    struct sn_buf b = {.arena = c->arena};
    int32_t cpus = t->n_gcs > 0 ? t->gcs[t->n_gcs - 1].cpus : -1;
    for (uint32_t i = 0; i < t->n_sweeps; i++)
        cpus = t->sweeps[i].cpus > cpus ? t->sweeps[i].cpus : cpus;
    c->title = sn_arena_strdup(c->arena, title);
    if (!t->ordinal && t->last_ns > t->first_ns)
        add_word(&b, "%s", sn_trace_duration(c->arena, t->last_ns - t->first_ns));
    if (cpus > 0)
        add_word(&b, "%d CPU%s", cpus, cpus == 1 ? "" : "s");
    if (sn_trace_gc_percent(t) > 0)
        add_word(&b, "%.2g %% of CPU in the collector", sn_trace_gc_percent(t));
    if (t->source != 0)
        add_word(&b, "scheduler seen by %s", sn_trace_str(t, t->source));
    if (t->ordinal)
        add_word(&b, "no line says its time: in their order");
    if (t->gc_stride > 1 || t->sweep_stride > 1)
        add_word(&b, "one of %u events is drawn",
                 t->gc_stride > t->sweep_stride ? t->gc_stride : t->sweep_stride);
    c->subtitle = b.data != NULL ? b.data : "";
}

struct sn_chart *sn_trace_chart(const struct sn_trace *t,
                                const struct sn_trace_options *o, struct sn_error *e)
{
    struct sn_chart *c = sn_chart_new();
    if (c == NULL) {
        sn_fail(e, NULL, -1, "out of memory");
        return NULL;
    }
    set_time(c, t);
    set_words(c, t, o->title);
    heap_panel(c, t);
    pause_panel(c, t);
    memory_panel(c, t);
    cpu_panel(c, t);
    queue_panel(c, t);
    lane_panel(c, t, o->lanes > 0 ? o->lanes : LANES);
    histogram_panel(c, t);
    reduce_all(c);
    if (c->n_panels > 0 && !sn_arena_failed(c->arena))
        return c;
    sn_fail(e, NULL, -1, "%s",
            sn_arena_failed(c->arena) ? "out of memory"
                                      : "there is nothing to draw: no collections, and "
                                        "fewer than two SCHED lines");
    sn_chart_free(c);
    return NULL;
}
