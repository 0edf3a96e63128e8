/*
 * collapsed.c: a line a stack, "main;work;spin 12", root first, as flamegraph.pl and
 * most viewers of flame graphs read it; equal stacks are summed. A comment before says
 * what the number is: "# cpu/nanoseconds", which sonde reads again.
 */
#include "report_priv.h"

#include <inttypes.h>

/* What would part frames or lines is replaced. */
static void put_name(struct sn_buf *out, const char *name)
{
    for (; *name != '\0'; name++)
        sn_buf_putc(out, *name == ';' ? ':' : (unsigned char)*name < ' ' ? ' ' : *name);
}

struct sums {
    struct sn_strtab *texts;
    int64_t *sums; /* by string id */
    uint32_t n, cap;
};

static bool add_stack(struct sn_stacks *s, struct sums *t, struct sn_buf *line,
                      int64_t value)
{
    struct sn_arena *a = s->v.p->arena;
    line->len = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        sn_buf_puts(line, i > 0 ? ";" : "");
        put_name(line, sn_profile_str(s->v.p, s->frames[s->stack[i]].name));
    }
    if (line->failed)
        return false;
    uint32_t id = sn_strtab_addn(t->texts, line->data, line->len);
    while (t->n <= id)
        if (SN_PUSH(a, t->sums, t->n, t->cap) == NULL)
            return false;
    t->sums[id] = (int64_t)((uint64_t)t->sums[id] + (uint64_t)value);
    return true;
}

bool sn_report_collapsed(struct sn_profile *p, const struct sn_options *o,
                         const char *argument, struct sn_buf *out, struct sn_error *e)
{
    struct sn_stacks s;
    (void)argument;
    if (!sn_stacks_open(&s, p, o, e))
        return false;
    struct sums t = {.texts = sn_strtab_new(p->arena)};
    struct sn_buf line = {.arena = p->arena};
    bool good = t.texts != NULL;
    for (uint32_t i = 0; good && i < p->n_samples; i++) {
        int64_t divisor, weight = sn_view_weight(&s.v, i, &divisor);
        good = sn_stacks_of(&s, i);
        if (good && s.n > 0)
            good = add_stack(&s, &t, &line, sn_mean(weight, divisor));
    }
    if (!good)
        return sn_fail(e, NULL, -1, "out of memory");
    sn_buf_printf(out, "# %s/%s\n", s.v.type, s.v.unit);
    for (uint32_t id = 1; id < t.n; id++)
        if (t.sums[id] != 0)
            sn_buf_printf(out, "%s %" PRId64 "\n", sn_strtab_get(t.texts, id),
                          t.sums[id]);
    return sn_report_done(out, e);
}
