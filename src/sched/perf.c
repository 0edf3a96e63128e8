/*
 * perf.c: records of switches and wakings, by perf_event_open(2). One event for each
 * thread there is and each CPU, which threads to come inherit; all of a CPU write into
 * one ring, mapped here. The rings are read in the order of time, up to a moment that is
 * behind none of them.
 *
 *     event (thread 1, CPU 0) --+
 *     event (thread 2, CPU 0) --+--> ring of CPU 0 --+
 *     event (thread 1, CPU 1) -----> ring of CPU 1 --+--> by time --> sn_state_apply
 *
 * The event counts nothing (a software dummy) and is there for what comes with it:
 * PERF_RECORD_SWITCH, which says who comes on a CPU or leaves it, and if it leaves
 * whether it could go on; threads' beginnings, ends and names. Where it may be a
 * tracepoint it is sched:sched_waking instead. The kernel tells of that also the one who
 * is woken, by whomever; a sample then is of who wakes, and its raw field names the
 * woken.
 */
#include "sched_priv.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGES_MOST   128
#define PAGES_LEAST  8
#define ATTACH_TRIES 20
#define MAX_RECORD   512
#define TAKE_MS      64 /* at most, and at least */
#define TAKE_LEAST   4

struct ring {
    struct perf_event_mmap_page *head; /* NULL: no such CPU */
    size_t bytes;                      /* of the data, behind a page */
    int fd;
    int cpu;
    uint64_t at, end;   /* what is being read */
    uint64_t next_time; /* of the record at `at`; UINT64_MAX: none */
};

struct sn_perf {
    struct perf_event_attr attr;
    struct sn_tracepoint waking;
    bool tracepoints;
    unsigned n_rings;
    unsigned pages;
    bool refused; /* out of descriptors */
    struct ring rings[SN_SCHED_CPUS];
};

/* ---- opening --------------------------------------------------------------------------
 */

static void fill_attr(struct sn_perf *p)
{
    p->attr = (struct perf_event_attr){
        .size = sizeof p->attr,
        .type = p->tracepoints ? PERF_TYPE_TRACEPOINT : PERF_TYPE_SOFTWARE,
        .config = p->tracepoints ? p->waking.id : PERF_COUNT_SW_DUMMY,
        .sample_period = 1,
        .sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_CPU |
                       (p->tracepoints ? (unsigned)PERF_SAMPLE_RAW : 0),
        .exclude_kernel = !p->tracepoints,
        .exclude_hv = 1,
        .sample_id_all = 1,
        .context_switch = 1,
        .task = 1,
        .comm = 1,
        .comm_exec = 1,
        .inherit = 1,
        .inherit_thread = 1, /* not processes; Linux 5.13 */
        .use_clockid = 1,
        .clockid = 1, /* CLOCK_MONOTONIC */
        .watermark = 1,
        .wakeup_watermark = UINT32_MAX / 2, /* nobody waits for it */
    };
}

static int open_event(struct sn_perf *p, pid_t tid, int cpu)
{
    int fd =
        (int)syscall(SYS_perf_event_open, &p->attr, tid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0 && errno == EINVAL && p->attr.inherit_thread) {
        p->attr.inherit_thread = 0;
        return open_event(p, tid, cpu);
    }
    return fd;
}

/* So large as it may be: what is locked in memory has a limit a user. */
static bool map_ring(struct sn_perf *p, struct ring *r)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (; p->pages >= PAGES_LEAST; p->pages /= 2) {
        void *m = mmap(NULL, (p->pages + 1) * page, PROT_READ | PROT_WRITE, MAP_SHARED,
                       r->fd, 0);
        if (m != MAP_FAILED) {
            r->head = m;
            r->bytes = p->pages * page;
            return true;
        }
    }
    return false;
}

/* Put the event into its CPU's ring, or make that. False: errno. */
static bool join_ring(struct sn_sched *s, struct ring *r, int fd)
{
    if (r->head != NULL)
        return ioctl(fd, PERF_EVENT_IOC_SET_OUTPUT, r->fd) == 0;
    r->fd = fd;
    return map_ring(s->perf, r);
}

static bool attach_cpu(struct sn_sched *s, pid_t tid, struct ring *r)
{
    int fd = open_event(s->perf, tid, r->cpu);
    if (fd < 0)
        return false;
    uint16_t slot = sn_slot_keep(s, fd);
    if (slot == SN_NO_FD) {
        errno = EMFILE;
        return false;
    }
    bool joined = join_ring(s, r, sn_slot_fd(s, slot));
    int error = errno;
    if (!joined)
        sn_slot_close(s, &slot);
    errno = error;
    return joined;
}

/* A thread that has ended meanwhile does not matter. */
static bool attach(struct sn_sched *s, pid_t tid, struct sn_error *e)
{
    struct sn_perf *p = s->perf;
    for (unsigned i = 0; i < p->n_rings; i++) {
        if (attach_cpu(s, tid, &p->rings[i]) || errno == ESRCH)
            continue;
        if (errno == EMFILE)
            return sn_fail(e, NULL, -1, "too many threads times CPUs for %u descriptors",
                           s->plan.max_fds);
        return sn_fail(e, NULL, -1, "perf_event_open: %s", strerror(errno));
    }
    return true;
}

/* "0-3,5" */
static void find_rings(struct sn_perf *p)
{
    char line[512];
    sn_file_line("/sys/devices/system/cpu/online", line, sizeof line);
    if (line[0] < '0' || line[0] > '9')
        snprintf(line, sizeof line, "0-%ld", sysconf(_SC_NPROCESSORS_ONLN) - 1);
    char *at = line;
    while (*at >= '0' && *at <= '9') {
        long first = strtol(at, &at, 10), last = first;
        if (*at == '-')
            last = strtol(at + 1, &at, 10);
        for (; first <= last && first < SN_SCHED_CPUS; first++)
            p->rings[p->n_rings++] = (struct ring){.fd = -1, .cpu = (int)first};
        at += *at == ',';
    }
}

/* Threads begin meanwhile: until all that are listed are attached. */
static bool attach_all(struct sn_sched *s, struct sn_error *e)
{
    bool more = true;
    for (int i = 0; more && i < ATTACH_TRIES; i++) {
        more = false;
        sn_proc_list(s);
        for (uint32_t k = 0; k < s->threads.n; k++) {
            struct sn_thread *t = &s->threads.v[k];
            if (t->ins == UINT64_MAX)
                continue;
            if (!attach(s, t->tid, e))
                return false;
            t->ins = UINT64_MAX; /* until all are */
            more = true;
        }
    }
    for (uint32_t k = 0; k < s->threads.n; k++) {
        s->threads.v[k].ins = 0;
        sn_proc_sync(s, &s->threads.v[k]);
    }
    return true;
}

bool sn_perf_open(struct sn_sched *s, bool tracepoints, struct sn_error *e)
{
    struct sn_perf *p = s->perf = sn_pages_map(sizeof *p);
    if (p == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    p->tracepoints = tracepoints;
    p->pages = PAGES_MOST;
    s->take_ms = TAKE_MS / 4; /* until it is known how much comes */
    if (!tracepoints || sn_tracefs_waking(&p->waking, e)) {
        fill_attr(p);
        find_rings(p);
        if (attach_all(s, e))
            return true;
    }
    sn_perf_close(s, false);
    return false;
}

/* Its events' descriptors are the rest of the list. */
void sn_perf_close(struct sn_sched *s, bool forked)
{
    struct sn_perf *p = s->perf;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (p == NULL)
        return;
    for (unsigned i = 0; i < p->n_rings; i++)
        if (p->rings[i].head != NULL && !forked)
            munmap(p->rings[i].head, p->rings[i].bytes + page);
    for (uint32_t i = 0; i < s->threads.n; i++)
        sn_proc_drop(s, &s->threads.v[i]);
    for (unsigned i = 0; i < s->plan.max_fds; i++) {
        uint16_t slot = (uint16_t)i;
        if (slot != s->task_dir)
            sn_slot_close(s, &slot);
    }
    sn_pages_unmap(p, sizeof *p);
    s->perf = NULL;
}

/* ---- reading --------------------------------------------------------------------------
 */

/* The n bytes at `at` of the ring, wherever it begins anew. */
static void copy_out(const struct ring *r, uint64_t at, void *to, size_t n)
{
    const char *data = (const char *)r->head + sysconf(_SC_PAGESIZE);
    size_t from = at & (r->bytes - 1), first = r->bytes - from;
    first = first < n ? first : n;
    memcpy(to, data + from, first);
    memcpy((char *)to + first, data, n - first);
}

/* What ends each record, and begins a sample: perf_event.h, sample_id_all. */
struct sample_id {
    uint32_t pid, tid;
    uint64_t time;
    uint32_t cpu, reserved;
};

static bool is_good(const struct ring *r, const struct perf_event_header *h)
{
    return h->size >= sizeof *h + sizeof(struct sample_id) && h->size % 8 == 0 &&
           r->at + h->size <= r->end;
}

static struct sample_id id_of(const struct ring *r, const struct perf_event_header *h)
{
    struct sample_id id;
    uint64_t at =
        h->type == PERF_RECORD_SAMPLE ? r->at + sizeof *h : r->at + h->size - sizeof id;
    copy_out(r, at, &id, sizeof id);
    return id;
}

static void peek(struct ring *r)
{
    struct perf_event_header h;
    r->next_time = UINT64_MAX;
    if (r->at + sizeof h > r->end)
        return;
    copy_out(r, r->at, &h, sizeof h);
    if (is_good(r, &h))
        r->next_time = id_of(r, &h).time;
    else
        r->at = r->end; /* the kernel writes no such thing */
}

static void apply_task(struct sn_sched *s, const unsigned char *body, uint32_t type,
                       struct sn_record *out)
{
    struct {
        uint32_t pid, ppid, tid, ptid;
    } task;
    memcpy(&task, body, sizeof task);
    out->kind = type == PERF_RECORD_FORK ? SN_REC_NEW : SN_REC_END;
    out->tid = (pid_t)task.tid;
    out->parent = (pid_t)task.ptid;
    if ((pid_t)task.pid == s->plan.pid)
        sn_state_apply(s, out);
}

static void apply_comm(struct sn_sched *s, const unsigned char *body,
                       const struct perf_event_header *h, struct sn_record *out)
{
    uint32_t pid;
    memcpy(&pid, body, sizeof pid);
    out->kind = SN_REC_NAME;
    out->name = (const char *)body + 8;
    out->exec = (h->misc & PERF_RECORD_MISC_COMM_EXEC) != 0;
    if ((pid_t)pid == s->plan.pid && memchr(out->name, '\0', 16) != NULL)
        sn_state_apply(s, out);
}

/* Of a sample: a 32-bit length, and the tracepoint's fields. */
static void apply_waking(struct sn_sched *s, const unsigned char *body, size_t size,
                         struct sn_record *out)
{
    size_t at = sizeof(struct sample_id) + 4 + s->perf->waking.pid_at;
    int32_t tid;
    if (at + sizeof tid > size)
        return;
    memcpy(&tid, body + at, sizeof tid);
    out->kind = SN_REC_WAKE;
    out->tid = tid;
    sn_state_apply(s, out);
}

static void apply(struct sn_sched *s, struct ring *r)
{
    struct perf_event_header h;
    unsigned char body[MAX_RECORD] = {0};
    copy_out(r, r->at, &h, sizeof h);
    struct sample_id id = id_of(r, &h);
    size_t size = h.size - sizeof h;
    size = size < sizeof body ? size : sizeof body;
    copy_out(r, r->at + sizeof h, body, size);
    struct sn_record out = {.tid = (pid_t)id.tid, .cpu = (int)id.cpu, .time_ns = id.time};
    uint64_t lost;
    r->at += h.size;
    switch (h.type) {
    case PERF_RECORD_SWITCH:
        out.kind = h.misc & PERF_RECORD_MISC_SWITCH_OUT ? SN_REC_OUT : SN_REC_IN;
        out.able = (h.misc & PERF_RECORD_MISC_SWITCH_OUT_PREEMPT) != 0;
        if ((pid_t)id.pid == s->plan.pid)
            sn_state_apply(s, &out);
        break;
    case PERF_RECORD_SAMPLE:
        apply_waking(s, body, size, &out);
        break;
    case PERF_RECORD_FORK:
    case PERF_RECORD_EXIT:
        apply_task(s, body, h.type, &out);
        break;
    case PERF_RECORD_COMM:
        apply_comm(s, body, &h, &out);
        break;
    case PERF_RECORD_LOST:
        memcpy(&lost, body + 8, sizeof lost);
        s->lost += lost;
        s->resync = true;
        break;
    default:
        break;
    }
}

/* The ring whose next record is the earliest, and until when it stays that. */
static struct ring *earliest(struct sn_perf *p, uint64_t *until)
{
    struct ring *best = NULL;
    *until = UINT64_MAX;
    for (unsigned i = 0; i < p->n_rings; i++) {
        struct ring *r = &p->rings[i];
        if (best == NULL || r->next_time < best->next_time) {
            if (best != NULL)
                *until = best->next_time;
            best = r;
        } else if (r->next_time < *until)
            *until = r->next_time;
    }
    return best;
}

static void open_window(struct sn_perf *p)
{
    for (unsigned i = 0; i < p->n_rings; i++) {
        struct ring *r = &p->rings[i];
        r->next_time = UINT64_MAX;
        if (r->head == NULL)
            continue;
        r->end = __atomic_load_n(&r->head->data_head, __ATOMIC_ACQUIRE);
        r->at = r->head->data_tail;
        peek(r);
    }
}

/* The fuller they are, the sooner they are to be read again. */
static void adapt(struct sn_sched *s)
{
    struct sn_perf *p = s->perf;
    uint64_t fullest = 0; /* in eighths */
    for (unsigned i = 0; i < p->n_rings; i++) {
        const struct ring *r = &p->rings[i];
        uint64_t full = r->head != NULL ? (r->end - r->at) * 8 / r->bytes : 0;
        fullest = full > fullest ? full : fullest;
    }
    if (fullest >= 3 && s->take_ms > TAKE_LEAST)
        s->take_ms /= 2;
    else if (fullest == 0 && s->take_ms < TAKE_MS)
        s->take_ms *= 2;
}

void sn_perf_take(struct sn_sched *s)
{
    struct sn_perf *p = s->perf;
    uint64_t limit = sn_now_ns(), until;
    struct ring *r;
    open_window(p);
    adapt(s);
    while ((r = earliest(p, &until)) != NULL && r->next_time <= limit)
        do {
            apply(s, r);
            peek(r);
        } while (r->next_time <= until && r->next_time <= limit);
    for (unsigned i = 0; i < p->n_rings; i++)
        if (p->rings[i].head != NULL)
            __atomic_store_n(&p->rings[i].head->data_tail, p->rings[i].at,
                             __ATOMIC_RELEASE);
    s->now_ns = limit;
}
