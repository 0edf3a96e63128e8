/*
 * given.c: the names that a profile came with, demangled as pprof does it: those that are
 * mangled; and of names that were written out as C++'s (by who made the profile, or by
 * its server) parameters and template arguments are cut, as the mode says.
 */
#include "symbolize/symbolize_priv.h"

static bool is_candidate(const char *name)
{
    return *name == '_';
}

/* Mac OS puts one '_' more before each name. */
static const char *mangled(const char *name)
{
    return strncmp(name, "__Z", 3) == 0 ? name + 1 : name;
}

/* Not Java's "class.<init>", nor Go's "foo.(*Bar[...]).Method". */
static bool is_plain_cxx(const char *name)
{
    return strstr(name, ".<") == NULL && strstr(name, "]).") == NULL &&
           (strpbrk(name, "<>[]") != NULL || strstr(name, "::") != NULL);
}

/* Cut the outermost open...close, in place, up to a close that has no open. */
static void cut(char *name, char open, char close)
{
    size_t to = 0, mark = 0, depth = 0, i = 0;
    for (; name[i] != '\0'; i++) {
        if (name[i] == close && depth == 0)
            break;
        name[to++] = name[i];
        if (name[i] == open && depth++ == 0)
            mark = to - 1;
        else if (name[i] == close && --depth == 0)
            to = mark;
    }
    memmove(name + to, name + i, strlen(name + i) + 1);
}

static const char *shortened(const char *name, enum sn_demangle mode, struct sn_arena *a)
{
    if (mode == SN_DEMANGLE_FULL || !is_plain_cxx(name))
        return name;
    char *copy = sn_arena_strdup(a, name);
    if (copy == NULL)
        return name;
    cut(copy, '(', ')');
    if (mode == SN_DEMANGLE_DEFAULT)
        cut(copy, '<', '>');
    return copy;
}

/* Forcing begins again from what was linked; of those that were there before. */
static void undo(struct sn_profile *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (p->functions[i].name != 0 && p->functions[i].system_name != 0)
            p->functions[i].name = p->functions[i].system_name;
}

static bool is_done(const struct sn_function *f)
{
    return f->name != 0 && f->name != f->system_name;
}

/* The names that may be mangled, in the order of their functions. */
static uint32_t collect(const struct sn_profile *p, const char **names)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_functions; i++) {
        const char *name = sn_profile_str(p, p->functions[i].system_name);
        if (!is_done(&p->functions[i]) && is_candidate(name))
            names[n++] = mangled(name);
    }
    return n;
}

/* `plain`: of what was collected. */
static void put_plain(struct sn_profile *p, enum sn_demangle mode,
                      const char *const *plain, struct sn_arena *scratch)
{
    for (uint32_t i = 0; i < p->n_functions; i++) {
        struct sn_function *f = &p->functions[i];
        const char *name = sn_profile_str(p, f->system_name), *found;
        if (is_done(f))
            continue;
        if (is_candidate(name) && strcmp(*plain, mangled(name)) != 0)
            found = *plain;
        else
            found = shortened(name, mode, scratch);
        plain += is_candidate(name);
        f->name = found == name ? f->system_name : sn_strtab_add(p->strings, found);
    }
}

void demangle_given(struct symbolizer *s, uint32_t before)
{
    struct sn_profile *p = s->p;
    struct sn_arena *scratch = sn_arena_new();
    const char **names = NULL;
    struct demangled d;
    if (s->o->force)
        undo(p, before);
    if (scratch != NULL && s->o->demangle != SN_DEMANGLE_NONE)
        names = sn_arena_alloc(scratch, (p->n_functions + (size_t)1) * sizeof *names);
    if (names != NULL && demangle_all(names, collect(p, names), s->o->demangle, &d)) {
        put_plain(p, s->o->demangle, d.plain, scratch);
        demangled_free(&d);
    }
    sn_arena_free(scratch);
}
