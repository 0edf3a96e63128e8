/* readers_priv.h: what the readers share: lines of a text, and a profile being built. */
#ifndef SN_READERS_PRIV_H
#define SN_READERS_PRIV_H

#include "formats/readers.h"

/* ---- lines.c: a text, line by line
 * ------------------------------------------------------
 */

struct sn_lines {
    const char *data;
    size_t len, next; /* next: where the line after this one begins */
    const char *line; /* without its end, and without blanks around it */
    size_t n;
    size_t at; /* where `line` begins in data */
};

void sn_lines_open(struct sn_lines *l, const unsigned char *data, size_t len);
bool sn_lines_next(struct sn_lines *l);        /* false: no more; then n is 0 */
bool sn_lines_blank(const struct sn_lines *l); /* empty, or a comment */
bool sn_lines_begin(const struct sn_lines *l, const char *text);
bool sn_lines_have(const struct sn_lines *l, const char *text);
bool sn_begins(const char *s, size_t n, const char *text);

/* A piece of a line, eaten from its front. */
struct sn_piece {
    const char *s;
    size_t n;
};
void sn_piece_blanks(struct sn_piece *p);
bool sn_piece_eat(struct sn_piece *p, const char *text);
/* Digits in base 10 or 16, with a sign if `sign`. False: none there, or too many. */
bool sn_piece_number(struct sn_piece *p, int64_t *value, bool sign);
bool sn_piece_hex(struct sn_piece *p, uint64_t *value);
struct sn_piece sn_piece_word(struct sn_piece *p); /* up to a blank; blanks before lost */
bool sn_piece_is(struct sn_piece p, const char *text);

/* ---- build.c: a profile, a sample at a time
 * -----------------------------------------------
 */

struct sn_build {
    struct sn_profile *p; /* owned until sn_build_done */
    struct sn_map *by_address, *by_function;
    const char *where;
    struct sn_error *e;
};

bool sn_build_open(struct sn_build *b, const char *where, struct sn_error *e);
bool sn_build_fail(struct sn_build *b, size_t at, const char *what);
/* The profile, checked; NULL: *e says why. Frees it unless `good`. */
struct sn_profile *sn_build_done(struct sn_build *b, bool good);
uint32_t sn_build_str(struct sn_build *b, const char *s, size_t n);
void sn_build_type(struct sn_build *b, const char *type, const char *unit);
void sn_build_period(struct sn_build *b, const char *type, const char *unit, int64_t n);
/* A sample without frames; frames and labels are added to the last one, leaf first. */
bool sn_build_sample(struct sn_build *b, const int64_t *values);
bool sn_build_address(struct sn_build *b, uint64_t address);
/* A frame of a name, a file and a line (each may be empty) and no address of its own. */
bool sn_build_frame(struct sn_build *b, uint32_t name, uint32_t file, int64_t line);
uint32_t sn_build_function(struct sn_build *b, uint32_t name, uint32_t file);
bool sn_build_label(struct sn_build *b, struct sn_label label);
bool sn_build_bytes(struct sn_build *b, int64_t bytes); /* the label bytes */
/* All "0x..." of a line as frames; those from the `moved`-th on are moved back by one,
 * into the call. */
bool sn_build_addresses(struct sn_build *b, const struct sn_lines *l, struct sn_piece x,
                        uint32_t moved);
/* Drop the frame next to the leaf of sample i. */
void sn_build_drop_second(struct sn_build *b, uint32_t i);
/* The leaf was noted twice, once moved: once is enough. */
void sn_build_single_leaves(struct sn_build *b);
/* Locations in the order in which samples name them, the unused gone. */
bool sn_build_renumber(struct sn_build *b);

/* ---- maps.c
 * ------------------------------------------------------------------------------
 */

/* The rest of the text as lines of /proc/PID/maps, or the shorter ones of gperftools;
 * then each location finds its mapping. */
bool sn_build_maps(struct sn_build *b, struct sn_lines *l);
bool sn_is_maps_head(const struct sn_lines *l);
/* Skip to the head of the maps, and read them. */
bool sn_build_skip_to_maps(struct sn_build *b, struct sn_lines *l);
bool sn_build_find_mappings(struct sn_build *b);

/* ---- frames.c
 * ----------------------------------------------------------------------------
 */

/* Which frames a profile of these sample types asks to drop: those of the allocator, of
 * locks, of the profiler itself. */
void sn_build_drop_frames(struct sn_build *b);

/* v2 heap sampling: what was seen stands for more. */
void sn_unsample(int64_t *count, int64_t *size, int64_t rate);

/* java.c: what comes after the samples of a Java profile: addresses and their names. */
bool sn_build_java_names(struct sn_build *b, struct sn_lines *l);

/* A file's text, from its beginning, into a profile without anything. False: no memory,
 * or an error that was told. */
typedef bool sn_reader_body(struct sn_build *b, struct sn_lines *l);
typedef bool sn_reader_is(const unsigned char *data, size_t len);
sn_reader_is sn_is_cpu, sn_is_heap, sn_is_count, sn_is_threads, sn_is_contention,
    sn_is_java, sn_is_collapsed, sn_is_callgrind, sn_is_perf_script;
sn_reader_body sn_read_cpu, sn_read_heap, sn_read_count, sn_read_threads,
    sn_read_contention, sn_read_java, sn_read_collapsed, sn_read_callgrind,
    sn_read_perf_script;

#endif
