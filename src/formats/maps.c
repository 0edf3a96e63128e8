/*
 * maps.c: the mappings at the end of the old text profiles, and which of them each
 * address is in. Lines as in /proc/PID/maps (proc(5)), or shorter:
 *
 *     00400000-00fcb000 r-xp 00001000 08:01 1234 /bin/program
 *     00400000-00fcb000: /bin/program (@1000) build-id
 *
 * with "name=value" lines before, whose $name the next lines may hold, and the prefix of
 * a log before "] ". What google/pprof does about odd mappings is done here.
 */
#include "readers_priv.h"

#define MAX_NAMES 32 /* of "name=value" */

struct names {
    struct sn_piece name[MAX_NAMES], value[MAX_NAMES];
    unsigned n;
};

bool sn_is_maps_head(const struct sn_lines *l)
{
    return sn_lines_have(l, "--- Memory map: ---") ||
           sn_lines_have(l, "MAPPED_LIBRARIES:");
}

/* Past "file.cc:12] ", which a log puts before its lines. */
static struct sn_piece without_log(struct sn_piece x)
{
    const char *end = x.n > 0 ? memchr(x.s, ']', x.n) : NULL;
    if (end == NULL || memchr(x.s, '[', (size_t)(end - x.s)) != NULL)
        return x;
    const char *digit = end;
    while (digit > x.s && digit[-1] >= '0' && digit[-1] <= '9')
        digit--;
    size_t used = (size_t)(end - x.s) + 2;
    if (digit == end || digit == x.s || digit[-1] != ':' || used > x.n || end[1] != ' ')
        return x;
    return (struct sn_piece){x.s + used, x.n - used};
}

static void put_in_names(struct sn_buf *out, struct sn_piece x, const struct names *names)
{
    while (x.n > 0) {
        unsigned i = 0;
        while (i < names->n &&
               !(*x.s == '$' && x.n > names->name[i].n &&
                 memcmp(x.s + 1, names->name[i].s, names->name[i].n) == 0))
            i++;
        size_t used = i < names->n ? names->name[i].n + 1 : 1;
        if (i < names->n)
            sn_buf_add(out, names->value[i].s, names->value[i].n);
        else
            sn_buf_putc(out, *x.s);
        x = (struct sn_piece){x.s + used, x.n - used};
    }
}

static void learn_name(struct sn_build *b, struct sn_piece x, struct names *names)
{
    const char *eq = x.n > 0 ? memchr(x.s, '=', x.n) : NULL;
    if (eq == NULL || names->n == MAX_NAMES)
        return;
    struct sn_piece name = {x.s, (size_t)(eq - x.s)};
    struct sn_piece value = {eq + 1, x.n - name.n - 1};
    sn_piece_blanks(&name);
    sn_piece_blanks(&value);
    while (name.n > 0 && name.s[name.n - 1] == ' ')
        name.n--;
    name.s = sn_arena_strndup(b->p->arena, name.s, name.n);
    value.s = sn_arena_strndup(b->p->arena, value.s, value.n);
    if (name.s != NULL && value.s != NULL && name.n > 0) {
        names->name[names->n] = name;
        names->value[names->n++] = value;
    }
}

static bool only(struct sn_piece w, const char *of)
{
    for (size_t i = 0; i < w.n; i++)
        if (w.s[i] == '\0' || strchr(of, w.s[i]) == NULL)
            return false;
    return w.n > 0;
}

#define HEX_DIGITS "0123456789abcdefABCDEF"

static bool range(struct sn_piece *x, struct sn_mapping *m)
{
    sn_piece_blanks(x);
    sn_piece_eat(x, "0x");
    if (!sn_piece_hex(x, &m->start))
        return false;
    if (!sn_piece_eat(x, "-"))
        sn_piece_blanks(x);
    sn_piece_blanks(x);
    sn_piece_eat(x, "0x");
    if (!sn_piece_hex(x, &m->limit))
        return false;
    sn_piece_eat(x, ":");
    return x->n == 0 || *x->s == ' ' || *x->s == '\t';
}

/* "offset device inode file", as the kernel has it. */
static bool kernels(struct sn_build *b, struct sn_piece x, struct sn_mapping *m)
{
    struct sn_piece offset = sn_piece_word(&x), device = sn_piece_word(&x);
    struct sn_piece inode = sn_piece_word(&x), file = sn_piece_word(&x);
    if (!only(offset, HEX_DIGITS) || !only(device, HEX_DIGITS ":") ||
        memchr(device.s, ':', device.n) == NULL || !only(inode, "0123456789"))
        return false;
    m->file = sn_build_str(b, file.s, file.n);
    return sn_piece_hex(&offset, &m->offset);
}

/* "file (@offset) build-id", each of which may be absent. */
static void brief(struct sn_build *b, struct sn_piece x, struct sn_mapping *m)
{
    struct sn_piece rest = x, w = sn_piece_word(&rest);
    if (w.n > 0 && !sn_begins(w.s, w.n, "(@")) {
        m->file = sn_build_str(b, w.s, w.n);
        w = sn_piece_word(&rest);
    }
    if (sn_piece_eat(&w, "(@")) {
        if (!sn_piece_hex(&w, &m->offset))
            m->offset = 0;
        w = sn_piece_word(&rest);
    }
    if (only(w, HEX_DIGITS))
        m->build_id = sn_build_str(b, w.s, w.n);
}

enum line { IS_MAPPING, IS_DATA, IS_OTHER };

static enum line mapping_line(struct sn_build *b, struct sn_piece x, struct sn_mapping *m)
{
    if (!range(&x, m))
        return IS_OTHER;
    struct sn_piece rest = x, w = sn_piece_word(&rest);
    if (only(w, "-rwxp") || sn_piece_is(w, "r-xs")) {
        if (memchr(w.s, 'x', w.n) == NULL)
            return IS_DATA;
        x = rest;
    }
    if (!kernels(b, x, m))
        brief(b, x, m);
    return m->start <= m->limit ? IS_MAPPING : IS_DATA;
}

/* Two halves of what was one mapping? */
static bool continues(const struct sn_mapping *a, const struct sn_mapping *m)
{
    return (a->file == 0 || m->file == 0 || a->file == m->file) &&
           (a->build_id == 0 || m->build_id == 0 || a->build_id == m->build_id) &&
           a->limit == m->start &&
           (a->offset == 0 || m->offset == 0 ||
            a->offset + (a->limit - a->start) == m->offset);
}

static bool add_mapping(struct sn_build *b, const struct sn_mapping *m)
{
    struct sn_profile *p = b->p;
    struct sn_mapping *last = p->n_mappings > 0 ? &p->mappings[p->n_mappings - 1] : NULL;
    if (last != NULL && continues(last, m)) {
        last->limit = m->limit;
        last->file = m->file != 0 ? m->file : last->file;
        last->build_id = m->build_id != 0 ? m->build_id : last->build_id;
        return true;
    }
    last = SN_PUSH(p->arena, p->mappings, p->n_mappings, p->cap_mappings);
    if (last != NULL)
        *last = *m;
    return last != NULL;
}

/* "x.so", or "x.so.1" or "x.so_1" at the end of the name. */
static bool is_library(const char *file)
{
    for (const char *so = file; (so = strstr(so, ".so")) != NULL; so += 3) {
        const char *rest = so + 3;
        if (*rest == '\0')
            return true;
        if ((*rest == '.' || *rest == '_') && rest[1] != '\0' &&
            rest[1 + strspn(rest + 1, "0123456789")] == '\0')
            return true;
    }
    return false;
}

/* What looks like the program comes first. */
static void program_first(struct sn_profile *p)
{
    for (uint32_t i = 0; i < p->n_mappings; i++) {
        const char *file = sn_profile_str(p, p->mappings[i].file);
        if (*file == '\0' || *file == '[' || is_library(file) ||
            strcmp(file, "(deleted)") == 0)
            continue;
        struct sn_mapping m = p->mappings[0];
        p->mappings[0] = p->mappings[i];
        p->mappings[i] = m;
        return;
    }
}

static void fix_first(struct sn_profile *p)
{
    if (p->n_mappings > 1 &&
        strncmp(sn_profile_str(p, p->mappings[0].file), "/anon_hugepage", 14) == 0 &&
        p->mappings[0].limit == p->mappings[1].start) {
        p->n_mappings--;
        memmove(p->mappings, p->mappings + 1, p->n_mappings * sizeof *p->mappings);
    }
    if (p->n_mappings > 0 && p->mappings[0].start - p->mappings[0].offset == 0x400000) {
        p->mappings[0].start = 0x400000;
        p->mappings[0].offset = 0;
    }
}

/* Which mapping an address is in. While they do not overlap, which is nearly always, by
 * halving; else the first that has it, as pprof does, within a bound of steps. */
struct finder {
    struct sn_profile *p;
    uint32_t *order; /* by start; NULL: they overlap */
    uint64_t steps;
    uint32_t fake; /* what holds all that is nowhere else */
};

#define MAX_STEPS (UINT64_C(1) << 32)

static int by_start(const void *a, const void *b, void *mappings)
{
    const struct sn_mapping *m = mappings, *x = &m[*(const uint32_t *)a],
                            *y = &m[*(const uint32_t *)b];
    return (x->start > y->start) - (x->start < y->start);
}

static bool find_order(struct finder *f)
{
    struct sn_profile *p = f->p;
    f->order = sn_arena_alloc(p->arena, ((size_t)p->n_mappings + 1) * sizeof *f->order);
    if (f->order == NULL)
        return false;
    for (uint32_t i = 0; i < p->n_mappings; i++)
        f->order[i] = i;
    qsort_r(f->order, p->n_mappings, sizeof *f->order, by_start, p->mappings);
    for (uint32_t i = 1; f->order != NULL && i < p->n_mappings; i++)
        if (p->mappings[f->order[i - 1]].limit > p->mappings[f->order[i]].start)
            f->order = NULL;
    return true;
}

static uint32_t ordered(const struct finder *f, uint32_t n, uint64_t a)
{
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (f->p->mappings[f->order[middle]].limit <= a)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && f->p->mappings[f->order[low]].start <= a ? f->order[low] : SN_NONE;
}

static uint32_t mapping_of(struct finder *f, uint32_t n, uint64_t a)
{
    struct sn_profile *p = f->p;
    uint32_t found = f->order != NULL ? ordered(f, n, a) : SN_NONE;
    if (found != SN_NONE)
        return found;
    f->steps += 2 * (uint64_t)n;
    for (uint32_t i = 0; f->order == NULL && i < n; i++)
        if (p->mappings[i].start <= a && a < p->mappings[i].limit)
            return i;
    if (f->fake != SN_NONE)
        return f->fake;
    for (uint32_t i = 0; i < n; i++) {
        struct sn_mapping *m = &p->mappings[i];
        if (m->offset != 0 && m->start >= m->offset && m->start - m->offset <= a &&
            a < m->start) { /* its first part was not told */
            m->start -= m->offset;
            m->offset = 0;
            f->order = NULL;
            return i;
        }
    }
    return SN_NONE;
}

static bool add_fake(struct finder *f)
{
    struct sn_profile *p = f->p;
    struct sn_mapping *m = SN_PUSH(p->arena, p->mappings, p->n_mappings, p->cap_mappings);
    if (m == NULL)
        return false;
    m->limit = UINT64_MAX;
    f->fake = p->n_mappings - 1;
    return true;
}

bool sn_build_find_mappings(struct sn_build *b)
{
    struct sn_profile *p = b->p;
    struct finder f = {.p = p, .fake = SN_NONE};
    fix_first(p);
    uint32_t n = p->n_mappings;
    if (!find_order(&f))
        return false;
    for (uint32_t i = 0; i < p->n_locations; i++) {
        struct sn_location *l = &p->locations[i];
        if (l->address == 0)
            continue;
        uint32_t found = mapping_of(&f, n, l->address);
        if (f.steps > MAX_STEPS)
            return sn_fail(b->e, b->where, -1, "its mappings overlap too much");
        if (found == SN_NONE && !add_fake(&f))
            return false;
        l->mapping = found != SN_NONE ? found : f.fake;
    }
    return true;
}

bool sn_build_maps(struct sn_build *b, struct sn_lines *l)
{
    struct names names = {.n = 0};
    while (sn_lines_next(l)) {
        struct sn_buf text = {.arena = b->p->arena};
        struct sn_mapping m = {0};
        struct sn_piece x = without_log((struct sn_piece){l->line, l->n});
        if (names.n > 0) {
            put_in_names(&text, x, &names);
            x = (struct sn_piece){text.data != NULL ? text.data : "", text.len};
        }
        enum line kind = mapping_line(b, x, &m);
        if (kind == IS_OTHER)
            learn_name(b, x, &names);
        if (text.failed || (kind == IS_MAPPING && !add_mapping(b, &m)))
            return false;
    }
    program_first(b->p);
    return sn_build_renumber(b) && sn_build_find_mappings(b);
}

bool sn_build_skip_to_maps(struct sn_build *b, struct sn_lines *l)
{
    while (!sn_is_maps_head(l) && sn_lines_next(l))
        continue;
    return sn_build_maps(b, l);
}
