/*
 * viewers.c: where a report goes that nobody gave a file: to a program that shows it, or
 * (what is no text, by pprof's grammar, on a terminal or in the shell) to profile001.pdf,
 * profile002.pdf, ... of the current folder.
 */
#include "viewers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* pprof's, in its order. $BROWSER comes first; xdg-open last, in a desktop only. */
static const char *const browsers[] = {"$BROWSER", "chrome",  "google-chrome",
                                       "chromium", "firefox", "sensible-browser",
                                       "xdg-open", NULL};

static const struct viewer {
    const char *format, *suffix;
    const char *programs[10];
    bool browser; /* the programs are browsers */
} viewers[] = {
    {"web", "svg", {NULL}, true},
    {"weblist", "html", {NULL}, true},
    {"eog", "svg", {"eog"}, false},
    {"evince", "pdf", {"evince"}, false},
    {"gv", "ps", {"gv --noantialias"}, false},
    {"kcachegrind", "grind", {"kcachegrind"}, false},
};

const struct viewer *viewer_find(const struct sn_report_format *f)
{
    for (size_t i = 0; i < SN_COUNT(viewers); i++)
        if (strcmp(viewers[i].format, f->name) == 0)
            return &viewers[i];
    return NULL;
}

const char *away_suffix(const struct sn_report_format *f)
{
    static const char *const odd[][2] = {
        {"callgrind", "callgraph.out"}, {"proto", "pb.gz"}, {"topproto", "pb.gz"}};
    for (size_t i = 0; i < SN_COUNT(odd); i++)
        if (strcmp(odd[i][0], f->name) == 0)
            return odd[i][1];
    return f->binary ? f->name : NULL;
}

/* ---- files ----------------------------------------------------------------------------
 */

bool output_number(const char *stem, const char *suffix, char *path, size_t size,
                   struct sn_error *e)
{
    for (unsigned n = 1; n < 10000; n++) {
        if (snprintf(path, size, "%s%03u.%s", stem, n, suffix) >= (int)size)
            return sn_fail(e, stem, -1, "name too long");
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0)
            close(fd);
        if (fd >= 0 || errno != EEXIST)
            return fd >= 0 || sn_fail(e, path, -1, "cannot create: %s", strerror(errno));
    }
    return sn_fail(e, path, -1, "too many of them");
}

bool viewer_file(const struct viewer *v, char *path, size_t size, struct sn_error *e)
{
    const char *folder = getenv("TMPDIR");
    int n = snprintf(path, size, "%s/sonde.XXXXXX.%s",
                     folder != NULL && *folder != '\0' ? folder : "/tmp", v->suffix);
    if (n >= (int)size)
        return sn_fail(e, path, -1, "name too long");
    int fd = mkstemps(path, (int)strlen(v->suffix) + 1);
    if (fd < 0)
        return sn_fail(e, path, -1, "cannot create: %s", strerror(errno));
    close(fd);
    return true;
}

/* ---- programs -------------------------------------------------------------------------
 */

/* "gv --noantialias" and the path as an argument vector. */
static void split(char *command, const char *path, char *argv[16])
{
    size_t n = 0;
    char *word;
    while ((word = strsep(&command, " ")) != NULL && n < 14)
        if (*word != '\0')
            argv[n++] = word;
    argv[n++] = (char *)(uintptr_t)path;
    argv[n] = NULL;
}

/* Start it with the file; *pid is its process. False where there is no such program. A
 * pipe that exec closes tells whether it could be. */
static bool start(const char *program, const char *path, bool apart, pid_t *pid)
{
    char command[PATH_MAX], *argv[16], failed;
    int fd[2];
    snprintf(command, sizeof command, "%s", program);
    split(command, path, argv);
    if (argv[0] == path || pipe2(fd, O_CLOEXEC) != 0)
        return false;
    fflush(NULL);
    *pid = fork();
    if (*pid == 0) {
        signal(SIGINT, SIG_DFL);
        if (apart)
            setsid(); /* the shell's Ctrl-C is not for it */
        execvp(argv[0], argv);
        (void)!write(fd[1], "x", 1);
        _exit(127);
    }
    close(fd[1]);
    bool good = *pid > 0 && read(fd[0], &failed, 1) == 0;
    close(fd[0]);
    if (*pid > 0 && !good)
        waitpid(*pid, NULL, 0);
    return good;
}

/* The program that a row's word stands for; NULL: not here. */
static const char *resolve(const char *word)
{
    const char *display = getenv("DISPLAY"), *wayland = getenv("WAYLAND_DISPLAY");
    if (*word == '$')
        return getenv(word + 1);
    if (strcmp(word, "xdg-open") == 0 && (display == NULL || *display == '\0') &&
        (wayland == NULL || *wayland == '\0'))
        return NULL;
    return word;
}

bool viewer_show(const struct viewer *v, const char *path, bool wait, struct sn_error *e)
{
    const char *const *programs = v->browser ? browsers : v->programs;
    pid_t pid;
    int status = 0;
    for (; *programs != NULL; programs++) {
        const char *program = resolve(*programs);
        if (program == NULL || !start(program, path, !wait, &pid))
            continue;
        if (wait && waitpid(pid, &status, 0) == pid && status != 0)
            return sn_fail(e, program, -1, "did not show it (status %d)",
                           WIFEXITED(status) ? WEXITSTATUS(status)
                                             : 128 + WTERMSIG(status));
        if (wait)
            sleep(1); /* it may only have told a browser, which is to read the file yet */
        return true;
    }
    return sn_fail(e, NULL, -1,
                   v->browser ? "no browser was found to show it (%s); name one in "
                                "BROWSER, or give --output=FILE"
                              : "%s is not installed, which would show it; give "
                                "--output=FILE",
                   v->browser ? "chromium, firefox, ..." : v->format);
}
