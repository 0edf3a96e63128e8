/*
 * chart.c: a chart on a page: the panels one above the other over one axis of time, their
 * names and legends above each, grids light, words never over one another.
 *
 *     words measured -> gutter -> panels placed -> painted: grid, data, axes, words
 */
#include "draw_priv.h"

#include <math.h>
#include <stdio.h>

#define MARGIN      20.0
#define PLOT_WIDTH  860.0
#define PLOT_HEIGHT 110.0 /* if a panel does not say */
#define TITLE_SIZE  19.0
#define SUB_SIZE    11.5
#define PANEL_SIZE  13.0
#define NOTE_SIZE   10.5
#define TICK_SIZE   10.0
#define HEAD        24.0 /* above a plot: its name and legend */
#define LEGEND_LINE 16.0 /* a further line of the legend */
#define FOOT        18.0 /* below a plot: its ticks */
#define GAP         14.0 /* between panels */
#define MARKS_ROOM  1.35 /* of a histogram: its marks' names are above its bars */
#define GUTTER_MAX  160.0
#define INK         0x222222
#define SOFT        0x5f5f5f
#define GRID        0xe6e6e6
#define FRAME       0xb0b0b0

struct place {         /* of a panel */
    double x, y, w, h; /* of the plot */
    double legend_y;   /* base of its first line */
    struct sn_axis y_axis;
};

struct page {
    const struct sn_chart *chart;
    struct sn_arena *arena;
    struct sn_text *text;
    const struct sn_canvas *canvas;
    struct place *places;
    struct sn_axis x_axis;
    double gutter, width, height;
};

/* ---- words ----------------------------------------------------------------------------
 */

enum align { LEFT, CENTRE, RIGHT };

static double width_of(struct page *p, const char *words, double size)
{
    return sn_text_width(p->text, words, size);
}

static void words(struct page *p, double x, double base, double size, uint32_t color,
                  enum align align, const char *s)
{
    const char *clean = sn_text_clean(p->arena, s);
    struct sn_line_of_text line = {clean, width_of(p, clean, size)};
    if (line.width > 0)
        p->canvas->text(p->canvas->self, align == RIGHT ? x - line.width : x, base, size,
                        color, align != CENTRE, &line);
}

/* As much of it as is not wider than `width`, the middle left out. */
static const char *elide(struct page *p, const char *s, double size, double width)
{
    const char *clean = sn_text_clean(p->arena, s);
    size_t n = strlen(clean);
    if (width_of(p, clean, size) <= width)
        return clean;
    for (size_t keep = n; keep > 2; keep--) {
        size_t head = (keep + 1) / 2, tail = n - keep / 2;
        while (head > 0 && (clean[head] & 0xc0) == 0x80)
            head--;
        while (tail < n && (clean[tail] & 0xc0) == 0x80)
            tail++;
        const char *cut =
            sn_arena_printf(p->arena, "%.*s\u2026%s", (int)head, clean, clean + tail);
        if (cut == NULL || width_of(p, cut, size) <= width)
            return cut != NULL ? cut : "";
    }
    return "\u2026";
}

/* ---- scales ---------------------------------------------------------------------------
 */

static double x_at(const struct page *p, const struct place *at, double x)
{
    double share = (x - p->x_axis.from) / (p->x_axis.to - p->x_axis.from);
    return at->x + fmin(fmax(share, 0), 1) * at->w;
}

static double y_at(const struct place *at, double y)
{
    double share = (y - at->y_axis.from) / (at->y_axis.to - at->y_axis.from);
    return at->y + at->h - fmin(fmax(share, 0), 1) * at->h;
}

/* What a stack comes to at its i-th point: its series have the same x. */
static double stacked(const struct sn_chart_panel *n, uint32_t upto, uint32_t i)
{
    double sum = 0;
    for (uint32_t k = 0; k <= upto; k++)
        if (n->series[k].style == SN_CHART_STACK && i < n->series[k].n)
            sum += n->series[k].y[i];
    return sum;
}

static double most_of(const struct sn_chart_panel *n)
{
    double most = 0;
    for (uint32_t k = 0; k < n->n_series; k++)
        for (uint32_t i = 0; i < n->series[k].n; i++)
            most = fmax(most, n->series[k].style == SN_CHART_STACK ? stacked(n, k, i)
                                                                   : n->series[k].y[i]);
    for (uint32_t i = 0; i < n->n_bins; i++)
        most = fmax(most, (double)n->bins[i].n);
    return most;
}

/* ---- where things stand ---------------------------------------------------------------
 */

static double row_height(const struct sn_chart_panel *n)
{
    return n->n_lanes <= 40 ? 15 : n->n_lanes <= 100 ? 12 : 10;
}

static double row_size(const struct sn_chart_panel *n)
{
    return n->n_lanes <= 40 ? 10 : n->n_lanes <= 100 ? 9 : 8;
}

static double plot_height(const struct sn_chart_panel *n)
{
    if (n->kind == SN_PANEL_LANES)
        return n->n_lanes * row_height(n);
    return n->height > 0 ? n->height : PLOT_HEIGHT;
}

struct entry { /* of a legend */
    const char *name;
    uint32_t color;
    enum sn_chart_style style;
};

static uint32_t n_entries(const struct sn_chart_panel *n)
{
    return n->kind == SN_PANEL_LANES ? n->n_kinds : n->n_series;
}

static struct entry entry_at(const struct sn_chart_panel *n, uint32_t i)
{
    if (n->kind == SN_PANEL_LANES)
        return (struct entry){n->kinds[i].name, n->kinds[i].color, SN_CHART_STACK};
    return (struct entry){n->series[i].name, n->series[i].color, n->series[i].style};
}

#define SWATCH     16.0
#define ENTRY_GAP  16.0
#define ENTRY_MAX  220.0
#define LEGEND_PAD 24.0

static double entry_width(struct page *p, const struct entry *e)
{
    return SWATCH + 5 + width_of(p, elide(p, e->name, NOTE_SIZE, ENTRY_MAX), NOTE_SIZE) +
           ENTRY_GAP;
}

static double head_width(struct page *p, const struct sn_chart_panel *n)
{
    return width_of(p, n->title, PANEL_SIZE) +
           (n->note != NULL ? 10 + width_of(p, n->note, NOTE_SIZE) : 0);
}

static double legend_width(struct page *p, const struct sn_chart_panel *n)
{
    double w = 0;
    for (uint32_t i = 0; i < n_entries(n); i++) {
        struct entry e = entry_at(n, i);
        w += entry_width(p, &e);
    }
    return w;
}

/* Beside the name if it fits, else in lines of its own. */
static bool legend_beside(struct page *p, const struct sn_chart_panel *n)
{
    return head_width(p, n) + LEGEND_PAD + legend_width(p, n) <= PLOT_WIDTH;
}

static unsigned legend_lines(struct page *p, const struct sn_chart_panel *n)
{
    double x = 0;
    unsigned lines = 1;
    if (n_entries(n) == 0 || legend_beside(p, n))
        return 0;
    for (uint32_t i = 0; i < n_entries(n); i++) {
        struct entry e = entry_at(n, i);
        double w = entry_width(p, &e);
        if (x > 0 && x + w > PLOT_WIDTH) {
            x = 0;
            lines++;
        }
        x += w;
    }
    return lines;
}

static double gutter_of(struct page *p)
{
    double w = 44;
    for (uint32_t i = 0; i < p->chart->n_panels; i++) {
        const struct sn_chart_panel *n = &p->chart->panels[i];
        for (uint32_t k = 0; k < n->n_lanes; k++)
            w = fmax(
                w, width_of(p, sn_text_clean(p->arena, n->lanes[k].label), row_size(n)));
        const struct sn_axis *a = &p->places[i].y_axis;
        char label[64];
        for (unsigned k = 0; n->kind != SN_PANEL_LANES && k < sn_axis_ticks(a); k++)
            w = fmax(w, width_of(p, sn_axis_label(a, sn_axis_tick(a, k), label, 64),
                                 TICK_SIZE));
    }
    return fmin(w, GUTTER_MAX) + 8;
}

static unsigned most_ticks(double height)
{
    return height > 120 ? 6 : height > 85 ? 4 : 3;
}

static bool place_panels(struct page *p)
{
    const struct sn_chart *c = p->chart;
    double y =
        MARGIN + TITLE_SIZE * 1.3 + (*c->subtitle != '\0' ? SUB_SIZE * 1.5 : 0) + 8;
    p->places = sn_arena_alloc(p->arena, (c->n_panels + 1) * sizeof *p->places);
    if (p->places == NULL)
        return false;
    for (uint32_t i = 0; i < c->n_panels; i++) {
        const struct sn_chart_panel *n = &c->panels[i];
        bool histogram = n->kind == SN_PANEL_HISTOGRAM;
        p->places[i].y_axis =
            sn_axis_fit(0, most_of(n) * (histogram ? MARKS_ROOM : 1),
                        histogram ? "count" : n->unit, most_ticks(plot_height(n)), true);
    }
    p->gutter = gutter_of(p);
    for (uint32_t i = 0; i < c->n_panels; i++) {
        const struct sn_chart_panel *n = &c->panels[i];
        struct place *at = &p->places[i];
        at->legend_y = y + HEAD - 7;
        y += HEAD + legend_lines(p, n) * LEGEND_LINE;
        at->x = MARGIN + p->gutter;
        at->y = y;
        at->w = PLOT_WIDTH;
        at->h = plot_height(n);
        y += at->h + FOOT + GAP;
    }
    p->width = 2 * MARGIN + p->gutter + PLOT_WIDTH + 12;
    p->height = y - GAP + MARGIN;
    p->x_axis = sn_axis_fit(c->from, c->to, c->unit, 10, false);
    return true;
}

/* ---- painting: axes, legends ----------------------------------------------------------
 */

static void line(struct page *p, double x0, double y0, double x1, double y1, double width,
                 uint32_t color)
{
    double v[2][2] = {{x0, y0}, {x1, y1}};
    p->canvas->polyline(p->canvas->self, v, 2, width, color, false);
}

static void paint_grid(struct page *p, const struct sn_chart_panel *n,
                       const struct place *at)
{
    char label[64];
    const struct sn_axis *a = &at->y_axis;
    for (unsigned k = 0; n->kind != SN_PANEL_LANES && k < sn_axis_ticks(a); k++) {
        double y = y_at(at, sn_axis_tick(a, k));
        line(p, at->x, y, at->x + at->w, y, 0.7, GRID);
        words(p, at->x - 6, y + TICK_SIZE * 0.36, TICK_SIZE, SOFT, RIGHT,
              sn_axis_label(a, sn_axis_tick(a, k), label, sizeof label));
    }
    if (n->kind == SN_PANEL_HISTOGRAM)
        return;
    a = &p->x_axis;
    for (unsigned k = 0; k < sn_axis_ticks(a); k++) {
        double x = x_at(p, at, sn_axis_tick(a, k));
        line(p, x, at->y, x, at->y + at->h, 0.7, GRID);
        words(p, x, at->y + at->h + TICK_SIZE + 4, TICK_SIZE, SOFT, CENTRE,
              sn_axis_label(a, sn_axis_tick(a, k), label, sizeof label));
    }
}

static void paint_frame(struct page *p, const struct place *at)
{
    line(p, at->x, at->y + at->h, at->x + at->w, at->y + at->h, 1, FRAME);
    line(p, at->x, at->y, at->x, at->y + at->h, 1, FRAME);
}

static void paint_swatch(struct page *p, const struct entry *e, double x, double base)
{
    double middle = base - NOTE_SIZE * 0.36;
    double v[2][2] = {{x, middle}, {x + SWATCH, middle}};
    double box[1][4] = {{x + 2, middle - 5, SWATCH - 4, 10}};
    double mark[1][4] = {{x + SWATCH / 2 - 0.8, middle - 4.5, 1.6, 9}};
    double fill[4][2] = {{x, middle + 5},
                         {x, middle - 4},
                         {x + SWATCH, middle - 4},
                         {x + SWATCH, middle + 5}};
    if (e->style == SN_CHART_STACK)
        p->canvas->rectangles(p->canvas->self, box, 1, e->color);
    else if (e->style == SN_CHART_MARKS || e->style == SN_CHART_STEMS)
        p->canvas->rectangles(p->canvas->self, mark, 1, e->color);
    else if (e->style == SN_CHART_FILL)
        p->canvas->polygon(p->canvas->self, fill, 4, e->color, 0.18);
    if (e->style == SN_CHART_FILL)
        v[0][1] = v[1][1] = middle - 4;
    if (e->style <= SN_CHART_FILL)
        p->canvas->polyline(p->canvas->self, v, 2, e->style == SN_CHART_LIMIT ? 1.2 : 1.8,
                            e->color, e->style == SN_CHART_LIMIT);
}

static void paint_legend(struct page *p, const struct sn_chart_panel *n,
                         const struct place *at)
{
    bool beside = legend_beside(p, n);
    double x = beside ? at->x + at->w - legend_width(p, n) + ENTRY_GAP : at->x;
    double base = beside ? at->legend_y : at->legend_y + LEGEND_LINE;
    for (uint32_t i = 0; i < n_entries(n); i++) {
        struct entry e = entry_at(n, i);
        double w = entry_width(p, &e);
        if (!beside && x > at->x && x + w > at->x + at->w) {
            x = at->x;
            base += LEGEND_LINE;
        }
        paint_swatch(p, &e, x, base);
        words(p, x + SWATCH + 5, base, NOTE_SIZE, INK, LEFT,
              elide(p, e.name, NOTE_SIZE, ENTRY_MAX));
        x += w;
    }
}

static void paint_head(struct page *p, const struct sn_chart_panel *n,
                       const struct place *at)
{
    words(p, at->x, at->legend_y, PANEL_SIZE, INK, LEFT, n->title);
    if (n->note != NULL)
        words(p, at->x + width_of(p, n->title, PANEL_SIZE) + 10, at->legend_y, NOTE_SIZE,
              SOFT, LEFT, n->note);
}

/* ---- painting: series -----------------------------------------------------------------
 */

static bool is_step(enum sn_chart_style s)
{
    return s == SN_CHART_STEP || s == SN_CHART_LIMIT || s == SN_CHART_STACK;
}

/* The line of a series, or of what a stack comes to; a step holds to the axis's end. */
static double (*outline(struct page *p, const struct sn_chart_panel *n, uint32_t k,
                        const struct place *at, uint32_t *used))[2]
{
    const struct sn_chart_series *s = &n->series[k];
    double(*v)[2] = sn_arena_alloc(p->arena, (2 * (size_t)s->n + 4) * sizeof *v);
    *used = 0;
    for (uint32_t i = 0; v != NULL && i < s->n; i++) {
        double x = x_at(p, at, s->x[i]);
        double y = y_at(at, s->style == SN_CHART_STACK ? stacked(n, k, i) : s->y[i]);
        if (is_step(s->style) && *used > 0 && v[*used - 1][1] != y) {
            v[*used][0] = x;
            v[*used][1] = v[*used - 1][1];
            (*used)++;
        }
        v[*used][0] = x;
        v[(*used)++][1] = y;
    }
    if (v != NULL && is_step(s->style) && *used > 0) {
        v[*used][0] = at->x + at->w;
        v[*used][1] = v[*used - 1][1];
        (*used)++;
    }
    return v;
}

static void paint_area(struct page *p, double (*v)[2], uint32_t n, const struct place *at,
                       uint32_t color, double opacity)
{
    v[n][0] = v[n - 1][0];
    v[n][1] = at->y + at->h;
    v[n + 1][0] = v[0][0];
    v[n + 1][1] = at->y + at->h;
    p->canvas->polygon(p->canvas->self, v, n + 2, color, opacity);
}

static void paint_line(struct page *p, const struct sn_chart_panel *n, uint32_t k,
                       const struct place *at)
{
    const struct sn_chart_series *s = &n->series[k];
    uint32_t used;
    double(*v)[2] = outline(p, n, k, at, &used);
    if (v == NULL || used == 0)
        return;
    if (s->style == SN_CHART_STACK)
        paint_area(p, v, used, at, s->color, 1);
    else
        p->canvas->polyline(p->canvas->self, v, used,
                            s->style == SN_CHART_LIMIT ? 1.1
                            : s->n > 1000              ? 0.8
                                                       : 1.5,
                            s->color, s->style == SN_CHART_LIMIT);
    if (s->style == SN_CHART_FILL)
        paint_area(p, v, used, at, s->color, 0.18);
}

static void paint_sticks(struct page *p, const struct sn_chart_series *s,
                         const struct place *at)
{
    double(*v)[4] = sn_arena_alloc(p->arena, (2 * (size_t)s->n + 1) * sizeof *v);
    uint32_t used = 0;
    double dot = s->n < 400 ? 1.6 : 0.8, thin = s->n < 400 ? 0.9 : 0.5;
    if (v == NULL)
        return;
    for (uint32_t i = 0; i < s->n; i++) {
        double x = x_at(p, at, s->x[i]), foot = at->y + at->h;
        double y = s->style == SN_CHART_MARKS ? foot - 6 : y_at(at, s->y[i]);
        const double stem[] = {x - thin / 2, y, thin, foot - y};
        const double head[] = {x - dot, y - dot, 2 * dot, 2 * dot};
        memcpy(v[used++], stem, sizeof stem);
        if (s->style == SN_CHART_STEMS)
            memcpy(v[used++], head, sizeof head);
    }
    p->canvas->rectangles(p->canvas->self, v, used, s->color);
}

static void paint_xy(struct page *p, const struct sn_chart_panel *n,
                     const struct place *at)
{
    for (uint32_t k = n->n_series; k-- > 0;) /* the first lies on top */
        if (n->series[k].style >= SN_CHART_STEMS)
            paint_sticks(p, &n->series[k], at);
        else
            paint_line(p, n, k, at);
}

/* ---- painting: lanes, histograms ------------------------------------------------------
 */

static void paint_spans(struct page *p, const struct sn_chart_panel *n,
                        const struct sn_chart_lane *l, const struct place *at, double y,
                        double h)
{
    double(*v)[4] = sn_arena_alloc(p->arena, ((size_t)l->n + 1) * sizeof *v);
    for (uint32_t kind = 0; v != NULL && kind < n->n_kinds; kind++) {
        uint32_t used = 0;
        for (uint32_t i = 0; i < l->n; i++) {
            if (l->spans[i].kind != kind)
                continue;
            double from = x_at(p, at, l->spans[i].from), to = x_at(p, at, l->spans[i].to);
            const double box[] = {from, y, fmax(to - from, 0.4), h};
            memcpy(v[used++], box, sizeof box);
        }
        if (used > 0)
            p->canvas->rectangles(p->canvas->self, v, used, n->kinds[kind].color);
    }
}

static void paint_lanes(struct page *p, const struct sn_chart_panel *n,
                        const struct place *at)
{
    double h = row_height(n), size = row_size(n);
    for (uint32_t i = 0; i < n->n_lanes; i++) {
        const struct sn_chart_lane *l = &n->lanes[i];
        double y = at->y + i * h;
        p->canvas->group(p->canvas->self, "lane", sn_text_clean(p->arena, l->tooltip));
        paint_spans(p, n, l, at, y + h * 0.1, h * 0.8);
        words(p, at->x - 6, y + h / 2 + size * 0.36, size, INK, RIGHT,
              elide(p, l->label, size, p->gutter - 8));
        p->canvas->end_group(p->canvas->self);
    }
}

static double log_x(const struct sn_chart_panel *n, const struct place *at, double value)
{
    double from = log10(n->bins[0].from), to = log10(n->bins[n->n_bins - 1].to);
    double share = (log10(fmax(value, 1)) - from) / (to - from);
    return at->x + fmin(fmax(share, 0), 1) * at->w;
}

/* Decades, and with few of them also 2 and 5 in each. */
static void paint_log_ticks(struct page *p, const struct sn_chart_panel *n,
                            const struct place *at)
{
    static const double steps[] = {1, 2, 5};
    char label[64];
    double from = n->bins[0].from, to = n->bins[n->n_bins - 1].to;
    bool few = log10(to / from) < 4;
    for (int i = (int)floor(log10(from)); i <= (int)ceil(log10(to)); i++)
        for (size_t k = 0; k < (few ? SN_COUNT(steps) : 1); k++) {
            double value = steps[k] * pow(10, i);
            struct sn_axis a = sn_axis_fit(0, 2 * value, "ns", 2, false);
            if (value < from * 0.999 || value > to * 1.001)
                continue;
            line(p, log_x(n, at, value), at->y, log_x(n, at, value), at->y + at->h, 0.7,
                 GRID);
            words(p, log_x(n, at, value), at->y + at->h + TICK_SIZE + 4, TICK_SIZE, SOFT,
                  CENTRE, sn_axis_label(&a, value, label, sizeof label));
        }
}

/* Names beside their lines, each lower than the one before if it would lie on it, on
 * white, since another line may pass there. */
static void paint_marks(struct page *p, const struct sn_chart_panel *n,
                        const struct place *at)
{
    double right = -1, y = at->y + TICK_SIZE + 2;
    for (uint32_t i = 0; i < n->n_marks; i++) {
        double x = log_x(n, at, n->marks[i].at);
        line(p, x, at->y, x, at->y + at->h, 1, INK);
    }
    for (uint32_t i = 0; i < n->n_marks; i++) {
        double x = log_x(n, at, n->marks[i].at);
        double w = width_of(p, n->marks[i].name, NOTE_SIZE);
        bool left = x + w + 6 > at->x + at->w;
        double begin = left ? x - w - 4 : x + 4;
        y = begin < right ? y + NOTE_SIZE * 1.25 : at->y + TICK_SIZE + 2;
        right = fmax(right, begin + w + 6);
        double back[1][4] = {{begin - 2, y - NOTE_SIZE, w + 4, NOTE_SIZE * 1.25}};
        p->canvas->rectangles(p->canvas->self, back, 1, 0xffffff);
        words(p, begin, y, NOTE_SIZE, INK, LEFT, n->marks[i].name);
    }
}

static void paint_histogram(struct page *p, const struct sn_chart_panel *n,
                            const struct place *at)
{
    double(*v)[4] = sn_arena_alloc(p->arena, ((size_t)n->n_bins + 1) * sizeof *v);
    uint32_t used = 0;
    if (v == NULL || n->n_bins == 0)
        return;
    paint_log_ticks(p, n, at);
    for (uint32_t i = 0; i < n->n_bins; i++) {
        double from = log_x(n, at, n->bins[i].from), to = log_x(n, at, n->bins[i].to);
        double y = y_at(at, (double)n->bins[i].n);
        const double box[] = {from + 0.5, y, to - from - 1, at->y + at->h - y};
        if (n->bins[i].n > 0)
            memcpy(v[used++], box, sizeof box);
    }
    p->canvas->rectangles(p->canvas->self, v, used, SN_VERMILLION);
    paint_marks(p, n, at);
}

/* ---- the page -------------------------------------------------------------------------
 */

static void paint_panel(struct page *p, uint32_t i)
{
    const struct sn_chart_panel *n = &p->chart->panels[i];
    const struct place *at = &p->places[i];
    p->canvas->group(p->canvas->self, "panel", n->title);
    paint_grid(p, n, at);
    if (n->kind == SN_PANEL_XY)
        paint_xy(p, n, at);
    else if (n->kind == SN_PANEL_LANES)
        paint_lanes(p, n, at);
    else
        paint_histogram(p, n, at);
    paint_frame(p, at);
    paint_head(p, n, at);
    paint_legend(p, n, at);
    p->canvas->end_group(p->canvas->self);
}

static void paint_page(const void *what, const struct sn_canvas *canvas)
{
    struct page p = *(const struct page *)what;
    p.canvas = canvas;
    words(&p, MARGIN, MARGIN + TITLE_SIZE * SN_ASCENT, TITLE_SIZE, INK, LEFT,
          elide(&p, p.chart->title, TITLE_SIZE, p.width - 2 * MARGIN));
    words(&p, MARGIN, MARGIN + TITLE_SIZE * 1.3 + SUB_SIZE, SUB_SIZE, SOFT, LEFT,
          elide(&p, p.chart->subtitle, SUB_SIZE, p.width - 2 * MARGIN));
    for (uint32_t i = 0; i < p.chart->n_panels; i++)
        paint_panel(&p, i);
}

bool sn_draw_chart(const struct sn_chart *c, enum sn_picture kind, struct sn_buf *out,
                   struct sn_error *e)
{
    struct page p = {.chart = c, .arena = sn_arena_new(), .text = sn_text_new()};
    bool good = p.arena != NULL && p.text != NULL && place_panels(&p);
    if (good) {
        struct sn_sheet s = {sn_text_clean(p.arena, c->title), p.width, p.height,
                             paint_page, &p};
        good = sn_draw_sheet(&s, kind, out, e) && !sn_arena_failed(p.arena);
    }
    sn_text_free(p.text);
    sn_arena_free(p.arena);
    return good || sn_fail(e, NULL, -1, "out of memory");
}
