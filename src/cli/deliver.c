/* deliver.c: what a recorded program left, as symbolised files and a first look. */
#include "run.h"

#define NAMED 10 /* files that are told one by one */

/* One kind on its way. */
struct delivery {
    const struct run_kind *kind;
    const struct harvest *h;
    const struct run_request *r;
    struct batch batch;
    struct destination to;
    struct sn_buf files; /* lines that name them, told below the head */
};

/* ---- profiles that are becoming one: few at a time, however many there were -----------
 */

struct pile {
    struct sn_profile *v[32];
    size_t n;
};

static bool pile_press(struct pile *p, struct sn_error *e)
{
    if (p->n < 2)
        return true;
    struct sn_profile *merged = load_merge(p->v, p->n, e);
    p->n = 0;
    if (merged != NULL)
        p->v[p->n++] = merged;
    return merged != NULL;
}

static bool pile_add(struct pile *p, struct sn_profile *one, struct sn_error *e)
{
    p->v[p->n++] = one;
    return p->n < SN_COUNT(p->v) || pile_press(p, e);
}

/* ---- files ----------------------------------------------------------------------------
 */

/* One image's file; the first of them are named. */
static bool write_image(struct delivery *d, uint32_t i, struct sn_profile *p,
                        struct sn_error *e)
{
    const struct sn_recorded *image = &d->batch.v[i];
    char path[PATH_MAX], size[64];
    destination_file(&d->to, d->kind->name, image, d->h->main_pid, path);
    if (!output_named(p, path, e))
        return false;
    d->kind->size(image, size, sizeof size);
    if (i < NAMED)
        sn_buf_printf(&d->files, "sonde: %s: %s of %s\n", path, size, image->name);
    else if (i + 1 == d->batch.n)
        sn_buf_printf(&d->files, "sonde: and %u more files; --merge makes them one\n",
                      d->batch.n - NAMED);
    return true;
}

static bool write_merged(struct delivery *d, struct sn_profile *all, struct sn_error *e)
{
    const struct sn_recorded main_process = {.pid = d->h->main_pid};
    char path[PATH_MAX];
    if (d->batch.n > 1)
        d->kind->comment(all, &d->batch);
    destination_file(&d->to, d->kind->name, &main_process, d->h->main_pid, path);
    if (!output_named(all, path, e))
        return false;
    sn_buf_printf(&d->files,
                  d->batch.n == 1 ? "sonde: %s: %u program\n"
                                  : "sonde: %s: all %u programs\n",
                  path, d->batch.n);
    return true;
}

/* Write a file each unless they are merged, and pile them up. */
static bool write_images(struct delivery *d, struct pile *pile, struct sn_error *e)
{
    for (uint32_t i = 0; i < d->batch.n; i++) {
        struct sn_error bad = {.offset = -1};
        struct sn_profile *p = sn_recorded_load(&d->batch.v[i], &bad);
        if (p == NULL) { /* a process gone wild; the others are good */
            say_error(&bad);
            continue;
        }
        if (!d->r->merge && !write_image(d, i, p, e)) {
            sn_profile_free(p);
            return false;
        }
        if (!pile_add(pile, p, e))
            return false;
    }
    return pile_press(pile, e) &&
           (!d->r->merge || pile->n == 0 || write_merged(d, pile->v[0], e));
}

/* ---- the first look -------------------------------------------------------------------
 */

/* Below what has no names. */
static void print_tables(const struct delivery *d, struct sn_profile *p)
{
    struct sn_buf out = {.arena = p->arena}, painted = {.arena = p->arena};
    struct sn_error e = {.offset = -1};
    bool good = load_symbols(p, NULL, NULL, NULL, TELL_MODULES, &e) &&
                d->kind->tables(p, &d->batch, &out, &e);
    if (good && colour_wanted(stderr)) {
        paint_table(&out, &painted);
        out = painted;
    }
    if (good && !out.failed)
        fwrite(out.data, 1, out.len, stderr);
    else
        say_error(&e);
}

static bool deliver(struct delivery *d, struct sn_error *e)
{
    struct pile pile = {0};
    bool good = write_images(d, &pile, e);
    if (!d->r->quiet) {
        d->kind->head(&d->batch);
        fwrite(d->files.data, 1, d->files.len, stderr);
    }
    if (good && !d->r->quiet && pile.n > 0 && pile.v[0]->n_samples > 0)
        print_tables(d, pile.v[0]);
    else if (good && !d->r->quiet && pile.n > 0)
        say("%s", d->kind->nothing);
    while (pile.n > 0)
        sn_profile_free(pile.v[--pile.n]);
    return good;
}

/* FILE is for the kind that was asked for; another may come by SONDE. */
static bool deliver_kind(struct delivery *d, bool wanted, struct sn_error *e)
{
    struct sn_arena *a = sn_arena_new();
    bool good = a != NULL || sn_fail(e, NULL, -1, "out of memory");
    d->files.arena = a;
    if (wanted || d->h->to.is_dir)
        d->to = d->h->to;
    good = good && destination_hold(&d->to, d->kind->name, e) && deliver(d, e);
    destination_release(&d->to);
    sn_arena_free(a);
    return good;
}

bool run_deliver(const struct harvest *h, const struct run_request *r, struct sn_error *e)
{
    const bool wanted[SN_SPOOL_KINDS] = {
        [SN_SPOOL_CPU] = r->cpu, [SN_SPOOL_HEAP] = r->mem};
    bool good = true, any = false;
    for (unsigned k = 0; k < SN_SPOOL_KINDS; k++) {
        struct delivery d = {.kind = &run_kinds[k], .h = h, .r = r};
        d.batch.v = sn_record_images(h->record, k, &d.batch.n);
        d.batch.cpu_ns = h->cpu_ns;
        if (d.kind->name == NULL || d.batch.n == 0)
            continue;
        if (any && !r->quiet)
            fputc('\n', stderr);
        any = true;
        good = deliver_kind(&d, wanted[k], e) && good;
    }
    good = written_deliver(h, r->quiet, e) && good;
    return any ? good
               : sn_fail(e, NULL, -1,
                         "nothing was recorded: libsonde.so was not loaded, or could not "
                         "start");
}
