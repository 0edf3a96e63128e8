/*
 * traces.c: every sample, with its labels and its stack. A frame's line is made once, but
 * for the value before the first. All cores write, each a batch of samples at a time.
 */
#include "report_priv.h"

#include <pthread.h>

#define BATCH 1024 /* samples */

#define RULE  "-----------+-------------------------------------------------------\n"

struct group {
    const char *line; /* "       key:  value value\n" */
    bool number;
};

static int by_kind_and_text(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    return x->number != y->number ? x->number - y->number : strcmp(x->line, y->line);
}

static bool first_of_key(const struct sn_label *v, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++)
        if (v[k].key == v[i].key && (v[k].str == 0) == (v[i].str == 0))
            return false;
    return true;
}

/* A line for each key, its values parted by spaces. */
static const char *group_line(const struct sn_view *v, const struct sn_label *labels,
                              uint32_t i, uint32_t n, struct sn_arena *a)
{
    const struct sn_profile *p = v->p;
    struct sn_buf b = {.arena = a};
    char number[64];
    sn_buf_printf(&b, "%10s: ", sn_profile_str(p, labels[i].key));
    for (uint32_t k = i; k < n; k++) {
        const struct sn_label *l = &labels[k];
        if (l->key != labels[i].key || (l->str == 0) != (labels[i].str == 0))
            continue;
        sn_buf_printf(&b, " %s",
                      l->str != 0 ? sn_profile_str(p, l->str)
                                  : sn_unit_label(l->num, sn_view_label_unit(v, l->key),
                                                  "auto", number, sizeof number));
    }
    sn_buf_putc(&b, '\n');
    return b.data;
}

static void put_labels(const struct sn_view *v, const struct sn_sample *s,
                       struct sn_arena *a, struct sn_buf *out)
{
    const struct sn_label *labels = v->p->labels + s->label0;
    struct group groups[64];
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_labels && n < SN_COUNT(groups); i++) {
        if (!first_of_key(labels, i))
            continue;
        groups[n].line = group_line(v, labels, i, s->n_labels, a);
        groups[n].number = labels[i].str == 0;
        n += groups[n].line != NULL;
    }
    qsort(groups, n, sizeof *groups, by_kind_and_text);
    for (uint32_t i = 0; i < n; i++)
        sn_buf_puts(out, groups[i].line);
}

#define BEFORE 13 /* characters of a frame's line before its name */

struct frame {
    const char *line; /* "             name (inline)\n" */
    size_t len;
};

struct frames {
    struct frame *of_line; /* by index of line, then by location */
    struct frame *of_location;
    struct frame *of_function; /* of lines of which nothing else is known */
};

static struct sn_node_info line_info(const struct sn_profile *p,
                                     const struct sn_location *l, const struct sn_line *x,
                                     struct sn_strtab *t)
{
    uint32_t object = l->mapping != SN_NONE ? p->mappings[l->mapping].file : 0;
    struct sn_node_info info = {.address = l->address, .object = object};
    if (x == NULL || x->function == SN_NONE)
        return info;
    const struct sn_function *f = &p->functions[x->function];
    info.name = f->name;
    info.line = x->line;
    info.column = x->column;
    info.file = sn_strtab_add(t, sn_clean_path(sn_profile_str(p, f->file), p->arena));
    if (f->name != 0)
        info.object = 0;
    return info;
}

static struct frame frame(const struct sn_profile *p, const struct sn_node_info *info,
                          bool inlined)
{
    const char *name = sn_node_name(p, info, p->arena);
    char *line = name != NULL ? sn_arena_printf(p->arena, "%*s%s%s\n", BEFORE, "", name,
                                                inlined ? " (inline)" : "")
                              : NULL;
    return (struct frame){line, line != NULL ? strlen(line) : 0};
}

static struct frame line_frame(struct sn_profile *p, const struct frames *f,
                               const struct sn_location *l, const struct sn_line *x,
                               bool inlined)
{
    bool plain = !inlined && l->address == 0 && x->line == 0 && x->column == 0 &&
                 x->function != SN_NONE && p->functions[x->function].name != 0;
    struct frame *known = plain ? &f->of_function[x->function] : NULL;
    if (known != NULL && known->line != NULL)
        return *known;
    struct sn_node_info info = line_info(p, l, x, p->strings);
    struct frame made = frame(p, &info, inlined);
    if (known != NULL)
        *known = made;
    return made;
}

/* Each once, not once a sample. */
static bool find_frames(struct sn_profile *p, struct frames *f)
{
    struct sn_arena *a = p->arena;
    f->of_line = sn_arena_alloc(a, (p->n_lines + 1) * sizeof *f->of_line);
    f->of_location = sn_arena_alloc(a, (p->n_locations + 1) * sizeof *f->of_location);
    f->of_function = sn_arena_alloc(a, (p->n_functions + 1) * sizeof *f->of_function);
    for (uint32_t i = 0; !sn_arena_failed(a) && i < p->n_locations; i++) {
        const struct sn_location *l = &p->locations[i];
        struct sn_node_info info = line_info(p, l, NULL, p->strings);
        if (l->n_lines == 0)
            f->of_location[i] = frame(p, &info, false);
        for (uint32_t k = 0; k < l->n_lines; k++)
            f->of_line[l->line0 + k] =
                line_frame(p, f, l, &p->lines[l->line0 + k], k + 1 < l->n_lines);
    }
    return !sn_arena_failed(a);
}

/* ---- samples --------------------------------------------------------------------------
 */

/* The first has the value. */
static void put_frame(const struct frame *f, const char *value, struct sn_buf *out)
{
    if (value == NULL) {
        sn_buf_add(out, f->line, f->len);
        return;
    }
    sn_buf_printf(out, "%10s   ", value);
    sn_buf_add(out, f->line + BEFORE, f->len - BEFORE);
}

static void put_stack(const struct sn_view *v, const struct sn_sample *s,
                      const struct frames *f, const char *value, struct sn_buf *out)
{
    const struct sn_profile *p = v->p;
    for (uint32_t i = 0; i < s->n_locs; i++) {
        uint32_t loc = p->sample_locs[s->loc0 + i];
        const struct sn_location *l = &p->locations[loc];
        if (l->n_lines == 0)
            put_frame(&f->of_location[loc], i == 0 ? value : NULL, out);
        for (uint32_t k = 0; k < l->n_lines; k++)
            put_frame(&f->of_line[l->line0 + k], i + k == 0 ? value : NULL, out);
    }
}

static void put_sample(const struct sn_view *v, uint32_t i, const struct frames *f,
                       struct sn_arena *a, struct sn_buf *out)
{
    const struct sn_sample *s = &v->p->samples[i];
    char value[64];
    int64_t divisor, weight = sn_view_weight(v, i, &divisor);
    if (s->n_locs == 0)
        return;
    sn_buf_puts(out, RULE);
    if (s->n_labels > 0)
        put_labels(v, s, a, out);
    sn_view_value(v, sn_mean(weight, divisor), value, sizeof value);
    put_stack(v, s, f, value, out);
}

/* ---- batches --------------------------------------------------------------------------
 *
 * Each is written by one thread into a text of its own, of which there is one for each
 * thread; then, when its turn has come, that goes out, while others write theirs.
 */

struct text {
    bool taken;
    struct sn_buf buf; /* in an arena of its own */
};

struct writing {
    const struct sn_view *v;
    const struct frames *frames;
    struct sn_buf *out;
    pthread_mutex_t lock; /* of what follows, and of `taken` */
    pthread_cond_t turned;
    unsigned turn; /* the batch that goes out next */
    bool failed;   /* nothing more needs to be written */
    unsigned n_texts;
    struct text texts[SN_CORES_MAX];
};

/* An empty one; it has failed already if nothing more needs to be written. */
static struct text *take_text(struct writing *w)
{
    unsigned i = 0;
    pthread_mutex_lock(&w->lock);
    while (w->texts[i].taken) /* there are as many as threads */
        i++;
    w->texts[i].taken = true;
    w->texts[i].buf.len = 0;
    w->texts[i].buf.failed |= w->failed;
    pthread_mutex_unlock(&w->lock);
    return &w->texts[i];
}

static void put_batch(const struct writing *w, unsigned batch, struct sn_buf *text)
{
    struct sn_arena *scratch = sn_arena_new();
    uint32_t n = w->v->p->n_samples,
             end = (batch + 1) * BATCH < n ? (batch + 1) * BATCH : n;
    for (uint32_t i = batch * BATCH; scratch != NULL && i < end && !text->failed; i++)
        put_sample(w->v, i, w->frames, scratch, text);
    text->failed |= scratch == NULL || sn_arena_failed(scratch);
    sn_arena_free(scratch);
}

static void write_batch(void *writing, unsigned batch)
{
    struct writing *w = writing;
    struct text *text = take_text(w);
    put_batch(w, batch, &text->buf);
    pthread_mutex_lock(&w->lock);
    while (w->turn != batch)
        pthread_cond_wait(&w->turned, &w->lock);
    pthread_mutex_unlock(&w->lock);
    sn_buf_add(w->out, text->buf.data, text->buf.len);
    w->out->failed |= text->buf.failed;
    pthread_mutex_lock(&w->lock);
    w->failed = w->out->failed;
    w->turn++;
    text->taken = false;
    pthread_cond_broadcast(&w->turned);
    pthread_mutex_unlock(&w->lock);
}

static bool write_samples(struct writing *w)
{
    uint32_t n = w->v->p->n_samples;
    bool good = true;
    w->n_texts = sn_cores();
    for (unsigned i = 0; i < w->n_texts; i++) {
        w->texts[i].buf.arena = sn_arena_new();
        good &= w->texts[i].buf.arena != NULL;
    }
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->turned, NULL);
    if (good)
        sn_parallel(n / BATCH + (n % BATCH != 0), write_batch, w);
    pthread_cond_destroy(&w->turned);
    pthread_mutex_destroy(&w->lock);
    for (unsigned i = 0; i < w->n_texts; i++)
        sn_arena_free(w->texts[i].buf.arena);
    return good;
}

bool sn_report_traces(struct sn_profile *p, const struct sn_options *o,
                      const char *argument, struct sn_buf *out, struct sn_error *e)
{
    struct sn_report r;
    struct frames frames;
    (void)argument;
    if (!sn_report_open(&r, p, o, (struct sn_view_kind){.node_count = 80}, false, e))
        return false;
    if (!find_frames(p, &frames))
        return sn_fail(e, NULL, -1, "out of memory");
    struct writing w = {.v = &r.v, .frames = &frames, .out = out};
    sn_report_profile_head(&r.v, out);
    if (!write_samples(&w))
        return sn_fail(e, NULL, -1, "out of memory");
    sn_buf_puts(out, RULE);
    return sn_report_done(out, e);
}
