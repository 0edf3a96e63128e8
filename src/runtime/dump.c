/*
 * dump.c: the heap as it is, into a file (profile/heapdump.h): blocks, what points to
 * them, and the stacks that allocated them. The program stands still meanwhile, but for
 * the calling thread, which may be in a signal's handler: pages and system calls only.
 */
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)256 << 10)
#define HOLD_TRIES   5000 /* a millisecond each, or as long as it takes who is inside */

struct writer {
    int fd;
    int error; /* the first; what follows is dropped */
    char *buffer;
    size_t used;
    uint64_t at;     /* bytes written, the buffer's included */
    uint64_t n;      /* records of the table under way */
    uint32_t from;   /* the block whose edges are being written */
    uint32_t *stamp; /* by block: 1 + the last that was found to point to it */
};

static void flush(struct writer *w)
{
    for (size_t done = 0; done < w->used && w->error == 0;) {
        ssize_t n = write(w->fd, w->buffer + done, w->used - done);
        if (n < 0 && errno != EINTR)
            w->error = errno;
        done += n > 0 ? (size_t)n : 0;
    }
    w->used = 0;
}

static void put(struct writer *w, const void *data, size_t len)
{
    const char *p = data;
    w->at += len;
    while (len > 0) {
        size_t room = BUFFER_BYTES - w->used, n = len < room ? len : room;
        memcpy(w->buffer + w->used, p, n);
        w->used += n;
        p += n;
        len -= n;
        if (w->used == BUFFER_BYTES)
            flush(w);
    }
}

static void put_root(void *writer, uint32_t block, enum sn_heapdump_root_kind kind,
                     uint64_t at)
{
    struct writer *w = writer;
    const struct sn_heapdump_root root = {block, kind, at};
    put(w, &root, sizeof root);
    w->n++;
}

static void put_edge(void *writer, uint32_t to)
{
    struct writer *w = writer;
    const struct sn_heapdump_edge edge = {w->from, to};
    if (w->stamp[to] == w->from + 1)
        return;
    w->stamp[to] = w->from + 1;
    put(w, &edge, sizeof edge);
    w->n++;
}

/* Every table is made of records of a multiple of 8 bytes. */
static void put_tables(struct writer *w, struct sn_reach *r, uintptr_t frame,
                       struct sn_heapdump_header *h)
{
    uint32_t n;
    const struct sn_heapdump_block *blocks = sn_reach_blocks(r, &n);
    h->at_roots = w->at;
    if (!sn_reach_mark(r, frame, put_root, w) && w->error == 0)
        w->error = EIO;
    h->n_roots = w->n;
    w->n = 0;
    h->at_edges = w->at;
    for (w->from = 0; w->from < n; w->from++)
        sn_reach_edges(r, w->from, put_edge, w);
    h->n_edges = w->n;
    h->at_blocks = w->at;
    h->n_blocks = n;
    put(w, blocks, n * sizeof *blocks);
    const struct sn_spool_header *spool = sn_heap_table.header;
    h->at_spool = w->at;
    h->spool_len = SN_SPOOL_AT_ENTRIES + spool->used;
    put(w, spool, h->spool_len);
}

static bool write_dump(struct writer *w, struct sn_reach *r, uintptr_t frame)
{
    struct sn_heapdump_header h = {.magic = SN_HEAPDUMP_MAGIC,
                                   .version = SN_HEAPDUMP_VERSION,
                                   .pid = (uint64_t)getpid(),
                                   .time_real_ns = sn_clock_ns(CLOCK_REALTIME)};
    put(w, &h, sizeof h);
    put_tables(w, r, frame, &h);
    flush(w);
    if (w->error == 0 && pwrite(w->fd, &h, sizeof h, 0) != (ssize_t)sizeof h)
        w->error = errno;
    return w->error == 0;
}

/* Another dump may be under way. */
static bool hold(void)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < HOLD_TRIES && !sn_heap_is_inside(); i++) {
        if (sn_heap_hold())
            return true;
        syscall(SYS_nanosleep, &pause, NULL);
    }
    return false;
}

static __attribute__((noinline)) int dump(int fd)
{
    struct writer w = {.fd = fd, .error = ENOMEM};
    uint32_t n = 0;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), left = sn_stack_left_at();
    __builtin_unwind_init();
    if (!hold()) /* we came on top of that work, or others never leave it */
        return EAGAIN;
    struct sn_world *world = sn_world_stop(false);
    struct sn_reach *r = world != NULL ? sn_reach_new(world, NULL) : NULL;
    if (r != NULL) {
        sn_reach_blocks(r, &n);
        w.buffer = sn_pages_map(BUFFER_BYTES);
        w.stamp = sn_pages_map(n * sizeof *w.stamp + 1);
    }
    if (w.buffer != NULL && w.stamp != NULL) {
        w.error = 0;
        write_dump(&w, r, (left != 0 ? left : here) - 128);
    }
    sn_world_go_on(world);
    sn_heap_release();
    sn_reach_free(r);
    sn_pages_unmap(w.buffer, BUFFER_BYTES);
    sn_pages_unmap(w.stamp, n * sizeof *w.stamp + 1);
    return w.error;
}

static bool dump_to(const char *path, struct sn_error *e)
{
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof temporary, "%s.%d.tmp", path, (int)sn_thread_id()) >=
        (int)sizeof temporary)
        return sn_fail(e, path, -1, "name too long");
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return sn_fail(e, path, -1, "cannot create: %s", strerror(errno));
    int error = dump(fd);
    if (close(fd) != 0 && error == 0)
        error = errno;
    if (error == 0 && rename(temporary, path) != 0)
        error = errno;
    if (error == 0)
        return true;
    unlink(temporary);
    return sn_fail(e, path, -1, "cannot write the heap dump: %s", strerror(error));
}

/* A handler that ran meanwhile, and allocates, would wait for us. */
bool sn_heap_dump(const char *path, struct sn_error *e)
{
    struct sn_guard guard;
    sn_guard_begin(&guard, true);
    bool recorded = sn_recording_look();
    bool good = recorded && sn_heap_is_exact()
                    ? dump_to(path, e)
                    : sn_fail(e, NULL, -1,
                              "only a program that records its heap exactly (mem=exact) "
                              "knows all its blocks");
    if (recorded)
        sn_recording_looked();
    sn_guard_end(&guard);
    return good;
}
