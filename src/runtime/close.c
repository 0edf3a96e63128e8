/*
 * close.c: programs that close every descriptor there may be (daemons do, and whatever
 * starts others) do not close our clocks. The numbers of ours are the highest there are,
 * so that close() of any other costs one comparison.
 */
#include "runtime/runtime.h"

#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>

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

SN_PUBLIC int close(int fd)
{
    if (fd >= 0 && sn_clock_fd((unsigned)fd, (unsigned)fd) == fd) {
        errno = EBADF; /* as far as the program knows */
        return -1;
    }
    return REAL(close)(fd);
}

/* The pieces between our descriptors. */
SN_PUBLIC int close_range(unsigned first, unsigned last, int flags)
{
    int ours;
    while (first <= last && (ours = sn_clock_fd(first, last)) >= 0) {
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
