/* symbolize_priv.h: what the files of this room share. */
#ifndef SN_SYMBOLIZE_PRIV_H
#define SN_SYMBOLIZE_PRIV_H

#include "object/object.h"
#include "symbolize/symbolize.h"

/* symbolize.c: one profile's way. */
struct symbolizer {
    struct sn_profile *p;
    const struct sn_symbolize_options *o;
    struct sn_buf *log;
    struct sn_map *functions; /* hash of a function to the newest of that hash */
    struct sn_object_fetch fetch;
    const char *module; /* at hand, and how many addresses it has */
    uint32_t module_total;
    struct sn_buf
        elsewhere; /* what was found in its place, and why not taken, a line each */
    uint32_t *next;
    uint32_t n_next, cap_next;
    struct sn_map *demangled; /* linkage name's id to the plain name's */
    struct sn_map *strings;   /* where a string of the object at hand is, to its id */
    bool server_failed;
};

/* Give a location one line: a function of that linkage name, and nothing more. False: out
 * of memory. */
bool symbolizer_name(struct symbolizer *s, struct sn_location *l, uint32_t name);
/* The plain name of a linkage name; both are string ids. */
uint32_t symbolizer_plain(struct symbolizer *s, uint32_t mangled);

/* remote.c: what a server knows. May mapping m be asked for? */
bool remote_can_ask(const struct symbolizer *s, const struct sn_mapping *m);
/* Names for those of the n locations v (of mapping m, ascending) that have none; *named
 * is how many got one. False: *e says why, and nothing was changed; or there is no
 * memory. */
bool remote_name(struct symbolizer *s, struct sn_mapping *m, const uint32_t *v,
                 uint32_t n, uint32_t *named, struct sn_error *e);
/* Where the server of a profile's URL answers for names. False: it is no server. */
bool remote_url(const char *source, struct sn_buf *url);

/* demangle_all.c: names[i] demangled is plain[i], which lives as long as the names and
 * this. */
struct demangled {
    const char **plain;
    struct sn_arena *own;
    struct sn_arena **arenas;
    unsigned n_arenas;
};

/* False: out of memory; nothing is there then. */
bool demangle_all(const char *const *names, uint32_t n, enum sn_demangle mode,
                  struct demangled *out);
void demangled_free(struct demangled *d);

#endif
