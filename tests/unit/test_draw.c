/* test_draw.c: a layout that holds what it promises, and pictures that readers take. */
#include "../made.h"
#include "../tap.h"
#include "draw/draw_priv.h"
#include "report/trace.h"

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

/* ---- charts ---------------------------------------------------------------------------
 */

static void axes(void)
{
    static const struct {
        double from, to;
        const char *unit;
        unsigned most;
        const char *first, *last;
    } rows[] = {
        {0, 30e9, "ns", 10, "0", "30 s"},
        {0, 141e6, "ns", 10, "0", "140 ms"},
        {0, 130e3, "ns", 4, "0", "100 \u00b5s"},
        {0, 900e9, "ns", 10, "0", "14 min"},
        {0, 36000e9, "ns", 10, "0", "10 h"},
        {5e9, 6.1e9, "ns", 10, "5.0 s", "6.0 s"},
        {500e9, 501e9, "ns", 10, "5", "501.0 s"},
        {0, 29.0 * 0x1p20, "bytes", 6, "0", "24 MB"},
        {0, 700.0 * 0x1p20, "bytes", 4, "0", "512 MB"},
        {0, 9000e9, "ns", 10, "0", "150 min"},
        {0, 3.0 * 0x1p30, "bytes", 6, "0", "3.0 GB"},
        {0, 100, "bytes", 4, "0", "96 B"},
        {0, 2, "count", 6, "0", "2"},
        {0, 0, "count", 6, "0", "1"},
        {0, 77, "count", 4, "0", "60"},
        {0, 9e9, "events", 10, "0", "9"},
        {0, 1e18, "ns", 10, "0", "250000 h"},
    };
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        char first[64], last[64], want[64], name[96];
        struct sn_axis a =
            sn_axis_fit(rows[i].from, rows[i].to, rows[i].unit, rows[i].most, false);
        unsigned n = sn_axis_ticks(&a);
        ok(n >= 2 && n <= rows[i].most + 1, "%u ticks to %g %s", n, rows[i].to,
           rows[i].unit);
        sn_axis_label(&a, sn_axis_tick(&a, 0), first, sizeof first);
        sn_axis_label(&a, sn_axis_tick(&a, n - 1), last, sizeof last);
        const char *space = strchr(rows[i].last, ' ');
        if (space != NULL)
            snprintf(want, sizeof want, "%.*s\u202f%s", (int)(space - rows[i].last),
                     rows[i].last, space + 1);
        else
            snprintf(want, sizeof want, "%s", rows[i].last);
        snprintf(name, sizeof name, "the last of them for %g %s", rows[i].to,
                 rows[i].unit);
        is_str(last, want, name);
        ok(strncmp(first, rows[i].first, 1) == 0, "the first: %s", first);
    }
    struct sn_axis a = sn_axis_fit(3, 77, "count", 4, true);
    ok(a.from == 0 && a.to == 80, "rounded, it ends at ticks: %g to %g", a.from, a.to);
}

static struct sn_buf chart_of(struct sn_trace *t, enum sn_picture kind)
{
    struct sn_error e = {.offset = -1};
    struct sn_buf b = {.arena = t->arena};
    struct sn_trace_options o = {.title = "a <chart> \xff"};
    struct sn_chart *c = sn_trace_chart(t, &o, &e);
    ok(c != NULL && sn_draw_chart(c, kind, &b, &e), "a chart is drawn %s", e.what);
    sn_chart_free(c);
    return b;
}

static struct sn_trace *read_lines(const char *const *lines, size_t n, unsigned times)
{
    struct sn_trace *t = sn_trace_new(NULL);
    for (unsigned k = 0; k < times; k++)
        for (size_t i = 0; i < n; i++) {
            sn_trace_feed(t, lines[i], strlen(lines[i]), SN_TRACE_ABSENT, NULL, NULL);
            sn_trace_feed(t, "\n", 1, SN_TRACE_ABSENT, NULL, NULL);
        }
    sn_trace_finish(t, NULL, NULL);
    return t;
}

/* Numbers without sense must not become pictures without sense. */
static void charts_of_odd_traces(void)
{
    static const char *const odd[][4] = {
        {"gc 99999999999999999999 @99999999999999999999999s 99999%: "
         "99999999999999999+1e9 "
         "ms clock, 9999999999999999999999->1->0 GB, 99999999999999999 GB goal, 9 P"},
        {"gc 1 @0s 0%: 0+0+0 ms clock, 0->0->0 MB, 0 MB goal, 0 P"},
        {"SCHED 0ms: gomaxprocs=0 idleprocs=0 threads=0 runqueue=0",
         "  M1: p=0 state=blocked(\x01<&>\xff)"},
        {"SCHED 99999999999999999999ms: gomaxprocs=99999999999999 idleprocs=0 "
         "runqueue=999999999999 [99999999999999]",
         "  P0: status=0 runqsize=99999999999999",
         "  G99999999999999999999: status=4(\xc3)"},
        {"scvg1: inuse: 99999999999999999999, idle: 0, sys: 0, released: 9 (GB)"},
        {"scav 0 KiB work, 0 KiB total, 0% util"},
        {"gc1(1): 0+0+0+0 us, 0 -> 0 MB, 0 (0-0) objects"},
    };
    for (size_t i = 0; i < SN_COUNT(odd); i++) {
        size_t n = 0;
        while (n < SN_COUNT(odd[i]) && odd[i][n] != NULL)
            n++;
        struct sn_trace *t = read_lines(odd[i], n, 3);
        struct sn_buf svg = chart_of(t, SN_PICTURE_SVG);
        ok(svg.len > 500 && strstr(svg.data, "nan") == NULL &&
               strstr(svg.data, "inf") == NULL && strstr(svg.data, "<&") == NULL,
           "... with numbers and escaped words");
        ok(chart_of(t, SN_PICTURE_PNG).len > 500, "as PNG too");
        sn_trace_free(t);
    }
}

static void chart_without_data(void)
{
    static const char *const lines[] = {"GC forced"};
    struct sn_trace *t = read_lines(lines, 1, 1);
    struct sn_error e = {.offset = -1};
    struct sn_trace_options o = {.title = ""};
    ok(sn_trace_chart(t, &o, &e) == NULL && strstr(e.what, "nothing to draw") != NULL,
       "nothing to draw: %s", e.what);
    sn_trace_free(t);
}

int main(void)
{
    layout();
    pictures();
    odd_names();
    axes();
    charts_of_odd_traces();
    chart_without_data();
    return done();
}
