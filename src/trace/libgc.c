/*
 * libgc.c: the collector is found, and tells us what it does. Its events come in this
 * order, under its lock, from the thread that allocated:
 *
 *     START  PRE_STOP POST_STOP  MARK_START ... MARK_END  PRE_START POST_START
 *       |________| |_________________| |____________| |________________|
 *        prepare          stop              mark          restart        (the pause)
 *     RECLAIM_START ... RECLAIM_END  END
 *       |_______________|
 *         reclaim: finalizers, and the sweep is begun
 *
 * An incremental collection has neither START nor END: it begins with its first pause and
 * ends with RECLAIM_END; marking that was broken off is added to what follows.
 *
 * What lives is counted at RECLAIM_END and not at MARK_END: the world goes on by then, so
 * our counting makes no pause longer, and what finalizers keep is counted, too.
 *
 * Nothing allocates. The pauses of the past (sonde_read_mem_stats) are read without a
 * lock, while they are written.
 */
#include "trace/libgc.h"
#include "sonde.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <unistd.h>

/* gc.h's */
enum event {
    START,
    MARK_START,
    MARK_END,
    RECLAIM_START,
    RECLAIM_END,
    END,
    PRE_STOP,
    POST_STOP,
    PRE_START,
    POST_START,
    EVENTS
};

/* Words of struct GC_prof_stats_s. */
enum stat {
    HEAPSIZE_FULL,
    FREE_BYTES_FULL,
    UNMAPPED,
    ALLOCATED_SINCE_GC,
    ALLOCATED_BEFORE_GC,
    NON_GC,
    GC_NO,
    MARKERS_LESS_ONE,
    RECLAIMED_SINCE_GC,
    RECLAIMED_BEFORE_GC,
    FREED_SINCE_GC,
    OBTAINED,
    STATS
};

struct sn_libgc_functions sn_libgc;
atomic_uint sn_libgc_due;

static atomic_bool found, awaited;
static pthread_mutex_t finding = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(void (*)(int)) program_handler;
static _Atomic(void (*)(const struct sn_gc_cycle *)) on_cycle;
static _Atomic(void (*)(void)) on_start, on_reclaimed;
static atomic_bool repeat_each;
static atomic_uint_least64_t no_unmap_before_ns;
static __thread int forced __attribute__((tls_model("initial-exec")));
/* In a collection that we asked for. */
static __thread bool repeating __attribute__((tls_model("initial-exec")));

#define PAUSES SN_COUNT(((struct sonde_mem_stats *)NULL)->gc_pause_ns)

static struct {
    atomic_uint_least64_t n, total_ns, ns[PAUSES];
} pauses;

/* ---- a collection ---------------------------------------------------------------------
 */

/* Under libgc's lock. */
static struct {
    struct sn_gc_cycle c;
    bool open, by_start, stopped;
    uint64_t begin_ns, ours_ns;
    struct moment {
        uint64_t ns, own_ns, all_ns;
    } at[EVENTS];
    uint64_t live; /* after the last one */
    bool live_known;
} now;

static struct moment moment(void)
{
    return (struct moment){sn_clock_ns(CLOCK_MONOTONIC),
                           sn_clock_ns(CLOCK_THREAD_CPUTIME_ID),
                           sn_clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
}

static uint64_t since(uint64_t from, uint64_t to)
{
    return to > from ? to - from : 0;
}

static uint64_t difference(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* What is allocated, garbage included. */
static uint64_t heap_now(const uint64_t *stats)
{
    if (!now.live_known)
        return difference(stats[HEAPSIZE_FULL], stats[FREE_BYTES_FULL]);
    return difference(now.live + stats[ALLOCATED_SINCE_GC], stats[FREED_SINCE_GC]);
}

static void begin(bool by_start)
{
    uint64_t stats[STATS] = {0};
    now.c = (struct sn_gc_cycle){.forced = forced > 0};
    now.open = true;
    now.by_start = by_start;
    now.stopped = false;
    now.ours_ns = 0;
    now.begin_ns = now.at[by_start ? START : PRE_STOP].ns;
    sn_libgc.prof_stats(stats, sizeof stats);
    now.c.before = heap_now(stats);
    now.c.goal = difference(stats[HEAPSIZE_FULL], stats[UNMAPPED]);
}

static void count_object(void *object, size_t bytes, void *cycle)
{
    struct sn_gc_cycle *c = cycle;
    (void)object;
    c->objects++;
    c->live += bytes;
}

static void count_live(void)
{
    uint64_t stats[STATS] = {0};
    now.c.live = now.c.objects = 0;
    sn_libgc.enumerate(count_object, &now.c);
    now.live = now.c.live;
    now.live_known = true;
    sn_libgc.prof_stats(stats, sizeof stats);
    now.c.number = stats[GC_NO];
    now.c.markers = (unsigned)stats[MARKERS_LESS_ONE] + 1;
    now.ours_ns += sn_clock_ns(CLOCK_MONOTONIC) - now.at[RECLAIM_END].ns;
}

static void finish(uint64_t end_ns)
{
    void (*hear)(const struct sn_gc_cycle *) = atomic_load(&on_cycle);
    now.open = false;
    now.c.whole_ns = difference(end_ns - now.begin_ns, now.ours_ns);
    if (hear != NULL)
        hear(&now.c);
    if (atomic_load(&repeat_each) && !repeating)
        sn_libgc_ask(SN_LIBGC_AGAIN);
}

static void note_pause(void)
{
    uint64_t ns = since(now.at[PRE_STOP].ns, now.at[POST_START].ns);
    uint64_t n = atomic_load(&pauses.n);
    atomic_store(&pauses.ns[n % PAUSES], ns);
    atomic_fetch_add(&pauses.total_ns, ns);
    atomic_store(&pauses.n, n + 1);
}

static void on_pre_stop(void)
{
    if (!now.open)
        begin(false);
    if (!now.stopped)
        now.c.prepare_ns = since(now.begin_ns, now.at[PRE_STOP].ns);
    now.stopped = true;
}

static void on_mark_start(void)
{
    now.c.stop_ns += since(now.at[PRE_STOP].ns, now.at[MARK_START].ns);
    now.c.cpu.stop_ns += since(now.at[PRE_STOP].own_ns, now.at[MARK_START].own_ns);
}

static void end_marking(const struct moment *end)
{
    const struct moment *from = &now.at[MARK_START];
    uint64_t own = since(from->own_ns, end->own_ns);
    now.c.mark_ns += since(from->ns, end->ns);
    now.c.cpu.own_ns += own;
    now.c.cpu.others_ns += difference(since(from->all_ns, end->all_ns), own);
}

static void on_mark_end(void)
{
    uint64_t stats[STATS] = {0};
    end_marking(&now.at[MARK_END]);
    sn_libgc.prof_stats(stats, sizeof stats);
    now.c.at_end = heap_now(stats);
    sn_libgc_at_mark_end();
    sn_libgc_look();
}

static void on_pre_start(void)
{
    if (now.at[MARK_END].ns < now.at[MARK_START].ns) /* it was broken off */
        end_marking(&now.at[PRE_START]);
}

static void on_post_start(void)
{
    now.c.restart_ns += since(now.at[PRE_START].ns, now.at[POST_START].ns);
    now.c.cpu.restart_ns += since(now.at[PRE_START].own_ns, now.at[POST_START].own_ns);
    note_pause();
}

static void on_start_event(void)
{
    begin(true);
}

static void hear_reclaimed(void)
{
    void (*hear)(void) = atomic_load(&on_reclaimed);
    if (hear == NULL)
        return;
    uint64_t from_ns = sn_clock_ns(CLOCK_MONOTONIC);
    hear();
    now.ours_ns += sn_clock_ns(CLOCK_MONOTONIC) - from_ns;
}

static void on_reclaim_end(void)
{
    now.c.reclaim_ns = since(now.at[RECLAIM_START].ns, now.at[RECLAIM_END].ns);
    now.live_known = false;
    if (atomic_load(&on_cycle) != NULL)
        count_live();
    hear_reclaimed();
    if (!now.by_start)
        finish(now.at[RECLAIM_END].ns);
}

static void on_end(void)
{
    finish(now.at[END].ns);
}

static const struct {
    void (*run)(void);
    bool begins; /* may be the first event of a collection */
} events[EVENTS] = {
    [START] = {on_start_event, true}, [PRE_STOP] = {on_pre_stop, true},
    [MARK_START] = {on_mark_start},   [MARK_END] = {on_mark_end},
    [PRE_START] = {on_pre_start},     [POST_START] = {on_post_start},
    [RECLAIM_END] = {on_reclaim_end}, [END] = {on_end},
};

static void on_event(int event)
{
    int saved = errno;
    void (*first)(void) = event == START ? atomic_load(&on_start) : NULL;
    if (event >= 0 && event < EVENTS) {
        now.at[event] = moment();
        if (events[event].run != NULL && (now.open || events[event].begins))
            events[event].run();
    }
    if (first != NULL)
        first();
    void (*program)(int) = atomic_load(&program_handler);
    errno = saved;
    if (program != NULL)
        program(event);
}

void sn_libgc_on_cycle(void (*cycle)(const struct sn_gc_cycle *))
{
    atomic_store(&on_cycle, cycle);
}

void sn_libgc_on_start(void (*start)(void))
{
    atomic_store(&on_start, start);
}

void sn_libgc_on_reclaimed(void (*reclaimed)(void))
{
    atomic_store(&on_reclaimed, reclaimed);
}

void sn_libgc_forced(int change)
{
    forced += change;
}

/* ---- finding it -----------------------------------------------------------------------
 */

#define NAMES(X)                                                                         \
    X(set_event, "GC_set_on_collection_event")                                           \
    X(get_event, "GC_get_on_collection_event")                                           \
    X(prof_stats, "GC_get_prof_stats_unsafe")                                            \
    X(enumerate, "GC_enumerate_reachable_objects_inner")                                 \
    X(gcollect, "GC_gcollect")                                                           \
    X(heap_size, "GC_get_heap_size")                                                     \
    X(free_bytes, "GC_get_free_bytes")                                                   \
    X(unmapped_bytes, "GC_get_unmapped_bytes")                                           \
    X(total_bytes, "GC_get_total_bytes")                                                 \
    X(gc_no, "GC_get_gc_no")

#define OPTIONAL(X)                                                                      \
    X(is_init_called, "GC_is_init_called")                                               \
    X(gcollect_and_unmap, "GC_gcollect_and_unmap")                                       \
    X(kind_and_size, "GC_get_kind_and_size")                                             \
    X(is_heap_ptr, "GC_is_heap_ptr")                                                     \
    X(malloc, "GC_malloc")                                                               \
    X(malloc_atomic, "GC_malloc_atomic")                                                 \
    X(malloc_uncollectable, "GC_malloc_uncollectable")

/* All of the same library: that of `handle`. */
static bool bind(void *handle)
{
    struct sn_libgc_functions f = {0};
    bool all = true;
#define BIND(field, name) *(void **)&f.field = dlsym(handle, name);
#define NEED(field, name) all &= f.field != NULL;
    NAMES(BIND)
    NAMES(NEED)
    OPTIONAL(BIND)
    if (all)
        sn_libgc = f;
    return all;
}

/* It stays, whoever unloads it: its functions are called from now on. What the loader
 * allocates for that is not the program's. */
static void pin(void)
{
    Dl_info where;
    struct sn_heap_thread *own = sn_heap_own_begin();
    if (dladdr((void *)sn_libgc.gcollect, &where) != 0)
        dlopen(where.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    sn_heap_own_end(own);
}

/* Is it among the loaded files? A look-up in vain would allocate its error's text, which
 * the program has nothing to do with. */
static int is_libgc(struct dl_phdr_info *file, size_t size, void *nothing)
{
    const char *slash = strrchr(file->dlpi_name, '/');
    (void)size;
    (void)nothing;
    return strncmp(slash != NULL ? slash + 1 : file->dlpi_name, "libgc.so", 8) == 0;
}

/* One that was loaded for itself is found from the code that uses it. */
static bool bind_any(const void *of)
{
    struct dl_find_object user;
    if (of == NULL && dl_iterate_phdr(is_libgc, NULL) == 0)
        return false;
    if (bind(RTLD_DEFAULT))
        return true;
    if (of != NULL && _dl_find_object((void *)(uintptr_t)of, &user) == 0 &&
        bind(user.dlfo_link_map))
        return true;
    void *handle = dlopen("libgc.so.1", RTLD_LAZY | RTLD_NOLOAD);
    return handle != NULL && bind(handle);
}

bool sn_libgc_find(const void *of)
{
    if (atomic_load(&found))
        return true;
    pthread_mutex_lock(&finding);
    if (!atomic_load(&found) && bind_any(of)) {
        pin();
        void (*theirs)(int) = sn_libgc.get_event();
        if (theirs != on_event)
            atomic_store(&program_handler, theirs);
        sn_libgc.set_event(on_event);
        atomic_store(&found, true);
    }
    atomic_store(&awaited, !atomic_load(&found));
    pthread_mutex_unlock(&finding);
    return atomic_load(&found);
}

bool sn_libgc_is_awaited(void)
{
    return atomic_load(&awaited);
}

bool sn_libgc_or_malloc(const char *tracer, struct sn_error *e)
{
    const char *whose = sn_libgc_find(NULL) ? NULL : sn_malloc_whose();
    return whose == NULL ||
           sn_fail(e, tracer, -1,
                   "%s (%d) calls the malloc of %s, which is not seen, and has no libgc",
                   program_invocation_short_name, (int)getpid(),
                   whose[0] != '\0' ? whose : "the program");
}

bool sn_libgc_is_used(void)
{
    if (!atomic_load(&found))
        return false;
    return sn_libgc.is_init_called == NULL || sn_libgc.is_init_called() != 0;
}

void sn_libgc_set_program(void (*handler)(int))
{
    atomic_store(&program_handler, handler);
}

bool sn_libgc_get_program(void (**handler)(int))
{
    *handler = atomic_load(&program_handler);
    return atomic_load(&found);
}

/* ---- collections that we ask for ------------------------------------------------------
 */

void sn_libgc_repeat(bool each)
{
    atomic_store(&repeat_each, each);
    atomic_fetch_and(&sn_libgc_due, ~(unsigned)SN_LIBGC_AGAIN);
}

void sn_libgc_ask(enum sn_libgc_due what)
{
    atomic_fetch_or(&sn_libgc_due, what);
}

void sn_libgc_collect(void (*collect)(void))
{
    bool within = repeating;
    int asked = forced;
    repeating = true;
    forced = 0;
    collect();
    repeating = within;
    forced = asked;
}

/* At most a twentieth of the time. */
static void unmap(void)
{
    uint64_t begin_ns = sn_clock_ns(CLOCK_MONOTONIC);
    if (begin_ns < atomic_load(&no_unmap_before_ns))
        return;
    sn_libgc_collect(sn_libgc.gcollect_and_unmap);
    uint64_t end_ns = sn_clock_ns(CLOCK_MONOTONIC);
    atomic_store(&no_unmap_before_ns, end_ns + 20 * (end_ns - begin_ns));
}

void sn_libgc_serve(void)
{
    int saved = errno;
    if (repeating || !atomic_load(&found))
        return;
    unsigned due = atomic_exchange(&sn_libgc_due, 0);
    if (due & SN_LIBGC_DUMP)
        sn_libgc_dump();
    if ((due & SN_LIBGC_UNMAP) && sn_libgc.gcollect_and_unmap != NULL)
        unmap();
    else if (due & SN_LIBGC_AGAIN)
        sn_libgc_collect(sn_libgc.gcollect);
    errno = saved;
}

void sn_libgc_after_fork(void)
{
    pthread_mutex_init(&finding, NULL);
    sn_libgc_drop_dump();
    atomic_store(&sn_libgc_due, 0);
    now.open = false;
}

/* ---- for sonde_read_mem_stats ---------------------------------------------------------
 */

void sn_trace_gc_stats(struct sonde_mem_stats *s)
{
    if (!sn_libgc_find(NULL) || !sn_libgc_is_used())
        return;
    s->gc = true;
    s->gc_heap_bytes = sn_libgc.heap_size();
    s->gc_free_bytes = sn_libgc.free_bytes();
    s->gc_unmapped_bytes = sn_libgc.unmapped_bytes();
    s->gc_allocated_bytes = sn_libgc.total_bytes();
    s->gc_collections = sn_libgc.gc_no();
    s->gc_pauses = atomic_load(&pauses.n);
    s->gc_pause_total_ns = atomic_load(&pauses.total_ns);
    for (size_t i = 0; i < PAUSES; i++)
        s->gc_pause_ns[i] = atomic_load(&pauses.ns[i]);
}
