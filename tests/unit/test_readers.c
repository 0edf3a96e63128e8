/* test_readers.c: each format that is read beside profile.proto: what comes of it; and
 * that no file which is cut, or in which bytes were changed, does harm. */
#include "../tap.h"
#include "formats/readers.h"

#include <stdio.h>

#define MAPS                                                                             \
    "00400000-00500000 r-xp 00000000 08:01 12 /bin/program\n"                            \
    "00500000-00600000 rw-p 00100000 08:01 12 /bin/program\n"                            \
    "7f0000000000-7f0000010000 r-xp 00001000 08:01 13 /lib/libx.so.1\n"

static const struct {
    const char *reader, *text;
    uint32_t types, samples, locations, mappings;
    int64_t values[16];
} files[] = {
    {"heap as text",
     "heap profile: 3: 30 [ 5: 50] @ heapprofile\n"
     " 1: 10 [2: 20] @ 0x401001 0x7f0000000101\n 0: 0 [1: 10] @ 0x401001\n"
     "MAPPED_LIBRARIES:\n" MAPS,
     4,
     2,
     2,
     2,
     {2, 20, 1, 10, 1, 10, 0, 0}},
    {"heap as text",
     "heap profile: 1: 1000 [1: 1000] @ heap_v2/524288\n1: 1000 [1: 1000] @ 0x401001\n",
     2,
     1,
     1,
     1,
     {524, 524788}},
    {"heap as text",
     "heap profile: 1: 1000 [1: 1000] @ heap/1048576\n1: 1000 [1: 1000] @ 0x401001\n"
     "# 0x401000 main.f\n\n# runtime.MemStats\n",
     2,
     1,
     1,
     1,
     {524, 524788}},
    {"heap as text",
     "heap profile: 1: 100 [1: 100] @ growthz\n1: 100 [1: 100] @ 0x401001\n",
     2,
     1,
     1,
     1,
     {1, 100}},
    {"Go's counts as text",
     "goroutine profile: total 5\n4 @ 0x401001 0x401101\n# 0x401000 f\n\n1 @ 0x401001\n",
     1,
     2,
     2,
     1,
     {4, 1}},
    {"threads as text",
     "--- threadz 1 ---\n--- Thread 7f01 (name: a/1) stack: ---\n  PC: 0x401000: f\n"
     "  0x401101: main\n--- Thread 7f02 (name: b/2) stack: ---\n"
     "  [same as previous thread]\n--- Memory map: ---\n 00400000-00500000: "
     "/bin/program\n",
     1,
     1,
     2,
     1,
     {2}},
    {"contention as text",
     "--- contentionz 1 ---\ncycles/second = 2000000000\nsampling period = 10\n"
     "ms since reset = 7\n 100 3 @ 0x401001\n--- Memory map: ---\n" MAPS,
     2,
     1,
     1,
     2,
     {30, 500}},
    {"contention as text",
     "--- mutex:\ncycles/second=1000000000\n100 3 @ 0x401001\n",
     2,
     1,
     1,
     1,
     {3, 100}},
    {"Java's text",
     "--- heapz 1 ---\nformat = java\nresolution = bytes\n\n 1000 1 @ 0x3 0x4\n\n"
     "0x3 com.x.f (F.java:12)\n0x4 GC\n",
     2,
     1,
     2,
     0,
     {524, 524788}},
    {"Java's text",
     "--- contentionz 1 ---\nformat = java\nresolution = microseconds\n"
     "sampling period = 2\n\n 70 3 @ 0x3\n\n0x3 com.x.f (F.java:12)\n",
     2,
     1,
     1,
     0,
     {6, 140}},
    {"callgrind",
     "# callgrind format\npositions: line\nevents: Ir Dr\nfl=(1) a.c\nfn=(1) main\n10 5 "
     "1\n"
     "cfn=(2) f\ncalls=3 20\n+1 90 9\nfn=(2)\n20 90 9\n",
     3,
     3,
     4,
     0,
     {5, 1, 0, 0, 0, 90, 90, 9, 0}},
    {"perf script",
     "my prog 12/13 [001] 1.500000:  7 cycles:u: \n\t401000 f+0x1 (/bin/p)\n"
     "\t401100 main+0x2 (/bin/p)\n\nx 5 2.500000: 9 cpu-clock: \n\t12 [unknown] "
     "(/x.so)\n",
     2,
     2,
     3,
     0,
     {7, 0, 0, 9}},
    {"perf script",
     "# begun\nx 5 1.500000:  7 cycles:  401000 f+0x1 (/bin/p)\n"
     "x 5 1.600000:  8 cycles:  [unknown] (beef)\n\t401000 f+0x1 (/bin/p)\n  a.c:3\n"
     "\t401100 main+0x2 (/bin/p)\n  p[2]\n"
     "x 5 1.7: PERF_RECORD_MMAP2 5/5: [0x1(0x1) @ 0 0:0 1 2]: r-xp /bin/p\n"
     "x 5 1.800000: beef (q): 401000 f+0x1 (/bin/p)\n",
     2,
     3,
     3,
     0,
     {7, 0, 8, 0, 0, 1}},
    {"collapsed stacks",
     "# cpu/nanoseconds\nmain;f;g 12\nmain;operator new 3\n",
     1,
     2,
     4,
     0,
     {12, 3}},
};

static struct sn_profile *read_any(const void *data, size_t len, struct sn_error *e)
{
    const struct sn_reader *r = sn_reader_find(data, len);
    *e = (struct sn_error){.offset = -1};
    return r != NULL ? sn_reader_read(r, data, len, "file", e) : NULL;
}

static bool is_as_told(size_t i)
{
    struct sn_error e;
    const char *text = files[i].text;
    const struct sn_reader *r = sn_reader_find((const void *)text, strlen(text));
    struct sn_profile *p = read_any(text, strlen(text), &e);
    bool good = p != NULL && strcmp(r->name, files[i].reader) == 0 &&
                p->n_types == files[i].types && p->n_samples == files[i].samples &&
                p->n_locations == files[i].locations &&
                p->n_mappings == files[i].mappings &&
                memcmp(p->values, files[i].values, p->n_values * sizeof(int64_t)) == 0;
    if (!good)
        printf("# file %zu: %s, %s\n", i, r != NULL ? r->name : "no reader", e.what);
    if (p != NULL && !good)
        for (uint32_t k = 0; k < p->n_values; k++)
            printf("# %lld of %u types %u samples %u locations %u mappings\n",
                   (long long)p->values[k], p->n_types, p->n_samples, p->n_locations,
                   p->n_mappings);
    sn_profile_free(p);
    return good;
}

/* A copy at the end of its own block, so that a sanitizer sees what reads too far. */
static bool survives(const void *data, size_t len)
{
    struct sn_error e;
    char *copy = malloc(len + 1);
    if (copy == NULL)
        return false;
    memcpy(copy + 1, data, len);
    struct sn_profile *p = read_any(copy + 1, len, &e);
    bool good = p != NULL || e.what[0] == '\0' || e.offset >= -1;
    if (p == NULL && sn_reader_find((void *)(copy + 1), len) != NULL)
        good = e.what[0] != '\0' && strcmp(e.where, "file") == 0;
    sn_profile_free(p);
    free(copy);
    return good;
}

static bool survives_all(const char *data, size_t len)
{
    uint32_t seed = 12345;
    char changed[4096];
    bool good = len <= sizeof changed;
    for (size_t n = 0; good && n <= len; n++)
        good = survives(data, n);
    for (int round = 0; good && round < 500; round++) {
        memcpy(changed, data, len);
        for (int k = 0; k <= round % 3; k++) {
            seed = seed * 1664525 + 1013904223;
            changed[(seed >> 8) % len] = (char)(seed >> 24);
        }
        good = survives(changed, len);
    }
    return good;
}

/* ---- the binary one: words of 4 or 8 bytes, of either end first
 * -------------------------
 */

static size_t make_cpu(unsigned char *out, unsigned size, bool big)
{
    static const uint64_t words[] = {0, 3,        0,        10000,    0, /* the head */
                                     5, 3,        0x401000, 0x401101, 0x401201, 2,
                                     2, 0x402000, 0x401201, 0,        1,        0};
    size_t n = 0;
    for (size_t i = 0; i < SN_COUNT(words); i++)
        for (unsigned k = 0; k < size; k++)
            out[n++] = (unsigned char)(words[i] >> 8 * (big ? size - 1 - k : k));
    memcpy(out + n, MAPS, sizeof MAPS - 1);
    return n + sizeof MAPS - 1;
}

static void check_cpu(unsigned size, bool big)
{
    unsigned char data[1024];
    struct sn_error e;
    size_t len = make_cpu(data, size, big);
    struct sn_profile *p = read_any(data, len, &e);
    ok(p != NULL && p->n_samples == 2 && p->period == 10000000 && p->values[0] == 5 &&
           p->values[1] == 50000000 && p->n_locations == 4 &&
           p->locations[1].address == 0x401100 && p->locations[0].mapping == 0,
       "a CPU profile of %u bytes a word, %s end first", size, big ? "big" : "little");
    sn_profile_free(p);
    ok(survives_all((const char *)data, len), "it may be cut and changed");
    p = read_any(data, 12 * size, &e);
    ok(p == NULL && e.offset == (int64_t)(10 * size), "where it is cut is told");
    sn_profile_free(p);
}

int main(void)
{
    for (size_t i = 0; i < SN_COUNT(files); i++) {
        ok(is_as_told(i), "%s is read", files[i].reader);
        ok(survives_all(files[i].text, strlen(files[i].text)),
           "it may be cut and changed");
    }
    for (int i = 0; i < 4; i++)
        check_cpu(i < 2 ? 4 : 8, i % 2);
    return done();
}
