/*
 * example1.c: a small text index, profiled. It makes up chapters of prose, counts their
 * words in a hash table and keeps where each stands, sorts them, and compares the
 * chapters by the words they share (a matrix product): two seconds of ordinary work, deep
 * enough for call graphs worth looking at, of its time and of its memory.
 *
 *     cc -g -O2 example1.c -lsonde -o example1 && ./example1
 *     sonde --pdf ./example1 cpu.pprof > callgraph.pdf
 *     sonde --pdf ./example1 mem.pprof > mem.pdf
 *     sonde top ./example1 cpu.pprof
 */
#include <sonde.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAPTERS 40
#define WORDS    40000 /* in a chapter */
#define SLOTS    65536 /* of the hash table; a power of two */
#define TOPICS   320   /* words that chapters are compared by */

/* Without this the compiler would melt these small functions into one. Sonde shows
 * inlined calls too; the picture is only easier to read with boxes of their own. */
#define STEP     __attribute__((noinline)) static

struct word {
    char text[16];
    unsigned count[CHAPTERS];
    unsigned total;
    uint32_t *places; /* where it stands, chapters one after the other */
    size_t n_places, cap_places;
};

static struct word *table[SLOTS];
static struct word **words;
static size_t n_words;
static double topics[CHAPTERS][TOPICS], likeness[CHAPTERS][CHAPTERS];

/* ---- prose
 * ------------------------------------------------------------------------------ */

static uint64_t seed = 42;

STEP unsigned next_random(unsigned below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % below;
}

STEP void make_word(char *text)
{
    static const char *const syllables[] = {"ba",  "ren", "to", "mi", "lus", "ka",
                                            "so",  "den", "ri", "vo", "el",  "an",
                                            "tur", "pe",  "no", "gra"};
    unsigned n = 1 + next_random(3);
    text[0] = '\0';
    for (unsigned i = 0; i < n; i++)
        strcat(text, syllables[next_random(sizeof syllables / sizeof *syllables)]);
}

STEP char *make_chapter(void)
{
    char *prose = malloc(WORDS * 16 + 1), *end = prose;
    if (prose == NULL)
        abort();
    for (unsigned i = 0; i < WORDS; i++) {
        make_word(end);
        end += strlen(end);
        *end++ = i % 11 == 10 ? '.' : ' ';
    }
    *end = '\0';
    return prose;
}

/* ---- the index
 * -------------------------------------------------------------------------- */

STEP uint32_t hash(const char *text, size_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)text[i]) * 16777619u;
    return h;
}

STEP struct word *new_word(const char *text, size_t len)
{
    struct word *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    memcpy(w->text, text, len);
    words = realloc(words, (n_words + 1) * sizeof *words);
    if (words == NULL)
        abort();
    return words[n_words++] = w;
}

STEP struct word *find_word(const char *text, size_t len)
{
    uint32_t i = hash(text, len) % SLOTS;
    while (table[i] != NULL &&
           (strncmp(table[i]->text, text, len) != 0 || table[i]->text[len] != '\0'))
        i = (i + 1) % SLOTS;
    if (table[i] == NULL)
        table[i] = new_word(text, len);
    return table[i];
}

STEP void add_place(struct word *w, uint32_t place)
{
    if (w->n_places == w->cap_places) {
        w->cap_places = w->cap_places > 0 ? 2 * w->cap_places : 4;
        w->places = realloc(w->places, w->cap_places * sizeof *w->places);
        if (w->places == NULL)
            abort();
    }
    w->places[w->n_places++] = place;
}

STEP void count_words(const char *prose, unsigned chapter)
{
    for (uint32_t place = chapter * WORDS; *prose != '\0'; place++) {
        size_t len = strcspn(prose, " .");
        if (len > 0) {
            struct word *w = find_word(prose, len);
            w->count[chapter]++;
            w->total++;
            add_place(w, place);
        }
        prose += len + 1;
    }
}

STEP void index_chapters(void)
{
    for (size_t i = 0; i < n_words; i++)
        words[i]->n_places = 0; /* of the round before */
    for (unsigned i = 0; i < CHAPTERS; i++) {
        char *prose = make_chapter();
        count_words(prose, i);
        free(prose);
    }
}

/* ---- the order
 * -------------------------------------------------------------------------- */

STEP int by_total(const void *a, const void *b)
{
    const struct word *const *x = a, *const *y = b;
    int order = ((*x)->total < (*y)->total) - ((*x)->total > (*y)->total);
    return order != 0 ? order : strcmp((*x)->text, (*y)->text);
}

STEP int by_text(const void *a, const void *b)
{
    const struct word *const *x = a, *const *y = b;
    return strcmp((*x)->text, (*y)->text);
}

STEP void sort_words(void)
{
    for (int i = 0; i < 30; i++) {
        qsort(words, n_words, sizeof *words, by_text);
        qsort(words, n_words, sizeof *words, by_total);
    }
}

/* ---- likeness
 * --------------------------------------------------------------------------- */

STEP void fill_topics(void)
{
    for (size_t t = 0; t < TOPICS; t++)
        for (size_t c = 0; c < CHAPTERS; c++)
            topics[c][t] = (double)words[t % n_words]->count[c] / WORDS;
}

STEP double dot_product(const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < TOPICS; i++)
        sum += a[i] * b[i];
    return sum;
}

STEP void compare_chapters(void)
{
    fill_topics();
    for (int round = 0; round < 200; round++)
        for (size_t a = 0; a < CHAPTERS; a++)
            for (size_t b = 0; b < CHAPTERS; b++)
                likeness[a][b] = dot_product(topics[a], topics[b]);
}

int main(void)
{
    struct sonde *profile = sonde_start(&(struct sonde_config){.cpu_profile = true,
                                                               .mem_profile = true,
                                                               .profile_path = ".",
                                                               .no_shutdown_hook = true,
                                                               .cpu_hz = 500,
                                                               .mem_rate = 16384});
    if (profile == NULL) {
        fprintf(stderr, "example1: %s\n", sonde_error());
        return 1;
    }
    for (int round = 0; round < 13; round++) {
        index_chapters();
        sort_words();
        compare_chapters();
    }
    printf("%zu words; the commonest is \"%s\", %u times; the first two chapters are "
           "%.4f alike\n",
           n_words, words[0]->text, words[0]->total, likeness[0][1] / likeness[0][0]);
    return sonde_stop(profile) != 0;
}
