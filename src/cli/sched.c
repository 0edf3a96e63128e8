/*
 * sched.c: `sonde sched PID`: what the scheduler does with the threads of a running
 * process, a line (with --detail many) every so often, until it ends.
 *
 *     check -> open (the best source) -> head -> [take records; sweep when due]...
 */
#include "sched/sched.h"
#include "cli.h"
#include "names.h"
#include "record/record.h"

#include <errno.h>
#include <pwd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_MS    3600000
#define MAX_COUNT 1000000000
#define MAX_FDS   60000 /* the room counts them in 16 bits */

struct sched_request {
    unsigned interval_ms, count; /* count 0: until it ends */
    enum sn_sched_source source;
    bool forced, detail, stacks, help;
};

/* ---- options --------------------------------------------------------------------------
 */

static bool set_number(const char *name, const char *value, unsigned most, unsigned *to,
                       struct sn_error *e)
{
    char *end;
    unsigned long n = strtoul(value, &end, 10);
    *to = (unsigned)n;
    return (*value >= '0' && *value <= '9' && *end == '\0' && n >= 1 && n <= most) ||
           sn_fail(e, NULL, -1, "option '--%s' wants a number from 1 to %u, not '%s'",
                   name, most, value);
}

static bool set_interval(void *to, const char *name, const char *value,
                         struct sn_error *e)
{
    return set_number(name, value, MAX_MS, &((struct sched_request *)to)->interval_ms, e);
}

static bool set_count(void *to, const char *name, const char *value, struct sn_error *e)
{
    return set_number(name, value, MAX_COUNT, &((struct sched_request *)to)->count, e);
}

static bool set_detail(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct sched_request *)to)->detail, e);
}

static bool set_stacks(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct sched_request *r = to;
    if (!args_bool(name, value, &r->stacks, e))
        return false;
    r->detail |= r->stacks;
    return true;
}

static bool set_source(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct sched_request *r = to;
    r->source = sn_sched_source_find(value);
    r->forced = true;
    return r->source < SN_SCHED_SOURCES ||
           sn_fail(e, NULL, -1,
                   "option '--%s' wants tracepoints, switch or proc, not '%s'", name,
                   value);
}

static bool set_help(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct sched_request *)to)->help, e);
}

static const struct flag options[] = {
    {"interval", FLAG_VALUE, "MS", "milliseconds between two lines (1000)", set_interval},
    {"detail", FLAG_SWITCH, NULL, "also a line for each CPU and each thread", set_detail},
    {"stacks", FLAG_SWITCH, NULL, "and where each thread stands", set_stacks},
    {"count", FLAG_VALUE, "N", "so many times; else until the process ends", set_count},
    {"n", FLAG_VALUE, "N", NULL, set_count},
    {"source", FLAG_VALUE, "NAME",
     "insist on tracepoints, switch or proc; else the best that is allowed", set_source},
    {"help", FLAG_SWITCH, NULL, "this help", set_help},
    {"h", FLAG_SWITCH, NULL, NULL, set_help},
};

const struct flag_table sched_flags[] = {{"Options", options, SN_COUNT(options)}, {0}};

/* ---- may it be looked at --------------------------------------------------------------
 */

struct status { /* of /proc/PID/status; -1: not there */
    long group, uid, threads;
    bool zombie; /* its first thread has ended */
};

static struct status read_status(pid_t pid)
{
    struct status s = {-1, -1, -1, false};
    const struct {
        const char *key;
        long *to;
    } rows[] = {{"Tgid:", &s.group}, {"Uid:", &s.uid}, {"Threads:", &s.threads}};
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        s.zombie |= strncmp(line, "State:\tZ", 8) == 0;
        for (size_t i = 0; i < SN_COUNT(rows); i++)
            if (strncmp(line, rows[i].key, strlen(rows[i].key)) == 0)
                *rows[i].to = strtol(line + strlen(rows[i].key), NULL, 10);
    }
    if (f != NULL)
        fclose(f);
    return s;
}

static bool check_process(pid_t pid, struct sn_error *e)
{
    char where[64];
    snprintf(where, sizeof where, "process %d", (int)pid);
    struct status s = read_status(pid);
    if (s.group < 0)
        return sn_fail(e, where, -1, "there is no such process");
    if (s.group != pid)
        return sn_fail(e, where, -1, "is a thread of process %ld; ask for that", s.group);
    if (s.zombie && s.threads <= 1)
        return sn_fail(e, where, -1, "has ended (a zombie: nobody has waited for it)");
    if (geteuid() == 0 || s.uid == (long)geteuid())
        return true;
    const struct passwd *who = getpwuid((uid_t)s.uid);
    return sn_fail(e, where, -1, "belongs to %s; ask as that user, or as root",
                   who != NULL ? who->pw_name : "another user");
}

/* ---- the sweeps -----------------------------------------------------------------------
 */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Until then, taking the records that come meanwhile. */
static void wait_until(struct sn_sched *s, uint64_t due_ns)
{
    uint64_t take_ns = sn_sched_take_ms(s) * UINT64_C(1000000), now;
    while ((now = now_ns()) < due_ns) {
        uint64_t rest = due_ns - now;
        rest = take_ns > 0 && take_ns < rest ? take_ns : rest;
        const struct timespec t = {(time_t)(rest / 1000000000u),
                                   (long)(rest % 1000000000u)};
        nanosleep(&t, NULL);
        if (now_ns() < due_ns)
            sn_sched_take(s);
    }
}

/* With names for the frames, by debug information, if there is a namer. */
static bool put(const char *text, size_t len, struct sn_namer *names, struct sn_error *e)
{
    struct sn_arena *arena = names != NULL ? sn_arena_new() : NULL;
    struct sn_buf out = {.arena = arena};
    for (const char *at = text, *end; arena != NULL && at < text + len; at = end + 1) {
        end = memchr(at, '\n', (size_t)(text + len - at));
        end = end != NULL ? end : text + len;
        const char *line = sn_arena_strndup(arena, at, (size_t)(end - at));
        out.failed |= line == NULL;
        if (line != NULL)
            names_line(names, line, &out);
    }
    if (arena != NULL && !out.failed) {
        text = out.data;
        len = out.len;
    }
    bool good = (fwrite(text, 1, len, stdout) == len && fflush(stdout) == 0) ||
                sn_fail(e, "standard output", -1, "cannot write: %s", strerror(errno));
    sn_arena_free(arena);
    return good;
}

static bool watch(struct sn_sched *s, const struct sched_request *r,
                  struct sn_namer *names, struct sn_error *e)
{
    uint64_t began = now_ns(), period = r->interval_ms * UINT64_C(1000000), due = began;
    size_t len;
    const char *text = sn_sched_head(s, 0, &len);
    for (unsigned i = 0; text != NULL; i++) {
        if (!put(text, len, names, e))
            return false;
        if (r->count > 0 && i == r->count)
            return true;
        wait_until(s, due);
        text = sn_sched_sweep(s, (now_ns() - began) / 1000000, &len);
        due += period;
        if (due < now_ns())
            due = now_ns() + period;
    }
    return true; /* it has ended */
}

/* Else its paths are not ours. */
static bool sees_our_files(pid_t pid)
{
    char path[64];
    struct stat its, ours;
    snprintf(path, sizeof path, "/proc/%d/root/", (int)pid);
    return stat(path, &its) == 0 && stat("/", &ours) == 0 && its.st_dev == ours.st_dev &&
           its.st_ino == ours.st_ino;
}

static unsigned allow_files(void)
{
    struct rlimit limit = {1024, 1024};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t some = limit.rlim_cur > 64 ? limit.rlim_cur - 64 : 0;
    return some < MAX_FDS ? (unsigned)some : MAX_FDS;
}

static bool sched_process(pid_t pid, const struct sched_request *r, struct sn_error *e)
{
    static atomic_int fds[MAX_FDS];
    for (size_t i = 0; i < MAX_FDS; i++)
        atomic_init(&fds[i], -1);
    if (!check_process(pid, e))
        return false;
    struct sn_record_stacks *stacks = r->stacks ? sn_record_stacks_open(pid, e) : NULL;
    if (r->stacks && stacks == NULL)
        return false;
    struct sn_sched_plan plan = {.pid = pid,
                                 .stacks = stacks != NULL ? sn_record_stacks_hooks(stacks)
                                                          : NULL,
                                 .detail = r->detail,
                                 .forced = r->forced,
                                 .source = r->source,
                                 .interval_ms = r->interval_ms,
                                 .tail = "",
                                 .fds = fds,
                                 .max_fds = allow_files()};
    struct sn_sched *s = sn_sched_open(&plan, e);
    bool names_fit = stacks != NULL && sees_our_files(pid);
    struct sn_namer *names = names_fit ? sn_namer_new(SN_DEMANGLE_DEFAULT) : NULL;
    bool good = s != NULL && watch(s, r, names, e);
    sn_namer_free(names);
    sn_sched_close(s, false);
    sn_record_stacks_close(stacks);
    return good;
}

/* ---- the command ----------------------------------------------------------------------
 */

int sched_main(const struct command *self, int argc, char **argv)
{
    struct sn_error e = {.offset = -1};
    struct sched_request r = {.interval_ms = 1000};
    char *end = NULL;
    int n;
    if (!args_parse(sched_flags, &r, false, argv, argc, &n, &e))
        return say_usage(self->name, &e);
    if (r.help) {
        help_command(self, stdout);
        return EXIT_GOOD;
    }
    unsigned long pid = n == 1 ? strtoul(argv[0], &end, 10) : 0;
    if (n != 1)
        sn_fail(&e, NULL, -1, "sched: give the number of one process");
    else if (*argv[0] < '1' || *argv[0] > '9' || *end != '\0' || pid > INT32_MAX)
        sn_fail(&e, NULL, -1, "sched: '%s' is not the number of a process", argv[0]);
    else
        return sched_process((pid_t)pid, &r, &e) ? EXIT_GOOD : say_error(&e);
    return say_usage(self->name, &e);
}
