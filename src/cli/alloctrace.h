/*
 * alloctrace.h: what `sonde trace FILE` and `sonde run --allocfreetrace` share: a trace
 * of allocations that is read from its file, which may still grow.
 */
#ifndef SN_CLI_ALLOCTRACE_H
#define SN_CLI_ALLOCTRACE_H

#include "cli.h"
#include "profile/alloctrace.h"

#include <limits.h>

/* ---- alloc_file.c ---------------------------------------------------------------------
 */

struct alloc_file {
    int fd;
    struct sn_alloctrace_header *header; /* as it is now */
    bool shared;                         /* the header can be written to */
    uint64_t next;                       /* slot to be read */
    char path[PATH_MAX];
};

/* "-" is standard input. False: *e, and nothing is open. */
bool alloc_file_open(const char *path, struct alloc_file *f, struct sn_error *e);
void alloc_file_close(struct alloc_file *f); /* also if it is not open */
/* Read the next piece. `last`: the file does not grow any more. False: nothing was read,
 * or an error. */
bool alloc_file_step(struct alloc_file *f, struct sn_alloctrace *t, bool last,
                     bool (*visit)(void *argument, const struct sn_alloc_event *x),
                     void *argument, struct sn_error *e);
/* Is there less than its head says, for no reason that it gives? *e then. */
bool alloc_file_is_cut(const struct alloc_file *f, struct sn_error *e);
/* What was read of it is given back to the disk. */
void alloc_file_forget(struct alloc_file *f);

/* ---- alloctrace.c ---------------------------------------------------------------------
 */

#define ALLOCTRACE_OPTIONS 16
#define ALLOCTRACE_OWN     11 /* the first; the rest is also said of lines */
extern const struct flag alloctrace_options[];

/* Is one of the words a trace of allocations? Then the command is alloctrace_main's. */
bool alloctrace_named(int argc, char **argv);

/* ---- run_alloc.c ----------------------------------------------------------------------
 */

struct alloc_live; /* prints the traces of a directory's processes while they grow */

/* Print to `to` (a path with %p for the process's number), or to standard error if that
 * is NULL or "". NULL: *e. */
struct alloc_live *alloc_live_start(const char *directory, const char *to,
                                    struct sn_error *e);
/* The program has ended: print the rest. NULL-safe. False: *e. */
bool alloc_live_finish(struct alloc_live *l, struct sn_error *e);

#endif
