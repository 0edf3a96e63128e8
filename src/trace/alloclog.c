/*
 * alloclog.c: a log of slots (profile/alloctrace.h) in a file that grows by windows.
 *
 *     claim: used += n        which is the order of all that is logged
 *     put:   window mapped? --no--> grow the file, map it
 *            write the slot, its first word last
 *            the window's last slot to be written? -> unmap it
 *
 * A window is unmapped by whoever writes the last of its slots, so never under a writer's
 * hands, and what is mapped does not grow with the file. A thread that is halfway through
 * its window in a signal's handler or stopped for long keeps that one mapped; where
 * another comes to need its place, that one's slots are written by pwrite. The kernel has
 * what was written to the file whatever kills the process.
 *
 * Blocks of the file are given to a window before it is written to: a full disk ends the
 * log, and is no SIGBUS. Allocates nothing; signal-safe but for open and close; keeps
 * errno.
 */
#include "trace/alloclog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PER_WINDOW   UINT64_C(8192)
#define WINDOW_BYTES (PER_WINDOW * sizeof(struct sn_alloctrace_slot))
#define PLACES       64u
#define NUMBER_BITS  28 /* of a window, beside its address / 4096 in a word */
#define SLOTS_MAX    ((uint64_t)UINT32_MAX - PER_WINDOW)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

struct place {
    _Alignas(64) _Atomic uint64_t window; /* its address and its number; 0: none */
    atomic_uint written;                  /* its slots that are */
};

static struct {
    struct sn_alloctrace_header *header; /* NULL: none is open */
    int fd;
    dev_t device; /* of its file: the descriptor may become another's */
    ino_t inode;
    uint64_t size_limit; /* of files */
    struct place places[PLACES];
} log_ = {.fd = -1};

struct sn_alloctrace_header *sn_alloclog_header(void)
{
    return log_.header;
}

int sn_alloclog_fd(unsigned first, unsigned last)
{
    return log_.fd >= 0 && (unsigned)log_.fd >= first && (unsigned)log_.fd <= last
               ? log_.fd
               : -1;
}

static void *base_of(uint64_t window)
{
    return (void *)(uintptr_t)(window >> NUMBER_BITS << 12);
}

/* Each place, taken or not: as many however often they are counted. */
void sn_alloclog_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                       void *argument)
{
    if (log_.header == NULL)
        return;
    visit(log_.header, SN_ALLOCTRACE_AT, argument);
    for (unsigned i = 0; i < PLACES; i++) {
        uint64_t window = atomic_load(&log_.places[i].window);
        visit(base_of(window), window != 0 ? WINDOW_BYTES : 0, argument);
    }
}

/* ---- windows --------------------------------------------------------------------------
 */

static void give_up(enum sn_alloctrace_loss why)
{
    static const char *const texts[] = {
        [SN_ALLOCTRACE_DISK] = "there is no room for its file",
        [SN_ALLOCTRACE_LIMIT] = "its file would be larger than the limit (ulimit -f)",
        [SN_ALLOCTRACE_FD] = "the program closed its file",
        [SN_ALLOCTRACE_LONG] = "its file is as long as it can be"};
    uint32_t before = SN_ALLOCTRACE_WHOLE;
    if (__atomic_compare_exchange_n(&log_.header->why, &before, (uint32_t)why, false,
                                    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) &&
        why != SN_ALLOCTRACE_UNREAD && !sn_recording_is_quiet())
        sn_say("allocfreetrace ends here: %s", texts[why]);
}

static bool has_ended(void)
{
    return __atomic_load_n(&log_.header->why, __ATOMIC_RELAXED) != SN_ALLOCTRACE_WHOLE;
}

static bool is_window(uint64_t window, uint64_t number)
{
    return window != 0 && ((window ^ number) & ((UINT64_C(1) << NUMBER_BITS) - 1)) == 0;
}

static off_t offset_of(uint64_t slot)
{
    return (off_t)(SN_ALLOCTRACE_AT + slot * sizeof(struct sn_alloctrace_slot));
}

/* The file reaches to `end`. Never shrinks it: another thread may be further. */
static int reach(off_t begin, off_t end)
{
    struct stat now;
    if (syscall(SYS_fallocate, log_.fd, 0, begin, end - begin) == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return errno;
    if (fstat(log_.fd, &now) != 0)
        return errno;
    return now.st_size >= end || pwrite(log_.fd, "", 1, end - 1) == 1 ? 0 : errno;
}

/* Is the descriptor still that of our file? *now is what fstat says. */
static bool is_open(struct stat *now)
{
    return fstat(log_.fd, now) == 0 && now->st_dev == log_.device &&
           now->st_ino == log_.inode;
}

static bool grow(off_t begin, off_t end)
{
    struct stat now;
    if (!is_open(&now)) {
        give_up(SN_ALLOCTRACE_FD);
    } else if (__atomic_load_n(&log_.header->unread, __ATOMIC_RELAXED) != 0) {
        give_up(SN_ALLOCTRACE_UNREAD);
    } else if ((uint64_t)end > log_.size_limit) { /* the kernel would say so by SIGXFSZ */
        give_up(SN_ALLOCTRACE_LIMIT);
    } else {
        int error = reach(begin, end);
        if (error == 0)
            return true;
        give_up(error == EFBIG ? SN_ALLOCTRACE_LIMIT : SN_ALLOCTRACE_DISK);
    }
    return false;
}

/* Map the window, unless its place is another's or somebody was faster. What is in its
 * place now. */
static uint64_t map_window(uint64_t number)
{
    struct place *place = &log_.places[number % PLACES];
    uint64_t there = 0;
    int saved = errno;
    off_t begin = offset_of(number * PER_WINDOW);
    if (has_ended() || !grow(begin, begin + (off_t)WINDOW_BYTES)) {
        errno = saved;
        return 0;
    }
    void *p =
        mmap(NULL, WINDOW_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, log_.fd, begin);
    if (p != MAP_FAILED)
        madvise(p, WINDOW_BYTES, MADV_RANDOM); /* there is nothing to be read ahead */
    if (p != MAP_FAILED && madvise(p, WINDOW_BYTES, MADV_POPULATE_WRITE) != 0 &&
        errno != EINVAL && errno != EINTR && errno != EAGAIN) {
        munmap(p, WINDOW_BYTES);
        p = MAP_FAILED;
        give_up(SN_ALLOCTRACE_DISK);
    }
    if (p != MAP_FAILED) {
        uint64_t mine = (uint64_t)(uintptr_t)p >> 12 << NUMBER_BITS |
                        (number & ((UINT64_C(1) << NUMBER_BITS) - 1));
        if (atomic_compare_exchange_strong(&place->window, &there, mine))
            there = mine;
        else
            munmap(p, WINDOW_BYTES);
    }
    errno = saved;
    return there;
}

/* Where it cannot be mapped, but the file is there. */
static bool put_by_call(uint64_t slot, const struct sn_alloctrace_slot *x)
{
    struct stat now;
    int saved = errno;
    if (!has_ended() && !is_open(&now))
        give_up(SN_ALLOCTRACE_FD);
    if (!has_ended() && pwrite(log_.fd, x, sizeof *x, offset_of(slot)) != sizeof *x)
        give_up(SN_ALLOCTRACE_DISK);
    errno = saved;
    return !has_ended();
}

__attribute__((noinline)) static void retire(struct place *place, uint64_t window)
{
    int saved = errno;
    atomic_store_explicit(&place->written, 0, memory_order_relaxed);
    atomic_store_explicit(&place->window, 0, memory_order_release);
    munmap(base_of(window), WINDOW_BYTES);
    errno = saved;
}

/* ---- slots ----------------------------------------------------------------------------
 */

uint64_t sn_alloclog_claim(uint64_t n)
{
    if (has_ended())
        return UINT64_MAX;
    uint64_t slot = __atomic_fetch_add(&log_.header->used, n, __ATOMIC_SEQ_CST);
    if (slot < SLOTS_MAX)
        return slot;
    give_up(SN_ALLOCTRACE_LONG);
    return UINT64_MAX;
}

bool sn_alloclog_put(uint64_t slot, const struct sn_alloctrace_slot *x)
{
    uint64_t number = slot / PER_WINDOW, i = slot % PER_WINDOW;
    struct place *place = &log_.places[number % PLACES];
    uint64_t window = atomic_load_explicit(&place->window, memory_order_acquire);
    if (__builtin_expect(!is_window(window, number), 0)) {
        window = window == 0 ? map_window(number) : window;
        if (!is_window(window, number))
            return put_by_call(slot, x);
    }
    uint64_t *to = ((struct sn_alloctrace_slot *)base_of(window))[i].w;
    to[1] = x->w[1];
    to[2] = x->w[2];
    __atomic_store_n(&to[0], x->w[0], __ATOMIC_RELEASE);
    if (atomic_fetch_add_explicit(&place->written, 1, memory_order_acq_rel) + 1 ==
        PER_WINDOW)
        retire(place, window);
    /* The next one, before it is needed. */
    if (__builtin_expect(i == PER_WINDOW / 2, 0) &&
        atomic_load(&log_.places[(number + 1) % PLACES].window) == 0)
        map_window(number + 1);
    return true;
}

/* What comes first of the pieces, and is gone then. */
static void take(struct iovec *pieces, size_t n, char *to, size_t room)
{
    size_t had = 0;
    for (size_t i = 0; i < n && had < room; i++) {
        size_t part = pieces[i].iov_len < room - had ? pieces[i].iov_len : room - had;
        memcpy(to + had, pieces[i].iov_base, part);
        pieces[i].iov_base = (char *)pieces[i].iov_base + part;
        pieces[i].iov_len -= part;
        had += part;
    }
}

uint64_t sn_alloclog_record(const struct sn_alloctrace_slot *head, struct iovec *pieces,
                            size_t n_pieces)
{
    struct sn_alloctrace_slot more = {{SN_ALLOC_MORE}};
    size_t bytes = 0;
    for (size_t i = 0; i < n_pieces; i++)
        bytes += pieces[i].iov_len;
    uint64_t n = (bytes + 15) / 16, slot = sn_alloclog_claim(1 + n);
    if (slot == UINT64_MAX)
        return 0;
    for (uint64_t i = 0; i < n; i++) {
        more.w[1] = more.w[2] = 0;
        take(pieces, n_pieces, (char *)&more.w[1], 16);
        sn_alloclog_put(slot + 1 + i, &more);
    }
    sn_alloclog_put(slot, head);
    return slot;
}

/* ---- open, close ----------------------------------------------------------------------
 */

static void fill_header(struct sn_alloctrace_header *h)
{
    h->version = SN_ALLOCTRACE_VERSION;
    h->pid = (uint32_t)getpid();
    h->start_real_ns = sn_clock_ns(CLOCK_REALTIME);
    h->start_mono_ns = sn_clock_ns(CLOCK_MONOTONIC);
    h->state = 1;
    prctl(PR_GET_NAME, h->comm);
    ssize_t n = readlink("/proc/self/exe", h->exe, sizeof h->exe - 1);
    h->exe[n > 0 ? n : 0] = '\0';
    h->magic = SN_ALLOCTRACE_MAGIC;
}

/* The header and the first window. 0 or an error number. */
static int lay_out(int fd)
{
    struct rlimit limit;
    struct stat now;
    off_t end = offset_of(PER_WINDOW);
    bool limited =
        getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    log_.size_limit = limited ? limit.rlim_cur : INT64_MAX;
    if ((uint64_t)end > log_.size_limit)
        return EFBIG;
    if (fstat(fd, &now) != 0)
        return errno;
    log_.fd = fd;
    log_.device = now.st_dev;
    log_.inode = now.st_ino;
    int error = reach(0, end);
    if (error != 0)
        return error;
    void *p = mmap(NULL, SN_ALLOCTRACE_AT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return errno;
    log_.header = p;
    fill_header(p);
    return map_window(0) != 0 ? 0 : ENOSPC;
}

bool sn_alloclog_open(const char *path, struct sn_error *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int error = fd < 0 ? errno : 0;
    if (fd >= 0 && (fd = sn_fd_move_high(fd)) < 0)
        error = errno;
    bool made = error != EEXIST;
    memset(log_.places, 0, sizeof log_.places);
    if (error == 0)
        error = lay_out(fd);
    if (error == 0)
        return true;
    if (made && fd >= 0)
        unlink(path);
    sn_alloclog_drop();
    sn_fail(e, path, -1, "cannot reserve room: %s", strerror(error));
    errno = error;
    return false;
}

void sn_alloclog_end(void)
{
    __atomic_store_n(&log_.header->state, 2, __ATOMIC_RELEASE);
}

/* By the system call: our own close() protects it. */
void sn_alloclog_drop(void)
{
    for (unsigned i = 0; i < PLACES; i++) {
        uint64_t window = atomic_exchange(&log_.places[i].window, 0);
        if (window != 0)
            munmap(base_of(window), WINDOW_BYTES);
        atomic_store(&log_.places[i].written, 0);
    }
    if (log_.header != NULL)
        munmap(log_.header, SN_ALLOCTRACE_AT);
    log_.header = NULL;
    if (log_.fd >= 0)
        syscall(SYS_close, log_.fd);
    log_.fd = -1;
}

void sn_alloclog_close(void)
{
    struct stat now;
    off_t end = offset_of(log_.header->used);
    if (is_open(&now) && now.st_size > end && ftruncate(log_.fd, end) != 0)
        log_.size_limit = 0; /* then it is longer than it need be */
    sn_alloclog_drop();
}
