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
};

bool sn_painting_prepare(struct sn_painting *p, const struct sn_scene *s,
                         struct sn_arena *a, struct sn_error *e);
void sn_painting_draw(const struct sn_painting *p, const struct sn_canvas *c);

/* ---- svg.c, cairo.c
 * ------------------------------------------------------------------------- */

void sn_draw_svg(const struct sn_painting *p, struct sn_buf *out);
bool sn_draw_cairo(const struct sn_painting *p, enum sn_picture kind, struct sn_buf *out,
                   struct sn_error *e);

#endif
