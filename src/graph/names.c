/* names.c: how nodes are called, in a line and in a box. */
#include "graph_priv.h"

#include <inttypes.h>

/* ---- paths
 * ---------------------------------------------------------------------------------- */

const char *sn_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Length of `out` without its last element. */
static size_t parent(const char *out, size_t len, size_t root)
{
    while (len > root && out[len - 1] != '/')
        len--;
    return len > root ? len - 1 : len;
}

static bool ends_in_dots(const char *out, size_t len)
{
    return len >= 2 && memcmp(out + len - 2, "..", 2) == 0 &&
           (len == 2 || out[len - 3] == '/');
}

const char *sn_clean_path(const char *path, struct sn_arena *a)
{
    char *out = sn_arena_alloc(a, strlen(path) + 2);
    if (out == NULL || *path == '\0')
        return path;
    size_t root = *path == '/', len = root;
    if (root)
        out[0] = '/';
    while (*path != '\0') {
        size_t n = strcspn(path, "/");
        bool up = n == 2 && memcmp(path, "..", 2) == 0;
        if (up && len > root && !ends_in_dots(out, len)) {
            len = parent(out, len, root);
        } else if (n > 0 && !(n == 1 && *path == '.') && !(up && root)) {
            if (len > root)
                out[len++] = '/';
            memcpy(out + len, path, n);
            len += n;
        }
        path += n + (path[n] == '/');
    }
    if (len == 0)
        out[len++] = '.';
    out[len] = '\0';
    return out;
}

/* ---- a node's name
 * ---------------------------------------------------------------------------- */

static void part(struct sn_buf *b, char joint)
{
    if (b->len > 0)
        sn_buf_putc(b, joint);
}

static void join(struct sn_buf *b, const struct sn_node_info *i, char joint,
                 const char *name, const char *file, const char *object)
{
    if (i->address != 0)
        sn_buf_printf(b, "%016" PRIx64, i->address);
    if (*name != '\0') {
        part(b, joint);
        sn_buf_puts(b, name);
    }
    if (i->line == 0 && *file == '\0' && *name != '\0')
        return;
    part(b, joint);
    if (i->line != 0) {
        sn_buf_printf(b, "%s:%" PRId64, file, i->line);
        if (i->column != 0)
            sn_buf_printf(b, ":%" PRId64, i->column);
    } else if (*file != '\0') {
        sn_buf_puts(b, file);
    } else if (*object != '\0') {
        sn_buf_printf(b, "[%s]", sn_base_name(object));
    } else {
        sn_buf_puts(b, "<unknown>");
    }
}

const char *sn_node_name(const struct sn_profile *p, const struct sn_node_info *info,
                         struct sn_arena *a)
{
    struct sn_buf b = {.arena = a};
    const char *name = sn_profile_str(p, info->name);
    if (info->address == 0 && info->line == 0 && info->file == 0 && *name != '\0')
        return name; /* nearly always */
    join(&b, info, ' ', name, sn_profile_str(p, info->file),
         sn_profile_str(p, info->object));
    return b.data != NULL ? b.data : "";
}

/* ---- shortening
 * --------------------------------------------------------------------------------- */

/* What pprof shortens, by the languages whose names they are. The first that matches is
 * replaced by its groups. */
static const struct {
    const char *pattern;
    bool goes_on;
} rules[] = {
    {"^\\(anonymous namespace\\)::(.*)$", true},
    {"^(.*?)/v(?:[2-9]|[1-9][0-9]+)([./].*)$", true}, /* a Go module's version */
    {"^(?:[\\w\\-\\.]+\\/)+([^.]+\\..+)", false},     /* Go */
    {"^(?:[a-z]\\w*\\.)*([A-Z][\\w\\$]*\\.(?:<init>|[a-z][\\w\\$]*(?:\\$\\d+)?))(?:(?:\\("
     ")|$)",
     false},                                                                 /* Java */
    {"^(?:[_a-zA-Z]\\w*::)+(_*[A-Z]\\w*::~?[_a-zA-Z]\\w*(?:<.*>)?)", false}, /* C++ */
};

struct sn_shortener {
    struct sn_regex *rx[SN_COUNT(rules)];
};

struct sn_shortener *sn_shortener_new(struct sn_error *e)
{
    struct sn_shortener *s = calloc(1, sizeof *s);
    bool good = s != NULL || sn_fail(e, NULL, -1, "out of memory");
    for (size_t i = 0; good && i < SN_COUNT(rules); i++)
        good = (s->rx[i] = sn_regex_new(rules[i].pattern, "shortening", e)) != NULL;
    if (good)
        return s;
    sn_shortener_free(s);
    return NULL;
}

void sn_shortener_free(struct sn_shortener *s)
{
    for (size_t i = 0; s != NULL && i < SN_COUNT(rules); i++)
        sn_regex_free(s->rx[i]);
    free(s);
}

const char *sn_shorten(struct sn_shortener *s, const char *name, struct sn_arena *a)
{
    for (size_t i = 0; i < SN_COUNT(rules); i++) {
        size_t span[6];
        size_t groups = sn_regex_find(s->rx[i], name, strlen(name), span, 3);
        struct sn_buf b = {.arena = a};
        for (size_t g = 1; g < groups; g++)
            if (span[2 * g] != SIZE_MAX)
                sn_buf_add(&b, name + span[2 * g], span[2 * g + 1] - span[2 * g]);
        if (groups == 0)
            continue;
        name = b.data != NULL ? b.data : "";
        if (!rules[i].goes_on)
            break;
    }
    return name;
}

/* A line for each part of a qualified name; parts of arguments are none, unless
 * `everywhere`. */
static const char *break_name(const char *name, bool everywhere, struct sn_arena *a)
{
    struct sn_buf b = {.arena = a};
    int depth = 0; /* of brackets */
    for (const char *c = name; *c != '\0'; c++) {
        if (strchr("<([{", *c) != NULL)
            depth++;
        else if (strchr(">)]}", *c) != NULL && depth > 0 && c[-1] != '-') /* no "->" */
            depth--;
        bool whole = depth > 0 && !everywhere;
        if (strncmp(c, "::", 2) == 0 && !whole) {
            sn_buf_putc(&b, '\n');
            c++;
        } else if (strncmp(c, "[...]", 5) == 0) { /* Go's type parameters */
            sn_buf_puts(&b, "[\u2026]");
            c += 4;
            depth--;
        } else {
            sn_buf_putc(&b, *c == '.' && !whole ? '\n' : *c);
        }
    }
    return b.data != NULL ? b.data : "";
}

const char *sn_node_box_name(struct sn_shortener *s, const struct sn_profile *p,
                             const struct sn_node_info *info, bool everywhere,
                             struct sn_arena *a)
{
    struct sn_buf b = {.arena = a};
    const char *name =
        break_name(sn_shorten(s, sn_profile_str(p, info->name), a), everywhere, a);
    join(&b, info, '\n', name, sn_base_name(sn_profile_str(p, info->file)),
         sn_profile_str(p, info->object));
    return b.data != NULL ? b.data : "";
}
