/*
 * alloctrace.c: `sonde trace FILE` of a trace of allocations: printed, counted, filtered,
 * or as a profile.
 *
 *     file -> reader -> [filter] -> lines | sums -> table | profile
 */
#include "alloctrace.h"
#include "cli.h"
#include "report/alloctrace.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLICE ((size_t)256 << 10) /* of text, written at once */

struct alloc_request {
    struct sn_alloc_filter filter;
    const char *output; /* NULL: standard output */
    bool count, proto, help;
    unsigned rows; /* of the table; 0: all */
};

/* ---- options --------------------------------------------------------------------------
 */

static bool set_count(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct alloc_request *)to)->count, e);
}

static bool set_proto(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct alloc_request *)to)->proto, e);
}

static bool set_leaked(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct alloc_request *)to)->filter.leaked, e);
}

static bool set_help(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct alloc_request *)to)->help, e);
}

static bool set_output(void *to, const char *name, const char *value, struct sn_error *e)
{
    (void)name;
    ((struct alloc_request *)to)->output = value;
    return *value != '\0' || sn_fail(e, NULL, -1, "option '--output' wants a file");
}

static bool set_site(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct sn_alloc_filter *f = &((struct alloc_request *)to)->filter;
    sn_regex_free(f->site);
    f->site = sn_regex_new(value, name, e);
    return f->site != NULL;
}

/* A number up to `end`: decimal, or hexadecimal with 0x. */
static bool read_number(const char *text, const char **end, uint64_t *to)
{
    char *stop;
    errno = 0;
    *to = strtoull(text, &stop, strncmp(text, "0x", 2) == 0 ? 16 : 10);
    *end = stop;
    return *text >= '0' && *text <= '9' && errno == 0;
}

static bool set_address(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct sn_alloc_filter *f = &((struct alloc_request *)to)->filter;
    char *end;
    errno = 0;
    f->address = strtoull(value, &end, 16);
    f->by_address = true;
    return (*value != '\0' && *value != '-' && *end == '\0' && errno == 0) ||
           sn_fail(e, NULL, -1,
                   "option '--%s' wants an address as 0x55d0c8a012a0, not "
                   "'%s'",
                   name, value);
}

static bool set_size(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct sn_alloc_filter *f = &((struct alloc_request *)to)->filter;
    const char *end;
    bool good = read_number(value, &end, &f->min_size);
    f->max_size = f->min_size;
    f->by_size = true;
    if (good && *end == '-' && end[1] == '\0') {
        f->max_size = UINT64_MAX;
        end++;
    } else if (good && *end == '-') {
        good = read_number(end + 1, &end, &f->max_size);
    }
    return (good && *end == '\0' && f->min_size <= f->max_size) ||
           sn_fail(e, NULL, -1,
                   "option '--%s' wants bytes as 64, 64-128 or 4096-, not '%s'", name,
                   value);
}

static bool set_thread(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct sn_alloc_filter *f = &((struct alloc_request *)to)->filter;
    const char *end;
    uint64_t tid;
    bool good = read_number(value, &end, &tid) && *end == '\0' && tid <= UINT32_MAX;
    f->tid = (uint32_t)tid;
    f->by_thread = true;
    return good || sn_fail(e, NULL, -1, "option '--%s' wants a thread's number, not '%s'",
                           name, value);
}

/* "1.5", "1.5s", "20ms", "7us", "3ns": nanoseconds. */
static bool read_time(const char *value, uint64_t *ns)
{
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"", 1e9}, {"s", 1e9}, {"ms", 1e6}, {"us", 1e3}, {"ns", 1}};
    char *end;
    double n = strtod(value, &end);
    if (!(*value >= '0' && *value <= '9') || !(n >= 0 && n < 1e9))
        return false;
    for (size_t i = 0; i < SN_COUNT(units); i++)
        if (strcmp(end, units[i].unit) == 0) {
            *ns = (uint64_t)(n * units[i].ns + 0.5); /* a decimal is seldom exact */
            return true;
        }
    return false;
}

static bool set_time(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct sn_alloc_filter *f = &((struct alloc_request *)to)->filter;
    return read_time(value, *name == 'f' ? &f->from_ns : &f->to_ns) ||
           sn_fail(
               e, NULL, -1,
               "option '--%s' wants a time since the start, as 1.5s or 20ms, not '%s'",
               name, value);
}

static bool set_gc(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct sn_alloc_filter *f = &((struct alloc_request *)to)->filter;
    f->by_heap = true;
    return args_bool(name, value, &f->gc, e);
}

static bool set_late(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct sn_alloc_filter *f = &((struct alloc_request *)to)->filter;
    f->by_lateness = true;
    return args_bool(name, value, &f->late, e);
}

static bool set_rows(void *to, const char *name, const char *value, struct sn_error *e)
{
    const char *end;
    uint64_t n;
    bool good = read_number(value, &end, &n) && *end == '\0' && n <= UINT32_MAX;
    ((struct alloc_request *)to)->rows = (unsigned)n;
    return good ||
           sn_fail(e, NULL, -1, "option '--%s' wants a number, not '%s'", name, value);
}

const struct flag alloctrace_options[] = {
    {"count", FLAG_SWITCH, NULL,
     "a table: what each site allocated, and what became of it", set_count},
    {"proto", FLAG_SWITCH, NULL,
     "a profile for every report: alloc_ and inuse_, by stack", set_proto},
    {"site", FLAG_VALUE, "RX", "blocks allocated where 'function file:line' matches",
     set_site},
    {"address", FLAG_VALUE, "ADDR", "what happened at that address", set_address},
    {"size", FLAG_VALUE, "MIN[-MAX]", "blocks of so many bytes", set_size},
    {"thread", FLAG_VALUE, "TID", "what that thread did", set_thread},
    {"from", FLAG_VALUE, "TIME", "not before, as 1.5s or 20ms since the start", set_time},
    {"to", FLAG_VALUE, "TIME", "not after", set_time},
    {"gc", FLAG_SWITCH, NULL,
     "only blocks of a collected heap; --gc=false: only malloc's", set_gc},
    {"late", FLAG_SWITCH, NULL,
     "only what a collection saw; --late=false: only what functions told", set_late},
    {"leaked", FLAG_SWITCH, NULL, "only allocations that were never freed", set_leaked},
    {"top", FLAG_VALUE, "N", "of a table: the first N sites", set_rows},
    {"output", FLAG_VALUE, "FILE", "where it goes (also -o)", set_output},
    {"o", FLAG_VALUE, "FILE", NULL, set_output},
    {"help", FLAG_SWITCH, NULL, "this help", set_help},
    {"h", FLAG_SWITCH, NULL, NULL, set_help},
};

_Static_assert(SN_COUNT(alloctrace_options) == ALLOCTRACE_OPTIONS, "as declared");

const struct flag_table alloctrace_flags[] = {
    {"Options for a trace of allocations", alloctrace_options, ALLOCTRACE_OPTIONS}, {0}};

/* ---- reading --------------------------------------------------------------------------
 */

/* What each event goes through. */
struct work {
    const struct alloc_request *r;
    struct sn_alloctrace *t;
    const struct sn_alloctrace *all; /* read before, for `leaked` */
    struct sn_alloc_names *names;
    struct sn_alloc_sites *sites; /* NULL: lines */
    struct sn_buf text;
    struct sn_output to; /* of lines */
    struct sn_error bad; /* of writing them */
    bool failed;
};

static bool flush(struct work *w)
{
    if (w->text.failed)
        w->failed = !sn_fail(&w->bad, NULL, -1, "out of memory");
    else if (!w->failed)
        w->failed = !sn_output_add(&w->to, w->text.data, w->text.len, &w->bad);
    w->text.len = 0;
    return !w->failed;
}

static bool work_on(void *argument, const struct sn_alloc_event *x)
{
    struct work *w = argument;
    if (!sn_alloc_wanted(&w->r->filter, w->names, w->all, x))
        return true;
    if (w->sites != NULL) {
        w->failed |= !sn_alloc_sites_add(w->sites, x);
        return !w->failed;
    }
    sn_alloc_put_event(w->names, x, "", &w->text);
    return w->text.len < SLICE || flush(w);
}

/* All of it, from the beginning; what is bad is in *e, after what is good. */
static void read_all(struct alloc_file *f, struct sn_alloctrace *t, struct work *w,
                     struct sn_error *e)
{
    f->next = 0;
    while (alloc_file_step(f, t, true, w != NULL ? work_on : NULL, w, e) &&
           (w == NULL || !w->failed))
        continue;
    if (e->what[0] == '\0')
        alloc_file_is_cut(f, e);
}

static void say_losses(const struct alloc_file *f, const struct sn_alloctrace *t)
{
    const struct sn_alloctrace_header *h = f->header;
    if (h->why != SN_ALLOCTRACE_WHOLE)
        say("%s: it ends early, %s: %llu events are lost", f->path, sn_alloctrace_loss(h),
            (unsigned long long)h->lost);
    if (h->unseen > 0)
        say("%s: %llu blocks of the collected heap were not followed, there was no room",
            f->path, (unsigned long long)h->unseen);
    if (t->n_unwritten > 0)
        say("%s: %llu slots were claimed and not written when the program was killed",
            f->path, (unsigned long long)t->n_unwritten);
}

/* ---- what comes of it -----------------------------------------------------------------
 */

static bool write_report(struct work *w, struct sn_error *e)
{
    struct sn_buf out = {.arena = w->t->arena};
    if (!w->r->proto)
        return sn_alloc_put_sites(w->sites, w->names, w->t, w->r->rows, &out, e) &&
               output_write(w->r->output, &out, e);
    struct sn_profile *p = sn_alloc_profile(w->sites, w->t, e);
    bool good = p != NULL && output_named(p, w->r->output, e);
    sn_profile_free(p);
    return good;
}

/* Lines go out as they come, there may be millions; but to a file of that name only when
 * all are written. */
static bool open_lines(struct work *w, struct sn_error *e)
{
    bool named = w->r->output != NULL && strcmp(w->r->output, "-") != 0;
    return sn_output_open(&w->to, named ? w->r->output : NULL, 0666, e);
}

static bool report(struct work *w, struct alloc_file *f, struct sn_error *e)
{
    struct sn_error bad = {.offset = -1}, *first = w->all == w->t ? e : &bad;
    bool lines = w->sites == NULL;
    w->names = sn_alloc_names_new(w->t, NULL);
    if (w->names == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    if (lines && !open_lines(w, e))
        return false;
    read_all(f, w->t, w, first);
    if (w->failed && !lines)
        return sn_fail(e, NULL, -1, "out of memory");
    struct sn_error late = {.offset = -1};
    bool good = lines ? sn_output_close(&w->to, flush(w), &late) : write_report(w, &late);
    if (w->bad.what[0] != '\0')
        late = w->bad;
    if (first->what[0] == '\0')
        say_losses(f, w->t);
    if (e->what[0] == '\0' && late.what[0] != '\0')
        *e = late;
    return good && e->what[0] == '\0';
}

static bool trace_file(const char *path, const struct alloc_request *r,
                       struct sn_error *e)
{
    struct alloc_file f;
    if (!output_check(r->output, r->proto, e) || !alloc_file_open(path, &f, e))
        return false;
    struct work w = {.r = r, .bad.offset = -1};
    struct sn_alloctrace *all = NULL;
    w.t = sn_alloctrace_new(f.header, SN_ALLOCTRACE_AT, f.path, e);
    w.all = w.t;
    if (w.t != NULL && r->filter.leaked) {
        all = sn_alloctrace_new(f.header, SN_ALLOCTRACE_AT, f.path, e);
        w.all = all;
        if (all != NULL)
            read_all(&f, all, NULL, e);
    }
    if (w.t != NULL && (r->count || r->proto))
        w.sites = sn_alloc_sites_new(w.t);
    bool ready =
        w.t != NULL && w.all != NULL && (w.sites != NULL || !(r->count || r->proto));
    if (w.t != NULL)
        w.text.arena = w.t->arena;
    bool good = ready && report(&w, &f, e);
    if (!ready)
        sn_fail(e, f.path, -1, "out of memory");
    sn_alloc_names_free(w.names);
    sn_alloctrace_free(all);
    sn_alloctrace_free(w.t);
    alloc_file_close(&f);
    return good;
}

bool alloctrace_named(int argc, char **argv)
{
    char head[8];
    bool is = false;
    for (int i = 0; i < argc && !is; i++) {
        bool input = strcmp(argv[i], "-") == 0;
        struct stat st; /* a pipe would notice that it was opened */
        if ((input ? fstat(STDIN_FILENO, &st) : stat(argv[i], &st)) != 0 ||
            !S_ISREG(st.st_mode))
            continue;
        int fd = input ? STDIN_FILENO : open(argv[i], O_RDONLY | O_CLOEXEC);
        is = fd >= 0 && pread(fd, head, sizeof head, 0) == sizeof head &&
             sn_alloctrace_is(head, sizeof head);
        if (fd > STDIN_FILENO)
            close(fd);
    }
    return is;
}

int alloctrace_main(const struct command *self, int argc, char **argv)
{
    struct sn_error e = {.offset = -1};
    struct alloc_request r = {0};
    int n, status;
    bool parsed = args_parse(alloctrace_flags, &r, false, argv, argc, &n, &e);
    if (parsed && r.help) {
        help_command(self, stdout);
        status = EXIT_GOOD;
    } else if (!parsed) {
        status = say_usage(self->name, &e);
    } else if (n != 1) {
        sn_fail(&e, NULL, -1, "trace: give one file");
        status = say_usage(self->name, &e);
    } else if (r.count && r.proto) {
        sn_fail(&e, NULL, -1, "one report at a time: --count or --proto");
        status = say_usage(self->name, &e);
    } else {
        status = trace_file(argv[0], &r, &e) ? EXIT_GOOD : say_error(&e);
    }
    sn_regex_free(r.filter.site);
    return status;
}
