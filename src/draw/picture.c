/*
 * picture.c: a scene becomes boxes, arrows and words with a place and a size, and is then
 * painted on any canvas.
 *
 *     words wrapped and measured -> boxes sized -> layout -> painted: arrows, then boxes
 */
#include "draw_priv.h"

#include <math.h>

#define EDGES_MIN    150
#define EDGES_A_NODE 3
#define MARGIN       16
#define NAME_CHARS   44 /* of a name before it is broken */
#define LEGEND_CHARS 120
#define LINES_MAX    12 /* of a box; what is more is cut out of the middle */
#define PART_LINES   4  /* of one part of a name, likewise */
#define PADDING_X    7
#define PADDING_Y    4
#define EDGE_FONT    11
#define LEGEND_FONT  13
#define TITLE_FONT   20
#define TITLE_GAP    30
#define LEGEND_GAP   18
#define INK          0x222222
#define ARROW        9

/* ---- words
 * ---------------------------------------------------------------------------------- */

static void add_line(struct sn_paragraph *p, struct sn_arena *a, struct sn_text *t,
                     const char *line)
{
    struct sn_line_of_text *l = SN_PUSH(a, p->lines, p->n_lines, p->cap_lines);
    if (l == NULL)
        return;
    l->text = line;
    l->width = sn_text_width(t, line, p->size);
    p->width = fmax(p->width, l->width);
    p->height += p->size * SN_LINE_HEIGHT;
}

/* Bytes of the first `max` characters. */
static size_t bytes_of(const char *s, size_t max)
{
    size_t n = 0;
    while (s[n] != '\0' && (max > 0 || (s[n] & 0xc0) == 0x80)) {
        max -= (s[n] & 0xc0) != 0x80;
        n++;
    }
    return n;
}

/* Where a long name is best broken: after what parts names and their arguments, else
 * after what parts words. */
static size_t break_at(const char *s, size_t max)
{
    static const char *const marks[] = {",<(:/ ", "_.-"};
    size_t hard = bytes_of(s, max), soft = 0;
    for (size_t m = 0; soft == 0 && m < SN_COUNT(marks); m++)
        for (size_t i = hard / 3; i < hard; i++)
            if (strchr(marks[m], s[i]) != NULL &&
                !(s[i] == ':' && s[i + 1] == ':')) /* after the second colon */
                soft = i + 1;
    return soft > 0 ? soft : hard;
}

static void add_wrapped(struct sn_paragraph *p, struct sn_arena *a, struct sn_text *t,
                        const char *line, size_t n, size_t max)
{
    const char *rest = sn_arena_strndup(a, line, n);
    while (rest != NULL && bytes_of(rest, max) < strlen(rest)) {
        size_t cut = break_at(rest, max);
        const char *first = sn_arena_strndup(a, rest, cut);
        if (first == NULL)
            return;
        add_line(p, a, t, first);
        rest += cut;
        rest += *rest == ' ';
    }
    if (rest != NULL)
        add_line(p, a, t, rest);
}

static struct sn_paragraph set_type(struct sn_arena *a, struct sn_text *t,
                                    const char *words, double size, size_t max)
{
    struct sn_paragraph p = {.size = size};
    const char *line = sn_text_clean(a, words);
    while (*line != '\0') {
        size_t n = strcspn(line, "\n");
        add_wrapped(&p, a, t, line, n, max);
        line += n + (line[n] == '\n');
    }
    return p;
}

/* Of very many lines from `first` on the middle goes. */
static void shorten(struct sn_paragraph *p, uint32_t first, uint32_t max)
{
    if (p->n_lines <= first + max)
        return;
    uint32_t cut = first + max / 2, tail = max - max / 2 - 1;
    p->lines[cut] = (struct sn_line_of_text){"\u2026", p->size};
    memmove(p->lines + cut + 1, p->lines + p->n_lines - tail, tail * sizeof *p->lines);
    p->n_lines = first + max;
}

/* The words of a box: each part of a name, and all of them, in not too many lines. */
static struct sn_paragraph set_box(struct sn_arena *a, struct sn_text *t,
                                   const char *words, double size)
{
    struct sn_paragraph p = {.size = size};
    for (const char *line = sn_text_clean(a, words); *line != '\0';) {
        size_t n = strcspn(line, "\n");
        uint32_t first = p.n_lines;
        add_wrapped(&p, a, t, line, n, NAME_CHARS);
        shorten(&p, first, PART_LINES);
        line += n + (line[n] == '\n');
    }
    shorten(&p, 0, LINES_MAX);
    p.height = p.n_lines * size * SN_LINE_HEIGHT;
    p.width = 0;
    for (uint32_t i = 0; i < p.n_lines; i++)
        p.width = fmax(p.width, p.lines[i].width);
    return p;
}

/* ---- preparing
 * -------------------------------------------------------------------------------- */

static bool size_nodes(struct sn_painting *p, struct sn_text *t)
{
    const struct sn_scene *s = p->scene;
    p->boxes = sn_arena_alloc(p->arena, (s->n_nodes + 1) * sizeof *p->boxes);
    p->layout.nodes =
        sn_arena_alloc(p->arena, (s->n_nodes + 1) * sizeof *p->layout.nodes);
    if (sn_arena_failed(p->arena))
        return false;
    p->layout.n_nodes = s->n_nodes;
    for (uint32_t i = 0; i < s->n_nodes; i++) {
        p->boxes[i] = set_box(p->arena, t, s->nodes[i].label, s->nodes[i].font_size);
        p->layout.nodes[i].width = p->boxes[i].width + 2 * PADDING_X;
        p->layout.nodes[i].height = p->boxes[i].height + 2 * PADDING_Y;
    }
    return true;
}

/* The heaviest: of more, nothing could be read, and the layout would take for ever. */
static uint32_t drawable_edges(const struct sn_scene *s)
{
    uint64_t most = EDGES_MIN + (uint64_t)EDGES_A_NODE * s->n_nodes;
    return s->n_edges < most ? s->n_edges : (uint32_t)most;
}

static const char *legend_words(const struct sn_painting *p)
{
    uint32_t left_out = p->scene->n_edges - p->layout.n_edges;
    if (left_out == 0)
        return p->scene->legend;
    const char *words = sn_arena_printf(
        p->arena, "%sThe %u lightest edges are not drawn\n", p->scene->legend, left_out);
    return words != NULL ? words : p->scene->legend;
}

static bool size_edges(struct sn_painting *p, struct sn_text *t)
{
    const struct sn_scene *s = p->scene;
    p->labels = sn_arena_alloc(p->arena, (s->n_edges + 1) * sizeof *p->labels);
    p->layout.edges =
        sn_arena_alloc(p->arena, (s->n_edges + 1) * sizeof *p->layout.edges);
    if (sn_arena_failed(p->arena))
        return false;
    p->layout.n_edges = drawable_edges(s);
    for (uint32_t i = 0; i < p->layout.n_edges; i++) {
        const struct sn_scene_edge *e = &s->edges[i];
        p->labels[i] =
            set_type(p->arena, t, e->label, e->tag ? 8 : EDGE_FONT, NAME_CHARS);
        p->layout.edges[i] =
            (struct sn_layout_edge){.from = e->from,
                                    .to = e->to,
                                    .weight = e->weight,
                                    .min_len = e->min_len,
                                    .label_width = p->labels[i].width + 6,
                                    .label_height = p->labels[i].height + 2};
    }
    return true;
}

bool sn_painting_prepare(struct sn_painting *p, const struct sn_scene *s,
                         struct sn_arena *a, struct sn_error *e)
{
    *p = (struct sn_painting){.scene = s, .arena = a, .layout = {.arena = a}};
    struct sn_text *t = sn_text_new();
    bool good = t != NULL && size_nodes(p, t) && size_edges(p, t);
    if (good) {
        p->title = sn_text_clean(a, *s->title != '\0' ? s->title : "profile");
        p->legend = set_type(a, t, legend_words(p), LEGEND_FONT, LEGEND_CHARS);
        p->width = fmax(p->legend.width, sn_text_width(t, p->title, TITLE_FONT));
    }
    sn_text_free(t);
    if (!good || sn_arena_failed(a))
        return sn_fail(e, NULL, -1, "out of memory");
    if (!sn_layout_run(&p->layout, e))
        return false;
    p->graph_x = MARGIN;
    p->graph_y = MARGIN + TITLE_GAP + p->legend.height + LEGEND_GAP;
    p->width = fmax(p->width, p->layout.width) + 2 * MARGIN;
    p->height = p->graph_y + p->layout.height + MARGIN;
    return true;
}

/* ---- painting
 * ----------------------------------------------------------------------------------- */

static void paint_paragraph(const struct sn_canvas *c, const struct sn_paragraph *p,
                            double x, double top, uint32_t color, bool left)
{
    for (uint32_t i = 0; i < p->n_lines; i++)
        c->text(c->self, x, top + (i * SN_LINE_HEIGHT + SN_ASCENT) * p->size, p->size,
                color, left, &p->lines[i]);
}

/* The curve up to the arrow, whose tip touches the box. */
static void paint_curve(const struct sn_painting *p, const struct sn_canvas *c,
                        uint32_t i)
{
    const struct sn_scene_edge *e = &p->scene->edges[i];
    const struct sn_layout_edge *l = &p->layout.edges[i];
    double(*v)[2] = sn_arena_alloc(p->arena, (l->n_points + 1) * sizeof *v);
    if (v == NULL || l->n_points < 4)
        return;
    for (uint32_t k = 0; k < l->n_points; k++) {
        v[k][0] = p->graph_x + l->points[k][0];
        v[k][1] = p->graph_y + l->points[k][1];
    }
    double *tip = v[l->n_points], *end = v[l->n_points - 1], *before = v[l->n_points - 2];
    double dx = end[0] - before[0], dy = end[1] - before[1], len = hypot(dx, dy);
    if (len < 1e-6) { /* straight, as it came */
        dx = end[0] - v[0][0];
        dy = end[1] - v[0][1];
        len = fmax(hypot(dx, dy), 1e-6);
    }
    dx /= len;
    dy /= len;
    double size = e->tag ? ARROW * 0.6 : ARROW + e->pen_width;
    double half = size * 0.4;
    tip[0] = end[0];
    tip[1] = end[1];
    for (unsigned k = 0; k < 2; k++) { /* or a short curve would turn back */
        double back = (k == 0 ? dx : dy) * size * 0.9;
        end[k] -= back;
        before[k] -= back;
    }
    double left[2] = {tip[0] - dx * size - dy * half, tip[1] - dy * size + dx * half};
    double right[2] = {tip[0] - dx * size + dy * half, tip[1] - dy * size - dx * half};
    c->curve(c->self, v, l->n_points, e->pen_width, e->color, e->dotted);
    c->arrow(c->self, tip, left, right, e->color);
}

static uint32_t darker(uint32_t color)
{
    return (color >> 1) & 0x7f7f7f;
}

static void paint_edge(const struct sn_painting *p, const struct sn_canvas *c, uint32_t i)
{
    const struct sn_scene_edge *e = &p->scene->edges[i];
    const struct sn_layout_edge *l = &p->layout.edges[i];
    c->group(c->self, e->tag ? "tag-edge" : "edge", sn_text_clean(p->arena, e->tooltip));
    paint_curve(p, c, i);
    paint_paragraph(c, &p->labels[i], p->graph_x + l->label_x,
                    p->graph_y + l->label_y - p->labels[i].height / 2, darker(e->color),
                    false);
    c->end_group(c->self);
}

static void paint_node(const struct sn_painting *p, const struct sn_canvas *c, uint32_t i)
{
    const struct sn_scene_node *n = &p->scene->nodes[i];
    const struct sn_layout_node *l = &p->layout.nodes[i];
    double x = p->graph_x + l->x, y = p->graph_y + l->y;
    c->group(c->self, n->tag ? "tag" : "node", sn_text_clean(p->arena, n->tooltip));
    c->box(c->self, x - l->width / 2, y - l->height / 2, l->width, l->height,
           n->tag ? 0x999999 : n->color, n->fill, n->tag);
    paint_paragraph(c, &p->boxes[i], x, y - p->boxes[i].height / 2, INK, false);
    c->end_group(c->self);
}

void sn_painting_draw(const struct sn_painting *p, const struct sn_canvas *c)
{
    struct sn_line_of_text title = {p->title, 0};
    c->text(c->self, MARGIN, MARGIN + TITLE_FONT * SN_ASCENT, TITLE_FONT, INK, true,
            &title);
    paint_paragraph(c, &p->legend, MARGIN, MARGIN + TITLE_GAP, 0x555555, true);
    for (uint32_t i = 0; i < p->layout.n_edges; i++)
        paint_edge(p, c, i);
    for (uint32_t i = 0; i < p->scene->n_nodes; i++)
        paint_node(p, c, i);
}

static void paint_all(const void *what, const struct sn_canvas *c)
{
    sn_painting_draw(what, c);
}

bool sn_draw_sheet(const struct sn_sheet *s, enum sn_picture kind, struct sn_buf *out,
                   struct sn_error *e)
{
    if (kind == SN_PICTURE_SVG)
        sn_draw_svg(s, out);
    else if (!sn_draw_cairo(s, kind, out, e))
        return false;
    return !out->failed || sn_fail(e, NULL, -1, "out of memory");
}

bool sn_draw_scene(const struct sn_scene *s, enum sn_picture kind, struct sn_buf *out,
                   struct sn_error *e)
{
    struct sn_painting p;
    struct sn_arena *a = sn_arena_new();
    bool good = a != NULL || sn_fail(e, NULL, -1, "out of memory");
    good = good && sn_painting_prepare(&p, s, a, e);
    if (good) {
        struct sn_sheet sheet = {p.title, p.width, p.height, paint_all, &p};
        good = sn_draw_sheet(&sheet, kind, out, e);
    }
    sn_arena_free(a);
    return good;
}
