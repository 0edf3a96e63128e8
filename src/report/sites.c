/*
 * sites.c: where blocks were allocated, by the innermost few frames of their stacks with
 * their lines: a short table for the end of a recording. C++'s own containers and
 * allocators are left out at the leaf, since they are the same for everybody.
 */
#include "report_priv.h"

#define FRAMES 3

struct site {
    uint32_t name; /* string id */
    int64_t bytes, objects;
};

struct sites {
    struct sn_profile *p;
    struct sn_map *index; /* by name */
    struct site *v;
    uint32_t n, cap;
};

static uint32_t find_type(const struct sn_profile *p, const char *name)
{
    for (uint32_t i = 0; i < p->n_types; i++)
        if (strcmp(sn_profile_str(p, p->types[i].type), name) == 0)
            return i;
    return SN_NONE;
}

static bool is_container(const char *function)
{
    return strncmp(function, "std::", 5) == 0 ||
           strncmp(function, "__gnu_cxx::", 11) == 0;
}

static void put_line(const struct sn_profile *p, const struct sn_line *l,
                     struct sn_buf *out)
{
    const struct sn_function *f = &p->functions[l->function];
    sn_buf_puts(out, sn_profile_str(p, f->name));
    if (f->file != 0 && l->line > 0)
        sn_buf_printf(out, " %s:%lld", sn_base_name(sn_profile_str(p, f->file)),
                      (long long)l->line);
}

static void put_nameless(const struct sn_profile *p, const struct sn_location *l,
                         struct sn_buf *out)
{
    if (l->mapping == SN_NONE) {
        sn_buf_printf(out, "0x%llx", (unsigned long long)l->address);
        return;
    }
    const struct sn_mapping *m = &p->mappings[l->mapping];
    unsigned long long at = l->address - m->start + m->offset;
    sn_buf_printf(out, "%s+0x%llx", sn_base_name(sn_profile_str(p, m->file)), at);
}

/* The frames of a location, while fewer than FRAMES are there; how many there are. What
 * is beyond main is the same for all. */
static uint32_t put_location(const struct sn_profile *p, const struct sn_location *l,
                             bool all, uint32_t there, struct sn_buf *out)
{
    bool named = false;
    for (uint32_t k = l->line0; k < l->line0 + l->n_lines && there < FRAMES; k++) {
        const struct sn_line *line = &p->lines[k];
        if (line->function == SN_NONE)
            continue;
        named = true;
        const char *function = sn_profile_str(p, p->functions[line->function].name);
        if (there == 0 && !all && is_container(function))
            continue;
        sn_buf_puts(out, there++ > 0 ? " < " : "");
        put_line(p, line, out);
        if (strcmp(function, "main") == 0)
            return FRAMES;
    }
    if (!named && there < FRAMES) {
        sn_buf_puts(out, there++ > 0 ? " < " : "");
        put_nameless(p, l, out);
    }
    return there;
}

static uint32_t name_of(struct sites *t, const struct sn_sample *s)
{
    struct sn_profile *p = t->p;
    struct sn_buf b = {.arena = p->arena};
    uint32_t there = 0;
    for (int all = 0; all < 2 && there == 0; all++)
        for (uint32_t i = 0; i < s->n_locs && there < FRAMES; i++)
            there = put_location(p, &p->locations[p->sample_locs[s->loc0 + i]], all,
                                 there, &b);
    return sn_strtab_add(p->strings, b.data != NULL ? b.data : "(not known)");
}

static void count(struct sites *t, uint32_t name, int64_t bytes, int64_t objects)
{
    uint32_t *at = sn_map_put(t->index, name);
    if (at == NULL)
        return;
    if (*at == SN_NONE) {
        struct site *x = SN_PUSH(t->p->arena, t->v, t->n, t->cap);
        if (x == NULL)
            return;
        x->name = name;
        *at = t->n - 1;
    }
    t->v[*at].bytes += bytes;
    t->v[*at].objects += objects;
}

static int by_bytes(const void *a, const void *b, void *profile)
{
    const struct site *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return strcmp(sn_profile_str(profile, x->name), sn_profile_str(profile, y->name));
}

static void put_table(const struct sites *t, uint32_t n, struct sn_buf *out)
{
    char size[64];
    sn_buf_puts(out, "     bytes     blocks  allocated by\n");
    for (uint32_t i = 0; i < t->n && i < n; i++)
        sn_buf_printf(out, "%10s %10lld  %s\n",
                      sn_unit_label(t->v[i].bytes, "bytes", "auto", size, sizeof size),
                      (long long)t->v[i].objects, sn_profile_str(t->p, t->v[i].name));
    if (t->n > n)
        sn_buf_printf(out, "                       and %u more sites\n", t->n - n);
}

bool sn_report_sites(struct sn_profile *p, const char *bytes_type,
                     const char *objects_type, uint32_t n, struct sn_buf *out,
                     struct sn_error *e)
{
    struct sites t = {.p = p, .index = sn_map_new(p->arena)};
    uint32_t bytes = find_type(p, bytes_type), objects = find_type(p, objects_type);
    if (bytes == SN_NONE || objects == SN_NONE)
        return sn_fail(e, NULL, -1, "the profile has no %s", bytes_type);
    for (uint32_t i = 0; t.index != NULL && i < p->n_samples; i++) {
        const int64_t *v = p->values + (size_t)i * p->n_types;
        if (v[bytes] > 0)
            count(&t, name_of(&t, &p->samples[i]), v[bytes], v[objects]);
    }
    if (t.n > 0)
        qsort_r(t.v, t.n, sizeof *t.v, by_bytes, p);
    put_table(&t, n, out);
    if (sn_arena_failed(p->arena))
        return sn_fail(e, NULL, -1, "out of memory");
    return sn_report_done(out, e);
}
