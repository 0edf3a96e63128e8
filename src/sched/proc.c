/*
 * proc.c: the files of /proc/PID/task/TID (proc(5)). They are kept open while there is
 * room for descriptors, which makes reading them three to five times as fast.
 *
 *     stat        name, letter of the state, CPU: 3 us
 *     schedstat   ns on a CPU, ns able to be, times on one: 1 us
 *     syscall     what it is blocked in, or that it is not: 2 us (waits.c)
 *     status      switches: 7 us; read only when the thread has run more than once
 */
#include "sched_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const file_names[] = {"stat", "schedstat", "syscall"};

static int open_file(struct sn_sched *s, pid_t tid, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "%d/%s", (int)tid, name);
    return openat(sn_slot_fd(s, s->task_dir), path, O_RDONLY | O_CLOEXEC);
}

static bool finish_read(int fd, char *text, size_t size)
{
    ssize_t n = fd >= 0 ? pread(fd, text, size - 1, 0) : -1;
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

bool sn_proc_read(struct sn_sched *s, const struct sn_thread *t, const char *name,
                  char *text, size_t size)
{
    int fd = open_file(s, t->tid, name);
    bool good = finish_read(fd, text, size);
    sn_fd_close(fd);
    return good;
}

bool sn_proc_read_kept(struct sn_sched *s, struct sn_thread *t, enum sn_task_file file,
                       char *text, size_t size)
{
    uint16_t *slot = &t->files[file];
    bool seldom = s->plan.detail && file == SN_FILE_STAT;
    if (*slot == SN_NO_FD && s->keeps_files && !seldom)
        *slot = sn_slot_keep(s, open_file(s, t->tid, file_names[file]));
    if (*slot == SN_NO_FD)
        return sn_proc_read(s, t, file_names[file], text, size);
    return finish_read(sn_slot_fd(s, *slot), text, size);
}

void sn_proc_drop(struct sn_sched *s, struct sn_thread *t)
{
    for (unsigned i = 0; i < SN_TASK_FILES; i++)
        sn_slot_close(s, &t->files[i]);
}

/* The n-th word of what follows the name, the state's letter being the first. */
static const char *word(const char *at, unsigned n)
{
    while (n-- > 1) {
        at = strchr(at, ' ');
        if (at == NULL)
            return "";
        at++;
    }
    return at;
}

bool sn_proc_stat(struct sn_sched *s, struct sn_thread *t)
{
    char text[1024];
    if (!sn_proc_read_kept(s, t, SN_FILE_STAT, text, sizeof text))
        return false;
    char *name = strchr(text, '('), *end = strrchr(text, ')');
    if (name == NULL || end == NULL)
        return false;
    snprintf(t->name, sizeof t->name, "%.*s", (int)(end - name - 1), name + 1);
    t->letter = end[1] != '\0' ? end[2] : '?';
    int cpu = (int)strtol(word(end + 2, 37), NULL, 10); /* field 39 of the line */
    t->cpu = cpu >= 0 && cpu < SN_SCHED_CPUS ? cpu : t->cpu;
    return t->letter != 'Z' && t->letter != 'X';
}

bool sn_proc_schedstat(struct sn_sched *s, struct sn_thread *t, uint64_t *run_ns,
                       uint64_t *wait_ns)
{
    char text[96], *end;
    if (!sn_proc_read_kept(s, t, SN_FILE_SCHEDSTAT, text, sizeof text))
        return false;
    *run_ns = strtoull(text, &end, 10);
    *wait_ns = strtoull(end, &end, 10);
    t->ins = s->perf == NULL ? strtoull(end, NULL, 10) : t->ins;
    return true;
}

static uint64_t field(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at != NULL ? strtoull(at + strlen(key), NULL, 10) : 0;
}

bool sn_proc_status(struct sn_sched *s, struct sn_thread *t)
{
    char text[4096];
    if (!sn_proc_read(s, t, "status", text, sizeof text))
        return false;
    t->sums.voluntary = field(text, "\nvoluntary_ctxt_switches:");
    t->sums.involuntary = field(text, "\nnonvoluntary_ctxt_switches:");
    return true;
}

void sn_proc_sync(struct sn_sched *s, struct sn_thread *t)
{
    int cpu = t->cpu;
    if (!sn_proc_stat(s, t))
        return;
    sn_proc_schedstat(s, t, &t->sums.run_ns, &t->sums.wait_ns);
    sn_proc_status(s, t);
    bool could_run = t->letter == 'R';
    t->guessed = could_run;
    t->state = could_run ? SN_RUNNING : SN_BLOCKED;
    t->preempted = false;
    t->since_ns = sn_now_ns();
    t->has_run = true;
    sn_cpu_seen(s, t->cpu);
    t->cpu = t->cpu >= 0 ? t->cpu : cpu;
}

/* ---- the directory --------------------------------------------------------------------
 */

unsigned sn_proc_count(const struct sn_sched *s)
{
    struct stat st;
    return fstat(sn_slot_fd(s, s->task_dir), &st) == 0 && st.st_nlink > 2
               ? (unsigned)st.st_nlink - 2
               : 0;
}

static void meet(struct sn_sched *s, pid_t tid)
{
    struct sn_thread *t = sn_threads_find(&s->threads, tid);
    if (t == NULL && (t = sn_threads_add(&s->threads, tid)) != NULL) {
        t->state = SN_ENDED; /* unless its files say otherwise */
        sn_proc_sync(s, t);
        if (t->state == SN_ENDED) {
            sn_proc_drop(s, t);
            sn_threads_remove(&s->threads, t);
            return;
        }
    }
    if (t != NULL)
        t->listed = true;
}

bool sn_proc_list(struct sn_sched *s)
{
    _Alignas(struct dirent64) char entries[4096];
    int dir = sn_slot_fd(s, s->task_dir);
    ssize_t n;
    for (uint32_t i = 0; i < s->threads.n; i++)
        s->threads.v[i].listed = false;
    lseek(dir, 0, SEEK_SET);
    while ((n = getdents64(dir, entries, sizeof entries)) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *d = (const void *)(entries + at);
            pid_t tid = (pid_t)strtol(d->d_name, NULL, 10);
            if (tid > 0)
                meet(s, tid);
            at += d->d_reclen;
        }
    for (uint32_t i = s->threads.n; i-- > 0;)
        if (!s->threads.v[i].listed)
            sn_state_end(s, &s->threads.v[i]);
    return s->threads.n > 0;
}

/* ---- the sweep, where there are no records --------------------------------------------
 */

/* Times on a CPU, of a thread that was blocked and is again: if once, it left by its own
 * will. Else only status knows how it left. */
static void count_switches(struct sn_sched *s, struct sn_thread *t, uint64_t ins)
{
    bool once = t->looks > 0 && t->told == SN_BLOCKED && t->asked == SN_WAITS;
    if (once && ins == 1)
        t->sums.voluntary++;
    else if (ins > 0 || t->looks == 0)
        sn_proc_status(s, t);
}

/* How much its time on a CPU and in queues has grown since that was last read. */
static bool grow(struct sn_sched *s, struct sn_thread *t)
{
    uint64_t run, wait;
    if (!sn_proc_schedstat(s, t, &run, &wait))
        return false;
    t->grown_run = run - t->last_run_ns;
    t->grown_wait = wait - t->last_wait_ns;
    t->last_run_ns = t->sums.run_ns = run;
    t->last_wait_ns = t->sums.wait_ns = wait;
    t->has_run |= t->grown_run > 0;
    return true;
}

/* Of a thread that is blocked neither its CPU is wanted nor, without detail, its sums. */
static bool look(struct sn_sched *s, struct sn_thread *t)
{
    return sn_proc_stat(s, t) && (t->letter != 'R' || grow(s, t));
}

/* The name is a thread's own business soon after it begins, and seldom later. */
static bool look_in_detail(struct sn_sched *s, struct sn_thread *t)
{
    uint64_t ins = t->ins;
    if (!grow(s, t))
        return false;
    t->has_run |= ins != t->ins;
    t->asked = sn_waits_ask(s, t);
    t->letter = 'S';
    if ((t->asked != SN_WAITS || t->looks < 4 || t->looks % 16 == 0) &&
        !sn_proc_stat(s, t))
        return false;
    count_switches(s, t, t->ins - ins);
    return true;
}

void sn_proc_sweep(struct sn_sched *s)
{
    s->is_over = !sn_proc_list(s);
    s->now_ns = sn_now_ns();
    for (uint32_t i = s->threads.n; i-- > 0;) {
        struct sn_thread *t = &s->threads.v[i];
        if (!(s->plan.detail ? look_in_detail : look)(s, t)) {
            sn_state_end(s, t);
            continue;
        }
        t->looks++;
        sn_cpu_seen(s, t->cpu);
    }
    s->is_over |= s->threads.n == 0;
    s->sweep_ns = s->now_ns;
}
