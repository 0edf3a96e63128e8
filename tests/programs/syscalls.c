/* syscalls.c [MS]: two thirds of the time inside the kernel, on behalf of one function.
 */
#include "burn.h"

#include <fcntl.h>
#include <unistd.h>

static char buffer[1 << 16];

NOINLINE static void in_kernel(int fd, uint64_t ns)
{
    for (uint64_t end = thread_ns() + ns; thread_ns() < end;)
        for (int i = 0; i < 8; i++)
            if (read(fd, buffer, sizeof buffer) < 0)
                abort();
    STAY();
}

NOINLINE static void in_user(uint64_t ns)
{
    for (uint64_t end = thread_ns() + ns; thread_ns() < end;)
        burn(50);
    STAY();
}

int main(int argc, char **argv)
{
    uint64_t until_ns = UINT64_C(1000000) * number(argc, argv, 1, 2000);
    uint64_t kernel = 0, user = 0;
    int fd = open("/dev/zero", O_RDONLY);
    if (fd < 0)
        return 1;
    for (unsigned i = 1; thread_ns() < until_ns; i = i * 5 % 17) { /* uneven steps */
        TIMED(kernel, in_kernel(fd, 200000 * i));
        TIMED(user, in_user(100000 * i));
    }
    truth("in_kernel", kernel);
    truth("in_user", user);
    return 0;
}
