/*
 * debuginfod.c: a debug file by its build id from the servers that the user names in
 * DEBUGINFOD_URLS. libdebuginfod does it, which is loaded only then and keeps what it got
 * in its cache. The wait is bounded: where nothing comes for DEBUGINFOD_TIMEOUT seconds
 * (15 if unset), it ends, and no server is asked again with the same struct.
 */
#include "object_priv.h"

#include <dlfcn.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 15

struct wait { /* the client's data */
    struct sn_object_fetch *fetch;
    long last, patience_s;
    time_t since; /* when something came the last time */
};

/* A function of the library's; NULL: it is not here. What is loaded stays: what it uses
 * does not unload cleanly. */
static void *function(const char *name)
{
    void *lib = dlopen("libdebuginfod.so.1", RTLD_NOW | RTLD_LOCAL);
    return lib != NULL ? dlsym(lib, name) : NULL;
}

static time_t now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

/* Called a few times a second; not 0: give up. While the size is not known, `done` counts
 * no bytes. */
static int on_progress(void *client, long done, long total)
{
    void *(*get_data)(void *);
    *(void **)&get_data = function("debuginfod_get_user_data");
    struct wait *w = get_data(client);
    if (total > 0 && done != w->last) {
        w->last = done;
        w->since = now_s();
    }
    if (w->fetch->progress != NULL)
        w->fetch->progress(w->fetch->arg, total > 0 ? (size_t)done : 0,
                           total > 0 ? (size_t)total : 0);
    w->fetch->gave_up = now_s() - w->since >= w->patience_s;
    return w->fetch->gave_up;
}

/* As <elfutils/debuginfod.h> declares them. False: the library is not here. */
static bool ask(struct sn_object_fetch *fetch, const char *id, char **path)
{
    void *(*begin)(void);
    void (*end)(void *client), (*set_data)(void *client, void *data);
    void (*set_progress)(void *client, int (*fn)(void *client, long a, long b));
    int (*find)(void *client, const unsigned char *id, int length, char **path);
    *(void **)&begin = function("debuginfod_begin");
    *(void **)&end = function("debuginfod_end");
    *(void **)&set_data = function("debuginfod_set_user_data");
    *(void **)&set_progress = function("debuginfod_set_progressfn");
    *(void **)&find = function("debuginfod_find_debuginfo");
    const char *patience = getenv("DEBUGINFOD_TIMEOUT");
    long seconds = patience != NULL ? strtol(patience, NULL, 10) : 0;
    struct wait w = {.fetch = fetch, .last = -1, .since = now_s()};
    w.patience_s = seconds > 0 ? seconds : PATIENCE_S;
    *path = NULL;
    if (begin == NULL || end == NULL || set_data == NULL || set_progress == NULL ||
        find == NULL || function("debuginfod_get_user_data") == NULL)
        return false;
    void *client = begin();
    if (client == NULL)
        return true;
    set_data(client, &w);
    set_progress(client, on_progress);
    int fd = find(client, (const unsigned char *)id, 0, path);
    if (fd >= 0)
        close(fd);
    else
        *path = NULL;
    end(client);
    return true;
}

char *debuginfod_fetch(const char *build_id, struct sn_object_fetch *fetch,
                       const char **why)
{
    const char *urls = getenv("DEBUGINFOD_URLS");
    struct sn_object_fetch own = {0};
    char *path = NULL;
    *why = NULL;
    fetch = fetch != NULL ? fetch : &own;
    if (urls == NULL || urls[0] == '\0' || build_id[0] == '\0' || fetch->gave_up)
        return NULL;
    if (!ask(fetch, build_id, &path))
        *why = "DEBUGINFOD_URLS is set, but libdebuginfod.so.1 is not installed";
    else if (path == NULL)
        *why = fetch->gave_up ? "gave up: nothing comes from the servers in "
                                "DEBUGINFOD_URLS (to wait longer: DEBUGINFOD_TIMEOUT)"
                              : "no debug file at the servers in DEBUGINFOD_URLS";
    return path;
}
