/* test_alloctrace.c: the reader of traces of allocations, and the writer's packing. */
#include "../made_alloctrace.h"
#include "../tap.h"

static struct sn_alloc_event events[MADE_SLOTS];
static unsigned n_events;

static bool keep(void *argument, const struct sn_alloc_event *x)
{
    (void)argument;
    events[n_events++] = *x;
    return true;
}

static void reads(void)
{
    struct made_trace m;
    struct sn_error e = {.offset = -1};
    made_all(&m);
    struct sn_alloctrace *t = sn_alloctrace_new(m.head, sizeof m.head, "made", &e);
    if (!ok(t != NULL, "it opens %s", e.what))
        return;
    uint64_t n = sn_alloctrace_read(t, m.slots, m.n, false, keep, NULL, &e);
    ok(e.what[0] == '\0' && n < m.n, "it waits before a slot that is not written");
    is_int(n_events, 7, "... with what came before");
    n += sn_alloctrace_read(t, m.slots + n, m.n - n, true, keep, NULL, &e);
    is_int(n, m.n, "in the end it is passed over");
    is_int(t->n_unwritten, 1, "and counted");
    is_int(t->n_events, 10, "events but for what was held before");
    is_int(t->n_stacks, 2, "stacks");
    is_int(t->n_modules, 1, "modules");
    is_str(t->modules[0].path, "/bin/made", "its path");
    is_str(t->modules[0].build_id, "abcd", "its build id");
    is_str(sn_alloctrace_thread(t, 42), "main", "a thread's name");
    is_str(sn_alloctrace_thread(t, 43), "", "... that was never told");
    ok(sn_alloctrace_module(t, &t->stacks[0], 0x400010) == t->modules,
       "a frame's module");
    ok(sn_alloctrace_module(t, &t->stacks[1], 0x500030) == NULL, "... of none");
    is_int(events[1].time_ns, 1000, "its time");
    is_int(events[1].stack, 0, "its stack");
    is_int(events[2].size, INT64_C(5) << 32, "a size of more than 32 bits");
    ok(events[3].known && events[3].size == 24 && events[3].origin == 0 &&
           events[3].life_ns == 2000 && !events[3].temporary,
       "a free of another thread knows its block");
    ok(events[5].known && events[5].size == INT64_C(5) << 32, "a realloc that failed");
    ok(!events[6].known && events[6].size == 8, "a block from before has a size only");
    ok(events[9].temporary && events[9].size == 99, "freed by the next event: temporary");
    ok(!events[10].known && events[10].size == 16, "a free of what was never seen");
    const struct sn_alloc_block *b = sn_alloctrace_block(t, 0x3000);
    ok(b != NULL && !b->live, "what was moved is not live");
    sn_alloctrace_free(t);
}

/* What collections saw: at 10 us and 20 us. */
static void late(void)
{
    static const uint64_t pcs[] = {0x400010};
    struct made_trace m;
    struct sn_error e = {.offset = -1};
    made_begin(&m);
    made_slot(&m, SN_ALLOC_TIME, MADE_START, MADE_START);
    uint32_t stack = made_stack(&m, pcs, 1);
    made_event(&m, SN_ALLOC_GC_ALLOC, 1, 1000, 0x1000, 20, stack);
    made_event(&m, SN_ALLOC_GC_ALLOC, 1, 2000, 0x5000, 20, stack);
    made_slot(&m, SN_ALLOC_TIME | SN_ALLOC_TIME_GC, MADE_START + 10000,
              MADE_START + 10000);
    made_event(&m, SN_ALLOC_GC_LATE, 9, 10000, 0x2000, 32, stack);
    made_event(&m, SN_ALLOC_GC_LATE, 9, 10000, 0x3000, 32, 0);
    made_slot(&m, SN_ALLOC_TIME | SN_ALLOC_TIME_GC, MADE_START + 20000,
              MADE_START + 20000);
    made_event(&m, SN_ALLOC_GC_LATE, 9, 20000, 0x1000, 0, SN_ALLOC_LATE_DIED);
    made_event(&m, SN_ALLOC_GC_LATE, 9, 20000, 0x2000, 0, SN_ALLOC_LATE_DIED);
    made_event(&m, SN_ALLOC_GC_LATE, 9, 21000, 0x3000, 0, SN_ALLOC_LATE_AGAIN);
    made_event(&m, SN_ALLOC_GC_ALLOC, 1, 21000, 0x3000, 20, stack);
    made_event(&m, SN_ALLOC_GC_LATE, 9, 22000, 0x3000, 0, SN_ALLOC_LATE_AGAIN);
    made_event(&m, SN_ALLOC_GC_LATE, 9, 22000, 0x9000, 0, SN_ALLOC_LATE_AGAIN);
    made_event(&m, SN_ALLOC_GC_FREE, 1, 23000, 0x5000, 32, stack);
    n_events = 0;
    struct sn_alloctrace *t = sn_alloctrace_new(m.head, sizeof m.head, "made", &e);
    sn_alloctrace_read(t, m.slots, m.n, true, keep, NULL, &e);
    is_str(e.what, "", "late events are read");
    is_int(n_events, 11, "all of them");
    is_int(t->n_late, 7, "those that are late are counted");
    is_int(t->n_collections, 2, "and collections");
    ok(!events[0].late && events[2].late && events[2].kind == SN_ALLOC_GC_ALLOC &&
           events[2].since_ns == 0 && events[2].time_ns == 10000 && events[2].stack == 0,
       "an allocation that was seen late: from when to when, and who took its list");
    is_int(events[3].stack, SN_NONE, "... which may not be known");
    ok(events[4].late && events[4].kind == SN_ALLOC_GC_FREE && events[4].known &&
           events[4].since_ns == 10000 && events[4].size == 20 && events[4].origin == 0,
       "a free that was seen late knows its block, which a function told of");
    ok(!events[4].timed && !events[5].timed && events[10].timed &&
           events[10].life_ns == 21000,
       "how long they lived is only known of those that functions told");
    ok(events[5].known && events[5].size == 32 && !events[5].unused,
       "... or a collection");
    ok(events[6].unused && events[6].known && events[6].size == 32,
       "one that was not in use when it was seen is taken back");
    ok(!events[8].unused && events[8].known && events[8].size == 20,
       "one of which a function told was freed, then");
    ok(events[6].since_ns == 20000, "that came up after the collection");
    ok(!events[9].unused && !events[9].known, "of one that is not known nothing is said");
    const struct sn_alloc_block *b = sn_alloctrace_block(t, 0x2000);
    ok(b != NULL && !b->live, "none of them lives");
    sn_alloctrace_free(t);
}

/* A free of size 0 has no stack, but what it is. */
static void late_of_no_kind(void)
{
    struct made_trace m;
    struct sn_error e = {.offset = -1};
    made_begin(&m);
    made_event(&m, SN_ALLOC_GC_LATE, 9, 10000, 0x2000, 0, SN_ALLOC_LATES);
    struct sn_alloctrace *t = sn_alloctrace_new(m.head, sizeof m.head, "made", &e);
    sn_alloctrace_read(t, m.slots, m.n, true, NULL, NULL, &e);
    is_str(e.what, "a free of no kind", "a free of no kind");
    is_int(e.offset, SN_ALLOCTRACE_AT, "... and where");
    sn_alloctrace_free(t);
}

/* Hours apart: times are counts that wrap. */
static void wraps(void)
{
    struct made_trace m;
    struct sn_error e = {.offset = -1};
    const uint64_t hour = UINT64_C(3600) * 1000000000;
    made_begin(&m);
    n_events = 0;
    for (uint64_t i = 0; i < 30; i++)
        made_event(&m, SN_ALLOC_ALLOC, 1, 9 * i * hour, 0x1000 + 16 * i, 1, 0);
    made_event(&m, SN_ALLOC_FREE, 1, 9 * 29 * hour - 4000, 0x1000, 1, 0);
    struct sn_alloctrace *t = sn_alloctrace_new(m.head, sizeof m.head, "made", &e);
    sn_alloctrace_read(t, m.slots, m.n, true, keep, NULL, &e);
    is_int(events[29].time_ns / 1000000000, 9 * 29 * 3600, "time goes on for days");
    is_int(events[29].time_ns - events[30].time_ns, 4000, "and may go back a little");
    sn_alloctrace_free(t);
}

/* A word of a slot, and what is said. */
static void refuses(void)
{
    static const struct {
        unsigned slot, word;
        uint64_t value;
        const char *what;
    } bad[] = {
        {0, 0, 15, "no record begins like that"},
        {3, 0, SN_ALLOC_MODULE | 9 << 4 | 33 << 20, "no record begins like that"},
        {3, 2, 0, "a module that ends before it begins"},
        {4, 0, SN_ALLOC_TIME, "a record whose rest is another's"},
        {6, 0, SN_ALLOC_STACK | 65 << 4, "no record begins like that"},
        {11, 2, (uint64_t)60 << 32, "an event names a stack that comes after it"},
        {11, 1, 0, "an event of no address"},
    };
    for (size_t i = 0; i < SN_COUNT(bad); i++) {
        struct made_trace m;
        struct sn_error e = {.offset = -1};
        made_all(&m);
        m.slots[bad[i].slot].w[bad[i].word] = bad[i].value;
        struct sn_alloctrace *t = sn_alloctrace_new(m.head, sizeof m.head, "made", &e);
        uint64_t n = sn_alloctrace_read(t, m.slots, m.n, true, NULL, NULL, &e);
        is_str(e.what, bad[i].what, bad[i].what);
        is_int(e.offset, SN_ALLOCTRACE_AT + 24 * (int64_t)n, "... and where");
        sn_alloctrace_free(t);
    }
}

static void refuses_heads(void)
{
    struct made_trace m;
    struct sn_error e = {.offset = -1};
    made_all(&m);
    ok(sn_alloctrace_new(m.head, 100, "made", &e) == NULL && e.offset == 100,
       "a head that is cut short: %s", e.what);
    made_head(&m)->version = 9;
    e = (struct sn_error){.offset = -1};
    ok(sn_alloctrace_new(m.head, sizeof m.head, "made", &e) == NULL, "%s", e.what);
    made_head(&m)->version = 0;
    e = (struct sn_error){.offset = -1};
    ok(sn_alloctrace_new(m.head, sizeof m.head, "made", &e) == NULL, "%s", e.what);
    made_head(&m)->magic = 0;
    e = (struct sn_error){.offset = -1};
    ok(sn_alloctrace_new(m.head, sizeof m.head, "made", &e) == NULL, "%s", e.what);
}

/* Each request for pages fails once. */
static void no_memory(void)
{
    struct made_trace m;
    made_all(&m);
    bool good = true, whole = false;
    for (unsigned i = 1; i < 20 && !whole; i++) {
        struct sn_error e = {.offset = -1};
        sn_pages_fail_after(i);
        struct sn_alloctrace *t = sn_alloctrace_new(m.head, sizeof m.head, "made", &e);
        if (t != NULL)
            sn_alloctrace_read(t, m.slots, m.n, true, NULL, NULL, &e);
        sn_pages_fail_after(0);
        whole = t != NULL && e.what[0] == '\0';
        good &= whole || strcmp(e.what, "out of memory") == 0;
        sn_alloctrace_free(t);
    }
    ok(good && whole, "without memory it says so");
}

int main(void)
{
    reads();
    wraps();
    late();
    late_of_no_kind();
    refuses();
    refuses_heads();
    no_memory();
    return done();
}
