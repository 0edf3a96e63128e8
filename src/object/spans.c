/* spans.c: address ranges sorted by their start. In the object's arena. */
#include "object_priv.h"

#define MAX_BACK                                                                         \
    64 /* spans looked at that begin before the address and end before it                \
        */

void spans_add(struct spans *s, struct sn_arena *a, uint64_t lo, uint64_t hi,
               uint32_t value)
{
    struct span *new = lo < hi ? SN_PUSH(a, s->v, s->n, s->cap) : NULL;
    if (new != NULL)
        *new = (struct span){lo, hi, 0, value};
}

/* By start; of equal starts the wider first, so that the narrower is found first. */
static int by_start(const void *left, const void *right)
{
    const struct span *a = left, *b = right;
    if (a->lo != b->lo)
        return a->lo < b->lo ? -1 : 1;
    if (a->hi != b->hi)
        return a->hi > b->hi ? -1 : 1;
    return a->value < b->value ? -1 : a->value > b->value;
}

void spans_sort(struct spans *s)
{
    uint64_t reach = 0;
    if (s->n > 0)
        qsort(s->v, s->n, sizeof *s->v, by_start);
    for (uint32_t i = 0; i < s->n; i++) {
        reach = s->v[i].hi > reach ? s->v[i].hi : reach;
        s->v[i].reach = reach;
    }
}

uint32_t spans_find(const struct spans *s, uint64_t at)
{
    uint32_t lo = 0, hi = s->n; /* the first that begins after `at` */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (s->v[mid].lo <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (uint32_t back = 0; lo > 0 && back < MAX_BACK && s->v[lo - 1].reach > at; back++)
        if (s->v[--lo].hi > at)
            return s->v[lo].value;
    return SN_NONE;
}
