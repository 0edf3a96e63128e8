/*
 * code.c: the code that a profile's addresses are of: its files, opened once each, and of
 * a stretch of it the instructions with their source lines.
 */
#include "report_priv.h"

struct sn_code {
    struct sn_profile *p;
    struct sn_object **objects; /* of each mapping; that of an earlier one of its file */
    const char **errors;        /* why there is none; NULL: not opened yet, or good */
    bool *owned;
};

struct sn_code *sn_code_new(struct sn_profile *p)
{
    struct sn_code *c = sn_arena_alloc(p->arena, sizeof *c);
    if (c == NULL)
        return NULL;
    c->p = p;
    c->objects = sn_arena_alloc(p->arena, (p->n_mappings + 1) * sizeof *c->objects);
    c->errors = sn_arena_alloc(p->arena, (p->n_mappings + 1) * sizeof *c->errors);
    c->owned = sn_arena_alloc(p->arena, p->n_mappings + 1);
    return sn_arena_failed(p->arena) ? NULL : c;
}

void sn_code_close(struct sn_code *c)
{
    for (uint32_t i = 0; c != NULL && i < c->p->n_mappings; i++)
        if (c->owned[i])
            sn_object_close(c->objects[i]);
}

static const char *path_of(const struct sn_profile *p, const struct sn_mapping *m)
{
    return sn_profile_str(p, m->found != 0 ? m->found : m->file);
}

struct sn_object *sn_code_object(struct sn_code *c, uint32_t mapping, const char **why)
{
    const struct sn_mapping *v = c->p->mappings, *m = &v[mapping];
    struct sn_error e = {.offset = -1};
    char text[640];
    for (uint32_t i = 0; i < mapping && c->objects[mapping] == NULL; i++)
        if (v[i].file == m->file && v[i].build_id == m->build_id &&
            v[i].found == m->found)
            c->objects[mapping] = c->objects[i];
    if (c->objects[mapping] == NULL && c->errors[mapping] == NULL) {
        const char *path = path_of(c->p, m), *id = sn_profile_str(c->p, m->build_id);
        c->objects[mapping] =
            sn_object_open(path, *id != '\0' ? id : NULL, NULL, NULL, &e);
        c->owned[mapping] = c->objects[mapping] != NULL;
        if (!c->owned[mapping])
            c->errors[mapping] =
                sn_arena_strdup(c->p->arena, sn_error_text(&e, text, sizeof text));
    }
    if (why != NULL && c->errors[mapping] != NULL)
        *why = c->errors[mapping];
    return c->objects[mapping];
}

bool sn_code_vaddr(struct sn_code *c, uint32_t mapping, uint64_t address, uint64_t *vaddr)
{
    const struct sn_mapping *m = &c->p->mappings[mapping];
    struct sn_object *o = sn_code_object(c, mapping, NULL);
    return o != NULL && sn_object_vaddr(o, address, m->start, m->limit, m->offset, vaddr);
}

bool sn_code_resolve(struct sn_object *o, const struct sn_object_inst *v, size_t n,
                     struct sn_arena *a)
{
    uint64_t *vaddrs = sn_arena_alloc(a, (n + 1) * sizeof *vaddrs);
    for (size_t i = 0; vaddrs != NULL && i < n; i++)
        vaddrs[i] = v[i].address;
    if (vaddrs != NULL)
        sn_object_resolve(o, vaddrs, (uint32_t)n, true, NULL, NULL);
    return vaddrs != NULL;
}
