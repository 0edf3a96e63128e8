/*
 * args.c: a command line against tables of flags, by the rules of Go's flag package: one
 * dash or two, a value behind '=' or as the next word, switches with '=' only.
 */
#include "cli.h"

const struct flag *args_find(const struct flag_table *tables, const char *name)
{
    for (; tables->v != NULL; tables++)
        for (size_t i = 0; i < tables->n; i++)
            if (strcmp(tables->v[i].name, name) == 0)
                return &tables->v[i];
    return NULL;
}

/* strconv.ParseBool's words. */
bool args_bool(const char *name, const char *value, bool *to, struct sn_error *e)
{
    static const char *const words[2][6] = {{"false", "0", "f", "F", "FALSE", "False"},
                                            {"true", "1", "t", "T", "TRUE", "True"}};
    for (int truth = 0; truth < 2; truth++)
        for (size_t i = 0; i < SN_COUNT(words[truth]); i++)
            if (strcmp(value, words[truth][i]) == 0) {
                *to = truth;
                return true;
            }
    return sn_fail(e, NULL, -1, "option '--%s' wants true or false, not '%s'", name,
                   value);
}

static bool unknown(const struct flag_table *tables, const char *name, struct sn_error *e)
{
    struct guess g = {.word = name};
    for (; tables->v != NULL; tables++)
        for (size_t i = 0; i < tables->n; i++)
            guess_offer(&g, tables->v[i].name);
    if (g.best != NULL)
        return sn_fail(e, NULL, -1, "unknown option '--%s'; did you mean '--%s'?", name,
                       g.best);
    return sn_fail(e, NULL, -1, "unknown option '--%s'", name);
}

/* One flag, at argv[*i]; moves *i past it. */
static bool parse_flag(const struct flag_table *tables, void *to, char **argv, int argc,
                       int *i, struct sn_error *e)
{
    char name[64];
    const char *word = argv[(*i)++], *text = word + 1 + (word[1] == '-');
    size_t n = strcspn(text, "=");
    const char *value = text[n] == '=' ? text + n + 1 : NULL;
    if (n == 0 || n >= sizeof name || *text == '-')
        return sn_fail(e, NULL, -1, "'%s' is not an option", word);
    memcpy(name, text, n);
    name[n] = '\0';
    const struct flag *f = args_find(tables, name);
    if (f == NULL)
        return unknown(tables, name, e);
    if (f->kind == FLAG_VALUE && value == NULL && *i < argc)
        value = argv[(*i)++];
    if (f->kind == FLAG_VALUE && value == NULL)
        return sn_fail(e, NULL, -1, "option '--%s' needs a value: --%s=%s", name, name,
                       f->value);
    bool truth = true;
    if (f->kind == FLAG_SWITCH && value != NULL && !args_bool(name, value, &truth, e))
        return false;
    if (f->kind == FLAG_SWITCH)
        value = truth ? "true" : "false";
    return f->set(to, f->name, value != NULL ? value : "", e);
}

bool args_parse(const struct flag_table *tables, void *to, bool in_order, char **argv,
                int argc, int *rest, struct sn_error *e)
{
    int i = 0;
    *rest = 0;
    while (i < argc) {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        if (argv[i][0] == '-' && argv[i][1] != '\0') {
            if (!parse_flag(tables, to, argv, argc, &i, e))
                return false;
        } else if (in_order) {
            break;
        } else {
            argv[(*rest)++] = argv[i++];
        }
    }
    while (i < argc)
        argv[(*rest)++] = argv[i++];
    return true;
}

void args_help(const struct flag_table *tables, FILE *to)
{
    for (; tables->v != NULL; tables++) {
        fprintf(to, "\n%s:\n", tables->title);
        for (size_t i = 0; i < tables->n; i++) {
            const struct flag *f = &tables->v[i];
            if (f->help == NULL)
                continue;
            int n =
                fprintf(to, "  --%s%s%s%s%s", f->name, f->kind == FLAG_MAYBE ? "[" : "",
                        f->value != NULL ? "=" : "", f->value != NULL ? f->value : "",
                        f->kind == FLAG_MAYBE ? "]" : "");
            fprintf(to, "%*s%s\n", n < 27 ? 28 - n : 1, "", f->help);
        }
    }
}
