/* take_dump.c: the heap of a running program, as a file. */
#include "cli.h"

bool heap_take_dump(unsigned pid, const char *path, struct sn_error *e)
{
    (void)path;
    return sn_fail(
        e, NULL, -1,
        "process %u: the heap of a running program cannot be dumped: not built "
        "yet",
        pid);
}
