/* test_heapdump.c: the reader of heap dumps: what it reads, and what it refuses. */
#include "../made_heap.h"
#include "../tap.h"

#include <stdlib.h>

static struct sn_heapdump_block blocks[] = {
    {0x1000, 64, 1, 1}, {0x2000, 16, 2, 1}, {0x3000, 32, 3, 0}, {0x4000, 0, 0, 1}};
static struct sn_heapdump_edge edges[] = {{0, 1}, {0, 3}, {1, 0}, {2, 2}};
static struct sn_heapdump_root roots[] = {{0, SN_ROOT_GLOBAL, 0x404000},
                                          {3, SN_ROOT_STACK, 0x7ffc0000}};
static const uint64_t stacks[][MADE_PCS] = {
    {0x400010, 0x400020}, {0x400030, 0x400020, 0x10}, {0x400010, 0x400020}};

static struct made_heap small(bool spool)
{
    return (struct made_heap){
        blocks,          edges,           roots,  SN_COUNT(blocks),
        SN_COUNT(edges), SN_COUNT(roots), stacks, spool ? SN_COUNT(stacks) : 0};
}

static void reads(void)
{
    struct sn_arena *a = sn_arena_new();
    struct made_heap m = small(true);
    struct sn_error e = {.offset = -1};
    struct sn_heapdump d;
    uint32_t stack_of[SN_COUNT(blocks)];
    size_t len;
    unsigned char *data = made_heap(a, &m, &len);
    ok(sn_heapdump_is(data, len), "it is a dump");
    if (!ok(sn_heapdump_open(&d, data, len, "made", &e), "it opens %s", e.what))
        return;
    is_int(d.n_blocks, 4, "blocks");
    is_int((long long)d.bytes, 112, "bytes");
    is_int(d.edges[1].to, 3, "edges");
    is_int(d.roots[1].kind, SN_ROOT_STACK, "roots");
    struct sn_profile *p = sn_heapdump_stacks(&d, stack_of, "made", &e);
    if (!ok(p != NULL, "its stacks can be read %s", e.what))
        return;
    is_int(p->n_samples, 3, "a sample for each different stack");
    ok(stack_of[0] == stack_of[2], "entries of the same stack are one");
    ok(stack_of[0] != stack_of[1] && stack_of[3] != stack_of[0], "others are not");
    is_int(p->samples[stack_of[3]].n_locs, 0, "no site: no stack");
    const struct sn_sample *s = &p->samples[stack_of[1]];
    is_int(s->n_locs, 3, "a stack");
    const struct sn_location *l = &p->locations[p->sample_locs[s->loc0]];
    is_int((long long)l->address, 0x400030, "its leaf comes first");
    is_str(sn_profile_str(p, p->mappings[l->mapping].file), "/bin/made", "in its file");
    sn_profile_free(p);
    sn_arena_free(a);
}

/* One word of the file, and what is said of it. */
static void refuses(void)
{
    enum {
        AT_BLOCKS = sizeof(struct sn_heapdump_header),
        AT_EDGES = AT_BLOCKS + sizeof blocks,
        AT_ROOTS = AT_EDGES + sizeof edges
    };
#define FIELD(name) offsetof(struct sn_heapdump_header, name)
    static const struct {
        size_t at;
        uint64_t value;
        int64_t offset;
        const char *wrong;
    } rows[] = {
        {0, 1, 0, "no heap dump"},
        {FIELD(version), 2, FIELD(version), "another version"},
        {FIELD(n_blocks), UINT64_MAX, FIELD(at_blocks), "more blocks"},
        {FIELD(n_blocks), 1u << 30, FIELD(at_blocks), "outside"},
        {FIELD(n_edges), UINT64_MAX / 8, FIELD(at_edges), "more edges"},
        {FIELD(n_roots), 1u << 20, FIELD(at_roots), "roots lie outside"},
        {FIELD(at_blocks), 97, FIELD(at_blocks), "multiple of 8"},
        {FIELD(at_edges), UINT64_MAX - 7, FIELD(at_edges), "outside"},
        {FIELD(at_spool), 0, 0, "no spool"},
        {FIELD(spool_len), 64, AT_ROOTS + sizeof roots, "no spool"},
        {FIELD(spool_len), UINT64_MAX, FIELD(at_spool), "more stacks"},
        {FIELD(spool_len), 0, AT_BLOCKS, "stack is not there"},
        {AT_BLOCKS, 0x2000, AT_BLOCKS + 24, "order of their addresses"},
        {AT_BLOCKS + 8, UINT64_MAX, AT_BLOCKS, "larger than memory"},
        {AT_BLOCKS + 32, INT64_MAX - 10, AT_BLOCKS + 24, "larger than memory"},
        {AT_BLOCKS + 16, 5, AT_BLOCKS, "stack is not there"},
        {AT_BLOCKS + 16, UINT32_MAX, AT_BLOCKS, "stack is not there"},
        {AT_EDGES, UINT64_C(4) << 32, AT_EDGES, "a block that is not there"},
        {AT_EDGES, 4, AT_EDGES, "a block that is not there"},
        {AT_EDGES, 2, AT_EDGES + 8, "order of their blocks"},
        {AT_ROOTS, UINT64_C(1) << 32 | 4, AT_ROOTS, "a block that is not there"},
        {AT_ROOTS, UINT64_C(5) << 32, AT_ROOTS, "kind that is not known"},
        {AT_ROOTS, 0, AT_ROOTS, "kind that is not known"},
    };
#undef FIELD
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct sn_arena *a = sn_arena_new();
        struct made_heap m = small(true);
        struct sn_error e = {.offset = -1};
        struct sn_heapdump d;
        size_t len;
        unsigned char *data = made_heap(a, &m, &len);
        memcpy(data + rows[i].at, &rows[i].value, sizeof rows[i].value);
        bool good = sn_heapdump_open(&d, data, len, "made", &e);
        ok(!good && strstr(e.what, rows[i].wrong) != NULL && e.offset == rows[i].offset &&
               strcmp(e.where, "made") == 0,
           "word %zu = %llx: %s, at %lld", rows[i].at / 8,
           (unsigned long long)rows[i].value, e.what, (long long)e.offset);
        sn_arena_free(a);
    }
}

/* Cut short at a byte: refused, and nothing behind the cut is looked at. */
static bool is_refused(const unsigned char *data, size_t len)
{
    struct sn_error e = {.offset = -1};
    struct sn_heapdump d;
    unsigned char *copy = malloc(len > 0 ? len : 1);
    if (copy == NULL)
        abort();
    memcpy(copy, data, len);
    bool refused = !sn_heapdump_open(&d, copy, len, "cut", &e) && e.what[0] != '\0';
    free(copy);
    return refused;
}

static void cuts(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_heapdump_block unknown[SN_COUNT(blocks)];
    struct made_heap m = small(false);
    size_t len, good = 0, step;
    memcpy(unknown, blocks, sizeof blocks);
    for (size_t i = 0; i < SN_COUNT(unknown); i++)
        unknown[i].site = 0;
    m.blocks = unknown;
    unsigned char *data = made_heap(a, &m, &len);
    for (size_t i = 0; i < len; i++)
        good += is_refused(data, i);
    is_int((long long)good, (long long)len, "cut at every byte");
    m = small(true);
    data = made_heap(a, &m, &len);
    good = 0;
    for (size_t i = 0; i < len; i += step) {
        good += !is_refused(data, i);
        step = i < 1024 || len - i < 1024 ? 1 : 65536 - i % 512;
    }
    is_int((long long)good, 0, "cut in the spool");
    sn_arena_free(a);
}

/* Entries that overlap could ask for more than the file is long. */
static void overlaps(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_error e = {.offset = -1};
    struct made_heap m = small(true);
    struct sn_heapdump d;
    uint32_t stack_of[SN_COUNT(blocks)];
    size_t len;
    unsigned char *data = made_heap(a, &m, &len);
    struct sn_heapdump_header *h = (void *)data;
    struct sn_spool_entry *x = (void *)(data + h->at_spool + SN_SPOOL_AT_ENTRIES);
    x->n_pcs = UINT16_MAX;
    ok(sn_heapdump_open(&d, data, len, "made", &e), "its tables are good");
    struct sn_profile *p = sn_heapdump_stacks(&d, stack_of, "made", &e);
    ok(p == NULL && strstr(e.what, "no stack") != NULL, "a stack that is too long: %s",
       e.what);
    sn_arena_free(a);
}

int main(void)
{
    reads();
    refuses();
    cuts();
    overlaps();
    return done();
}
