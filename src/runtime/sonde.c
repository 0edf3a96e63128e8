/*
 * sonde.c: the public interface, the environment, and what begins, forks and ends with
 * the process. One recording at a time, guarded by `busy`.
 */
#include "sonde.h"
#include "runtime/runtime.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sonde {
    bool by_environment;
};

/* In turn, so that the pointer of a recording that was stopped does not stop the next. */
static struct sonde recordings[16];
static unsigned n_recordings;
static struct sonde *current = &recordings[0];
static struct sn_settings settings;
static atomic_flag busy = ATOMIC_FLAG_INIT;
static __thread struct sn_error last_error;
static __thread char error_text[640];

SN_PUBLIC const char *sonde_error(void)
{
    return sn_error_text(&last_error, error_text, sizeof error_text);
}

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

static bool read_trace_config(struct sn_trace_settings *t, const struct sonde_config *c)
{
    const char *path = c->trace_path != NULL ? c->trace_path : "";
    if (c->schedtrace_ms > SN_SCHEDTRACE_MS_MAX)
        return sn_fail(&last_error, "config", -1, "schedtrace_ms is %u, at most %d",
                       c->schedtrace_ms, SN_SCHEDTRACE_MS_MAX);
    if (c->scheddetail > 2)
        return sn_fail(&last_error, "config", -1, "scheddetail is %u, at most 2",
                       c->scheddetail);
    if (c->scheddetail > 0 && c->schedtrace_ms == 0)
        return sn_fail(&last_error, "config", -1,
                       "scheddetail adds to the lines of schedtrace_ms, which is 0");
    if (c->gctrace > 2)
        return sn_fail(&last_error, "config", -1, "gctrace is %u, at most 2", c->gctrace);
    if (c->efence > SONDE_EFENCE_LEFT)
        return sn_fail(&last_error, "config", -1, "efence is %d, which is no side",
                       (int)c->efence);
    if (c->invalidptr < -1 || c->invalidptr > 2)
        return sn_fail(&last_error, "config", -1, "invalidptr is %d, not -1 to 2",
                       c->invalidptr);
    static const int levels[] = {SN_INVALIDPTR_OFF, SN_INVALIDPTR_DEFAULT,
                                 SN_INVALIDPTR_ON, SN_INVALIDPTR_SCAN};
    *t = (struct sn_trace_settings){.schedtrace_ms = c->schedtrace_ms,
                                    .scheddetail = c->scheddetail,
                                    .allocfreetrace = c->allocfreetrace,
                                    .efence = (unsigned)c->efence,
                                    .gctrace = c->gctrace,
                                    .gcdead = c->gcdead,
                                    .invalidptr = (unsigned)levels[c->invalidptr + 1],
                                    .scavenge = c->scavenge};
    return snprintf(t->path, sizeof t->path, "%s", path) < (int)sizeof t->path ||
           sn_fail(&last_error, "config", -1, "trace_path is too long");
}

static struct sonde *start_as_told(const struct sonde_config *config)
{
    struct sonde_config c;
    struct sn_settings *s = &settings;
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
    if (c.mem_signal != 0 && !sn_settings_signal_good(c.mem_signal)) {
        sn_fail(&last_error, "config", -1,
                "mem_signal is %d, on which nothing can be "
                "written",
                c.mem_signal);
        return refuse(EINVAL);
    }
    if (c.block_profile || c.block_rate_ns) {
        sn_fail(&last_error, "config", -1, "block_profile cannot be recorded so far");
        return refuse(ENOTSUP);
    }
    *s = (struct sn_settings){.cpu = c.cpu_profile,
                              .mem = c.mem_profile,
                              .mem_exact = c.mem_exact,
                              .mem_mmap = c.mem_mmap,
                              .mem_rate = c.mem_rate,
                              .mem_signal = c.mem_signal,
                              .quiet = c.quiet,
                              .no_shutdown_hook = c.no_shutdown_hook,
                              .sigterm_hook = c.sigterm_hook,
                              .cpu_hz = c.cpu_hz};
    if (c.profile_path != NULL &&
        snprintf(s->path, sizeof s->path, "%s", c.profile_path) >= (int)sizeof s->path) {
        sn_fail(&last_error, "config", -1, "profile_path is too long");
        return refuse(ENAMETOOLONG);
    }
    if (!read_trace_config(&s->trace, &c))
        return refuse(EINVAL);
    if (!sn_recording_wanted(s)) {
        sn_fail(&last_error, "config", -1, "it names nothing to record");
        return refuse(EINVAL);
    }
    current = &recordings[++n_recordings % SN_COUNT(recordings)];
    current->by_environment = false;
    return sn_recording_start(s, false, &last_error) ? current : refuse(errno);
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
    bool here = sn_recording_here();
    bool good = p == NULL || p != current || sn_recording_stop(false, &last_error);
    if (p != NULL && p == current && here)
        atomic_flag_clear(&busy);
    pthread_setcancelstate(cancel, NULL);
    if (!good)
        errno = EIO;
    return good ? 0 : -1;
}

SN_PUBLIC int sonde_profile_write(struct sonde_profile *p, const char *path)
{
    last_error = (struct sn_error){.offset = -1};
    bool good = p != NULL && path != NULL
                    ? sn_table_write(sn_custom_table(p), path, &last_error)
                    : sn_fail(&last_error, path, -1, "there is no profile to write");
    return good ? 0 : -1;
}

SN_PUBLIC int sonde_heap_write(const char *path)
{
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    last_error = (struct sn_error){.offset = -1};
    bool recorded = sn_recording_here() && sn_heap_table.header != NULL;
    bool good = path != NULL ? sn_heap_write(path, &last_error)
                             : sn_fail(&last_error, NULL, -1, "no path is given");
    pthread_setcancelstate(cancel, NULL);
    if (!good)
        errno = recorded && path != NULL ? EIO : EINVAL;
    return good ? 0 : -1;
}

struct dump_job {
    const char *path;
    struct sn_error *e;
    bool good;
};

static void do_dump(void *job)
{
    struct dump_job *j = job;
    j->good = sn_heap_dump(j->path, j->e);
}

SN_PUBLIC int sonde_heapdump_write(const char *path)
{
    last_error = (struct sn_error){.offset = -1};
    struct dump_job j = {.path = path, .e = &last_error};
    if (!sn_heap_is_exact() || !sn_trace_gc_at_rest(do_dump, &j))
        do_dump(&j);
    return j.good ? 0 : -1;
}

SN_PUBLIC void sonde_profile(const struct sonde_config *config)
{
    if (sonde_start(config) == NULL)
        sn_say("%s; not profiling", sonde_error());
}

/* ---- the process
 * --------------------------------------------------------------------------------- */

static void after_fork_in_child(void)
{
    struct sn_error e = {.offset = -1};
    char text[640];
    sn_tick_reset();
    sn_clock_after_fork(true);
    sn_heap_after_fork(true);
    sn_custom_after_fork(true);
    sn_trace_after_fork(true);
    if (!sn_recording_drop())
        return;
    bool wanted = current->by_environment, started = false;
    if (wanted)
        started = sn_recording_start(&settings, true, &e);
    if (wanted && !started && !settings.quiet)
        sn_say("%s; not profiling this child", sn_error_text(&e, text, sizeof text));
    if (!started)
        atomic_flag_clear(&busy);
}

static void after_fork_in_parent(void)
{
    sn_clock_after_fork(false);
    sn_heap_after_fork(false);
    sn_custom_after_fork(false);
    sn_trace_after_fork(false);
}

static void before_fork(void)
{
    sn_trace_before_fork();
    sn_custom_before_fork();
    sn_heap_before_fork();
    sn_clock_before_fork();
}

static void read_environment(void)
{
    struct sn_error e = {.offset = -1};
    char text[640];
    const char *wanted = secure_getenv("SONDE");
    if (wanted == NULL)
        return;
    struct sn_settings *s = &settings;
    bool good = sn_settings_parse(s, wanted, &e);
    if (good && s->trace.scheddetail > 0 && s->trace.schedtrace_ms == 0)
        good = sn_fail(&e, "SONDE", -1,
                       "scheddetail adds to the lines of schedtrace: give both");
    if (good && !sn_recording_wanted(s))
        good = sn_fail(&e, "SONDE", -1, "it names nothing to record");
    if (!good) {
        sn_say("%s; not profiling", sn_error_text(&e, text, sizeof text));
        return;
    }
    current->by_environment = true;
    if (atomic_flag_test_and_set(&busy))
        return;
    if (!sn_recording_start(s, false, &e)) {
        sn_say("%s; not profiling", sn_error_text(&e, text, sizeof text));
        atomic_flag_clear(&busy);
    }
}

__attribute__((constructor)) static void load(void)
{
    if (!sn_hooks_bind()) {
        sn_say("libsonde.a does not work in a static program; link without -static");
        syscall(SYS_exit_group, 127); /* its calls would have nowhere to go */
    }
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    at_quick_exit(sn_finish);
    read_environment();
    sn_malloc_settle();
}

__attribute__((destructor)) static void unload(void)
{
    sn_finish();
}
