/* test_sched.c: the table of threads under churn; the states that records lead to, with
 * those out of order or missing; names of sources; without memory. */
#include "../tap.h"
#include "sched/sched_priv.h"

#include <unistd.h>

#define KNOWN 3000

static void churn(void)
{
    static bool there[KNOWN];
    struct sn_threads t;
    uint64_t x = 1;
    uint32_t n = 0;
    bool good = sn_threads_open(&t);
    for (int i = 0; good && i < 200000; i++) {
        x = sn_hash_mix(x + (uint64_t)i);
        pid_t tid = (pid_t)(x % KNOWN) + 1;
        struct sn_thread *found = sn_threads_find(&t, tid);
        good = (found != NULL) == there[tid - 1] && (found == NULL || found->tid == tid);
        if (found != NULL) {
            sn_threads_remove(&t, found);
            n--;
        } else if (sn_threads_add(&t, tid) != NULL) {
            n++;
        }
        there[tid - 1] = found == NULL;
        good = good && t.n == n;
    }
    for (int i = 0; good && i < KNOWN; i++)
        good = (sn_threads_find(&t, i + 1) != NULL) == there[i];
    ok(good, "threads come and go, and are found by number");
    sn_threads_close(&t);
}

static struct sn_sched *fresh(void)
{
    struct sn_sched *s = sn_pages_map(sizeof *s);
    sn_threads_open(&s->threads);
    s->plan.pid = 1;
    s->task_dir = SN_NO_FD;
    s->perf = (void *)s; /* not NULL: there are records */
    return s;
}

static void feed(struct sn_sched *s, int kind, int cpu, uint64_t time, bool able)
{
    struct sn_record r = {
        .kind = kind, .tid = 7, .parent = 1, .cpu = cpu, .able = able, .time_ns = time};
    sn_state_apply(s, &r);
    s->now_ns = time > s->now_ns ? time : s->now_ns;
}

static void states(void)
{
    struct sn_sched *s = fresh();
    feed(s, SN_REC_IN, 0, 5, false);
    is_int(s->threads.n, 0, "a thread that is not known is not ours");
    feed(s, SN_REC_NEW, 0, 100, false);
    feed(s, SN_REC_IN, 0, 110, false);
    feed(s, SN_REC_OUT, 0, 150, true); /* sent off */
    feed(s, SN_REC_IN, 1, 170, false); /* elsewhere */
    feed(s, SN_REC_IN, 1, 160, false); /* too late: left out */
    feed(s, SN_REC_OUT, 1, 175, false);
    feed(s, SN_REC_WAKE, 0, 200, false);
    feed(s, SN_REC_WAKE, 0, 205, false); /* told twice */
    feed(s, SN_REC_IN, 1, 230, false);
    s->now_ns = 240;
    struct sn_thread *t = sn_threads_find(&s->threads, 7);
    struct sn_sums x = sn_state_sums(s, t);
    is_int(x.run_ns, 40 + 5 + 10, "on a CPU, with what is under way");
    is_int(x.wait_ns, 10 + 20 + 30, "able to be: new, sent off, woken");
    is_int(x.voluntary, 1, "it waited once");
    is_int(x.involuntary, 1, "it was sent off once");
    is_int(x.migrations, 1, "and moved once");
    ok(t->state == SN_RUNNING && t->cpu == 1, "it runs");
    is_int(s->cpus[1].ticks, 2, "CPU 1 got it twice");
    feed(s, SN_REC_OUT, 1, 250, false);
    feed(s, SN_REC_IN, 0, 300, false); /* its waking was not seen */
    x = sn_state_sums(s, t);
    is_int(x.wait_ns, 60, "what was not seen is not counted");
    feed(s, SN_REC_END, 0, 310, false);
    is_int(s->threads.n, 0, "it has ended");
    ok(s->n_ended == 1 && s->ended.run_ns == 40 + 5 + 20 + 10, "its sums are kept");
    sn_threads_close(&s->threads);
    sn_pages_unmap(s, sizeof *s);
}

static void add(struct sn_sched *s, pid_t tid, char letter, uint64_t run, uint64_t wait)
{
    struct sn_thread *t = sn_threads_add(&s->threads, tid);
    t->cpu = 0;
    t->letter = letter;
    t->grown_run = run;
    t->grown_wait = wait;
}

/* Which of the threads in state R runs. */
static void judging(void)
{
    struct sn_sched *s = fresh();
    sn_cpu_seen(s, 0);
    add(s, 1000001, 'R', 25, 75); /* four share a CPU */
    add(s, 1000002, 'R', 26, 74);
    add(s, 1000003, 'R', 25, 75);
    add(s, 1000004, 'R', 25, 75);
    add(s, 1000005, 'S', 0, 0);
    sn_judge_proc(s);
    is_int(s->cpus[0].queued, 3, "of four, three are in the queue");
    is_int(s->threads.v[1].told, SN_RUNNING, "and the one that waited least runs");
    is_int(s->threads.v[4].told, SN_BLOCKED, "one that sleeps is blocked");
    s->threads.n = 0;
    memset(s->threads.index, 0, (s->threads.mask + 1) * sizeof *s->threads.index);
    add(s, 1000001, 'R', 10, 90); /* another program has the CPU nearly always */
    sn_judge_proc(s);
    ok(s->cpus[0].running == SN_NONE && s->cpus[0].queued == 1,
       "one that waits nine tenths of the time is in the queue");
    sn_threads_close(&s->threads);
    sn_pages_unmap(s, sizeof *s);
}

static void sources(void)
{
    is_int(sn_sched_source_find("switch"), SN_SCHED_SWITCH, "a source by name");
    is_int(sn_sched_source_find("sundial"), SN_SCHED_SOURCES, "and none");
}

/* This process, by /proc: whatever is refused, it is an error or lines. */
static void without_memory(void)
{
    atomic_int fds[16];
    bool good = true;
    for (unsigned n = 0; n < 8; n++) {
        struct sn_error e = {.offset = -1};
        struct sn_sched_plan plan = {.pid = getpid(),
                                     .detail = true,
                                     .forced = true,
                                     .source = SN_SCHED_PROC,
                                     .tail = "",
                                     .fds = fds,
                                     .max_fds = 16};
        size_t len;
        for (int i = 0; i < 16; i++)
            fds[i] = -1;
        sn_pages_fail_after(n);
        struct sn_sched *s = sn_sched_open(&plan, &e);
        sn_pages_fail_after(0);
        const char *text = s != NULL ? sn_sched_sweep(s, 1, &len) : NULL;
        good = good && (s != NULL || e.what[0] != '\0') && (n > 0 || text != NULL);
        sn_sched_close(s, false);
        for (int i = 0; i < 16; i++)
            good = good && fds[i] == -1;
    }
    ok(good, "without memory it is an error, and no descriptor is left");
}

int main(void)
{
    churn();
    states();
    judging();
    sources();
    without_memory();
    return done();
}
