/* gctrace.h: what gctrace.c and gctrace_malloc.c share. Signal-safe. */
#ifndef SN_TRACE_GCTRACE_H
#define SN_TRACE_GCTRACE_H

#include "trace/trace.h"

struct sn_gc_number {
    char v[24];
};

/* As Go prints them; return to->v. */
const char *sn_gc_ms(struct sn_gc_number *to, uint64_t ns);
const char *sn_gc_seconds(struct sn_gc_number *to, uint64_t ns); /* to milliseconds */

/* Lines of the allocator, while there is no collector in use. */
void sn_gc_malloc_start(void);
void sn_gc_malloc_stop(void);
void sn_gc_malloc_after_fork(void); /* in the child: stopped, and the counts go on */
void sn_gc_malloc_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                        void *argument); /* what it takes for itself */

#endif
