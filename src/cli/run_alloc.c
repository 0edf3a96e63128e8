/*
 * run_alloc.c: the text of `sonde run --allocfreetrace`, printed while the program runs.
 *
 *     a thread: [new traces in the directory? -> read what there is of each -> print]...
 *
 * The program never waits for us: what is not printed yet is in its file, whose beginning
 * goes back to the disk when it was. Where nobody reads our lines any more, the program
 * is told to trace no more, and goes on.
 */
#include "alloctrace.h"
#include "cli.h"
#include "report/alloctrace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_NS 20000000
#define SLICE    ((size_t)64 << 10) /* of text, written at once */

/* One image's. */
struct traced {
    struct alloc_file file;
    struct sn_alloctrace *t;
    struct sn_alloc_names *names;
    struct sn_buf text;
    char tail[32];
    int to;
    bool bad;                /* nothing more is read of it */
    struct alloc_live *live; /* whose it is */
};

struct alloc_live {
    char directory[PATH_MAX];
    char to[PATH_MAX];
    struct traced **v;
    size_t n, cap;
    uint32_t first_pid;
    pthread_t thread;
    atomic_bool over;  /* the program has ended */
    bool unread;       /* nobody takes our lines */
    struct sn_error e; /* the first */
};

/* ---- printing -------------------------------------------------------------------------
 */

static bool flush(struct traced *x)
{
    const char *p = x->text.data;
    size_t left = x->text.len;
    while (left > 0 && !x->live->unread) {
        ssize_t n = write(x->to, p, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EPIPE)
            sn_fail(&x->live->e, x->live->to, -1, "cannot write: %s", strerror(errno));
        x->live->unread = n < 0;
        p += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    x->text.len = 0;
    return !x->live->unread;
}

static bool print(void *argument, const struct sn_alloc_event *event)
{
    struct traced *x = argument;
    sn_alloc_put_event(x->names, event, x->tail, &x->text);
    return x->text.len < SLICE || flush(x);
}

/* ---- traces ---------------------------------------------------------------------------
 */

static void traced_free(struct traced *x)
{
    if (x == NULL)
        return;
    sn_alloc_names_free(x->names);
    sn_alloctrace_free(x->t);
    alloc_file_close(&x->file);
    if (x->to > STDERR_FILENO)
        close(x->to);
    free(x);
}

/* `to` with each %p replaced by the process's number, as the library does. */
static int open_output(const char *to, uint32_t pid, struct sn_error *e)
{
    char path[PATH_MAX], number[16];
    size_t n = 0;
    if (*to == '\0')
        return STDERR_FILENO;
    snprintf(number, sizeof number, "%u", pid);
    for (const char *c = to; *c != '\0' && n < sizeof path; c++) {
        bool is = c[0] == '%' && c[1] == 'p';
        n += (size_t)snprintf(path + n, sizeof path - n, "%.*s", is ? 16 : 1,
                              is ? number : c);
        c += is;
    }
    int fd = n < sizeof path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)
                             : -1;
    if (fd < 0)
        sn_fail(e, to, -1, "cannot write the trace: %s",
                n < sizeof path ? strerror(errno) : "its name is too long");
    return fd;
}

/* NULL: it cannot be read, yet or at all. */
static struct traced *traced_new(struct alloc_live *l, const char *path)
{
    struct sn_error e = {.offset = -1};
    struct traced *x = calloc(1, sizeof *x);
    if (x == NULL)
        return NULL;
    x->live = l;
    x->file.fd = -1;
    if (alloc_file_open(path, &x->file, &e) && x->file.header->ticks_per_ms != 0)
        x->t = sn_alloctrace_new(x->file.header, SN_ALLOCTRACE_AT, path, &l->e);
    x->names = x->t != NULL ? sn_alloc_names_new(x->t) : NULL;
    if (x->names != NULL) {
        x->text.arena = x->t->arena;
        x->to = open_output(l->to, x->file.header->pid, &l->e);
        if (x->to >= 0)
            return x;
    }
    traced_free(x);
    return NULL;
}

static bool is_known(const struct alloc_live *l, const char *path)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->v[i]->file.path, path) == 0)
            return true;
    return false;
}

static bool is_name(const char *name)
{
    size_t n = strlen(name);
    return n > 6 && strncmp(name, "alloc.", 6) == 0 &&
           strcmp(name + n - 6, ".trace") == 0;
}

static void add(struct alloc_live *l, const char *path)
{
    struct traced *x = traced_new(l, path);
    if (x == NULL)
        return;
    if (l->n == l->cap) {
        size_t cap = 2 * l->cap + 8;
        struct traced **v = realloc(l->v, cap * sizeof(struct traced *));
        if (v == NULL) {
            traced_free(x);
            return;
        }
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = x;
}

static int by_start(const void *a, const void *b)
{
    uint64_t x = (*(struct traced *const *)a)->t->header.start_mono_ns;
    uint64_t y = (*(struct traced *const *)b)->t->header.start_mono_ns;
    return (x > y) - (x < y);
}

static void find_new(struct alloc_live *l)
{
    char path[PATH_MAX + 256];
    size_t before = l->n;
    DIR *dir = opendir(l->directory);
    for (const struct dirent *d; dir != NULL && (d = readdir(dir)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", l->directory, d->d_name);
        if (is_name(d->d_name) && strlen(path) < PATH_MAX && !is_known(l, path))
            add(l, path);
    }
    if (dir != NULL)
        closedir(dir);
    if (l->n == before)
        return;
    qsort(l->v, l->n, sizeof(struct traced *), by_start);
    if (l->first_pid == 0)
        l->first_pid = l->v[0]->t->header.pid;
    for (size_t i = 0; i < l->n; i++) {
        struct traced *x = l->v[i];
        if (x->t->header.pid != l->first_pid)
            snprintf(x->tail, sizeof x->tail, " pid=%u", x->t->header.pid);
    }
}

/* ---- the thread -----------------------------------------------------------------------
 */

static bool is_over(const struct traced *x)
{
    pid_t pid = (pid_t)x->file.header->pid;
    return x->file.header->state == 2 || (kill(pid, 0) != 0 && errno == ESRCH);
}

/* What there is of it. `final`: the program has ended. */
static void follow(struct traced *x, bool final)
{
    bool last = final && is_over(x);
    struct sn_error bad = {.offset = -1};
    while (!x->bad && !x->live->unread &&
           alloc_file_step(&x->file, x->t, last, print, x, &bad))
        alloc_file_forget(&x->file);
    flush(x);
    if (bad.what[0] != '\0') {
        x->bad = true;
        if (x->live->e.what[0] == '\0')
            x->live->e = bad;
    }
    if (x->file.shared && (x->live->unread || x->bad || (final && !last)))
        __atomic_store_n(&x->file.header->unread, 1, __ATOMIC_RELAXED);
}

static void *watch(void *argument)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    struct alloc_live *l = argument;
    for (;;) {
        bool final = atomic_load(&l->over);
        find_new(l);
        for (size_t i = 0; i < l->n; i++)
            follow(l->v[i], final);
        if (final)
            return NULL;
        nanosleep(&pause, NULL);
    }
}

struct alloc_live *alloc_live_start(const char *directory, const char *to,
                                    struct sn_error *e)
{
    sigset_t all, before;
    struct alloc_live *l = calloc(1, sizeof *l);
    if (l == NULL) {
        sn_fail(e, NULL, -1, "out of memory");
        return NULL;
    }
    l->e.offset = -1;
    snprintf(l->directory, sizeof l->directory, "%s", directory);
    snprintf(l->to, sizeof l->to, "%s", to != NULL ? to : "");
    sigfillset(&all); /* SIGPIPE too: it is an error of write then */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&l->thread, NULL, watch, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        return l;
    free(l);
    sn_fail(e, NULL, -1, "no thread can be started: %s", strerror(error));
    return NULL;
}

static void say_losses(const struct traced *x)
{
    const struct sn_alloctrace_header *h = x->file.header;
    if (h->why != SN_ALLOCTRACE_WHOLE && h->why != SN_ALLOCTRACE_UNREAD)
        say("the trace of process %u ends early, %s: %llu events are lost", h->pid,
            sn_alloctrace_loss(h), (unsigned long long)h->lost);
    if (x->t->n_unwritten > 0)
        say("process %u was killed while it wrote %llu slots of its trace", h->pid,
            (unsigned long long)x->t->n_unwritten);
}

bool alloc_live_finish(struct alloc_live *l, struct sn_error *e)
{
    if (l == NULL)
        return true;
    atomic_store(&l->over, true);
    pthread_join(l->thread, NULL);
    for (size_t i = 0; i < l->n; i++) {
        say_losses(l->v[i]);
        traced_free(l->v[i]);
    }
    bool good = l->e.what[0] == '\0';
    if (!good)
        *e = l->e;
    free(l->v);
    free(l);
    return good;
}
