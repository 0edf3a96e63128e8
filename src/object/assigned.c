/*
 * assigned.c: what a call's result is likely to be, from debug information: the type that
 * the variable points to which is declared in the call's line, as in
 *
 *     struct node *n = malloc(sizeof *n);
 *
 * A guess, and only where there is such a variable. Entries are walked as dwarf.c does,
 * with bounded depth and fuel.
 */
#include "object_priv.h"

#include <dwarf.h>
#include <stdio.h>

struct search {
    struct sn_object *o;
    const char *file; /* of the call, as libdw names it */
    int line;
    Dwarf_Die found; /* the variable */
};

static bool is_there(struct search *s, Dwarf_Die *die)
{
    int line;
    if (dwarf_tag(die) != DW_TAG_variable || dwarf_decl_line(die, &line) != 0 ||
        line != s->line)
        return false;
    const char *file = dwarf_decl_file(die);
    return file != NULL && strcmp(file, s->file) == 0;
}

static bool look(struct search *s, Dwarf_Die *parent, unsigned depth)
{
    Dwarf_Die die;
    if (depth == MAX_DEPTH || dwarf_child(parent, &die) != 0)
        return false;
    do {
        int tag = dwarf_tag(&die);
        if (is_there(s, &die)) {
            s->found = die;
            return true;
        }
        if ((tag == DW_TAG_lexical_block || tag == DW_TAG_inlined_subroutine) &&
            look(s, &die, depth + 1))
            return true;
    } while (dwarf_next(s->o, &die));
    return false;
}

/* What the entry is of, without qualifiers and (`names`) what are but names for it. */
static bool type_of(Dwarf_Die *die, bool names, Dwarf_Die *type)
{
    Dwarf_Attribute a;
    Dwarf_Die from = *die;
    for (unsigned i = 0; i < 32; i++) {
        if (dwarf_attr_integrate(&from, DW_AT_type, &a) == NULL ||
            dwarf_formref_die(&a, type) == NULL)
            return false;
        int tag = dwarf_tag(type);
        if (tag != DW_TAG_const_type && tag != DW_TAG_volatile_type &&
            tag != DW_TAG_restrict_type && !(names && tag == DW_TAG_typedef))
            return true;
        from = *type;
    }
    return false;
}

static const char *kind_of(int tag, bool plain_names)
{
    if (plain_names)
        return "";
    return tag == DW_TAG_structure_type     ? "struct "
           : tag == DW_TAG_union_type       ? "union "
           : tag == DW_TAG_enumeration_type ? "enum "
                                            : "";
}

bool sn_object_assigned(struct sn_object *o, uint64_t vaddr, char *name, size_t size)
{
    struct search s = {.o = o};
    struct unit *u = dwarf_unit(o, vaddr);
    struct function *f = u != NULL ? dwarf_function(o, u, vaddr) : NULL;
    Dwarf_Line *row = f != NULL ? dwarf_getsrc_die(&u->die, vaddr) : NULL;
    Dwarf_Die pointer, type, next;
    unsigned stars = 0;
    if (row == NULL || dwarf_lineno(row, &s.line) != 0 || s.line <= 0 ||
        (s.file = dwarf_linesrc(row, NULL, NULL)) == NULL || !look(&s, &f->die, 0) ||
        !type_of(&s.found, true, &pointer) ||
        dwarf_tag(&pointer) != DW_TAG_pointer_type || !type_of(&pointer, false, &type))
        return false;
    while (dwarf_tag(&type) == DW_TAG_pointer_type && stars < 8) {
        stars++;
        if (!type_of(&type, false, &next))
            break; /* void */
        type = next;
    }
    const char *plain = dwarf_diename(&type);
    bool is_void = dwarf_tag(&type) == DW_TAG_pointer_type;
    if (plain == NULL && !is_void)
        return false;
    snprintf(name, size, "%s%s%s%.*s", kind_of(dwarf_tag(&type), u->mangles),
             is_void ? "void" : plain, stars > 0 ? " " : "", (int)stars, "********");
    return true;
}
