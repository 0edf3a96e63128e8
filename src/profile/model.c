/* model.c: a profile's birth and end, and what must hold in every one. Needs libc alone.
 */
#include "profile_priv.h"

struct sn_profile *sn_profile_new(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_profile *p = a != NULL ? sn_arena_alloc(a, sizeof *p) : NULL;
    if (p != NULL) {
        p->arena = a;
        p->strings = sn_strtab_new(a);
    }
    if (p != NULL && p->strings != NULL)
        return p;
    sn_arena_free(a);
    return NULL;
}

void sn_profile_free(struct sn_profile *p)
{
    if (p != NULL)
        sn_arena_free(p->arena);
}

const char *sn_check_tables(const struct sn_profile *p, uint32_t largest)
{
    if (sn_arena_failed(p->arena))
        return "out of memory";
    if (p->n_types == 0)
        return "it has no sample type";
    if ((uint64_t)p->n_values != (uint64_t)p->n_samples * p->n_types)
        return "samples and sample types do not have as many values";
    if (p->n_sample_locs > 0 && largest >= p->n_locations)
        return "a sample refers to a location that is not there";
    for (uint32_t i = 0; i < p->n_mappings; i++)
        if (p->mappings[i].start > p->mappings[i].limit && p->mappings[i].limit != 0)
            return "a mapping ends before it starts";
    for (uint32_t i = 0; i < p->n_lines; i++)
        if (p->lines[i].function != SN_NONE && p->lines[i].function >= p->n_functions)
            return "a line refers to a function that is not there";
    for (uint32_t i = 0; i < p->n_locations; i++) {
        const struct sn_location *l = &p->locations[i];
        if (l->mapping != SN_NONE && l->mapping >= p->n_mappings)
            return "a location refers to a mapping that is not there";
        if (l->line0 > p->n_lines || l->n_lines > p->n_lines - l->line0)
            return "a location refers to lines that are not there";
    }
    return NULL;
}

bool sn_profile_comment(struct sn_profile *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct sn_buf line = {.arena = p->arena};
    sn_buf_vprintf(&line, fmt, ap);
    va_end(ap);
    uint32_t id = line.failed ? 0 : sn_strtab_add(p->strings, line.data);
    uint32_t *c = SN_PUSH(p->arena, p->comments, p->n_comments, p->cap_comments);
    if (c != NULL)
        *c = id;
    return c != NULL && !line.failed;
}

bool sn_profile_check(const struct sn_profile *p, const char *where, struct sn_error *e)
{
    uint32_t largest = 0;
    const char *why = NULL;
    for (uint32_t i = 0; i < p->n_samples && why == NULL; i++) {
        const struct sn_sample *s = &p->samples[i];
        if (s->loc0 > p->n_sample_locs || s->n_locs > p->n_sample_locs - s->loc0 ||
            s->label0 > p->n_labels || s->n_labels > p->n_labels - s->label0)
            why = "a sample refers to what is not there";
    }
    for (uint32_t i = 0; i < p->n_sample_locs; i++)
        largest = p->sample_locs[i] > largest ? p->sample_locs[i] : largest;
    if (why == NULL)
        why = sn_check_tables(p, largest);
    return why == NULL || sn_fail(e, where, -1, "%s", why);
}
