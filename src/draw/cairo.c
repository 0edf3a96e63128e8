/* cairo.c: the picture as PDF (one page of its size, vectors) or PNG (twice the dots of a
 * screen, fewer where it would be huge). */
#include "draw_priv.h"

#include <cairo-pdf.h>
#include <cairo-ps.h>
#include <math.h>
#include <pango/pangocairo.h>

#define PAGE_MAX   14000.0 /* points: what PDF readers take */
#define PIXELS_MAX 60e6
#define SIDE_MAX   30000.0

struct paper {
    cairo_t *cr;
    PangoLayout *layout;
    PangoFontDescription *font;
};

static void set_color(cairo_t *cr, uint32_t c)
{
    cairo_set_source_rgb(cr, (c >> 16) / 255.0, (c >> 8 & 255) / 255.0,
                         (c & 255) / 255.0);
}

static void group(void *self, const char *kind, const char *tooltip)
{
    (void)self, (void)kind, (void)tooltip;
}

static void end_group(void *self)
{
    (void)self;
}

static void outline(cairo_t *cr, double x, double y, double w, double h, bool note)
{
    const double r = 3;
    cairo_new_sub_path(cr);
    if (note) {
        cairo_move_to(cr, x, y);
        cairo_line_to(cr, x + w - 5, y);
        cairo_line_to(cr, x + w, y + 5);
        cairo_line_to(cr, x + w, y + h);
        cairo_line_to(cr, x, y + h);
    } else {
        cairo_arc(cr, x + w - r, y + r, r, -M_PI_2, 0);
        cairo_arc(cr, x + w - r, y + h - r, r, 0, M_PI_2);
        cairo_arc(cr, x + r, y + h - r, r, M_PI_2, M_PI);
        cairo_arc(cr, x + r, y + r, r, M_PI, 3 * M_PI_2);
    }
    cairo_close_path(cr);
}

static void box(void *self, double x, double y, double w, double h, uint32_t stroke,
                uint32_t fill, bool note)
{
    cairo_t *cr = ((struct paper *)self)->cr;
    outline(cr, x, y, w, h, note);
    set_color(cr, fill);
    cairo_fill_preserve(cr);
    set_color(cr, stroke);
    cairo_set_line_width(cr, 1);
    cairo_stroke(cr);
}

static void text(void *self, double x, double base, double size, uint32_t color,
                 bool left, const struct sn_line_of_text *line)
{
    struct paper *p = self;
    pango_font_description_set_absolute_size(p->font, size * PANGO_SCALE);
    pango_layout_set_font_description(p->layout, p->font);
    pango_layout_set_text(p->layout, line->text, -1);
    double rise = (double)pango_layout_get_baseline(p->layout) / PANGO_SCALE;
    cairo_move_to(p->cr, left ? x : x - line->width / 2, base - rise);
    set_color(p->cr, color);
    pango_cairo_show_layout(p->cr, p->layout);
}

static void curve(void *self, double (*v)[2], uint32_t n, double width, uint32_t color,
                  bool dotted)
{
    static const double dots[] = {2, 4};
    cairo_t *cr = ((struct paper *)self)->cr;
    cairo_move_to(cr, v[0][0], v[0][1]);
    for (uint32_t i = 1; i + 2 < n; i += 3)
        cairo_curve_to(cr, v[i][0], v[i][1], v[i + 1][0], v[i + 1][1], v[i + 2][0],
                       v[i + 2][1]);
    set_color(cr, color);
    cairo_set_line_width(cr, width);
    cairo_set_dash(cr, dots, dotted ? 2 : 0, 0);
    cairo_stroke(cr);
    cairo_set_dash(cr, dots, 0, 0);
}

static void arrow(void *self, double tip[2], double left[2], double right[2],
                  uint32_t color)
{
    cairo_t *cr = ((struct paper *)self)->cr;
    cairo_move_to(cr, tip[0], tip[1]);
    cairo_line_to(cr, left[0], left[1]);
    cairo_line_to(cr, right[0], right[1]);
    cairo_close_path(cr);
    set_color(cr, color);
    cairo_fill(cr);
}

static void rectangles(void *self, double (*v)[4], uint32_t n, uint32_t fill)
{
    cairo_t *cr = ((struct paper *)self)->cr;
    cairo_new_path(cr);
    for (uint32_t i = 0; i < n; i++)
        cairo_rectangle(cr, v[i][0], v[i][1], v[i][2], v[i][3]);
    set_color(cr, fill);
    cairo_fill(cr);
}

static void trace_points(cairo_t *cr, double (*v)[2], uint32_t n)
{
    cairo_new_path(cr); /* words leave a point behind */
    for (uint32_t i = 0; i < n; i++)
        cairo_line_to(cr, v[i][0], v[i][1]);
}

static void polyline(void *self, double (*v)[2], uint32_t n, double width, uint32_t color,
                     bool dashed)
{
    static const double dashes[] = {5, 3};
    cairo_t *cr = ((struct paper *)self)->cr;
    trace_points(cr, v, n);
    set_color(cr, color);
    cairo_set_line_width(cr, width);
    cairo_set_line_join(cr, CAIRO_LINE_JOIN_ROUND);
    cairo_set_dash(cr, dashes, dashed ? 2 : 0, 0);
    cairo_stroke(cr);
    cairo_set_dash(cr, dashes, 0, 0);
}

static void polygon(void *self, double (*v)[2], uint32_t n, uint32_t fill, double opacity)
{
    cairo_t *cr = ((struct paper *)self)->cr;
    trace_points(cr, v, n);
    cairo_close_path(cr);
    cairo_set_source_rgba(cr, (fill >> 16) / 255.0, (fill >> 8 & 255) / 255.0,
                          (fill & 255) / 255.0, opacity);
    cairo_fill(cr);
}

static cairo_status_t append(void *buf, const unsigned char *data, unsigned n)
{
    sn_buf_add(buf, data, n);
    return ((struct sn_buf *)buf)->failed ? CAIRO_STATUS_WRITE_ERROR
                                          : CAIRO_STATUS_SUCCESS;
}

static void paint(const struct sn_sheet *p, cairo_t *cr)
{
    struct paper paper = {.cr = cr, .layout = pango_cairo_create_layout(cr)};
    struct sn_canvas c = {&paper, group, end_group,  box,      text,
                          curve,  arrow, rectangles, polyline, polygon};
    paper.font = pango_font_description_from_string(SN_FONTS);
    pango_cairo_context_set_resolution(pango_layout_get_context(paper.layout), 72);
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    p->paint(p->what, &c);
    pango_font_description_free(paper.font);
    g_object_unref(paper.layout);
}

static double scale_for(const struct sn_sheet *p, enum sn_picture kind)
{
    double side = fmax(p->width, p->height);
    if (kind != SN_PICTURE_PNG)
        return fmin(1, PAGE_MAX / side);
    return fmin(fmin(2, SIDE_MAX / side), sqrt(PIXELS_MAX / (p->width * p->height)));
}

bool sn_draw_cairo(const struct sn_sheet *p, enum sn_picture kind, struct sn_buf *out,
                   struct sn_error *e)
{
    double k = scale_for(p, kind), w = ceil(p->width * k), h = ceil(p->height * k);
    cairo_surface_t *s;
    if (kind == SN_PICTURE_PDF)
        s = cairo_pdf_surface_create_for_stream(append, out, w, h);
    else if (kind == SN_PICTURE_PS)
        s = cairo_ps_surface_create_for_stream(append, out, w, h);
    else
        s = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)w, (int)h);
    if (kind == SN_PICTURE_PDF) {
        cairo_pdf_surface_set_metadata(s, CAIRO_PDF_METADATA_TITLE, p->title);
        cairo_pdf_surface_set_metadata(s, CAIRO_PDF_METADATA_CREATOR, "sonde");
    }
    cairo_t *cr = cairo_create(s);
    cairo_scale(cr, k, k);
    paint(p, cr);
    cairo_status_t status = cairo_status(cr);
    cairo_destroy(cr);
    if (status == CAIRO_STATUS_SUCCESS && kind == SN_PICTURE_PNG)
        status = cairo_surface_write_to_png_stream(s, append, out);
    cairo_surface_finish(s);
    if (status == CAIRO_STATUS_SUCCESS)
        status = cairo_surface_status(s);
    cairo_surface_destroy(s);
    return status == CAIRO_STATUS_SUCCESS ||
           sn_fail(e, NULL, -1, "cannot draw: %s", cairo_status_to_string(status));
}
