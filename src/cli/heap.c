/*
 * heap.c: `sonde heap PID`: the heap of a running program, now, or what changes in it.
 *
 *     attach -> read (-> wait -> read again, less the first) -> mark -> names -> file,
 * top
 */
#include "cli.h"
#include "record/record.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define ROWS        10 /* of the table, if nothing is said */
#define MAX_SECONDS 1000000

struct heap_request {
    struct request report; /* first: the setters of reports know only this */
    double seconds;        /* 0: one look */
    bool mark, quiet;
};

/* ---- options --------------------------------------------------------------------------
 */

static bool set_output(void *to, const char *name, const char *value, struct sn_error *e)
{
    (void)name;
    ((struct request *)to)->output = value;
    return *value != '\0' || sn_fail(e, NULL, -1, "option '--output' wants a file");
}

static bool set_seconds(void *to, const char *name, const char *value, struct sn_error *e)
{
    char *end;
    double n = strtod(value, &end);
    ((struct heap_request *)to)->seconds = n;
    return (*value >= '0' && *value <= '9' && *end == '\0' && n > 0 &&
            n <= MAX_SECONDS) ||
           sn_fail(e, NULL, -1, "option '--%s' wants a time in seconds, not '%s'", name,
                   value);
}

static bool set_mark(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct heap_request *)to)->mark, e);
}

static bool set_quiet(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct heap_request *)to)->quiet, e);
}

static bool set_verbose(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct request *)to)->verbose, e);
}

static bool set_help(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct request *)to)->help, e);
}

static const struct flag options[] = {
    {"output", FLAG_VALUE, "FILE", "the profile's file (also -o); else mem.PID.pprof",
     set_output},
    {"o", FLAG_VALUE, "FILE", NULL, set_output},
    {"seconds", FLAG_VALUE, "N", "look twice, N seconds apart: the difference",
     set_seconds},
    {"mark", FLAG_SWITCH, NULL, "when it is read, the peak begins anew from what is live",
     set_mark},
    {"quiet", FLAG_SWITCH, NULL, "write the file, print nothing but errors (also -q)",
     set_quiet},
    {"q", FLAG_SWITCH, NULL, NULL, set_quiet},
    {"verbose", FLAG_SWITCH, NULL,
     "tell what was tried where names are missing (also -v)", set_verbose},
    {"v", FLAG_SWITCH, NULL, NULL, set_verbose},
    {"help", FLAG_SWITCH, NULL, "this help", set_help},
    {"h", FLAG_SWITCH, NULL, NULL, set_help},
};

const struct flag_table heap_flags[] = {{"Options", options, SN_COUNT(options)}, {0}};

/* ---- reading --------------------------------------------------------------------------
 */

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Or until the program has ended: what it left is the second look then. */
static void wait_for(const struct sn_attached *a, double seconds)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    struct progress progress = {0};
    double begin = now_seconds(), passed;
    while ((passed = now_seconds() - begin) < seconds && sn_attached_lives(a)) {
        progress_show(&progress, "the heap of %s (%d): %.0f of %g s", a->name,
                      (int)a->pid, passed, seconds);
        double rest = seconds - passed;
        const struct timespec last = {.tv_nsec = (long)(rest * 1e9)};
        nanosleep(rest < 0.05 ? &last : &pause, NULL);
    }
    progress_clear(&progress);
    if (passed < seconds)
        say("%s (%d) ended after %.1f s", a->name, (int)a->pid, passed);
}

static struct sn_profile *look(const struct sn_attached *a, const struct heap_request *r,
                               struct sn_error *e)
{
    struct sn_profile *p = sn_attached_read(a, e), *before = p;
    if (p != NULL && r->seconds > 0) {
        wait_for(a, r->seconds);
        before->n_comments = 0; /* the later ones hold for both */
        p = sn_attached_read(a, e);
        if (p == NULL)
            sn_profile_free(before);
        else
            p = load_difference(&r->report, p, before, e);
        if (p != NULL)
            sn_profile_comment(p, "difference: of two looks, %g seconds apart",
                               r->seconds);
    }
    if (p != NULL && r->mark)
        sn_attached_mark(a);
    return p;
}

/* A program in a container names its files as it sees them: they are looked for there. */
static bool add_names(const struct sn_attached *a, struct sn_profile *p,
                      const struct request *r, struct sn_error *e)
{
    uint32_t *names = sn_arena_alloc(p->arena, (p->n_mappings + 1) * sizeof *names);
    if (names == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    for (uint32_t i = 0; i < p->n_mappings; i++) {
        names[i] = p->mappings[i].file;
        const char *path = sn_profile_str(p, names[i]);
        char *inside = a->foreign && *path == '/'
                           ? sn_arena_printf(p->arena, "%s/root%s", a->proc, path)
                           : NULL;
        if (inside != NULL)
            p->mappings[i].file = sn_strtab_add(p->strings, inside);
    }
    bool good = load_symbols(p, NULL, r->symbolize, NULL,
                             r->verbose ? TELL_ATTEMPTS : TELL_MODULES, e);
    for (uint32_t i = 0; i < p->n_mappings; i++)
        p->mappings[i].file = names[i];
    return good;
}

/* ---- what comes of it -----------------------------------------------------------------
 */

static bool write_file(const struct sn_attached *a, const struct sn_buf *out,
                       const char *output, struct sn_error *e)
{
    char stem[32], chosen[64] = "";
    snprintf(stem, sizeof stem, "mem.%d", (int)a->pid);
    if (output == NULL && !output_hold(stem, chosen, sizeof chosen, e))
        return false;
    bool good = output_write(output != NULL ? output : chosen, out, e);
    if (!good && output == NULL)
        unlink(chosen);
    return good;
}

static bool make_top(struct sn_profile *p, const struct request *r, struct sn_buf *out,
                     struct sn_error *e)
{
    struct sn_options o = r->options;
    struct sn_buf plain = {.arena = p->arena};
    if (o.node_count < 0)
        o.node_count = ROWS;
    if (!format_find("top")->write(p, &o, NULL, &plain, e))
        return false;
    if (colour_wanted(stdout))
        paint_table(&plain, out);
    else
        *out = plain;
    return true;
}

/* The file, and the table, or neither. The table leaves lines out of the profile. */
static bool deliver(const struct sn_attached *a, struct sn_profile *p,
                    const struct heap_request *r, bool table, struct sn_error *e)
{
    struct sn_buf file = {.arena = p->arena}, top = {.arena = p->arena};
    return output_profile(p, &file, e) && (!table || make_top(p, &r->report, &top, e)) &&
           write_file(a, &file, r->report.output, e) &&
           (!table || output_write(NULL, &top, e));
}

static bool take_heap(pid_t pid, const struct heap_request *r, struct sn_error *e)
{
    struct sn_attached a;
    bool to_stdout = r->report.output != NULL && strcmp(r->report.output, "-") == 0;
    if (!output_check(r->report.output, to_stdout, e) || !sn_attach(pid, &a, e))
        return false;
    struct sn_profile *p = look(&a, r, e);
    bool good = p != NULL && add_names(&a, p, &r->report, e) &&
                deliver(&a, p, r, !r->quiet && !to_stdout, e);
    sn_profile_free(p);
    sn_detach(&a);
    return good;
}

/* ---- the command ----------------------------------------------------------------------
 */

int heap_main(const struct command *self, int argc, char **argv)
{
    struct sn_error e = {.offset = -1};
    struct heap_request r = {0};
    struct flag_table tables[6] = {heap_flags[0]};
    char *end = NULL;
    int n;
    request_init(&r.report);
    flags_fill_shaping(tables + 1);
    if (!args_parse(tables, &r, false, argv, argc, &n, &e) ||
        !request_finish(&r.report, &e))
        return say_usage(self->name, &e);
    if (r.report.help) {
        help_command(self, stdout);
        return EXIT_GOOD;
    }
    unsigned long pid = n == 1 ? strtoul(argv[0], &end, 10) : 0;
    if (n != 1)
        sn_fail(&e, NULL, -1, "heap: give the number of one process");
    else if (*argv[0] < '1' || *argv[0] > '9' || *end != '\0' || pid > INT32_MAX)
        sn_fail(&e, NULL, -1, "heap: '%s' is not the number of a process", argv[0]);
    else
        return take_heap((pid_t)pid, &r, &e) ? EXIT_GOOD : say_error(&e);
    return say_usage(self->name, &e);
}
