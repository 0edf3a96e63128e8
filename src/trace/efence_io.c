/*
 * efence_io.c: the kernel does not fault where it is told to read or write beyond a
 * block, or in a freed one: the call fails with EFAULT, or comes to less than was asked
 * for. runtime/sleep.c, which stands before most of such calls, tells us; those that it
 * has no use for are here. So is mlockall, which would bring in all of our tables.
 * Signal-safe, keeps errno.
 */
#undef _FILE_OFFSET_BITS /* it would make pread's name pread64's */
#include "trace/efence.h"
#include "trace/trace_priv.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- what was the kernel given --------------------------------------------------------
 */

struct range {
    uintptr_t at;
    size_t n;
};

/* The first byte of it that is in no live block of ours, as far as it begins in one or in
 * a freed one. 0: there is none. */
static uintptr_t first_bad(struct range r)
{
    struct ef_block *b, *after;
    if (r.n == 0 || !ef_arena_has((void *)r.at))
        return 0;
    ef_arena_near(r.at, &b, &after);
    if (b == NULL || atomic_load(&b->state) != EF_LIVE)
        return r.at;
    uintptr_t begin = (uintptr_t)ef_block_at(b), end = begin + b->size;
    if (r.at < begin || r.at >= end)
        return r.at;
    return r.n > end - r.at ? end : 0;
}

static uintptr_t first_bad_of(const struct iovec *v, size_t n)
{
    uintptr_t bad = first_bad((struct range){(uintptr_t)v, n * sizeof *v});
    for (size_t i = 0; bad == 0 && i < n && i < 1024; i++)
        bad = first_bad((struct range){(uintptr_t)v[i].iov_base, v[i].iov_len});
    return bad;
}

static uintptr_t first_bad_in(const struct msghdr *m)
{
    uintptr_t bad = first_bad((struct range){(uintptr_t)m, sizeof *m});
    if (bad == 0)
        bad = first_bad((struct range){(uintptr_t)m->msg_name, m->msg_namelen});
    if (bad == 0)
        bad = first_bad((struct range){(uintptr_t)m->msg_control, m->msg_controllen});
    return bad != 0 ? bad : first_bad_of(m->msg_iov, m->msg_iovlen);
}

/* What the second and third argument of a call are. */
enum shape { BYTES, VECTOR, MESSAGE, NOT_LOOKED_AT };

static const struct call {
    const char *name;
    enum shape shape;
    bool fills; /* the kernel writes what it is given */
} calls[] = {
    {"read", BYTES, true},           {"recv", BYTES, true},
    {"recvfrom", BYTES, true},       {"pread", BYTES, true},
    {"__read_chk", BYTES, true},     {"__recv_chk", BYTES, true},
    {"__recvfrom_chk", BYTES, true}, {"readv", VECTOR, true},
    {"recvmsg", MESSAGE, true},      {"write", BYTES, false},
    {"send", BYTES, false},          {"sendto", BYTES, false},
    {"pwrite", BYTES, false},        {"writev", VECTOR, false},
    {"sendmsg", MESSAGE, false},
};

/* `result` bytes came of it: -1, and EFAULT; or less than was given, for one reason or
 * another. */
void sn_trace_kernel_fault(const char *name, uintptr_t second, uintptr_t third,
                           int64_t result, const void *caller)
{
    uintptr_t bad = 0;
    int saved = errno;
    for (size_t i = 0; i < SN_COUNT(calls); i++) {
        const struct call *c = &calls[i];
        if (ef_arena.bytes == 0 || strcmp(c->name, name) != 0)
            continue;
        if (c->shape == BYTES)
            bad = first_bad((struct range){second, third});
        else if (result < 0)
            bad = c->shape == VECTOR ? first_bad_of((const void *)second, third)
                                     : first_bad_in((const void *)second);
        /* A part was written: up to where it could be read? */
        if (result >= 0 && (c->fills || second + (uintptr_t)result < bad))
            bad = 0;
        if (bad != 0)
            ef_report_kernel(name, bad, c->fills, caller);
    }
    errno = saved;
}

/* ---- the calls that are nobody else's -------------------------------------------------
 */

#define CALLS(X)                                                                         \
    X(pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at), to)                \
    X(pread64, (int fd, void *to, size_t n, off64_t at), (fd, to, n, at), to)            \
    X(__pread_chk, (int fd, void *to, size_t n, off_t at, size_t size),                  \
      (fd, to, n, at, size), to)                                                         \
    X(__pread64_chk, (int fd, void *to, size_t n, off64_t at, size_t size),              \
      (fd, to, n, at, size), to)                                                         \
    X(pwrite, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at), from)   \
    X(pwrite64, (int fd, const void *from, size_t n, off64_t at), (fd, from, n, at), from)

#define DECLARE(name, parameters, arguments, buffer) ssize_t(*name) parameters;
static struct {
    CALLS(DECLARE)
} real;

static int (*real_mlockall)(int flags);

void sn_trace_bind(void)
{
    *(void **)&real_mlockall = dlsym(RTLD_NEXT, "mlockall");
#define BIND(name, parameters, arguments, buffer)                                        \
    *(void **)&real.name = dlsym(RTLD_NEXT, #name);
    CALLS(BIND)
    sn_alone_bind();
}

#define DEFINE(name, parameters, arguments, buffer)                                      \
    SN_PUBLIC ssize_t name parameters; /* those of _FORTIFY_SOURCE are in no header */   \
    SN_PUBLIC ssize_t name parameters                                                    \
    {                                                                                    \
        if (real.name == NULL)                                                           \
            sn_trace_bind();                                                             \
        ssize_t result = real.name arguments;                                            \
        if (__builtin_expect(result < 0 && errno == EFAULT, 0))                          \
            sn_trace_kernel_fault(#buffer[0] == 't' ? "pread" : "pwrite",                \
                                  (uintptr_t)(buffer), n, result,                        \
                                  __builtin_return_address(0));                          \
        return result;                                                                   \
    }
CALLS(DEFINE)

/* What the program has touched stays in memory; of ours nothing is brought in, nor kept:
 * guard marks are not for locked pages. */
SN_PUBLIC int mlockall(int flags)
{
    if (real_mlockall == NULL)
        sn_trace_bind();
    int result =
        real_mlockall(ef_arena.bytes > 0 && flags != 0 ? flags | MCL_ONFAULT : flags);
    if (result == 0 && ef_arena.bytes > 0)
        ef_arena_unlock();
    return result;
}
