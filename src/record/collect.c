/*
 * collect.c: the spools in the recording's directory, one an image.
 *
 * The spools were written by our own library, but by a process that may have gone wild:
 * nothing in them is trusted, and a string is only read up to its field's end.
 */
#include "record_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct spool {
    void *data;
    size_t len;
};

/* The header, or NULL; *s is to be unmapped. */
static const struct sn_spool_header *open_spool(const char *path, struct spool *s,
                                                struct sn_error *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) != 0) {
        sn_fail(e, path, -1, "cannot open: %s", strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    s->len = (size_t)st.st_size;
    s->data = s->len >= sizeof(struct sn_spool_header)
                  ? mmap(NULL, s->len, PROT_READ, MAP_PRIVATE, fd, 0)
                  : MAP_FAILED;
    close(fd);
    if (s->data != MAP_FAILED && sn_spool_is(s->data, s->len))
        return s->data;
    if (s->data != MAP_FAILED)
        munmap(s->data, s->len);
    sn_fail(e, path, -1, "is not a whole spool: its process died while starting");
    return NULL;
}

/* ---- images ---------------------------------------------------------------------------
 */

static void describe(struct sn_recorded *p, const struct sn_spool_header *h)
{
    char exe[SN_SPOOL_PATH];
    snprintf(exe, sizeof exe, "%.*s", (int)sizeof h->exe - 1, h->exe);
    const char *slash = strrchr(exe, '/');
    snprintf(p->name, sizeof p->name, "%.63s", slash != NULL ? slash + 1 : exe);
    snprintf(p->clock, sizeof p->clock, "%.*s", (int)sizeof h->clock - 1, h->clock);
    p->pid = h->pid;
    p->period_ns = h->period;
    p->start_mono_ns = h->start_mono_ns;
    p->samples = h->samples;
    p->ticks = h->ticks;
    p->lost = h->dropped[SN_DROP_FULL] + h->dropped[SN_DROP_MISSED];
    p->blind = h->dropped[SN_DROP_THREADS];
    for (size_t i = 1; i < SN_COUNT(h->truncated); i++) /* 0 is complete */
        p->truncated += h->truncated[i];
}

static bool add_spool(struct sn_record *r, const char *path, struct sn_error *e)
{
    struct spool s;
    struct sn_recorded *image = NULL;
    const struct sn_spool_header *h = open_spool(path, &s, e);
    if (h == NULL)
        return true; /* told in *e; the others may be good */
    bool wanted = h->samples > 0 || h->pid == (uint32_t)r->child;
    if (wanted)
        image = SN_PUSH(r->arena, r->images, r->n_images, r->cap_images);
    if (image != NULL) {
        image->spool = path;
        describe(image, h);
    }
    r->in_use |= h->state == 1 && kill((pid_t)h->pid, 0) == 0;
    munmap(s.data, s.len);
    return image != NULL || !wanted || sn_fail(e, NULL, -1, "out of memory");
}

struct sn_profile *sn_recorded_load(const struct sn_recorded *image, struct sn_error *e)
{
    struct spool s;
    if (open_spool(image->spool, &s, e) == NULL)
        return NULL;
    struct sn_profile *p = sn_spool_read(s.data, s.len, image->spool, e);
    munmap(s.data, s.len);
    return p;
}

/* ---- order ----------------------------------------------------------------------------
 */

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* Processes together, each with its last image first. */
static int by_process(const void *a, const void *b)
{
    const struct sn_recorded *x = a, *y = b;
    int order = compare(x->pid, y->pid);
    return order != 0 ? order : compare(y->start_mono_ns, x->start_mono_ns);
}

static int by_samples(const void *a, const void *b)
{
    const struct sn_recorded *x = a, *y = b;
    int order = compare(y->samples, x->samples);
    return order != 0 ? order : by_process(a, b);
}

/* Number the images of each process. */
static void number_images(struct sn_recorded *v, uint32_t n)
{
    for (uint32_t i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && v[j].pid == v[i].pid; j++)
            continue;
        for (uint32_t k = i + 1; k < j; k++)
            v[k].image = j - k;
    }
}

/* Without samples only the main process's last image is of interest. */
static uint32_t drop_empty(struct sn_recorded *v, uint32_t n)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (v[i].samples > 0 || v[i].image == 0)
            v[kept++] = v[i];
    return kept;
}

static void put_in_order(struct sn_record *r)
{
    struct sn_recorded *v = r->images, moved;
    uint32_t n = r->n_images, ours = 0;
    if (n == 0)
        return;
    qsort(v, n, sizeof *v, by_process);
    number_images(v, n);
    r->n_images = n = drop_empty(v, n);
    for (uint32_t i = 0; i < n; i++)
        if (v[i].pid == (uint32_t)r->child) { /* stays in order, moves to the front */
            moved = v[i];
            memmove(v + ours + 1, v + ours, (i - ours) * sizeof *v);
            v[ours++] = moved;
        }
    qsort(v + ours, n - ours, sizeof *v, by_samples);
}

/* ---- the directory --------------------------------------------------------------------
 */

static bool is_spool_name(const char *name)
{
    size_t n = strlen(name);
    return n > 6 && strcmp(name + n - 6, ".spool") == 0;
}

static bool add_all(struct sn_record *r, DIR *dir, struct sn_error *e)
{
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        if (!is_spool_name(d->d_name))
            continue;
        char *path = sn_arena_printf(r->arena, "%s/%s", r->dir, d->d_name);
        if (path == NULL)
            return sn_fail(e, NULL, -1, "out of memory");
        if (!add_spool(r, path, e))
            return false;
    }
    return true;
}

bool sn_record_collect(struct sn_record *r, struct sn_recorded **v, uint32_t *n,
                       struct sn_error *e)
{
    DIR *dir = opendir(r->dir);
    if (dir == NULL)
        return sn_fail(e, r->dir, -1, "cannot read: %s", strerror(errno));
    bool good = add_all(r, dir, e);
    closedir(dir);
    put_in_order(r);
    *v = r->images;
    *n = r->n_images;
    return good;
}

uint32_t sn_record_main_pid(const struct sn_record *r)
{
    return (uint32_t)r->child;
}

bool sn_record_in_use(const struct sn_record *r)
{
    return r->in_use;
}

bool sn_record_keep(struct sn_record *r)
{
    r->keep = r->n_images > 0;
    return r->keep;
}

/* Everything goes, but for a directory in which processes still write, or that is kept.
 */
static void remove_dir(struct sn_record *r)
{
    DIR *dir = r->in_use || r->keep ? NULL : opendir(r->dir);
    if (dir == NULL)
        return;
    for (struct dirent *d; (d = readdir(dir)) != NULL;)
        unlinkat(dirfd(dir), d->d_name, 0);
    closedir(dir);
    rmdir(r->dir);
}

void sn_record_free(struct sn_record *r)
{
    if (r == NULL)
        return;
    remove_dir(r);
    sn_arena_free(r->arena);
}
