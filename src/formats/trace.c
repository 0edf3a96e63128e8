/* trace.c: a stream of bytes becomes lines, each goes to the parser of its kind, what
 * belongs to none is handed back. Invariant: what is handed back is what came, in order,
 * less the lines that were recognised. */
#include "trace_priv.h"

#include <stdio.h>

const struct sn_trace_limits sn_trace_usual_limits = {
    .sweeps = 100000,
    .samples = 2000000,
    .gcs = 100000,
    .scavs = 100000,
    .lanes = 20000,
    .sites = 20000,
    .strings = 50000,
    .blocks = 1000000,
};

struct sn_trace *sn_trace_new(const struct sn_trace_limits *limits)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_trace *t = a != NULL ? sn_arena_alloc(a, sizeof *t) : NULL;
    if (t == NULL)
        return NULL;
    t->arena = a;
    t->limits = limits != NULL ? *limits : sn_trace_usual_limits;
    t->strings = sn_strtab_new(a);
    t->reader = sn_arena_alloc(a, sizeof *t->reader);
    if (t->reader != NULL) {
        t->reader->line = sn_arena_alloc(a, SN_TRACE_LINE_MAX);
        t->reader->held = sn_arena_alloc(a, SN_TRACE_LINE_MAX);
        t->reader->lanes = sn_map_new(a);
        t->reader->sites = sn_map_new(a);
        t->reader->blocks = sn_map_new(a);
        t->reader->now_ns = t->reader->said_ns = SN_TRACE_ABSENT;
        t->reader->sched_ns = t->reader->gc_ns = t->reader->alloc_ns = SN_TRACE_ABSENT;
    }
    if (sn_arena_failed(a)) {
        sn_arena_free(a);
        return NULL;
    }
    t->first_ns = t->last_ns = SN_TRACE_ABSENT;
    for (unsigned i = 0; i < SN_COUNTERS; i++)
        t->counters[i] = SN_TRACE_ABSENT;
    t->sweep_stride = t->gc_stride = t->scav_stride = 1;
    t->gc = (struct sn_trace_sums){.first_live = -1,
                                   .last_live = -1,
                                   .least_live = -1,
                                   .most_live = -1,
                                   .most_heap = -1,
                                   .first_goal = -1,
                                   .last_goal = -1,
                                   .most_goal = -1,
                                   .most_rss = -1,
                                   .percent = -1};
    return t;
}

void sn_trace_free(struct sn_trace *t)
{
    if (t == NULL)
        return;
    sn_trace_free(t->reader->others);
    sn_arena_free(t->arena);
}

const char *sn_trace_str(const struct sn_trace *t, uint32_t id)
{
    return sn_strtab_get(t->strings, id);
}

uint32_t sn_trace_name(struct sn_trace *t, struct sn_scan s)
{
    char text[SN_TRACE_NAME_MAX + 1];
    sn_scan_copy(s, text, sizeof text);
    if (sn_strtab_count(t->strings) >= t->limits.strings) {
        uint32_t id = sn_strtab_find(t->strings, text);
        if (id != SN_NONE)
            return id;
        t->lost_strings++;
        snprintf(text, sizeof text, "(others)");
    }
    return sn_strtab_add(t->strings, text);
}

/* ---- time -----------------------------------------------------------------------------
 */

int64_t sn_trace_when(struct sn_trace *t)
{
    struct sn_trace_reader *r = t->reader;
    if (r->said_ns >= 0)
        return r->said_ns;
    if (r->now_ns >= 0) {
        t->stamped = true;
        return r->now_ns;
    }
    t->ordinal = true;
    return r->ordinal++ * 1000000000;
}

/* Events before the first time that is said get that one. */
static void set_times(struct sn_trace *t, int64_t time_ns)
{
    for (uint32_t i = 0; i < t->n_gcs; i++)
        t->gcs[i].time_ns = time_ns;
    for (uint32_t i = 0; i < t->n_scavs; i++)
        t->scavs[i].time_ns = time_ns;
    for (uint32_t i = 0; i < t->n_sweeps; i++)
        t->sweeps[i].time_ns = time_ns;
    t->first_ns = t->last_ns = time_ns;
    t->ordinal = t->stamped = false;
}

void sn_trace_said(struct sn_trace *t, int64_t time_ns, int64_t *before)
{
    struct sn_trace_reader *r = t->reader;
    if (r->said_ns < 0 && (t->ordinal || t->stamped))
        set_times(t, time_ns);
    t->back += time_ns < *before;
    *before = r->said_ns = time_ns;
}

void sn_trace_event(struct sn_trace *t, int64_t time_ns)
{
    if (t->first_ns < 0 || time_ns < t->first_ns)
        t->first_ns = time_ns;
    if (time_ns > t->last_ns)
        t->last_ns = time_ns;
}

/* ---- lines ----------------------------------------------------------------------------
 */

static const struct {
    enum sn_trace_line kind;
    sn_trace_parse_fn *parse;
} parsers[] = {
    {SN_TRACE_SCHED, sn_trace_parse_sched},
    {SN_TRACE_P, sn_trace_parse_p},
    {SN_TRACE_M, sn_trace_parse_m},
    {SN_TRACE_G, sn_trace_parse_g},
    {SN_TRACE_GC, sn_trace_parse_gc},
    {SN_TRACE_GC, sn_trace_parse_old_gc},
    {SN_TRACE_SCAV, sn_trace_parse_scvg},
    {SN_TRACE_SCAV, sn_trace_parse_scav},
    {SN_TRACE_ALLOC, sn_trace_parse_alloc},
    {SN_TRACE_FREE, sn_trace_parse_free},
    {SN_TRACE_POINTER, sn_trace_parse_pointer},
    {SN_TRACE_NOTE, sn_trace_parse_note},
    {SN_TRACE_NOTE, sn_trace_parse_phases},
};

static bool may_begin(char c)
{
    return strchr(" \tSPMGgstrfpe", c) != NULL;
}

static enum sn_trace_line parse(struct sn_trace *t, struct sn_scan s)
{
    for (size_t i = 0; s.p < s.end && may_begin(*s.p) && i < SN_COUNT(parsers); i++) {
        bool stack = t->reader->in_stack;
        if (parsers[i].kind == SN_TRACE_ALLOC || parsers[i].kind == SN_TRACE_FREE)
            if (s.end - s.p > 5 && memcmp(s.p, "trace", 5) == 0)
                sn_trace_end_stack(t); /* before its state is overwritten */
        if (parsers[i].parse(t, s)) {
            if (stack && parsers[i].kind < SN_TRACE_ALLOC)
                sn_trace_end_stack(t);
            t->reader->of_thread = parsers[i].kind == SN_TRACE_M;
            return parsers[i].kind;
        }
    }
    if (sn_trace_parse_stack(t, s))
        return SN_TRACE_STACK;
    sn_trace_end_stack(t);
    t->reader->in_stacks = t->reader->of_thread = false;
    return SN_TRACE_OTHER;
}

/* Lines that say something by themselves, unlike those that belong to one before. */
static bool is_head(struct sn_scan s)
{
    static const char *const begins[] = {"SCHED ", "gc",    "scvg",      "forced scvg",
                                         "scav ",  "trace", "runtime: ", "efence: "};
    for (size_t i = 0; i < SN_COUNT(begins); i++) {
        struct sn_scan at = s;
        if (sn_scan_literal(&at, begins[i]))
            return true;
    }
    return false;
}

/* N of a last word "pid=N"; 0: none. */
static int64_t pid_of(struct sn_scan s)
{
    const char *space = memrchr(s.p, ' ', (size_t)(s.end - s.p));
    int64_t pid;
    if (space == NULL)
        return 0;
    s.p = space + 1;
    return sn_scan_literal(&s, "pid=") && sn_scan_integer(&s, &pid) && s.p == s.end ? pid
                                                                                    : 0;
}

static void note_other(struct sn_trace *t, int64_t pid)
{
    for (size_t i = 0; i < SN_COUNT(t->others); i++) {
        if (t->others[i] == 0)
            t->others[i] = pid;
        if (t->others[i] == pid)
            return;
    }
    t->more_others = true;
}

/* Read where it changes nothing, so that it is known for what it is. */
static enum sn_trace_line parse_other(struct sn_trace *t, struct sn_scan s, int64_t pid)
{
    static const struct sn_trace_limits least = {2, 64, 2, 2, 64, 64, 64, 64};
    struct sn_trace_reader *r = t->reader;
    if (r->others == NULL)
        r->others = sn_trace_new(&least);
    if (r->others == NULL)
        return SN_TRACE_OTHER;
    enum sn_trace_line kind = parse(r->others, s);
    if (kind == SN_TRACE_OTHER)
        return kind;
    t->lines_of_others++;
    if (pid > 0 || t->pid == 0)
        note_other(t, pid);
    return kind;
}

enum sn_trace_line sn_trace_line(struct sn_trace *t, const char *line, size_t n)
{
    struct sn_trace_reader *r = t->reader;
    if (n > 0 && line[n - 1] == '\r')
        n--;
    struct sn_scan s = {line, line + n};
    int64_t pid = 0;
    if (n > 0 && may_begin(*line) && is_head(s)) {
        pid = pid_of(s);
        r->of_others = pid != t->pid;
    }
    enum sn_trace_line kind = r->of_others ? parse_other(t, s, pid) : parse(t, s);
    if (!r->of_others || kind == SN_TRACE_OTHER)
        t->lines[kind]++;
    return kind;
}

/* Go prints a SCHED line piece by piece, a gc line at once; so one may begin within
 * another: "  P0: status=1 schedtick=4 m=gc 7 @0.1s 2%: ...". Where, or NULL. */
static const char *gc_within(const char *line, size_t n)
{
    const char *end = line + n;
    for (const char *p = line; (p = memchr(p, 'g', (size_t)(end - p))) != NULL; p++) {
        struct sn_scan s = {p, end};
        int64_t number;
        if (p > line && sn_scan_literal(&s, "gc ") && sn_scan_integer(&s, &number) &&
            sn_scan_literal(&s, " @"))
            return p;
    }
    return NULL;
}

struct sink {
    sn_trace_other_fn *other;
    void *to;
};

static void hand_back(const struct sink *k, const char *bytes, size_t n)
{
    if (k->other != NULL && n > 0)
        k->other(k->to, bytes, n);
}

static bool is_sched_line(const char *line, size_t n)
{
    struct sn_scan s = {line, line + n};
    sn_scan_spaces(&s);
    return sn_scan_literal(&s, "SCHED ") ||
           (s.end - s.p > 2 && strchr("PMG", *s.p) != NULL && s.p[1] >= '0' &&
            s.p[1] <= '9');
}

/* A whole line, its '\n' counted by `n_end`. */
static void take_line(struct sn_trace *t, const char *line, size_t n, size_t n_end,
                      const struct sink *k)
{
    struct sn_trace_reader *r = t->reader;
    if (r->n_held > 0) { /* this line is the rest of it */
        if (r->n_held + n <= SN_TRACE_LINE_MAX) {
            memcpy(r->held + r->n_held, line, n);
            n += r->n_held;
            line = memcpy(r->line, r->held, n);
        }
        r->n_held = 0;
    }
    const char *gc = is_sched_line(line, n) ? gc_within(line, n) : NULL;
    if (gc != NULL && sn_trace_line(t, gc, (size_t)(line + n - gc)) != SN_TRACE_OTHER) {
        r->n_held = (size_t)(gc - line);
        memcpy(r->held, line, r->n_held);
        return;
    }
    if (sn_trace_line(t, line, n) == SN_TRACE_OTHER) {
        hand_back(k, line, n);
        hand_back(k, "\n", n_end);
    }
}

/* Bytes of a line without its end. A line that is too long is read as far as it fits. */
static void add_bytes(struct sn_trace_reader *r, const char *bytes, size_t n,
                      const struct sink *k, struct sn_trace *t)
{
    if (r->skipping) {
        if (r->long_other)
            hand_back(k, bytes, n);
        return;
    }
    size_t room = SN_TRACE_LINE_MAX - r->n_line, fits = n < room ? n : room;
    memcpy(r->line + r->n_line, bytes, fits);
    r->n_line += fits;
    if (fits == n)
        return;
    size_t whole = r->n_line;
    r->n_line = 0;
    r->skipping = true;
    r->n_held = 0;
    r->long_other = sn_trace_line(t, r->line, whole) == SN_TRACE_OTHER;
    if (r->long_other) {
        hand_back(k, r->line, whole);
        hand_back(k, bytes + fits, n - fits);
    }
}

static void end_line(struct sn_trace *t, size_t n_end, const struct sink *k)
{
    struct sn_trace_reader *r = t->reader;
    if (!r->skipping)
        take_line(t, r->line, r->n_line, n_end, k);
    else if (r->long_other)
        hand_back(k, "\n", n_end);
    r->skipping = false;
    r->n_line = 0;
}

bool sn_trace_feed(struct sn_trace *t, const char *bytes, size_t n, int64_t now_ns,
                   sn_trace_other_fn *other, void *to)
{
    const struct sink k = {other, to};
    t->reader->now_ns = now_ns;
    while (n > 0) {
        const char *end = memchr(bytes, '\n', n);
        size_t part = end != NULL ? (size_t)(end - bytes) : n;
        add_bytes(t->reader, bytes, part, &k, t);
        if (end != NULL)
            end_line(t, 1, &k);
        part += end != NULL;
        bytes += part;
        n -= part;
    }
    return !sn_arena_failed(t->arena);
}

/* ---- the end --------------------------------------------------------------------------
 */

static int by_sweep_time(const void *a, const void *b)
{
    const struct sn_trace_sweep *x = a, *y = b;
    return x->time_ns != y->time_ns ? (x->time_ns > y->time_ns ? 1 : -1)
                                    : (x->first > y->first) - (x->first < y->first);
}

static int by_gc_time(const void *a, const void *b)
{
    const struct sn_trace_gc *x = a, *y = b;
    return x->time_ns != y->time_ns ? (x->time_ns > y->time_ns ? 1 : -1)
                                    : (x->number > y->number) - (x->number < y->number);
}

static int by_scav_time(const void *a, const void *b)
{
    const struct sn_trace_scav *x = a, *y = b;
    return (x->time_ns > y->time_ns) - (x->time_ns < y->time_ns);
}

bool sn_trace_finish(struct sn_trace *t, sn_trace_other_fn *other, void *to)
{
    const struct sink k = {other, to};
    struct sn_trace_reader *r = t->reader;
    if (r->n_line > 0 || r->skipping)
        end_line(t, 0, &k);
    if (r->n_held > 0) { /* its rest never came */
        size_t n = r->n_held;
        r->n_held = 0;
        if (sn_trace_line(t, r->held, n) == SN_TRACE_OTHER)
            hand_back(&k, r->held, n);
    }
    sn_trace_end_stack(t);
    if (t->n_sweeps > 1)
        qsort(t->sweeps, t->n_sweeps, sizeof *t->sweeps, by_sweep_time);
    if (t->n_gcs > 1)
        qsort(t->gcs, t->n_gcs, sizeof *t->gcs, by_gc_time);
    if (t->n_scavs > 1)
        qsort(t->scavs, t->n_scavs, sizeof *t->scavs, by_scav_time);
    return !sn_arena_failed(t->arena);
}

/* ---- questions ------------------------------------------------------------------------
 */

const char *sn_trace_state_name(enum sn_trace_state s)
{
    static const char *const names[SN_STATES] = {
        [SN_STATE_RUNNING] = "running", [SN_STATE_RUNNABLE] = "runnable",
        [SN_STATE_BLOCKED] = "blocked", [SN_STATE_SYSCALL] = "syscall",
        [SN_STATE_IDLE] = "idle",       [SN_STATE_GONE] = "gone"};
    return names[s];
}

char *sn_trace_lane_label(const struct sn_trace *t, const struct sn_trace_lane *l,
                          char *buf, size_t size)
{
    const char *name = sn_trace_str(t, l->name);
    snprintf(buf, size, "%c%lld%s%s", l->kind, (long long)l->id, *name != '\0' ? " " : "",
             name);
    return buf;
}

/* Threads that say their state, or else goroutines. */
char sn_trace_lane_kind(const struct sn_trace *t)
{
    bool threads = false;
    for (uint32_t i = 0; i < t->n_lanes; i++) {
        if (t->lanes[i].kind == 'G')
            return 'G';
        threads |= t->lanes[i].kind == 'M';
    }
    return threads ? 'M' : '\0';
}

int64_t sn_trace_interval_ns(const struct sn_trace *t)
{
    return t->n_sweeps < 2 ? 0
                           : (t->sweeps[t->n_sweeps - 1].time_ns - t->sweeps[0].time_ns) /
                                 (t->n_sweeps - 1);
}
