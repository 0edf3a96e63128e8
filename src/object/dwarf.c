/*
 * dwarf.c: from an address to its unit, its function and its line. Ranges of all units
 * are indexed when first asked; functions and the line table only of units that are hit.
 *
 * elfutils checks what it reads against the sections' bounds. What it does not check,
 * that the walk ends in reasonable time, is seen to here: depth is bounded, and every
 * byte stepped over costs fuel.
 */
#include "object_priv.h"

#include <dwarf.h>
#include <stdio.h>

/* ---- walking
 * ---------------------------------------------------------------------------
 */

static bool burn(struct sn_object *o, uint64_t cost)
{
    o->fuel = cost < o->fuel ? o->fuel - cost : 0;
    return o->fuel > 0;
}

bool dwarf_next(struct sn_object *o, Dwarf_Die *die)
{
    const char *from = die->addr;
    Dwarf_Die next;
    o->furthest = from > o->furthest ? from : o->furthest;
    if (o->fuel == 0)
        return false;
    if (dwarf_siblingof(die, &next) != 0) {
        burn(o, (uint64_t)(o->furthest - from)); /* it looked through the children */
        return false;
    }
    if ((const char *)next.addr <= from)
        return false;
    *die = next;
    return burn(o, (uint64_t)((const char *)next.addr - from));
}

bool dwarf_range(struct sn_object *o, Dwarf_Die *die, ptrdiff_t *state, uint64_t *base,
                 struct range *out)
{
    do
        *state = dwarf_ranges(die, *state, base, &out->lo, &out->hi);
    while (*state > 0 && burn(o, 16) && out->lo >= out->hi);
    return *state > 0 && out->lo < out->hi;
}

/* ---- units
 * -----------------------------------------------------------------------------
 */

static void add_unit(struct sn_object *o, const Dwarf_Die *die, bool split)
{
    Dwarf_Die body = *die;
    ptrdiff_t state = 0;
    uint64_t base;
    struct range r;
    struct unit *u = SN_PUSH(o->arena, o->units, o->n_units, o->cap_units);
    if (u == NULL)
        return;
    *u = (struct unit){.die = *die, .body = *die, .split = split};
    /* Code the linker threw away keeps its ranges, near address 0. */
    while (dwarf_range(o, &body, &state, &base, &r))
        if (object_is_code(o, r.lo))
            spans_add(&o->unit_spans, o->arena, r.lo, r.hi, o->n_units - 1);
}

static void read_units(struct sn_object *o)
{
    Dwarf_CU *unit = NULL;
    Dwarf_Half version;
    uint8_t type;
    Dwarf_Die die;
    o->units_read = true;
    while (burn(o, 16) &&
           dwarf_get_units(o->dwarf, unit, &unit, &version, &type, &die, NULL) == 0)
        if (type == DW_UT_compile || type == DW_UT_skeleton)
            add_unit(o, &die, type == DW_UT_skeleton);
    spans_sort(&o->unit_spans);
}

static void open_unit(struct unit *u)
{
    int language = dwarf_srclang(&u->die);
    Dwarf_Die body;
    u->opened = true;
    if (u->split &&
        dwarf_cu_info(u->die.cu, NULL, NULL, NULL, &body, NULL, NULL, NULL) == 0 &&
        body.addr != NULL) {
        u->body = body;
        language = dwarf_srclang(&u->body);
    }
    u->mangles = language == DW_LANG_C_plus_plus || language == DW_LANG_C_plus_plus_03 ||
                 language == DW_LANG_C_plus_plus_11 ||
                 language == DW_LANG_C_plus_plus_14 || language == DW_LANG_Rust;
    if (dwarf_getsrcfiles(&u->body, &u->files, &u->n_files) != 0)
        u->n_files = 0;
}

struct unit *dwarf_unit(struct sn_object *o, uint64_t vaddr)
{
    if (dwarf_of(o) == NULL)
        return NULL;
    if (!o->units_read)
        read_units(o);
    uint32_t i = spans_find(&o->unit_spans, vaddr);
    if (i == SN_NONE)
        return NULL;
    if (!o->units[i].opened)
        open_unit(&o->units[i]);
    return &o->units[i];
}

/* ---- functions
 * -------------------------------------------------------------------------
 */

static void add_function(struct sn_object *o, struct unit *u, Dwarf_Die *die)
{
    ptrdiff_t state = 0;
    uint64_t base;
    struct range r;
    struct function *f = NULL;
    while (dwarf_range(o, die, &state, &base, &r)) {
        if (f == NULL)
            f = SN_PUSH(o->arena, u->functions, u->n_functions, u->cap_functions);
        if (f == NULL)
            return;
        f->die = *die;
        spans_add(&u->spans, o->arena, r.lo, r.hi, u->n_functions - 1);
    }
}

/* Functions are mostly entries of the unit or of a namespace. Only where one is missing,
 * types and other functions are searched for it too. */
static void walk_functions(struct sn_object *o, struct unit *u, Dwarf_Die *parent,
                           unsigned depth)
{
    Dwarf_Die die;
    if (depth == MAX_DEPTH || dwarf_child(parent, &die) != 0)
        return;
    do {
        int tag = dwarf_tag(&die);
        if (tag == DW_TAG_subprogram)
            add_function(o, u, &die);
        if (u->deep || tag == DW_TAG_namespace || tag == DW_TAG_module)
            walk_functions(o, u, &die, depth + 1);
    } while (dwarf_next(o, &die));
}

static void read_functions(struct sn_object *o, struct unit *u)
{
    u->walked = true;
    u->functions = NULL;
    u->n_functions = u->cap_functions = 0;
    u->spans = (struct spans){0};
    o->furthest = NULL;
    walk_functions(o, u, &u->body, 0);
    spans_sort(&u->spans);
}

struct function *dwarf_function(struct sn_object *o, struct unit *u, uint64_t vaddr)
{
    uint32_t i;
    if (!u->walked)
        read_functions(o, u);
    i = spans_find(&u->spans, vaddr);
    if (i == SN_NONE && !u->deep) {
        u->deep = true;
        read_functions(o, u);
        i = spans_find(&u->spans, vaddr);
    }
    return i != SN_NONE ? &u->functions[i] : NULL;
}

/* ---- lines
 * -----------------------------------------------------------------------------
 */

char *path_clean(struct sn_arena *a, const char *raw)
{
    char *path = sn_arena_strdup(a, raw);
    if (path == NULL)
        return NULL;
    bool absolute = raw[0] == '/';
    char *to = path + absolute, *start = to;
    for (const char *from = raw; *from != '\0';) {
        size_t n = strcspn(from, "/");
        bool up = n == 2 && memcmp(from, "..", 2) == 0;
        if (up && to > start &&
            !(to - start >= 2 && memcmp(to - 2, "..", 2) == 0 &&
              (to - start == 2 || to[-3] == '/'))) {
            while (to > start && to[-1] != '/')
                to--;
            to -= to > start;
        } else if (n > 0 && !(n == 1 && *from == '.') && !(up && absolute)) {
            if (to > start)
                *to++ = '/';
            memmove(to, from, n);
            to += n;
        }
        from += n + (from[n] == '/');
    }
    *to = '\0';
    return path;
}

/* libdw leaves some paths relative to where the unit was compiled. */
static const char *whole_path(struct sn_object *o, struct unit *u, const char *raw)
{
    Dwarf_Attribute a;
    const char *directory = raw[0] != '/' && dwarf_attr(&u->body, DW_AT_comp_dir, &a)
                                ? dwarf_formstring(&a)
                                : NULL;
    if (directory == NULL && raw[0] != '/' && dwarf_attr(&u->die, DW_AT_comp_dir, &a))
        directory = dwarf_formstring(&a);
    return directory != NULL ? sn_arena_printf(o->arena, "%s/%s", directory, raw) : raw;
}

static const char *path_of(struct sn_object *o, struct unit *u, const char *raw)
{
    if (raw == NULL || strcmp(raw, "???") == 0 || /* file 0, before DWARF 5 */
        (o->path_ids == NULL && (o->path_ids = sn_map_new(o->arena)) == NULL))
        return "";
    uint32_t *id = sn_map_put(o->path_ids, (uintptr_t)raw);
    if (id == NULL)
        return "";
    if (*id == SN_NONE) {
        const char **path = SN_PUSH(o->arena, o->paths, o->n_paths, o->cap_paths);
        const char *whole = whole_path(o, u, raw);
        if (path == NULL || whole == NULL ||
            (*path = path_clean(o->arena, whole)) == NULL)
            return "";
        *id = o->n_paths - 1;
    }
    return o->paths[*id];
}

const char *dwarf_file(struct sn_object *o, struct unit *u, uint32_t file)
{
    return file < u->n_files ? path_of(o, u, dwarf_filesrc(u->files, file, NULL, NULL))
                             : "";
}

void dwarf_line(struct sn_object *o, struct unit *u, uint64_t vaddr,
                struct sn_object_frame *out)
{
    Dwarf_Line *row = dwarf_getsrc_die(&u->die, vaddr);
    int number;
    if (row == NULL)
        return;
    out->file = path_of(o, u, dwarf_linesrc(row, NULL, NULL));
    if (dwarf_lineno(row, &number) == 0 && number > 0)
        out->line = number;
    if (dwarf_linecol(row, &number) == 0 && number > 0)
        out->column = number;
}
