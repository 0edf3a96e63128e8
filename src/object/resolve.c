/*
 * resolve.c: many addresses resolved ahead. They are put together by the unit that covers
 * them; threads take one unit after another; an address is then found by bisection.
 *
 *   vaddrs    as asked, ascending      slots[i]   where vaddrs[i] is below
 *   grouped   the same by unit         answers    one each
 *
 * An address that no unit covers has no debug information, unless some unit could not be
 * read here (verdict DW_ASK).
 */
#include "object/dw.h"

#include <pthread.h>
#include <stdatomic.h>

#define MAX_WORKERS 16
#define FOR_WORKER  ((uint64_t)256 << 10) /* bytes of units that one more is worth */

struct job { /* the addresses of a unit */
    const struct dw_unit *unit;
    uint32_t first, n;
};

struct resolved {
    struct dw dw;
    bool open, all_fit; /* all_fit: every unit can be read here */

    struct sn_arena *arena; /* of the last call; what follows is in it */
    bool inlines;
    const uint64_t *vaddrs;
    uint32_t *slots, n, last; /* last: the one asked of last */
    uint64_t *grouped;
    struct dw_answer *answers;
    struct job *jobs;
    uint32_t n_jobs;
    struct dw_worker workers[MAX_WORKERS];
    unsigned n_workers;

    atomic_uint next_job, done; /* done: addresses */
    pthread_t caller;
    void (*progress)(void *arg, size_t done);
    void *progress_arg;
};

/* ---- grouping
 * ---------------------------------------------------------------------------------
 */

/* By counting; those without a unit are last. */
static bool group(struct resolved *r)
{
    uint32_t n_units = r->dw.n_units, at = 0;
    struct job *jobs = sn_arena_alloc(r->arena, (n_units + 1u) * sizeof *jobs);
    uint32_t *unit_of = sn_arena_alloc(r->arena, r->n * sizeof *unit_of);
    r->slots = sn_arena_alloc(r->arena, r->n * sizeof *r->slots);
    r->grouped = sn_arena_alloc(r->arena, r->n * sizeof *r->grouped);
    r->answers = sn_arena_alloc(r->arena, r->n * sizeof *r->answers);
    if (sn_arena_failed(r->arena))
        return false;
    for (uint32_t i = 0; i < r->n; i++) {
        uint32_t u = spans_find(&r->dw.code, r->vaddrs[i]);
        unit_of[i] = u != SN_NONE ? u : n_units;
        jobs[unit_of[i]].n++;
    }
    for (uint32_t u = 0; u <= n_units; u++) {
        jobs[u].first = at;
        jobs[u].unit = u < n_units ? &r->dw.units[u] : NULL;
        at += jobs[u].n;
        jobs[u].n = 0;
    }
    for (uint32_t i = 0; i < r->n; i++) {
        struct job *j = &jobs[unit_of[i]];
        r->slots[i] = j->first + j->n++;
        r->grouped[r->slots[i]] = r->vaddrs[i];
    }
    r->jobs = jobs;
    for (uint32_t u = 0; u < n_units; u++)
        if (jobs[u].n > 0)
            jobs[r->n_jobs++] = jobs[u];
    for (uint32_t i = jobs[n_units].first; r->all_fit && i < r->n; i++)
        r->answers[i].verdict = DW_NONE;
    return true;
}

/* ---- working
 * ---------------------------------------------------------------------------------
 */

/* One of the threads; the caller's own tells of progress. */
static void work(void *arg, unsigned part)
{
    struct resolved *r = arg;
    bool tells = r->progress != NULL && pthread_equal(pthread_self(), r->caller);
    uint32_t i;
    while ((i = atomic_fetch_add(&r->next_job, 1)) < r->n_jobs) {
        const struct job *j = &r->jobs[i];
        dw_answer(&r->workers[part], j->unit, r->grouped + j->first,
                  r->answers + j->first, j->n);
        dw_give_back(&r->dw, j->unit);
        uint32_t done = atomic_fetch_add(&r->done, j->n) + j->n;
        if (tells)
            r->progress(r->progress_arg, done);
    }
}

/* As many as there are cores for us, and as the work is worth. */
static unsigned workers_wanted(const struct resolved *r)
{
    uint64_t bytes = 0, most = sn_cores();
    for (uint32_t i = 0; i < r->n_jobs; i++)
        bytes += r->jobs[i].unit->end - r->jobs[i].unit->offset;
    most = most < MAX_WORKERS ? most : MAX_WORKERS;
    most = most < r->n_jobs ? most : r->n_jobs;
    uint64_t worth = 1 + bytes / FOR_WORKER;
    return (unsigned)(most < worth ? most : worth);
}

static void run_jobs(struct resolved *r)
{
    unsigned wanted = workers_wanted(r);
    while (r->n_workers < wanted) {
        struct dw_worker *w = &r->workers[r->n_workers];
        *w = (struct dw_worker){.d = &r->dw, .inlines = r->inlines};
        if (!dw_worker_start(w)) {
            dw_worker_stop(w);
            break;
        }
        r->n_workers++;
    }
    if (r->n_workers > 0)
        sn_parallel(r->n_workers, work, r);
}

/* ---- asking
 * ----------------------------------------------------------------------------------
 */

static void forget(struct resolved *r)
{
    for (unsigned i = 0; i < r->n_workers; i++)
        dw_worker_stop(&r->workers[i]);
    sn_arena_free(r->arena);
    r->arena = NULL;
    r->n = r->last = r->n_jobs = r->n_workers = 0;
}

static struct resolved *resolved_of(struct sn_object *o)
{
    struct resolved *r = o->resolved;
    if (r != NULL || (r = sn_arena_alloc(o->arena, sizeof *r)) == NULL)
        return r;
    o->resolved = r;
    r->open =
        o->has_dwarf && dw_open(o, &r->dw, o->debug.elf != NULL ? &o->debug : &o->main);
    r->all_fit = r->open;
    for (uint32_t i = 0; i < r->dw.n_units; i++)
        r->all_fit &= !r->dw.units[i].unfit;
    return r;
}

void sn_object_resolve(struct sn_object *o, const uint64_t *vaddrs, uint32_t n,
                       bool inlines, void (*progress)(void *arg, size_t done), void *arg)
{
    struct resolved *r = resolved_of(o);
    if (r == NULL || !r->open)
        return;
    forget(r);
    if (n == 0 || (r->arena = sn_arena_new()) == NULL)
        return;
    uint64_t *copy = sn_arena_alloc(r->arena, n * sizeof *copy);
    if (copy == NULL)
        return;
    memcpy(copy, vaddrs, n * sizeof *copy);
    r->vaddrs = copy;
    r->n = n;
    r->inlines = inlines;
    r->caller = pthread_self();
    r->progress = progress;
    r->progress_arg = arg;
    atomic_store(&r->next_job, 0);
    atomic_store(&r->done, 0);
    if (group(r))
        run_jobs(r);
    else
        forget(r);
}

static const struct dw_answer *find(struct resolved *r, uint64_t vaddr)
{
    uint32_t lo = 0, hi = r->n;
    if (r->last < r->n && r->vaddrs[r->last] == vaddr)
        hi = (lo = r->last) + 1;
    else if (r->last < r->n && r->vaddrs[r->last] < vaddr) { /* mostly it is the next */
        lo = r->last + 1;
        hi = lo < r->n && r->vaddrs[lo] >= vaddr ? lo : hi;
    }
    lo += dw_first_from(r->vaddrs + lo, hi - lo, vaddr);
    if (lo >= r->n || r->vaddrs[lo] != vaddr)
        return NULL;
    r->last = lo;
    return &r->answers[r->slots[lo]];
}

static long by_symbol_alone(struct sn_object *o, uint64_t vaddr,
                            struct sn_object_frame *out)
{
    const char *name = symbol_name(o, vaddr);
    *out = (struct sn_object_frame){.name = name != NULL ? name : "", .file = ""};
    return name != NULL;
}

long resolved_frames(struct sn_object *o, uint64_t vaddr, bool inlines,
                     struct sn_object_frame *out, size_t max)
{
    struct resolved *r = o->resolved;
    const struct dw_answer *a =
        r != NULL && r->n > 0 && r->inlines == inlines ? find(r, vaddr) : NULL;
    if (a == NULL || a->verdict == DW_ASK)
        return -1;
    if (a->verdict == DW_NONE)
        return by_symbol_alone(o, vaddr, out);
    size_t n = a->n < max ? a->n : max;
    for (size_t i = 0; i < n; i++) {
        const struct dw_frame *f = &a->frames[i];
        out[i] =
            (struct sn_object_frame){f->name, f->file, f->line, f->column, f->start_line};
        if (f->by_symbol)
            out[i].name = name_by_symbol(o, vaddr, f->plain ? f->name : NULL);
    }
    bool something = n > 1 || out[0].name[0] != '\0' || out[0].file[0] != '\0';
    return something ? (long)n : 0;
}

bool sn_object_is_resolved(const struct sn_object *o, uint64_t vaddr)
{
    const struct dw_answer *a = o->resolved != NULL ? find(o->resolved, vaddr) : NULL;
    return a != NULL && a->verdict != DW_ASK;
}

void resolved_free(struct resolved *r)
{
    if (r == NULL)
        return;
    forget(r);
    dw_close(&r->dw);
}
