/*
 * encode.c: a profile as a protobuf message, fields in the order in which pprof writes
 * them. Needs libc alone; allocates in the buffer's arena only. Each thing is written
 * straight into room for as much as it can be: a number of ten bytes in each field.
 *
 * Format: https://github.com/google/pprof/blob/main/proto/profile.proto
 */
#include "profile_priv.h"
#include "wire/wire.h"

/* ---- messages -------------------------------------------------------------------------
 *
 * Each at `at`, where there is room for it; returns where it ended. MOST: bytes of one.
 */

#define TYPE_MOST (3 * SN_PB_FIELD)
static unsigned char *put_type(unsigned char *at, uint32_t field, struct sn_value_type t)
{
    unsigned char *m = at = sn_pb_begin(at, field);
    at = sn_pb_put(at, 1, t.type);
    at = sn_pb_put(at, 2, t.unit);
    return sn_pb_end(m, at);
}

#define LABEL_MOST (5 * SN_PB_FIELD)
static unsigned char *put_label(unsigned char *at, const struct sn_label *l)
{
    unsigned char *m = at = sn_pb_begin(at, 3);
    at = sn_pb_put(at, 1, l->key);
    at = sn_pb_put(at, 2, l->str);
    at = sn_pb_put(at, 3, (uint64_t)l->num);
    at = sn_pb_put(at, 4, l->num_unit);
    return sn_pb_end(m, at);
}

static size_t sample_most(const struct sn_profile *p, uint32_t i)
{
    const struct sn_sample *s = &p->samples[i];
    return 3 * SN_PB_FIELD + SN_PB_PACKED(s->n_locs) + (size_t)p->n_types * SN_PB_NUMBER +
           (size_t)s->n_labels * LABEL_MOST;
}

static unsigned char *put_sample(unsigned char *at, const struct sn_profile *p,
                                 uint32_t i)
{
    const struct sn_sample *s = &p->samples[i];
    unsigned char *m = at = sn_pb_begin(at, 2);
    if (s->n_locs > 0) {
        unsigned char *locs = sn_pb_begin(at, 1);
        at = sn_pb_put_packed(locs, p->sample_locs + s->loc0, s->n_locs, 1);
        at = sn_pb_end(locs, at);
    }
    unsigned char *values = at = sn_pb_begin(at, 2);
    for (uint32_t t = 0; t < p->n_types; t++)
        at = sn_pb_put_number(at, (uint64_t)p->values[(size_t)i * p->n_types + t]);
    at = sn_pb_end(values, at);
    for (uint32_t k = 0; k < s->n_labels; k++)
        at = put_label(at, &p->labels[s->label0 + k]);
    return sn_pb_end(m, at);
}

#define MAPPING_MOST (11 * SN_PB_FIELD)
static unsigned char *put_mapping(unsigned char *at, const struct sn_mapping *x,
                                  uint64_t id)
{
    unsigned char *m = at = sn_pb_begin(at, 3);
    at = sn_pb_put(at, 1, id);
    at = sn_pb_put(at, 2, x->start);
    at = sn_pb_put(at, 3, x->limit);
    at = sn_pb_put(at, 4, x->offset);
    at = sn_pb_put(at, 5, x->file);
    at = sn_pb_put(at, 6, x->build_id);
    at = sn_pb_put(at, 7, x->has_functions);
    at = sn_pb_put(at, 8, x->has_filenames);
    at = sn_pb_put(at, 9, x->has_lines);
    at = sn_pb_put(at, 10, x->has_inlines);
    return sn_pb_end(m, at);
}

/* The id of an index. */
static uint64_t id_of(uint32_t index)
{
    return index == SN_NONE ? 0 : (uint64_t)index + 1;
}

#define LINE_MOST (4 * SN_PB_FIELD)
static unsigned char *put_line(unsigned char *at, const struct sn_line *l)
{
    unsigned char *m = at = sn_pb_begin(at, 4);
    at = sn_pb_put(at, 1, id_of(l->function));
    at = sn_pb_put(at, 2, (uint64_t)l->line);
    at = sn_pb_put(at, 3, (uint64_t)l->column);
    return sn_pb_end(m, at);
}

#define LOCATION_MOST (5 * SN_PB_FIELD) /* and its lines */
static unsigned char *put_location(unsigned char *at, const struct sn_profile *p,
                                   uint32_t i)
{
    const struct sn_location *l = &p->locations[i];
    unsigned char *m = at = sn_pb_begin(at, 4);
    at = sn_pb_put(at, 1, id_of(i));
    at = sn_pb_put(at, 2, id_of(l->mapping));
    at = sn_pb_put(at, 3, l->address);
    for (uint32_t k = 0; k < l->n_lines; k++)
        at = put_line(at, &p->lines[l->line0 + k]);
    at = sn_pb_put(at, 5, l->folded);
    return sn_pb_end(m, at);
}

#define FUNCTION_MOST (6 * SN_PB_FIELD)
static unsigned char *put_function(unsigned char *at, const struct sn_function *f,
                                   uint64_t id)
{
    unsigned char *m = at = sn_pb_begin(at, 5);
    at = sn_pb_put(at, 1, id);
    at = sn_pb_put(at, 2, f->name);
    at = sn_pb_put(at, 3, f->system_name);
    at = sn_pb_put(at, 4, f->file);
    at = sn_pb_put(at, 5, (uint64_t)f->start_line);
    return sn_pb_end(m, at);
}

static unsigned char *put_comments(unsigned char *at, const struct sn_profile *p)
{
    if (p->n_comments == 0)
        return at;
    unsigned char *m = sn_pb_begin(at, 13);
    return sn_pb_end(m, sn_pb_put_packed(m, p->comments, p->n_comments, 0));
}

/* ---- the parts ------------------------------------------------------------------------
 */

static unsigned char *room(struct sn_buf *out, size_t most)
{
    return (unsigned char *)sn_buf_room(out, most);
}

static void wrote(struct sn_buf *out, unsigned char *end)
{
    *end = '\0';
    out->len = (size_t)((char *)end - out->data);
}

/* One thing after the other, each of which takes so much at most; where there is no more
 * memory, none. */
#define PUT_EACH(most, put)                                                              \
    unsigned char *at;                                                                   \
    for (uint32_t i = from; i < to && (at = room(out, (most))) != NULL; i++)             \
    wrote(out, (put))

void sn_encode_types(const struct sn_profile *p, uint32_t from, uint32_t to,
                     struct sn_buf *out)
{
    PUT_EACH(TYPE_MOST, put_type(at, 1, p->types[i]));
}

void sn_encode_samples(const struct sn_profile *p, uint32_t from, uint32_t to,
                       struct sn_buf *out)
{
    PUT_EACH(sample_most(p, i), put_sample(at, p, i));
}

void sn_encode_mappings(const struct sn_profile *p, uint32_t from, uint32_t to,
                        struct sn_buf *out)
{
    PUT_EACH(MAPPING_MOST, put_mapping(at, &p->mappings[i], id_of(i)));
}

void sn_encode_locations(const struct sn_profile *p, uint32_t from, uint32_t to,
                         struct sn_buf *out)
{
    PUT_EACH(LOCATION_MOST + (size_t)p->locations[i].n_lines * LINE_MOST,
             put_location(at, p, i));
}

void sn_encode_functions(const struct sn_profile *p, uint32_t from, uint32_t to,
                         struct sn_buf *out)
{
    PUT_EACH(FUNCTION_MOST, put_function(at, &p->functions[i], id_of(i)));
}

void sn_encode_strings(const struct sn_profile *p, uint32_t from, uint32_t to,
                       struct sn_buf *out)
{
    PUT_EACH(SN_PB_FIELD + sn_strtab_len(p->strings, i),
             sn_pb_put_bytes(at, 6, sn_strtab_get(p->strings, i),
                             sn_strtab_len(p->strings, i)));
}

#define REST_MOST (8 * SN_PB_FIELD + TYPE_MOST) /* and the comments */
void sn_encode_rest(const struct sn_profile *p, struct sn_buf *out)
{
    unsigned char *at = room(out, REST_MOST + SN_PB_PACKED(p->n_comments));
    if (at == NULL)
        return;
    at = sn_pb_put(at, 7, p->drop_frames);
    at = sn_pb_put(at, 8, p->keep_frames);
    at = sn_pb_put(at, 9, (uint64_t)p->time_ns);
    at = sn_pb_put(at, 10, (uint64_t)p->duration_ns);
    if (p->period_type.type != 0 || p->period_type.unit != 0)
        at = put_type(at, 11, p->period_type);
    at = sn_pb_put(at, 12, (uint64_t)p->period);
    at = put_comments(at, p);
    at = sn_pb_put(at, 14, p->default_sample_type);
    wrote(out, sn_pb_put(at, 15, p->doc_url));
}

void sn_profile_encode(const struct sn_profile *p, struct sn_buf *out)
{
    sn_encode_types(p, 0, p->n_types, out);
    sn_encode_samples(p, 0, p->n_samples, out);
    sn_encode_mappings(p, 0, p->n_mappings, out);
    sn_encode_locations(p, 0, p->n_locations, out);
    sn_encode_functions(p, 0, p->n_functions, out);
    sn_encode_strings(p, 0, sn_strtab_count(p->strings), out);
    sn_encode_rest(p, out);
}
