/* say.c: messages, progress and suggestions, all on stderr. */
#include "cli.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define RED   "\033[1;31m"
#define PLAIN "\033[0m"

bool colour_wanted(FILE *to)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fileno(to)) && (no == NULL || *no == '\0') && term != NULL &&
           strcmp(term, "dumb") != 0;
}

void say(const char *fmt, ...)
{
    va_list ap;
    fputs("sonde: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

int say_error(const struct sn_error *e)
{
    char text[640];
    bool colour = colour_wanted(stderr);
    fprintf(stderr, "%ssonde:%s %s\n", colour ? RED : "", colour ? PLAIN : "",
            sn_error_text(e, text, sizeof text));
    return EXIT_FAILED;
}

int say_usage(const char *command, const struct sn_error *e)
{
    say_error(e);
    fprintf(stderr,
            command != NULL ? "       see 'sonde help %s'\n"
                            : "       see 'sonde help'\n",
            command);
    return EXIT_USAGE;
}

/* ---- progress -------------------------------------------------------------------------
 */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void progress_show(struct progress *p, const char *fmt, ...)
{
    const uint64_t patience = 400000000, pause = 100000000;
    uint64_t now = now_ns();
    va_list ap;
    if (p->began_ns == 0)
        p->began_ns = now;
    if (now - p->began_ns < patience || now - p->drawn_ns < pause ||
        !isatty(STDERR_FILENO))
        return;
    p->drawn_ns = now;
    p->drawn = true;
    fputs("\r\033[K", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fflush(stderr);
}

void progress_clear(struct progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    *p = (struct progress){0};
}

struct busy {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool over;
    const char *what;
};

static void *draw_seconds(void *arg)
{
    struct busy *b = arg;
    struct progress progress = {0};
    uint64_t began = now_ns();
    pthread_mutex_lock(&b->lock);
    while (!b->over) {
        uint64_t until = now_ns() + 100000000;
        struct timespec t = {(time_t)(until / 1000000000), (long)(until % 1000000000)};
        pthread_cond_clockwait(&b->ended, &b->lock, CLOCK_MONOTONIC, &t);
        if (!b->over)
            progress_show(&progress, "%s: %u s", b->what,
                          (unsigned)((now_ns() - began) / 1000000000));
    }
    progress_clear(&progress);
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

struct busy *busy_begin(const char *what)
{
    struct busy *b = isatty(STDERR_FILENO) ? calloc(1, sizeof *b) : NULL;
    if (b == NULL)
        return NULL;
    b->what = what;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->ended, NULL);
    if (pthread_create(&b->thread, NULL, draw_seconds, b) == 0)
        return b;
    free(b);
    return NULL;
}

void busy_end(struct busy *b)
{
    if (b == NULL)
        return;
    pthread_mutex_lock(&b->lock);
    b->over = true;
    pthread_cond_signal(&b->ended);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    free(b);
}

/* ---- suggestions ----------------------------------------------------------------------
 */

#define LONGEST 32

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

/* Edits (insert, delete, replace, swap neighbours) from a to b; both short. */
static unsigned edits(const char *a, const char *b)
{
    unsigned d[LONGEST + 1][LONGEST + 1];
    size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST)
        return LONGEST;
    for (size_t i = 0; i <= n; i++)
        d[i][0] = (unsigned)i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++)
        for (size_t j = 1; j <= m; j++) {
            d[i][j] = least(d[i - 1][j] + 1, d[i][j - 1] + 1,
                            d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < d[i][j])
                d[i][j] = d[i - 2][j - 2] + 1;
        }
    return d[n][m];
}

void guess_offer(struct guess *g, const char *candidate)
{
    size_t n = strlen(g->word);
    unsigned distance = edits(g->word, candidate);
    if (n >= 3 && strncmp(g->word, candidate, n) == 0)
        distance = 1; /* cut short */
    if (distance > 1 + n / 4 || distance >= n ||
        (g->best != NULL && distance >= g->distance))
        return;
    g->best = candidate;
    g->distance = distance;
}
