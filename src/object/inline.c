/*
 * inline.c: the calls inlined into a function, as a tree in preorder, built once for each
 * function that is hit; an address is looked up by descending it.
 */
#include "object_priv.h"

#include <dwarf.h>
#include <stdio.h>

#define MAX_ORIGINS 16 /* abstract origins and specifications followed for a name */

/* ---- building
 * --------------------------------------------------------------------------
 */

static int64_t number(Dwarf_Die *die, unsigned name)
{
    Dwarf_Attribute a;
    Dwarf_Word value;
    return dwarf_attr(die, name, &a) != NULL && dwarf_formudata(&a, &value) == 0 &&
                   value <= INT32_MAX
               ? (int64_t)value
               : 0;
}

static void add_call(struct sn_object *o, struct function *f, Dwarf_Die *die)
{
    ptrdiff_t state = 0;
    uint64_t base;
    struct range r, *new;
    struct call *c = SN_PUSH(o->arena, f->calls, f->n_calls, f->cap_calls);
    if (c == NULL)
        return;
    *c = (struct call){.die = *die,
                       .range0 = f->n_ranges,
                       .file = (uint32_t)number(die, DW_AT_call_file),
                       .line = number(die, DW_AT_call_line),
                       .column = number(die, DW_AT_call_column)};
    while (dwarf_range(o, die, &state, &base, &r) &&
           (new = SN_PUSH(o->arena, f->ranges, f->n_ranges, f->cap_ranges)) != NULL)
        *new = r;
    c->n_ranges = f->n_ranges - c->range0;
}

static void walk_calls(struct sn_object *o, struct function *f, Dwarf_Die *parent,
                       unsigned depth)
{
    Dwarf_Die die;
    if (depth == MAX_DEPTH || dwarf_child(parent, &die) != 0)
        return;
    do {
        uint32_t i = f->n_calls;
        switch (dwarf_tag(&die)) {
        case DW_TAG_inlined_subroutine:
            add_call(o, f, &die);
            walk_calls(o, f, &die, depth + 1);
            if (i < f->n_calls)
                f->calls[i].end = f->n_calls;
            break;
        case DW_TAG_lexical_block:
        case DW_TAG_try_block:
        case DW_TAG_catch_block:
        case DW_TAG_with_stmt:
            walk_calls(o, f, &die, depth + 1);
            break;
        default:
            break;
        }
    } while (dwarf_next(o, &die));
}

static void read_calls(struct sn_object *o, struct function *f)
{
    f->walked = true;
    o->furthest = NULL;
    add_call(o, f, &f->die);
    walk_calls(o, f, &f->die, 0);
    if (f->n_calls > 0)
        f->calls[0].end = f->n_calls;
}

/* ---- names
 * -----------------------------------------------------------------------------
 */

static const char *string(Dwarf_Die *die, unsigned name)
{
    Dwarf_Attribute a;
    return dwarf_attr(die, name, &a) != NULL ? dwarf_formstring(&a) : NULL;
}

static bool step_to_origin(Dwarf_Die *die)
{
    static const unsigned links[] = {DW_AT_abstract_origin, DW_AT_specification};
    Dwarf_Attribute a;
    Dwarf_Die next;
    for (size_t i = 0; i < SN_COUNT(links); i++)
        if (dwarf_attr(die, links[i], &a) != NULL &&
            dwarf_formref_die(&a, &next) != NULL) {
            *die = next;
            return true;
        }
    return false;
}

const char *name_by_symbol(struct sn_object *o, uint64_t vaddr, const char *plain)
{
    const char *symbol = symbol_name(o, vaddr);
    bool better = symbol != NULL && (plain == NULL || strncmp(symbol, "_Z", 2) == 0 ||
                                     strncmp(symbol, "_R", 2) == 0);
    return better ? symbol : plain != NULL ? plain : "";
}

/* The name for the linker if the entry or those it stands for have one, else the plain
 * one, which in C++ and Rust lacks the namespace: better then what .symtab says. */
static void name_call(struct sn_object *o, struct unit *u, struct call *c, uint64_t vaddr,
                      bool outermost)
{
    Dwarf_Die die = c->die;
    const char *linkage = NULL, *plain = NULL;
    unsigned steps = 0;
    do {
        linkage = string(&die, DW_AT_linkage_name);
        if (linkage == NULL)
            linkage = string(&die, DW_AT_MIPS_linkage_name);
        if (plain == NULL)
            plain = string(&die, DW_AT_name);
        if (c->start_line == 0)
            c->start_line = number(&die, DW_AT_decl_line);
    } while (linkage == NULL && ++steps < MAX_ORIGINS && step_to_origin(&die));
    c->named = true;
    c->name = linkage != NULL ? linkage : plain != NULL ? plain : "";
    if (linkage != NULL || !outermost || (plain != NULL && !u->mangles))
        return;
    c->name = name_by_symbol(o, vaddr, plain);
}

/* ---- looking up
 * ------------------------------------------------------------------------
 */

static bool covers(const struct function *f, const struct call *c, uint64_t vaddr)
{
    for (uint32_t i = 0; i < c->n_ranges; i++) {
        const struct range *r = &f->ranges[c->range0 + i];
        if (vaddr >= r->lo && vaddr < r->hi)
            return true;
    }
    return false;
}

/* From the function inwards; the number of calls found. */
static size_t find_calls(const struct function *f, uint64_t vaddr,
                         uint32_t path[MAX_DEPTH])
{
    size_t n = 0;
    path[n++] = 0;
    for (uint32_t i = 1, end = f->n_calls; i < end && n < MAX_DEPTH;) {
        if (covers(f, &f->calls[i], vaddr)) {
            end = f->calls[i].end;
            path[n++] = i++;
        } else
            i = f->calls[i].end;
    }
    return n;
}

size_t inline_frames(struct sn_object *o, struct unit *u, struct function *f,
                     uint64_t vaddr, bool inlines, struct sn_object_frame *out,
                     size_t max)
{
    uint32_t path[MAX_DEPTH];
    if (!f->walked)
        read_calls(o, f);
    if (f->n_calls == 0)
        return 0;
    size_t depth = find_calls(f, vaddr, path), n = 0;
    struct call *inner = NULL;
    for (size_t i = depth; i-- > 0 && n < max; inner = &f->calls[path[i]]) {
        struct call *c = &f->calls[path[i]];
        if (!inlines && i > 0)
            continue;
        if (!c->named)
            name_call(o, u, c, vaddr, i == 0);
        out[n] = (struct sn_object_frame){
            .name = c->name, .file = "", .start_line = c->start_line};
        if (inner == NULL)
            dwarf_line(o, u, vaddr, &out[n]);
        else {
            out[n].file = dwarf_file(o, u, inner->file);
            out[n].line = inner->line;
            out[n].column = inner->column;
        }
        n++;
    }
    return n;
}
