/*
 * flags.c: the options of every report and of pprof's command line, as rows. The options
 * that shape a report are set by name in graph's own table; the rest are kept here.
 */
#include "cli.h"

#include <errno.h>
#include <unistd.h>

static void warn(void *arg, const char *text)
{
    (void)arg;
    say("%s", text);
}

void request_init(struct request *r)
{
    *r = (struct request){.options = sn_options_default(), .max_size = MAX_SIZE};
    r->options.warn = warn;
}

/* ---- setters --------------------------------------------------------------------------
 */

static bool set_option(void *to, const char *name, const char *value, struct sn_error *e)
{
    return sn_options_set(&((struct request *)to)->options, name, value, e);
}

static bool set_output(void *to, const char *name, const char *value, struct sn_error *e)
{
    (void)name;
    ((struct request *)to)->output = value;
    return *value != '\0' || sn_fail(e, NULL, -1, "option '--output' wants a file");
}

static bool set_node_count(void *to, const char *name, const char *value,
                           struct sn_error *e)
{
    (void)name;
    return set_option(to, "nodecount", value, e);
}

/* Of those of one group, one at most; two are a mistake, as they are to pprof. */
enum { BY, ORDER };
static const struct {
    const char *name;
    int group;
} choices[] = {
    {"functions", BY}, {"filefunctions", BY}, {"files", BY},   {"lines", BY},
    {"addresses", BY}, {"cum", ORDER},        {"flat", ORDER},
};

static bool set_choice(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct request *r = to;
    (void)e;
    for (unsigned i = 0; i < SN_COUNT(choices); i++)
        if (strcmp(name, choices[i].name) == 0)
            r->choices = strcmp(value, "true") == 0 ? r->choices | 1u << i
                                                    : r->choices & ~(1u << i);
    return true;
}

static bool set_granularity(void *to, const char *name, const char *value,
                            struct sn_error *e)
{
    for (size_t i = 0; i < SN_COUNT(choices); i++)
        if (choices[i].group == BY && strcmp(value, choices[i].name) == 0)
            return set_choice(to, value, "true", e);
    return sn_fail(e, NULL, -1,
                   "option '--%s' wants functions, filefunctions, files, lines or "
                   "addresses, not '%s'",
                   name, value);
}

static bool set_symbolize(void *to, const char *name, const char *value,
                          struct sn_error *e)
{
    (void)name;
    ((struct request *)to)->symbolize = value;
    return load_mode_good(value, e);
}

static bool set_base(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct request *r = to;
    bool diff = strcmp(name, "diff_base") == 0;
    if (*value == '\0')
        return true;
    if (r->n_bases > 0 && r->diff_base != diff)
        return sn_fail(e, NULL, -1, "--base and --diff_base exclude each other");
    if (r->n_bases == MAX_BASES)
        return sn_fail(e, NULL, -1, "more than %d base profiles", MAX_BASES);
    r->diff_base = diff;
    r->bases[r->n_bases++] = value;
    return true;
}

static bool set_verbose(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct request *)to)->verbose, e);
}

static bool set_help(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct request *)to)->help, e);
}

/* --peak is --sample_index=peak_space, or with --objects peak_objects. */
static bool set_heap_type(void *to, const char *name, const char *value,
                          struct sn_error *e)
{
    struct request *r = to;
    if (strcmp(value, "true") != 0)
        return true;
    if (r->heap_type != NULL && strcmp(r->heap_type, name) != 0)
        return sn_fail(e, NULL, -1, "--%s and --%s exclude each other", r->heap_type,
                       name);
    r->heap_type = name;
    return true;
}

static bool set_objects(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct request *)to)->heap_objects, e);
}

/* pprof's old spellings of --sample_index, in the order in which it looks at them. */
static const struct {
    const char *name, *type;
} old_types[] = {
    {"total_delay", "delay"},           {"mean_delay", "delay"},
    {"contentions", "contentions"},     {"inuse_space", "inuse_space"},
    {"inuse_objects", "inuse_objects"}, {"alloc_space", "alloc_space"},
    {"alloc_objects", "alloc_objects"},
};

static bool set_old_type(void *to, const char *name, const char *value,
                         struct sn_error *e)
{
    struct request *r = to;
    if (strcmp(value, "true") != 0)
        return true;
    for (unsigned i = 0; i < SN_COUNT(old_types); i++)
        if (strcmp(name, old_types[i].name) == 0)
            r->old_types |= 1u << i;
    return strcmp(name, "mean_delay") != 0 || set_option(r, "mean", "true", e);
}

static bool choose(struct request *r, struct sn_error *e)
{
    for (size_t i = 0; i < SN_COUNT(choices); i++) {
        if (!(r->choices & 1u << i))
            continue;
        for (size_t k = i + 1; k < SN_COUNT(choices); k++)
            if (r->choices & 1u << k && choices[k].group == choices[i].group)
                return sn_fail(e, NULL, -1, "--%s and --%s exclude each other",
                               choices[i].name, choices[k].name);
        if (!set_option(r, choices[i].name, "true", e))
            return false;
    }
    return true;
}

static bool choose_type(struct request *r, struct sn_error *e)
{
    static const char *const types[][2] = {{"inuse_space", "inuse_objects"},
                                           {"alloc_space", "alloc_objects"},
                                           {"peak_space", "peak_objects"},
                                           {"temporary_space", "temporary_objects"},
                                           {"leaked_space", "leaked_objects"}};
    const char **index = &r->options.sample_index;
    bool given = *index != NULL && **index != '\0';
    for (size_t i = 0; i < SN_COUNT(old_types); i++) {
        if (!(r->old_types & 1u << i))
            continue;
        if (given)
            say("Multiple value selections, ignoring -%s", old_types[i].name);
        else
            *index = old_types[i].type;
        given = true;
    }
    if (r->heap_type == NULL && !r->heap_objects)
        return true;
    const char *family = r->heap_type != NULL ? r->heap_type : "inuse";
    if (given)
        return sn_fail(e, NULL, -1, "--%s and --sample_index=%s exclude each other",
                       r->heap_type != NULL ? family : "objects", *index);
    for (size_t i = 0; i < SN_COUNT(types); i++)
        if (strncmp(types[i][0], family, strlen(family)) == 0)
            *index = types[i][r->heap_objects];
    return true;
}

bool request_finish(struct request *r, struct sn_error *e)
{
    if ((r->fetch.tls_cert != NULL) != (r->fetch.tls_key != NULL))
        return sn_fail(e, NULL, -1, "--tls_cert and --tls_key go together");
    return choose(r, e) && choose_type(r, e);
}

static bool set_nothing(void *to, const char *name, const char *value, struct sn_error *e)
{
    (void)to, (void)name, (void)value, (void)e;
    return true; /* names a tool that is not needed here */
}

/* Seconds; pprof's -1 says nothing. */
static bool set_seconds(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct request *r = to;
    char *end;
    long v = strtol(value, &end, 10);
    if (*value == '\0' || *end != '\0' || v < -1 || v > 1000000)
        return sn_fail(e, NULL, -1, "option '--%s' wants seconds, not '%s'", name, value);
    *(*name == 's' ? &r->fetch.seconds : &r->fetch.timeout) = v > 0 ? (unsigned)v : 0;
    return true;
}

static bool set_tls(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct sn_fetch_options *o = &((struct request *)to)->fetch;
    const char **at = strcmp(name, "tls_cert") == 0  ? &o->tls_cert
                      : strcmp(name, "tls_key") == 0 ? &o->tls_key
                                                     : &o->tls_ca;
    *at = *value != '\0' ? value : NULL;
    return *value == '\0' || access(value, R_OK) == 0 ||
           sn_fail(e, value, -1, "cannot read it (--%s): %s", name, strerror(errno));
}

static bool set_build_id(void *to, const char *name, const char *value,
                         struct sn_error *e)
{
    (void)name, (void)e;
    ((struct request *)to)->build_id = value;
    return true;
}

/* "8gib", "500mb", "1000". */
static bool set_max_size(void *to, const char *name, const char *value,
                         struct sn_error *e)
{
    static const char letters[] = "kmgt";
    char *end;
    unsigned long long v = strtoull(value, &end, 10);
    const char *letter = *end != '\0' ? strchr(letters, *end | 32) : NULL;
    unsigned shift = letter != NULL ? 10 * (unsigned)(letter - letters + 1) : 0;
    end += letter != NULL;
    bool unit = *end == '\0' || strcasecmp(end, "b") == 0 || strcasecmp(end, "ib") == 0;
    if (end == value || !unit || v == 0 || v > SIZE_MAX >> shift)
        return sn_fail(e, NULL, -1, "option '--%s' wants a size such as 8GiB, not '%s'",
                       name, value);
    ((struct request *)to)->max_size = (size_t)v << shift;
    return true;
}

static bool refuse_browser(void *to, const char *name, const char *value,
                           struct sn_error *e)
{
    (void)to;
    return strcmp(value, "true") != 0 ||
           sn_fail(e, NULL, -1, "--%s only makes sense with --http", name);
}

static bool refuse_page(void *to, const char *name, const char *value, struct sn_error *e)
{
    (void)to, (void)value;
    return sn_fail(e, NULL, -1,
                   "option '--%s' is not built yet: the page is to come; --web shows the "
                   "call graph in a browser",
                   name);
}

static bool set_format(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct request *r = to;
    const struct sn_report_format *f = format_find(name);
    bool wanted = strcmp(value, f->takes_regexp ? "" : "false") != 0;
    bool same = r->format_flag != NULL && strcmp(r->format_flag, name) == 0;
    if (!wanted && !same)
        return true;
    if (r->format_flag != NULL && !same)
        return sn_fail(e, NULL, -1, "one report at a time: --%s or --%s", r->format_flag,
                       name);
    r->format_flag = wanted ? name : NULL;
    r->format = wanted ? f : NULL;
    r->argument = wanted && f->takes_regexp ? value : NULL;
    return true;
}

/* ---- rows -----------------------------------------------------------------------------
 */

#define SWITCH(name, help)                                                               \
    {                                                                                    \
        name, FLAG_SWITCH, NULL, help, set_option                                        \
    }
#define CHOICE(name, help)                                                               \
    {                                                                                    \
        name, FLAG_SWITCH, NULL, help, set_choice                                        \
    }
#define OPTION(name, value, help)                                                        \
    {                                                                                    \
        name, FLAG_VALUE, value, help, set_option                                        \
    }

static const struct flag common[] = {
    {"output", FLAG_VALUE, "FILE", "write there, whole or not at all (also -o)",
     set_output},
    {"o", FLAG_VALUE, "FILE", NULL, set_output},
    {"symbolize", FLAG_VALUE, "MODE",
     "none, local, fastlocal, remote, force, demangle=none|templates|full; by ':'",
     set_symbolize},
    {"base", FLAG_VALUE, "PROFILE", "subtract that profile; may be repeated", set_base},
    {"diff_base", FLAG_VALUE, "PROFILE", "the same, with percentages of the base",
     set_base},
    {"seconds", FLAG_VALUE, "N", "how long a server is to record, of a URL", set_seconds},
    {"timeout", FLAG_VALUE, "N", "how long it may take (1.5 times that; 60)",
     set_seconds},
    {"tls_cert", FLAG_VALUE, "FILE", "the client's certificate (PEM)", set_tls},
    {"tls_key", FLAG_VALUE, "FILE", "its key (PEM)", set_tls},
    {"tls_ca", FLAG_VALUE, "FILE", "who signs the server's certificate (PEM)", set_tls},
    {"buildid", FLAG_VALUE, "ID", "build id of the program, if its profile has none",
     set_build_id},
    {"max_size", FLAG_VALUE, "SIZE", "refuse a profile that is larger, inflated (8GiB)",
     set_max_size},
    {"verbose", FLAG_SWITCH, NULL,
     "tell what was tried where names are missing (also -v)", set_verbose},
    {"v", FLAG_SWITCH, NULL, NULL, set_verbose},
    {"help", FLAG_SWITCH, NULL, "this help", set_help},
    {"h", FLAG_SWITCH, NULL, NULL, set_help},
};

static const struct flag legacy[] = {
    {"inuse_space", FLAG_SWITCH, NULL, "--sample_index=inuse_space", set_old_type},
    {"inuse_objects", FLAG_SWITCH, NULL, "--sample_index=inuse_objects", set_old_type},
    {"alloc_space", FLAG_SWITCH, NULL, "--sample_index=alloc_space", set_old_type},
    {"alloc_objects", FLAG_SWITCH, NULL, "--sample_index=alloc_objects", set_old_type},
    {"total_delay", FLAG_SWITCH, NULL, "--sample_index=delay", set_old_type},
    {"contentions", FLAG_SWITCH, NULL, "--sample_index=contentions", set_old_type},
    {"mean_delay", FLAG_SWITCH, NULL, "--mean --sample_index=delay", set_old_type},
    {"tools", FLAG_VALUE, "PATH", NULL, set_nothing},
    {"http", FLAG_VALUE, "HOST:PORT", NULL, refuse_page},
    {"no_browser", FLAG_SWITCH, NULL, NULL, refuse_browser},
};

static const struct flag shaping[] = {
    CHOICE("cum", "sort by cumulative value"),
    CHOICE("flat", "sort by own value"),
    OPTION("nodecount", "N", "at most N entries (also -n; 0: all; graphs: 80)"),
    {"n", FLAG_VALUE, "N", NULL, set_node_count},
    OPTION("nodefraction", "F", "hide entries below F of the total (0.005)"),
    OPTION("edgefraction", "F", "hide edges below F of the total (0.001)"),
    SWITCH("trim", "false: keep everything, however small"),
    SWITCH("call_tree", "an entry for each path that leads to a function"),
    {"granularity", FLAG_VALUE, "WHAT", "one of the five that follow", set_granularity},
    CHOICE("functions", "an entry a function (the default)"),
    CHOICE("filefunctions", "an entry a function and its file"),
    CHOICE("files", "an entry a source file"),
    CHOICE("lines", "an entry a source line"),
    CHOICE("addresses", "an entry an address"),
    SWITCH("noinlines", "give inlined functions to the function they are in"),
    SWITCH("showcolumns", "with lines: columns too"),
    OPTION("sample_index", "NAME|N",
           "which value of a sample: its name, or number from 0"),
    OPTION("unit", "UNIT", "ms, s, kb, mb, ...; minimum or auto"),
    OPTION("divide_by", "X", "divide all values by X"),
    SWITCH("mean", "the value over the first value (the count)"),
    SWITCH("normalize", "scale to the base profile's total"),
    SWITCH("relative_percentages", "percentages of what the filters leave"),
    SWITCH("drop_negative", "leave out what is below zero in a comparison"),
    SWITCH("compact_labels", "a short head"),
    SWITCH(
        "histogram",
        "tags: sizes and times in order, with bars ('sonde tags' does so; =false not)"),
    SWITCH("intel_syntax", "Intel's assembler syntax"),
    OPTION("source_path", "PATH", "where sources are looked for"),
    OPTION("trim_path", "PATH", "what is cut from the front of source names"),
    OPTION("add_comment", "TEXT", "add a comment to the profile"),
};

static const struct flag heap[] = {
    {"inuse", FLAG_SWITCH, NULL, "what is allocated: --sample_index=inuse_space",
     set_heap_type},
    {"peak", FLAG_SWITCH, NULL, "... when the heap was highest", set_heap_type},
    {"alloc", FLAG_SWITCH, NULL, "... was ever allocated", set_heap_type},
    {"temporary", FLAG_SWITCH, NULL,
     "... was freed by the next event (of a heap recorded exactly)", set_heap_type},
    {"leaked", FLAG_SWITCH, NULL,
     "... that nothing leads to at the end (of a heap recorded exactly)", set_heap_type},
    {"objects", FLAG_SWITCH, NULL, "blocks in place of bytes", set_objects},
};

static const struct flag filtering[] = {
    OPTION("focus", "RX", "only samples through a function, file or object that matches"),
    OPTION("ignore", "RX", "no samples through one that matches"),
    OPTION("hide", "RX", "leave out frames that match"),
    OPTION("show", "RX", "only frames that match"),
    OPTION("show_from", "RX", "leave out the frames above the first that matches"),
    OPTION("prune_from", "RX", "leave out the frames below one that matches"),
    OPTION("tagfocus", "RX", "only samples with such a label: RX, key=RX, 1kb:2mb"),
    OPTION("tagignore", "RX", "no samples with such a label"),
    OPTION("tagshow", "RX", "only labels that match"),
    OPTION("taghide", "RX", "no labels that match"),
    OPTION("tagroot", "KEYS", "labels as frames at the root"),
    OPTION("tagleaf", "KEYS", "labels as frames at the leaf"),
    SWITCH("all_frames", "keep the frames that the profile asks to drop"),
};

static size_t fill_formats(struct flag *v)
{
    const struct sn_report_format *f;
    size_t n = 0;
    for (size_t i = 0; (f = format_at(i)) != NULL; i++) {
        struct flag row = {f->name, f->takes_regexp ? FLAG_VALUE : FLAG_SWITCH,
                           f->takes_regexp ? "RX" : NULL, f->help, set_format};
        if (n + 2 > MAX_FORMAT_FLAGS)
            break;
        v[n++] = row;
        row.name = f->alias;
        row.help = NULL;
        if (f->alias != NULL)
            v[n++] = row;
    }
    return n;
}

struct flag_table *flags_fill_shaping(struct flag_table *t)
{
    *t++ = (struct flag_table){"What is shown", shaping, SN_COUNT(shaping)};
    *t++ = (struct flag_table){"Of a heap", heap, SN_COUNT(heap)};
    *t++ = (struct flag_table){"Filters", filtering, SN_COUNT(filtering)};
    *t = (struct flag_table){0};
    return t;
}

void flags_fill(struct flags *f, bool pprof)
{
    struct flag_table *t = f->tables;
    if (pprof)
        *t++ =
            (struct flag_table){"Reports (one of)", f->formats, fill_formats(f->formats)};
    *t++ = (struct flag_table){"Options", common, SN_COUNT(common)};
    t = flags_fill_shaping(t);
    if (pprof)
        *t++ = (struct flag_table){"Old spellings", legacy, SN_COUNT(legacy)};
    *t = (struct flag_table){0};
}
