/*
 * dw_answer.c: all addresses of a unit answered at once.
 *
 *   functions   one walk over the unit's entries: which functions have an address
 *   lines       the line table run once
 *   calls       for each such function a walk over the calls inlined into it; those that
 *               have none of its addresses are stepped over with all that is in them
 *   names       of the calls on the way from a function to an address, once an origin
 *
 * What is found on the way is in an arena of the unit's, which goes when it is done; the
 * frames are in the worker's.
 */
#include "object/dw.h"

#include <dwarf.h>

#define MAX_ORIGINS 16 /* abstract origins and specifications followed for a name */

struct name { /* what an entry and those it stands for say */
    const char *linkage, *plain;
    uint32_t line;
};

struct inlined { /* a function (the first) or a call inlined into it; in preorder */
    struct dw_entry entry;
    uint32_t end; /* index past the calls inlined into this one */
    uint32_t range0, n_ranges;
    bool named;
    struct name name;
};

struct body {          /* a function that has some of the addresses */
    uint64_t entry;    /* offset of its code in .debug_info */
    uint32_t first, n; /* which: in `order` */
};

struct work {
    struct dw_worker *w;
    const struct dw *d;
    const struct dw_unit *u;
    const struct dw_abbrevs *table;
    struct sn_arena *arena;
    uint64_t fuel;
    bool failed; /* nonsense, or something not known: leave it to elfutils */

    const uint64_t *vaddrs;
    uint32_t n;
    struct dw_row *rows;
    struct dw_files files;

    struct spans spans; /* to bodies */
    struct body *bodies;
    uint32_t n_bodies, cap_bodies;
    uint32_t *body_of, *order; /* an address's body; addresses by body */

    struct sn_map *name_ids; /* from an origin's offset */
    struct name *names;
    uint32_t n_names, cap_names;

    struct inlined *calls; /* of the body at hand */
    uint32_t n_calls, cap_calls;
    struct range *ranges;
    uint32_t n_ranges, cap_ranges;
};

static bool burn(struct work *k, uint64_t cost)
{
    k->fuel -= cost < k->fuel ? cost : k->fuel;
    k->failed |= k->fuel == 0;
    return !k->failed;
}

/* ---- tables of abbreviations
 * -------------------------------------------------------------------
 */

/* NULL: broken. The first is for the unit at hand; others last until one with the same
 * hash is asked for. */
static const struct dw_abbrevs *table_of(struct work *k, const struct dw_unit *u)
{
    uint64_t other = 1 + sn_hash_mix(u->abbrevs) % (DW_TABLES - 1);
    struct dw_abbrevs *t = &k->w->tables[u == k->u ? 0 : other];
    if (t->arena != NULL && dw_abbrevs_fit(t, u))
        return t;
    sn_arena_free(t->arena);
    *t = (struct dw_abbrevs){.arena = sn_arena_new()};
    if (t->arena != NULL)
        dw_abbrevs_begin(t, u);
    if (t->arena != NULL && dw_abbrevs_read(t, 0, &k->fuel) && !sn_arena_failed(t->arena))
        return t;
    sn_arena_free(t->arena);
    *t = (struct dw_abbrevs){0};
    return NULL;
}

/* ---- functions
 * -------------------------------------------------------------------------------
 */

static bool is_hit(const struct work *k, uint64_t lo, uint64_t hi)
{
    uint32_t i = dw_first_from(k->vaddrs, k->n, lo);
    return i < k->n && k->vaddrs[i] < hi;
}

static void add_body(struct work *k, uint64_t offset, const struct dw_entry *e)
{
    struct body *b = NULL;
    struct dw_ranges r = dw_ranges(k->d, k->u, e, &k->fuel);
    while (dw_ranges_next(&r)) {
        if (!is_hit(k, r.lo, r.hi))
            continue;
        if (b == NULL)
            b = SN_PUSH(k->arena, k->bodies, k->n_bodies, k->cap_bodies);
        if (b == NULL)
            return;
        b->entry = offset;
        spans_add(&k->spans, k->arena, r.lo, r.hi, k->n_bodies - 1);
    }
}

/* Functions are mostly entries of the unit or of a namespace. `deep`: also those in types
 * and other functions. */
static void find_bodies(struct work *k, bool deep)
{
    struct dw_cursor c = dw_at(&k->d->section[DW_INFO], k->u->entry, k->u->end);
    struct dw_entry e;
    uint64_t depth = 0;
    do {
        uint64_t offset = (uint64_t)(c.p - k->d->section[DW_INFO].p);
        uint64_t code = dw_uleb(&c);
        const struct dw_abbrev *a = dw_abbrev(k->table, code);
        if (a == NULL) {
            c.bad |= code != 0;
            depth -= depth > 0;
        } else if (a->tag == DW_TAG_subprogram) {
            struct dw_cursor below = c;
            if (dw_entry_read(k->d, k->table, a, &below, &e))
                add_body(k, offset, &e);
            c.bad |= below.bad;
            if (deep) {
                c = below;
                depth += a->children;
            } else
                dw_subtree_skip(k->d, k->u, k->table, a, &c);
        } else if (deep || depth == 0 || a->tag == DW_TAG_namespace ||
                   a->tag == DW_TAG_module) {
            dw_entry_skip(k->d, k->table, a, &c);
            depth += a->children;
        } else
            dw_subtree_skip(k->d, k->u, k->table, a, &c);
    } while (depth > 0 && c.p < c.end && !c.bad && !k->failed);
    k->failed |= c.bad || k->fuel == 0;
    spans_sort(&k->spans);
}

static void forget_bodies(struct work *k)
{
    k->spans = (struct spans){0};
}

/* Whose each address is; SN_NONE: nobody's. */
static void assign(struct work *k)
{
    bool missing = false;
    find_bodies(k, false);
    for (uint32_t i = 0; i < k->n; i++) {
        k->body_of[i] = spans_find(&k->spans, k->vaddrs[i]);
        missing |= k->body_of[i] == SN_NONE;
    }
    if (!missing || k->failed)
        return;
    forget_bodies(k);
    find_bodies(k, true);
    for (uint32_t i = 0; i < k->n; i++)
        if (k->body_of[i] == SN_NONE)
            k->body_of[i] = spans_find(&k->spans, k->vaddrs[i]);
}

/* By counting: in `order` addresses of a body are together and still ascend. */
static void put_in_order(struct work *k)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < k->n; i++)
        if (k->body_of[i] != SN_NONE)
            k->bodies[k->body_of[i]].n++;
    for (uint32_t b = 0; b < k->n_bodies; b++) {
        k->bodies[b].first = at;
        at += k->bodies[b].n;
        k->bodies[b].n = 0;
    }
    for (uint32_t i = 0; i < k->n; i++)
        if (k->body_of[i] != SN_NONE) {
            struct body *b = &k->bodies[k->body_of[i]];
            k->order[b->first + b->n++] = i;
        }
}

/* ---- inlined calls
 * -----------------------------------------------------------------------------
 */

/* Does the range have one of the body's addresses? */
static bool has_address(const struct work *k, const struct body *b, uint64_t from,
                        uint64_t to)
{
    uint32_t lo = b->first, hi = b->first + b->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (k->vaddrs[k->order[mid]] < from)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < b->first + b->n && k->vaddrs[k->order[lo]] < to;
}

/* False: none of the body's addresses is in it. */
static bool add_call(struct work *k, const struct body *b, const struct dw_entry *e)
{
    uint32_t range0 = k->n_ranges;
    struct dw_ranges r = dw_ranges(k->d, k->u, e, &k->fuel);
    while (dw_ranges_next(&r)) {
        struct range *new;
        if (has_address(k, b, r.lo, r.hi) &&
            (new = SN_PUSH(k->arena, k->ranges, k->n_ranges, k->cap_ranges)) != NULL)
            *new = (struct range){r.lo, r.hi};
    }
    struct inlined *c = k->n_ranges > range0
                            ? SN_PUSH(k->arena, k->calls, k->n_calls, k->cap_calls)
                            : NULL;
    if (c == NULL)
        return false;
    *c =
        (struct inlined){.entry = *e, .range0 = range0, .n_ranges = k->n_ranges - range0};
    return true;
}

static bool is_block(unsigned tag)
{
    return tag == DW_TAG_lexical_block || tag == DW_TAG_try_block ||
           tag == DW_TAG_catch_block || tag == DW_TAG_with_stmt;
}

/* The entries below the body's; open[depth] is the call that ends with them, or none. */
static void walk_calls(struct work *k, const struct body *b, struct dw_cursor *c)
{
    uint32_t open[MAX_DEPTH];
    struct dw_entry e;
    unsigned depth = 0;
    open[0] = SN_NONE;
    while (!c->bad && c->p < c->end) {
        const uint8_t *from = c->p;
        uint64_t code = dw_uleb(c);
        const struct dw_abbrev *a = dw_abbrev(k->table, code);
        uint32_t call = SN_NONE;
        if (code == 0) {
            if (open[depth] != SN_NONE)
                k->calls[open[depth]].end = k->n_calls;
            if (depth-- == 0)
                break;
            continue;
        }
        c->bad |= a == NULL;
        if (c->bad)
            break;
        bool enter = depth + 1 < MAX_DEPTH && is_block(a->tag);
        if (a->tag == DW_TAG_inlined_subroutine) {
            struct dw_cursor attributes = *c;
            call = k->n_calls;
            enter =
                dw_entry_read(k->d, k->table, a, &attributes, &e) && add_call(k, b, &e);
            if (enter)
                k->calls[call].end = k->n_calls;
            enter = enter && depth + 1 < MAX_DEPTH;
            c->bad |= attributes.bad;
        }
        if (enter && a->children) {
            open[++depth] = call;
            dw_entry_skip(k->d, k->table, a, c);
        } else
            dw_subtree_skip(k->d, k->u, k->table, a, c);
        burn(k, (uint64_t)(c->p - from));
        c->bad |= k->failed;
    }
}

static void read_calls(struct work *k, const struct body *b)
{
    struct dw_cursor c = dw_at(&k->d->section[DW_INFO], b->entry, k->u->end);
    const struct dw_abbrev *a = dw_abbrev(k->table, dw_uleb(&c));
    struct dw_entry e;
    k->n_calls = k->n_ranges = 0;
    if (a == NULL || !dw_entry_read(k->d, k->table, a, &c, &e) || !add_call(k, b, &e)) {
        k->failed = true;
        return;
    }
    if (a->children)
        walk_calls(k, b, &c);
    k->calls[0].end = k->n_calls;
    k->failed |= c.bad;
}

/* ---- names
 * -------------------------------------------------------------------------------------
 */

static void add_name(const struct dw_unit *u, const struct dw_entry *e, struct name *n)
{
    n->linkage = dw_string(u->d, u, e->v[DW_LINKAGE_NAME]);
    if (n->plain == NULL)
        n->plain = dw_string(u->d, u, e->v[DW_NAME]);
    if (n->line == 0)
        n->line = dw_number(e->v[DW_DECLARED_LINE]);
}

struct origin {         /* an entry that another stands for */
    const struct dw *d; /* NULL: there is none */
    uint64_t offset;
};

static struct origin origin_of(struct work *k, const struct dw_unit *u,
                               const struct dw_entry *e)
{
    static const enum dw_attribute links[] = {DW_ORIGIN, DW_SPECIFICATION};
    for (size_t i = 0; i < SN_COUNT(links); i++) {
        const struct dw_value *v = &e->v[links[i]];
        uint64_t offset = dw_reference(u, *v);
        if (offset != 0)
            return (struct origin){u->d, offset};
        if (dw_is_alternate(*v, &offset) && u->d->alternate != NULL)
            return (struct origin){u->d->alternate, offset};
        k->failed |= v->form != 0; /* somewhere that only elfutils knows */
    }
    return (struct origin){NULL, 0};
}

/* The entry, and the unit that it is in; NULL: there is none. */
static const struct dw_unit *entry_at(struct work *k, const struct dw_unit *near,
                                      struct origin o, struct dw_entry *e)
{
    bool is_near = o.d == near->d && o.offset >= near->entry && o.offset < near->end;
    const struct dw_unit *u = is_near ? near : dw_unit_at(o.d, o.offset);
    if (u == NULL || u->unfit)
        return NULL;
    const struct dw_abbrevs *t = u == k->u ? k->table : table_of(k, u);
    struct dw_cursor c = dw_at(&o.d->section[DW_INFO], o.offset, u->end);
    const struct dw_abbrev *a = t != NULL ? dw_abbrev(t, dw_uleb(&c)) : NULL;
    return a != NULL && dw_entry_read(o.d, t, a, &c, e) ? u : NULL;
}

/* What the origin and those that it stands for say; each once. */
static const struct name *origin_name(struct work *k, const struct dw_unit *u,
                                      struct origin o)
{
    static const struct name none;
    uint64_t elsewhere = o.d != k->d ? UINT64_C(1) << 63 : 0;
    uint32_t *id = sn_map_put(k->name_ids, o.offset ^ elsewhere);
    struct dw_entry e;
    if (id == NULL || *id != SN_NONE)
        return id != NULL ? &k->names[*id] : &none;
    struct name n = {0};
    for (unsigned i = 1; o.d != NULL && n.linkage == NULL && i < MAX_ORIGINS; i++) {
        u = entry_at(k, u, o, &e);
        if (u == NULL) {
            k->failed = true;
            break;
        }
        add_name(u, &e, &n);
        o = origin_of(k, u, &e);
    }
    struct name *kept = SN_PUSH(k->arena, k->names, k->n_names, k->cap_names);
    if (kept == NULL)
        return &none;
    *kept = n;
    *id = k->n_names - 1;
    return kept;
}

static void name_call(struct work *k, struct inlined *c)
{
    c->named = true;
    add_name(k->u, &c->entry, &c->name);
    struct origin origin = {NULL, 0};
    if (c->name.linkage == NULL)
        origin = origin_of(k, k->u, &c->entry);
    if (origin.d == NULL)
        return;
    const struct name *n = origin_name(k, k->u, origin);
    c->name.linkage = n->linkage;
    c->name.plain = c->name.plain != NULL ? c->name.plain : n->plain;
    c->name.line = c->name.line != 0 ? c->name.line : n->line;
}

/* ---- frames
 * ------------------------------------------------------------------------------------
 */

static bool covers(const struct work *k, const struct inlined *c, uint64_t vaddr)
{
    for (uint32_t i = 0; i < c->n_ranges; i++) {
        const struct range *r = &k->ranges[c->range0 + i];
        if (vaddr >= r->lo && vaddr < r->hi)
            return true;
    }
    return false;
}

/* From the function inwards; the number of calls found. */
static uint32_t find_calls(const struct work *k, uint64_t vaddr, uint32_t path[MAX_DEPTH])
{
    uint32_t n = 0;
    path[n++] = 0;
    for (uint32_t i = 1, end = k->n_calls; i < end && n < MAX_DEPTH;) {
        if (covers(k, &k->calls[i], vaddr)) {
            end = k->calls[i].end;
            path[n++] = i++;
        } else
            i = k->calls[i].end;
    }
    return n;
}

static void put_line(struct work *k, uint32_t address, struct dw_frame *out)
{
    const struct dw_row *row = &k->rows[address];
    out->file = "";
    if (!row->found)
        return;
    out->file = dw_path(k->w, k->arena, &k->files, row->file);
    out->line = row->line <= INT32_MAX ? row->line : 0;
    out->column = row->column <= INT32_MAX ? row->column : 0;
}

static void put_frame(struct work *k, struct inlined *c, const struct inlined *inner,
                      bool outermost, uint32_t address, struct dw_frame *out)
{
    if (!c->named)
        name_call(k, c);
    const struct name *n = &c->name;
    *out = (struct dw_frame){.start_line = n->line};
    out->name = n->linkage != NULL ? n->linkage : n->plain != NULL ? n->plain : "";
    out->by_symbol =
        n->linkage == NULL && outermost && (n->plain == NULL || k->u->mangles);
    out->plain = n->plain != NULL;
    if (inner == NULL) {
        put_line(k, address, out);
        return;
    }
    out->file =
        dw_path(k->w, k->arena, &k->files, dw_number(inner->entry.v[DW_CALL_FILE]));
    out->line = dw_number(inner->entry.v[DW_CALL_LINE]);
    out->column = dw_number(inner->entry.v[DW_CALL_COLUMN]);
}

static void answer_one(struct work *k, uint32_t address, struct dw_answer *out)
{
    uint32_t path[MAX_DEPTH], depth = find_calls(k, k->vaddrs[address], path);
    uint32_t n = k->w->inlines ? depth : 1;
    struct dw_frame *frames = sn_arena_alloc(k->w->kept, n * sizeof *frames);
    if (frames == NULL)
        return;
    for (uint32_t i = 0; i < n; i++) { /* innermost first */
        uint32_t at = n - 1 - i;
        put_frame(k, &k->calls[path[at]], at + 1 < depth ? &k->calls[path[at + 1]] : NULL,
                  at == 0, address, &frames[i]);
    }
    *out = (struct dw_answer){frames, n, DW_KNOWN};
}

/* A line, but no function: as assembly is. */
static void answer_line(struct work *k, uint32_t address, struct dw_answer *out)
{
    struct dw_frame *frame = sn_arena_alloc(k->w->kept, sizeof *frame);
    if (frame == NULL)
        return;
    frame->name = "";
    frame->by_symbol = true;
    put_line(k, address, frame);
    *out = (struct dw_answer){frame, 1, DW_KNOWN};
}

static void answer_bodies(struct work *k, struct dw_answer *out)
{
    put_in_order(k);
    for (uint32_t b = 0; b < k->n_bodies && !k->failed; b++) {
        const struct body *body = &k->bodies[b];
        if (body->n == 0)
            continue;
        read_calls(k, body);
        for (uint32_t i = 0; i < body->n && !k->failed; i++)
            answer_one(k, k->order[body->first + i], &out[k->order[body->first + i]]);
    }
    for (uint32_t i = 0; i < k->n && !k->failed; i++)
        if (k->body_of[i] == SN_NONE)
            answer_line(k, i, &out[i]);
}

void dw_answer(struct dw_worker *w, const struct dw_unit *u, const uint64_t *vaddrs,
               struct dw_answer *out, uint32_t n)
{
    struct work k = {.w = w,
                     .d = w->d,
                     .u = u,
                     .vaddrs = vaddrs,
                     .n = n,
                     .fuel = (UINT64_C(1) << 22) + (u->end - u->offset) * 64};
    if (u->unfit || (k.arena = sn_arena_new()) == NULL)
        return;
    k.table = table_of(&k, u);
    k.rows = sn_arena_alloc(k.arena, n * sizeof *k.rows);
    k.body_of = sn_arena_alloc(k.arena, n * sizeof *k.body_of);
    k.order = sn_arena_alloc(k.arena, n * sizeof *k.order);
    k.name_ids = sn_map_new(k.arena);
    k.failed = k.table == NULL || k.name_ids == NULL || sn_arena_failed(k.arena) ||
               !dw_lines(w->d, u, k.arena, vaddrs, n, k.rows, &k.files);
    if (!k.failed)
        assign(&k);
    if (!k.failed)
        answer_bodies(&k, out);
    if (k.failed || sn_arena_failed(k.arena))
        memset(out, 0, n * sizeof *out);
    sn_arena_free(k.arena);
}

/* ---- workers
 * -----------------------------------------------------------------------------------
 */

bool dw_worker_start(struct dw_worker *w)
{
    w->kept = sn_arena_new();
    w->paths = w->kept != NULL ? sn_strtab_new(w->kept) : NULL;
    w->path_ids = w->kept != NULL ? sn_map_new(w->kept) : NULL;
    return w->paths != NULL && w->path_ids != NULL;
}

void dw_worker_stop(struct dw_worker *w)
{
    for (size_t i = 0; i < SN_COUNT(w->tables); i++)
        sn_arena_free(w->tables[i].arena);
    sn_arena_free(w->kept);
    w->kept = NULL;
}
