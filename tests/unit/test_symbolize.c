/* test_symbolize.c: this very program, looked up in itself; names demangled; and files
 * that are not what they should be. */
#include "../made.h"
#include "../tap.h"
#include "symbolize/symbolize.h"

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

int main(void)
{
    itself();
    refusals();
    demangling();
    return named_function(0) + outer_function(0) > 1000 ? 1 : done();
}
