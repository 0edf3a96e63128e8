/*
 * efence_report.c: what efence has found, in words: what was done, how far from which
 * block, the stack that did it, and those that allocated and freed the block. One report
 * at a time, written at once. Signal-safe.
 */
#include "trace/efence.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>

#define FAULTS_MAX 20 /* a program that recovers from each may go on for ever */

static struct sn_text text;
static atomic_uint writer; /* the thread that writes it; 0: none */

/* False: we are in it already. */
static bool begin(void)
{
    uint32_t me = (uint32_t)sn_thread_id(), none = 0;
    while (!atomic_compare_exchange_weak(&writer, &none, me)) {
        if (none == me)
            return false;
        none = 0;
        sched_yield();
    }
    text.n = 0;
    return true;
}

static void end(void)
{
    sn_text_send(&text);
    atomic_store(&writer, 0);
}

void ef_report_after_fork(void)
{
    atomic_store(&writer, 0);
}

void ef_say_once(atomic_flag *said, const char *fmt, ...)
{
    char line[256];
    if (atomic_flag_test_and_set(said))
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    sn_trace_write(line, strlen(line));
}

/* ---- pieces ---------------------------------------------------------------------------
 */

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

/* Where an address is, seen from a block. */
struct place {
    const struct ef_block *b; /* NULL: nowhere */
    uint64_t distance;
    enum { BEFORE, INSIDE, AFTER } side;
};

static struct place place_in(const struct ef_block *b, uintptr_t address)
{
    if (b == NULL)
        return (struct place){NULL, UINT64_MAX, AFTER};
    uintptr_t at = (uintptr_t)ef_block_at(b);
    if (address < at)
        return (struct place){b, at - address, BEFORE};
    if (address - at < b->size)
        return (struct place){b, address - at, INSIDE};
    return (struct place){b, address - at - b->size, AFTER};
}

static uint64_t far(const struct place *p)
{
    return p->side == INSIDE ? 0 : p->distance;
}

static bool is_freed(const struct ef_block *b)
{
    return atomic_load(&b->state) == EF_FREED;
}

/* "4 bytes after a freed block of 24 bytes at 0x7f...fe0" */
static void add_place(const struct place *p)
{
    static const char *const sides[] = {"before", "into", "after"};
    sn_text_add(&text, "%lu byte%s %s a %sblock of %lu byte%s at %p",
                (unsigned long)p->distance, plural(p->distance), sides[p->side],
                is_freed(p->b) ? "freed " : "", (unsigned long)p->b->size,
                plural(p->b->size), (void *)ef_block_at(p->b));
}

static void add_history(const struct ef_block *b)
{
    sn_text_add(&text, "  allocated by thread %u:\n", b->maker);
    sn_text_add_stack(&text, b->made);
    if (!is_freed(b) || b->killer == 0)
        return;
    sn_text_add(&text, "  freed by thread %u:\n", b->killer);
    sn_text_add_stack(&text, b->gone);
}

/* Whose stack is told: of a signal's context, of who called a function of ours, or (both
 * NULL) the allocator. */
struct who {
    const ucontext_t *context;
    const void *caller;
};

static void add_stack_of(const struct who *who)
{
    uintptr_t pcs[SN_TRACE_DEPTH];
    enum sn_unwind_end why;
    size_t n, own = 0;
    if (who->context != NULL)
        n = sn_unwind(who->context, sn_thread_stack(), pcs, SN_COUNT(pcs), &why);
    else if (who->caller == NULL)
        n = sn_trace_stack(pcs, SN_COUNT(pcs), &why);
    else {
        n = sn_unwind_here(sn_thread_stack(), pcs, SN_COUNT(pcs), &why);
        own = sn_thread_frame_of(pcs, n, who->caller);
    }
    own = own < n ? own : 0;
    sn_text_add(&text, "  by thread %d:\n", (int)sn_thread_id());
    sn_text_add_frames(&text, pcs + own, n - own);
}

/* ---- accesses -------------------------------------------------------------------------
 */

static const char *kind_of(const struct place *p)
{
    if (p->b == NULL)
        return "wild access";
    if (is_freed(p->b))
        return "use after free";
    return p->side == BEFORE ? "underrun" : "overrun";
}

/* The nearer one of the blocks between which it is; then, if it could be as well, the
 * other. */
static void add_access(const char *what, uintptr_t address, const struct place *first,
                       const struct place *second, const struct who *who)
{
    sn_text_add(&text, "efence: %s: %s at 0x%lx, ", kind_of(first), what,
                (unsigned long)address);
    if (first->b != NULL)
        add_place(first);
    else
        sn_text_add(&text, "where no block is known");
    sn_text_add(&text, "%s\n", sn_trace_pid());
    add_stack_of(who);
    if (first->b != NULL)
        add_history(first->b);
    if (second->b == NULL || second->distance >= 2 * EF_PAGE)
        return;
    sn_text_add(&text, "  which is also ");
    add_place(second);
    sn_text_add(&text, ",\n");
    add_history(second->b);
}

/* What is far from a freed block's pages is not its. */
static void find_places(uintptr_t address, struct place *first, struct place *second)
{
    struct ef_block *before, *after;
    ef_arena_near(address, &before, &after);
    struct place one = place_in(before, address), two = place_in(after, address);
    bool one_first = far(&one) <= far(&two);
    *first = one_first ? one : two;
    *second = one_first ? two : one;
}

static const char *access_of(const ucontext_t *context)
{
#if defined __x86_64__
    uint64_t error = (uint64_t)context->uc_mcontext.gregs[REG_ERR];
    return error & 16 ? "jump" : error & 2 ? "write" : "read";
#else
    (void)context;
    return "access";
#endif
}

void ef_report_fault(const siginfo_t *info, const ucontext_t *context)
{
    static atomic_uint faults;
    struct place first, second;
    uintptr_t address = (uintptr_t)info->si_addr;
    find_places(address, &first, &second);
    if (first.side == INSIDE && !is_freed(first.b))
        return; /* the program itself has protected it */
    unsigned n = atomic_fetch_add(&faults, 1);
    if (n >= FAULTS_MAX || !begin())
        return;
    add_access(access_of(context), address, &first, &second,
               &(struct who){.context = context});
    if (n + 1 == FAULTS_MAX)
        sn_text_add(&text, "efence: that was number %d: no more are told\n", FAULTS_MAX);
    end();
}

void ef_report_kernel(const char *call, uintptr_t address, bool write, const void *caller)
{
    struct place first, second;
    char what[48];
    find_places(address, &first, &second);
    if (!begin())
        return;
    snprintf(what, sizeof what, "%s by the kernel, for %s,", write ? "write" : "read",
             call);
    add_access(what, address, &first, &second, &(struct who){.caller = caller});
    end();
}

/* ---- what is found at free ------------------------------------------------------------
 */

void ef_report_gap(const struct ef_block *b, bool before, size_t distance)
{
    if (!begin())
        return;
    sn_text_add(&text,
                "efence: %s by %zu byte%s, found at free: what lies %s a block of %lu "
                "byte%s at %p was written%s\n",
                before ? "underrun" : "overrun", distance, plural(distance),
                before ? "before" : "after", (unsigned long)b->size, plural(b->size),
                (void *)ef_block_at(b), sn_trace_pid());
    sn_text_add(&text, "  allocated by thread %u:\n", b->maker);
    sn_text_add_stack(&text, b->made);
    sn_text_add(&text, "  freed by thread %u:\n", b->killer);
    sn_text_add_stack(&text, b->gone);
    end();
}

void ef_report_free(const void *p, const char *by)
{
    struct ef_block *before, *after;
    ef_arena_near((uintptr_t)p, &before, &after);
    struct place place = place_in(before, (uintptr_t)p);
    if (place.b == NULL)
        place = place_in(after, (uintptr_t)p);
    if (!begin())
        return;
    bool start = place.b != NULL && p == ef_block_at(place.b);
    bool again = start && is_freed(place.b);
    sn_text_add(&text, "efence: %s: %s of %p, ",
                !again                    ? "bad free"
                : strcmp(by, "free") == 0 ? "double free"
                                          : "use after free",
                by, p);
    if (start)
        sn_text_add(&text, "a block of %lu byte%s", (unsigned long)place.b->size,
                    plural(place.b->size));
    else if (place.b != NULL)
        add_place(&place);
    else
        sn_text_add(&text, "where no block is known");
    sn_text_add(&text, "%s\n", sn_trace_pid());
    add_stack_of(&(struct who){0});
    if (place.b != NULL)
        add_history(place.b);
    end();
}
