/* fuzz_heapdump.c: a heap dump of any bytes. A spool is put behind them, with the same
 * bytes for entries, so that dumps stay small; header.spool_len says whether. No bytes at
 * all: dumps made by hand, whole, cut, and with each byte turned. */
#include "../made_heap.h"
#include "graph/heap.h"

static void read_all(const struct sn_heapdump *d)
{
    struct sn_error e = {.offset = -1};
    struct sn_arena *a = sn_arena_new();
    struct sn_heap_hop *path;
    struct sn_heap_link *links;
    uint32_t n;
    uint32_t *stack_of = sn_arena_alloc(a, (d->n_blocks + 1) * sizeof *stack_of);
    struct sn_profile *p = sn_heapdump_stacks(d, stack_of, "fuzz", &e);
    struct sn_heap *h = sn_heap_new(d, &e);
    if (p != NULL && h != NULL && sn_heap_group(h, stack_of, p->n_samples, &e)) {
        if (h->live_bytes + h->leaked_bytes != d->bytes)
            abort();
        sn_heap_links(h, &links, &n, &e);
        for (uint32_t b = 0; b < d->n_blocks && b < 16; b++)
            if (sn_heap_path(h, b, &path) == 0)
                abort();
    }
    sn_heap_free(h);
    sn_profile_free(p);
    sn_arena_free(a);
}

static void feed(const uint8_t *data, size_t len)
{
    struct sn_heapdump_header h = {0};
    struct sn_arena *a = sn_arena_new();
    struct sn_error e = {.offset = -1};
    struct sn_heapdump d;
    size_t at = (len + 7) / 8 * 8, all = at + SN_SPOOL_AT_ENTRIES + len;
    memcpy(&h, data, len < sizeof h ? len : sizeof h);
    unsigned char *copy = sn_arena_alloc(a, all);
    memcpy(copy, data, len);
    if (h.spool_len != 0 && len >= sizeof h) {
        const struct made_heap spool = {.n_stacks = 0};
        made_spool(&spool, copy + at);
        ((struct sn_spool_header *)(copy + at))->used = len;
        memcpy(copy + at + SN_SPOOL_AT_ENTRIES, data, len);
        ((struct sn_heapdump_header *)copy)->at_spool = at;
        ((struct sn_heapdump_header *)copy)->spool_len = all - at;
        len = all;
    }
    if (sn_heapdump_open(&d, copy, len, "fuzz", &e))
        read_all(&d);
    sn_arena_free(a);
}

static void feed_made(void)
{
    static const uint32_t site = SN_SPOOL_AT_ENTRIES / 8 + 20;
    struct sn_heapdump_block blocks[] = {
        {0x1000, 64, 0, 1}, {0x2000, 16, 0, 1}, {0x3000, 32, 0, 0}, {0x4000, 0, 0, 1}};
    struct sn_heapdump_edge edges[] = {{0, 1}, {0, 3}, {1, 0}, {2, 2}, {2, 3}};
    struct sn_heapdump_root roots[] = {{0, SN_ROOT_GLOBAL, 0x404000}};
    struct made_heap m = {.blocks = blocks,
                          .edges = edges,
                          .roots = roots,
                          .n_blocks = SN_COUNT(blocks),
                          .n_edges = SN_COUNT(edges),
                          .n_roots = SN_COUNT(roots)};
    for (uint32_t i = 0; i < 4; i++, m.n_blocks--, m.n_edges = m.n_roots = 0) {
        struct sn_arena *a = sn_arena_new();
        size_t len;
        unsigned char *data = made_heap(a, &m, &len);
        if (i % 2 == 1) {
            ((struct sn_heapdump_header *)data)->spool_len = 1;
            ((struct sn_heapdump_block *)(data + sizeof(struct sn_heapdump_header)))
                ->site = site;
        }
        for (size_t n = 0; n <= len; n++)
            feed(data, n);
        for (size_t n = 0; n < len; n++) {
            data[n] ^= 0xff;
            feed(data, len);
            data[n] ^= 0xfe;
            feed(data, len);
            data[n] ^= 0x01;
        }
        sn_arena_free(a);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        feed_made();
    else
        feed(data, len);
    return 0;
}
