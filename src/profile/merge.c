/*
 * merge.c: several profiles of the same sample types as one, as pprof's profile.Merge
 * does it: what is equal becomes one, in the order in which it is first met; mappings of
 * the same file at other addresses are laid over one another; samples that are all zero,
 * and what nothing refers to, are left out.
 *
 * Equal is decided on the merged profile's own indices, by a hash table for each kind of
 * element. What a profile refers to many times is looked up once: arrays by its indices
 * say what became of it.
 */
#include "profile_priv.h"
#include "table.h"

#define EXPECTED_MOST 64 /* profiles for which room is made at once */

struct sn_merger {
    unsigned expected, n_added; /* profiles */
    struct sn_profile *out;
    struct sn_arena *scratch; /* what only the merging needs */
    bool failed;              /* no memory */
    bool only_known;          /* nothing is added: what is not there has SN_NONE */
    struct table mappings, functions, locations, samples;
    const struct sn_profile *in;
    const char *source, *own_source; /* of `in`, and the copy of it */
    /* Of `in`, by index: the merged index, SN_NONE while not met. */
    uint32_t *string_of, *mapping_of, *function_of, *location_of;
};

static inline uint64_t hash_word(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t hash_words(uint64_t hash, const uint64_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = hash_word(hash, words[i]);
    return sn_hash_mix(hash);
}

static uint32_t map_string(struct sn_merger *m, uint32_t id)
{
    uint32_t *known = &m->string_of[id];
    const char *text = sn_profile_str(m->in, id);
    size_t n = sn_strtab_len(m->in->strings, id);
    if (*known == SN_NONE)
        *known = m->only_known ? sn_strtab_findn(m->out->strings, text, n)
                               : sn_strtab_addn(m->out->strings, text, n);
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

static bool same_mapping(const void *merger, uint32_t i, const void *key)
{
    const struct sn_merger *m = merger;
    const struct mapping_key *a = key, b = key_of(&m->out->mappings[i]);
    return a->size == b.size && a->offset == b.offset && a->name == b.name &&
           same_text(a->server, b.server);
}

/* Most mappings of a profile have the same. */
static const char *map_source(struct sn_merger *m, const char *source)
{
    if (source != m->source) {
        m->source = source;
        m->own_source = source != NULL ? sn_arena_strdup(m->out->arena, source) : NULL;
    }
    return m->own_source;
}

static uint32_t map_mapping(struct sn_merger *m, uint32_t i)
{
    struct sn_profile *p = m->out;
    uint32_t *known = &m->mapping_of[i];
    struct entry *at;
    if (*known != SN_NONE)
        return *known;
    struct sn_mapping x = m->in->mappings[i];
    x.file = map_string(m, x.file);
    x.build_id = map_string(m, x.build_id);
    if (x.file == SN_NONE || x.build_id == SN_NONE)
        return SN_NONE;
    x.source = map_source(m, x.source);
    struct mapping_key key = key_of(&x);
    const uint64_t words[] = {key.size, key.offset, key.name};
    uint64_t hash = hash_words(1, words, 3);
    *known = table_find(&m->mappings, hash, same_mapping, m, &key, &at);
    if (*known != SN_NONE) {
        struct sn_mapping *first = &p->mappings[*known];
        if (first->source == NULL) {
            first->source = x.source;
            first->source_start = x.source_start;
        }
        return *known;
    }
    if (m->only_known)
        return SN_NONE;
    struct sn_mapping *added =
        SN_PUSH(p->arena, p->mappings, p->n_mappings, p->cap_mappings);
    if (added == NULL || !table_put(&m->mappings, at, hash, p->n_mappings - 1))
        return SN_NONE;
    *added = x;
    return *known = p->n_mappings - 1;
}

/* ---- functions and locations
 * ---------------------------------------------------------------- */

static bool same_function(const void *merger, uint32_t i, const void *key)
{
    const struct sn_merger *m = merger;
    const struct sn_function *a = key, *b = &m->out->functions[i];
    return a->name == b->name && a->system_name == b->system_name && a->file == b->file &&
           a->start_line == b->start_line;
}

static uint32_t map_function(struct sn_merger *m, uint32_t i)
{
    struct sn_profile *p = m->out;
    uint32_t *known = &m->function_of[i];
    struct entry *at;
    if (*known != SN_NONE)
        return *known;
    struct sn_function x = m->in->functions[i];
    x.name = map_string(m, x.name);
    x.system_name = map_string(m, x.system_name);
    x.file = map_string(m, x.file);
    if (x.name == SN_NONE || x.system_name == SN_NONE || x.file == SN_NONE)
        return SN_NONE;
    const uint64_t words[] = {x.name, x.system_name, x.file, (uint64_t)x.start_line};
    uint64_t hash = hash_words(2, words, 4);
    *known = table_find(&m->functions, hash, same_function, m, &x, &at);
    if (*known != SN_NONE || m->only_known)
        return *known;
    struct sn_function *added =
        SN_PUSH(p->arena, p->functions, p->n_functions, p->cap_functions);
    if (added == NULL || !table_put(&m->functions, at, hash, p->n_functions - 1))
        return SN_NONE;
    *added = x;
    return *known = p->n_functions - 1;
}

/* A line as it is in the merged profile, whose function has been met. */
static struct sn_line merged_line(const struct sn_merger *m, uint32_t i)
{
    struct sn_line l = m->in->lines[i];
    if (l.function != SN_NONE)
        l.function = m->function_of[l.function];
    return l;
}

/* Is that one of the merged profile this one of `in`, whose mapping and address are the
 * merged profile's already? */
static bool same_location(const void *merger, uint32_t i, const void *key)
{
    const struct sn_merger *m = merger;
    const struct sn_location *a = key, *b = &m->out->locations[i];
    bool same = a->address == b->address && a->mapping == b->mapping &&
                a->folded == b->folded && a->n_lines == b->n_lines;
    for (uint32_t k = 0; same && k < a->n_lines; k++) {
        struct sn_line x = merged_line(m, a->line0 + k), y = m->out->lines[b->line0 + k];
        same = x.function == y.function && x.line == y.line && x.column == y.column;
    }
    return same;
}

/* Its lines' functions are met. False: one is not (no memory, or not known). */
static bool hash_location(struct sn_merger *m, const struct sn_location *x,
                          uint64_t *hash)
{
    uint64_t h = hash_word(hash_word(3, x->mapping), x->address);
    h = hash_word(h, x->folded);
    for (uint32_t k = x->line0; k < x->line0 + x->n_lines; k++) {
        struct sn_line l = m->in->lines[k];
        if (l.function != SN_NONE &&
            (l.function = map_function(m, l.function)) == SN_NONE)
            return false;
        h = hash_word(h, l.function);
        h = hash_word(h, (uint64_t)l.line ^ (uint64_t)l.column << 32);
    }
    *hash = sn_hash_mix(h);
    return true;
}

/* Such a location is new: its lines become the merged profile's. */
static bool add_location(struct sn_merger *m, const struct sn_location *x)
{
    struct sn_profile *p = m->out;
    struct sn_location *added =
        SN_PUSH(p->arena, p->locations, p->n_locations, p->cap_locations);
    if (added == NULL)
        return false;
    *added = *x;
    added->line0 = p->n_lines;
    for (uint32_t k = 0; k < x->n_lines; k++) {
        struct sn_line *l = SN_PUSH(p->arena, p->lines, p->n_lines, p->cap_lines);
        if (l == NULL)
            return false;
        *l = merged_line(m, x->line0 + k);
    }
    return true;
}

/* A location of `in` with the merged profile's mapping and address, and its hash. False:
 * likewise. */
static bool place_location(struct sn_merger *m, uint32_t i, struct sn_location *x,
                           uint64_t *hash)
{
    *x = m->in->locations[i];
    if (x->mapping != SN_NONE) {
        uint64_t start = m->in->mappings[x->mapping].start;
        x->mapping = map_mapping(m, x->mapping);
        if (x->mapping == SN_NONE)
            return false;
        x->address += m->out->mappings[x->mapping].start - start;
    }
    return hash_location(m, x, hash);
}

static uint32_t map_location(struct sn_merger *m, uint32_t i)
{
    struct sn_profile *p = m->out;
    uint32_t *known = &m->location_of[i];
    struct sn_location x;
    struct entry *at;
    uint64_t hash;
    if (*known != SN_NONE)
        return *known;
    if (!place_location(m, i, &x, &hash))
        return SN_NONE;
    *known = table_find(&m->locations, hash, same_location, m, &x, &at);
    if (*known != SN_NONE)
        return *known;
    if (!add_location(m, &x) || !table_put(&m->locations, at, hash, p->n_locations - 1))
        return SN_NONE;
    return *known = p->n_locations - 1;
}

/* ---- what is known already ------------------------------------------------------------
 *
 * Most locations of a profile are those of the ones before. In the order of the samples
 * each takes three looks into memory that is in no cache, one after the other; in the
 * order of their own table, many at a time, the looks are under way together.
 */

#define TOGETHER 32

struct looked_up {
    struct sn_location x;
    uint64_t hash;
    bool is_placed;
};

static const struct entry *entry_of(const struct sn_merger *m, uint64_t hash)
{
    return &m->locations.v[hash & m->locations.mask];
}

static void find_locations(struct sn_merger *m, uint32_t from, uint32_t n)
{
    const struct sn_profile *p = m->out;
    struct looked_up v[TOGETHER];
    struct entry *at;
    for (uint32_t k = 0; k < n; k++) {
        v[k].is_placed = place_location(m, from + k, &v[k].x, &v[k].hash);
        if (v[k].is_placed)
            __builtin_prefetch(entry_of(m, v[k].hash));
    }
    for (uint32_t k = 0; k < n; k++)
        if (v[k].is_placed && entry_of(m, v[k].hash)->index != 0)
            __builtin_prefetch(&p->locations[entry_of(m, v[k].hash)->index - 1]);
    for (uint32_t k = 0; k < n; k++)
        if (v[k].is_placed && entry_of(m, v[k].hash)->index != 0)
            __builtin_prefetch(
                &p->lines[p->locations[entry_of(m, v[k].hash)->index - 1].line0]);
    for (uint32_t k = 0; k < n; k++)
        if (v[k].is_placed)
            m->location_of[from + k] =
                table_find(&m->locations, v[k].hash, same_location, m, &v[k].x, &at);
}

static void find_known(struct sn_merger *m)
{
    uint32_t n = m->in->n_locations;
    m->only_known = true;
    for (uint32_t i = 0; i < m->in->n_functions; i++)
        map_function(m, i);
    for (uint32_t i = 0; i < n; i += TOGETHER)
        find_locations(m, i, n - i < TOGETHER ? n - i : TOGETHER);
    m->only_known = false;
}

/* ---- samples
 * -------------------------------------------------------------------------------------
 */

static bool same_sample(const void *merger, uint32_t i, const void *key)
{
    const struct sn_merger *m = merger;
    const struct sn_profile *p = m->out;
    const struct sn_sample *a = key, *b = &p->samples[i];
    return a->n_locs == b->n_locs && a->n_labels == b->n_labels &&
           (a->n_locs == 0 || memcmp(p->sample_locs + a->loc0, p->sample_locs + b->loc0,
                                     a->n_locs * sizeof *p->sample_locs) == 0) &&
           (a->n_labels == 0 || memcmp(p->labels + a->label0, p->labels + b->label0,
                                       a->n_labels * sizeof *p->labels) == 0);
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

static bool add_labels(struct sn_merger *m, struct sn_sample *x, uint64_t *hash)
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
        const uint64_t words[] = {l->key, l->str, (uint64_t)l->num, l->num_unit};
        *hash = hash_words(*hash, words, 4);
    }
    return true;
}

/* There is room: make_room. */
static bool add_locs(struct sn_merger *m, struct sn_sample *x, uint64_t *hash)
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
        h = hash_word(h, l);
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

static bool map_sample(struct sn_merger *m, uint32_t i)
{
    struct sn_profile *p = m->out;
    struct sn_sample x = m->in->samples[i];
    const int64_t *values = m->in->values + (size_t)i * m->in->n_types;
    uint64_t hash = 4;
    struct entry *at;
    if (is_zero(values, p->n_types))
        return true;
    if (!add_locs(m, &x, &hash) || !add_labels(m, &x, &hash))
        return false;
    uint32_t known = table_find(&m->samples, hash, same_sample, m, &x, &at);
    if (known != SN_NONE) {
        p->n_sample_locs = x.loc0; /* there already */
        p->n_labels = x.label0;
        add_values(p, known, values);
        return true;
    }
    struct sn_sample *added = SN_PUSH(p->arena, p->samples, p->n_samples, p->cap_samples);
    if (added == NULL || !add_zeros(p) ||
        !table_put(&m->samples, at, hash, p->n_samples - 1))
        return false;
    *added = x;
    add_values(p, p->n_samples - 1, values);
    return true;
}

/* ---- what is said of the whole --------------------------------------------------------
 */

static bool same_type(const struct sn_profile *a, struct sn_value_type x,
                      const struct sn_profile *b, struct sn_value_type y)
{
    return strcmp(sn_profile_str(a, x.type), sn_profile_str(b, y.type)) == 0 &&
           strcmp(sn_profile_str(a, x.unit), sn_profile_str(b, y.unit)) == 0;
}

bool sn_merger_fits(const struct sn_merger *m, const struct sn_profile *p)
{
    const struct sn_profile *first = m->out;
    bool fits =
        m->n_added == 0 || (first->n_types == p->n_types &&
                            same_type(first, first->period_type, p, p->period_type));
    for (uint32_t t = 0; fits && t < first->n_types; t++)
        fits = same_type(first, first->types[t], p, p->types[t]);
    return fits;
}

static struct sn_value_type map_type(struct sn_merger *m, struct sn_value_type t)
{
    return (struct sn_value_type){map_string(m, t.type), map_string(m, t.unit)};
}

static bool first_header(struct sn_merger *m)
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

static bool add_comment(struct sn_merger *m, uint32_t text)
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

static bool merge_header(struct sn_merger *m)
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

/* For `more` elements at least: at first for as many from each profile to come, since
 * pages that are not used cost nothing. */
static bool make_room(struct sn_merger *m, void **v, uint32_t n, uint32_t *cap,
                      uint64_t more, size_t size)
{
    uint64_t need = n + more, wanted = *cap == 0 ? more * m->expected : *cap + *cap / 2;
    return need <= *cap || sn_array_grow(m->out->arena, v, cap, need, wanted, size);
}

static bool make_rooms(struct sn_merger *m)
{
    struct sn_profile *p = m->out;
    const struct sn_profile *in = m->in;
    return make_room(m, (void **)&p->samples, p->n_samples, &p->cap_samples,
                     in->n_samples, sizeof *p->samples) &&
           make_room(m, (void **)&p->values, p->n_values, &p->cap_values, in->n_values,
                     sizeof *p->values) &&
           make_room(m, (void **)&p->sample_locs, p->n_sample_locs, &p->cap_sample_locs,
                     sn_profile_frames(in), sizeof *p->sample_locs) &&
           make_room(m, (void **)&p->locations, p->n_locations, &p->cap_locations,
                     in->n_locations, sizeof *p->locations) &&
           make_room(m, (void **)&p->lines, p->n_lines, &p->cap_lines, in->n_lines,
                     sizeof *p->lines);
}

static bool open_tables(struct sn_merger *m)
{
    return table_open(&m->mappings, m->scratch, 0) &&
           table_open(&m->functions, m->scratch, m->in->n_functions) &&
           table_open(&m->locations, m->scratch, m->in->n_locations) &&
           table_open(&m->samples, m->scratch, m->in->n_samples);
}

static bool add(struct sn_merger *m, struct sn_arena *a)
{
    const struct sn_profile *in = m->in;
    m->source = m->own_source = NULL; /* of another arena may be at the same address */
    m->string_of = unknown(a, sn_strtab_count(in->strings));
    m->mapping_of = unknown(a, in->n_mappings);
    m->function_of = unknown(a, in->n_functions);
    m->location_of = unknown(a, in->n_locations);
    if (sn_arena_failed(a) || (m->n_added == 0 && !open_tables(m)) || !make_rooms(m) ||
        !merge_header(m))
        return false;
    /* The first mapping is the program: it stays first. */
    if (m->out->n_mappings == 0 && in->n_mappings > 0 && map_mapping(m, 0) == SN_NONE)
        return false;
    if (m->n_added > 0)
        find_known(m);
    for (uint32_t i = 0; i < in->n_samples; i++)
        if (!map_sample(m, i))
            return false;
    return true;
}

/* ---- the whole
 * ------------------------------------------------------------------------------------ */

static void close_merger(struct sn_merger *m)
{
    sn_arena_free(m->scratch);
    free(m);
}

struct sn_merger *sn_merger_new(unsigned expected)
{
    struct sn_merger *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->expected = expected < 1 ? 1 : expected > EXPECTED_MOST ? EXPECTED_MOST : expected;
    m->out = sn_profile_new();
    m->scratch = sn_arena_new();
    if (m->out != NULL && m->scratch != NULL)
        return m;
    sn_profile_free(m->out);
    close_merger(m);
    return NULL;
}

void sn_merger_add(struct sn_merger *m, const struct sn_profile *p)
{
    struct sn_arena *a = sn_arena_new();
    m->in = p;
    m->failed |= a == NULL || m->failed || !add(m, a);
    m->n_added++;
    sn_arena_free(a);
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

struct sn_profile *sn_merger_end(struct sn_merger *m, struct sn_error *e)
{
    struct sn_profile *p = m->out;
    bool good = !m->failed;
    close_merger(m);
    if (good && sn_profile_check(p, NULL, e))
        return without_zeros(p, e);
    sn_fail(e, NULL, -1, "out of memory");
    sn_profile_free(p);
    return NULL;
}

/* `gone`: each may go when it has been added. */
static struct sn_profile *merge(struct sn_profile *const *v, size_t n, bool gone,
                                struct sn_error *e)
{
    struct sn_merger *m = sn_merger_new(n < EXPECTED_MOST ? (unsigned)n : EXPECTED_MOST);
    size_t i = 0;
    for (; m != NULL && i < n && sn_merger_fits(m, v[i]); i++) {
        sn_merger_add(m, v[i]);
        if (gone)
            sn_profile_free(v[i]);
    }
    if (m == NULL)
        sn_fail(e, NULL, -1, "out of memory");
    else if (i < n)
        sn_fail(e, NULL, -1, "profile %zu has other sample types, or another period",
                i + 1);
    struct sn_profile *merged = m != NULL ? sn_merger_end(m, e) : NULL;
    for (size_t k = i; gone && k < n; k++)
        sn_profile_free(v[k]);
    if (i == n)
        return merged;
    sn_profile_free(merged);
    return NULL;
}

struct sn_profile *sn_profile_merge(struct sn_profile *const *v, size_t n,
                                    struct sn_error *e)
{
    return merge(v, n, false, e);
}

struct sn_profile *sn_profile_join(struct sn_profile *const *v, size_t n,
                                   struct sn_error *e)
{
    return merge(v, n, true, e);
}
