/* trace_lanes.c: numbers of a trace that both its summary and its chart need: spreads,
 * stops, lanes in order of use. */
#include "trace_priv.h"

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The smallest value that at least p of 100 values do not exceed. */
static int64_t percentile(const int64_t *v, uint32_t n, uint32_t p)
{
    uint64_t rank = ((uint64_t)n * p + 99) / 100;
    return v[rank > 0 ? rank - 1 : 0];
}

struct sn_spread sn_spread_of(int64_t *v, uint32_t n)
{
    struct sn_spread s = {.n = n};
    if (n == 0)
        return s;
    qsort(v, n, sizeof *v, by_value);
    s.p50 = percentile(v, n, 50);
    s.p90 = percentile(v, n, 90);
    s.p99 = percentile(v, n, 99);
    s.max = v[n - 1];
    for (uint32_t i = 0; i < n; i++)
        s.sum += v[i] < INT64_MAX / 2 - s.sum ? v[i] : 0;
    return s;
}

int64_t *sn_trace_stops(const struct sn_trace *t, struct sn_arena *a, uint32_t *n)
{
    int64_t *v = sn_arena_alloc(a, ((size_t)t->n_gcs * SN_TRACE_STOPS + 1) * sizeof *v);
    *n = 0;
    for (uint32_t i = 0; v != NULL && i < t->n_gcs; i++)
        for (uint32_t k = 0; k < t->gcs[i].n_stops; k++)
            v[(*n)++] = t->gcs[i].stops_ns[k];
    return v;
}

double sn_trace_gc_percent(const struct sn_trace *t)
{
    double time = t->ordinal ? 0 : (double)(t->last_ns - t->first_ns);
    int32_t cpus = t->n_gcs > 0 ? t->gcs[t->n_gcs - 1].cpus : 0;
    if (t->gc.cpu_ns > 0 && time > 0 && cpus > 0)
        return 100.0 * (double)t->gc.cpu_ns / (time * cpus);
    return t->gc.percent;
}

/* Shares of its lines; where a thread says how long it ran and waited, shares of the time
 * that it was there, and the others in proportion of what is left. */
static void set_shares(struct sn_lane_use *u, const struct sn_trace_lane *l)
{
    uint64_t all = 0, others = 0;
    double said[2], time = (double)(l->last_ns - l->first_ns), rest = 1;
    for (unsigned i = 0; i < SN_STATE_GONE; i++)
        all += l->states[i];
    for (unsigned i = 0; i < SN_STATE_GONE; i++)
        u->shares[i] = all > 0 ? (double)l->states[i] / (double)all : 0;
    u->weight = (double)l->states[SN_STATE_RUNNING] +
                (double)l->states[SN_STATE_RUNNABLE] / 1e3 + (double)all / 1e9;
    if (l->first[SN_COUNTER_RUN] < 0 || l->first[SN_COUNTER_WAIT] < 0 || time <= 0)
        return;
    said[0] = (double)(l->last[SN_COUNTER_RUN] - l->first[SN_COUNTER_RUN]) / time;
    said[1] = (double)(l->last[SN_COUNTER_WAIT] - l->first[SN_COUNTER_WAIT]) / time;
    if (said[0] < 0 || said[1] < 0)
        return;
    others = all - l->states[SN_STATE_RUNNING] - l->states[SN_STATE_RUNNABLE];
    for (unsigned i = 0; i < 2; i++) {
        u->shares[i] = said[i] < rest ? said[i] : rest; /* the clocks are not in step */
        rest -= u->shares[i];
    }
    for (unsigned i = 2; i < SN_STATE_GONE; i++)
        u->shares[i] = others > 0 ? rest * (double)l->states[i] / (double)others : 0;
    if (others == 0)
        u->shares[SN_STATE_BLOCKED] = rest;
    u->weight = said[0] * time + said[1] * time / 1e3 + (double)all / 1e9;
}

static int by_weight(const void *a, const void *b)
{
    const struct sn_lane_use *x = a, *y = b;
    return x->weight != y->weight ? (x->weight < y->weight ? 1 : -1)
                                  : (x->lane > y->lane) - (x->lane < y->lane);
}

struct sn_lane_use *sn_trace_lanes(const struct sn_trace *t, char kind,
                                   struct sn_arena *a, uint32_t *n)
{
    struct sn_lane_use *v = sn_arena_alloc(a, ((size_t)t->n_lanes + 1) * sizeof *v);
    *n = 0;
    for (uint32_t i = 0; v != NULL && i < t->n_lanes; i++) {
        if (t->lanes[i].kind != kind)
            continue;
        v[*n].lane = i;
        set_shares(&v[(*n)++], &t->lanes[i]);
    }
    if (*n > 1)
        qsort(v, *n, sizeof *v, by_weight);
    return v;
}

const char *sn_trace_lanes_word(char kind)
{
    return kind == 'G' ? "goroutines" : kind == 'P' ? "CPUs" : "threads";
}

const char *sn_trace_duration(struct sn_arena *a, int64_t ns)
{
    static const struct {
        int64_t ns;
        const char *name;
    } units[] = {{3600000000000, "h"},
                 {60000000000, "min"},
                 {1000000000, "s"},
                 {1000000, "ms"},
                 {1000, "\u00b5s"}};
    for (size_t i = 0; i < SN_COUNT(units); i++) {
        double x = (double)ns / (double)units[i].ns;
        if (x < (units[i].ns >= 60000000000 ? 2 : 1))
            continue;
        const char *s = sn_arena_printf(a, "%.*f\u202f%s", x < 9.995 ? 2 : x < 99.95, x,
                                        units[i].name);
        return s != NULL ? s : "";
    }
    const char *s = sn_arena_printf(a, "%lld\u202fns", (long long)ns);
    return s != NULL ? s : "";
}
