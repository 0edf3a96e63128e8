/*
 * merge.c: several profiles of the same sample types as one, as pprof's profile.Merge
 * does it: what is equal becomes one, in the order in which it is first met; mappings of
 * the same file at other addresses are laid over one another; samples that are all zero,
 * and what nothing refers to, are left out.
 *
 * Equal is decided on the merged profile's own indices. Each table is a hash map from a
 * key's hash to the newest element of that hash, the others chained through `next`.
 */
#include "profile_priv.h"

struct table {
    struct sn_map *newest;
    uint32_t *next;
    uint32_t n, cap;
};

struct merger {
    struct sn_profile *out;
    struct sn_arena *scratch; /* what only the merging needs */
    struct table mappings, functions, locations, samples;
    const struct sn_profile *in;
    const char *source, *own_source; /* of `in`, and the copy of it */
    /* Of `in`, by index: the merged index, SN_NONE while not met. */
    uint32_t *string_of, *mapping_of, *function_of, *location_of;
};

typedef bool same_fn(const struct sn_profile *p, uint32_t i, const void *key);

/* The element equal to `key`, or SN_NONE; then *slot is where its index goes. */
static uint32_t find(struct merger *m, struct table *t, uint64_t hash, same_fn *same,
                     const void *key, uint32_t **slot)
{
    *slot = sn_map_put(t->newest, hash);
    uint32_t i = *slot != NULL ? **slot : SN_NONE;
    while (i != SN_NONE && !same(m->out, i, key))
        i = t->next[i];
    return i;
}

static bool link_newest(struct merger *m, struct table *t, uint32_t *slot, uint32_t index)
{
    uint32_t *next = slot != NULL ? SN_PUSH(m->scratch, t->next, t->n, t->cap) : NULL;
    if (next == NULL)
        return false;
    *next = *slot;
    *slot = index;
    return true;
}

static uint64_t hash_words(uint64_t hash, const uint64_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = sn_hash_mix(hash ^ words[i]);
    return hash;
}

static uint32_t map_string(struct merger *m, uint32_t id)
{
    uint32_t *known = &m->string_of[id];
    if (*known == SN_NONE)
        *known = sn_strtab_addn(m->out->strings, sn_profile_str(m->in, id),
                                sn_strtab_len(m->in->strings, id));
    return *known;
}

/* ---- mappings
 * --------------------------------------------------------------------------- */

struct mapping_key {
    uint64_t size, offset;
    uint32_t name;      /* the build id, else the file */
    const char *server; /* of what has neither; else NULL */
};

static struct mapping_key key_of(const struct sn_mapping *x)
{
    uint64_t size = (x->limit - x->start + 0xfff) & ~(uint64_t)0xfff;
    uint32_t name = x->build_id != 0 ? x->build_id : x->file;
    return (struct mapping_key){size, x->offset, name, name == 0 ? x->source : NULL};
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_mapping(const struct sn_profile *p, uint32_t i, const void *key)
{
    const struct mapping_key *a = key, b = key_of(&p->mappings[i]);
    return a->size == b.size && a->offset == b.offset && a->name == b.name &&
           same_text(a->server, b.server);
}

/* Most mappings of a profile have the same. */
static const char *map_source(struct merger *m, const char *source)
{
    if (source != m->source) {
        m->source = source;
        m->own_source = source != NULL ? sn_arena_strdup(m->out->arena, source) : NULL;
    }
    return m->own_source;
}

static uint32_t map_mapping(struct merger *m, uint32_t i)
{
    struct sn_profile *p = m->out;
    uint32_t *known = &m->mapping_of[i], *slot;
    if (*known != SN_NONE)
        return *known;
    struct sn_mapping x = m->in->mappings[i];
    x.file = map_string(m, x.file);
    x.build_id = map_string(m, x.build_id);
    x.source = map_source(m, x.source);
    struct mapping_key key = key_of(&x);
    uint64_t words[] = {key.size, key.offset, key.name};
    *known = find(m, &m->mappings, hash_words(1, words, 3), same_mapping, &key, &slot);
    if (*known != SN_NONE) {
        struct sn_mapping *first = &p->mappings[*known];
        if (first->source == NULL) {
            first->source = x.source;
            first->source_start = x.source_start;
        }
        return *known;
    }
    struct sn_mapping *added =
        SN_PUSH(p->arena, p->mappings, p->n_mappings, p->cap_mappings);
    if (added == NULL || !link_newest(m, &m->mappings, slot, p->n_mappings - 1))
        return SN_NONE;
    *added = x;
    return *known = p->n_mappings - 1;
}

/* ---- functions and locations
 * ---------------------------------------------------------------- */

static bool same_function(const struct sn_profile *p, uint32_t i, const void *key)
{
    const struct sn_function *a = key, *b = &p->functions[i];
    return a->name == b->name && a->system_name == b->system_name && a->file == b->file &&
           a->start_line == b->start_line;
}

static uint32_t map_function(struct merger *m, uint32_t i)
{
    struct sn_profile *p = m->out;
    uint32_t *known = &m->function_of[i], *slot;
    if (*known != SN_NONE)
        return *known;
    struct sn_function x = m->in->functions[i];
    x.name = map_string(m, x.name);
    x.system_name = map_string(m, x.system_name);
    x.file = map_string(m, x.file);
    uint64_t words[] = {x.name, x.system_name, x.file, (uint64_t)x.start_line};
    *known = find(m, &m->functions, hash_words(2, words, 4), same_function, &x, &slot);
    if (*known != SN_NONE)
        return *known;
    struct sn_function *added =
        SN_PUSH(p->arena, p->functions, p->n_functions, p->cap_functions);
    if (added == NULL || !link_newest(m, &m->functions, slot, p->n_functions - 1))
        return SN_NONE;
    *added = x;
    return *known = p->n_functions - 1;
}

/* Of two locations of the merged profile, whose lines are there already. */
static bool same_location(const struct sn_profile *p, uint32_t i, const void *key)
{
    const struct sn_location *a = key, *b = &p->locations[i];
    return a->mapping == b->mapping && a->address == b->address &&
           a->folded == b->folded && a->n_lines == b->n_lines &&
           (a->n_lines == 0 || memcmp(p->lines + a->line0, p->lines + b->line0,
                                      a->n_lines * sizeof *p->lines) == 0);
}

static bool add_lines(struct merger *m, struct sn_location *x, uint64_t *hash)
{
    struct sn_profile *p = m->out;
    const struct sn_line *from = m->in->lines + x->line0;
    x->line0 = p->n_lines;
    for (uint32_t k = 0; k < x->n_lines; k++) {
        struct sn_line *l = SN_PUSH(p->arena, p->lines, p->n_lines, p->cap_lines);
        if (l == NULL)
            return false;
        *l = from[k];
        if (l->function != SN_NONE)
            l->function = map_function(m, l->function);
        uint64_t words[] = {l->function, (uint64_t)l->line, (uint64_t)l->column};
        *hash = hash_words(*hash, words, 3);
    }
    return true;
}

static uint32_t map_location(struct merger *m, uint32_t i)
{
    struct sn_profile *p = m->out;
    uint32_t *known = &m->location_of[i], *slot;
    if (*known != SN_NONE)
        return *known;
    struct sn_location x = m->in->locations[i];
    if (x.mapping != SN_NONE) {
        uint64_t start = m->in->mappings[x.mapping].start;
        x.mapping = map_mapping(m, x.mapping);
        if (x.mapping == SN_NONE)
            return SN_NONE;
        x.address += p->mappings[x.mapping].start - start;
    }
    uint64_t words[] = {x.mapping, x.address, x.folded}, hash = hash_words(3, words, 3);
    if (!add_lines(m, &x, &hash))
        return SN_NONE;
    *known = find(m, &m->locations, hash, same_location, &x, &slot);
    if (*known != SN_NONE) {
        p->n_lines = x.line0; /* there already */
        return *known;
    }
    struct sn_location *added =
        SN_PUSH(p->arena, p->locations, p->n_locations, p->cap_locations);
    if (added == NULL || !link_newest(m, &m->locations, slot, p->n_locations - 1))
        return SN_NONE;
    *added = x;
    return *known = p->n_locations - 1;
}

/* ---- samples
 * -------------------------------------------------------------------------------------
 */

static bool same_sample(const struct sn_profile *p, uint32_t i, const void *key)
{
    const struct sn_sample *a = key, *b = &p->samples[i];
    return a->n_locs == b->n_locs && a->n_labels == b->n_labels &&
           memcmp(p->sample_locs + a->loc0, p->sample_locs + b->loc0,
                  a->n_locs * sizeof *p->sample_locs) == 0 &&
           memcmp(p->labels + a->label0, p->labels + b->label0,
                  a->n_labels * sizeof *p->labels) == 0;
}

/* Labels of one key keep their order, as it has a meaning to readers. */
static void sort_labels(struct sn_label *v, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = i; k > 0 && v[k - 1].key > v[k].key; k--) {
            struct sn_label moved = v[k];
            v[k] = v[k - 1];
            v[k - 1] = moved;
        }
}

static bool add_labels(struct merger *m, struct sn_sample *x, uint64_t *hash)
{
    struct sn_profile *p = m->out;
    const struct sn_label *from = m->in->labels + x->label0;
    x->label0 = p->n_labels;
    for (uint32_t k = 0; k < x->n_labels; k++) {
        struct sn_label *l = SN_PUSH(p->arena, p->labels, p->n_labels, p->cap_labels);
        if (l == NULL)
            return false;
        l->key = map_string(m, from[k].key);
        l->str = map_string(m, from[k].str);
        l->num = from[k].num;
        l->num_unit = map_string(m, from[k].num_unit);
    }
    sort_labels(p->labels + x->label0, x->n_labels);
    for (uint32_t k = x->label0; k < p->n_labels; k++) {
        const struct sn_label *l = &p->labels[k];
        uint64_t words[] = {l->key, l->str, (uint64_t)l->num, l->num_unit};
        *hash = hash_words(*hash, words, 4);
    }
    return true;
}

/* There is room: reserve_samples. */
static bool add_locs(struct merger *m, struct sn_sample *x, uint64_t *hash)
{
    struct sn_profile *p = m->out;
    const uint32_t *from = m->in->sample_locs + x->loc0;
    uint64_t h = *hash;
    x->loc0 = p->n_sample_locs;
    for (uint32_t k = 0; k < x->n_locs; k++) {
        uint32_t l = m->location_of[from[k]];
        if (l == SN_NONE && (l = map_location(m, from[k])) == SN_NONE)
            return false;
        p->sample_locs[p->n_sample_locs++] = l;
        h = (h ^ l) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    *hash = sn_hash_mix(h);
    return true;
}

static void add_values(struct sn_profile *p, uint32_t sample, const int64_t *from)
{
    int64_t *v = p->values + (size_t)sample * p->n_types;
    for (uint32_t t = 0; t < p->n_types; t++) /* wraps, as pprof's does */
        v[t] = (int64_t)((uint64_t)v[t] + (uint64_t)from[t]);
}

static bool add_zeros(struct sn_profile *p)
{
    for (uint32_t t = 0; t < p->n_types; t++)
        if (SN_PUSH(p->arena, p->values, p->n_values, p->cap_values) == NULL)
            return false;
    return true;
}

static bool is_zero(const int64_t *v, uint32_t n)
{
    while (n > 0 && v[n - 1] == 0)
        n--;
    return n == 0;
}

static bool map_sample(struct merger *m, uint32_t i)
{
    struct sn_profile *p = m->out;
    struct sn_sample x = m->in->samples[i];
    const int64_t *values = m->in->values + (size_t)i * m->in->n_types;
    uint64_t hash = 4;
    uint32_t *slot;
    if (is_zero(values, p->n_types))
        return true;
    if (!add_locs(m, &x, &hash) || !add_labels(m, &x, &hash))
        return false;
    uint32_t known = find(m, &m->samples, hash, same_sample, &x, &slot);
    if (known != SN_NONE) {
        p->n_sample_locs = x.loc0; /* there already */
        p->n_labels = x.label0;
        add_values(p, known, values);
        return true;
    }
    struct sn_sample *added = SN_PUSH(p->arena, p->samples, p->n_samples, p->cap_samples);
    if (added == NULL || !link_newest(m, &m->samples, slot, p->n_samples - 1) ||
        !add_zeros(p))
        return false;
    *added = x;
    add_values(p, p->n_samples - 1, values);
    return true;
}

/* ---- the whole
 * ------------------------------------------------------------------------------------ */

static bool same_type(const struct sn_profile *a, struct sn_value_type x,
                      const struct sn_profile *b, struct sn_value_type y)
{
    return strcmp(sn_profile_str(a, x.type), sn_profile_str(b, y.type)) == 0 &&
           strcmp(sn_profile_str(a, x.unit), sn_profile_str(b, y.unit)) == 0;
}

static bool compatible(const struct sn_profile *a, const struct sn_profile *b)
{
    if (a->n_types != b->n_types || !same_type(a, a->period_type, b, b->period_type))
        return false;
    for (uint32_t t = 0; t < a->n_types; t++)
        if (!same_type(a, a->types[t], b, b->types[t]))
            return false;
    return true;
}

static struct sn_value_type map_type(struct merger *m, struct sn_value_type t)
{
    return (struct sn_value_type){map_string(m, t.type), map_string(m, t.unit)};
}

static bool first_header(struct merger *m)
{
    struct sn_profile *p = m->out;
    for (uint32_t t = 0; t < m->in->n_types; t++) {
        struct sn_value_type *x = SN_PUSH(p->arena, p->types, p->n_types, p->cap_types);
        if (x == NULL)
            return false;
        *x = map_type(m, m->in->types[t]);
    }
    p->period_type = map_type(m, m->in->period_type);
    p->drop_frames = map_string(m, m->in->drop_frames);
    p->keep_frames = map_string(m, m->in->keep_frames);
    return true;
}

static bool add_comment(struct merger *m, uint32_t text)
{
    struct sn_profile *p = m->out;
    for (uint32_t i = 0; i < p->n_comments; i++)
        if (p->comments[i] == text)
            return true;
    uint32_t *c = SN_PUSH(p->arena, p->comments, p->n_comments, p->cap_comments);
    if (c != NULL)
        *c = text;
    return c != NULL;
}

static bool merge_header(struct merger *m)
{
    struct sn_profile *p = m->out;
    const struct sn_profile *in = m->in;
    if (p->n_types == 0 && !first_header(m))
        return false;
    if (p->time_ns == 0 || in->time_ns < p->time_ns)
        p->time_ns = in->time_ns;
    p->duration_ns = (int64_t)((uint64_t)p->duration_ns + (uint64_t)in->duration_ns);
    if (p->period == 0 || p->period < in->period)
        p->period = in->period;
    if (p->default_sample_type == 0)
        p->default_sample_type = map_string(m, in->default_sample_type);
    if (p->doc_url == 0)
        p->doc_url = map_string(m, in->doc_url);
    for (uint32_t i = 0; i < in->n_comments; i++)
        if (!add_comment(m, map_string(m, in->comments[i])))
            return false;
    return true;
}

/* An array of n indices, none of them known yet. */
static uint32_t *unknown(struct sn_arena *a, uint32_t n)
{
    uint32_t *v = sn_arena_alloc(a, (size_t)n * sizeof *v + 1);
    if (v != NULL)
        memset(v, 0xff, (size_t)n * sizeof *v);
    return v;
}

static bool merge_one(struct merger *m, const struct sn_profile *in)
{
    struct sn_arena *a = m->scratch;
    m->in = in;
    m->source = m->own_source = NULL; /* of another arena may be at the same address */
    m->string_of = unknown(a, sn_strtab_count(in->strings));
    m->mapping_of = unknown(a, in->n_mappings);
    m->function_of = unknown(a, in->n_functions);
    m->location_of = unknown(a, in->n_locations);
    if (sn_arena_failed(a) || !merge_header(m))
        return false;
    /* The first mapping is the program: it stays first. */
    if (m->out->n_mappings == 0 && in->n_mappings > 0 && map_mapping(m, 0) == SN_NONE)
        return false;
    for (uint32_t i = 0; i < in->n_samples; i++)
        if (!map_sample(m, i))
            return false;
    return true;
}

static bool is_too_many(uint64_t n)
{
    return n >= SN_NONE;
}

/* As many as all have, since that is the most there can be. */
static bool reserve_samples(struct merger *m, struct sn_profile *const *v, size_t n)
{
    struct sn_profile *p = m->out;
    uint64_t samples = 0, locs = 0;
    for (size_t i = 0; i < n; i++) {
        samples += v[i]->n_samples;
        locs += sn_profile_frames(v[i]);
    }
    if (is_too_many(samples) || is_too_many(locs) || is_too_many(samples * v[0]->n_types))
        return false;
    p->samples = sn_arena_alloc(p->arena, samples * sizeof *p->samples);
    p->sample_locs = sn_arena_alloc(p->arena, locs * sizeof *p->sample_locs);
    p->values = sn_arena_alloc(p->arena, samples * v[0]->n_types * sizeof *p->values);
    p->cap_samples = (uint32_t)samples;
    p->cap_sample_locs = (uint32_t)locs;
    p->cap_values = (uint32_t)(samples * v[0]->n_types);
    return !sn_arena_failed(p->arena);
}

static bool open_tables(struct merger *m)
{
    struct table *all[] = {&m->mappings, &m->functions, &m->locations, &m->samples};
    for (size_t i = 0; i < SN_COUNT(all); i++)
        if ((all[i]->newest = sn_map_new(m->scratch)) == NULL)
            return false;
    return true;
}

static bool has_zero(const struct sn_profile *p)
{
    for (uint32_t i = 0; i < p->n_samples; i++)
        if (is_zero(p->values + (size_t)i * p->n_types, p->n_types))
            return true;
    return false;
}

/* Once more, without the samples that have become nothing, and what only they had. */
static struct sn_profile *without_zeros(struct sn_profile *p, struct sn_error *e)
{
    if (!has_zero(p))
        return p;
    struct sn_profile *rest = sn_profile_merge(&p, 1, e);
    sn_profile_free(p);
    return rest;
}

struct sn_profile *sn_profile_merge(struct sn_profile *const *v, size_t n,
                                    struct sn_error *e)
{
    struct merger m = {.out = sn_profile_new(), .scratch = sn_arena_new()};
    bool good = m.out != NULL && m.scratch != NULL && open_tables(&m) &&
                reserve_samples(&m, v, n);
    for (size_t i = 0; good && i < n; i++)
        good =
            compatible(v[0], v[i])
                ? merge_one(&m, v[i])
                : sn_fail(e, NULL, -1,
                          "profile %zu has other sample types, or another period", i + 1);
    sn_arena_free(m.scratch);
    if (good && sn_profile_check(m.out, NULL, e))
        return without_zeros(m.out, e);
    sn_fail(e, NULL, -1, "out of memory");
    sn_profile_free(m.out);
    return NULL;
}
