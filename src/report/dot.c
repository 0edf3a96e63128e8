/* dot.c: the scene in Graphviz's language (https://graphviz.org/doc/info/lang.html), byte
 * for byte as pprof writes it. */
#include "report_priv.h"

/* Escape quotes and backslashes; a line's end becomes `newline`. */
static void put_escaped(struct sn_buf *out, const char *s, const char *newline)
{
    for (; *s != '\0'; s++) {
        if (*s == '\n')
            sn_buf_puts(out, newline);
        else if (*s == '"' || *s == '\\')
            sn_buf_printf(out, "\\%c", *s);
        else
            sn_buf_putc(out, *s);
    }
}

static void put_attribute(struct sn_buf *out, const char *name, const char *value,
                          const char *newline)
{
    sn_buf_printf(out, "%s\"", name);
    put_escaped(out, value, newline);
    sn_buf_putc(out, '"');
}

static void put_legend(const struct sn_scene *s, struct sn_buf *out)
{
    const char *title = sn_arena_strndup(s->arena, s->legend, strcspn(s->legend, "\n"));
    put_attribute(out, "subgraph cluster_L { ", title != NULL ? title : "", "\\l");
    put_attribute(out, " [shape=box fontsize=16 label=", s->legend, "\\l");
    out->len--; /* the quote: there is more to come */
    if (s->see != NULL)
        sn_buf_printf(out, "\\lSee %s for how to read the graph", s->see);
    sn_buf_puts(out, "\\l\"");
    if (*s->title != '\0')
        sn_buf_printf(out, " tooltip=\"%s\"", s->title);
    sn_buf_puts(out, "] }\n");
}

static void put_tag(const struct sn_scene *s, const struct sn_scene_node *n,
                    const struct sn_scene_edge *e, struct sn_buf *out)
{
    put_attribute(out, sn_arena_printf(s->arena, "%s [label = ", n->name), n->label,
                  "\\n");
    sn_buf_printf(out, " id=\"%s\" fontsize=8 shape=box3d tooltip=\"%s\"]\n", n->name,
                  n->tooltip);
    sn_buf_printf(out,
                  "%s -> %s [label=\"%s\" weight=100 tooltip=\"%s\" "
                  "labeltooltip=\"%s\"%s]\n",
                  s->nodes[e->from].name, n->name, e->label, e->tooltip, e->tooltip,
                  e->dotted ? " style=\"dotted\"" : "");
}

static void put_node(const struct sn_scene_node *n, struct sn_buf *out)
{
    sn_buf_printf(out, "%s [", n->name);
    put_attribute(out, "label=", n->label, "\\n");
    sn_buf_printf(out, " id=\"node%s\" fontsize=%d shape=box", n->name + 1,
                  (int)n->font_size);
    put_attribute(out, " tooltip=", n->tooltip, "\\l");
    sn_buf_printf(out, " color=\"#%06x\" fillcolor=\"#%06x\"]\n", n->color, n->fill);
}

static void put_edge(const struct sn_scene *s, const struct sn_scene_edge *e,
                     struct sn_buf *out)
{
    sn_buf_printf(out, "%s -> %s [", s->nodes[e->from].name, s->nodes[e->to].name);
    put_attribute(out, "label=", e->label, "\\n");
    if (e->weight > 1)
        sn_buf_printf(out, " weight=%d", e->weight);
    if (e->pen_width > 1)
        sn_buf_printf(out, " penwidth=%d", (int)e->pen_width);
    if (s->total != 0)
        sn_buf_printf(out, " color=\"#%06x\"", e->color);
    put_attribute(out, " tooltip=", e->tooltip, "\\l");
    put_attribute(out, " labeltooltip=", e->tooltip, "\\l");
    if (e->dotted)
        sn_buf_puts(out, " style=\"dotted\"");
    if (e->min_len > 1)
        sn_buf_printf(out, " minlen=%d", e->min_len);
    sn_buf_puts(out, "]\n");
}

void sn_scene_dot(const struct sn_scene *s, struct sn_buf *out)
{
    const struct sn_scene_edge *next = s->edges; /* of the tags, in their order */
    sn_buf_printf(out, "digraph \"%s\" {\nnode [style=filled fillcolor=\"#f8f8f8\"]\n",
                  *s->title != '\0' ? s->title : "unnamed");
    put_legend(s, out);
    for (uint32_t i = 0; i < s->n_nodes; i++) {
        if (s->nodes[i].tag)
            put_tag(s, &s->nodes[i], next++, out);
        else
            put_node(&s->nodes[i], out);
    }
    for (; next < s->edges + s->n_edges; next++)
        put_edge(s, next, out);
    sn_buf_puts(out, "}\n");
}

bool sn_report_dot(struct sn_profile *p, const struct sn_options *o, const char *argument,
                   struct sn_buf *out, struct sn_error *e)
{
    struct sn_options as_pprof = *o;
    as_pprof.pprof_boxes = true;
    struct sn_scene *s = sn_scene_new(p, &as_pprof, e);
    (void)argument;
    if (s == NULL)
        return false;
    sn_scene_dot(s, out);
    sn_scene_free(s);
    return sn_report_done(out, e);
}
