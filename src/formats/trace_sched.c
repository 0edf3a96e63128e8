/*
 * trace_sched.c: lines of schedulers: a SCHED line is a sweep, the P, M and G lines
 * behind it are its samples, each of one lane.
 *
 *     SCHED 202ms: gomaxprocs=2 idleprocs=0 threads=4 spinningthreads=0 needspinning=0
 *         idlethreads=0 runqueue=2 [ 3 1 ] schedticks=[ 12 40 ]
 *       P0: status=1 schedtick=4 syscalltick=0 m=3 runqsize=3 gfreecnt=0 timerslen=0
 *       M3: p=0 curg=5 mallocing=0 ... spinning=false blocked=false lockedg=nil
 *       G1: status=4(chan receive (nil chan)) m=nil lockedm=nil
 *       M4711: p=1 curg=4711 ... name="worker" state=blocked(futex) run=12 wait=3 on=lock
 *
 * A field is key=value, in any order; tables say which are known. nil and -1 are none.
 */
#include "trace_priv.h"

#include <stdio.h>

#define CPU_MAX 32000

static int32_t count_of(struct sn_scan value)
{
    double x;
    return sn_scan_number(&value, &x) ? (int32_t)sn_clamp(x, 1e9) : SN_TRACE_ABSENT;
}

static int64_t id_of(struct sn_scan value) /* ABSENT: none */
{
    double x;
    return sn_scan_number(&value, &x) ? sn_clamp(x, 1e15) : SN_TRACE_ABSENT;
}

/* ---- lanes ----------------------------------------------------------------------------
 */

static struct sn_trace_lane *lane_of(struct sn_trace *t, char kind, int64_t id)
{
    uint64_t key = (uint64_t)kind << 56 | (uint64_t)id;
    uint32_t at = sn_map_get(t->reader->lanes, key);
    if (at != SN_NONE)
        return &t->lanes[at];
    if (t->n_lanes >= t->limits.lanes) {
        t->lost_lanes++;
        return NULL;
    }
    uint32_t *to = sn_map_put(t->reader->lanes, key);
    struct sn_trace_lane *l =
        to != NULL ? SN_PUSH(t->arena, t->lanes, t->n_lanes, t->cap_lanes) : NULL;
    if (l == NULL)
        return NULL;
    *to = t->n_lanes - 1;
    *l = (struct sn_trace_lane){.kind = kind, .id = id};
    for (unsigned i = 0; i < SN_COUNTERS; i++)
        l->first[i] = l->last[i] = SN_TRACE_ABSENT;
    l->first_ns = t->reader->sweep_ns;
    return l;
}

struct detail { /* what a P, M or G line says */
    int64_t status, cpu, current, thread;
    int32_t queue;
    bool blocked, spinning;
    struct sn_scan reason, name, state, on;
    int64_t counters[SN_COUNTERS];
    char attributes[120];
};

static void add_sample(struct sn_trace *t, struct sn_trace_lane *l,
                       const struct detail *d, enum sn_trace_state state, uint32_t reason)
{
    if (d->name.p < d->name.end)
        l->name = sn_trace_name(t, d->name);
    l->states[state]++;
    l->last_ns = t->reader->sweep_ns;
    memcpy(l->attributes, d->attributes, sizeof l->attributes);
    for (unsigned i = 0; i < SN_COUNTERS; i++) {
        if (d->counters[i] < 0)
            continue;
        l->first[i] = l->first[i] < 0 ? d->counters[i] : l->first[i];
        l->last[i] = d->counters[i];
    }
    if (!t->reader->sweep_kept || t->n_sweeps == 0 ||
        t->n_samples / 2 >= t->limits.samples)
        return;
    uint32_t lane = (uint32_t)(l - t->lanes);
    struct sn_trace_sample *s =
        SN_PUSH(t->arena, t->samples, t->n_samples, t->cap_samples);
    if (s == NULL)
        return;
    *s = (struct sn_trace_sample){.lane = lane,
                                  .reason = reason,
                                  .cpu = (int16_t)(d->cpu <= CPU_MAX ? d->cpu : -1),
                                  .state = (uint8_t)state};
    t->sweeps[t->n_sweeps - 1].n_samples++;
}

/* ---- fields of P, M and G -------------------------------------------------------------
 */

/* Fields that need no keeping: what Go says of itself. */
static bool is_dull(struct sn_scan key)
{
    static const char *const dull[] = {
        "schedtick", "syscalltick", "gfreecnt",   "timerslen", "mallocing",
        "throwing",  "gcing",       "preemptoff", "locks",     "dying",
        "helpgc",    "lockedg",     "lockedm"};
    for (size_t i = 0; i < SN_COUNT(dull); i++)
        if (sn_scan_is(key, dull[i]))
            return true;
    return false;
}

static bool is_counter(const struct sn_pair *p, int64_t counters[SN_COUNTERS])
{
    static const char *const names[SN_COUNTERS] = {
        [SN_COUNTER_RUN] = "run",
        [SN_COUNTER_WAIT] = "wait",
        [SN_COUNTER_VOLUNTARY] = "voluntary",
        [SN_COUNTER_INVOLUNTARY] = "involuntary",
        [SN_COUNTER_MIGRATIONS] = "migrations"};
    for (unsigned i = 0; i < SN_COUNTERS; i++)
        if (sn_scan_is(p->key, names[i])) {
            counters[i] = id_of(p->value);
            return true;
        }
    return false;
}

static bool is_true(struct sn_scan value)
{
    return sn_scan_is(value, "true") || count_of(value) > 0;
}

static void take_status(struct detail *d, struct sn_scan value)
{
    if (!sn_scan_integer(&value, &d->status) || !sn_scan_group(&value, &d->reason))
        d->reason = (struct sn_scan){value.p, value.p};
}

static void take_field(struct detail *d, const struct sn_pair *p)
{
    const struct {
        const char *key;
        int64_t *to;
    } ids[] = {{"p", &d->cpu}, {"curg", &d->current}, {"m", &d->thread}};
    const struct {
        const char *key;
        struct sn_scan *to;
    } words[] = {{"name", &d->name}, {"state", &d->state}, {"on", &d->on}};
    for (size_t i = 0; i < SN_COUNT(ids); i++)
        if (sn_scan_is(p->key, ids[i].key)) {
            *ids[i].to = id_of(p->value);
            return;
        }
    for (size_t i = 0; i < SN_COUNT(words); i++)
        if (sn_scan_is(p->key, words[i].key)) {
            *words[i].to = p->value;
            return;
        }
    if (sn_scan_is(p->key, "status"))
        take_status(d, p->value);
    else if (sn_scan_is(p->key, "runqsize"))
        d->queue = count_of(p->value);
    else if (sn_scan_is(p->key, "blocked"))
        d->blocked = is_true(p->value);
    else if (sn_scan_is(p->key, "spinning"))
        d->spinning = is_true(p->value);
    else if (!is_counter(p, d->counters) && !is_dull(p->key))
        sn_scan_keep(d->attributes, sizeof d->attributes, p);
}

/* "  M3: p=0 ..." with any indent; its first field must be one of two. */
static bool read_detail(struct sn_scan s, const char *letter, const char *first,
                        const char *or_first, int64_t *id, struct detail *d)
{
    struct sn_pair p;
    double x;
    *d = (struct detail){.status = -1, .cpu = -1, .current = -1, .thread = -1};
    d->queue = SN_TRACE_ABSENT;
    for (unsigned i = 0; i < SN_COUNTERS; i++)
        d->counters[i] = SN_TRACE_ABSENT;
    sn_scan_spaces(&s);
    if (!sn_scan_literal(&s, letter) || !sn_scan_number(&s, &x) || x < 0 ||
        !sn_scan_literal(&s, ": "))
        return false;
    *id = (int64_t)x;
    if (!sn_scan_literal(&s, first) && !sn_scan_literal(&s, or_first))
        return false;
    while (s.p[-1] != ' ') /* back to its key */
        s.p--;
    while (sn_scan_pair(&s, &p))
        take_field(d, &p);
    return true;
}

/* ---- states ---------------------------------------------------------------------------
 */

/* "blocked(futex)" on "lock": "futex lock". */
static uint32_t reason_of(struct sn_trace *t, struct sn_scan why, struct sn_scan on)
{
    char text[2 * SN_TRACE_NAME_MAX + 2];
    int n_why = sn_scan_is(why, "?") ? 0 : (int)(why.end - why.p), /* not known */
        n_on = (int)(on.end - on.p);
    if (n_on == 0)
        return n_why > 0 ? sn_trace_name(t, why) : 0;
    if (n_why == 0)
        return sn_trace_name(t, on);
    if (n_why > (int)SN_TRACE_NAME_MAX)
        n_why = (int)SN_TRACE_NAME_MAX;
    if (n_on > (int)SN_TRACE_NAME_MAX)
        n_on = (int)SN_TRACE_NAME_MAX;
    memcpy(text, why.p, (size_t)n_why);
    text[n_why] = ' ';
    memcpy(text + n_why + 1, on.p, (size_t)n_on);
    return sn_trace_name(t, (struct sn_scan){text, text + n_why + 1 + n_on});
}

static enum sn_trace_state state_word(struct sn_scan word)
{
    static const struct {
        const char *word;
        enum sn_trace_state state;
    } words[] = {{"running", SN_STATE_RUNNING},    {"runnable", SN_STATE_RUNNABLE},
                 {"preempted", SN_STATE_RUNNABLE}, {"blocked", SN_STATE_BLOCKED},
                 {"sleeping", SN_STATE_BLOCKED},   {"waiting", SN_STATE_BLOCKED},
                 {"disk", SN_STATE_BLOCKED},       {"stopped", SN_STATE_BLOCKED},
                 {"traced", SN_STATE_BLOCKED},     {"syscall", SN_STATE_SYSCALL},
                 {"idle", SN_STATE_IDLE},          {"parked", SN_STATE_IDLE}};
    for (size_t i = 0; i < SN_COUNT(words); i++)
        if (sn_scan_is(word, words[i].word))
            return words[i].state;
    return SN_STATE_GONE;
}

/* Of "state=WORD(WHY)", or of a Go thread by what it has. */
static enum sn_trace_state thread_state(const struct detail *d, struct sn_scan *why)
{
    struct sn_scan at = d->state, word = sn_scan_word(&at);
    *why = (struct sn_scan){at.p, at.p};
    if (word.p < word.end) {
        sn_scan_group(&at, why);
        return state_word(word);
    }
    if (d->cpu >= 0)
        return d->current >= 0 || !d->blocked ? SN_STATE_RUNNING : SN_STATE_IDLE;
    return d->current >= 0 ? SN_STATE_SYSCALL : SN_STATE_IDLE;
}

static enum sn_trace_state coded(const unsigned char *states, size_t n, int64_t status)
{
    return status >= 0 && (uint64_t)status < n ? (enum sn_trace_state)states[status]
                                               : SN_STATE_GONE;
}

bool sn_trace_parse_p(struct sn_trace *t, struct sn_scan s)
{
    static const unsigned char states[] = {SN_STATE_IDLE, SN_STATE_RUNNING,
                                           SN_STATE_SYSCALL, SN_STATE_BLOCKED,
                                           SN_STATE_GONE};
    struct detail d;
    int64_t id;
    if (!read_detail(s, "P", "status=", "m=", &id, &d))
        return false;
    d.cpu = id;
    enum sn_trace_state state = coded(states, SN_COUNT(states), d.status);
    if (d.status < 0) /* it has a thread, or none */
        state = d.thread >= 0 ? SN_STATE_RUNNING : SN_STATE_IDLE;
    struct sn_trace_lane *l = lane_of(t, 'P', id);
    if (l != NULL)
        add_sample(t, l, &d, state, 0);
    if (t->n_sweeps > 0 && t->reader->sweep_kept && d.queue >= 0) {
        struct sn_trace_sweep *w = &t->sweeps[t->n_sweeps - 1];
        int64_t sum = (w->queue > 0 ? (int64_t)w->queue : 0) + d.queue;
        if (t->source == 0 || w->queue < 0) /* ours says them all before */
            w->queue = (int32_t)sn_clamp((double)sum, 1e9);
        w->longest = d.queue > w->longest ? d.queue : w->longest;
    }
    return true;
}

bool sn_trace_parse_m(struct sn_trace *t, struct sn_scan s)
{
    struct sn_scan why;
    struct detail d;
    int64_t id;
    if (!read_detail(s, "M", "p=", "name=", &id, &d))
        return false;
    enum sn_trace_state state = thread_state(&d, &why);
    struct sn_trace_lane *l = lane_of(t, 'M', id);
    if (l != NULL)
        add_sample(t, l, &d, state,
                   state == SN_STATE_BLOCKED || state == SN_STATE_SYSCALL
                       ? reason_of(t, why, d.on)
                       : 0);
    return true;
}

/* Goroutines of Go's own that have nothing to do. */
static bool is_helper_idle(struct sn_scan why)
{
    static const char *const idle[] = {
        "force gc (idle)", "GC worker (idle)", "GOMAXPROCS updater (idle)",
        "GC sweep wait",   "GC scavenge wait", "finalizer wait",
        "cleanup wait"};
    for (size_t i = 0; i < SN_COUNT(idle); i++)
        if (sn_scan_is(why, idle[i]))
            return true;
    return false;
}

/* Go's runtime2.go; the bit 0x1000 says that its stack is being scanned. */
bool sn_trace_parse_g(struct sn_trace *t, struct sn_scan s)
{
    static const unsigned char states[] = {SN_STATE_IDLE,
                                           SN_STATE_RUNNABLE,
                                           SN_STATE_RUNNING,
                                           SN_STATE_SYSCALL,
                                           SN_STATE_BLOCKED,
                                           SN_STATE_GONE /* moribund */,
                                           SN_STATE_GONE /* dead */,
                                           SN_STATE_GONE /* enqueued */,
                                           SN_STATE_RUNNING /* its stack is copied */,
                                           SN_STATE_RUNNABLE /* preempted */};
    struct detail d;
    int64_t id;
    if (!read_detail(s, "G", "status=", "m=", &id, &d))
        return false;
    if (d.status >= 0x1000)
        d.status -= 0x1000;
    enum sn_trace_state state = coded(states, SN_COUNT(states), d.status);
    bool waits = state == SN_STATE_BLOCKED; /* else: what it waited for last */
    if (waits && is_helper_idle(d.reason))
        state = SN_STATE_IDLE;
    struct sn_trace_lane *l = lane_of(t, 'G', id);
    if (l != NULL)
        add_sample(t, l, &d, state, waits ? sn_trace_name(t, d.reason) : 0);
    return true;
}

/* ---- SCHED ----------------------------------------------------------------------------
 */

/* Every second sweep goes, with its samples. */
static void thin_sweeps(struct sn_trace *t)
{
    uint32_t n = 0, used = 0;
    for (uint32_t i = 0; i < t->n_sweeps; i += 2) {
        struct sn_trace_sweep w = t->sweeps[i];
        if (w.n_samples > 0)
            memmove(t->samples + used, t->samples + w.first,
                    w.n_samples * sizeof *t->samples);
        w.first = used;
        used += w.n_samples;
        t->sweeps[n++] = w;
    }
    t->n_sweeps = n;
    t->n_samples = used;
    t->sweep_stride *= 2;
}

/* "2 [3 1]", "2 [ 3 1 ]": Go's is of those that have no CPU yet, ours of all. */
static void take_queue(struct sn_trace_sweep *w, struct sn_scan value, bool all)
{
    double x, sum = 0, most = -1;
    if (!sn_scan_number(&value, &sum))
        return;
    sn_scan_spaces(&value);
    if (sn_scan_literal(&value, "["))
        for (sn_scan_spaces(&value); sn_scan_number(&value, &x); sn_scan_spaces(&value)) {
            sum += all ? 0 : x;
            most = x > most ? x : most;
        }
    w->queue = (int32_t)sn_clamp(sum, 1e9);
    w->longest = (int32_t)sn_clamp(most, 1e9);
}

static void take_head(struct sn_trace *t, struct sn_trace_sweep *w,
                      const struct sn_pair *p)
{
    static const char *const dull[] = {"gcwaiting",  "nmidlelocked", "stopwait",
                                       "sysmonwait", "needspinning", "schedticks",
                                       "interval",   "pid",          "ended"};
    const struct {
        const char *key;
        int32_t *to;
    } counts[] = {{"gomaxprocs", &w->cpus},     {"idleprocs", &w->idle_cpus},
                  {"threads", &w->threads},     {"spinningthreads", &w->spinning},
                  {"nmspinning", &w->spinning}, {"idlethreads", &w->idle_threads}};
    for (size_t i = 0; i < SN_COUNT(counts); i++)
        if (sn_scan_is(p->key, counts[i].key)) {
            *counts[i].to = count_of(p->value);
            return;
        }
    for (size_t i = 0; i < SN_COUNT(dull); i++)
        if (sn_scan_is(p->key, dull[i]))
            return;
    if (sn_scan_is(p->key, "runqueue"))
        take_queue(w, p->value, t->source != 0);
    else if (sn_scan_is(p->key, "source"))
        t->source = sn_trace_name(t, p->value);
    else if (!is_counter(p, t->counters))
        sn_scan_keep(t->head, sizeof t->head, p);
}

bool sn_trace_parse_sched(struct sn_trace *t, struct sn_scan s)
{
    struct sn_trace_sweep w = {0, -1, -1, -1, -1, -1, -1, -1, 0, 0};
    struct sn_trace_reader *r = t->reader;
    struct sn_pair p;
    double ms = -1;
    sn_scan_spaces(&s);
    if (!sn_scan_literal(&s, "SCHED ") ||
        (sn_scan_number(&s, &ms) && !sn_scan_literal(&s, "ms:")))
        return false;
    sn_scan_spaces(&s);
    if (!sn_scan_at_pair(s))
        return false;
    if (ms >= 0)
        sn_trace_said(t, sn_clamp(ms * 1e6, 1e18), &r->sched_ns);
    t->head[0] = '\0';
    bool planned = false;
    while (sn_scan_pair(&s, &p)) {
        take_head(t, &w, &p);
        planned |= sn_scan_is(p.key, "interval");
    }
    if (planned || (w.cpus < 0 && w.threads < 0 && w.queue < 0)) {
        t->n_heads++; /* what will be looked at, and how; not a look */
        return true;
    }
    r->sweep_ns = w.time_ns = sn_trace_when(t);
    sn_trace_event(t, w.time_ns);
    while (t->n_sweeps >= t->limits.sweeps ||
           (t->n_samples >= t->limits.samples && t->n_sweeps > 1))
        thin_sweeps(t);
    r->sweep_kept = r->n_sweeps++ % t->sweep_stride == 0;
    if (!r->sweep_kept)
        return true;
    w.first = t->n_samples;
    struct sn_trace_sweep *to = SN_PUSH(t->arena, t->sweeps, t->n_sweeps, t->cap_sweeps);
    if (to != NULL)
        *to = w;
    return true;
}
