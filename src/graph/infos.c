/* infos.c: the nodes that the lines of each location stand for: found once for a view, so
 * that a sample is nothing but a run of numbers. */
#include "graph_priv.h"

static uint64_t hash_info(const struct sn_node_info *i)
{
    const uint64_t words[] = {i->address,
                              (uint64_t)i->line,
                              (uint64_t)i->column,
                              (uint64_t)i->start_line,
                              (uint64_t)i->name << 32 | i->file,
                              i->object};
    uint64_t h = 0;
    for (size_t k = 0; k < SN_COUNT(words); k++)
        h = (h ^ h >> 32 ^ words[k]) * UINT64_C(0x9e3779b97f4a7c15);
    return sn_hash_mix(h);
}

static bool same_info(const struct sn_node_info *a, const struct sn_node_info *b)
{
    return a->address == b->address && a->line == b->line && a->column == b->column &&
           a->start_line == b->start_line && a->name == b->name && a->file == b->file &&
           a->object == b->object;
}

/* Where it is, or where it goes. */
static uint32_t *slot_of(const struct sn_builder *b, const struct sn_node_info *info)
{
    uint32_t i = (uint32_t)hash_info(info) & (b->n_slots - 1);
    while (b->slots[i] != 0 && !same_info(&b->infos[b->slots[i] - 1], info))
        i = (i + 1) & (b->n_slots - 1);
    return &b->slots[i];
}

/* Twice as many as there are to be infos, so far as is known. */
static bool open_slots(struct sn_builder *b, uint32_t expected)
{
    if (expected > 1u << 29)
        return false;
    for (b->n_slots = 1024; b->n_slots / 2 < expected;)
        b->n_slots *= 2;
    b->slots = sn_arena_alloc(b->arena, b->n_slots * sizeof *b->slots);
    for (uint32_t i = 0; b->slots != NULL && i < b->n_infos; i++)
        *slot_of(b, &b->infos[i]) = i + 1;
    return b->slots != NULL;
}

static uint32_t intern(struct sn_builder *b, const struct sn_node_info *info)
{
    uint32_t *slot = slot_of(b, info);
    if (*slot != 0)
        return *slot - 1;
    if (b->n_infos >= b->n_slots / 4 * 3) {
        if (!open_slots(b, b->n_slots))
            return SN_NONE;
        slot = slot_of(b, info);
    }
    struct sn_node_info *added = SN_PUSH(b->arena, b->infos, b->n_infos, b->cap_infos);
    if (added == NULL)
        return SN_NONE;
    *added = *info;
    *slot = b->n_infos;
    return b->n_infos - 1;
}

/* ---- source paths
 * ---------------------------------------------------------------------------- */

static const char *cut_prefix(const char *path, const char *prefix, size_t n)
{
    bool slash = n > 0 && prefix[n - 1] == '/';
    if (strncmp(path, prefix, n) != 0 || (!slash && path[n] != '/'))
        return NULL;
    return path + n + !slash;
}

/* Without trim_path, what stands before the base name of a folder of source_path goes. */
static const char *cut_before_source(const char *path, const char *dirs)
{
    for (size_t n; *dirs != '\0'; dirs += n + (dirs[n] == ':')) {
        n = strcspn(dirs, ":");
        size_t base = n;
        while (base > 0 && dirs[base - 1] != '/')
            base--;
        char want[256] = "/";
        if (n - base == 0 || n - base + 3 > sizeof want)
            continue;
        memcpy(want + 1, dirs + base, n - base);
        strcat(want, "/");
        const char *found = strstr(path, want);
        if (found != NULL)
            return found + strlen(want);
    }
    return NULL;
}

const char *sn_trim_path(const struct sn_options *o, const char *path)
{
    static const char *const always[] = {"/proc/self/cwd/./", "/proc/self/cwd/"};
    const char *trim = o->trim_path != NULL ? o->trim_path : "", *cut = NULL;
    if (*trim == '\0' && o->source_path != NULL)
        cut = cut_before_source(path, o->source_path);
    for (size_t n; cut == NULL && *trim != '\0'; trim += n + (trim[n] == ':')) {
        n = strcspn(trim, ":");
        cut = cut_prefix(path, trim, n);
    }
    for (size_t i = 0; cut == NULL && i < SN_COUNT(always); i++)
        cut = cut_prefix(path, always[i], strlen(always[i]));
    return cut != NULL ? cut : path;
}

/* What the functions are, and what is known of them so far. */
struct sources {
    uint32_t *files; /* of each, trimmed and cleaned: string ids */
    uint32_t *infos; /* of each, where it is all that a line is; SN_NONE: not met yet */
};

static bool find_sources(struct sn_builder *b, struct sources *s)
{
    struct sn_profile *p = b->v->p;
    size_t bytes = (p->n_functions + (size_t)1) * sizeof(uint32_t);
    struct sn_map *known = sn_map_new(b->arena);
    s->files = sn_arena_alloc(b->arena, bytes);
    s->infos = sn_arena_alloc(b->arena, bytes);
    if (sn_arena_failed(b->arena))
        return false;
    memset(s->infos, 0xff, bytes);
    for (uint32_t i = 0; i < p->n_functions; i++) {
        uint32_t id = p->functions[i].file, *clean = sn_map_put(known, id);
        if (clean == NULL)
            return false;
        const char *path = sn_profile_str(p, id);
        if (*clean == SN_NONE)
            *clean = sn_strtab_add(p->strings,
                                   sn_clean_path(sn_trim_path(&b->v->o, path), b->arena));
        s->files[i] = *clean;
    }
    return true;
}

/* ---- locations
 * --------------------------------------------------------------------------------- */

static struct sn_node_info info_of(const struct sn_builder *b,
                                   const struct sn_location *l,
                                   const struct sn_line *line, const uint32_t *files)
{
    const struct sn_profile *p = b->v->p;
    uint32_t object = l->mapping != SN_NONE ? p->mappings[l->mapping].file : 0;
    if (line == NULL || line->function == SN_NONE)
        return (struct sn_node_info){.address = l->address, .object = object};
    const struct sn_function *f = &p->functions[line->function];
    struct sn_node_info info = {.address = l->address,
                                .line = line->line,
                                .column = line->column,
                                .name = f->name,
                                .file = files[line->function]};
    if (b->v->kind.objects || f->name == 0) {
        info.object = object;
        info.start_line = f->start_line;
    }
    return info;
}

/* Is the line its function, and nothing else? */
static bool is_function(const struct sn_builder *b, const struct sn_location *l,
                        const struct sn_line *line)
{
    return line != NULL && line->function != SN_NONE && !b->v->kind.objects &&
           l->address == 0 && line->line == 0 && line->column == 0 &&
           b->v->p->functions[line->function].name != 0;
}

static uint32_t info_at(struct sn_builder *b, const struct sn_location *l,
                        const struct sn_line *line, const struct sources *s)
{
    uint32_t *known = is_function(b, l, line) ? &s->infos[line->function] : NULL;
    if (known != NULL && *known != SN_NONE)
        return *known;
    struct sn_node_info info = info_of(b, l, line, s->files);
    uint32_t i = intern(b, &info);
    if (known != NULL)
        *known = i;
    return i;
}

static bool add_location(struct sn_builder *b, uint32_t i, const struct sources *s)
{
    const struct sn_profile *p = b->v->p;
    const struct sn_location *l = &p->locations[i];
    uint32_t at = b->location_first[i], n = l->n_lines > 0 ? l->n_lines : 1;
    for (uint32_t k = 0; k < n; k++) {
        const struct sn_line *line = l->n_lines > 0 ? &p->lines[l->line0 + k] : NULL;
        if ((b->location_infos[at + k] = info_at(b, l, line, s)) == SN_NONE)
            return false;
    }
    b->location_first[i + 1] = at + n;
    b->has_inlined |= n > 1;
    return true;
}

/* The whole function of each node: told apart by object where nodes are. */
static bool find_functions(struct sn_builder *b)
{
    uint32_t n = b->n_infos;
    b->functions = sn_arena_alloc(b->arena, (n + 1) * sizeof *b->functions);
    for (uint32_t i = 0; b->functions != NULL && i < n; i++) {
        struct sn_node_info whole = b->infos[i];
        whole.address = 0;
        whole.line = whole.column = 0;
        b->functions[i] = intern(b, &whole);
    }
    b->n_infos = n; /* they are numbers only, no nodes */
    return b->functions != NULL;
}

bool sn_builder_open(struct sn_builder *b, struct sn_view *v)
{
    const struct sn_profile *p = v->p;
    *b = (struct sn_builder){.v = v, .arena = p->arena, .cap_infos = p->n_functions};
    b->infos = sn_arena_alloc(b->arena, (b->cap_infos + 1UL) * sizeof *b->infos);
    size_t n = 0;
    for (uint32_t i = 0; i < p->n_locations; i++)
        n += p->locations[i].n_lines > 0 ? p->locations[i].n_lines : 1;
    struct sources sources;
    bool good = open_slots(b, p->n_functions) && find_sources(b, &sources);
    b->location_first =
        sn_arena_alloc(b->arena, (p->n_locations + 1) * sizeof *b->location_first);
    b->location_infos = sn_arena_alloc(b->arena, (n + 1) * sizeof *b->location_infos);
    if (!good || sn_arena_failed(b->arena) || n >= SN_NONE)
        return false;
    for (uint32_t i = 0; i < p->n_locations; i++)
        if (!add_location(b, i, &sources))
            return false;
    if (v->kind.objects && !find_functions(b))
        return false;
    b->names = sn_arena_alloc(b->arena, (b->n_infos + 1) * sizeof *b->names);
    return b->names != NULL;
}

const char *sn_builder_name(struct sn_builder *b, uint32_t info)
{
    if (b->names[info] == NULL)
        b->names[info] = sn_node_name(b->v->p, &b->infos[info], b->arena);
    return b->names[info];
}

unsigned sn_parts(const struct sn_builder *b)
{
    return b->v->p->n_sample_locs < 65536 ? 1 : sn_cores();
}
