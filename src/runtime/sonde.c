/*
 * sonde.c: the public interface, the environment, and the life of the process.
 *
 *            start                    stop
 *     idle --------> recording -------------------> idle
 *      ^                 |
 *      |                 +-- fork's child: recording anew (environment), else idle
 *      |                 +-- exit, _exit, SIGINT: profile written, process gone
 *      |                 +-- killed, exec: the spool stays
 *
 * One recording a process at a time, guarded by `busy`. While it runs, the stacks are in
 * DIR/cpu.spool; the profile DIR/cpu.pprof is made from it in the end. Where another
 * process records into the same directory the names are cpu.PID.spool and cpu.PID.pprof.
 */
#include "sonde.h"
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sonde {
    struct sn_settings settings;
    char output[PATH_MAX + 32], spool[PATH_MAX + 32];
    bool by_environment;
};

static struct sonde the_one;
static atomic_flag busy = ATOMIC_FLAG_INIT;
static atomic_int recorded; /* the process that is; 0: none */
static __thread struct sn_error last_error;
static __thread char error_text[640];

/* Without stdio: it may be the last thing a dying process does. */
static void SN_PRINTF(1, 2) say(const char *fmt, ...)
{
    char line[PATH_MAX + 512] = "sonde: ";
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line + 7, sizeof line - 8, fmt, ap);
    va_end(ap);
    size_t len = 7 + (n < 0 ? 0 : n < (int)sizeof line - 9 ? (size_t)n : sizeof line - 9);
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, len) < 0)
        return; /* there is nobody to tell */
}

SN_PUBLIC const char *sonde_error(void)
{
    return sn_error_text(&last_error, error_text, sizeof error_text);
}

bool sn_recording_here(void)
{
    return atomic_load(&recorded) == getpid();
}

/* ---- files
 * ------------------------------------------------------------------------------ */

static bool choose_directory(struct sn_settings *s, struct sn_error *e)
{
    char whole[PATH_MAX];
    if (s->path[0] == '\0') {
        const char *tmp = secure_getenv("TMPDIR");
        tmp = tmp != NULL && tmp[0] == '/' ? tmp : "/tmp";
        if (snprintf(s->path, sizeof s->path, "%s/sonde.XXXXXX", tmp) >=
                (int)sizeof s->path ||
            mkdtemp(s->path) == NULL)
            return sn_fail(e, s->path, -1, "cannot make a directory: %s",
                           strerror(errno));
    } else if (!sn_mkdirs(s->path, e)) {
        return false;
    }
    /* The program may change its directory before it ends. */
    if (realpath(s->path, whole) == NULL)
        return sn_fail(e, s->path, -1, "%s", strerror(errno));
    strcpy(s->path, whole);
    return true;
}

/* A process that was killed left its spool: keep it under its own number. */
static bool move_orphan(const struct sonde *p)
{
    struct sn_spool_header h;
    char kept[PATH_MAX + 32];
    int fd = open(p->spool, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, &h, sizeof h);
    if (fd >= 0)
        close(fd);
    if (n != (ssize_t)sizeof h || h.magic != SN_SPOOL_MAGIC ||
        kill((pid_t)h.pid, 0) == 0 || errno != ESRCH)
        return false;
    snprintf(kept, sizeof kept, "%s/cpu.%u.spool", p->settings.path, h.pid);
    return rename(p->spool, kept) == 0;
}

static bool open_spool(struct sonde *p, const char *name, struct sn_error *e)
{
    snprintf(p->output, sizeof p->output, "%s/cpu%s.pprof", p->settings.path, name);
    snprintf(p->spool, sizeof p->spool, "%s/cpu%s.spool", p->settings.path, name);
    return sn_table_open(p->spool, p->output, 1000000000u / p->settings.cpu_hz, e);
}

/* cpu, unless it is another process's (the parent's, an earlier image's of this one);
 * then cpu.PID, cpu.PID.1 and so on. */
static bool open_free_spool(struct sonde *p, bool child, struct sn_error *e)
{
    char name[32] = "";
    for (int i = child || p->settings.spool ? 1 : 0; i < 1000; i++) {
        if (i == 1)
            snprintf(name, sizeof name, ".%d", (int)getpid());
        else if (i > 1)
            snprintf(name, sizeof name, ".%d.%d", (int)getpid(), i - 1);
        *e = (struct sn_error){.offset = -1};
        if (open_spool(p, name, e))
            return true;
        if (errno != EEXIST)
            return false;
        if (i == 0 && move_orphan(p))
            i = -1;
    }
    return false;
}

static bool write_profile(const struct sonde *p, struct sn_error *e)
{
    struct sn_profile *profile =
        sn_spool_read(sn_table_header(), sn_table_bytes(), p->spool, e);
    if (profile == NULL)
        return false;
    struct sn_buf out = {.arena = profile->arena};
    sn_profile_encode(profile, &out);
    bool good = out.failed ? sn_fail(e, p->output, -1, "out of memory")
                           : sn_file_write(p->output, out.data, out.len, e);
    sn_profile_free(profile);
    return good;
}

/* ---- start and stop
 * ------------------------------------------------------------------------ */

static void hook_deadly(int signal)
{
    struct sigaction hook = {.sa_handler = sn_on_deadly_signal}, now;
    if (sn_real_sigaction(signal, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        sn_real_sigaction(signal, &hook, NULL);
}

static void unhook_deadly(int signal)
{
    struct sigaction deadly = {.sa_handler = SIG_DFL}, now;
    if (sn_real_sigaction(signal, NULL, &now) == 0 &&
        now.sa_handler == sn_on_deadly_signal)
        sn_real_sigaction(signal, &deadly, NULL);
}

static bool start(bool child, struct sn_error *e)
{
    struct sonde *p = &the_one;
    struct sn_settings *s = &p->settings;
    if (s->cpu_hz == 0)
        s->cpu_hz = SN_HZ_DEFAULT;
    if (!choose_directory(s, e) || !open_free_spool(p, child, e))
        return false;
    if (!sn_clock_start(s, e)) {
        sn_table_close();
        unlink(p->spool);
        errno = ENOTSUP;
        return false;
    }
    if (!s->no_shutdown_hook)
        hook_deadly(SIGINT);
    if (s->sigterm_hook)
        hook_deadly(SIGTERM);
    atomic_store(&recorded, getpid());
    if (!s->quiet)
        say("cpu profiling enabled, %s", p->output);
    return true;
}

static bool finish(struct sonde *p, bool dying, struct sn_error *e)
{
    int here = getpid();
    char text[640];
    if (!atomic_compare_exchange_strong(&recorded, &here, 0))
        return true;
    sn_clock_stop(dying);
    struct sn_spool_header *h = sn_table_header();
    h->stop_mono_ns = sn_clock_ns(CLOCK_MONOTONIC);
    h->state = 2;
    bool good = p->settings.spool || write_profile(p, e);
    if (good && !p->settings.spool)
        unlink(p->spool); /* else it is all there is */
    const char *kept = p->settings.spool ? p->spool : p->output;
    if (!p->settings.quiet)
        say(good ? "cpu profile written, %s" : "%s",
            good ? kept : sn_error_text(e, text, sizeof text));
    if (dying)
        return good; /* a late tick may still look at the table */
    unhook_deadly(SIGINT);
    unhook_deadly(SIGTERM);
    sn_table_close();
    atomic_flag_clear(&busy);
    return good;
}

void sn_finish(void)
{
    struct sn_error e = {.offset = -1};
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    finish(&the_one, true, &e);
    pthread_setcancelstate(cancel, NULL);
}

void sn_on_deadly_signal(int signal)
{
    struct sigaction deadly = {.sa_handler = SIG_DFL};
    sn_finish();
    sn_real_sigaction(signal, &deadly, NULL);
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signal); /* when we return */
}

void sn_on_stray_io(int signal)
{
    (void)signal;
}

/* ---- the public interface
 * -------------------------------------------------------------------- */

static struct sonde *refuse(int error)
{
    atomic_flag_clear(&busy);
    errno = error;
    return NULL;
}

/* A copy of what the program gave: a shorter structure is an older one, a longer one may
 * only hold zeros where we know no field. */
static bool read_config(struct sonde_config *c, const struct sonde_config *given)
{
    size_t size = given->size != 0 ? given->size : sizeof *c;
    if (size < sizeof size || size > 4096)
        return false;
    for (size_t i = sizeof *c; i < size; i++)
        if (((const unsigned char *)given)[i] != 0)
            return false;
    memset(c, 0, sizeof *c);
    memcpy(c, given, size < sizeof *c ? size : sizeof *c);
    return true;
}

static struct sonde *start_as_told(const struct sonde_config *config)
{
    struct sonde_config c;
    struct sn_settings *s = &the_one.settings;
    if (atomic_flag_test_and_set(&busy)) {
        sn_fail(&last_error, NULL, -1, "a recording is already under way");
        errno = EBUSY;
        return NULL;
    }
    if (config == NULL || !read_config(&c, config)) {
        sn_fail(&last_error, "config", -1, "it is NULL, or made for a newer library");
        return refuse(EINVAL);
    }
    if (c.cpu_hz > SN_HZ_MAX) {
        sn_fail(&last_error, "config", -1, "cpu_hz is %u, at most %d is possible",
                c.cpu_hz, SN_HZ_MAX);
        return refuse(EINVAL);
    }
    if (c.mem_profile || c.block_profile || c.mem_rate || c.block_rate_ns ||
        !c.cpu_profile) {
        sn_fail(&last_error, "config", -1, "only cpu_profile can be recorded so far");
        return refuse(ENOTSUP);
    }
    *s = (struct sn_settings){.cpu = true,
                              .quiet = c.quiet,
                              .no_shutdown_hook = c.no_shutdown_hook,
                              .sigterm_hook = c.sigterm_hook,
                              .cpu_hz = c.cpu_hz};
    if (c.profile_path != NULL &&
        snprintf(s->path, sizeof s->path, "%s", c.profile_path) >= (int)sizeof s->path) {
        sn_fail(&last_error, "config", -1, "profile_path is too long");
        return refuse(ENAMETOOLONG);
    }
    the_one.by_environment = false;
    return start(false, &last_error) ? &the_one : refuse(errno);
}

/* A thread that is cancelled halfway would leave `busy` set for ever. */
SN_PUBLIC struct sonde *sonde_start(const struct sonde_config *config)
{
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    last_error = (struct sn_error){.offset = -1};
    struct sonde *p = start_as_told(config);
    pthread_setcancelstate(cancel, NULL);
    return p;
}

SN_PUBLIC int sonde_stop(struct sonde *p)
{
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    last_error = (struct sn_error){.offset = -1};
    bool good = p == NULL || finish(p, false, &last_error);
    pthread_setcancelstate(cancel, NULL);
    if (!good)
        errno = EIO;
    return good ? 0 : -1;
}

SN_PUBLIC void sonde_profile(const struct sonde_config *config)
{
    if (sonde_start(config) == NULL)
        say("%s; not profiling", sonde_error());
}

/* ---- the process
 * --------------------------------------------------------------------------------- */

static void after_fork_in_child(void)
{
    struct sn_error e = {.offset = -1};
    bool was = atomic_exchange(&recorded, 0) != 0;
    sn_tick_reset();
    sn_clock_after_fork(true);
    if (!was)
        return;
    sn_table_close(); /* the parent's: never written from here */
    if (!the_one.by_environment || !start(true, &e))
        atomic_flag_clear(&busy);
}

static void after_fork_in_parent(void)
{
    sn_clock_after_fork(false);
}

static void read_environment(void)
{
    struct sn_error e = {.offset = -1};
    char text[640];
    const char *wanted = secure_getenv("SONDE");
    if (wanted == NULL)
        return;
    struct sn_settings *s = &the_one.settings;
    if (!sn_settings_parse(s, wanted, &e) ||
        (!s->cpu && !sn_fail(&e, "SONDE", -1, "it names nothing to record"))) {
        say("%s; not profiling", sn_error_text(&e, text, sizeof text));
        return;
    }
    the_one.by_environment = true;
    if (atomic_flag_test_and_set(&busy))
        return;
    if (!start(false, &e)) {
        say("%s; not profiling", sn_error_text(&e, text, sizeof text));
        atomic_flag_clear(&busy);
    }
}

__attribute__((constructor)) static void load(void)
{
    if (!sn_hooks_bind()) {
        say("libsonde.a does not work in a static program; link without -static");
        syscall(SYS_exit_group, 127); /* its calls would have nowhere to go */
    }
    pthread_atfork(sn_clock_before_fork, after_fork_in_parent, after_fork_in_child);
    at_quick_exit(sn_finish);
    read_environment();
}

__attribute__((destructor)) static void unload(void)
{
    sn_finish();
}
