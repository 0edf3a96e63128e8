/* fuzz_alloctrace.c: a trace of allocations of any bytes. A whole file, if they begin as
 * one does; else slots, behind a head made by hand: so inputs stay small. Read at once,
 * and in pieces. No bytes at all: a trace made by hand, whole, cut, and with each byte
 * turned. */
#include "../made_alloctrace.h"

static bool count(void *argument, const struct sn_alloc_event *x)
{
    if (x->address == 0 || x->kind >= SN_ALLOC_EVENTS)
        abort();
    ++*(uint64_t *)argument;
    return true;
}

/* Modules are found for every frame, blocks for every address. */
static void look(const struct sn_alloctrace *t)
{
    for (uint32_t i = 0; i < t->n_stacks; i++)
        for (uint32_t k = 0; k < t->stacks[i].n_pcs && i < 64; k++)
            sn_alloctrace_module(t, &t->stacks[i], t->pcs[t->stacks[i].pc0 + k]);
    for (uint32_t i = 0; i < t->n_blocks && i < 1000; i++)
        if (sn_alloctrace_block(t, t->blocks[i].address) != &t->blocks[i])
            abort();
}

static uint64_t read_all(const void *head, const struct sn_alloctrace_slot *slots,
                         uint64_t n, uint64_t piece)
{
    struct sn_error e = {.offset = -1};
    struct sn_alloctrace *t = sn_alloctrace_new(head, SN_ALLOCTRACE_AT, "fuzz", &e);
    uint64_t events = 0, at = 0;
    while (t != NULL && at < n && e.what[0] == '\0') {
        uint64_t now = piece < n - at ? piece : n - at;
        bool last = now == n - at;
        uint64_t got = sn_alloctrace_read(t, slots + at, now, last, count, &events, &e);
        if (got > now || (last && got < now && e.what[0] == '\0'))
            abort();
        at += got;
        if (got == 0) /* a record that is longer, or a slot that is not written */
            piece = piece < n ? 2 * piece : n;
    }
    if (t != NULL)
        look(t);
    sn_alloctrace_free(t);
    return events;
}

static void feed(const void *head, const struct sn_alloctrace_slot *slots, uint64_t n)
{
    if (read_all(head, slots, n, n) != read_all(head, slots, n, 3))
        abort();
}

static void feed_bytes(const uint8_t *data, size_t len)
{
    struct made_trace m;
    struct sn_error e = {.offset = -1};
    bool whole = sn_alloctrace_is(data, len);
    size_t skip = whole ? SN_ALLOCTRACE_AT : 0;
    made_begin(&m);
    if (whole)
        memcpy(m.head, data, len < sizeof m.head ? len : sizeof m.head);
    if (len < skip) {
        if (sn_alloctrace_new(m.head, len, "fuzz", &e) != NULL)
            abort();
        return;
    }
    struct sn_arena *a = sn_arena_new();
    struct sn_alloctrace_slot *slots = sn_arena_alloc(a, len - skip + 24);
    memcpy(slots, data + skip, len - skip);
    feed(m.head, slots, (len - skip) / sizeof *slots);
    sn_arena_free(a);
}

static void feed_made(void)
{
    struct made_trace m;
    made_all(&m);
    unsigned char *bytes = (unsigned char *)m.slots;
    for (uint64_t n = 0; n <= m.n; n++)
        feed(m.head, m.slots, n);
    for (size_t i = 0; i < m.n * sizeof *m.slots; i++) {
        bytes[i] ^= 0xff;
        feed(m.head, m.slots, m.n);
        bytes[i] ^= 0xfe;
        feed(m.head, m.slots, m.n);
        bytes[i] ^= 0x01;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        feed_made();
    else
        feed_bytes(data, len);
    return 0;
}
