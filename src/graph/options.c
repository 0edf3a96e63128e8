/* options.c: the options of all reports, a row each. */
#include "graph_priv.h"

#include <errno.h>
#include <stdio.h>

enum kind { BOOL, INT, REAL, TEXT, GRANULARITY, SORT };

#define AT(field) offsetof(struct sn_options, field)

static const struct option {
    const char *name;
    enum kind kind;
    size_t at;
    int choice; /* of GRANULARITY and SORT */
} table[] = {
    {"functions", GRANULARITY, 0, SN_BY_FUNCTIONS},
    {"filefunctions", GRANULARITY, 0, SN_BY_FILEFUNCTIONS},
    {"files", GRANULARITY, 0, SN_BY_FILES},
    {"lines", GRANULARITY, 0, SN_BY_LINES},
    {"addresses", GRANULARITY, 0, SN_BY_ADDRESSES},
    {"cum", SORT, 0, true},
    {"flat", SORT, 0, false},
    {"noinlines", BOOL, AT(no_inlines), 0},
    {"showcolumns", BOOL, AT(show_columns), 0},
    {"call_tree", BOOL, AT(call_tree), 0},
    {"trim", BOOL, AT(trim), 0},
    {"drop_negative", BOOL, AT(drop_negative), 0},
    {"relative_percentages", BOOL, AT(relative_percentages), 0},
    {"compact_labels", BOOL, AT(compact_labels), 0},
    {"all_frames", BOOL, AT(all_frames), 0},
    {"mean", BOOL, AT(mean), 0},
    {"intel_syntax", BOOL, AT(intel_syntax), 0},
    {"normalize", BOOL, AT(normalize), 0},
    {"histogram", BOOL, AT(histogram), 0},
    {"nodecount", INT, AT(node_count), 0},
    {"nodefraction", REAL, AT(node_fraction), 0},
    {"edgefraction", REAL, AT(edge_fraction), 0},
    {"divide_by", REAL, AT(divide_by), 0},
    {"unit", TEXT, AT(unit), 0},
    {"sample_index", TEXT, AT(sample_index), 0},
    {"focus", TEXT, AT(focus), 0},
    {"ignore", TEXT, AT(ignore), 0},
    {"hide", TEXT, AT(hide), 0},
    {"show", TEXT, AT(show), 0},
    {"show_from", TEXT, AT(show_from), 0},
    {"prune_from", TEXT, AT(prune_from), 0},
    {"tagfocus", TEXT, AT(tag_focus), 0},
    {"tagignore", TEXT, AT(tag_ignore), 0},
    {"tagshow", TEXT, AT(tag_show), 0},
    {"taghide", TEXT, AT(tag_hide), 0},
    {"tagroot", TEXT, AT(tag_root), 0},
    {"tagleaf", TEXT, AT(tag_leaf), 0},
    {"source_path", TEXT, AT(source_path), 0},
    {"trim_path", TEXT, AT(trim_path), 0},
    {"title", TEXT, AT(title), 0},
    {"add_comment", TEXT, AT(add_comment), 0},
};

struct sn_options sn_options_default(void)
{
    return (struct sn_options){.trim = true,
                               .node_count = -1,
                               .node_fraction = 0.005,
                               .edge_fraction = 0.001,
                               .divide_by = 1,
                               .unit = "minimum"};
}

static bool parse_bool(const char *s, bool *to)
{
    static const char *const words[] = {"true",  "t", "yes", "y", "1",
                                        "false", "f", "no",  "n", "0"};
    for (size_t i = 0; i < SN_COUNT(words); i++)
        if (strcasecmp(s, words[i]) == 0) {
            *to = i < SN_COUNT(words) / 2;
            return true;
        }
    return false;
}

static bool parse_int(const char *s, int *to)
{
    char *end;
    errno = 0;
    long v = strtol(s, &end, 10);
    *to = (int)v;
    return *s != '\0' && *end == '\0' && errno == 0 && v >= -1 && v <= INT32_MAX;
}

static bool parse_real(const char *s, double *to)
{
    char *end;
    *to = strtod(s, &end);
    return *s != '\0' && *end == '\0' && *to == *to;
}

static const char *set(struct sn_options *o, const struct option *row, const char *value)
{
    void *to = (char *)o + row->at;
    bool yes = true;
    switch (row->kind) {
    case BOOL:
        return parse_bool(value, to) ? NULL : "true or false";
    case INT:
        return parse_int(value, to) ? NULL : "a whole number";
    case REAL:
        return parse_real(value, to) ? NULL : "a number";
    case TEXT:
        *(const char **)to = value;
        return NULL;
    case GRANULARITY:
        if (!parse_bool(value, &yes))
            return "true or false";
        if (yes)
            o->granularity = (enum sn_granularity)row->choice;
        return NULL;
    case SORT:
        if (!parse_bool(value, &yes))
            return "true or false";
        o->cum = yes ? row->choice : !row->choice;
        return NULL;
    }
    return "something else";
}

bool sn_options_set(struct sn_options *o, const char *name, const char *value,
                    struct sn_error *e)
{
    for (size_t i = 0; i < SN_COUNT(table); i++) {
        if (strcmp(table[i].name, name) != 0)
            continue;
        const char *wants = set(o, &table[i], value);
        return wants == NULL ||
               sn_fail(e, NULL, -1, "option '%s' wants %s, not '%s'", name, wants, value);
    }
    return sn_fail(e, NULL, -1, "option '%s' is not known", name);
}

/* The fewest digits that are this number: 0.005, 1, 1e+06, as Go prints it. */
static void real_text(double x, char *buf, size_t size)
{
    char text[40];
    int digits = 0;
    do
        snprintf(text, sizeof text, "%.*e", digits, x);
    while (strtod(text, NULL) != x && ++digits < 17);
    const char *mark = strchr(text, 'e');
    long exponent = mark != NULL ? strtol(mark + 1, NULL, 10) : 0;
    if (mark == NULL || exponent < -4 || exponent >= 6)
        snprintf(buf, size, "%s", text);
    else
        snprintf(buf, size, "%.*f", digits > exponent ? digits - (int)exponent : 0, x);
}

static void get(const struct sn_options *o, const struct option *row, char *buf,
                size_t size)
{
    const void *at = (const char *)o + row->at;
    bool yes = false;
    switch (row->kind) {
    case INT:
        snprintf(buf, size, "%d", *(const int *)at);
        return;
    case REAL:
        real_text(*(const double *)at, buf, size);
        return;
    case TEXT: {
        const char *text = *(const char *const *)at;
        snprintf(buf, size, "%s", text != NULL ? text : "");
        return;
    }
    case BOOL:
        yes = *(const bool *)at;
        break;
    case GRANULARITY:
        yes = o->granularity == (enum sn_granularity)row->choice;
        break;
    case SORT:
        yes = o->cum == row->choice;
        break;
    }
    snprintf(buf, size, "%s", yes ? "true" : "false");
}

bool sn_options_get(const struct sn_options *o, const char *name, char *buf, size_t size)
{
    for (size_t i = 0; i < SN_COUNT(table); i++)
        if (strcmp(table[i].name, name) == 0) {
            get(o, &table[i], buf, size);
            return true;
        }
    return false;
}

void sn_warn(const struct sn_options *o, const char *text)
{
    if (o->warn != NULL)
        o->warn(o->warn_arg, text);
}
