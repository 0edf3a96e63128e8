/*
 * shell_words.c: the grammar of the shell, which is pprof's with pipes. A line is
 *
 *     name = value              a setting, which lasts; also `name value`, and `name`
 *                               alone for a switch
 *     type, mean_type, total_type   a sample type of the profile
 *     :                         no filters
 *     command [N] [argument] [regexp]... [-regexp]... [-cum] [>file | >>file] [| command]
 *     options, help [name], quit
 *
 * A command's words are for it alone. A line that begins with '#' says nothing.
 */
#include "shell.h"

#define MAX_WORDS 256

/* ---- settings -------------------------------------------------------------------------
 */

/* A copy of text[0..n) without the spaces around it. */
static char *trimmed(struct sn_arena *a, const char *text, size_t n)
{
    while (n > 0 && strchr(" \t\r\n", *text) != NULL)
        text++, n--;
    while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL)
        n--;
    return sn_arena_strndup(a, text, n);
}

/* Is it `name=value`, `name value` or `name`, of a setting? Then it is done: *good. */
static bool is_setting(struct shell *s, const char *line, bool *good, struct sn_error *e)
{
    const char *choice, *equals = strchr(line, '='), *value = NULL;
    size_t n = equals != NULL ? (size_t)(equals - line) : strcspn(line, " \t");
    char *name = trimmed(s->arena, line, n);
    const struct setting *row = name != NULL ? setting_find(name, &choice) : NULL;
    if (row == NULL && equals != NULL) { /* the '=' may be a command's, or a value's */
        equals = NULL;
        n = strcspn(line, " \t");
        name = trimmed(s->arena, line, n);
        row = name != NULL ? setting_find(name, &choice) : NULL;
    }
    if (row == NULL)
        return false;
    const char *rest = line + n + (equals != NULL);
    const char *remark = strstr(rest, "//:"); /* as `options` prints them */
    for (const char *next = remark; next != NULL; next = strstr(next + 1, "//:"))
        remark = next;
    value =
        trimmed(s->arena, rest, remark != NULL ? (size_t)(remark - rest) : strlen(rest));
    if (equals == NULL && (value == NULL || *value == '\0'))
        value = NULL;
    *good = setting_set(s, name, value, e);
    return true;
}

static bool clear_filters(struct shell *s, struct sn_error *e)
{
    static const char *const filters[] = {"focus", "ignore", "hide", "tagfocus",
                                          "tagignore"};
    bool good = true;
    for (size_t i = 0; i < SN_COUNT(filters); i++)
        good = good && setting_set(s, filters[i], "", e);
    return good;
}

/* "alloc_space", "mean_delay", "total_delay": is it that, of a type of the profile? */
static bool is_type(struct shell *s, const char *line, bool *good, struct sn_error *e)
{
    static const char *const prefixes[][2] = {
        {"", NULL}, {"total_", "false"}, {"mean_", "true"}};
    for (uint32_t i = 0; i < s->p->n_types; i++)
        for (size_t k = 0; k < SN_COUNT(prefixes); k++) {
            const char *type = sn_profile_str(s->p, s->p->types[i].type);
            size_t n = strlen(prefixes[k][0]);
            if (strncmp(line, prefixes[k][0], n) != 0 || strcmp(line + n, type) != 0)
                continue;
            *good =
                (prefixes[k][1] == NULL || setting_set(s, "mean", prefixes[k][1], e)) &&
                setting_set(s, "sample_index", type, e);
            return true;
        }
    return false;
}

/* ---- commands -------------------------------------------------------------------------
 */

/* What stands behind a '|' that begins a word; the line ends before it. */
static const char *cut_pipe(char *line)
{
    for (char *c = line; (c = strchr(c, '|')) != NULL; c++)
        if (c == line || strchr(" \t", c[-1]) != NULL) {
            *c = '\0';
            return c + 1 + strspn(c + 1, " \t");
        }
    return NULL;
}

static size_t split(char *line, char *words[MAX_WORDS])
{
    size_t n = 0;
    char *word;
    while ((word = strsep(&line, " \t\r\n")) != NULL && n < MAX_WORDS)
        if (*word != '\0')
            words[n++] = word;
    return n;
}

/* "top10" is "top" with *count. NULL: there is none such. */
static const struct sn_report_format *find(char *word, int *count)
{
    const struct sn_report_format *f = format_find(word);
    size_t n = strlen(word);
    while (n > 0 && strchr("0123456789", word[n - 1]) != NULL)
        n--;
    if (f != NULL || n == 0 || word[n] == '\0')
        return f;
    *count = (int)strtol(word + n, NULL, 10);
    word[n] = '\0';
    return format_find(word);
}

static bool unknown(const char *word, struct sn_error *e)
{
    struct guess g = {.word = word};
    const struct sn_report_format *f;
    const struct setting *row;
    for (size_t i = 0; (f = format_at(i)) != NULL; i++)
        guess_offer(&g, f->name);
    for (size_t i = 0; (row = setting_at(i)) != NULL; i++)
        guess_offer(&g, row->name);
    if (g.best != NULL)
        return sn_fail(e, NULL, -1, "unrecognized command: \"%s\"; did you mean '%s'?",
                       word, g.best);
    return sn_fail(e, NULL, -1, "unrecognized command: \"%s\"; 'help' lists them", word);
}

static const char *or_with(struct sn_arena *a, const char *rx, const char *more)
{
    if (*rx == '\0' || *more == '\0')
        return *rx == '\0' ? more : rx;
    return sn_arena_printf(a, "%s|%s", rx, more);
}

static bool is_number(const char *word, int *to)
{
    char *end;
    long v = strtol(word, &end, 10);
    *to = v < -1 ? 0 : (int)v;
    return *end == '\0' && end != word && v >= INT32_MIN && v <= INT32_MAX;
}

/* `>file`, `> file`, `>>file`: *i moves on to the last word used. */
static bool redirect(struct shell_command *c, char **words, size_t n, size_t *i,
                     struct sn_error *e)
{
    const char *name = words[*i] + 1;
    c->append = *name == '>';
    name += c->append;
    if (*name == '\0' && ++*i < n)
        name = words[*i];
    c->r.output = name;
    return *name != '\0' || sn_fail(e, NULL, -1, "unexpected end of line after >");
}

/* The words behind the command's own. */
static bool read_arguments(struct shell *s, struct shell_command *c, char **words,
                           size_t n, struct sn_error *e)
{
    struct sn_options *o = &c->r.options;
    const char *focus = "", *ignore = "";
    bool tags = strcmp(c->r.format->name, "tags") == 0;
    int count;
    for (size_t i = 0; i < n; i++) {
        const char *w = words[i];
        if (is_number(w, &count))
            o->node_count = count;
        else if (*w == '>' && !redirect(c, words, n, &i, e))
            return false;
        else if (*w == '>')
            continue;
        else if (strcmp(w, "-cum") == 0 || strcmp(w, "--cum") == 0)
            o->cum = true;
        else if (*w == '-')
            ignore = or_with(s->arena, ignore, w + 1);
        else
            focus = or_with(s->arena, focus, w);
    }
    if (focus == NULL || ignore == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    if (*focus != '\0')
        *(tags ? &o->tag_focus : &o->focus) = focus;
    if (*ignore != '\0')
        *(tags ? &o->tag_ignore : &o->ignore) = ignore;
    return true;
}

static bool read_command(struct shell *s, struct shell_command *c, char **words, size_t n,
                         struct sn_error *e)
{
    int count = -1;
    c->what = SHELL_REPORT;
    c->r = s->settings;
    c->r.format = find(words[0], &count);
    if (c->r.format == NULL)
        return unknown(words[0], e);
    c->name = words[0];
    if (count >= 0)
        c->r.options.node_count = count;
    size_t first = 1;
    if (c->r.format->takes_regexp) {
        if (n < 2)
            return sn_fail(e, NULL, -1, "command %s requires an argument", c->name);
        c->r.argument = words[first++];
    }
    if (!read_arguments(s, c, words + first, n - first, e))
        return false;
    if (c->r.options.node_count == -1 && strcmp(c->r.format->name, "top") == 0)
        c->r.options.node_count = 10;
    return true;
}

/* The words that are no reports. */
static const struct {
    const char *word;
    int what;
} own[] = {{"o", SHELL_OPTIONS}, {"options", SHELL_OPTIONS}, {"q", SHELL_QUIT},
           {"quit", SHELL_QUIT}, {"exit", SHELL_QUIT},       {"help", SHELL_HELP},
           {"h", SHELL_HELP},    {"?", SHELL_HELP}};

bool shell_read(struct shell *s, const char *text, struct shell_command *c,
                struct sn_error *e)
{
    char *words[MAX_WORDS], *line = trimmed(s->arena, text, strlen(text));
    bool good = true;
    *c = (struct shell_command){.what = SHELL_NOTHING};
    if (line == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    if (*line == '\0' || *line == '#' || strncmp(line, "//", 2) == 0)
        return true;
    c->what = SHELL_SET;
    if (strcmp(line, ":") == 0)
        return clear_filters(s, e);
    if (is_type(s, line, &good, e) || is_setting(s, line, &good, e))
        return good;
    c->pipe = cut_pipe(line);
    size_t n = split(line, words);
    if (n == 0)
        return sn_fail(e, NULL, -1, "a command before the '|'");
    for (size_t i = 0; i < SN_COUNT(own); i++)
        if (strcmp(words[0], own[i].word) == 0) {
            c->what = own[i].what;
            c->name = n > 1 ? words[1] : "";
            return true;
        }
    return read_command(s, c, words, n, e);
}
