/*
 * object: ELF files: what they are, their build id, where their code is mapped, symbols,
 * and DWARF through elfutils. Never in a profiled process.
 */
#ifndef SN_OBJECT_H
#define SN_OBJECT_H

#include "base/base.h"

enum sn_object_link {
    SN_LINK_DYNAMIC,
    SN_LINK_STATIC,
    SN_LINK_STATIC_PIE,
    SN_LINK_SHARED
};

/* What `sonde run` must know before it starts a program. */
struct sn_object_probe {
    enum sn_object_link link;
    bool elf;         /* false: a script or something else */
    bool setuid;      /* setuid or setgid bit, or file capabilities */
    bool foreign;     /* another class or machine than this process */
    bool musl;        /* its interpreter is musl's */
    bool go;          /* built by Go */
    bool allocator;   /* dynamic, and its malloc is its own */
    char interp[256]; /* ELF interpreter, or the #! interpreter of a script */
    char machine[48]; /* "x86-64, 64-bit" */
};

bool sn_object_probe(const char *path, struct sn_object_probe *out, struct sn_error *e);

struct sn_object; /* one ELF file with its debug information, opened */

struct sn_object_fetch { /* from debuginfod servers, by the caller's thread */
    void (*progress)(void *arg, size_t done, size_t total); /* bytes; 0: not known yet */
    void *arg;
    bool gave_up; /* set when they do not answer: none is asked again */
};

struct sn_object_search {
    const char *const
        *dirs; /* extra places for debug files; NULL-terminated; may be NULL */
    struct sn_object_fetch *fetch; /* may be NULL */
};

/*
 * Open `path`; if build_id (hexadecimal) is given and differs, that is an error. Looks
 * for separate debug files by build id and debug link. What was tried is appended to
 * `tried` (may be NULL), a line each.
 */
struct sn_object *sn_object_open(const char *path, const char *build_id,
                                 const struct sn_object_search *search,
                                 struct sn_buf *tried, struct sn_error *e);
void sn_object_close(struct sn_object *o);                 /* NULL-safe */
const char *sn_object_build_id(const struct sn_object *o); /* hexadecimal, "" if none */
bool sn_object_has_lines(const struct sn_object *o);

/* From an address in memory to one in the file's own address space, given the mapping as
 * the profile has it (start, limit, file offset). */
bool sn_object_vaddr(const struct sn_object *o, uint64_t address, uint64_t map_start,
                     uint64_t map_limit, uint64_t map_offset, uint64_t *vaddr);

struct sn_object_frame { /* one of the inlined calls at an address, innermost first */
    const char *name; /* linkage (mangled) name; lives as long as the object; may be "" */
    const char *file; /* "" unknown */
    int64_t line, column, start_line; /* 0 unknown */
};

/* The frames at vaddr, at most `max`; 0 when nothing is known. Falls back to the symbol
 * table (one frame, no line). `inlines` false: the outermost only. */
size_t sn_object_frames(struct sn_object *o, uint64_t vaddr, bool inlines,
                        struct sn_object_frame *out, size_t max);

/*
 * Find the frames of many addresses at once, which ascend: debug information is then read
 * once, by as many threads as there are processors, and sn_object_frames() of each takes
 * no more than a look. `inlines` as there. progress (may be NULL) is called by the
 * calling thread, with the number of addresses done. What is found lasts until the next
 * call or the object's end. Without memory nothing is found ahead.
 */
void sn_object_resolve(struct sn_object *o, const uint64_t *vaddrs, uint32_t n,
                       bool inlines, void (*progress)(void *arg, size_t done), void *arg);

/* Was an answer found ahead for vaddr? */
bool sn_object_is_resolved(const struct sn_object *o, uint64_t vaddr);

/* ---- functions.c, disasm.c: code as functions and instructions -----------------------
 */

struct sn_object_function {   /* where a symbol, or several, begin */
    uint64_t lo, hi;          /* hi is exclusive: the next function, or the end of this */
    const char *const *names; /* linkage names in order; live as long as the object */
    uint32_t n_names;
};

/* All of them, by address; they live as long as the object. */
const struct sn_object_function *sn_object_functions(struct sn_object *o, size_t *n);
/* That which has the address; NULL: none has. */
const struct sn_object_function *sn_object_function_at(struct sn_object *o,
                                                       uint64_t vaddr);

struct sn_object_inst {
    uint64_t address; /* in the file's own address space */
    uint32_t size;    /* bytes */
    const char *text; /* "mov    %rsp,%rbp" */
};

#define SN_OBJECT_CODE ((uint64_t)8 << 20) /* bytes disassembled at once, at most */

/* The instructions in [lo, hi), cut to what is code in the file and to SN_OBJECT_CODE,
 * into the arena `a`. What is no instruction is a ".byte". False: nothing is there, or
 * the machine is one that is not known. */
bool sn_object_disasm(struct sn_object *o, uint64_t lo, uint64_t hi, bool intel,
                      struct sn_arena *a, struct sn_object_inst **v, size_t *n,
                      struct sn_error *e);

/* A guess at what the call at vaddr returns a pointer to: the type of what is declared in
 * its line, "struct node". False: there is none. */
bool sn_object_assigned(struct sn_object *o, uint64_t vaddr, char *name, size_t size);

#endif
