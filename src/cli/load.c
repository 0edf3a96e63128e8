/*
 * load.c: from the words of a command line to one symbolised profile.
 *
 *     file -> gzip? -> spool or profile.proto -> merge (minus the bases) -> symbols
 */
#include "cli.h"
#include "formats/readers.h"
#include "symbolize/symbolize.h"
#include "wire/wire.h"

#include <inttypes.h>
#include <math.h>

/* ---- one file -------------------------------------------------------------------------
 */

static bool starts_with(const void *data, size_t len, const char *magic, size_t n)
{
    return len >= n && memcmp(data, magic, n) == 0;
}

static bool is_elf(const void *data, size_t len)
{
    return starts_with(data, len, "\177ELF", 4);
}

/* What people hand in that is no profile.proto; "" ends a row's words. */
static const struct {
    const char *magic;
    size_t len;
    const char *what;
} strangers[] = {
    {"\177ELF", 4, "is a program or library, not a profile; 'sonde run' records one"},
    {"PERFILE2", 8, "is perf's data, which is not read yet"},
    {"SNHDUMP", 7, "is a heap dump; 'sonde heapdump' reads it"},
    {"SNSPOOL", 7, "is a spool of another version of sonde"},
    {"%PDF", 4, "is a PDF, not a profile"},
    {"<svg", 4, "is a drawing, not a profile"},
    {"<?xml", 5, "is XML, not a profile"},
};

static bool is_stranger(const struct sn_file *f, const char *path, struct sn_error *e)
{
    for (size_t i = 0; i < SN_COUNT(strangers); i++)
        if (starts_with(f->data, f->len, strangers[i].magic, strangers[i].len))
            return !sn_fail(e, path, -1, "%s", strangers[i].what);
    if (f->len == 0)
        return !sn_fail(e, path, -1, "is empty");
    return false;
}

/* Uncompressed: one of the other formats, or profile.proto. */
static struct sn_profile *decode_plain(const unsigned char *data, size_t len,
                                       const char *path, struct sn_error *e)
{
    const struct sn_reader *other = sn_reader_find(data, len);
    return other != NULL ? sn_reader_read(other, data, len, path, e)
                         : sn_profile_decode(data, len, path, e);
}

struct sn_profile *load_bytes(const struct sn_file *f, const char *path, size_t limit,
                              struct sn_error *e)
{
    if (sn_spool_is(f->data, f->len))
        return sn_spool_read(f->data, f->len, path, e);
    if (is_stranger(f, path, e))
        return NULL;
    if (!sn_gzip_is(f->data, f->len))
        return decode_plain(f->data, f->len, path, e);
    unsigned char *data;
    size_t len;
    struct sn_profile *p = NULL;
    struct sn_arena *a = sn_arena_new();
    if (a == NULL)
        sn_fail(e, path, -1, "out of memory");
    else if (sn_gzip_inflate(f->data, f->len, limit, a, &data, &len, path, e))
        p = decode_plain(data, len, path, e);
    sn_arena_free(a);
    return p;
}

struct sn_profile *load_path(const char *path, size_t limit, struct sn_error *e)
{
    struct sn_file f;
    struct sn_profile *p = strcmp(path, "-") != 0 ? load_large(path, limit) : NULL;
    if (p == NULL && sn_file_open(path, limit, &f, e)) {
        p = load_bytes(&f, strcmp(path, "-") == 0 ? "standard input" : path, limit, e);
        sn_file_close(&f);
    }
    return p;
}

struct sn_profile *load_file(const char *path, struct sn_error *e)
{
    struct busy *busy = busy_begin("reading");
    struct sn_profile *p = load_path(path, MAX_SIZE, e);
    busy_end(busy);
    return p;
}

/* ---- several --------------------------------------------------------------------------
 */

static void free_all(struct sn_profile **v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sn_profile_free(v[i]);
}

void load_program(struct sn_profile *p, const char *binary, const char *build_id)
{
    if (p->n_mappings == 0)
        return;
    struct sn_mapping *m = &p->mappings[0];
    if (binary != NULL)
        m->file = sn_strtab_add(p->strings, binary);
    if (build_id != NULL && m->build_id == 0)
        m->build_id = sn_strtab_add(p->strings, build_id);
}

/* All of them as one; consumes them. */
struct sn_profile *load_merge(struct sn_profile **v, size_t n, struct sn_error *e)
{
    if (n == 1)
        return v[0];
    if (sn_profile_all_types(v, n, e))
        return sn_profile_join(v, n, e);
    free_all(v, n);
    return NULL;
}

/* pprof's mark of a base's samples, for reports whose percentages are of the base. */
static void mark_as_base(struct sn_profile *p)
{
    uint32_t key = sn_strtab_add(p->strings, "pprof::base");
    uint32_t yes = sn_strtab_add(p->strings, "true");
    for (uint32_t i = 0; i < p->n_samples; i++) {
        struct sn_sample *s = &p->samples[i];
        uint32_t first = p->n_labels;
        for (uint32_t k = 0; k <= s->n_labels; k++) {
            struct sn_label *l = SN_PUSH(p->arena, p->labels, p->n_labels, p->cap_labels);
            if (l == NULL)
                return;
            *l = k < s->n_labels ? p->labels[s->label0 + k]
                                 : (struct sn_label){.key = key, .str = yes};
        }
        s->label0 = first;
        s->n_labels++;
    }
}

static double total(const struct sn_profile *p, uint32_t type)
{
    double sum = 0;
    for (uint32_t i = type; i < p->n_values; i += p->n_types)
        sum += (double)p->values[i];
    return sum;
}

/* Scale p so that each type's total is the base's. */
static void normalize(struct sn_profile *p, const struct sn_profile *base)
{
    for (uint32_t t = 0; t < p->n_types && t < base->n_types; t++) {
        double own = total(p, t), wanted = total(base, t);
        if (own == 0)
            continue;
        for (uint32_t i = t; i < p->n_values; i += p->n_types)
            p->values[i] = (int64_t)round((double)p->values[i] * wanted / own);
    }
}

struct sn_profile *load_difference(const struct request *r, struct sn_profile *p,
                                   struct sn_profile *base, struct sn_error *e)
{
    struct sn_profile *both[] = {p, base};
    if (!sn_profile_common_types(both, 2, e)) {
        free_all(both, 2);
        return NULL;
    }
    if (r->options.normalize)
        normalize(p, base);
    if (r->diff_base)
        mark_as_base(base);
    for (uint32_t i = 0; i < base->n_values; i++)
        base->values[i] = (int64_t)(0 - (uint64_t)base->values[i]);
    if (!sn_arena_failed(base->arena))
        return load_merge(both, 2, e);
    free_all(both, 2);
    sn_fail(e, NULL, -1, "out of memory");
    return NULL;
}

static struct sn_profile *subtract_bases(const struct request *r, const char *binary,
                                         struct sn_profile *p, bool *remote,
                                         struct sn_error *e)
{
    struct sn_profile *base =
        load_sources(r, binary, r->bases, r->n_bases, "base", remote, e);
    if (base != NULL)
        return load_difference(r, p, base, e);
    sn_profile_free(p);
    return NULL;
}

/* pprof's rule: the first of several words may be the binary. */
bool load_is_binary(const char *path)
{
    char head[4] = "";
    FILE *f = fopen(path, "rbe");
    bool elf = f != NULL && fread(head, 1, sizeof head, f) == sizeof head &&
               is_elf(head, sizeof head);
    if (f != NULL)
        fclose(f);
    return elf;
}

struct sn_profile *load_profiles(const struct request *r, char *const *paths, int n,
                                 struct sn_error *e)
{
    if (r->options.normalize && r->n_bases == 0) {
        sn_fail(e, NULL, -1, "--normalize scales to a base; give --base or --diff_base");
        return NULL;
    }
    const char *binary = n > 1 && load_is_binary(paths[0]) ? paths[0] : NULL;
    if (binary != NULL)
        paths++, n--;
    bool remote = false;
    struct sn_profile *p = load_sources(r, binary, (const char *const *)paths, (size_t)n,
                                        "source", &remote, e);
    if (p != NULL && r->n_bases > 0)
        p = subtract_bases(r, binary, p, &remote, e);
    enum telling telling = r->verbose ? TELL_ATTEMPTS : TELL_MODULES;
    bool named =
        p != NULL && load_symbols(p, binary, r->symbolize, &r->fetch, telling, e);
    if (p != NULL && remote)
        keep_copy(p); /* also without names: it may not come again */
    if (named)
        return p;
    sn_profile_free(p);
    return NULL;
}

/* ---- symbols --------------------------------------------------------------------------
 */

#define MAX_DIRS 32

static void show(void *arg, const char *module, size_t done, size_t total)
{
    progress_show(arg, "symbols of %s: %zu of %zu", module, done, total);
}

static void show_fetched(void *arg, const char *module, size_t done, size_t total)
{
    if (total == 0)
        progress_show(arg, "debug file of %s: asking the servers", module);
    else
        progress_show(arg, "debug file of %s: %zu of %zu KB", module, done >> 10,
                      total >> 10);
}

/* Where names may come from. */
enum whence { ANYWHERE, NOWHERE, BINARIES, SERVERS };

/* Of several words that say whence, the last counts; but "none" is final. */
static bool read_mode(const char *mode, struct sn_symbolize_options *o,
                      enum whence *whence, struct sn_error *e)
{
    static const struct {
        const char *word;
        enum whence whence;
        bool force, no_inlines;
        enum sn_demangle demangle;
    } words[] = {
        {"none", NOWHERE},
        {"no", NOWHERE},
        {"remote", SERVERS},
        {"local", BINARIES},
        {"fastlocal", BINARIES, .no_inlines = true},
        {"force", .force = true},
        {"demangle=default"},
        {"demangle=none", .force = true, .demangle = SN_DEMANGLE_NONE},
        {"demangle=templates", .force = true, .demangle = SN_DEMANGLE_TEMPLATES},
        {"demangle=full", .force = true, .demangle = SN_DEMANGLE_FULL},
    };
    for (size_t n; *mode != '\0'; mode += n + (mode[n] == ':')) {
        size_t i = 0;
        n = strcspn(mode, ":");
        while (i < SN_COUNT(words) &&
               (strncasecmp(mode, words[i].word, n) != 0 || words[i].word[n] != '\0'))
            i++;
        if (n > 0 && i == SN_COUNT(words))
            return sn_fail(e, NULL, -1, "option '--symbolize' does not know '%.*s'",
                           (int)n, mode);
        if (n == 0)
            continue;
        if (words[i].whence != ANYWHERE && *whence != NOWHERE)
            *whence = words[i].whence;
        o->force |= words[i].force;
        o->no_inlines |= words[i].no_inlines;
        if (words[i].demangle != SN_DEMANGLE_DEFAULT)
            o->demangle = words[i].demangle;
    }
    return true;
}

bool load_mode_good(const char *mode, struct sn_error *e)
{
    struct sn_symbolize_options unused = {0};
    enum whence whence = ANYWHERE;
    return read_mode(mode, &unused, &whence, e);
}

/* PPROF_BINARY_PATH, cut at its colons into `room`; default $HOME/pprof/binaries. */
static const char *const *search_path(struct sn_arena *a, const char *dirs[MAX_DIRS + 1])
{
    const char *path = getenv("PPROF_BINARY_PATH"), *home = getenv("HOME");
    size_t n = 0;
    char *rest, *dir;
    if (path != NULL && *path != '\0')
        rest = sn_arena_strdup(a, path);
    else
        rest = home != NULL ? sn_arena_printf(a, "%s/pprof/binaries", home) : NULL;
    while (rest != NULL && n < MAX_DIRS && (dir = strsep(&rest, ":")) != NULL)
        if (*dir != '\0')
            dirs[n++] = dir;
    dirs[n] = NULL;
    return dirs;
}

/* A line a module; what was tried for it, indented, on request. */
static void tell_unnamed(const struct sn_buf *log, enum telling telling)
{
    static const char *const hints[] = {
        [TELL_MODULES] = " (is its -dbgsym package installed? 'sonde top --verbose' says "
                         "what was tried)",
        [TELL_ATTEMPTS] = ""};
    if (telling == TELL_NOTHING)
        return;
    for (const char *line = log->data; line != NULL && *line != '\0';) {
        size_t n = strcspn(line, "\n");
        if (*line != ' ')
            say("%.*s%s", (int)n, line, hints[telling]);
        else if (telling == TELL_ATTEMPTS)
            fprintf(stderr, "%.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
}

/* ---- names from servers ---------------------------------------------------------------
 */

/* An answer may be this large, and so many times its question: a name of 4 KB for each
 * address. */
#define ANSWER_BASE  ((size_t)1 << 20)
#define ANSWER_TIMES 256

struct asking {
    const struct sn_fetch_options *fetch;
    struct progress *progress;
    const char *module;
};

static void show_asking(void *arg, uint64_t bytes, unsigned left)
{
    const struct asking *a = arg;
    (void)left;
    progress_show(a->progress, "symbols of %s from its server: %" PRIu64 " KB", a->module,
                  bytes >> 10);
}

static bool ask_server(void *arg, const char *module, const char *url,
                       const struct sn_buf *query, struct sn_buf *answer,
                       struct sn_error *e)
{
    struct asking *a = arg;
    struct sn_fetched f = {.url = url, .post = query};
    struct sn_fetch_options o = *a->fetch;
    o.limit = ANSWER_BASE + ANSWER_TIMES * query->len;
    o.progress = show_asking;
    o.progress_arg = a;
    a->module = module;
    if (sn_fetch(&f, 1, &o, answer->arena) == 0) {
        *e = f.error;
        return false;
    }
    *answer = f.body;
    return true;
}

bool load_symbols(struct sn_profile *p, const char *binary, const char *mode,
                  const struct sn_fetch_options *servers, enum telling telling,
                  struct sn_error *e)
{
    const char *dirs[MAX_DIRS + 1];
    struct progress progress = {0};
    struct sn_symbolize_options o = {.binary = binary,
                                     .dirs = search_path(p->arena, dirs),
                                     .progress = show,
                                     .fetching = show_fetched,
                                     .progress_arg = &progress};
    struct asking asking = {servers, &progress, NULL};
    enum whence whence = ANYWHERE;
    if (!read_mode(mode != NULL ? mode : "", &o, &whence, e))
        return false;
    if (servers != NULL && whence != BINARIES) {
        o.ask = ask_server;
        o.ask_arg = &asking;
    }
    o.no_local = whence == SERVERS;
    struct sn_buf log = {.arena = p->arena};
    bool good = whence == NOWHERE || sn_symbolize(p, &o, &log, e);
    progress_clear(&progress);
    tell_unnamed(&log, telling);
    return good;
}
