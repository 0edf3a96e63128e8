/* test_resolve.c: addresses resolved ahead by our own reading of DWARF, set against what
 * elfutils says of each: whole programs, made here with the compilers' many ways to
 * write it; and damaged. */
#include "../tap.h"
#include "object/object.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX 64 /* frames */

static char directory[] = "/tmp/sonde-resolve.XXXXXX";

#define skip(...) (printf("ok %d # SKIP ", ++tap_count), printf(__VA_ARGS__), puts(""))
#define note(...) (printf("# "), printf(__VA_ARGS__), puts(""))

static const char source_c[] =
    "#include <stdio.h>\n"
    "#include <stdlib.h>\n"
    "#include <string.h>\n"
    "static inline int leaf(int x) { return x * 3 + 1; }\n"
    "static inline int middle(int x)\n"
    "{\n"
    "    int sum = 0;\n"
    "    for (int i = 0; i < x; i++) { int y = leaf(i); sum += leaf(y) ^ i; }\n"
    "    return sum;\n"
    "}\n"
    "__attribute__((noinline, cold)) static void fail(const char *why)\n"
    "{ fprintf(stderr, \"%s\\n\", why); exit(leaf(2)); }\n"
    "__attribute__((noinline)) int parted(int n, char **v)\n"
    "{\n"
    "    int sum = 0;\n"
    "    for (int i = 0; i < n; i++) {\n"
    "        if (__builtin_expect(strcmp(v[i], \"x\") == 0, 0)) { fail(\"x\"); }\n"
    "        if (__builtin_expect(v[i][0] == 'y', 0)) { printf(\"%d\\n\", middle(i)); "
    "abort(); }\n"
    "        sum += middle(i) + middle(sum & 7);\n"
    "    }\n"
    "    return sum;\n"
    "}\n"
    "static int nested(int a)\n"
    "{\n"
    "    if (a > 3) { int b = leaf(a); { int c = middle(b); return c + b; } }\n"
    "    return leaf(a);\n"
    "}\n"
    "int main(int n, char **v) { return parted(n, v) + nested(n); }\n";

static const char source_m[] =
    "struct big { int a, b; char name[100]; };\n"
    "static inline int leaf_common(struct big *b, int x)\n"
    "{ b->a += x * 3; b->name[x & 63]++; return b->a + b->b; }\n"
    "static inline int other_common(struct big *b, int x)\n"
    "{ return leaf_common(b, x) ^ leaf_common(b, x + 1); }\n"
    "int main(int n, char **v)\n"
    "{\n"
    "    struct big b = {n, 1, {0}};\n"
    "    int s = 0;\n"
    "    while (n--) s += other_common(&b, n) + leaf_common(&b, v[0][n]);\n"
    "    return s;\n"
    "}\n";

static const char source_cc[] =
    "#include <algorithm>\n"
    "#include <functional>\n"
    "#include <map>\n"
    "#include <memory>\n"
    "#include <string>\n"
    "#include <vector>\n"
    "namespace outer { namespace {\n"
    "template <int N> struct Fold {\n"
    "    static inline long step(long x) { return Fold<N - 1>::step(x * 3 + N) ^ x; }\n"
    "};\n"
    "template <> struct Fold<0> { static inline long step(long x) { return x + 1; } };\n"
    "struct Base { virtual ~Base() {} virtual long run(long) = 0; };\n"
    "template <class T> struct Derived : Base {\n"
    "    std::map<T, std::string> map;\n"
    "    long run(long x) override {\n"
    "        struct Local { long twice(long y) { return Fold<9>::step(y) * 2; } } "
    "local;\n"
    "        map[T(x)] = std::to_string(local.twice(x));\n"
    "        return long(map.size()) + local.twice(x + 1);\n"
    "    }\n"
    "};\n"
    "} }\n"
    "int main(int argc, char **argv)\n"
    "{\n"
    "    std::vector<std::unique_ptr<outer::Base>> all;\n"
    "    all.push_back(std::make_unique<outer::Derived<int>>());\n"
    "    all.push_back(std::make_unique<outer::Derived<long>>());\n"
    "    std::vector<std::function<long(long)>> calls;\n"
    "    for (auto &x : all) calls.emplace_back([&x](long y) { return x->run(y); });\n"
    "    std::sort(all.begin(), all.end(), [](const auto &a, const auto &b) {\n"
    "        return outer::Fold<3>::step(long(a.get())) < "
    "outer::Fold<2>::step(long(b.get()));\n"
    "    });\n"
    "    long sum = argc;\n"
    "    for (auto &call : calls) sum += call(sum);\n"
    "    return int(sum & 1) + int(std::string(argv[0]).size());\n"
    "}\n";

static const char source_go[] =
    "package main\n"
    "import (\"fmt\"; \"sort\"; \"strings\")\n"
    "func add(a, b int) int { return a*31 + b }\n"
    "func main() {\n"
    "  m := map[string]int{}\n"
    "  for i, w := range strings.Fields(\"a b c d\") { m[w] = add(i, len(w)) }\n"
    "  k := []string{}\n"
    "  for w := range m { k = append(k, w) }\n"
    "  sort.Strings(k)\n"
    "  fmt.Println(k)\n"
    "}\n";

/* ---- making programs ------------------------------------------------------------------
 */

static void write_file(const char *name, const void *data, size_t len)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "wb");
    fwrite(data, 1, len, f);
    fclose(f);
}

static bool __attribute__((format(printf, 1, 2))) shell(const char *fmt, ...)
{
    char command[1024];
    int n = snprintf(command, sizeof command, "cd %s && { ", directory);
    va_list ap;
    va_start(ap, fmt);
    n += vsnprintf(command + n, sizeof command - (size_t)n, fmt, ap);
    va_end(ap);
    snprintf(command + n, sizeof command - (size_t)n, "; } > log 2>&1 < /dev/null");
    int status = system(command);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- comparing ------------------------------------------------------------------------
 */

static bool same(const struct sn_object_frame *a, const struct sn_object_frame *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->file, b->file) == 0 &&
           a->line == b->line && a->column == b->column && a->start_line == b->start_line;
}

static void say_frames(const char *who, const struct sn_object_frame *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        note("  %s: %s %s:%ld:%ld, %ld", who, v[i].name, v[i].file, (long)v[i].line,
             (long)v[i].column, (long)v[i].start_line);
}

struct tally {
    unsigned asked, named, inlined, wrong, by_own;
};

static void compare(const char *path, uint64_t from, uint64_t to, uint64_t step,
                    bool inlines, struct tally *t)
{
    struct sn_object_frame own[MAX], other[MAX];
    struct sn_object *a = sn_object_open(path, NULL, NULL, NULL, NULL);
    struct sn_object *b = sn_object_open(path, NULL, NULL, NULL, NULL);
    uint32_t n = 0;
    uint64_t *v = calloc((to - from) / step + 1, sizeof *v);
    for (uint64_t at = from; at < to; at += step)
        v[n++] = at;
    if (a != NULL && b != NULL)
        sn_object_resolve(a, v, n, inlines, NULL, NULL);
    for (uint32_t i = 0; a != NULL && b != NULL && i < n; i++) {
        size_t x = sn_object_frames(a, v[i], inlines, own, MAX);
        size_t y = sn_object_frames(b, v[i], inlines, other, MAX);
        bool good = x == y;
        for (size_t j = 0; good && j < x; j++)
            good = same(&own[j], &other[j]);
        t->asked++;
        t->named += x > 0;
        t->inlined += x > 1;
        t->by_own += sn_object_is_resolved(a, v[i]);
        t->wrong += !good;
        if (!good && t->wrong <= 3) {
            note("%s at %#lx", path, (long)v[i]);
            say_frames("own", own, x);
            say_frames("elfutils", other, y);
        }
    }
    free(v);
    sn_object_close(a);
    sn_object_close(b);
}

/* The first executable segment's code. */
static bool text_of(const char *path, uint64_t *from, uint64_t *to)
{
    char line[256];
    snprintf(line, sizeof line,
             "readelf -SW %s | sed -n 's/^.* \\.text  *PROGBITS  *//p'", path);
    FILE *f = popen(line, "r");
    unsigned long address = 0, offset, size = 0;
    bool good = f != NULL && fgets(line, sizeof line, f) != NULL &&
                sscanf(line, "%lx %lx %lx", &address, &offset, &size) == 3;
    if (f != NULL)
        pclose(f);
    *from = address > 64 ? address - 64 : 0;
    *to = address + size + 64;
    return good;
}

/* own: by our own reading, at least so many percent. */
static void agree(const char *what, const char *name, unsigned own, bool inlined)
{
    char path[256];
    uint64_t from, to;
    struct tally t = {0}, outer = {0};
    snprintf(path, sizeof path, "%s%s%s", name[0] == '/' ? "" : directory,
             name[0] == '/' ? "" : "/", name);
    if (!text_of(path, &from, &to)) {
        ok(false, "%s: %s has code", what, path);
        return;
    }
    uint64_t step = 1 + (to - from) / 20000;
    compare(path, from, to, step, true, &t);
    compare(path, from, to, step * 7, false, &outer);
    ok(t.wrong + outer.wrong == 0 && t.named > 0 && t.by_own * 100 >= own * t.asked &&
           (!inlined || t.inlined > 0),
       "%s: %u of %u addresses named, %u with inlined calls, %u by our own reading; "
       "%u differ",
       what, t.named, t.asked, t.inlined, t.by_own, t.wrong + outer.wrong);
}

/* ---- what compilers write
 * --------------------------------------------------------------- */

static void compiled(void)
{
    static const struct {
        const char *what, *compiler, *source, *flags;
        unsigned own;
    } rows[] = {
        {"C, DWARF 5", "gcc", "a.c", "-O2 -g", 90},
        {"C, DWARF 4", "gcc", "a.c", "-O2 -gdwarf-4", 90},
        {"C, DWARF 3", "gcc", "a.c", "-O2 -gdwarf-3 -gstrict-dwarf", 90},
        {"C, DWARF 2", "gcc", "a.c", "-O2 -gdwarf-2 -gstrict-dwarf", 90},
        {"C, 64-bit DWARF 5", "gcc", "a.c", "-O2 -g -gdwarf64", 90},
        {"C, not optimised", "gcc", "a.c", "-O0 -g", 90},
        {"C, parted into hot and cold", "gcc", "a.c",
         "-O2 -g -freorder-blocks-and-partition -ffunction-sections", 90},
        {"C, -g1", "gcc", "a.c", "-O2 -g1", 90},
        {"C, type units", "gcc", "a.c", "-O2 -g -fdebug-types-section", 90},
        {"C, compressed", "gcc", "a.c", "-O2 -g -gz", 90},
        {"C, compressed in the old way", "gcc", "a.c", "-O2 -g -gz=zlib-gnu", 90},
        {"C, split", "gcc", "a.c", "-O2 -g -gsplit-dwarf", 0},
        {"C, split, DWARF 4", "gcc", "a.c", "-O2 -gdwarf-4 -gsplit-dwarf", 0},
        {"C, no position-independent code", "gcc", "a.c", "-O2 -g -no-pie", 90},
        {"C, optimised at link time", "gcc", "a.c b.c", "-O2 -g -flto", 90},
        {"C, in relative directories", "gcc", "sub/../sub/c.c", "-O2 -g -Isub/../sub",
         90},
        {"C, in relative directories, DWARF 4", "gcc", "sub/../sub/c.c",
         "-O2 -gdwarf-4 -Isub", 90},
        {"C++, DWARF 5", "g++", "a.cc", "-O2 -g", 90},
        {"C++, DWARF 4", "g++", "a.cc", "-O2 -gdwarf-4", 90},
        {"C++, -O3, type units", "g++", "a.cc", "-O3 -g -fdebug-types-section", 90},
        {"C++, not optimised", "g++", "a.cc", "-g", 90},
        {"C++, split", "g++", "a.cc", "-O2 -g -gsplit-dwarf", 0},
        {"C++, optimised at link time", "g++", "a.cc b.cc", "-O2 -g -flto", 90},
        {"C by clang, DWARF 5", "clang", "a.c", "-O2 -gdwarf-5", 90},
        {"C by clang, DWARF 4", "clang", "a.c", "-O2 -gdwarf-4", 90},
        {"C++ by clang, DWARF 5", "clang++", "a.cc", "-O2 -gdwarf-5", 90},
        {"C++ by clang, split", "clang++", "a.cc", "-O2 -gdwarf-5 -gsplit-dwarf", 0},
    };
    for (size_t i = 0; i < SN_COUNT(rows); i++)
        if (!shell("%s --version", rows[i].compiler))
            skip("%s: no %s", rows[i].what, rows[i].compiler);
        else if (!shell("%s %s -o made%zu %s", rows[i].compiler, rows[i].flags, i,
                        rows[i].source))
            skip("%s: %s does not make that", rows[i].what, rows[i].compiler);
        else {
            char name[32];
            snprintf(name, sizeof name, "made%zu", i);
            agree(rows[i].what, name, rows[i].own,
                  strstr(rows[i].flags, "-O") != NULL &&
                      strstr(rows[i].flags, "-O0") == NULL);
        }
}

static void others(void)
{
    char self[4096] = "";
    if (readlink("/proc/self/exe", self, sizeof self - 1) > 0)
        agree("this program", self, 50, false);
    if (shell("go version && HOME=%s GOFLAGS=-mod=mod go build -o go.out a.go",
              directory))
        agree("Go, compressed", "go.out", 90, true);
    else
        skip("Go: not here");
    if (shell("cp made0 dwz.out && dwz dwz.out"))
        agree("C, shortened by dwz", "dwz.out", 50, true);
    else
        skip("dwz: not here");
    if (shell("gcc -O2 -g -o dwz1 sub/m.c && gcc -O2 -g -o dwz2 sub/m.c b.c && "
              "dwz -m common dwz1 dwz2 && readelf -wi dwz1 | grep -q '<alt'"))
        agree("C, what is common taken out by dwz", "dwz1", 90, true);
    else
        skip("dwz: not here");
    if (shell("gcc -O2 -g -Wl,--build-id -o whole a.c && objcopy --only-keep-debug whole "
              "whole.debug && strip -g whole && objcopy --add-gnu-debuglink=whole.debug "
              "whole"))
        agree("C, in a file of its own", "whole", 90, true);
    else
        skip("objcopy: not here");
}

/* ---- damaged
 * ------------------------------------------------------------------------------ */

/* The same bits turned over for both; answers may be anything, but must come. */
static void damaged(const char *name)
{
    char path[256];
    struct sn_file f;
    struct sn_object_frame frames[MAX];
    uint64_t from, to, v[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (!text_of(path, &from, &to) || !sn_file_open(path, 0, &f, NULL)) {
        skip("%s: not here", name);
        return;
    }
    for (unsigned i = 0; i < SN_COUNT(v); i++)
        v[i] = from + (to - from) * i / SN_COUNT(v) + 1;
    unsigned char *copy = malloc(f.len);
    snprintf(path, sizeof path, "%s/damaged", directory);
    for (unsigned round = 0; round < 150; round++) {
        size_t len = round < 50 ? f.len * round / 50 + 1 : f.len;
        memcpy(copy, f.data, f.len);
        for (unsigned i = 0; round >= 50 && i < 20 + round * 4; i++) /* not the header */
            copy[4096 + sn_hash_mix(round * 1000 + i) % (f.len - 4096 - 3000)] ^=
                (unsigned char)(1u << i % 8);
        write_file("damaged", copy, len);
        struct sn_object *o = sn_object_open(path, NULL, NULL, NULL, NULL);
        if (o != NULL)
            sn_object_resolve(o, v, SN_COUNT(v), true, NULL, NULL);
        for (unsigned i = 0; o != NULL && i < SN_COUNT(v); i++)
            if (sn_object_is_resolved(o, v[i]))
                sn_object_frames(o, v[i], true, frames, MAX);
        sn_object_close(o);
    }
    ok(true, "%s cut short and overwritten: answered or left", name);
    free(copy);
    sn_file_close(&f);
}

/* Each request for memory refused in turn: fewer are found ahead, none is lost. */
static void starved(void)
{
    char path[256];
    uint64_t from, to, v[64];
    struct sn_object_frame frames[MAX];
    snprintf(path, sizeof path, "%s/made0", directory);
    if (!text_of(path, &from, &to))
        return;
    for (unsigned i = 0; i < SN_COUNT(v); i++)
        v[i] = from + 64 + (to - from - 128) * i / SN_COUNT(v);
    for (unsigned fail = 1; fail < 40; fail++) {
        struct sn_object *o = sn_object_open(path, NULL, NULL, NULL, NULL);
        sn_pages_fail_after(fail);
        if (o != NULL)
            sn_object_resolve(o, v, SN_COUNT(v), true, NULL, NULL);
        sn_pages_fail_after(0);
        for (unsigned i = 0; o != NULL && i < SN_COUNT(v); i++)
            sn_object_frames(o, v[i], true, frames, MAX);
        sn_object_close(o);
    }
    ok(true, "without memory: no worse than not found ahead");
}

int main(void)
{
    if (mkdtemp(directory) == NULL || !shell("readelf --version"))
        return skip_all("no readelf, or nowhere to write");
    write_file("a.c", source_c, sizeof source_c - 1);
    write_file("b.c", "int other(int x) { return x * 7; }\n", 35);
    shell("mkdir sub");
    write_file("sub/x.h", "static inline int x(int y) { return y * y + 1; }\n", 49);
    write_file("sub/m.c", source_m, sizeof source_m - 1);
    write_file("sub/c.c",
               "#include <x.h>\n"
               "int main(int n, char **v) { return x(n) + x(v[0][0]); }\n",
               71);
    write_file("a.cc", source_cc, sizeof source_cc - 1);
    write_file("b.cc", "int other(int x) { return x * 7; }\n", 35);
    write_file("a.go", source_go, sizeof source_go - 1);
    compiled();
    others();
    damaged("made0");
    damaged("made1");
    damaged("made9");
    damaged("made17");
    starved();
    shell("rm -rf %s", directory);
    return done();
}
