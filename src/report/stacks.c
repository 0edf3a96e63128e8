/*
 * stacks.c: the samples as stacks of named frames, for formats that other viewers read.
 * Allocates in the profile's arena.
 */
#include "report_priv.h"

#include <inttypes.h>
#include <stdio.h>

bool sn_stacks_open(struct sn_stacks *s, struct sn_profile *p, const struct sn_options *o,
                    struct sn_error *e)
{
    const struct sn_view_kind kind = {.no_trim = true};
    uint32_t deepest = 0, inlined = 1;
    *s = (struct sn_stacks){0};
    if (!sn_view_open(&s->v, p, o, kind, e))
        return false;
    for (uint32_t i = 0; i < p->n_samples; i++)
        deepest = p->samples[i].n_locs > deepest ? p->samples[i].n_locs : deepest;
    for (uint32_t i = 0; i < p->n_locations; i++)
        inlined = p->locations[i].n_lines > inlined ? p->locations[i].n_lines : inlined;
    s->stack = sn_arena_alloc(p->arena, (size_t)deepest * inlined * 4 + 4);
    s->known = sn_map_new(p->arena);
    return (s->stack != NULL && s->known != NULL) ||
           sn_fail(e, NULL, -1, "out of memory");
}

static bool add(struct sn_stacks *s, uint32_t name, uint32_t file)
{
    struct sn_profile *p = s->v.p;
    uint32_t *index = sn_map_put(s->known, (uint64_t)name << 32 | file);
    if (index == NULL)
        return false;
    if (*index == SN_NONE) {
        struct sn_stack_frame *f =
            SN_PUSH(p->arena, s->frames, s->n_frames, s->cap_frames);
        if (f == NULL)
            return false;
        *f = (struct sn_stack_frame){name, file};
        *index = s->n_frames - 1;
    }
    s->stack[s->n++] = *index;
    return true;
}

static bool add_address(struct sn_stacks *s, const struct sn_location *l)
{
    struct sn_profile *p = s->v.p;
    const char *file =
        l->mapping != SN_NONE ? sn_profile_str(p, p->mappings[l->mapping].file) : "";
    char text[256];
    if (l->address == 0)
        snprintf(text, sizeof text, "%s%s", *file != '\0' ? "" : "<unknown>",
                 sn_base_name(file));
    else
        snprintf(text, sizeof text, "0x%" PRIx64 "%s%s", l->address,
                 *file != '\0' ? " " : "", sn_base_name(file));
    return add(s, sn_strtab_add(p->strings, text), 0);
}

bool sn_stacks_of(struct sn_stacks *s, uint32_t sample)
{
    struct sn_profile *p = s->v.p;
    const struct sn_sample *x = &p->samples[sample];
    s->n = 0;
    for (uint32_t i = x->n_locs; i-- > 0;) {
        const struct sn_location *l = &p->locations[p->sample_locs[x->loc0 + i]];
        if (l->n_lines == 0 && !add_address(s, l))
            return false;
        for (uint32_t k = l->n_lines; k-- > 0;) {
            uint32_t f = p->lines[l->line0 + k].function;
            bool named = f != SN_NONE && p->functions[f].name != 0;
            if (!(named ? add(s, p->functions[f].name, p->functions[f].file)
                        : add_address(s, l)))
                return false;
        }
    }
    return true;
}
