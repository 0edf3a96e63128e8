/*
 * run.c: `sonde run`: refuse what cannot be recorded, run the rest, and turn what it left
 * into symbolised files and a first look at them.
 */
#include "cli.h"
#include "object/object.h"
#include "record/record.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct run_request {
    unsigned cpu_hz;
    const char *output;
    bool merge, quiet, help;
};

/* ---- options --------------------------------------------------------------------------
 */

static bool set_cpu(void *to, const char *name, const char *value, struct sn_error *e)
{
    char *end = NULL;
    unsigned long hz = strtoul(value, &end, 10);
    (void)name;
    if (*value == '\0')
        return true;
    ((struct run_request *)to)->cpu_hz = (unsigned)hz;
    return (*end == '\0' && *value >= '0' && *value <= '9' && hz >= 1 && hz <= 10000) ||
           sn_fail(e, NULL, -1, "option '--cpu' wants a rate from 1 to 10000, not '%s'",
                   value);
}

static bool set_output(void *to, const char *name, const char *value, struct sn_error *e)
{
    (void)name;
    ((struct run_request *)to)->output = value;
    return *value != '\0' || sn_fail(e, NULL, -1, "option '--output' wants a name");
}

static bool set_merge(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct run_request *)to)->merge, e);
}

static bool set_quiet(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct run_request *)to)->quiet, e);
}

static bool set_help(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct run_request *)to)->help, e);
}

static const struct flag flags[] = {
    {"cpu", FLAG_MAYBE, "HZ", "CPU time, HZ samples a second of each thread (100)",
     set_cpu},
    {"output", FLAG_VALUE, "FILE|DIR", "where the profile goes (also -o)", set_output},
    {"o", FLAG_VALUE, "FILE|DIR", NULL, set_output},
    {"merge", FLAG_SWITCH, NULL, "all processes in one profile", set_merge},
    {"quiet", FLAG_SWITCH, NULL, "print nothing but errors (also -q)", set_quiet},
    {"q", FLAG_SWITCH, NULL, NULL, set_quiet},
    {"help", FLAG_SWITCH, NULL, "this help", set_help},
    {"h", FLAG_SWITCH, NULL, NULL, set_help},
};

const struct flag_table run_flags[] = {{"Options", flags, SN_COUNT(flags)}, {0}};

/* ---- before the start -----------------------------------------------------------------
 */

/* Why the library cannot get into this file, and what would work. NULL: it can. */
static const char *obstacle(const struct sn_object_probe *o)
{
    bool fixed = o->link == SN_LINK_STATIC || o->link == SN_LINK_STATIC_PIE;
    if (o->go && fixed)
        return "is a static Go program; let its own runtime/pprof record it, whose files "
               "sonde reads";
    if (fixed)
        return "is static: nothing can be preloaded into it; link it with libsonde.a and "
               "run it with SONDE=cpu";
    if (o->musl)
        return "runs on musl, libsonde on glibc; build it for glibc to profile it";
    if (o->link == SN_LINK_SHARED)
        return "is a shared library, not a program";
    if (o->setuid)
        return "is setuid, setgid or has capabilities: the loader preloads nothing into "
               "it; profile a copy without them";
    return NULL;
}

/* The program itself, or what its "#!" line names, and so on. */
static bool can_record(const char *program, struct sn_error *e)
{
    struct sn_object_probe o;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", program);
    for (int depth = 0; depth < 5; depth++) { /* the kernel follows no further either */
        if (!sn_object_probe(path, &o, e))
            return false;
        const char *why = o.elf && !o.foreign ? obstacle(&o) : NULL;
        if (o.elf && o.foreign)
            return sn_fail(e, path, -1, "is built for %s; take a sonde built for that",
                           o.machine);
        if (why != NULL)
            return sn_fail(e, path, -1, "%s", why);
        if (o.elf || o.interp[0] == '\0')
            return true;
        snprintf(path, sizeof path, "%s", o.interp);
    }
    return true;
}

/* ---- where files go -------------------------------------------------------------------
 */

struct destination {
    char path[PATH_MAX]; /* a directory, or the main process's file */
    bool is_dir;
};

/* cpu.pprof, or the first of cpu.2.pprof, cpu.3.pprof, ... that is free; made, so that
 * two recordings at once do not choose the same. */
static bool choose_free_name(char path[PATH_MAX], struct sn_error *e)
{
    for (unsigned n = 1; n < 10000; n++) {
        snprintf(path, PATH_MAX, n == 1 ? "cpu.pprof" : "cpu.%u.pprof", n);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0)
            close(fd);
        if (fd >= 0 || errno != EEXIST)
            return fd >= 0 || sn_fail(e, path, -1, "cannot create: %s; give -o FILE",
                                      strerror(errno));
    }
    return sn_fail(e, "cpu.pprof", -1, "too many of them; give -o FILE");
}

/* Refuse now rather than when an hour has been recorded. */
static bool can_write_beside(const char *path, struct sn_error *e)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    struct stat st;
    snprintf(dir, sizeof dir, "%.*s", slash != NULL ? (int)(slash - path) + 1 : 1,
             slash != NULL ? path : ".");
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return true; /* a pipe, a terminal: written straight */
    return access(dir, W_OK | X_OK) == 0 ||
           sn_fail(e, path, -1, "cannot be written: %s", strerror(errno));
}

static bool choose_destination(const char *output, struct destination *d,
                               struct sn_error *e)
{
    struct stat st;
    size_t n = output != NULL ? strlen(output) : 0;
    *d = (struct destination){0};
    if (output == NULL) /* its number is chosen when it is written */
        return can_write_beside("cpu.pprof", e);
    if (n >= sizeof d->path - 32)
        return sn_fail(e, output, -1, "name too long");
    memcpy(d->path, output, n + 1);
    d->is_dir = output[n - 1] == '/' || (stat(output, &st) == 0 && S_ISDIR(st.st_mode));
    return d->is_dir ? sn_mkdirs(output, e) : can_write_beside(output, e);
}

/* FILE for the program, FILE.PID for another process, with .1, .2, ... behind it for what
 * ran in a process before its last exec; in a directory cpu.PID.pprof, cpu.PID.1.pprof.
 */
static void file_of(const struct destination *d, const struct sn_recorded *p,
                    uint32_t main_pid, char path[PATH_MAX])
{
    const char *slash = d->path[strlen(d->path) - 1] == '/' ? "" : "/";
    char which[32] = "";
    int n = 0;
    if (d->is_dir || p->pid != main_pid || p->image > 0)
        n = snprintf(which, sizeof which, ".%u", p->pid);
    if (p->image > 0)
        snprintf(which + n, sizeof which - (size_t)n, ".%u", p->image);
    if (d->is_dir)
        n = snprintf(path, PATH_MAX, "%s%scpu%s.pprof", d->path, slash, which);
    else
        n = snprintf(path, PATH_MAX, "%s%s", d->path, which);
    (void)n; /* choose_destination left room */
}

/* ---- after the end --------------------------------------------------------------------
 */

static bool write_profile(struct sn_profile *p, const char *path, struct sn_error *e)
{
    struct sn_buf out = {.arena = p->arena};
    return load_symbols(p, NULL, NULL, e) && output_profile(p, &out, e) &&
           output_write(path, &out, true, e);
}

/* What `sonde run` ended with. */
struct harvest {
    struct sn_recorded *v;
    uint32_t n;
    uint32_t main_pid;
    struct destination to;
    uint64_t cpu_ns;
};

/* All of them in one, owned by the caller. NULL on error. */
static struct sn_profile *merge_all(const struct harvest *h, struct sn_error *e)
{
    struct sn_profile **v = calloc(h->n, sizeof(struct sn_profile *)), *merged = NULL;
    for (uint32_t i = 0; v != NULL && i < h->n; i++)
        v[i] = h->v[i].profile;
    if (v == NULL)
        sn_fail(e, NULL, -1, "out of memory");
    else
        merged = sn_profile_merge(v, h->n, e);
    free(v);
    return merged;
}

/* "2933 samples in 2.95s of CPU (perf clock, 1000 Hz), 0 lost, 0 stacks cut short" */
static void print_head(const struct harvest *h)
{
    struct sn_recorded all = h->v[0];
    for (uint32_t i = 1; i < h->n; i++) {
        all.samples += h->v[i].samples;
        all.lost += h->v[i].lost;
        all.blind += h->v[i].blind;
        all.truncated += h->v[i].truncated;
    }
    say("%llu samples in %.2fs of CPU (%s clock, %.0f Hz), %llu lost, %llu truncated",
        (unsigned long long)all.samples, (double)h->cpu_ns / 1e9, all.clock,
        all.period_ns > 0 ? 1e9 / (double)all.period_ns : 0.0,
        (unsigned long long)all.lost, (unsigned long long)all.truncated);
    if (all.blind > 0)
        say("%llu threads could not get a clock and were not sampled",
            (unsigned long long)all.blind);
}

/* A file each; the first of them are named. */
static bool write_each(const struct harvest *h, bool quiet, struct sn_error *e)
{
    const uint32_t named = 10;
    char path[PATH_MAX];
    for (uint32_t i = 0; i < h->n; i++) {
        const struct sn_recorded *p = &h->v[i];
        file_of(&h->to, p, h->main_pid, path);
        if (!write_profile(p->profile, path, e))
            return false;
        if (!quiet && i < named)
            say("%s: %llu samples of %s", path, (unsigned long long)p->samples, p->name);
    }
    if (!quiet && h->n > named)
        say("and %u more files; --merge makes them one", h->n - named);
    return true;
}

static bool write_merged(const struct harvest *h, struct sn_profile *all, bool quiet,
                         struct sn_error *e)
{
    const struct sn_recorded main_process = {.pid = h->main_pid};
    char path[PATH_MAX];
    file_of(&h->to, &main_process, h->main_pid, path);
    if (!write_profile(all, path, e))
        return false;
    if (!quiet)
        say("%s: all %u programs", path, h->n);
    return true;
}

/* The first ten of `top`, as the report room prints them. */
static void print_top(struct sn_profile *p)
{
    struct sn_options o = sn_options_default();
    struct sn_buf out = {.arena = p->arena}, painted = {.arena = p->arena};
    struct sn_error e = {.offset = -1};
    o.node_count = 10;
    o.compact_labels = true;
    bool good = format_find("top")->write(p, &o, NULL, &out, &e);
    if (good && colour_wanted(stderr)) {
        paint_table(&out, &painted);
        out = painted;
    }
    if (good && !out.failed)
        fwrite(out.data, 1, out.len, stderr);
    else
        say_error(&e);
}

/* Write the files, print what they say. */
static bool deliver(struct harvest *h, const struct run_request *r, struct sn_error *e)
{
    if (h->n == 0)
        return sn_fail(e, NULL, -1,
                       "nothing was recorded: the program did not load libsonde.so");
    if (h->to.path[0] == '\0' && !choose_free_name(h->to.path, e))
        return false;
    if (!r->quiet)
        print_head(h);
    if (!r->merge && !write_each(h, r->quiet, e))
        return false;
    struct sn_profile *all = merge_all(h, e);
    bool good = all != NULL && (!r->merge || write_merged(h, all, r->quiet, e));
    if (good && !r->quiet)
        print_top(all);
    sn_profile_free(all);
    return good;
}

/* ---- the command ----------------------------------------------------------------------
 */

/* End as the program ended: its exit status, or its signal (without a second core). */
static int end_like(int status)
{
    sigset_t set;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    signal(WTERMSIG(status), SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, WTERMSIG(status));
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(WTERMSIG(status));
    return 128 + WTERMSIG(status);
}

/* From the start to the files. The program's own status, unless only ours is bad. */
static int record(struct sn_record *record, const struct sn_record_plan *plan,
                  struct harvest *h, const struct run_request *r, struct sn_error *e)
{
    struct sn_error skipped = {.offset = -1};
    int status;
    if (!sn_record_run(record, plan, &status, &h->cpu_ns, e))
        return say_error(e) << 8; /* as waitpid has it */
    h->main_pid = sn_record_main_pid(record);
    bool good = sn_record_collect(record, &h->v, &h->n, &skipped) && deliver(h, r, e);
    if (skipped.what[0] != '\0')
        say_error(&skipped);
    if (!good)
        say_error(e);
    if (sn_record_in_use(record))
        say("a process of it still runs; later read its spool in %s",
            sn_record_dir(record));
    return !good && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? EXIT_FAILED << 8
                                                                  : status;
}

static int record_program(const struct run_request *r, char **argv)
{
    struct sn_error e = {.offset = -1};
    char program[PATH_MAX], library[PATH_MAX];
    struct harvest h = {0};
    struct sn_record_plan plan = {program, argv, library, r->cpu_hz};
    struct sn_record *dir = NULL;
    if (!sn_record_find_program(argv[0], program, &e) || !can_record(program, &e) ||
        !sn_record_find_library(library, &e) ||
        !choose_destination(r->output, &h.to, &e) || (dir = sn_record_new(&e)) == NULL)
        return say_error(&e);
    int status = record(dir, &plan, &h, r, &e);
    sn_record_free(dir);
    return end_like(status);
}

int run_main(const struct command *self, int argc, char **argv)
{
    struct sn_error e = {.offset = -1};
    struct run_request r = {0};
    int n;
    if (!args_parse(run_flags, &r, true, argv, argc, &n, &e))
        return say_usage(self->name, &e);
    if (r.help) {
        help_command(self, stdout);
        return EXIT_GOOD;
    }
    if (n == 0) {
        sn_fail(&e, NULL, -1, "run: give a program");
        return say_usage(self->name, &e);
    }
    argv[n] = NULL; /* args_parse moved the words to the front */
    return record_program(&r, argv);
}
