/*
 * build.c: a profile being read from a format that names frames as it goes. Addresses
 * and frames become locations once. All of it is in the profile's arena.
 */
#include "readers_priv.h"

#include <math.h>

bool sn_build_open(struct sn_build *b, const char *where, struct sn_error *e)
{
    *b = (struct sn_build){.p = sn_profile_new(), .where = where, .e = e};
    if (b->p != NULL) {
        b->by_address = sn_map_new(b->p->arena);
        b->by_function = sn_map_new(b->p->arena);
    }
    return (b->p != NULL && b->by_function != NULL && b->by_address != NULL) ||
           sn_fail(e, where, -1, "out of memory");
}

bool sn_build_fail(struct sn_build *b, size_t at, const char *what)
{
    return sn_fail(b->e, b->where, (int64_t)at, "%s", what);
}

struct sn_profile *sn_build_done(struct sn_build *b, bool good)
{
    if (b->p != NULL && sn_arena_failed(b->p->arena))
        sn_fail(b->e, b->where, -1, "out of memory");
    if (good && sn_profile_check(b->p, b->where, b->e))
        return b->p;
    sn_fail(b->e, b->where, -1, "out of memory"); /* the first error wins */
    sn_profile_free(b->p);
    return NULL;
}

uint32_t sn_build_str(struct sn_build *b, const char *s, size_t n)
{
    return n > 0 ? sn_strtab_addn(b->p->strings, s, n) : 0;
}

void sn_build_type(struct sn_build *b, const char *type, const char *unit)
{
    struct sn_profile *p = b->p;
    struct sn_value_type *t = SN_PUSH(p->arena, p->types, p->n_types, p->cap_types);
    if (t != NULL)
        *t = (struct sn_value_type){sn_strtab_add(p->strings, type),
                                    sn_strtab_add(p->strings, unit)};
}

void sn_build_period(struct sn_build *b, const char *type, const char *unit, int64_t n)
{
    b->p->period_type = (struct sn_value_type){sn_strtab_add(b->p->strings, type),
                                               sn_strtab_add(b->p->strings, unit)};
    b->p->period = n;
}

bool sn_build_sample(struct sn_build *b, const int64_t *values)
{
    struct sn_profile *p = b->p;
    struct sn_sample *s = SN_PUSH(p->arena, p->samples, p->n_samples, p->cap_samples);
    if (s == NULL)
        return false;
    *s = (struct sn_sample){.loc0 = p->n_sample_locs, .label0 = p->n_labels};
    for (uint32_t t = 0; t < p->n_types; t++) {
        int64_t *v = SN_PUSH(p->arena, p->values, p->n_values, p->cap_values);
        if (v == NULL)
            return false;
        *v = values[t];
    }
    return true;
}

static bool add_frame(struct sn_build *b, uint32_t location)
{
    struct sn_profile *p = b->p;
    uint32_t *l = SN_PUSH(p->arena, p->sample_locs, p->n_sample_locs, p->cap_sample_locs);
    if (l == NULL)
        return false;
    *l = location;
    p->samples[p->n_samples - 1].n_locs++;
    return true;
}

static struct sn_location *new_location(struct sn_build *b)
{
    struct sn_profile *p = b->p;
    struct sn_location *l =
        SN_PUSH(p->arena, p->locations, p->n_locations, p->cap_locations);
    if (l != NULL)
        l->mapping = SN_NONE;
    return l;
}

bool sn_build_address(struct sn_build *b, uint64_t address)
{
    uint32_t *index = sn_map_put(b->by_address, address);
    if (index == NULL)
        return false;
    if (*index == SN_NONE) {
        struct sn_location *l = new_location(b);
        if (l == NULL)
            return false;
        l->address = address;
        *index = b->p->n_locations - 1;
    }
    return add_frame(b, *index);
}

uint32_t sn_build_function(struct sn_build *b, uint32_t name, uint32_t file)
{
    struct sn_profile *p = b->p;
    uint32_t *index = sn_map_put(b->by_function, (uint64_t)name << 32 | file);
    if (index == NULL || *index != SN_NONE)
        return index != NULL ? *index : SN_NONE;
    struct sn_function *f =
        SN_PUSH(p->arena, p->functions, p->n_functions, p->cap_functions);
    if (f == NULL)
        return SN_NONE;
    *f = (struct sn_function){.name = name, .system_name = name, .file = file};
    return *index = p->n_functions - 1;
}

bool sn_build_frame(struct sn_build *b, uint32_t name, uint32_t file, int64_t line)
{
    struct sn_profile *p = b->p;
    uint32_t f = sn_build_function(b, name, file);
    /* Lines of one function that collide here would be told apart by the compare. */
    uint64_t key = sn_hash_mix((uint64_t)f << 32 ^ (uint64_t)line) | UINT64_C(1) << 63;
    uint32_t *index = f != SN_NONE ? sn_map_put(b->by_address, key) : NULL;
    if (index == NULL)
        return false;
    if (*index != SN_NONE) {
        const struct sn_line *x = &p->lines[p->locations[*index].line0];
        if (x->function == f && x->line == line)
            return add_frame(b, *index);
    }
    struct sn_line *x = SN_PUSH(p->arena, p->lines, p->n_lines, p->cap_lines);
    struct sn_location *l = new_location(b);
    if (x == NULL || l == NULL)
        return false;
    *x = (struct sn_line){.function = f, .line = line};
    l->line0 = p->n_lines - 1;
    l->n_lines = 1;
    *index = p->n_locations - 1;
    return add_frame(b, *index);
}

bool sn_build_label(struct sn_build *b, struct sn_label label)
{
    struct sn_profile *p = b->p;
    struct sn_label *l = SN_PUSH(p->arena, p->labels, p->n_labels, p->cap_labels);
    if (l == NULL)
        return false;
    *l = label;
    p->samples[p->n_samples - 1].n_labels++;
    return true;
}

bool sn_build_bytes(struct sn_build *b, int64_t bytes)
{
    struct sn_label label = {.key = sn_strtab_add(b->p->strings, "bytes"), .num = bytes};
    return sn_build_label(b, label);
}

bool sn_build_addresses(struct sn_build *b, const struct sn_lines *l, struct sn_piece x,
                        uint32_t moved)
{
    uint64_t address;
    while (x.n > 2) {
        struct sn_piece at = x;
        bool number =
            sn_piece_eat(&x, "0x") && x.n > 0 && strchr("0123456789abcdef", *x.s) != NULL;
        if (!number) {
            x = (struct sn_piece){at.s + 1, at.n - 1};
            continue;
        }
        if (!sn_piece_hex(&x, &address))
            return sn_build_fail(b, (size_t)(at.s - l->data),
                                 "an address has more than 64 bits");
        if (!sn_build_address(
                b, address - (b->p->samples[b->p->n_samples - 1].n_locs >= moved)))
            return false;
    }
    return true;
}

void sn_build_drop_second(struct sn_build *b, uint32_t i)
{
    struct sn_sample *s = &b->p->samples[i];
    uint32_t *locs = b->p->sample_locs + s->loc0;
    locs[1] = locs[0];
    s->loc0++;
    s->n_locs--;
}

void sn_build_single_leaves(struct sn_build *b)
{
    const struct sn_profile *p = b->p;
    for (uint32_t i = 0; i < p->n_samples; i++) {
        const uint32_t *v = p->sample_locs + p->samples[i].loc0;
        if (p->samples[i].n_locs > 1 &&
            p->locations[v[0]].address == p->locations[v[1]].address + 1)
            sn_build_drop_second(b, i);
    }
}

bool sn_build_renumber(struct sn_build *b)
{
    struct sn_profile *p = b->p;
    uint32_t n = 0;
    uint32_t *to = sn_arena_alloc(p->arena, (p->n_locations + 1) * sizeof *to);
    struct sn_location *v = sn_arena_alloc(p->arena, (p->n_locations + 1) * sizeof *v);
    if (to == NULL || v == NULL)
        return false;
    for (uint32_t i = 0; i < p->n_samples; i++)
        for (uint32_t k = 0; k < p->samples[i].n_locs; k++) {
            uint32_t *l = &p->sample_locs[p->samples[i].loc0 + k];
            if (to[*l] == 0) {
                v[n] = p->locations[*l];
                to[*l] = ++n;
            }
        }
    for (uint32_t i = 0; i < p->n_samples; i++)
        for (uint32_t k = 0; k < p->samples[i].n_locs; k++) {
            uint32_t *l = &p->sample_locs[p->samples[i].loc0 + k];
            *l = to[*l] - 1;
        }
    /* What no sample has may still be in sample_locs, where a frame was dropped. */
    for (uint32_t i = 0; i < p->n_samples; i++)
        for (uint32_t k = i == 0 ? 0 : p->samples[i - 1].loc0 + p->samples[i - 1].n_locs;
             k < p->samples[i].loc0; k++)
            p->sample_locs[k] = 0;
    p->locations = v;
    p->cap_locations = p->n_locations + 1;
    p->n_locations = n;
    return true;
}

/* A block of size s is sampled with the probability 1 - e^(-s/rate). */
void sn_unsample(int64_t *count, int64_t *size, int64_t rate)
{
    if (*count == 0 || *size == 0) {
        *count = *size = 0;
        return;
    }
    if (rate <= 1)
        return;
    double average = (double)*size / (double)*count;
    double scale = 1 / (1 - exp(-average / (double)rate));
    double c = (double)*count * scale, s = (double)*size * scale;
    *count = fabs(c) < 9.2e18 ? (int64_t)c : INT64_MIN;
    *size = fabs(s) < 9.2e18 ? (int64_t)s : INT64_MIN;
}
