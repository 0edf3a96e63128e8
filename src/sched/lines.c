/*
 * lines.c: the lines of a sweep, in the grammar of Go's schedtrace
 * (runtime/proc.go, schedtrace). P is a CPU and M a thread; what a program has no
 * counterpart of is left out. With detail:
 *
 *     SCHED 202ms: gomaxprocs=2 idleprocs=0 threads=9 idlethreads=1 runqueue=6 ended=0
 *         run=... wait=... voluntary=... involuntary=... migrations=...
 *       P0: status=1 schedtick=31 m=4711 runqsize=3
 *       M4711: p=0 curg=4711 name="worker" state=running run=... wait=... ...
 *
 * and with stacks, behind each M the frames of its own:
 *
 *         #0 0x7f2a91e3 in __futex_wait (/lib/libc.so.6+0x85e83)
 *         (no unwind information)
 *
 * Words with a space, a quote, a backslash or a control byte are quoted, as in C.
 */
#include "sched_priv.h"

#include <stdio.h>

/* ---- words ----------------------------------------------------------------------------
 */

static void put_number(struct sn_buf *b, const char *before, uint64_t n)
{
    char text[24], *at = text + sizeof text;
    do
        *--at = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    sn_buf_puts(b, before);
    sn_buf_add(b, at, (size_t)(text + sizeof text - at));
}

static void put_quoted(struct sn_buf *b, const char *text)
{
    sn_buf_putc(b, '"');
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            sn_buf_putc(b, '\\');
        if ((unsigned char)*c < ' ' || *c == 127)
            sn_buf_printf(b, "\\%03o", (unsigned)(unsigned char)*c);
        else
            sn_buf_putc(b, *c);
    }
    sn_buf_putc(b, '"');
}

static void put_word(struct sn_buf *b, const char *text)
{
    bool plain = *text != '\0';
    for (const char *c = text; *c != '\0'; c++)
        plain &= *c > ' ' && *c != '"' && *c != '\\' && *c != 127;
    if (plain)
        sn_buf_puts(b, text);
    else
        put_quoted(b, text);
}

static void end_line(struct sn_sched *s)
{
    sn_buf_puts(&s->out, s->plan.tail);
    sn_buf_putc(&s->out, '\n');
}

static void put_sums(struct sn_sched *s, const struct sn_sums *x)
{
    put_number(&s->out, " run=", x->run_ns);
    put_number(&s->out, " wait=", x->wait_ns);
    put_number(&s->out, " voluntary=", x->voluntary);
    put_number(&s->out, " involuntary=", x->involuntary);
    if (s->perf != NULL) /* else it was not observed */
        put_number(&s->out, " migrations=", x->migrations);
}

/* ---- the lines ------------------------------------------------------------------------
 */

void sn_lines_head(struct sn_sched *s, uint64_t now_ms)
{
    unsigned cpus = 0;
    for (unsigned i = 0; i < s->n_cpus; i++)
        cpus += s->cpus[i].usable;
    put_number(&s->out, "SCHED ", now_ms);
    sn_buf_printf(&s->out, "ms: source=%s", sn_sched_source_names[s->source]);
    put_number(&s->out, " gomaxprocs=", cpus);
    put_number(&s->out, " threads=", s->threads.n);
    put_number(&s->out, " interval=", s->plan.interval_ms);
    sn_buf_puts(&s->out, "ms");
    if (s->note[0] != '\0') {
        sn_buf_puts(&s->out, " note=");
        put_quoted(&s->out, s->note);
    }
    end_line(s);
}

/* What records do not tell, or the kernel's own accounts tell better: a record is made a
 * little before or after the switch, which adds up where there are many; and of a wait
 * that began by waking there may be none. Whichever is more is the later. */
static void look_closer(struct sn_sched *s, struct sn_thread *t)
{
    uint64_t run, wait;
    if (!t->has_run)
        return;
    if (s->perf != NULL && sn_proc_schedstat(s, t, &run, &wait)) {
        if (run > t->sums.run_ns) {
            t->sums.run_ns = run;
            t->since_ns = t->state == SN_RUNNING ? s->now_ns : t->since_ns;
        }
        t->sums.wait_ns = wait > t->sums.wait_ns ? wait : t->sums.wait_ns;
    }
    if (t->told != SN_BLOCKED)
        return; /* what it waits for is told once it does */
    if (t->asked == SN_NOT_ASKED)
        t->asked = sn_waits_ask(s, t);
    if (t->asked != SN_WAITS)
        sn_waits_guess(s, t);
    t->has_run = t->asked == SN_WAITS_NOT;
}

struct counts {
    unsigned cpus, idle_cpus, threads, states[SN_ENDED + 1];
    struct sn_sums sums;
};

static void add(struct sn_sums *to, const struct sn_sums *x)
{
    to->run_ns += x->run_ns;
    to->wait_ns += x->wait_ns;
    to->voluntary += x->voluntary;
    to->involuntary += x->involuntary;
    to->migrations += x->migrations;
}

static struct counts count(struct sn_sched *s)
{
    struct counts c = {.sums = s->ended};
    for (unsigned i = 0; i < s->n_cpus; i++) {
        c.cpus += s->cpus[i].usable;
        c.idle_cpus += s->cpus[i].usable && s->cpus[i].running == SN_NONE;
    }
    for (uint32_t i = 0; i < s->threads.n; i++) {
        const struct sn_thread *t = &s->threads.v[i];
        if (sn_left_out(s, t->tid))
            continue;
        c.threads++;
        c.states[t->told]++;
        if (s->plan.detail) {
            struct sn_sums x = sn_state_sums(s, t);
            add(&c.sums, &x);
        }
    }
    return c;
}

static void put_process(struct sn_sched *s, uint64_t now_ms, const struct counts *c)
{
    struct sn_buf *b = &s->out;
    put_number(b, "SCHED ", now_ms);
    put_number(b, "ms: gomaxprocs=", c->cpus);
    put_number(b, " idleprocs=", c->idle_cpus);
    put_number(b, " threads=", c->threads);
    put_number(b, " idlethreads=", c->states[SN_BLOCKED]);
    put_number(b, " runqueue=", c->states[SN_RUNNABLE]);
    if (s->plan.detail) {
        put_number(b, " ended=", s->n_ended);
        put_sums(s, &c->sums);
    }
    if (s->lost > 0)
        put_number(b, " lost=", s->lost);
    const char *before = " [";
    for (unsigned i = 0; !s->plan.detail && i < s->n_cpus; i++)
        if (s->cpus[i].usable) {
            put_number(b, before, s->cpus[i].queued);
            before = " ";
        }
    if (!s->plan.detail)
        sn_buf_putc(b, ']');
    end_line(s);
}

static void put_cpu(struct sn_sched *s, unsigned i)
{
    const struct sn_cpu *c = &s->cpus[i];
    bool runs = c->running != SN_NONE;
    put_number(&s->out, "  P", i);
    put_number(&s->out, ": status=", runs);
    if (s->perf != NULL)
        put_number(&s->out, " schedtick=", c->ticks);
    if (runs)
        put_number(&s->out, " m=", (uint64_t)s->threads.v[c->running].tid);
    else
        sn_buf_puts(&s->out, " m=-1");
    put_number(&s->out, " runqsize=", c->queued);
    end_line(s);
}

static void put_state(struct sn_buf *b, const struct sn_thread *t)
{
    sn_buf_puts(b, " state=");
    if (t->told == SN_BLOCKED) {
        sn_buf_puts(b, "blocked(");
        sn_buf_puts(b, t->where);
        sn_buf_putc(b, ')');
    } else {
        sn_buf_puts(b, t->told == SN_RUNNING ? "running" : "runnable");
    }
}

static void put_frame(struct sn_sched *s, size_t i, uint64_t pc)
{
    char name[96];
    uint64_t offset;
    const char *file = sn_symbols_function(s, pc, name, sizeof name, &offset);
    if (file != NULL)
        sn_buf_printf(&s->out, SN_FRAME_LINE, i, (unsigned long long)pc,
                      name[0] != '\0' ? " in " : "", name, file,
                      (unsigned long long)offset);
    else
        sn_buf_printf(&s->out, SN_FRAME_LINE_BARE, i, (unsigned long long)pc);
}

static void put_stack(struct sn_sched *s, pid_t tid)
{
    uint64_t pcs[SN_SCHED_DEPTH];
    const char *why = NULL;
    size_t n = s->plan.stacks->of(s->plan.stacks->self, tid, pcs, &why);
    for (size_t i = 0; i < n; i++)
        put_frame(s, i, pcs[i]);
    if (why != NULL)
        sn_buf_printf(&s->out, "    (%s)\n", why);
}

static void put_thread(struct sn_sched *s, struct sn_thread *t)
{
    struct sn_buf *b = &s->out;
    struct sn_sums sums = sn_state_sums(s, t);
    put_number(b, "  M", (uint64_t)t->tid);
    if (t->told == SN_RUNNING) {
        put_number(b, ": p=", (uint64_t)t->cpu);
        put_number(b, " curg=", (uint64_t)t->tid);
    } else {
        sn_buf_puts(b, ": p=-1 curg=-1");
    }
    sn_buf_puts(b, " name=");
    put_quoted(b, t->name);
    put_state(b, t);
    put_sums(s, &sums);
    if (t->told == SN_BLOCKED && t->on_fd >= 0)
        put_number(b, " fd=", (uint64_t)t->on_fd);
    if (t->told == SN_BLOCKED && t->on[0] != '\0') {
        sn_buf_puts(b, " on=");
        put_word(b, t->on);
    }
    end_line(s);
    if (s->plan.stacks != NULL)
        put_stack(s, t->tid);
}

void sn_lines_sweep(struct sn_sched *s, uint64_t now_ms)
{
    for (uint32_t i = 0; s->plan.detail && i < s->threads.n; i++)
        if (!sn_left_out(s, s->threads.v[i].tid))
            look_closer(s, &s->threads.v[i]);
    if (s->plan.detail && s->plan.stacks != NULL)
        s->plan.stacks->take(s->plan.stacks->self);
    struct counts c = count(s);
    put_process(s, now_ms, &c);
    if (!s->plan.detail)
        return;
    for (unsigned i = 0; i < s->n_cpus; i++)
        if (s->cpus[i].usable)
            put_cpu(s, i);
    for (uint32_t i = 0; i < s->threads.n; i++)
        if (!sn_left_out(s, s->threads.v[i].tid))
            put_thread(s, &s->threads.v[i]);
}
