/*
 * filter.c: frames and samples left out by name.
 *
 * A regular expression is matched once against each function and each mapping, and the
 * answer kept; locations and samples are then decided by table. A location's lines are
 * removed where they lie. A sample's locations are not, since several samples may share
 * them: what is left of them is written anew.
 */
#include "graph_priv.h"

struct matcher {
    struct sn_regex *rx;
    const struct sn_profile *p;
    unsigned char *functions, *mappings; /* 0: not asked yet; 1: no; 2: yes */
    bool any;                            /* something matched */
};

static bool open_matcher(struct matcher *m, struct sn_profile *p, const char *pattern,
                         const char *what, struct sn_error *e)
{
    *m = (struct matcher){.p = p};
    if (pattern == NULL || *pattern == '\0')
        return true;
    m->rx = sn_regex_new(pattern, what, e);
    m->functions = sn_arena_alloc(p->arena, p->n_functions + 1);
    m->mappings = sn_arena_alloc(p->arena, p->n_mappings + 1);
    return m->rx != NULL &&
           (!sn_arena_failed(p->arena) || sn_fail(e, NULL, -1, "out of memory"));
}

static bool remember(unsigned char *answer, bool yes)
{
    *answer = yes ? 2 : 1;
    return yes;
}

static bool match_function(struct matcher *m, uint32_t i)
{
    if (i == SN_NONE)
        return false;
    if (m->functions[i] != 0)
        return m->functions[i] == 2;
    const struct sn_function *f = &m->p->functions[i];
    return remember(&m->functions[i],
                    sn_regex_match(m->rx, sn_profile_str(m->p, f->name)) ||
                        sn_regex_match(m->rx, sn_profile_str(m->p, f->file)));
}

static bool match_mapping(struct matcher *m, uint32_t i)
{
    if (i == SN_NONE)
        return false;
    if (m->mappings[i] != 0)
        return m->mappings[i] == 2;
    return remember(&m->mappings[i],
                    sn_regex_match(m->rx, sn_profile_str(m->p, m->p->mappings[i].file)));
}

static bool match_location(struct matcher *m, const struct sn_location *l)
{
    for (uint32_t k = 0; k < l->n_lines; k++)
        if (match_function(m, m->p->lines[l->line0 + k].function))
            return true;
    return match_mapping(m, l->mapping);
}

/* Keep the lines of which match_function says `want`; a line without a function stays. */
static void keep_lines(struct sn_profile *p, struct sn_location *l, struct matcher *m,
                       bool want)
{
    struct sn_line *v = p->lines + l->line0;
    uint32_t n = 0;
    for (uint32_t k = 0; k < l->n_lines; k++)
        if (v[k].function == SN_NONE || match_function(m, v[k].function) == want)
            v[n++] = v[k];
    l->n_lines = n;
}

/* ---- samples
 * ------------------------------------------------------------------------------- */

void sn_filter_samples(struct sn_profile *p, sn_keep_fn *keep, void *arg)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_samples; i++) {
        struct sn_sample s = p->samples[i];
        if (!keep(arg, p, &s))
            continue;
        memmove(p->values + (size_t)n * p->n_types, p->values + (size_t)i * p->n_types,
                p->n_types * sizeof *p->values);
        p->samples[n++] = s;
    }
    p->n_samples = n;
    p->n_values = n * p->n_types;
}

enum { FOCUSED = 1, IGNORED = 2, HIDDEN = 4 };

struct by_name {
    struct matcher focus, ignore, hide, show;
    unsigned char *flags; /* of each location */
    bool any_focused, any_hidden;
    uint32_t *locs, n_locs; /* of all samples kept, if any_hidden */
};

static void judge_location(struct by_name *f, struct sn_profile *p, uint32_t i)
{
    struct sn_location *l = &p->locations[i];
    if (f->ignore.rx != NULL && match_location(&f->ignore, l)) {
        f->flags[i] |= IGNORED;
        f->ignore.any = true;
    } else if (f->focus.rx == NULL || match_location(&f->focus, l)) {
        f->flags[i] |= FOCUSED;
        f->focus.any = true;
    }
    if (f->hide.rx != NULL && match_location(&f->hide, l)) {
        f->hide.any = true;
        if (match_mapping(&f->hide, l->mapping))
            l->n_lines = 0;
        keep_lines(p, l, &f->hide, false);
        if (l->n_lines == 0)
            f->flags[i] |= HIDDEN;
    }
    if (f->show.rx != NULL) {
        if (!match_mapping(&f->show, l->mapping))
            keep_lines(p, l, &f->show, true);
        if (l->n_lines == 0)
            f->flags[i] |= HIDDEN;
        else
            f->show.any = true;
    }
    f->any_hidden |= f->flags[i] & HIDDEN;
}

static bool keep_by_name(void *arg, struct sn_profile *p, struct sn_sample *s)
{
    struct by_name *f = arg;
    const uint32_t *locs = p->sample_locs + s->loc0;
    unsigned all = 0;
    for (uint32_t i = 0; i < s->n_locs; i++)
        all |= f->flags[locs[i]];
    if ((all & (FOCUSED | IGNORED)) != FOCUSED)
        return false;
    if (!f->any_hidden)
        return true;
    s->loc0 = f->n_locs;
    for (uint32_t i = 0; i < s->n_locs; i++)
        if (!(f->flags[locs[i]] & HIDDEN))
            f->locs[f->n_locs++] = locs[i];
    s->n_locs = f->n_locs - s->loc0;
    return s->n_locs > 0;
}

static bool filter_samples(struct sn_profile *p, struct by_name *f)
{
    if (f->any_hidden) {
        f->locs = sn_arena_alloc(p->arena, (sn_profile_frames(p) + 1) * sizeof *f->locs);
        if (f->locs == NULL)
            return false;
    }
    sn_filter_samples(p, keep_by_name, f);
    if (f->any_hidden) {
        p->sample_locs = f->locs;
        p->n_sample_locs = p->cap_sample_locs = f->n_locs;
    }
    return true;
}

static void warn_unless(const struct sn_options *o, bool matched, const char *what)
{
    char text[80] = "";
    strcat(strcat(text, what), " expression matched no samples");
    if (!matched)
        sn_warn(o, text);
}

static bool filter_by_name(struct sn_view *v, struct sn_error *e)
{
    const struct sn_options *o = &v->o;
    struct sn_profile *p = v->p;
    struct by_name f = {0};
    bool good = open_matcher(&f.focus, p, o->focus, "focus", e) &&
                open_matcher(&f.ignore, p, o->ignore, "ignore", e) &&
                open_matcher(&f.hide, p, o->hide, "hide", e) &&
                open_matcher(&f.show, p, o->show, "show", e);
    bool wanted = f.focus.rx || f.ignore.rx || f.hide.rx || f.show.rx;
    if (good && wanted) {
        f.flags = sn_arena_alloc(p->arena, p->n_locations + 1);
        good = f.flags != NULL || sn_fail(e, NULL, -1, "out of memory");
    }
    if (good && wanted) {
        for (uint32_t i = 0; i < p->n_locations; i++)
            judge_location(&f, p, i);
        good = filter_samples(p, &f) || sn_fail(e, NULL, -1, "out of memory");
        warn_unless(o, f.focus.rx == NULL || f.focus.any, "Focus");
        warn_unless(o, f.ignore.rx == NULL || f.ignore.any, "Ignore");
        warn_unless(o, f.hide.rx == NULL || f.hide.any, "Hide");
        warn_unless(o, f.show.rx == NULL || f.show.any, "Show");
    }
    sn_regex_free(f.focus.rx);
    sn_regex_free(f.ignore.rx);
    sn_regex_free(f.hide.rx);
    sn_regex_free(f.show.rx);
    return good;
}

/* ---- show_from: nothing above the outermost frame that matches
 * ------------------------------ */

struct by_location {
    unsigned char *flags;
};

static bool show_from_location(struct matcher *m, struct sn_location *l)
{
    if (match_mapping(m, l->mapping))
        return true;
    for (uint32_t k = l->n_lines; k-- > 0;)
        if (match_function(m, m->p->lines[l->line0 + k].function)) {
            l->n_lines = k + 1;
            return true;
        }
    return false;
}

static bool keep_from(void *arg, struct sn_profile *p, struct sn_sample *s)
{
    const struct by_location *f = arg;
    for (uint32_t i = s->n_locs; i-- > 0;)
        if (f->flags[p->sample_locs[s->loc0 + i]]) {
            s->n_locs = i + 1;
            return true;
        }
    return false;
}

static bool filter_show_from(struct sn_view *v, struct sn_error *e)
{
    struct sn_profile *p = v->p;
    struct matcher m;
    struct by_location f = {sn_arena_alloc(p->arena, p->n_locations + 1)};
    bool good = open_matcher(&m, p, v->o.show_from, "show_from", e) &&
                (f.flags != NULL || sn_fail(e, NULL, -1, "out of memory"));
    if (good && m.rx != NULL) {
        for (uint32_t i = 0; i < p->n_locations; i++)
            m.any |= f.flags[i] = show_from_location(&m, &p->locations[i]);
        sn_filter_samples(p, keep_from, &f);
        warn_unless(&v->o, m.any, "ShowFrom");
    }
    sn_regex_free(m.rx);
    return good;
}

/* ---- pruning: nothing below a frame
 * --------------------------------------------------------- */

/* A name without its arguments. */
static bool match_plain(struct sn_regex *rx, const char *name, struct sn_arena *a)
{
    static const char *const reserved[] = {"(anonymous namespace)", "operator()"};
    name += *name == '.'; /* as functions begin on PowerPC */
    const char *p = name;
    for (; *p != '\0'; p++) {
        size_t skip = 0;
        for (size_t i = 0; i < SN_COUNT(reserved); i++)
            if (strncmp(p, reserved[i], strlen(reserved[i])) == 0)
                skip = strlen(reserved[i]);
        if (skip == 0 && *p == '(')
            break;
        p += skip > 0 ? skip - 1 : 0;
    }
    char *plain = sn_arena_strndup(a, name, (size_t)(p - name));
    return plain != NULL && sn_regex_match(rx, plain);
}

struct pruner {
    struct sn_profile *p;
    struct sn_regex *drop, *keep;
    unsigned char *answers; /* of each function, as in struct matcher */
    unsigned char *flags;   /* of each location */
};

enum { PRUNE = 1, PRUNE_BENEATH = 2 };

static bool drops(struct pruner *x, uint32_t i)
{
    if (i == SN_NONE || x->p->functions[i].name == 0)
        return false;
    if (x->answers[i] != 0)
        return x->answers[i] == 2;
    const char *name = sn_profile_str(x->p, x->p->functions[i].name);
    return remember(&x->answers[i],
                    match_plain(x->drop, name, x->p->arena) &&
                        (x->keep == NULL || !match_plain(x->keep, name, x->p->arena)));
}

static void prune_location(struct pruner *x, uint32_t i)
{
    struct sn_location *l = &x->p->locations[i];
    uint32_t k = l->n_lines;
    while (k > 0 && !drops(x, x->p->lines[l->line0 + k - 1].function))
        k--;
    if (k == 0)
        return;
    x->flags[i] = PRUNE_BENEATH;
    if (k == l->n_lines) {
        x->flags[i] |= PRUNE;
    } else {
        l->line0 += k;
        l->n_lines -= k;
    }
}

/* Not before the first frame of the user's, or all would go. */
static bool prune_sample(void *arg, struct sn_profile *p, struct sn_sample *s)
{
    const struct pruner *x = arg;
    bool user = false;
    for (uint32_t i = s->n_locs; i-- > 0;) {
        unsigned flags = x->flags[p->sample_locs[s->loc0 + i]];
        if (flags == 0) {
            user = true;
        } else if (user) {
            uint32_t gone = flags & PRUNE ? i + 1 : i;
            s->loc0 += gone;
            s->n_locs -= gone;
            break;
        }
    }
    return true;
}

static bool open_pruner(struct pruner *x, struct sn_profile *p, struct sn_error *e)
{
    x->p = p;
    x->answers = sn_arena_alloc(p->arena, p->n_functions + 1);
    x->flags = sn_arena_alloc(p->arena, p->n_locations + 1);
    return !sn_arena_failed(p->arena) || sn_fail(e, NULL, -1, "out of memory");
}

bool sn_filter_uninteresting(struct sn_profile *p, struct sn_error *e)
{
    struct pruner x = {0};
    const char *drop = sn_profile_str(p, p->drop_frames);
    const char *keep = sn_profile_str(p, p->keep_frames);
    if (*drop == '\0')
        return true;
    bool good = open_pruner(&x, p, e);
    if (good)
        x.drop = sn_regex_new(sn_arena_printf(p->arena, "^(%s)$", drop),
                              "the profile's drop_frames", e);
    if (x.drop != NULL && *keep != '\0')
        x.keep = sn_regex_new(sn_arena_printf(p->arena, "^(%s)$", keep),
                              "the profile's keep_frames", e);
    good = x.drop != NULL && (x.keep != NULL || *keep == '\0');
    for (uint32_t i = 0; good && i < p->n_locations; i++)
        prune_location(&x, i);
    if (good)
        sn_filter_samples(p, prune_sample, &x);
    sn_regex_free(x.drop);
    sn_regex_free(x.keep);
    return good;
}

static bool prune_from_sample(void *arg, struct sn_profile *p, struct sn_sample *s)
{
    const struct pruner *x = arg;
    for (uint32_t i = 0; i < s->n_locs; i++)
        if (x->flags[p->sample_locs[s->loc0 + i]]) {
            s->loc0 += i;
            s->n_locs -= i;
            break;
        }
    return true;
}

/* Below the innermost frame that matches, which stays. */
static bool filter_prune_from(struct sn_view *v, struct sn_error *e)
{
    struct sn_profile *p = v->p;
    struct pruner x = {0};
    if (v->o.prune_from == NULL || *v->o.prune_from == '\0')
        return true;
    if (!open_pruner(&x, p, e) ||
        (x.drop = sn_regex_new(v->o.prune_from, "prune_from", e)) == NULL)
        return false;
    for (uint32_t i = 0; i < p->n_locations; i++) {
        struct sn_location *l = &p->locations[i];
        uint32_t k = 0;
        while (k < l->n_lines && !drops(&x, p->lines[l->line0 + k].function))
            k++;
        if (k == l->n_lines)
            continue;
        x.flags[i] = 1;
        l->line0 += k;
        l->n_lines -= k;
    }
    sn_filter_samples(p, prune_from_sample, &x);
    sn_regex_free(x.drop);
    return true;
}

bool sn_filter(struct sn_view *v, struct sn_error *e)
{
    return filter_by_name(v, e) && filter_show_from(v, e) && sn_filter_tags(v, e) &&
           filter_prune_from(v, e);
}
