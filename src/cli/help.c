/* help.c: help, the version, and the words that completion offers, from the tables. */
#include "cli.h"

#include <errno.h>

static void indented(const char *text, FILE *to)
{
    while (*text != '\0') {
        int n = (int)strcspn(text, "\n");
        fprintf(to, "%s%.*s\n", n > 0 ? "  " : "", n, text);
        text += n + (text[n] == '\n');
    }
}

/* The verbs of reports share their examples but for the verb. */
static void examples_of_format(const struct sn_report_format *f, FILE *to)
{
    const char *argument = f->takes_regexp ? " '^read'" : "";
    const char *into = f->binary ? " -o out" : "", *dot = f->binary ? "." : "",
               *suffix = f->binary ? f->name : "";
    fprintf(to, "  sonde %s%s%s%s%s cpu.pprof\n", f->name, into, dot, suffix, argument);
    fprintf(to, "  sonde %s%s%s%s --focus=parse%s ./program cpu.pprof more.pprof\n",
            f->name, into, dot, suffix, argument);
}

void help_command(const struct command *c, FILE *to)
{
    const struct sn_report_format *f =
        c->run == report_main ? format_find(c->name) : NULL;
    struct flags flags;
    fprintf(to, "usage: sonde %s %s\n\n", c->name, c->synopsis);
    indented(c->help, to);
    if (c->details != NULL) {
        fputc('\n', to);
        indented(c->details, to);
    }
    if (f != NULL || c->examples != NULL)
        fputs("\nExamples:\n", to);
    if (f != NULL)
        examples_of_format(f, to);
    if (c->examples != NULL)
        indented(c->examples, to);
    flags_fill(&flags, c->run == pprof_main);
    if (f != NULL || c->run == pprof_main || c->run == shell_main)
        args_help(flags.tables, to);
    if (c->flags != NULL)
        args_help(c->flags, to);
    flags_fill_shaping(flags.tables);
    if (c->shapes)
        args_help(flags.tables, to);
}

void help_all(FILE *to)
{
    const struct command *c;
    const struct sn_report_format *f;
    fputs("usage: sonde COMMAND [OPTION...] ...\n"
          "       sonde -REPORT [OPTION...] [BINARY] PROFILE...    as 'go tool pprof'\n\n"
          "Where a native program spends its time, and its memory.\n\nCommands:\n",
          to);
    for (size_t i = 0; (c = command_at(i)) != NULL; i++)
        if (c->synopsis != NULL)
            fprintf(to, "  %-12s %s\n", c->name, c->help);
    fputs("\nReports of a profile:\n", to);
    for (size_t i = 0; (f = format_at(i)) != NULL; i++)
        fprintf(to, "  %-12s %s\n", f->name, f->help);
    fputs("\nExamples:\n"
          "  sonde run ./program                  run it, keep cpu.pprof, print the top\n"
          "  sonde run --mem=exact ./program      ... its heap: peak, leaks; keep "
          "mem.pprof\n"
          "  sonde top cpu.pprof\n"
          "  sonde top --leaked mem.pprof\n"
          "  sonde pdf -o callgraph.pdf cpu.pprof\n\n"
          "'sonde help COMMAND' says more about one.\n",
          to);
}

static int unknown_command(const char *name)
{
    struct sn_error e = {.offset = -1};
    struct guess g = {.word = name};
    const struct command *c;
    const struct sn_report_format *f;
    for (size_t i = 0; (c = command_at(i)) != NULL; i++)
        if (c->synopsis != NULL)
            guess_offer(&g, c->name);
    for (size_t i = 0; (f = format_at(i)) != NULL; i++)
        guess_offer(&g, f->name);
    if (g.best != NULL)
        sn_fail(&e, NULL, -1, "unknown command '%s'; did you mean '%s'?", name, g.best);
    else
        sn_fail(&e, NULL, -1, "unknown command '%s'", name);
    return say_usage(NULL, &e);
}

int help_main(const struct command *self, int argc, char **argv)
{
    struct command room;
    (void)self;
    if (argc == 0 || argv[0][0] == '-') {
        help_all(stdout);
        return EXIT_GOOD;
    }
    const struct command *c = command_find(argv[0], &room);
    if (c == NULL || c->synopsis == NULL)
        return unknown_command(argv[0]);
    help_command(c, stdout);
    return EXIT_GOOD;
}

int version_main(const struct command *self, int argc, char **argv)
{
    (void)self, (void)argc, (void)argv;
    puts("sonde " SN_VERSION);
    return EXIT_GOOD;
}

/* ---- completion -----------------------------------------------------------------------
 */

static void offer_flags(const struct flag_table *tables)
{
    for (; tables->v != NULL; tables++)
        for (size_t i = 0; i < tables->n; i++)
            if (tables->v[i].help != NULL)
                printf("--%s%s\n", tables->v[i].name,
                       tables->v[i].kind == FLAG_VALUE ? "=" : "");
}

/* `sonde __complete [VERB]`: the words that may follow, one a line. */
int complete_main(const struct command *self, int argc, char **argv)
{
    const struct command *c;
    const struct sn_report_format *f;
    struct command room;
    struct flags flags;
    (void)self;
    c = argc > 0 ? command_find(argv[0], &room) : NULL;
    if (c != NULL && c->flags != NULL) {
        offer_flags(c->flags);
        flags_fill_shaping(flags.tables);
        if (c->shapes)
            offer_flags(flags.tables);
    } else if (c != NULL || (argc > 0 && argv[0][0] == '-')) {
        flags_fill(&flags, c == NULL || c->run == pprof_main);
        offer_flags(flags.tables);
    } else {
        for (size_t i = 0; (c = command_at(i)) != NULL; i++)
            if (c->synopsis != NULL)
                puts(c->name);
        for (size_t i = 0; (f = format_at(i)) != NULL; i++)
            puts(f->name);
    }
    return EXIT_GOOD;
}

/* ---- the entrance ---------------------------------------------------------------------
 */

static int dispatch(int argc, char **argv)
{
    static const char *const asks[] = {"--help",    "-help",    "-h",
                                       "--version", "-version", "-V"};
    struct command room;
    if (argc == 0) {
        help_all(stderr);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < SN_COUNT(asks); i++)
        if (strcmp(argv[0], asks[i]) == 0)
            return i < 3 ? help_main(NULL, 0, NULL) : version_main(NULL, 0, NULL);
    if (argv[0][0] == '-')
        return pprof_main(command_find("pprof", &room), argc, argv);
    const struct command *c = command_find(argv[0], &room);
    return c != NULL ? c->run(c, argc - 1, argv + 1) : unknown_command(argv[0]);
}

int main(int argc, char **argv)
{
    struct sn_error e = {.offset = -1};
    int status = dispatch(argc - 1, argv + 1);
    if (fflush(stdout) != 0 && status == EXIT_GOOD) {
        sn_fail(&e, "standard output", -1, "cannot write: %s", strerror(errno));
        status = say_error(&e);
    }
    return status;
}
