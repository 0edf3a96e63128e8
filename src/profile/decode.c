/*
 * decode.c: a protobuf message as a profile.
 *
 * Fields come in any order and refer to one another, so the message is gone through once
 * a kind: strings, then what refers to strings, then locations, then samples. Skipping a
 * field costs a few instructions; and samples, counted beforehand, get arrays of exactly
 * their size, which several threads fill, each with the samples of a stretch of the file.
 *
 * Format: https://github.com/google/pprof/blob/main/proto/profile.proto
 */
#include "profile_priv.h"
#include "wire/wire.h"

enum { /* fields of Profile */
       SAMPLE_TYPE = 1,
       SAMPLE,
       MAPPING,
       LOCATION,
       FUNCTION,
       STRING_TABLE,
       DROP_FRAMES,
       KEEP_FRAMES,
       TIME_NANOS,
       DURATION_NANOS,
       PERIOD_TYPE,
       PERIOD,
       COMMENT,
       DEFAULT_SAMPLE_TYPE,
       DOC_URL,
       FIELDS
};

#define RUN 4096 /* samples that are decoded by one thread in a go */

struct run {
    const unsigned char *start;  /* of its first sample's field */
    uint32_t sample, loc, label; /* where its first ones go */
    const char *bad;             /* NULL, or what was wrong ... */
    uint64_t bad_offset;         /* ... and where */
};

struct decoder {
    struct sn_profile *p;
    struct sn_pb message; /* the whole; keeps the first error */
    uint32_t *strings;    /* index in the file to id */
    uint32_t n_strings;
    const unsigned char *field; /* where that at hand begins */
    uint64_t count[FIELDS];     /* fields of each kind */
    uint64_t n_samples, n_locs, n_labels;
    struct run *runs;
    uint32_t n_runs, cap_runs;
    struct run at; /* where the next sample, location and label go */
    struct sn_ids mappings, functions, locations;
};

static bool give_up(struct decoder *d, const struct sn_pb *at, const char *why)
{
    d->message.p = at->p;
    sn_pb_set_bad(&d->message, why);
    return false;
}

/* A cursor over a submessage has come to its end: was it in order? */
static bool ended(struct decoder *d, const struct sn_pb *r)
{
    if (r->bad == NULL)
        return true;
    if (d->message.bad == NULL) {
        d->message.bad = r->bad;
        d->message.bad_offset = r->bad_offset;
    }
    return false;
}

static uint32_t string(struct decoder *d, const struct sn_pb *at, uint64_t index)
{
    if (index < d->n_strings)
        return d->strings[index];
    give_up(d, at, "a string's number is not in the string table");
    return 0;
}

/* 0 stands for none. */
static uint32_t reference(struct decoder *d, const struct sn_ids *ids,
                          const struct sn_pb *at, uint64_t id, const char *why)
{
    uint32_t index = id == 0 ? SN_NONE : sn_ids_get(ids, id);
    if (id != 0 && index == SN_NONE)
        give_up(d, at, why);
    return index;
}

/* ---- small messages
 * ---------------------------------------------------------------------- */

static struct sn_value_type value_type(struct decoder *d, const struct sn_pb_field *f)
{
    struct sn_pb r = sn_pb_sub(&d->message, f);
    struct sn_pb_field x;
    struct sn_value_type t = {0};
    while (sn_pb_next(&r, &x)) {
        if (x.number == 1)
            t.type = string(d, &r, x.value);
        else if (x.number == 2)
            t.unit = string(d, &r, x.value);
    }
    ended(d, &r);
    return t;
}

/* The next number of at most `n`. */
static bool number(struct decoder *d, struct sn_numbers *x, uint32_t i, uint64_t n,
                   uint64_t id)
{
    if (x->n == 0 && id == (uint64_t)i + 1)
        return true;
    if (x->n == 0) {
        x->v = sn_arena_alloc(d->p->arena, n * sizeof x->v[0]);
        for (x->n = 0; x->v != NULL && x->n < i; x->n++)
            x->v[x->n] = x->max = (uint64_t)x->n + 1;
    }
    if (x->v == NULL)
        return false;
    x->v[x->n++] = id;
    x->max = id > x->max ? id : x->max;
    return true;
}

static bool mapping(struct decoder *d, const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    struct sn_pb r = sn_pb_sub(&d->message, f);
    struct sn_pb_field x;
    uint64_t id = 0;
    struct sn_mapping *m = SN_PUSH(p->arena, p->mappings, p->n_mappings, p->cap_mappings);
    if (m == NULL)
        return false;
    while (sn_pb_next(&r, &x)) {
        switch (x.number) {
        case 1:
            id = x.value;
            break;
        case 2:
            m->start = x.value;
            break;
        case 3:
            m->limit = x.value;
            break;
        case 4:
            m->offset = x.value;
            break;
        case 5:
            m->file = string(d, &r, x.value);
            break;
        case 6:
            m->build_id = string(d, &r, x.value);
            break;
        case 7:
            m->has_functions = x.value != 0;
            break;
        case 8:
            m->has_filenames = x.value != 0;
            break;
        case 9:
            m->has_lines = x.value != 0;
            break;
        case 10:
            m->has_inlines = x.value != 0;
            break;
        }
    }
    if (id == 0 || !sn_ids_put(&d->mappings, id, p->n_mappings - 1))
        return give_up(d, &r, "a mapping has no number, or another's");
    return number(d, &p->mapping_numbers, p->n_mappings - 1, d->count[MAPPING], id) &&
           ended(d, &r);
}

static bool function(struct decoder *d, const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    struct sn_pb r = sn_pb_sub(&d->message, f);
    struct sn_pb_field x;
    uint64_t id = 0;
    struct sn_function *fn =
        SN_PUSH(p->arena, p->functions, p->n_functions, p->cap_functions);
    if (fn == NULL)
        return false;
    while (sn_pb_next(&r, &x)) {
        switch (x.number) {
        case 1:
            id = x.value;
            break;
        case 2:
            fn->name = string(d, &r, x.value);
            break;
        case 3:
            fn->system_name = string(d, &r, x.value);
            break;
        case 4:
            fn->file = string(d, &r, x.value);
            break;
        case 5:
            fn->start_line = (int64_t)x.value;
            break;
        }
    }
    if (id == 0 || !sn_ids_put(&d->functions, id, p->n_functions - 1))
        return give_up(d, &r, "a function has no number, or another's");
    return ended(d, &r);
}

/* ---- locations
 * ------------------------------------------------------------------------------ */

static bool line(struct decoder *d, const struct sn_pb *in, const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    struct sn_pb r = sn_pb_sub(in, f);
    struct sn_pb_field x;
    struct sn_line *l = SN_PUSH(p->arena, p->lines, p->n_lines, p->cap_lines);
    if (l == NULL)
        return false;
    l->function = SN_NONE;
    while (sn_pb_next(&r, &x)) {
        if (x.number == 1)
            l->function = reference(d, &d->functions, &r, x.value,
                                    "a line refers to a function that is not there");
        else if (x.number == 2)
            l->line = (int64_t)x.value;
        else if (x.number == 3)
            l->column = (int64_t)x.value;
    }
    return ended(d, &r);
}

static bool location(struct decoder *d, const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    struct sn_pb r = sn_pb_sub(&d->message, f);
    struct sn_pb_field x;
    uint64_t id = 0;
    struct sn_location *l =
        SN_PUSH(p->arena, p->locations, p->n_locations, p->cap_locations);
    if (l == NULL)
        return false;
    l->mapping = SN_NONE;
    l->line0 = p->n_lines;
    while (sn_pb_next(&r, &x)) {
        switch (x.number) {
        case 1:
            id = x.value;
            break;
        case 2:
            l->mapping = reference(d, &d->mappings, &r, x.value,
                                   "a location refers to a mapping that is not there");
            break;
        case 3:
            l->address = x.value;
            break;
        case 4:
            if (x.type == SN_PB_BYTES && !line(d, &r, &x))
                return false;
            break;
        case 5:
            l->folded = x.value != 0;
            break;
        }
    }
    l->n_lines = p->n_lines - l->line0;
    if (id == 0 || !sn_ids_put(&d->locations, id, p->n_locations - 1))
        return give_up(d, &r, "a location has no number, or another's");
    return number(d, &p->location_numbers, p->n_locations - 1, d->count[LOCATION], id) &&
           ended(d, &r);
}

/* ---- samples
 * ---------------------------------------------------------------------------------- */

/* Each number of a packed field ends in a byte below 0x80. */
static uint64_t packed_count(const struct sn_pb_field *f)
{
    uint64_t n = f->len, word;
    size_t i = 0;
    for (; i + sizeof word <= f->len; i += sizeof word) {
        memcpy(&word, f->bytes + i, sizeof word);
        n -= (unsigned)__builtin_popcountll(word & UINT64_C(0x8080808080808080));
    }
    for (; i < f->len; i++)
        n -= f->bytes[i] >= 0x80;
    return n;
}

static bool begin_run(struct decoder *d)
{
    struct run *r = SN_PUSH(d->p->arena, d->runs, d->n_runs, d->cap_runs);
    if (r != NULL)
        *r = (struct run){d->field,
                          (uint32_t)d->n_samples - 1,
                          (uint32_t)d->n_locs,
                          (uint32_t)d->n_labels,
                          NULL,
                          0};
    return r != NULL;
}

static bool count_sample(struct decoder *d, const struct sn_pb_field *f)
{
    struct sn_pb r = sn_pb_sub(&d->message, f);
    struct sn_pb_field x;
    if (d->n_samples++ % RUN == 0 && !begin_run(d))
        return false;
    while (sn_pb_next(&r, &x)) {
        if (x.number == 1)
            d->n_locs += x.type == SN_PB_BYTES ? packed_count(&x) : 1;
        else if (x.number == 3)
            d->n_labels += x.type == SN_PB_BYTES;
    }
    return ended(d, &r);
}

static bool reserve_samples(struct decoder *d)
{
    struct sn_profile *p = d->p;
    uint64_t n = d->n_samples, n_values = n * p->n_types;
    if (n >= SN_NONE || n_values >= SN_NONE || d->n_locs >= SN_NONE ||
        d->n_labels >= SN_NONE)
        return give_up(d, &d->message, "it has more than 4 billion entries");
    if (n_values > (uint64_t)(d->message.end - d->message.base))
        return give_up(d, &d->message,
                       "a sample has fewer values than there are sample types");
    p->samples = sn_arena_alloc(p->arena, n * sizeof *p->samples);
    p->values = sn_arena_alloc(p->arena, n_values * sizeof *p->values);
    p->sample_locs = sn_arena_alloc(p->arena, d->n_locs * sizeof *p->sample_locs);
    p->labels = sn_arena_alloc(p->arena, d->n_labels * sizeof *p->labels);
    p->cap_samples = (uint32_t)n;
    p->cap_values = (uint32_t)n_values;
    p->cap_sample_locs = (uint32_t)d->n_locs;
    p->cap_labels = (uint32_t)d->n_labels;
    return !sn_arena_failed(p->arena);
}

static bool add_loc(struct decoder *d, const struct sn_pb *at, uint64_t id)
{
    uint32_t index = id == 0 ? SN_NONE : sn_ids_get(&d->locations, id);
    if (index == SN_NONE)
        return give_up(d, at, "a sample refers to a location that is not there");
    d->p->sample_locs[d->at.loc++] = index;
    return true;
}

static bool add_locs(struct decoder *d, const struct sn_pb *in,
                     const struct sn_pb_field *f)
{
    uint64_t id;
    if (f->type != SN_PB_BYTES)
        return add_loc(d, in, f->value);
    struct sn_pb r = sn_pb_sub(in, f);
    while (sn_pb_varint(&r, &id))
        if (!add_loc(d, &r, id))
            return false;
    return ended(d, &r);
}

/* The values of the sample at hand, so far and all. */
struct values {
    int64_t *v;
    uint32_t n, all;
};

static bool add_value(struct decoder *d, const struct sn_pb *at, struct values *to,
                      uint64_t v)
{
    if (to->n == to->all)
        return give_up(d, at, "a sample has more values than there are sample types");
    to->v[to->n++] = (int64_t)v;
    return true;
}

static bool add_values(struct decoder *d, const struct sn_pb *in,
                       const struct sn_pb_field *f, struct values *to)
{
    uint64_t v;
    if (f->type != SN_PB_BYTES)
        return add_value(d, in, to, f->value);
    struct sn_pb r = sn_pb_sub(in, f);
    while (sn_pb_varint(&r, &v))
        if (!add_value(d, &r, to, v))
            return false;
    return ended(d, &r);
}

static bool add_label(struct decoder *d, const struct sn_pb *in,
                      const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    struct sn_pb r = sn_pb_sub(in, f);
    struct sn_pb_field x;
    struct sn_label *l = &p->labels[d->at.label++];
    while (sn_pb_next(&r, &x)) {
        switch (x.number) {
        case 1:
            l->key = string(d, &r, x.value);
            break;
        case 2:
            l->str = string(d, &r, x.value);
            break;
        case 3:
            l->num = (int64_t)x.value;
            break;
        case 4:
            l->num_unit = string(d, &r, x.value);
            break;
        }
    }
    if (l->str == 0 && l->num == 0 && l->num_unit == 0) { /* no value, as to pprof */
        *l = (struct sn_label){0};
        d->at.label--;
    }
    return ended(d, &r);
}

static bool sample(struct decoder *d, const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    struct sn_pb r = sn_pb_sub(&d->message, f);
    struct sn_pb_field x;
    struct values v = {p->values + (size_t)d->at.sample * p->n_types, 0, p->n_types};
    struct sn_sample *s = &p->samples[d->at.sample++];
    s->loc0 = d->at.loc;
    s->label0 = d->at.label;
    while (sn_pb_next(&r, &x)) {
        bool good = x.number == 1                            ? add_locs(d, &r, &x)
                    : x.number == 2                          ? add_values(d, &r, &x, &v)
                    : x.number == 3 && x.type == SN_PB_BYTES ? add_label(d, &r, &x)
                                                             : true;
        if (!good)
            return false;
    }
    if (v.n != v.all)
        return give_up(d, &r, "a sample has fewer values than there are sample types");
    s->n_locs = d->at.loc - s->loc0;
    s->n_labels = d->at.label - s->label0;
    return ended(d, &r);
}

static bool sample_field(struct decoder *d, const struct sn_pb_field *f)
{
    return f->number != SAMPLE || f->type != SN_PB_BYTES || sample(d, f);
}

/* ---- the passes
 * ---------------------------------------------------------------------------------- */

static bool count_and_strings(struct decoder *d, const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    if (f->number < FIELDS)
        d->count[f->number]++;
    if (f->number == SAMPLE && f->type == SN_PB_BYTES)
        return count_sample(d, f);
    if (f->number != STRING_TABLE || f->type != SN_PB_BYTES)
        return true;
    uint32_t cap = d->n_strings; /* a power of two when full */
    if ((cap & (cap - 1)) == 0 && (cap == 0 || cap >= 64)) {
        uint32_t more = cap == 0 ? 64 : cap * 2;
        d->strings = sn_arena_grow(p->arena, d->strings, cap * sizeof *d->strings,
                                   more * sizeof *d->strings);
    }
    if (d->strings == NULL)
        return false;
    d->strings[d->n_strings++] =
        sn_strtab_addn(p->strings, (const char *)f->bytes, f->len);
    return true;
}

static bool comments(struct decoder *d, const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    struct sn_pb r = sn_pb_sub(&d->message, f);
    uint64_t v = f->value;
    bool more = f->type == SN_PB_VARINT || sn_pb_varint(&r, &v);
    for (; more; more = f->type == SN_PB_BYTES && sn_pb_varint(&r, &v)) {
        uint32_t *c = SN_PUSH(p->arena, p->comments, p->n_comments, p->cap_comments);
        if (c == NULL)
            return false;
        *c = string(d, &r, v);
    }
    return f->type != SN_PB_BYTES || ended(d, &r);
}

static bool heads(struct decoder *d, const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    struct sn_value_type *t;
    switch (f->number) {
    case SAMPLE_TYPE:
        t = SN_PUSH(p->arena, p->types, p->n_types, p->cap_types);
        if (t != NULL)
            *t = value_type(d, f);
        return t != NULL;
    case MAPPING:
        return f->type != SN_PB_BYTES || mapping(d, f);
    case FUNCTION:
        return f->type != SN_PB_BYTES || function(d, f);
    case DROP_FRAMES:
        p->drop_frames = string(d, &d->message, f->value);
        break;
    case KEEP_FRAMES:
        p->keep_frames = string(d, &d->message, f->value);
        break;
    case TIME_NANOS:
        p->time_ns = (int64_t)f->value;
        break;
    case DURATION_NANOS:
        p->duration_ns = (int64_t)f->value;
        break;
    case PERIOD_TYPE:
        if (f->type == SN_PB_BYTES)
            p->period_type = value_type(d, f);
        break;
    case PERIOD:
        p->period = (int64_t)f->value;
        break;
    case COMMENT:
        return comments(d, f);
    case DEFAULT_SAMPLE_TYPE:
        p->default_sample_type = string(d, &d->message, f->value);
        break;
    case DOC_URL:
        p->doc_url = string(d, &d->message, f->value);
        break;
    }
    return true;
}

static bool locations(struct decoder *d, const struct sn_pb_field *f)
{
    return f->number != LOCATION || f->type != SN_PB_BYTES || location(d, f);
}

static bool go_through(struct decoder *d,
                       bool (*each)(struct decoder *, const struct sn_pb_field *))
{
    struct sn_pb_field f;
    while (d->field = d->message.p, sn_pb_next(&d->message, &f))
        if (!each(d, &f))
            return false;
    return d->message.bad == NULL;
}

static bool pass(struct decoder *d,
                 bool (*each)(struct decoder *, const struct sn_pb_field *))
{
    d->message.p = d->message.base;
    return go_through(d, each);
}

/* By a decoder of its own: what they share is only read, but for arrays of which each
 * fills its part. */
static void decode_run(void *decoder, unsigned i)
{
    const struct decoder *d = decoder;
    struct decoder own = *d;
    own.at = d->runs[i];
    own.message.p = d->runs[i].start;
    if (i + 1 < d->n_runs)
        own.message.end = d->runs[i + 1].start;
    if (go_through(&own, sample_field))
        return;
    d->runs[i].bad = own.message.bad;
    d->runs[i].bad_offset = own.message.bad_offset;
}

static bool samples(struct decoder *d)
{
    struct sn_profile *p = d->p;
    if (!reserve_samples(d))
        return false;
    sn_parallel(d->n_runs, decode_run, d);
    for (uint32_t i = 0; i < d->n_runs && d->message.bad == NULL; i++) {
        d->message.bad = d->runs[i].bad;
        d->message.bad_offset = d->runs[i].bad_offset;
    }
    p->n_samples = p->cap_samples;
    p->n_values = p->cap_values;
    p->n_sample_locs = p->cap_sample_locs;
    p->n_labels = p->cap_labels;
    return d->message.bad == NULL;
}

static bool decode(struct decoder *d)
{
    struct sn_arena *a = d->p->arena;
    if (!pass(d, count_and_strings))
        return false;
    if (d->n_strings > 0 && d->strings[0] != 0)
        return give_up(d, &d->message, "the first string is not empty");
    if (!sn_ids_init(&d->mappings, a, d->count[MAPPING]) ||
        !sn_ids_init(&d->functions, a, d->count[FUNCTION]) ||
        !sn_ids_init(&d->locations, a, d->count[LOCATION]))
        return false;
    return pass(d, heads) && pass(d, locations) && samples(d);
}

struct sn_profile *sn_profile_decode(const void *data, size_t len, const char *where,
                                     struct sn_error *e)
{
    struct decoder d = {.p = sn_profile_new()};
    sn_pb_open(&d.message, data, len);
    if (d.p != NULL && len > 0 && decode(&d) && sn_profile_check(d.p, where, e))
        return d.p;
    if (len == 0)
        sn_fail(e, where, -1, "it is empty");
    else if (d.message.bad != NULL)
        sn_fail(e, where, (int64_t)d.message.bad_offset, "no profile: %s", d.message.bad);
    else
        sn_fail(e, where, -1, "out of memory");
    sn_profile_free(d.p);
    return NULL;
}
