/*
 * collect.c: the spools in the recording's directory, one for each kind of an image, and
 * the profiles that programs wrote there themselves.
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

static void describe_cpu(struct sn_recorded *p, const struct sn_spool_header *h)
{
    snprintf(p->clock, sizeof p->clock, "%.*s", (int)sizeof h->clock - 1, h->clock);
    p->size = p->samples = h->samples;
    p->lost = h->dropped[SN_DROP_FULL] + h->dropped[SN_DROP_MISSED];
    p->blind = h->dropped[SN_DROP_THREADS];
    for (size_t i = 1; i < SN_COUNT(h->truncated); i++) /* 0 is complete */
        p->truncated += h->truncated[i];
}

static void describe_heap(struct sn_recorded *p, const struct sn_spool_header *h)
{
    p->size = h->peak_bytes / (h->scale > 0 ? h->scale : 1);
    p->exact = h->n_values == SN_HEAP_VALUES;
    p->leaks_unknown =
        p->exact ? sn_spool_leaks_unknown(h->leaks) : "their blocks were only sampled";
    p->lost = h->dropped[SN_DROP_FULL] + h->dropped[SN_DROP_NESTED];
}

static void describe(struct sn_recorded *p, const struct sn_spool_header *h)
{
    char exe[SN_SPOOL_PATH];
    snprintf(exe, sizeof exe, "%.*s", (int)sizeof h->exe - 1, h->exe);
    const char *slash = strrchr(exe, '/');
    snprintf(p->name, sizeof p->name, "%.63s", slash != NULL ? slash + 1 : exe);
    p->kind = (enum sn_spool_kind)h->kind;
    p->pid = h->pid;
    p->period = h->period;
    p->start_mono_ns = h->start_mono_ns;
    if (p->kind == SN_SPOOL_HEAP)
        describe_heap(p, h);
    else
        describe_cpu(p, h);
}

static bool add_spool(struct sn_record *r, const char *path, struct sn_error *e)
{
    struct spool s;
    const struct sn_spool_header *h = open_spool(path, &s, e);
    if (h == NULL)
        return true; /* told in *e; the others may be good */
    struct sn_recorded *image = SN_PUSH(r->arena, r->images, r->n_images, r->cap_images);
    if (image != NULL) {
        image->spool = path;
        describe(image, h);
    }
    r->in_use |= h->state == 1 && kill((pid_t)h->pid, 0) == 0;
    munmap(s.data, s.len);
    return image != NULL || sn_fail(e, NULL, -1, "out of memory");
}

struct sn_profile *sn_recorded_load(struct sn_recorded *image, struct sn_error *e)
{
    struct spool s;
    if (open_spool(image->spool, &s, e) == NULL)
        return NULL;
    struct sn_profile *p =
        sn_spool_read_heap(s.data, s.len, image->spool, &image->sums, e);
    munmap(s.data, s.len);
    if (p != NULL)
        image->duration_ns = (uint64_t)p->duration_ns;
    if (p != NULL && image->kind == SN_SPOOL_HEAP)
        image->truncated = image->sums.truncated;
    return p;
}

/* ---- order ----------------------------------------------------------------------------
 */

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* Kinds apart, processes together, each with its last image first. */
static int by_process(const void *a, const void *b)
{
    const struct sn_recorded *x = a, *y = b;
    int order = compare(x->kind, y->kind);
    if (order == 0)
        order = compare(x->pid, y->pid);
    return order != 0 ? order : compare(y->start_mono_ns, x->start_mono_ns);
}

static int by_size(const void *a, const void *b)
{
    const struct sn_recorded *x = a, *y = b;
    int order = compare(y->size, x->size);
    return order != 0 ? order : by_process(a, b);
}

/* How many from v on are of one kind; of one process. */
static uint32_t same_kind(const struct sn_recorded *v, uint32_t n)
{
    uint32_t i = 1;
    while (i < n && v[i].kind == v[0].kind)
        i++;
    return i;
}

static uint32_t same_process(const struct sn_recorded *v, uint32_t n)
{
    uint32_t i = 1;
    while (i < n && v[i].kind == v[0].kind && v[i].pid == v[0].pid)
        i++;
    return i;
}

static void number_images(struct sn_recorded *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += same_process(v + i, n - i))
        for (uint32_t k = 1, all = same_process(v + i, n - i); k < all; k++)
            v[i + k].image = all - k;
}

/* Empty, only the main process's last image is of interest. */
static uint32_t drop_empty(struct sn_recorded *v, uint32_t n, uint32_t main_pid)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (v[i].size > 0 || (v[i].image == 0 && v[i].pid == main_pid))
            v[kept++] = v[i];
    return kept;
}

/* Those of the main process stay in order, and move to the front. */
static void order_kind(struct sn_recorded *v, uint32_t n, uint32_t main_pid)
{
    uint32_t ours = 0;
    for (uint32_t i = 0; i < n; i++)
        if (v[i].pid == main_pid) {
            struct sn_recorded moved = v[i];
            memmove(v + ours + 1, v + ours, (i - ours) * sizeof *v);
            v[ours++] = moved;
        }
    qsort(v + ours, n - ours, sizeof *v, by_size);
}

static void put_in_order(struct sn_record *r)
{
    struct sn_recorded *v = r->images;
    uint32_t main_pid = (uint32_t)r->child;
    if (r->n_images == 0)
        return;
    qsort(v, r->n_images, sizeof *v, by_process);
    number_images(v, r->n_images);
    r->n_images = drop_empty(v, r->n_images, main_pid);
    for (uint32_t i = 0, n; i < r->n_images; i += n) {
        n = same_kind(v + i, r->n_images - i);
        order_kind(v + i, n, main_pid);
    }
}

struct sn_recorded *sn_record_images(const struct sn_record *r, enum sn_spool_kind kind,
                                     uint32_t *n)
{
    uint32_t i = 0;
    while (i < r->n_images && r->images[i].kind != kind)
        i++;
    *n = i < r->n_images ? same_kind(r->images + i, r->n_images - i) : 0;
    return r->images + i;
}

/* ---- the directory --------------------------------------------------------------------
 */

static bool is_profile_name(const char *name)
{
    size_t n = strlen(name);
    return n > 6 && strcmp(name + n - 6, ".pprof") == 0;
}

static bool add_written(struct sn_record *r, const char *path, struct sn_error *e)
{
    const char **to = SN_PUSH(r->arena, r->written, r->n_written, r->cap_written);
    if (to != NULL)
        *to = path;
    return to != NULL || sn_fail(e, NULL, -1, "out of memory");
}

static bool add_all(struct sn_record *r, DIR *dir, struct sn_error *e)
{
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        bool spool = sn_spool_is_name(d->d_name);
        if (!spool && !is_profile_name(d->d_name))
            continue;
        char *path = sn_arena_printf(r->arena, "%s/%s", r->dir, d->d_name);
        if (path == NULL)
            return sn_fail(e, NULL, -1, "out of memory");
        if (!(spool ? add_spool(r, path, e) : add_written(r, path, e)))
            return false;
    }
    return true;
}

/* "mem.7.2.pprof" before "mem.7.10.pprof" */
static int by_name(const void *a, const void *b)
{
    return strverscmp(*(const char *const *)a, *(const char *const *)b);
}

bool sn_record_collect(struct sn_record *r, struct sn_error *e)
{
    DIR *dir = opendir(r->dir);
    if (dir == NULL)
        return sn_fail(e, r->dir, -1, "cannot read: %s", strerror(errno));
    bool good = add_all(r, dir, e);
    closedir(dir);
    put_in_order(r);
    if (r->n_written > 0)
        qsort(r->written, r->n_written, sizeof *r->written, by_name);
    return good;
}

const char *const *sn_record_written(const struct sn_record *r, uint32_t *n)
{
    *n = r->n_written;
    return r->written;
}

uint32_t sn_record_main_pid(const struct sn_record *r)
{
    return (uint32_t)r->child;
}

bool sn_record_in_use(const struct sn_record *r)
{
    return r->in_use;
}

void sn_record_leave(struct sn_record *r)
{
    r->in_use = true;
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
