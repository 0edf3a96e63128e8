/*
 * state.c: what each thread does, by the records of its switches.
 *
 *                    in                      out, able
 *     runnable ------------> running ---------------------> runnable
 *         ^                     | out
 *         +------ waking ---- blocked
 *
 * Without records of wakings a thread comes on a CPU from being blocked. What a thread
 * did before its first record is as /proc has it: of one that could run it is a guess
 * that it did, which the first record confirms or not.
 */
#include "sched_priv.h"

#include <stdio.h>

void sn_cpu_seen(struct sn_sched *s, int cpu)
{
    if (cpu < 0 || cpu >= SN_SCHED_CPUS)
        return;
    s->cpus[cpu].usable = true;
    if ((unsigned)cpu >= s->n_cpus)
        s->n_cpus = (unsigned)cpu + 1;
}

static uint64_t passed(const struct sn_thread *t, uint64_t now)
{
    return now > t->since_ns ? now - t->since_ns : 0;
}

/* What it did until now is added to its sums. */
static void settle(struct sn_thread *t, uint64_t now)
{
    if (t->state == SN_RUNNING)
        t->sums.run_ns += passed(t, now);
    else if (t->state == SN_RUNNABLE)
        t->sums.wait_ns += passed(t, now);
    t->since_ns = now > t->since_ns ? now : t->since_ns;
}

struct sn_sums sn_state_sums(const struct sn_sched *s, const struct sn_thread *t)
{
    struct sn_thread now = *t;
    if (s->perf != NULL)
        settle(&now, s->now_ns);
    return now.sums;
}

static void come_in(struct sn_sched *s, struct sn_thread *t, const struct sn_record *r)
{
    if (t->guessed && t->state == SN_RUNNING)
        t->state = SN_RUNNABLE; /* it was not running, then */
    settle(t, r->time_ns);
    t->sums.migrations += t->cpu >= 0 && t->cpu != r->cpu;
    t->cpu = r->cpu;
    t->state = SN_RUNNING;
    t->guessed = t->preempted = false;
    t->ins++;
    t->has_run = true;
    sn_cpu_seen(s, r->cpu);
    if (r->cpu >= 0 && r->cpu < SN_SCHED_CPUS)
        s->cpus[r->cpu].ticks++;
}

static void go_out(struct sn_thread *t, const struct sn_record *r)
{
    if (t->state != SN_RUNNING) /* its coming was not seen */
        t->since_ns = r->time_ns;
    settle(t, r->time_ns);
    t->cpu = r->cpu;
    t->state = r->able ? SN_RUNNABLE : SN_BLOCKED;
    t->preempted = r->able;
    t->guessed = false;
    t->sums.involuntary += r->able;
    t->sums.voluntary += !r->able;
}

static void wake(struct sn_thread *t, const struct sn_record *r)
{
    if (t->state != SN_BLOCKED)
        return;
    settle(t, r->time_ns);
    t->state = SN_RUNNABLE;
    t->preempted = false;
}

static void begin(struct sn_sched *s, const struct sn_record *r)
{
    const struct sn_thread *parent = sn_threads_find(&s->threads, r->parent);
    char name[sizeof parent->name] = "";
    if (parent != NULL)
        memcpy(name, parent->name, sizeof name);
    struct sn_thread *t = sn_threads_find(&s->threads, r->tid);
    if (t != NULL) /* met in /proc before its record was read */
        return;
    t = sn_threads_add(&s->threads, r->tid);
    if (t == NULL)
        return;
    memcpy(t->name, name, sizeof name);
    t->state = SN_RUNNABLE;
    t->since_ns = r->time_ns;
}

void sn_state_end(struct sn_sched *s, struct sn_thread *t)
{
    if (!sn_left_out(s, t->tid)) {
        s->ended.run_ns += t->sums.run_ns;
        s->ended.wait_ns += t->sums.wait_ns;
        s->ended.voluntary += t->sums.voluntary;
        s->ended.involuntary += t->sums.involuntary;
        s->ended.migrations += t->sums.migrations;
        s->n_ended++;
    }
    sn_proc_drop(s, t);
    sn_threads_remove(&s->threads, t);
}

void sn_state_apply(struct sn_sched *s, const struct sn_record *r)
{
    if (r->kind == SN_REC_NEW) {
        begin(s, r);
        return;
    }
    /* The other threads are gone, and what lay at an address. Which thread did it is not
     * said: it takes the number of the first, whose end was told before. */
    if (r->kind == SN_REC_NAME && r->exec) {
        s->resync = true;
        s->symbols = (struct sn_symbols){0};
    }
    struct sn_thread *t = sn_threads_find(&s->threads, r->tid);
    if (t == NULL || r->time_ns < t->since_ns) /* what /proc said is later */
        return;
    switch (r->kind) {
    case SN_REC_IN:
        come_in(s, t, r);
        break;
    case SN_REC_OUT:
        go_out(t, r);
        break;
    case SN_REC_WAKE:
        wake(t, r);
        break;
    case SN_REC_NAME:
        snprintf(t->name, sizeof t->name, "%s", r->name);
        break;
    case SN_REC_END:
        settle(t, r->time_ns);
        sn_state_end(s, t);
        break;
    case SN_REC_NEW:
        break;
    }
}
