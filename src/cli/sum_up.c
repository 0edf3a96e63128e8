/* sum_up.c: what a recording comes to, by kind: the lines at its head, the comments of
 * what was merged, the tables below. */
#include "run.h"

#define ROWS  10
#define SITES 5

/* All images as one. */
static struct sn_recorded total(const struct batch *b)
{
    struct sn_recorded all = b->v[0];
    for (uint32_t i = 1; i < b->n; i++) {
        all.samples += b->v[i].samples;
        all.lost += b->v[i].lost;
        all.blind += b->v[i].blind;
        all.truncated += b->v[i].truncated;
        all.duration_ns += b->v[i].duration_ns;
    }
    return all;
}

static bool add_top(struct sn_profile *p, const char *type, struct sn_buf *out,
                    struct sn_error *e)
{
    struct sn_options o = sn_options_default();
    o.node_count = ROWS;
    o.compact_labels = true;
    o.sample_index = type;
    return format_find("top")->write(p, &o, NULL, out, e);
}

/* ---- CPU time -------------------------------------------------------------------------
 */

static unsigned long long rate_hz(const struct sn_recorded *p)
{
    return p->period > 0 ? (1000000000u + p->period / 2) / p->period : 0;
}

/* "2933 samples in 2.95s of CPU (perf clock, 1000 Hz), 0 lost, 0 truncated" */
static void head_cpu(const struct batch *b)
{
    struct sn_recorded all = total(b);
    say("%llu samples in %.2fs of CPU (%s clock, %llu Hz), %llu lost, %llu truncated",
        (unsigned long long)all.samples, (double)b->cpu_ns / 1e9, all.clock,
        rate_hz(&all), (unsigned long long)all.lost, (unsigned long long)all.truncated);
    if (all.blind > 0)
        say("%llu threads could not get a clock and were not sampled",
            (unsigned long long)all.blind);
}

static void size_cpu(const struct sn_recorded *p, char *buf, size_t size)
{
    snprintf(buf, size, "%llu samples", (unsigned long long)p->samples);
}

static void comment_cpu(struct sn_profile *p, const struct batch *b)
{
    struct sn_recorded all = total(b);
    p->n_comments = 0;
    sn_profile_comment(p, "clock: %s, %llu Hz", all.clock, rate_hz(&all));
    sn_profile_comment(p, "samples: %llu, lost: %llu, truncated: %llu",
                       (unsigned long long)all.samples, (unsigned long long)all.lost,
                       (unsigned long long)all.truncated);
    sn_profile_comment(p, "merged: %u programs", b->n);
}

static bool tables_cpu(struct sn_profile *p, const struct batch *b, struct sn_buf *out,
                       struct sn_error *e)
{
    (void)b;
    return add_top(p, NULL, out, e);
}

/* ---- the heap -------------------------------------------------------------------------
 */

struct heap {
    uint32_t exact;      /* images */
    uint64_t sampled_by; /* the period of the others */
    struct sn_heap_sums sums;
    struct sn_heap_amount reachable; /* at the end, where it is known what leaked */
    uint32_t unknown;                /* images of which that is not known */
    const char *why;                 /* of one of them */
};

static void add(struct sn_heap_amount *to, struct sn_heap_amount a)
{
    to->objects += a.objects;
    to->bytes += a.bytes;
}

static struct heap heap_of(const struct batch *b)
{
    struct heap all = {0};
    for (uint32_t i = 0; i < b->n; i++) {
        const struct sn_recorded *p = &b->v[i];
        const struct sn_heap_sums *s = &p->sums;
        add(&all.sums.alloc, s->alloc);
        add(&all.sums.peak, s->peak);
        all.sums.frees += s->frees;
        all.exact += p->exact;
        if (!p->exact)
            all.sampled_by = p->period;
        if (p->leaks_unknown != NULL && p->image > 0)
            continue; /* what an exec replaced leaked nothing */
        if (p->leaks_unknown != NULL) {
            all.unknown++;
            all.why = p->leaks_unknown;
            continue;
        }
        add(&all.sums.leaked, s->leaked);
        if (s->inuse.objects >= s->leaked.objects && s->inuse.bytes >= s->leaked.bytes)
            add(&all.reachable,
                (struct sn_heap_amount){s->inuse.objects - s->leaked.objects,
                                        s->inuse.bytes - s->leaked.bytes});
    }
    return all;
}

struct text {
    char s[96];
};

static struct text bytes(uint64_t value)
{
    struct text t;
    int64_t shown = value <= INT64_MAX ? (int64_t)value : INT64_MAX;
    sn_unit_label(shown, "bytes", "auto", t.s, sizeof t.s);
    return t;
}

/* "97.66kB in 1000 blocks" */
static struct text amount(struct sn_heap_amount a)
{
    struct text t, size = bytes(a.bytes);
    snprintf(t.s, sizeof t.s, "%.30s in %llu block%s", a.bytes > 0 ? size.s : "0B",
             (unsigned long long)a.objects, a.objects == 1 ? "" : "s");
    return t;
}

/* "2.2M a second" */
static struct text speed(uint64_t n, uint64_t ns)
{
    static const char *const thousands[] = {"", "k", "M", "G"};
    struct text t;
    size_t i = 0;
    double x = ns > 0 ? (double)n * 1e9 / (double)ns : 0;
    while (x >= 1000 && i + 1 < SN_COUNT(thousands)) {
        x /= 1000;
        i++;
    }
    snprintf(t.s, sizeof t.s, i > 0 && x < 100 ? "%.1f%s a second" : "%.0f%s a second", x,
             thousands[i]);
    return t;
}

/* "exact"; "sampled every 512kB (estimates)"; of both kinds, how many are of which. */
static struct text how(const struct batch *b, const struct heap *all)
{
    struct text t, every = {"every allocation"};
    if (all->sampled_by > 1)
        snprintf(every.s, sizeof every.s, "sampled every %.20s (estimates)",
                 bytes(all->sampled_by).s);
    if (all->exact == b->n)
        strcpy(t.s, "exact");
    else if (all->exact == 0)
        t = every;
    else
        snprintf(t.s, sizeof t.s, "%u exact, %u %.40s", all->exact, b->n - all->exact,
                 every.s);
    return t;
}

static void head_heap(const struct batch *b)
{
    struct sn_recorded whole = total(b);
    struct heap all = heap_of(b);
    char leaked[320] = "";
    if (all.exact > 0 && all.unknown < b->n)
        snprintf(leaked, sizeof leaked, ", leaked %s (still reachable %s)",
                 amount(all.sums.leaked).s, amount(all.reachable).s);
    else if (all.exact > 0)
        strcpy(leaked, ", leaked not known");
    say("peak%s %s%s, %llu allocation%s (%s), %s, %llu lost, %llu truncated",
        b->n > 1 ? "s, together" : "", amount(all.sums.peak).s, leaked,
        (unsigned long long)all.sums.alloc.objects,
        all.sums.alloc.objects == 1 ? "" : "s",
        speed(all.sums.alloc.objects, whole.duration_ns).s, how(b, &all).s,
        (unsigned long long)whole.lost, (unsigned long long)whole.truncated);
    if (all.exact > 0 && all.unknown > 0 && b->n == 1)
        say("what leaked is not known: %s", all.why);
    else if (all.exact > 0 && all.unknown > 0)
        say("what leaked is not known of %u of %u programs: %s", all.unknown, b->n,
            all.why);
}

static void size_heap(const struct sn_recorded *p, char *buf, size_t size)
{
    snprintf(buf, size, "peak %s", amount(p->sums.peak).s);
}

static void comment_heap(struct sn_profile *p, const struct batch *b)
{
    struct heap all = heap_of(b);
    p->n_comments = 0;
    if (all.exact < b->n)
        sn_profile_comment(p, "heap: sampled every %llu bytes",
                           (unsigned long long)all.sampled_by);
    if (all.exact > 0)
        sn_profile_comment(p, "heap: exact");
    if (all.exact > 0 && all.exact < b->n)
        sn_profile_comment(p, "of which exact: %u of %u programs", all.exact, b->n);
    sn_profile_comment(
        p, "allocations: %llu, frees: %llu, peaks: %llu bytes in %llu blocks",
        (unsigned long long)all.sums.alloc.objects, (unsigned long long)all.sums.frees,
        (unsigned long long)all.sums.peak.bytes,
        (unsigned long long)all.sums.peak.objects);
    if (all.exact > 0)
        sn_profile_comment(p,
                           "leaked: %llu bytes in %llu blocks; not known of %u programs",
                           (unsigned long long)all.sums.leaked.bytes,
                           (unsigned long long)all.sums.leaked.objects, all.unknown);
    sn_profile_comment(p, "merged: %u programs", b->n);
}

static bool sites(struct sn_profile *p, const char *family, struct sn_buf *out,
                  struct sn_error *e)
{
    char space[32], objects[32];
    snprintf(space, sizeof space, "%s_space", family);
    snprintf(objects, sizeof objects, "%s_objects", family);
    return sn_report_sites(p, space, objects, SITES, out, e);
}

/* The functions may be nothing but a program's own names for malloc: so the sites, too,
 * which are found first, since the other table leaves lines out of the profile. */
static bool tables_heap(struct sn_profile *p, const struct batch *b, struct sn_buf *out,
                        struct sn_error *e)
{
    struct heap all = heap_of(b);
    struct sn_buf peak = {.arena = p->arena}, leaked = {.arena = p->arena};
    if (!sites(p, "peak", &peak, e) ||
        (all.sums.leaked.bytes > 0 && !sites(p, "leaked", &leaked, e)))
        return false;
    sn_buf_puts(out, "At the peak (peak_space):\n");
    if (!add_top(p, "peak_space", out, e))
        return false;
    if (all.sums.peak.bytes > 0) {
        sn_buf_puts(out, "At the peak, by site:\n");
        sn_buf_add(out, peak.data, peak.len);
    }
    if (leaked.data != NULL) {
        sn_buf_puts(out, "Leaked (leaked_space):\n");
        sn_buf_add(out, leaked.data, leaked.len);
    }
    return true;
}

const struct run_kind run_kinds[SN_SPOOL_KINDS] = {
    [SN_SPOOL_CPU] = {"cpu",
                      "no samples: it used too little CPU time for one; --cpu=1000 takes "
                      "more",
                      head_cpu, size_cpu, comment_cpu, tables_cpu},
    [SN_SPOOL_HEAP] = {"mem",
                       "no samples: it allocated nothing, or too little for one "
                       "(--mem=exact takes all)",
                       head_heap, size_heap, comment_heap, tables_heap},
};
