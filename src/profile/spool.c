/*
 * spool.c: from the spool (profile.h) to a profile.
 *
 * Nothing in the file is trusted: a process that went wild may have written into it, and
 * one that was killed stopped anywhere. Every offset is checked before it is followed,
 * and there cannot be more entries than fit, so that a chain that runs in a circle ends.
 * The process may still be counting: counts are read once. Needs libc alone.
 */
#include "profile_priv.h"

#include <stdio.h>
#include <time.h>

/* By enum sn_unwind_end of the room unwind; 0 is complete. */
static const char *const end_names[] = {
    NULL,
    "too deep",
    "code of no file",
    "no unwind information",
    "bad unwind information",
    "unreadable memory",
    "frames out of order",
};

static const struct sn_spool_kind_reader *const kinds[SN_SPOOL_KINDS] = {
    [SN_SPOOL_CPU] = &sn_spool_cpu_reader,
    [SN_SPOOL_HEAP] = &sn_spool_heap_reader,
    [SN_SPOOL_CUSTOM] = &sn_spool_custom_reader};

bool sn_spool_is(const void *data, size_t len)
{
    const struct sn_spool_header *h = data;
    return len >= SN_SPOOL_AT_ENTRIES && h->magic == SN_SPOOL_MAGIC && h->version == 1;
}

/* A field's text: it need not be terminated. */
static uint32_t text(struct sn_spool_reader *r, const char *field, size_t size)
{
    return sn_strtab_addn(r->p->strings, field, strnlen(field, size));
}

static const struct sn_spool_module *module_at(const struct sn_spool_reader *r,
                                               uint32_t i)
{
    return (const struct sn_spool_module *)(r->data + SN_SPOOL_AT_MODULES) + i;
}

static uint32_t hex(struct sn_spool_reader *r, const unsigned char *bytes, size_t n)
{
    char out[2 * sizeof module_at(r, 0)->build_id + 1] = "";
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    return sn_strtab_add(r->p->strings, out);
}

/* ---- mappings
 * --------------------------------------------------------------------------- */

static bool add_mapping(struct sn_spool_reader *r, const struct sn_spool_module *m)
{
    struct sn_mapping *x =
        SN_PUSH(r->p->arena, r->p->mappings, r->p->n_mappings, r->p->cap_mappings);
    if (x == NULL)
        return false;
    *x = (struct sn_mapping){.start = m->start,
                             .limit = m->limit,
                             .offset = m->offset,
                             .file = text(r, m->path, sizeof m->path)};
    r->generations[r->p->n_mappings - 1] = m->ready - 1;
    if (m->build_id_len <= sizeof m->build_id)
        x->build_id = hex(r, m->build_id, m->build_id_len);
    return true;
}

/* The program first: readers take the first mapping for it. */
static bool read_modules(struct sn_spool_reader *r)
{
    uint32_t n = r->h->n_modules < SN_SPOOL_MODULES ? r->h->n_modules : SN_SPOOL_MODULES;
    for (int program = 1; program >= 0; program--)
        for (uint32_t i = 0; i < n; i++) {
            const struct sn_spool_module *m = module_at(r, i);
            bool is = strncmp(m->path, r->h->exe, sizeof m->path) == 0;
            if (m->ready != 0 && m->start < m->limit && is == program &&
                !add_mapping(r, m))
                return false;
        }
    return true;
}

/* What was met last of what had been met by then. */
static uint32_t mapping_of(const struct sn_spool_reader *r, uint64_t pc,
                           uint32_t generation)
{
    const struct sn_profile *p = r->p;
    uint32_t found = SN_NONE;
    for (uint32_t i = 0; i < p->n_mappings; i++)
        if (pc >= p->mappings[i].start && pc < p->mappings[i].limit &&
            r->generations[i] <= generation &&
            (found == SN_NONE || r->generations[i] >= r->generations[found]))
            found = i;
    return found;
}

/* ---- samples
 * ------------------------------------------------------------------------------- */

static uint32_t location(struct sn_spool_reader *r, uint64_t pc, uint32_t generation)
{
    struct sn_profile *p = r->p;
    uint32_t mapping = mapping_of(r, pc, generation);
    uint64_t key = mapping != SN_NONE ? pc ^ (uint64_t)(mapping + 1) << 48 : pc;
    uint32_t *known = sn_map_put(r->locations, key);
    if (known == NULL || *known != SN_NONE)
        return known == NULL ? SN_NONE : *known;
    struct sn_location *l =
        SN_PUSH(p->arena, p->locations, p->n_locations, p->cap_locations);
    if (l == NULL)
        return SN_NONE;
    *l = (struct sn_location){.mapping = mapping, .address = pc};
    return *known = p->n_locations - 1;
}

bool sn_spool_add_label(struct sn_profile *p, struct sn_label label)
{
    struct sn_label *l = SN_PUSH(p->arena, p->labels, p->n_labels, p->cap_labels);
    if (l == NULL)
        return false;
    *l = label;
    p->samples[p->n_samples - 1].n_labels++;
    return true;
}

static bool add_thread(struct sn_spool_reader *r, uint32_t slot)
{
    const struct sn_spool_thread *t =
        (const struct sn_spool_thread *)(r->data + SN_SPOOL_AT_THREADS) + slot;
    if (slot == 0 || slot >= SN_SPOOL_THREADS || t->ready == 0)
        return true;
    uint32_t name = text(r, t->name, sizeof t->name);
    return (name == 0 || sn_spool_add_label(r->p, (struct sn_label){.key = r->thread_key,
                                                                    .str = name})) &&
           sn_spool_add_label(r->p, (struct sn_label){.key = r->tid_key, .num = t->tid});
}

static bool add_stack(struct sn_spool_reader *r, const struct sn_spool_entry *x,
                      struct sn_sample *s)
{
    struct sn_profile *p = r->p;
    const uint64_t *pcs = sn_spool_pcs(r->h, x);
    s->loc0 = p->n_sample_locs;
    for (uint32_t i = 0; i < x->n_pcs; i++) {
        uint32_t *l =
            SN_PUSH(p->arena, p->sample_locs, p->n_sample_locs, p->cap_sample_locs);
        if (l == NULL || (*l = location(r, pcs[i], x->generation)) == SN_NONE)
            return false;
        s->n_locs++;
    }
    return true;
}

struct sn_sample *sn_spool_add_sample(struct sn_spool_reader *r,
                                      const struct sn_spool_entry *x, const int64_t *v)
{
    struct sn_profile *p = r->p;
    struct sn_sample *s = SN_PUSH(p->arena, p->samples, p->n_samples, p->cap_samples);
    if (s == NULL)
        return NULL;
    s->label0 = p->n_labels;
    if (r->last == x) {
        s->loc0 = s[-1].loc0;
        s->n_locs = s[-1].n_locs;
    } else if (!add_stack(r, x, s)) {
        return NULL;
    }
    r->last = x;
    for (uint32_t i = 0; i < p->n_types; i++) {
        int64_t *value = SN_PUSH(p->arena, p->values, p->n_values, p->cap_values);
        if (value == NULL)
            return NULL;
        *value = v[i];
    }
    return add_thread(r, x->thread) ? s : NULL;
}

static uint64_t entry_bytes(const struct sn_spool_reader *r,
                            const struct sn_spool_entry *x)
{
    return sizeof *x + (r->h->n_values + (uint64_t)x->n_pcs) * sizeof x->values[0];
}

/* NULL where no entry can be. */
static const struct sn_spool_entry *entry_at(const struct sn_spool_reader *r,
                                             uint64_t offset)
{
    if (offset < SN_SPOOL_AT_ENTRIES || offset >= r->end ||
        r->end - offset < sizeof(struct sn_spool_entry))
        return NULL;
    const struct sn_spool_entry *x = (const void *)(r->data + offset);
    return entry_bytes(r, x) <= r->end - offset ? x : NULL;
}

static bool read_chain(struct sn_spool_reader *r, uint32_t link)
{
    while (link != 0) {
        const struct sn_spool_entry *x = entry_at(r, (uint64_t)link * 8);
        if (x == NULL || r->read >= r->end) {
            r->skipped++;
            return true;
        }
        r->read += entry_bytes(r, x);
        if (!kinds[r->h->kind]->add_entry(r, x))
            return false;
        link = __atomic_load_n(&x->next, __ATOMIC_ACQUIRE);
    }
    return true;
}

static bool read_entries(struct sn_spool_reader *r)
{
    const uint32_t *buckets = (const uint32_t *)(r->data + SN_SPOOL_AT_BUCKETS);
    uint32_t n = r->h->n_buckets;
    if (n == 0 || n > SN_SPOOL_BUCKETS)
        n = SN_SPOOL_BUCKETS;
    for (uint32_t i = 0; i < n; i++)
        if (!read_chain(r, __atomic_load_n(&buckets[i], __ATOMIC_ACQUIRE)))
            return false;
    return true;
}

/* ---- what is said of the whole
 * ---------------------------------------------------------------- */

void sn_spool_comment_loss(struct sn_spool_reader *r, const char *why, uint64_t n)
{
    if (n > 0)
        sn_profile_comment(r->p, "%s: %llu", why, (unsigned long long)n);
}

void sn_spool_comment_cut(struct sn_spool_reader *r, const uint64_t *truncated)
{
    char line[64];
    for (size_t i = 1; i < SN_COUNT(end_names); i++) {
        snprintf(line, sizeof line, "truncated, %s", end_names[i]);
        sn_spool_comment_loss(r, line, truncated[i]);
    }
}

bool sn_spool_add_type(struct sn_profile *p, const char *type, const char *unit)
{
    struct sn_value_type *t = SN_PUSH(p->arena, p->types, p->n_types, p->cap_types);
    if (t != NULL)
        *t = (struct sn_value_type){sn_strtab_add(p->strings, type),
                                    sn_strtab_add(p->strings, unit)};
    return t != NULL;
}

static void add_comments(struct sn_spool_reader *r)
{
    kinds[r->h->kind]->add_comments(r);
    sn_spool_comment_loss(r, "entries that could not be read", r->skipped);
    if (r->goes_on)
        sn_profile_comment(r->p, "written while the program ran");
    else if (r->h->state != 2)
        sn_profile_comment(r->p,
                           "the program was killed or replaced while it was recorded");
}

static uint64_t now_ns(void)
{
    struct timespec t = {0};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void add_times(const struct sn_spool_reader *r)
{
    struct sn_profile *p = r->p;
    const struct sn_spool_header *h = r->h;
    uint64_t stop = r->goes_on ? now_ns() : h->stop_mono_ns;
    if (stop == 0)
        stop = h->last_mono_ns;
    p->time_ns = h->start_real_ns <= INT64_MAX ? (int64_t)h->start_real_ns : 0;
    p->duration_ns = stop > h->start_mono_ns ? (int64_t)(stop - h->start_mono_ns) : 0;
    p->period = (int64_t)h->period;
}

static bool header_good(const struct sn_spool_header *h, size_t len, const char *where,
                        struct sn_error *e)
{
    if (!sn_spool_is(h, len))
        return sn_fail(e, where, 0, "it is no spool, or cut short");
    if (h->kind >= SN_SPOOL_KINDS || !kinds[h->kind]->n_values_good(h->n_values))
        return sn_fail(e, where, (int64_t)offsetof(struct sn_spool_header, kind),
                       "it is of a kind that is not known");
    if (h->period == 0 || h->period > kinds[h->kind]->max_period || h->scale == 0)
        return sn_fail(e, where, (int64_t)offsetof(struct sn_spool_header, period),
                       "the period is out of range");
    return true;
}

/* r->p is there. */
static bool open_reader(struct sn_spool_reader *r, size_t len)
{
    uint64_t used = __atomic_load_n(&r->h->used, __ATOMIC_ACQUIRE);
    r->end = used < len - SN_SPOOL_AT_ENTRIES ? SN_SPOOL_AT_ENTRIES + used : len;
    r->generations = sn_arena_alloc(r->p->arena, SN_SPOOL_MODULES * sizeof(uint32_t));
    r->locations = r->generations != NULL ? sn_map_new(r->p->arena) : NULL;
    return r->locations != NULL;
}

static struct sn_profile *read_spool(const void *data, size_t len, bool goes_on,
                                     const char *where, struct sn_heap_sums *sums,
                                     struct sn_error *e)
{
    struct sn_spool_reader r = {.h = data, .data = data, .goes_on = goes_on};
    if (sums != NULL)
        *sums = (struct sn_heap_sums){0};
    if (!header_good(r.h, len, where, e))
        return NULL;
    r.p = sn_profile_new();
    if (r.p != NULL && open_reader(&r, len)) {
        r.thread_key = sn_strtab_add(r.p->strings, "thread");
        r.tid_key = sn_strtab_add(r.p->strings, "thread_id");
        if (kinds[r.h->kind]->add_types(&r) && read_modules(&r) && read_entries(&r)) {
            add_comments(&r);
            add_times(&r);
            if (sums != NULL && kinds[r.h->kind]->sum != NULL)
                kinds[r.h->kind]->sum(&r, sums);
        }
    }
    if (r.locations != NULL && sn_profile_check(r.p, where, e))
        return r.p;
    sn_fail(e, where, -1, "out of memory");
    sn_profile_free(r.p);
    return NULL;
}

struct sn_profile *sn_spool_read(const void *data, size_t len, const char *where,
                                 struct sn_error *e)
{
    return read_spool(data, len, false, where, NULL, e);
}

struct sn_profile *sn_spool_read_now(const void *data, size_t len, const char *where,
                                     struct sn_error *e)
{
    return read_spool(data, len, true, where, NULL, e);
}

struct sn_profile *sn_spool_read_heap(const void *data, size_t len, const char *where,
                                      struct sn_heap_sums *sums, struct sn_error *e)
{
    return read_spool(data, len, false, where, sums, e);
}

/* ---- single stacks
 * ---------------------------------------------------------------------------- */

struct sn_spool_stacks {
    struct sn_spool_reader r;
    const char *where;
};

struct sn_spool_stacks *sn_spool_stacks_new(struct sn_profile *p, const void *data,
                                            size_t len, const char *where,
                                            struct sn_error *e)
{
    if (!header_good(data, len, where, e))
        return NULL;
    struct sn_spool_stacks *x = sn_arena_alloc(p->arena, sizeof *x);
    if (x != NULL) {
        *x = (struct sn_spool_stacks){{.h = data, .data = data, .p = p}, where};
        if (open_reader(&x->r, len) && read_modules(&x->r))
            return x;
    }
    sn_fail(e, where, -1, "out of memory");
    return NULL;
}

bool sn_spool_stack(struct sn_spool_stacks *stacks, uint64_t offset, struct sn_sample *s,
                    struct sn_error *e)
{
    struct sn_spool_reader *r = &stacks->r;
    const struct sn_spool_entry *x = entry_at(r, offset);
    *s = (struct sn_sample){0};
    if (x == NULL || r->read > r->end)
        return sn_fail(e, stacks->where, -1, "its spool has no stack at offset %llu",
                       (unsigned long long)offset);
    r->read += entry_bytes(r, x);
    return add_stack(r, x, s) || sn_fail(e, stacks->where, -1, "out of memory");
}
