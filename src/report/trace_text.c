/* trace_text.c: a runtime's trace in words: collections, memory, scheduler, lanes and
 * what they wait for, allocations, and last what is not known. */
#include "trace_priv.h"

#include <stdio.h>

#define WIDTH 10 /* of a column */

struct text {
    const struct sn_trace *t;
    const struct sn_trace_options *o;
    struct sn_arena *arena;
    struct sn_buf *out;
};

/* ---- words and columns ----------------------------------------------------------------
 */

static void head(const struct text *x, const char *fmt, ...) SN_PRINTF(2, 3);

static void head(const struct text *x, const char *fmt, ...)
{
    va_list ap;
    if (x->out->len > 0)
        sn_buf_putc(x->out, '\n');
    va_start(ap, fmt);
    sn_buf_vprintf(x->out, fmt, ap);
    va_end(ap);
    sn_buf_putc(x->out, '\n');
}

static void columns(const struct text *x, const char *first, const char *const *names,
                    unsigned n)
{
    sn_buf_printf(x->out, "  %-14s", first);
    for (unsigned i = 0; i < n; i++)
        sn_buf_printf(x->out, "%*s", WIDTH, names[i]);
    sn_buf_putc(x->out, '\n');
}

static void cell(const struct text *x, int64_t value, const char *unit)
{
    char label[64];
    if (value < 0)
        snprintf(label, sizeof label, "-");
    else if (strcmp(unit, "count") == 0)
        snprintf(label, sizeof label, "%lld", (long long)value);
    else
        sn_unit_label(value, unit, "auto", label, sizeof label);
    sn_buf_printf(x->out, " %*s", WIDTH - 1, label); /* never without a gap */
}

static void row(const struct text *x, const char *name)
{
    sn_buf_printf(x->out, "  %-14s", name);
}

static const char *duration(const struct text *x, int64_t ns)
{
    char label[64];
    const char *s =
        sn_arena_strdup(x->arena, sn_unit_label(ns, "ns", "auto", label, sizeof label));
    return s != NULL ? s : "";
}

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

static int64_t length_ns(const struct sn_trace *t)
{
    return t->ordinal || t->first_ns < 0 ? 0 : t->last_ns - t->first_ns;
}

static void spread(const struct text *x, const char *name, int64_t *v, uint32_t n,
                   const char *unit)
{
    struct sn_spread s = sn_spread_of(v, n);
    row(x, name);
    cell(x, s.p50, unit);
    cell(x, s.p90, unit);
    cell(x, s.p99, unit);
    cell(x, s.max, unit);
}

/* ---- collections ----------------------------------------------------------------------
 */

static void stops(const struct text *x)
{
    static const char *const names[] = {"p50", "p90", "p99", "max", "total"};
    const struct sn_trace *t = x->t;
    uint32_t n;
    int64_t *v = sn_trace_stops(t, x->arena, &n);
    if (n == 0 || v == NULL)
        return;
    columns(x, "", names, SN_COUNT(names));
    struct sn_spread s = sn_spread_of(v, n);
    row(x, "pause");
    cell(x, s.p50, "ns");
    cell(x, s.p90, "ns");
    cell(x, s.p99, "ns");
    cell(x, t->gc.longest_ns, "ns");
    cell(x, t->gc.stopped_ns, "ns");
    if (length_ns(t) > 0)
        sn_buf_printf(x->out, "    %.3g%% of the time",
                      100.0 * (double)t->gc.stopped_ns / (double)length_ns(t));
    sn_buf_putc(x->out, '\n');
    for (n = 0; n < t->n_gcs; n++)
        v[n] = t->gcs[n].wall_ns;
    spread(x, "whole", v, n, "ns");
    cell(x, t->gc.wall_ns, "ns");
    sn_buf_putc(x->out, '\n');
}

/* Heaps are in MB where Go prints them: as they are. */
static void heaps(const struct text *x)
{
    static const char *const names[] = {"first", "last", "least", "peak"};
    const struct sn_trace_sums *g = &x->t->gc;
    columns(x, "", names, SN_COUNT(names));
    const struct {
        const char *name;
        int64_t first, last, least, most;
    } rows[] = {{"live heap", g->first_live, g->last_live, g->least_live, g->most_live},
                {"heap, at most", -1, -1, -1, g->most_heap},
                {"goal", g->first_goal, g->last_goal, -1, g->most_goal},
                {"RSS, at most", -1, -1, -1, g->most_rss}};
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        if (rows[i].most < 0)
            continue;
        row(x, rows[i].name);
        cell(x, rows[i].first, "bytes");
        cell(x, rows[i].last, "bytes");
        cell(x, rows[i].least, "bytes");
        cell(x, rows[i].most, "bytes");
        sn_buf_putc(x->out, '\n');
    }
}

static void cpu_of_collector(const struct text *x)
{
    const struct sn_trace *t = x->t;
    double share = sn_trace_gc_percent(t);
    if (share < 0)
        return;
    sn_buf_printf(x->out, "  %.3g%% of the CPUs' time went to the collector", share);
    if (t->gc.cpu_ns > 0)
        sn_buf_printf(x->out, ", %s in all", duration(x, t->gc.cpu_ns));
    sn_buf_putc(x->out, '\n');
}

static void collections(const struct text *x)
{
    const struct sn_trace *t = x->t;
    const struct sn_trace_sums *g = &t->gc;
    const char *marker = t->n_gcs > 0 ? sn_trace_str(t, t->gcs[0].marker) : "";
    if (g->n == 0)
        return;
    head(x, "Collections: %llu%s%s%s%s%s", (unsigned long long)g->n,
         length_ns(t) > 0 ? ", one every " : "",
         length_ns(t) > 0 ? duration(x, length_ns(t) / (int64_t)g->n) : "",
         g->forced > 0 ? ", of which forced " : "",
         g->forced > 0 ? sn_arena_printf(x->arena, "%llu", (unsigned long long)g->forced)
                       : "",
         strcmp(marker, "malloc") == 0
             ? "; there is no collector: a line whenever one would have run"
             : "");
    stops(x);
    heaps(x);
    if (strcmp(marker, "malloc") != 0)
        cpu_of_collector(x);
}

/* ---- memory ---------------------------------------------------------------------------
 */

static int64_t scav_field(const struct sn_trace_scav *v, unsigned i)
{
    const int64_t fields[] = {v->inuse,    v->idle,     v->sys,
                              v->released, v->consumed, v->rss};
    return fields[i];
}

static void scavenger(const struct text *x)
{
    static const char *const names[] = {"first", "last", "least", "peak"};
    static const char *const rows[] = {"in use",   "idle",     "from system",
                                       "released", "consumed", "RSS"};
    const struct sn_trace *t = x->t;
    if (t->n_scavs == 0)
        return;
    head(x, "Memory: %llu line%s of the scavenger; %s went back to the system",
         (unsigned long long)t->lines[SN_TRACE_SCAV], plural(t->lines[SN_TRACE_SCAV]),
         sn_arena_printf(x->arena, "%s",
                         sn_unit_label(t->released, "bytes", "auto", (char[64]){0}, 64)));
    columns(x, "", names, SN_COUNT(names));
    for (unsigned f = 0; f < SN_COUNT(rows); f++) {
        int64_t first = -1, last = -1, least = -1, most = -1;
        for (uint32_t i = 0; i < t->n_scavs; i++) {
            int64_t v = scav_field(&t->scavs[i], f);
            if (v < 0)
                continue;
            first = first < 0 ? v : first;
            last = v;
            least = least < 0 || v < least ? v : least;
            most = v > most ? v : most;
        }
        if (most < 0)
            continue;
        row(x, rows[f]);
        cell(x, first, "bytes");
        cell(x, last, "bytes");
        cell(x, least, "bytes");
        cell(x, most, "bytes");
        sn_buf_putc(x->out, '\n');
    }
}

/* ---- the scheduler --------------------------------------------------------------------
 */

static int32_t sweep_field(const struct sn_trace_sweep *w, unsigned i)
{
    const int32_t fields[] = {w->idle_cpus, w->queue,        w->longest,
                              w->threads,   w->idle_threads, w->spinning};
    return fields[i];
}

static double mean_of(const struct sn_spread *s)
{
    return s->n > 0 ? (double)s->sum / (double)s->n : 0;
}

static int64_t counted(const struct sn_trace_lane *l, enum sn_trace_counter i)
{
    return l->first[i] >= 0 && l->last[i] > l->first[i] ? l->last[i] - l->first[i] : 0;
}

/* What threads say of themselves: their waits in run queues, their switches. */
static void waits_and_switches(const struct text *x)
{
    const struct sn_trace *t = x->t;
    const struct sn_trace_lane *longest = NULL;
    double sums[SN_COUNTERS] = {0}, time = 0;
    char label[160];
    for (uint32_t i = 0; i < t->n_lanes; i++) {
        const struct sn_trace_lane *l = &t->lanes[i];
        if (l->kind != 'M' || l->first[SN_COUNTER_WAIT] < 0)
            continue;
        for (unsigned k = 0; k < SN_COUNTERS; k++)
            sums[k] += (double)counted(l, (enum sn_trace_counter)k);
        time += (double)(l->last_ns - l->first_ns);
        if (longest == NULL ||
            counted(l, SN_COUNTER_WAIT) > counted(longest, SN_COUNTER_WAIT))
            longest = l;
    }
    if (longest == NULL || time <= 0)
        return;
    sn_buf_printf(
        x->out, "  Threads waited %s for a CPU, %.3g%% of their time; longest %s, %s\n",
        duration(x,
                 (int64_t)(sums[SN_COUNTER_WAIT] < 4e18 ? sums[SN_COUNTER_WAIT] : 4e18)),
        100 * sums[SN_COUNTER_WAIT] / time,
        sn_trace_lane_label(t, longest, label, sizeof label),
        duration(x, counted(longest, SN_COUNTER_WAIT)));
    for (unsigned k = SN_COUNTER_VOLUNTARY; k < SN_COUNTERS; k++)
        if (t->counters[k] >= 0) /* also of threads that have ended */
            sums[k] = (double)t->counters[k];
    if (sums[SN_COUNTER_VOLUNTARY] + sums[SN_COUNTER_INVOLUNTARY] > 0)
        sn_buf_printf(x->out,
                      "  They gave it up %.0f times, lost it %.0f times, and changed it "
                      "%.0f times\n",
                      sums[SN_COUNTER_VOLUNTARY], sums[SN_COUNTER_INVOLUNTARY],
                      sums[SN_COUNTER_MIGRATIONS]);
}

static void scheduler(const struct text *x)
{
    static const char *const names[] = {"mean", "p50", "p90", "p99", "max"};
    static const char *const rows[] = {"idle CPUs", "run queue",    "longest queue",
                                       "threads",   "idle threads", "spinning"};
    const struct sn_trace *t = x->t;
    int64_t *v = sn_arena_alloc(x->arena, ((size_t)t->n_sweeps + 1) * sizeof *v);
    int32_t cpus = -1;
    uint64_t looks = t->lines[SN_TRACE_SCHED] - t->n_heads;
    if (t->n_sweeps == 0 || v == NULL)
        return;
    for (uint32_t i = 0; i < t->n_sweeps; i++)
        cpus = t->sweeps[i].cpus > cpus ? t->sweeps[i].cpus : cpus;
    head(x, "Scheduler: %d CPU%s, looked at %llu time%s%s%s%s%s", cpus > 0 ? cpus : 0,
         plural((uint64_t)(cpus > 0 ? cpus : 0)), (unsigned long long)looks,
         plural(looks), t->n_sweeps > 1 ? ", every " : "",
         t->n_sweeps > 1 ? duration(x, sn_trace_interval_ns(t)) : "",
         t->source != 0 ? "; by " : "", sn_trace_str(t, t->source));
    columns(x, "", names, SN_COUNT(names));
    for (unsigned f = 0; f < SN_COUNT(rows); f++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < t->n_sweeps; i++)
            if (sweep_field(&t->sweeps[i], f) >= 0)
                v[n++] = sweep_field(&t->sweeps[i], f);
        if (n == 0)
            continue;
        struct sn_spread s = sn_spread_of(v, n);
        row(x, rows[f]);
        sn_buf_printf(x->out, " %*.2f", WIDTH - 1, mean_of(&s));
        cell(x, s.p50, "count");
        cell(x, s.p90, "count");
        cell(x, s.p99, "count");
        cell(x, s.max, "count");
        if (f == 0 && cpus > 0)
            sn_buf_printf(x->out, "    %.3g%% of the CPUs' time is idle",
                          100 * mean_of(&s) / cpus);
        sn_buf_putc(x->out, '\n');
    }
    waits_and_switches(x);
}

/* ---- lanes ----------------------------------------------------------------------------
 */

struct wait {
    uint32_t lane, reason, n;
};

static int by_lane(const void *a, const void *b)
{
    const struct wait *x = a, *y = b;
    if (x->lane != y->lane)
        return x->lane > y->lane ? 1 : -1;
    return (x->reason > y->reason) - (x->reason < y->reason);
}

static int by_count(const void *a, const void *b)
{
    const struct wait *x = a, *y = b;
    return x->n != y->n ? (x->n < y->n ? 1 : -1)
                        : (x->reason > y->reason) - (x->reason < y->reason);
}

/* Equal ones become one, with their count. */
static uint32_t unite(struct wait *v, uint32_t n)
{
    uint32_t used = 0;
    if (n > 1)
        qsort(v, n, sizeof *v, by_lane);
    for (uint32_t i = 0; i < n; i++)
        if (used > 0 && by_lane(&v[used - 1], &v[i]) == 0)
            v[used - 1].n += v[i].n;
        else
            v[used++] = v[i];
    return used;
}

/* What lanes of this kind were seen waiting for, each pair once, by lane. */
static struct wait *waits_of(const struct text *x, char kind, bool idle, uint32_t *n)
{
    const struct sn_trace *t = x->t;
    struct wait *v = sn_arena_alloc(x->arena, ((size_t)t->n_samples + 1) * sizeof *v);
    *n = 0;
    for (uint32_t i = 0; v != NULL && i < t->n_samples; i++) {
        const struct sn_trace_sample *s = &t->samples[i];
        if (t->lanes[s->lane].kind == kind && s->reason != 0 &&
            (idle || s->state != SN_STATE_IDLE))
            v[(*n)++] = (struct wait){s->lane, s->reason, 1};
    }
    *n = v != NULL ? unite(v, *n) : 0;
    return v;
}

/* The one that a lane waited for most. */
static const char *main_wait(const struct text *x, const struct wait *v, uint32_t n,
                             uint32_t lane)
{
    const struct wait *best = NULL;
    uint32_t low = 0, high = n;
    while (low < high) { /* its first */
        uint32_t middle = low + (high - low) / 2;
        if (v[middle].lane < lane)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < n && v[low].lane == lane; low++)
        if (best == NULL || v[low].n > best->n)
            best = &v[low];
    return best != NULL ? sn_trace_str(x->t, best->reason) : "";
}

static void cell_percent(const struct text *x, double share)
{
    if (share <= 0)
        sn_buf_printf(x->out, "%*s", WIDTH, "-");
    else
        sn_buf_printf(x->out, "%*.1f%%", WIDTH - 1, 100 * share);
}

static uint32_t rows_of(const struct text *x, uint32_t n)
{
    return x->o->top > 0 && n > x->o->top ? x->o->top : n;
}

static void waits_in_all(const struct text *x, struct wait *v, uint32_t n,
                         const struct sn_lane_use *uses, uint32_t n_uses)
{
    uint64_t samples = 0;
    for (uint32_t i = 0; i < n_uses; i++)
        for (unsigned k = 0; k < SN_STATE_GONE; k++)
            samples += x->t->lanes[uses[i].lane].states[k];
    for (uint32_t i = 0; i < n; i++)
        v[i].lane = 0;
    n = unite(v, n);
    if (n == 0 || samples == 0)
        return;
    qsort(v, n, sizeof *v, by_count);
    samples = samples / x->t->sweep_stride;
    head(x, "Waited for: share of the %s' time",
         sn_trace_lanes_word(x->t->lanes[uses[0].lane].kind));
    for (uint32_t i = 0; i < rows_of(x, n); i++)
        sn_buf_printf(x->out, "%7.1f%%  %s\n",
                      100.0 * v[i].n / (double)(samples > v[i].n ? samples : v[i].n),
                      sn_trace_str(x->t, v[i].reason));
    if (rows_of(x, n) < n)
        sn_buf_printf(x->out, "          and %u more\n", n - rows_of(x, n));
}

#define LABEL_MAX 32

/* Cut to LABEL_MAX characters; their number. */
static int lane_label(const struct text *x, const struct sn_trace_lane *l, char *label,
                      size_t size)
{
    int n = 0;
    sn_trace_lane_label(x->t, l, label, size);
    for (char *p = label; *p != '\0'; p++) {
        if ((*p & 0xc0) == 0x80)
            continue;
        if (n++ == LABEL_MAX)
            strcpy(p - 3, "...");
        if (n > LABEL_MAX)
            return LABEL_MAX;
    }
    return n;
}

static void lane_row(const struct text *x, const struct sn_lane_use *u, int width,
                     const char *wait)
{
    char label[160];
    int n = lane_label(x, &x->t->lanes[u->lane], label, sizeof label);
    sn_buf_puts(x->out, "  ");
    for (unsigned k = 0; k < SN_STATE_GONE; k++)
        cell_percent(x, u->shares[k]);
    sn_buf_printf(x->out, "   %s", label);
    if (*wait != '\0')
        sn_buf_printf(x->out, "%*s  %s", width - n, "", wait);
    sn_buf_putc(x->out, '\n');
}

static void lanes(const struct text *x, char kind)
{
    const char *word = sn_trace_lanes_word(kind);
    uint32_t n, n_waits, shown;
    char label[160];
    int width = 5;
    struct sn_lane_use *v = sn_trace_lanes(x->t, kind, x->arena, &n);
    if (n == 0 || v == NULL)
        return;
    struct wait *waits = waits_of(x, kind, true, &n_waits);
    shown = rows_of(x, n);
    for (uint32_t i = 0; i < shown; i++) {
        int w = lane_label(x, &x->t->lanes[v[i].lane], label, sizeof label);
        width = w > width ? w : width;
    }
    head(x, "%c%s: %u%s", *word >= 'a' ? *word - 32 : *word, word + 1, n,
         n > shown ? ", those that ran most" : "");
    sn_buf_puts(x->out, "  ");
    for (unsigned k = 0; k < SN_STATE_GONE; k++)
        sn_buf_printf(x->out, "%*s", WIDTH, sn_trace_state_name((enum sn_trace_state)k));
    sn_buf_printf(x->out, "   %-*s%s\n", n_waits > 0 ? width : 0, "which",
                  n_waits > 0 ? "  waits most for" : "");
    for (uint32_t i = 0; i < shown; i++)
        lane_row(x, &v[i], width, main_wait(x, waits, n_waits, v[i].lane));
    if (shown < n)
        sn_buf_printf(x->out, "%*sand %u more\n", 5 * WIDTH + 5, "", n - shown);
    waits = waits_of(x, kind, false, &n_waits);
    waits_in_all(x, waits, n_waits, v, n);
}

/* ---- allocations ----------------------------------------------------------------------
 */

static int by_bytes(const void *a, const void *b)
{
    const struct sn_trace_site *x = a, *y = b;
    return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1)
                                : (x->name > y->name) - (x->name < y->name);
}

static void allocations(const struct text *x)
{
    static const char *const names[] = {"blocks", "bytes", "live", "live bytes"};
    const struct sn_trace *t = x->t;
    if (t->allocs + t->frees == 0)
        return;
    head(
        x, "Allocations: %llu, freed %llu%s%s%s%s", (unsigned long long)t->allocs,
        (unsigned long long)t->frees, t->late > 0 ? "; seen late, by a collection: " : "",
        t->late > 0 ? sn_arena_printf(x->arena, "%llu", (unsigned long long)t->late) : "",
        t->unknown_frees > 0 ? "; blocks that the trace does not know, freed: " : "",
        t->unknown_frees > 0
            ? sn_arena_printf(x->arena, "%llu", (unsigned long long)t->unknown_frees)
            : "");
    size_t size = (t->n_sites + 1) * sizeof(struct sn_trace_site);
    struct sn_trace_site *v = sn_arena_alloc(x->arena, size);
    if (v == NULL || t->n_sites == 0)
        return;
    memcpy(v, t->sites, t->n_sites * sizeof *v);
    qsort(v, t->n_sites, sizeof *v, by_bytes);
    sn_buf_puts(x->out, "  ");
    for (size_t i = 0; i < SN_COUNT(names); i++)
        sn_buf_printf(x->out, "%*s", WIDTH + 1, names[i]);
    sn_buf_puts(x->out, "   where\n");
    for (uint32_t i = 0; i < rows_of(x, t->n_sites); i++) {
        const int64_t cells[] = {
            (int64_t)v[i].allocs, (int64_t)v[i].bytes,
            (int64_t)(v[i].allocs - v[i].frees),
            v[i].bytes > v[i].freed_bytes ? (int64_t)(v[i].bytes - v[i].freed_bytes) : 0};
        sn_buf_puts(x->out, "  ");
        for (size_t k = 0; k < SN_COUNT(cells); k++) {
            sn_buf_putc(x->out, ' ');
            cell(x, cells[k], k % 2 == 0 ? "count" : "bytes");
        }
        sn_buf_printf(x->out, "   %s\n", sn_trace_str(t, v[i].name));
    }
    if (rows_of(x, t->n_sites) < t->n_sites)
        sn_buf_printf(x->out, "%*sand %u more\n", 4 * WIDTH + 9, "",
                      t->n_sites - rows_of(x, t->n_sites));
}

/* ---- what is not known ----------------------------------------------------------------
 */

static void thinned(const struct text *x, const char *what, uint32_t stride)
{
    if (stride > 1)
        sn_buf_printf(x->out,
                      "  Too many %s: one of %u is kept, evenly; percentiles and "
                      "pictures are of these\n",
                      what, stride);
}

static void lost(const struct text *x, const char *what, uint64_t n)
{
    if (n > 0)
        sn_buf_printf(x->out, "  Too many %s: %llu line%s not told apart\n", what,
                      (unsigned long long)n, n == 1 ? " is" : "s are");
}

/* Lines of other processes, and how they are got at. */
static void others(const struct text *x)
{
    const struct sn_trace *t = x->t;
    if (t->lines_of_others == 0)
        return;
    sn_buf_printf(x->out, "  Left out: %llu line%s of other processes",
                  (unsigned long long)t->lines_of_others,
                  t->lines_of_others == 1 ? "" : "s");
    for (size_t i = 0; i < SN_COUNT(t->others) && t->others[i] > 0; i++)
        sn_buf_printf(x->out, "%s--pid=%lld", i == 0 ? "; " : ", ",
                      (long long)t->others[i]);
    sn_buf_puts(x->out, t->more_others ? ", ...\n" : "\n");
}

static void notes(const struct text *x)
{
    const struct sn_trace *t = x->t;
    bool any = t->ordinal || t->stamped || t->back > 0 || t->sweep_stride > 1 ||
               t->gc_stride > 1 || t->scav_stride > 1 || t->lost_lanes > 0 ||
               t->lost_sites > 0 || t->lost_blocks > 0 || t->lost_strings > 0 ||
               t->lines_of_others > 0;
    if (t->pointer[0] != '\0')
        head(x, "Invalid pointers: %llu; the first:\n  %s",
             (unsigned long long)t->lines[SN_TRACE_POINTER], t->pointer);
    if (!any)
        return;
    head(x, "Notes");
    if (t->ordinal)
        sn_buf_puts(x->out,
                    "  No line says its time: events are in order, times are not\n");
    if (t->stamped)
        sn_buf_puts(x->out, "  Times are when the lines came: they say none\n");
    if (t->back > 0)
        sn_buf_printf(x->out,
                      "  Time goes back %llu time%s: these are lines of several "
                      "programs\n",
                      (unsigned long long)t->back, plural(t->back));
    others(x);
    thinned(x, "SCHED lines", t->sweep_stride);
    thinned(x, "collections", t->gc_stride);
    thinned(x, "lines of the scavenger", t->scav_stride);
    lost(x, "threads", t->lost_lanes);
    lost(x, "sites", t->lost_sites);
    lost(x, "live blocks", t->lost_blocks);
    lost(x, "names", t->lost_strings);
}

static void title(const struct text *x)
{
    const struct sn_trace *t = x->t;
    uint64_t all = 0;
    for (unsigned i = SN_TRACE_OTHER + 1; i < SN_TRACE_LINES; i++)
        all += t->lines[i];
    head(x, "%llu line%s of a runtime's trace%s%s%s", (unsigned long long)all,
         plural(all), length_ns(t) > 0 ? ", of " : "",
         length_ns(t) > 0 ? duration(x, length_ns(t)) : "",
         t->lines[SN_TRACE_OTHER] > 0
             ? sn_arena_printf(x->arena, "; %llu other line%s passed over",
                               (unsigned long long)t->lines[SN_TRACE_OTHER],
                               plural(t->lines[SN_TRACE_OTHER]))
             : "");
    if (t->head[0] != '\0')
        sn_buf_printf(x->out, "  %s\n", t->head);
}

bool sn_trace_summary(const struct sn_trace *t, const struct sn_trace_options *o,
                      struct sn_buf *out, struct sn_error *e)
{
    const struct text x = {t, o, out->arena, out};
    title(&x);
    collections(&x);
    scavenger(&x);
    scheduler(&x);
    lanes(&x, 'P');
    if (sn_trace_lane_kind(t) != '\0')
        lanes(&x, sn_trace_lane_kind(t));
    allocations(&x);
    notes(&x);
    return (!out->failed && !sn_arena_failed(out->arena)) ||
           sn_fail(e, NULL, -1, "out of memory");
}
