/*
 * tracefs.c: the number of a tracepoint, and where its fields lie
 * (Documentation/trace/events.rst). Where nobody has mounted tracefs, it is mounted for
 * a moment at no place at all, which only this process sees and only root may do.
 */
#include "sched_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const places[] = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};

static int mount_nowhere(void)
{
    int fs = (int)syscall(SYS_fsopen, "tracefs", FSOPEN_CLOEXEC), mount = -1;
    if (fs >= 0 && syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        mount = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
    sn_fd_close(fs);
    return mount;
}

static bool read_file(int dir, const char *name, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "events/sched/sched_waking/%s", name);
    int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;
    text[n > 0 ? n : 0] = '\0';
    sn_fd_close(fd);
    return n > 0;
}

static bool read_point(int dir, struct sn_tracepoint *p)
{
    char id[32], format[2048];
    if (dir < 0 || !read_file(dir, "id", id, sizeof id) ||
        !read_file(dir, "format", format, sizeof format))
        return false;
    static const char field[] = "\tfield:pid_t pid;\toffset:";
    const char *at = strstr(format, field);
    p->id = strtoull(id, NULL, 10);
    p->pid_at = at != NULL ? (unsigned)strtoul(at + strlen(field), NULL, 10) : 0;
    return p->pid_at > 0;
}

/* The numbers in a tracepoint's fields are those of the outermost namespace. */
static bool is_outermost(void)
{
    char link[64];
    ssize_t n = readlink("/proc/self/ns/pid", link, sizeof link - 1);
    link[n > 0 ? n : 0] = '\0';
    return strcmp(link, "pid:[4026531836]") == 0; /* PROC_PID_INIT_INO, proc_ns.h */
}

bool sn_tracefs_waking(struct sn_tracepoint *p, struct sn_error *e)
{
    bool found = false;
    if (!is_outermost())
        return sn_fail(e, NULL, -1, "not in a container");
    for (size_t i = 0; i <= SN_COUNT(places) && !found; i++) {
        int dir = i < SN_COUNT(places)
                      ? open(places[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                      : mount_nowhere();
        found = read_point(dir, p);
        sn_fd_close(dir);
    }
    return found || sn_fail(e, NULL, -1, "tracefs cannot be read");
}
