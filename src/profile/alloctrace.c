/*
 * alloctrace.c: reads the log of allocfreetrace (alloctrace.h), as a stream: as much as
 * there is, then more. Nothing in it is believed: what cannot be is an error with its
 * offset, after all that was good before it. Memory grows with the different stacks and
 * the different addresses, not with the events. Needs libc alone.
 */
#include "profile/alloctrace.h"

#include <stdio.h>

struct last { /* of a thread */
    uint32_t tid;
    char name[17];
    uint64_t address; /* that its last event allocated; 0: it did not */
};

struct clock_point {
    uint64_t ticks, ns;
};

struct sn_alloctrace_state {
    struct sn_map *by_slot;    /* a stack's slot to its index */
    struct sn_map *by_address; /* a block's address to its index */
    struct sn_map *by_tid;
    struct last *threads;
    uint32_t n_threads, cap_threads;
    struct clock_point point; /* the last */
    double ns_per_tick;
    uint64_t now; /* the last event's time, unwrapped, in shifted ticks */
    /* When the last collection ended, as it is told and as events tell it, and that
     * before it. */
    uint64_t gc_ns, gc_now, gc_before_ns;
    const char *where;
};

bool sn_alloctrace_is(const void *data, size_t len)
{
    uint64_t magic;
    if (len < sizeof magic)
        return false;
    memcpy(&magic, data, sizeof magic);
    return magic == SN_ALLOCTRACE_MAGIC;
}

static bool header_good(const void *data, size_t len, const char *where,
                        struct sn_error *e)
{
    const struct sn_alloctrace_header *h = data;
    if (!sn_alloctrace_is(data, len))
        return sn_fail(e, where, 0, "it is no trace of allocfreetrace");
    if (len < SN_ALLOCTRACE_AT)
        return sn_fail(e, where, (int64_t)len, "it is cut short in its head");
    if (h->version < 1 || h->version > SN_ALLOCTRACE_VERSION)
        return sn_fail(e, where, (int64_t)offsetof(struct sn_alloctrace_header, version),
                       "it is of version %u; this sonde reads versions 1 to %d",
                       h->version, SN_ALLOCTRACE_VERSION);
    if (h->shift > 16 || h->ticks_per_ms == 0 || h->ticks_per_ms > UINT64_C(1) << 40)
        return sn_fail(e, where,
                       (int64_t)offsetof(struct sn_alloctrace_header, ticks_per_ms),
                       "its clock is out of range");
    return true;
}

static void start_clock(struct sn_alloctrace *t)
{
    const struct sn_alloctrace_header *h = &t->header;
    t->state->point = (struct clock_point){h->start_ticks, h->start_mono_ns};
    t->state->ns_per_tick = 1e6 / (double)h->ticks_per_ms;
}

struct sn_alloctrace *sn_alloctrace_new(const void *header, size_t len, const char *where,
                                        struct sn_error *e)
{
    if (!header_good(header, len, where, e))
        return NULL;
    struct sn_arena *a = sn_arena_new();
    struct sn_alloctrace *t = a != NULL ? sn_arena_alloc(a, sizeof *t) : NULL;
    struct sn_alloctrace_state *s = t != NULL ? sn_arena_alloc(a, sizeof *s) : NULL;
    if (s != NULL) {
        t->arena = a;
        t->state = s;
        memcpy(&t->header, header, sizeof t->header);
        t->header.exe[sizeof t->header.exe - 1] = '\0';
        t->header.comm[sizeof t->header.comm - 1] = '\0';
        s->where = sn_arena_strdup(a, where);
        s->by_slot = sn_map_new(a);
        s->by_address = sn_map_new(a);
        s->by_tid = sn_map_new(a);
        start_clock(t);
    }
    if (s != NULL && !sn_arena_failed(a))
        return t;
    sn_arena_free(a);
    sn_fail(e, where, -1, "out of memory");
    return NULL;
}

void sn_alloctrace_free(struct sn_alloctrace *t)
{
    if (t != NULL)
        sn_arena_free(t->arena);
}

/* ---- time -----------------------------------------------------------------------------
 */

/* The time nearest to the last one of those that the bits may mean. */
static uint64_t unwrap(uint64_t now, uint64_t bits)
{
    uint64_t change = (bits - now) & SN_ALLOCTRACE_TIME_MAX;
    if (change > SN_ALLOCTRACE_TIME_MAX / 2) { /* back */
        uint64_t back = SN_ALLOCTRACE_TIME_MAX + 1 - change;
        return back < now ? now - back : 0;
    }
    return now + change;
}

static uint64_t ns_of(const struct sn_alloctrace *t, uint64_t shifted)
{
    const struct sn_alloctrace_state *s = t->state;
    int64_t since =
        (int64_t)(t->header.start_ticks + (shifted << t->header.shift) - s->point.ticks);
    double ns = (double)(int64_t)(s->point.ns - t->header.start_mono_ns) +
                (double)since * s->ns_per_tick;
    return ns <= 0 ? 0 : ns < 9e18 ? (uint64_t)ns : UINT64_C(9000000000000000000);
}

/* Two moments by two clocks say how fast the one goes by the other. */
static void set_clock(struct sn_alloctrace *t, uint64_t ticks, uint64_t ns)
{
    struct sn_alloctrace_state *s = t->state;
    uint64_t since = ticks - t->header.start_ticks,
             ns_since = ns - t->header.start_mono_ns;
    if ((int64_t)since < 0 || (int64_t)ns_since < 0)
        return;
    if (ns_since > 50000 && since > 0) { /* from the start on: the longer the truer */
        double rate = (double)ns_since / (double)since;
        double told = 1e6 / (double)t->header.ticks_per_ms;
        if (rate > told / 2 && rate < told * 2)
            s->ns_per_tick = rate;
    }
    s->point = (struct clock_point){ticks, ns};
    s->now = unwrap(s->now, since >> t->header.shift);
}

static void end_collection(struct sn_alloctrace *t)
{
    struct sn_alloctrace_state *s = t->state;
    s->gc_before_ns = s->gc_ns;
    s->gc_now = s->now;
    s->gc_ns = ns_of(t, s->now);
    t->n_collections++;
}

/* ---- what is told once ----------------------------------------------------------------
 */

static struct last *thread_of(struct sn_alloctrace *t, uint32_t tid)
{
    struct sn_alloctrace_state *s = t->state;
    uint32_t *at = sn_map_put(s->by_tid, tid);
    if (at == NULL)
        return NULL;
    if (*at == SN_NONE) {
        struct last *l = SN_PUSH(t->arena, s->threads, s->n_threads, s->cap_threads);
        if (l == NULL)
            return NULL;
        l->tid = tid;
        *at = s->n_threads - 1;
    }
    return &s->threads[*at];
}

const char *sn_alloctrace_thread(const struct sn_alloctrace *t, uint32_t tid)
{
    uint32_t at = sn_map_get(t->state->by_tid, tid);
    return at != SN_NONE ? t->state->threads[at].name : "";
}

static bool add_stack(struct sn_alloctrace *t, const struct sn_alloctrace_slot *x,
                      uint32_t n)
{
    struct sn_alloc_stack *s = SN_PUSH(t->arena, t->stacks, t->n_stacks, t->cap_stacks);
    uint32_t *at = sn_map_put(t->state->by_slot, t->n_slots);
    if (s == NULL || at == NULL)
        return false;
    *at = t->n_stacks - 1;
    *s = (struct sn_alloc_stack){
        .slot = t->n_slots, .pc0 = t->n_pcs, .end = x->w[0] >> 20 & 0xff};
    for (uint32_t i = 0; i < n; i++, s->n_pcs++) {
        uint64_t *pc = SN_PUSH(t->arena, t->pcs, t->n_pcs, t->cap_pcs);
        if (pc == NULL)
            return false;
        *pc = x[1 + i / 2].w[1 + i % 2];
    }
    return true;
}

static bool add_module(struct sn_alloctrace *t, const struct sn_alloctrace_slot *x,
                       size_t path, size_t id)
{
    unsigned char bytes[16 * 64] = {0};
    char *text = sn_arena_alloc(t->arena, path + 1),
         *hex = sn_arena_alloc(t->arena, 2 * id + 1);
    struct sn_alloc_module *m =
        SN_PUSH(t->arena, t->modules, t->n_modules, t->cap_modules);
    if (m == NULL || text == NULL || hex == NULL)
        return false;
    for (size_t i = 0; i < (8 + id + path + 15) / 16; i++)
        memcpy(bytes + 16 * i, &x[1 + i].w[1], 16);
    *m = (struct sn_alloc_module){.start = x->w[1],
                                  .limit = x->w[2],
                                  .path = text,
                                  .build_id = hex,
                                  .slot = t->n_slots};
    memcpy(&m->offset, bytes, 8);
    for (size_t i = 0; i < id; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[8 + i]);
    memcpy(text, bytes + 8 + id, path);
    return true;
}

const struct sn_alloc_module *sn_alloctrace_module(const struct sn_alloctrace *t,
                                                   const struct sn_alloc_stack *s,
                                                   uint64_t pc)
{
    const struct sn_alloc_module *found = NULL;
    for (uint32_t i = 0; i < t->n_modules; i++) {
        const struct sn_alloc_module *m = &t->modules[i];
        if (pc >= m->start && pc < m->limit && (found == NULL || m->slot < s->slot))
            found = m;
    }
    return found;
}

/* ---- blocks ---------------------------------------------------------------------------
 */

const struct sn_alloc_block *sn_alloctrace_block(const struct sn_alloctrace *t,
                                                 uint64_t address)
{
    uint32_t at = sn_map_get(t->state->by_address, address);
    return at != SN_NONE ? &t->blocks[at] : NULL;
}

static struct sn_alloc_block *block_at(struct sn_alloctrace *t, uint64_t address)
{
    uint32_t *at = sn_map_put(t->state->by_address, address);
    if (at == NULL)
        return NULL;
    if (*at == SN_NONE) {
        struct sn_alloc_block *b =
            SN_PUSH(t->arena, t->blocks, t->n_blocks, t->cap_blocks);
        if (b == NULL)
            return NULL;
        b->address = address;
        *at = t->n_blocks - 1;
    }
    return &t->blocks[*at];
}

static void free_block(struct sn_alloc_block *b, struct sn_alloc_event *x,
                       const struct last *thread)
{
    x->known = b->live && !b->held;
    if (b->live)
        x->size = b->size;
    if (x->known) {
        x->origin = b->stack;
        x->timed = !x->late && !b->late;
        x->life_ns = x->time_ns > b->time_ns ? x->time_ns - b->time_ns : 0;
        x->temporary = !x->late && thread->address == x->address;
    }
    x->unused &= b->live && b->late;
    b->live = false;
}

/* What the event does to its block, and what the block says of the event. */
static bool apply(struct sn_alloctrace *t, struct sn_alloc_event *x)
{
    struct last *thread = thread_of(t, x->tid);
    struct sn_alloc_block *b = block_at(t, x->address);
    if (thread == NULL || b == NULL)
        return false;
    if (sn_alloc_is_free(x)) {
        free_block(b, x, thread);
    } else if (x->kind == SN_ALLOC_RESIZE_KEPT) {
        b->live = b->slot != 0 || b->held; /* as it was before */
        x->size = b->live ? b->size : x->size;
        x->known = b->live && !b->held;
        x->origin = b->stack;
    } else {
        *b = (struct sn_alloc_block){
            x->address, x->size, x->slot, x->time_ns,
            x->stack,   x->tid,  true,    x->kind == SN_ALLOC_HELD,
            x->late};
    }
    if (x->late) /* it was not that thread's doing */
        return true;
    thread->address = sn_alloc_is_alloc(x) ? x->address : 0;
    return true;
}

/* ---- slots ----------------------------------------------------------------------------
 */

static enum sn_alloctrace_kind kind_of(const struct sn_alloctrace_slot *x)
{
    return (enum sn_alloctrace_kind)(__atomic_load_n(&x->w[0], __ATOMIC_ACQUIRE) & 15);
}

static bool bad(const struct sn_alloctrace *t, struct sn_error *e, const char *why)
{
    return sn_fail(
        e, t->state->where,
        (int64_t)(SN_ALLOCTRACE_AT + t->n_slots * sizeof(struct sn_alloctrace_slot)),
        "%s", why);
}

/* What a collection saw is of its moment; the rest came up after it. *stack: 0 of what
 * has none. */
static bool read_late(struct sn_alloctrace *t, struct sn_alloc_event *x, uint32_t *stack,
                      struct sn_error *e)
{
    x->late = true;
    x->since_ns =
        t->state->now == t->state->gc_now ? t->state->gc_before_ns : t->state->gc_ns;
    x->kind = x->size > 0 ? SN_ALLOC_GC_ALLOC : SN_ALLOC_GC_FREE;
    t->n_late++;
    if (x->size > 0)
        return true;
    if (*stack >= SN_ALLOC_LATES)
        return bad(t, e, "a free of no kind");
    x->unused = *stack == SN_ALLOC_LATE_AGAIN;
    x->stack = SN_NONE;
    *stack = 0;
    return true;
}

static bool read_event(struct sn_alloctrace *t, const struct sn_alloctrace_slot *slot,
                       struct sn_alloc_event *x, struct sn_error *e)
{
    uint64_t w0 = slot->w[0], w1 = slot->w[1], w2 = slot->w[2];
    uint32_t stack = (uint32_t)(w2 >> 32);
    t->state->now = unwrap(t->state->now, w0 >> 26 | (w1 >> 48 & 0xff) << 38);
    *x = (struct sn_alloc_event){
        .kind = (enum sn_alloctrace_kind)(w0 & 15),
        .tid = w0 >> 4 & 0x3fffff,
        .address = w1 & ((UINT64_C(1) << 48) - 1),
        .size = (w2 & UINT32_MAX) | w1 >> 56 << 32,
        .time_ns = ns_of(t, t->state->now),
        .slot = t->n_slots,
        .stack = stack != 0 ? sn_map_get(t->state->by_slot, stack) : SN_NONE,
        .origin = SN_NONE};
    if (x->kind == SN_ALLOC_GC_LATE && !read_late(t, x, &stack, e))
        return false;
    if (stack >= t->n_slots && stack != 0)
        return bad(t, e, "an event names a stack that comes after it");
    if (x->address == 0)
        return bad(t, e, "an event of no address");
    t->n_events += x->kind != SN_ALLOC_HELD;
    t->last_ns = x->time_ns > t->last_ns ? x->time_ns : t->last_ns;
    return apply(t, x) || bad(t, e, "out of memory");
}

/* How many slots the record at x takes; 0: it cannot be. */
static uint64_t slots_of(const struct sn_alloctrace_slot *x)
{
    uint64_t n = x->w[0] >> 4 & 0xffff, id = x->w[0] >> 20 & 0xff;
    switch (kind_of(x)) {
    case SN_ALLOC_STACK:
        return n <= SN_ALLOCTRACE_DEPTH ? 1 + (n + 1) / 2 : 0;
    case SN_ALLOC_MODULE:
        return n < SN_SPOOL_PATH && id <= 32 ? 1 + (8 + id + n + 15) / 16 : 0;
    default:
        return 1;
    }
}

static bool all_more(const struct sn_alloctrace_slot *x, uint64_t n)
{
    for (uint64_t i = 1; i < n; i++)
        if (kind_of(&x[i]) != SN_ALLOC_MORE)
            return false;
    return true;
}

static bool read_record(struct sn_alloctrace *t, const struct sn_alloctrace_slot *x,
                        struct sn_error *e)
{
    struct last *thread;
    bool good = true;
    switch (kind_of(x)) {
    case SN_ALLOC_STACK:
        good = add_stack(t, x, x->w[0] >> 4 & 0xffff);
        break;
    case SN_ALLOC_MODULE:
        if (x->w[1] >= x->w[2])
            return bad(t, e, "a module that ends before it begins");
        good = add_module(t, x, x->w[0] >> 4 & 0xffff, x->w[0] >> 20 & 0xff);
        break;
    case SN_ALLOC_TIME:
        set_clock(t, x->w[1], x->w[2]);
        if ((x->w[0] & SN_ALLOC_TIME_GC) != 0)
            end_collection(t);
        break;
    default:
        thread = thread_of(t, x->w[0] >> 4 & 0x3fffff);
        good = thread != NULL;
        if (good)
            memcpy(thread->name, &x->w[1], 16);
    }
    return good || bad(t, e, "out of memory");
}

/* Slots nobody wrote; and what is left of a record whose head is one of them. */
static void skip(struct sn_alloctrace *t, uint64_t n)
{
    t->n_slots += n;
    t->n_unwritten += n;
}

uint64_t sn_alloctrace_read(struct sn_alloctrace *t,
                            const struct sn_alloctrace_slot *slots, uint64_t n, bool last,
                            bool (*visit)(void *argument, const struct sn_alloc_event *x),
                            void *argument, struct sn_error *e)
{
    uint64_t i = 0;
    while (i < n) {
        const struct sn_alloctrace_slot *x = &slots[i];
        enum sn_alloctrace_kind kind = kind_of(x);
        struct sn_alloc_event event;
        if (kind == SN_ALLOC_UNWRITTEN && !last)
            break;
        if (kind == SN_ALLOC_UNWRITTEN || kind == SN_ALLOC_MORE) {
            skip(t, 1);
            i++;
            continue;
        }
        uint64_t length = slots_of(x);
        if (kind >= SN_ALLOC_KINDS || length == 0) {
            bad(t, e, "no record begins like that");
            break;
        }
        if (length > n - i && !last)
            break;
        if (length > n - i || !all_more(x, length)) {
            if (length <= n - i) {
                bad(t, e, "a record whose rest is another's");
                break;
            }
            skip(t, n - i);
            i = n;
            break;
        }
        bool is_event = kind < SN_ALLOC_EVENTS || kind == SN_ALLOC_GC_LATE;
        if (is_event ? !read_event(t, x, &event, e) : !read_record(t, x, e))
            break;
        t->n_slots += length;
        i += length;
        if (is_event && visit != NULL && !visit(argument, &event))
            break;
    }
    return i;
}

const char *sn_alloctrace_loss(const struct sn_alloctrace_header *h)
{
    static const char *const texts[] = {
        [SN_ALLOCTRACE_DISK] = "there was no room for it",
        [SN_ALLOCTRACE_LIMIT] = "it would have been larger than the limit (ulimit -f)",
        [SN_ALLOCTRACE_FD] = "the program closed it",
        [SN_ALLOCTRACE_LONG] = "it was as long as it can be",
        [SN_ALLOCTRACE_UNREAD] = "nobody read it any more"};
    return h->why < SN_COUNT(texts) ? texts[h->why] : "of a reason that is not known";
}
