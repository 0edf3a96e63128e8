/* symbolize_priv.h: what the files of this room share. */
#ifndef SN_SYMBOLIZE_PRIV_H
#define SN_SYMBOLIZE_PRIV_H

#include "symbolize/symbolize.h"

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
