/* made_alloctrace.h: traces of allocations made by hand, for the tests of who reads them.
 */
#ifndef MADE_ALLOCTRACE_H
#define MADE_ALLOCTRACE_H

#include "profile/alloctrace.h"

#define MADE_SLOTS 64
#define MADE_START UINT64_C(1000000)

struct made_trace {
    _Alignas(8) unsigned char head[SN_ALLOCTRACE_AT];
    struct sn_alloctrace_slot slots[MADE_SLOTS];
    uint64_t n;
};

static inline struct sn_alloctrace_header *made_head(struct made_trace *m)
{
    return (struct sn_alloctrace_header *)(void *)m->head;
}

/* A clock of a tick a nanosecond, in units of four. */
static inline void made_begin(struct made_trace *m)
{
    memset(m, 0, sizeof *m);
    *made_head(m) = (struct sn_alloctrace_header){.magic = SN_ALLOCTRACE_MAGIC,
                                                  .version = SN_ALLOCTRACE_VERSION,
                                                  .pid = 42,
                                                  .start_ticks = MADE_START,
                                                  .start_mono_ns = MADE_START,
                                                  .ticks_per_ms = 1000000,
                                                  .shift = 2,
                                                  .state = 1,
                                                  .comm = "made",
                                                  .exe = "/bin/made"};
}

static inline uint64_t made_slot(struct made_trace *m, uint64_t w0, uint64_t w1,
                                 uint64_t w2)
{
    m->slots[m->n] = (struct sn_alloctrace_slot){{w0, w1, w2}};
    return m->n++;
}

static inline void made_more(struct made_trace *m, const void *data, size_t bytes)
{
    uint64_t w[2];
    for (size_t at = 0; at < bytes; at += 16) {
        memset(w, 0, sizeof w);
        memcpy(w, (const char *)data + at, bytes - at < 16 ? bytes - at : 16);
        made_slot(m, SN_ALLOC_MORE, w[0], w[1]);
    }
}

static inline void made_module(struct made_trace *m, uint64_t start, uint64_t limit,
                               const char *path)
{
    char data[8 + 2 + 32] = "\0\0\0\0\0\0\0\0\xab\xcd";
    size_t n = strlen(path);
    memcpy(data + 10, path, n);
    made_slot(m, SN_ALLOC_MODULE | (uint64_t)n << 4 | 2 << 20, start, limit);
    made_more(m, data, 10 + n);
}

static inline uint32_t made_stack(struct made_trace *m, const uint64_t *pcs, size_t n)
{
    uint64_t slot = made_slot(m, SN_ALLOC_STACK | (uint64_t)n << 4, 0, 0);
    made_more(m, pcs, n * sizeof *pcs);
    return (uint32_t)slot;
}

static inline void made_event(struct made_trace *m, enum sn_alloctrace_kind kind,
                              uint32_t tid, uint64_t ns, uint64_t address, uint64_t size,
                              uint32_t stack)
{
    m->slots[m->n++] = sn_alloctrace_event(kind, tid, ns / 4, address, size, stack);
}

/* A bit of everything. */
static inline void made_all(struct made_trace *m)
{
    static const uint64_t pcs[] = {0x400010, 0x400020, 0x500030};
    made_begin(m);
    made_slot(m, SN_ALLOC_TIME, MADE_START, MADE_START);
    made_slot(m, SN_ALLOC_THREAD | 42 << 4, 0x6e69616d, 0); /* "main" */
    made_event(m, SN_ALLOC_HELD, 42, 0, 0x1000, 8, 0);
    made_module(m, 0x400000, 0x500000, "/bin/made");
    uint32_t two = made_stack(m, pcs, 2), three = made_stack(m, pcs, 3);
    made_event(m, SN_ALLOC_ALLOC, 42, 1000, 0x2000, 24, two);
    made_event(m, SN_ALLOC_ALLOC, 43, 2000, 0x3000, UINT64_C(5) << 32, three);
    made_event(m, SN_ALLOC_FREE, 43, 3000, 0x2000, 32, three);
    made_event(m, SN_ALLOC_RESIZE_FREE, 43, 4000, 0x3000, 0, two);
    made_event(m, SN_ALLOC_RESIZE_KEPT, 43, 5000, 0x3000, 0, two);
    made_event(m, SN_ALLOC_FREE, 42, 6000, 0x1000, 24, two);
    made_slot(m, 0, 0, 0); /* killed */
    made_event(m, SN_ALLOC_RESIZE_FREE, 42, 7000, 0x3000, 0, two);
    made_event(m, SN_ALLOC_RESIZE_ALLOC, 42, 8000, 0x4000, 99, two);
    made_event(m, SN_ALLOC_FREE, 42, 9000, 0x4000, 100, two);
    made_event(m, SN_ALLOC_FREE, 42, 10000, 0x7000, 16, 0);
    made_head(m)->used = m->n;
}

#endif
