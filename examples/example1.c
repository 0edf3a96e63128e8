/*
 * example1.c: a small text index, profiled: its CPU time and its heap. It makes up a
 * library of prose, indexes where each word stands, sorts the words, compares the
 * chapters by the words they share (a matrix product), and prints what surrounds the
 * commonest words: two seconds of ordinary work, with call graphs worth looking at.
 *
 *     cc -g -O2 example1.c -lsonde -o example1 && ./example1
 *     sonde --pdf ./example1 cpu.pprof > callgraph.pdf
 *     sonde --pdf ./example1 mem.pprof > mem.pdf
 *     sonde top ./example1 cpu.pprof
 *     sonde top --peak ./example1 mem.pprof
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
#define COMMON   100   /* words whose surroundings are printed */

/* Without this the compiler would melt these small functions into one. Sonde shows
 * inlined calls too; the picture is only easier to read with boxes of their own. */
#define STEP     __attribute__((noinline)) static

struct word {
    char text[16];
    unsigned count[CHAPTERS];
    unsigned total;
    const char **places; /* where it stands in the prose: total of them, room for more */
    size_t room;
};

static char *library[CHAPTERS];
static struct word *table[SLOTS];
static struct word **words;
static size_t n_words, words_room;
static double topics[CHAPTERS][TOPICS], likeness[CHAPTERS][CHAPTERS];

/* An array that grows by half when it is full. */
STEP void *grow(void *array, size_t *room, size_t size)
{
    *room = *room < 8 ? 8 : *room + *room / 2;
    array = realloc(array, *room * size);
    if (array == NULL)
        abort();
    return array;
}

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
    char *draft = malloc(WORDS * 16 + 1), *end = draft;
    if (draft == NULL)
        abort();
    for (unsigned i = 0; i < WORDS; i++) {
        make_word(end);
        end += strlen(end);
        *end++ = i % 11 == 10 ? '.' : ' ';
    }
    *end = '\0';
    char *prose = strdup(draft); /* no longer than it must be */
    if (prose == NULL)
        abort();
    free(draft);
    return prose;
}

STEP void make_library(void)
{
    for (unsigned i = 0; i < CHAPTERS; i++)
        library[i] = make_chapter();
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

STEP struct word *new_word(const char *text)
{
    struct word *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    strcpy(w->text, text);
    if (n_words == words_room)
        words = grow(words, &words_room, sizeof *words);
    return words[n_words++] = w;
}

STEP struct word *find_word(const char *text, size_t len)
{
    uint32_t i = hash(text, len) % SLOTS;
    while (table[i] != NULL && strcmp(table[i]->text, text) != 0)
        i = (i + 1) % SLOTS;
    if (table[i] == NULL)
        table[i] = new_word(text);
    return table[i];
}

/* A copy of the word, for as long as it is looked up. */
STEP struct word *look_up(const char *prose, size_t len)
{
    char *text = strndup(prose, len);
    if (text == NULL)
        abort();
    struct word *w = find_word(text, len);
    free(text);
    return w;
}

STEP void add_place(struct word *w, const char *place)
{
    if (w->total == w->room)
        w->places = grow(w->places, &w->room, sizeof *w->places);
    w->places[w->total++] = place;
}

STEP void index_chapter(const char *prose, unsigned chapter)
{
    while (*prose != '\0') {
        size_t len = strcspn(prose, " .");
        if (len > 0) {
            struct word *w = look_up(prose, len);
            w->count[chapter]++;
            add_place(w, prose);
        }
        prose += len + 1;
    }
}

STEP void forget_places(void)
{
    for (size_t i = 0; i < n_words; i++) {
        free(words[i]->places);
        words[i]->places = NULL;
        words[i]->total = 0;
        words[i]->room = 0;
        memset(words[i]->count, 0, sizeof words[i]->count);
    }
}

STEP void index_library(void)
{
    forget_places();
    for (unsigned i = 0; i < CHAPTERS; i++)
        index_chapter(library[i], i);
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

/* ---- the concordance
 * ------------------------------------------------------------------------ */

/* Some words around a place. */
STEP char *cut_line(const char *place)
{
    char *line = strndup(place, 40);
    if (line == NULL)
        abort();
    return line;
}

STEP int by_line(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* How many different lines; all of them are in memory for a while: the heap's peak. */
STEP size_t print_concordance(void)
{
    char **lines = NULL;
    size_t n = 0, room = 0, different = 0;
    for (size_t i = 0; i < COMMON && i < n_words; i++)
        for (unsigned k = 0; k < words[i]->total; k++) {
            if (n == room)
                lines = grow(lines, &room, sizeof *lines);
            lines[n++] = cut_line(words[i]->places[k]);
        }
    qsort(lines, n, sizeof *lines, by_line);
    for (size_t i = 0; i < n; i++)
        different += i == 0 || strcmp(lines[i], lines[i - 1]) != 0;
    for (size_t i = 0; i < n; i++)
        free(lines[i]);
    free(lines);
    return different;
}

int main(void)
{
    struct sonde *profile = sonde_start(&(struct sonde_config){
        .cpu_profile = true,
        .mem_profile = true,
        .profile_path = ".",
        .no_shutdown_hook = true,
        .cpu_hz = 500,
        .mem_rate = 65536, /* a sample in 64 kB: this is a small heap */
    });
    if (profile == NULL) {
        fprintf(stderr, "example1: %s\n", sonde_error());
        return 1;
    }
    printf("indexing %d chapters of %d words\n", CHAPTERS, WORDS);
    make_library();
    for (int round = 0; round < 9; round++) {
        index_library();
        sort_words();
        compare_chapters();
    }
    size_t lines = print_concordance();
    printf("%zu words; the commonest is \"%s\", %u times; the first two chapters are "
           "%.4f alike; %zu lines around common words\n",
           n_words, words[0]->text, words[0]->total, likeness[0][1] / likeness[0][0],
           lines);
    return sonde_stop(profile) != 0; /* the library and its index are still in use */
}
