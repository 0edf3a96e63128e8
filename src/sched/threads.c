/*
 * threads.c: the threads of a process, by number. Dense, so that a sweep is a walk; an
 * index with open addressing finds one for a record. Removing moves the last one into the
 * gap, and shifts back what lay behind in the index, so that it has no tombs: thousands
 * of short threads leave nothing. Pages of its own.
 */
#include "sched_priv.h"

#define FIRST 64

static uint32_t home(const struct sn_threads *t, pid_t tid)
{
    return (uint32_t)sn_hash_mix((uint64_t)tid) & t->mask;
}

static void put(struct sn_threads *t, pid_t tid, uint32_t place)
{
    uint32_t at = home(t, tid);
    while (t->index[at] != 0)
        at = (at + 1) & t->mask;
    t->index[at] = place + 1;
}

static bool resize(struct sn_threads *t, uint32_t cap)
{
    struct sn_thread *v = sn_pages_map(cap * sizeof *v);
    uint32_t *index = sn_pages_map((size_t)cap * 2 * sizeof *index);
    if (v == NULL || index == NULL) {
        if (v != NULL)
            sn_pages_unmap(v, cap * sizeof *v);
        return false;
    }
    struct sn_threads old = *t;
    *t = (struct sn_threads){v, old.n, cap, index, cap * 2 - 1};
    for (uint32_t i = 0; i < old.n; i++) {
        v[i] = old.v[i];
        put(t, v[i].tid, i);
    }
    sn_threads_close(&old);
    return true;
}

bool sn_threads_open(struct sn_threads *t)
{
    *t = (struct sn_threads){0};
    return resize(t, FIRST);
}

void sn_threads_close(struct sn_threads *t)
{
    if (t->v == NULL)
        return;
    sn_pages_unmap(t->v, t->cap * sizeof *t->v);
    sn_pages_unmap(t->index, (size_t)t->cap * 2 * sizeof *t->index);
}

static uint32_t find(const struct sn_threads *t, pid_t tid)
{
    uint32_t at = home(t, tid);
    while (t->index[at] != 0 && t->v[t->index[at] - 1].tid != tid)
        at = (at + 1) & t->mask;
    return at;
}

struct sn_thread *sn_threads_find(const struct sn_threads *t, pid_t tid)
{
    uint32_t at = find(t, tid);
    return t->index[at] != 0 ? &t->v[t->index[at] - 1] : NULL;
}

struct sn_thread *sn_threads_add(struct sn_threads *t, pid_t tid)
{
    if (t->n == t->cap && (t->cap > UINT32_MAX / 8 || !resize(t, t->cap * 2)))
        return NULL;
    struct sn_thread *x = &t->v[t->n];
    *x = (struct sn_thread){.tid = tid, .cpu = -1, .on_fd = -1, .has_run = true};
    for (unsigned i = 0; i < SN_TASK_FILES; i++)
        x->files[i] = SN_NO_FD;
    put(t, tid, t->n++);
    return x;
}

/* Those behind a gap that belong before it move into it. */
static void close_gap(struct sn_threads *t, uint32_t gap)
{
    for (uint32_t at = (gap + 1) & t->mask; t->index[at] != 0; at = (at + 1) & t->mask) {
        uint32_t want = home(t, t->v[t->index[at] - 1].tid);
        if (((at - want) & t->mask) < ((at - gap) & t->mask))
            continue;
        t->index[gap] = t->index[at];
        gap = at;
    }
    t->index[gap] = 0;
}

void sn_threads_remove(struct sn_threads *t, struct sn_thread *x)
{
    uint32_t place = (uint32_t)(x - t->v), last = t->n - 1;
    close_gap(t, find(t, x->tid));
    if (place != last) {
        t->index[find(t, t->v[last].tid)] = place + 1;
        t->v[place] = t->v[last];
    }
    t->n--;
}
