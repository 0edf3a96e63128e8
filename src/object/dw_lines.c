/*
 * dw_lines.c: the line-number program of a unit (§6.2) run once for the addresses asked
 * of: a row is looked at as it comes, and kept only where it covers one of them. Files
 * and their names are in the caller's arena, names in the sections.
 */
#include "object/dw.h"

#include <dwarf.h>

struct step { /* what a special opcode adds */
    uint16_t address;
    int16_t line;
};

struct program {
    const struct dw *d;
    const struct dw_unit *u;
    struct sn_arena *arena;
    struct dw_files *files;
    struct dw_cursor c;
    uint64_t header_end;
    uint8_t version, offset_size, address_size, least, opcode_base;
    bool is64;
    const uint8_t *lengths; /* operands of standard opcodes, from 1 */
    struct step steps[256];

    const uint64_t *vaddrs; /* ascending */
    struct dw_row *rows;
    uint32_t n, next; /* the first address that no row has come to */
    struct dw_row now, last;
    bool in_sequence;
};

/* ---- header, §6.2.4
 * ----------------------------------------------------------------------------
 */

static void add_directory(struct program *p, const char *name)
{
    struct dw_files *f = p->files;
    const char **d =
        SN_PUSH(p->arena, f->directories, f->n_directories, f->cap_directories);
    if (d != NULL)
        *d = name;
}

static void add_file(struct program *p, const char *name, uint64_t directory)
{
    struct dw_files *f = p->files;
    struct dw_file *file = SN_PUSH(p->arena, f->files, f->n_files, f->cap_files);
    if (file != NULL)
        *file = (struct dw_file){name, directory < UINT32_MAX ? (uint32_t)directory
                                                              : UINT32_MAX};
}

/* Name, directory, time and length; NULL at the end. */
static const char *old_file(struct program *p)
{
    const char *name = dw_inline_string(&p->c);
    if (name == NULL || name[0] == '\0')
        return NULL;
    uint64_t directory = dw_uleb(&p->c);
    dw_uleb(&p->c);
    dw_uleb(&p->c);
    add_file(p, name, directory);
    return name;
}

static void old_tables(struct program *p)
{
    const char *name;
    add_directory(p, p->u->directory);
    add_file(p, NULL, 0);
    while ((name = dw_inline_string(&p->c)) != NULL && name[0] != '\0')
        add_directory(p, name);
    while (!p->c.bad && old_file(p) != NULL)
        ;
}

struct format {
    uint64_t content;
    uint16_t form;
};

static void new_entry(struct program *p, const struct format *f, unsigned n, bool files)
{
    const char *path = NULL;
    uint64_t directory = 0;
    for (unsigned i = 0; i < n && !p->c.bad; i++) {
        struct dw_value v = {0, f[i].form};
        const char *string = NULL;
        if (f[i].form == DW_FORM_string)
            string = dw_inline_string(&p->c);
        else {
            v.v = dw_form(p->d, f[i].form, p->offset_size, &p->c);
            string = dw_string(p->d, p->u, v);
        }
        if (f[i].content == DW_LNCT_path)
            path = string;
        else if (f[i].content == DW_LNCT_directory_index)
            directory = v.v;
    }
    if (files)
        add_file(p, path, directory);
    else
        add_directory(p, path);
}

/* §6.2.4.1: entries described by formats. */
static void new_table(struct program *p, bool files)
{
    struct format formats[UINT8_MAX];
    unsigned n = (unsigned)dw_fixed(&p->c, 1);
    for (unsigned i = 0; i < n; i++) {
        formats[i].content = dw_uleb(&p->c);
        uint64_t form = dw_uleb(&p->c);
        formats[i].form = (uint16_t)form;
        p->c.bad |= form > UINT16_MAX;
    }
    uint64_t count = dw_uleb(&p->c);
    p->c.bad |= count > (uint64_t)(p->c.end - p->c.p);
    for (uint64_t i = 0; i < count && !p->c.bad; i++)
        new_entry(p, formats, n, files);
}

static void fill_steps(struct program *p, int line_base, unsigned line_range)
{
    for (unsigned op = p->opcode_base; op < 256; op++) {
        unsigned adjusted = op - p->opcode_base;
        p->steps[op] = (struct step){(uint16_t)(adjusted / line_range * p->least),
                                     (int16_t)(line_base + (int)(adjusted % line_range))};
    }
}

static bool read_header(struct program *p)
{
    const struct dw_bytes *b = &p->d->section[DW_LINE];
    struct dw_cursor *c = &p->c;
    *c = dw_at(b, p->u->lines, b->n);
    uint64_t length = dw_fixed(c, 4);
    p->offset_size = 4;
    if (length == UINT32_MAX) {
        p->offset_size = 8;
        length = dw_fixed(c, 8);
    }
    if (c->bad || length > (uint64_t)(c->end - c->p))
        return false;
    c->end = c->p + length;
    p->version = (uint8_t)dw_fixed(c, 2);
    if (p->version >= 5)
        dw_skip(c, 2); /* sizes of addresses and segment selectors */
    length = dw_fixed(c, p->offset_size);
    if (c->bad || p->version < 2 || p->version > 5 || length > (uint64_t)(c->end - c->p))
        return false;
    const uint8_t *program = c->p + length;
    p->least = (uint8_t)dw_fixed(c, 1);
    if (p->version >= 4 && dw_fixed(c, 1) > 1) /* several operations an instruction */
        return false;
    dw_skip(c, 1);                                       /* default_is_stmt */
    int line_base = (int)(dw_fixed(c, 1) ^ 0x80) - 0x80; /* a signed byte */
    unsigned line_range = (unsigned)dw_fixed(c, 1);
    p->opcode_base = (uint8_t)dw_fixed(c, 1);
    if (c->bad || line_range == 0 || p->opcode_base == 0)
        return false;
    fill_steps(p, line_base, line_range);
    p->lengths = c->p - 1;
    dw_skip(c, p->opcode_base - 1u);
    if (p->version >= 5) {
        new_table(p, false);
        new_table(p, true);
    } else
        old_tables(p);
    if (c->bad)
        return false;
    c->p = program;
    return true;
}

/* ---- rows, §6.2.5
 * ------------------------------------------------------------------------------
 */

/* The last row reaches to `end`. Where sequences overlap, the row that begins last is
 * right. */
static void give(struct program *p, uint64_t end)
{
    for (; p->next < p->n && p->vaddrs[p->next] < end; p->next++) {
        struct dw_row *row = &p->rows[p->next];
        if (!row->found || row->address <= p->last.address)
            *row = p->last;
    }
}

static inline void emit(struct program *p)
{
    if (!p->in_sequence || p->now.address < p->last.address) {
        /* What the linker threw away is not where code is. */
        p->next = p->in_sequence || object_is_code(p->d->o, p->now.address)
                      ? dw_first_from(p->vaddrs, p->n, p->now.address)
                      : p->n;
        p->in_sequence = true;
    } else if (p->next < p->n && p->vaddrs[p->next] < p->now.address)
        give(p, p->now.address);
    p->last = p->now;
}

static void reset(struct program *p)
{
    p->in_sequence = false;
    p->now = (struct dw_row){.file = 1, .line = 1, .found = true};
}

static void extended(struct program *p)
{
    uint64_t length = dw_uleb(&p->c);
    if (p->c.bad || length == 0 || length > (uint64_t)(p->c.end - p->c.p)) {
        p->c.bad |= length != 0;
        return;
    }
    const uint8_t *end = p->c.p + length;
    switch (dw_fixed(&p->c, 1)) {
    case DW_LNE_end_sequence:
        if (p->in_sequence)
            give(p, p->now.address);
        reset(p);
        break;
    case DW_LNE_set_address:
        p->now.address = length - 1 <= 8 ? dw_fixed(&p->c, (unsigned)length - 1) : 0;
        break;
    case DW_LNE_define_file:
        old_file(p);
        break;
    default:
        break;
    }
    p->c.p = end;
}

static void standard(struct program *p, uint8_t op)
{
    switch (op) {
    case DW_LNS_copy:
        emit(p);
        break;
    case DW_LNS_advance_pc:
        p->now.address += dw_uleb(&p->c) * p->least;
        break;
    case DW_LNS_advance_line:
        p->now.line += (uint32_t)dw_sleb(&p->c);
        break;
    case DW_LNS_set_file:
        p->now.file = (uint32_t)dw_uleb(&p->c);
        break;
    case DW_LNS_set_column:
        p->now.column = (uint32_t)dw_uleb(&p->c);
        break;
    case DW_LNS_const_add_pc:
        p->now.address += p->steps[255].address;
        break;
    case DW_LNS_fixed_advance_pc:
        p->now.address += dw_fixed(&p->c, 2);
        break;
    default: /* flags, and what is not known: so many operands */
        for (unsigned i = p->lengths[op]; i > 0; i--)
            dw_uleb(&p->c);
    }
}

static void run(struct program *p)
{
    reset(p);
    while (p->c.p < p->c.end && !p->c.bad) {
        uint8_t op = *p->c.p++;
        if (op >= p->opcode_base) {
            p->now.address += p->steps[op].address;
            p->now.line += (uint32_t)p->steps[op].line;
            emit(p);
        } else if (op != 0)
            standard(p, op);
        else
            extended(p);
    }
}

bool dw_lines(const struct dw *d, const struct dw_unit *u, struct sn_arena *a,
              const uint64_t *vaddrs, uint32_t n, struct dw_row *rows,
              struct dw_files *files)
{
    struct program p = {.d = d,
                        .u = u,
                        .arena = a,
                        .files = files,
                        .vaddrs = vaddrs,
                        .rows = rows,
                        .n = n};
    if (!u->has_lines)
        return true;
    if (!read_header(&p))
        return false;
    run(&p);
    return !p.c.bad;
}

/* ---- names of files
 * ----------------------------------------------------------------------------
 */

static const char *join(struct sn_arena *a, const char *directory, const char *name)
{
    return directory != NULL && name[0] != '/'
               ? sn_arena_printf(a, "%s/%s", directory, name)
               : name;
}

/* A directory that is relative is so to the first. */
const char *dw_path(struct dw_worker *w, struct sn_arena *a, const struct dw_files *f,
                    uint32_t file)
{
    if (file >= f->n_files || f->files[file].name == NULL)
        return "";
    const struct dw_file *x = &f->files[file];
    const char *directory =
        x->directory < f->n_directories ? f->directories[x->directory] : NULL;
    const char *first = f->n_directories > 0 ? f->directories[0] : NULL;
    uint64_t key = sn_hash_mix((uintptr_t)directory ^ sn_hash_mix((uintptr_t)first));
    uint32_t *id = sn_map_put(w->path_ids, key ^ (uintptr_t)x->name);
    if (id == NULL)
        return "";
    if (*id == SN_NONE) {
        const char *path = join(a, directory, x->name);
        path = path != NULL && x->directory != 0 ? join(a, first, path) : path;
        path = path != NULL ? path_clean(a, path) : NULL;
        *id = path != NULL ? sn_strtab_add(w->paths, path) : 0;
    }
    return sn_strtab_get(w->paths, *id);
}
