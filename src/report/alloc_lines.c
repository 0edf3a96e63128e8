/* alloc_lines.c: events of a trace of allocations as Go prints them, and which of them
 * are wanted. A frame's text is made once, by module and address. */
#include "report/alloctrace.h"

struct frame {
    const char *text;     /* its lines */
    const char *function; /* the innermost, and with its line */
    const char *site;
    const char *type; /* what it seems to allocate; NULL: not asked yet */
};

struct sn_alloc_names {
    const struct sn_alloctrace *t;
    struct sn_arena *arena;
    struct sn_namer *namer;
    bool is_shared;       /* it is somebody else's */
    struct sn_map *by_pc; /* pc and module: index of a frame */
    struct frame *frames;
    uint32_t n_frames, cap_frames;
    struct frame unknown; /* of no stack */
    signed char *matches; /* by stack: does its site match the filter's? -1: not asked */
    uint32_t n_matches, cap_matches;
};

struct sn_alloc_names *sn_alloc_names_new(const struct sn_alloctrace *t,
                                          struct sn_namer *shared)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_alloc_names *n = a != NULL ? sn_arena_alloc(a, sizeof *n) : NULL;
    if (n != NULL) {
        n->t = t;
        n->arena = a;
        n->by_pc = sn_map_new(a);
        n->unknown = (struct frame){"", "(no stack)", "(no stack)", ""};
        n->is_shared = shared != NULL;
        n->namer = n->by_pc == NULL ? NULL
                   : shared != NULL ? shared
                                    : sn_namer_new(SN_DEMANGLE_DEFAULT);
    }
    if (n != NULL && n->namer != NULL)
        return n;
    sn_arena_free(a);
    return NULL;
}

void sn_alloc_names_free(struct sn_alloc_names *n)
{
    if (n == NULL)
        return;
    if (!n->is_shared)
        sn_namer_free(n->namer);
    sn_arena_free(n->arena);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static unsigned long long offset_of(const struct sn_alloc_module *m, uint64_t pc)
{
    return pc - m->start + m->offset;
}

static void put_named(struct sn_buf *out, const struct sn_alloc_module *m,
                      const struct sn_namer_frame *f, uint64_t pc)
{
    if (*f->function != '\0')
        sn_buf_printf(out, "%s(...)\n", f->function);
    else
        sn_buf_printf(out, "0x%llx(...)\n", (unsigned long long)pc);
    if (*f->file != '\0')
        sn_buf_printf(out, "\t%s:%lld pc=0x%llx\n", f->file, (long long)f->line,
                      (unsigned long long)pc);
    else if (m != NULL)
        sn_buf_printf(out, "\t%s+0x%llx pc=0x%llx\n", m->path, offset_of(m, pc),
                      (unsigned long long)pc);
    else
        sn_buf_printf(out, "\t(no file) pc=0x%llx\n", (unsigned long long)pc);
}

static void describe(struct sn_alloc_names *n, const struct sn_alloc_module *m,
                     uint64_t pc, struct frame *to)
{
    struct sn_namer_frame v[SN_NAMER_FRAMES] = {{"", "", 0}};
    struct sn_buf text = {.arena = n->arena};
    size_t count = 0;
    if (m != NULL) {
        struct sn_namer_mapping at = {m->start, m->limit, m->offset, m->path,
                                      m->build_id};
        count = sn_namer_frames(n->namer, &at, pc, v, SN_COUNT(v));
    }
    if (count == 0)
        v[0] = (struct sn_namer_frame){"", "", 0};
    for (size_t i = 0; i < count || i == 0; i++)
        put_named(&text, m, &v[i], pc);
    to->text = text.data;
    if (*v[0].function != '\0')
        to->function = v[0].function;
    else
        to->function = m != NULL
                           ? sn_arena_printf(n->arena, "%s+0x%llx", base_name(m->path),
                                             offset_of(m, pc))
                           : sn_arena_printf(n->arena, "0x%llx", (unsigned long long)pc);
    to->site = *v[0].file != '\0'
                   ? sn_arena_printf(n->arena, "%s %s:%lld", to->function,
                                     base_name(v[0].file), (long long)v[0].line)
                   : to->function;
}

/* NULL: no memory. */
static struct frame *frame_of(struct sn_alloc_names *n, const struct sn_alloc_stack *s,
                              uint32_t i)
{
    uint64_t pc = n->t->pcs[s->pc0 + i];
    const struct sn_alloc_module *m = sn_alloctrace_module(n->t, s, pc);
    uint64_t number = m != NULL ? (uint64_t)(m - n->t->modules) + 1 : 0;
    uint32_t *at = sn_map_put(n->by_pc, pc ^ number << 48);
    if (at == NULL)
        return NULL;
    if (*at == SN_NONE) {
        struct frame *f = SN_PUSH(n->arena, n->frames, n->n_frames, n->cap_frames);
        if (f == NULL)
            return NULL;
        *at = n->n_frames - 1;
        describe(n, m, pc, f);
    }
    return &n->frames[*at];
}

/* C++'s operators only hand on what somebody else asks for. */
static bool hands_on(const char *function)
{
    return strncmp(function, "operator new", 12) == 0 ||
           strncmp(function, "operator delete", 15) == 0;
}

/* Of who allocates: *at is its place in the stack. */
static struct frame *leaf_of(struct sn_alloc_names *n, uint32_t stack, uint32_t *at)
{
    *at = 0;
    if (stack == SN_NONE || n->t->stacks[stack].n_pcs == 0)
        return &n->unknown;
    const struct sn_alloc_stack *s = &n->t->stacks[stack];
    struct frame *f = frame_of(n, s, 0);
    while (f != NULL && f->function != NULL && hands_on(f->function) &&
           *at + 1 < s->n_pcs)
        f = frame_of(n, s, ++*at);
    return f != NULL && f->function != NULL && f->site != NULL ? f : &n->unknown;
}

const char *sn_alloc_function(struct sn_alloc_names *n, uint32_t stack)
{
    uint32_t at;
    return leaf_of(n, stack, &at)->function;
}

const char *sn_alloc_site(struct sn_alloc_names *n, uint32_t stack)
{
    uint32_t at;
    return leaf_of(n, stack, &at)->site;
}

static void put_stack(struct sn_alloc_names *n, uint32_t stack, struct sn_buf *out)
{
    const struct sn_alloc_stack *s = stack != SN_NONE ? &n->t->stacks[stack] : NULL;
    for (uint32_t i = 0; s != NULL && i < s->n_pcs; i++) {
        const struct frame *f = frame_of(n, s, i);
        sn_buf_puts(out, f != NULL && f->text != NULL ? f->text : "");
    }
    if (s != NULL && s->n_pcs == SN_ALLOCTRACE_DEPTH)
        sn_buf_puts(out, "...additional frames elided...\n");
    sn_buf_putc(out, '\n');
}

/* Found out only of who allocates. */
static const char *type_of(struct sn_alloc_names *n, uint32_t stack)
{
    uint32_t k;
    struct frame *f = leaf_of(n, stack, &k);
    if (stack == SN_NONE || f == &n->unknown)
        return "";
    if (f->type != NULL)
        return f->type;
    const struct sn_alloc_stack *s = &n->t->stacks[stack];
    uint64_t pc = n->t->pcs[s->pc0 + k];
    const struct sn_alloc_module *m = sn_alloctrace_module(n->t, s, pc);
    f->type = "";
    if (m != NULL) {
        struct sn_namer_mapping at = {m->start, m->limit, m->offset, m->path,
                                      m->build_id};
        f->type = sn_namer_type(n->namer, &at, pc);
    }
    return f->type;
}

static void put_time(struct sn_buf *out, const char *before, uint64_t ns)
{
    sn_buf_printf(out, "%s%llu.%09llus", before, (unsigned long long)(ns / 1000000000u),
                  (unsigned long long)(ns % 1000000000u));
}

/* Where it was allocated is no type, but says as much as one. */
void sn_alloc_put_event(struct sn_alloc_names *n, const struct sn_alloc_event *x,
                        const char *tail, struct sn_buf *out)
{
    unsigned long long address = x->address, size = x->size;
    if (x->kind == SN_ALLOC_HELD)
        return; /* not of this trace */
    if (sn_alloc_is_free(x)) {
        sn_buf_printf(out, "tracefree(0x%llx, 0x%llx)", address, size);
    } else {
        uint32_t stack = x->kind == SN_ALLOC_RESIZE_KEPT ? x->origin : x->stack;
        const char *type = type_of(n, stack);
        sn_buf_printf(out, "tracealloc(0x%llx, 0x%llx, %s%s%s)", address, size,
                      sn_alloc_function(n, stack), *type != '\0' ? ": " : "", type);
    }
    put_time(out, " @", x->time_ns);
    sn_buf_printf(out, " thread=%u%s", x->tid,
                  x->kind == SN_ALLOC_RESIZE_KEPT ? " realloc failed"
                  : sn_alloc_is_gc(x)             ? " gc"
                                                  : "");
    if (x->late)
        put_time(out, x->unused ? " unused since=" : " late since=", x->since_ns);
    sn_buf_printf(out, "%s\n", tail);
    put_stack(n, x->stack, out);
}

/* ---- what part ------------------------------------------------------------------------
 */

static bool site_matches(struct sn_alloc_names *n, struct sn_regex *rx, uint32_t stack)
{
    if (stack == SN_NONE)
        return false;
    while (n->n_matches <= stack) {
        signed char *m = SN_PUSH(n->arena, n->matches, n->n_matches, n->cap_matches);
        if (m == NULL)
            return false;
        *m = -1;
    }
    if (n->matches[stack] < 0)
        n->matches[stack] = sn_regex_match(rx, sn_alloc_site(n, stack));
    return n->matches[stack] > 0;
}

static bool is_leaked(const struct sn_alloctrace *all, const struct sn_alloc_event *x)
{
    const struct sn_alloc_block *b = sn_alloctrace_block(all, x->address);
    return sn_alloc_is_alloc(x) && b != NULL && b->live && b->slot == x->slot;
}

bool sn_alloc_wanted(const struct sn_alloc_filter *f, struct sn_alloc_names *n,
                     const struct sn_alloctrace *all, const struct sn_alloc_event *x)
{
    return (!f->by_address || x->address == f->address) &&
           (!f->by_size || (x->size >= f->min_size && x->size <= f->max_size)) &&
           (!f->by_heap || sn_alloc_is_gc(x) == f->gc) &&
           (!f->by_lateness || x->late == f->late) &&
           (!f->by_thread || x->tid == f->tid) && x->time_ns >= f->from_ns &&
           (f->to_ns == 0 || x->time_ns <= f->to_ns) &&
           (!f->leaked || is_leaked(all, x)) &&
           (f->site == NULL ||
            site_matches(n, f->site, sn_alloc_is_alloc(x) ? x->stack : x->origin));
}
