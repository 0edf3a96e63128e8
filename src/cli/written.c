/* written.c: what a recorded program wrote itself, beside its spools: profiles of its own
 * (sonde_profile_new), and the heap's when mem_signal asked for it. They get names, and
 * go where the others go. */
#include "run.h"

#include <unistd.h>

#define NAMED 10 /* files that are told one by one */

/* "connections.4711.pprof: 3 connections, written by the program" */
static void tell(const struct sn_profile *p, const char *path)
{
    uint32_t type = p->n_types - 1;
    int64_t sum = 0;
    char text[64];
    for (uint32_t i = 0; i < p->n_types; i++)
        if (p->default_sample_type != 0 && p->types[i].type == p->default_sample_type)
            type = i;
    for (uint32_t i = type; i < p->n_values; i += p->n_types)
        sum += p->values[i];
    sn_unit_label(sum, sn_profile_str(p, p->types[type].unit), "auto", text, sizeof text);
    say("%s: %s %s, written by the program", path, sum != 0 ? text : "0",
        sn_profile_str(p, p->types[type].type));
}

/* It keeps its name, in which its process is; or the next that is free. */
static bool choose(const struct harvest *h, const char *from, char *path, size_t size,
                   struct sn_error *e)
{
    char stem[PATH_MAX];
    destination_beside(&h->to, strrchr(from, '/') + 1, stem, sizeof stem);
    stem[strlen(stem) - strlen(".pprof")] = '\0';
    return output_hold(stem, path, size, e);
}

static bool hand_over(const struct harvest *h, const char *from, bool told,
                      struct sn_error *e)
{
    struct sn_error bad = {.offset = -1};
    char path[PATH_MAX];
    struct sn_profile *p = load_file(from, &bad);
    if (p == NULL) { /* its writer has gone wild; the others are good */
        say_error(&bad);
        return true;
    }
    bool chosen = choose(h, from, path, sizeof path, e);
    bool good = chosen && output_named(p, path, e);
    if (good && told)
        tell(p, path);
    if (chosen && !good)
        unlink(path);
    sn_profile_free(p);
    return good;
}

bool written_deliver(const struct harvest *h, bool quiet, struct sn_error *e)
{
    uint32_t n;
    const char *const *files = sn_record_written(h->record, &n);
    for (uint32_t i = 0; i < n; i++)
        if (!hand_over(h, files[i], !quiet && i < NAMED, e))
            return false;
    if (!quiet && n > NAMED)
        say("and %u more files, written by the program", n - NAMED);
    return true;
}
