/*
 * attach.c: a running program that records its heap, seen from outside.
 *
 *     /proc/PID/maps ──> path of its spool ──> opened under /proc/PID/root
 *
 * The spool is a file that the program has mapped shared: it is read, and its peak begun
 * anew, without the program's doing, whatever that does or waits for. What needs the
 * program itself is asked at the socket beside the spool. The process may be in another
 * container, and it is not trusted: the spool is copied, then checked by its reader; its
 * path holds no links that would lead us elsewhere.
 */
#include "record/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define TRIES 20 /* of a copy */

/* ---- the process ----------------------------------------------------------------------
 */

static void read_name(pid_t pid, char *name, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    sn_file_line(path, name, size);
}

static bool refuse_other(pid_t pid, struct sn_error *e)
{
    char path[64], where[64];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    snprintf(where, sizeof where, "process %d", (int)pid);
    const struct passwd *who = stat(path, &st) == 0 ? getpwuid(st.st_uid) : NULL;
    if (who != NULL && st.st_uid == geteuid())
        return sn_fail(e, where, -1, "may not be looked at: it has more rights than you");
    return sn_fail(e, where, -1, "belongs to %s; ask as that user, or as root",
                   who != NULL ? who->pw_name : "another user");
}

/* What maps show of a process, by its mapped files. */
struct found {
    char spool[PATH_MAX + 32]; /* ".../mem*.spool"; "": none */
    unsigned long long inode;
    bool gone, cpu, library, any;
};

/* The kernel writes a newline in a name as \012, and no other byte so. */
static void unescape(char *s)
{
    char *to = s;
    for (; *s != '\0'; s++)
        if (strncmp(s, "\\012", 4) == 0) {
            *to++ = '\n';
            s += 3;
        } else {
            *to++ = *s;
        }
    *to = '\0';
}

static bool ends_in(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static void look_at(char *line, struct found *f)
{
    static const char deleted[] = " (deleted)";
    unsigned long long inode = 0;
    char permissions[8] = "";
    int at = 0;
    f->any = true;
    if (sscanf(line, "%*s %7s %*s %*s %llu %n", permissions, &inode, &at) < 2 ||
        at == 0 || line[at] != '/')
        return;
    char *path = line + at;
    path[strcspn(path, "\n")] = '\0';
    bool gone = ends_in(path, deleted);
    if (gone)
        path[strlen(path) - strlen(deleted)] = '\0';
    const char *base = strrchr(path, '/') + 1;
    f->library |= strncmp(base, "libsonde.so", 11) == 0;
    if (permissions[3] != 's' || !sn_spool_is_name(base))
        return;
    f->cpu |= strncmp(base, "cpu.", 4) == 0;
    if (strncmp(base, "mem.", 4) != 0 || strlen(path) >= sizeof f->spool)
        return;
    unescape(path);
    strcpy(f->spool, path);
    f->inode = inode;
    f->gone = gone;
}

static bool read_maps(const struct sn_attached *a, struct found *f, struct sn_error *e)
{
    char path[sizeof a->proc + 8], where[64], *line = NULL;
    size_t room = 0;
    snprintf(path, sizeof path, "%s/maps", a->proc);
    snprintf(where, sizeof where, "process %d", (int)a->pid);
    FILE *maps = fopen(path, "re");
    if (maps == NULL && (errno == EACCES || errno == EPERM))
        return refuse_other(a->pid, e);
    if (maps == NULL)
        return sn_fail(e, where, -1, "%s",
                       errno == ENOENT || errno == ESRCH ? "there is no such process"
                                                         : strerror(errno));
    while (getline(&line, &room, maps) > 0)
        look_at(line, f);
    bool good = ferror(maps) == 0;
    free(line);
    fclose(maps);
    return good || refuse_other(a->pid, e);
}

/* Where the main thread has ended, the kernel shows memory and root only with others. */
static bool find_spool(struct sn_attached *a, struct found *f, struct sn_error *e)
{
    char path[64];
    snprintf(a->proc, sizeof a->proc, "/proc/%d", (int)a->pid);
    if (!read_maps(a, f, e))
        return false;
    snprintf(path, sizeof path, "/proc/%d/task", (int)a->pid);
    DIR *tasks = opendir(path);
    for (struct dirent *d; tasks != NULL && !f->any && (d = readdir(tasks)) != NULL;) {
        snprintf(a->proc, sizeof a->proc, "%s/%.20s", path, d->d_name);
        if (d->d_name[0] != '.')
            read_maps(a, f, NULL);
    }
    if (tasks != NULL)
        closedir(tasks);
    return true;
}

/* The program under `sonde run`, where that is the process; else 0. */
static int run_by(const struct sn_attached *a)
{
    char path[64], children[32];
    int child = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)a->pid, (int)a->pid);
    sn_file_line(path, children, sizeof children);
    return strcmp(a->name, "sonde") == 0 && sscanf(children, "%d", &child) == 1 ? child
                                                                                : 0;
}

/* Why there is no spool, and what would make one. */
static bool refuse_unrecorded(const struct sn_attached *a, const struct found *f,
                              struct sn_error *e)
{
    char where[64];
    snprintf(where, sizeof where, "process %d", (int)a->pid);
    if (!f->any)
        return sn_fail(e, where, -1, "has ended, or is the kernel's own");
    if (f->spool[0] != '\0')
        return sn_fail(e, where, -1, "its spool %s was deleted", f->spool);
    if (f->cpu)
        return sn_fail(e, where, -1,
                       "(%s) records its CPU time, but not its heap; start it with "
                       "'sonde run --mem', or with SONDE=cpu,mem",
                       a->name);
    if (f->library)
        return sn_fail(e, where, -1,
                       "(%s) has libsonde, but records no heap; start it with SONDE=mem",
                       a->name);
    if (run_by(a) > 0)
        return sn_fail(e, where, -1, "is sonde itself; what it runs is process %d",
                       run_by(a));
    return sn_fail(e, where, -1,
                   "(%s) is not recorded by sonde; start it with 'sonde run --mem', or "
                   "preload libsonde.so and set SONDE=mem",
                   a->name);
}

/* `path` as that process sees it; no link on the way is followed. */
static int open_inside(const struct sn_attached *a, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS};
    char whole[PATH_MAX + 64];
    int fd = (int)syscall(SYS_openat2, a->root, path + 1, &how, sizeof how);
    if (fd >= 0 || errno != ENOSYS) /* before Linux 5.6, and under old sandboxes */
        return fd;
    snprintf(whole, sizeof whole, "%s/root%s", a->proc, path);
    return open(whole, flags | O_CLOEXEC | O_NOFOLLOW);
}

/* Is it the file that the process has mapped, and a heap's spool? */
static bool check_spool(struct sn_attached *a, const struct found *f, struct sn_error *e)
{
    struct stat st;
    struct sn_spool_header *h = NULL;
    a->spool = open_inside(a, f->spool, O_RDWR | O_NONBLOCK | O_NOCTTY);
    if (a->spool < 0 && (errno == EACCES || errno == EPERM))
        return refuse_other(a->pid, e);
    if (a->spool < 0 || fstat(a->spool, &st) != 0)
        return sn_fail(e, f->spool, -1, "cannot open: %s", strerror(errno));
    if (S_ISREG(st.st_mode) && st.st_ino == f->inode &&
        st.st_size >= (off_t)SN_SPOOL_AT_ENTRIES)
        h = mmap(NULL, sizeof *h, PROT_READ | PROT_WRITE, MAP_SHARED, a->spool, 0);
    if (h == MAP_FAILED || h == NULL)
        return sn_fail(e, f->spool, -1, "is not what process %d has mapped", (int)a->pid);
    a->header = h;
    return (sn_spool_is(h, (size_t)st.st_size) && h->kind == SN_SPOOL_HEAP) ||
           sn_fail(e, f->spool, -1, "is no spool of a heap");
}

static bool same_file(const char *path, const struct stat *theirs)
{
    struct stat ours;
    return stat(path, &ours) == 0 && ours.st_dev == theirs->st_dev &&
           ours.st_ino == theirs->st_ino;
}

/* Does a path lead it where it leads us? */
static bool sees_our_files(const struct sn_attached *a)
{
    char path[sizeof a->proc + 8];
    struct stat root, mounts;
    snprintf(path, sizeof path, "%s/ns/mnt", a->proc);
    return fstat(a->root, &root) == 0 && same_file("/", &root) &&
           (stat(path, &mounts) != 0 || same_file("/proc/self/ns/mnt", &mounts));
}

bool sn_attach(pid_t pid, struct sn_attached *a, struct sn_error *e)
{
    struct found f = {0};
    char root[sizeof a->proc + 8];
    *a = (struct sn_attached){.pid = pid, .spool = -1, .root = -1};
    read_name(pid, a->name, sizeof a->name);
    if (!find_spool(a, &f, e))
        return false;
    if (f.spool[0] == '\0' || f.gone)
        return refuse_unrecorded(a, &f, e);
    snprintf(root, sizeof root, "%s/root", a->proc);
    a->root = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (a->root < 0)
        return refuse_other(pid, e);
    snprintf(a->path, sizeof a->path, "%s", f.spool);
    a->foreign = !sees_our_files(a);
    if (check_spool(a, &f, e))
        return true;
    sn_detach(a);
    return false;
}

void sn_detach(struct sn_attached *a)
{
    if (a->header != NULL)
        munmap(a->header, sizeof *a->header);
    if (a->spool >= 0)
        close(a->spool);
    if (a->root >= 0)
        close(a->root);
    a->header = NULL;
    a->spool = a->root = -1;
}

bool sn_attached_lives(const struct sn_attached *a)
{
    return __atomic_load_n(&a->header->state, __ATOMIC_RELAXED) == 1 &&
           (kill(a->pid, 0) == 0 || errno == EPERM);
}

/* ---- the spool ------------------------------------------------------------------------
 */

static bool copy(int fd, char *to, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(fd, to + done, len - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

/* What there is of it now. NULL: no memory, or it cannot be read. */
static char *copy_now(const struct sn_attached *a, size_t *len, struct sn_error *e)
{
    struct stat st;
    uint64_t used = __atomic_load_n(&a->header->used, __ATOMIC_ACQUIRE);
    size_t size = fstat(a->spool, &st) == 0 ? (size_t)st.st_size : 0;
    *len = used < size ? SN_SPOOL_AT_ENTRIES + (size_t)used : size;
    *len = *len < size ? *len : size;
    char *data = *len > 0 ? sn_pages_map(*len) : NULL;
    if (data == NULL)
        sn_fail(e, a->path, -1, "out of memory");
    else if (copy(a->spool, data, *len))
        return data;
    else
        sn_fail(e, a->path, -1, "cannot read: %s", strerror(errno));
    sn_pages_unmap(data, *len);
    return NULL;
}

/* Of one epoch of the peak, unless there is a new one each time. */
struct sn_profile *sn_attached_read(const struct sn_attached *a, struct sn_error *e)
{
    struct sn_profile *p = NULL;
    bool lives = sn_attached_lives(a);
    uint64_t before, *epoch = &a->header->peak_epoch;
    char *data = NULL;
    size_t len = 0;
    for (unsigned i = 0; i < TRIES; i++) {
        sn_pages_unmap(data, len);
        before = __atomic_load_n(epoch, __ATOMIC_ACQUIRE);
        if ((data = copy_now(a, &len, e)) == NULL)
            return NULL;
        if (__atomic_load_n(epoch, __ATOMIC_ACQUIRE) == before)
            break;
    }
    p = lives ? sn_spool_read_now(data, len, a->path, e)
              : sn_spool_read(data, len, a->path, e);
    sn_pages_unmap(data, len);
    return p;
}

void sn_attached_mark(const struct sn_attached *a)
{
    sn_spool_mark_peak(a->header);
}

bool sn_attached_is_exact(const struct sn_attached *a)
{
    return a->header->n_values == SN_HEAP_VALUES;
}

/* ---- the socket -----------------------------------------------------------------------
 */

/* mem.sock beside mem.spool, under a name short enough for a socket. */
static bool connect_to(const struct sn_attached *a, int fd)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char dir[sizeof a->path];
    const char *base = strrchr(a->path, '/') + 1;
    snprintf(dir, sizeof dir, "%.*s", (int)(base - a->path), a->path);
    int in = open_inside(a, dir, O_PATH | O_DIRECTORY);
    if (in < 0)
        return false;
    int n = snprintf(name.sun_path, sizeof name.sun_path, "/proc/self/fd/%d/%.*ssock", in,
                     (int)(strlen(base) - strlen("spool")), base);
    bool good = n < (int)sizeof name.sun_path &&
                connect(fd, (struct sockaddr *)&name, sizeof name) == 0;
    int error = errno;
    close(in);
    errno = error;
    return good;
}

static bool send_request(int fd, const char *request, int answers)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof answers)];
    } room = {0};
    struct iovec v = {(char *)(uintptr_t)request, strlen(request)};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = &room,
                       .msg_controllen = sizeof room};
    room.head = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                 .cmsg_type = SCM_RIGHTS,
                                 .cmsg_len = CMSG_LEN(sizeof answers)};
    memcpy(CMSG_DATA(&room.head), &answers, sizeof answers);
    return sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static bool refuse_unreachable(const struct sn_attached *a, struct sn_error *e)
{
    if (errno == EACCES || errno == EPERM)
        return refuse_other(a->pid, e);
    if (errno == EAGAIN)
        return sn_fail(e, a->path, -1,
                       "process %d has not answered those who asked before", (int)a->pid);
    return sn_fail(e, a->path, -1,
                   "process %d cannot be asked: no socket is beside its spool (%s)",
                   (int)a->pid, strerror(errno));
}

bool sn_attached_ask(struct sn_attached *a, const char *request, int *answers,
                     struct sn_error *e)
{
    int pair[2], fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return sn_fail(e, NULL, -1, "cannot make a socket: %s", strerror(errno));
    bool good = connect_to(a, fd) &&
                socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0;
    if (good) {
        good = send_request(fd, request, pair[1]);
        int error = errno;
        close(pair[1]);
        if (!good)
            close(pair[0]);
        errno = error;
    }
    if (good)
        *answers = pair[0];
    else
        refuse_unreachable(a, e);
    close(fd);
    return good;
}

enum sn_answer sn_attached_answer(int answers, unsigned wait_ms, char *line, size_t size)
{
    struct pollfd ready = {.fd = answers, .events = POLLIN};
    size_t n = 0;
    if (poll(&ready, 1, (int)wait_ms) <= 0)
        return SN_ANSWER_NONE;
    while (n + 1 < size && read(answers, line + n, 1) == 1 && line[n] != '\n')
        n++;
    line[n] = '\0';
    if (n == 0)
        return SN_ANSWER_GONE;
    return strcmp(line, "begun") == 0        ? SN_ANSWER_BEGUN
           : strcmp(line, "later") == 0      ? SN_ANSWER_LATER
           : strncmp(line, "error ", 6) == 0 ? SN_ANSWER_BAD
                                             : SN_ANSWER_GOOD;
}

/* ---- files that the program wrote -----------------------------------------------------
 */

bool sn_attached_fetch(const struct sn_attached *a, const char *path, const char *to,
                       struct sn_error *e)
{
    char dir[PATH_MAX + 64];
    const char *base = strrchr(path, '/') + 1;
    snprintf(dir, sizeof dir, "%.*s", (int)(base - path), path);
    bool name = !a->foreign && strcmp(to, "-") != 0 && !sn_file_is_special(to);
    int in = open_inside(a, dir, O_PATH | O_DIRECTORY);
    if (in >= 0 && name && renameat(in, base, AT_FDCWD, to) == 0) {
        close(in);
        return true;
    }
    int from = in < 0 ? -1
                      : openat(in, base,
                               O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    bool good = from >= 0 ? sn_file_copy(from, to, e)
                          : sn_fail(e, path, -1, "cannot open: %s", strerror(errno));
    if (from >= 0) {
        close(from);
        unlinkat(in, base, 0);
    }
    if (in >= 0)
        close(in);
    return good;
}
