/* weblist.h: what weblist shows: found by weblist_find.c, written by weblist.c. */
#ifndef SN_REPORT_WEBLIST_H
#define SN_REPORT_WEBLIST_H

#include "report_priv.h"

struct web_inst {
    uint64_t address; /* of its file */
    const char *text; /* NULL: its code is not known */
    struct sn_values sum;
    struct sn_object_frame *frames; /* innermost first */
    uint32_t n_frames;
    uint32_t next; /* the instruction behind it, SN_NONE: none is */
};

struct web_entry { /* an instruction under a line of a function of interest */
    uint32_t line, inst;
    uint32_t frame; /* which of the instruction's frames that line is of */
};

struct web_line { /* by function, then by number */
    uint32_t function;
    int64_t number;
    struct sn_values sum;
    uint32_t first, n; /* entries */
};

struct web_function { /* by file, then by its first line */
    const char *name, *file;
    struct sn_values sum;
    uint32_t first, n; /* lines */
};

struct weblist {
    struct sn_report *r;
    struct sn_code *code;
    struct sn_arena *arena;
    struct web_inst *insts;
    uint32_t n_insts, cap_insts;
    struct web_entry *entries;
    uint32_t n_entries, cap_entries;
    struct web_line *lines;
    uint32_t n_lines, cap_lines;
    struct web_function *functions;
    uint32_t n_functions, cap_functions;
    uint32_t n_left_out; /* functions of code beyond those that are read */
};

/* All of it, of the functions that match. NULL-safe close: sn_code_close(w->code). */
bool web_find(struct weblist *w, const char *argument, struct sn_error *e);

#endif
