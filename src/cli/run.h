/* run.h: what the two files of `sonde run` share: run.c starts, deliver.c ends. */
#ifndef SN_CLI_RUN_H
#define SN_CLI_RUN_H

#include "cli.h"
#include "record/record.h"

struct run_request {
    unsigned cpu_hz; /* 0: the library's default */
    const char *output;
    bool merge, quiet, help;
};

struct destination {
    /* A directory, or the main process's file; "": not chosen yet. Leaves room for more.
     */
    char path[PATH_MAX - 64];
    bool is_dir;
};

/* What the program left. */
struct harvest {
    struct sn_recorded *v; /* in the record */
    uint32_t n;
    uint32_t main_pid;
    struct destination to;
    uint64_t cpu_ns;
};

/* Where `output` (may be NULL) is; refused now rather than when an hour is recorded. */
bool run_choose_destination(const char *output, struct destination *d,
                            struct sn_error *e);
/* Write the files, print what they say. */
bool run_deliver(struct harvest *h, const struct run_request *r, struct sn_error *e);

#endif
