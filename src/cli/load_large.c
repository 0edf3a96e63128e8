/*
 * load_large.c: the usual large file, a profile.proto in a gzip file of one member, read,
 * inflated and decoded at the same time, piece by piece: neither the file nor what it
 * becomes is ever in memory as a whole. What is otherwise, or wrong, is for load.c to
 * read anew.
 */
#include "cli.h"
#include "formats/readers.h"
#include "wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE ((size_t)256 << 10)

struct large_file {
    int fd;
    unsigned char *piece; /* its first is there when it is opened */
    size_t n;
    struct sn_inflater *inflater;
    const unsigned char *first; /* of what it becomes */
    size_t n_first;
};

static size_t read_piece(struct large_file *f)
{
    ssize_t n;
    do
        n = read(f->fd, f->piece, PIECE);
    while (n < 0 && errno == EINTR);
    return n > 0 ? (size_t)n : 0;
}

static size_t next_piece(void *file, const unsigned char **data)
{
    struct large_file *f = file;
    size_t n = f->n > 0 ? f->n : read_piece(f);
    f->n = 0;
    *data = f->piece;
    return n;
}

static size_t next_part(void *file, const unsigned char *rest, size_t n,
                        const unsigned char **data)
{
    struct large_file *f = file;
    size_t first = f->n_first;
    *data = f->first;
    f->n_first = 0;
    return first > 0 ? first : sn_inflater_next(f->inflater, rest, n, data);
}

/* Of gzip, without flags that are reserved (RFC 1952, 2.3.1.2), which ISA-L overlooks. */
static bool is_usual(const unsigned char *file, size_t n)
{
    return sn_gzip_is(file, n) && n > 3 && (file[3] & 0xe0) == 0;
}

/* Who writes into a FIFO loses what it wrote if it is opened, closed, and opened anew. */
static int open_regular(const char *path)
{
    return sn_file_is_special(path) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
}

/* The last four bytes of the file (RFC 1952, 2.3.1); a hint. */
static size_t inflated_size(int fd, off_t size)
{
    unsigned char said[4] = {0};
    (void)!pread(fd, said, sizeof said, size - (off_t)sizeof said);
    return sn_gzip_said(said, (size_t)size);
}

static struct sn_profile *decode_parts(struct large_file *f, size_t expected)
{
    struct sn_coming coming = {next_part, f, expected};
    f->n_first = sn_inflater_next(f->inflater, NULL, 0, &f->first);
    return sn_reader_find(f->first, f->n_first) == NULL
               ? sn_profile_decode_coming(&coming)
               : NULL;
}

struct sn_profile *load_large(const char *path, size_t limit)
{
    struct stat st;
    struct sn_profile *p = NULL;
    struct sn_arena *a = NULL;
    struct large_file f = {.fd = open_regular(path)};
    if (f.fd >= 0 && fstat(f.fd, &st) == 0 && S_ISREG(st.st_mode) &&
        (size_t)st.st_size >= PIECE && (size_t)st.st_size <= limit)
        a = sn_arena_new();
    if (a != NULL && (f.piece = sn_arena_alloc(a, PIECE)) != NULL)
        f.n = read_piece(&f);
    const struct sn_pieces pieces = {next_piece, &f};
    if (is_usual(f.piece, f.n) && (f.inflater = sn_inflater_new(pieces, limit)) != NULL) {
        p = decode_parts(&f, inflated_size(f.fd, st.st_size));
        if (!sn_inflater_free(f.inflater)) {
            sn_profile_free(p);
            p = NULL;
        }
    }
    sn_arena_free(a);
    if (f.fd >= 0)
        close(f.fd);
    return p;
}
