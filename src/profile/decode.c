/*
 * decode.c: a protobuf message as a profile.
 *
 * Fields come in any order and refer to one another, mostly to what comes later. Nearly
 * all writers number locations, functions and mappings 1, 2, 3, ..., and write a string
 * once. So the message is gone through once, believing that: a number is an index plus
 * one, and a string's is its id. It can be read so while it is still coming. Where that
 * does not hold, or something is wrong, it is gone through again, a kind at a time, every
 * reference looked up: slower, and it knows what is wrong and where.
 *
 * Format: https://github.com/google/pprof/blob/main/proto/profile.proto
 */
#include "profile_priv.h"
#include "wire/wire.h"

#include <endian.h>

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

/* Elements for which room is made before they are read: of a large message at first, and
 * at most. */
#define FIRST_ROOM 8192
#define MOST_AHEAD (UINT64_C(64) << 20)

static const char no_location[] = "a sample refers to a location that is not there";

struct decoder {
    struct sn_profile *p;
    struct sn_pb message; /* the whole, or what there is of it; keeps the first error */
    const struct sn_coming *coming; /* NULL: that is all */
    size_t expected;                /* bytes in all, more or less */
    uint64_t gone;                  /* bytes before those that there are */
    uint32_t values_end;            /* of the sample at hand */
    uint64_t count[FIELDS];         /* fields of each kind */
    uint64_t began[FIELDS];         /* where the first of them begins */
    unsigned kind;                  /* of the field at hand */
    uint32_t n_strings;             /* in the file, so far */
    bool believing;
    /* Believing: what is referred to must be there in the end. */
    uint64_t strings_needed;
    uint32_t largest_location;
    uint32_t *strings;         /* not believing: the id of each string in the file */
    struct sn_ids ids[FIELDS]; /* likewise: the indices of what has numbers */
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

/* ---- references -----------------------------------------------------------------------
 */

static uint32_t string(struct decoder *d, const struct sn_pb *at, uint64_t index)
{
    if (d->believing) {
        uint64_t needed = index + (index < UINT64_MAX);
        if (needed > d->strings_needed)
            d->strings_needed = needed;
        return (uint32_t)index;
    }
    if (index < d->n_strings)
        return d->strings[index];
    give_up(d, at, "a string's number is not in the string table");
    return 0;
}

/* 0 stands for none. */
static inline uint32_t reference(struct decoder *d, unsigned kind, const struct sn_pb *at,
                                 uint64_t id, const char *why)
{
    if (id == 0)
        return SN_NONE;
    uint32_t index = !d->believing  ? sn_ids_get(&d->ids[kind], id)
                     : id < SN_NONE ? (uint32_t)id - 1
                                    : SN_NONE;
    if (index == SN_NONE)
        give_up(d, at, why);
    return index;
}

/* The last number of at most `n` belongs to index i. */
static bool keep_number(struct decoder *d, struct sn_numbers *x, uint32_t i, uint64_t n,
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

/* Element i has that number. `keep`: where it is kept, if it is. */
static inline bool numbered(struct decoder *d, unsigned kind, uint32_t i, uint64_t id,
                            struct sn_numbers *keep, const struct sn_pb *at,
                            const char *why)
{
    if (d->believing)
        return id == (uint64_t)i + 1;
    if (id == 0 || !sn_ids_put(&d->ids[kind], id, i))
        return give_up(d, at, why);
    return keep == NULL || keep_number(d, keep, i, d->count[kind], id);
}

/* ---- room -----------------------------------------------------------------------------
 */

static uint64_t bytes_read(const struct decoder *d)
{
    return d->gone + (uint64_t)(d->message.p - d->message.base);
}

/* For as many elements as there would be if the rest were like what has been read from
 * the first field of their kind on, which is included: to grow takes time. */
static uint64_t expect(const struct decoder *d, uint64_t need)
{
    uint64_t first = d->expected / 512 < FIRST_ROOM ? d->expected / 512 + 8 : FIRST_ROOM;
    uint64_t read = bytes_read(d), since = d->began[d->kind];
    if (need < first)
        return first;
    return d->expected > read ? (uint64_t)((double)need / (double)(read - since) * 1.05 *
                                           (double)(d->expected - since))
                              : 0;
}

/* There is no room for `more` elements at the end of an array of n. */
static bool make_room(struct decoder *d, void **v, uint32_t n, uint32_t *cap,
                      uint64_t more, size_t size)
{
    uint64_t need = n + more, wanted = expect(d, need);
    if (need >= SN_NONE)
        return give_up(d, &d->message, "it has more than 4 billion entries");
    wanted = wanted < MOST_AHEAD ? wanted : MOST_AHEAD;
    wanted = wanted < 2 * (uint64_t)*cap ? 2 * (uint64_t)*cap : wanted;
    return sn_array_grow(d->p->arena, v, cap, need, wanted, size);
}

#define ROOM(d, v, n, cap, more)                                                         \
    ((uint64_t)(n) + (more) <= (cap) ||                                                  \
     make_room((d), (void **)&(v), (n), &(cap), (more), sizeof *(v)))
/* One more, zeroed; or NULL. */
#define ADD(d, v, n, cap)                                                                \
    (ROOM((d), v, n, cap, 1) ? memset(&(v)[(n)++], 0, sizeof *(v)) : NULL)

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

static bool mapping(struct decoder *d, const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    struct sn_pb r = sn_pb_sub(&d->message, f);
    struct sn_pb_field x;
    uint64_t id = 0;
    struct sn_mapping *m = ADD(d, p->mappings, p->n_mappings, p->cap_mappings);
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
    return numbered(d, MAPPING, p->n_mappings - 1, id, &p->mapping_numbers, &r,
                    "a mapping has no number, or another's") &&
           ended(d, &r);
}

static bool function(struct decoder *d, const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    struct sn_pb r = sn_pb_sub(&d->message, f);
    struct sn_pb_field x;
    uint64_t id = 0;
    struct sn_function *fn = ADD(d, p->functions, p->n_functions, p->cap_functions);
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
    return numbered(d, FUNCTION, p->n_functions - 1, id, NULL, &r,
                    "a function has no number, or another's") &&
           ended(d, &r);
}

/* ---- locations
 * ------------------------------------------------------------------------------ */

static bool line(struct decoder *d, const struct sn_pb *in, const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    struct sn_pb r = sn_pb_sub(in, f);
    struct sn_pb_field x;
    struct sn_line *l = ADD(d, p->lines, p->n_lines, p->cap_lines);
    if (l == NULL)
        return false;
    l->function = SN_NONE;
    while (sn_pb_next(&r, &x)) {
        if (x.number == 1)
            l->function = reference(d, FUNCTION, &r, x.value,
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
    struct sn_location *l = ADD(d, p->locations, p->n_locations, p->cap_locations);
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
            l->mapping = reference(d, MAPPING, &r, x.value,
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
    return numbered(d, LOCATION, p->n_locations - 1, id, &p->location_numbers, &r,
                    "a location has no number, or another's") &&
           ended(d, &r);
}

/* ---- samples
 * ---------------------------------------------------------------------------------- */

static bool add_loc(struct decoder *d, const struct sn_pb *at, uint64_t id)
{
    struct sn_profile *p = d->p;
    uint32_t index = reference(d, LOCATION, at, id, no_location);
    if (index == SN_NONE)
        return give_up(d, at, no_location); /* also where it is 0 */
    if (index > d->largest_location)
        d->largest_location = index;
    p->sample_locs[p->n_sample_locs++] = index;
    return true;
}

/* Two numbers of up to four bytes each, in the halves of a word, as they are written:
 * their groups of seven bits are moved together two at a time. */
static uint64_t two_numbers(uint64_t x)
{
    x = (x & UINT64_C(0x007f007f007f007f)) | (x & UINT64_C(0x7f007f007f007f00)) >> 1;
    return (x & UINT64_C(0x00003fff00003fff)) | (x & UINT64_C(0x3fff00003fff0000)) >> 2;
}

/* The lowest bit that is set, and those below. */
static uint64_t up_to_lowest(uint64_t x)
{
    return x ^ (x - 1);
}

/* Believing: as many as come in twos of up to four bytes each, from eight bytes at a time
 * and without a branch that depends on them, for nearly all the time of reading is here.
 * What they refer to is checked at the end. */
static void add_twos(struct decoder *d, struct sn_pb *r)
{
    struct sn_profile *p = d->p;
    uint32_t *to = p->sample_locs + p->n_sample_locs;
    const unsigned char *s = r->p;
    uint32_t largest = d->largest_location;
    for (; r->end - s >= 8; to += 2) {
        uint64_t word;
        memcpy(&word, s, sizeof word);
        word = le64toh(word);
        uint64_t ends = ~word & UINT64_C(0x8080808080808080);
        unsigned one = ends != 0 ? (unsigned)__builtin_ctzll(ends) + 1 : 64;
        if (one > 32)
            break;
        uint64_t rest = word >> one, rest_ends = ends >> one;
        if ((uint32_t)rest_ends == 0)
            break;
        uint64_t two = two_numbers((word & up_to_lowest(ends)) |
                                   (rest & up_to_lowest(rest_ends)) << 32);
        two -= UINT64_C(0x0000000100000001);
        to[0] = (uint32_t)two;
        to[1] = (uint32_t)(two >> 32);
        largest = to[0] > largest ? to[0] : largest;
        largest = to[1] > largest ? to[1] : largest;
        s += (one + (unsigned)__builtin_ctzll(rest_ends) + 1) / 8;
    }
    r->p = s;
    d->largest_location = largest;
    p->n_sample_locs = (uint32_t)(to - p->sample_locs);
}

static bool add_locs(struct decoder *d, const struct sn_pb *in,
                     const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    uint64_t id;
    if (!ROOM(d, p->sample_locs, p->n_sample_locs, p->cap_sample_locs,
              f->type == SN_PB_BYTES ? f->len : 1))
        return false;
    if (f->type != SN_PB_BYTES)
        return add_loc(d, in, f->value);
    struct sn_pb r = sn_pb_sub(in, f);
    if (d->believing)
        add_twos(d, &r);
    while (sn_pb_varint(&r, &id))
        if (!add_loc(d, &r, id))
            return false;
    return ended(d, &r);
}

static bool add_value(struct decoder *d, const struct sn_pb *at, uint64_t v)
{
    struct sn_profile *p = d->p;
    if (p->n_values == d->values_end)
        return give_up(d, at, "a sample has more values than there are sample types");
    p->values[p->n_values++] = (int64_t)v;
    return true;
}

static bool add_values(struct decoder *d, const struct sn_pb *in,
                       const struct sn_pb_field *f)
{
    uint64_t v;
    if (f->type != SN_PB_BYTES)
        return add_value(d, in, f->value);
    struct sn_pb r = sn_pb_sub(in, f);
    while (sn_pb_varint(&r, &v))
        if (!add_value(d, &r, v))
            return false;
    return ended(d, &r);
}

static bool add_label(struct decoder *d, const struct sn_pb *in,
                      const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    struct sn_pb r = sn_pb_sub(in, f);
    struct sn_pb_field x;
    struct sn_label *l = ADD(d, p->labels, p->n_labels, p->cap_labels);
    if (l == NULL)
        return false;
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
    if (l->str == 0 && l->num == 0 && l->num_unit == 0) /* no value, as to pprof */
        p->n_labels--;
    return ended(d, &r);
}

static bool sample(struct decoder *d, const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    struct sn_pb r = sn_pb_sub(&d->message, f);
    struct sn_pb_field x;
    if (!ROOM(d, p->values, p->n_values, p->cap_values, p->n_types))
        return false;
    struct sn_sample *s = ADD(d, p->samples, p->n_samples, p->cap_samples);
    if (s == NULL)
        return false;
    d->values_end = p->n_values + p->n_types;
    s->loc0 = p->n_sample_locs;
    s->label0 = p->n_labels;
    while (sn_pb_next(&r, &x)) {
        bool good = x.number == 1                            ? add_locs(d, &r, &x)
                    : x.number == 2                          ? add_values(d, &r, &x)
                    : x.number == 3 && x.type == SN_PB_BYTES ? add_label(d, &r, &x)
                                                             : true;
        if (!good)
            return false;
    }
    if (p->n_values != d->values_end)
        return give_up(d, &r, "a sample has fewer values than there are sample types");
    s->n_locs = p->n_sample_locs - s->loc0;
    s->n_labels = p->n_labels - s->label0;
    return ended(d, &r);
}

/* ---- the whole ------------------------------------------------------------------------
 */

static bool add_string(struct decoder *d, const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    uint32_t i = d->n_strings++;
    uint32_t id = sn_strtab_addn(p->strings, (const char *)f->bytes, f->len);
    if (d->believing)
        return id == i;
    if (id != 0 && i == 0)
        return give_up(d, &d->message, "the first string is not empty");
    if ((i & (i - 1)) == 0 && (i == 0 || i >= 64)) { /* full */
        uint64_t more = i == 0 ? 64 : UINT64_C(2) * i;
        d->strings = sn_arena_grow(p->arena, d->strings, i * sizeof *d->strings,
                                   more * sizeof *d->strings);
    }
    if (d->strings != NULL)
        d->strings[i] = id;
    return d->strings != NULL;
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

/* A field of the profile itself. */
static bool field(struct decoder *d, const struct sn_pb_field *f)
{
    struct sn_profile *p = d->p;
    struct sn_value_type *t;
    switch (f->number) {
    case SAMPLE_TYPE:
        if (d->believing && p->n_samples > 0)
            return false; /* those have too few values */
        t = SN_PUSH(p->arena, p->types, p->n_types, p->cap_types);
        if (t != NULL)
            *t = value_type(d, f);
        return t != NULL;
    case SAMPLE:
        return f->type != SN_PB_BYTES || sample(d, f);
    case MAPPING:
        return f->type != SN_PB_BYTES || mapping(d, f);
    case LOCATION:
        return f->type != SN_PB_BYTES || location(d, f);
    case FUNCTION:
        return f->type != SN_PB_BYTES || function(d, f);
    case STRING_TABLE:
        return f->type != SN_PB_BYTES || add_string(d, f);
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

/* There is more of the message than there was, elsewhere. */
static bool more_came(struct decoder *d)
{
    const unsigned char *data, *rest = d->message.p;
    if (d->coming == NULL)
        return false;
    size_t n =
        d->coming->next(d->coming->arg, rest, (size_t)(d->message.end - rest), &data);
    if (n == 0) {
        d->coming = NULL;
        return true;
    }
    d->gone += (uint64_t)(rest - d->message.base);
    sn_pb_open(&d->message, data, n);
    return true;
}

/* The next field, whole. */
static bool next_field(struct decoder *d, struct sn_pb_field *f)
{
    do {
        struct sn_pb before = d->message;
        if (sn_pb_next(&d->message, f))
            return true;
        if (d->coming != NULL)
            d->message = before;
    } while (more_came(d));
    return false;
}

#define KIND(field) (1u << (field))
#define ALL         UINT32_MAX

/* Go through the fields of some kinds. */
static bool pass(struct decoder *d, uint32_t kinds)
{
    struct sn_pb_field f;
    d->message.p = d->message.base;
    for (uint64_t at = 0; next_field(d, &f); at = bytes_read(d)) {
        if (f.number >= FIELDS)
            continue;
        d->kind = f.number;
        if ((kinds & KIND(STRING_TABLE)) != 0 && d->count[f.number]++ == 0)
            d->began[f.number] = at;
        if ((kinds & KIND(f.number)) != 0 && (!field(d, &f) || d->message.bad != NULL))
            return false;
    }
    return d->message.bad == NULL;
}

static bool believe(struct decoder *d)
{
    d->believing = true;
    d->p = sn_profile_new();
    return d->p != NULL && pass(d, ALL) && d->strings_needed <= d->n_strings &&
           sn_check_tables(d->p, d->largest_location) == NULL;
}

static bool look_up(struct decoder *d)
{
    static const unsigned numbered_kinds[] = {MAPPING, FUNCTION, LOCATION};
    d->p = sn_profile_new();
    if (d->p == NULL || !pass(d, KIND(STRING_TABLE)))
        return false;
    for (unsigned i = 0; i < SN_COUNT(numbered_kinds); i++)
        if (!sn_ids_init(&d->ids[numbered_kinds[i]], d->p->arena,
                         d->count[numbered_kinds[i]]))
            return false;
    return pass(d, ALL & ~(KIND(STRING_TABLE) | KIND(LOCATION) | KIND(SAMPLE))) &&
           pass(d, KIND(LOCATION)) && pass(d, KIND(SAMPLE));
}

struct sn_profile *sn_profile_decode_coming(const struct sn_coming *coming)
{
    struct decoder d = {.coming = coming, .expected = coming->expected};
    if (believe(&d))
        return d.p;
    sn_profile_free(d.p);
    return NULL;
}

struct sn_profile *sn_profile_decode(const void *data, size_t len, const char *where,
                                     struct sn_error *e)
{
    struct decoder d = {.expected = len};
    sn_pb_open(&d.message, data, len);
    if (len == 0) {
        sn_fail(e, where, -1, "it is empty");
        return NULL;
    }
    if (believe(&d))
        return d.p;
    bool no_memory = d.p == NULL || sn_arena_failed(d.p->arena);
    sn_profile_free(d.p);
    d = (struct decoder){.expected = len};
    sn_pb_open(&d.message, data, len);
    if (!no_memory && look_up(&d) && sn_profile_check(d.p, where, e))
        return d.p;
    if (d.message.bad != NULL)
        sn_fail(e, where, (int64_t)d.message.bad_offset, "no profile: %s", d.message.bad);
    else
        sn_fail(e, where, -1, "out of memory");
    sn_profile_free(d.p);
    return NULL;
}
