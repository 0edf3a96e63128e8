/*
 * gc_blocks.h: which blocks of a collected heap are known to be allocated. Some are told
 * by the function that hands them out; those that come from a list, which the program
 * empties itself, are seen when a collection says what lives; and then, too, what died.
 *
 *     program's list --listed--> maybe handed out --a collection--> known, or dead
 * already libgc's list   --ready---> its function hands it out --------> known known --a
 * collection--> dead
 *
 * Any number of threads; signal-safe; pages only, never malloc. sn_gc_blocks_compare by
 * one at a time.
 */
#ifndef SN_TRACE_GC_BLOCKS_H
#define SN_TRACE_GC_BLOCKS_H

#include "base/base.h"

struct sn_gc_block {
    uintptr_t address;
    size_t size;
    bool listed;    /* it came from a list of the program's */
    uint32_t stack; /* of who last took such a list of its page */
};

/* A function has handed it out. True: it was taken for allocated, and nobody freed it. */
bool sn_gc_blocks_handed(uintptr_t address);
/* Another is about to free it. True: nobody was told of its allocation, which came from a
 * list, then *b is filled in. */
bool sn_gc_blocks_freeing(uintptr_t address, struct sn_gc_block *b);
/* It is on a list of the program's (b->stack took it), or on one of libgc's own. True: it
 * was taken for allocated, and so has been freed since. */
bool sn_gc_blocks_listed(const struct sn_gc_block *b);
bool sn_gc_blocks_ready(uintptr_t address);

/* `enumerate` gives each block that lives. What was not known is told, born; what is
 * known and does not live is, died. What was on a list and does not live is both. */
typedef void sn_gc_blocks_news(const struct sn_gc_block *b, bool born, void *argument);
void sn_gc_blocks_compare(void (*enumerate)(void (*visit)(void *, size_t, void *),
                                            void *argument),
                          sn_gc_blocks_news *news, void *argument);
/* There will be no more collection: what is still on lists is told, born. */
void sn_gc_blocks_flush(sn_gc_blocks_news *news, void *argument);
/* So many could not be followed, for there was no room. */
uint64_t sn_gc_blocks_unseen(void);
/* All is as if there had never been one. Nobody may be within. */
void sn_gc_blocks_drop(void);

#endif
