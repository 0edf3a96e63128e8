/*
 * heapdump.h: the dump of a heap: every block, which of them points to which, where else
 * in the program pointers to them were found, and the stacks that allocated them.
 * libsonde writes it, the command reads it.
 *
 *     [header][blocks][edges][roots][spool]
 *
 * Native-endian. The tables may stand in any order; each begins at a multiple of 8.
 */
#ifndef SN_HEAPDUMP_H
#define SN_HEAPDUMP_H

#include "profile/profile.h"

#define SN_HEAPDUMP_MAGIC   UINT64_C(0x31504d5544484e53) /* "SNHDUMP1" */
#define SN_HEAPDUMP_VERSION 1

struct sn_heapdump_header {
    uint64_t magic, version;
    uint64_t pid, time_real_ns; /* CLOCK_REALTIME */
    uint64_t n_blocks, n_edges, n_roots;
    uint64_t at_blocks, at_edges, at_roots, at_spool; /* bytes from the file's start */
    uint64_t spool_len;
};

#define SN_HEAPDUMP_REACHED UINT32_C(1) /* a flag: reached from a root */

struct sn_heapdump_block {  /* sorted by address */
    uint64_t address, size; /* bytes */
    uint32_t site;          /* offset / 8 of an entry in the spool; 0: not known */
    uint32_t flags;
};

struct sn_heapdump_edge { /* sorted by `from`, without doubles */
    uint32_t from, to;    /* indices of blocks */
};

enum sn_heapdump_root_kind {
    SN_ROOT_GLOBAL = 1, /* data of the program and its libraries */
    SN_ROOT_STACK,
    SN_ROOT_REGISTERS,
    SN_ROOT_OTHER, /* thread-local, and other memory of the program */
    SN_ROOT_KINDS
};

struct sn_heapdump_root {
    uint32_t block, kind;
    uint64_t address; /* where the pointer was found */
};

/* A dump that was checked. All of it is borrowed from the bytes it was opened on. */
struct sn_heapdump {
    const struct sn_heapdump_header *header;
    const struct sn_heapdump_block *blocks;
    const struct sn_heapdump_edge *edges;
    const struct sn_heapdump_root *roots;
    uint32_t n_blocks, n_edges, n_roots;
    const unsigned char *spool; /* NULL: there is none, and no site is known */
    size_t spool_len;
    uint64_t bytes; /* of all blocks; at most INT64_MAX */
};

bool sn_heapdump_is(const void *data, size_t len);
/*
 * Check every offset, count, index and order, and fill *d. `data` is aligned to 8 and
 * outlives *d; `where` names the file in errors. Time is linear in the file, nothing is
 * allocated.
 */
bool sn_heapdump_open(struct sn_heapdump *d, const void *data, size_t len,
                      const char *where, struct sn_error *e);
/*
 * The stacks that allocated: a profile with the mappings and a sample for each different
 * stack (whatever thread and size), without values and types. stack_of[i], for each
 * block, is the number of its sample; that of blocks of no known site has no locations.
 * NULL on error.
 */
struct sn_profile *sn_heapdump_stacks(const struct sn_heapdump *d, uint32_t *stack_of,
                                      const char *where, struct sn_error *e);

#endif
