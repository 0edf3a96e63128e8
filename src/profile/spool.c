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

struct reader {
    const struct sn_spool_header *h;
    const unsigned char *data;
    uint64_t end; /* of the entries, in bytes from the file's start */
    struct sn_profile *p;
    struct sn_map *locations; /* of a generation: pc to index */
    uint32_t *generations;    /* of each mapping: when it was met */
    uint32_t thread_key, tid_key;
    uint64_t read; /* bytes of entries so far */
    uint64_t skipped;
};

bool sn_spool_is(const void *data, size_t len)
{
    const struct sn_spool_header *h = data;
    return len >= SN_SPOOL_AT_ENTRIES && h->magic == SN_SPOOL_MAGIC && h->version == 1;
}

/* A field's text: it need not be terminated. */
static uint32_t text(struct reader *r, const char *field, size_t size)
{
    return sn_strtab_addn(r->p->strings, field, strnlen(field, size));
}

static const struct sn_spool_module *module_at(const struct reader *r, uint32_t i)
{
    return (const struct sn_spool_module *)(r->data + SN_SPOOL_AT_MODULES) + i;
}

static uint32_t hex(struct reader *r, const unsigned char *bytes, size_t n)
{
    char out[2 * sizeof module_at(r, 0)->build_id + 1] = "";
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    return sn_strtab_add(r->p->strings, out);
}

/* ---- mappings
 * --------------------------------------------------------------------------- */

static bool add_mapping(struct reader *r, const struct sn_spool_module *m)
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
static bool read_modules(struct reader *r)
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
static uint32_t mapping_of(const struct reader *r, uint64_t pc, uint32_t generation)
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

static uint32_t location(struct reader *r, uint64_t pc, uint32_t generation)
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

static void add_label(struct reader *r, struct sn_sample *s, struct sn_label label)
{
    struct sn_profile *p = r->p;
    struct sn_label *l = SN_PUSH(p->arena, p->labels, p->n_labels, p->cap_labels);
    if (l == NULL)
        return;
    *l = label;
    s->n_labels++;
}

static void add_thread(struct reader *r, struct sn_sample *s, uint32_t slot)
{
    const struct sn_spool_thread *t =
        (const struct sn_spool_thread *)(r->data + SN_SPOOL_AT_THREADS) + slot;
    if (slot == 0 || slot >= SN_SPOOL_THREADS || t->ready == 0)
        return;
    uint32_t name = text(r, t->name, sizeof t->name);
    if (name != 0)
        add_label(r, s, (struct sn_label){.key = r->thread_key, .str = name});
    add_label(r, s, (struct sn_label){.key = r->tid_key, .num = t->tid});
}

static bool add_value(struct sn_profile *p, int64_t value)
{
    int64_t *v = SN_PUSH(p->arena, p->values, p->n_values, p->cap_values);
    if (v != NULL)
        *v = value;
    return v != NULL;
}

static bool add_sample(struct reader *r, const struct sn_spool_entry *x)
{
    struct sn_profile *p = r->p;
    uint64_t ticks = __atomic_load_n(&x->weight, __ATOMIC_RELAXED);
    if (ticks == 0 || ticks > INT64_MAX / (r->h->period_ns + 1))
        return true; /* published, not yet counted; or nonsense */
    struct sn_sample *s = SN_PUSH(p->arena, p->samples, p->n_samples, p->cap_samples);
    if (s == NULL)
        return false;
    s->loc0 = p->n_sample_locs;
    s->label0 = p->n_labels;
    for (uint32_t i = 0; i < x->n_pcs; i++) {
        uint32_t *l =
            SN_PUSH(p->arena, p->sample_locs, p->n_sample_locs, p->cap_sample_locs);
        if (l == NULL || (*l = location(r, x->pcs[i], x->generation)) == SN_NONE)
            return false;
        s->n_locs++;
    }
    add_thread(r, s, x->thread);
    return add_value(p, (int64_t)ticks) &&
           add_value(p, (int64_t)(ticks * r->h->period_ns));
}

/* NULL where no entry can be. */
static const struct sn_spool_entry *entry_at(const struct reader *r, uint64_t offset)
{
    if (offset < SN_SPOOL_AT_ENTRIES || offset >= r->end ||
        r->end - offset < sizeof(struct sn_spool_entry))
        return NULL;
    const struct sn_spool_entry *x = (const void *)(r->data + offset);
    uint64_t room = r->end - offset - sizeof *x;
    return x->n_pcs <= room / sizeof x->pcs[0] ? x : NULL;
}

static bool read_chain(struct reader *r, uint32_t link)
{
    while (link != 0) {
        const struct sn_spool_entry *x = entry_at(r, (uint64_t)link * 8);
        if (x == NULL || r->read >= r->end) {
            r->skipped++;
            return true;
        }
        r->read += sizeof *x + x->n_pcs * sizeof x->pcs[0];
        if (!add_sample(r, x))
            return false;
        link = __atomic_load_n(&x->next, __ATOMIC_ACQUIRE);
    }
    return true;
}

static bool read_entries(struct reader *r)
{
    const uint32_t *buckets = (const uint32_t *)(r->data + SN_SPOOL_AT_BUCKETS);
    for (uint32_t i = 0; i < SN_SPOOL_BUCKETS; i++)
        if (!read_chain(r, __atomic_load_n(&buckets[i], __ATOMIC_ACQUIRE)))
            return false;
    return true;
}

/* ---- what is said of the whole
 * ---------------------------------------------------------------- */

static void comment(struct reader *r, const char *words)
{
    struct sn_profile *p = r->p;
    uint32_t id = sn_strtab_add(p->strings, words);
    uint32_t *c = SN_PUSH(p->arena, p->comments, p->n_comments, p->cap_comments);
    if (c != NULL)
        *c = id;
}

static void add_loss(struct reader *r, const char *why, uint64_t n)
{
    char line[256];
    if (n == 0)
        return;
    snprintf(line, sizeof line, "%s: %llu", why, (unsigned long long)n);
    comment(r, line);
}

static void add_comments(struct reader *r)
{
    const struct sn_spool_header *h = r->h;
    char line[192];
    snprintf(line, sizeof line, "clock: %.*s, %llu Hz", (int)sizeof h->clock - 1,
             h->clock, (unsigned long long)(1000000000u / h->period_ns));
    comment(r, line);
    uint64_t lost = h->dropped[SN_DROP_FULL] + h->dropped[SN_DROP_MISSED], cut = 0;
    for (size_t i = 1; i < SN_COUNT(h->truncated); i++)
        cut += h->truncated[i];
    snprintf(line, sizeof line, "samples: %llu, lost: %llu, truncated: %llu",
             (unsigned long long)h->samples, (unsigned long long)lost,
             (unsigned long long)cut);
    comment(r, line);
    add_loss(r, "lost, the spool was full", h->dropped[SN_DROP_FULL]);
    add_loss(r,
             "lost, the thread's signal was blocked or had no room on its stack, or its "
             "clock closed",
             h->dropped[SN_DROP_MISSED]);
    add_loss(r, "threads without a clock", h->dropped[SN_DROP_THREADS]);
    for (size_t i = 1; i < SN_COUNT(end_names); i++) {
        snprintf(line, sizeof line, "truncated, %s", end_names[i]);
        add_loss(r, line, h->truncated[i]);
    }
    add_loss(r, "entries that could not be read", r->skipped);
    if (h->state != 2)
        comment(r, "the program was killed or replaced while it was recorded");
}

static bool add_types(struct sn_profile *p)
{
    uint32_t ns = sn_strtab_add(p->strings, "nanoseconds");
    struct sn_value_type cpu = {sn_strtab_add(p->strings, "cpu"), ns};
    struct sn_value_type *t = SN_PUSH(p->arena, p->types, p->n_types, p->cap_types);
    if (t == NULL)
        return false;
    *t = (struct sn_value_type){sn_strtab_add(p->strings, "samples"),
                                sn_strtab_add(p->strings, "count")};
    t = SN_PUSH(p->arena, p->types, p->n_types, p->cap_types);
    if (t == NULL)
        return false;
    *t = p->period_type = cpu;
    return true;
}

static void add_times(struct sn_profile *p, const struct sn_spool_header *h)
{
    uint64_t stop = h->stop_mono_ns != 0 ? h->stop_mono_ns : h->last_mono_ns;
    p->time_ns = h->start_real_ns <= INT64_MAX ? (int64_t)h->start_real_ns : 0;
    p->duration_ns = stop > h->start_mono_ns ? (int64_t)(stop - h->start_mono_ns) : 0;
    p->period = (int64_t)h->period_ns;
}

struct sn_profile *sn_spool_read(const void *data, size_t len, const char *where,
                                 struct sn_error *e)
{
    struct reader r = {.h = data, .data = data};
    if (!sn_spool_is(data, len)) {
        sn_fail(e, where, 0, "it is no spool, or cut short");
        return NULL;
    }
    if (r.h->period_ns == 0 || r.h->period_ns > 1000000000u) {
        sn_fail(e, where, (int64_t)offsetof(struct sn_spool_header, period_ns),
                "the period is out of range");
        return NULL;
    }
    uint64_t used = __atomic_load_n(&r.h->used, __ATOMIC_ACQUIRE);
    r.end = used < len - SN_SPOOL_AT_ENTRIES ? SN_SPOOL_AT_ENTRIES + used : len;
    r.p = sn_profile_new();
    if (r.p != NULL) {
        r.generations = sn_arena_alloc(r.p->arena, SN_SPOOL_MODULES * sizeof(uint32_t));
        r.locations = r.generations != NULL ? sn_map_new(r.p->arena) : NULL;
    }
    if (r.locations != NULL) {
        r.thread_key = sn_strtab_add(r.p->strings, "thread");
        r.tid_key = sn_strtab_add(r.p->strings, "thread_id");
        if (add_types(r.p) && read_modules(&r) && read_entries(&r)) {
            add_comments(&r);
            add_times(r.p, r.h);
        }
    }
    if (r.locations != NULL && sn_profile_check(r.p, where, e))
        return r.p;
    sn_fail(e, where, -1, "out of memory");
    sn_profile_free(r.p);
    return NULL;
}
