/*
 * source.c: which source there is, the best that is allowed, and the life of one. What
 * refused a better one is kept for the first line.
 */
#include "sched_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

const char *const sn_sched_source_names[] = {"tracepoints", "switch", "proc"};

enum sn_sched_source sn_sched_source_find(const char *name)
{
    unsigned i = 0;
    while (i < SN_SCHED_SOURCES && strcmp(name, sn_sched_source_names[i]) != 0)
        i++;
    return i;
}

uint64_t sn_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- descriptors ----------------------------------------------------------------------
 */

void sn_fd_close(int fd)
{
    if (fd >= 0)
        syscall(SYS_close, fd);
}

uint16_t sn_slot_keep(struct sn_sched *s, int fd)
{
    unsigned i = s->free_from;
    while (i < s->plan.max_fds && atomic_load(&s->plan.fds[i]) >= 0)
        i++;
    s->free_from = i;
    if (fd >= 0 && i < s->plan.max_fds && s->plan.keep_fd != NULL)
        fd = s->plan.keep_fd(fd); /* closes it if it cannot be moved */
    if (fd < 0)
        return SN_NO_FD;
    if (i < s->plan.max_fds) {
        atomic_store(&s->plan.fds[i], fd);
        return (uint16_t)i;
    }
    sn_fd_close(fd);
    return SN_NO_FD;
}

void sn_slot_close(struct sn_sched *s, uint16_t *slot)
{
    if (*slot == SN_NO_FD)
        return;
    sn_fd_close(atomic_exchange(&s->plan.fds[*slot], -1));
    if (*slot < s->free_from)
        s->free_from = *slot;
    *slot = SN_NO_FD;
}

int sn_sched_fd(const atomic_int *fds, unsigned max_fds, unsigned first, unsigned last)
{
    int lowest = -1;
    for (unsigned i = 0; i < max_fds; i++) {
        int fd = atomic_load_explicit(&fds[i], memory_order_relaxed);
        if (fd >= 0 && (unsigned)fd >= first && (unsigned)fd <= last &&
            (lowest < 0 || fd < lowest))
            lowest = fd;
    }
    return lowest;
}

/* ---- open and close -------------------------------------------------------------------
 */

static bool open_proc(struct sn_sched *s, bool tracepoints, struct sn_error *e)
{
    (void)s, (void)tracepoints, (void)e;
    return true;
}

static bool (*const openers[])(struct sn_sched *s, bool tracepoints,
                               struct sn_error *e) = {sn_perf_open, sn_perf_open,
                                                      open_proc};

static void note(struct sn_sched *s, const struct sn_error *why)
{
    size_t used = strlen(s->note);
    snprintf(s->note + used, sizeof s->note - used, "%sno %s: %s", used > 0 ? "; " : "",
             sn_sched_source_names[s->source], why->what);
}

static bool choose(struct sn_sched *s, struct sn_error *e)
{
    for (s->source = s->plan.source; s->source < SN_SCHED_SOURCES; s->source++) {
        struct sn_error why = {.offset = -1};
        if (openers[s->source](s, s->source == SN_SCHED_TRACEPOINTS, &why))
            return true;
        if (s->plan.forced)
            return sn_fail(e, NULL, -1, "the scheduler cannot be watched by %s: %s",
                           sn_sched_source_names[s->source], why.what);
        note(s, &why);
    }
    return false;
}

static bool open_tasks(struct sn_sched *s, struct sn_error *e)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)s->plan.pid);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return sn_fail(e, path, -1, "%s",
                       errno == ENOENT ? "there is no such process" : strerror(errno));
    s->task_dir = sn_slot_keep(s, fd);
    return s->task_dir != SN_NO_FD || sn_fail(e, path, -1, "too many open files");
}

static void find_cpus(struct sn_sched *s)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(s->plan.pid, sizeof set, &set) != 0)
        for (int i = 0; i < (int)sysconf(_SC_NPROCESSORS_ONLN) && i < CPU_SETSIZE; i++)
            CPU_SET(i, &set);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set))
            sn_cpu_seen(s, i);
}

struct sn_sched *sn_sched_open(const struct sn_sched_plan *plan, struct sn_error *e)
{
    struct sn_sched *s = sn_pages_map(sizeof *s);
    if (s == NULL) {
        sn_fail(e, NULL, -1, "out of memory");
        return NULL;
    }
    s->plan = *plan;
    s->task_dir = SN_NO_FD;
    s->arena = sn_arena_new();
    s->out.arena = s->arena;
    if (s->arena == NULL || !sn_threads_open(&s->threads))
        sn_fail(e, NULL, -1, "out of memory");
    else if (open_tasks(s, e)) {
        find_cpus(s);
        s->now_ns = sn_now_ns();
        if (choose(s, e)) {
            s->keeps_files = true;
            sn_proc_list(s);
            return s;
        }
    }
    sn_sched_close(s, false);
    return NULL;
}

void sn_sched_close(struct sn_sched *s, bool forked)
{
    if (s == NULL)
        return;
    sn_perf_close(s, forked);
    for (uint32_t i = 0; i < s->threads.n; i++)
        sn_proc_drop(s, &s->threads.v[i]);
    sn_slot_close(s, &s->task_dir);
    sn_threads_close(&s->threads);
    sn_arena_free(s->arena);
    sn_pages_unmap(s, sizeof *s);
}

/* ---- what is asked of one -------------------------------------------------------------
 */

unsigned sn_sched_take_ms(const struct sn_sched *s)
{
    return s->perf != NULL ? s->take_ms : 0;
}

void sn_sched_take(struct sn_sched *s)
{
    if (s->perf != NULL)
        sn_perf_take(s);
}

static const char *written(struct sn_sched *s, size_t *len)
{
    *len = s->out.len;
    return s->out.failed ? NULL : s->out.data;
}

const char *sn_sched_head(struct sn_sched *s, uint64_t now_ms, size_t *len)
{
    s->out.len = 0;
    sn_lines_head(s, now_ms);
    return written(s, len);
}

/* Threads that came or went without a record: it was lost, or none can be had of them. */
static void sync_threads(struct sn_sched *s)
{
    bool all = s->resync;
    if (all || sn_proc_count(s) != s->threads.n)
        sn_proc_list(s);
    s->resync = false;
    s->is_over = s->threads.n == 0;
    for (uint32_t i = 0; all && i < s->threads.n; i++)
        sn_proc_sync(s, &s->threads.v[i]);
}

void sn_sched_leave_out(struct sn_sched *s, pid_t tid)
{
    if (tid != 0 && !sn_left_out(s, tid))
        s->left_out[s->n_left_out++ % SN_LEFT_OUT] = tid;
}

bool sn_left_out(const struct sn_sched *s, pid_t tid)
{
    for (unsigned i = 0; i < SN_LEFT_OUT; i++)
        if (s->left_out[i] == tid)
            return true;
    return false;
}

const char *sn_sched_sweep(struct sn_sched *s, uint64_t now_ms, size_t *len)
{
    if (s->perf != NULL) {
        sn_perf_take(s);
        sync_threads(s);
        sn_judge_records(s);
    } else {
        sn_proc_sweep(s);
        sn_judge_proc(s);
    }
    if (s->is_over)
        return NULL;
    s->out.len = 0;
    sn_lines_sweep(s, now_ms);
    return written(s, len);
}
