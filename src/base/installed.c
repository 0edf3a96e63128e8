/* installed.c: where the parts of Sonde are that are files of their own: beside the command
 * in a build directory, in the library directory where it is installed. No allocation. */
#include "base/base.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* Relative to the command's own directory, whatever it was called through, so that a tree
 * that was moved still works; at last where Meson was told to install it. */
static const char *const places[] = {"../" SN_LIBDIR, "../lib", SN_LIBDIR_WHOLE};

static bool is_there(char path[PATH_MAX], const char *own, const char *place,
                     const char *name)
{
    int n = *place == '/' ? snprintf(path, PATH_MAX, "%s/%s", place, name)
                          : snprintf(path, PATH_MAX, "%s/%s/%s", own, place, name);
    return n < PATH_MAX && access(path, R_OK) == 0;
}

bool sn_installed(const char *beside, const char *in_libdir, char path[PATH_MAX],
                  struct sn_error *e)
{
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    if (n <= 0)
        return sn_fail(e, "/proc/self/exe", -1, "cannot read: %s", strerror(errno));
    own[n] = '\0';
    *strrchr(own, '/') = '\0';
    if (is_there(path, own, ".", beside))
        return true;
    for (size_t i = 0; i < SN_COUNT(places); i++)
        if (is_there(path, own, places[i], in_libdir))
            return true;
    return sn_fail(e, beside, -1, "not found beside the command (%s) nor in %s/../%s",
                   own, own, SN_LIBDIR);
}
