/*
 * readers.h: profiles that are no profile.proto. Which format a file has is told by what
 * it holds, never by its name: one table, one row a format (readers.c).
 *
 * All read from memory, allocate in the new profile's arena, and check whatever they
 * read: a file that is cut, or lies, is an error with the byte at which that shows.
 */
#ifndef SN_READERS_H
#define SN_READERS_H

#include "profile/profile.h"

struct sn_build;
struct sn_lines;

struct sn_reader {
    const char *name; /* "gperftools heap" */
    /* Does the file begin as one of these? */
    bool (*is)(const unsigned char *data, size_t len);
    bool (*body)(struct sn_build *b, struct sn_lines *l); /* for sn_reader_read */
    bool drop_frames; /* what recorded it is in its stacks: pprof's list of what to drop;
                         and its names may be demangled */
};

extern const struct sn_reader sn_readers[];
extern const size_t sn_readers_count;

/* NULL on error. What is returned has passed sn_profile_check. */
struct sn_profile *sn_reader_read(const struct sn_reader *r, const unsigned char *data,
                                  size_t len, const char *where, struct sn_error *e);
/* The first row whose format this is; NULL: none. */
const struct sn_reader *sn_reader_find(const unsigned char *data, size_t len);

#endif
