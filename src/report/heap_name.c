/* heap_name.c: from stacks to sites: those that are alike in their innermost functions;
 * and from sites to a profile. */
#include "heap_priv.h"

/* ---- names ---------------------------------------------------------------------------
 */

static void put_frame(struct sn_buf *b, const char *name)
{
    sn_buf_printf(b, "%s%s", b->len > 0 ? SN_HEAP_JOINT : "", name);
}

/* "libfoo.so+0x1234" */
static void put_unnamed(const struct sn_profile *p, const struct sn_location *l,
                        struct sn_buf *b)
{
    put_frame(b, "");
    if (l->mapping == SN_NONE) {
        sn_buf_printf(b, "0x%llx", (unsigned long long)l->address);
        return;
    }
    const struct sn_mapping *m = &p->mappings[l->mapping];
    uint64_t offset = l->address - m->start + m->offset;
    sn_buf_printf(b, "%s+0x%llx", sn_base_name(sn_profile_str(p, m->file)),
                  (unsigned long long)offset);
}

static void name_stack(const struct sn_profile *p, const struct sn_sample *s,
                       uint32_t frames, struct sn_buf *b)
{
    uint32_t n = 0;
    b->len = 0;
    for (uint32_t i = 0; i < s->n_locs && (frames == 0 || n < frames); i++) {
        const struct sn_location *l = &p->locations[p->sample_locs[s->loc0 + i]];
        if (l->n_lines == 0) {
            put_unnamed(p, l, b);
            n++;
        }
        for (uint32_t k = 0; k < l->n_lines && (frames == 0 || n < frames); k++, n++) {
            uint32_t f = p->lines[l->line0 + k].function;
            put_frame(b, f != SN_NONE ? sn_profile_str(p, p->functions[f].name) : "?");
        }
    }
    if (b->len == 0)
        sn_buf_puts(b, "(not known)");
}

bool sn_heap_name(struct sn_heap_view *v, uint32_t frames, struct sn_error *e)
{
    struct sn_profile *p = v->p;
    struct sn_strtab *names = sn_strtab_new(p->arena); /* id 0 is no name */
    struct sn_buf b = {.arena = p->arena};
    uint32_t *site = sn_arena_alloc(p->arena, (p->n_samples + 1) * sizeof *site);
    if (names == NULL || site == NULL)
        return sn_fail(e, NULL, -1, "out of memory");
    for (uint32_t i = 0; i < p->n_samples; i++) {
        name_stack(p, &p->samples[i], frames, &b);
        uint32_t id = b.failed ? 0 : sn_strtab_addn(names, b.data, b.len);
        if (id == 0)
            return sn_fail(e, NULL, -1, "out of memory");
        site[i] = id - 1;
    }
    v->n_sites = sn_strtab_count(names) - 1;
    v->names = sn_arena_alloc(p->arena, (v->n_sites + 1) * sizeof(const char *));
    for (uint32_t i = 0; v->names != NULL && i < v->n_sites; i++)
        v->names[i] = sn_strtab_get(names, i + 1);
    for (uint32_t block = 0; block < v->d->n_blocks; block++)
        v->site_of[block] = site[v->site_of[block]];
    return v->names != NULL ? sn_heap_group(v->h, v->site_of, v->n_sites, e)
                            : sn_fail(e, NULL, -1, "out of memory");
}

bool sn_heap_name_stacks(struct sn_heap_view *v, struct sn_error *e)
{
    v->n_sites = v->p->n_samples;
    return sn_heap_group(v->h, v->site_of, v->n_sites, e);
}

/* ---- as a profile --------------------------------------------------------------------
 */

static bool add_types(struct sn_profile *p)
{
    static const struct {
        const char *type, *unit;
    } types[] = {{"inuse_objects", "count"},
                 {"inuse_space", "bytes"},
                 {"retained_space", "bytes"},
                 {"leaked_objects", "count"},
                 {"leaked_space", "bytes"}};
    for (size_t i = 0; i < SN_COUNT(types); i++) {
        struct sn_value_type *t = SN_PUSH(p->arena, p->types, p->n_types, p->cap_types);
        if (t == NULL)
            return false;
        *t = (struct sn_value_type){sn_strtab_add(p->strings, types[i].type),
                                    sn_strtab_add(p->strings, types[i].unit)};
    }
    p->default_sample_type = p->types[1].type;
    p->period_type = (struct sn_value_type){sn_strtab_add(p->strings, "space"),
                                            sn_strtab_add(p->strings, "bytes")};
    p->period = 1;
    return true;
}

bool sn_heap_fill_profile(const struct sn_heap_view *v, struct sn_error *e)
{
    struct sn_profile *p = v->p;
    if (!add_types(p))
        return sn_fail(e, NULL, -1, "out of memory");
    for (uint32_t i = 0; i < p->n_samples; i++) {
        const struct sn_heap_site *s = &v->h->sites[i];
        const uint64_t values[] = {
            (uint64_t)s->live.blocks + s->leaked.blocks, s->live.flat + s->leaked.flat,
            s->live.retained + s->leaked.retained, s->leaked.blocks, s->leaked.flat};
        for (size_t k = 0; k < SN_COUNT(values); k++) {
            int64_t *x = SN_PUSH(p->arena, p->values, p->n_values, p->cap_values);
            if (x == NULL)
                return sn_fail(e, NULL, -1, "out of memory");
            *x = (int64_t)values[k];
        }
    }
    return sn_profile_check(p, NULL, e);
}
