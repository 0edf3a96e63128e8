/*
 * sched_stacks.c: where the program's threads stand, for scheddetail=2. The world is
 * stopped for it: who runs is interrupted and walked from its registers; who sleeps in
 * the kernel is left asleep and walked from what /proc tells of it (unwind/unwind.h). A
 * sleeper that has moved meanwhile has no stack this time.
 *
 * Pages, never malloc; one thread, the monitor's.
 */
#include "trace_priv.h"

struct taken {
    pid_t tid;
    uint32_t n;
    const char *why;
    uintptr_t pcs[SN_SCHED_DEPTH];
};

static struct {
    struct taken *v; /* SN_WORLD_THREADS of them */
    unsigned n;
    unsigned next; /* that will be asked for, most likely: in the kernel's order */
} all;

static void take_one(struct taken *t, const struct sn_world_thread *x)
{
    enum sn_unwind_end end = SN_END_OUTERMOST;
    uint64_t sp, pc;
    *t = (struct taken){.tid = x->tid, .why = "it did not stand still"};
    if (x->context != NULL) {
        t->n = (uint32_t)sn_unwind(x->context, (struct sn_stack_range){0}, t->pcs,
                                   SN_SCHED_DEPTH, &end);
    } else if (x->sp != 0 && x->pc != 0) {
        t->n = (uint32_t)sn_unwind_asleep(x->pc, x->sp, t->pcs, SN_SCHED_DEPTH, &end);
        if (!sn_thread_asleep(x->tid, &sp, &pc) || sp != x->sp || pc != x->pc)
            t->n = 0; /* it has moved */
    }
    if (t->n > 0)
        t->why = end != SN_END_OUTERMOST ? sn_unwind_end_name(end) : NULL;
}

static void take(void *self)
{
    (void)self;
    all.n = all.next = 0;
    if (all.v == NULL)
        all.v = sn_pages_map(SN_WORLD_THREADS * sizeof *all.v);
    struct sn_world *w = all.v != NULL ? sn_world_stop(false) : NULL;
    for (unsigned i = 0; w != NULL && i < w->n; i++)
        take_one(&all.v[all.n++], &w->threads[i]);
    sn_world_go_on(w);
}

static const struct taken *find(pid_t tid)
{
    for (unsigned i = 0; i < all.n; i++) {
        const struct taken *t = &all.v[(all.next + i) % all.n];
        if (t->tid != tid)
            continue;
        all.next = (unsigned)(t - all.v) + 1;
        return t;
    }
    return NULL;
}

static size_t of(void *self, pid_t tid, uint64_t pcs[SN_SCHED_DEPTH], const char **why)
{
    const struct taken *t = find(tid);
    (void)self;
    *why = t != NULL ? t->why : tid == sn_thread_id() ? "it writes this" : "not seen";
    for (uint32_t i = 0; t != NULL && i < t->n; i++)
        pcs[i] = t->pcs[i];
    return t != NULL ? t->n : 0;
}

const struct sn_sched_stacks sn_trace_sched_stacks = {.take = take, .of = of};
