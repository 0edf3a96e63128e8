/*
 * shell_run.c: one command of the shell. The report is made by a child, and what reads it
 * (`top | less`) is another; the shell waits for both, and is deaf to Ctrl-C meanwhile.
 */
#include "shell.h"
#include "viewers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct kept_file {
    struct kept_file *next;
    char path[PATH_MAX];
};

void kept_remove(struct kept_file *list)
{
    while (list != NULL) {
        struct kept_file *next = list->next;
        unlink(list->path);
        free(list);
        list = next;
    }
}

/*
 * A child: 0 there, its process here. It has no use for the shell's signals; one that
 * comes before it has its own waits.
 */
static pid_t begin_child(void)
{
    sigset_t both, before;
    sigemptyset(&both);
    sigaddset(&both, SIGINT);
    sigaddset(&both, SIGQUIT);
    fflush(NULL);
    sigprocmask(SIG_BLOCK, &both, &before);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGINT, SIG_DFL);
        signal(SIGQUIT, SIG_DFL);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}

static _Noreturn void end_child(bool good, const struct sn_error *e)
{
    int status = good ? EXIT_GOOD : say_error(e);
    fflush(NULL);
    _exit(status);
}

/* Its exit status; what else ended it is told. */
static int wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    if (WTERMSIG(status) == SIGPIPE)
        return EXIT_GOOD; /* its reader has seen enough */
    if (WTERMSIG(status) != SIGINT)
        say("the report was ended by signal %d (%s)", WTERMSIG(status),
            strsignal(WTERMSIG(status)));
    else if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr); /* of its progress */
    return EXIT_FAILED;
}

/* ---- where it goes --------------------------------------------------------------------
 */

struct outlet {
    const struct viewer *viewer; /* NULL: none */
    char path[PATH_MAX];         /* the file; "": standard output */
    bool made;                   /* it is ours, and goes if the report fails */
};

/* A file that lives until the shell ends. */
static bool keep(struct shell *s, struct outlet *o, struct sn_error *e)
{
    struct kept_file *k = calloc(1, sizeof *k);
    if (k == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    if (!viewer_file(o->viewer, k->path, sizeof k->path, e)) {
        free(k);
        return false;
    }
    k->next = s->kept;
    s->kept = k;
    snprintf(o->path, sizeof o->path, "%s", k->path);
    return true;
}

static bool choose_outlet(struct shell *s, const struct shell_command *c,
                          struct outlet *o, struct sn_error *e)
{
    const char *suffix = away_suffix(c->r.format);
    if (c->pipe != NULL)
        return true;
    if (c->r.output != NULL) {
        snprintf(o->path, sizeof o->path, "%s", c->r.output);
    } else if ((o->viewer = viewer_find(c->r.format)) != NULL) {
        return keep(s, o, e);
    } else if (suffix != NULL) {
        o->made = output_number("profile", suffix, o->path, sizeof o->path, e);
        if (!o->made)
            return false;
    }
    if (o->path[0] != '\0')
        fprintf(stderr, "Generating report in %s\n", o->path);
    return true;
}

/* In the child: `>>` is a matter of descriptors, `>` one of whole files. */
static _Noreturn void make_report(struct shell *s, const struct shell_command *c,
                                  const struct outlet *o)
{
    struct sn_error e = {.offset = -1};
    struct request r = c->r;
    r.output = o->path[0] != '\0' ? o->path : NULL;
    if (c->append && r.output != NULL) {
        int fd = open(r.output, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (fd < 0)
            end_child(sn_fail(&e, r.output, -1, "cannot open: %s", strerror(errno)), &e);
        dup2(fd, STDOUT_FILENO);
        r.output = NULL;
    }
    end_child(report_write(&r, s->p, &e), &e);
}

/* ---- running --------------------------------------------------------------------------
 */

/* `to` (-1: standard output) takes what the child writes. */
static pid_t start_report(struct shell *s, const struct shell_command *c,
                          const struct outlet *o, int to)
{
    pid_t pid = begin_child();
    if (pid != 0)
        return pid;
    if (to >= 0)
        dup2(to, STDOUT_FILENO);
    make_report(s, c, o);
}

static pid_t start_reader(const char *command, int from)
{
    pid_t pid = begin_child();
    if (pid != 0)
        return pid;
    dup2(from, STDIN_FILENO);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static bool run_both(struct shell *s, const struct shell_command *c,
                     const struct outlet *o, struct sn_error *e)
{
    int fd[2] = {-1, -1};
    pid_t reader = -1;
    if (c->pipe != NULL && pipe2(fd, O_CLOEXEC) != 0)
        return sn_fail(e, NULL, -1, "no pipe: %s", strerror(errno));
    pid_t report = start_report(s, c, o, fd[1]);
    if (report > 0 && c->pipe != NULL)
        reader = start_reader(c->pipe, fd[0]);
    int failed = errno;
    if (c->pipe != NULL) {
        close(fd[0]);
        close(fd[1]);
    }
    bool good = report > 0 && wait_for(report) == EXIT_GOOD;
    if (reader > 0)
        wait_for(reader);
    if (report < 0 || (c->pipe != NULL && reader < 0))
        return sn_fail(e, NULL, -1, "no process: %s", strerror(failed));
    return good;
}

void shell_run(struct shell *s, const struct shell_command *c)
{
    struct sn_error e = {.offset = -1};
    struct outlet o = {0};
    struct sigaction deaf = {.sa_handler = SIG_IGN}, before[2];
    bool good = choose_outlet(s, c, &o, &e);
    if (good) {
        sigaction(SIGINT, &deaf, &before[0]);
        sigaction(SIGQUIT, &deaf, &before[1]);
        good = run_both(s, c, &o, &e);
        sigaction(SIGINT, &before[0], NULL);
        sigaction(SIGQUIT, &before[1], NULL);
    }
    if (!good && o.made)
        unlink(o.path);
    if (good && o.viewer != NULL)
        good = viewer_show(o.viewer, o.path, false, &e);
    s->failed |= !good;
    if (e.what[0] != '\0')
        say_error(&e);
}

void shell_greet(struct shell *s)
{
    struct sn_error e = {.offset = -1};
    pid_t pid = begin_child();
    if (pid == 0) { /* it, too, changes the profile */
        struct sn_buf out = {.arena = s->p->arena};
        struct sn_options o = s->settings.options;
        bool empty = false;
        o.warn = NULL;
        if (!sn_report_greeting(s->p, &o, &out, &empty, &e))
            end_child(false, &e);
        fputs(out.data != NULL ? out.data : "", stderr);
        if (empty)
            fputs("No samples were found with the default sample value type.\n"
                  "Try \"sample_index\" command to analyze different sample values.\n\n",
                  stderr);
        end_child(true, NULL);
    }
    if (pid > 0)
        wait_for(pid);
    fputs("Entering interactive mode (type \"help\" for commands, \"o\" for options)\n",
          stderr);
}
