/*
 * symbolize.c: from the addresses of each mapping, in ascending order so that a unit of
 * DWARF is read once, to functions and lines; what has none then, its server is asked
 * for.
 *
 * A mapping whose file cannot be used keeps its addresses; why is said in the log.
 */
#include "symbolize/symbolize_priv.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#define MAX_FRAMES 64

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

uint32_t symbolizer_plain(struct symbolizer *s, uint32_t mangled)
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

/* Objects hand out the same strings again and again. */
static uint32_t string_id(struct symbolizer *s, const char *text)
{
    uint32_t *id = sn_map_put(s->strings, (uintptr_t)text);
    if (id == NULL)
        return 0;
    if (*id == SN_NONE)
        *id = sn_strtab_add(s->p->strings, text);
    return *id;
}

/* ---- locations
 * ---------------------------------------------------------------------------------- */

static bool put_line(struct symbolizer *s, struct sn_location *l, struct sn_function f,
                     int64_t number, int64_t column)
{
    struct sn_profile *p = s->p;
    f.name = symbolizer_plain(s, f.system_name);
    uint32_t function = intern(s, &f);
    struct sn_line *line = SN_PUSH(p->arena, p->lines, p->n_lines, p->cap_lines);
    if (line == NULL || function == SN_NONE)
        return false;
    *line = (struct sn_line){function, number, column};
    l->n_lines++;
    return true;
}

bool symbolizer_name(struct symbolizer *s, struct sn_location *l, uint32_t name)
{
    l->line0 = s->p->n_lines;
    l->n_lines = 0;
    return put_line(s, l, (struct sn_function){.system_name = name}, 0, 0);
}

static bool put_frames(struct symbolizer *s, struct sn_location *l,
                       const struct sn_object_frame *v, size_t n)
{
    l->line0 = s->p->n_lines;
    l->n_lines = 0;
    for (size_t i = 0; i < n; i++) {
        struct sn_function f = {.system_name = string_id(s, v[i].name),
                                .file = string_id(s, v[i].file),
                                .start_line = v[i].start_line};
        if (!put_line(s, l, f, v[i].line, v[i].column))
            return false;
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

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static void tell_fetched(void *arg, size_t done, size_t total)
{
    struct symbolizer *s = arg;
    if (s->o->fetching != NULL)
        s->o->fetching(s->o->progress_arg, s->module, done, total);
}

static void tell_resolved(void *arg, size_t done)
{
    struct symbolizer *s = arg;
    if (s->o->progress != NULL)
        s->o->progress(s->o->progress_arg, s->module, done, s->module_total);
}

/* Let the object find all of them ahead; they ascend. */
static void resolve_all(struct symbolizer *s, const struct sn_mapping *m,
                        struct sn_object *o, const uint32_t *v, uint32_t n)
{
    uint32_t kept = 0;
    uint64_t vaddr, *vaddrs = sn_arena_alloc(s->p->arena, n * sizeof *vaddrs);
    for (uint32_t i = 0; vaddrs != NULL && i < n; i++)
        if (sn_object_vaddr(o, s->p->locations[v[i]].address, m->start, m->limit,
                            m->offset, &vaddr) &&
            (kept == 0 || vaddr > vaddrs[kept - 1]))
            vaddrs[kept++] = vaddr;
    sn_object_resolve(o, vaddrs, kept, !s->o->no_inlines, tell_resolved, s);
}

struct wanted { /* names, by ids, that are not demangled yet */
    struct sn_arena *arena;
    uint32_t *ids;
    const char **names;
    uint32_t n, cap, n_names, cap_names;
};

static void want_plain(struct symbolizer *s, struct wanted *w, const char *name)
{
    uint32_t id = string_id(s, name), *known = sn_map_put(s->demangled, id);
    uint32_t *new = NULL;
    const char **text = NULL;
    if (known == NULL || *known != SN_NONE)
        return;
    new = SN_PUSH(w->arena, w->ids, w->n, w->cap);
    text = SN_PUSH(w->arena, w->names, w->n_names, w->cap_names);
    if (new == NULL || text == NULL)
        return;
    *new = *known = id; /* until it is demangled */
    *text = sn_profile_str(s->p, id);
}

/* The names of what was found ahead are demangled together; others as they come. */
static void demangle_found(struct symbolizer *s, struct wanted *w)
{
    struct demangled d;
    uint32_t n = w->n < w->n_names ? w->n : w->n_names;
    bool good = n > 0 && demangle_all(w->names, n, s->o->demangle, &d);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t *known = sn_map_put(s->demangled, w->ids[i]);
        if (known != NULL)
            *known = good ? sn_strtab_add(s->p->strings, d.plain[i]) : SN_NONE;
    }
    if (good)
        demangled_free(&d);
}

static void demangle_ahead(struct symbolizer *s, const struct sn_mapping *m,
                           struct sn_object *o, const uint32_t *v, uint32_t n)
{
    struct sn_object_frame frames[MAX_FRAMES];
    struct wanted w = {.arena = sn_arena_new()};
    uint64_t vaddr;
    for (uint32_t i = 0; w.arena != NULL && i < n; i++) {
        if (!sn_object_vaddr(o, s->p->locations[v[i]].address, m->start, m->limit,
                             m->offset, &vaddr) ||
            !sn_object_is_resolved(o, vaddr))
            continue;
        size_t count = sn_object_frames(o, vaddr, !s->o->no_inlines, frames, MAX_FRAMES);
        for (size_t j = 0; j < count; j++)
            want_plain(s, &w, frames[j].name);
    }
    demangle_found(s, &w);
    sn_arena_free(w.arena);
}

/* Name what can be named; how many were. SN_NONE: out of memory. */
static uint32_t name_all(struct symbolizer *s, struct sn_mapping *m, struct sn_object *o,
                         const uint32_t *v, uint32_t n)
{
    struct sn_object_frame frames[MAX_FRAMES];
    uint32_t named = 0;
    s->module = base_name(sn_profile_str(s->p, m->file));
    s->module_total = n;
    tell_resolved(s, 0);
    resolve_all(s, m, o, v, n);
    demangle_ahead(s, m, o, v, n);
    for (uint32_t i = 0; i < n; i++) {
        struct sn_location *l = &s->p->locations[v[i]];
        uint64_t vaddr;
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
        m->has_inlines = true; /* what pprof says of all that it names */
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

/* ---- where files are ------------------------------------------------------------------
 *
 * Beside where it was, in the folders of PPROF_BINARY_PATH, in all of the layouts that
 * pprof knows (github.com/google/pprof, doc/README.md): DIR/BUILD-ID/NAME, whatever is in
 * DIR/BUILD-ID/ (by name), perf's DIR/PATH/BUILD-ID, the debug servers'
 * DIR/ab/cdef.debug, DIR/NAME, DIR/PATH, and gdb's places for debug files below DIR.
 */

/* Is it the file that was profiled? Where the profile has no build id, any will do. */
static bool is_it(struct symbolizer *s, const char *path, const char *id)
{
    struct sn_error why = {.offset = -1};
    char text[640];
    if (path == NULL || access(path, R_OK) != 0)
        return false;
    struct sn_object *o = sn_object_open(path, *id != '\0' ? id : NULL, NULL, NULL, &why);
    if (o == NULL)
        sn_buf_printf(&s->elsewhere, "%s\n", sn_error_text(&why, text, sizeof text));
    sn_object_close(o);
    return o != NULL;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* The first that is it, in the order of names. */
static const char *find_in(struct symbolizer *s, const char *folder, const char *id)
{
    struct dirent **v = NULL;
    const char *found = NULL;
    int n = folder != NULL ? scandir(folder, &v, NULL, by_name) : 0;
    for (int i = 0; i < n; i++) {
        const char *name = v[i]->d_name;
        bool more = found == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
        const char *path =
            more ? sn_arena_printf(s->p->arena, "%s/%s", folder, name) : NULL;
        if (more && is_it(s, path, id))
            found = path;
        free(v[i]);
    }
    free(v);
    return found;
}

static const char *find_by_id(struct symbolizer *s, const char *dir, const char *file,
                              const char *id)
{
    struct sn_arena *a = s->p->arena;
    const char *path = sn_arena_printf(a, "%s/%s/%s", dir, id, base_name(file));
    if (*file != '\0' && is_it(s, path, id))
        return path;
    path = find_in(s, sn_arena_printf(a, "%s/%s", dir, id), id);
    if (path != NULL)
        return path;
    path = sn_arena_printf(a, "%s%s/%s", dir, file, id);
    if (*file == '/' && is_it(s, path, id))
        return path;
    path = sn_arena_printf(a, "%s/%.2s/%s.debug", dir, id, strlen(id) > 2 ? id + 2 : "");
    return is_it(s, path, id) ? path : NULL;
}

static const char *find_by_name(struct symbolizer *s, const char *dir, const char *file,
                                const char *id)
{
    struct sn_arena *a = s->p->arena;
    const char *name = base_name(file), *slash = *file == '/' ? "" : "/";
    int folder = (int)(name - file); /* with its '/' */
    const char *tries[] = {
        sn_arena_printf(a, "%s/%s", dir, name),
        sn_arena_printf(a, "%s%s%s", dir, slash, file),
        sn_arena_printf(a, "%s%s%s.debug", dir, slash, file),
        sn_arena_printf(a, "%s%s%.*s.debug/%s.debug", dir, slash, folder, file, name),
        sn_arena_printf(a, "%s/usr/lib/debug%s%.*s%s.debug", dir, slash, folder, file,
                        name)};
    for (size_t i = 0; *file != '\0' && i < SN_COUNT(tries); i++)
        if (is_it(s, tries[i], id))
            return tries[i];
    return NULL;
}

/* Where the mapping's file is now; what was no answer is in s->elsewhere. */
static const char *find_file(struct symbolizer *s, uint32_t m)
{
    struct sn_profile *p = s->p;
    const char *path = sn_profile_str(p, p->mappings[m].file);
    const char *id = sn_profile_str(p, p->mappings[m].build_id);
    s->elsewhere = (struct sn_buf){.arena = p->arena};
    if (m == 0 && s->o->binary != NULL)
        return s->o->binary;
    for (const char *const *d = s->o->dirs; d != NULL && *d != NULL; d++) {
        if (access(*d, R_OK | X_OK) != 0)
            continue;
        const char *found = *id != '\0' ? find_by_id(s, *d, path, id) : NULL;
        if (found == NULL)
            found = find_by_name(s, *d, path, id);
        if (found != NULL)
            return found;
    }
    return path;
}

static bool is_file(const char *path)
{
    return *path != '\0' && *path != '[' && strncmp(path, "//anon", 6) != 0 &&
           strncmp(base_name(path), "linux-vdso.so", 13) != 0;
}

/* By its binary: `left` of them stay without a name, and *why says so if it was of no
 * use. False: out of memory. */
static bool name_locally(struct symbolizer *s, struct sn_mapping *mapping,
                         const char *path, const uint32_t *v, uint32_t n, uint32_t *left,
                         struct sn_buf *tried, struct sn_error *why)
{
    struct sn_profile *p = s->p;
    if (!is_file(path)) {
        sn_fail(why, NULL, -1, "it is no file");
        return true;
    }
    struct sn_object_search search = {s->o->dirs, &s->fetch};
    s->module = base_name(path);
    const char *id = sn_profile_str(p, mapping->build_id);
    struct sn_object *o =
        sn_object_open(path, *id != '\0' ? id : NULL, &search, tried, why);
    if (o == NULL)
        return true;
    bool had_lines = sn_object_has_lines(o);
    struct sn_arena *scratch = sn_arena_new();
    s->strings = scratch != NULL ? sn_map_new(scratch) : NULL;
    uint32_t named = s->strings != NULL ? name_all(s, mapping, o, v, n) : SN_NONE;
    if (had_lines && !sn_object_has_lines(o))
        sn_buf_printf(tried, "%s: broken debug information\n", path);
    sn_arena_free(scratch);
    sn_object_close(o);
    *left = n - (named != SN_NONE ? named : 0);
    return named != SN_NONE;
}

/* By its server. False: that is an error. */
static bool name_remotely(struct symbolizer *s, struct sn_mapping *m, const uint32_t *v,
                          uint32_t n, uint32_t *left, struct sn_error *why,
                          struct sn_error *e)
{
    struct sn_error bad = {.offset = -1};
    uint32_t named = 0;
    if (remote_name(s, m, v, n, &named, &bad)) {
        *left -= named < *left ? named : *left;
        return true;
    }
    s->server_failed = true;
    if (s->o->no_local || sn_arena_failed(s->p->arena)) {
        if (e != NULL)
            *e = bad;
        return false;
    }
    *why = bad; /* rather than that there is no such file here */
    return true;
}

static bool symbolize_mapping(struct symbolizer *s, uint32_t m, struct sn_error *e)
{
    struct sn_profile *p = s->p;
    struct sn_mapping *mapping = &p->mappings[m];
    struct sn_error why = {.offset = -1};
    char text[640];
    uint32_t n, left, *v;
    v = wanting(s, m, &n);
    const char *path = find_file(s, m), *name = *path != '\0' ? path : "[anonymous]";
    if (is_file(path))
        name = base_name(path);
    if (strcmp(path, sn_profile_str(p, mapping->file)) != 0)
        mapping->found = sn_strtab_add(p->strings, path);
    left = n;
    if (v == NULL)
        return false;
    struct sn_buf tried = s->elsewhere;
    if (n > 0 && !s->o->no_local &&
        !name_locally(s, mapping, path, v, n, &left, &tried, &why))
        return false;
    s->module = name;
    if (remote_can_ask(s, mapping) && !name_remotely(s, mapping, v, n, &left, &why, e))
        return false;
    if (left > 0 && !s->o->no_local)
        tell(s, name, left,
             why.what[0] != '\0' ? sn_error_text(&why, text, sizeof text) : NULL, &tried);
    return true;
}

bool sn_symbolize(struct sn_profile *p, const struct sn_symbolize_options *o,
                  struct sn_buf *log, struct sn_error *e)
{
    struct symbolizer s = {.p = p,
                           .o = o,
                           .log = log,
                           .fetch = {.progress = tell_fetched},
                           .functions = sn_map_new(p->arena),
                           .demangled = sn_map_new(p->arena)};
    s.fetch.arg = &s;
    bool good = s.functions != NULL && s.demangled != NULL && intern_existing(&s);
    for (uint32_t m = 0; good && m < p->n_mappings; m++)
        good = symbolize_mapping(&s, m, e);
    if (good)
        sn_demangle_functions(p, o->force, o->demangle);
    return (good && !sn_arena_failed(p->arena)) || sn_fail(e, NULL, -1, "out of memory");
}
