/*
 * shell_settings.c: what can be set in the shell, by pprof's names. The values are those
 * of the options of every report (graph's table); here is which of them the shell knows,
 * and how it shows them.
 */
#include "shell.h"

#define VALUE_MAX 400 /* bytes of a value that are shown */

static const struct setting settings[] = {
    {"all_frames", SETTING_SWITCH, {0}, true},
    {"call_tree", SETTING_SWITCH},
    {"compact_labels", SETTING_SWITCH},
    {"divide_by", SETTING_NUMBER},
    {"drop_negative", SETTING_SWITCH},
    {"edgefraction", SETTING_NUMBER},
    {"focus", SETTING_TEXT},
    {"granularity",
     SETTING_CHOICE,
     {"addresses", "filefunctions", "files", "functions", "lines"}},
    {"hide", SETTING_TEXT},
    {"histogram", SETTING_SWITCH, {0}, true},
    {"ignore", SETTING_TEXT},
    {"intel_syntax", SETTING_SWITCH},
    {"mean", SETTING_SWITCH},
    {"nodecount", SETTING_NUMBER},
    {"nodefraction", SETTING_NUMBER},
    {"noinlines", SETTING_SWITCH},
    {"normalize", SETTING_SWITCH},
    {"output", SETTING_TEXT},
    {"prune_from", SETTING_TEXT},
    {"relative_percentages", SETTING_SWITCH},
    {"sample_index", SETTING_TEXT},
    {"show", SETTING_TEXT},
    {"show_from", SETTING_TEXT},
    {"showcolumns", SETTING_SWITCH},
    {"sort", SETTING_CHOICE, {"cum", "flat"}},
    {"source_path", SETTING_TEXT},
    {"tagfocus", SETTING_TEXT},
    {"taghide", SETTING_TEXT},
    {"tagignore", SETTING_TEXT},
    {"tagleaf", SETTING_TEXT},
    {"tagroot", SETTING_TEXT},
    {"tagshow", SETTING_TEXT},
    {"trim", SETTING_SWITCH},
    {"trim_path", SETTING_TEXT},
    {"unit", SETTING_TEXT},
};

const struct setting *setting_at(size_t i)
{
    return i < SN_COUNT(settings) ? &settings[i] : NULL;
}

const struct setting *setting_find(const char *name, const char **choice)
{
    *choice = NULL;
    for (size_t i = 0; i < SN_COUNT(settings); i++) {
        if (strcmp(settings[i].name, name) == 0)
            return &settings[i];
        for (const char *const *c = settings[i].choices; *c != NULL; c++)
            if (strcmp(*c, name) == 0) {
                *choice = *c;
                return &settings[i];
            }
    }
    return NULL;
}

/* ---- setting --------------------------------------------------------------------------
 */

/* A sample type is kept by its name; it has to be one of the profile's. */
static bool set_type(struct shell *s, const char *value, struct sn_error *e)
{
    uint32_t type;
    struct sn_options o = s->settings.options;
    o.sample_index = value;
    if (!sn_view_type(s->p, &o, &type, e))
        return false;
    s->settings.options.sample_index = sn_profile_str(s->p, s->p->types[type].type);
    return true;
}

/* A value that is refused changes nothing. */
static bool set_option(struct shell *s, const char *name, const char *value,
                       struct sn_error *e)
{
    const char *choice;
    struct sn_options o = s->settings.options;
    if (!sn_options_set(&o, name, value, e))
        return false;
    s->settings.options = o;
    if (setting_find(name, &choice) == setting_find("granularity", &choice))
        s->granularity = true;
    return true;
}

static bool set_choice(struct shell *s, const struct setting *row, const char *value,
                       struct sn_error *e)
{
    struct sn_buf all = {.arena = s->arena};
    for (const char *const *c = row->choices; *c != NULL; c++) {
        if (strcmp(*c, value) == 0)
            return set_option(s, value, "true", e);
        sn_buf_printf(&all, "%s%s", c > row->choices ? ", " : "", *c);
    }
    return sn_fail(e, NULL, -1, "option '%s' wants one of %s, not '%s'", row->name,
                   all.data, value);
}

bool setting_set(struct shell *s, const char *name, const char *value, struct sn_error *e)
{
    const char *choice;
    const struct setting *row = setting_find(name, &choice);
    if (row == NULL)
        return sn_fail(e, NULL, -1, "option '%s' is not known", name);
    if (value == NULL && row->kind != SETTING_SWITCH && choice == NULL)
        return sn_fail(e, NULL, -1, "please specify a value, e.g. %s=<val>", name);
    if (value == NULL || (row->kind == SETTING_SWITCH && *value == '\0'))
        value = "true";
    char *copy = sn_arena_strdup(s->arena, value);
    if (copy == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    if (choice == NULL && row->kind == SETTING_CHOICE)
        return set_choice(s, row, copy, e);
    if (strcmp(name, "sample_index") == 0)
        return set_type(s, copy, e);
    if (strcmp(name, "output") != 0)
        return set_option(s, name, copy, e);
    s->settings.output = *copy != '\0' ? copy : NULL;
    return true;
}

/* ---- showing --------------------------------------------------------------------------
 */

/* Its value, and in `comment` what else there is to know of it. */
static void describe(const struct shell *s, const struct setting *row, char *value,
                     size_t size, struct sn_buf *comment)
{
    const struct request *r = &s->settings;
    char yes[8];
    uint32_t type;
    *value = '\0';
    if (strcmp(row->name, "output") == 0)
        snprintf(value, size, "%s", r->output != NULL ? r->output : "");
    else if (row->kind != SETTING_CHOICE)
        sn_options_get(&r->options, row->name, value, size);
    for (const char *const *c = row->choices; *c != NULL; c++) {
        sn_buf_printf(comment, "%s%s", c > row->choices ? " | " : "[", *c);
        if (sn_options_get(&r->options, *c, yes, sizeof yes) && strcmp(yes, "true") == 0)
            snprintf(value, size, "%s", *c);
    }
    if (strcmp(row->name, "granularity") == 0 && strcmp(value, "functions") == 0 &&
        !s->granularity)
        snprintf(value, size, "(default)");
    if (strcmp(row->name, "sample_index") == 0) {
        if (*value == '\0' && sn_view_type(s->p, &r->options, &type, NULL))
            snprintf(value, size, "%s", sn_profile_str(s->p, s->p->types[type].type));
        for (uint32_t i = 0; i < s->p->n_types; i++)
            sn_buf_printf(comment, "%s%s", i > 0 ? " | " : "[",
                          sn_profile_str(s->p, s->p->types[i].type));
    }
    if (comment->len > 0)
        sn_buf_puts(comment, "]");
    else if (strcmp(row->name, "nodecount") == 0 && r->options.node_count == -1)
        sn_buf_puts(comment, "default");
    else if (*value == '\0')
        snprintf(value, size, "\"\"");
}

void setting_print_all(const struct shell *s, FILE *to)
{
    struct sn_arena *a = sn_arena_new();
    for (size_t i = 0; a != NULL && i < SN_COUNT(settings); i++) {
        char value[VALUE_MAX];
        struct sn_buf comment = {.arena = a};
        if (strcmp(settings[i].name, "source_path") == 0 ||
            (s->pprof && settings[i].ours))
            continue;
        describe(s, &settings[i], value, sizeof value, &comment);
        fprintf(to, "  %-25s = %-20s %s%s\n", settings[i].name, value,
                comment.len > 0 ? "//: " : "", comment.len > 0 ? comment.data : "");
    }
    sn_arena_free(a);
}
