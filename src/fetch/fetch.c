/*
 * fetch.c: URLs, and their transfer by one curl multi handle. A redirect is followed ten
 * times at most, an answer is taken up to a limit, and nothing waits for ever.
 *
 * libcurl is loaded when there is something to fetch: it brings some thirty libraries,
 * which would take each start of the command three times as long.
 */
#include "fetch/fetch.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>

#define CPU_PROFILE   "/debug/pprof/profile"
#define MAX_REDIRECTS 10L
#define GRACE         5 /* seconds above the timeout, as pprof */
#define FIRST_LINE    160

/* ---- URLs -----------------------------------------------------------------------------
 */

static const char *const schemes[] = {"file://", "http://", "https://",
                                      "https+insecure://"};

static const char *scheme_of(const char *word)
{
    for (size_t i = 0; i < SN_COUNT(schemes); i++)
        if (strncasecmp(word, schemes[i], strlen(schemes[i])) == 0)
            return schemes[i];
    return NULL;
}

/* "host:1234", "host:1234/path", "[::1]:80": a name, a colon, digits. */
static bool is_host_and_port(const char *word)
{
    size_t n = *word == '[' ? strcspn(word, "]") + 1 : strcspn(word, ":/?# \t");
    if (n == 0 || n >= strlen(word) || word[n] != ':')
        return false;
    size_t digits = strspn(word + n + 1, "0123456789");
    char after = word[n + 1 + digits];
    return digits > 0 && digits <= 5 && strchr("/?", after) != NULL; /* or its end */
}

/* The value of `seconds=` in the query; NULL: there is none. */
static const char *seconds_in(const char *url)
{
    for (const char *c = strchr(url, '?'); c != NULL; c = strchr(c, '&'))
        if (strncmp(++c, "seconds=", 8) == 0)
            return c;
    return NULL;
}

unsigned sn_fetch_seconds(const char *url)
{
    const char *at = seconds_in(url);
    unsigned long v = at != NULL ? strtoul(at + 8, NULL, 10) : 0;
    return v < 1000000 ? (unsigned)v : 1000000;
}

/* ... with the seconds asked for in place of those that it names. */
static void add_seconds(struct sn_buf *b, const char *query, unsigned seconds)
{
    const char *at = *query != '\0' ? seconds_in(query) : NULL;
    if (seconds == 0) {
        sn_buf_puts(b, query);
    } else if (at != NULL) {
        sn_buf_add(b, query, (size_t)(at - query));
        sn_buf_printf(b, "seconds=%u%s", seconds, at + strcspn(at, "&"));
    } else {
        sn_buf_printf(b, "%s%cseconds=%u", query, *query == '\0' ? '?' : '&', seconds);
    }
}

const char *sn_fetch_url(const char *word, const struct sn_fetch_options *o,
                         struct sn_arena *a)
{
    struct sn_buf b = {.arena = a};
    const char *scheme = scheme_of(word);
    if (scheme == NULL && !is_host_and_port(word))
        return NULL;
    sn_buf_puts(&b, scheme != NULL ? scheme : "http://");
    word += scheme != NULL ? strlen(scheme) : 0;
    if (scheme == schemes[0]) {
        sn_buf_puts(&b, word);
        return b.failed ? NULL : b.data;
    }
    size_t host = strcspn(word, "/?#");
    const char *path = word + host;
    size_t n = strcspn(path, "?#");
    sn_buf_add(&b, word, host);
    if (n == 0 || (n == 1 && *path == '/'))
        sn_buf_puts(&b, CPU_PROFILE);
    else
        sn_buf_add(&b, path, n);
    char *query = sn_arena_strndup(a, path + n, strcspn(path + n, "#"));
    if (query != NULL)
        add_seconds(&b, query, o->seconds);
    return query == NULL || b.failed ? NULL : b.data;
}

/* What errors call it: without "user:password@". */
static const char *shown(const char *url, struct sn_arena *a)
{
    const char *host = strstr(url, "://");
    host = host != NULL ? host + 3 : url;
    size_t n = strcspn(host, "/?");
    const char *at = memrchr(host, '@', n);
    char *s = at == NULL ? sn_arena_strdup(a, url)
                         : sn_arena_printf(a, "%.*s%s", (int)(host - url), url, at + 1);
    return s != NULL ? s : "URL";
}

/* ---- libcurl --------------------------------------------------------------------------
 */

#define FUNCTIONS(X)                                                                     \
    X(global_init)                                                                       \
    X(easy_init)                                                                         \
    X(easy_setopt)                                                                       \
    X(easy_getinfo)                                                                      \
    X(easy_strerror)                                                                     \
    X(easy_cleanup)                                                                      \
    X(multi_init)                                                                        \
    X(multi_add_handle)                                                                  \
    X(multi_perform)                                                                     \
    X(multi_poll)                                                                        \
    X(multi_info_read)                                                                   \
    X(multi_remove_handle)                                                               \
    X(multi_cleanup)                                                                     \
    X(slist_append)                                                                      \
    X(slist_free_all)

#define DECLARE(name) __typeof__(curl_##name) *name;
struct curl {
    FUNCTIONS(DECLARE)
};

/* What is loaded stays: it does not unload cleanly. */
static bool load(struct curl *curl, struct sn_error *e)
{
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return sn_fail(e, NULL, -1, "to fetch needs libcurl: %s", dlerror());
#define FIND(name)                                                                       \
    if ((*(void **)&curl->name = dlsym(library, "curl_" #name)) == NULL)                 \
        return sn_fail(e, NULL, -1, "to fetch needs another libcurl: %s", dlerror());
    FUNCTIONS(FIND)
    return curl->global_init(CURL_GLOBAL_DEFAULT) == 0 ||
           sn_fail(e, NULL, -1, "libcurl does not start");
}

/* ---- one transfer ---------------------------------------------------------------------
 */

struct transfer {
    const struct curl *curl;
    struct sn_fetched *to;
    const struct sn_fetch_options *o;
    const char *name;
    CURL *easy;
    struct curl_slist *headers;
    bool too_large;
    uint64_t *bytes; /* of all */
    char why[CURL_ERROR_SIZE];
};

static size_t take(char *data, size_t one, size_t n, void *arg)
{
    struct transfer *t = arg;
    (void)one;
    if (n > t->o->limit || t->to->body.len > t->o->limit - n) {
        t->too_large = true;
        return 0;
    }
    sn_buf_add(&t->to->body, data, n);
    *t->bytes += n;
    return t->to->body.failed ? 0 : n;
}

static unsigned timeout_of(const struct sn_fetch_options *o, const char *url)
{
    unsigned seconds = sn_fetch_seconds(url);
    if (o->timeout > 0)
        return o->timeout;
    return seconds > 0 ? seconds + seconds / 2 : 60;
}

static void set_up_tls(const struct curl *curl, CURL *c, const struct sn_fetch_options *o,
                       bool insecure)
{
    if (o->tls_cert != NULL)
        curl->easy_setopt(c, CURLOPT_SSLCERT, o->tls_cert);
    if (o->tls_key != NULL)
        curl->easy_setopt(c, CURLOPT_SSLKEY, o->tls_key);
    if (o->tls_ca != NULL)
        curl->easy_setopt(c, CURLOPT_CAINFO, o->tls_ca);
    curl->easy_setopt(c, CURLOPT_SSL_VERIFYPEER, insecure ? 0L : 1L);
    curl->easy_setopt(c, CURLOPT_SSL_VERIFYHOST, insecure ? 0L : 2L);
}

/* A redirect to somewhere else is a GET, unless it insists (307, 308). */
static bool set_up_post(struct transfer *t, CURL *c)
{
    const struct curl *curl = t->curl;
    const struct sn_buf *post = t->to->post;
    static const char *const headers[] = {"Content-Type: application/octet-stream",
                                          "Expect:"}; /* do not ask before it is sent */
    for (size_t i = 0; i < SN_COUNT(headers); i++) {
        struct curl_slist *all = curl->slist_append(t->headers, headers[i]);
        if (all == NULL)
            return false;
        t->headers = all;
    }
    curl->easy_setopt(c, CURLOPT_POST, 1L);
    curl->easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)post->len);
    curl->easy_setopt(c, CURLOPT_POSTFIELDS, post->len > 0 ? post->data : "");
    curl->easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
    return true;
}

static bool begin(struct transfer *t, CURLM *multi, struct sn_arena *a)
{
    const struct curl *curl = t->curl;
    const char *url = t->to->url;
    bool insecure = scheme_of(url) == schemes[3];
    if (insecure)
        url = sn_arena_printf(a, "https://%s", url + strlen(schemes[3]));
    CURL *c = t->easy = curl->easy_init();
    if (c == NULL || url == NULL)
        return false;
    curl->easy_setopt(c, CURLOPT_URL, url);
    curl->easy_setopt(c, CURLOPT_PROTOCOLS_STR, "file,http,https");
    curl->easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl->easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl->easy_setopt(c, CURLOPT_MAXREDIRS, MAX_REDIRECTS);
    curl->easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl->easy_setopt(c, CURLOPT_TIMEOUT, (long)timeout_of(t->o, url) + GRACE);
    curl->easy_setopt(c, CURLOPT_USERAGENT, "sonde");
    curl->easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl->easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl->easy_setopt(c, CURLOPT_PRIVATE, t);
    curl->easy_setopt(c, CURLOPT_ERRORBUFFER, t->why);
    set_up_tls(curl, c, t->o, insecure);
    if (t->to->post != NULL && !set_up_post(t, c))
        return false;
    return curl->multi_add_handle(multi, c) == CURLM_OK;
}

/* The first line of what a server said, where it is text. */
static int first_line(const struct sn_buf *b)
{
    size_t n = 0;
    while (n < b->len && n < FIRST_LINE && (unsigned char)b->data[n] >= ' ')
        n++;
    return (int)n;
}

static void finish(struct transfer *t, CURLcode code)
{
    struct sn_error *e = &t->to->error;
    const struct curl *curl = t->curl;
    long status = 0;
    curl->easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->too_large)
        sn_fail(e, t->name, -1, "more than the limit of %zu bytes", t->o->limit);
    else if (t->to->body.failed)
        sn_fail(e, t->name, -1, "out of memory");
    else if (code != CURLE_OK)
        sn_fail(e, t->name, -1, "%s",
                *t->why != '\0' ? t->why : curl->easy_strerror(code));
    else if (status >= 300) {
        int n = first_line(&t->to->body);
        sn_fail(e, t->name, -1, "the server answers %ld%s%.*s", status, n > 0 ? ": " : "",
                n, n > 0 ? t->to->body.data : "");
    }
}

/* ---- all of them ----------------------------------------------------------------------
 */

static void end_finished(const struct curl *curl, CURLM *multi)
{
    int left;
    for (CURLMsg *m; (m = curl->multi_info_read(multi, &left)) != NULL;) {
        struct transfer *t;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl->easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        finish(t, m->data.result);
    }
}

static unsigned seconds_since(const struct timespec *began)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned)(now.tv_sec - began->tv_sec);
}

static void run(const struct curl *curl, CURLM *multi, const struct sn_fetch_options *o,
                unsigned longest, const uint64_t *bytes)
{
    struct timespec began;
    int running = 1;
    clock_gettime(CLOCK_MONOTONIC, &began);
    while (running > 0 && curl->multi_perform(multi, &running) == CURLM_OK) {
        unsigned passed = seconds_since(&began);
        if (o->progress != NULL)
            o->progress(o->progress_arg, *bytes, longest > passed ? longest - passed : 0);
        end_finished(curl, multi);
        if (running > 0)
            curl->multi_poll(multi, NULL, 0, 200, NULL);
    }
    end_finished(curl, multi);
}

size_t sn_fetch(struct sn_fetched *v, size_t n, const struct sn_fetch_options *o,
                struct sn_arena *a)
{
    struct transfer *t = sn_arena_alloc(a, (n + 1) * sizeof *t);
    struct curl curl;
    struct sn_error why = {.offset = -1};
    CURLM *multi = load(&curl, &why) ? curl.multi_init() : NULL;
    uint64_t bytes = 0;
    unsigned longest = 0;
    size_t good = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned seconds = sn_fetch_seconds(v[i].url);
        v[i].body = (struct sn_buf){.arena = a};
        v[i].error = (struct sn_error){.offset = -1};
        longest = seconds > longest ? seconds : longest;
        if (t != NULL)
            t[i] = (struct transfer){.curl = &curl,
                                     .to = &v[i],
                                     .o = o,
                                     .name = shown(v[i].url, a),
                                     .bytes = &bytes};
        if (t == NULL || multi == NULL || !begin(&t[i], multi, a))
            sn_fail(&v[i].error, v[i].url, -1, "%s",
                    *why.what != '\0' ? why.what : "out of memory");
    }
    if (multi != NULL)
        run(&curl, multi, o, longest, &bytes);
    for (size_t i = 0; i < n; i++) {
        if (t != NULL && t[i].easy != NULL) {
            curl.multi_remove_handle(multi, t[i].easy);
            curl.easy_cleanup(t[i].easy);
            curl.slist_free_all(t[i].headers);
        }
        good += v[i].error.what[0] == '\0';
    }
    if (multi != NULL)
        curl.multi_cleanup(multi);
    return good;
}
