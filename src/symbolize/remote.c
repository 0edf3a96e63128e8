/*
 * remote.c: names from the server that a profile came from. A POST of addresses with '+'
 * between them is answered by lines in which an address and a name stand behind each
 * other; whatever else a line or the answer has is passed over.
 *
 * The addresses are those of the server's process: a merge may have moved ours. Nothing
 * in an answer is believed: only an address that was asked for gets a name, the last one
 * given for it.
 *
 * Protocol: https://gperftools.github.io/gperftools/pprof_remote_servers.html, as
 * github.com/google/pprof (internal/symbolz) speaks it.
 */
#include "symbolize/symbolize_priv.h"

#include <inttypes.h>

/* ---- where it answers -----------------------------------------------------------------
 */

/* Go's profiles are below /debug/pprof/, those of gperftools have these names. */
static bool has_symbol(const char *path, size_t n)
{
    static const char *const ends[] = {"/pprof/heap", "/pprof/growth", "/pprof/profile",
                                       "/pprof/pmuprofile", "/pprof/contention"};
    static const char go[] = "/debug/pprof/";
    bool good = memmem(path, n, go, sizeof go - 1) != NULL;
    for (size_t i = 0; i < SN_COUNT(ends); i++) {
        size_t end = strlen(ends[i]);
        good |= n >= end && memcmp(path + n - end, ends[i], end) == 0;
    }
    return good;
}

/* Drop the last "/part". */
static void go_up(struct sn_buf *b, size_t from)
{
    while (b->len > from && b->data[--b->len] != '/')
        continue;
}

/* A path without "//", "." and "..". */
static void add_clean(struct sn_buf *b, const char *path, size_t n)
{
    size_t from = b->len;
    for (const char *end = path + n; path < end && !b->failed;) {
        const char *slash = memchr(path, '/', (size_t)(end - path));
        int part = (int)((slash != NULL ? slash : end) - path);
        if (part == 2 && memcmp(path, "..", 2) == 0)
            go_up(b, from);
        else if (part > 0 && !(part == 1 && *path == '.'))
            sn_buf_printf(b, "/%.*s", part, path);
        path += part + (slash != NULL);
    }
}

bool remote_url(const char *source, struct sn_buf *url)
{
    const char *host = source != NULL ? strstr(source, "://") : NULL;
    if (host == NULL || strcspn(host + 3, "/?#") == 0)
        return false;
    const char *path = host + 3 + strcspn(host + 3, "/?#");
    size_t n = strcspn(path, "?#");
    sn_buf_add(url, source, (size_t)(path - source));
    size_t from = url->len;
    add_clean(url, path, n);
    go_up(url, from);
    sn_buf_puts(url, has_symbol(path, n) ? "/symbol" : "/symbolz");
    return !url->failed;
}

/* ---- the question ---------------------------------------------------------------------
 */

bool remote_can_ask(const struct symbolizer *s, const struct sn_mapping *m)
{
    return s->o->ask != NULL && !s->server_failed && m->source != NULL &&
           (s->o->force || !m->has_functions);
}

struct remote {
    struct symbolizer *s;
    const struct sn_mapping *m;
    const uint32_t *v; /* locations, ascending */
    uint32_t n;
    uint32_t *names; /* of each: the answer, a string id; 0: none */
};

static bool is_wanted(const struct remote *r, uint32_t i)
{
    const struct sn_location *l = &r->s->p->locations[r->v[i]];
    return l->address != 0 && l->n_lines == 0;
}

/* Between our addresses and the server's. False: there is no such address. */
static bool move(uint64_t address, uint64_t from, uint64_t to, uint64_t *moved)
{
    return to >= from ? !__builtin_add_overflow(address, to - from, moved)
                      : !__builtin_sub_overflow(address, from - to, moved);
}

/* Each address once; *count of them. */
static bool put_question(const struct remote *r, struct sn_buf *b, uint32_t *count,
                         struct sn_error *e)
{
    uint64_t before = 0, address;
    for (uint32_t i = 0; i < r->n; i++) {
        uint64_t own = r->s->p->locations[r->v[i]].address;
        if (!is_wanted(r, i) || own == before)
            continue;
        before = own;
        if (!move(own, r->m->start, r->m->source_start, &address))
            return sn_fail(e, r->s->module, -1,
                           "address 0x%" PRIx64 " cannot be one of the server's", own);
        sn_buf_printf(b, "%s0x%" PRIx64, (*count)++ > 0 ? "+" : "", address);
    }
    return true;
}

/* ---- the answer -----------------------------------------------------------------------
 */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\f' || c == '\r';
}

static int digit(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* "0x", digits, blanks: where they end. NULL: it is none. *large: of more than 64 bits.
 */
static const char *read_address(const char *c, const char *end, uint64_t *address,
                                bool *large)
{
    const char *first = c + 2, *behind;
    *address = 0;
    *large = false;
    if (end - c < 4 || c[0] != '0' || c[1] != 'x')
        return NULL;
    for (c = first; c < end && digit(*c) >= 0; c++) {
        *large |= *address >> 60 != 0;
        *address = *address << 4 | (uint64_t)digit(*c);
    }
    for (behind = c; behind < end && is_blank(*behind); behind++)
        continue;
    return c > first && behind > c ? behind : NULL;
}

/* The first of those that have the address, or would. */
static uint32_t find(const struct remote *r, uint64_t address)
{
    uint32_t low = 0, high = r->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (r->s->p->locations[r->v[middle]].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void take_name(struct remote *r, uint64_t address, const char *name, size_t n)
{
    struct sn_profile *p = r->s->p;
    uint64_t own;
    uint32_t id = 0;
    while (n > 0 && name[n - 1] == '\r')
        n--;
    if (n == 0 || !move(address, r->m->source_start, r->m->start, &own))
        return;
    for (uint32_t i = find(r, own); i < r->n && p->locations[r->v[i]].address == own; i++)
        if (is_wanted(r, i))
            r->names[i] = id = id != 0 ? id : sn_strtab_addn(p->strings, name, n);
}

/* One line: the first address in it that blanks follow, and the rest. */
static bool read_line(struct remote *r, const char *line, size_t n)
{
    uint64_t address;
    bool large;
    for (const char *c = line, *end = line + n;
         (c = memmem(c, (size_t)(end - c), "0x", 2)) != NULL; c++) {
        const char *name = read_address(c, end, &address, &large);
        if (name == NULL)
            continue;
        if (!large)
            take_name(r, address, name, (size_t)(end - name));
        return !large;
    }
    return true;
}

static bool read_answer(struct remote *r, const struct sn_buf *answer, struct sn_error *e)
{
    for (size_t at = 0, n; at < answer->len; at += n + 1) {
        const char *line = answer->data + at;
        const char *end = memchr(line, '\n', answer->len - at);
        n = end != NULL ? (size_t)(end - line) : answer->len - at;
        if (!read_line(r, line, n))
            return sn_fail(e, r->s->module, (int64_t)at,
                           "the server answers an address of more than 64 bits");
    }
    return true;
}

static bool put_names(struct remote *r, uint32_t *named, struct sn_error *e)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->names[i] == 0)
            continue;
        if (!symbolizer_name(r->s, &r->s->p->locations[r->v[i]], r->names[i]))
            return sn_fail(e, NULL, -1, "out of memory");
        ++*named;
    }
    return true;
}

static bool ask(struct remote *r, struct sn_arena *scratch, uint32_t *named,
                struct sn_error *e)
{
    const struct sn_symbolize_options *o = r->s->o;
    struct sn_buf question = {.arena = scratch}, answer = {.arena = scratch},
                  url = {.arena = scratch};
    uint32_t count = 0;
    r->names = sn_arena_alloc(scratch, ((size_t)r->n + 1) * sizeof *r->names);
    if (!put_question(r, &question, &count, e))
        return false;
    if (!remote_url(r->m->source, &url) || count == 0)
        return !url.failed;
    return !sn_arena_failed(scratch) &&
           o->ask(o->ask_arg, r->s->module, url.data, &question, &answer, e) &&
           read_answer(r, &answer, e) && put_names(r, named, e);
}

bool remote_name(struct symbolizer *s, struct sn_mapping *m, const uint32_t *v,
                 uint32_t n, uint32_t *named, struct sn_error *e)
{
    struct remote r = {.s = s, .m = m, .v = v, .n = n};
    struct sn_arena *scratch = sn_arena_new();
    bool good = scratch != NULL && ask(&r, scratch, named, e);
    sn_arena_free(scratch);
    if (good)
        m->has_functions = true; /* whatever it did not know, as pprof */
    return good || sn_fail(e, NULL, -1, "out of memory");
}
