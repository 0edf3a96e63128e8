/*
 * source.c: lines of source files, each file read once. A name in a profile may be of
 * another machine: it is trimmed, and what is then relative is looked for in the folders
 * of source_path and all that these lie in.
 */
#include "report_priv.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define MAX_SOURCE ((size_t)64 << 20) /* bytes */
#define MAX_TRIED  32                 /* paths that are told */

struct source {
    const char **lines; /* [0] is the first */
    size_t *lengths;
    uint32_t n, cap, n_lengths, cap_lengths;
    const char *error; /* NULL: it was read */
    const char **tried;
    uint32_t n_tried, cap_tried;
};

struct sn_sources {
    struct sn_arena *arena;
    const struct sn_options *o;
    const char *path; /* source_path, or the working directory */
    struct sn_strtab *names;
    struct source *v; /* by name */
    uint32_t n, cap;
};

struct sn_sources *sn_sources_new(const struct sn_options *o, struct sn_arena *a)
{
    struct sn_sources *s = sn_arena_alloc(a, sizeof *s);
    char here[PATH_MAX];
    if (s == NULL)
        return NULL;
    *s = (struct sn_sources){
        .arena = a, .o = o, .path = o->source_path, .names = sn_strtab_new(a)};
    if (s->path == NULL || *s->path == '\0')
        s->path = getcwd(here, sizeof here) != NULL ? sn_arena_strdup(a, here) : "";
    return s->path != NULL && s->names != NULL ? s : NULL;
}

/* ---- reading --------------------------------------------------------------------------
 */

/* A file's lines without what ends them; they lie where it was read to. */
static void cut_lines(struct sn_sources *s, struct source *x, const char *text,
                      size_t len)
{
    for (size_t at = 0, n; at < len; at += n + 1) {
        const char *end = memchr(text + at, '\n', len - at);
        n = end != NULL ? (size_t)(end - text) - at : len - at;
        const char **line = SN_PUSH(s->arena, x->lines, x->n, x->cap);
        size_t *length = SN_PUSH(s->arena, x->lengths, x->n_lengths, x->cap_lengths);
        if (line == NULL || length == NULL)
            return;
        *line = text + at;
        *length = n > 0 && text[at + n - 1] == '\r' ? n - 1 : n;
    }
}

static bool read_file(struct sn_sources *s, struct source *x, const char *path)
{
    struct sn_file f;
    const char **tried = SN_PUSH(s->arena, x->tried, x->n_tried, x->cap_tried);
    if (tried != NULL)
        *tried = sn_arena_strdup(s->arena, path);
    if (sn_file_is_special(path) || !sn_file_open(path, MAX_SOURCE, &f, NULL))
        return false;
    char *text = sn_arena_strndup(s->arena, (const char *)f.data, f.len);
    if (text != NULL)
        cut_lines(s, x, text, f.len);
    sn_file_close(&f);
    return true;
}

/* In the folder, and in each that it lies in. */
static bool read_above(struct sn_sources *s, struct source *x, const char *folder,
                       size_t n, const char *name)
{
    for (;;) {
        const char *slash = n > 0 && folder[n - 1] == '/' ? "" : "/";
        const char *path =
            sn_arena_printf(s->arena, "%.*s%s%s", (int)n, folder, slash, name);
        if (path == NULL)
            return false;
        if (read_file(s, x, sn_clean_path(path, s->arena)))
            return true;
        while (n > 0 && folder[n - 1] == '/')
            n--;
        while (n > 0 && folder[n - 1] != '/')
            n--;
        if (n == 0)
            return false;
        n -= n > 1; /* "/" is a folder, too */
        if (n == 1 && folder[0] == '/')
            return read_file(s, x, sn_arena_printf(s->arena, "/%s", name));
    }
}

static void find_source(struct sn_sources *s, struct source *x, const char *file)
{
    struct sn_options o = *s->o;
    o.source_path = s->path;
    const char *name = sn_trim_path(&o, file);
    if (*name == '/') {
        if (!read_file(s, x, name))
            x->error = sn_arena_printf(s->arena, "open %s: %s", name,
                                       access(name, R_OK) != 0 && errno == EACCES
                                           ? "permission denied"
                                           : "no such file or directory");
        return;
    }
    for (const char *dir = s->path; *dir != '\0';) {
        size_t n = strcspn(dir, ":");
        if (n > 0 && read_above(s, x, dir, n, name))
            return;
        dir += n + (dir[n] == ':');
    }
    x->error =
        sn_arena_printf(s->arena, "could not find file %s on path %s", name, s->path);
}

static const struct source *source_of(struct sn_sources *s, const char *file)
{
    static const struct source none = {.error = "out of memory"};
    uint32_t id = sn_strtab_add(s->names, file);
    while (s->n <= id)
        if (SN_PUSH(s->arena, s->v, s->n, s->cap) == NULL)
            return &none;
    struct source *x = &s->v[id];
    if (x->n == 0 && x->error == NULL)
        find_source(s, x, file);
    if (x->n == 0 && x->error == NULL)
        x->error = ""; /* it is empty */
    return x;
}

const char *sn_source_line(struct sn_sources *s, const char *file, int64_t line,
                           size_t *length)
{
    const struct source *x = source_of(s, file);
    if (line < 1 || line > x->n)
        return NULL;
    *length = x->lengths[line - 1];
    return x->lines[line - 1];
}

const char *sn_source_error(struct sn_sources *s, const char *file)
{
    const char *error = source_of(s, file)->error;
    return error != NULL && *error != '\0' ? error : NULL;
}

void sn_source_tried(struct sn_sources *s, const char *file, struct sn_buf *out)
{
    const struct source *x = source_of(s, file);
    for (uint32_t i = 0; x->n_tried > 1 && i < x->n_tried && i < MAX_TRIED; i++)
        if (x->tried[i] != NULL)
            sn_buf_printf(out, "  tried %s\n", x->tried[i]);
}
