/* svg.c: the picture as SVG (https://www.w3.org/TR/SVG11/), for a browser: words are
 * words, boxes have tooltips, and a few lines of script pan and zoom. */
#include "draw_priv.h"

static const char style[] =
    "<style>\n"
    "text{font-family:" SN_FONTS ";white-space:pre}\n"
    ".node rect,.tag path{transition:filter .1s}\n"
    ".node:hover rect{filter:brightness(.92);stroke-width:2}\n"
    ".edge:hover path{stroke-opacity:1;filter:drop-shadow(0 0 2px #888)}\n"
    ".edge text{paint-order:stroke;stroke:#fff;stroke-width:3;stroke-linejoin:round}\n"
    "</style>\n";

/* The wheel zooms about the pointer, a drag moves, a double click shows all. */
static const char script[] =
    "<script><![CDATA[\n"
    "(function () {\n"
    "  var svg = document.documentElement, drag = null;\n"
    "  if (svg.nodeName !== 'svg') return;\n"
    "  var all = svg.viewBox.baseVal, home = [all.x, all.y, all.width, all.height];\n"
    "  svg.setAttribute('width', '100%');\n"
    "  svg.setAttribute('height', '100%');\n"
    "  function at(e) {\n"
    "    var p = svg.createSVGPoint();\n"
    "    p.x = e.clientX; p.y = e.clientY;\n"
    "    return p.matrixTransform(svg.getScreenCTM().inverse());\n"
    "  }\n"
    "  svg.addEventListener('wheel', function (e) {\n"
    "    var p = at(e), k = Math.pow(1.0015, e.deltaY);\n"
    "    e.preventDefault();\n"
    "    if (all.width * k < 20 || all.width * k > home[2] * 4) return;\n"
    "    all.x = p.x - (p.x - all.x) * k;\n"
    "    all.y = p.y - (p.y - all.y) * k;\n"
    "    all.width *= k; all.height *= k;\n"
    "  }, {passive: false});\n"
    "  svg.addEventListener('mousedown', function (e) {\n"
    "    if (e.button === 0) { drag = at(e); svg.style.cursor = 'grabbing'; }\n"
    "  });\n"
    "  svg.addEventListener('mousemove', function (e) {\n"
    "    if (!drag) return;\n"
    "    var p = at(e);\n"
    "    all.x += drag.x - p.x; all.y += drag.y - p.y;\n"
    "  });\n"
    "  window.addEventListener('mouseup', function () {\n"
    "    drag = null; svg.style.cursor = '';\n"
    "  });\n"
    "  svg.addEventListener('dblclick', function () {\n"
    "    all.x = home[0]; all.y = home[1]; all.width = home[2]; all.height = home[3];\n"
    "  });\n"
    "})();\n"
    "]]></script>\n";

static void put_escaped(struct sn_buf *out, const char *s)
{
    sn_buf_add_xml(out, s, strlen(s));
}

static void group(void *self, const char *kind, const char *tooltip)
{
    sn_buf_printf(self, "<g class=\"%s\"><title>", kind);
    put_escaped(self, tooltip);
    sn_buf_puts(self, "</title>\n");
}

static void end_group(void *self)
{
    sn_buf_puts(self, "</g>\n");
}

static void box(void *self, double x, double y, double w, double h, uint32_t stroke,
                uint32_t fill, bool note)
{
    if (note)
        sn_buf_printf(self,
                      "<path d=\"M%.1f %.1fh%.1fl5 5v%.1fh%.1fz\" fill=\"#%06x\" "
                      "stroke=\"#%06x\"/>\n",
                      x, y, w - 5, h - 5, -w, fill, stroke);
    else
        sn_buf_printf(
            self,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"3\" "
            "fill=\"#%06x\" stroke=\"#%06x\"/>\n",
            x, y, w, h, fill, stroke);
}

static void text(void *self, double x, double base, double size, uint32_t color,
                 bool left, const struct sn_line_of_text *line)
{
    sn_buf_printf(self, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.4g\" fill=\"#%06x\"",
                  x, base, size, color);
    if (!left)
        sn_buf_puts(self, " text-anchor=\"middle\"");
    if (line->width > 0)
        sn_buf_printf(self, " textLength=\"%.1f\" lengthAdjust=\"spacingAndGlyphs\"",
                      line->width);
    sn_buf_putc(self, '>');
    put_escaped(self, line->text);
    sn_buf_puts(self, "</text>\n");
}

static void curve(void *self, double (*v)[2], uint32_t n, double width, uint32_t color,
                  bool dotted)
{
    sn_buf_printf(self, "<path d=\"M%.1f %.1fC", v[0][0], v[0][1]);
    for (uint32_t i = 1; i < n; i++)
        sn_buf_printf(self, "%s%.1f %.1f", i > 1 ? " " : "", v[i][0], v[i][1]);
    sn_buf_printf(self, "\" fill=\"none\" stroke=\"#%06x\" stroke-width=\"%.4g\"%s/>\n",
                  color, width, dotted ? " stroke-dasharray=\"2 4\"" : "");
}

static void arrow(void *self, double tip[2], double left[2], double right[2],
                  uint32_t color)
{
    sn_buf_printf(self, "<path d=\"M%.1f %.1fL%.1f %.1fL%.1f %.1fz\" fill=\"#%06x\"/>\n",
                  tip[0], tip[1], left[0], left[1], right[0], right[1], color);
}

static void rectangles(void *self, double (*v)[4], uint32_t n, uint32_t fill)
{
    sn_buf_puts(self, "<path d=\"");
    for (uint32_t i = 0; i < n; i++)
        sn_buf_printf(self, "M%.5g %.5gh%.4gv%.4gh%.4gz", v[i][0], v[i][1], v[i][2],
                      v[i][3], -v[i][2]);
    sn_buf_printf(self, "\" fill=\"#%06x\"/>\n", fill);
}

static void points(void *self, double (*v)[2], uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        sn_buf_printf(self, "%s%.5g,%.5g", i > 0 ? " " : "", v[i][0], v[i][1]);
}

static void polyline(void *self, double (*v)[2], uint32_t n, double width, uint32_t color,
                     bool dashed)
{
    sn_buf_puts(self, "<polyline points=\"");
    points(self, v, n);
    sn_buf_printf(self,
                  "\" fill=\"none\" stroke=\"#%06x\" stroke-width=\"%.3g\" "
                  "stroke-linejoin=\"round\"%s/>\n",
                  color, width, dashed ? " stroke-dasharray=\"5 3\"" : "");
}

static void polygon(void *self, double (*v)[2], uint32_t n, uint32_t fill, double opacity)
{
    sn_buf_puts(self, "<polygon points=\"");
    points(self, v, n);
    sn_buf_printf(self, "\" fill=\"#%06x\" fill-opacity=\"%.3g\"/>\n", fill, opacity);
}

void sn_draw_svg(const struct sn_sheet *s, struct sn_buf *out)
{
    struct sn_canvas c = {out,   group, end_group,  box,      text,
                          curve, arrow, rectangles, polyline, polygon};
    sn_buf_printf(out,
                  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" "
                  "height=\"%.0f\" viewBox=\"0 0 %.1f %.1f\">\n<title>",
                  s->width, s->height, s->width, s->height);
    put_escaped(out, s->title);
    sn_buf_puts(out, "</title>\n");
    sn_buf_puts(out, style);
    sn_buf_printf(out, "<rect width=\"%.1f\" height=\"%.1f\" fill=\"#fff\"/>\n", s->width,
                  s->height);
    s->paint(s->what, &c);
    sn_buf_puts(out, script);
    sn_buf_puts(out, "</svg>\n");
}
