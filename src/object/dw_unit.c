/*
 * dw_unit.c: the sections of a file opened for our own reading, the units in them
 * (§7.5.1) and where their code is. Units are in the object's arena; the file is mapped,
 * and what is compressed in it is unpacked by libelf.
 */
#include "object/dw.h"

#include <dwarf.h>
#include <libdeflate.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* ---- sections
 * --------------------------------------------------------------------------------
 */

static const char *const names[DW_SECTIONS] = {
    [DW_INFO] = "info",
    [DW_ABBREV] = "abbrev",
    [DW_LINE] = "line",
    [DW_STR] = "str",
    [DW_LINE_STR] = "line_str",
    [DW_RANGES] = "ranges",
    [DW_RNGLISTS] = "rnglists",
    [DW_ADDR] = "addr",
    [DW_STR_OFFSETS] = "str_offsets",
};

/* zlib's best is about 1 to 1032. */
#define MAX_PACKED UINT64_C(1100)

/* How the section's bytes are packed: what is before them, and how many they become.
 * False: in a way not known here. */
static bool read_packing(Elf_Scn *s, const uint8_t *p, uint64_t n, bool old,
                         uint64_t *head, uint64_t *size)
{
    GElf_Chdr h;
    if (old) { /* "ZLIB", 8 bytes, big endian */
        *head = 12;
        *size = 0;
        for (unsigned i = 4; n >= 12 && i < 12; i++)
            *size = *size << 8 | p[i];
        return n >= 12 && memcmp(p, "ZLIB", 4) == 0;
    }
    if (gelf_getchdr(s, &h) == NULL || h.ch_type != ELFCOMPRESS_ZLIB)
        return false;
    *size = h.ch_size;
    return *head <= n;
}

/* Of what is packed in a way not known here nothing is taken. */
static void unpack(struct dw_bytes *b, Elf_Scn *s, const uint8_t *p, uint64_t n, bool old,
                   uint64_t head)
{
    uint64_t size;
    struct libdeflate_decompressor *z = libdeflate_alloc_decompressor();
    if (z != NULL && read_packing(s, p, n, old, &head, &size) && size > 0 &&
        size / MAX_PACKED <= n && (b->unpacked = sn_pages_map(size)) != NULL) {
        b->n = size;
        if (libdeflate_zlib_decompress(z, p + head, n - head, b->unpacked, size, NULL) ==
            LIBDEFLATE_SUCCESS)
            b->p = b->unpacked;
    }
    libdeflate_free_decompressor(z);
}

static void take(struct dw *d, enum dw_section i, Elf_Scn *s, const GElf_Shdr *h,
                 bool old)
{
    struct dw_bytes *b = &d->section[i];
    if (b->p != NULL || h->sh_type == SHT_NOBITS || h->sh_size == 0 ||
        h->sh_offset > d->map_size || h->sh_size > d->map_size - h->sh_offset)
        return;
    const uint8_t *p = (const uint8_t *)d->map + h->sh_offset;
    if (old || (h->sh_flags & SHF_COMPRESSED) != 0)
        unpack(b, s, p, h->sh_size, old,
               d->is64 ? sizeof(Elf64_Chdr) : sizeof(Elf32_Chdr));
    else {
        *b = (struct dw_bytes){.p = p, .n = h->sh_size, .mapped = true};
    }
    b->missing = b->p == NULL;
    b->terminated = b->p != NULL && b->p[b->n - 1] == 0;
}

static void find_sections(struct dw *d, Elf *elf)
{
    size_t strings;
    GElf_Shdr h;
    if (elf_getshdrstrndx(elf, &strings) != 0)
        return;
    for (Elf_Scn *s = NULL; (s = elf_nextscn(elf, s)) != NULL;) {
        const char *name =
            gelf_getshdr(s, &h) != NULL ? elf_strptr(elf, strings, h.sh_name) : NULL;
        bool old = name != NULL && strncmp(name, ".zdebug_", 8) == 0;
        if (name == NULL || (!old && strncmp(name, ".debug_", 7) != 0))
            continue;
        for (unsigned i = 0; i < DW_SECTIONS; i++)
            if (strcmp(name + 7 + old, names[i]) == 0)
                take(d, i, s, &h, old);
    }
}

/* ---- units
 * -----------------------------------------------------------------------------------
 */

/* False: the headers end here. */
static bool read_header(const struct dw *d, uint64_t offset, struct dw_unit *u)
{
    const struct dw_bytes *info = &d->section[DW_INFO];
    struct dw_cursor c = dw_at(info, offset, info->n);
    uint64_t length = dw_fixed(&c, 4), type = DW_UT_compile;
    *u = (struct dw_unit){.d = d, .offset = offset, .offset_size = 4};
    if (length == UINT32_MAX) {
        u->offset_size = 8;
        length = dw_fixed(&c, 8);
    }
    u->end = (uint64_t)(c.p - info->p) + length;
    if (c.bad || length == 0 || length > (uint64_t)(c.end - c.p))
        return false;
    u->version = (uint8_t)dw_fixed(&c, 2);
    if (u->version >= 5) {
        type = dw_fixed(&c, 1);
        u->address_size = (uint8_t)dw_fixed(&c, 1);
        u->abbrevs = dw_fixed(&c, u->offset_size);
        if (type == DW_UT_skeleton || type == DW_UT_split_compile)
            dw_skip(&c, 8);
        else if (type == DW_UT_type || type == DW_UT_split_type)
            dw_skip(&c, 8 + u->offset_size);
    } else {
        u->abbrevs = dw_fixed(&c, u->offset_size);
        u->address_size = (uint8_t)dw_fixed(&c, 1);
    }
    u->entry = (uint64_t)(c.p - info->p);
    u->unfit = u->version < 2 || u->version > 5 || c.bad || u->entry > u->end ||
               type == DW_UT_skeleton || type > DW_UT_partial ||
               (u->address_size != 4 && u->address_size != 8);
    return true;
}

static bool mangles(uint64_t language)
{
    return language == DW_LANG_C_plus_plus || language == DW_LANG_C_plus_plus_03 ||
           language == DW_LANG_C_plus_plus_11 || language == DW_LANG_C_plus_plus_14 ||
           language == DW_LANG_Rust;
}

/* Bases first, since the other attributes may depend on them. */
static void use_entry(const struct dw *d, struct dw_unit *u, const struct dw_entry *e)
{
    u->unfit |= e->v[DW_DWO].form != 0;
    u->str_offsets = e->v[DW_STR_OFFSETS_BASE].v;
    u->addresses = e->v[DW_ADDRESSES_BASE].v;
    u->rnglists = e->v[DW_RNGLISTS_BASE].v;
    u->mangles = mangles(e->v[DW_LANGUAGE].v);
    u->has_lines = e->v[DW_LINES].form != 0;
    u->lines = e->v[DW_LINES].v;
    u->directory = dw_string(d, u, e->v[DW_DIRECTORY]);
    dw_address(d, u, e->v[DW_LOW], &u->low);
}

/* Code the linker threw away keeps its ranges, near address 0. */
static void index_code(struct sn_object *o, struct dw *d, const struct dw_entry *e)
{
    struct dw_ranges r = dw_ranges(d, &d->units[d->n_units - 1], e, &o->fuel);
    while (dw_ranges_next(&r))
        if (object_is_code(o, r.lo))
            spans_add(&d->code, o->arena, r.lo, r.hi, d->n_units - 1);
}

/* The first entry of a unit; of its abbreviations no more is read than that takes. */
static bool first_entry(struct dw *d, struct dw_unit *u, struct dw_abbrevs *t,
                        uint64_t *fuel, uint16_t *tag, struct dw_entry *e)
{
    struct dw_cursor c = dw_at(&d->section[DW_INFO], u->entry, u->end);
    uint64_t code = dw_uleb(&c);
    const struct dw_abbrev *a = NULL;
    if (!dw_abbrevs_fit(t, u))
        dw_abbrevs_begin(t, u);
    if (!c.bad && code != 0 && (a = dw_abbrev(t, code)) == NULL &&
        dw_abbrevs_read(t, code, fuel))
        a = dw_abbrev(t, code);
    *tag = a != NULL ? a->tag : 0;
    return a != NULL && dw_entry_read(d, t, a, &c, e);
}

static void add_unit(struct sn_object *o, struct dw *d, const struct dw_unit *header,
                     struct dw_abbrevs *t)
{
    struct dw_entry e;
    uint16_t tag;
    struct dw_unit *u = SN_PUSH(o->arena, d->units, d->n_units, d->cap_units);
    if (u == NULL)
        return;
    *u = *header;
    if (u->unfit || !first_entry(d, u, t, &o->fuel, &tag, &e)) {
        u->unfit = true;
        return;
    }
    use_entry(d, u, &e);
    if (tag == DW_TAG_compile_unit || tag == DW_TAG_skeleton_unit)
        index_code(o, d, &e);
}

static bool read_units(struct sn_object *o, struct dw *d)
{
    struct dw_unit header;
    struct dw_abbrevs t = {.arena = sn_arena_new()};
    for (uint64_t at = 0; t.arena != NULL && o->fuel > 0 && read_header(d, at, &header);
         at = header.end) {
        o->fuel -= o->fuel < 16 ? o->fuel : 16;
        add_unit(o, d, &header, &t);
    }
    bool good = t.arena != NULL && !sn_arena_failed(t.arena);
    sn_arena_free(t.arena);
    spans_sort(&d->code);
    return good && !sn_arena_failed(o->arena);
}

const struct dw_unit *dw_unit_at(const struct dw *d, uint64_t offset)
{
    uint32_t lo = 0, hi = d->n_units;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (d->units[mid].end <= offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    const struct dw_unit *u = lo < d->n_units ? &d->units[lo] : NULL;
    return u != NULL && offset >= u->entry ? u : NULL;
}

/* ---- opening
 * ---------------------------------------------------------------------------------
 */

/* Is one there that could not be unpacked? */
static bool lacks_section(const struct dw *d)
{
    for (unsigned i = 0; i < DW_SECTIONS; i++)
        if (d->section[i].missing)
            return true;
    return false;
}

bool dw_open_alone(struct sn_object *o, struct dw *d, struct elf_file *f)
{
    struct stat st;
    GElf_Ehdr h;
    *d = (struct dw){.o = o};
    if (f->fd < 0 || fstat(f->fd, &st) != 0 || st.st_size <= 0 ||
        gelf_getehdr(f->elf, &h) == NULL || h.e_ident[EI_DATA] != ELFDATA2LSB)
        return false;
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, f->fd, 0);
    if (map == MAP_FAILED)
        return false;
    d->map = map;
    d->map_size = (size_t)st.st_size;
    d->is64 = h.e_ident[EI_CLASS] == ELFCLASS64;
    find_sections(d, f->elf);
    uint64_t fuel = o->fuel; /* elfutils' walk has its own */
    bool good = d->section[DW_INFO].p != NULL && d->section[DW_ABBREV].p != NULL &&
                !lacks_section(d) && read_units(o, d);
    o->fuel = fuel;
    if (!good)
        dw_close(d);
    return good;
}

bool dw_open(struct sn_object *o, struct dw *d, struct elf_file *f)
{
    GElf_Ehdr h; /* of what is still to be linked nothing is where it says */
    if (gelf_getehdr(f->elf, &h) == NULL || h.e_type == ET_REL || !dw_open_alone(o, d, f))
        return false;
    dw_alternate_open(o, d, f);
    return true;
}

void dw_give_back(const struct dw *d, const struct dw_unit *u)
{
    const struct dw_bytes *info = &d->section[DW_INFO];
    uintptr_t page = 4096,
              from = ((uintptr_t)info->p + u->offset + page - 1) & ~(page - 1),
              to = ((uintptr_t)info->p + u->end) & ~(page - 1);
    if (info->mapped && from < to)
        madvise((void *)from, to - from, MADV_DONTNEED);
}

void dw_close(struct dw *d)
{
    for (unsigned i = 0; i < DW_SECTIONS; i++)
        if (d->section[i].unpacked != NULL)
            sn_pages_unmap(d->section[i].unpacked, d->section[i].n);
    if (d->map != NULL)
        munmap(d->map, d->map_size);
    if (d->alternate != NULL) {
        struct elf_file image = d->alternate->image;
        dw_close(d->alternate);
        elf_file_close(&image);
    }
    *d = (struct dw){0};
}

/* ---- ranges
 * ----------------------------------------------------------------------------------
 */

/* DW_FORM_rnglistx is an index into offsets that are relative to where they begin. */
static bool list_offset(const struct dw *d, const struct dw_unit *u, struct dw_value v,
                        uint64_t *offset)
{
    const struct dw_bytes *b = &d->section[DW_RNGLISTS];
    *offset = v.v;
    if (v.form != DW_FORM_rnglistx)
        return true;
    if (u->rnglists > b->n || v.v >= (b->n - u->rnglists) / u->offset_size)
        return false;
    struct dw_cursor c = dw_at(b, u->rnglists + v.v * u->offset_size, b->n);
    *offset = u->rnglists + dw_fixed(&c, u->offset_size);
    return true;
}

struct dw_ranges dw_ranges(const struct dw *d, const struct dw_unit *u,
                           const struct dw_entry *e, uint64_t *fuel)
{
    struct dw_ranges r = {.d = d, .u = u, .base = u->low, .fuel = fuel};
    const struct dw_value *high = &e->v[DW_HIGH];
    enum dw_section s = u->version >= 5 ? DW_RNGLISTS : DW_RANGES;
    uint64_t offset;
    if (e->v[DW_RANGES_LIST].form != 0 &&
        list_offset(d, u, e->v[DW_RANGES_LIST], &offset)) {
        r.kind = s == DW_RNGLISTS ? DW_RANGES_NEW : DW_RANGES_OLD;
        r.c = dw_at(&d->section[s], offset, d->section[s].n);
    } else if (high->form != 0 && dw_address(d, u, e->v[DW_LOW], &r.lo)) {
        r.kind = DW_RANGES_ONE;
        if (!dw_address(d, u, *high, &r.hi))
            r.hi = r.lo + high->v;
    }
    return r;
}

/* .debug_ranges, DWARF 4 §2.17.3: pairs; of the greatest address, a new base. */
static bool next_old(struct dw_ranges *r)
{
    unsigned size = r->u->address_size;
    uint64_t most = size == 8 ? UINT64_MAX : UINT32_MAX;
    for (;;) {
        uint64_t lo = dw_fixed(&r->c, size), hi = dw_fixed(&r->c, size);
        *r->fuel -= *r->fuel < 16 ? *r->fuel : 16;
        if (r->c.bad || *r->fuel == 0 || (lo == 0 && hi == 0))
            return false;
        r->lo = r->base + lo;
        r->hi = r->base + hi;
        if (lo == most)
            r->base = hi;
        else if (r->lo < r->hi)
            return true;
    }
}

static uint64_t indexed(struct dw_ranges *r)
{
    uint64_t address = 0;
    r->c.bad |= !dw_address(r->d, r->u, (struct dw_value){dw_uleb(&r->c), DW_FORM_addrx},
                            &address);
    return address;
}

/* .debug_rnglists, §7.25. */
static bool next_new(struct dw_ranges *r)
{
    unsigned size = r->u->address_size;
    while (!r->c.bad && *r->fuel > 0) {
        *r->fuel -= *r->fuel < 16 ? *r->fuel : 16;
        r->lo = r->hi = 0;
        switch (dw_fixed(&r->c, 1)) {
        case DW_RLE_base_addressx:
            r->base = indexed(r);
            break;
        case DW_RLE_startx_endx:
            r->lo = indexed(r);
            r->hi = indexed(r);
            break;
        case DW_RLE_startx_length:
            r->lo = indexed(r);
            r->hi = r->lo + dw_uleb(&r->c);
            break;
        case DW_RLE_offset_pair:
            r->lo = r->base + dw_uleb(&r->c);
            r->hi = r->base + dw_uleb(&r->c);
            break;
        case DW_RLE_base_address:
            r->base = dw_fixed(&r->c, size);
            break;
        case DW_RLE_start_end:
            r->lo = dw_fixed(&r->c, size);
            r->hi = dw_fixed(&r->c, size);
            break;
        case DW_RLE_start_length:
            r->lo = dw_fixed(&r->c, size);
            r->hi = r->lo + dw_uleb(&r->c);
            break;
        default: /* DW_RLE_end_of_list, or nothing known */
            return false;
        }
        if (!r->c.bad && r->lo < r->hi)
            return true;
    }
    return false;
}

bool dw_ranges_next(struct dw_ranges *r)
{
    switch (r->kind) {
    case DW_RANGES_ONE:
        r->kind = DW_RANGES_NONE;
        return r->lo < r->hi;
    case DW_RANGES_OLD:
        return next_old(r);
    case DW_RANGES_NEW:
        return next_new(r);
    default:
        return false;
    }
}
