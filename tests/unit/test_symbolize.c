/* test_symbolize.c: this very program, looked up in itself; names demangled; and files
 * that are not what they should be. */
#include "../made.h"
#include "../tap.h"
#include "symbolize/symbolize_priv.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

static __attribute__((noinline)) int named_function(int x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

static inline __attribute__((always_inline)) int inlined_into(int x)
{
    __asm__ volatile("mark_inlined: nop" : "+r"(x));
    return x * 3;
}

static __attribute__((noinline)) int outer_function(int x)
{
    return inlined_into(x) + 1;
}

extern const char mark_inlined[];

static int read_mapping(struct dl_phdr_info *info, size_t size, void *to)
{
    struct sn_mapping *m = to;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_LOAD && p->p_flags & PF_X) {
            m->start = (info->dlpi_addr + p->p_vaddr) & ~UINT64_C(4095);
            m->limit = info->dlpi_addr + p->p_vaddr + p->p_memsz;
            m->offset = p->p_offset & ~UINT64_C(4095);
        }
    }
    return 1; /* the program comes first */
}

/* A profile of one sample with one location a pc, all in this program. */
static struct sn_profile *of_this_program(const char *file, const uint64_t *pcs, int n)
{
    struct sn_profile *p = made("");
    struct sn_mapping *m = &p->mappings[0];
    dl_iterate_phdr(read_mapping, m);
    m->file = sn_strtab_add(p->strings, file);
    m->build_id = 0;
    struct sn_sample *s = SN_PUSH(p->arena, p->samples, p->n_samples, p->cap_samples);
    *s = (struct sn_sample){.n_locs = (uint32_t)n};
    for (int i = 0; i < n; i++) {
        struct sn_location *l =
            SN_PUSH(p->arena, p->locations, p->n_locations, p->cap_locations);
        *l = (struct sn_location){.mapping = 0, .address = pcs[i]};
        *SN_PUSH(p->arena, p->sample_locs, p->n_sample_locs, p->cap_sample_locs) =
            (uint32_t)i;
    }
    return p;
}

static const char *name_at(const struct sn_profile *p, uint32_t location, uint32_t line)
{
    const struct sn_location *l = &p->locations[location];
    if (line >= l->n_lines)
        return "";
    return sn_profile_str(p, p->functions[p->lines[l->line0 + line].function].name);
}

static void itself(void)
{
    char self[4096] = "";
    const uint64_t pcs[] = {(uintptr_t)named_function, (uintptr_t)mark_inlined,
                            (uintptr_t)named_function + 1};
    struct sn_symbolize_options o = {0};
    struct sn_error e = {.offset = -1};
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        return;
    struct sn_profile *p = of_this_program(self, pcs, 3);
    ok(sn_symbolize(p, &o, NULL, &e), "symbolizes %s", e.what);
    is_str(name_at(p, 0, 0), "named_function", "a function");
    is_str(name_at(p, 1, 0), "inlined_into", "an inlined function first");
    is_str(name_at(p, 1, 1), "outer_function", "then the one it is inlined into");
    ok(p->lines[p->locations[0].line0].line > 10, "with its line");
    ok(p->lines[p->locations[0].line0].function ==
           p->lines[p->locations[2].line0].function,
       "one function, however many addresses");
    ok(p->mappings[0].has_functions && p->mappings[0].has_lines &&
           p->mappings[0].has_inlines,
       "the mapping says what it has");
    p->locations[0].n_lines = 0;
    sn_symbolize(p, &o, NULL, &e);
    is_str(name_at(p, 0, 0), "named_function",
           "what was left without a name is tried again");
    sn_profile_free(p);
    o.no_inlines = true;
    p = of_this_program(self, pcs, 3);
    sn_symbolize(p, &o, NULL, &e);
    is_str(name_at(p, 1, 0), "outer_function", "without inlined calls: the real one");
    sn_profile_free(p);
    o = (struct sn_symbolize_options){.binary = self};
    p = of_this_program("/gone/away", pcs, 3);
    sn_symbolize(p, &o, NULL, &e);
    is_str(name_at(p, 0, 0), "named_function", "the binary given stands for the program");
    sn_profile_free(p);
}

static void refusals(void)
{
    static const struct {
        const char *file, *build_id, *why;
    } rows[] = {
        {"/gone/away", "", "No such file"},
        {"/etc/passwd", "", "ELF"},
        {"[vdso]", "", "no file"},
        {"/proc/self/exe", "00ff", "build id"},
    };
    const uint64_t pcs[] = {(uintptr_t)named_function};
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct sn_symbolize_options o = {0};
        struct sn_error e = {.offset = -1};
        struct sn_profile *p = of_this_program(rows[i].file, pcs, 1);
        struct sn_buf log = {.arena = p->arena};
        p->mappings[0].build_id = sn_strtab_add(p->strings, rows[i].build_id);
        ok(sn_symbolize(p, &o, &log, &e) && p->locations[0].n_lines == 0,
           "%s %s: the address stays", rows[i].file, rows[i].build_id);
        const char *said = log.data != NULL ? log.data : "";
        ok(strstr(said, rows[i].why) != NULL, "... and why is said: %.*s",
           (int)strcspn(said, "\n"), said);
        sn_profile_free(p);
    }
}

static void demangling(void)
{
    static const struct {
        const char *name, *plain, *templates, *full;
    } rows[] = {
        {"main", "main", "main", "main"},
        {"_Z3fooi", "foo", "foo", "foo(int)"},
        {"_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector::push_back",
         "std::vector<int, std::allocator<int> >::push_back",
         "std::vector<int, std::allocator<int> >::push_back(int const&)"},
        {"_ZN3foo3barIiEEvT_", "foo::bar", "foo::bar<int>", "void foo::bar<int>(int)"},
        {"_ZlsRSoRK1A", "operator<<", "operator<<",
         "operator<<(std::ostream&, A const&)"},
        {"_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE",
         "core::fmt::Write::write_fmt", "core::fmt::Write::write_fmt",
         "core::fmt::Write::write_fmt"},
        {"_RNvC6_123foo3bar", "123foo::bar", "123foo::bar", "123foo::bar"},
        {"_Z1fILi3EEvv", "f", "f<3>", "void f<3>()"},
        {"_ZN1AlsIiEERS_RKT_", "A::operator<<", "A::operator<< <int>",
         "A& A::operator<< <int>(int const&)"},
        {"_ZN1AeqIiEERS_RKT_", "A::operator==", "A::operator==<int>",
         "A& A::operator==<int>(int const&)"},
        {"_ZN3fooL3barEv.isra.0", "foo::bar", "foo::bar", "foo::bar()"},
        /* Of the base's constructor, where pprof has the class's own. */
        {"_ZN1BIiECI11AEv", "B::A", "B<int>::A", "B<int>::A()"},
        {"_Z", "_Z", "_Z", "_Z"},
        {"", "", "", ""},
    };
    struct sn_arena *a = sn_arena_new();
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        is_str(sn_demangle(rows[i].name, SN_DEMANGLE_DEFAULT, a), rows[i].plain,
               rows[i].plain);
        is_str(sn_demangle(rows[i].name, SN_DEMANGLE_TEMPLATES, a), rows[i].templates,
               rows[i].templates);
        is_str(sn_demangle(rows[i].name, SN_DEMANGLE_FULL, a), rows[i].full,
               rows[i].full);
        is_str(sn_demangle(rows[i].name, SN_DEMANGLE_NONE, a), rows[i].name, "as it is");
    }
    sn_arena_free(a);
}

/* ---- names that the profile came with -------------------------------------------------
 */

static void given(void)
{
    static const struct {
        const char *system, *name, *plain, *templates, *full;
    } rows[] = {
        {"_ZN3foo3barIiEEvT_", "_ZN3foo3barIiEEvT_", "foo::bar", "foo::bar<int>",
         "void foo::bar<int>(int)"},
        {"__Z3fooi", "__Z3fooi", "foo", "foo", "foo(int)"},
        {"_Z3fooi", "chosen", "foo", "foo", "foo(int)"}, /* forced, which modes do */
        {"", "alone<int>", "alone<int>", "alone<int>", "alone<int>"},
        {"ns::f<int>(char) const", "ns::f<int>(char) const", "ns::f const",
         "ns::f<int> const", "ns::f<int>(char) const"},
        {"a::b(c(d)e)f(g)", "a::b(c(d)e)f(g)", "a::bf", "a::bf", "a::b(c(d)e)f(g)"},
        {"x::y)z(w)", "x::y)z(w)", "x::y)z(w)", "x::y)z(w)", "x::y)z(w)"},
        {"x::(y", "x::(y", "x::(y", "x::(y", "x::(y"},
        {"f(int)", "f(int)", "f(int)", "f(int)", "f(int)"}, /* may be C, or Go */
        {"java.Map.<init>(int)", "java.Map.<init>(int)", "java.Map.<init>(int)",
         "java.Map.<init>(int)", "java.Map.<init>(int)"},
        {"main.(*Box[...]).put", "main.(*Box[...]).put", "main.(*Box[...]).put",
         "main.(*Box[...]).put", "main.(*Box[...]).put"},
        {"main.Map[go.shape.int]", "main.Map[go.shape.int]", "main.Map[go.shape.int]",
         "main.Map[go.shape.int]", "main.Map[go.shape.int]"},
        {"_", "_", "_", "_", "_"},
        {"", "", "", "", ""},
    };
    for (size_t i = 0; i < SN_COUNT(rows); i++)
        for (int mode = SN_DEMANGLE_DEFAULT; mode <= SN_DEMANGLE_FULL; mode++) {
            const char *const want[] = {[SN_DEMANGLE_DEFAULT] = rows[i].plain,
                                        [SN_DEMANGLE_NONE] = *rows[i].system != '\0'
                                                                 ? rows[i].system
                                                                 : rows[i].name,
                                        [SN_DEMANGLE_TEMPLATES] = rows[i].templates,
                                        [SN_DEMANGLE_FULL] = rows[i].full};
            struct sn_symbolize_options o = {.demangle = (enum sn_demangle)mode,
                                             .force = true};
            struct sn_error e = {.offset = -1};
            struct sn_profile *p = made("main 1\n");
            p->mappings[0].file = 0;
            p->functions[0].system_name = sn_strtab_add(p->strings, rows[i].system);
            p->functions[0].name = sn_strtab_add(p->strings, rows[i].name);
            sn_symbolize(p, &o, NULL, &e);
            is_str(sn_profile_str(p, p->functions[0].name), want[mode], rows[i].name);
            if (mode == SN_DEMANGLE_DEFAULT && strcmp(rows[i].name, "chosen") == 0) {
                p->functions[0].name = sn_strtab_add(p->strings, rows[i].name);
                o.force = false;
                sn_symbolize(p, &o, NULL, &e);
                is_str(sn_profile_str(p, p->functions[0].name), "chosen",
                       "one that has both names is left alone");
            }
            sn_profile_free(p);
        }
}

/* ---- names from a server --------------------------------------------------------------
 */

static void servers(void)
{
    static const struct {
        const char *source, *url;
    } rows[] = {
        {"http://h/debug/pprof/profile", "http://h/debug/pprof/symbol"},
        {"https://me:x@h:80/debug/pprof/heap?seconds=3&a=/b#c",
         "https://me:x@h:80/debug/pprof/symbol"},
        {"https+insecure://[::1]:80/a/debug/pprof/b/c",
         "https+insecure://[::1]:80/a/debug/pprof/b/symbol"},
        {"http://h/pprof/heap", "http://h/pprof/symbol"},
        {"http://h/x/pprof/contention", "http://h/x/pprof/symbol"},
        {"http://h/pprof/heaps", "http://h/pprof/symbolz"},
        {"http://h/pprof/heap/", "http://h/pprof/symbolz"},
        {"http://h/a/b.pb.gz", "http://h/a/symbolz"},
        {"http://h/a", "http://h/symbolz"},
        {"http://h/", "http://h/symbolz"},
        {"http://h", "http://h/symbolz"},
        {"http://h?x", "http://h/symbolz"},
        {"http://h//a//b/./c/../d", "http://h/a/b/symbolz"},
        {"http://h/../../a/..", "http://h/symbolz"},
        {"http://h/.../a", "http://h/.../symbolz"},
        {"http:///a", NULL},
        {"host", NULL},
        {"", NULL},
        {NULL, NULL},
    };
    struct sn_arena *a = sn_arena_new();
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct sn_buf url = {.arena = a};
        bool is = remote_url(rows[i].source, &url);
        is_str(is ? url.data : "none", rows[i].url != NULL ? rows[i].url : "none",
               rows[i].source != NULL ? rows[i].source : "no source");
    }
    sn_arena_free(a);
}

struct server {
    const char *answer; /* NULL: it fails */
    size_t n;
    int asked;
    char url[128], query[128];
};

static bool serve(void *arg, const char *module, const char *url,
                  const struct sn_buf *query, struct sn_buf *answer, struct sn_error *e)
{
    struct server *server = arg;
    (void)module;
    server->asked++;
    snprintf(server->url, sizeof server->url, "%s", url);
    snprintf(server->query, sizeof server->query, "%s", query->data);
    if (server->answer == NULL)
        return sn_fail(e, "http://host", -1, "does not like it");
    sn_buf_add(answer, server->answer, server->n);
    return true;
}

/* Two mappings of a program that is gone; three locations in the first, which its server
 * has 0x100000 higher, one in the other. */
static struct sn_profile *fetched(void)
{
    const uint64_t pcs[] = {0x401000, 0x402000, 0x402000, 0x601000};
    struct sn_profile *p = of_this_program("/gone/away", pcs, 4);
    struct sn_mapping first = {.start = 0x400000,
                               .limit = 0x500000,
                               .file = p->mappings[0].file,
                               .source = "http://host/pprof/heap",
                               .source_start = 0x500000};
    p->mappings[0] = first;
    struct sn_mapping *m = SN_PUSH(p->arena, p->mappings, p->n_mappings, p->cap_mappings);
    *m = (struct sn_mapping){.start = 0x600000,
                             .limit = 0x700000,
                             .source = first.source,
                             .source_start = 0x600000};
    p->locations[3].mapping = 1;
    return p;
}

static void answers(void)
{
#define TEXT(text) text, sizeof(text) - 1
    static const struct {
        const char *answer;
        size_t n;
        const char *first, *second, *bad;
    } rows[] = {
        {TEXT("num_symbols: 1\n0x501000\tfoo\n0x502000  bar baz\n"), "foo", "bar baz",
         NULL},
        {TEXT("0x502000 last line\n0x501000 cut"), "cut", "last line", NULL},
        {TEXT("0x501000 a\r\n0x502000\r\n"), "a", "", NULL},
        {TEXT("0x501000\n0x502000 \n"), "", "", NULL},
        {TEXT("see 0x501000: 0x502000x 0x502000 later 0x501000 x\n"), "",
         "later 0x501000 x", NULL},
        {TEXT("0x501000 one\n0x501000 two\n"), "two", "", NULL},
        {TEXT("0x401000 not moved\n0x0 zero\n0xffffffffffffffff end\n"), "", "", NULL},
        {TEXT("0X501000 x\n501000 y\n0x 0x501000z\n"), "", "", NULL},
        {TEXT("0x00000000000000000501000 zeros\n"), "zeros", "", NULL},
        {TEXT("0x501000 _ZN3foo3barEi\n0x502000 ns::f<int>(char)\n"), "foo::bar", "ns::f",
         NULL},
        {TEXT("0x501000 good\n0x10000000000501000 large\n"), "", "", "offset 14"},
        {TEXT(""), "", "", NULL},
        {TEXT("\n\n\n"), "", "", NULL},
        {TEXT("0x501000 a\0b\n\0\n0x502000 \0\n"), "a", "", NULL},
    };
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct server server = {.answer = rows[i].answer, .n = rows[i].n};
        struct sn_symbolize_options o = {
            .ask = serve, .ask_arg = &server, .no_local = true};
        struct sn_error e = {.offset = -1};
        char text[640];
        struct sn_profile *p = fetched();
        p->mappings[1].source = NULL;
        bool good = sn_symbolize(p, &o, NULL, &e);
        const char *why = rows[i].bad != NULL ? rows[i].bad : "";
        ok(good == (*why == '\0'), "answer %zu: taken, or not", i);
        ok(good || strstr(sn_error_text(&e, text, sizeof text), why) != NULL,
           "... and why: %s", good ? "" : text);
        is_str(name_at(p, 0, 0), rows[i].first, "... the first");
        is_str(name_at(p, 1, 0), rows[i].second, "... the second");
        is_str(name_at(p, 2, 0), rows[i].second, "... which is there twice");
        ok(p->mappings[0].has_functions == good, "... the mapping has functions");
        is_str(server.query, "0x501000+0x502000",
               "... asked for once, where it has them");
        is_str(server.url, "http://host/pprof/symbol", "... there");
        sn_profile_free(p);
    }
}

static void asking(void)
{
    struct server server = {.answer =
                                TEXT("0x501000 named\n0x601000 other\n0x502000 x\n")};
    struct sn_symbolize_options o = {.ask = serve, .ask_arg = &server};
    struct sn_error e = {.offset = -1};
    struct sn_profile *p = fetched();
    struct sn_buf log = {.arena = p->arena};
    ok(sn_symbolize(p, &o, &log, &e) && log.len == 0 && server.asked == 2,
       "each mapping's server is asked; all have names, so nothing is told");
    is_str(name_at(p, 3, 0), "other", "... each at its own addresses");
    sn_symbolize(p, &o, &log, &e);
    is_int(server.asked, 2, "what has functions is not asked for again");
    p->locations[0].n_lines = 0;
    sn_symbolize(p, &o, &log, &e);
    is_int(server.asked, 2, "... not even where some have none, as pprof");
    o.force = true;
    server.answer = "0x501000 again\n0x502000 instead\n";
    server.n = strlen(server.answer);
    sn_symbolize(p, &o, &log, &e);
    is_str(name_at(p, 0, 0), "again", "forced: what has none");
    is_str(name_at(p, 1, 0), "x", "... while others keep theirs, though it answers");
    sn_profile_free(p);

    p = fetched();
    log = (struct sn_buf){.arena = p->arena};
    server = (struct server){0};
    o.force = false;
    ok(sn_symbolize(p, &o, &log, &e) && p->locations[0].n_lines == 0,
       "a server that fails is no error beside binaries");
    is_int(server.asked, 1, "... but it is asked no more");
    ok(strstr(log.data,
              "away: 3 addresses have no name: http://host: does not like it") != NULL,
       "... and that is told: %.*s", (int)strcspn(log.data, "\n"), log.data);
    o.no_local = true;
    ok(!sn_symbolize(p, &o, &log, &e) && strcmp(e.what, "does not like it") == 0,
       "... alone, it is one: %s", e.what);
    sn_profile_free(p);

    p = fetched();
    e = (struct sn_error){.offset = -1};
    server = (struct server){.answer = "", .n = 0};
    p->mappings[0].source_start = 0;
    p->locations[1].address = 0x1000; /* below its mapping: a lie */
    ok(!sn_symbolize(p, &o, NULL, &e) && strstr(e.what, "0x1000") != NULL &&
           server.asked == 0,
       "an address that would be below 0: %s", e.what);
    o.no_local = false;
    o.ask = NULL;
    ok(sn_symbolize(p, &o, NULL, &e) && server.asked == 0, "nobody to ask");
    sn_profile_free(p);
}

int main(void)
{
    itself();
    given();
    servers();
    answers();
    asking();
    refusals();
    demangling();
    return named_function(0) + outer_function(0) > 1000 ? 1 : done();
}
