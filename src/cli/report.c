/* report.c: a report of some profiles: `sonde top ...`, and `sonde pprof -top ...`; or
 * the shell, for many of them. */
#include "draw/draw.h"
#include "viewers.h"

#include <limits.h>
#include <unistd.h>

bool report_write(const struct request *r, struct sn_profile *p, struct sn_error *e)
{
    struct sn_options options = r->options;
    struct sn_buf out = {.arena = p->arena}, painted = {.arena = p->arena};
    struct output_stream stream;
    bool paint =
        r->output == NULL && colour_wanted(stdout) && r->format == format_find("top");
    if (options.node_count < 0)
        options.node_count = r->format->node_count;
    if (!paint)
        output_stream(&stream, r->output, &out);
    struct busy *busy = busy_begin(r->format->binary ? "drawing" : "adding up");
    bool good = r->format->write(p, &options, r->argument, &out, e);
    busy_end(busy);
    if (out.drain != NULL)
        return output_stream_end(&stream, &out, good, e);
    if (good && paint)
        paint_table(&out, &painted);
    return good && output_write(r->output, paint ? &painted : &out, e);
}

/* In a file of its own, to the viewer, and away. */
static bool view_report(const struct request *r, const struct viewer *v,
                        struct sn_profile *p, struct sn_error *e)
{
    struct request into = *r;
    char path[PATH_MAX];
    if (!viewer_file(v, path, sizeof path, e))
        return false;
    into.output = path;
    bool good = report_write(&into, p, e) && viewer_show(v, path, true, e);
    unlink(path);
    return good;
}

/* What is no text goes to profile001.pdf, by pprof's grammar on a terminal. */
static bool number_output(struct request *r, char *path, size_t size, struct sn_error *e)
{
    const char *suffix = away_suffix(r->format);
    if (r->output != NULL || suffix == NULL || !isatty(STDOUT_FILENO))
        return true;
    if (!output_number("profile", suffix, path, size, e))
        return false;
    fprintf(stderr, "Generating report in %s\n", path);
    r->output = path;
    return true;
}

static int make_report(const struct request *asked, bool pprof, char **paths, int n)
{
    struct sn_error e = {.offset = -1};
    struct request r = *asked;
    struct sn_profile *p = NULL;
    char path[PATH_MAX] = "";
    const struct viewer *v = r.output == NULL ? viewer_find(r.format) : NULL;
    if ((v != NULL || pprof || output_check(r.output, r.format->binary, &e)) &&
        (!r.format->drawn || sn_draw_ready(&e)))
        p = load_profiles(&r, paths, n, &e);
    bool good = p != NULL;
    if (good && v != NULL)
        good = view_report(&r, v, p, &e);
    else if (good)
        good = (!pprof || number_output(&r, path, sizeof path, &e)) &&
               report_write(&r, p, &e);
    if (!good && path[0] != '\0')
        unlink(path);
    sn_profile_free(p);
    return good ? EXIT_GOOD : say_error(&e);
}

static int start_shell(const struct request *r, bool pprof, char **paths, int n)
{
    struct sn_error e = {.offset = -1};
    struct sn_profile *p = load_profiles(r, paths, n, &e);
    return p != NULL ? shell_start(r, p, pprof) : say_error(&e);
}

/* The words of a command into *r; *n of them, from argv[0] on, are left. False: that was
 * all, and *status is how to end. */
static bool read_words(const struct command *self, bool pprof, struct request *r,
                       char **argv, int argc, int *n, int *status)
{
    struct sn_error e = {.offset = -1};
    struct flags flags;
    request_init(r);
    r->options.histogram = !pprof;
    r->format = format_find(self->name);
    flags_fill(&flags, pprof);
    if (!args_parse(flags.tables, r, false, argv, argc, n, &e) ||
        !request_finish(r, &e)) {
        *status = say_usage(self->name, &e);
        return false;
    }
    if (r->help)
        help_command(self, stdout);
    *status = EXIT_GOOD;
    return !r->help;
}

static int say_missing(const struct command *self, const char *what, bool named)
{
    struct sn_error e = {.offset = -1};
    sn_fail(&e, NULL, -1, "%s%s%s", named ? self->name : "", named ? ": " : "", what);
    return say_usage(self->name, &e);
}

/* `self` is the format's verb. */
int report_main(const struct command *self, int argc, char **argv)
{
    struct request r;
    int n, status;
    if (!read_words(self, false, &r, argv, argc, &n, &status))
        return status;
    if (r.format->takes_regexp && n > 0) {
        r.argument = *argv++;
        n--;
    }
    if (n > 0)
        return make_report(&r, false, argv, n);
    return say_missing(self,
                       r.format->takes_regexp ? "give a regular expression and a profile"
                                              : "give a profile",
                       true);
}

int pprof_main(const struct command *self, int argc, char **argv)
{
    struct request r;
    int n, status;
    if (!read_words(self, true, &r, argv, argc, &n, &status))
        return status;
    if (n == 0)
        return say_missing(self, "give a profile", false);
    return r.format != NULL ? make_report(&r, true, argv, n)
                            : start_shell(&r, true, argv, n);
}

int shell_main(const struct command *self, int argc, char **argv)
{
    struct request r;
    int n, status;
    if (!read_words(self, false, &r, argv, argc, &n, &status))
        return status;
    return n > 0 ? start_shell(&r, false, argv, n)
                 : say_missing(self, "give a profile", true);
}
