/*
 * fetch.c: the profiles that a command line names, from files and servers, as one. Those
 * of servers are fetched all at once, and a copy of the outcome is kept.
 */
#include "viewers.h"

#include <limits.h>
#include <unistd.h>

struct sources {
    const struct request *r;
    struct sn_arena *arena;
    struct sn_fetched *fetched; /* the URLs, in their order */
    size_t n_fetched;
    struct sn_profile **v;
    size_t n;
};

static void show(void *arg, uint64_t bytes, unsigned left)
{
    char size[64];
    sn_unit_label((int64_t)bytes, "bytes", "auto", size, sizeof size);
    if (left > 0)
        progress_show(arg, "fetching: %s, %u s left", bytes > 0 ? size : "0", left);
    else
        progress_show(arg, "fetching: %s", bytes > 0 ? size : "0");
}

/* A word that names a file is that file, whatever it looks like. */
static const char *url_of(const struct sources *s, const char *word)
{
    return access(word, F_OK) == 0 ? NULL : sn_fetch_url(word, &s->r->fetch, s->arena);
}

static void fetch_all(struct sources *s)
{
    struct progress progress = {0};
    struct sn_fetch_options o = s->r->fetch;
    o.limit = s->r->max_size;
    o.progress = show;
    o.progress_arg = &progress;
    sn_fetch(s->fetched, s->n_fetched, &o, s->arena);
    progress_clear(&progress);
}

static void tell(const struct sn_fetched *f)
{
    unsigned seconds = sn_fetch_seconds(f->url);
    if (strchr(f->url, '@') == NULL) /* it may hold a password */
        fprintf(stderr, "Fetching profile over HTTP from %s\n", f->url);
    if (seconds > 0)
        fprintf(stderr, "Please wait... (%us)\n", seconds);
}

/* Find the URLs among the words, and fetch them. */
static bool gather(struct sources *s, const char *const *words, size_t n)
{
    s->fetched = sn_arena_alloc(s->arena, (n + 1) * sizeof *s->fetched);
    s->v = calloc(n + 1, sizeof(struct sn_profile *));
    for (size_t i = 0; s->fetched != NULL && i < n; i++) {
        const char *url = url_of(s, words[i]);
        if (url == NULL)
            continue;
        s->fetched[s->n_fetched++] = (struct sn_fetched){.url = url};
        if (strncmp(url, "file:", 5) != 0)
            tell(&s->fetched[s->n_fetched - 1]);
    }
    if (s->fetched == NULL || s->v == NULL || sn_arena_failed(s->arena))
        return false;
    if (s->n_fetched > 0)
        fetch_all(s);
    return true;
}

/* One word's profile, or why there is none. */
struct source {
    const char *word;
    const struct sn_fetched *fetched; /* NULL: it names a file */
    struct sn_profile *p;
    struct sn_error bad;
    size_t max_size;
};

/* What has no mappings gets one of everything, as from pprof: a program that is given, or
 * the server, may know its addresses. */
static void make_mapping(struct sn_profile *p)
{
    struct sn_mapping *all = NULL;
    if (p->n_mappings == 0)
        all = SN_PUSH(p->arena, p->mappings, p->n_mappings, p->cap_mappings);
    for (uint32_t i = 0; all != NULL && i < p->n_locations; i++)
        p->locations[i].mapping = 0;
}

/* Its mappings remember whom to ask for names. A file: is nobody. */
static void note_server(struct sn_profile *p, const char *url)
{
    const char *source =
        strncmp(url, "http", 4) == 0 ? sn_arena_strdup(p->arena, url) : NULL;
    for (uint32_t i = 0; i < p->n_mappings; i++) {
        p->mappings[i].source = source;
        p->mappings[i].source_start = p->mappings[i].start;
    }
}

static void read_source(void *sources, unsigned i)
{
    struct source *s = (struct source *)sources + i;
    const struct sn_fetched *f = s->fetched;
    s->bad.offset = -1;
    if (f == NULL) {
        s->p = load_path(s->word, s->max_size, &s->bad);
    } else if (f->error.what[0] != '\0') {
        s->bad = f->error;
    } else {
        const struct sn_file file = {(const unsigned char *)f->body.data, f->body.len, 0};
        const char *name = strchr(s->word, '@') != NULL ? "URL" : s->word;
        s->p = load_bytes(&file, name, s->max_size, &s->bad);
    }
    if (s->p != NULL)
        make_mapping(s->p);
    if (s->p != NULL && f != NULL)
        note_server(s->p, f->url);
}

/* Each word's profile, read on all cores; with several, one that fails is told and left
 * out. False: no memory. */
static bool read_all(struct sources *s, const char *const *words, size_t n, bool *remote,
                     struct sn_error *e)
{
    struct source *v = sn_arena_alloc(s->arena, (n + 1) * sizeof *v);
    size_t next = 0;
    for (size_t i = 0; v != NULL && i < n; i++) {
        bool fetched = url_of(s, words[i]) != NULL && next < s->n_fetched;
        v[i] = (struct source){.word = words[i],
                               .fetched = fetched ? &s->fetched[next++] : NULL,
                               .max_size = s->r->max_size};
    }
    if (v == NULL)
        return false;
    struct busy *busy = busy_begin("reading");
    sn_parallel((unsigned)n, read_source, v);
    busy_end(busy);
    for (size_t i = 0; i < n; i++) {
        const struct sn_fetched *f = v[i].fetched;
        if (v[i].p != NULL)
            s->v[s->n++] = v[i].p;
        else if (n == 1)
            *e = v[i].bad;
        else
            say_error(&v[i].bad);
        *remote |= v[i].p != NULL && f != NULL && strncmp(f->url, "file:", 5) != 0;
    }
    return true;
}

struct sn_profile *load_sources(const struct request *r, const char *binary,
                                const char *const *words, size_t n, const char *what,
                                bool *remote, struct sn_error *e)
{
    struct sources s = {.r = r, .arena = sn_arena_new()};
    struct sn_profile *p = NULL;
    if (s.arena == NULL || !gather(&s, words, n) || !read_all(&s, words, n, remote, e))
        sn_fail(e, NULL, -1, "out of memory");
    if (s.n > 0 && s.n < n)
        fprintf(stderr, "Fetched %zu %s profiles out of %zu\n", s.n, what, n);
    for (size_t i = 0; i < s.n; i++)
        load_program(s.v[i], binary, r->build_id);
    if (s.n > 0)
        p = load_merge(s.v, s.n, e);
    else
        sn_fail(e, NULL, -1, "failed to fetch any %s profiles", what);
    free(s.v);
    sn_arena_free(s.arena);
    return p;
}

/* ---- copies ---------------------------------------------------------------------------
 */

/* The first folder that is there or can be made. */
static bool copy_folder(char *folder, size_t size)
{
    const char *own = getenv("PPROF_TMPDIR"), *home = getenv("HOME");
    struct sn_error e = {.offset = -1};
    if (own != NULL && *own != '\0' && sn_mkdirs(own, &e))
        return snprintf(folder, size, "%s", own) < (int)size;
    if (e.what[0] != '\0')
        say_error(&e);
    if (home != NULL && *home != '\0' &&
        snprintf(folder, size, "%s/pprof", home) < (int)size && sn_mkdirs(folder, NULL))
        return true;
    snprintf(folder, size, "/tmp");
    return true;
}

/* "pprof.PROGRAM.samples.cpu." */
static void copy_stem(const struct sn_profile *p, struct sn_buf *b)
{
    const char *file = p->n_mappings > 0 ? sn_profile_str(p, p->mappings[0].file) : "";
    sn_buf_puts(b, "/pprof.");
    if (*file != '\0')
        sn_buf_printf(b, "%s.", sn_base_name(file));
    for (uint32_t i = 0; i < p->n_types; i++)
        sn_buf_printf(b, "%s.", sn_profile_str(p, p->types[i].type));
}

void keep_copy(struct sn_profile *p)
{
    struct sn_error e = {.offset = -1};
    struct sn_buf stem = {.arena = p->arena}, out = {.arena = p->arena};
    char folder[PATH_MAX], path[PATH_MAX] = "";
    bool good = copy_folder(folder, sizeof folder);
    sn_buf_puts(&stem, folder);
    copy_stem(p, &stem);
    good = good && !stem.failed && output_profile(p, &out, &e) &&
           output_number(stem.data, "pb.gz", path, sizeof path, &e) &&
           output_write(path, &out, &e);
    if (good)
        fprintf(stderr, "Saved profile in %s\n", path);
    else {
        sn_fail(&e, NULL, -1, "out of memory");
        fprintf(stderr, "Could not save profile: %s: %s\n", e.where, e.what);
    }
    if (!good && path[0] != '\0')
        unlink(path);
}
