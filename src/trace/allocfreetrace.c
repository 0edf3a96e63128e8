/*
 * allocfreetrace.c: every allocation and free is logged, with the stack of who asked.
 *
 *     allocate: below, then [stack -> number] -> event          the order of events is
 *     release:  [stack -> number] -> event, then below          that of the blocks
 *
 * A stack is found in a table (runtime/table.c, without a file), whose one value is the
 * number of the log's slot that tells of it; a stack that is met first is logged before
 * the table says where, and the modules that were met before it. Two threads that meet it
 * at once log it twice, which does no harm. So nothing waits for anything, and a signal's
 * handler may allocate on top of all of it.
 *
 * Allocates only pages; as signal-safe as what is below; keeps errno.
 */
#include "trace/alloc_gc.h"
#include "trace/alloclog.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TABLE_BYTES ((size_t)256 << 20) /* of addresses; pages come with use */
#define NAME_EVERY  4096                /* events of a thread */
#define TIME_MS     100                 /* between two TIME records, at most */
#define GATES       64

/* On a page of its own, which a child of fork that is not ours to tell (a bare system
 * call) finds off. */
static _Alignas(4096) union {
    atomic_bool on;
    char page[4096];
} gate;
/* How many are at work, by threads: on a false `gate.on` nobody new begins. */
static struct {
    _Alignas(64) atomic_uint n;
} inside[GATES];

static struct sn_table table;
static atomic_uint modules_told;
static bool ticks_steady;
static uint64_t time_most;        /* ticks between two TIME records */
static _Atomic uint64_t time_due; /* when the next is, in ticks */
static char path[PATH_MAX + 64];

struct own {
    uint32_t tid; /* 0: not known yet */
    uint32_t events;
    char name[16];
};
static __thread struct own own __attribute__((tls_model("initial-exec")));

/* ---- time -----------------------------------------------------------------------------
 */

static uint64_t now_ticks(void)
{
    return ticks_steady ? sn_unwind_ticks() : sn_clock_ns(CLOCK_MONOTONIC);
}

static void learn_ticks(struct sn_alloctrace_header *h)
{
    char name[16];
    sn_file_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", name,
                 sizeof name);
    ticks_steady = strcmp(name, "tsc") == 0;
    uint64_t ns, from = now_ticks(), from_ns = sn_clock_ns(CLOCK_MONOTONIC);
    while ((ns = sn_clock_ns(CLOCK_MONOTONIC) - from_ns) < 20000)
        continue; /* to a hundredth: the records of time say more */
    uint64_t rate = ticks_steady ? (now_ticks() - from) * 1000000 / ns : 1000000;
    h->shift = ticks_steady ? 2 : 0;
    h->start_ticks = from;
    h->start_mono_ns = from_ns;
    time_most = rate * TIME_MS;
    /* Now it can be read, and may be at once. */
    __atomic_store_n(&h->ticks_per_ms, rate, __ATOMIC_RELEASE);
}

static void tell_time(uint64_t now, uint64_t head)
{
    struct sn_alloctrace_slot x = {{head, now, sn_clock_ns(CLOCK_MONOTONIC)}};
    uint64_t slot = sn_alloclog_claim(1);
    if (slot != UINT64_MAX)
        sn_alloclog_put(slot, &x);
}

/* Often at first, while the rate is hardly known: what an event's time is off by stays
 * in proportion. */
static void tick(uint64_t now)
{
    uint64_t due = atomic_load_explicit(&time_due, memory_order_relaxed);
    if (__builtin_expect((int64_t)(now - due) < 0, 1))
        return;
    uint64_t step = (now - sn_alloclog_header()->start_ticks) / 8;
    if (atomic_compare_exchange_strong(&time_due, &due,
                                       now + (step < time_most ? step : time_most)))
        tell_time(now, SN_ALLOC_TIME);
}

/* ---- threads --------------------------------------------------------------------------
 */

static void tell_name(void)
{
    struct sn_alloctrace_slot x = {{SN_ALLOC_THREAD | (uint64_t)own.tid << 4}};
    char name[17] = "";
    prctl(PR_GET_NAME, name);
    if (own.events > 0 && memcmp(name, own.name, sizeof own.name) == 0)
        return;
    memcpy(own.name, name, sizeof own.name);
    memcpy(&x.w[1], name, 16);
    uint64_t slot = sn_alloclog_claim(1);
    if (slot != UINT64_MAX)
        sn_alloclog_put(slot, &x);
}

/* ---- stacks ---------------------------------------------------------------------------
 */

static void tell_module(const struct sn_spool_module *m)
{
    uint64_t offset = m->offset;
    size_t id = m->build_id_len, n = strlen(m->path);
    struct sn_alloctrace_slot head = {
        {SN_ALLOC_MODULE | (uint64_t)n << 4 | (uint64_t)id << 20, m->start, m->limit}};
    struct iovec pieces[] = {
        {&offset, sizeof offset}, {(void *)m->build_id, id}, {(void *)m->path, n}};
    sn_alloclog_record(&head, pieces, SN_COUNT(pieces));
}

/* Told before it is said that they are: twice rather than too late. */
static void tell_modules(void)
{
    const struct sn_spool_header *h = table.header;
    unsigned i = atomic_load(&modules_told);
    while (i < __atomic_load_n(&h->n_modules, __ATOMIC_ACQUIRE)) {
        const struct sn_spool_module *m =
            (const struct sn_spool_module *)((const char *)h + SN_SPOOL_AT_MODULES) + i;
        if (__atomic_load_n(&m->ready, __ATOMIC_ACQUIRE) == 0)
            break;
        tell_module(m);
        if (atomic_compare_exchange_strong(&modules_told, &i, i + 1))
            i++;
    }
}

__attribute__((noinline)) static uint32_t tell_stack(const struct sn_table_key *key,
                                                     uint64_t *number)
{
    struct sn_alloctrace_slot head = {
        {SN_ALLOC_STACK | (uint64_t)key->n << 4 | (uint64_t)key->end << 20}};
    uint64_t none = 0;
    tell_modules();
    struct iovec stack = {(void *)key->pcs, key->n * sizeof *key->pcs};
    uint64_t slot = sn_alloclog_record(&head, &stack, 1);
    __atomic_compare_exchange_n(number, &none, slot, false, __ATOMIC_RELEASE,
                                __ATOMIC_RELAXED);
    return (uint32_t)slot;
}

static uint32_t stack_here(void)
{
    uintptr_t pcs[SN_ALLOCTRACE_DEPTH];
    enum sn_unwind_end end;
    struct sn_table_key key = {.pcs = pcs};
    key.n = sn_trace_stack(pcs, SN_COUNT(pcs), &end);
    key.end = (uint16_t)end;
    struct sn_spool_entry *x = sn_table_entry(&table, &key);
    if (x == NULL)
        return 0;
    uint64_t number = __atomic_load_n(&x->values[0], __ATOMIC_ACQUIRE);
    return number != 0 ? (uint32_t)number : tell_stack(&key, &x->values[0]);
}

/* ---- events ---------------------------------------------------------------------------
 */

bool sn_alloc_enter(atomic_uint **mine)
{
    if (!atomic_load_explicit(&gate.on, memory_order_relaxed))
        return false;
    if (__builtin_expect(own.tid == 0, 0))
        own.tid = (uint32_t)sn_thread_id();
    *mine = &inside[own.tid % GATES].n;
    atomic_fetch_add(*mine, 1);
    if (atomic_load(&gate.on))
        return true;
    atomic_fetch_sub(*mine, 1);
    return false;
}

void sn_alloc_leave(atomic_uint *mine)
{
    atomic_fetch_sub(mine, 1);
}

static bool has_ended(void)
{
    return __builtin_expect(sn_alloclog_header()->why != SN_ALLOCTRACE_WHOLE, 0);
}

static void put_event(const struct sn_alloctrace_slot *x)
{
    uint64_t slot = sn_alloclog_claim(1);
    if (slot == UINT64_MAX || !sn_alloclog_put(slot, x))
        __atomic_fetch_add(&sn_alloclog_header()->lost, 1, __ATOMIC_RELAXED);
}

static uint64_t moment_of(uint64_t ticks)
{
    const struct sn_alloctrace_header *h = sn_alloclog_header();
    return (ticks - h->start_ticks) >> h->shift;
}

/* `sized` (may be NULL) is asked for the size: late, since what it looks at, the block's
 * head, comes from memory while the stack is walked. */
static size_t log_event(enum sn_alloctrace_kind kind, void *p, size_t size,
                        struct sn_layer *sized)
{
    if (has_ended()) {
        __atomic_fetch_add(&sn_alloclog_header()->lost, 1, __ATOMIC_RELAXED);
        return size;
    }
    if (sized != NULL)
        __builtin_prefetch((const char *)p - sizeof(size_t));
    if (__builtin_expect(own.events % NAME_EVERY == 0, 0))
        tell_name();
    own.events++;
    uint32_t stack = kind != SN_ALLOC_HELD ? stack_here() : 0;
    if (sized != NULL)
        size = sized->usable(sized, p);
    uint64_t now = now_ticks();
    tick(now); /* before the event, whose time it tells */
    struct sn_alloctrace_slot x =
        sn_alloctrace_event(kind, own.tid, moment_of(now), (uintptr_t)p, size, stack);
    put_event(&x);
    return size;
}

static size_t event(enum sn_alloctrace_kind kind, void *p, size_t size,
                    struct sn_layer *sized)
{
    atomic_uint *mine;
    if (!sn_alloc_enter(&mine))
        return size;
    size = log_event(kind, p, size, sized);
    sn_alloc_leave(mine);
    return size;
}

/* ---- for alloc_gc.c -------------------------------------------------------------------
 */

uint32_t sn_alloc_stack(void)
{
    return has_ended() ? 0 : stack_here();
}

uint64_t sn_alloc_moment(void)
{
    return moment_of(now_ticks());
}

uint64_t sn_alloc_log_collection(void)
{
    uint64_t now = now_ticks();
    if (!has_ended())
        tell_time(now, SN_ALLOC_TIME | SN_ALLOC_TIME_GC);
    return moment_of(now);
}

void sn_alloc_log(enum sn_alloctrace_kind kind, void *p, size_t size)
{
    log_event(kind, p, size, NULL);
}

void sn_alloc_log_at(uint64_t moment, enum sn_alloctrace_kind kind, uintptr_t address,
                     size_t size, uint32_t word)
{
    struct sn_alloctrace_slot x =
        sn_alloctrace_event(kind, own.tid, moment, address, size, word);
    put_event(&x);
}

/* The layer's functions are entries: from malloc to here all calls are tail calls, so
 * that theirs may be the only frames of ours that a stack shows. */

SN_MALLOC_ENTRY static void *allocate(struct sn_layer *self, size_t size,
                                      size_t alignment, bool zeroed)
{
    struct sn_layer *below = self->below;
    void *p = below->allocate(below, size, alignment, zeroed);
    if (p != NULL)
        event(SN_ALLOC_ALLOC, p, size, NULL);
    return p;
}

SN_MALLOC_ENTRY static void release(struct sn_layer *self, void *p)
{
    struct sn_layer *below = self->below;
    event(SN_ALLOC_FREE, p, 0, below);
    below->release(below, p);
}

/* The old block may be another thread's before the real one returns: it is freed first.
 */
SN_MALLOC_ENTRY static void *resize(struct sn_layer *self, void *p, size_t size)
{
    struct sn_layer *below = self->below;
    size_t old = event(SN_ALLOC_RESIZE_FREE, p, 0, below);
    void *fresh = below->resize(below, p, size);
    event(fresh != NULL ? SN_ALLOC_RESIZE_ALLOC : SN_ALLOC_RESIZE_KEPT,
          fresh != NULL ? fresh : p, fresh != NULL ? size : old, NULL);
    return fresh;
}

static size_t usable(struct sn_layer *self, void *p)
{
    return self->below->usable(self->below, p);
}

static struct sn_layer layer = {allocate, resize, release, usable, NULL};

/* ---- start, stop, fork ----------------------------------------------------------------
 */

static bool wanted(const struct sn_settings *s)
{
    return s->trace.allocfreetrace;
}

/* alloc.trace, unless that is another process's; then alloc.PID.trace and so on. */
static bool open_free_log(const struct sn_settings *s, struct sn_error *e)
{
    char name[48] = "";
    for (int i = s->spool ? 1 : 0; i < 1000; i++) {
        if (i == 1)
            snprintf(name, sizeof name, ".%d", (int)getpid());
        else if (i > 1)
            snprintf(name, sizeof name, ".%d.%d", (int)getpid(), i - 1);
        snprintf(path, sizeof path, "%s/alloc%s.trace", s->path, name);
        *e = (struct sn_error){.offset = -1};
        if (sn_alloclog_open(path, e))
            return true;
        if (errno != EEXIST)
            return false;
    }
    return false;
}

static bool open_table(struct sn_error *e)
{
    const struct sn_table_plan plan = {.output = "allocfreetrace",
                                       .kind = SN_SPOOL_CUSTOM,
                                       .n_values = 1,
                                       .scale = 1,
                                       .period = 1,
                                       .bytes = TABLE_BYTES};
    return sn_table_open(&table, &plan, e);
}

static void hold(void *p, size_t size)
{
    event(SN_ALLOC_HELD, p, size, NULL);
}

static bool start(const struct sn_settings *s, struct sn_error *e)
{
    const char *other = sn_malloc_whose();
    if (other != NULL)
        return sn_fail(e, "allocfreetrace", -1,
                       "the program calls the malloc of %s, which "
                       "is not seen",
                       other);
    if (sn_alloclog_header() != NULL)
        return sn_fail(e, "allocfreetrace", -1,
                       "a thread has not come back from the last trace");
    if (!open_free_log(s, e))
        return false;
    if (!open_table(e)) {
        sn_alloclog_drop();
        unlink(path);
        return false;
    }
    atomic_store(&modules_told, 0);
    sn_unwind_forget(); /* modules are met again, for this table */
    learn_ticks(sn_alloclog_header());
    atomic_store(&time_due, now_ticks());
    tell_time(now_ticks(), SN_ALLOC_TIME); /* and there is no stack in slot 0 */
    own = (struct own){0};
    sn_alloc_gc_start();
    madvise(&gate, sizeof gate, MADV_WIPEONFORK);
    sn_layer_lay(SN_LAYER_ALLOCFREETRACE, &layer);
    atomic_store(&gate.on, true);
    sn_malloc_early(hold);
    if (!s->quiet)
        sn_say("allocfreetrace enabled, %s", path);
    return true;
}

/* Is nobody at work any more? Waits a little for those who are. */
static bool all_out(unsigned tries)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (unsigned i = 0; i < GATES; i++)
        while (atomic_load(&inside[i].n) != 0) {
            if (tries-- == 0)
                return false;
            syscall(SYS_nanosleep, &pause, NULL);
        }
    return true;
}

/* A thread that does not come back (or this is its signal's handler) has the last word:
 * then the file is left as long as it is. */
static void stop(bool dying)
{
    if (sn_alloclog_header() == NULL)
        return;
    sn_alloc_gc_last();
    atomic_store(&gate.on, false);
    bool out = all_out(dying ? 20 : 1000);
    uint64_t lost = sn_alloclog_header()->lost;
    if (out)
        tell_time(now_ticks(), SN_ALLOC_TIME);
    sn_alloclog_end();
    if (out)
        sn_alloclog_close();
    if (out && !dying) {
        sn_table_close(&table);
        sn_alloc_gc_stop();
    }
    if (sn_recording_is_quiet())
        return;
    if (lost > 0)
        sn_say("allocfreetrace written, %s; %llu events were lost", path,
               (unsigned long long)lost);
    else
        sn_say("allocfreetrace written, %s", path);
}

static void after_fork(bool child)
{
    if (!child)
        return;
    atomic_store(&gate.on, false);
    for (unsigned i = 0; i < GATES; i++)
        atomic_store(&inside[i].n, 0);
    own = (struct own){0};
    sn_alloclog_drop();
    sn_table_close(&table);
    sn_alloc_gc_stop();
}

const struct sn_tracer sn_allocfreetrace = {.name = "allocfreetrace",
                                            .needs_directory = true,
                                            .wanted = wanted,
                                            .start = start,
                                            .stop = stop,
                                            .after_fork = after_fork,
                                            .pages = sn_alloclog_pages,
                                            .fd = sn_alloclog_fd};
