/* draw_priv.h: what the files of the draw room share: measured text, and the canvas that
 * SVG and cairo both are. */
#ifndef SN_DRAW_PRIV_H
#define SN_DRAW_PRIV_H

#include "draw/draw.h"

#define SN_FONTS "Helvetica, Arial, DejaVu Sans, Verdana, sans-serif"

/* ---- text.c: words measured, by pango, at 72 dots an inch
 * ------------------------------- */

struct sn_text;

struct sn_text *sn_text_new(void);    /* NULL: out of memory */
void sn_text_free(struct sn_text *t); /* NULL-safe */
/* Of one line of valid UTF-8, in points. */
double sn_text_width(struct sn_text *t, const char *line, double size);

/* ---- picture.c: what stands where
 * ---------------------------------------------------------- */

struct sn_line_of_text {
    const char *text;
    double width;
};

struct sn_paragraph {
    struct sn_line_of_text *lines;
    uint32_t n_lines, cap_lines;
    double size;          /* of the font, points */
    double width, height; /* of all lines */
};

#define SN_LINE_HEIGHT 1.25 /* of the font's size */
#define SN_ASCENT      0.95 /* from a line's top to its base, of the font's size */

struct sn_painting {
    const struct sn_scene *scene;
    struct sn_arena *arena;
    struct sn_layout layout;
    struct sn_paragraph *boxes;  /* the nodes' words */
    struct sn_paragraph *labels; /* the edges' words */
    struct sn_paragraph legend;
    const char *title;
    double width, height; /* of the page, points */
    double graph_x, graph_y;
};

/* Where things are drawn. Coordinates in points from the top left; colours 0xRRGGBB. */
struct sn_canvas {
    void *self;
    void (*group)(void *self, const char *kind, const char *tooltip);
    void (*end_group)(void *self);
    void (*box)(void *self, double x, double y, double w, double h, uint32_t stroke,
                uint32_t fill, bool note);
    /* One line, centred at x or (left) beginning there. */
    void (*text)(void *self, double x, double base, double size, uint32_t color,
                 bool left, const struct sn_line_of_text *line);
    /* Bezier curve of 1 + 3k points. */
    void (*curve)(void *self, double (*points)[2], uint32_t n, double width,
                  uint32_t color, bool dotted);
    void (*arrow)(void *self, double tip[2], double left[2], double right[2],
                  uint32_t color);
    /* Without an outline; v: x, y, width, height. */
    void (*rectangles)(void *self, double (*v)[4], uint32_t n, uint32_t fill);
    void (*polyline)(void *self, double (*v)[2], uint32_t n, double width, uint32_t color,
                     bool dashed);
    void (*polygon)(void *self, double (*v)[2], uint32_t n, uint32_t fill,
                    double opacity);
};

/* A page that can be painted. */
struct sn_sheet {
    const char *title;
    double width, height; /* points */
    void (*paint)(const void *what, const struct sn_canvas *c);
    const void *what;
};

bool sn_painting_prepare(struct sn_painting *p, const struct sn_scene *s,
                         struct sn_arena *a, struct sn_error *e);
void sn_painting_draw(const struct sn_painting *p, const struct sn_canvas *c);

/* ---- svg.c, cairo.c
 * ------------------------------------------------------------------------- */

void sn_draw_svg(const struct sn_sheet *s, struct sn_buf *out);
bool sn_draw_cairo(const struct sn_sheet *s, enum sn_picture kind, struct sn_buf *out,
                   struct sn_error *e);
bool sn_draw_sheet(const struct sn_sheet *s, enum sn_picture kind, struct sn_buf *out,
                   struct sn_error *e);

/* Valid UTF-8, and nothing a terminal or XML would stumble over. */
const char *sn_text_clean(struct sn_arena *a, const char *s);

/* ---- module.c, load.c: the room as a module of its own
 * ---------------------------------
 */

/* What the module is asked for by its name. Later versions too begin with the version. */
struct sn_draw_module {
    const char *version;
    bool (*scene)(const struct sn_scene *s, enum sn_picture kind, struct sn_buf *out,
                  struct sn_error *e);
    bool (*chart)(const struct sn_chart *c, enum sn_picture kind, struct sn_buf *out,
                  struct sn_error *e);
};

#define SN_DRAW_VERSION "sonde " SN_VERSION

/* ---- axis.c: scales with round numbers ------------------------------------------------
 */

struct sn_axis {
    double from, to;        /* of the values */
    double first, step;     /* the ticks */
    const char *unit;       /* "ns", "bytes", "count", "events" */
    double scale;           /* what one of the labels' unit is */
    const char *label_unit; /* behind each label */
    int decimals;
};

/* Ticks, about `most` of them at most. With `round` the axis ends at ticks. */
struct sn_axis sn_axis_fit(double from, double to, const char *unit, unsigned most,
                           bool round);
unsigned sn_axis_ticks(const struct sn_axis *a);
double sn_axis_tick(const struct sn_axis *a, unsigned i);
char *sn_axis_label(const struct sn_axis *a, double value, char *buf, size_t size);

#endif
