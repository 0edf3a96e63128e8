/*
 * symbolize: fills a profile's functions and lines from the binaries its mappings name,
 * or from the servers it came from, and demangles. Says per module what was tried.
 */
#ifndef SN_SYMBOLIZE_H
#define SN_SYMBOLIZE_H

#include "profile/profile.h"

enum sn_demangle {
    SN_DEMANGLE_DEFAULT,
    SN_DEMANGLE_NONE,
    SN_DEMANGLE_TEMPLATES,
    SN_DEMANGLE_FULL
};

struct sn_symbolize_options {
    bool force; /* also addresses that have names already */
    bool no_inlines;
    enum sn_demangle
        demangle;       /* as pprof: default drops parameters and template arguments */
    const char *binary; /* stands for the main mapping (the first); NULL: as named */
    const char *const
        *dirs; /* debug and binary search path (PPROF_BINARY_PATH); may be NULL */
    void (*progress)(void *arg, const char *module, size_t done, size_t total);
    /* The same of a debug file that comes from a server; bytes, 0 while not known. */
    void (*fetching)(void *arg, const char *module, size_t done, size_t total);
    void *progress_arg;
    /* Post `query` to a server: its answer to *answer, which has an arena. NULL: none is
     * asked. `module` is for people. */
    bool (*ask)(void *arg, const char *module, const char *url,
                const struct sn_buf *query, struct sn_buf *answer, struct sn_error *e);
    void *ask_arg;
    bool no_local; /* look at no binary */
};

/* Where a tenth or more of the addresses stay without a name, *log (may be NULL) is told
 * why, and what was tried, a line each. Fails for memory, and with no_local if a server
 * does; else that is told in the log, and no server is asked again. */
bool sn_symbolize(struct sn_profile *p, const struct sn_symbolize_options *o,
                  struct sn_buf *log, struct sn_error *e);

/* Give each function that has but one name, or every one if `force`, its plain name, as
 * pprof does: what is no mangled name but looks like C++ loses its parameters too. */
void sn_demangle_functions(struct sn_profile *p, bool force, enum sn_demangle mode);

/* Demangle one name into arena `a` (C++, Rust, D by libiberty); the name itself when it
 * is not mangled. */
const char *sn_demangle(const char *name, enum sn_demangle mode, struct sn_arena *a);

/* ---- namer.c: single addresses, as they come ----------------------------------------
 */

#define SN_NAMER_FRAMES 32 /* inlined into one another, at most */

struct sn_namer; /* keeps each file open that it was asked of */

struct sn_namer_mapping { /* as a profile's; borrowed for the call */
    uint64_t start, limit, offset;
    const char *path, *build_id; /* "": not known */
};

struct sn_namer_frame {          /* strings live as long as the namer */
    const char *function, *file; /* "": not known */
    int64_t line;                /* 0: not known */
};

struct sn_namer *sn_namer_new(enum sn_demangle demangle); /* NULL: no memory */
void sn_namer_free(struct sn_namer *n);                   /* NULL-safe */
/* The functions at pc, innermost inlined first; 0: nothing is known. */
size_t sn_namer_frames(struct sn_namer *n, const struct sn_namer_mapping *m, uint64_t pc,
                       struct sn_namer_frame *v, size_t max);
/* The same of an address of the file's own, as it is before it is loaded. */
size_t sn_namer_file_frames(struct sn_namer *n, const char *path, uint64_t vaddr,
                            struct sn_namer_frame *v, size_t max);
/* A guess at the type that the call at pc returns a pointer to; "": none. */
const char *sn_namer_type(struct sn_namer *n, const struct sn_namer_mapping *m,
                          uint64_t pc);

#endif
