/*
 * java.c: the text heap and contention profiles of Java, and the names that its CPU
 * profile ends with:
 *
 *     --- heapz 1 ---                     (or --- contentionz 1 ---)
 *     format = java
 *     resolution = bytes
 *     7048 1 @ 0x00000003 0x00000004     bytes, objects, stack
 *     0x00000003 com.example.f (File.java:12)
 */
#include "readers_priv.h"

#define RATE 524288 /* of the heap's sampling: it is not told */

static bool is_heap(const struct sn_lines *l)
{
    return sn_lines_begin(l, "--- heapz 1 ---");
}

bool sn_is_java(const unsigned char *data, size_t len)
{
    struct sn_lines l;
    sn_lines_open(&l, data, len < 4096 ? len : 4096);
    if (!sn_lines_next(&l) ||
        !(is_heap(&l) || sn_lines_begin(&l, "--- contentionz 1 ---")))
        return false;
    while (sn_lines_next(&l) && memchr(l.line, '=', l.n) != NULL)
        if (sn_lines_begin(&l, "format"))
            return sn_lines_have(&l, "java");
    return false;
}

/* "com.example.f (File.java:12)", "f (/lib/x.so)", "GC": name, file, line. */
static void split_name(struct sn_piece x, struct sn_piece *name, struct sn_piece *file,
                       int64_t *line)
{
    const char *open = x.n > 1 && x.s[x.n - 1] == ')' ? memrchr(x.s, '(', x.n) : NULL;
    *name = x;
    *file = (struct sn_piece){"", 0};
    *line = 0;
    if (open == NULL || open == x.s || open[-1] != ' ') {
        if (memmem(x.s, x.n, "generated stub/JIT", 18) != NULL)
            *name = (struct sn_piece){"STUB", 4};
        return;
    }
    name->n = (size_t)(open - x.s);
    while (name->n > 0 && name->s[name->n - 1] == ' ')
        name->n--;
    *file = (struct sn_piece){open + 1, (size_t)(x.s + x.n - open) - 2};
    const char *colon = memrchr(file->s, ':', file->n);
    struct sn_piece number = {"", 0};
    if (colon != NULL && colon > file->s)
        number = (struct sn_piece){colon + 1, (size_t)(file->s + file->n - colon) - 1};
    if (sn_piece_number(&number, line, true) && number.n == 0) {
        file->n = (size_t)(colon - file->s);
        *line = *line > 0 ? *line : 0;
        return;
    }
    *line = 0;
    const char *slash = memrchr(file->s, '/', file->n);
    if (slash != NULL)
        *file = (struct sn_piece){slash + 1, (size_t)(file->s + file->n - slash) - 1};
}

static bool name_location(struct sn_build *b, struct sn_map *functions, struct sn_piece x)
{
    uint64_t address;
    struct sn_piece name, file;
    int64_t line;
    struct sn_profile *p = b->p;
    if (!sn_piece_eat(&x, "0x") || !sn_piece_hex(&x, &address))
        return true;
    sn_piece_blanks(&x);
    uint32_t at = sn_map_get(b->by_address, address);
    if (at == SN_NONE || p->locations[at].n_lines > 0 || x.n == 0)
        return true;
    split_name(x, &name, &file, &line);
    uint32_t id = sn_build_str(b, name.s, name.n);
    uint32_t *f = sn_map_put(functions, id);
    if (f != NULL && *f == SN_NONE)
        *f = sn_build_function(b, id, sn_build_str(b, file.s, file.n));
    struct sn_line *l = SN_PUSH(p->arena, p->lines, p->n_lines, p->cap_lines);
    if (f == NULL || l == NULL)
        return false;
    *l = (struct sn_line){.function = *f, .line = line};
    p->locations[at].line0 = p->n_lines - 1;
    p->locations[at].n_lines = 1;
    p->locations[at].address = 0; /* of no use in another run */
    return true;
}

bool sn_build_java_names(struct sn_build *b, struct sn_lines *l)
{
    struct sn_map *functions = sn_map_new(b->p->arena); /* by name */
    bool good = functions != NULL;
    for (bool more = true; good && more; more = sn_lines_next(l))
        good = name_location(b, functions, (struct sn_piece){l->line, l->n});
    if (!good || !sn_build_renumber(b) || !sn_build_find_mappings(b))
        return false;
    for (uint32_t i = 0; i < b->p->n_locations; i++)
        b->p->locations[i].address = 0;
    return true;
}

static bool read_settings(struct sn_build *b, struct sn_lines *l, bool heap)
{
    const char *unit = NULL;
    for (const char *eq; sn_lines_next(l);) {
        if (l->n == 0)
            continue;
        if ((eq = memchr(l->line, '=', l->n)) == NULL)
            break;
        struct sn_piece value = {eq + 1, l->n - (size_t)(eq - l->line) - 1};
        int64_t n;
        sn_piece_blanks(&value);
        if (sn_lines_begin(l, "resolution")) {
            unit = sn_arena_strndup(b->p->arena, value.s, value.n);
        } else if (!heap && sn_lines_begin(l, "sampling period") &&
                   sn_piece_number(&value, &n, true)) {
            sn_build_period(b, "contentions", "count", n);
        } else if (!heap && sn_lines_begin(l, "ms since reset") &&
                   sn_piece_number(&value, &n, true)) {
            b->p->duration_ns = (int64_t)((uint64_t)n * 1000000);
        } else if (!sn_lines_begin(l, "format")) {
            return sn_build_fail(b, l->at, "a setting that profiles of Java do not have");
        }
    }
    if (unit == NULL)
        return sn_build_fail(b, l->at, "it does not tell its resolution");
    sn_build_type(b, heap ? "inuse_objects" : "contentions", "count");
    sn_build_type(b, heap ? "inuse_space" : "delay", unit);
    return true;
}

/* False: no sample, or an error, which *e then holds. */
static bool read_sample(struct sn_build *b, const struct sn_lines *l, bool heap)
{
    struct sn_piece x = {l->line, l->n};
    int64_t v[2], bytes = 0, period = b->p->period;
    bool good = sn_piece_number(&x, &v[1], false);
    sn_piece_blanks(&x);
    good = good && sn_piece_number(&x, &v[0], false);
    sn_piece_blanks(&x);
    if (!good || !sn_piece_eat(&x, "@"))
        return false;
    if (heap && v[0] == 0)
        return sn_build_fail(b, l->at, "it has bytes, but of no objects");
    if (heap) {
        bytes = v[1] / v[0];
        sn_unsample(&v[0], &v[1], RATE);
    } else if (period != 0) {
        v[0] = (int64_t)((uint64_t)v[0] * (uint64_t)period);
        v[1] = (int64_t)((uint64_t)v[1] * (uint64_t)period);
    }
    return sn_build_sample(b, v) && sn_build_addresses(b, l, x, SN_NONE) &&
           (!heap || sn_build_bytes(b, bytes));
}

bool sn_read_java(struct sn_build *b, struct sn_lines *l)
{
    sn_lines_next(l);
    bool heap = is_heap(l);
    if (!read_settings(b, l, heap))
        return false;
    while (l->n > 0 && read_sample(b, l, heap))
        do {
            if (!sn_lines_next(l))
                break;
        } while (l->n == 0);
    return b->e->what[0] == '\0' && sn_build_java_names(b, l);
}
