/* installed.c: where the parts of Sonde are that are files of their own: beside the
 * command in a build directory, in the library directory where it is installed. No
 * allocation. */
#include "base/base.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* Relative to where the command's directory is, whatever it was called through, so that a
 * tree that was moved still works. SN_LIBDIR is Meson's libdir, which may be absolute. */
static const char *const places[] = {SN_LIBDIR, "lib"};

static int length_of_directory(const char *path)
{
    const char *end = strrchr(path, '/');
    return end != NULL ? (int)(end - path) : 0;
}

bool sn_installed(const char *beside, const char *in_libdir, char path[PATH_MAX],
                  struct sn_error *e)
{
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    if (n <= 0)
        return sn_fail(e, "/proc/self/exe", -1, "cannot read: %s", strerror(errno));
    own[n] = '\0';
    own[length_of_directory(own)] = '\0';
    if (snprintf(path, PATH_MAX, "%s/%s", own, beside) < PATH_MAX &&
        access(path, R_OK) == 0)
        return true;
    for (size_t i = 0; i < SN_COUNT(places); i++) {
        const char *place = places[i];
        int above = *place == '/' ? 0 : length_of_directory(own);
        if (snprintf(path, PATH_MAX, "%.*s/%s/%s", above, own, place + (*place == '/'),
                     in_libdir) < PATH_MAX &&
            access(path, R_OK) == 0)
            return true;
    }
    return sn_fail(e, beside, -1, "neither in the command's %s nor, as %s, in %s%s", own,
                   in_libdir, *SN_LIBDIR == '/' ? "" : "its ../", SN_LIBDIR);
}
