/*
 * disasm.c: the instructions of each function that matches, with what they cost and the
 * source lines that they are of. A sample counts once for a function and once for an
 * instruction.
 */
#include "report_priv.h"
#include "symbolize/symbolize.h"

#include <inttypes.h>

struct symbol { /* a function of a file, with samples */
    struct sn_object *object;
    const char *const *names; /* those to be shown */
    uint32_t n_names;
    uint64_t lo, hi;
    uint32_t first, n; /* its nodes, in `at` */
    struct sn_object_inst *insts;
    size_t n_insts;
    const struct sn_values *inst_sums; /* of each */
};

struct placed { /* a node of the graph */
    uint32_t symbol, node;
    uint64_t vaddr;
};

struct disassembly {
    struct sn_report *r;
    struct sn_code *code;
    struct sn_arena *arena;
    struct sn_regex *rx;
    uint64_t address; /* 0: none was asked for */
    struct symbol *symbols;
    uint32_t n_symbols, cap_symbols;
    struct placed *at;
    uint32_t n_at, cap_at;
    const char *why; /* a file of which there is no code */
};

/* ---- which functions ------------------------------------------------------------------
 */

/* As it is, or as it is written in C++: without or with what makes it long. */
static const char *matching(struct disassembly *d, const char *name, struct sn_arena *a)
{
    static const enum sn_demangle modes[] = {SN_DEMANGLE_FULL, SN_DEMANGLE_TEMPLATES,
                                             SN_DEMANGLE_DEFAULT};
    if (sn_regex_match(d->rx, name))
        return name;
    for (size_t i = 0; i < SN_COUNT(modes); i++) {
        const char *plain = sn_demangle(name, modes[i], a);
        if (plain != name && sn_regex_match(d->rx, plain))
            return plain;
    }
    return NULL;
}

/* By address all of its names are shown, by name the one that matches. */
static bool add_symbol(struct disassembly *d, struct sn_object *o,
                       const struct sn_object_function *f)
{
    bool by_address = d->address != 0;
    const char **name = sn_arena_alloc(d->arena, sizeof *name);
    if (name == NULL)
        return false;
    for (uint32_t i = 0; !by_address && *name == NULL && i < f->n_names; i++)
        *name = matching(d, f->names[i], d->arena);
    struct symbol *s = SN_PUSH(d->arena, d->symbols, d->n_symbols, d->cap_symbols);
    if (s == NULL)
        return false;
    *s = (struct symbol){.object = o, .lo = f->lo, .hi = f->hi};
    s->names = by_address ? f->names : (const char *const *)name;
    s->n_names = by_address ? f->n_names : *name != NULL;
    return true;
}

static void note_no_symbols(struct disassembly *d, struct sn_object *o, uint32_t mapping)
{
    const struct sn_profile *p = d->r->v.p;
    size_t n;
    (void)sn_object_functions(o, &n);
    if (n == 0 && d->why == NULL)
        d->why = sn_arena_printf(d->arena, "%s: it has no symbols",
                                 sn_profile_str(p, p->mappings[mapping].file));
}

/* Nodes by their function: each function is asked once whether it is wanted. */
static bool find_symbols(struct disassembly *d)
{
    const struct sn_graph *g = d->r->g;
    const struct sn_profile *p = d->r->v.p;
    struct sn_map *known = sn_map_new(d->arena); /* function to symbol */
    for (uint32_t i = 0; known != NULL && i < g->n_order; i++) {
        const struct sn_node *n = &g->nodes[g->order[i]];
        for (uint32_t m = 0; m < p->n_mappings; m++) {
            const struct sn_mapping *x = &p->mappings[m];
            uint64_t vaddr;
            if (x->file != n->info.object || n->info.address < x->start ||
                n->info.address >= x->limit)
                continue;
            struct sn_object *o = sn_code_object(d->code, m, &d->why);
            if (o == NULL || !sn_code_vaddr(d->code, m, n->info.address, &vaddr))
                continue;
            const struct sn_object_function *f = sn_object_function_at(o, vaddr);
            if (f == NULL)
                note_no_symbols(d, o, m);
            uint32_t *symbol =
                f != NULL ? sn_map_put(known, (uint64_t)(uintptr_t)f) : NULL;
            if (symbol == NULL)
                continue;
            if (*symbol == SN_NONE) {
                if (!add_symbol(d, o, f))
                    return false;
                *symbol = d->n_symbols - 1;
            }
            struct placed *at = SN_PUSH(d->arena, d->at, d->n_at, d->cap_at);
            if (at == NULL)
                return false;
            *at = (struct placed){*symbol, g->order[i], vaddr};
            break;
        }
    }
    return known != NULL;
}

static bool is_wanted(const struct disassembly *d, const struct symbol *s)
{
    if (d->address == 0)
        return s->n_names > 0;
    for (uint32_t i = 0; i < s->n; i++) {
        const struct placed *x = &d->at[s->first + i];
        uint64_t address = d->r->g->nodes[x->node].info.address;
        uint64_t base = address - x->vaddr;
        if (d->address == address ||
            (d->address >= s->lo + base && d->address < s->hi + base) ||
            (d->address >= s->lo && d->address < s->hi))
            return true;
    }
    return false;
}

static int by_symbol_and_place(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    if (x->symbol != y->symbol)
        return x->symbol < y->symbol ? -1 : 1;
    return (x->vaddr > y->vaddr) - (x->vaddr < y->vaddr);
}

static int by_name(const void *a, const void *b)
{
    const struct symbol *x = a, *y = b;
    int order = strcmp(x->names[0], y->names[0]);
    return order != 0 ? order : (x->lo > y->lo) - (x->lo < y->lo);
}

/* Leaves those that are wanted, in order. */
static void choose(struct disassembly *d)
{
    uint32_t n = 0;
    if (d->at != NULL)
        qsort(d->at, d->n_at, sizeof *d->at, by_symbol_and_place);
    for (uint32_t i = 0; i < d->n_at; i++) {
        struct symbol *s = &d->symbols[d->at[i].symbol];
        if (s->n++ == 0)
            s->first = i;
    }
    for (uint32_t i = 0; i < d->n_symbols; i++)
        if (is_wanted(d, &d->symbols[i]))
            d->symbols[n++] = d->symbols[i];
    d->n_symbols = n;
    if (d->symbols != NULL)
        qsort(d->symbols, n, sizeof *d->symbols, by_name);
}

/* ---- text -----------------------------------------------------------------------------
 */

struct place { /* of an instruction in the sources; strings are "" where not known */
    const char *function, *file;
    int64_t line;
};

static struct place place_of(struct disassembly *d, const struct symbol *s,
                             const struct sn_object_inst *i)
{
    struct sn_object_frame f;
    struct place p = {"", "", 0};
    if (sn_object_frames(s->object, i->address, true, &f, 1) == 0)
        return p;
    p.function = sn_demangle(f.name, SN_DEMANGLE_FULL, d->arena);
    p.file = f.file != NULL ? sn_base_name(f.file) : "";
    p.line = f.line;
    return p;
}

static void put_place(const struct place *p, struct sn_buf *out)
{
    if (*p->function != '\0')
        sn_buf_printf(out, "%s ", p->function);
    sn_buf_puts(out, p->file);
    if (*p->file != '\0' && p->line != 0)
        sn_buf_printf(out, ":%" PRId64, p->line);
}

static void put_inst(struct disassembly *d, const struct sn_object_inst *i,
                     const struct sn_values *x, const char *place, struct sn_buf *out)
{
    const struct sn_view *v = &d->r->v;
    char flat[64], cum[64];
    bool apart = strlen(i->text) >= 40;
    if (*place != '\0' && apart)
        sn_buf_printf(out, "%74s;%s\n", "", place);
    sn_buf_printf(out, "%10s %10s %10" PRIx64 ": ",
                  sn_value_or_dot(v, sn_mean(x->flat, x->flat_div), flat, sizeof flat),
                  sn_value_or_dot(v, sn_mean(x->cum, x->cum_div), cum, sizeof cum),
                  i->address);
    if (*place != '\0' && !apart)
        sn_buf_printf(out, "%-40s;%s\n", i->text, place);
    else
        sn_buf_printf(out, "%s\n", i->text);
}

static void put_insts(struct disassembly *d, const struct symbol *s, struct sn_buf *out)
{
    struct place last = {"", "", 0};
    for (size_t i = 0; i < s->n_insts; i++) {
        struct place p = place_of(d, s, &s->insts[i]);
        struct sn_buf text = {.arena = d->arena};
        if (strcmp(p.function, last.function) != 0 || strcmp(p.file, last.file) != 0 ||
            p.line != last.line)
            put_place(&p, &text);
        last = p;
        put_inst(d, &s->insts[i], &s->inst_sums[i], text.data != NULL ? text.data : "",
                 out);
    }
}

static bool put_symbol(struct disassembly *d, const struct symbol *s,
                       const struct sn_values *sum, struct sn_buf *out)
{
    const struct sn_view *v = &d->r->v;
    char flat[64], cum[64], percent[32];
    int64_t all_flat = sn_mean(sum->flat, sum->flat_div);
    int64_t all_cum = sn_mean(sum->cum, sum->cum_div);
    sn_buf_printf(out, "ROUTINE ======================== %s\n", s->names[0]);
    for (uint32_t i = 1; i < s->n_names; i++)
        sn_buf_printf(out, "    AKA ======================== %s\n", s->names[i]);
    sn_buf_printf(out, "%10s %10s (flat, cum) %s of Total\n",
                  sn_view_value(v, all_flat, flat, sizeof flat),
                  sn_view_value(v, all_cum, cum, sizeof cum),
                  sn_unit_percent(all_cum, v->total, percent, sizeof percent));
    if (!sn_code_resolve(s->object, s->insts, s->n_insts, d->arena))
        return false;
    put_insts(d, s, out);
    return true;
}

/* ---- sums -----------------------------------------------------------------------------
 */

/* Of each node its instruction, numbered through all symbols, which begin at `base`. */
static void group_insts(const struct disassembly *d, const struct symbol *s,
                        uint32_t base, uint32_t *inst_of)
{
    size_t i = 0;
    for (uint32_t k = 0; k < s->n && s->n_insts > 0; k++) {
        const struct placed *x = &d->at[s->first + k];
        while (i + 1 < s->n_insts && s->insts[i + 1].address <= x->vaddr)
            i++;
        inst_of[x->node] = base + (uint32_t)i;
    }
}

/* Of each symbol, and of its instructions, in one walk through the samples each. */
static struct sn_values *count(struct disassembly *d, struct sn_error *e)
{
    size_t bytes = (d->r->g->n_nodes + (size_t)1) * sizeof(uint32_t);
    uint32_t *inst_of = sn_arena_alloc(d->arena, bytes);
    uint32_t *symbol_of = sn_arena_alloc(d->arena, bytes), n = 0;
    if (inst_of == NULL || symbol_of == NULL)
        return NULL;
    memset(inst_of, 0xff, bytes);
    memset(symbol_of, 0xff, bytes);
    for (uint32_t i = 0; i < d->n_symbols; i++) {
        struct symbol *s = &d->symbols[i];
        if (!sn_object_disasm(s->object, s->lo, s->hi, d->r->v.o.intel_syntax, d->arena,
                              &s->insts, &s->n_insts, e))
            return NULL;
        for (uint32_t k = 0; k < s->n; k++)
            symbol_of[d->at[s->first + k].node] = i;
        group_insts(d, s, n, inst_of);
        n += (uint32_t)s->n_insts;
    }
    const struct sn_values *insts = sn_graph_group(&d->r->v, d->r->g, inst_of, n, e);
    for (uint32_t i = 0; insts != NULL && i < d->n_symbols; i++) {
        d->symbols[i].inst_sums = insts;
        insts += d->symbols[i].n_insts;
    }
    return insts != NULL ? sn_graph_group(&d->r->v, d->r->g, symbol_of, d->n_symbols, e)
                         : NULL;
}

/* ---- the whole ------------------------------------------------------------------------
 */

uint64_t sn_address_of(const char *argument)
{
    char *end;
    uint64_t address = strtoull(argument, &end, 0);
    return *argument >= '0' && *argument <= '9' && *end == '\0' ? address : 0;
}

static bool nothing_found(const struct disassembly *d, const char *argument,
                          struct sn_error *e)
{
    const char *joint = d->why != NULL ? "; " : "", *why = d->why != NULL ? d->why : "";
    if (d->address == 0)
        return sn_fail(e, NULL, -1, "no matches found for regexp %s%s%s", argument, joint,
                       why);
    return sn_fail(e, NULL, -1,
                   "no function with samples found at address 0x%" PRIx64 "%s%s",
                   d->address, joint, why);
}

bool sn_report_disasm(struct sn_profile *p, const struct sn_options *o,
                      const char *argument, struct sn_buf *out, struct sn_error *e)
{
    struct sn_report r = {.g = NULL};
    struct sn_view_kind kind = {
        .no_trim = true, .addresses = true, .objects = true, .no_inlines = true};
    struct disassembly d = {.r = &r, .arena = p->arena, .code = sn_code_new(p)};
    char total[64];
    d.address = sn_address_of(argument);
    d.rx = sn_regex_new(argument, "disasm", e);
    bool good = d.rx != NULL && d.code != NULL && sn_report_open(&r, p, o, kind, true, e);
    if (good && !find_symbols(&d))
        good = sn_fail(e, NULL, -1, "out of memory");
    if (good) {
        choose(&d);
        good = d.n_symbols > 0 || nothing_found(&d, argument, e);
    }
    if (good) {
        r.v.out_unit = r.v.o.unit; /* of each value its own */
        sn_buf_printf(out, "Total: %s\n",
                      sn_view_value(&r.v, r.v.total, total, sizeof total));
    }
    const struct sn_values *sums = good ? count(&d, e) : NULL;
    good = good && (sums != NULL || sn_fail(e, NULL, -1, "out of memory"));
    for (uint32_t i = 0; good && i < d.n_symbols; i++)
        good = put_symbol(&d, &d.symbols[i], &sums[i], out) ||
               sn_fail(e, NULL, -1, "out of memory");
    sn_report_close(&r);
    sn_code_close(d.code);
    sn_regex_free(d.rx);
    return good && sn_report_done(out, e);
}
