/*
 * chart.h: a page of panels over one axis of time, with all words, colours and values
 * decided: what is to be drawn, not where. The draw room paints it (sn_draw_chart).
 *
 * Everything lives in the chart's arena. x is time in ns, or a count of events.
 */
#ifndef SN_REPORT_CHART_H
#define SN_REPORT_CHART_H

#include "base/base.h"

enum sn_chart_style {
    SN_CHART_LINE,
    SN_CHART_STEP,  /* a value holds until the next */
    SN_CHART_LIMIT, /* a step, dashed and thin: goals, totals */
    SN_CHART_FILL,  /* a line with the area below it */
    SN_CHART_STACK, /* steps, each upon the series before it */
    SN_CHART_STEMS, /* from 0 up to a dot */
    SN_CHART_MARKS  /* ticks at the foot; y is not looked at */
};

struct sn_chart_series {
    const char *name;
    uint32_t color; /* 0xRRGGBB */
    enum sn_chart_style style;
    double *x, *y; /* x ascending */
    uint32_t n;
};

struct sn_chart_span {
    double from, to;
    uint32_t kind; /* index into the panel's kinds */
};

struct sn_chart_kind { /* a colour of spans */
    const char *name;
    uint32_t color;
};

struct sn_chart_lane {
    const char *label, *tooltip;
    struct sn_chart_span *spans; /* ascending */
    uint32_t n, cap;
};

struct sn_chart_bin { /* of a histogram */
    double from, to;
    uint64_t n;
};

struct sn_chart_mark { /* in a histogram */
    const char *name;
    double at;
};

enum sn_chart_panel_kind { SN_PANEL_XY, SN_PANEL_LANES, SN_PANEL_HISTOGRAM };

struct sn_chart_panel {
    enum sn_chart_panel_kind kind;
    const char *title, *note; /* note: beside it, smaller; NULL: none */
    const char *unit;         /* of y, or of a histogram's x: "bytes", "ns", "count" */
    double height;            /* of the plot, points; 0: the usual */
    struct sn_chart_series *series;
    uint32_t n_series, cap_series;
    struct sn_chart_lane *lanes;
    uint32_t n_lanes, cap_lanes;
    struct sn_chart_kind *kinds;
    uint32_t n_kinds, cap_kinds;
    struct sn_chart_bin *bins;
    uint32_t n_bins, cap_bins;
    struct sn_chart_mark *marks;
    uint32_t n_marks, cap_marks;
};

struct sn_chart {
    struct sn_arena *arena;
    const char *title, *subtitle;
    const char *unit; /* of x: "ns" or "count" */
    double from, to;
    struct sn_chart_panel *panels;
    uint32_t n_panels, cap_panels;
};

struct sn_chart *sn_chart_new(void);    /* NULL: out of memory */
void sn_chart_free(struct sn_chart *c); /* NULL-safe */
/* NULL: out of memory. Pointers are valid until the next of its kind is added. */
struct sn_chart_panel *sn_chart_panel_add(struct sn_chart *c,
                                          enum sn_chart_panel_kind kind,
                                          const char *title, const char *unit);
/* A series with room for `cap` points. */
struct sn_chart_series *sn_chart_series_add(struct sn_chart *c, struct sn_chart_panel *p,
                                            const char *name, uint32_t color,
                                            enum sn_chart_style style, uint32_t cap);
static inline void sn_chart_point(struct sn_chart_series *s, double x, double y)
{
    s->x[s->n] = x;
    s->y[s->n++] = y;
}

/* Colours that people who see few colours can tell apart, and that print in grey: Okabe
 * and Ito, "Color Universal Design", https://jfly.uni-koeln.de/color/ */
#define SN_BLUE       0x0072b2
#define SN_SKY        0x56b4e9
#define SN_GREEN      0x009e73
#define SN_YELLOW     0xf0e442
#define SN_ORANGE     0xe69f00
#define SN_VERMILLION 0xd55e00
#define SN_PURPLE     0xcc79a7
#define SN_GREY       0x999999
#define SN_PALE       0xe4e4e4

#endif
