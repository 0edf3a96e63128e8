/*
 * collect.c: from the spools in the recording's directory to one profile a process.
 *
 * A process has a spool for each image that it executed; they are merged. The spools were
 * written by our own library, but by a process that may have gone wild: nothing in them
 * is trusted, and a string is only read up to its field's end.
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

static bool open_spool(const char *path, struct spool *s, struct sn_error *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) != 0) {
        if (fd >= 0)
            close(fd);
        return sn_fail(e, path, -1, "cannot open: %s", strerror(errno));
    }
    s->len = (size_t)st.st_size;
    s->data = s->len >= sizeof(struct sn_spool_header)
                  ? mmap(NULL, s->len, PROT_READ, MAP_PRIVATE, fd, 0)
                  : MAP_FAILED;
    close(fd);
    if (s->data != MAP_FAILED && sn_spool_is(s->data, s->len))
        return true;
    if (s->data != MAP_FAILED)
        munmap(s->data, s->len);
    return sn_fail(e, path, -1, "is not a whole spool: its process died while starting");
}

/* ---- processes ------------------------------------------------------------------------
 */

static struct sn_recorded *process_of(struct sn_record *r, uint32_t pid)
{
    for (uint32_t i = 0; i < r->n_processes; i++)
        if (r->processes[i].pid == pid)
            return &r->processes[i];
    struct sn_recorded *p =
        SN_PUSH(r->arena, r->processes, r->n_processes, r->cap_processes);
    if (p != NULL)
        p->pid = pid;
    return p;
}

/* The last image names the process: a shell that executes a program is that program. */
static void describe(struct sn_recorded *p, const struct sn_spool_header *h,
                     const char *path)
{
    if (p->spool != NULL && h->start_mono_ns < p->start_mono_ns)
        return;
    p->spool = path;
    p->start_mono_ns = h->start_mono_ns;
    char exe[SN_SPOOL_PATH];
    snprintf(exe, sizeof exe, "%.*s", (int)sizeof h->exe - 1, h->exe);
    const char *slash = strrchr(exe, '/');
    snprintf(p->name, sizeof p->name, "%.63s", slash != NULL ? slash + 1 : exe);
    snprintf(p->clock, sizeof p->clock, "%.*s", (int)sizeof h->clock - 1, h->clock);
    p->period_ns = h->period_ns;
    p->running = h->state == 1 && kill((pid_t)p->pid, 0) == 0;
}

static void count(struct sn_recorded *p, const struct sn_spool_header *h)
{
    p->samples += h->samples;
    p->ticks += h->ticks;
    p->lost += h->dropped[SN_DROP_FULL] + h->dropped[SN_DROP_MISSED];
    p->blind += h->dropped[SN_DROP_THREADS];
    for (size_t i = 1; i < SN_COUNT(h->truncated); i++) /* 0 is complete */
        p->truncated += h->truncated[i];
}

/* Merge `more` into p's profile; both are consumed. */
static bool add_profile(struct sn_recorded *p, struct sn_profile *more,
                        struct sn_error *e)
{
    if (p->profile == NULL) {
        p->profile = more;
        return true;
    }
    struct sn_profile *both[] = {p->profile, more};
    struct sn_profile *merged = sn_profile_merge(both, 2, e);
    sn_profile_free(more);
    if (merged == NULL)
        return false;
    sn_profile_free(p->profile);
    p->profile = merged;
    return true;
}

static bool add_spool(struct sn_record *r, const char *path, struct sn_error *e)
{
    struct spool s;
    if (!open_spool(path, &s, e))
        return true; /* told in *e; the others may be good */
    const struct sn_spool_header *h = s.data;
    struct sn_recorded *p = process_of(r, h->pid);
    if (p != NULL) {
        describe(p, h, path);
        bool wanted = h->samples > 0 || h->pid == (uint32_t)r->child;
        struct sn_profile *profile =
            wanted ? sn_spool_read(s.data, s.len, path, e) : NULL;
        if (profile != NULL && add_profile(p, profile, e))
            count(p, h);
    }
    munmap(s.data, s.len);
    return p != NULL || sn_fail(e, NULL, -1, "out of memory");
}

/* ---- the directory --------------------------------------------------------------------
 */

static bool is_spool_name(const char *name)
{
    size_t n = strlen(name);
    return n > 6 && strcmp(name + n - 6, ".spool") == 0;
}

static int by_samples(const void *a, const void *b)
{
    const struct sn_recorded *x = a, *y = b;
    int more = (x->samples < y->samples) - (x->samples > y->samples);
    return more != 0 ? more : (x->pid > y->pid) - (x->pid < y->pid);
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
    if (process_of(r, (uint32_t)r->child) == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    DIR *dir = opendir(r->dir);
    if (dir == NULL)
        return sn_fail(e, r->dir, -1, "cannot read: %s", strerror(errno));
    bool good = add_all(r, dir, e);
    closedir(dir);
    if (good) /* the main process stays the first */
        qsort(r->processes + 1, r->n_processes - 1, sizeof *r->processes, by_samples);
    *v = r->processes;
    *n = r->n_processes;
    return good;
}

/* Everything goes, but for a directory in which processes still write. */
static void remove_dir(struct sn_record *r)
{
    for (uint32_t i = 0; i < r->n_processes; i++)
        if (r->processes[i].running)
            return;
    DIR *dir = opendir(r->dir);
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
    for (uint32_t i = 0; i < r->n_processes; i++)
        sn_profile_free(r->processes[i].profile);
    sn_arena_free(r->arena);
}
