/* test_trace.c: the lines of runtimes, real ones of each version of Go whose lines
 * differ, and ours: what kind each is, and what is understood of it. Then what is
 * hostile. */
#include "formats/trace.h"

#include "../tap.h"

#include <math.h>

/* ---- a table of lines -----------------------------------------------------------------
 */

static const struct {
    const char *since, *line;
    enum sn_trace_line kind;
} lines[] = {
    {"1.1", "SCHED 0ms: gomaxprocs=1 idleprocs=0 threads=2 idlethreads=0 runqueue=0 [0]",
     SN_TRACE_SCHED},
    {"1.1",
     "SCHED 1ms: gomaxprocs=1 idleprocs=0 threads=4 idlethreads=1 runqueue=0 gcwaiting=0 "
     "nmidlelocked=1 nmspinning=0 stopwait=0 sysmonwait=0",
     SN_TRACE_SCHED},
    {"1.1", "  P0: status=3 schedtick=1 syscalltick=0 m=0 runqsize=1/128 gfreecnt=0",
     SN_TRACE_P},
    {"1.1",
     "  M1: p=-1 curg=-1 mallocing=0 throwing=0 gcing=0 locks=1 dying=0 helpgc=0 "
     "spinning=0 lockedg=-1",
     SN_TRACE_M},
    {"1.1", "  G1: status=2(garbage collection) m=0 lockedm=0", SN_TRACE_G},
    {"1.1", "  G2: status=1() m=-1 lockedm=-1", SN_TRACE_G},
    {"1.3",
     "SCHED 202ms: gomaxprocs=2 idleprocs=0 threads=4 spinningthreads=0 idlethreads=0 "
     "runqueue=2 [3 1]",
     SN_TRACE_SCHED},
    {"1.3",
     "  M3: p=0 curg=5 mallocing=0 throwing=0 gcing=0 locks=2 dying=0 helpgc=0 "
     "spinning=0 blocked=0 lockedg=-1",
     SN_TRACE_M},
    {"1.5",
     "  M7: p=-1 curg=-1 mallocing=0 throwing=0 preemptoff= locks=0 dying=0 helpgc=0 "
     "spinning=false blocked=true lockedg=-1",
     SN_TRACE_M},
    {"1.12",
     "  M4: p=0 curg=10 mallocing=0 throwing=0 preemptoff= locks=0 dying=0 "
     "spinning=false blocked=false lockedg=-1",
     SN_TRACE_M},
    {"1.14",
     "  P0: status=1 schedtick=226 syscalltick=4 m=4 runqsize=0 gfreecnt=0 timerslen=1",
     SN_TRACE_P},
    {"1.17", "  G2: status=4(force gc (idle)) m=-1 lockedm=-1", SN_TRACE_G},
    {"1.20",
     "SCHED 3ms: gomaxprocs=2 idleprocs=0 threads=5 spinningthreads=1 needspinning=0 "
     "idlethreads=2 runqueue=1 [0 3]",
     SN_TRACE_SCHED},
    {"1.22",
     "  M0: p=nil curg=nil mallocing=0 throwing=0 preemptoff= locks=0 dying=0 "
     "spinning=false blocked=true lockedg=nil",
     SN_TRACE_M},
    {"1.22", "  G1: status=4(chan receive (nil chan)) m=nil lockedm=nil", SN_TRACE_G},
    {"1.22", "  G1: status=4098(sleep) m=0 lockedm=nil", SN_TRACE_G},
    {"1.25",
     "SCHED 0ms: gomaxprocs=2 idleprocs=0 threads=4 spinningthreads=1 needspinning=0 "
     "idlethreads=1 runqueue=0 [ 0 0 ] schedticks=[ 0 3 ]",
     SN_TRACE_SCHED},
    {"pasted", "M0: p=0 curg=1 mallocing=0", SN_TRACE_M},
    {"ours", "SCHED source=switch", SN_TRACE_SCHED},
    {"ours", "SCHED 0ms: source=tracepoints gomaxprocs=2 idleprocs=1 threads=9",
     SN_TRACE_SCHED},
    {"ours",
     "  M4711: p=1 curg=4711 name=\"two words\" state=blocked(futex) run=120 wait=30 "
     "voluntary=4 involuntary=2 migrations=1 on=queue_lock",
     SN_TRACE_M},
    {"1.1",
     "gc1(1): 1+0+0 ms, 0 -> 0 MB 1473 -> 1487 (1487-14) objects, 0(0) handoff, 0(0) "
     "steal, 0/0/0 yields",
     SN_TRACE_GC},
    {"1.3",
     "gc4(2): 42+2+116+0 us, 0 -> 0 MB, 1473 (1487-14) objects, 32/0/0 sweeps, 0(0) "
     "handoff, 2(4) steal, 16/1/0 yields",
     SN_TRACE_GC},
    {"1.4",
     "gc4(2): 42+2+116+0 us, 0 -> 0 MB, 1473 (1487-14) objects, 4 goroutines, 32/0/0 "
     "sweeps, 0(0) handoff, 2(4) steal, 16/1/0 yields",
     SN_TRACE_GC},
    {"1.5",
     "gc 9 @1.105s 1%: 0.21+15+0.54+17+1.2 ms clock, 0.85+15+0+12/16/18+5.1 ms cpu, "
     "98->105->67 MB, 101 MB goal, 4 P",
     SN_TRACE_GC},
    {"1.6",
     "gc 1 @0.005s 15%: 1.4+7.0+0.003 ms clock, 2.8+0.63/0.95/0+0.007 ms cpu, 3->4->2 "
     "MB, 4 MB goal, 2 P",
     SN_TRACE_GC},
    {"1.9",
     "gc 3 @0.1s 2%: 0.1+1+0.1 ms clock, 0.1+0/1/0+0.1 ms cpu, 3->4->2 MB, 4 MB goal, 2 "
     "P (forced)",
     SN_TRACE_GC},
    {"1.18",
     "gc 1 @0.003s 1%: 0.022+0.34+0.003 ms clock, 0.044+0.099/0/0+0.006 ms cpu, 3->3->3 "
     "MB, 4 MB goal, 0 MB stacks, 0 MB globals, 2 P",
     SN_TRACE_GC},
    {"1.26",
     "gc 8 @2.5s 3% (checking for goroutine leaks): 0.1+1+0.1 ms clock, 0.1+0/1/0+0.1 ms "
     "cpu, 3->4->2 MB, 4 MB goal, 1 MB stacks, 2 MB globals, 2 P",
     SN_TRACE_GC},
    {"ours",
     "gc 2 @0.5s 0%: 0+0+0 ms clock, 0+0/0/0+0 ms cpu, 8->8->8 MB, 16 MB goal, 1200 "
     "objects, 2 P malloc",
     SN_TRACE_GC},
    {"1.3", "scvg3: 0 MB released", SN_TRACE_SCAV},
    {"1.3", "scvg-1: 12 MB released", SN_TRACE_SCAV},
    {"1.3", "scvg3: inuse: 5, idle: 0, sys: 6, released: 0, consumed: 5 (MB)",
     SN_TRACE_SCAV},
    {"1.13", "scvg: inuse: 3, idle: 60, sys: 63, released: 60, consumed: 3 (MB)",
     SN_TRACE_SCAV},
    {"1.13", "forced scvg: 17 MB released", SN_TRACE_SCAV},
    {"1.13", "forced scvg: inuse: 3, idle: 60, sys: 63, released: 60, consumed: 3 (MB)",
     SN_TRACE_SCAV},
    {"1.14", "scav 1024 KiB work, 2048 KiB total, 45% util", SN_TRACE_SCAV},
    {"1.15", "scav 3 1024 KiB work, 2048 KiB total, 45% util (forced)", SN_TRACE_SCAV},
    {"1.19", "scav 0 KiB work, 2424 KiB total, 98% util [controller reset]",
     SN_TRACE_SCAV},
    {"1.20", "scav 0 KiB work (bg), 64 KiB work (eager), 3832 KiB now, 97% util (forced)",
     SN_TRACE_SCAV},
    {"1.3", "tracealloc(0xc20800e000, 0x1000, runtime.parforthread)", SN_TRACE_ALLOC},
    {"1.3", "tracefree(0xc20800e000, 0x1000)", SN_TRACE_FREE},
    {"1.3", "tracegc()", SN_TRACE_NOTE},
    {"1.3",
     "runtime: garbage collector found invalid heap pointer *(0x40+0x8)=0x1234 "
     "span=0x5555",
     SN_TRACE_POINTER},
    {"1.5", "runtime: pointer 0xc000100000 to unallocated span span.base()=0xc000100000",
     SN_TRACE_POINTER},
    {"1.5", "pacer: assist ratio=+5.1e+000 (scan 0 MB in 4->4 MB) workers=1",
     SN_TRACE_NOTE},
    {"1.5", "GC forced", SN_TRACE_NOTE},
    /* what programs print */
    {"none", "", SN_TRACE_OTHER},
    {"none", "gc 1 is the first", SN_TRACE_OTHER},
    {"none", "gc 1 @home", SN_TRACE_OTHER},
    {"none", "gc1(2)", SN_TRACE_OTHER},
    {"none", "gc 1 @0.1s 2%: nothing", SN_TRACE_OTHER},
    {"none", "SCHED nothing", SN_TRACE_OTHER},
    {"none", "P1: a list", SN_TRACE_OTHER},
    {"none", "M3: hello", SN_TRACE_OTHER},
    {"none", "Good morning", SN_TRACE_OTHER},
    {"none", "scvg", SN_TRACE_OTHER},
    {"none", "scav work", SN_TRACE_OTHER},
    {"none", "tracealloc(x)", SN_TRACE_OTHER},
    {"none", "runtime: panic", SN_TRACE_OTHER},
};

static void test_kinds(void)
{
    for (size_t i = 0; i < SN_COUNT(lines); i++) {
        struct sn_trace *t = sn_trace_new(NULL);
        is_int(sn_trace_line(t, lines[i].line, strlen(lines[i].line)), lines[i].kind,
               lines[i].line);
        sn_trace_free(t);
    }
}

/* ---- what is understood ---------------------------------------------------------------
 */

static struct sn_trace *read_text(const char *text)
{
    struct sn_trace *t = sn_trace_new(NULL);
    ok(sn_trace_feed(t, text, strlen(text), SN_TRACE_ABSENT, NULL, NULL) &&
           sn_trace_finish(t, NULL, NULL),
       "is read");
    return t;
}

static void test_sched(void)
{
    struct sn_trace *t = read_text(
        "SCHED 202ms: gomaxprocs=2 idleprocs=1 threads=4 spinningthreads=3 idlethreads=0 "
        "runqueue=2 [3 1]\n"
        "SCHED 212ms: gomaxprocs=2 idleprocs=0 threads=4 spinningthreads=0 "
        "needspinning=0 idlethreads=1 runqueue=1 [ 5 1 ] schedticks=[ 0 3 ]\r\n"
        "SCHED 222ms: source=proc gomaxprocs=2 rss=12 threads=4\n");
    is_int(t->n_sweeps, 3, "three sweeps");
    const struct sn_trace_sweep *w = t->sweeps;
    is_int(w[0].time_ns, 202000000, "time");
    is_int(w[0].cpus, 2, "CPUs");
    is_int(w[0].idle_cpus, 1, "idle CPUs");
    is_int(w[0].spinning, 3, "spinning threads");
    is_int(w[0].queue, 6, "all queues");
    is_int(w[0].longest, 3, "the longest of the CPUs' own");
    is_int(w[1].queue, 7, "all queues, as Go 1.25 prints them");
    is_int(w[1].longest, 5, "the longest");
    is_int(w[2].queue, SN_TRACE_ABSENT, "a queue that was not observed is absent");
    is_int(w[2].idle_cpus, SN_TRACE_ABSENT, "likewise idle CPUs");
    is_str(sn_trace_str(t, t->source), "proc", "the source");
    is_str(t->head, "rss=12", "other fields are kept");
    sn_trace_free(t);
}

static const struct sn_trace_lane *lane(const struct sn_trace *t, char kind, int64_t id)
{
    for (uint32_t i = 0; i < t->n_lanes; i++)
        if (t->lanes[i].kind == kind && t->lanes[i].id == id)
            return &t->lanes[i];
    return NULL;
}

static const char *reason(const struct sn_trace *t, char kind, int64_t id)
{
    for (uint32_t i = t->n_samples; i-- > 0;)
        if (&t->lanes[t->samples[i].lane] == lane(t, kind, id))
            return sn_trace_str(t, t->samples[i].reason);
    return NULL;
}

static void test_detail_of_go(void)
{
    struct sn_trace *t = read_text(
        "SCHED 5ms: gomaxprocs=2 idleprocs=0 threads=4 spinningthreads=0 idlethreads=0 "
        "runqueue=2 gcwaiting=0 nmidlelocked=0 stopwait=0 sysmonwait=0\n"
        "  P0: status=1 schedtick=4 syscalltick=0 m=3 runqsize=3 gfreecnt=0 timerslen=0\n"
        "  P1: status=2 schedtick=4 syscalltick=0 m=4 runqsize=1 gfreecnt=0 timerslen=0\n"
        "  M3: p=0 curg=5 mallocing=0 throwing=0 preemptoff= locks=2 dying=0 "
        "spinning=false blocked=false lockedg=nil\n"
        "  M4: p=nil curg=6 mallocing=0 throwing=0 preemptoff= locks=2 dying=0 "
        "spinning=false blocked=false lockedg=nil\n"
        "  M5: p=-1 curg=-1 mallocing=0 throwing=0 preemptoff= locks=2 dying=0 "
        "spinning=false blocked=true lockedg=-1\n"
        "  G1: status=4(chan receive (nil chan)) m=nil lockedm=nil\n"
        "  G5: status=2(sleep) m=3 lockedm=nil\n"
        "  G6: status=3() m=4 lockedm=nil\n"
        "  G7: status=4097() m=nil lockedm=nil\n");
    static const struct {
        char kind;
        int64_t id;
        enum sn_trace_state state;
        const char *reason;
    } want[] = {{'P', 0, SN_STATE_RUNNING, ""},
                {'P', 1, SN_STATE_SYSCALL, ""},
                {'M', 3, SN_STATE_RUNNING, ""},
                {'M', 4, SN_STATE_SYSCALL, ""},
                {'M', 5, SN_STATE_IDLE, ""},
                {'G', 1, SN_STATE_BLOCKED, "chan receive (nil chan)"},
                {'G', 5, SN_STATE_RUNNING, ""},
                {'G', 6, SN_STATE_SYSCALL, ""},
                {'G', 7, SN_STATE_RUNNABLE, ""}};
    for (size_t i = 0; i < SN_COUNT(want); i++) {
        const struct sn_trace_lane *l = lane(t, want[i].kind, want[i].id);
        ok(l != NULL && l->states[want[i].state] == 1, "%c%d is %s", want[i].kind,
           (int)want[i].id, sn_trace_state_name(want[i].state));
        is_str(reason(t, want[i].kind, want[i].id), want[i].reason, "... and waits for");
    }
    is_int(t->sweeps[0].queue, 6, "the queues of the CPUs are added");
    is_int(t->sweeps[0].longest, 3, "the longest");
    is_int(sn_trace_lane_kind(t), 'G', "goroutines are what is drawn");
    sn_trace_free(t);
}

static void test_detail_of_ours(void)
{
    struct sn_trace *t = read_text(
        "SCHED 0ms: source=switch gomaxprocs=2 threads=3\n"
        "  M7: p=1 curg=7 name=\"a b=c\" state=running run=100 wait=10 voluntary=1\n"
        "  M8: p=-1 curg=-1 name=w state=blocked(futex 0x10 a=b) on=main_lock run=5\n"
        "  M9: p=-1 curg=-1 name=r state=runnable run=1 wait=2\n"
        "SCHED 10ms: gomaxprocs=2 threads=3\n"
        "  M6: p=-1 curg=-1 name=r state=runnable core=big run=1 wait=2\n"
        "  M7: p=0 curg=7 name=\"a b=c\" state=blocked(read) run=900 wait=30 "
        "voluntary=4\n"
        "  M8: p=-1 curg=-1 name=w state=odd\n"
        "  M9: p=-1 curg=-1 name=r state=blocked(?)\n");
    const struct sn_trace_lane *l = lane(t, 'M', 7);
    char label[64];
    is_str(sn_trace_lane_label(t, l, label, sizeof label), "M7 a b=c", "a quoted name");
    is_int(l->first[SN_COUNTER_RUN], 100, "run, at first");
    is_int(l->last[SN_COUNTER_RUN], 900, "... at last");
    is_int(l->last[SN_COUNTER_WAIT], 30, "wait");
    is_int(l->last[SN_COUNTER_VOLUNTARY], 4, "voluntary");
    is_int(l->last[SN_COUNTER_MIGRATIONS], SN_TRACE_ABSENT, "not said: absent");
    is_int(l->last_ns - l->first_ns, 10000000, "how long it was there");
    is_str(reason(t, 'M', 7), "read", "what it waits for");
    l = lane(t, 'M', 8);
    is_int(l->states[SN_STATE_BLOCKED], 1, "blocked");
    is_int(l->states[SN_STATE_GONE], 1, "a word that is not known");
    is_str(sn_trace_str(t, t->samples[1].reason), "futex 0x10 a=b main_lock",
           "brackets hold spaces and '='; `on` is added");
    is_str(lane(t, 'M', 6)->attributes, "core=big", "other fields are kept");
    is_str(reason(t, 'M', 9), "", "a reason that is not known is none");
    is_int(sn_trace_lane_kind(t), 'M', "threads are what is drawn");
    is_int(sn_trace_interval_ns(t), 10000000, "the interval");
    sn_trace_free(t);
}

static void test_gc(void)
{
    struct sn_trace *t = read_text(
        "gc 1 @0.005s 15%: 1.4+7.0+0.003 ms clock, 2.8+0.63/0.95/0+0.007 ms cpu, 3->4->2 "
        "MB, 4 MB goal, 1 MB stacks, 2 MB globals, 2 P (forced)\n"
        "gc 2 @0.105s 5%: 0+0+0 ms clock, 0+0/0/0+0 ms cpu, 8->8->8 MB, 16 MB goal, 1200 "
        "objects, 2 P malloc rss=20 MB\n"
        "gc 3 @0.205s 5%: 1+2+3 ms clock, 0+0/0/0+0 ms cpu, 8->9->7 MB, 2 P libgc\n");
    const struct sn_trace_gc *g = t->gcs;
    is_int(t->n_gcs, 3, "three collections");
    is_int(g->time_ns, 5000000, "when");
    is_int(g->n_stops, 2, "two stops");
    is_int(g->stops_ns[0], 1400000, "the first");
    is_int(g->stops_ns[1], 3000, "the last");
    is_int(g->wall_ns, 8403000, "from begin to end");
    is_int(g->cpu_ns, 4387000, "CPU");
    is_int(g->before >> 20, 3, "heap before");
    is_int(g->at_end >> 20, 4, "at its end");
    is_int(g->live >> 20, 2, "live");
    is_int(g->goal >> 20, 4, "goal");
    is_int(g->stacks >> 20, 1, "stacks");
    is_int(g->globals >> 20, 2, "globals");
    is_int(g->cpus, 2, "CPUs");
    ok(g->percent == 15 && g->forced, "percent, forced");
    is_int(g[1].n_stops, 0, "malloc stops nobody");
    is_int(g[1].objects, 1200, "objects");
    is_int(g[1].rss >> 20, 20, "rss");
    is_str(sn_trace_str(t, g[1].marker), "malloc", "the marker");
    is_int(g[2].n_stops, 1, "libgc stops once");
    is_int(g[2].stops_ns[0], 6000000, "... all the time");
    is_int(t->gc.stopped_ns, 7403000, "all stops");
    is_int(t->gc.longest_ns, 6000000, "the longest");
    is_int(t->gc.most_heap >> 20, 9, "the largest heap");
    is_int(t->gc.first_live >> 20, 2, "live at first");
    is_int(t->gc.last_live >> 20, 7, "live at last");
    sn_trace_free(t);
}

static void test_old_gc(void)
{
    struct sn_trace *t = read_text(
        "gc1(1): 1+0+2 ms, 1 -> 2 MB 1473 -> 1487 (1487-14) objects, 0(0) handoff, 0(0) "
        "steal, 0/0/0 yields\n"
        "gc4(2): 42+2+116+0 us, 4 -> 3 MB, 1473 (1487-14) objects, 4 goroutines, 32/0/0 "
        "sweeps, 0(0) handoff, 2(4) steal, 16/1/0 yields\n");
    ok(t->ordinal, "no time is said");
    is_int(t->gcs[1].time_ns - t->gcs[0].time_ns, 1000000000, "a second an event");
    is_int(t->gcs[0].stops_ns[0], 3000000, "Go 1.1: the whole is a stop, ms");
    is_int(t->gcs[0].objects, 1487, "objects after it");
    is_int(t->gcs[1].stops_ns[0], 160000, "Go 1.4: the whole, us");
    is_int(t->gcs[1].live >> 20, 3, "heap after it");
    is_int(t->gcs[1].objects, 1473, "objects");
    is_int(t->gcs[1].cpus, 2, "CPUs");
    is_str(sn_trace_str(t, t->gcs[1].marker), "", "no marker");
    sn_trace_free(t);
    t = read_text("gc1(1): 1+0+2 ms, 1 -> 2 MB 1473 -> 1487 (1487-14) objects\n"
                  "SCHED 40ms: gomaxprocs=1 threads=1\n"
                  "gc2(1): 1+0+2 ms, 1 -> 2 MB 1473 -> 1487 (1487-14) objects\n");
    ok(!t->ordinal && t->gcs[0].time_ns == 40000000 && t->gcs[1].time_ns == 40000000,
       "where others say a time it is theirs");
    sn_trace_free(t);
}

static void test_scav(void)
{
    struct sn_trace *t = read_text(
        "scvg3: inuse: 5, idle: 1, sys: 6, released: 2, consumed: 4 (MB)\n"
        "scvg-1: 12 MB released\n"
        "scav 3 1024 KiB work, 2048 KiB total, 45% util (forced)\n"
        "scav 1 KiB work (bg), 64 KiB work (eager), 3832 KiB now, 97% util\n"
        "scvg: inuse: 512, idle: 1, sys: 6, released: 2, consumed: 4 (KB) rss=7 MB\n");
    const struct sn_trace_scav *v = t->scavs;
    ok(v->inuse == 5 << 20 && v->idle == 1 << 20 && v->sys == 6 << 20 &&
           v->released == 2 << 20 && v->consumed == 4 << 20,
       "sizes");
    ok(v[1].work == 12 << 20 && v[1].forced, "released, forced");
    ok(v[2].work == 1 << 20 && v[2].released == 2 << 20 && v[2].util == 45 && v[2].forced,
       "Go 1.15's");
    ok(v[3].work == 65 << 10 && v[3].released == 3832 << 10 && v[3].util == 97 &&
           !v[3].forced,
       "Go 1.20's: both kinds of work");
    ok(v[4].inuse == 512 << 10 && v[4].rss == 7 << 20, "another unit, and RSS");
    is_int(t->released, (13 << 20) + (65 << 10), "all that went back");
    sn_trace_free(t);
}

/* ---- allocations ----------------------------------------------------------------------
 */

static const char allocations[] =
    "tracealloc(0xc000026000, 0x2500, runtime.p)\n"
    "goroutine 1 [running]:\n"
    "runtime.mallocgc(0x22d0, 0x496d80, 0x1)\n"
    "\t/usr/lib/go/src/runtime/malloc.go:1131 +0x7b1 fp=0x7ffd sp=0x7ffd pc=0x40bcd1\n"
    "main.(*tree).add(0xc0, {0x1, 0x2})\n"
    "\t/home/me/main.go:10 +0x40\n"
    "main.main()\n"
    "\t/home/me/main.go:30 +0x40\n"
    "created by main.init\n"
    "\t/home/me/main.go:3 +0x4\n"
    "\n"
    "hello (the program's own)\n"
    "tracealloc(0xc000027000, 0x100, runtime.p)\n"
    "goroutine 1 [running]:\n"
    "runtime.mallocgc(0x22d0, 0x496d80, 0x1)\n"
    "\t/usr/lib/go/src/runtime/malloc.go:1131 +0x7b1 fp=0x7ffd sp=0x7ffd pc=0x40bcd1\n"
    "main.(*tree).add(0xc0, {0x1, 0x2})\n"
    "\t/home/me/main.go:10 +0x40\n"
    "\n"
    "tracealloc(0xc000028000, 32)\n"
    "tracefree(0xc000026000, 0x2500)\n"
    "goroutine 2 [running]:\n"
    "runtime.gc()\n"
    "\t/usr/lib/go/src/runtime/gc.go:1 +0x1\n"
    "\n"
    "tracefree(0xc000026000, 0x2500)\n"
    "tracealloc(0x10, 0x20)\n"
    "#0 0x40bcd1 in malloc\n"
    "#1 0x40bce0 in work work.c:12\n"
    "tracegc()\n"
    "goroutine 2 [running]:\n"
    "runtime.gc()\n"
    "\t/usr/lib/go/src/runtime/gc.go:1 +0x1\n"
    "\n"
    "goroutine 3 [sleep]:\n"
    "time.Sleep(...)\n"
    "\t/usr/lib/go/src/runtime/time.go:1\n"
    "end tracegc\n"
    "\n";

static void test_allocations(void)
{
    struct sn_trace *t = read_text(allocations);
    is_int(t->allocs, 4, "allocations");
    is_int(t->bytes, 0x2500 + 0x100 + 32 + 32, "bytes");
    is_int(t->frees, 2, "frees");
    is_int(t->unknown_frees, 1, "of which one is of no block");
    is_int(t->lines[SN_TRACE_OTHER], 1, "the program's own line");
    is_int(t->n_sites, 3, "sites");
    is_str(sn_trace_str(t, t->sites[0].name), "main.(*tree).add main.go:10  runtime.p",
           "function, place and type");
    ok(t->sites[0].allocs == 2 && t->sites[0].frees == 1 && t->sites[0].bytes == 0x2600 &&
           t->sites[0].freed_bytes == 0x2500,
       "its sums");
    is_str(sn_trace_str(t, t->sites[1].name), "(no stack)", "without a stack");
    is_str(sn_trace_str(t, t->sites[2].name), "work work.c:12", "a stack of ours");
    sn_trace_free(t);
}

static void test_our_allocations(void)
{
    struct sn_trace *t =
        read_text("tracealloc(0x5642413632a0, 0x120, calloc) @0.500164445s thread=20612\n"
                  "calloc(...)\n"
                  "\t../include/rtld-malloc.h:44 pc=0x7fc242bd4cb2\n"
                  "allocate_dtv(...)\n"
                  "\t../elf/dl-tls.c:401 pc=0x7fc242bd4cb2\n"
                  "...additional frames elided...\n"
                  "\n"
                  "tracealloc(0x10, 0x20, work) @0.600000000s thread=7 realloc failed\n"
                  "work(...)\n"
                  "\t/home/me/x.c:12 pc=0x55d0c6f0113d\n"
                  "\n"
                  "tracefree(0x10, 0x20) @0.700000000s thread=7\n"
                  "\n"
                  "tracealloc(0x30, 0x20, work) @0.700000000s thread=7 gc late "
                  "since=0.600000000s\n"
                  "work(...)\n"
                  "\n"
                  "tracefree(0x30, 0x20) @0.700000000s thread=7 gc late "
                  "since=0.600000000s pid=8\n"
                  "\n"
                  "tracefree(0x30, 0x20) @0.700000000s thread=7 gc\n"
                  "\n");
    is_int(t->late, 1, "what a collection saw is counted");
    is_int(t->lines[SN_TRACE_OTHER], 0, "every line of ours is known");
    is_int(t->last_ns, 700000000, "allocations that say when");
    is_str(sn_trace_str(t, t->sites[0].name), "allocate_dtv dl-tls.c:401",
           "malloc is no type");
    is_str(sn_trace_str(t, t->sites[1].name), "work x.c:12",
           "nor is the function itself");
    sn_trace_free(t);
}

static void test_our_details(void)
{
    struct sn_trace *t = read_text(
        "SCHED 16ms: source=tracepoints gomaxprocs=2 threads=1 interval=50ms\n"
        "SCHED 67ms: gomaxprocs=2 idleprocs=1 threads=6 idlethreads=4 runqueue=3 ended=0 "
        "run=7406027 wait=53739912 voluntary=27 involuntary=4 migrations=1\n"
        "  P0: status=1 schedtick=14 m=20485 runqsize=2\n"
        "  P1: status=0 schedtick=16 m=-1 runqsize=0\n"
        "gc 2 @0.040s 16%: 0.003+2.5+0.001 ms clock, 0.003+0.65/1.8/0+0.001 ms cpu, "
        "1->1->1 MB, 2 MB goal, 2 P libgc, 34570 objects\n"
        "gc 2 phases: prepare 4.8, stop 0.003, mark 2.5, restart 0.001, reclaim 0.14, "
        "whole 7.4 ms libgc, 2016800->2016800->1576320 B\n");
    is_int(t->n_sweeps, 1, "a head, before anything was seen, is no look");
    is_str(sn_trace_str(t, t->source), "tracepoints", "but says by what");
    is_int(t->sweeps[0].queue, 3, "our runqueue is of all that wait");
    is_int(t->sweeps[0].longest, 2, "the longest of a CPU");
    is_int(t->counters[SN_COUNTER_VOLUNTARY], 27, "sums of all threads");
    is_str(t->head, "", "nothing is left over");
    is_int(t->gcs[0].live, 1576320, "with gctrace=2 sizes are to the byte");
    is_int(t->gcs[0].stops_ns[0], 2504000, "stop, mark and restart");
    is_int(t->gcs[0].objects, 34570, "objects behind the marker");
    ok(t->gc.n == 1 && t->gc.last_live == 1576320 && t->gc.most_heap == 2016800,
       "and sums of these");
    is_int(t->lines[SN_TRACE_OTHER], 0, "every line is known");
    sn_trace_free(t);
}

static void test_processes(void)
{
    static const char text[] =
        "gc 1 @0.1s 1%: 1+2+3 ms clock, 3->4->2 MB, 2 P malloc\n"
        "gc 1 @0.2s 1%: 1+2+3 ms clock, 3->4->9 MB, 2 P malloc pid=77\n"
        "SCHED 10ms: gomaxprocs=2 pid=77\n"
        "  M5: p=0 curg=5 state=running\n"
        "SCHED 20ms: gomaxprocs=4\n"
        "  M6: p=0 curg=6 state=running\n"
        "gc 2 @0.2s 1%: 1+2+3 ms clock, 3->4->5 MB, 2 P malloc pid=88\n";
    struct sn_trace *t = read_text(text);
    ok(t->gc.n == 1 && t->n_sweeps == 1 && t->n_lanes == 1 && t->lanes[0].id == 6,
       "lines of other processes are left out");
    is_int(t->lines_of_others, 4, "and counted");
    ok(t->others[0] == 77 && t->others[1] == 88 && t->others[2] == 0, "whose they are");
    is_int(t->lines[SN_TRACE_OTHER], 0, "they are not the program's own");
    sn_trace_free(t);
    t = sn_trace_new(NULL);
    sn_trace_set_pid(t, 77);
    sn_trace_feed(t, text, strlen(text), SN_TRACE_ABSENT, NULL, NULL);
    sn_trace_finish(t, NULL, NULL);
    ok(t->gc.n == 1 && t->gc.last_live == 9 << 20 && t->lanes[0].id == 5,
       "or those of one of them are read");
    sn_trace_free(t);
}

/* ---- streams --------------------------------------------------------------------------
 */

static void collect(void *to, const char *bytes, size_t n)
{
    sn_buf_add(to, bytes, n);
}

static void test_handed_back(void)
{
    static const char text[] = "one\n"
                               "gc 1 @0.1s 1%: 1+2+3 ms clock, 3->4->2 MB, 2 P\n"
                               "\n"
                               "two\r\n"
                               "SCHED 1ms: gomaxprocs=2\n"
                               "three";
    for (size_t cut = 1; cut < sizeof text; cut++) {
        struct sn_trace *t = sn_trace_new(NULL);
        struct sn_buf out = {.arena = t->arena};
        for (size_t at = 0; at < sizeof text - 1; at += cut) {
            size_t n = sizeof text - 1 - at < cut ? sizeof text - 1 - at : cut;
            sn_trace_feed(t, text + at, n, SN_TRACE_ABSENT, collect, &out);
        }
        sn_trace_finish(t, collect, &out);
        if (strcmp(out.data, "one\n\ntwo\r\nthree") != 0 || t->n_gcs != 1)
            is_str(out.data, "one\n\ntwo\r\nthree", "handed back");
        sn_trace_free(t);
    }
    ok(true, "what is no line of ours comes back unchanged, however it is cut");
}

static void test_line_within(void)
{
    struct sn_trace *t = read_text(
        "SCHED 5ms: gomaxprocs=2 idleprocs=0 threads=4 runqueue=0\n"
        "  P0: status=1 schedtick=4 syscalltick=0 m=gc 1 @0.1s 1%: 1+2+3 ms clock, "
        "3->4->2 MB, 2 P\n"
        "3 runqsize=3 gfreecnt=0 timerslen=0\n"
        "  P1: status=0 m=gc 2 @0.2s 1%: 1+2+3 ms clock, 3->4->2 MB, 2 P\n");
    is_int(t->n_gcs, 2, "a line printed into another is found");
    is_int(t->lines[SN_TRACE_P], 2, "and the other one is put together again");
    is_int(t->lines[SN_TRACE_OTHER], 0, "nothing is left");
    is_int(t->sweeps[0].queue, 3, "with what it says");
    sn_trace_free(t);
}

static void test_time(void)
{
    struct sn_trace *t = read_text("SCHED 5ms: gomaxprocs=2\nSCHED 3ms: gomaxprocs=4\n"
                                   "SCHED 9ms: gomaxprocs=2\n");
    is_int(t->back, 1, "time went back once");
    ok(t->sweeps[0].cpus == 4 && t->first_ns == 3000000 && t->last_ns == 9000000,
       "events are in order of time");
    sn_trace_free(t);
    t = sn_trace_new(NULL);
    const char *line = "scvg3: 1 MB released\n";
    sn_trace_feed(t, line, strlen(line), 5000, NULL, NULL);
    sn_trace_feed(t, line, strlen(line), 7000, NULL, NULL);
    sn_trace_finish(t, NULL, NULL);
    ok(t->stamped && t->scavs[1].time_ns == 7000,
       "live, a line without time has its own");
    sn_trace_free(t);
}

/* ---- bounds ---------------------------------------------------------------------------
 */

static void test_thinned(void)
{
    const struct sn_trace_limits few = {.sweeps = 10,
                                        .samples = 20,
                                        .gcs = 10,
                                        .scavs = 10,
                                        .lanes = 3,
                                        .sites = 2,
                                        .strings = 8,
                                        .blocks = 4};
    struct sn_trace *t = sn_trace_new(&few);
    char text[512];
    for (int i = 0; i < 1000; i++) {
        int n = snprintf(text, sizeof text,
                         "SCHED %dms: gomaxprocs=2 threads=4\n"
                         "  M%d: p=0 curg=1 state=blocked(reason%d)\n"
                         "gc %d @%d.5s 1%%: 1+2+%d ms clock, 3->4->2 MB, 2 P\n"
                         "scvg%d: 1 MB released\n"
                         "tracealloc(0x%x, 0x1, type%d)\n",
                         i * 1000, i % 5, i, i, i, i, i, i, i);
        sn_trace_feed(t, text, (size_t)n, SN_TRACE_ABSENT, NULL, NULL);
    }
    sn_trace_finish(t, NULL, NULL);
    ok(t->n_sweeps <= 10 && t->n_sweeps >= 5, "%u sweeps are kept", t->n_sweeps);
    ok(t->n_gcs <= 10 && t->n_gcs >= 5, "%u collections", t->n_gcs);
    ok(t->n_scavs <= 10 && t->n_scavs >= 5, "%u scavengings", t->n_scavs);
    is_int(t->sweep_stride, 128, "one of so many");
    bool even = true;
    for (uint32_t i = 1; i < t->n_sweeps; i++)
        even &= t->sweeps[i].time_ns - t->sweeps[i - 1].time_ns == 128000000000;
    ok(even, "evenly");
    is_int(t->gc.n, 1000, "all are counted");
    is_int(t->gc.longest_ns, 999000000, "and their longest stop known");
    ok(t->n_lanes == 3 && t->lost_lanes > 0, "few lanes");
    ok(t->n_sites == 2 && t->lost_sites > 0, "few sites");
    ok(t->lost_strings > 0 && sn_strtab_count(t->strings) <= 10, "few names");
    is_int(t->allocs, 1000, "all allocations are counted");
    sn_trace_free(t);
}

static void test_hostile(void)
{
    static const char *const bad[] = {
        "gc 99999999999999999999999999 @99999999999999999999999s 999999999999%: "
        "99999999999999999999+1e999+-5 ms clock, 9999999999999999999999->-1->0 GB, "
        "99999999999999999999999 GB goal, 99999999999999999999999 P",
        "gc 1 @-5s -5%: -1+-2+-3 ms clock, -3->-4->-2 MB, -4 MB goal, -2 P",
        "SCHED 99999999999999999999999999ms: gomaxprocs=999999999999999999999 "
        "runqueue=99999999999999999 [999999999999999999 99999999999999999999]",
        "SCHED -1ms: gomaxprocs=-1 threads=-1 runqueue=-1 [-1]",
        "  M999999999999999999999: p=99999999999 curg=99999999999 "
        "run=99999999999999999999",
        "  M1: p=0 name=\"unended",
        "  M1: p=0 name=\"",
        "  M1: p=0 state=blocked((((",
        "  M1: p=0 state=))))",
        "  P5: status=99999999999999 runqsize=99999999999999999",
        "  G1: status=-4(x) m=nil",
        "scvg99999999999999999999: inuse: 99999999999999999999999, sys: -1 (GB)",
        "scav 99999999999999999999 KiB work, 1 KiB total, 999999999999% util",
        "tracealloc(0xffffffffffffffff, 0xffffffffffffffff, x)",
        "tracefree(0xffffffffffffffff, 0xffffffffffffffff)",
        "tracealloc(0xfffffffffffffffff, 0x1)",
    };
    struct sn_trace *t = sn_trace_new(NULL);
    for (unsigned n = 0; n < 20000; n++)
        sn_trace_line(t, bad[n % SN_COUNT(bad)], strlen(bad[n % SN_COUNT(bad)]));
    sn_trace_finish(t, NULL, NULL);
    bool sane = t->gc.stopped_ns >= 0 && t->released >= 0 && t->first_ns >= 0;
    for (uint32_t i = 0; i < t->n_gcs; i++)
        sane &= t->gcs[i].time_ns >= 0 && t->gcs[i].wall_ns >= 0;
    ok(sane, "enormous and negative numbers are clamped");
    sn_trace_free(t);
}

static void test_long_line(void)
{
    static char big[300000];
    struct sn_trace *t = sn_trace_new(NULL);
    struct sn_buf out = {.arena = t->arena};
    memset(big, 'x', sizeof big);
    big[1000] = '\0';
    for (int i = 0; i < 10; i++)
        sn_trace_feed(t, big, sizeof big, SN_TRACE_ABSENT, collect, &out);
    sn_trace_feed(t, "\nlast\n", 6, SN_TRACE_ABSENT, collect, &out);
    is_int(out.len, 10 * sizeof big + 6, "a line without end comes back as it came");
    is_int(t->lines[SN_TRACE_OTHER], 2, "... as one");
    memcpy(big, "SCHED 1ms: gomaxprocs=2 x=", 26);
    sn_trace_feed(t, big, sizeof big, SN_TRACE_ABSENT, collect, &out);
    sn_trace_feed(t, "\n", 1, SN_TRACE_ABSENT, collect, &out);
    is_int(t->n_sweeps, 1, "a SCHED line that is too long is read as far as it fits");
    is_int(out.len, 10 * sizeof big + 6, "... and not handed back");
    sn_trace_free(t);
}

static void test_no_memory(void)
{
    for (unsigned n = 1; n < 12; n++) {
        sn_pages_fail_after(n);
        struct sn_trace *t = sn_trace_new(NULL);
        for (int i = 0; t != NULL && i < 3000; i++) {
            char text[256];
            int len = snprintf(text, sizeof text,
                               "SCHED %dms: gomaxprocs=2\n  M%d: p=0 name=n%d\n"
                               "tracealloc(0x%x, 0x1, type%d)\n",
                               i, i, i, i, i);
            if (!sn_trace_feed(t, text, (size_t)len, SN_TRACE_ABSENT, NULL, NULL))
                break;
        }
        sn_trace_free(t);
    }
    sn_pages_fail_after(0);
    ok(true, "out of memory is survived");
}

int main(void)
{
    test_kinds();
    test_sched();
    test_detail_of_go();
    test_detail_of_ours();
    test_gc();
    test_old_gc();
    test_scav();
    test_allocations();
    test_our_allocations();
    test_our_details();
    test_processes();
    test_handed_back();
    test_line_within();
    test_time();
    test_thinned();
    test_hostile();
    test_long_line();
    test_no_memory();
    return done();
}
