/*
 * alloclog.h: allocfreetrace, in two files: alloclog.c knows the file that grows,
 * allocfreetrace.c what is written to it (profile/alloctrace.h is the format).
 *
 * Any number of threads, and handlers on top of them: no locks. One log at a time.
 */
#ifndef SN_ALLOCLOG_H
#define SN_ALLOCLOG_H

#include "profile/alloctrace.h"
#include "trace/trace_priv.h"

#include <sys/uio.h>

/* Make the file; errno EEXIST where there is one. False: *e. */
bool sn_alloclog_open(const char *path, struct sn_error *e);
/* No thread writes any more: cut the file to what is in it, give all back. */
void sn_alloclog_close(void);
/* In a fork's child: the parent's is unmapped, untouched. */
void sn_alloclog_drop(void);
/* It stays as it is, but its header says that it ended in order. */
void sn_alloclog_end(void);
struct sn_alloctrace_header *sn_alloclog_header(void); /* NULL: none is open */
/* Claim n slots in a row; the first of them. UINT64_MAX: there are no more. */
uint64_t sn_alloclog_claim(uint64_t n);
/* False: it is lost. */
bool sn_alloclog_put(uint64_t slot, const struct sn_alloctrace_slot *x);
/* Claim and write a record: its head, and behind it the pieces, which are used up. The
 * head's slot; 0: no room. */
uint64_t sn_alloclog_record(const struct sn_alloctrace_slot *head, struct iovec *pieces,
                            size_t n_pieces);
/* What is mapped of it, as a tracer's. */
void sn_alloclog_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                       void *argument);
int sn_alloclog_fd(unsigned first, unsigned last); /* as sn_clock_fd */

#endif
