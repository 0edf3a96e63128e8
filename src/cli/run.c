/* run.c: `sonde run`: refuse what cannot be recorded, run the rest, end as it ended. */
#include "run.h"
#include "alloctrace.h"
#include "object/object.h"
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- options --------------------------------------------------------------------------
 */

static bool set_cpu(void *to, const char *name, const char *value, struct sn_error *e)
{
    char *end = NULL;
    unsigned long hz = strtoul(value, &end, 10);
    (void)name;
    ((struct run_request *)to)->cpu = true;
    if (*value == '\0')
        return true;
    ((struct run_request *)to)->cpu_hz = (unsigned)hz;
    return (*end == '\0' && *value >= '0' && *value <= '9' && hz >= 1 && hz <= 10000) ||
           sn_fail(e, NULL, -1, "option '--cpu' wants a rate from 1 to 10000, not '%s'",
                   value);
}

static bool set_mem(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct run_request *r = to;
    char *end = NULL;
    unsigned long rate = strtoul(value, &end, 10);
    (void)name;
    r->mem = true;
    r->mem_exact = strcmp(value, "exact") == 0;
    r->mem_rate = 0;
    if (*value == '\0' || r->mem_exact)
        return true;
    r->mem_rate = (unsigned)rate;
    return (*end == '\0' && *value >= '0' && *value <= '9' && rate >= 1 &&
            rate <= UINT32_MAX) ||
           sn_fail(e, NULL, -1,
                   "option '--mem' wants bytes between samples (524288; 1: every "
                   "allocation), or 'exact', not '%s'",
                   value);
}

static bool set_mem_mmap(void *to, const char *name, const char *value,
                         struct sn_error *e)
{
    struct run_request *r = to;
    bool good = args_bool(name, value, &r->mem_mmap, e);
    r->mem |= r->mem_mmap;
    return good;
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

/* Those that need to see each block. */
static bool is_of_blocks(const char *name)
{
    static const char *const those[] = {"allocfreetrace", "efence", "invalidptr",
                                        "gcdead", "gctrace"};
    for (size_t i = 0; i < SN_COUNT(those); i++)
        if (strcmp(name, those[i]) == 0)
            return true;
    return false;
}

/* The tracers: an option is the key of SONDE of the same name. */
static bool set_tracer(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct tracer_keys *keys = &((struct run_request *)to)->tracers;
    struct sn_settings checked = {0};
    struct sn_error bad = {.offset = -1};
    char key[PATH_MAX + 64];
    bool on;
    if (args_bool(name, value, &on, NULL) && strlen(value) > 1) /* of a switch */
        value = on ? "" : "0";
    snprintf(key, sizeof key, "%s%s%s", strcmp(name, "trace") == 0 ? "trace_path" : name,
             *value != '\0' ? "=" : "", value);
    if (strchr(value, ',') != NULL)
        return sn_fail(e, NULL, -1, "option '--%s': no comma can be in '%s'", name,
                       value);
    if (!sn_settings_parse(&checked, key, &bad))
        return sn_fail(e, NULL, -1, "option '--%s': %s", name, bad.what);
    bool off = strcmp(value, "0") == 0, is_file = strcmp(name, "trace") == 0;
    if (strcmp(name, "allocfreetrace") == 0)
        keys->allocfreetrace = checked.trace.allocfreetrace;
    if (is_file)
        keys->trace_path = value;
    if (strcmp(name, "schedtrace") == 0)
        keys->sched = !off;
    if (strcmp(name, "scheddetail") == 0)
        keys->sched_detail = !off;
    keys->any |= !off && !is_file;
    keys->of_blocks |= !off && is_of_blocks(name);
    keys->frames |=
        !off && (strcmp(name, "efence") == 0 || strcmp(name, "invalidptr") == 0 ||
                 checked.trace.scheddetail > 1);
    size_t used = strlen(keys->text);
    int n = snprintf(keys->text + used, sizeof keys->text - used, ",%s", key);
    return n < (int)(sizeof keys->text - used) ||
           sn_fail(e, NULL, -1, "option '--%s': too long", name);
}

static const struct flag flags[] = {
    {"cpu", FLAG_MAYBE, "HZ",
     "CPU time, HZ samples a second of each thread (100); the default", set_cpu},
    {"mem", FLAG_MAYBE, "RATE|exact",
     "the heap, a sample every RATE bytes (524288), or every block", set_mem},
    {"schedtrace", FLAG_MAYBE, "MS", "a line on the scheduler every MS (1000)",
     set_tracer},
    {"scheddetail", FLAG_MAYBE, "N",
     "... with a line for each CPU and thread; 2: and its stack", set_tracer},
    {"gctrace", FLAG_MAYBE, "N", "a line for each collection; 2: each twice, its phases",
     set_tracer},
    {"scavenge", FLAG_SWITCH, NULL, "give memory back to the system, and tell how much",
     set_tracer},
    {"allocfreetrace", FLAG_SWITCH, NULL, "each allocation and free, with its stack",
     set_tracer},
    {"efence", FLAG_MAYBE, "left",
     "stop at the first access beyond a block, or of a freed one", set_tracer},
    {"invalidptr", FLAG_MAYBE, "N",
     "stop at a bad free; 2: also find pointers to what is freed", set_tracer},
    {"gcdead", FLAG_SWITCH, NULL, "overwrite what is dead", set_tracer},
    {"trace", FLAG_VALUE, "FILE", "the tracers' lines go there, not to standard error",
     set_tracer},
    {"mem_mmap", FLAG_SWITCH, NULL, "the program's own mappings are blocks, too",
     set_mem_mmap},
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

/* Why the library cannot record this file, and what would work. NULL: it can. */
static const char *obstacle(const struct sn_object_probe *o, bool blocks)
{
    bool fixed = o->link == SN_LINK_STATIC || o->link == SN_LINK_STATIC_PIE;
    if (o->go && fixed)
        return "is a static Go program; let its own runtime/pprof record it, whose files "
               "sonde reads";
    if (fixed)
        return "is static: nothing can be preloaded into it; link it without -static, or "
               "record it with perf, or watch its threads by 'sonde sched PID'";
    if (o->musl)
        return "runs on musl, libsonde on glibc; build it for glibc to profile it";
    if (o->link == SN_LINK_SHARED)
        return "is a shared library, not a program";
    if (o->setuid)
        return "is setuid, setgid or has capabilities: the loader preloads nothing into "
               "it; profile a copy without them";
    if (o->allocator && blocks)
        return "has a malloc of its own, which is not seen, so that its blocks cannot be "
               "recorded; build it without, or record its CPU time alone, by --cpu";
    return NULL;
}

/* The program itself, or what its "#!" line names, and so on. */
static bool can_record(const char *program, bool blocks, struct sn_error *e)
{
    struct sn_object_probe o;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", program);
    for (int depth = 0; depth < 5; depth++) { /* the kernel follows no further either */
        if (!sn_object_probe(path, &o, e))
            return false;
        const char *why = o.elf && !o.foreign ? obstacle(&o, blocks) : NULL;
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
    struct sn_error untold = {.offset = -1};
    struct alloc_live *live = NULL;
    int status;
    if (r->tracers.allocfreetrace &&
        (live = alloc_live_start(sn_record_dir(record), r->tracers.trace_path, e)) ==
            NULL)
        return say_error(e) << 8;
    bool ran = sn_record_run(record, plan, &status, &h->cpu_ns, e);
    if (!alloc_live_finish(live, &untold))
        say_error(&untold);
    if (!ran)
        return say_error(e) << 8; /* as waitpid has it */
    h->main_pid = sn_record_main_pid(record);
    h->record = record;
    bool good = (!plan->cpu && !plan->mem) ||
                (sn_record_collect(record, &skipped) && run_deliver(h, r, e));
    if (skipped.what[0] != '\0')
        say_error(&skipped);
    if (!good) {
        say_error(e);
        if (sn_record_keep(record))
            say("what was recorded is kept: a report reads each spool in %s",
                sn_record_dir(record));
    } else if (sn_record_in_use(record))
        say("a process of it still runs; later read its spool in %s",
            sn_record_dir(record));
    return !good && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? EXIT_FAILED << 8
                                                                  : status;
}

/* The tracers' lines come through us, if they have frames to be named and go nowhere
 * else. NULL: they do not. */
static struct follow *follow_traces(struct sn_record *dir, struct tracer_keys *keys,
                                    struct sn_record_plan *plan)
{
    struct sn_error e = {.offset = -1};
    struct follow *f = keys->frames && !(keys->trace_path != NULL)
                           ? follow_new(sn_record_dir(dir), &e)
                           : NULL;
    if (f == NULL)
        return NULL;
    size_t used = strlen(keys->text);
    snprintf(keys->text + used, sizeof keys->text - used, ",trace_path=%s",
             follow_path(f));
    plan->tracers = keys->text;
    plan->meanwhile = follow_on;
    plan->argument = f;
    return f;
}

static void end_follow(struct follow *f, struct sn_record *dir)
{
    if (f != NULL && follow_is_written(f)) {
        sn_record_leave(dir);
        say("a process of it still runs: what it traces from now on is in %s",
            follow_path(f));
    }
    follow_free(f);
}

/* Is it known now that the tracers' lines could not be written? */
static bool can_trace(const char *path, struct sn_error *e)
{
    if (path == NULL || strstr(path, "%p") != NULL)
        return true;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return sn_fail(e, path, -1, "cannot write the trace: %s", strerror(errno));
    close(fd);
    return true;
}

static int record_program(const struct run_request *r, char **argv)
{
    struct sn_error e = {.offset = -1};
    char program[PATH_MAX], library[PATH_MAX];
    struct harvest h = {0};
    struct sn_record_plan plan = {.program = program,
                                  .argv = argv,
                                  .library = library,
                                  .cpu = r->cpu,
                                  .mem = r->mem,
                                  .blocks = r->mem || r->tracers.of_blocks,
                                  .cpu_hz = r->cpu_hz,
                                  .mem_rate = r->mem_rate,
                                  .tracers = r->tracers.text,
                                  .mem_exact = r->mem_exact,
                                  .mem_mmap = r->mem_mmap};
    struct sn_record *dir = NULL;
    struct tracer_keys keys = r->tracers;
    if (r->mem && strcmp(argv[0], "exact") == 0 && access(argv[0], F_OK) != 0) {
        sn_fail(&e, NULL, -1, "exact is taken for the program; write --mem=exact");
        return say_error(&e);
    }
    if (!sn_record_find_program(argv[0], program, &e) ||
        !can_record(program, plan.blocks, &e) || !sn_record_find_library(library, &e) ||
        !can_trace(r->tracers.trace_path, &e) ||
        ((r->cpu || r->mem) && !destination_choose(r, &h.to, &e)) ||
        (dir = sn_record_new(&e)) == NULL)
        return say_error(&e);
    struct follow *follow = follow_traces(dir, &keys, &plan);
    int status = record(dir, &plan, &h, r, &e);
    end_follow(follow, dir);
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
    if (r.tracers.sched_detail && !r.tracers.sched) {
        sn_fail(&e, NULL, -1,
                "option '--scheddetail' adds to the lines of --schedtrace: give both");
        return say_usage(self->name, &e);
    }
    r.cpu |= !r.mem && !r.tracers.any;
    if (!destination_fits(&r, &e))
        return say_usage(self->name, &e);
    argv[n] = NULL; /* args_parse moved the words to the front */
    return record_program(&r, argv);
}
