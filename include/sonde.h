/*
 * sonde.h: profile a program from within. Link with -lsonde, or preload libsonde.so and
 * set SONDE=cpu=997,path=out,quiet in the environment.
 *
 *     struct sonde *p = sonde_start(&(struct sonde_config){.cpu_profile = true});
 *     ...
 *     sonde_stop(p);
 *
 * All functions may be called from any thread, none from a signal handler.
 */
#ifndef SONDE_H
#define SONDE_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* On which side of a block the fence stands: behind its end, or before its beginning. */
enum sonde_efence { SONDE_EFENCE_OFF, SONDE_EFENCE_RIGHT, SONDE_EFENCE_LEFT };

/*
 * Zero means the default for every field. A kind that this library cannot record is
 * refused (ENOTSUP), never ignored. Fields are only ever added, at the end; a program
 * that sets one of those below "since" says so with .size.
 */
struct sonde_config {
    size_t size; /* sizeof(struct sonde_config), or 0: the fields since 0.1 */

    bool cpu_profile;      /* cpu.pprof */
    bool mem_profile;      /* mem.pprof */
    bool block_profile;    /* block.pprof; not built yet: refused */
    bool no_shutdown_hook; /* leave SIGINT alone */
    bool sigterm_hook;     /* SIGTERM, too, stops and writes before it kills */
    bool quiet;            /* print nothing */
    /* Directory, made if missing; NULL or "": a fresh temporary one. */
    const char *profile_path;
    unsigned cpu_hz;   /* samples a CPU second of each thread; 0: 100; at most 10000 */
    unsigned mem_rate; /* bytes a sample; 0: 524288; 1: every allocation */
    unsigned block_rate_ns; /* waiting time a sample; not built yet: refused */
    /* Every allocation, and what becomes of it: peak, temporary, leaked. */
    bool mem_exact;
    /* On this signal the heap's profile so far is written beside the output, mem.1.pprof,
     * mem.2.pprof, ...; unless the program handles it. 0: none. */
    int mem_signal;
    /* The program's own mappings count as blocks, too: private anonymous memory that it
     * gets by mmap or mremap, other than PROT_NONE. Each is recorded, also where blocks
     * are sampled; one that munmap cuts in two is two. They are never leaked. */
    bool mem_mmap;

    /* Tracers: lines of text as GODEBUG's of Go; libsonde(3) has their grammar. They can
     * be combined, with one another and with profiles. */
    unsigned schedtrace_ms; /* a line on the scheduler so often; 0: none */
    unsigned
        scheddetail;     /* with a line for each CPU and each thread; 2: its stack, too */
    bool allocfreetrace; /* every allocation and free, with its stack */
    enum sonde_efence efence; /* each block on pages of its own, beside one that faults */
    unsigned gctrace;         /* 1: a line a collection; 2: each twice, its phases */
    bool gcdead;              /* what is dead is overwritten */
    /* What free and realloc are given is checked: 1; -1: it is not; 2: and nothing may
     * point to what was freed. 0: as 1 with gcdead and gctrace. */
    int invalidptr;
    bool scavenge; /* memory is given back to the system, and how much is told */
    /* The lines are appended to this file, %p in its name stands for the process's id.
     * NULL or "": they go to standard error. */
    const char *trace_path;
};

struct sonde;

/*
 * Start recording. NULL on failure: errno is set (EBUSY: already recording, perhaps by
 * the environment; ENOTSUP; EINVAL; or why the directory cannot be written),
 * sonde_error() says it in words, and nothing has been hooked.
 *
 * Unless no_shutdown_hook is set, or the program handles or ignores SIGINT, SIGINT writes
 * the profile before it kills. So do exit, quick_exit and _exit without sonde_stop. What
 * kills otherwise leaves cpu.spool, which the sonde command reads as it reads a profile.
 * A fork's child records nothing, unless the recording was begun by the environment: then
 * it has a file of its own, cpu.PID.pprof.
 */
struct sonde *sonde_start(const struct sonde_config *config);
/* Stop, and write the profile. NULL and a second stop are allowed. Returns 0, or -1 with
 * errno and sonde_error() set. */
int sonde_stop(struct sonde *p);
/* Why the calling thread's last sonde_start or sonde_stop failed; "" if it did not. Good
 * until that thread's next call of any of these. */
const char *sonde_error(void);

/* Write the heap's profile so far, whole or not at all; the recording goes on. Returns 0,
 * or -1 with errno (EINVAL: no heap is being recorded, or path is NULL; EIO: it cannot be
 * written) and sonde_error() set. */
int sonde_heap_write(const char *path);

/* Write a dump of the heap: every block, what points to it, and the stack that allocated
 * it; `sonde heapdump FILE` reads it. The other threads stand still meanwhile. Needs a
 * recording with mem_exact. Of a program that uses libgc it collects first, and has the
 * collector's blocks, too: not from where libgc's lock is held. Returns 0, or -1 with
 * sonde_error() set; whole or not at all.
 */
int sonde_heapdump_write(const char *path);

/*
 * A profile of the program's own: whatever it opens and must close, by the stacks that
 * opened it. As Go's pprof.NewProfile. It is there whether anything is recorded or not;
 * when a recording ends, each that is not empty is written to its directory, as
 * NAME.pprof (beside cpu.PID.pprof, NAME.PID.pprof). A key is no pointer: it keeps no
 * block from being leaked. A fork's child has a copy.
 *
 *     static struct sonde_profile *connections;
 *     connections = sonde_profile_new("connections");
 *     sonde_profile_add(connections, conn);        // where it is opened
 *     sonde_profile_remove(connections, conn);     // where it is closed
 */
struct sonde_profile;
/* The profile of that name, made if there is none; never freed. NULL: ENOMEM, or EINVAL:
 * a name is a file's, at most 63 bytes, without a slash, and not cpu, mem or block. */
struct sonde_profile *sonde_profile_new(const char *name);
/* Keep `key`, any value but (void *)-1, with the caller's stack. 0, or -1 with errno:
 * EEXIST, it is there; ENOSPC, ENOMEM. */
int sonde_profile_add(struct sonde_profile *p, const void *key);
int sonde_profile_remove(struct sonde_profile *p, const void *key); /* ENOENT */
size_t sonde_profile_count(const struct sonde_profile *p); /* keys that it holds */
/* Write it now, whole or not at all: 0, or -1 with sonde_error() set. */
int sonde_profile_write(struct sonde_profile *p, const char *path);

/* The state of the heap. Bytes are the allocator's own figures (the C library's,
 * jemalloc's, tcmalloc's, mimalloc's); what it does not tell is 0: mimalloc's blocks,
 * what the C library has released. */
struct sonde_mem_stats {
    size_t size;         /* sizeof(struct sonde_mem_stats), or 0: the fields since 0.1 */
    size_t in_use_bytes; /* in blocks that the program holds */
    size_t idle_bytes;   /* obtained from the system, in no block */
    size_t system_bytes; /* obtained from the system: the sum of both */
    size_t released_bytes;                      /* given back, its addresses kept */
    double fragmentation;                       /* idle_bytes / system_bytes */
    size_t resident_bytes, peak_resident_bytes; /* of the whole process */
    /* While a heap is recorded, since its beginning; sampled, they are estimates. */
    bool counted; /* else the next three are 0 */
    size_t objects, allocations, frees;

    /* The heap of libgc (Boehm's collector), if the program uses it. Its bytes are its
     * own, and none of those above. Pauses are known since the first call of this
     * function, or since a recording began that traces collections; the last one is
     * gc_pause_ns[(gc_pauses + 255) % 256]. */
    bool gc;                                   /* else the rest is 0 */
    size_t gc_heap_bytes;                      /* mapped */
    size_t gc_free_bytes;                      /* of them, in blocks that hold nothing */
    size_t gc_unmapped_bytes;                  /* given back, its addresses kept */
    size_t gc_allocated_bytes, gc_collections; /* since the program began */
    size_t gc_pauses, gc_pause_total_ns;
    size_t gc_pause_ns[256];
};
int sonde_read_mem_stats(struct sonde_mem_stats *stats); /* 0, or -1 with errno EINVAL */

/* Start now, stop when the program ends; a failure is told on stderr.
 *     int main(void) { SONDE_PROFILE(.cpu_profile = true); ... */
#define SONDE_PROFILE(...)                                                               \
    sonde_profile(                                                                       \
        &(struct sonde_config){.size = sizeof(struct sonde_config), __VA_ARGS__})
void sonde_profile(const struct sonde_config *config);

#ifdef __cplusplus
}
#endif

#endif
