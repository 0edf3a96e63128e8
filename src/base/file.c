/* file.c: whole files, read into pages and written by rename. Errors name the file. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* As much as there seems to be, and one page to find out that there is no more. */
static size_t first_size(int fd, size_t limit)
{
    struct stat st;
    size_t least = (size_t)64 << 10;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < (off_t)least)
        return least;
    return limit > 0 && (size_t)st.st_size > limit ? least : (size_t)st.st_size + 4096;
}

/* Read to the end; the pages double where the size is not known. */
static bool read_all(int fd, const char *path, size_t limit, struct sn_file *f,
                     struct sn_error *e)
{
    size_t cap = first_size(fd, limit), len = 0;
    unsigned char *p = sn_pages_map(cap);
    while (p != NULL) {
        ssize_t n = read(fd, p + len, cap - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            *f = (struct sn_file){p, len, cap};
            return n == 0 || sn_fail(e, path, -1, "cannot read: %s", strerror(errno));
        }
        len += (size_t)n;
        if (limit > 0 && len > limit)
            break;
        if (len == cap) {
            unsigned char *bigger = sn_pages_map(cap * 2);
            if (bigger != NULL)
                memcpy(bigger, p, len);
            sn_pages_unmap(p, cap);
            p = bigger;
            cap *= 2;
        }
    }
    sn_pages_unmap(p, cap);
    return sn_fail(e, path, -1, p == NULL ? "out of memory" : "larger than the limit");
}

bool sn_file_open(const char *path, size_t limit, struct sn_file *f, struct sn_error *e)
{
    *f = (struct sn_file){0};
    if (strcmp(path, "-") == 0)
        return read_all(STDIN_FILENO, "standard input", limit, f, e);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sn_fail(e, path, -1, "cannot open: %s", strerror(errno));
    bool good = read_all(fd, path, limit, f, e);
    close(fd);
    if (!good)
        sn_file_close(f);
    return good;
}

void sn_file_close(struct sn_file *f)
{
    sn_pages_unmap((void *)(uintptr_t)f->data, f->pages);
    *f = (struct sn_file){0};
}

void sn_file_line(const char *path, char *line, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, line, size - 1);
    if (fd >= 0)
        close(fd);
    line[n > 0 ? n : 0] = '\0';
    line[strcspn(line, "\n")] = '\0';
}

/* "nr a b c d e f sp pc", or "running". */
bool sn_file_asleep(const char *path, uint64_t *sp, uint64_t *pc)
{
    char text[256], *last, *before;
    *sp = *pc = 0;
    sn_file_line(path, text, sizeof text);
    if (text[0] == 'r' || (last = strrchr(text, ' ')) == NULL)
        return false;
    *last = '\0';
    if ((before = strrchr(text, ' ')) == NULL)
        return false;
    *sp = strtoull(before + 1, NULL, 16);
    *pc = strtoull(last + 1, NULL, 16);
    return *sp != 0;
}

/* ---- written -------------------------------------------------------------------------
 */

bool sn_file_is_special(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode);
}

/* In the folder of `path`, without a name, so that nothing stays of it whatever ends the
 * process; -1 where the file system has no such files, or no /proc would give it one. */
static int open_nameless(const char *path, unsigned mode)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int n = slash == NULL || slash == path ? 1 : (int)(slash - path);
    snprintf(folder, sizeof folder, "%.*s", n, slash == NULL ? "." : path);
    return access("/proc/thread-self/fd", X_OK) == 0
               ? open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, mode)
               : -1;
}

/* Over one that a process of that number may have left. */
static bool give_name(const struct sn_output *o)
{
    char self[40];
    snprintf(self, sizeof self, "/proc/thread-self/fd/%d", o->fd);
    unlink(o->temporary);
    return linkat(AT_FDCWD, self, AT_FDCWD, o->temporary, AT_SYMLINK_FOLLOW) == 0;
}

bool sn_output_open(struct sn_output *o, const char *path, unsigned mode,
                    struct sn_error *e)
{
    int n = 0, straight = path == NULL || sn_file_is_special(path);
    struct rlimit limit;
    *o = (struct sn_output){.path = path != NULL ? path : "standard output",
                            .left = UINT64_MAX,
                            .fd = STDOUT_FILENO,
                            .borrowed = path == NULL};
    if (path == NULL)
        return true;
    if (!straight && getrlimit(RLIMIT_FSIZE, &limit) == 0)
        o->left = limit.rlim_cur;
    if (!straight)
        n = snprintf(o->temporary, sizeof o->temporary, "%s.%d.tmp", path, (int)gettid());
    if (n >= (int)sizeof o->temporary)
        return sn_fail(e, path, -1, "name too long");
    o->fd = straight ? open(path, O_WRONLY | O_CLOEXEC) : open_nameless(path, mode);
    o->nameless = !straight && o->fd >= 0;
    if (!straight && o->fd < 0)
        o->fd = open(o->temporary, O_WRONLY | O_CLOEXEC | O_CREAT | O_TRUNC, mode);
    return o->fd >= 0 || sn_fail(e, path, -1, "cannot create: %s", strerror(errno));
}

bool sn_output_add(struct sn_output *o, const char *p, size_t len, struct sn_error *e)
{
    if (len > o->left)
        return sn_fail(e, o->path, -1, "cannot write: %s", strerror(EFBIG));
    o->left -= len;
    while (len > 0) {
        ssize_t n = write(o->fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sn_fail(e, o->path, -1, "cannot write: %s", strerror(errno));
        p += n;
        len -= (size_t)n;
    }
    return true;
}

bool sn_output_close(const struct sn_output *o, bool good, struct sn_error *e)
{
    bool straight = o->temporary[0] == '\0';
    if (o->borrowed)
        return good;
    bool named = !straight && (!o->nameless || (good && give_name(o)));
    if (good && !straight && !named)
        good = sn_fail(e, o->path, -1, "cannot create: %s", strerror(errno));
    if (close(o->fd) != 0 && good)
        good = sn_fail(e, o->path, -1, "cannot write: %s", strerror(errno));
    if (good && !straight && rename(o->temporary, o->path) != 0)
        good = sn_fail(e, o->path, -1, "cannot rename to it: %s", strerror(errno));
    if (!good && named)
        unlink(o->temporary);
    return good;
}

bool sn_file_write(const char *path, const void *data, size_t len, struct sn_error *e)
{
    struct sn_output o;
    return sn_output_open(&o, path, 0666, e) &&
           sn_output_close(&o, sn_output_add(&o, data, len, e), e);
}

static bool add_all(struct sn_output *o, int from, struct sn_error *e)
{
    char buffer[16384];
    for (;;) {
        ssize_t n = read(from, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sn_fail(e, o->path, -1, "cannot be copied to: %s", strerror(errno));
        if (n == 0)
            return true;
        if (!sn_output_add(o, buffer, (size_t)n, e))
            return false;
    }
}

bool sn_file_copy(int from, const char *to, struct sn_error *e)
{
    struct sn_output o;
    return sn_output_open(&o, strcmp(to, "-") == 0 ? NULL : to, 0600, e) &&
           sn_output_close(&o, add_all(&o, from, e), e);
}

bool sn_mkdirs(const char *path, struct sn_error *e)
{
    char part[PATH_MAX];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return sn_fail(e, path, -1, "name too long");
    for (char *p = part + 1; part[0] != '\0'; p++) {
        char c = *p;
        if (c != '/' && c != '\0')
            continue;
        *p = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return sn_fail(e, path, -1, "cannot make it: %s", strerror(errno));
        if (c == '\0')
            return true;
        *p = c;
    }
    return sn_fail(e, path, -1, "empty name");
}
