/*
 * encode.c: a profile as a protobuf message, fields in the order in which pprof writes
 * them. Needs libc alone; allocates in the buffer's arena only.
 *
 * Format: https://github.com/google/pprof/blob/main/proto/profile.proto
 */
#include "profile_priv.h"
#include "wire/wire.h"

static void put_type(struct sn_buf *b, uint32_t field, struct sn_value_type t)
{
    size_t m = sn_pb_begin(b, field);
    sn_pb_put_uint(b, 1, t.type);
    sn_pb_put_uint(b, 2, t.unit);
    sn_pb_end(b, m);
}

static void put_label(struct sn_buf *b, const struct sn_label *l)
{
    size_t m = sn_pb_begin(b, 3);
    sn_pb_put_uint(b, 1, l->key);
    sn_pb_put_uint(b, 2, l->str);
    sn_pb_put_int(b, 3, l->num);
    sn_pb_put_uint(b, 4, l->num_unit);
    sn_pb_end(b, m);
}

static void put_sample(struct sn_buf *b, const struct sn_profile *p, uint32_t i)
{
    const struct sn_sample *s = &p->samples[i];
    size_t m = sn_pb_begin(b, 2);
    if (s->n_locs > 0) {
        size_t packed = sn_pb_begin(b, 1);
        sn_pb_put_packed(b, p->sample_locs + s->loc0, s->n_locs, 1);
        sn_pb_end(b, packed);
    }
    size_t packed = sn_pb_begin(b, 2);
    for (uint32_t t = 0; t < p->n_types; t++)
        sn_pb_put_raw_varint(b, (uint64_t)p->values[(size_t)i * p->n_types + t]);
    sn_pb_end(b, packed);
    for (uint32_t k = 0; k < s->n_labels; k++)
        put_label(b, &p->labels[s->label0 + k]);
    sn_pb_end(b, m);
}

static void put_mapping(struct sn_buf *b, const struct sn_profile *p, uint32_t i)
{
    const struct sn_mapping *x = &p->mappings[i];
    size_t m = sn_pb_begin(b, 3);
    sn_pb_put_uint(b, 1, (uint64_t)i + 1);
    sn_pb_put_uint(b, 2, x->start);
    sn_pb_put_uint(b, 3, x->limit);
    sn_pb_put_uint(b, 4, x->offset);
    sn_pb_put_uint(b, 5, x->file);
    sn_pb_put_uint(b, 6, x->build_id);
    sn_pb_put_uint(b, 7, x->has_functions);
    sn_pb_put_uint(b, 8, x->has_filenames);
    sn_pb_put_uint(b, 9, x->has_lines);
    sn_pb_put_uint(b, 10, x->has_inlines);
    sn_pb_end(b, m);
}

static void put_line(struct sn_buf *b, const struct sn_line *l)
{
    size_t m = sn_pb_begin(b, 4);
    sn_pb_put_uint(b, 1, l->function == SN_NONE ? 0 : (uint64_t)l->function + 1);
    sn_pb_put_int(b, 2, l->line);
    sn_pb_put_int(b, 3, l->column);
    sn_pb_end(b, m);
}

static void put_location(struct sn_buf *b, const struct sn_profile *p, uint32_t i)
{
    const struct sn_location *l = &p->locations[i];
    size_t m = sn_pb_begin(b, 4);
    sn_pb_put_uint(b, 1, (uint64_t)i + 1);
    sn_pb_put_uint(b, 2, l->mapping == SN_NONE ? 0 : (uint64_t)l->mapping + 1);
    sn_pb_put_uint(b, 3, l->address);
    for (uint32_t k = 0; k < l->n_lines; k++)
        put_line(b, &p->lines[l->line0 + k]);
    sn_pb_put_uint(b, 5, l->folded);
    sn_pb_end(b, m);
}

static void put_function(struct sn_buf *b, const struct sn_profile *p, uint32_t i)
{
    const struct sn_function *f = &p->functions[i];
    size_t m = sn_pb_begin(b, 5);
    sn_pb_put_uint(b, 1, (uint64_t)i + 1);
    sn_pb_put_uint(b, 2, f->name);
    sn_pb_put_uint(b, 3, f->system_name);
    sn_pb_put_uint(b, 4, f->file);
    sn_pb_put_int(b, 5, f->start_line);
    sn_pb_end(b, m);
}

static void put_comments(struct sn_buf *b, const struct sn_profile *p)
{
    if (p->n_comments == 0)
        return;
    size_t packed = sn_pb_begin(b, 13);
    for (uint32_t i = 0; i < p->n_comments; i++)
        sn_pb_put_raw_varint(b, p->comments[i]);
    sn_pb_end(b, packed);
}

/* ---- the parts ------------------------------------------------------------------------
 */

void sn_encode_types(const struct sn_profile *p, uint32_t from, uint32_t to,
                     struct sn_buf *out)
{
    for (uint32_t i = from; i < to; i++)
        put_type(out, 1, p->types[i]);
}

void sn_encode_samples(const struct sn_profile *p, uint32_t from, uint32_t to,
                       struct sn_buf *out)
{
    for (uint32_t i = from; i < to; i++)
        put_sample(out, p, i);
}

void sn_encode_mappings(const struct sn_profile *p, uint32_t from, uint32_t to,
                        struct sn_buf *out)
{
    for (uint32_t i = from; i < to; i++)
        put_mapping(out, p, i);
}

void sn_encode_locations(const struct sn_profile *p, uint32_t from, uint32_t to,
                         struct sn_buf *out)
{
    for (uint32_t i = from; i < to; i++)
        put_location(out, p, i);
}

void sn_encode_functions(const struct sn_profile *p, uint32_t from, uint32_t to,
                         struct sn_buf *out)
{
    for (uint32_t i = from; i < to; i++)
        put_function(out, p, i);
}

void sn_encode_strings(const struct sn_profile *p, uint32_t from, uint32_t to,
                       struct sn_buf *out)
{
    for (uint32_t i = from; i < to; i++)
        sn_pb_put_bytes(out, 6, sn_strtab_get(p->strings, i),
                        sn_strtab_len(p->strings, i));
}

void sn_encode_rest(const struct sn_profile *p, struct sn_buf *out)
{
    sn_pb_put_uint(out, 7, p->drop_frames);
    sn_pb_put_uint(out, 8, p->keep_frames);
    sn_pb_put_int(out, 9, p->time_ns);
    sn_pb_put_int(out, 10, p->duration_ns);
    if (p->period_type.type != 0 || p->period_type.unit != 0)
        put_type(out, 11, p->period_type);
    sn_pb_put_int(out, 12, p->period);
    put_comments(out, p);
    sn_pb_put_uint(out, 14, p->default_sample_type);
    sn_pb_put_uint(out, 15, p->doc_url);
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
