/*
 * dw.h: our own reading of DWARF 2 to 5, for many addresses at once.
 *
 * elfutils decodes every attribute of every entry and every row of every line table that
 * it is asked of. To name some addresses most of it can be stepped over: entries with
 * their DW_AT_sibling, attributes with sizes known from the abbreviation, rows without
 * keeping them. What is here reads the sections in place, copies nothing, and allocates
 * only what it found. What it does not know (split units, big endian, forms of tomorrow)
 * it leaves to dwarf.c and inline.c, which answer by elfutils.
 *
 * Input is hostile: every read is bounded by its section, every walk goes forward, and
 * what may be referred to many times costs fuel. After opening, struct dw and its units
 * are only read, so that threads share them.
 *
 * "§" are sections of the DWARF 5 standard.
 */
#ifndef SN_DW_H
#define SN_DW_H

#include "object/object_priv.h"

enum dw_section {
    DW_INFO,
    DW_ABBREV,
    DW_LINE,
    DW_STR,
    DW_LINE_STR,
    DW_RANGES,
    DW_RNGLISTS,
    DW_ADDR,
    DW_STR_OFFSETS,
    DW_SECTIONS
};

struct dw_bytes {
    const uint8_t *p;
    uint64_t n;
    bool terminated; /* the last byte is 0: a string that begins inside ends inside */
    bool missing;    /* there, but not to be had */
    void *unpacked;  /* pages of our own; NULL: as it is in the file */
    bool mapped;     /* of the file, so that its pages can be given back */
};

struct dw;

struct dw_unit { /* §7.5.1, and of its first entry what is needed, §3.1 */
    const struct dw *d;
    uint64_t offset, end, entry; /* in .debug_info */
    uint64_t abbrevs;            /* offset of its table */
    uint8_t version, offset_size, address_size;
    bool mangles; /* C++ or Rust: a function's mangled name may be in .symtab alone */
    bool unfit;   /* to be left to elfutils */
    bool has_lines;
    uint64_t low;                              /* what ranges are relative to */
    uint64_t lines;                            /* DW_AT_stmt_list */
    uint64_t str_offsets, addresses, rnglists; /* DW_AT_..._base */
    const char *directory;                     /* DW_AT_comp_dir; NULL */
};

struct dw {
    const struct sn_object *o;
    struct dw_bytes section[DW_SECTIONS];
    void *map;
    size_t map_size;
    bool is64;
    struct dw_unit *units; /* all, ascending */
    uint32_t n_units, cap_units;
    struct spans code;     /* from addresses to units */
    struct dw *alternate;  /* what dwz took out of several files (§3.1.3); NULL */
    struct elf_file image; /* of an alternate */
};

/* ---- reading in bounds
 * -----------------------------------------------------------------------
 */

struct dw_cursor {
    const uint8_t *p, *end;
    bool bad; /* sticky: something was out of bounds; what is read then is 0 */
};

static inline struct dw_cursor dw_at(const struct dw_bytes *b, uint64_t offset,
                                     uint64_t end)
{
    bool good = b->p != NULL && offset <= end && end <= b->n;
    return good ? (struct dw_cursor){b->p + offset, b->p + end, false}
                : (struct dw_cursor){NULL, NULL, true};
}

static inline void dw_skip(struct dw_cursor *c, uint64_t n)
{
    if (n <= (uint64_t)(c->end - c->p))
        c->p += n;
    else
        *c = (struct dw_cursor){c->end, c->end, true};
}

/* Little endian, n bytes of at most 8. */
static inline uint64_t dw_fixed(struct dw_cursor *c, unsigned n)
{
    uint64_t v = 0;
    if (c->p == NULL || n > (uint64_t)(c->end - c->p)) {
        *c = (struct dw_cursor){c->end, c->end, true};
        return 0;
    }
    memcpy(&v, c->p, n);
    c->p += n;
    return v;
}

static inline uint64_t dw_uleb(struct dw_cursor *c) /* §7.6 */
{
    if (c->p < c->end && *c->p < 0x80)
        return *c->p++;
    uint64_t v = 0;
    for (unsigned shift = 0; c->p < c->end; shift += 7) {
        uint8_t byte = *c->p++;
        if (shift < 64)
            v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return v;
    }
    c->bad = true;
    return 0;
}

static inline int64_t dw_sleb(struct dw_cursor *c)
{
    uint64_t v = 0;
    for (unsigned shift = 0; c->p < c->end;) {
        uint8_t byte = *c->p++;
        if (shift < 64)
            v |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
        if (byte < 0x80)
            return (int64_t)(shift < 64 && (byte & 0x40) ? v | ~UINT64_C(0) << shift : v);
    }
    c->bad = true;
    return 0;
}

/* The string at the cursor, NULL if it does not end. */
const char *dw_inline_string(struct dw_cursor *c);
/* The string at an offset of a section; NULL. */
const char *dw_string_at(const struct dw_bytes *b, uint64_t offset);

/* ---- abbreviations
 * ---------------------------------------------------------------------------
 */

#define DW_UNKNOWN UINT16_MAX
#define DW_VARIES  UINT8_MAX

struct dw_spec {
    uint16_t form;
    uint8_t size;     /* bytes; DW_VARIES if it is not always the same */
    uint8_t wanted;   /* enum dw_attribute + 1; 0: nobody here asks for it */
    int64_t constant; /* of DW_FORM_implicit_const */
};

struct dw_abbrev {
    uint32_t spec0, n_specs;
    uint16_t tag;     /* 0: there is no such abbreviation */
    uint16_t size;    /* of all attributes; DW_UNKNOWN if it is not always the same */
    uint16_t sibling; /* where in them DW_AT_sibling is, if always there; DW_UNKNOWN */
    uint8_t sibling_size;
    bool children;
};

struct dw_abbrevs { /* a table; of a unit, since sizes depend on it */
    struct sn_arena *arena;
    const struct dw *d;
    uint64_t offset; /* whose it is */
    uint64_t next;   /* read so far */
    uint32_t count;
    enum { DW_TABLE_OPEN, DW_TABLE_WHOLE, DW_TABLE_BROKEN } state;
    uint8_t version, offset_size, address_size;
    struct dw_abbrev *v; /* by code */
    uint32_t n, cap;
    struct dw_spec *specs;
    uint32_t n_specs, cap_specs;
};

/* Is it the unit's? */
bool dw_abbrevs_fit(const struct dw_abbrevs *t, const struct dw_unit *u);
/* Make it the unit's, with nothing read yet; it needs an arena. */
void dw_abbrevs_begin(struct dw_abbrevs *t, const struct dw_unit *u);
/* Read on to the code, or 0: to the end. False: broken, or not for us. Bytes read are
 * taken from *fuel. */
bool dw_abbrevs_read(struct dw_abbrevs *t, uint64_t until, uint64_t *fuel);

static inline const struct dw_abbrev *dw_abbrev(const struct dw_abbrevs *t, uint64_t code)
{
    return code < t->n && t->v[code].tag != 0 ? &t->v[code] : NULL;
}

/* ---- entries
 * ---------------------------------------------------------------------------------
 */

/* those that are asked for; entry.c says which they are */
enum dw_attribute {
    DW_LOW,
    DW_HIGH,
    DW_RANGES_LIST,
    DW_NAME,
    DW_LINKAGE_NAME,
    DW_ORIGIN,
    DW_SPECIFICATION,
    DW_DECLARED_LINE,
    DW_CALL_FILE,
    DW_CALL_LINE,
    DW_CALL_COLUMN,
    DW_SIBLING,
    DW_LINES,
    DW_DIRECTORY,
    DW_LANGUAGE,
    DW_STR_OFFSETS_BASE,
    DW_ADDRESSES_BASE,
    DW_RNGLISTS_BASE,
    DW_DWO,
    DW_ATTRIBUTES
};

struct dw_value {
    uint64_t v;    /* DW_FORM_string: the offset in .debug_info */
    uint16_t form; /* 0: the entry has no such attribute */
};

struct dw_entry {
    struct dw_value v[DW_ATTRIBUTES];
};

/* Read the attributes at the cursor; false: a form that is not known, or out of bounds.
 */
bool dw_entry_read(const struct dw *d, const struct dw_abbrevs *t,
                   const struct dw_abbrev *a, struct dw_cursor *c, struct dw_entry *e);
/* Step over the attributes. */
bool dw_entry_skip(const struct dw *d, const struct dw_abbrevs *t,
                   const struct dw_abbrev *a, struct dw_cursor *c);
/* Step over an entry's attributes and all below it. */
bool dw_subtree_skip(const struct dw *d, const struct dw_unit *u,
                     const struct dw_abbrevs *t, const struct dw_abbrev *a,
                     struct dw_cursor *c);

/* A value of the form, which is none of an address's size; past it. */
uint64_t dw_form(const struct dw *d, uint16_t form, uint8_t offset_size,
                 struct dw_cursor *c);
const char *dw_string(const struct dw *d, const struct dw_unit *u, struct dw_value v);
bool dw_address(const struct dw *d, const struct dw_unit *u, struct dw_value v,
                uint64_t *address);
/* The constant, up to INT32_MAX; else 0. */
uint32_t dw_number(struct dw_value v);
/* What a reference refers to, as an offset in .debug_info; 0: nothing, or elsewhere. */
uint64_t dw_reference(const struct dw_unit *u, struct dw_value v);
/* Is it one into the alternate file? Then *offset is there. */
bool dw_is_alternate(struct dw_value v, uint64_t *offset);

/* ---- ranges: of an entry, §2.17
 * ---------------------------------------------------------------
 */

struct dw_ranges {
    const struct dw *d;
    const struct dw_unit *u;
    struct dw_cursor c;
    uint64_t base, lo, hi;
    enum { DW_RANGES_NONE, DW_RANGES_ONE, DW_RANGES_OLD, DW_RANGES_NEW } kind;
    uint64_t *fuel;
};

struct dw_ranges dw_ranges(const struct dw *d, const struct dw_unit *u,
                           const struct dw_entry *e, uint64_t *fuel);
/* The next that is not empty; false at the end. */
bool dw_ranges_next(struct dw_ranges *r);

/* ---- units
 * -----------------------------------------------------------------------------------
 */

/* Map the sections and index the units; false: nothing here can be used. */
bool dw_open(struct sn_object *o, struct dw *d, struct elf_file *f);
bool dw_open_alone(struct sn_object *o, struct dw *d,
                   struct elf_file *f); /* no alternate */
void dw_close(struct dw *d);
/* dw_alternate.c: find and open the file that f's .gnu_debugaltlink names, if it has one,
 * as d->alternate. */
void dw_alternate_open(struct sn_object *o, struct dw *d, struct elf_file *f);
/* The unit's pages of .debug_info are not needed any longer. */
void dw_give_back(const struct dw *d, const struct dw_unit *u);
/* The unit that the offset is in; NULL. */
const struct dw_unit *dw_unit_at(const struct dw *d, uint64_t offset);

/* ---- answers
 * ---------------------------------------------------------------------------------
 */

struct dw_frame {
    const char *name, *file; /* "" if not known */
    uint32_t line, column, start_line;
    bool by_symbol; /* the symbol at the address may be a better name */
    bool plain; /* with by_symbol: there is a name, which only a mangled one betters */
};

enum dw_verdict {
    DW_ASK,   /* elfutils must be asked */
    DW_KNOWN, /* here are its frames */
    DW_NONE   /* no debug information is of this address */
};

struct dw_answer {
    const struct dw_frame *frames; /* innermost first */
    uint32_t n;
    enum dw_verdict verdict;
};

#define DW_TABLES 8

struct dw_worker { /* a thread's own */
    const struct dw *d;
    bool inlines;
    struct sn_arena *kept; /* for answers */
    struct sn_strtab *paths;
    struct sn_map *path_ids;             /* from where a path's parts are to its id */
    struct dw_abbrevs tables[DW_TABLES]; /* those used last, by a hash */
};

bool dw_worker_start(struct dw_worker *w); /* with d and inlines set */
void dw_worker_stop(struct dw_worker *w);  /* answers are gone then */
/* Answer the addresses, which are ascending and all of the unit. */
void dw_answer(struct dw_worker *w, const struct dw_unit *u, const uint64_t *vaddrs,
               struct dw_answer *out, uint32_t n);

/* Of addresses that ascend, the first that is not below one: its index, or n. */
static inline uint32_t dw_first_from(const uint64_t *vaddrs, uint32_t n, uint64_t address)
{
    uint32_t lo = 0, hi = n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (vaddrs[mid] < address)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct dw_row {
    uint64_t address; /* where it begins */
    uint32_t file, line, column;
    bool found;
};

struct dw_files { /* of a line table, §6.2.4 */
    const char **directories;
    uint32_t n_directories, cap_directories;
    struct dw_file {
        const char *name;
        uint32_t directory;
    } * files; /* by the number that rows and entries have */
    uint32_t n_files, cap_files;
};

/* The rows that cover the addresses (ascending), and the table of files, in a. False:
 * broken or not known; rows are then what was found. */
bool dw_lines(const struct dw *d, const struct dw_unit *u, struct sn_arena *a,
              const uint64_t *vaddrs, uint32_t n, struct dw_row *rows,
              struct dw_files *files);
/* The path of a file of the table, "" if there is none; `a` for what is done meanwhile.
 */
const char *dw_path(struct dw_worker *w, struct sn_arena *a, const struct dw_files *f,
                    uint32_t file);

#endif
