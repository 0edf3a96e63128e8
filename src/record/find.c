/* find.c: where the program and the library are. No allocation. */
#include "record/record.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_executable(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* Why a file that was named by its path cannot be executed. */
static bool explain(const char *path, struct sn_error *e)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return sn_fail(e, path, -1, "%s",
                       errno == ENOENT ? "no such program" : strerror(errno));
    return sn_fail(e, path, -1, "%s",
                   S_ISDIR(st.st_mode) ? "is a directory" : "is not executable");
}

bool sn_record_find_program(const char *name, char path[PATH_MAX], struct sn_error *e)
{
    const char *dirs = getenv("PATH");
    if (strchr(name, '/') != NULL) {
        if (snprintf(path, PATH_MAX, "%s", name) >= PATH_MAX)
            return sn_fail(e, name, -1, "name too long");
        return is_executable(path) || explain(path, e);
    }
    for (dirs = dirs != NULL ? dirs : "/bin:/usr/bin"; *name != '\0';) {
        int len = (int)strcspn(dirs, ":");
        int n =
            snprintf(path, PATH_MAX, "%.*s%s%s", len, dirs, len > 0 ? "/" : "./", name);
        if (n < PATH_MAX && is_executable(path))
            return true;
        if (dirs[len] == '\0')
            break;
        dirs += len + 1;
    }
    if (access(name, F_OK) == 0)
        return sn_fail(e, name, -1, "not found in PATH; for the file here write ./%s",
                       name);
    return sn_fail(e, name, -1, "not found in PATH");
}

bool sn_record_find_library(char path[PATH_MAX], struct sn_error *e)
{
    return sn_installed("libsonde.so", "libsonde.so.0", path, e);
}
