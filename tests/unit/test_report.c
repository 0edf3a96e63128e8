/* test_report.c: reports of a small profile, word for word. What they should say was
 * taken from pprof's reports of the same profile. */
#include "../made.h"
#include "../tap.h"
#include "report/report.h"

static const char program[] = "main;parse;read 300 thread=one bytes:1024\n"
                              "main;parse|scan 200 thread=two\n"
                              "main;print 100\n";

static const char *report(struct sn_profile *p, const char *name, const char *argument)
{
    const struct sn_report_format *f = sn_report_format_find(name);
    struct sn_options o = sn_options_default();
    struct sn_error e = {.offset = -1};
    struct sn_buf b = {.arena = p->arena};
    if (f == NULL)
        return "no such report";
    return f->write(p, &o, argument, &b, &e) ? b.data : sn_arena_strdup(p->arena, e.what);
}

static const struct {
    const char *name, *argument, *wanted;
} rows[] = {
    {"top", NULL,
     "File: made\n"
     "Build ID: abcd\n"
     "Type: cpu\n"
     "Showing nodes accounting for 600ms, 100% of 600ms total\n"
     "      flat  flat%   sum%        cum   cum%\n"
     "     300ms 50.00% 50.00%      300ms 50.00%  read\n"
     "     200ms 33.33% 83.33%      200ms 33.33%  scan (inline)\n"
     "     100ms 16.67%   100%      100ms 16.67%  print\n"
     "         0     0%   100%      600ms   100%  main\n"
     "         0     0%   100%      500ms 83.33%  parse\n"},
    {"peek", "parse",
     "File: made\n"
     "Build ID: abcd\n"
     "Type: cpu\n"
     "Showing nodes accounting for 600ms, 100% of 600ms total\n"
     "----------------------------------------------------------+-------------\n"
     "      flat  flat%   sum%        cum   cum%   calls calls% + context \t \t \n"
     "----------------------------------------------------------+-------------\n"
     "                                             500ms   100% |   main\n"
     "         0     0%     0%      500ms 83.33%                | parse\n"
     "                                             300ms 60.00% |   read\n"
     "                                             200ms 40.00% |   scan (inline)\n"
     "----------------------------------------------------------+-------------\n"},
    {"peek", "nothing", "no matches found for regexp: nothing"},
    {"peek", "(",
     "peek: '(' is no regular expression: missing closing parenthesis at "
     "character 1"},
    {"tags", NULL,
     " bytes: Total 300ms of 600ms (50.00%)\n"
     "        300ms (50.00%): 1kB\n"
     "\n"
     " thread: Total 500ms of 600ms (83.33%)\n"
     "         300ms (50.00%): one\n"
     "         200ms (33.33%): two\n"
     "\n"},
    {"comments", NULL, ""},
};

static void words(void)
{
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct sn_profile *p = made(program);
        const char *text = report(p, rows[i].name, rows[i].argument);
        is_str(text != NULL ? text : "", rows[i].wanted, rows[i].name);
        sn_profile_free(p);
    }
}

static void contains(const char *name, const char *argument, const char *const *parts)
{
    struct sn_profile *p = made(program);
    const char *text = report(p, name, argument);
    for (; *parts != NULL; parts++)
        ok(strstr(text, *parts) != NULL, "%s has %.*s", name, (int)strcspn(*parts, "\n"),
           *parts);
    sn_profile_free(p);
}

static void parts(void)
{
    contains(
        "traces", NULL,
        (const char *const[]){"    thread:  one\n     bytes:  1kB\n",
                              "   300ms   read\n             parse\n             main\n",
                              "scan (inline)\n", NULL});
    contains("callgrind", NULL,
             (const char *const[]){"positions: instr line\nevents: cpu(ms)\n",
                                   "fn=(1) read\n", "calls=0 ", NULL});
    contains("dot", NULL,
             (const char *const[]){"digraph \"made\" {\n",
                                   "N2 [label=\"read\\n300ms (50.00%)\" id=\"node2\"",
                                   "label = \"thread:one\"",
                                   "N2 -> N2_0 [label=\" 300ms\"",
                                   "tooltip=\"parse -> scan (200ms)\"", NULL});
}

static void scene(void)
{
    struct sn_error e = {.offset = -1};
    struct sn_options o = sn_options_default();
    struct sn_profile *p = made(program);
    struct sn_scene *s = sn_scene_new(p, &o, &e);
    if (ok(s != NULL, "a scene %s", e.what)) {
        bool linked = true;
        uint32_t tags = 0;
        for (uint32_t i = 0; i < s->n_nodes; i++)
            tags += s->nodes[i].tag;
        for (uint32_t i = 0; i < s->n_edges; i++)
            linked = linked && s->edges[i].from < s->n_nodes &&
                     s->edges[i].to < s->n_nodes && s->edges[i].tag == (i < tags);
        ok(linked, "edges join nodes; those to tags come first");
        is_int(tags, 3, "two labels and a size");
        is_str(s->title, "made", "title");
    }
    sn_scene_free(s);
    sn_profile_free(p);
}

/* Labels that all samples share, whatever their threads' numbers, are not drawn. */
static void shared_labels(void)
{
    static const struct {
        const char *program;
        uint32_t tags;
    } cases[] = {{"main;a 10 thread=one tid:1\nmain;b 10 thread=one tid:2\n", 0},
                 {"main;a 10 thread=one tid:1\nmain;b 10 thread=two tid:2\n", 2},
                 {"main;a 10 thread=one tid:1\nmain;b 10 tid:2\n", 1}};
    for (size_t k = 0; k < SN_COUNT(cases); k++) {
        struct sn_error e = {.offset = -1};
        struct sn_options o = sn_options_default();
        struct sn_profile *p = made(cases[k].program);
        struct sn_scene *s = sn_scene_new(p, &o, &e);
        uint32_t tags = 0;
        for (uint32_t i = 0; s != NULL && i < s->n_nodes; i++)
            tags += s->nodes[i].tag;
        is_int(tags, cases[k].tags, "boxes of labels");
        sn_scene_free(s);
        sn_profile_free(p);
    }
}

int main(void)
{
    words();
    parts();
    scene();
    shared_labels();
    return done();
}
