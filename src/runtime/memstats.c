/*
 * memstats.c: what the allocator says of itself, and what a recording has counted.
 * Allocators other than the C library's are asked by the functions that they export.
 */
#include "runtime/runtime.h"
#include "sonde.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>

/* ---- the allocator's own figures ------------------------------------------------------
 */

/* jemalloc(3): statistics as of the last "epoch". */
static bool ask_jemalloc(struct sonde_mem_stats *s)
{
    int (*mallctl)(const char *, void *, size_t *, void *, size_t);
    *(void **)&mallctl = dlsym(RTLD_DEFAULT, "mallctl");
    uint64_t epoch = 1;
    size_t in_use = 0, mapped = 0, retained = 0, size = sizeof in_use;
    if (mallctl == NULL || mallctl("epoch", NULL, NULL, &epoch, sizeof epoch) != 0 ||
        mallctl("stats.allocated", &in_use, &size, NULL, 0) != 0 ||
        mallctl("stats.mapped", &mapped, &size, NULL, 0) != 0 ||
        mallctl("stats.retained", &retained, &size, NULL, 0) != 0)
        return false;
    s->in_use_bytes = in_use;
    s->system_bytes = mapped;
    s->released_bytes = retained;
    return true;
}

/* gperftools, malloc_extension_c.h */
static bool ask_tcmalloc(struct sonde_mem_stats *s)
{
    int (*property)(const char *, size_t *);
    *(void **)&property = dlsym(RTLD_DEFAULT, "MallocExtension_GetNumericProperty");
    size_t in_use = 0, heap = 0, released = 0;
    if (property == NULL || !property("generic.current_allocated_bytes", &in_use) ||
        !property("generic.heap_size", &heap) ||
        !property("tcmalloc.pageheap_unmapped_bytes", &released))
        return false;
    s->in_use_bytes = in_use;
    s->system_bytes = heap - released;
    s->released_bytes = released;
    return true;
}

/* mimalloc.h: it tells what it has committed, not what is in use. */
static bool ask_mimalloc(struct sonde_mem_stats *s)
{
    void (*info)(size_t *, size_t *, size_t *, size_t *, size_t *, size_t *, size_t *,
                 size_t *);
    *(void **)&info = dlsym(RTLD_DEFAULT, "mi_process_info");
    size_t unused, committed = 0;
    if (info == NULL)
        return false;
    info(&unused, &unused, &unused, &unused, &unused, &committed, &unused, &unused);
    s->system_bytes = committed;
    return true;
}

/* mallinfo(3): mmapped blocks are in use by definition. */
static bool ask_glibc(struct sonde_mem_stats *s)
{
    struct mallinfo2 i = mallinfo2();
    s->in_use_bytes = i.uordblks + i.hblkhd;
    s->system_bytes = i.arena + i.hblkhd;
    return true;
}

/* ---- what it keeps free, given back ---------------------------------------------------
 */

/* "arena.<i>.purge" of all, MALLCTL_ARENAS_ALL */
static void release_jemalloc(void)
{
    int (*mallctl)(const char *, void *, size_t *, void *, size_t);
    *(void **)&mallctl = dlsym(RTLD_DEFAULT, "mallctl");
    if (mallctl != NULL)
        mallctl("arena.4096.purge", NULL, NULL, NULL, 0);
}

static void release_tcmalloc(void)
{
    void (*release)(void);
    *(void **)&release = dlsym(RTLD_DEFAULT, "MallocExtension_ReleaseFreeMemory");
    if (release != NULL)
        release();
}

static void release_mimalloc(void)
{
    void (*collect)(bool force);
    *(void **)&collect = dlsym(RTLD_DEFAULT, "mi_collect");
    if (collect != NULL)
        collect(true);
}

static void release_glibc(void)
{
    malloc_trim(0);
}

static const struct {
    bool (*ask)(struct sonde_mem_stats *s);
    void (*release)(void);
    bool tells; /* what it has released */
} allocators[] = {{ask_jemalloc, release_jemalloc, true},
                  {ask_tcmalloc, release_tcmalloc, true},
                  {ask_mimalloc, release_mimalloc, false},
                  {ask_glibc, release_glibc, false}};

/* Which it is, asked; the last if it is no other. It stays the same: what looks for those
 * that are not there allocates, which is none of the program's doing. */
static size_t ask(struct sonde_mem_stats *s)
{
    static atomic_size_t known = SN_COUNT(allocators);
    size_t i = atomic_load(&known);
    if (i < SN_COUNT(allocators)) {
        allocators[i].ask(s);
        return i;
    }
    struct sn_heap_thread *own = sn_heap_own_begin();
    for (i = 0; !allocators[i].ask(s) && i + 1 < SN_COUNT(allocators);)
        i++;
    sn_heap_own_end(own);
    atomic_store(&known, i);
    return i;
}

bool sn_mem_ask(struct sonde_mem_stats *s)
{
    return allocators[ask(s)].tells;
}

void sn_mem_release(void)
{
    struct sonde_mem_stats unused = {0};
    allocators[ask(&unused)].release();
}

/* ---- what was counted -----------------------------------------------------------------
 */

struct sums {
    uint64_t allocated, freed;
};

static void add_entry(const struct sn_spool_entry *x, void *sums)
{
    struct sums *s = sums;
    s->allocated += x->values[SN_HEAP_ALLOC_OBJECTS];
    s->freed += x->values[SN_HEAP_FREE_OBJECTS];
}

static void ask_recording(struct sonde_mem_stats *s)
{
    struct sums sums = {0};
    const struct sn_spool_header *h = sn_heap_table.header;
    if (!sn_heap_on() || h == NULL)
        return;
    sn_table_each(&sn_heap_table, add_entry, &sums);
    s->counted = true;
    s->allocations = sums.allocated / h->scale;
    s->frees = sums.freed / h->scale;
    s->objects =
        sums.allocated > sums.freed ? (sums.allocated - sums.freed) / h->scale : 0;
}

/* ---- the kernel's ---------------------------------------------------------------------
 */

static void ask_kernel(struct sonde_mem_stats *s)
{
    char line[256];
    FILE *status = fopen("/proc/thread-self/status", "re");
    unsigned long kilobytes;
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "VmHWM: %lu", &kilobytes) == 1)
            s->peak_resident_bytes = kilobytes * 1024;
        else if (sscanf(line, "VmRSS: %lu", &kilobytes) == 1)
            s->resident_bytes = kilobytes * 1024;
    if (status != NULL)
        fclose(status);
}

SN_PUBLIC int sonde_read_mem_stats(struct sonde_mem_stats *stats)
{
    struct sonde_mem_stats s = {0};
    size_t first =
        offsetof(struct sonde_mem_stats, gc); /* without those that came later */
    size_t size = stats != NULL && stats->size != 0 ? stats->size : first;
    if (stats == NULL || size < sizeof size || size > 4096) {
        errno = EINVAL;
        return -1;
    }
    ask(&s);
    if (s.in_use_bytes > 0 && s.system_bytes > s.in_use_bytes) {
        s.idle_bytes = s.system_bytes - s.in_use_bytes;
        s.fragmentation = (double)s.idle_bytes / (double)s.system_bytes;
    }
    ask_recording(&s);
    ask_kernel(&s);
    if (size > first)
        sn_trace_gc_stats(&s);
    s.size = stats->size;
    memset(stats, 0, size);
    memcpy(stats, &s, size < sizeof s ? size : sizeof s);
    return 0;
}
