/*
 * gctrace.c: a line for each collection, as Go's (runtime/mgc.go, gcMarkTermination):
 *
 *     gc 7 @1.203s 3%: 0.014+8.1+0.003 ms clock, 0.013+7.9/6.2/0+0.003 ms cpu,
 *     21->21->12 MB, 26 MB goal, 2 P libgc, 231320 objects
 *     gc 7 phases: prepare 0.31, stop 0.014, mark 8.1, restart 0.003, reclaim 0.47, ...
 *
 * libgc stops the world for all three of the clock's phases: to stop it, to mark, to
 * start it again. Of the processor's time for marking, the first is of the thread that
 * began it (Go's assist), the second of libgc's own threads. Of a program without a
 * collector the lines are those of gctrace_malloc.c.
 *
 * Under libgc's lock, or in the allocator: no malloc, no lock.
 */
#include "trace/gctrace.h"
#include "trace/libgc.h"
#include "trace/trace_priv.h"

#include <stdio.h>

static atomic_uint level; /* 0: off */
static uint64_t spent_ns; /* in collections; under libgc's lock */

/* ---- numbers as Go prints them --------------------------------------------------------
 */

static const char *put_decimal(struct sn_gc_number *to, uint64_t value, unsigned digits)
{
    uint64_t unit = 1;
    for (unsigned i = 0; i < digits; i++)
        unit *= 10;
    if (digits == 0)
        snprintf(to->v, sizeof to->v, "%lu", (unsigned long)value);
    else
        snprintf(to->v, sizeof to->v, "%lu.%0*lu", (unsigned long)(value / unit),
                 (int)digits, (unsigned long)(value % unit));
    return to->v;
}

/* Whole ones from ten on; else two digits, and at most three of the fraction. */
const char *sn_gc_ms(struct sn_gc_number *to, uint64_t ns)
{
    unsigned digits = 3;
    uint64_t x = ns / 1000;
    if (ns >= 10000000)
        return put_decimal(to, ns / 1000000, 0);
    if (x == 0)
        return put_decimal(to, 0, 0);
    for (; x >= 100; x /= 10)
        digits--;
    return put_decimal(to, x, digits);
}

const char *sn_gc_seconds(struct sn_gc_number *to, uint64_t ns)
{
    return put_decimal(to, ns / 1000000, 3);
}

/* ---- libgc's collections --------------------------------------------------------------
 */

static void write_line(const struct sn_gc_cycle *c, uint64_t now_ns)
{
    struct sn_gc_number n[9];
    uint64_t percent = now_ns > 0 ? spent_ns * 100 / now_ns : 0;
    sn_trace_printf("gc %lu @%ss %lu%%: %s+%s+%s ms clock, %s+%s/%s/0+%s ms cpu, "
                    "%lu->%lu->%lu MB, %lu MB goal, %u P%s libgc, %lu objects%s\n",
                    (unsigned long)c->number,
                    sn_gc_seconds(&n[0], now_ns > c->whole_ns ? now_ns - c->whole_ns : 0),
                    (unsigned long)percent, sn_gc_ms(&n[1], c->stop_ns),
                    sn_gc_ms(&n[2], c->mark_ns), sn_gc_ms(&n[3], c->restart_ns),
                    sn_gc_ms(&n[4], c->cpu.stop_ns), sn_gc_ms(&n[5], c->cpu.own_ns),
                    sn_gc_ms(&n[6], c->cpu.others_ns), sn_gc_ms(&n[7], c->cpu.restart_ns),
                    (unsigned long)(c->before >> 20), (unsigned long)(c->at_end >> 20),
                    (unsigned long)(c->live >> 20), (unsigned long)(c->goal >> 20),
                    c->markers, c->forced ? " (forced)" : "", (unsigned long)c->objects,
                    sn_trace_pid());
}

static void write_phases(const struct sn_gc_cycle *c)
{
    const struct {
        const char *name;
        uint64_t ns;
    } phases[] = {{"prepare", c->prepare_ns}, {"stop", c->stop_ns},
                  {"mark", c->mark_ns},       {"restart", c->restart_ns},
                  {"reclaim", c->reclaim_ns}, {"whole", c->whole_ns}};
    char text[256];
    struct sn_gc_number ms;
    int n = 0;
    for (size_t i = 0; i < SN_COUNT(phases); i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s %s %s", i > 0 ? "," : "",
                      phases[i].name, sn_gc_ms(&ms, phases[i].ns));
    sn_trace_printf("gc %lu phases:%s ms libgc, %lu->%lu->%lu B%s\n",
                    (unsigned long)c->number, text, (unsigned long)c->before,
                    (unsigned long)c->at_end, (unsigned long)c->live, sn_trace_pid());
}

static void on_cycle(const struct sn_gc_cycle *c)
{
    unsigned wanted = atomic_load(&level);
    spent_ns += c->whole_ns;
    if (wanted == 0)
        return;
    write_line(c, sn_trace_ns());
    if (wanted > 1)
        write_phases(c);
}

/* ---- its life -------------------------------------------------------------------------
 */

static bool wanted(const struct sn_settings *s)
{
    return s->trace.gctrace > 0;
}

static bool start(const struct sn_settings *s, struct sn_error *e)
{
    if (!sn_libgc_or_malloc("gctrace", e))
        return false;
    spent_ns = 0;
    atomic_store(&level, s->trace.gctrace);
    sn_libgc_on_cycle(on_cycle);
    sn_libgc_repeat(s->trace.gctrace > 1);
    sn_gc_malloc_start();
    return true;
}

static void stop(bool dying)
{
    (void)dying;
    atomic_store(&level, 0);
    sn_libgc_on_cycle(NULL);
    sn_libgc_repeat(false);
    sn_gc_malloc_stop();
}

static void after_fork(bool child)
{
    if (!child)
        return;
    atomic_store(&level, 0);
    sn_libgc_on_cycle(NULL);
    sn_libgc_repeat(false);
    sn_libgc_after_fork();
    sn_gc_malloc_after_fork();
}

const struct sn_tracer sn_gctrace = {.name = "gctrace",
                                     .wanted = wanted,
                                     .start = start,
                                     .stop = stop,
                                     .after_fork = after_fork,
                                     .pages = sn_gc_malloc_pages};
