/*
 * weblist_find.c: the functions of interest, their lines, and the instructions of each.
 *
 *     locations that match -> the functions of code that they are in -> instructions ->
 *     the lines of which they are, inlined calls included -> what each comes to
 *
 * A sample counts once for an instruction, a line and a function.
 */
#include "symbolize/symbolize.h"
#include "weblist.h"

#define MAX_RANGES 100                  /* functions of code that are read */
#define MAX_RANGE  ((uint64_t)64 << 10) /* bytes of one, around where samples are */
#define MAX_FRAMES 32

struct range { /* of code, of a file */
    struct sn_object *object;
    uint64_t lo, hi;
    int64_t flat;
};

struct finding {
    struct weblist *w;
    struct sn_profile *p;
    struct sn_regex *rx;
    uint64_t address;
    bool *wanted;            /* of each location */
    int64_t *flat;           /* ... */
    uint32_t *inst_of;       /* ...: its instruction; SN_NONE */
    struct sn_strtab *names; /* of functions of interest, mangled and not */
    struct sn_map *known;    /* a frame's name to its place in shown */
    const char **shown;      /* NULL: not of interest */
    uint32_t n_shown, cap_shown;
    struct range *ranges;
    uint32_t n_ranges, cap_ranges;
};

/* ---- what matches ---------------------------------------------------------------------
 */

static bool line_matches(struct finding *f, const struct sn_line *l)
{
    if (l->function == SN_NONE)
        return false;
    const struct sn_function *x = &f->p->functions[l->function];
    return sn_regex_match(f->rx, sn_profile_str(f->p, x->name)) ||
           sn_regex_match(f->rx, sn_profile_str(f->p, x->system_name)) ||
           sn_regex_match(f->rx, sn_profile_str(f->p, x->file));
}

static void note_interest(struct finding *f, const struct sn_line *l)
{
    if (l->function == SN_NONE)
        return;
    const struct sn_function *x = &f->p->functions[l->function];
    if (x->name != 0)
        sn_strtab_add(f->names, sn_profile_str(f->p, x->name));
    if (x->system_name != 0)
        sn_strtab_add(f->names, sn_profile_str(f->p, x->system_name));
}

/* Is the address that was asked for in the same function of the code? */
static bool is_around(struct finding *f, const struct sn_location *l)
{
    uint64_t vaddr;
    if (l->mapping == SN_NONE ||
        !sn_code_vaddr(f->w->code, l->mapping, l->address, &vaddr))
        return l->address == f->address;
    const struct sn_object_function *x =
        sn_object_function_at(sn_code_object(f->w->code, l->mapping, NULL), vaddr);
    uint64_t base = l->address - vaddr;
    return l->address == f->address ||
           (x != NULL && ((f->address >= x->lo && f->address < x->hi) ||
                          (f->address >= x->lo + base && f->address < x->hi + base)));
}

static void judge(struct finding *f, uint32_t i)
{
    const struct sn_location *l = &f->p->locations[i];
    const struct sn_line *lines = f->p->lines + l->line0;
    if (f->address != 0) {
        f->wanted[i] = l->n_lines > 0 && is_around(f, l);
        if (f->wanted[i])
            note_interest(f, &lines[l->n_lines - 1]);
        return;
    }
    bool file =
        l->mapping != SN_NONE &&
        sn_regex_match(f->rx, sn_profile_str(f->p, f->p->mappings[l->mapping].file));
    for (uint32_t k = 0; k < l->n_lines; k++)
        if ((k == 0 && file) || line_matches(f, &lines[k])) {
            f->wanted[i] = true;
            note_interest(f, &lines[k]);
        }
}

/* Of the locations that samples have. */
static void judge_all(struct finding *f)
{
    const struct sn_profile *p = f->p;
    bool *asked = sn_arena_alloc(p->arena, p->n_locations + 1);
    for (uint32_t i = 0; asked != NULL && i < p->n_samples; i++) {
        const struct sn_sample *s = &p->samples[i];
        int64_t divisor, weight = sn_view_weight(&f->w->r->v, i, &divisor);
        for (uint32_t k = 0; k < s->n_locs; k++) {
            uint32_t loc = p->sample_locs[s->loc0 + k];
            if (!asked[loc])
                judge(f, loc);
            asked[loc] = true;
            f->flat[loc] += k == 0 ? weight : 0;
        }
    }
}

/* ---- code -----------------------------------------------------------------------------
 */

static struct range *add_range(struct finding *f, struct sn_object *o, uint64_t lo,
                               uint64_t hi)
{
    for (uint32_t i = 0; i < f->n_ranges; i++)
        if (f->ranges[i].object == o && f->ranges[i].lo == lo)
            return &f->ranges[i];
    struct range *r = SN_PUSH(f->p->arena, f->ranges, f->n_ranges, f->cap_ranges);
    if (r != NULL)
        *r = (struct range){o, lo, hi, 0};
    return r;
}

/* The function that a location is in; of a very long one, the part around it. */
static struct range *range_of(struct finding *f, const struct sn_location *l)
{
    uint64_t vaddr;
    if (l->mapping == SN_NONE ||
        !sn_code_vaddr(f->w->code, l->mapping, l->address, &vaddr))
        return NULL;
    struct sn_object *o = sn_code_object(f->w->code, l->mapping, NULL);
    const struct sn_object_function *x = sn_object_function_at(o, vaddr);
    if (x == NULL)
        return NULL;
    uint64_t lo = x->lo + (vaddr - x->lo) / MAX_RANGE * MAX_RANGE;
    return add_range(f, o, lo, x->hi - lo < MAX_RANGE ? x->hi : lo + MAX_RANGE);
}

static int by_flat(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return sn_abs(x->flat) != sn_abs(y->flat)
               ? (sn_abs(x->flat) < sn_abs(y->flat) ? 1 : -1)
               : (x->lo > y->lo) - (x->lo < y->lo);
}

static bool add_inst(struct finding *f, struct web_inst x)
{
    struct weblist *w = f->w;
    struct web_inst *added = SN_PUSH(w->arena, w->insts, w->n_insts, w->cap_insts);
    if (added != NULL)
        *added = x;
    return added != NULL;
}

static const char *keep(struct finding *f, const char *s)
{
    struct sn_strtab *t = f->p->strings;
    return sn_strtab_get(t, s != NULL ? sn_strtab_add(t, s) : 0);
}

static struct sn_object_frame *frames_at(struct finding *f, struct sn_object *o,
                                         uint64_t vaddr, uint32_t *n)
{
    struct sn_object_frame v[MAX_FRAMES], *copy;
    *n = (uint32_t)sn_object_frames(o, vaddr, true, v, MAX_FRAMES);
    copy = sn_arena_alloc(f->w->arena, (*n + 1) * sizeof *copy);
    for (uint32_t i = 0; copy != NULL && i < *n; i++) {
        copy[i] = v[i]; /* its strings last until the next range is read */
        copy[i].name = keep(f, v[i].name);
        copy[i].file = keep(f, v[i].file);
    }
    return copy;
}

static bool read_range(struct finding *f, const struct range *r)
{
    struct sn_object_inst *v;
    size_t n;
    bool intel = f->w->r->v.o.intel_syntax;
    if (!sn_object_disasm(r->object, r->lo, r->hi, intel, f->w->arena, &v, &n, NULL))
        return true; /* there is no code; the lines of the profile stand for it */
    if (!sn_code_resolve(r->object, v, n, f->w->arena))
        return false;
    for (size_t i = 0; i < n; i++) {
        struct web_inst x = {.address = v[i].address, .text = v[i].text, .next = SN_NONE};
        x.frames = frames_at(f, r->object, v[i].address, &x.n_frames);
        if (i + 1 < n)
            x.next = f->w->n_insts + 1;
        if (x.frames == NULL || !add_inst(f, x))
            return false;
    }
    return true;
}

/* A location whose code is not there is an instruction of which only its lines are
 * known. */
static bool stand_in(struct finding *f, uint32_t loc)
{
    const struct sn_profile *p = f->p;
    const struct sn_location *l = &p->locations[loc];
    struct web_inst x = {.address = l->address, .next = SN_NONE, .n_frames = l->n_lines};
    x.frames = sn_arena_alloc(f->w->arena, (l->n_lines + 1) * sizeof *x.frames);
    for (uint32_t k = 0; x.frames != NULL && k < l->n_lines; k++) {
        const struct sn_line *line = &p->lines[l->line0 + k];
        if (line->function == SN_NONE) {
            x.frames[k] = (struct sn_object_frame){.name = "", .file = ""};
            continue;
        }
        const struct sn_function *fn = &p->functions[line->function];
        x.frames[k] = (struct sn_object_frame){.name = sn_profile_str(p, fn->name),
                                               .file = sn_profile_str(p, fn->file),
                                               .line = line->line};
    }
    f->inst_of[loc] = f->w->n_insts;
    return x.frames != NULL && add_inst(f, x);
}

static int by_object_and_place(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    if (x->object != y->object)
        return x->object < y->object ? -1 : 1;
    return (x->lo > y->lo) - (x->lo < y->lo);
}

static bool place_location(struct finding *f, uint32_t loc, const uint32_t *first_of)
{
    const struct sn_location *l = &f->p->locations[loc];
    struct range *r = range_of(f, l);
    uint64_t vaddr = 0;
    uint32_t i =
        r != NULL && r - f->ranges < MAX_RANGES ? (uint32_t)(r - f->ranges) : SN_NONE;
    if (i == SN_NONE || first_of[i] == first_of[i + 1])
        return stand_in(f, loc);
    (void)sn_code_vaddr(f->w->code, l->mapping, l->address, &vaddr);
    uint32_t lo = first_of[i], n = first_of[i + 1] - lo;
    while (n > 1) { /* the last that begins at or before it */
        uint32_t half = n / 2;
        bool right = f->w->insts[lo + half].address <= vaddr;
        lo += right ? half : 0;
        n = right ? n - half : half;
    }
    f->inst_of[loc] = lo;
    return true;
}

static bool read_code(struct finding *f)
{
    struct sn_profile *p = f->p;
    for (uint32_t i = 0; i < p->n_locations; i++) {
        struct range *r = f->wanted[i] ? range_of(f, &p->locations[i]) : NULL;
        if (r != NULL)
            r->flat += f->flat[i];
    }
    if (f->ranges != NULL)
        qsort(f->ranges, f->n_ranges, sizeof *f->ranges, by_flat);
    uint32_t n = f->n_ranges < MAX_RANGES ? f->n_ranges : MAX_RANGES;
    f->w->n_left_out = f->n_ranges - n;
    if (f->ranges != NULL)
        qsort(f->ranges, n, sizeof *f->ranges, by_object_and_place);
    uint32_t *first_of = sn_arena_alloc(p->arena, (n + 1) * sizeof *first_of);
    for (uint32_t i = 0; first_of != NULL && i < n; i++) {
        first_of[i] = f->w->n_insts;
        if (!read_range(f, &f->ranges[i]))
            return false;
        first_of[i + 1] = f->w->n_insts;
    }
    for (uint32_t i = 0; first_of != NULL && i < p->n_locations; i++)
        if (f->wanted[i] && !place_location(f, i, first_of))
            return false;
    return first_of != NULL;
}

/* ---- lines ----------------------------------------------------------------------------
 */

struct seat { /* an entry before it is sorted */
    const char *name, *file;
    int64_t line;
    uint32_t inst, frame;
};

/* Of a frame's function: what it is called here; NULL: it is not asked for. Names are
 * kept, so that equal ones are the same pointers: each is looked at once. */
static const char *shown_name(struct finding *f, const char *name)
{
    uint32_t *known = sn_map_put(f->known, (uint64_t)(uintptr_t)name);
    if (known == NULL)
        return NULL;
    if (*known != SN_NONE)
        return f->shown[*known];
    const char **shown = SN_PUSH(f->w->arena, f->shown, f->n_shown, f->cap_shown);
    if (shown == NULL)
        return NULL;
    *known = f->n_shown - 1;
    const char *plain = sn_demangle(name, SN_DEMANGLE_DEFAULT, f->w->arena);
    if (*name != '\0' && (sn_strtab_find(f->names, name) != SN_NONE ||
                          sn_strtab_find(f->names, plain) != SN_NONE))
        *shown = plain;
    return *shown;
}

static int by_line(const void *a, const void *b)
{
    const struct seat *x = a, *y = b;
    int order = strcmp(x->file, y->file);
    if (order == 0)
        order = strcmp(x->name, y->name);
    if (order == 0)
        order = (x->line > y->line) - (x->line < y->line);
    return order != 0 ? order : (x->inst > y->inst) - (x->inst < y->inst);
}

static struct seat *find_seats(struct finding *f, uint32_t *n)
{
    struct seat *v = NULL;
    uint32_t cap = 0;
    struct weblist *w = f->w;
    *n = 0;
    for (uint32_t i = 0; i < w->n_insts; i++)
        for (uint32_t k = 0; k < w->insts[i].n_frames; k++) {
            const struct sn_object_frame *x = &w->insts[i].frames[k];
            const char *name = shown_name(f, x->name);
            if (name == NULL)
                continue;
            struct seat *s = SN_PUSH(w->arena, v, *n, cap);
            if (s == NULL)
                return NULL;
            *s = (struct seat){name, sn_clean_path(x->file, w->arena), x->line, i, k};
        }
    if (v != NULL)
        qsort(v, *n, sizeof *v, by_line);
    return v;
}

static bool seat_one(struct weblist *w, const struct seat *s)
{
    struct web_function *f =
        w->n_functions > 0 ? &w->functions[w->n_functions - 1] : NULL;
    bool new_function =
        f == NULL || strcmp(f->file, s->file) != 0 || strcmp(f->name, s->name) != 0;
    if (new_function) {
        f = SN_PUSH(w->arena, w->functions, w->n_functions, w->cap_functions);
        if (f == NULL)
            return false;
        *f = (struct web_function){.name = s->name, .file = s->file, .first = w->n_lines};
    }
    struct web_line *l = w->n_lines > 0 ? &w->lines[w->n_lines - 1] : NULL;
    if (new_function || l == NULL || l->number != s->line) {
        l = SN_PUSH(w->arena, w->lines, w->n_lines, w->cap_lines);
        if (l == NULL)
            return false;
        *l = (struct web_line){
            .function = w->n_functions - 1, .number = s->line, .first = w->n_entries};
        f->n++;
    }
    struct web_entry *e = SN_PUSH(w->arena, w->entries, w->n_entries, w->cap_entries);
    if (e == NULL)
        return false;
    l->n++;
    *e = (struct web_entry){w->n_lines - 1, s->inst, s->frame};
    return true;
}

/* ---- sums -----------------------------------------------------------------------------
 */

struct counting {
    uint32_t *first; /* of each instruction: its entries, in by_inst */
    uint32_t *by_inst;
    uint32_t *seen[3]; /* instructions, lines, functions: the last sample counted */
};

static bool open_counting(const struct weblist *w, struct counting *c)
{
    struct sn_arena *a = w->arena;
    const uint32_t sizes[] = {w->n_insts, w->n_lines, w->n_functions};
    for (int i = 0; i < 3; i++)
        c->seen[i] = sn_arena_alloc(a, (sizes[i] + 1) * sizeof *c->seen[i]);
    c->first = sn_arena_alloc(a, (w->n_insts + 2) * sizeof *c->first);
    c->by_inst = sn_arena_alloc(a, (w->n_entries + 1) * sizeof *c->by_inst);
    if (sn_arena_failed(a))
        return false;
    for (uint32_t i = 0; i < w->n_entries; i++)
        c->first[w->entries[i].inst + 2]++;
    for (uint32_t i = 2; i < w->n_insts + 2; i++)
        c->first[i] += c->first[i - 1];
    for (uint32_t i = 0; i < w->n_entries; i++)
        c->by_inst[c->first[w->entries[i].inst + 1]++] = i;
    return true;
}

/* From the leaf on: its flat value is seen first. */
static bool count(struct finding *f)
{
    struct weblist *w = f->w;
    const struct sn_profile *p = f->p;
    struct counting c = {0};
    if (!open_counting(w, &c))
        return false;
    for (uint32_t i = 0; i < p->n_samples; i++) {
        const struct sn_sample *s = &p->samples[i];
        int64_t divisor, weight = sn_view_weight(&w->r->v, i, &divisor);
        for (uint32_t j = 0; j < s->n_locs; j++) {
            uint32_t inst = f->inst_of[p->sample_locs[s->loc0 + j]];
            if (inst == SN_NONE)
                continue;
            sn_values_add(&w->insts[inst].sum, &c.seen[0][inst], i + 1, weight, divisor,
                          j == 0);
            for (uint32_t k = c.first[inst]; k < c.first[inst + 1]; k++) {
                uint32_t line = w->entries[c.by_inst[k]].line;
                uint32_t function = w->lines[line].function;
                sn_values_add(&w->lines[line].sum, &c.seen[1][line], i + 1, weight,
                              divisor, j == 0);
                sn_values_add(&w->functions[function].sum, &c.seen[2][function], i + 1,
                              weight, divisor, j == 0);
            }
        }
    }
    return true;
}

/* ---- the whole ------------------------------------------------------------------------
 */

static bool open_finding(struct finding *f, const char *argument, struct sn_error *e)
{
    struct sn_profile *p = f->p;
    f->address = sn_address_of(argument);
    f->rx = sn_regex_new(argument, "weblist", e);
    f->wanted = sn_arena_alloc(p->arena, p->n_locations + 1);
    f->flat = sn_arena_alloc(p->arena, (p->n_locations + 1) * sizeof *f->flat);
    f->inst_of = sn_arena_alloc(p->arena, (p->n_locations + 1) * sizeof *f->inst_of);
    f->names = sn_strtab_new(p->arena);
    f->known = sn_map_new(p->arena);
    f->w->code = sn_code_new(p);
    if (f->rx == NULL)
        return false;
    if (f->w->code == NULL || f->names == NULL || sn_arena_failed(p->arena))
        return sn_fail(e, NULL, -1, "out of memory");
    memset(f->inst_of, 0xff, (p->n_locations + 1) * sizeof *f->inst_of);
    return true;
}

static bool find(struct finding *f, const char *argument, struct sn_error *e)
{
    uint32_t n;
    judge_all(f);
    if (sn_strtab_count(f->names) <= 1)
        return sn_fail(e, NULL, -1, "no matches found for regexp: %s", argument);
    if (!read_code(f))
        return sn_fail(e, NULL, -1, "out of memory");
    struct seat *v = find_seats(f, &n);
    for (uint32_t i = 0; v != NULL && i < n; i++)
        if (!seat_one(f->w, &v[i]))
            return sn_fail(e, NULL, -1, "out of memory");
    return (count(f) && !sn_arena_failed(f->p->arena)) ||
           sn_fail(e, NULL, -1, "out of memory");
}

bool web_find(struct weblist *w, const char *argument, struct sn_error *e)
{
    struct finding f = {.w = w, .p = w->r->v.p};
    bool good = open_finding(&f, argument, e) && find(&f, argument, e);
    sn_regex_free(f.rx);
    return good;
}
