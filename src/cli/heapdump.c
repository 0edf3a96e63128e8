/*
 * heapdump.c: `sonde heapdump`: reports of a dumped heap; or the dump of a running one.
 *
 *     process -> file -> checked -> stacks -> names -> who keeps what alive -> a report
 */
#include "cli.h"
#include "draw/draw.h"
#include "report/heap.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <unistd.h>

#define LIMIT ((size_t)64 << 30) /* of a dump */
#define ROWS  10                 /* of a table, if nothing is said */
#define SLICE 4096               /* blocks that are listed at once */

struct heap_request {
    struct sn_heap_options options;
    const struct heap_format *format; /* NULL: the table of sites */
    const char *why, *symbolize;
    const char *output, *said_output; /* NULL if it is "-"; what was said */
    bool top_given, verbose, help;
    bool report; /* something was said of what to print */
};

struct heap_format {
    const char *name;
    bool binary;
    bool stacks; /* sites are whole stacks, without names */
    bool (*write)(const struct sn_heap_view *v, const struct heap_request *r,
                  struct sn_buf *out, struct sn_error *e);
};

/* ---- formats -------------------------------------------------------------------------
 */

static bool write_top(const struct sn_heap_view *v, const struct heap_request *r,
                      struct sn_buf *out, struct sn_error *e)
{
    struct sn_buf plain = {.arena = out->arena};
    bool painted = r->output == NULL && colour_wanted(stdout);
    if (!sn_heap_report_top(v, &r->options, painted ? &plain : out, e))
        return false;
    if (painted)
        paint_table(&plain, out);
    return true;
}

static bool write_why(const struct sn_heap_view *v, const struct heap_request *r,
                      struct sn_buf *out, struct sn_error *e)
{
    return sn_heap_report_why(v, r->why, out, e);
}

/* Millions of lines: to standard output in slices, into a file whole. */
static bool write_blocks(const struct sn_heap_view *v, const struct heap_request *r,
                         struct sn_buf *out, struct sn_error *e)
{
    struct sn_heap_options o = r->options;
    uint32_t n;
    if (!r->top_given)
        o.top = 0;
    const uint32_t *order = sn_heap_block_order(v, &o, &n, e);
    if (e->what[0] != '\0')
        return false;
    for (uint32_t from = 0; from == 0 || from < n; from += SLICE) {
        sn_heap_report_blocks(v, order, from, n - from < SLICE ? n : from + SLICE, out);
        if (r->output != NULL)
            continue;
        if (!output_write(NULL, out, e))
            return false;
        out->len = 0;
    }
    return true;
}

static bool write_dot(const struct sn_heap_view *v, const struct heap_request *r,
                      struct sn_buf *out, struct sn_error *e)
{
    struct sn_scene *s = sn_heap_scene(v, &r->options, e);
    if (s != NULL)
        sn_scene_dot(s, out);
    sn_scene_free(s);
    return s != NULL;
}

static bool draw(const struct sn_heap_view *v, const struct heap_request *r,
                 enum sn_picture kind, struct sn_buf *out, struct sn_error *e)
{
    struct busy *busy = busy_begin("drawing");
    struct sn_scene *s = sn_heap_scene(v, &r->options, e);
    bool good = s != NULL && sn_draw_scene(s, kind, out, e);
    sn_scene_free(s);
    busy_end(busy);
    return good;
}

static bool write_svg(const struct sn_heap_view *v, const struct heap_request *r,
                      struct sn_buf *out, struct sn_error *e)
{
    return draw(v, r, SN_PICTURE_SVG, out, e);
}

static bool write_pdf(const struct sn_heap_view *v, const struct heap_request *r,
                      struct sn_buf *out, struct sn_error *e)
{
    return draw(v, r, SN_PICTURE_PDF, out, e);
}

static bool write_png(const struct sn_heap_view *v, const struct heap_request *r,
                      struct sn_buf *out, struct sn_error *e)
{
    return draw(v, r, SN_PICTURE_PNG, out, e);
}

static bool write_proto(const struct sn_heap_view *v, const struct heap_request *r,
                        struct sn_buf *out, struct sn_error *e)
{
    (void)r;
    return sn_heap_fill_profile(v, e) && output_profile(v->p, out, e);
}

static const struct heap_format formats[] = {
    {"top", false, false, write_top},       {"why", false, false, write_why},
    {"blocks", false, false, write_blocks}, {"dot", false, false, write_dot},
    {"svg", true, false, write_svg},        {"pdf", true, false, write_pdf},
    {"png", true, false, write_png},        {"proto", true, true, write_proto},
};

/* ---- options -------------------------------------------------------------------------
 */

static bool set_format(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct heap_request *r = to;
    const struct heap_format *f = formats;
    if (strcmp(value, "false") == 0)
        return true;
    while (strcmp(f->name, name) != 0)
        f++;
    if (r->format != NULL && r->format != f)
        return sn_fail(e, NULL, -1, "one report at a time: --%s or --%s", r->format->name,
                       name);
    r->format = f;
    r->report = true;
    return true;
}

static bool set_why(void *to, const char *name, const char *value, struct sn_error *e)
{
    ((struct heap_request *)to)->why = value;
    if (*value == '\0')
        return sn_fail(e, NULL, -1, "option '--why' wants an address or an expression");
    return set_format(to, name, "true", e);
}

static bool set_count(const char *name, const char *value, uint32_t *to,
                      struct sn_error *e)
{
    char *end;
    unsigned long n = strtoul(value, &end, 10);
    *to = (uint32_t)n;
    return (*value >= '0' && *value <= '9' && *end == '\0' && n < INT32_MAX) ||
           sn_fail(e, NULL, -1, "option '--%s' wants a whole number, not '%s'", name,
                   value);
}

static bool set_top(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct heap_request *r = to;
    r->top_given = r->report = true;
    return *value == '\0' || set_count(name, value, &r->options.top, e);
}

static bool set_frames(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct heap_request *r = to;
    r->report = true;
    return set_count(name, value, &r->options.frames, e);
}

static bool set_node_count(void *to, const char *name, const char *value,
                           struct sn_error *e)
{
    struct heap_request *r = to;
    uint32_t n;
    bool good = set_count(name, value, &n, e);
    r->options.node_count = (int)n;
    r->report = true;
    return good;
}

static bool set_fraction(void *to, const char *name, const char *value,
                         struct sn_error *e)
{
    struct heap_request *r = to;
    char *end;
    double x = strtod(value, &end);
    *(*name == 'n' ? &r->options.node_fraction : &r->options.edge_fraction) = x;
    r->report = true;
    return (*value != '\0' && *end == '\0' && x >= 0 && x <= 1) ||
           sn_fail(e, NULL, -1, "option '--%s' wants a number from 0 to 1, not '%s'",
                   name, value);
}

static bool set_sort(void *to, const char *name, const char *value, struct sn_error *e)
{
    static const char *const words[] = {[SN_HEAP_RETAINED] = "retained",
                                        [SN_HEAP_FLAT] = "flat",
                                        [SN_HEAP_BLOCKS] = "blocks"};
    ((struct heap_request *)to)->report = true;
    for (size_t i = SN_HEAP_RETAINED; i < SN_COUNT(words); i++)
        if (strcmp(value, words[i]) == 0) {
            ((struct heap_request *)to)->options.sort = (enum sn_heap_order)i;
            return true;
        }
    return sn_fail(e, NULL, -1, "option '--%s' wants retained, flat or blocks, not '%s'",
                   name, value);
}

static bool set_output(void *to, const char *name, const char *value, struct sn_error *e)
{
    (void)name;
    struct heap_request *r = to;
    r->said_output = value;
    r->output = strcmp(value, "-") != 0 ? value : NULL;
    return *value != '\0' || sn_fail(e, NULL, -1, "option '--output' wants a file");
}

static bool set_symbolize(void *to, const char *name, const char *value,
                          struct sn_error *e)
{
    (void)name;
    ((struct heap_request *)to)->symbolize = value;
    return load_mode_good(value, e);
}

static bool set_verbose(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct heap_request *)to)->verbose, e);
}

static bool set_help(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct heap_request *)to)->help, e);
}

static const struct flag reports[] = {
    {"top", FLAG_MAYBE, "N", "at most N rows a table (10; 0: all)", set_top},
    {"why", FLAG_VALUE, "ADDRESS|RX",
     "what keeps a block alive: the one at an address, or of the sites that match",
     set_why},
    {"blocks", FLAG_SWITCH, NULL, "every block, a line each", set_format},
    {"dot", FLAG_SWITCH, NULL, "sites and their references in Graphviz's language",
     set_format},
    {"svg", FLAG_SWITCH, NULL, "the same as SVG, for a browser", set_format},
    {"pdf", FLAG_SWITCH, NULL, "the same as PDF", set_format},
    {"png", FLAG_SWITCH, NULL, "the same as PNG", set_format},
    {"proto", FLAG_SWITCH, NULL,
     "a profile, for all other reports; its types: inuse_*, retained_space, leaked_*",
     set_format},
};

static const struct flag options[] = {
    {"sort", FLAG_VALUE, "WHAT", "by retained (the default), flat, or blocks", set_sort},
    {"frames", FLAG_VALUE, "N",
     "stacks with the same N innermost functions are one site (3; 0: all)", set_frames},
    {"nodecount", FLAG_VALUE, "N", "in pictures: at most N sites (80; 0: all)",
     set_node_count},
    {"nodefraction", FLAG_VALUE, "F", "hide sites that retain below F of all (0.005)",
     set_fraction},
    {"edgefraction", FLAG_VALUE, "F", "hide references below F of all (0.001)",
     set_fraction},
    {"output", FLAG_VALUE, "FILE", "write there, whole or not at all (also -o)",
     set_output},
    {"o", FLAG_VALUE, "FILE", NULL, set_output},
    {"symbolize", FLAG_VALUE, "MODE",
     "none, local, fastlocal, force, demangle=none|templates|full; parted by ':'",
     set_symbolize},
    {"verbose", FLAG_SWITCH, NULL,
     "tell what was tried where names are missing (also -v)", set_verbose},
    {"v", FLAG_SWITCH, NULL, NULL, set_verbose},
    {"help", FLAG_SWITCH, NULL, "this help", set_help},
    {"h", FLAG_SWITCH, NULL, NULL, set_help},
};

const struct flag_table heapdump_flags[] = {{"Reports", reports, SN_COUNT(reports)},
                                            {"Options", options, SN_COUNT(options)},
                                            {0}};

/* ---- from a file to a report ---------------------------------------------------------
 */

static bool write_report(struct sn_heap_view *v, const struct heap_request *r,
                         struct sn_error *e)
{
    const struct heap_format *f = r->format != NULL ? r->format : &formats[0];
    struct sn_buf out = {.arena = v->p->arena};
    struct busy *busy = busy_begin("who keeps what alive");
    v->h = sn_heap_new(v->d, e);
    bool good = v->h != NULL && (f->stacks ? sn_heap_name_stacks(v, e)
                                           : sn_heap_name(v, r->options.frames, e));
    busy_end(busy);
    good = good && f->write(v, r, &out, e) && output_write(r->output, &out, e);
    sn_heap_free(v->h);
    return good;
}

static bool report_dump(const struct sn_heapdump *d, const char *path, const char *binary,
                        const struct heap_request *r, struct sn_error *e)
{
    struct sn_heap_view v = {.d = d};
    struct sn_arena *a = sn_arena_new();
    if (a != NULL)
        v.site_of = sn_arena_alloc(a, ((size_t)d->n_blocks + 1) * sizeof *v.site_of);
    if (v.site_of == NULL)
        sn_fail(e, path, -1, "out of memory");
    else
        v.p = sn_heapdump_stacks(d, v.site_of, path, e);
    bool good = v.p != NULL &&
                load_symbols(v.p, binary, r->symbolize, NULL,
                             r->verbose ? TELL_ATTEMPTS : TELL_MODULES, e) &&
                write_report(&v, r, e);
    sn_profile_free(v.p);
    sn_arena_free(a);
    return good;
}

static bool read_dump(const char *path, struct sn_file *f, struct sn_heapdump *d,
                      struct sn_error *e)
{
    struct busy *busy = busy_begin("reading");
    const char *where = strcmp(path, "-") == 0 ? "standard input" : path;
    bool opened = sn_file_open(path, LIMIT, f, e);
    bool good = opened && sn_heapdump_open(d, f->data, f->len, where, e);
    busy_end(busy);
    if (opened && !good)
        sn_file_close(f);
    return good;
}

static bool report_file(const char *path, const char *binary,
                        const struct heap_request *r, struct sn_error *e)
{
    struct sn_heapdump d;
    struct sn_file f;
    if (!output_check(r->output, r->format != NULL && r->format->binary, e) ||
        !read_dump(path, &f, &d, e))
        return false;
    bool good = report_dump(&d, path, binary, r, e);
    sn_file_close(&f);
    return good;
}

/* ---- the command ---------------------------------------------------------------------
 */

/* A number that is no file is a process. */
static bool is_process(const char *word, unsigned *pid)
{
    char *end;
    unsigned long n = strtoul(word, &end, 10);
    *pid = (unsigned)n;
    return *word >= '1' && *word <= '9' && *end == '\0' && n <= INT32_MAX &&
           access(word, F_OK) != 0;
}

/* To a file of its own, which is free. */
static bool take(unsigned pid, const char *output, struct sn_error *e)
{
    char path[64];
    bool to_stdout = output != NULL && strcmp(output, "-") == 0;
    if (output != NULL)
        return output_check(output, true, e) &&
               heap_take_dump(pid, output, !to_stdout, e);
    snprintf(path, sizeof path, "heap.%u.dump", pid);
    for (unsigned n = 2; access(path, F_OK) == 0; n++)
        snprintf(path, sizeof path, "heap.%u.%u.dump", pid, n);
    return heap_take_dump(pid, path, true, e);
}

/* What was asked for, of a dump that is not kept. */
static bool take_and_report(unsigned pid, const char *binary,
                            const struct heap_request *r, struct sn_error *e)
{
    const char *tmp = getenv("TMPDIR");
    char dir[PATH_MAX - 16], path[PATH_MAX];
    int n = snprintf(dir, sizeof dir, "%s/sonde-heap.XXXXXX",
                     tmp != NULL && *tmp == '/' ? tmp : "/tmp");
    if (n >= (int)sizeof dir || mkdtemp(dir) == NULL)
        return sn_fail(e, dir, -1, "cannot make a directory: %s", strerror(errno));
    snprintf(path, sizeof path, "%s/heap.dump", dir);
    bool good = heap_take_dump(pid, path, false, e) && report_file(path, binary, r, e);
    unlink(path);
    rmdir(dir);
    return good;
}

static bool heapdump_of(unsigned pid, const char *binary, const struct heap_request *r,
                        struct sn_error *e)
{
    bool binary_report = r->format != NULL && r->format->binary;
    if (binary == NULL && !r->report)
        return take(pid, r->said_output, e);
    return output_check(r->output, binary_report, e) &&
           take_and_report(pid, binary, r, e);
}

int heapdump_main(const struct command *self, int argc, char **argv)
{
    struct sn_error e = {.offset = -1};
    struct heap_request r = {.options = {.top = ROWS,
                                         .frames = 3,
                                         .node_count = 80,
                                         .node_fraction = 0.005,
                                         .edge_fraction = 0.001}};
    unsigned pid;
    int n;
    if (!args_parse(heapdump_flags, &r, false, argv, argc, &n, &e))
        return say_usage(self->name, &e);
    if (r.help) {
        help_command(self, stdout);
        return EXIT_GOOD;
    }
    if (n == 0 || n > 2 || (n == 2 && !load_is_binary(argv[0]))) {
        sn_fail(&e, NULL, -1, "heapdump: give %s",
                n == 0 ? "a heap dump, or the number of a process"
                       : "one heap dump, behind the program or alone");
        return say_usage(self->name, &e);
    }
    const char *binary = n == 2 ? argv[0] : NULL;
    bool good = is_process(argv[n - 1], &pid) ? heapdump_of(pid, binary, &r, &e)
                                              : report_file(argv[n - 1], binary, &r, &e);
    return good ? EXIT_GOOD : say_error(&e);
}
