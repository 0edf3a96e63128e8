/* output.c: results, whole or not at all. */
#include "cli.h"
#include "wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static bool write_stdout(const char *data, size_t len, struct sn_error *e)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, data, len);
        if (n < 0 && errno == EPIPE)
            exit(EXIT_GOOD); /* the reader has seen enough */
        if (n < 0 && errno != EINTR)
            return sn_fail(e, "standard output", -1, "cannot write: %s", strerror(errno));
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool is_stdout(const char *path)
{
    return path == NULL || strcmp(path, "-") == 0;
}

bool output_check(const char *path, bool binary, struct sn_error *e)
{
    return !binary || !is_stdout(path) || !isatty(STDOUT_FILENO) ||
           sn_fail(e, "standard output", -1,
                   "not written to a terminal; give -o FILE, or redirect it");
}

bool output_write(const char *path, const struct sn_buf *b, struct sn_error *e)
{
    if (b->failed)
        return sn_fail(e, path, -1, "out of memory");
    if (!is_stdout(path))
        return sn_file_write(path, b->data, b->len, e);
    return write_stdout(b->data, b->len, e);
}

static bool drain(struct sn_drain *d, const char *data, size_t len)
{
    struct output_stream *s = (struct output_stream *)d; /* its first member */
    if (is_stdout(s->path))
        return s->good = write_stdout(data, len, &s->error);
    if (!s->open)
        s->open = s->good = sn_output_open(&s->file, s->path, 0666, &s->error);
    return s->good = s->good && sn_output_add(&s->file, data, len, &s->error);
}

void output_stream(struct output_stream *s, const char *path, struct sn_buf *b)
{
    s->drain.write = drain;
    s->path = path;
    s->open = false;
    s->good = true;
    s->error = (struct sn_error){.offset = -1};
    b->drain = &s->drain;
}

bool output_stream_end(struct output_stream *s, const struct sn_buf *b, bool good,
                       struct sn_error *e)
{
    if (!s->good)
        *e = s->error; /* for which the buffer has failed */
    good = good && s->good;
    if (!s->open)
        return good && output_write(s->path, b, e);
    good = good && sn_output_add(&s->file, b->data, b->len, e);
    return sn_output_close(&s->file, good, e) && good;
}

static void make_piece(const void *profile, unsigned i, unsigned n, struct sn_buf *out)
{
    sn_profile_piece(profile, i, n, out);
}

bool output_profile(const struct sn_profile *p, struct sn_buf *out, struct sn_error *e)
{
    return sn_gzip_deflate(make_piece, p, sn_profile_pieces(p), out, e);
}

bool output_named(struct sn_profile *p, const char *path, struct sn_error *e)
{
    struct sn_buf out = {.arena = p->arena};
    struct output_stream stream;
    output_stream(&stream, path, &out);
    return load_symbols(p, NULL, NULL, NULL, TELL_NOTHING, e) &&
           output_stream_end(&stream, &out, output_profile(p, &out, e), e);
}

bool output_hold(const char *stem, char *path, size_t size, struct sn_error *e)
{
    for (unsigned n = 1; n < 10000; n++) {
        snprintf(path, size, n == 1 ? "%s.pprof" : "%s.%u.pprof", stem, n);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0)
            close(fd);
        if (fd >= 0 || errno != EEXIST)
            return fd >= 0 || sn_fail(e, path, -1, "cannot create: %s; give -o FILE",
                                      strerror(errno));
    }
    return sn_fail(e, path, -1, "too many of them; give -o FILE");
}
