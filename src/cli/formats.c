/* formats.c: the reports of the report room, and beside them what needs other rooms:
 * the profile itself, and pictures. */
#include "cli.h"
#include "draw/draw.h"

#include <math.h>

static bool draw(struct sn_profile *p, const struct sn_options *o, enum sn_picture kind,
                 struct sn_buf *out, struct sn_error *e)
{
    struct sn_scene *scene = sn_scene_new(p, o, e);
    bool good = scene != NULL && sn_draw_scene(scene, kind, out, e);
    sn_scene_free(scene);
    return good;
}

static bool write_svg(struct sn_profile *p, const struct sn_options *o,
                      const char *argument, struct sn_buf *out, struct sn_error *e)
{
    (void)argument;
    return draw(p, o, SN_PICTURE_SVG, out, e);
}

static bool write_pdf(struct sn_profile *p, const struct sn_options *o,
                      const char *argument, struct sn_buf *out, struct sn_error *e)
{
    (void)argument;
    return draw(p, o, SN_PICTURE_PDF, out, e);
}

static bool write_png(struct sn_profile *p, const struct sn_options *o,
                      const char *argument, struct sn_buf *out, struct sn_error *e)
{
    (void)argument;
    return draw(p, o, SN_PICTURE_PNG, out, e);
}

static bool write_ps(struct sn_profile *p, const struct sn_options *o,
                     const char *argument, struct sn_buf *out, struct sn_error *e)
{
    (void)argument;
    return draw(p, o, SN_PICTURE_PS, out, e);
}

static bool write_gif(struct sn_profile *p, const struct sn_options *o,
                      const char *argument, struct sn_buf *out, struct sn_error *e)
{
    (void)p, (void)o, (void)argument, (void)out;
    return sn_fail(e, NULL, -1, "GIF is not drawn; png is the same picture, sharper");
}

static bool write_callgrind(struct sn_profile *p, const struct sn_options *o,
                            const char *argument, struct sn_buf *out, struct sn_error *e)
{
    return sn_report_format_find("callgrind")->write(p, o, argument, out, e);
}

/* What the filters leave, as a profile again. */
static bool write_proto(struct sn_profile *p, const struct sn_options *o,
                        const char *argument, struct sn_buf *out, struct sn_error *e)
{
    const struct sn_view_kind whole = {.no_trim = true, .addresses = true, .raw = true};
    struct sn_view v;
    (void)argument;
    if (!sn_view_open(&v, p, o, whole, e))
        return false;
    for (uint32_t i = 0; v.ratio != 1 && i < p->n_values; i++)
        p->values[i] = (int64_t)floor((double)p->values[i] * v.ratio);
    return output_profile(p, out, e);
}

static bool write_topproto(struct sn_profile *p, const struct sn_options *o,
                           const char *argument, struct sn_buf *out, struct sn_error *e)
{
    (void)argument;
    struct sn_profile *top = sn_report_topproto(p, o, e);
    bool good = top != NULL && output_profile(top, out, e);
    sn_profile_free(top);
    return good;
}

#define DRAWN .binary = true, .drawn = true, .node_count = 80

static const struct sn_report_format more[] = {
    {.name = "proto",
     .binary = true,
     .help = "the profile itself: merged, filtered, with names",
     .write = write_proto},
    {.name = "topproto",
     .binary = true,
     .help = "what top shows, as a profile",
     .write = write_topproto},
    {.name = "svg",
     DRAWN,
     .help = "the call graph as SVG, for a browser",
     .write = write_svg},
    {.name = "pdf", DRAWN, .help = "the call graph as PDF", .write = write_pdf},
    {.name = "png", DRAWN, .help = "the call graph as PNG", .write = write_png},
    {.name = "ps", DRAWN, .help = "the call graph as PostScript", .write = write_ps},
    {.name = "gif", DRAWN, .help = "refused: png is the same", .write = write_gif},
    /* Shown by a program (viewers.c), unless a file is named. */
    {.name = "web",
     DRAWN,
     .help = "the call graph, shown by a browser",
     .write = write_svg},
    {.name = "eog", DRAWN, .help = "the call graph, shown by eog", .write = write_svg},
    {.name = "evince",
     DRAWN,
     .help = "the call graph, shown by evince",
     .write = write_pdf},
    {.name = "gv", DRAWN, .help = "the call graph, shown by gv", .write = write_ps},
    {.name = "kcachegrind",
     .binary = true,
     .help = "the profile, shown by KCachegrind",
     .write = write_callgrind},
};

const struct sn_report_format *format_at(size_t i)
{
    if (i < sn_report_formats_count)
        return &sn_report_formats[i];
    i -= sn_report_formats_count;
    return i < SN_COUNT(more) ? &more[i] : NULL;
}

const struct sn_report_format *format_find(const char *name)
{
    const struct sn_report_format *f;
    for (size_t i = 0; (f = format_at(i)) != NULL; i++)
        if (strcmp(f->name, name) == 0 ||
            (f->alias != NULL && strcmp(f->alias, name) == 0))
            return f;
    return NULL;
}
