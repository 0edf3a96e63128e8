/*
 * demangle_all.c: many names demangled at once, on all cores: long names of C++ templates
 * take longer to demangle than to find. libiberty's demanglers share nothing between
 * calls.
 */
#include "symbolize/symbolize_priv.h"

#define PORTION 256 /* names */

struct portions {
    const char *const *names;
    uint32_t n;
    enum sn_demangle mode;
    struct demangled *out;
};

static void demangle_portion(void *arg, unsigned part)
{
    struct portions *p = arg;
    struct sn_arena *a = p->out->arenas[part];
    uint32_t from = part * PORTION, to = p->n - from < PORTION ? p->n : from + PORTION;
    for (uint32_t i = from; i < to; i++)
        p->out->plain[i] = sn_demangle(p->names[i], p->mode, a);
}

bool demangle_all(const char *const *names, uint32_t n, enum sn_demangle mode,
                  struct demangled *out)
{
    struct portions p = {names, n, mode, out};
    unsigned parts = (n + PORTION - 1) / PORTION;
    *out = (struct demangled){.own = sn_arena_new()};
    if (out->own == NULL)
        return false;
    out->plain = sn_arena_alloc(out->own, n * sizeof *out->plain);
    out->arenas = sn_arena_alloc(out->own, parts * sizeof *out->arenas);
    bool good = !sn_arena_failed(out->own);
    for (; good && out->n_arenas < parts; out->n_arenas += good)
        good = (out->arenas[out->n_arenas] = sn_arena_new()) != NULL;
    if (good)
        sn_parallel(parts, demangle_portion, &p);
    else
        demangled_free(out);
    return good;
}

void demangled_free(struct demangled *d)
{
    for (unsigned i = 0; i < d->n_arenas; i++)
        sn_arena_free(d->arenas[i]);
    sn_arena_free(d->own);
    *d = (struct demangled){0};
}
