/*
 * libgc_invalid.c: invalidptr=2 for a collected heap. When a collection has marked what
 * lives, and the world stands still, each word of a live object that may hold pointers,
 * and that points into the collected heap but into no live object, is told: it is a
 * pointer that was hidden from the collector, or kept where it does not look, and its
 * object is gone.
 *
 *     enumerate -> objects, found by page -> their words -> lines
 *
 * Under libgc's lock, in its world that is stopped: pages only, never malloc.
 */
#include "trace/libgc.h"

#include <inttypes.h>

#define PAGE_BITS 12 /* libgc's own blocks are no smaller */
#define TOLD      20 /* of a process */

enum { POINTER_FREE, NORMAL, UNCOLLECTABLE, POINTER_FREE_UNCOLLECTABLE };

struct object {
    uintptr_t at;
    size_t bytes;
};

struct heap {
    struct sn_arena *arena;
    struct object *v;
    uint32_t n, cap;
    struct sn_map *pages; /* number → its first object; those of a page come in turn */
};

static atomic_bool on;
static unsigned n_told;
static uintptr_t told[TOLD]; /* the words, each once */

static void add(void *object, size_t bytes, void *heap)
{
    struct heap *h = heap;
    uintptr_t at = (uintptr_t)object, last = (at + (bytes > 0 ? bytes - 1 : 0));
    uint32_t i = h->n;
    struct object *o = SN_PUSH(h->arena, h->v, h->n, h->cap);
    if (o == NULL)
        return;
    *o = (struct object){at, bytes};
    for (uintptr_t page = at >> PAGE_BITS; page <= last >> PAGE_BITS; page++) {
        uint32_t *first = sn_map_put(h->pages, page);
        if (first != NULL && *first == SN_NONE)
            *first = i;
    }
}

/* Of a page only one that begins before it can be followed by others. */
static bool is_in_object(const struct heap *h, uintptr_t p)
{
    uintptr_t page = p >> PAGE_BITS;
    for (uint32_t i = sn_map_get(h->pages, page); i < h->n; i++) {
        if (p - h->v[i].at < h->v[i].bytes)
            return true;
        if (h->v[i].at >> PAGE_BITS > page ||
            (h->v[i].at >> PAGE_BITS < page && i > sn_map_get(h->pages, page)))
            return false;
    }
    return false;
}

static void tell(const struct object *o, uintptr_t at, uintptr_t word)
{
    for (unsigned i = 0; i < n_told; i++)
        if (told[i] == at)
            return;
    if (n_told == TOLD)
        return;
    told[n_told++] = at;
    sn_trace_printf("runtime: garbage collector found invalid heap pointer "
                    "*(0x%" PRIxPTR "+0x%" PRIxPTR ")=0x%" PRIxPTR " libgc%s\n",
                    o->at, at - o->at, word, sn_trace_pid());
    if (n_told == TOLD)
        sn_trace_printf("runtime: more invalid heap pointers are not told%s\n",
                        sn_trace_pid());
}

static void look_at(const struct heap *h, const struct object *o)
{
    size_t unused;
    int kind = sn_libgc.kind_and_size((const void *)o->at, &unused);
    if (kind == POINTER_FREE || kind == POINTER_FREE_UNCOLLECTABLE)
        return;
    for (uintptr_t at = o->at; at + sizeof at <= o->at + o->bytes; at += sizeof at) {
        uintptr_t word = *(const uintptr_t *)at;
        if (word > 4096 && sn_libgc.is_heap_ptr((const void *)word) != 0 &&
            !is_in_object(h, word))
            tell(o, at, word);
    }
}

void sn_libgc_look(void)
{
    if (!atomic_load_explicit(&on, memory_order_relaxed) || n_told == TOLD ||
        sn_libgc.kind_and_size == NULL || sn_libgc.is_heap_ptr == NULL)
        return;
    struct heap h = {.arena = sn_arena_new()};
    h.pages = h.arena != NULL ? sn_map_new(h.arena) : NULL;
    if (h.pages != NULL)
        sn_libgc.enumerate(add, &h);
    if (h.pages != NULL && !sn_arena_failed(h.arena))
        for (uint32_t i = 0; i < h.n; i++)
            look_at(&h, &h.v[i]);
    sn_arena_free(h.arena);
}

void sn_libgc_look_always(bool wanted)
{
    if (wanted)
        sn_libgc_find(NULL);
    atomic_store(&on, wanted);
}
