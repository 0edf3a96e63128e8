/*
 * namer.c: names of single addresses as they come, for what is printed while it happens.
 * A file is opened once and stays open. Allocates; one thread.
 */
#include "object/object.h"
#include "symbolize/symbolize.h"

#include <unistd.h>

struct module {
    const char *path, *build_id;
    struct sn_object *object; /* NULL: it cannot be used */
};

struct sn_namer {
    struct sn_arena *arena;
    struct sn_strtab *strings;
    enum sn_demangle demangle;
    struct sn_object_fetch fetch;
    struct module *modules;
    uint32_t n_modules, cap_modules;
};

struct sn_namer *sn_namer_new(enum sn_demangle demangle)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_namer *n = a != NULL ? sn_arena_alloc(a, sizeof *n) : NULL;
    if (n != NULL) {
        n->arena = a;
        n->demangle = demangle;
        n->strings = sn_strtab_new(a);
    }
    if (n != NULL && n->strings != NULL)
        return n;
    sn_arena_free(a);
    return NULL;
}

void sn_namer_free(struct sn_namer *n)
{
    if (n == NULL)
        return;
    for (uint32_t i = 0; i < n->n_modules; i++)
        sn_object_close(n->modules[i].object);
    sn_arena_free(n->arena);
}

static struct module *module_of(struct sn_namer *n, const struct sn_namer_mapping *m)
{
    for (uint32_t i = 0; i < n->n_modules; i++)
        if (strcmp(n->modules[i].path, m->path) == 0 &&
            strcmp(n->modules[i].build_id, m->build_id) == 0)
            return &n->modules[i];
    struct module *x = SN_PUSH(n->arena, n->modules, n->n_modules, n->cap_modules);
    if (x == NULL)
        return NULL;
    struct sn_object_search search = {NULL, &n->fetch};
    struct sn_error e = {.offset = -1};
    x->path = sn_arena_strdup(n->arena, m->path);
    x->build_id = sn_arena_strdup(n->arena, m->build_id);
    if (x->path == NULL || x->build_id == NULL) {
        n->n_modules--;
        return NULL;
    }
    if (m->path[0] == '/' && access(m->path, R_OK) == 0)
        x->object = sn_object_open(m->path, *m->build_id != '\0' ? m->build_id : NULL,
                                   &search, NULL, &e);
    return x;
}

static const char *keep(struct sn_namer *n, const char *text)
{
    return sn_strtab_get(n->strings, sn_strtab_add(n->strings, text));
}

static size_t frames_at(struct sn_namer *n, struct sn_object *o, uint64_t vaddr,
                        struct sn_namer_frame *v, size_t max)
{
    struct sn_object_frame frames[SN_NAMER_FRAMES];
    max = max < SN_COUNT(frames) ? max : SN_COUNT(frames);
    size_t count = sn_object_frames(o, vaddr, true, frames, max);
    for (size_t i = 0; i < count; i++)
        v[i] = (struct sn_namer_frame){
            keep(n, sn_demangle(frames[i].name, n->demangle, n->arena)),
            keep(n, frames[i].file), frames[i].line};
    return count;
}

size_t sn_namer_frames(struct sn_namer *n, const struct sn_namer_mapping *m, uint64_t pc,
                       struct sn_namer_frame *v, size_t max)
{
    struct module *x = module_of(n, m);
    uint64_t vaddr;
    if (x == NULL || x->object == NULL ||
        !sn_object_vaddr(x->object, pc, m->start, m->limit, m->offset, &vaddr))
        return 0;
    return frames_at(n, x->object, vaddr, v, max);
}

size_t sn_namer_file_frames(struct sn_namer *n, const char *path, uint64_t vaddr,
                            struct sn_namer_frame *v, size_t max)
{
    struct module *x =
        module_of(n, &(struct sn_namer_mapping){.path = path, .build_id = ""});
    return x != NULL && x->object != NULL ? frames_at(n, x->object, vaddr, v, max) : 0;
}

const char *sn_namer_type(struct sn_namer *n, const struct sn_namer_mapping *m,
                          uint64_t pc)
{
    char name[256];
    uint64_t vaddr;
    struct module *x = module_of(n, m);
    return x != NULL && x->object != NULL &&
                   sn_object_vaddr(x->object, pc, m->start, m->limit, m->offset,
                                   &vaddr) &&
                   sn_object_assigned(x->object, vaddr, name, sizeof name)
               ? keep(n, name)
               : "";
}
