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
    p = made("main;a;b;c 1\nmain;a;d 100\nmain;a 2\n");
    o.node_fraction = 0.05;
    o.sample_index = "0";
    g = graph_of(p, &v, &o, true);
    const struct sn_node *shared = node(g, "a");
    if (ok(g != NULL && g->n_order == 3 && shared != NULL,
           "its light ends are left out")) {
        is_int(g->dropped_nodes, 2, "how many nodes those were is known");
        is_int(shared->cum, 103, "what they came to is not lost");
        is_int(shared->flat, 2, "and is not what others do themselves");
    }
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

/* ---- edges, as counted without any haste ---------------------------------------------
 */

#define FUNCTIONS 700

struct counted {
    int64_t weight;
    uint32_t seen;
    bool residual, called;
};
static struct counted expected[FUNCTIONS][FUNCTIONS];

/* Stacks of functions f0, f1, ..., the first of which are met most; enough for all cores
 * to be set to work. */
static struct sn_profile *many_stacks(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_buf text = {.arena = a};
    uint64_t random = 1;
    for (unsigned i = 0; i < 2200; i++) {
        for (unsigned k = 0, n = 15 + i % 41; k < n; k++) {
            random = sn_hash_mix(random + i);
            uint64_t square = (random >> 8) % FUNCTIONS * ((random >> 32) % FUNCTIONS);
            sn_buf_printf(&text, "%sf%u",
                          k == 0             ? ""
                          : random % 16 == 0 ? "|"
                                             : ";",
                          (unsigned)(square / FUNCTIONS));
        }
        sn_buf_printf(&text, " %u\n", 1 + i % 7);
    }
    struct sn_profile *p = made(text.data);
    sn_arena_free(a);
    return p;
}

static unsigned number_of(const struct sn_profile *p, uint32_t function)
{
    return (unsigned)atoi(sn_profile_str(p, p->functions[function].name) + 1);
}

static void expect_edges(const struct sn_profile *p, const bool *kept)
{
    memset(expected, 0, sizeof expected);
    for (uint32_t i = 0; i < p->n_samples; i++) {
        const struct sn_sample *s = &p->samples[i];
        unsigned parent = FUNCTIONS;
        bool residual = false;
        for (uint32_t j = s->n_locs; j-- > 0;) {
            const struct sn_location *l = &p->locations[p->sample_locs[s->loc0 + j]];
            for (uint32_t k = l->n_lines; k-- > 0;) {
                unsigned f = number_of(p, p->lines[l->line0 + k].function);
                struct counted *e = &expected[parent % FUNCTIONS][f];
                if (!kept[f]) {
                    residual = true;
                    continue;
                }
                if (parent != FUNCTIONS && parent != f && e->seen != i + 1) {
                    e->seen = i + 1;
                    e->weight += p->values[(size_t)i * p->n_types];
                    e->residual |= residual;
                    e->called |= k == l->n_lines - 1;
                }
                parent = f;
                residual = false;
            }
        }
    }
}

/* How many are not as expected. `only`: those of whom a graph has edges; NULL: of all. */
static unsigned wrong_edges(const struct sn_graph *g, struct sn_regex *only)
{
    unsigned wrong = 0, there = 0;
    for (uint32_t i = 0; i < g->n_edges; i++) {
        const struct sn_edge *e = &g->edges[i];
        const struct counted *x =
            &expected[atoi(g->nodes[e->src].name + 1)][atoi(g->nodes[e->dst].name + 1)];
        wrong += e->weight != x->weight || e->residual != x->residual ||
                 e->inlined == x->called;
    }
    for (unsigned i = 0; i < FUNCTIONS; i++)
        for (unsigned k = 0; k < FUNCTIONS; k++) {
            char names[2][16];
            snprintf(names[0], sizeof names[0], "f%u", i);
            snprintf(names[1], sizeof names[1], "f%u", k);
            there += expected[i][k].weight != 0 &&
                     (only == NULL || sn_regex_match(only, names[0]) ||
                      sn_regex_match(only, names[1]));
        }
    return wrong + (there != g->n_edges);
}

static void edges(void)
{
    static const struct {
        int node_count;
        const char *only, *what;
    } rows[] = {{0, NULL, "of all nodes"},
                {600, NULL, "of many"},
                {100, NULL, "of some"},
                {0, "^f1.$", "of all, but only of a few of them"},
                {0, "^f[1-9]", "of all, but only of most of them"}};
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct sn_error e = {.offset = -1};
        struct sn_options o = sn_options_default();
        struct sn_profile *p = many_stacks();
        struct sn_regex *only =
            rows[i].only != NULL ? sn_regex_new(rows[i].only, "only", &e) : NULL;
        struct sn_view_kind kind = {.edges = true, .edges_of = only};
        struct sn_view v;
        bool kept[FUNCTIONS] = {false};
        o.node_count = rows[i].node_count;
        o.node_fraction = o.edge_fraction = 0;
        o.sample_index = "0";
        struct sn_graph *g =
            sn_view_open(&v, p, &o, kind, &e) ? sn_graph_new(&v, &e) : NULL;
        for (uint32_t k = 0; g != NULL && k < g->n_nodes; k++)
            kept[atoi(g->nodes[k].name + 1)] = true;
        expect_edges(p, kept);
        ok(g != NULL && g->n_edges > 1000 && wrong_edges(g, only) == 0,
           "%u edges %s are as counted without haste", g != NULL ? g->n_edges : 0,
           rows[i].what);
        sn_graph_free(g);
        sn_regex_free(only);
        sn_profile_free(p);
    }
}

int main(void)
{
    options();
    edges();
    names();
    box_names();
    counts();
    filters();
    trimming();
    refusals();
    return done();
}
