/*
 * out.c: where the tracers' lines go. A line is written whole, by one write, so that
 * those of several threads and processes do not mix. Nothing is buffered: what kills the
 * program loses no line. A reader that has gone away is no reason to be killed by
 * SIGPIPE: it is not the program that writes. Signal-safe, no allocation.
 */
#include "trace/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
    uint64_t begun_ns;
    int fd; /* of trace_path; -1: stderr */
    /* What stderr was: a program that closes it may open something else in its place. */
    dev_t device;
    ino_t inode;
    pid_t first; /* the process that began */
    char pid[24];
} out = {.fd = -1};

uint64_t sn_trace_ns(void)
{
    return sn_clock_ns(CLOCK_MONOTONIC) - out.begun_ns;
}

const char *sn_trace_pid(void)
{
    return out.pid;
}

static int target(void)
{
    struct stat now;
    if (out.fd >= 0)
        return out.fd;
    bool same = fstat(STDERR_FILENO, &now) == 0 && now.st_dev == out.device &&
                now.st_ino == out.inode;
    return same ? STDERR_FILENO : -1;
}

/* Once, where the lines go to a file: standard error is still there. Without a large
 * buffer: it may be a handler's stack. */
static void say_lost(int error)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    const char *line =
        error == ENOSPC ? "sonde: the trace's file has no room: lines are lost\n"
        : error == EFBIG
            ? "sonde: the trace's file is at its limit (ulimit -f): lines are lost\n"
            : "sonde: the trace's file cannot be written: lines are lost\n";
    if (out.fd < 0 || error == EPIPE || atomic_flag_test_and_set(&said))
        return;
    if (write(STDERR_FILENO, line, strlen(line)) < 0)
        return; /* there is nobody to tell */
}

void sn_trace_write(const char *text, size_t len)
{
    struct sn_guard guard;
    int saved = errno, fd = target();
    sn_guard_begin(&guard, false);
    while (fd >= 0 && len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno != EINTR) {
            say_lost(errno);
            break;
        }
        text += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    sn_guard_end(&guard);
    errno = saved;
}

void sn_trace_printf(const char *fmt, ...)
{
    char line[512]; /* threads have small stacks */
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof line) {
        n = sizeof line - 1;
        line[n - 1] = '\n';
    }
    if (n > 0)
        sn_trace_write(line, (size_t)n);
}

/* trace_path with each %p replaced by the process's id. */
static bool expand(const char *pattern, char *path, size_t size)
{
    size_t n = 0;
    for (const char *c = pattern; *c != '\0' && n < size; c++) {
        int more = 1;
        if (c[0] == '%' && c[1] == 'p') {
            more = snprintf(path + n, size - n, "%d", (int)getpid());
            c++;
        } else {
            path[n] = *c;
        }
        n += (size_t)more;
    }
    if (n >= size)
        return false;
    path[n] = '\0';
    return true;
}

static bool open_file(const char *pattern, struct sn_error *e)
{
    char path[PATH_MAX];
    if (!expand(pattern, path, sizeof path))
        return sn_fail(e, pattern, -1, "trace_path is too long");
    /* Not to wait for who reads a FIFO: the program would hang before it has begun. */
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
    if (fd < 0 && errno == ENXIO)
        return sn_fail(e, path, -1, "cannot write the trace: nobody reads it");
    if (fd >= 0 && fcntl(fd, F_SETFL, O_APPEND) == 0)
        fd = sn_fd_move_high(fd);
    if (fd < 0)
        return sn_fail(e, path, -1, "cannot write the trace: %s", strerror(errno));
    out.fd = fd;
    return true;
}

bool sn_trace_out_open(const struct sn_settings *s, struct sn_error *e)
{
    struct stat now = {0};
    pid_t here = getpid();
    if (out.begun_ns == 0) {
        out.begun_ns = sn_clock_ns(CLOCK_MONOTONIC);
        out.first = s->trace.first != 0 ? (pid_t)s->trace.first : here;
    }
    out.pid[0] = '\0';
    if (here != out.first)
        snprintf(out.pid, sizeof out.pid, " pid=%d", (int)here);
    fstat(STDERR_FILENO, &now);
    out.device = now.st_dev;
    out.inode = now.st_ino;
    sn_trace_out_close();
    return s->trace.path[0] == '\0' || open_file(s->trace.path, e);
}

/* By the system call: our own close() protects it. */
void sn_trace_out_close(void)
{
    if (out.fd >= 0)
        syscall(SYS_close, out.fd);
    out.fd = -1;
}

int sn_trace_out_fd(unsigned first, unsigned last)
{
    return out.fd >= 0 && (unsigned)out.fd >= first && (unsigned)out.fd <= last ? out.fd
                                                                                : -1;
}
