/* deliver.c: what a recorded program left, as symbolised files and a first look. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- where files go -------------------------------------------------------------------
 */

/* cpu.pprof, or the first of cpu.2.pprof, cpu.3.pprof, ... that is free; made, so that
 * two recordings at once do not choose the same. */
static bool choose_free_name(struct destination *d, struct sn_error *e)
{
    for (unsigned n = 1; n < 10000; n++) {
        snprintf(d->path, sizeof d->path, n == 1 ? "cpu.pprof" : "cpu.%u.pprof", n);
        int fd = open(d->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0)
            close(fd);
        if (fd >= 0 || errno != EEXIST)
            return fd >= 0 || sn_fail(e, d->path, -1, "cannot create: %s; give -o FILE",
                                      strerror(errno));
    }
    return sn_fail(e, "cpu.pprof", -1, "too many of them; give -o FILE");
}

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

bool run_choose_destination(const char *output, struct destination *d, struct sn_error *e)
{
    struct stat st;
    size_t n = output != NULL ? strlen(output) : 0;
    *d = (struct destination){0};
    if (output == NULL) /* its number is chosen when it is written */
        return can_write_beside("cpu.pprof", e);
    if (n >= sizeof d->path)
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
        snprintf(path, PATH_MAX, "%s%scpu%s.pprof", d->path, slash, which);
    else
        snprintf(path, PATH_MAX, "%s%s", d->path, which);
}

/* ---- after the end --------------------------------------------------------------------
 */

#define NAMED 10 /* files that are told one by one */

static bool write_profile(struct sn_profile *p, const char *path, struct sn_error *e)
{
    struct sn_buf out = {.arena = p->arena};
    return load_symbols(p, NULL, NULL, TELL_NOTHING, e) && output_profile(p, &out, e) &&
           output_write(path, &out, e);
}

/* Profiles that are becoming one: few at a time, however many processes there were. */
struct pile {
    struct sn_profile *v[32];
    size_t n;
};

static bool pile_press(struct pile *p, struct sn_error *e)
{
    if (p->n < 2)
        return true;
    struct sn_profile *merged = sn_profile_merge(p->v, p->n, e);
    while (p->n > 0)
        sn_profile_free(p->v[--p->n]);
    if (merged != NULL)
        p->v[p->n++] = merged;
    return merged != NULL;
}

static bool pile_add(struct pile *p, struct sn_profile *one, struct sn_error *e)
{
    p->v[p->n++] = one;
    return p->n < SN_COUNT(p->v) || pile_press(p, e);
}

/* All images as one. */
static struct sn_recorded total(const struct harvest *h)
{
    struct sn_recorded all = h->v[0];
    for (uint32_t i = 1; i < h->n; i++) {
        all.samples += h->v[i].samples;
        all.lost += h->v[i].lost;
        all.blind += h->v[i].blind;
        all.truncated += h->v[i].truncated;
    }
    return all;
}

static unsigned long long rate_hz(const struct sn_recorded *p)
{
    return p->period_ns > 0 ? (1000000000u + p->period_ns / 2) / p->period_ns : 0;
}

/* "2933 samples in 2.95s of CPU (perf clock, 1000 Hz), 0 lost, 0 truncated" */
static void print_head(const struct harvest *h)
{
    struct sn_recorded all = total(h);
    say("%llu samples in %.2fs of CPU (%s clock, %llu Hz), %llu lost, %llu truncated",
        (unsigned long long)all.samples, (double)h->cpu_ns / 1e9, all.clock,
        rate_hz(&all), (unsigned long long)all.lost, (unsigned long long)all.truncated);
    if (all.blind > 0)
        say("%llu threads could not get a clock and were not sampled",
            (unsigned long long)all.blind);
}

static void SN_PRINTF(2, 3) comment(struct sn_profile *p, const char *fmt, ...)
{
    char text[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    uint32_t id = sn_strtab_add(p->strings, text);
    uint32_t *c = SN_PUSH(p->arena, p->comments, p->n_comments, p->cap_comments);
    if (c != NULL)
        *c = id;
}

/* What each of many processes said of itself says nothing of them all. */
static void comment_on_all(struct sn_profile *p, const struct harvest *h)
{
    struct sn_recorded all = total(h);
    p->n_comments = 0;
    comment(p, "clock: %s, %llu Hz", all.clock, rate_hz(&all));
    comment(p, "samples: %llu, lost: %llu, truncated: %llu",
            (unsigned long long)all.samples, (unsigned long long)all.lost,
            (unsigned long long)all.truncated);
    comment(p, "merged: %u programs", h->n);
}

/* One image's file; the first of them are named. */
static bool write_image(const struct harvest *h, uint32_t i, struct sn_profile *p,
                        bool quiet, struct sn_error *e)
{
    char path[PATH_MAX];
    file_of(&h->to, &h->v[i], h->main_pid, path);
    if (!write_profile(p, path, e))
        return false;
    if (!quiet && i < NAMED)
        say("%s: %llu samples of %s", path, (unsigned long long)h->v[i].samples,
            h->v[i].name);
    if (!quiet && i >= NAMED && i + 1 == h->n)
        say("and %u more files; --merge makes them one", h->n - NAMED);
    return true;
}

static bool write_merged(const struct harvest *h, struct sn_profile *all, bool quiet,
                         struct sn_error *e)
{
    const struct sn_recorded main_process = {.pid = h->main_pid};
    char path[PATH_MAX];
    if (h->n > 1)
        comment_on_all(all, h);
    file_of(&h->to, &main_process, h->main_pid, path);
    if (!write_profile(all, path, e))
        return false;
    if (!quiet)
        say("%s: all %u programs", path, h->n);
    return true;
}

/* The first ten of `top`, as the report room prints them, below what has no names. */
static void print_top(struct sn_profile *p)
{
    struct sn_options o = sn_options_default();
    struct sn_buf out = {.arena = p->arena}, painted = {.arena = p->arena};
    struct sn_error e = {.offset = -1};
    o.node_count = 10;
    o.compact_labels = true;
    bool good = load_symbols(p, NULL, NULL, TELL_MODULES, &e) &&
                format_find("top")->write(p, &o, NULL, &out, &e);
    if (good && colour_wanted(stderr)) {
        paint_table(&out, &painted);
        out = painted;
    }
    if (good && !out.failed)
        fwrite(out.data, 1, out.len, stderr);
    else
        say_error(&e);
}

/* Write a file each unless they are merged, and pile them up. */
static bool write_images(const struct harvest *h, const struct run_request *r,
                         struct pile *pile, struct sn_error *e)
{
    for (uint32_t i = 0; i < h->n; i++) {
        struct sn_error bad = {.offset = -1};
        struct sn_profile *p = sn_recorded_load(&h->v[i], &bad);
        if (p == NULL) { /* a process gone wild; the others are good */
            say_error(&bad);
            continue;
        }
        if (!r->merge && !write_image(h, i, p, r->quiet, e)) {
            sn_profile_free(p);
            return false;
        }
        if (!pile_add(pile, p, e))
            return false;
    }
    return pile_press(pile, e);
}

static bool deliver(const struct harvest *h, const struct run_request *r,
                    struct sn_error *e)
{
    struct pile pile = {0};
    if (!r->quiet)
        print_head(h);
    bool good = write_images(h, r, &pile, e);
    if (good && r->merge && pile.n > 0)
        good = write_merged(h, pile.v[0], r->quiet, e);
    if (good && !r->quiet && pile.n > 0 && pile.v[0]->n_samples > 0)
        print_top(pile.v[0]);
    else if (good && !r->quiet && pile.n > 0)
        say("no samples: it used too little CPU time for one; --cpu=1000 takes more");
    while (pile.n > 0)
        sn_profile_free(pile.v[--pile.n]);
    return good;
}

bool run_deliver(struct harvest *h, const struct run_request *r, struct sn_error *e)
{
    struct stat st;
    if (h->n == 0)
        return sn_fail(
            e, NULL, -1,
            "nothing was recorded: libsonde.so was not loaded, or could not start");
    bool chosen = h->to.path[0] == '\0';
    if (chosen && !choose_free_name(&h->to, e))
        return false;
    bool good = deliver(h, r, e);
    if (chosen && stat(h->to.path, &st) == 0 && st.st_size == 0)
        unlink(h->to.path); /* the name was held, and not needed */
    return good;
}
