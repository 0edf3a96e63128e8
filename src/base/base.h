/*
 * base: what every room stands on: errors, arenas, buffers, interned strings, a hash map,
 * units, and whole-file reads and writes.
 *
 * Memory comes from mmap, never from malloc, so that the same code serves inside a
 * profiled process. Nothing here is signal-safe unless its comment says so; nothing here
 * is locked: an object belongs to one thread at a time. No function prints or exits.
 */
#ifndef SN_BASE_H
#define SN_BASE_H

#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SN_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define SN_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SN_NONE         UINT32_MAX /* no index */

/* ---- errors ------------------------------------------------------------------------ */

/* What went wrong, in which file or argument, and at which byte of it. */
struct sn_error {
    char what[320];  /* the reason, a sentence without a full stop; "" when all is well */
    char where[256]; /* the file or argument; "" if none */
    int64_t offset;  /* byte offset in `where`; -1 if none */
};

/*
 * Fill *e (which may be NULL) unless it already holds an error: the first one wins.
 * `where` may be NULL. Always returns false, so that `return sn_fail(...)` reads well.
 */
bool sn_fail(struct sn_error *e, const char *where, int64_t offset, const char *fmt, ...)
    SN_PRINTF(4, 5);
#ifdef __clang_analyzer__ /* sees one file at a time, so not that it returns false */
#define sn_fail(...) (sn_fail(__VA_ARGS__), false)
#endif
/* "where: offset 12: what" (parts that are absent left out), cut to `size`. Returns buf.
 */
char *sn_error_text(const struct sn_error *e, char *buf, size_t size);

/* ---- pages and arenas -------------------------------------------------------------- */

/* Zeroed private pages; NULL when the kernel refuses. `size` is rounded up. Signal-safe.
 */
void *sn_pages_map(size_t size);
void sn_pages_unmap(void *p, size_t size);
/* These, or a block of an arena, will be looked into here and there: large pages are
 * worth it, if there are such. Not everywhere: on a virtual machine that gives its free
 * memory back, a fresh large page can take 100 times as long as a small one. Not in
 * libsonde. */
void sn_pages_scattered(void *p, size_t size);
/* For tests: let the n-th page request from now fail (0: never). Not thread-safe. */
void sn_pages_fail_after(unsigned n);

struct sn_arena; /* grows, is freed at once */

struct sn_arena *sn_arena_new(void);    /* NULL: out of memory */
void sn_arena_free(struct sn_arena *a); /* NULL-safe */
/* Zeroed, aligned to 16; NULL when out of memory, and then sn_arena_failed() stays true.
 */
void *sn_arena_alloc(struct sn_arena *a, size_t size);
/* Like realloc: grows in place when `old` is the last block, else copies. */
void *sn_arena_grow(struct sn_arena *a, void *old, size_t old_size, size_t new_size);
char *sn_arena_strdup(struct sn_arena *a, const char *s);
char *sn_arena_strndup(struct sn_arena *a, const char *s, size_t n);
char *sn_arena_printf(struct sn_arena *a, const char *fmt, ...) SN_PRINTF(2, 3);
bool sn_arena_failed(const struct sn_arena *a);
size_t sn_arena_bytes(const struct sn_arena *a); /* pages held */

/*
 * Append room for one element to an arena-backed array {T *v; uint32_t n, cap;} and yield
 * a pointer to it (zeroed), or NULL when out of memory or past UINT32_MAX - 1 elements.
 *     struct sn_label *l = SN_PUSH(arena, p->labels, p->n_labels, p->cap_labels);
 */
#define SN_PUSH(arena, v, n, cap)                                                        \
    ((__typeof__(v))sn_array_push((arena), (void **)&(v), &(n), &(cap), sizeof *(v)))
void *sn_array_push(struct sn_arena *a, void **v, uint32_t *n, uint32_t *cap,
                    size_t size);
/* Room for `wanted` elements, `need` at least. False: out of memory, or `need` is past
 * UINT32_MAX - 1. */
bool sn_array_grow(struct sn_arena *a, void **v, uint32_t *cap, uint64_t need,
                   uint64_t wanted, size_t size);

/* ---- parallel.c: work on all cores --------------------------------------------------
 */

#define SN_CORES_MAX 16
unsigned sn_cores(void); /* that this process may use, so many at most */
/* run(arg, part) of each part below n, in any order, on several threads of which the
 * caller's is one. Returns when all are done. */
void sn_parallel(unsigned n, void (*run)(void *arg, unsigned part), void *arg);
/* Where a part of n things begins, of so many parts. */
static inline uint32_t sn_part_begin(uint32_t n, unsigned part, unsigned parts)
{
    return (uint32_t)((uint64_t)n * part / parts);
}

/* ---- buffers: bytes that grow -------------------------------------------------------
 */

/* Where a buffer that is only appended to goes when it has grown large, and begins anew.
 * False: it cannot, and says itself why; what follows is dropped. */
struct sn_drain {
    bool (*write)(struct sn_drain *d, const char *data, size_t len);
};

/* Zero-initialise with an arena: struct sn_buf b = {.arena = a}. `failed` is sticky. */
struct sn_buf {
    struct sn_arena *arena; /* borrowed */
    char *data; /* always NUL-terminated once non-NULL; the NUL is not counted */
    size_t len, cap;
    bool failed;            /* out of memory: what follows is dropped */
    struct sn_drain *drain; /* borrowed; NULL: it is kept whole */
};

void sn_buf_add(struct sn_buf *b, const void *data, size_t len);
/* Room for so many bytes more, and one, at data + len; whoever fills it adds to len.
 * NULL: no memory. */
char *sn_buf_room(struct sn_buf *b, size_t more);
void sn_buf_puts(struct sn_buf *b, const char *s);
/* As text of XML or HTML, also within quotes; control characters, which neither may have,
 * are left out. */
void sn_buf_add_xml(struct sn_buf *b, const char *text, size_t len);
void sn_buf_putc(struct sn_buf *b, char c);
void sn_buf_printf(struct sn_buf *b, const char *fmt, ...) SN_PRINTF(2, 3);
void sn_buf_vprintf(struct sn_buf *b, const char *fmt, va_list ap);

/* ---- interned strings ---------------------------------------------------------------
 */

/* Dense ids from 0; id 0 is always "". Strings live in the arena and are NUL-terminated.
 */
struct sn_strtab;

struct sn_strtab *sn_strtab_new(struct sn_arena *a); /* NULL: out of memory */
/* The id of s (added if new); 0 when out of memory (the arena then says so). */
uint32_t sn_strtab_add(struct sn_strtab *t, const char *s);
uint32_t sn_strtab_addn(struct sn_strtab *t, const char *s, size_t n);
uint32_t sn_strtab_find(const struct sn_strtab *t, const char *s); /* SN_NONE: absent */
uint32_t sn_strtab_findn(const struct sn_strtab *t, const char *s, size_t n);
const char *sn_strtab_get(const struct sn_strtab *t, uint32_t id); /* never NULL */
size_t sn_strtab_len(const struct sn_strtab *t, uint32_t id);
uint32_t sn_strtab_count(const struct sn_strtab *t);

/* ---- hash map: 64-bit key to 32-bit value -------------------------------------------
 */

struct sn_map;

struct sn_map *sn_map_new(struct sn_arena *a); /* NULL: out of memory */
/* A pointer to key's value, made SN_NONE when new; NULL when out of memory. Valid until
 * the next sn_map_put. */
uint32_t *sn_map_put(struct sn_map *m, uint64_t key);
uint32_t sn_map_get(const struct sn_map *m, uint64_t key); /* SN_NONE: absent */
/* Mixes 64 bits; for building keys of one's own: h = sn_hash_mix(h ^ x). Signal-safe. */
static inline uint64_t sn_hash_mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return x ^ (x >> 32);
}
uint64_t sn_hash_bytes(const void *data, size_t len);

/* ---- numbers --------------------------------------------------------------------------
 */

double sn_ln(double x); /* natural logarithm; x normal and positive; to 1e-10 */
double sn_one_minus_exp(double x); /* 1 - e^-x, x >= 0; to 1e-12 of it, also near 0 */

/* ---- units ----------------------------------------------------------------------------
 */

/*
 * pprof's measurement rules (github.com/google/pprof, internal/measurement), in one
 * table. `unit` is a unit's name as found in a profile ("nanoseconds", "bytes", "count",
 * ...).
 */
/* value in from_unit expressed in to_unit ("auto" and "minimum" pick one); *unit_out gets
 * the unit chosen (static string or one of the arguments). */
double sn_unit_scale(int64_t value, const char *from_unit, const char *to_unit,
                     const char **unit_out);
/* "12.34ms": scaled, "%.2f" with ".00" stripped, unit appended. Returns buf. */
char *sn_unit_label(int64_t value, const char *from_unit, const char *to_unit, char *buf,
                    size_t size);
/* " 99.9%" as pprof prints it: exact field widths included. */
char *sn_unit_percent(int64_t value, int64_t total, char *buf, size_t size);
/* Are the two units of one family (time, memory, gcu)? Then *ratio is one a / one b. */
bool sn_unit_compatible(const char *a, const char *b, double *ratio);

/* ---- frames as the sanitizers print them ----------------------------------------------
 *
 * Tools that give names to such lines know them, as does cli/names.c. Number, pc, " in "
 * and the name (or "" twice), file, offset from its load address; or without a file.
 */
#define SN_FRAME_LINE      "    #%zu 0x%llx%s%s (%s+0x%llx)\n"
#define SN_FRAME_LINE_BARE "    #%zu 0x%llx\n"

/* ---- files ----------------------------------------------------------------------------
 */

struct sn_file { /* a file read whole (mapped when it can be, else read) */
    const unsigned char *data;
    size_t len;
    size_t pages; /* bytes mapped */
};

/* "-" is standard input. `limit` bytes at most (0: none). */
bool sn_file_open(const char *path, size_t limit, struct sn_file *f, struct sn_error *e);
void sn_file_close(struct sn_file *f);
/* The first line of a short file, as those of /proc and /sys, cut to `size`; "" if it
 * cannot be read. Signal-safe. */
void sn_file_line(const char *path, char *line, size_t size);
/* Of /proc/PID/task/TID/syscall (proc(5)): where a thread that sleeps in the kernel
 * stands. False, and both 0: it does not, or may not be looked at. Signal-safe. */
bool sn_file_asleep(const char *path, uint64_t *sp, uint64_t *pc);
/* Written to a temporary beside `path`, then renamed: whole or not at all. A path that is
 * no regular file (/dev/stdout, a pipe) is written straight. */
bool sn_file_write(const char *path, const void *data, size_t len, struct sn_error *e);
/* The same with all that can be read from a descriptor, for the user's eyes only (mode
 * 0600); "-" is standard output. */
bool sn_file_copy(int from, const char *to, struct sn_error *e);
bool sn_file_is_special(const char *path); /* there, and no regular file */

/* A file that comes piece by piece, and has its name only when it is closed as good:
 * whole or not at all. What is no regular file is written straight. `path` is borrowed;
 * NULL is standard output, which is not closed. Open as long as sn_output_open was good;
 * then closed once, whose result is false also if it was not good. */
struct sn_output {
    const char *path;
    char temporary[4096]; /* "": it is written straight */
    bool nameless;        /* it has not even that name until it is closed */
    uint64_t left; /* bytes that it may have (RLIMIT_FSIZE): more would be a signal */
    int fd;
    bool borrowed; /* standard output; another file may get its number where it is closed
                    */
};
bool sn_output_open(struct sn_output *o, const char *path, unsigned mode,
                    struct sn_error *e);
bool sn_output_add(struct sn_output *o, const char *p, size_t len, struct sn_error *e);
bool sn_output_close(const struct sn_output *o, bool good, struct sn_error *e);
/* A file that belongs to Sonde: by its name beside the command (as it was built), else by
 * that in the library directory (as it was installed). */
bool sn_installed(const char *beside, const char *in_libdir, char path[PATH_MAX],
                  struct sn_error *e);
bool sn_mkdirs(const char *path,
               struct sn_error *e); /* like mkdir -p, mode 0777 & ~umask */

#endif
