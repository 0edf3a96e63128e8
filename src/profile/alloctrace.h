/*
 * alloctrace.h: the file of allocfreetrace: every allocation and free of a process, in
 * their order. libsonde writes it (trace/alloclog.c), the command reads it.
 *
 *     [header: 4096 bytes][slot][slot][slot]...
 *
 * Native-endian. A slot is 24 bytes, and the order of slots is the order of what they
 * tell: of one block, whatever thread freed it, its allocation comes first. A slot is
 * claimed, then written, its first word last: one whose kind is 0 was never written (the
 * process was killed, or is just at it). A record of several slots begins with its head;
 * the others are of the kind MORE and carry 16 bytes each, and are written before the
 * head. What a record refers to stands before it.
 */
#ifndef SN_ALLOCTRACE_H
#define SN_ALLOCTRACE_H

#include "profile/profile.h"

#define SN_ALLOCTRACE_MAGIC   UINT64_C(0x464c4145444e4f53) /* "SONDEALF" */
#define SN_ALLOCTRACE_VERSION 2                            /* 1 has no GC_LATE */
#define SN_ALLOCTRACE_AT      4096                         /* of the first slot */
#define SN_ALLOCTRACE_DEPTH   64 /* frames of a stack, at most */

struct sn_alloctrace_header {
    uint64_t magic;
    uint32_t version, pid;
    uint64_t start_real_ns, start_mono_ns, start_ticks;
    uint64_t ticks_per_ms; /* about; TIME records say better */
    uint32_t shift;        /* an event's time is in ticks >> shift */
    uint32_t state;        /* 1 recording, 2 stopped in order */
    char comm[32];
    char exe[SN_SPOOL_PATH];
    uint64_t apart[8];
    uint64_t used; /* slots claimed; atomic */
    uint64_t apart_too[7];
    uint64_t lost;   /* events; atomic */
    uint32_t why;    /* enum sn_alloctrace_loss */
    uint32_t unread; /* not 0: the reader has gone, nothing more is wanted */
    uint64_t
        unseen; /* blocks of the collected heap there was no room to follow; atomic */
};

enum sn_alloctrace_loss {
    SN_ALLOCTRACE_WHOLE,
    SN_ALLOCTRACE_DISK,  /* no room */
    SN_ALLOCTRACE_LIMIT, /* a limit on the size of files */
    SN_ALLOCTRACE_FD,    /* the program closed its descriptor */
    SN_ALLOCTRACE_LONG,  /* more slots than there are numbers for stacks */
    SN_ALLOCTRACE_UNREAD,
    SN_ALLOCTRACE_LOSSES
};

struct sn_alloctrace_slot {
    uint64_t w[3];
};

/*
 * An event:                  bits, lowest first
 *     w[0]  kind 4, thread's id 22, time 38
 *     w[1]  address 48, time 8 (above the 38), size 8 (above the 32)
 *     w[2]  size 32, stack 32 (the number of its head's slot; 0: not known)
 * The time is a count modulo 2^46; the size is at most 2^40 - 1. Of a free it is what the
 * allocator can tell, which may be more than was asked for.
 *
 * STACK   w[0] kind 4, frames 16, enum sn_unwind_end 8; MORE: the frames, leaf first
 * MODULE  w[0] kind 4, bytes of the path 16, of the build id 8; w[1] start, w[2] limit in
 *         memory; MORE: 8 bytes of offset in the file, the build id, the path
 * TIME    w[0] kind 4, 1 if a collection has ended; w[1] ticks, w[2] CLOCK_MONOTONIC, ns
 * THREAD  w[0] kind 4, thread's id 22; w[1], w[2]: its name from now on
 *
 * GC_LATE is an event that was seen when a collection had ended, and happened after the
 * one before (it has the time of the TIME record of that collection), or later: after
 * that collection. The thread is that which saw it. Of a size, it is an allocation, by
 * who took the list that the block came from (the stack, 0: not known). Of size 0, it is
 * told by the stack, which is an enum sn_alloctrace_late.
 */
enum sn_alloctrace_kind {
    SN_ALLOC_UNWRITTEN,
    SN_ALLOC_ALLOC,
    SN_ALLOC_FREE,
    SN_ALLOC_RESIZE_FREE,  /* realloc: the old block, freed if all goes well */
    SN_ALLOC_RESIZE_ALLOC, /* ... the new one */
    SN_ALLOC_RESIZE_KEPT,  /* ... it did not: the block of the free before is there */
    SN_ALLOC_HELD,         /* allocated before this trace began */
    SN_ALLOC_GC_ALLOC,     /* of a collected heap: there need be no free */
    SN_ALLOC_GC_FREE,
    SN_ALLOC_EVENTS, /* so far */
    SN_ALLOC_STACK = SN_ALLOC_EVENTS,
    SN_ALLOC_MODULE,
    SN_ALLOC_TIME,
    SN_ALLOC_THREAD,
    SN_ALLOC_MORE,
    SN_ALLOC_GC_LATE, /* a block of a collected heap, which no function told of */
    SN_ALLOC_KINDS
};

#define SN_ALLOC_TIME_GC (1 << 4)

enum sn_alloctrace_late {
    SN_ALLOC_LATE_DIED, /* since the collection before nothing led to it any more */
    /* Its function hands it out next. If it was seen late, it was on a list of the
     * collector's then, and its allocation is taken back; else who freed it was not seen.
     */
    SN_ALLOC_LATE_AGAIN,
    SN_ALLOC_LATES
};

#define SN_ALLOCTRACE_SIZE_MAX ((UINT64_C(1) << 40) - 1)
#define SN_ALLOCTRACE_TIME_MAX ((UINT64_C(1) << 46) - 1)

static inline struct sn_alloctrace_slot sn_alloctrace_event(enum sn_alloctrace_kind kind,
                                                            uint32_t tid, uint64_t time,
                                                            uint64_t address,
                                                            uint64_t size, uint32_t stack)
{
    size = size < SN_ALLOCTRACE_SIZE_MAX ? size : SN_ALLOCTRACE_SIZE_MAX;
    return (struct sn_alloctrace_slot){
        {(uint64_t)kind | (uint64_t)(tid & 0x3fffff) << 4 | time << 26,
         (address & ((UINT64_C(1) << 48) - 1)) | (time >> 38 & 0xff) << 48 |
             size >> 32 << 56,
         (size & UINT32_MAX) | (uint64_t)stack << 32}};
}

/* ---- reading --------------------------------------------------------------------------
 */

/* One event as it is handed out. */
struct sn_alloc_event {
    enum sn_alloctrace_kind kind;
    uint32_t tid;
    uint64_t address, size; /* of a free, what was asked for where that is known */
    uint64_t time_ns;       /* since the trace began */
    uint64_t slot;          /* its number: its place in the order */
    uint32_t stack;         /* index into the reader's stacks; SN_NONE: not known */

    /* Seen by a collection (the kind is GC_ALLOC or GC_FREE): it happened between
     * since_ns and time_ns. `unused`: this takes its block's allocation back. */
    bool late, unused;
    uint64_t since_ns;

    /* Of a free, what is known of the allocation: its stack, its time, by whom. */
    bool known;      /* the allocation was seen, in this trace */
    bool temporary;  /* it was the last event of the thread that frees */
    uint32_t origin; /* stack */
    uint64_t life_ns;
    bool timed; /* life_ns is known: neither end was seen late */
};

static inline bool sn_alloc_is_free(const struct sn_alloc_event *x)
{
    return x->kind == SN_ALLOC_FREE || x->kind == SN_ALLOC_RESIZE_FREE ||
           x->kind == SN_ALLOC_GC_FREE;
}

static inline bool sn_alloc_is_alloc(const struct sn_alloc_event *x)
{
    return x->kind == SN_ALLOC_ALLOC || x->kind == SN_ALLOC_RESIZE_ALLOC ||
           x->kind == SN_ALLOC_GC_ALLOC;
}

static inline bool sn_alloc_is_gc(const struct sn_alloc_event *x)
{
    return x->kind == SN_ALLOC_GC_ALLOC || x->kind == SN_ALLOC_GC_FREE;
}

struct sn_alloc_stack {
    uint64_t slot;
    uint32_t pc0, n_pcs; /* into pcs, leaf first */
    uint32_t end;        /* enum sn_unwind_end */
};

struct sn_alloc_module {
    uint64_t start, limit, offset; /* as of a mapping */
    const char *path, *build_id;   /* hexadecimal */
    uint64_t slot;                 /* where it was met */
};

struct sn_alloc_block { /* by address; of one that was freed, its last time */
    uint64_t address, size, slot, time_ns;
    uint32_t stack, tid;
    bool live, held, late; /* held: from before the trace */
};

/* What has been read so far. All of it is in the arena. */
struct sn_alloctrace {
    struct sn_arena *arena;
    struct sn_alloctrace_header header;
    struct sn_alloc_stack *stacks;
    uint32_t n_stacks, cap_stacks;
    uint64_t *pcs;
    uint32_t n_pcs, cap_pcs;
    struct sn_alloc_module *modules;
    uint32_t n_modules, cap_modules;
    struct sn_alloc_block *blocks;
    uint32_t n_blocks, cap_blocks;
    uint64_t n_slots;                  /* read */
    uint64_t n_events;                 /* but for what was there before */
    uint64_t n_late, n_collections;    /* of them, seen late; and when */
    uint64_t n_unwritten;              /* slots whose writer never came back */
    uint64_t last_ns;                  /* of the last event */
    struct sn_alloctrace_state *state; /* the reader's own */
};

bool sn_alloctrace_is(const void *data, size_t len);
/* Begin, with the file's first 4096 bytes. NULL: *e. */
struct sn_alloctrace *sn_alloctrace_new(const void *header, size_t len, const char *where,
                                        struct sn_error *e);
void sn_alloctrace_free(struct sn_alloctrace *t); /* NULL-safe */
/*
 * Read the next n slots, and hand out each event. Stops before a slot that is not written
 * yet, and before a record that is not whole, unless `last`: then such slots are skipped
 * and counted. Returns how many slots were read. A slot that cannot be is an error: *e
 * (its offset in the file), and what was before it is good. `visit` returns false to
 * stop: that is no error.
 */
uint64_t sn_alloctrace_read(struct sn_alloctrace *t,
                            const struct sn_alloctrace_slot *slots, uint64_t n, bool last,
                            bool (*visit)(void *argument, const struct sn_alloc_event *x),
                            void *argument, struct sn_error *e);
/* The module that held pc when the stack was met; NULL: none. */
const struct sn_alloc_module *sn_alloctrace_module(const struct sn_alloctrace *t,
                                                   const struct sn_alloc_stack *s,
                                                   uint64_t pc);
/* The thread's name, as last told; "" if it never was. */
const char *sn_alloctrace_thread(const struct sn_alloctrace *t, uint32_t tid);
/* What is known of the block at that address; NULL: nothing. */
const struct sn_alloc_block *sn_alloctrace_block(const struct sn_alloctrace *t,
                                                 uint64_t address);
/* Why the rest was lost, as a clause; NULL: it is whole. */
const char *sn_alloctrace_loss(const struct sn_alloctrace_header *h);

#endif
