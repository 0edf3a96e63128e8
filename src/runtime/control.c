/*
 * control.c: what a running program is asked from outside: a socket beside the heap's
 * spool, mem.sock, that only its user can write to.
 *
 *     sonde ──datagram: request, a descriptor to answer to──> mem.sock
 *           <──"begun", then "ok ..." or "error ..."───────── handler ──> request
 *
 * No thread waits at it: what arrives raises our signal, and the handler reads it. Since
 * a request is one datagram, it is there whole when the signal comes, or not at all: who
 * sends nothing, or half of something, is never waited for. The answer goes to a stream
 * socket that came with the request, and is dropped where that is full.
 *
 * The signal is the main thread's alone: of one that is the process's, the kernel may
 * wake one thread and let another take it, and the first sees its wait end without a
 * handler.
 *
 * What asks a lot, as a heap dump, is done in the handler; where the thread is at work in
 * heap.c, when it leaves there. Pages and system calls
 * only, never malloc, on a stack of its own. The socket's descriptor is one of those that
 * close.c guards.
 */
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define AT_ONCE 16 /* requests a signal; each has raised one of its own */

atomic_bool sn_control_due;
static atomic_bool enabled;
static atomic_uint asked; /* how often it is to be served */
static atomic_int control_fd = -1;
static char socket_path[PATH_MAX + 32]; /* "": none */

/* ---- requests -------------------------------------------------------------------------
 */

/* False: nobody listens any more, or reads. */
static bool answer(int to, const char *fmt, ...) SN_PRINTF(2, 3);
static bool answer(int to, const char *fmt, ...)
{
    char line[PATH_MAX + 640];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    return n > 0 &&
           syscall(SYS_sendto, to, line, n < (int)sizeof line ? n : (int)sizeof line - 1,
                   MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0) > 0;
}

static void tell_spool(int to, const char *argument)
{
    (void)argument;
    answer(to, "ok %s\n", sn_recording_heap_spool());
}

static void mark(int to, const char *argument)
{
    (void)argument;
    sn_spool_mark_peak(sn_heap_table.header);
    answer(to, "ok\n");
}

static void tell_counts(int to, const char *argument)
{
    const struct sn_spool_header *h = sn_heap_table.header;
    (void)argument;
    answer(to, "ok live %llu peak %llu spool %llu\n",
           (unsigned long long)(h->live_bytes / h->scale),
           (unsigned long long)(h->peak_bytes / h->scale), (unsigned long long)h->used);
}

static void dump_now(int to, const char *path)
{
    struct sn_error e = {.offset = -1};
    char text[640];
    if (!answer(to, "begun\n"))
        return; /* who asked has given up since, perhaps while we were stopped */
    if (*path != '/')
        answer(to, "error give an absolute path\n");
    else if (sn_heap_dump(path, &e))
        answer(to, "ok %s\n", path);
    else
        answer(to, "error %s\n", sn_error_text(&e, text, sizeof text));
}

/* Of a program that uses libgc: where a thread of it allocates next, since it must
 * collect first. It may never do so: then who asks says "heapdump-now". */
static void dump(int to, const char *path)
{
    bool later = *path == '/' && sn_heap_is_exact() && sn_trace_gc_is_used();
    if (!later || !answer(to, "later\n") || !sn_trace_gc_later(dump_now, to, path))
        dump_now(to, path);
}

static void dump_at_once(int to, const char *path)
{
    sn_trace_gc_not_later();
    dump_now(to, path);
}

static const struct {
    const char *word;
    void (*serve)(int to, const char *argument);
} requests[] = {
    {"spool", tell_spool},          {"mark", mark},
    {"stat", tell_counts},          {"heapdump", dump},
    {"heapdump-now", dump_at_once},
};

static void serve(char *request, int to)
{
    request[strcspn(request, "\n")] = '\0';
    char *argument = strchr(request, ' ');
    if (argument != NULL)
        *argument++ = '\0';
    for (size_t i = 0; i < SN_COUNT(requests); i++)
        if (strcmp(request, requests[i].word) == 0) {
            requests[i].serve(to, argument != NULL ? argument : "");
            return;
        }
    answer(to, "error this program knows: spool, mark, stat, heapdump PATH\n");
}

/* ---- messages -------------------------------------------------------------------------
 */

union room {
    struct cmsghdr head; /* aligned */
    char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(4 * sizeof(int))];
};

/* The first descriptor that came, and who sent it; the others are closed. */
static int unpack(struct msghdr *m, struct ucred *from)
{
    int first = -1, fd;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len >= CMSG_LEN(sizeof *from))
            memcpy(from, CMSG_DATA(c), sizeof *from);
        size_t n =
            c->cmsg_type == SCM_RIGHTS ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
        for (size_t i = 0; i < n; i++) {
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (first < 0)
                first = fd;
            else
                syscall(SYS_close, fd);
        }
    }
    return first;
}

#define UNKNOWN_UID 65534 /* of one who has none in our user namespace: its root */

/* By the mode of the socket, nobody else could send; but we may have changed our user. */
static bool may_ask(const struct ucred *from)
{
    return from->uid == geteuid() || from->uid == getuid() || from->uid == 0 ||
           from->uid == UNKNOWN_UID;
}

/* One message; false: there is none. */
static bool serve_one(int fd)
{
    char request[PATH_MAX + 64];
    union room room;
    struct iovec v = {request, sizeof request - 1};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = &room,
                       .msg_controllen = sizeof room};
    struct ucred from = {.uid = (uid_t)-1};
    ssize_t n = syscall(SYS_recvmsg, fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EINTR;
    int to = unpack(&m, &from);
    request[n] = '\0';
    if (to >= 0 && may_ask(&from)) {
        if (m.msg_flags & MSG_TRUNC)
            answer(to, "error the request is too long\n");
        else
            serve(request, to);
    }
    if (to >= 0)
        syscall(SYS_close, to);
    return true;
}

static void serve_all(void)
{
    struct sn_guard guard;
    int fd = atomic_load(&control_fd);
    if (fd < 0 || !sn_recording_look())
        return;
    sn_guard_begin(&guard, true);
    for (int i = 0; i < AT_ONCE && serve_one(fd); i++)
        continue;
    sn_guard_end(&guard);
    sn_recording_looked();
}

/* Where the heap is at work below us: later. Where this is below us, or in another
 * thread: there. */
void sn_control_serve(void)
{
    int saved = errno;
    atomic_store(&sn_control_due, false);
    if (atomic_fetch_add(&asked, 1) == 0)
        do
            sn_stack_call(SN_STACK_CONTROL, serve_all);
        while (atomic_fetch_sub(&asked, 1) > 1);
    errno = saved;
}

/* Also one that comes late, when the socket is closed. */
static bool is_ours(const siginfo_t *info)
{
    const struct sigaction *program = &sn_program_actions[SN_OWN_CONTROL];
    bool event = info->si_code >= POLL_IN && info->si_code <= POLL_HUP;
    return event && (info->si_fd == atomic_load(&control_fd) ||
                     program->sa_handler == SIG_DFL || program->sa_handler == SIG_IGN);
}

void sn_on_control(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    sn_wait_note(context);
    if (!is_ours(info))
        sn_signal_pass_on(SN_OWN_CONTROL, signal, info, context);
    else if (sn_heap_is_inside())
        atomic_store(&sn_control_due, true);
    else
        sn_control_serve();
    errno = saved;
}

/* ---- the socket -----------------------------------------------------------------------
 */

bool sn_control_enabled(void)
{
    return atomic_load_explicit(&enabled, memory_order_relaxed);
}

int sn_control_fd(unsigned first, unsigned last)
{
    int fd = atomic_load(&control_fd);
    return fd >= 0 && (unsigned)fd >= first && (unsigned)fd <= last ? fd : -1;
}

/* By way of its directory: a socket's name is 107 bytes long at most. */
static bool bind_to(int fd, const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char dir[PATH_MAX + 32];
    const char *base = strrchr(path, '/');
    if (base == NULL)
        return false;
    snprintf(dir, sizeof dir, "%.*s", (int)(base - path) + 1, path);
    int in = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (in < 0)
        return false;
    int n = snprintf(name.sun_path, sizeof name.sun_path, "/proc/self/fd/%d%s", in, base);
    bool good = n < (int)sizeof name.sun_path;
    if (good) {
        unlinkat(in, base + 1, 0); /* of a process that was killed: the spool is new */
        good = bind(fd, (struct sockaddr *)&name, sizeof name) == 0;
    }
    close(in);
    return good;
}

/* The mode of the socket is that of its file, whatever the umask. */
static bool listen_at(int fd, const char *path)
{
    const int on = 1;
    struct f_owner_ex owner = {F_OWNER_TID, getpid()};
    return setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0 &&
           fchmod(fd, 0600) == 0 && fcntl(fd, F_SETOWN_EX, &owner) == 0 &&
           fcntl(fd, F_SETSIG, SN_CONTROL_SIGNAL) == 0 &&
           fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK) == 0 && bind_to(fd, path);
}

static void unblock_signal(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SN_CONTROL_SIGNAL);
    sn_real_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void open_socket(void)
{
    int fd = socket_path[0] != '\0' ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0 || (fd = sn_fd_move_high(fd)) < 0)
        return;
    atomic_store(&control_fd, fd);
    if (listen_at(fd, socket_path))
        return;
    atomic_store(&control_fd, -1);
    close(fd);
}

static void close_socket(void)
{
    int fd = atomic_exchange(&control_fd, -1);
    if (fd >= 0)
        close(fd);
}

void sn_control_start(const char *spool)
{
    static const char ending[] = ".spool";
    size_t n = strlen(spool), cut = sizeof ending - 1;
    socket_path[0] = '\0';
    atomic_store(&sn_control_due, false);
    atomic_store(&enabled, true);
    if (n < cut || strcmp(spool + n - cut, ending) != 0 ||
        !sn_signal_take(SN_OWN_CONTROL))
        return;
    snprintf(socket_path, sizeof socket_path, "%.*s.sock", (int)(n - cut), spool);
    sn_stack_open(SN_STACK_CONTROL);
    unblock_signal();
    open_socket();
}

void sn_control_stop(void)
{
    if (atomic_load(&control_fd) >= 0)
        unlink(socket_path);
    close_socket();
    atomic_store(&enabled, false);
}

/* What is on its way must not be left pending for the new program, whom it would kill. */
void sn_control_pause(void)
{
    const struct timespec at_once = {0};
    sigset_t set;
    if (atomic_load(&control_fd) < 0)
        return;
    unlink(socket_path);
    close_socket();
    sigemptyset(&set);
    sigaddset(&set, SN_CONTROL_SIGNAL);
    while (syscall(SYS_rt_sigtimedwait, &set, NULL, &at_once, _NSIG / 8) > 0)
        continue;
}

void sn_control_resume(void)
{
    if (sn_control_enabled())
        open_socket();
}

void sn_control_thread_ends(void)
{
    struct f_owner_ex owner = {F_OWNER_PID, getpid()};
    int fd = atomic_load(&control_fd);
    if (fd >= 0 && sn_thread_id() == getpid()) /* the process goes on without it */
        fcntl(fd, F_SETOWN_EX, &owner);
}

void sn_control_drop(void)
{
    atomic_store(&asked, 0);
    close_socket();
    atomic_store(&enabled, false);
}
