/*
 * alone.c: calls that mean something else where there are several threads. The C library
 * has every thread set its user and groups (and aborts where one may not: a thread of
 * ours has not what the calling thread has made of its own capabilities, capset(2)); the
 * kernel refuses other namespaces to a process with threads (unshare(2), setns(2)). Our
 * thread ends before such a call and begins anew behind it, with all that is the
 * caller's.
 *
 * As safe as what they stand for: where the thread's own affairs are under way, they
 * pass.
 */
#include "trace/trace_priv.h"

#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <unistd.h>

#define CALLS(X)                                                                         \
    X(setuid, (uid_t u), (u))                                                            \
    X(setgid, (gid_t g), (g))                                                            \
    X(seteuid, (uid_t u), (u))                                                           \
    X(setegid, (gid_t g), (g))                                                           \
    X(setreuid, (uid_t r, uid_t e), (r, e))                                              \
    X(setregid, (gid_t r, gid_t e), (r, e))                                              \
    X(setresuid, (uid_t r, uid_t e, uid_t s), (r, e, s))                                 \
    X(setresgid, (gid_t r, gid_t e, gid_t s), (r, e, s))                                 \
    X(setgroups, (size_t n, const gid_t *g), (n, g))                                     \
    X(initgroups, (const char *user, gid_t g), (user, g))                                \
    X(unshare, (int flags), (flags))                                                     \
    X(setns, (int fd, int type), (fd, type))

#define DECLARE(name, params, arguments) int(*name) params;
static struct {
    CALLS(DECLARE)
} real;

void sn_alone_bind(void)
{
#define BIND(name, params, arguments) *(void **)&real.name = dlsym(RTLD_NEXT, #name);
    CALLS(BIND)
}

#define DEFINE(name, params, arguments)                                                  \
    SN_PUBLIC int name params                                                            \
    {                                                                                    \
        if (real.name == NULL)                                                           \
            sn_alone_bind();                                                             \
        bool paused = sn_monitor_pause();                                                \
        int result = real.name arguments, saved = errno;                                 \
        if (paused)                                                                      \
            sn_monitor_go_on();                                                          \
        errno = saved;                                                                   \
        return result;                                                                   \
    }
CALLS(DEFINE)
