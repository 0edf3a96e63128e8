/*
 * recording.c: the life of a recording: its files, its engines, its end.
 *
 *            start                    stop
 *     idle --------> recording -------------------> idle
 *      ^                 |
 *      |                 +-- fork's child: recording anew (environment), else idle
 *      |                 +-- exit, _exit, SIGINT: profiles written, process gone
 *      |                 +-- killed, exec: the spools stay
 *
 * While it runs, what an engine counts is in DIR/KIND.spool; the profile DIR/KIND.pprof
 * is made from it in the end. Where another process records into the same directory the
 * names are KIND.PID.spool and KIND.PID.pprof. One a process; its callers see to that.
 */
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CPU_SPOOL_BYTES  ((size_t)64 << 20)
#define HEAP_SPOOL_BYTES ((size_t)256 << 20)

/* ---- engines --------------------------------------------------------------------------
 */

static bool wants_cpu(const struct sn_settings *s)
{
    return s->cpu;
}

static void plan_cpu(const struct sn_settings *s, struct sn_table_plan *plan)
{
    plan->kind = SN_SPOOL_CPU;
    plan->n_values = SN_CPU_VALUES;
    plan->scale = 1;
    plan->period = 1000000000u / s->cpu_hz;
    plan->bytes = CPU_SPOOL_BYTES;
}

static bool wants_mem(const struct sn_settings *s)
{
    return s->mem;
}

static void plan_mem(const struct sn_settings *s, struct sn_table_plan *plan)
{
    plan->kind = SN_SPOOL_HEAP;
    plan->n_values = s->mem_exact ? SN_HEAP_VALUES : SN_HEAP_SAMPLED_VALUES;
    plan->scale = s->mem_exact || s->mem_rate == 1 ? 1 : SN_HEAP_SCALE;
    plan->period = s->mem_exact ? 1 : s->mem_rate;
    plan->bytes = HEAP_SPOOL_BYTES;
    plan->few = !s->mem_exact && s->mem_rate > 1;
}

/* In the order in which they are started. */
static const struct engine {
    const char *name;
    struct sn_table *table;
    bool (*wanted)(const struct sn_settings *s);
    void (*plan)(const struct sn_settings *s, struct sn_table_plan *plan);
    bool (*start)(const struct sn_settings *s, struct sn_error *e);
    void (*stop)(bool dying);
} engines[] = {
    {"cpu", &sn_cpu_table, wants_cpu, plan_cpu, sn_clock_start, sn_clock_stop},
    {"mem", &sn_heap_table, wants_mem, plan_mem, sn_heap_start, sn_heap_stop},
};

static struct {
    struct sn_settings settings;
    struct file {
        char output[PATH_MAX + 32], spool[PATH_MAX + 32];
    } files[SN_COUNT(engines)];
    char suffix[32]; /* of the files' names, behind their kind */
} the_one;
static atomic_int recorded; /* the process that is; 0: none */
static atomic_int looking;  /* who reads the tables */
static atomic_int ending;   /* the thread that writes the profiles of a dying process */
static __thread int looks __attribute__((tls_model("initial-exec"))); /* its own */

bool sn_recording_here(void)
{
    return atomic_load(&recorded) == getpid();
}

bool sn_recording_look(void)
{
    looks++;
    atomic_fetch_add(&looking, 1);
    bool here = sn_recording_here();
    if (!here)
        sn_recording_looked();
    return here;
}

void sn_recording_looked(void)
{
    atomic_fetch_sub(&looking, 1);
    looks--;
}

bool sn_recording_is_quiet(void)
{
    return the_one.settings.quiet;
}

static const struct file *heap_file(void)
{
    size_t i = 0;
    while (engines[i].table != &sn_heap_table)
        i++;
    return &the_one.files[i];
}

const char *sn_recording_heap_spool(void)
{
    return heap_file()->spool;
}

const char *sn_recording_heap_output(void)
{
    return heap_file()->output;
}

/* Without stdio: it may be the last thing a dying process does. */
void sn_say(const char *fmt, ...)
{
    char line[PATH_MAX + 512] = "sonde: ";
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line + 7, sizeof line - 8, fmt, ap);
    va_end(ap);
    size_t len = 7 + (n < 0 ? 0 : n < (int)sizeof line - 9 ? (size_t)n : sizeof line - 9);
    line[len++] = '\n';
    struct sn_guard guard;
    sn_guard_begin(&guard, false);
    if (write(STDERR_FILENO, line, len) < 0)
        errno = 0; /* there is nobody to tell */
    sn_guard_end(&guard);
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
static bool move_orphan(size_t i)
{
    struct sn_spool_header h;
    char kept[PATH_MAX + 32];
    int fd = open(the_one.files[i].spool, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, &h, sizeof h);
    if (fd >= 0)
        close(fd);
    if (n != (ssize_t)sizeof h || h.magic != SN_SPOOL_MAGIC ||
        kill((pid_t)h.pid, 0) == 0 || errno != ESRCH)
        return false;
    snprintf(kept, sizeof kept, "%s/%s.%u.spool", the_one.settings.path, engines[i].name,
             h.pid);
    return rename(the_one.files[i].spool, kept) == 0;
}

static bool open_spool(size_t i, const char *name, struct sn_error *e)
{
    struct file *f = &the_one.files[i];
    const char *dir = the_one.settings.path, *kind = engines[i].name;
    snprintf(f->output, sizeof f->output, "%s/%s%s.pprof", dir, kind, name);
    snprintf(f->spool, sizeof f->spool, "%s/%s%s.spool", dir, kind, name);
    struct sn_table_plan plan = {.path = f->spool, .output = f->output};
    engines[i].plan(&the_one.settings, &plan);
    return sn_table_open(engines[i].table, &plan, e);
}

static void drop_spools(void)
{
    for (size_t i = 0; i < SN_COUNT(engines); i++)
        if (engines[i].table->header != NULL) {
            sn_table_close(engines[i].table);
            unlink(the_one.files[i].spool);
        }
}

/* One for each engine. False: *taken is which of them has that name already, or none. */
static bool open_spools(const char *name, size_t *taken, struct sn_error *e)
{
    for (size_t i = 0; i < SN_COUNT(engines); i++)
        if (engines[i].wanted(&the_one.settings) && !open_spool(i, name, e)) {
            int error = errno;
            *taken = error == EEXIST ? i : SN_COUNT(engines);
            drop_spools();
            errno = error;
            return false;
        }
    return true;
}

/* KIND, unless it is another process's (the parent's, an earlier image's of this one);
 * then KIND.PID, KIND.PID.1 and so on. */
static bool open_free_spools(bool child, struct sn_error *e)
{
    char *name = the_one.suffix;
    size_t taken, size = sizeof the_one.suffix;
    name[0] = '\0';
    for (int i = child || the_one.settings.spool ? 1 : 0; i < 1000; i++) {
        if (i == 1)
            snprintf(name, size, ".%d", (int)getpid());
        else if (i > 1)
            snprintf(name, size, ".%d.%d", (int)getpid(), i - 1);
        *e = (struct sn_error){.offset = -1};
        if (open_spools(name, &taken, e))
            return true;
        if (taken == SN_COUNT(engines))
            return false;
        if (i == 0 && move_orphan(taken))
            i = -1;
    }
    return false;
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

static void stop_engines(bool dying)
{
    for (size_t i = 0; i < SN_COUNT(engines); i++) /* the clock before the heap's scan */
        if (engines[i].table->header != NULL)
            engines[i].stop(dying);
}

static bool start_engines(const struct sn_settings *s, struct sn_error *e)
{
    for (size_t i = 0; i < SN_COUNT(engines); i++) {
        if (!engines[i].wanted(s) || engines[i].start(s, e))
            continue;
        while (i-- > 0)
            if (engines[i].wanted(s))
                engines[i].stop(false);
        return false;
    }
    return true;
}

static bool wants_files(const struct sn_settings *s)
{
    for (size_t i = 0; i < SN_COUNT(engines); i++)
        if (engines[i].wanted(s))
            return true;
    return false;
}

bool sn_recording_wanted(const struct sn_settings *s)
{
    return wants_files(s) || sn_trace_wanted(s);
}

bool sn_recording_start(struct sn_settings *s, bool child, struct sn_error *e)
{
    struct sn_unwind_hooks hooks = {.on_module = sn_table_module};
    if (s->cpu_hz == 0)
        s->cpu_hz = SN_HZ_DEFAULT;
    if (s->mem_rate == 0)
        s->mem_rate = SN_MEM_RATE;
    the_one.settings = *s;
    s = &the_one.settings;
    if ((wants_files(s) || sn_trace_needs_directory(s)) && !choose_directory(s, e))
        return false;
    if (wants_files(s) && !open_free_spools(child, e))
        return false;
    sn_unwind_prepare(&hooks, e); /* forgets all modules: they are met for these spools */
    if (!start_engines(s, e)) {
        drop_spools();
        errno = ENOTSUP;
        return false;
    }
    if (!sn_trace_start(s, e)) {
        stop_engines(false);
        drop_spools();
        errno = ENOTSUP;
        return false;
    }
    if (s->mem && s->mem_signal != 0 && !sn_heap_signal_take(s->mem_signal) && !s->quiet)
        sn_say("signal %d is the program's own: it writes no profile", s->mem_signal);
    if (!s->no_shutdown_hook)
        hook_deadly(SIGINT);
    if (s->sigterm_hook)
        hook_deadly(SIGTERM);
    atomic_store(&recorded, getpid());
    if (s->mem_exact)
        sn_trace_gc_watch(); /* its blocks are part of a dump */
    if (s->mem)
        sn_control_start(heap_file()->spool);
    for (size_t i = 0; i < SN_COUNT(engines) && !s->quiet; i++)
        if (engines[i].wanted(s))
            sn_say("%s profiling enabled, %s", engines[i].name, the_one.files[i].output);
    return true;
}

/* One engine's part of the end; it is stopped already. */
static bool deliver(size_t i, struct sn_error *e)
{
    const struct file *f = &the_one.files[i];
    bool spool = the_one.settings.spool;
    char text[640];
    struct sn_spool_header *h = engines[i].table->header;
    h->stop_mono_ns = sn_clock_ns(CLOCK_MONOTONIC);
    h->state = 2;
    bool good = spool || sn_table_write(engines[i].table, f->output, e);
    if (good && !spool)
        unlink(f->spool); /* else it is all there is */
    if (!the_one.settings.quiet && good)
        sn_say("%s profile written, %s", engines[i].name, spool ? f->spool : f->output);
    else if (!the_one.settings.quiet)
        sn_say("%s; what was recorded is in %s", sn_error_text(e, text, sizeof text),
               f->spool);
    return good;
}

/* Wait until it is 0; false: it is not in time. */
static bool wait_for(atomic_int *what, int milliseconds)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < milliseconds && atomic_load(what) > 0; i++)
        syscall(SYS_nanosleep, &pause, NULL);
    return atomic_load(what) == 0;
}

/* Who began to look before the end; it is a matter of milliseconds. A dying thread may
 * have been at it itself, and not be on its way back. */
static bool nobody_looks(bool dying)
{
    return looks == 0 && wait_for(&looking, dying ? 2000 : 10000);
}

bool sn_recording_stop(bool dying, struct sn_error *e)
{
    int here = getpid();
    bool good = true;
    if (!atomic_compare_exchange_strong(&recorded, &here, 0)) {
        if (dying && atomic_load(&ending) != (int)sn_thread_id())
            wait_for(&ending, 10000); /* else the process would go before it is done */
        return true;
    }
    if (dying)
        atomic_store(&ending, (int)sn_thread_id());
    sn_control_stop();
    nobody_looks(
        dying); /* a dump holds the world: the heap's scan does not begin on it */
    sn_trace_stop(dying);
    stop_engines(dying);
    for (size_t i = 0; i < SN_COUNT(engines); i++) {
        struct sn_error bad = {.offset = -1};
        if (engines[i].table->header != NULL && !deliver(i, &bad)) {
            good = false;
            *e = bad;
        }
    }
    if (the_one.settings.path[0] != '\0')
        sn_custom_write_all(the_one.settings.path, the_one.suffix,
                            the_one.settings.quiet);
    atomic_store(&ending, 0);
    if (dying)
        return good; /* a late tick may still look at the tables */
    unhook_deadly(SIGINT);
    unhook_deadly(SIGTERM);
    sn_heap_signal_give_back();
    for (size_t i = 0; i < SN_COUNT(engines) && nobody_looks(false); i++)
        sn_table_close(engines[i].table);
    return good;
}

bool sn_recording_drop(void)
{
    bool was = atomic_exchange(&recorded, 0) != 0;
    atomic_store(&looking, 0);
    atomic_store(&ending, 0);
    looks = 0;
    sn_world_reset();
    sn_control_drop();
    if (was)
        sn_heap_signal_give_back(); /* until it has a recording of its own */
    sn_heap_signal_reset();
    for (size_t i = 0; was && i < SN_COUNT(engines); i++)
        sn_table_close(engines[i].table); /* the parent's: never written from here */
    return was;
}

void sn_finish(void)
{
    struct sn_error e = {.offset = -1};
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    sn_recording_stop(true, &e);
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
