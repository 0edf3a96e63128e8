/*
 * fetch: profiles from servers, and names for their addresses, by libcurl. One call takes
 * several URLs at once.
 *
 * What counts as a URL, and what is made of it, is as in `go tool pprof`: file:, http:,
 * https:, https+insecure: (any certificate will do), HOST:PORT and HOST:PORT/PATH;
 * without a path it is Go's CPU profile. Proxies are those of the environment.
 */
#ifndef SN_FETCH_H
#define SN_FETCH_H

#include "base/base.h"

struct sn_fetch_options {
    unsigned seconds;                        /* that a profile is to last; 0: not said */
    unsigned timeout;                        /* seconds; 0: 1.5 times as long, or 60 */
    const char *tls_cert, *tls_key, *tls_ca; /* PEM files; NULL: none */
    size_t limit;                            /* bytes of one answer */
    /* Told now and then: bytes that came, seconds until the last is due (0: at once). */
    void (*progress)(void *arg, uint64_t bytes, unsigned left);
    void *progress_arg;
};

struct sn_fetched {
    const char *url;           /* in: of sn_fetch_url */
    const struct sn_buf *post; /* in: sent with a POST; NULL: it is a GET */
    struct sn_buf body;        /* out; in the arena of the call */
    struct sn_error error;     /* out; what "" says that the body is whole */
};

/* The URL that a word of a command line stands for, in `a`; NULL: it is none, but a
 * file's name (or there is no memory). Looks at no file. */
const char *sn_fetch_url(const char *word, const struct sn_fetch_options *o,
                         struct sn_arena *a);
/* The seconds that a URL asks its server to take; 0: it does not say. */
unsigned sn_fetch_seconds(const char *url);
/* Get (or post to) all n at once; returns how many came. Errors name the URL, without its
 * password. */
size_t sn_fetch(struct sn_fetched *v, size_t n, const struct sn_fetch_options *o,
                struct sn_arena *a);

#endif
