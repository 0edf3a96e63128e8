/*
 * sonde.c: the public interface, the environment, and the hooks on threads and fork.
 *
 * One recording a process at a time, guarded by `busy`. The profile is built from the
 * spool when recording stops; a process that is killed leaves the spool beside where it
 * would be.
 */
#include "sonde.h"
#include "runtime/runtime.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

struct sonde {
    struct sn_settings settings;
    char output[PATH_MAX + 16], spool[PATH_MAX + 24];
};

static struct sonde the_one;
static atomic_flag busy = ATOMIC_FLAG_INIT;
static atomic_bool started;
static struct sn_error last_error;
static char error_text[640];

PUBLIC const char *sonde_error(void)
{
    return sn_error_text(&last_error, error_text, sizeof error_text);
}

static struct sonde *refuse(int error)
{
    atomic_flag_clear(&busy);
    errno = error;
    return NULL;
}

static bool choose_files(struct sonde *p, struct sn_error *e)
{
    struct sn_settings *s = &p->settings;
    if (s->path[0] == '\0') {
        snprintf(s->path, sizeof s->path, "/tmp/sonde.XXXXXX");
        if (mkdtemp(s->path) == NULL)
            return sn_fail(e, s->path, -1, "cannot make a directory: %s",
                           strerror(errno));
    } else if (!sn_mkdirs(s->path, e)) {
        return false;
    }
    snprintf(p->output, sizeof p->output, "%s/cpu.pprof", s->path);
    snprintf(p->spool, sizeof p->spool, "%s/cpu.%d.spool", s->path, (int)getpid());
    return true;
}

static struct sonde *start(const struct sn_settings *settings)
{
    struct sonde *p = &the_one;
    p->settings = *settings;
    if (p->settings.cpu_hz == 0)
        p->settings.cpu_hz = 100;
    if (!choose_files(p, &last_error) ||
        !sn_table_open(p->spool, p->output, 1000000000u / p->settings.cpu_hz,
                       &last_error))
        return refuse(EACCES);
    if (!sn_cpu_start(&p->settings, &last_error)) {
        sn_table_close();
        unlink(p->spool);
        return refuse(ENOTSUP);
    }
    atomic_store(&started, true);
    if (!p->settings.quiet)
        fprintf(stderr, "sonde: cpu profiling enabled, %s\n", p->output);
    return p;
}

PUBLIC struct sonde *sonde_start(const struct sonde_config *c)
{
    struct sn_settings s = {0};
    if (atomic_flag_test_and_set(&busy)) {
        last_error = (struct sn_error){.offset = -1};
        sn_fail(&last_error, NULL, -1, "a recording is already under way");
        errno = EBUSY;
        return NULL;
    }
    last_error = (struct sn_error){.offset = -1};
    if (c == NULL || (c->size != 0 && c->size != sizeof *c) || c->cpu_hz > 10000) {
        sn_fail(&last_error, "config", -1, "size or cpu_hz is out of range");
        return refuse(EINVAL);
    }
    if (c->mem_profile || c->block_profile || !c->cpu_profile) {
        sn_fail(&last_error, "config", -1, "only cpu_profile can be recorded so far");
        return refuse(ENOTSUP);
    }
    if (c->profile_path != NULL &&
        snprintf(s.path, sizeof s.path, "%s", c->profile_path) >= (int)sizeof s.path) {
        sn_fail(&last_error, "config", -1, "profile_path is too long");
        return refuse(ENAMETOOLONG);
    }
    s.cpu = true;
    s.quiet = c->quiet;
    s.no_shutdown_hook = c->no_shutdown_hook;
    s.cpu_hz = c->cpu_hz;
    return start(&s);
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

PUBLIC int sonde_stop(struct sonde *p)
{
    struct timespec now;
    if (p == NULL || !atomic_exchange(&started, false))
        return 0;
    sn_cpu_stop();
    struct sn_spool_header *h = sn_table_header();
    clock_gettime(CLOCK_MONOTONIC, &now);
    h->stop_mono_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    h->state = 2;
    last_error = (struct sn_error){.offset = -1};
    bool good = write_profile(p, &last_error);
    sn_table_close();
    if (good)
        unlink(p->spool); /* else it is all there is */
    if (!p->settings.quiet)
        fprintf(stderr, good ? "sonde: cpu profile written, %s\n" : "sonde: %s\n",
                good ? p->output : sonde_error());
    atomic_flag_clear(&busy);
    errno = good ? errno : EIO;
    return good ? 0 : -1;
}

/* ---- threads ------------------------------------------------------------------------
 */

struct start_call {
    void *(*function)(void *);
    void *argument;
};

static void leave_thread(void *unused)
{
    (void)unused;
    sn_cpu_thread_end();
}

static void *enter_thread(void *call)
{
    struct start_call c = *(struct start_call *)call;
    void *result;
    sn_pages_unmap(call, sizeof c);
    sn_cpu_thread_begin();
    pthread_cleanup_push(leave_thread, NULL); /* pthread_exit and cancellation too */
    result = c.function(c.argument);
    pthread_cleanup_pop(1);
    return result;
}

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

PUBLIC int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*function)(void *), void *argument)
{
    static create_fn *next;
    if (next == NULL)
        next = (create_fn *)dlsym(RTLD_NEXT, "pthread_create");
    struct start_call *c = atomic_load(&started) ? sn_pages_map(sizeof *c) : NULL;
    if (c == NULL)
        return next(thread, attr, function, argument);
    *c = (struct start_call){function, argument};
    int error = next(thread, attr, enter_thread, c);
    if (error != 0)
        sn_pages_unmap(c, sizeof *c);
    return error;
}

/* ---- process ------------------------------------------------------------------------
 */

static void in_child(void)
{
    if (!atomic_exchange(&started, false))
        return;
    sn_cpu_forget();
    sn_table_close(); /* the parent's: never written from here */
    atomic_flag_clear(&busy);
}

static void at_exit(void)
{
    sonde_stop(&the_one);
}

__attribute__((constructor)) static void load(void)
{
    struct sn_settings s = {0};
    struct sn_error e = {.offset = -1};
    char text[640];
    const char *wanted = getenv("SONDE");
    pthread_atfork(NULL, NULL, in_child);
    if (wanted == NULL)
        return;
    if (!sn_settings_parse(&s, wanted, &e)) {
        fprintf(stderr, "sonde: %s; not profiling\n",
                sn_error_text(&e, text, sizeof text));
        return;
    }
    if (!s.cpu || atomic_flag_test_and_set(&busy))
        return;
    if (start(&s) == NULL)
        fprintf(stderr, "sonde: %s; not profiling\n", sonde_error());
    else
        atexit(at_exit);
}
