/*
 * shell_help.c: what the shell says of its commands and settings, and how it completes
 * words: all from the tables of reports and options, so that a new row needs no line
 * here.
 */
#include "shell.h"

/* ---- help -----------------------------------------------------------------------------
 */

static void row(const char *name, const char *help, FILE *to)
{
    fprintf(to, "    %-20s %s\n", name, help);
}

static const char *help_of(const struct flags *f, const char *name)
{
    const struct flag *flag = args_find(f->tables, name);
    return flag != NULL && flag->help != NULL ? flag->help : "";
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct sn_report_format *const *)a)->name,
                  (*(const struct sn_report_format *const *)b)->name);
}

static void list_commands(FILE *to)
{
    const struct sn_report_format *f, *v[MAX_FORMAT_FLAGS];
    size_t n = 0;
    while (n < MAX_FORMAT_FLAGS && (f = format_at(n)) != NULL)
        v[n++] = f;
    qsort(v, n, sizeof *v, by_name);
    fputs("  Commands:\n", to);
    for (size_t i = 0; i < n; i++) {
        row(v[i]->name, v[i]->help, to);
        if (v[i]->alias != NULL)
            fprintf(to, "    %-20s the same as %s\n", v[i]->alias, v[i]->name);
    }
    row("o, options", "all settings and their values", to);
    row("help, h, ? [NAME]", "this, or about one command or setting", to);
    row("q, quit, exit, ^D", "leave", to);
    row(":", "no focus, ignore, hide, tagfocus, tagignore any more", to);
    row("TYPE, mean_TYPE", "another sample type of the profile; its mean", to);
}

static void list_settings(const struct flags *flags, FILE *to)
{
    const struct setting *s;
    fputs("\n  Settings (NAME=VALUE):\n", to);
    for (size_t i = 0; (s = setting_at(i)) != NULL; i++)
        if (s->kind != SETTING_CHOICE)
            row(s->name, help_of(flags, s->name), to);
    for (size_t i = 0; (s = setting_at(i)) != NULL; i++) {
        if (s->kind != SETTING_CHOICE)
            continue;
        fprintf(to, "\n  One of (%s=VALUE, or VALUE alone):\n", s->name);
        for (const char *const *c = s->choices; *c != NULL; c++)
            row(*c, help_of(flags, *c), to);
    }
    fputs("\n  COMMAND [N] [REGEXP]... [-REGEXP]... [-cum] [>FILE | >>FILE] [| PROGRAM]\n"
          "  shows N entries, of samples that match the first and not the second.\n"
          "  'help NAME' says more of one.\n",
          to);
}

static void help_format(const struct sn_report_format *f, const char *name, FILE *to)
{
    bool tags = strcmp(f->name, "tags") == 0;
    fprintf(to, "%s: %s\n  %s%s %s\n", name, f->help, name,
            f->takes_regexp ? " REGEXP" : "",
            "[N] [REGEXP]... [-REGEXP]... [-cum] [>FILE | >>FILE] [| PROGRAM]");
    fprintf(to,
            "    N             at most N entries\n"
            "    REGEXP        only %s that match it, or one of them\n"
            "    -REGEXP       none that match it, or one of them\n"
            "    -cum          sorted by cumulative value\n"
            "    >FILE         into a file; >>FILE: to its end\n"
            "    | PROGRAM     through a program, such as less\n",
            tags ? "labels" : "samples with a frame");
}

bool shell_help(const char *name, FILE *to, struct sn_error *e)
{
    struct flags flags;
    const char *choice;
    const struct sn_report_format *f = format_find(name);
    const struct setting *s = setting_find(name, &choice);
    flags_fill(&flags, true);
    if (*name == '\0') {
        list_commands(to);
        list_settings(&flags, to);
        return true;
    }
    if (f != NULL) {
        help_format(f, name, to);
        return true;
    }
    if (s == NULL)
        return sn_fail(e, NULL, -1, "Unknown command: %s", name);
    if (s->kind != SETTING_CHOICE || choice != NULL)
        fprintf(to, "%s: %s\n", name, help_of(&flags, name));
    for (const char *const *c = s->choices; choice == NULL && *c != NULL; c++)
        fprintf(to, "%s=%s: %s\n", name, *c, help_of(&flags, *c));
    return true;
}

/* ---- completion -----------------------------------------------------------------------
 */

struct offering {
    const char *word;
    void (*offer)(void *to, const char *candidate);
    void *to;
    bool any;
};

static void offer(struct offering *o, const char *candidate)
{
    if (strncmp(candidate, o->word, strlen(o->word)) != 0)
        return;
    o->any = true;
    o->offer(o->to, candidate);
}

static void offer_words(const struct shell *s, struct offering *o)
{
    static const char *const own[] = {"options", "help", "quit", "exit"};
    const struct sn_report_format *f;
    const struct setting *row;
    char text[128];
    for (size_t i = 0; (f = format_at(i)) != NULL; i++) {
        offer(o, f->name);
        if (f->alias != NULL)
            offer(o, f->alias);
    }
    for (size_t i = 0; i < SN_COUNT(own); i++)
        offer(o, own[i]);
    for (size_t i = 0; (row = setting_at(i)) != NULL; i++) {
        snprintf(text, sizeof text,
                 row->kind == SETTING_SWITCH ? "%s" : "%s=", row->name);
        offer(o, text);
        for (const char *const *c = row->choices; *c != NULL; c++)
            offer(o, *c);
    }
    for (uint32_t i = 0; i < s->p->n_types; i++) {
        snprintf(text, sizeof text, "%s", sn_profile_str(s->p, s->p->types[i].type));
        offer(o, text);
        snprintf(text, sizeof text, "mean_%s", sn_profile_str(s->p, s->p->types[i].type));
        offer(o, text);
    }
}

/* `name=`: what it may be. False: it is no setting that is known to have values. */
static bool offer_values(const struct shell *s, struct offering *o, const char *name)
{
    static const char *const units[] = {"auto", "minimum", "ns",    "us", "ms",
                                        "s",    "minutes", "hours", "b",  "kb",
                                        "mb",   "gb",      NULL};
    static const char *const truth[] = {"true", "false", NULL};
    const char *choice;
    const struct setting *row = setting_find(name, &choice);
    const char *const *values = NULL;
    if (row == NULL)
        return false;
    if (strcmp(name, "sample_index") == 0)
        for (uint32_t i = 0; i < s->p->n_types; i++)
            offer(o, sn_profile_str(s->p, s->p->types[i].type));
    else if (row->kind == SETTING_SWITCH || choice != NULL)
        values = truth;
    else if (row->kind == SETTING_CHOICE)
        values = row->choices;
    else if (strcmp(name, "unit") == 0)
        values = units;
    for (; values != NULL && *values != NULL; values++)
        offer(o, *values);
    return o->any;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of functions, sorted, each once. */
static void gather_names(struct shell *s)
{
    const struct sn_profile *p = s->p;
    const char **v = sn_arena_alloc(s->arena, (p->n_functions + 1) * sizeof *v);
    uint32_t n = 0, kept = 0;
    for (uint32_t i = 0; v != NULL && i < p->n_functions; i++)
        if (p->functions[i].name != 0)
            v[n++] = sn_profile_str(p, p->functions[i].name);
    if (n > 0)
        qsort(v, n, sizeof *v, by_text);
    for (uint32_t i = 0; i < n; i++)
        if (kept == 0 || strcmp(v[kept - 1], v[i]) != 0)
            v[kept++] = v[i];
    s->names = v;
    s->n_names = kept;
}

/* As a regular expression that is one word: "main.\(\*T\).Foo". */
static void quote(const char *name, char *to, size_t size)
{
    size_t n = 0;
    for (; *name != '\0' && n + 3 < size; name++) {
        if (strchr("()[]{}*+?^$|\\", *name) != NULL)
            to[n++] = '\\';
        to[n++] = *name == ' ' ? '.' : *name;
    }
    to[n] = '\0';
}

/* Those that begin with the word, as it is or quoted; if none does, those that hold it.
 */
static void offer_functions(struct shell *s, struct offering *o)
{
    char quoted[1024];
    size_t n = strlen(o->word);
    if (s->names == NULL)
        gather_names(s);
    for (int within = 0; within < 2 && !o->any; within++)
        for (uint32_t i = 0; i < s->n_names; i++) {
            const char *name = s->names[i];
            quote(name, quoted, sizeof quoted);
            bool fits = within ? n > 0 && (strstr(name, o->word) != NULL ||
                                           strstr(quoted, o->word) != NULL)
                               : strncmp(name, o->word, n) == 0 ||
                                     strncmp(quoted, o->word, n) == 0;
            if (!fits)
                continue;
            o->any = true;
            o->offer(o->to, quoted);
        }
}

/* Is the setting's value an expression that names functions? */
static bool takes_names(const char *setting)
{
    static const char *const v[] = {"focus", "ignore",    "hide",
                                    "show",  "show_from", "prune_from"};
    for (size_t i = 0; i < SN_COUNT(v); i++)
        if (strcmp(v[i], setting) == 0)
            return true;
    return false;
}

/* Is the first word of the line `word`? */
static bool begins_with(const char *line, const char *word)
{
    size_t n = strlen(word);
    return strncmp(line, word, n) == 0 && (line[n] == ' ' || line[n] == '\0');
}

void shell_complete(struct shell *s, const char *before, const char *word,
                    void (*to_offer)(void *to, const char *candidate), void *to)
{
    struct offering o = {.word = word, .offer = to_offer, .to = to};
    const char *choice;
    char name[64];
    size_t n = strcspn(before, " =");
    snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : 0), before);
    if (*before == '\0' || begins_with(before, "help"))
        offer_words(s, &o);
    else if (setting_find(name, &choice) == NULL ||
             (!offer_values(s, &o, name) && takes_names(name)))
        offer_functions(s, &o);
}
