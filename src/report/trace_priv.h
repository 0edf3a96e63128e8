/* trace_priv.h: what the summary and the chart of a trace share. */
#ifndef SN_REPORT_TRACE_PRIV_H
#define SN_REPORT_TRACE_PRIV_H

#include "report/trace.h"

struct sn_spread { /* of one quantity */
    uint32_t n;
    int64_t p50, p90, p99, max, sum;
};

/* Sorts v. */
struct sn_spread sn_spread_of(int64_t *v, uint32_t n);
/* Every stop of every collection kept; *n of them. NULL: none, or out of memory. */
int64_t *sn_trace_stops(const struct sn_trace *t, struct sn_arena *a, uint32_t *n);

/* The collector's percentage of the CPUs' time: what the lines come to, or else what the
 * last one says; negative: neither. */
double sn_trace_gc_percent(const struct sn_trace *t);

struct sn_lane_use { /* a lane, for sorting */
    uint32_t lane;
    double shares[SN_STATES]; /* of its lines; running and runnable by its own sums if it
                                 says them */
    double weight;            /* seconds it ran, or samples */
};

/* The lanes of one kind, those that ran most first; *n of them. */
struct sn_lane_use *sn_trace_lanes(const struct sn_trace *t, char kind,
                                   struct sn_arena *a, uint32_t *n);
/* "554 µs", "1.23 ms": for pictures. */
const char *sn_trace_duration(struct sn_arena *a, int64_t ns);
const char *sn_trace_lanes_word(char kind); /* "threads", "goroutines", "CPUs" */

#endif
