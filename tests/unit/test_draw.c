/* test_draw.c: a layout that holds what it promises, and pictures that readers take. */
#include "../made.h"
#include "../tap.h"
#include "draw/draw.h"

#include <math.h>

static void layout(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_error e = {.offset = -1};
    struct sn_layout_node nodes[] = {{.width = 100, .height = 30},
                                     {.width = 60, .height = 20},
                                     {.width = 200, .height = 90}};
    struct sn_layout_edge edges[] = {{.from = 0,
                                      .to = 1,
                                      .weight = 10,
                                      .min_len = 1,
                                      .label_width = 40,
                                      .label_height = 12},
                                     {.from = 0, .to = 2, .weight = 90, .min_len = 2},
                                     {.from = 2, .to = 1, .weight = 1, .min_len = 1},
                                     {.from = 1, .to = 0, .weight = 1, .min_len = 1}};
    struct sn_layout l = {a, nodes, 3, edges, 4, 0, 0};
    ok(sn_layout_run(&l, &e), "lays out %s", e.what);
    bool inside = true, apart = true, curves = true;
    for (int i = 0; i < 3; i++) {
        inside = inside && nodes[i].x - nodes[i].width / 2 >= -1 &&
                 nodes[i].x + nodes[i].width / 2 <= l.width + 1 &&
                 nodes[i].y - nodes[i].height / 2 >= -1 &&
                 nodes[i].y + nodes[i].height / 2 <= l.height + 1;
        for (int k = 0; k < i; k++)
            apart =
                apart &&
                (fabs(nodes[i].x - nodes[k].x) > (nodes[i].width + nodes[k].width) / 2 ||
                 fabs(nodes[i].y - nodes[k].y) > (nodes[i].height + nodes[k].height) / 2);
    }
    for (int i = 0; i < 4; i++)
        curves = curves && edges[i].n_points >= 4 && edges[i].n_points % 3 == 1;
    ok(inside, "boxes lie on the page");
    ok(apart, "and not on one another");
    ok(curves, "an edge is a curve of 1 + 3k points");
    ok(nodes[0].y < nodes[2].y && nodes[2].y < nodes[1].y, "callers above callees");
    sn_arena_free(a);
}

static struct sn_buf draw(struct sn_profile *p, enum sn_picture kind)
{
    struct sn_options o = sn_options_default();
    struct sn_error e = {.offset = -1};
    struct sn_buf b = {.arena = p->arena};
    struct sn_scene *s = sn_scene_new(p, &o, &e);
    ok(s != NULL && sn_draw_scene(s, kind, &b, &e), "draws %d %s", kind, e.what);
    sn_scene_free(s);
    return b;
}

static void pictures(void)
{
    static const struct {
        enum sn_picture kind;
        const char *first, *last;
    } rows[] = {{SN_PICTURE_PDF, "%PDF-1.", "%%EOF\n"},
                {SN_PICTURE_PNG, "\x89PNG\r\n", "IEND\xae\x42\x60\x82"},
                {SN_PICTURE_SVG, "<?xml ", "</svg>\n"}};
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct sn_profile *p = made("main;a;b 30 thread=one\nmain;c 20\n");
        struct sn_buf b = draw(p, rows[i].kind);
        size_t n = strlen(rows[i].last);
        ok(b.len > 500 && memcmp(b.data, rows[i].first, strlen(rows[i].first)) == 0 &&
               memcmp(b.data + b.len - n, rows[i].last, n) == 0,
           "from its first bytes to its last");
        sn_profile_free(p);
    }
}

/* Names that are long, hostile, foreign, or no UTF-8 at all. */
static void odd_names(void)
{
    char text[6000] = "ma\xffin;<script>&\"quote\"\x01;";
    strcat(text, "\u6c34\u706b::\u00e9t\u00e9;");
    for (int i = 0; i < 300; i++)
        strcat(text, "std::pair<int,");
    strcat(text, ";end 5\n");
    struct sn_profile *p = made(text);
    struct sn_buf b = draw(p, SN_PICTURE_SVG);
    ok(strstr(b.data, "<script>&") == NULL &&
           strstr(b.data, "&lt;script&gt;&amp;") != NULL,
       "markup is escaped");
    ok(strchr(b.data, '\x01') == NULL && strstr(b.data, "ma\xff") == NULL,
       "what is no text is replaced");
    ok(strstr(b.data, "\u6c34\u706b") != NULL, "foreign letters stay");
    struct sn_buf pdf = draw(p, SN_PICTURE_PDF);
    ok(pdf.len > 500, "and a PDF of it");
    sn_profile_free(p);
    p = made("");
    b = draw(p, SN_PICTURE_SVG);
    ok(b.len > 500, "no samples: a picture that says so");
    sn_profile_free(p);
}

int main(void)
{
    layout();
    pictures();
    odd_names();
    return done();
}
