/*
 * profile: the model of a pprof profile and its codec, merge and check; and the spool,
 * the file in which libsonde counts stacks while a program runs.
 *
 * Format: https://github.com/google/pprof/blob/main/proto/profile.proto
 *
 * The model is flat: dense 32-bit indices into arrays, strings interned. All of it lives
 * in the profile's own arena and is freed at once. codec.c, merge.c and spool.c need libc
 * alone.
 */
#ifndef SN_PROFILE_H
#define SN_PROFILE_H

#include "base/base.h"

struct sn_value_type {
    uint32_t type, unit; /* string ids */
};

struct sn_mapping {
    uint64_t start, limit, offset; /* limit is exclusive; offset is into the file */
    uint32_t file, build_id;       /* string ids; build id in lower-case hexadecimal */
    uint32_t found; /* where the file was found; 0: where it says. Not written */
    /* URL of the server that it came from (NULL: none; it may hold a password), and where
     * it starts there, which merging does not change. In the arena. Not written */
    const char *source;
    uint64_t source_start;
    bool has_functions, has_filenames, has_lines, has_inlines;
};

struct sn_function {
    uint32_t name, system_name, file; /* string ids; system_name is the mangled one */
    int64_t start_line;
};

struct sn_line {
    uint32_t function; /* index, or SN_NONE */
    int64_t line, column;
};

struct sn_location {
    uint64_t address;
    uint32_t mapping;        /* index, or SN_NONE */
    uint32_t line0, n_lines; /* into lines; [0] is the innermost inlined function */
    bool folded;
};

struct sn_label {
    uint32_t key;
    uint32_t str;      /* string label when not 0 */
    int64_t num;       /* else a number ... */
    uint32_t num_unit; /* ... in this unit (may be 0) */
};

struct sn_sample {
    uint32_t loc0, n_locs;     /* into sample_locs: location indices, leaf first */
    uint32_t label0, n_labels; /* into labels */
};

/* The numbers that a file has where they are not 1, 2, 3, ...; n is 0 where they are. */
struct sn_numbers {
    uint64_t *v, max;
    uint32_t n;
};
/* The number of index i; what was added later is numbered on. */
static inline uint64_t sn_number(const struct sn_numbers *x, uint32_t i)
{
    return i < x->n ? x->v[i] : x->max + 1 + (i - x->n);
}

struct sn_profile {
    struct sn_arena *arena; /* owned: holds all that follows */
    struct sn_strtab *strings;

    struct sn_value_type *types; /* what each sample's values are */
    uint32_t n_types, cap_types;
    struct sn_mapping *mappings;
    uint32_t n_mappings, cap_mappings;
    struct sn_function *functions;
    uint32_t n_functions, cap_functions;
    struct sn_location *locations;
    uint32_t n_locations, cap_locations;
    struct sn_line *lines;
    uint32_t n_lines, cap_lines;
    struct sn_sample *samples;
    uint32_t n_samples, cap_samples;
    int64_t *values; /* sample i, type t: values[i * n_types + t] */
    uint32_t n_values, cap_values;
    uint32_t *sample_locs;
    uint32_t n_sample_locs, cap_sample_locs;
    struct sn_label *labels;
    uint32_t n_labels, cap_labels;
    uint32_t *comments; /* string ids */
    uint32_t n_comments, cap_comments;

    int64_t time_ns;     /* since 1970; 0 unknown */
    int64_t duration_ns; /* 0 unknown */
    struct sn_value_type period_type;
    int64_t period;
    uint32_t default_sample_type, drop_frames, keep_frames, doc_url; /* string ids */
    struct sn_numbers mapping_numbers, location_numbers; /* of the one file it is from */
};

struct sn_profile *sn_profile_new(void);    /* NULL: out of memory */
void sn_profile_free(struct sn_profile *p); /* NULL-safe */
static inline const char *sn_profile_str(const struct sn_profile *p, uint32_t id)
{
    return sn_strtab_get(p->strings, id);
}

/* The locations of all samples: more than n_sample_locs where some share theirs, as those
 * of a spool do. */
static inline size_t sn_profile_frames(const struct sn_profile *p)
{
    size_t n = 0;
    for (uint32_t i = 0; i < p->n_samples; i++)
        n += p->samples[i].n_locs;
    return n;
}

/* Append a comment. False: out of memory, which the arena then says too. */
bool sn_profile_comment(struct sn_profile *p, const char *fmt, ...) SN_PRINTF(2, 3);

/* Decode an uncompressed message. Whatever it returns has passed sn_profile_check.
 * `where` names the file in errors. NULL on error. Locations, functions and mappings that
 * are not referenced are kept; ids in the file become indices in file order. */
struct sn_profile *sn_profile_decode(const void *data, size_t len, const char *where,
                                     struct sn_error *e);
/* The same with a message that is still coming, which saves the time until it has. NULL:
 * it is not as such messages mostly are, or something is wrong: give the whole to
 * sn_profile_decode, which says what. */
struct sn_coming {
    /* What comes after the n bytes at `rest`, the end of what came before: *data gets the
     * place of these and of what follows. How many there are; 0: no more comes. */
    size_t (*next)(void *arg, const unsigned char *rest, size_t n,
                   const unsigned char **data);
    void *arg;
    size_t expected; /* bytes in all, more or less; 0: not known */
};
struct sn_profile *sn_profile_decode_coming(const struct sn_coming *coming);
/* Append the message to *out. Index i is written as id i + 1. */
void sn_profile_encode(const struct sn_profile *p, struct sn_buf *out);
/* The same message in pieces that follow one another: into how many it is best cut, and
 * piece i of n. Not in libsonde. */
unsigned sn_profile_pieces(const struct sn_profile *p);
void sn_profile_piece(const struct sn_profile *p, unsigned i, unsigned n,
                      struct sn_buf *out);
/* All indices in range, values present, at least one sample type. */
bool sn_profile_check(const struct sn_profile *p, const char *where, struct sn_error *e);
/* Leave, in place, only the sample types that all n have, in the order of the first. */
bool sn_profile_common_types(struct sn_profile *const *v, size_t n, struct sn_error *e);
/* Give, in place, each of the n all the sample types that any of them has; where it had
 * none, its values are 0. */
bool sn_profile_all_types(struct sn_profile *const *v, size_t n, struct sn_error *e);
/* Merge n profiles of the same sample types (as pprof's profile.Merge: samples of equal
 * stack and labels are summed, mappings matched by build id or file, else by server,
 * across load addresses). The result is new; the inputs are untouched. */
struct sn_profile *sn_profile_merge(struct sn_profile *const *v, size_t n,
                                    struct sn_error *e);
/* The same, and frees each of them when it has been added, or the others where it fails.
 */
struct sn_profile *sn_profile_join(struct sn_profile *const *v, size_t n,
                                   struct sn_error *e);
/* The same, one after the other: each may go when it has been added. `expected`: how many
 * there will be, more or less. Not of several threads at once. */
struct sn_merger;
struct sn_merger *sn_merger_new(unsigned expected); /* NULL: no memory */
/* Has it the sample types and the kind of period of those before it? */
bool sn_merger_fits(const struct sn_merger *m, const struct sn_profile *p);
void sn_merger_add(struct sn_merger *m, const struct sn_profile *p); /* one that fits */
/* Frees m. NULL: *e. */
struct sn_profile *sn_merger_end(struct sn_merger *m, struct sn_error *e);

/* ---- the spool: stacks counted in a mapped file -------------------------------------
 */

/*
 * One file a process image, mapped shared, so that whatever kills the process leaves what
 * was counted. All integers are native-endian; all references are byte offsets from the
 * start of the file. Written lock-free from signal handlers (runtime/table.c), read by
 * sn_spool_read after (or, consistently enough, while) that happens.
 *
 *   [header][modules: SN_SPOOL_MODULES][threads: SN_SPOOL_THREADS][buckets:
 * SN_SPOOL_BUCKETS] [entries
 * ...........................................................................]
 *
 * An entry is published by a release store of its offset/8 into a bucket or into the
 * `next` of the entry before; it is immutable after that but for `count`.
 */
#define SN_SPOOL_MAGIC   UINT64_C(0x314c4f4f50534e53) /* "SNSPOOL1" */
#define SN_SPOOL_MODULES 1024
#define SN_SPOOL_THREADS 8192
#define SN_SPOOL_BUCKETS 65536
#define SN_SPOOL_PATH    448

struct sn_spool_module {
    uint64_t start, limit; /* of the executable segment in memory */
    uint64_t offset;       /* of that segment in the file */
    uint32_t ready; /* set last (release): 1 + the generation in which it was met */
    uint32_t build_id_len;
    unsigned char build_id[32];
    char path[SN_SPOOL_PATH];
};

struct sn_spool_thread { /* slot 0 is "not known" */
    uint32_t tid;
    uint32_t ready;
    char name[24];
    uint64_t samples, weight; /* taken on it; the ticks they stand for */
};

struct sn_spool_entry {
    uint32_t next; /* offset / 8 of the next in the bucket; 0: none */
    uint32_t hash;
    uint32_t thread;     /* slot */
    uint32_t generation; /* dlclose calls before: what lay at an address may change */
    uint16_t n_pcs;
    uint16_t end;        /* why the stack ends: enum sn_unwind_end; 0 is complete */
    uint16_t size_class; /* of heap blocks: sn_spool_size_class; else 0 */
    uint16_t lock;       /* of the process that writes; no meaning in a file */
    /* n_values of the header, as sn_cpu_value or sn_heap_value numbers them; then the
     * stack, leaf first; callers' already moved back into their call (pc - 1). */
    uint64_t values[];
};

enum sn_spool_kind { SN_SPOOL_CPU, SN_SPOOL_HEAP, SN_SPOOL_CUSTOM, SN_SPOOL_KINDS };

enum sn_cpu_value {
    SN_CPU_SAMPLES, /* relaxed atomic adds */
    SN_CPU_TICKS,   /* periods that the samples stand for */
    SN_CPU_VALUES
};

/*
 * Objects and bytes, in units of 1 / scale of the header. Changed under the entry's lock.
 * What was live at the highest heap is brought up to date when the entry changes next:
 * where EPOCH is not the header's, that is what is live now.
 */
enum sn_heap_value {
    SN_HEAP_ALLOC_OBJECTS,
    SN_HEAP_ALLOC_BYTES,
    SN_HEAP_FREE_OBJECTS,
    SN_HEAP_FREE_BYTES,
    SN_HEAP_PEAK_OBJECTS,
    SN_HEAP_PEAK_BYTES,
    SN_HEAP_EPOCH,
    SN_HEAP_SAMPLED_VALUES, /* what a sampled heap has; an exact one, all of them */
    SN_HEAP_TEMPORARY_OBJECTS = SN_HEAP_SAMPLED_VALUES,
    SN_HEAP_TEMPORARY_BYTES,
    SN_HEAP_LEAKED_OBJECTS,
    SN_HEAP_LEAKED_BYTES,
    SN_HEAP_LIFETIMES,    /* of those freed, by decades: objects, bytes, objects, ... */
    SN_HEAP_DECADES = 10, /* below 1 us, below 10 us, ..., from 100 s on */
    SN_HEAP_VALUES = SN_HEAP_LIFETIMES + 2 * SN_HEAP_DECADES
};

/* Of a profile of the program's own, named by the header's output: keys that it holds. */
enum sn_custom_value { SN_CUSTOM_ADDED, SN_CUSTOM_REMOVED, SN_CUSTOM_VALUES };

enum sn_spool_drop {                  /* why a tick brought no sample */
                     SN_DROP_FULL,    /* no room in the spool */
                     SN_DROP_NESTED,  /* blocks allocated by a signal's handler, on top of
                                         the recording of another */
                     SN_DROP_MISSED,  /* the thread's CPU time says it was due: its signal
                                         was blocked, its stack for signals too small, its
                                         clock's descriptor closed */
                     SN_DROP_THREADS, /* threads that could not get a clock (threads, not
                                         ticks) */
                     SN_DROP_COUNT
};

struct sn_spool_header {
    uint64_t magic;
    uint32_t version, pid;
    uint32_t state;                       /* 1 recording, 2 stopped in order */
    uint32_t kind;                        /* enum sn_spool_kind */
    uint32_t n_values;                    /* of each entry */
    uint32_t scale;                       /* of heap values: 1 if exact */
    uint64_t period;                      /* nanoseconds, or bytes */
    uint64_t start_real_ns;               /* CLOCK_REALTIME at start */
    uint64_t start_mono_ns, stop_mono_ns; /* CLOCK_MONOTONIC; stop 0 while recording:
                                             last_mono_ns then */
    uint64_t last_mono_ns;                /* of about the last sample */
    char clock[32];                       /* "perf", "perf-user", "timer": what ran */
    char comm[32];
    char exe[SN_SPOOL_PATH];
    char output[SN_SPOOL_PATH];    /* the profile this spool is for */
    uint32_t n_modules, n_threads; /* claimed slots; atomic */
    uint64_t used;                 /* bytes claimed from entries on; atomic */
    uint64_t allocated;            /* bytes of the file that have blocks */
    uint64_t size;                 /* bytes mapped */
    uint64_t samples, ticks;       /* of a cpu spool; atomic */
    uint64_t truncated[16];        /* its stacks by enum sn_unwind_end */
    uint64_t dropped[SN_DROP_COUNT];

    /* Of a heap spool, in units of 1 / scale; atomic. */
    uint64_t apart[8]; /* from what does not change: a cache line of their own */
    uint64_t live_bytes;
    uint64_t peak_bytes, peak_epoch; /* the highest so far, how often it rose */
    uint64_t peak_mono_ns;           /* about when it did last */
    /* Once it is over: what a scan found of the blocks that were live. */
    uint32_t leaks;    /* enum sn_heap_leaks */
    uint32_t mappings; /* not 0: the program's own are counted, too */
    /* Of SN_SPOOL_BUCKETS, those that are used: the first, a power of two. 0: all. */
    uint32_t n_buckets;
};

enum sn_heap_leaks {
    SN_LEAKS_NOT_ASKED, /* sampled, or still recording */
    SN_LEAKS_KNOWN,
    SN_LEAKS_IN_ALLOCATOR, /* it ended inside its allocator */
    SN_LEAKS_NO_MEMORY,
    SN_LEAKS_NOT_READ /* the process could not read its own memory */
};

/* Stacks of equal threads count apart by the size of their blocks: a power of two in four
 * classes. Signal-safe. */
static inline uint16_t sn_spool_size_class(uint64_t size)
{
    unsigned top = size < 8 ? 0 : 61u - (unsigned)__builtin_clzll(size);
    return (uint16_t)(4 * top + (size >> top));
}

static inline uint64_t *sn_spool_pcs(const struct sn_spool_header *h,
                                     const struct sn_spool_entry *x)
{
    return (uint64_t *)x->values + h->n_values;
}

#define SN_SPOOL_AT_MODULES 4096
#define SN_SPOOL_AT_THREADS                                                              \
    (SN_SPOOL_AT_MODULES + SN_SPOOL_MODULES * sizeof(struct sn_spool_module))
#define SN_SPOOL_AT_BUCKETS                                                              \
    (SN_SPOOL_AT_THREADS + SN_SPOOL_THREADS * sizeof(struct sn_spool_thread))
#define SN_SPOOL_AT_ENTRIES (SN_SPOOL_AT_BUCKETS + SN_SPOOL_BUCKETS * sizeof(uint32_t))

bool sn_spool_is(const void *data, size_t len);
/* Does the path end as a spool's does? */
static inline bool sn_spool_is_name(const char *path)
{
    size_t n = strlen(path);
    return n > 6 && strcmp(path + n - 6, ".spool") == 0;
}
/*
 * Turn a spool (trusting nothing in it: every offset and count is checked, chains are
 * bounded) into a profile; labels thread (name) and thread_id; comments that say clock,
 * samples, lost, truncated. NULL on error.
 *
 * Of a cpu spool: samples/count and cpu/nanoseconds. Of a heap's: alloc_, inuse_ and
 * peak_ (at its highest) objects/count and space/bytes, if exact also temporary_ (freed
 * by the next event of the thread that allocated them) and leaked_; the label bytes, an
 * average of its size class; if exact, the label lifetime (nanoseconds, the lower bound
 * of a decade) where blocks were freed. Of a custom one: its name/count, what it holds.
 */
struct sn_profile *sn_spool_read(const void *data, size_t len, const char *where,
                                 struct sn_error *e);

/* The same while the process goes on counting in it: nothing is said of its
 * end, and it lasts until now. */
struct sn_profile *sn_spool_read_now(const void *data, size_t len, const char *where,
                                     struct sn_error *e);
/* Let the highest heap be what is live now, and any higher one to come. From any process
 * that has the spool mapped. Signal-safe. */
void sn_spool_mark_peak(struct sn_spool_header *h);

struct sn_heap_amount {
    uint64_t objects, bytes;
};

/* What a heap's spool comes to, beside its profile. */
struct sn_heap_sums {
    struct sn_heap_amount alloc, inuse, peak, leaked;
    uint64_t frees;
    uint64_t truncated; /* blocks whose stack is not complete */
};

/* The same; *sums (may be NULL) is zeros where the spool is of another kind. */
struct sn_profile *sn_spool_read_heap(const void *data, size_t len, const char *where,
                                      struct sn_heap_sums *sums, struct sn_error *e);
/* Why it is not known what leaked, by the header's word for it; NULL: it is. */
const char *sn_spool_leaks_unknown(uint32_t leaks);

/* Single stacks of a spool, for who refers to its entries: the heap dump. */
struct sn_spool_stacks;

/* Lives in p's arena, and gives p the spool's mappings. NULL on error. */
struct sn_spool_stacks *sn_spool_stacks_new(struct sn_profile *p, const void *data,
                                            size_t len, const char *where,
                                            struct sn_error *e);
/* Append the locations of the entry at that offset to the profile; *s says which they
 * are. All entries asked for must fit into the spool together. */
bool sn_spool_stack(struct sn_spool_stacks *stacks, uint64_t offset, struct sn_sample *s,
                    struct sn_error *e);

#endif
