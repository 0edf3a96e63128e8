/*
 * close.c: programs that close every descriptor there may be (daemons do, and whatever
 * starts others) close neither our clocks nor our socket. The numbers of ours are the
 * highest there are, so that close() of any other costs one comparison.
 */
#include "runtime/runtime.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#define OUR_FDS 256

static struct {
    int (*close)(int fd);
    int (*close_range)(unsigned first, unsigned last, int flags);
} real;

#define REAL(name) (real.name != NULL ? real.name : (sn_close_bind(), real.name))

void sn_close_bind(void)
{
    *(void **)&real.close = dlsym(RTLD_NEXT, "close");
    *(void **)&real.close_range = dlsym(RTLD_NEXT, "close_range");
}

static atomic_int lowest_fd = INT_MAX; /* none of ours is below */

/* They take the last numbers there are, and few of them: a program counts on low numbers,
 * and may use all that its limit allows. */
int sn_fd_move_high(int fd)
{
    struct rlimit limit = {1024, 1024};
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t top = limit.rlim_cur < 65536 ? limit.rlim_cur : 65536;
    rlim_t lowest = top > 2 * OUR_FDS ? top - OUR_FDS : top / 2;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, (int)lowest);
    REAL(close)(fd);
    if (high >= 0 && high < atomic_load(&lowest_fd))
        atomic_store(&lowest_fd, high);
    return high;
}

/* The lowest descriptor of ours in [first, last]; -1: none. Signal-safe. */
static int own_fd(unsigned first, unsigned last)
{
    if (last < (unsigned)atomic_load(&lowest_fd))
        return -1;
    const int each[] = {sn_clock_fd(first, last), sn_control_fd(first, last),
                        sn_trace_fd(first, last)};
    int lowest = -1;
    for (size_t i = 0; i < SN_COUNT(each); i++)
        if (each[i] >= 0 && (lowest < 0 || each[i] < lowest))
            lowest = each[i];
    return lowest;
}

SN_PUBLIC int close(int fd)
{
    if (fd >= 0 && own_fd((unsigned)fd, (unsigned)fd) == fd) {
        errno = EBADF; /* as far as the program knows */
        return -1;
    }
    return REAL(close)(fd);
}

/* The pieces between our descriptors. */
SN_PUBLIC int close_range(unsigned first, unsigned last, int flags)
{
    int ours;
    while (first <= last && (ours = own_fd(first, last)) >= 0) {
        if ((unsigned)ours > first &&
            REAL(close_range)(first, (unsigned)ours - 1, flags) != 0)
            return -1;
        first = (unsigned)ours + 1;
    }
    return first <= last ? REAL(close_range)(first, last, flags) : 0;
}

SN_PUBLIC void closefrom(int first)
{
    close_range(first > 0 ? (unsigned)first : 0, ~0u, 0);
}
