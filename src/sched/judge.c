/*
 * judge.c: what is said of each thread in a sweep: running, runnable or blocked, and on
 * which CPU; from it the CPUs' queues.
 *
 * The sweep itself needs a CPU, and sends off whoever ran there: that one counts as
 * running still, or each line would tell of a queue that is only its own.
 *
 * /proc has one letter, R, for both running and runnable. Of the threads of one CPU at
 * most one runs. Whether one does is told by how their time on a CPU and their time of
 * waiting for one grew since the last sweep: a thread that waited as long as it ran was
 * running with a chance of a half; if the chances of a CPU's threads add up to a half or
 * more, one of them runs: the one that waited least for what it ran.
 */
#include "sched_priv.h"

#include <unistd.h>

#define OURS_NS UINT64_C(1000000) /* a sweep's thread was sent off so long before */

static void clear_cpus(struct sn_sched *s)
{
    for (unsigned i = 0; i < s->n_cpus; i++) {
        s->cpus[i].running = s->cpus[i].could_run = SN_NONE;
        s->cpus[i].queued = 0;
        s->cpus[i].chances_ms = 0;
    }
}

static struct sn_cpu *cpu_of(struct sn_sched *s, const struct sn_thread *t)
{
    return t->cpu >= 0 && t->cpu < SN_SCHED_CPUS ? &s->cpus[t->cpu] : NULL;
}

/* After all is told. */
static void count_queues(struct sn_sched *s)
{
    for (uint32_t i = 0; i < s->threads.n; i++) {
        const struct sn_thread *t = &s->threads.v[i];
        struct sn_cpu *c = cpu_of(s, t);
        if (c == NULL || sn_left_out(s, t->tid))
            continue;
        if (t->told == SN_RUNNING)
            c->running = i;
        else if (t->told == SN_RUNNABLE)
            c->queued++;
    }
}

/* ---- by records -----------------------------------------------------------------------
 */

/* Those whose state was guessed when they were met, where another surely runs. */
static void doubt_guesses(struct sn_sched *s)
{
    for (int sure = 1; sure >= 0; sure--)
        for (uint32_t i = 0; i < s->threads.n; i++) {
            struct sn_thread *t = &s->threads.v[i];
            struct sn_cpu *c = cpu_of(s, t);
            if (c == NULL || t->told != SN_RUNNING || t->guessed == sure)
                continue;
            if (c->could_run != SN_NONE && t->guessed)
                t->told = SN_RUNNABLE;
            else
                c->could_run = i;
        }
}

/* The one that the sweep has sent off. */
static void forgive_sweep(struct sn_sched *s, int here)
{
    struct sn_thread *last = NULL;
    if (here < 0 || here >= SN_SCHED_CPUS)
        return;
    for (uint32_t i = 0; i < s->threads.n; i++) {
        struct sn_thread *t = &s->threads.v[i];
        if (t->cpu != here || sn_left_out(s, t->tid))
            continue;
        if (t->told == SN_RUNNING)
            return;
        if (t->told == SN_RUNNABLE && t->preempted &&
            t->since_ns + OURS_NS >= s->now_ns &&
            (last == NULL || t->since_ns > last->since_ns))
            last = t;
    }
    if (last != NULL)
        last->told = SN_RUNNING;
}

/* In which queue is it, and is it in one? Also its name. */
static bool ask_stat(struct sn_sched *s, struct sn_thread *t)
{
    int cpu = t->cpu;
    bool lives = sn_proc_stat(s, t), able = lives && t->letter == 'R';
    if (t->told != SN_RUNNABLE || !able)
        t->cpu = cpu;
    return able;
}

/* Off a CPU by the records: could it run? True: that is to be confirmed. */
static bool ask_proc(struct sn_sched *s, struct sn_thread *t)
{
    if (t->told == SN_RUNNABLE)
        ask_stat(s, t);
    if (t->told != SN_BLOCKED || s->source == SN_SCHED_TRACEPOINTS)
        return false;
    if (s->plan.detail)
        t->asked = sn_waits_ask(s, t);
    return t->asked == SN_WAITS_NOT || (t->asked != SN_WAITS && ask_stat(s, t));
}

/* What came on a CPU since the moment of the sweep was blocked in it, or only just woken.
 */
static void confirm(struct sn_sched *s)
{
    uint64_t moment = s->now_ns;
    sn_perf_take(s);
    for (uint32_t i = 0; i < s->threads.n; i++) {
        struct sn_thread *t = &s->threads.v[i];
        if (t->told != SN_ENDED)
            continue;
        bool waits = t->ins == t->last_ins;
        t->told = waits ? SN_RUNNABLE : SN_BLOCKED;
        if (waits && t->state == SN_BLOCKED) {
            t->state = SN_RUNNABLE;
            t->since_ns = t->since_ns > moment ? t->since_ns : moment;
        }
    }
}

void sn_judge_records(struct sn_sched *s)
{
    bool unsure = false;
    int here = sched_getcpu();
    clear_cpus(s);
    for (uint32_t i = 0; i < s->threads.n; i++) {
        struct sn_thread *t = &s->threads.v[i];
        t->told = t->state;
        t->last_ins = t->ins;
        t->asked = SN_NOT_ASKED;
    }
    doubt_guesses(s);
    forgive_sweep(s, here);
    for (uint32_t i = 0; i < s->threads.n; i++) {
        struct sn_thread *t = &s->threads.v[i];
        if (sn_left_out(s, t->tid) || !ask_proc(s, t))
            continue;
        t->told = SN_ENDED; /* for confirm */
        unsure = true;
    }
    if (unsure)
        confirm(s);
    count_queues(s);
}

/* ---- by /proc -------------------------------------------------------------------------
 */

static uint64_t chance_ms(const struct sn_thread *t)
{
    uint64_t both = t->grown_run + t->grown_wait;
    return both > 0 ? (uint64_t)((double)t->grown_run * 1000 / (double)both) : 0;
}

void sn_judge_proc(struct sn_sched *s)
{
    pid_t self = gettid();
    clear_cpus(s);
    for (uint32_t i = 0; i < s->threads.n; i++) {
        struct sn_thread *t = &s->threads.v[i];
        struct sn_cpu *c = cpu_of(s, t);
        t->told = t->letter == 'R' && c != NULL ? SN_RUNNABLE : SN_BLOCKED;
        if (t->tid == self) { /* the last sweep of a program's own */
            t->told = SN_RUNNING;
            c->chances_ms = 0;
            continue;
        }
        if (t->told == SN_BLOCKED || sn_left_out(s, t->tid))
            continue;
        uint64_t chance = chance_ms(t);
        if (c->could_run == SN_NONE || chance > chance_ms(&s->threads.v[c->could_run]))
            c->could_run = i;
        c->chances_ms += chance;
    }
    for (unsigned i = 0; i < s->n_cpus; i++)
        if (s->cpus[i].could_run != SN_NONE && s->cpus[i].chances_ms >= 500)
            s->threads.v[s->cpus[i].could_run].told = SN_RUNNING;
    count_queues(s);
}
