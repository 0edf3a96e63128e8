/* destination.c: where `sonde run` puts its files. */
#include "run.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

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

static bool is_dir(const char *output)
{
    struct stat st;
    return output[strlen(output) - 1] == '/' ||
           (stat(output, &st) == 0 && S_ISDIR(st.st_mode));
}

bool destination_fits(const struct run_request *r, struct sn_error *e)
{
    return !r->cpu || !r->mem || r->output == NULL || is_dir(r->output) ||
           sn_fail(e, r->output, -1,
                   "is one file, and CPU time and heap are two profiles; give a "
                   "directory: -o %s/",
                   r->output);
}

bool destination_choose(const struct run_request *r, struct destination *d,
                        struct sn_error *e)
{
    const char *output = r->output;
    size_t n = output != NULL ? strlen(output) : 0;
    *d = (struct destination){0};
    if (output == NULL) /* its number is chosen when it is written */
        return can_write_beside(r->cpu ? "cpu.pprof" : "mem.pprof", e);
    if (n >= sizeof d->path)
        return sn_fail(e, output, -1, "name too long");
    memcpy(d->path, output, n + 1);
    d->is_dir = is_dir(output);
    return d->is_dir ? sn_mkdirs(output, e) : can_write_beside(output, e);
}

bool destination_hold(struct destination *d, const char *kind, struct sn_error *e)
{
    if (d->path[0] != '\0')
        return true;
    return d->held = output_hold(kind, d->path, sizeof d->path, e);
}

void destination_release(const struct destination *d)
{
    struct stat st;
    if (d->held && stat(d->path, &st) == 0 && st.st_size == 0)
        unlink(d->path);
}

void destination_file(const struct destination *d, const char *kind,
                      const struct sn_recorded *p, uint32_t main_pid, char path[PATH_MAX])
{
    const char *slash = d->path[strlen(d->path) - 1] == '/' ? "" : "/";
    char which[32] = "";
    int n = 0;
    if (d->is_dir || p->pid != main_pid || p->image > 0)
        n = snprintf(which, sizeof which, ".%u", p->pid);
    if (p->image > 0)
        snprintf(which + n, sizeof which - (size_t)n, ".%u", p->image);
    if (d->is_dir)
        snprintf(path, PATH_MAX, "%s%s%s%s.pprof", d->path, slash, kind, which);
    else
        snprintf(path, PATH_MAX, "%s%s", d->path, which);
}

void destination_beside(const struct destination *d, const char *base, char *path,
                        size_t size)
{
    const char *slash = strrchr(d->path, '/');
    struct stat st;
    int n = slash != NULL ? (int)(slash - d->path) + 1 : 0;
    if (!d->is_dir && stat(d->path, &st) == 0 && !S_ISREG(st.st_mode))
        n = 0;                           /* not into /dev */
    if (d->is_dir && d->path[n] != '\0') /* "dir", without a slash behind it */
        snprintf(path, size, "%s/%s", d->path, base);
    else
        snprintf(path, size, "%.*s%s", n, d->path, base);
}
