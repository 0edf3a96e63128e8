/* report.c: a report of some profiles: `sonde top ...`, and `sonde pprof -top ...`. */
#include "cli.h"

static bool write_report(const struct request *r, struct sn_profile *p,
                         struct sn_error *e)
{
    struct sn_options options = r->options;
    struct sn_buf out = {.arena = p->arena}, painted = {.arena = p->arena};
    bool paint =
        r->output == NULL && colour_wanted(stdout) && r->format == format_find("top");
    if (options.node_count < 0)
        options.node_count = r->format->node_count;
    struct busy *busy = busy_begin(r->format->binary ? "drawing" : "adding up");
    bool good = r->format->write(p, &options, r->argument, &out, e);
    busy_end(busy);
    if (good && paint)
        paint_table(&out, &painted);
    return good && output_write(r->output, paint ? &painted : &out, e);
}

static int make_report(const struct request *r, char **paths, int n)
{
    struct sn_error e = {.offset = -1};
    struct sn_profile *p = NULL;
    if (output_check(r->output, r->format->binary, &e))
        p = load_profiles(r, paths, n, &e);
    bool good = p != NULL && write_report(r, p, &e);
    sn_profile_free(p);
    return good ? EXIT_GOOD : say_error(&e);
}

/* `self` is the format's verb. */
int report_main(const struct command *self, int argc, char **argv)
{
    struct sn_error e = {.offset = -1};
    struct request r;
    struct flags flags;
    int n;
    request_init(&r);
    r.options.histogram = true;
    flags_fill(&flags, false);
    r.format = format_find(self->name);
    if (!args_parse(flags.tables, &r, false, argv, argc, &n, &e) ||
        !request_choose_type(&r, &e))
        return say_usage(self->name, &e);
    if (r.help) {
        help_command(self, stdout);
        return EXIT_GOOD;
    }
    if (r.format->takes_regexp && n > 0) {
        r.argument = *argv++;
        n--;
    }
    if (n > 0)
        return make_report(&r, argv, n);
    sn_fail(&e, NULL, -1,
            r.format->takes_regexp ? "%s: give a regular expression and a profile"
                                   : "%s: give a profile",
            self->name);
    return say_usage(self->name, &e);
}

int pprof_main(const struct command *self, int argc, char **argv)
{
    struct sn_error e = {.offset = -1};
    struct request r;
    struct flags flags;
    int n;
    request_init(&r);
    flags_fill(&flags, true);
    if (!args_parse(flags.tables, &r, false, argv, argc, &n, &e) ||
        !request_choose_type(&r, &e))
        return say_usage(self->name, &e);
    if (r.help) {
        help_command(self, stdout);
        return EXIT_GOOD;
    }
    if (n == 0)
        sn_fail(&e, NULL, -1, "give a profile");
    else if (r.format == NULL)
        sn_fail(&e, NULL, -1,
                "give a report, such as --top; the interactive shell is not built yet");
    else
        return make_report(&r, argv, n);
    return say_usage(self->name, &e);
}
