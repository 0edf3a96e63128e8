/*
 * follow.c: the tracers' lines of a program that runs, with names for their frames. The
 * program appends them to a file beside its spools, which is read here as it grows and
 * printed on standard error: a program never waits for who reads, and when it is killed
 * what it wrote is there. What was read is given back to the disk.
 */
#include "names.h"
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define READ_BYTES 65536
#define LINE_MAX_  (PATH_MAX + 512) /* longer ones are printed in pieces */

struct follow {
    struct sn_arena *arena;
    struct sn_namer *names;
    char path[PATH_MAX + 16];
    int fd;
    off_t done;
    size_t n; /* of the line that is not yet whole */
    char line[LINE_MAX_ + 1];
    char read[READ_BYTES];
};

struct follow *follow_new(const char *directory, struct sn_error *e)
{
    struct sn_arena *arena = sn_arena_new();
    struct follow *f = arena != NULL ? sn_arena_alloc(arena, sizeof *f) : NULL;
    if (f == NULL) {
        sn_arena_free(arena);
        sn_fail(e, NULL, -1, "out of memory");
        return NULL;
    }
    f->arena = arena;
    snprintf(f->path, sizeof f->path, "%s/trace", directory);
    f->fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (f->fd < 0) {
        sn_fail(e, f->path, -1, "cannot create: %s", strerror(errno));
        sn_arena_free(arena);
        return NULL;
    }
    f->names = sn_namer_new(SN_DEMANGLE_DEFAULT);
    return f;
}

const char *follow_path(const struct follow *f)
{
    return f->path;
}

static void print_line(struct follow *f)
{
    struct sn_arena *arena = sn_arena_new();
    struct sn_buf out = {.arena = arena};
    f->line[f->n] = '\0';
    f->n = 0;
    if (arena != NULL)
        names_line(f->names, f->line, &out);
    if (out.data != NULL)
        fwrite(out.data, 1, out.len, stderr);
    sn_arena_free(arena);
}

static void take_bytes(struct follow *f, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool whole = data[i] == '\n';
        if (!whole)
            f->line[f->n++] = data[i];
        if (whole || f->n == LINE_MAX_)
            print_line(f);
    }
}

void follow_on(void *follow)
{
    struct follow *f = follow;
    off_t begun = f->done;
    ssize_t n;
    while ((n = pread(f->fd, f->read, sizeof f->read, f->done)) > 0) {
        take_bytes(f, f->read, (size_t)n);
        f->done += n;
    }
    if (f->done > begun)
        fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, f->done);
}

/* Nobody but us may have a file open on which a lease is given. */
bool follow_is_written(const struct follow *f)
{
    return fcntl(f->fd, F_SETLEASE, F_WRLCK) != 0 && errno == EAGAIN;
}

void follow_free(struct follow *f)
{
    if (f == NULL)
        return;
    follow_on(f);
    if (f->n > 0)
        print_line(f);
    close(f->fd);
    sn_namer_free(f->names);
    sn_arena_free(f->arena);
}
