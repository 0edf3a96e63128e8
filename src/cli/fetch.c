/*
 * fetch.c: the profiles that a command line names, from files and servers, as one. Those
 * of servers are fetched all at once, and a copy of the outcome is kept.
 */
#include "viewers.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

struct sources {
    const struct request *r;
    struct sn_arena *arena;
    struct sn_fetched *fetched; /* the URLs, in their order */
    size_t n_fetched;
    const struct sn_fetched **of_word; /* NULL: it names a file */
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
    s->of_word = sn_arena_alloc(s->arena, (n + 1) * sizeof(struct sn_fetched *));
    for (size_t i = 0; !sn_arena_failed(s->arena) && i < n; i++) {
        const char *url = url_of(s, words[i]);
        if (url == NULL)
            continue;
        struct sn_fetched *f = &s->fetched[s->n_fetched++];
        *f = (struct sn_fetched){.url = url};
        s->of_word[i] = f;
        if (strncmp(url, "file:", 5) != 0)
            tell(f);
    }
    if (sn_arena_failed(s->arena))
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
    atomic_bool read; /* it may be merged */
};

/*
 * Who has read a profile merges what may be, unless another is just merging: then it
 * reads on, unless it is too far ahead. So of two cores one reads while the other merges,
 * and few profiles are in memory at a time. They are merged in the order of the words.
 */
#define AHEAD 2 /* profiles for each core that may be in memory, more or less */

struct reading {
    const struct sources *s;
    const char *binary; /* NULL: none was given */
    struct source *v;
    size_t n;
    pthread_mutex_t lock; /* of all that follows */
    atomic_size_t next;   /* the first that is not merged yet */
    size_t good;
    struct sn_profile *only; /* the first good one, while there is no other */
    struct sn_merger *merger;
    struct sn_profile **rest; /* from the first on that has other sample types */
    size_t n_rest;
    bool failed; /* no memory */
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

static struct sn_profile *read_profile(const struct reading *r, struct source *s)
{
    const struct sn_fetched *f = s->fetched;
    struct sn_profile *p = NULL;
    s->bad.offset = -1;
    if (f == NULL) {
        p = load_path(s->word, r->s->r->max_size, &s->bad);
    } else if (f->error.what[0] != '\0') {
        s->bad = f->error;
    } else {
        const struct sn_file file = {(const unsigned char *)f->body.data, f->body.len, 0};
        const char *name = strchr(s->word, '@') != NULL ? "URL" : s->word;
        p = load_bytes(&file, name, r->s->r->max_size, &s->bad);
    }
    if (p == NULL)
        return NULL;
    make_mapping(p);
    if (f != NULL)
        note_server(p, f->url);
    load_program(p, r->binary, r->s->r->build_id);
    return p;
}

/* ---- merging --------------------------------------------------------------------------
 */

static void merge_one(struct reading *r, struct sn_profile *p)
{
    sn_merger_add(r->merger, p);
    sn_profile_free(p);
}

/* False: no memory; p is still there. */
static bool merge_next(struct reading *r, struct sn_profile *p)
{
    if (r->merger == NULL && r->only == NULL) {
        r->only = p;
        return true;
    }
    if (r->merger == NULL) {
        r->merger = sn_merger_new((unsigned)r->n);
        if (r->merger == NULL)
            return false;
        merge_one(r, r->only);
        r->only = NULL;
    }
    if (r->n_rest > 0 || !sn_merger_fits(r->merger, p))
        r->rest[r->n_rest++] = p;
    else
        merge_one(r, p);
    return true;
}

/* All that have been read, up to the first that has not. Under the lock. */
static void merge_read(struct reading *r)
{
    for (; r->next < r->n && r->v[r->next].read; r->next++) {
        struct sn_profile *p = r->v[r->next].p;
        if (p == NULL)
            continue;
        r->good++;
        r->v[r->next].p = NULL;
        if (r->failed || !merge_next(r, p)) {
            sn_profile_free(p);
            r->failed = true;
        }
    }
}

static void read_source(void *reading, unsigned i)
{
    struct reading *r = reading;
    struct source *s = &r->v[i];
    s->p = read_profile(r, s);
    s->read = true;
    bool ahead = i >= r->next + AHEAD * sn_cores();
    if ((ahead ? pthread_mutex_lock : pthread_mutex_trylock)(&r->lock) != 0)
        return;
    merge_read(r);
    pthread_mutex_unlock(&r->lock);
}

/* All of them as one. NULL: *e. */
static struct sn_profile *end_reading(struct reading *r, struct sn_error *e)
{
    struct sn_profile *merged = r->only;
    if (r->merger != NULL)
        merged = sn_merger_end(r->merger, e);
    r->rest[-1] = merged;
    if (merged != NULL && !r->failed)
        return load_merge(r->rest - 1, r->n_rest + 1, e);
    sn_fail(e, NULL, -1, "out of memory"); /* unless something was said */
    for (size_t i = 0; i <= r->n_rest; i++)
        sn_profile_free(r->rest[(ptrdiff_t)i - 1]);
    return NULL;
}

/* What is known of each word. False: no memory. */
static bool begin_reading(struct reading *r, const char *const *words)
{
    struct sn_arena *a = r->s->arena;
    r->v = sn_arena_alloc(a, (r->n + 1) * sizeof *r->v);
    r->rest = sn_arena_alloc(a, (r->n + 1) * sizeof(struct sn_profile *));
    if (r->v == NULL || r->rest == NULL)
        return false;
    r->rest++; /* one more goes before them in the end */
    for (size_t i = 0; i < r->n; i++) {
        r->v[i].word = words[i];
        r->v[i].fetched = r->s->of_word[i];
    }
    pthread_mutex_init(&r->lock, NULL);
    return true;
}

/* With several words, one that fails is told and left out. */
static void tell_failed(const struct reading *r, bool *remote, struct sn_error *e)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct sn_fetched *f = r->v[i].fetched;
        bool good = r->v[i].bad.what[0] == '\0';
        if (!good && r->n == 1)
            *e = r->v[i].bad;
        else if (!good)
            say_error(&r->v[i].bad);
        *remote |= good && f != NULL && strncmp(f->url, "file:", 5) != 0;
    }
}

struct sn_profile *load_sources(const struct request *r, const char *binary,
                                const char *const *words, size_t n, const char *what,
                                bool *remote, struct sn_error *e)
{
    struct sources s = {.r = r, .arena = sn_arena_new()};
    struct reading reading = {.s = &s, .binary = binary, .n = n};
    struct sn_profile *p = NULL;
    if (s.arena == NULL || !gather(&s, words, n) || !begin_reading(&reading, words)) {
        sn_fail(e, NULL, -1, "out of memory");
        sn_arena_free(s.arena);
        return NULL;
    }
    struct busy *busy = busy_begin("reading");
    sn_parallel((unsigned)n, read_source, &reading);
    merge_read(&reading);
    busy_end(busy);
    tell_failed(&reading, remote, e);
    if (reading.good > 0 && reading.good < n)
        fprintf(stderr, "Fetched %zu %s profiles out of %zu\n", reading.good, what, n);
    if (reading.good > 0)
        p = end_reading(&reading, e);
    else
        sn_fail(e, NULL, -1, "failed to fetch any %s profiles", what);
    pthread_mutex_destroy(&reading.lock);
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
