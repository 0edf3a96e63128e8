/*
 * trace_alloc.c: lines of allocfreetrace, and of pointers that are none.
 *
 *     tracealloc(0xc000026000, 0x2500, runtime.p)
 *     goroutine 1 [running]:
 *     runtime.mallocgc(0x22d0, 0x496d80, 0x1)
 *     	/usr/lib/go/src/runtime/malloc.go:1131 +0x7b1 fp=0x7ffd sp=0x7ffd pc=0x40bcd1
 *     main.main()
 *     	/home/me/main.go:10 +0x40
 *     (an empty line)
 *     tracefree(0xc000026000, 0x2500)
 *     tracefree(0xc000026000, 0x2500) @0.5s thread=7 gc late since=0.4s
 *
 * A site is the innermost function that is no allocator's, with its file and line, and
 * the type. A stack ends with an empty line, or with a line that cannot be its. What a
 * block was allocated by is remembered until it is freed, for a bounded number of blocks.
 */
#include "trace_priv.h"

#include <stdio.h>

/* Functions that only hand on what somebody else asked for. */
static bool is_malloc(struct sn_scan name)
{
    static const char *const names[] = {
        "malloc",   "calloc",         "realloc",   "reallocarray",     "aligned_alloc",
        "memalign", "posix_memalign", "free",      "operator new",     "operator delete",
        "strdup",   "strndup",        "GC_malloc", "GC_malloc_atomic", "__libc_malloc"};
    for (size_t i = 0; i < SN_COUNT(names); i++)
        if (sn_scan_is(name, names[i]))
            return true;
    return false;
}

static bool is_allocator(struct sn_scan name)
{
    return is_malloc(name) || sn_scan_literal(&name, "runtime.");
}

/* ---- sites ----------------------------------------------------------------------------
 */

static struct sn_trace_site *site_of(struct sn_trace *t, const char *name)
{
    uint64_t key = sn_hash_bytes(name, strlen(name));
    uint32_t at = sn_map_get(t->reader->sites, key);
    if (at != SN_NONE)
        return &t->sites[at];
    if (t->n_sites >= t->limits.sites) {
        t->lost_sites++;
        return NULL;
    }
    uint32_t *to = sn_map_put(t->reader->sites, key);
    struct sn_trace_site *s =
        to != NULL ? SN_PUSH(t->arena, t->sites, t->n_sites, t->cap_sites) : NULL;
    if (s == NULL)
        return NULL;
    *to = t->n_sites - 1;
    *s = (struct sn_trace_site){
        .name = sn_trace_name(t, (struct sn_scan){name, name + strlen(name)})};
    return s;
}

static void remember(struct sn_trace *t, uint64_t address, uint64_t size, uint32_t site)
{
    struct sn_trace_reader *r = t->reader;
    uint32_t at = sn_map_get(r->blocks, address);
    if (at == SN_NONE && r->n_live >= t->limits.blocks) {
        t->lost_blocks++;
        return;
    }
    if (at == SN_NONE) {
        uint32_t *to = sn_map_put(r->blocks, address);
        struct sn_live *l =
            to != NULL ? SN_PUSH(t->arena, r->live, r->n_live, r->cap_live) : NULL;
        if (l == NULL)
            return;
        *to = at = r->n_live - 1;
    }
    r->live[at] = (struct sn_live){size, site};
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > INT64_MAX / 2 - (b < INT64_MAX / 4 ? b : INT64_MAX / 4)
               ? INT64_MAX / 2
               : a + (b < INT64_MAX / 4 ? b : INT64_MAX / 4);
}

/* "function file:line" and the type, of what is known. */
static void name_site(const struct sn_trace_reader *r, char *name, size_t size)
{
    const char *type = r->type,
               *function = r->function[0] != '\0' ? r->function : r->outer;
    if (strcmp(type, function) == 0) /* ours, which knows no types */
        type = "";
    const char *file =
        strrchr(r->where, '/') != NULL ? strrchr(r->where, '/') + 1 : r->where;
    snprintf(name, size, "%s%s%s%s%s%s", *function != '\0' ? function : "",
             *function != '\0' && *file != '\0' ? " " : "", file,
             (*function != '\0' || *file != '\0') && *type != '\0' ? "  " : "", type,
             *function == '\0' && *file == '\0' && *type == '\0' ? "(no stack)" : "");
}

void sn_trace_end_stack(struct sn_trace *t)
{
    struct sn_trace_reader *r = t->reader;
    char name[4 * SN_TRACE_NAME_MAX];
    r->in_stack = r->frame = false;
    if (!r->pending)
        return;
    r->pending = false;
    struct sn_scan type = {r->type, r->type + strlen(r->type)};
    if (is_malloc(type)) /* ours says a function where it knows no type */
        r->type[0] = '\0';
    name_site(r, name, sizeof name);
    struct sn_trace_site *s = site_of(t, name);
    if (s == NULL)
        return;
    s->allocs++;
    s->bytes = plus(s->bytes, r->size);
    remember(t, r->address, r->size, (uint32_t)(s - t->sites));
}

/* ---- lines ----------------------------------------------------------------------------
 */

/* "gc late since=0.4s": seen by a collection; "gc unused since=0.4s": that was in error.
 */
static void read_lateness(struct sn_trace *t, struct sn_scan s)
{
    double number;
    if (sn_scan_literal(&s, "s thread=") && sn_scan_number(&s, &number))
        t->late += sn_scan_literal(&s, " gc late since=") ||
                   sn_scan_literal(&s, " gc unused since=");
}

/* "(0xc20800e000, 0x1000, type)"; ours goes on " @0.000164s thread=4711". */
static bool read_arguments(struct sn_trace *t, struct sn_scan s)
{
    struct sn_trace_reader *r = t->reader;
    struct sn_scan inside;
    double seconds;
    r->type[0] = r->function[0] = r->outer[0] = r->where[0] = '\0';
    if (!sn_scan_group(&s, &inside) || !sn_scan_hex(&inside, &r->address) ||
        !sn_scan_literal(&inside, ", "))
        return false;
    if (!sn_scan_hex(&inside, &r->size)) {
        int64_t size;
        if (!sn_scan_integer(&inside, &size) || size < 0)
            return false;
        r->size = (uint64_t)size;
    }
    if (sn_scan_literal(&inside, ", "))
        sn_scan_copy(inside, r->type, sizeof r->type);
    if (sn_scan_literal(&s, " @") && sn_scan_number(&s, &seconds) && seconds >= 0) {
        sn_trace_said(t, sn_clamp(seconds * 1e9, 1e18), &r->alloc_ns);
        read_lateness(t, s);
    }
    return true;
}

bool sn_trace_parse_alloc(struct sn_trace *t, struct sn_scan s)
{
    struct sn_trace_reader *r = t->reader;
    if (!sn_scan_literal(&s, "tracealloc") || !read_arguments(t, s))
        return false;
    sn_trace_event(t, sn_trace_when(t));
    t->allocs++;
    t->bytes = plus(t->bytes, r->size);
    r->in_stack = r->pending = true;
    r->frame = false;
    return true;
}

bool sn_trace_parse_free(struct sn_trace *t, struct sn_scan s)
{
    struct sn_trace_reader *r = t->reader;
    if (!sn_scan_literal(&s, "tracefree") || !read_arguments(t, s))
        return false;
    sn_trace_event(t, sn_trace_when(t));
    t->frees++;
    t->freed_bytes = plus(t->freed_bytes, r->size);
    r->in_stack = true;
    r->frame = false;
    uint32_t at = sn_map_get(r->blocks, r->address);
    if (at == SN_NONE || r->live[at].site == SN_NONE) {
        t->unknown_frees++;
        return true;
    }
    struct sn_trace_site *site = &t->sites[r->live[at].site];
    site->frees++;
    site->freed_bytes = plus(site->freed_bytes, r->live[at].size);
    r->live[at].site = SN_NONE;
    return true;
}

/* Of a runtime's functions: those that every allocation passes. */
static bool hands_on(struct sn_scan name)
{
    static const char *const begins[] = {"runtime.malloc", "runtime.new", "runtime.make",
                                         "runtime.grow"};
    for (size_t i = 0; i < SN_COUNT(begins); i++)
        if (sn_scan_literal(&name, begins[i]))
            return true;
    return !sn_scan_literal(&name, "runtime.");
}

/* "main.f(0x1, ...)", "f(...)", "f+0x1d", "f": its name. A method is main.(*T).f(...). */
static struct sn_scan function_name(struct sn_scan s)
{
    const char *p = s.end;
    if (p > s.p && p[-1] == ')') { /* to the bracket that opens the last group */
        int depth = 0;
        while (p > s.p) {
            p--;
            depth += *p == ')';
            depth -= *p == '(';
            if (depth == 0)
                break;
        }
    }
    if (p > s.p)
        s.end = p;
    return s;
}

/* Is it the head of a Go stack, which says whose it is, or its end, which was cut? */
static bool is_stack_head(struct sn_scan s)
{
    if (sn_scan_literal(&s, "...additional frames elided..."))
        return true;
    return sn_scan_literal(&s, "goroutine ") && s.end > s.p && s.end[-1] == ':';
}

/* "\t/path/file.go:12 +0x1d fp=..." or "    at file.c:12" or "#1 0x40bcd1 in f file.c:12"
 */
bool sn_trace_parse_stack(struct sn_trace *t, struct sn_scan s)
{
    struct sn_trace_reader *r = t->reader;
    struct sn_scan word;
    uint64_t address;
    double number;
    bool indented = s.p < s.end && (*s.p == '\t' || *s.p == ' ');
    if (r->of_thread) { /* where it stands: nothing that is summed up */
        word = s;
        if (sn_scan_literal(&word, "    #") || sn_scan_literal(&word, "    ("))
            return true;
    }
    if (!r->in_stack)
        return false;
    if (s.p == s.end) { /* ends it, and is its */
        sn_trace_end_stack(t);
        r->in_stack = r->in_stacks; /* the next one may follow */
        return true;
    }
    if (is_stack_head(s))
        return true;
    sn_scan_spaces(&s);
    if (indented && r->frame) { /* the place of the function before it */
        r->frame = false;
        word = (struct sn_scan){s.p, memchr(s.p, ' ', (size_t)(s.end - s.p))};
        word.end = word.end != NULL ? word.end : s.end;
        if (r->pending && r->where[0] == '\0' && r->function[0] != '\0')
            sn_scan_copy(word, r->where, sizeof r->where);
        return true;
    }
    bool numbered = sn_scan_literal(&s, "#") && sn_scan_number(&s, &number);
    if (numbered) {
        sn_scan_spaces(&s);
        if (sn_scan_hex(&s, &address) && !sn_scan_literal(&s, " in "))
            sn_scan_spaces(&s);
    }
    bool looks = numbered || indented || sn_scan_literal(&s, "created by ") ||
                 (s.end > s.p && s.end[-1] == ')');
    if (!looks)
        return false;
    r->frame = true;
    word = numbered || indented ? s : function_name(s);
    if (r->pending && r->function[0] == '\0' && !is_allocator(word))
        sn_scan_copy(word, r->function, sizeof r->function);
    else if (r->pending && r->outer[0] == '\0' && !hands_on(word))
        sn_scan_copy(word, r->outer, sizeof r->outer);
    return true;
}

bool sn_trace_parse_pointer(struct sn_trace *t, struct sn_scan s)
{
    static const char *const begins[] = {
        "runtime: garbage collector found invalid heap pointer",
        "runtime: found bad pointer in Go heap",
        "runtime: pointer 0x",
        "runtime: invalid pointer",
        "runtime: and more invalid heap pointers",
        "fatal error: found bad pointer in Go heap",
        "runtime: bad pointer in frame",
        "efence: overrun",
        "efence: underrun",
        "efence: use after free",
        "efence: double free",
        "efence: bad free",
        "efence: wild access"};
    for (size_t i = 0; i < SN_COUNT(begins); i++) {
        struct sn_scan at = s;
        if (!sn_scan_literal(&at, begins[i]))
            continue;
        if (t->pointer[0] == '\0')
            sn_scan_copy(s, t->pointer, sizeof t->pointer);
        t->reader->in_stack = true;
        t->reader->frame = false;
        return true;
    }
    return false;
}

bool sn_trace_parse_note(struct sn_trace *t, struct sn_scan s)
{
    static const char *const begins[] = {"pacer: ", "GC forced", "efence: ", "tracegc()",
                                         "end tracegc"};
    for (size_t i = 0; i < SN_COUNT(begins); i++) {
        struct sn_scan at = s;
        if (!sn_scan_literal(&at, begins[i]))
            continue;
        if (i >= 3) { /* an empty line follows its end, too */
            t->reader->in_stack = true;
            t->reader->in_stacks = i == 3;
        }
        return true;
    }
    return false;
}
