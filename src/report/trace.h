/*
 * trace.h: what a runtime's trace (formats/trace.h) comes to: a summary in words, and a
 * chart to be drawn (chart.h).
 */
#ifndef SN_REPORT_TRACE_H
#define SN_REPORT_TRACE_H

#include "formats/trace.h"
#include "report/chart.h"

struct sn_trace_options {
    const char *title; /* of the chart; the file's name */
    uint32_t top;      /* rows of a table; 0: all */
    uint32_t lanes;    /* in the chart; 0: as many as fit (200) */
};

/* A paragraph a kind of lines that there is. Lines that begin in the first column are
 * heads. Allocates in out's arena. */
bool sn_trace_summary(const struct sn_trace *t, const struct sn_trace_options *o,
                      struct sn_buf *out, struct sn_error *e);

/* In an arena of its own. NULL: nothing to draw, or out of memory. */
struct sn_chart *sn_trace_chart(const struct sn_trace *t,
                                const struct sn_trace_options *o, struct sn_error *e);

#endif
