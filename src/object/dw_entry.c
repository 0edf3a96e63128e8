/*
 * dw_entry.c: abbreviations (§7.5.3), and the attributes of entries read or stepped over
 * by them. Tables are in the arena of who asks; the rest allocates nothing.
 */
#include "object/dw.h"

#include <dwarf.h>

/* ---- forms, §7.5.6
 * ------------------------------------------------------------------------------
 */

enum kind { /* below KINDS: so many bytes */
            K_UNKNOWN = 32,
            K_ADDRESS,
            K_OFFSET,   /* 4 or 8, as the unit has them */
            K_REF_ADDR, /* in DWARF 2 an address's size */
            K_ULEB,
            K_SLEB,
            K_STRING,
            K_BLOCK1,
            K_BLOCK2,
            K_BLOCK4,
            K_BLOCK,
            K_INDIRECT
};

/* As value 0 is a size, too, those that are not here are told by their number. */
static const uint8_t kinds[] = {
    [DW_FORM_addr] = K_ADDRESS,
    [DW_FORM_block2] = K_BLOCK2,
    [DW_FORM_block4] = K_BLOCK4,
    [DW_FORM_data2] = 2,
    [DW_FORM_data4] = 4,
    [DW_FORM_data8] = 8,
    [DW_FORM_string] = K_STRING,
    [DW_FORM_block] = K_BLOCK,
    [DW_FORM_block1] = K_BLOCK1,
    [DW_FORM_data1] = 1,
    [DW_FORM_flag] = 1,
    [DW_FORM_sdata] = K_SLEB,
    [DW_FORM_strp] = K_OFFSET,
    [DW_FORM_udata] = K_ULEB,
    [DW_FORM_ref_addr] = K_REF_ADDR,
    [DW_FORM_ref1] = 1,
    [DW_FORM_ref2] = 2,
    [DW_FORM_ref4] = 4,
    [DW_FORM_ref8] = 8,
    [DW_FORM_ref_udata] = K_ULEB,
    [DW_FORM_indirect] = K_INDIRECT,
    [DW_FORM_sec_offset] = K_OFFSET,
    [DW_FORM_exprloc] = K_BLOCK,
    [DW_FORM_flag_present] = 0,
    [DW_FORM_strx] = K_ULEB,
    [DW_FORM_addrx] = K_ULEB,
    [DW_FORM_ref_sup4] = 4,
    [DW_FORM_strp_sup] = K_OFFSET,
    [DW_FORM_data16] = 16,
    [DW_FORM_line_strp] = K_OFFSET,
    [DW_FORM_ref_sig8] = 8,
    [DW_FORM_implicit_const] = 0,
    [DW_FORM_loclistx] = K_ULEB,
    [DW_FORM_rnglistx] = K_ULEB,
    [DW_FORM_ref_sup8] = 8,
    [DW_FORM_strx1] = 1,
    [DW_FORM_strx2] = 2,
    [DW_FORM_strx3] = 3,
    [DW_FORM_strx4] = 4,
    [DW_FORM_addrx1] = 1,
    [DW_FORM_addrx2] = 2,
    [DW_FORM_addrx3] = 3,
    [DW_FORM_addrx4] = 4,
};

static unsigned kind_of(uint64_t form)
{
    if (form == DW_FORM_GNU_ref_alt || form == DW_FORM_GNU_strp_alt)
        return K_OFFSET;
    if (form == DW_FORM_GNU_addr_index || form == DW_FORM_GNU_str_index)
        return K_ULEB;
    return form > 2 || form == DW_FORM_addr
               ? form < SN_COUNT(kinds) ? kinds[form] : K_UNKNOWN
               : K_UNKNOWN;
}

/* Bytes, or DW_VARIES. */
static uint8_t size_of(const struct dw_abbrevs *t, unsigned kind)
{
    switch (kind) {
    case K_ADDRESS:
        return t->address_size;
    case K_OFFSET:
        return t->offset_size;
    case K_REF_ADDR:
        return t->version <= 2 ? t->address_size : t->offset_size;
    default:
        return kind < K_UNKNOWN ? (uint8_t)kind : DW_VARIES;
    }
}

/* ---- tables
 * ---------------------------------------------------------------------------------
 */

/* One more than what they are wanted as; 0: nobody here asks for them. */
static const uint8_t wanted[] = {
    [DW_AT_sibling] = DW_SIBLING + 1,
    [DW_AT_name] = DW_NAME + 1,
    [DW_AT_stmt_list] = DW_LINES + 1,
    [DW_AT_low_pc] = DW_LOW + 1,
    [DW_AT_high_pc] = DW_HIGH + 1,
    [DW_AT_language] = DW_LANGUAGE + 1,
    [DW_AT_comp_dir] = DW_DIRECTORY + 1,
    [DW_AT_abstract_origin] = DW_ORIGIN + 1,
    [DW_AT_decl_line] = DW_DECLARED_LINE + 1,
    [DW_AT_specification] = DW_SPECIFICATION + 1,
    [DW_AT_ranges] = DW_RANGES_LIST + 1,
    [DW_AT_call_column] = DW_CALL_COLUMN + 1,
    [DW_AT_call_file] = DW_CALL_FILE + 1,
    [DW_AT_call_line] = DW_CALL_LINE + 1,
    [DW_AT_linkage_name] = DW_LINKAGE_NAME + 1,
    [DW_AT_str_offsets_base] = DW_STR_OFFSETS_BASE + 1,
    [DW_AT_addr_base] = DW_ADDRESSES_BASE + 1,
    [DW_AT_rnglists_base] = DW_RNGLISTS_BASE + 1,
    [DW_AT_dwo_name] = DW_DWO + 1,
};

static uint8_t wanted_as(uint64_t name)
{
    return name < SN_COUNT(wanted)           ? wanted[name]
           : name == DW_AT_MIPS_linkage_name ? DW_LINKAGE_NAME + 1
           : name == DW_AT_GNU_dwo_name      ? DW_DWO + 1
                                             : 0;
}

/* Codes count from 1 without great gaps, so that a table of them is small. */
static struct dw_abbrev *add_abbrev(struct dw_abbrevs *t, uint64_t code, uint64_t so_far)
{
    if (code == 0 || code > 2 * so_far + 1024)
        return NULL;
    while (t->n <= code)
        if (SN_PUSH(t->arena, t->v, t->n, t->cap) == NULL)
            return NULL;
    return &t->v[code];
}

static bool read_specs(struct dw_abbrevs *t, struct dw_abbrev *a, struct dw_cursor *c)
{
    uint32_t size = 0;
    a->spec0 = t->n_specs;
    a->sibling = DW_UNKNOWN;
    while (!c->bad) {
        uint64_t name = dw_uleb(c), form = dw_uleb(c);
        unsigned kind = kind_of(form);
        if (name == 0 && form == 0)
            break;
        struct dw_spec *s = SN_PUSH(t->arena, t->specs, t->n_specs, t->cap_specs);
        if (s == NULL || kind == K_UNKNOWN)
            return false;
        *s = (struct dw_spec){(uint16_t)form, size_of(t, kind), wanted_as(name), 0};
        if (form == DW_FORM_implicit_const)
            s->constant = dw_sleb(c);
        if (s->wanted == DW_SIBLING + 1 && size < DW_UNKNOWN && s->size <= 8 &&
            form != DW_FORM_ref_addr) {
            a->sibling = (uint16_t)size;
            a->sibling_size = s->size;
        }
        size = size < DW_UNKNOWN && s->size != DW_VARIES ? size + s->size : DW_UNKNOWN;
    }
    a->size = (uint16_t)(size < DW_UNKNOWN ? size : DW_UNKNOWN);
    a->n_specs = t->n_specs - a->spec0;
    return !c->bad;
}

bool dw_abbrevs_fit(const struct dw_abbrevs *t, const struct dw_unit *u)
{
    return t->d == u->d && t->offset == u->abbrevs && t->version == u->version &&
           t->offset_size == u->offset_size && t->address_size == u->address_size;
}

void dw_abbrevs_begin(struct dw_abbrevs *t, const struct dw_unit *u)
{
    if (t->n > 0)
        memset(t->v, 0, t->n * sizeof *t->v);
    t->n = t->n_specs = t->count = 0;
    t->offset = t->next = u->abbrevs;
    t->d = u->d;
    t->version = u->version;
    t->offset_size = u->offset_size;
    t->address_size = u->address_size;
    t->state = DW_TABLE_OPEN;
}

/* False: it was the last. */
static bool read_one(struct dw_abbrevs *t, struct dw_cursor *c, uint64_t *code)
{
    *code = dw_uleb(c);
    uint64_t tag = *code != 0 ? dw_uleb(c) : 0;
    if (*code == 0 && !c->bad) {
        t->state = DW_TABLE_WHOLE;
        return false;
    }
    struct dw_abbrev *a = tag != 0 ? add_abbrev(t, *code, t->count++) : NULL;
    c->bad |= a == NULL || a->tag != 0 || tag > UINT16_MAX;
    if (c->bad)
        return false;
    a->children = dw_fixed(c, 1) == DW_CHILDREN_yes;
    c->bad |= !read_specs(t, a, c);
    a->tag = (uint16_t)tag;
    return !c->bad;
}

bool dw_abbrevs_read(struct dw_abbrevs *t, uint64_t until, uint64_t *fuel)
{
    const struct dw_bytes *b = &t->d->section[DW_ABBREV];
    struct dw_cursor c = dw_at(b, t->next, b->n);
    uint64_t code = 0;
    while (t->state == DW_TABLE_OPEN && (until == 0 || code != until) &&
           read_one(t, &c, &code))
        ;
    uint64_t next = c.bad ? t->next : (uint64_t)(c.p - b->p), read = next - t->next;
    *fuel -= read < *fuel ? read : *fuel;
    t->next = next;
    if (c.bad || *fuel == 0)
        t->state = DW_TABLE_BROKEN;
    return t->state != DW_TABLE_BROKEN;
}

/* ---- attributes
 * -------------------------------------------------------------------------------
 */

const char *dw_inline_string(struct dw_cursor *c)
{
    const uint8_t *p = c->p;
    const uint8_t *end = p < c->end ? memchr(p, '\0', (size_t)(c->end - p)) : NULL;
    dw_skip(c, end != NULL ? (uint64_t)(end - p) + 1 : UINT64_MAX);
    return end != NULL ? (const char *)p : NULL;
}

const char *dw_string_at(const struct dw_bytes *b, uint64_t offset)
{
    if (offset >= b->n ||
        (!b->terminated && memchr(b->p + offset, '\0', (size_t)(b->n - offset)) == NULL))
        return NULL;
    return (const char *)b->p + offset;
}

/* The value, of blocks nothing; past it. */
static uint64_t read_value(const struct dw *d, uint8_t size, uint16_t form,
                           struct dw_cursor *c)
{
    uint64_t at;
    if (size == 16)
        dw_skip(c, 16);
    if (size <= 8)
        return dw_fixed(c, size);
    switch (kind_of(form)) {
    case K_ULEB:
        return dw_uleb(c);
    case K_SLEB:
        return (uint64_t)dw_sleb(c);
    case K_STRING:
        at = (uint64_t)(c->p - d->section[DW_INFO].p);
        dw_inline_string(c);
        return at;
    case K_BLOCK1:
        dw_skip(c, dw_fixed(c, 1));
        return 0;
    case K_BLOCK2:
        dw_skip(c, dw_fixed(c, 2));
        return 0;
    case K_BLOCK4:
        dw_skip(c, dw_fixed(c, 4));
        return 0;
    case K_BLOCK:
        dw_skip(c, dw_uleb(c));
        return 0;
    default: /* 16 bytes; or DW_FORM_indirect, which nobody writes */
        c->bad |= size != 16;
        return 0;
    }
}

uint64_t dw_form(const struct dw *d, uint16_t form, uint8_t offset_size,
                 struct dw_cursor *c)
{
    const struct dw_abbrevs sizes = {.offset_size = offset_size, .address_size = 8};
    return read_value(d, size_of(&sizes, kind_of(form)), form, c);
}

bool dw_entry_read(const struct dw *d, const struct dw_abbrevs *t,
                   const struct dw_abbrev *a, struct dw_cursor *c, struct dw_entry *e)
{
    memset(e, 0, sizeof *e);
    for (uint32_t i = 0; i < a->n_specs && !c->bad; i++) {
        const struct dw_spec *s = &t->specs[a->spec0 + i];
        if (s->wanted == 0 && s->size != DW_VARIES) {
            dw_skip(c, s->size);
            continue;
        }
        uint64_t v = read_value(d, s->size, s->form, c);
        if (s->form == DW_FORM_implicit_const)
            v = (uint64_t)s->constant;
        if (s->wanted != 0 && e->v[s->wanted - 1].form == 0)
            e->v[s->wanted - 1] = (struct dw_value){v, s->form};
    }
    return !c->bad;
}

static bool skip_one_by_one(const struct dw *d, const struct dw_abbrevs *t,
                            const struct dw_abbrev *a, struct dw_cursor *c)
{
    for (uint32_t i = 0; i < a->n_specs && !c->bad; i++) {
        const struct dw_spec *s = &t->specs[a->spec0 + i];
        if (s->size != DW_VARIES)
            dw_skip(c, s->size);
        else
            read_value(d, s->size, s->form, c);
    }
    return !c->bad;
}

bool dw_entry_skip(const struct dw *d, const struct dw_abbrevs *t,
                   const struct dw_abbrev *a, struct dw_cursor *c)
{
    if (a->size == DW_UNKNOWN)
        return skip_one_by_one(d, t, a, c);
    dw_skip(c, a->size);
    return !c->bad;
}

/* By DW_AT_sibling, if it is there and leads forward. */
static bool jump(const struct dw *d, const struct dw_unit *u, const struct dw_abbrev *a,
                 struct dw_cursor *c)
{
    struct dw_cursor to = *c;
    if (a->sibling == DW_UNKNOWN)
        return false;
    dw_skip(&to, a->sibling);
    uint64_t sibling = u->offset + dw_fixed(&to, a->sibling_size);
    uint64_t here = (uint64_t)(to.p - d->section[DW_INFO].p);
    if (to.bad || sibling < here || sibling > u->end)
        return false;
    c->p = d->section[DW_INFO].p + sibling;
    return true;
}

bool dw_subtree_skip(const struct dw *d, const struct dw_unit *u,
                     const struct dw_abbrevs *t, const struct dw_abbrev *a,
                     struct dw_cursor *c)
{
    uint64_t depth = 0;
    do {
        if (a != NULL && !(a->children && jump(d, u, a, c))) {
            if (!dw_entry_skip(d, t, a, c))
                return false;
            depth += a->children;
        }
        if (depth == 0)
            break;
        uint64_t code = dw_uleb(c);
        a = dw_abbrev(t, code);
        depth -= code == 0;
        c->bad |= a == NULL && code != 0;
    } while (depth > 0 && !c->bad);
    return !c->bad;
}

/* ---- what attributes mean
 * ---------------------------------------------------------------------
 */

static uint64_t element(const struct dw_bytes *b, uint64_t base, uint64_t i,
                        unsigned size, bool *good)
{
    if (base > b->n || i >= (b->n - base) / size) {
        *good = false;
        return 0;
    }
    struct dw_cursor c = dw_at(b, base + i * size, b->n);
    return dw_fixed(&c, size);
}

const char *dw_string(const struct dw *d, const struct dw_unit *u, struct dw_value v)
{
    bool good = true;
    switch (v.form) {
    case DW_FORM_string:
        return dw_string_at(&d->section[DW_INFO], v.v);
    case DW_FORM_strp:
        return dw_string_at(&d->section[DW_STR], v.v);
    case DW_FORM_GNU_strp_alt:
    case DW_FORM_strp_sup:
        return d->alternate != NULL ? dw_string_at(&d->alternate->section[DW_STR], v.v)
                                    : NULL;
    case DW_FORM_line_strp:
        return dw_string_at(&d->section[DW_LINE_STR], v.v);
    case DW_FORM_strx:
    case DW_FORM_strx1:
    case DW_FORM_strx2:
    case DW_FORM_strx3:
    case DW_FORM_strx4:
        v.v = element(&d->section[DW_STR_OFFSETS], u->str_offsets, v.v, u->offset_size,
                      &good);
        return good ? dw_string_at(&d->section[DW_STR], v.v) : NULL;
    default:
        return NULL;
    }
}

bool dw_address(const struct dw *d, const struct dw_unit *u, struct dw_value v,
                uint64_t *address)
{
    bool good = true;
    switch (v.form) {
    case DW_FORM_addr:
        *address = v.v;
        return true;
    case DW_FORM_addrx:
    case DW_FORM_addrx1:
    case DW_FORM_addrx2:
    case DW_FORM_addrx3:
    case DW_FORM_addrx4:
        *address =
            element(&d->section[DW_ADDR], u->addresses, v.v, u->address_size, &good);
        return good;
    default:
        return false;
    }
}

uint32_t dw_number(struct dw_value v)
{
    return v.v <= INT32_MAX ? (uint32_t)v.v : 0;
}

uint64_t dw_reference(const struct dw_unit *u, struct dw_value v)
{
    switch (v.form) {
    case DW_FORM_ref1:
    case DW_FORM_ref2:
    case DW_FORM_ref4:
    case DW_FORM_ref8:
    case DW_FORM_ref_udata:
        return v.v < u->end - u->offset ? u->offset + v.v : 0;
    case DW_FORM_ref_addr:
        return v.v;
    default:
        return 0;
    }
}

bool dw_is_alternate(struct dw_value v, uint64_t *offset)
{
    *offset = v.v;
    return v.form == DW_FORM_GNU_ref_alt || v.form == DW_FORM_ref_sup4 ||
           v.form == DW_FORM_ref_sup8;
}
