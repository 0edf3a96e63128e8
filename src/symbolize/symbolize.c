/*
 * symbolize.c: from the addresses of each mapping, in ascending order so that a unit of
 * DWARF is read once, to functions and lines.
 *
 * A mapping whose file cannot be used keeps its addresses; why is said in the log.
 */
#include "symbolize/symbolize.h"
#include "object/object.h"

#include <stdio.h>
#include <unistd.h>

#define MAX_FRAMES  64
#define REPORT_EACH 256 /* addresses between two calls of progress */

struct symbolizer {
    struct sn_profile *p;
    const struct sn_symbolize_options *o;
    struct sn_buf *log;
    struct sn_map *functions; /* hash of a function to the newest of that hash */
    uint32_t *next;
    uint32_t n_next, cap_next;
    struct sn_map *demangled; /* linkage name's id to the plain name's */
};

/* ---- functions
 * -------------------------------------------------------------------------------- */

static bool same(const struct sn_function *a, const struct sn_function *b)
{
    return a->name == b->name && a->system_name == b->system_name && a->file == b->file &&
           a->start_line == b->start_line;
}

static uint64_t hash_of(const struct sn_function *f)
{
    uint64_t h = sn_hash_mix((uint64_t)f->name << 32 | f->file);
    return sn_hash_mix(h ^ f->system_name ^ (uint64_t)f->start_line << 32);
}

static uint32_t intern(struct symbolizer *s, const struct sn_function *f)
{
    struct sn_profile *p = s->p;
    uint32_t *newest = sn_map_put(s->functions, hash_of(f));
    uint32_t i = newest != NULL ? *newest : SN_NONE;
    while (i != SN_NONE && s->next != NULL && !same(&p->functions[i], f))
        i = s->next[i];
    if (i != SN_NONE || newest == NULL)
        return i;
    struct sn_function *added =
        SN_PUSH(p->arena, p->functions, p->n_functions, p->cap_functions);
    uint32_t *next = SN_PUSH(p->arena, s->next, s->n_next, s->cap_next);
    if (added == NULL || next == NULL)
        return SN_NONE;
    *added = *f;
    *next = *newest;
    return *newest = p->n_functions - 1;
}

static bool intern_existing(struct symbolizer *s)
{
    for (uint32_t i = 0; i < s->p->n_functions; i++) {
        uint32_t *next = SN_PUSH(s->p->arena, s->next, s->n_next, s->cap_next);
        uint32_t *newest = sn_map_put(s->functions, hash_of(&s->p->functions[i]));
        if (next == NULL || newest == NULL)
            return false;
        *next = *newest;
        *newest = i;
    }
    return true;
}

static uint32_t plain_name(struct symbolizer *s, uint32_t mangled)
{
    struct sn_profile *p = s->p;
    uint32_t *known = sn_map_put(s->demangled, mangled);
    if (known == NULL)
        return mangled;
    if (*known == SN_NONE)
        *known = sn_strtab_add(p->strings, sn_demangle(sn_profile_str(p, mangled),
                                                       s->o->demangle, p->arena));
    return *known;
}

/* ---- locations
 * ---------------------------------------------------------------------------------- */

static bool put_frames(struct symbolizer *s, struct sn_location *l,
                       const struct sn_object_frame *v, size_t n)
{
    struct sn_profile *p = s->p;
    l->line0 = p->n_lines;
    l->n_lines = 0;
    for (size_t i = 0; i < n; i++) {
        struct sn_function f = {.system_name = sn_strtab_add(p->strings, v[i].name),
                                .file = sn_strtab_add(p->strings, v[i].file),
                                .start_line = v[i].start_line};
        f.name = plain_name(s, f.system_name);
        uint32_t function = intern(s, &f);
        struct sn_line *line = SN_PUSH(p->arena, p->lines, p->n_lines, p->cap_lines);
        if (line == NULL || function == SN_NONE)
            return false;
        *line = (struct sn_line){function, v[i].line, v[i].column};
        l->n_lines++;
    }
    return true;
}

static int by_address(const void *a, const void *b, void *profile)
{
    const struct sn_profile *p = profile;
    uint64_t x = p->locations[*(const uint32_t *)a].address;
    uint64_t y = p->locations[*(const uint32_t *)b].address;
    return (x > y) - (x < y);
}

/* The locations of mapping m that want names, in ascending order of address. */
static uint32_t *wanting(struct symbolizer *s, uint32_t m, uint32_t *n)
{
    struct sn_profile *p = s->p;
    uint32_t *v = sn_arena_alloc(p->arena, (p->n_locations + 1) * sizeof *v);
    *n = 0;
    for (uint32_t i = 0; v != NULL && i < p->n_locations; i++)
        if (p->locations[i].mapping == m && (s->o->force || p->locations[i].n_lines == 0))
            v[(*n)++] = i;
    if (v != NULL)
        qsort_r(v, *n, sizeof *v, by_address, p);
    return v;
}

/* Name what can be named; how many were. SN_NONE: out of memory. */
static uint32_t name_all(struct symbolizer *s, struct sn_mapping *m, struct sn_object *o,
                         const uint32_t *v, uint32_t n)
{
    struct sn_object_frame frames[MAX_FRAMES];
    uint32_t named = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct sn_location *l = &s->p->locations[v[i]];
        uint64_t vaddr;
        if (s->o->progress != NULL && i % REPORT_EACH == 0)
            s->o->progress(s->o->progress_arg, sn_profile_str(s->p, m->file), i, n);
        if (!sn_object_vaddr(o, l->address, m->start, m->limit, m->offset, &vaddr))
            continue;
        size_t count = sn_object_frames(o, vaddr, !s->o->no_inlines, frames, MAX_FRAMES);
        if (count == 0)
            continue;
        if (!put_frames(s, l, frames, count))
            return SN_NONE;
        named++;
        m->has_functions = true;
        m->has_filenames |= frames[0].file[0] != '\0';
        m->has_lines |= frames[0].line != 0;
        m->has_inlines |= count > 1;
    }
    return named;
}

/* ---- mappings
 * --------------------------------------------------------------------------------------
 */

/* What was tried is worth telling where much stays without a name. */
#define TELL_FROM 10 /* percent of all addresses */

/* `why` may be NULL; `tried` holds a line for each attempt. */
static void tell(struct symbolizer *s, const char *name, uint32_t unnamed,
                 const char *why, const struct sn_buf *tried)
{
    if (s->log == NULL ||
        (uint64_t)unnamed * 100 < (uint64_t)s->p->n_locations * TELL_FROM)
        return;
    sn_buf_printf(s->log, "%s: %u addresses have no name%s%s\n", name, unnamed,
                  why != NULL ? ": " : "", why != NULL ? why : "");
    for (const char *line = tried->data; line != NULL && *line != '\0';) {
        size_t n = strcspn(line, "\n");
        sn_buf_printf(s->log, "    tried %.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Where the mapping's file is now: where it was, or in one of the folders to look in, as
 * NAME or BUILD-ID/NAME. */
static const char *find_file(struct symbolizer *s, uint32_t m)
{
    struct sn_profile *p = s->p;
    const char *path = sn_profile_str(p, p->mappings[m].file);
    const char *id = sn_profile_str(p, p->mappings[m].build_id);
    if (m == 0 && s->o->binary != NULL)
        return s->o->binary;
    if (access(path, R_OK) == 0 || s->o->dirs == NULL)
        return path;
    for (const char *const *d = s->o->dirs; *d != NULL; d++) {
        const char *tries[] = {
            sn_arena_printf(p->arena, "%s/%s/%s", *d, id, base_name(path)),
            sn_arena_printf(p->arena, "%s/%s", *d, base_name(path))};
        for (size_t i = 0; i < SN_COUNT(tries); i++)
            if (tries[i] != NULL && access(tries[i], R_OK) == 0)
                return tries[i];
    }
    return path;
}

static bool is_file(const char *path)
{
    return *path != '\0' && *path != '[' && strncmp(path, "//anon", 6) != 0 &&
           strncmp(base_name(path), "linux-vdso.so", 13) != 0;
}

static bool symbolize_mapping(struct symbolizer *s, uint32_t m)
{
    struct sn_profile *p = s->p;
    struct sn_mapping *mapping = &p->mappings[m];
    struct sn_error why = {.offset = -1};
    char text[640];
    uint32_t n, *v;
    v = wanting(s, m, &n);
    const char *path = find_file(s, m), *name = base_name(path);
    if (v == NULL || n == 0)
        return v != NULL;
    struct sn_buf tried = {.arena = p->arena};
    if (!is_file(path)) {
        tell(s, *path != '\0' ? path : "[anonymous]", n, "it is no file", &tried);
        return true;
    }
    struct sn_object_search search = {s->o->dirs};
    const char *id = sn_profile_str(p, mapping->build_id);
    struct sn_object *o =
        sn_object_open(path, *id != '\0' ? id : NULL, &search, &tried, &why);
    if (o == NULL) {
        tell(s, name, n, sn_error_text(&why, text, sizeof text), &tried);
        return true;
    }
    uint32_t named = name_all(s, mapping, o, v, n);
    if (named < n)
        tell(s, name, n - named, NULL, &tried);
    sn_object_close(o);
    return named != SN_NONE;
}

bool sn_symbolize(struct sn_profile *p, const struct sn_symbolize_options *o,
                  struct sn_buf *log, struct sn_error *e)
{
    struct symbolizer s = {.p = p,
                           .o = o,
                           .log = log,
                           .functions = sn_map_new(p->arena),
                           .demangled = sn_map_new(p->arena)};
    bool good = s.functions != NULL && s.demangled != NULL && intern_existing(&s);
    for (uint32_t m = 0; good && m < p->n_mappings; m++)
        good = symbolize_mapping(&s, m);
    return (good && !sn_arena_failed(p->arena)) || sn_fail(e, NULL, -1, "out of memory");
}
