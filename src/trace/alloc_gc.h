/*
 * alloc_gc.h: allocfreetrace's part for a collected heap (alloc_gc.c), and what that asks
 * of allocfreetrace.c.
 */
#ifndef SN_TRACE_ALLOC_GC_H
#define SN_TRACE_ALLOC_GC_H

#include "profile/alloctrace.h"
#include "trace/trace.h"

/* ---- alloc_gc.c -----------------------------------------------------------------------
 */

void sn_alloc_gc_start(void); /* before anything is logged */
/* It is to end: blocks from lists, of which no collection has told yet, are logged. */
void sn_alloc_gc_last(void);
void sn_alloc_gc_stop(void); /* also in a fork's child; nobody may be within */

/* ---- allocfreetrace.c's, for it -------------------------------------------------------
 */

/* False: nothing is logged. Else, until sn_alloc_leave, the log stays. */
bool sn_alloc_enter(atomic_uint **mine);
void sn_alloc_leave(atomic_uint *mine);
uint32_t sn_alloc_stack(void);  /* the caller's, logged; 0: not known */
uint64_t sn_alloc_moment(void); /* now */
/* Now, of a collection that has ended: that is logged, too. */
uint64_t sn_alloc_log_collection(void);
/* What is lost is counted. An event with the caller's stack; or of a moment, with `word`
 * for one. */
void sn_alloc_log(enum sn_alloctrace_kind kind, void *p, size_t size);
void sn_alloc_log_at(uint64_t moment, enum sn_alloctrace_kind kind, uintptr_t address,
                     size_t size, uint32_t word);

#endif
