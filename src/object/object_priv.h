/* object_priv.h: what the files of this room share: an opened ELF file and its indices.
 */
#ifndef SN_OBJECT_PRIV_H
#define SN_OBJECT_PRIV_H

#include "object/object.h"

#include <elfutils/libdw.h>
#include <gelf.h>

/* ---- spans: from an address to what covers it
 * ------------------------------------------
 */

struct span {
    uint64_t lo, hi; /* hi is exclusive */
    uint64_t reach;  /* once sorted: the greatest hi of this and all before */
    uint32_t value;
};

struct spans {
    struct span *v;
    uint32_t n, cap;
};

void spans_add(struct spans *s, struct sn_arena *a, uint64_t lo, uint64_t hi,
               uint32_t value);
void spans_sort(struct spans *s);
/* The value of the span that covers `at`, of several the one that begins last; SN_NONE.
 */
uint32_t spans_find(const struct spans *s, uint64_t at);

/* exports.c: does the file define that function for others, too? */
bool object_exports(int fd, const char *function);

/* ---- the file
 * --------------------------------------------------------------------------
 */

struct elf_file {
    int fd; /* -1: from memory */
    Elf *elf;
};

struct segment { /* PT_LOAD */
    uint64_t vaddr, offset, filesz, memsz;
    bool exec;
};

#define RANK_LABEL 1 /* no type: assembly */

struct symbol {
    uint64_t lo, size;
    const char *name;
    uint8_t rank; /* of several at an address the greatest is shown */
};

struct unit;
struct function;

struct sn_object {
    struct sn_arena *arena;
    const char *path;
    char build_id[2 * 64 + 1];
    bool exec; /* ET_EXEC: its addresses are those in memory */
    struct segment *segments;
    uint32_t n_segments, cap_segments;

    struct elf_file main, debug, mini; /* debug: a separate one; mini: .gnu_debugdata */
    void *mini_image;
    size_t mini_size;
    bool has_dwarf;
    Dwarf *dwarf;              /* by dwarf_of(); NULL: none */
    struct resolved *resolved; /* resolve.c: what was found ahead; NULL */

    bool symbols_read;
    struct symbol *symbols;
    uint32_t n_symbols, cap_symbols;
    struct sn_object_function *functions; /* NULL: not made yet */
    uint32_t n_functions;

    bool units_read;
    struct unit *units;
    uint32_t n_units, cap_units;
    struct spans unit_spans;
    uint64_t fuel;        /* what may still be walked of DWARF that contradicts itself */
    const char *furthest; /* the last entry the walk has come to */

    struct sn_map *path_ids; /* from a file name of libdw's to paths */
    const char **paths;
    uint32_t n_paths, cap_paths;
};

/* Is the address in code? */
bool object_is_code(const struct sn_object *o, uint64_t vaddr);

bool elf_file_open(struct elf_file *f, const char *path, struct sn_error *e);
void elf_file_close(struct elf_file *f);
/* Hexadecimal; false and "" when there is none. */
bool elf_build_id(Elf *elf, char *out, size_t size);
bool elf_has_dwarf(Elf *elf);
/* A section's data by name, uncompressed; NULL when absent or broken. */
Elf_Data *elf_section(Elf *elf, const char *name, GElf_Shdr *header);

/* Find and open the debug file that belongs to o->main into o->debug. */
bool debug_file_find(struct sn_object *o, const struct sn_object_search *search,
                     struct sn_buf *tried);

/* debuginfod.c: the path, to be freed, of the debug file with that build id; NULL, and if
 * one could have been hoped for, why not. `fetch` may be NULL. */
char *debuginfod_fetch(const char *build_id, struct sn_object_fetch *fetch,
                       const char **why);

/* ---- symbols
 * ---------------------------------------------------------------------------
 */

/* The function symbol that covers vaddr, or the PLT entry; NULL. */
const char *symbol_name(struct sn_object *o, uint64_t vaddr);
/* All of them, by address; read when first asked for. */
const struct symbol *symbol_table(struct sn_object *o, uint32_t *n);
/* The segment of code with that address; NULL. */
const struct segment *object_code(const struct sn_object *o, uint64_t vaddr);
/* Appends the entries of the PLT as name@plt. */
void plt_symbols(struct sn_object *o);
void symbol_add(struct sn_object *o, uint64_t lo, uint64_t size, const char *name,
                uint8_t rank);
/* Decompress .gnu_debugdata into o->mini. */
void mini_open(struct sn_object *o);

/* ---- DWARF
 * -----------------------------------------------------------------------------
 */

struct unit { /* a compilation unit that has code */
    Dwarf_Die die;
    Dwarf_Die body; /* where the functions are: in the .dwo file if it is split */
    bool split, opened, walked, deep;
    bool mangles; /* C++ or Rust: a function's mangled name may be in .symtab alone */
    struct spans spans;
    struct function *functions;
    uint32_t n_functions, cap_functions;
    Dwarf_Files *files;
    size_t n_files;
};

struct call { /* a function (the first) or a call inlined into it; in preorder */
    Dwarf_Die die;
    uint32_t end; /* index past the calls inlined into this one */
    uint32_t range0, n_ranges;
    bool named;
    const char *name; /* once named */
    int64_t start_line;
    int64_t line, column; /* of the call */
    uint32_t file;
};

struct range {
    uint64_t lo, hi;
};

struct function {
    Dwarf_Die die;
    bool walked;
    struct call *calls;
    uint32_t n_calls, cap_calls;
    struct range *ranges;
    uint32_t n_ranges, cap_ranges;
};

#define MAX_DEPTH 256 /* of nested entries */

/* elfutils' handle of the debug information, opened when first asked for; NULL: none. */
Dwarf *dwarf_of(struct sn_object *o);
/* The unit whose code covers vaddr; NULL. */
struct unit *dwarf_unit(struct sn_object *o, uint64_t vaddr);
/* The function of the unit; NULL. */
struct function *dwarf_function(struct sn_object *o, struct unit *u, uint64_t vaddr);
/* File, line and column of the instruction; left alone if unknown. */
void dwarf_line(struct sn_object *o, struct unit *u, uint64_t vaddr,
                struct sn_object_frame *out);
/* A row of the unit's table of files, cleaned; "" if there is none. */
const char *dwarf_file(struct sn_object *o, struct unit *u, uint32_t file);
/* Step to the next sibling; false at the end, on nonsense and without fuel. */
bool dwarf_next(struct sn_object *o, Dwarf_Die *die);
/* Step through an entry's ranges, *state being 0 at first; false at their end. */
bool dwarf_range(struct sn_object *o, Dwarf_Die *die, ptrdiff_t *state, uint64_t *base,
                 struct range *out);

/* "/b/../src/./a.c" is "/src/a.c". */
char *path_clean(struct sn_arena *a, const char *raw);

/* What was found ahead for vaddr: how many frames, as sn_object_frames(); -1: nothing is
 * known, elfutils must be asked. */
long resolved_frames(struct sn_object *o, uint64_t vaddr, bool inlines,
                     struct sn_object_frame *out, size_t max);
void resolved_free(struct resolved *r);

/* Which of two names: the plain one (NULL: none), or the symbol at vaddr. */
const char *name_by_symbol(struct sn_object *o, uint64_t vaddr, const char *plain);

/* The frames of vaddr in f, innermost first. */
size_t inline_frames(struct sn_object *o, struct unit *u, struct function *f,
                     uint64_t vaddr, bool inlines, struct sn_object_frame *out,
                     size_t max);

#endif
