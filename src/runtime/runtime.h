/*
 * runtime: libsonde. config.c reads SONDE, table.c counts stacks in the spool, cpu.c is
 * the handler and the clocks, threads.c meets new threads, sonde.c is the public
 * interface.
 *
 * The only room (with trace) that has mutable globals: a process is profiled once at a
 * time.
 */
#ifndef SN_RUNTIME_H
#define SN_RUNTIME_H

#include "profile/profile.h"
#include "unwind/unwind.h"

#include <limits.h>

struct sn_settings {
    bool cpu, quiet, no_shutdown_hook;
    unsigned cpu_hz;
    enum { SN_CLOCK_AUTO, SN_CLOCK_PERF, SN_CLOCK_TIMER } clock;
    char path[PATH_MAX]; /* directory; "": a fresh temporary one */
};

/* Parse "cpu=997,path=out,quiet". False: *e names the key and nothing is to be recorded.
 */
bool sn_settings_parse(struct sn_settings *s, const char *text, struct sn_error *e);

/* ---- table.c: signal-safe but for open and close ------------------------------------
 */

/* Create the spool at `path`, which must not exist. */
bool sn_table_open(const char *path, const char *output, uint64_t period_ns,
                   struct sn_error *e);
struct sn_spool_header *sn_table_header(void); /* NULL: not open */
size_t sn_table_bytes(void);
/* Count one stack. Signal-safe. */
void sn_table_count(uint32_t thread, enum sn_unwind_end end, const uintptr_t *pcs,
                    size_t n, uint64_t weight);
void sn_table_drop(enum sn_spool_drop why, uint64_t ticks); /* signal-safe */
void sn_table_module(const struct sn_module *m);            /* signal-safe */
/* A slot for the thread `tid`; 0 when there is none left. Signal-safe. */
uint32_t sn_table_thread(uint32_t tid, const char *name);
void sn_table_close(void); /* unmaps; the file stays */

/* ---- cpu.c --------------------------------------------------------------------------
 */

bool sn_cpu_start(const struct sn_settings *s, struct sn_error *e);
void sn_cpu_stop(void); /* after it no handler is inside the table */
/* The calling thread begins, ends. Cheap when nothing is recorded. */
void sn_cpu_thread_begin(void);
void sn_cpu_thread_end(void);
/* In a child made by fork: the parent's clocks are not ours. */
void sn_cpu_forget(void);

#endif
