/*
 * scavenge.c: once a second what the allocator keeps free goes back to the system, and
 * two lines say how much, as Go's (1.4, runtime/mheap.c):
 *
 *     scvg3: 27 MB released
 *     scvg3: inuse: 80, idle: 131, sys: 211, released: 104, consumed: 107 (MB)
 *
 * inuse + idle = sys, released is part of idle, consumed = sys - released. Where the
 * program uses libgc its heap is part of the sums, and the line says so; that it
 * collects and unmaps is left to the next thread that allocates (libgc.h).
 *
 * glibc does not know what it has given back. The resident set tells: what it loses by
 * malloc_trim, less what the heap itself shrank by, is released. When it grows by more
 * than the heap did, what was released is in use again.
 *
 * Where a trim takes long, those that follow are left out until they are a twentieth of
 * the time.
 *
 * In the monitor's thread; takes the allocator's locks, allocates nothing.
 */
#include "trace/libgc.h"
#include "trace/trace_priv.h"

#include "sonde.h"

#include <stdio.h>
#include <unistd.h>

#define PERIOD_NS UINT64_C(1000000000)

struct heap {
    uint64_t in_use, system, released, resident; /* bytes */
    bool tells; /* the allocator knows what it has released */
};

static struct {
    unsigned n;
    uint64_t released;         /* by glibc, and not in use again */
    uint64_t resident, system; /* at the end of the last run */
    uint64_t unmapped, total;  /* libgc's, then */
    uint64_t no_trim_before_ns;
} last;

static uint64_t difference(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t resident_bytes(void)
{
    char line[128];
    unsigned long pages = 0;
    sn_file_line("/proc/self/statm", line, sizeof line);
    sscanf(line, "%*u %lu", &pages);
    return pages * (uint64_t)getpagesize();
}

static struct heap look(void)
{
    struct sonde_mem_stats s = {0};
    bool tells = sn_mem_ask(&s);
    return (struct heap){.in_use = s.in_use_bytes,
                         .system = s.system_bytes + s.released_bytes,
                         .released = s.released_bytes,
                         .resident = resident_bytes(),
                         .tells = tells};
}

/* How much of what was released has been taken up again since the last run. */
static void take_back(const struct heap *h)
{
    uint64_t grown = difference(h->resident, last.resident);
    grown = difference(grown, difference(h->system, last.system));
    last.released -= least(grown, last.released);
}

static uint64_t released_of(const struct heap *before, const struct heap *after)
{
    uint64_t gone = difference(before->resident, after->resident);
    if (after->tells)
        return after->released;
    last.released += difference(gone, difference(before->system, after->system));
    last.released =
        least(last.released, difference(after->system, after->in_use)); /* all is idle */
    return last.released;
}

/* libgc's heap is part of the sums. What it has given back since the last run. */
static uint64_t add_libgc(struct heap *h)
{
    uint64_t unmapped = sn_libgc.unmapped_bytes(), total = sn_libgc.total_bytes();
    uint64_t mapped = sn_libgc.heap_size(), idle = sn_libgc.free_bytes();
    uint64_t gone = difference(unmapped, last.unmapped);
    h->in_use += difference(mapped, idle);
    h->system += mapped + unmapped;
    h->released += unmapped;
    if (total != last.total)
        sn_libgc_ask(SN_LIBGC_UNMAP);
    last.unmapped = unmapped;
    last.total = total;
    return gone;
}

/* mimalloc does not tell what is in use: then that is left out. */
static void write_lines(const struct heap *h, uint64_t gone, bool libgc)
{
    const char *mark = libgc ? " libgc" : "";
    char blocks[64] = "";
    if (h->in_use > 0)
        snprintf(blocks, sizeof blocks, "inuse: %lu, idle: %lu, ",
                 (unsigned long)(h->in_use >> 20),
                 (unsigned long)(difference(h->system, h->in_use) >> 20));
    sn_trace_printf("scvg%u: %lu MB released%s%s\n", last.n, (unsigned long)(gone >> 20),
                    mark, sn_trace_pid());
    sn_trace_printf(
        "scvg%u: %ssys: %lu, released: %lu, consumed: %lu (MB)%s%s\n", last.n, blocks,
        (unsigned long)(h->system >> 20), (unsigned long)(h->released >> 20),
        (unsigned long)(difference(h->system, h->released) >> 20), mark, sn_trace_pid());
}

static void trim(void)
{
    uint64_t begin_ns = sn_clock_ns(CLOCK_MONOTONIC);
    if (begin_ns < last.no_trim_before_ns)
        return;
    sn_mem_release();
    uint64_t end_ns = sn_clock_ns(CLOCK_MONOTONIC);
    last.no_trim_before_ns = end_ns + 20 * (end_ns - begin_ns);
}

static void run(void)
{
    bool libgc = sn_libgc_is_used();
    struct heap before = look();
    take_back(&before);
    trim();
    struct heap after = look();
    uint64_t gone = difference(before.resident, after.resident);
    after.released = released_of(&before, &after);
    last.resident = after.resident;
    last.system = after.system;
    gone += libgc ? add_libgc(&after) : 0;
    last.n++;
    write_lines(&after, gone, libgc);
}

static bool wanted(const struct sn_settings *s)
{
    return s->trace.scavenge;
}

static bool start(const struct sn_settings *s, struct sn_error *e)
{
    (void)s;
    memset(&last, 0, sizeof last);
    sn_libgc_find(NULL);
    return sn_monitor_start(run, PERIOD_NS, e);
}

static void stop(bool dying)
{
    sn_monitor_stop(run, dying);
}

static void after_fork(bool child)
{
    if (child)
        sn_libgc_after_fork();
}

const struct sn_tracer sn_scavenge = {.name = "scavenge",
                                      .wanted = wanted,
                                      .start = start,
                                      .stop = stop,
                                      .after_fork = after_fork};
