/*
 * functions.c: the symbols of a file as functions that lie one behind the other: one for
 * each address that symbols name. Made once, in the object's arena.
 *
 * A function reaches to the next, padding included. Where what follows is far away, since
 * its symbol was stripped, it ends with its own size.
 */
#include "object_priv.h"

#define PADDING 64 /* bytes between functions that may belong to the first */

static int by_place_and_name(const void *left, const void *right)
{
    const struct symbol *a = left, *b = right;
    if (a->lo != b->lo)
        return a->lo < b->lo ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* Without the labels that lie inside of a function; how many are left. */
static uint32_t drop_labels(struct symbol *v, uint32_t n)
{
    uint32_t kept = 0;
    uint64_t reach = 0; /* the end of what has a size, so far */
    for (uint32_t i = 0; i < n; i++) {
        if (v[i].rank == RANK_LABEL && v[i].lo < reach)
            continue;
        if (v[i].rank != RANK_LABEL && v[i].lo + v[i].size > reach)
            reach = v[i].lo + v[i].size;
        v[kept++] = v[i];
    }
    return kept;
}

/* The symbols at v[0].lo as one function; how many they are. */
static uint32_t add_function(struct sn_object *o, const struct symbol *v, uint32_t n,
                             const char **names)
{
    const struct segment *s = object_code(o, v[0].lo);
    struct sn_object_function *f = &o->functions[o->n_functions];
    uint64_t size = 0, end = s != NULL ? s->vaddr + s->memsz : v[0].lo;
    uint32_t i = 0;
    *f = (struct sn_object_function){.lo = v[0].lo, .names = names};
    for (; i < n && v[i].lo == f->lo; i++) {
        if (f->n_names == 0 || strcmp(names[f->n_names - 1], v[i].name) != 0)
            names[f->n_names++] = v[i].name;
        size = v[i].size > size ? v[i].size : size;
    }
    f->hi = i < n && v[i].lo < end ? v[i].lo : end;
    if (size > 0 && f->hi - f->lo > size && f->hi - f->lo - size > PADDING)
        f->hi = f->lo + size;
    o->n_functions += f->hi > f->lo;
    return i;
}

static bool make_functions(struct sn_object *o)
{
    uint32_t n;
    const struct symbol *symbols = symbol_table(o, &n);
    struct symbol *v = sn_arena_alloc(o->arena, (n + 1) * sizeof *v);
    const char **names = sn_arena_alloc(o->arena, (n + 1) * sizeof *names);
    o->functions = sn_arena_alloc(o->arena, (n + 1) * sizeof *o->functions);
    if (v == NULL || names == NULL || o->functions == NULL)
        return false;
    if (n > 0)
        memcpy(v, symbols, n * sizeof *v);
    qsort(v, n, sizeof *v, by_place_and_name);
    n = drop_labels(v, n);
    for (uint32_t i = 0; i < n;)
        i += add_function(o, v + i, n - i, names + i);
    return true;
}

const struct sn_object_function *sn_object_functions(struct sn_object *o, size_t *n)
{
    bool made = o->functions != NULL || make_functions(o);
    *n = made ? o->n_functions : 0;
    return o->functions;
}

const struct sn_object_function *sn_object_function_at(struct sn_object *o,
                                                       uint64_t vaddr)
{
    size_t n, lo = 0;
    const struct sn_object_function *v = sn_object_functions(o, &n);
    size_t hi = n; /* the first that begins after it */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (v[mid].lo <= vaddr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo > 0 && vaddr < v[lo - 1].hi ? &v[lo - 1] : NULL;
}
