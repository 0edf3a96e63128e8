/*
 * trace.c: `sonde trace FILE|-`: what a runtime says of itself, line by line, summed up,
 * drawn, or as Chrome's JSON.
 *
 *     first bytes -> a reader -> (text: lines -> events) -> a report
 *
 * A stream that comes while we read is live: what is no line of ours goes on to standard
 * error as it came, Ctrl-C ends it, and what was read until then is reported.
 */
#include "report/trace.h"
#include "alloctrace.h"
#include "draw/draw.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ROWS       10
#define CHUNK      ((size_t)64 << 10)
#define LAST_WORDS 500 /* ms that a program has for them after Ctrl-C */

struct trace_request {
    struct sn_trace_options options;
    const struct trace_format *format; /* NULL: the summary */
    const char *output;
    uint32_t pid; /* whose lines; 0: the first process's */
    bool help;
};

struct trace_format {
    const char *name;
    bool binary;
    bool (*write)(const struct sn_trace *t, const struct trace_request *r,
                  struct sn_buf *out, struct sn_error *e);
};

/* ---- formats --------------------------------------------------------------------------
 */

#define BOLD   "\033[1m"
#define DIM    "\033[2m"
#define YELLOW "\033[33m"
#define PLAIN  "\033[0m"

static const char *colour_of(const char *line, size_t n, bool notes)
{
    if (n == 0)
        return NULL;
    if (*line != ' ')
        return BOLD;
    if (notes)
        return YELLOW;
    for (size_t i = 0; i < n; i++)
        if (line[i] >= '0' && line[i] <= '9' && (i == 0 || line[i - 1] != 'p'))
            return NULL;
    return DIM; /* the heads of columns */
}

static void paint_summary(const struct sn_buf *plain, struct sn_buf *out)
{
    bool notes = false;
    for (const char *p = plain->data, *end = p + plain->len; p < end;) {
        size_t n = strcspn(p, "\n");
        if (*p != ' ' && n > 0)
            notes = strncmp(p, "Notes", 5) == 0;
        const char *colour = colour_of(p, n, notes);
        sn_buf_puts(out, colour != NULL ? colour : "");
        sn_buf_add(out, p, n);
        sn_buf_puts(out, colour != NULL ? PLAIN : "");
        sn_buf_putc(out, '\n');
        p += n + (p[n] == '\n');
    }
    out->failed |= plain->failed;
}

static bool write_summary(const struct sn_trace *t, const struct trace_request *r,
                          struct sn_buf *out, struct sn_error *e)
{
    struct sn_buf plain = {.arena = out->arena};
    bool painted = r->output == NULL && colour_wanted(stdout);
    if (!sn_trace_summary(t, &r->options, painted ? &plain : out, e))
        return false;
    if (painted)
        paint_summary(&plain, out);
    return true;
}

static bool draw(const struct sn_trace *t, const struct trace_request *r,
                 enum sn_picture kind, struct sn_buf *out, struct sn_error *e)
{
    struct sn_chart *c = sn_trace_chart(t, &r->options, e);
    bool good = c != NULL && sn_draw_chart(c, kind, out, e);
    sn_chart_free(c);
    return good;
}

static bool write_svg(const struct sn_trace *t, const struct trace_request *r,
                      struct sn_buf *out, struct sn_error *e)
{
    return draw(t, r, SN_PICTURE_SVG, out, e);
}

static bool write_pdf(const struct sn_trace *t, const struct trace_request *r,
                      struct sn_buf *out, struct sn_error *e)
{
    return draw(t, r, SN_PICTURE_PDF, out, e);
}

static bool write_png(const struct sn_trace *t, const struct trace_request *r,
                      struct sn_buf *out, struct sn_error *e)
{
    return draw(t, r, SN_PICTURE_PNG, out, e);
}

static bool write_json(const struct sn_trace *t, const struct trace_request *r,
                       struct sn_buf *out, struct sn_error *e)
{
    if (t->n_gcs + t->n_scavs + t->n_sweeps == 0)
        return sn_fail(
            e, NULL, -1,
            "there is nothing to show in time: no collections, no lines of the "
            "scheduler or the scavenger");
    sn_trace_json(t, r->options.title, out);
    return !out->failed || sn_fail(e, NULL, -1, "out of memory");
}

static const struct trace_format formats[] = {
    {"summary", false, write_summary}, {"svg", true, write_svg},
    {"pdf", true, write_pdf},          {"png", true, write_png},
    {"json", false, write_json},
};

/* ---- options --------------------------------------------------------------------------
 */

static bool set_format(void *to, const char *name, const char *value, struct sn_error *e)
{
    struct trace_request *r = to;
    const struct trace_format *f = formats;
    if (strcmp(value, "false") == 0)
        return true;
    while (strcmp(f->name, name) != 0)
        f++;
    if (r->format != NULL && r->format != f)
        return sn_fail(e, NULL, -1, "one report at a time: --%s or --%s", r->format->name,
                       name);
    r->format = f;
    return true;
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
    return set_count(name, value, &((struct trace_request *)to)->options.top, e);
}

static bool set_lanes(void *to, const char *name, const char *value, struct sn_error *e)
{
    return set_count(name, value, &((struct trace_request *)to)->options.lanes, e);
}

static bool set_pid(void *to, const char *name, const char *value, struct sn_error *e)
{
    return set_count(name, value, &((struct trace_request *)to)->pid, e);
}

static bool set_title(void *to, const char *name, const char *value, struct sn_error *e)
{
    (void)name, (void)e;
    ((struct trace_request *)to)->options.title = value;
    return true;
}

static bool set_output(void *to, const char *name, const char *value, struct sn_error *e)
{
    (void)name;
    ((struct trace_request *)to)->output = strcmp(value, "-") != 0 ? value : NULL;
    return *value != '\0' || sn_fail(e, NULL, -1, "option '--output' wants a file");
}

static bool set_help(void *to, const char *name, const char *value, struct sn_error *e)
{
    return args_bool(name, value, &((struct trace_request *)to)->help, e);
}

static const struct flag reports[] = {
    {"summary", FLAG_SWITCH, NULL, "in words and numbers (the default)", set_format},
    {"svg", FLAG_SWITCH, NULL, "charts as SVG, for a browser", set_format},
    {"pdf", FLAG_SWITCH, NULL, "charts as PDF, one page", set_format},
    {"png", FLAG_SWITCH, NULL, "charts as PNG", set_format},
    {"json", FLAG_SWITCH, NULL, "for chrome://tracing and ui.perfetto.dev", set_format},
};

static const struct flag options[] = {
    {"top", FLAG_VALUE, "N", "at most N rows a table (10; 0: all)", set_top},
    {"lanes", FLAG_VALUE, "N", "in charts: the N threads that ran most (200)", set_lanes},
    {"pid", FLAG_VALUE, "N", "the lines of that process, where a trace has several",
     set_pid},
    {"title", FLAG_VALUE, "TEXT", "of charts and JSON; else the file's name", set_title},
    {"output", FLAG_VALUE, "FILE", "write there, whole or not at all (also -o)",
     set_output},
    {"o", FLAG_VALUE, "FILE", NULL, set_output},
    {"help", FLAG_SWITCH, NULL, "this help", set_help},
    {"h", FLAG_SWITCH, NULL, NULL, set_help},
};

static const struct flag_table text_flags[] = {{"Reports", reports, SN_COUNT(reports)},
                                               {"Options", options, SN_COUNT(options)},
                                               {0}};
/* Both kinds of files, for the help. */
const struct flag_table trace_flags[] = {
    {"Reports of lines", reports, SN_COUNT(reports)},
    {"Options", options, SN_COUNT(options)},
    {"Of a trace of allocations", alloctrace_options, ALLOCTRACE_OWN},
    {0}};

/* ---- reading --------------------------------------------------------------------------
 */

struct input {
    int fd;
    const char *name; /* of errors */
    bool live;
    char *chunk; /* CHUNK */
    size_t n;    /* bytes in it */
    char *own;   /* CHUNK: lines of the program's own, on their way to standard error */
    size_t n_own;
    struct progress progress;
    struct timespec began;
};

static volatile sig_atomic_t interrupted;

static void note_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static int64_t passed_ns(const struct input *in)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - in->began.tv_sec) * INT64_C(1000000000) +
           (now.tv_nsec - in->began.tv_nsec);
}

/* Is there something to read? Ctrl-C is let in only here; after it there is not much
 * time left. */
static bool await_bytes(struct input *in)
{
    const struct timespec soon = {.tv_nsec = LAST_WORDS * 1000000L};
    struct pollfd p = {.fd = in->fd, .events = POLLIN};
    sigset_t none;
    if (!in->live)
        return true;
    sigemptyset(&none);
    for (;;) {
        int n = ppoll(&p, 1, interrupted ? &soon : NULL, &none);
        if (n >= 0 || errno != EINTR)
            return n > 0;
    }
}

/* Fill the chunk behind what is there; false: the end, or an error. */
static bool read_some(struct input *in, struct sn_error *e)
{
    ssize_t n;
    if (!await_bytes(in))
        return false;
    do
        n = read(in->fd, in->chunk + in->n, CHUNK - in->n);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return sn_fail(e, in->name, -1, "cannot read: %s", strerror(errno));
    in->n += (size_t)n;
    return n > 0;
}

/* Ctrl-C ends the reading, not us; a second one us too. */
static void watch_interrupts(void)
{
    struct sigaction a = {.sa_handler = note_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaction(SIGINT, &a, NULL);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static bool open_input(struct input *in, const char *path, struct sn_error *e)
{
    struct stat st;
    bool standard = strcmp(path, "-") == 0;
    in->name = standard ? "standard input" : path;
    in->fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0)
        return sn_fail(e, path, -1, "cannot open: %s", strerror(errno));
    if (fstat(in->fd, &st) == 0 && S_ISDIR(st.st_mode))
        return sn_fail(e, path, -1, "is a directory");
    in->live = fstat(in->fd, &st) == 0 && !S_ISREG(st.st_mode);
    if (standard && in->live && isatty(in->fd))
        say("reading the terminal; usually: GODEBUG=gctrace=1 ./program 2>&1 | sonde "
            "trace -");
    clock_gettime(CLOCK_MONOTONIC, &in->began);
    if (in->live)
        watch_interrupts();
    return true;
}

/* ---- lines ----------------------------------------------------------------------------
 */

/* A chunk's at once, and before more is waited for. */
static void flush_own(struct input *in)
{
    uint64_t began = in->progress.began_ns;
    if (in->n_own == 0)
        return;
    progress_clear(&in->progress);
    in->progress.began_ns = began;
    for (size_t done = 0; done < in->n_own;) {
        ssize_t n = write(STDERR_FILENO, in->own + done, in->n_own - done);
        if (n < 0 && errno != EINTR)
            break;
        done += n > 0 ? (size_t)n : 0;
    }
    in->n_own = 0;
}

static void pass_on(void *to, const char *bytes, size_t n)
{
    struct input *in = to;
    while (in->live && n > 0) {
        size_t room = CHUNK - in->n_own, part = n < room ? n : room;
        memcpy(in->own + in->n_own, bytes, part);
        in->n_own += part;
        bytes += part;
        n -= part;
        if (in->n_own == CHUNK)
            flush_own(in);
    }
}

static void show_progress(struct input *in, const struct sn_trace *t)
{
    const struct sn_trace_sweep *w = t->n_sweeps > 0 ? &t->sweeps[t->n_sweeps - 1] : NULL;
    char heap[64] = "", queue[96] = "";
    if (t->gc.last_live >= 0)
        sn_unit_label(t->gc.last_live, "bytes", "auto", heap, sizeof heap);
    if (w != NULL && w->queue >= 0)
        snprintf(queue, sizeof queue, ", %d wait for a CPU", w->queue);
    progress_show(&in->progress, "%.1f s: %llu collections%s%s%s%s",
                  (double)passed_ns(in) / 1e9, (unsigned long long)t->gc.n,
                  *heap != '\0' ? ", live heap " : "", heap, queue,
                  in->live ? "; Ctrl-C ends" : "");
}

static bool report(const struct sn_trace *t, const struct trace_request *r,
                   struct sn_error *e)
{
    const struct trace_format *f = r->format != NULL ? r->format : &formats[0];
    struct sn_buf out = {.arena = t->arena};
    return f->write(t, r, &out, e) && output_write(r->output, &out, e);
}

static bool any_line(const struct sn_trace *t)
{
    for (unsigned i = SN_TRACE_OTHER + 1; i < SN_TRACE_LINES; i++)
        if (t->lines[i] > 0)
            return true;
    return false;
}

/* Of a pipe too: what has come is in the chunk. */
static bool read_text(struct input *in, const struct trace_request *r, struct sn_error *e)
{
    struct sn_trace *t = sn_trace_new(NULL);
    bool good = t != NULL;
    if (good)
        sn_trace_set_pid(t, r->pid);
    do {
        good = good &&
               sn_trace_feed(t, in->chunk, in->n,
                             in->live ? passed_ns(in) : SN_TRACE_ABSENT, pass_on, in);
        flush_own(in);
        if (good)
            show_progress(in, t);
        in->n = 0;
    } while (good && read_some(in, e));
    good = good && e->what[0] == '\0' && sn_trace_finish(t, pass_on, in);
    flush_own(in);
    progress_clear(&in->progress);
    if (good && !any_line(t))
        good = sn_fail(e, in->name, -1,
                       "no line of a runtime's trace in it (SCHED, gc, scvg, "
                       "tracealloc, ...)");
    good = good ? report(t, r, e) : sn_fail(e, NULL, -1, "out of memory");
    sn_trace_free(t);
    return good;
}

/* ---- readers, by the first bytes ------------------------------------------------------
 */

struct reader {
    const char *magic; /* first bytes; "": any */
    bool (*read)(struct input *in, const struct trace_request *r, struct sn_error *e);
    const char *instead; /* what such a file is, where it cannot be read */
};

static const struct reader readers[] = {
    {"\x1f\x8b", NULL, "is compressed: a profile? see 'sonde top'; else unpack it"},
    {"\x7f"
     "ELF",
     NULL, "is a program: run it, 'GODEBUG=gctrace=1 ./program 2>&1 | sonde trace -'"},
    {"SNHDUMP", NULL, "is a heap dump; see 'sonde heapdump'"},
    {"SONDEALF", NULL, "is a trace of allocations: give its file's name, not '-'"},
    {"", read_text, NULL},
};

/* A pipe may give less than a magic at once. */
static bool read_any(struct input *in, const struct trace_request *r, struct sn_error *e)
{
    const struct reader *k = readers;
    while (in->n < 8 && memchr(in->chunk, '\n', in->n) == NULL && read_some(in, e))
        ;
    if (e->what[0] != '\0')
        return false;
    while (in->n < strlen(k->magic) || memcmp(in->chunk, k->magic, strlen(k->magic)) != 0)
        k++;
    return k->read != NULL ? k->read(in, r, e)
                           : sn_fail(e, in->name, 0, "%s", k->instead);
}

static bool trace_file(const char *path, struct trace_request *r, struct sn_error *e)
{
    struct input in = {.chunk = sn_pages_map(2 * CHUNK), .fd = -1};
    const char *slash = strrchr(path, '/');
    if (in.chunk == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    in.own = in.chunk + CHUNK;
    if (r->options.title == NULL)
        r->options.title = strcmp(path, "-") == 0 ? "trace"
                           : slash != NULL        ? slash + 1
                                                  : path;
    bool good = output_check(r->output, r->format != NULL && r->format->binary, e) &&
                open_input(&in, path, e) && read_any(&in, r, e);
    if (in.fd > STDIN_FILENO)
        close(in.fd);
    sn_pages_unmap(in.chunk, 2 * CHUNK);
    return good;
}

/* ---- the command ----------------------------------------------------------------------
 */

/* Lines and traces of allocations have options of their own. */
static bool check_kind(bool allocations, int argc, char **argv, struct sn_error *e)
{
    const struct flag_table *own = allocations ? alloctrace_flags : text_flags,
                            *others = allocations ? text_flags : alloctrace_flags;
    char name[64];
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *word = argv[i] + 1 + (argv[i][0] == '-' && argv[i][1] == '-');
        if (argv[i][0] != '-' || argv[i][1] == '\0')
            continue;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
        if (args_find(own, name) != NULL || args_find(others, name) == NULL)
            continue;
        return sn_fail(e, NULL, -1, "option '--%s' is for %s", name,
                       allocations ? "lines of a runtime, and this is a trace of "
                                     "allocations: --count, --proto, or neither"
                                   : "a trace of allocations, the file alloc.trace of "
                                     "allocfreetrace; none is there by that name");
    }
    return true;
}

int trace_main(const struct command *self, int argc, char **argv)
{
    struct sn_error e = {.offset = -1};
    struct trace_request r = {.options = {.top = ROWS}};
    bool allocations = alloctrace_named(argc, argv);
    int n;
    if (!check_kind(allocations, argc, argv, &e))
        return say_usage(self->name, &e);
    if (allocations)
        return alloctrace_main(self, argc, argv);
    if (!args_parse(text_flags, &r, false, argv, argc, &n, &e))
        return say_usage(self->name, &e);
    if (r.help) {
        help_command(self, stdout);
        return EXIT_GOOD;
    }
    if (n != 1) {
        sn_fail(&e, NULL, -1, "trace: give %s",
                n == 0 ? "a file of trace lines, or '-'" : "one file");
        return say_usage(self->name, &e);
    }
    return trace_file(argv[0], &r, &e) ? EXIT_GOOD : say_error(&e);
}
