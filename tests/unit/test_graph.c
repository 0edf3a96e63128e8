/* test_graph.c: options, names, filters, and what a graph counts. */
#include "../made.h"
#include "../tap.h"
#include "graph/graph.h"

static const char program[] = "main;a;b 30 thread=one bytes:1024\n"
                              "main;a;c 20 thread=two bytes:4096\n"
                              "main;a;b;a 10 thread=one\n"
                              "main;d|e 40\n"
                              "main 1\n";

static void options(void)
{
    static const struct {
        const char *name, *value, *wrong;
    } rows[] = {
        {"nodecount", "12", NULL},
        {"nodecount", "many", "a whole number"},
        {"nodecount", "-7", "a whole number"},
        {"nodefraction", "0.5", NULL},
        {"nodefraction", "", "a number"},
        {"trim", "maybe", "true or false"},
        {"cum", "true", NULL},
        {"lines", "true", NULL},
        {"focus", "x", NULL},
        {"colour", "red", "not known"},
    };
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct sn_options o = sn_options_default();
        struct sn_error e = {.offset = -1};
        bool good = sn_options_set(&o, rows[i].name, rows[i].value, &e);
        ok(good == (rows[i].wrong == NULL) &&
               (good || strstr(e.what, rows[i].wrong) != NULL),
           "%s=%s %s", rows[i].name, rows[i].value, e.what);
    }
}

static void names(void)
{
    static const struct {
        const char *name, *wanted;
    } shorter[] = {
        {"std::vector<int>::push_back(int const&)",
         "std::vector<int>::push_back(int const&)"},
        {"a::b::Class::method(int)", "Class::method"},
        {"(anonymous namespace)::Foo::bar", "Foo::bar"},
        {"github.com/x/y/v2/pkg.Func", "pkg.Func"},
        {"java.util.ArrayList.add(int)", "ArrayList.add"},
        {"main", "main"},
    };
    static const struct {
        const char *path, *wanted;
    } paths[] = {{"/a//b/./c/../d", "/a/b/d"},
                 {"../x/..", ".."},
                 {"a/..", "."},
                 {"/..", "/"},
                 {"a/b/", "a/b"},
                 {"../../a", "../../a"}};
    struct sn_arena *a = sn_arena_new();
    struct sn_shortener *s = sn_shortener_new(NULL);
    for (size_t i = 0; i < SN_COUNT(shorter); i++)
        is_str(sn_shorten(s, shorter[i].name, a), shorter[i].wanted, shorter[i].name);
    for (size_t i = 0; i < SN_COUNT(paths); i++)
        is_str(sn_clean_path(paths[i].path, a), paths[i].wanted, paths[i].path);
    sn_shortener_free(s);
    sn_arena_free(a);
}

static void box_names(void)
{
    static const struct {
        const char *name, *ours, *pprofs;
    } rows[] = {
        {"std::map<a::K, b::V>::at(a::K)", "std\nmap<a::K, b::V>\nat(a::K)",
         "std\nmap<a\nK, b\nV>\nat(a\nK)"},
        {"<c::F<fn() -> d::T> as e::G>::go", "<c::F<fn() -> d::T> as e::G>\ngo",
         "<c\nF<fn() -> d\nT> as e\nG>\ngo"},
        {"slices.Sort[go.shape.int]", "slices\nSort[go.shape.int]",
         "slices\nSort[go\nshape\nint]"},
        {"slices.Sort[...].func1", "slices\nSort[\u2026]\nfunc1",
         "slices\nSort[\u2026]\nfunc1"},
        {"main.(*Tree).Walk", "main\n(*Tree)\nWalk", "main\n(*Tree)\nWalk"},
    };
    struct sn_profile *p = made("");
    struct sn_shortener *s = sn_shortener_new(NULL);
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct sn_node_info info = {.name = sn_strtab_add(p->strings, rows[i].name)};
        is_str(sn_node_box_name(s, p, &info, false, p->arena), rows[i].ours, "ours");
        is_str(sn_node_box_name(s, p, &info, true, p->arena), rows[i].pprofs, "pprof's");
    }
    sn_shortener_free(s);
    sn_profile_free(p);
}

static const struct sn_node *node(const struct sn_graph *g, const char *name)
{
    for (uint32_t i = 0; g != NULL && i < g->n_order; i++)
        if (strcmp(g->nodes[g->order[i]].name, name) == 0)
            return &g->nodes[g->order[i]];
    return NULL;
}

static struct sn_graph *graph_of(struct sn_profile *p, struct sn_view *v,
                                 const struct sn_options *o, bool drawn)
{
    struct sn_view_kind kind = {.drawn = drawn, .edges = true};
    struct sn_error e = {.offset = -1};
    bool good = sn_view_open(v, p, o, kind, &e);
    struct sn_graph *g = good ? sn_graph_new(v, &e) : NULL;
    if (g == NULL)
        printf("# %s\n", e.what);
    return g;
}

static void counts(void)
{
    struct sn_options o = sn_options_default();
    struct sn_profile *p = made(program);
    struct sn_view v;
    o.sample_index = "samples";
    struct sn_graph *g = graph_of(p, &v, &o, false);
    const struct sn_node *a = node(g, "a"), *b = node(g, "b"), *e = node(g, "e");
    is_int(v.total, 101, "the total");
    if (ok(a != NULL && b != NULL && e != NULL, "the nodes are there")) {
        is_int(a->cum, 60, "recursion counts once");
        is_int(a->flat, 10, "what it does itself");
        is_int(b->cum, 40, "b");
        is_int(e->flat, 40, "the inlined function is the leaf");
        ok(g->edges[e->in].inlined, "and its edge says that it is inlined");
        ok(!g->edges[a->in].inlined, "others do not");
    }
    is_str(g->n_order > 0 ? g->nodes[g->order[0]].name : "", "e", "largest first");
    sn_graph_free(g);
    sn_profile_free(p);
}

static void filters(void)
{
    static const struct {
        const char *option, *value;
        int64_t shown;
        const char *absent;
    } rows[] = {
        {"focus", "^b$", 40, "c"},           {"ignore", "^b$", 61, "b"},
        {"hide", "^b$", 101, "b"},           {"show", "^(main|a)$", 101, "b"},
        {"show_from", "^a$", 60, "main"},    {"prune_from", "^a$", 101, "c"},
        {"tagfocus", "thread=one", 40, "c"}, {"tagignore", "thread=one", 61, "b"},
        {"tagfocus", "bytes=2kb:", 20, "b"}, {"tagfocus", "1kb", 30, "c"},
        {"tagfocus", ":2kb", 30, "c"},       {"tagfocus", "thread:two", 20, "b"},
    };
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct sn_options o = sn_options_default();
        struct sn_profile *p = made(program);
        struct sn_view v;
        int64_t shown = 0;
        sn_options_set(&o, rows[i].option, rows[i].value, NULL);
        o.sample_index = "0";
        struct sn_graph *g = graph_of(p, &v, &o, false);
        for (uint32_t k = 0; g != NULL && k < g->n_order; k++)
            shown += g->nodes[g->order[k]].flat;
        ok(shown == rows[i].shown && node(g, rows[i].absent) == NULL, "%s=%s leaves %lld",
           rows[i].option, rows[i].value, (long long)shown);
        sn_graph_free(g);
        sn_profile_free(p);
    }
}

static void trimming(void)
{
    struct sn_options o = sn_options_default();
    struct sn_profile *p = made("main;between;leaf 100\nmain 50\n");
    struct sn_view v;
    o.node_count = 2;
    struct sn_graph *g = graph_of(p, &v, &o, false);
    if (ok(g != NULL && g->n_order == 2, "no more nodes than asked for")) {
        is_int(g->n_before, 3, "of how many is known");
        ok(g->n_edges == 1 && g->edges[0].residual,
           "an edge over what was left out is residual");
    }
    sn_graph_free(g);
    sn_profile_free(p);
    p = made(program);
    o = sn_options_default();
    o.call_tree = true;
    g = graph_of(p, &v, &o, true);
    unsigned n = 0;
    for (uint32_t i = 0; g != NULL && i < g->n_order; i++)
        n += strcmp(g->nodes[g->order[i]].name, "a") == 0;
    is_int(n, 2, "in a call tree a function is there for each path");
    sn_graph_free(g);
    sn_profile_free(p);
}

static void refusals(void)
{
    static const struct {
        const char *option, *value, *why;
    } rows[] = {
        {"focus", "a(b", "regular expression"},
        {"tagfocus", "[", "regular expression"},
        {"sample_index", "7", "outside the range"},
        {"sample_index", "widgets", "must be one of"},
        {"divide_by", "0", "divide_by"},
    };
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct sn_options o = sn_options_default();
        struct sn_error e = {.offset = -1};
        struct sn_profile *p = made(program);
        struct sn_view v;
        sn_options_set(&o, rows[i].option, rows[i].value, &e);
        ok(!sn_view_open(&v, p, &o, (struct sn_view_kind){0}, &e) &&
               strstr(e.what, rows[i].why) != NULL,
           "%s=%s: %s", rows[i].option, rows[i].value, e.what);
        sn_profile_free(p);
    }
}

int main(void)
{
    options();
    names();
    box_names();
    counts();
    filters();
    trimming();
    refusals();
    return done();
}
