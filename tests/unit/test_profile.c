/* test_profile.c: the model, its codec, merging, and the spool; all of it also with input
 * cut short at every byte, and without memory. */
#include "../made.h"
#include "../tap.h"
#include "wire/wire.h"

static const char small[] = "main;parse;read 30 thread=worker bytes:1024\n"
                            "main;parse|scan 20 thread=worker\n"
                            "main 5\n";

static struct sn_buf encoded(struct sn_profile *p)
{
    struct sn_buf b = {.arena = p->arena};
    sn_profile_encode(p, &b);
    return b;
}

static void round_trip(void)
{
    struct sn_error e = {.offset = -1};
    struct sn_profile *p = made(small);
    p->time_ns = 1700000000000000000;
    p->duration_ns = 1234567;
    struct sn_buf b = encoded(p);
    struct sn_profile *q = sn_profile_decode(b.data, b.len, "p", &e);
    if (ok(q != NULL, "decodes what was encoded: %s", e.what)) {
        struct sn_buf c = encoded(q);
        ok(b.len == c.len && memcmp(b.data, c.data, b.len) == 0,
           "and encodes to the same bytes");
        is_int(q->n_samples, 3, "samples");
        is_int(q->values[1], 30000000, "values");
        is_int(q->samples[0].n_locs, 3, "a stack");
        is_int(q->samples[0].n_labels, 2, "labels");
        is_int(q->time_ns, 1700000000000000000, "time");
        sn_profile_free(q);
    }
    bool fine = true;
    for (size_t n = 0; n < b.len; n++) {
        e = (struct sn_error){.offset = -1};
        q = sn_profile_decode(b.data, n, "p", &e);
        fine = fine && (q != NULL || e.what[0] != '\0');
        sn_profile_free(q);
    }
    ok(fine, "cut short at any byte: a profile, or an error that says why");
    unsigned step = 1;
    for (q = NULL; q == NULL && step < 1000; step++) {
        e = (struct sn_error){.offset = -1};
        sn_pages_fail_after(step);
        q = sn_profile_decode(b.data, b.len, "p", &e);
        if (q == NULL && strstr(e.what, "memory") == NULL)
            break;
    }
    sn_pages_fail_after(0);
    ok(q != NULL && step < 1000, "without memory: an error, %u times", step - 2);
    sn_profile_free(q);
    sn_profile_free(p);
}

/* However many pieces there are, they are the message; also where there is nothing. */
static void pieces(void)
{
    struct sn_profile *profiles[] = {made(small), sn_profile_new()};
    for (size_t i = 0; i < SN_COUNT(profiles); i++) {
        struct sn_profile *p = profiles[i];
        struct sn_buf whole = encoded(p);
        bool same = true;
        for (unsigned n = 1; n < 300; n++) {
            struct sn_buf b = {.arena = p->arena};
            for (unsigned k = 0; k < n; k++)
                sn_profile_piece(p, k, n, &b);
            same = same && b.len == whole.len && memcmp(b.data, whole.data, b.len) == 0;
        }
        ok(same && sn_profile_pieces(p) == 1, "pieces of a profile are its message");
        sn_profile_free(p);
    }
}

/* Every number as long as it can be: what is written fits into the room for it. */
static void longest(void)
{
    struct sn_error e = {.offset = -1};
    struct sn_profile *p = made(small);
    for (uint32_t i = 0; i < p->n_values; i++)
        p->values[i] = -1;
    for (uint32_t i = 0; i < p->n_labels; i++)
        p->labels[i].num = p->labels[i].str == 0 ? -1 : 0;
    for (uint32_t i = 0; i < p->n_locations; i++)
        p->locations[i].address = UINT64_MAX - i;
    for (uint32_t i = 0; i < p->n_lines; i++)
        p->lines[i].line = p->lines[i].column = -2;
    for (uint32_t i = 0; i < p->n_functions; i++)
        p->functions[i].start_line = INT64_MIN;
    p->time_ns = p->duration_ns = p->period = -1;
    struct sn_buf b = encoded(p);
    struct sn_profile *q = sn_profile_decode(b.data, b.len, "p", &e);
    if (ok(q != NULL && b.len < b.cap, "the longest numbers %s", e.what)) {
        struct sn_buf c = encoded(q);
        ok(b.len == c.len && memcmp(b.data, c.data, b.len) == 0, "there and back");
    }
    sn_profile_free(q);
    sn_profile_free(p);
}

/* Messages with what no writer writes. */
static void hostile(void)
{
    static unsigned char b[100000];
    struct sn_error e = {.offset = -1};
    ok(sn_profile_decode("", 0, "p", &e) == NULL && strstr(e.what, "empty"), "empty");
    e = (struct sn_error){.offset = -1};
    ok(sn_profile_decode("hello, world", 12, "p", &e) == NULL, "text: %s", e.what);
    unsigned char *m = sn_pb_begin(b, 1), *at = sn_pb_put(m, 1, 99);
    at = sn_pb_end(m, at);
    e = (struct sn_error){.offset = -1};
    ok(sn_profile_decode(b, (size_t)(at - b), "p", &e) == NULL && e.offset >= 0,
       "a string that is not there: offset %lld: %s", (long long)e.offset, e.what);
    m = sn_pb_begin(b, 1);
    at = sn_pb_end(m, m);
    m = at = sn_pb_begin(at, 2);
    at = sn_pb_put_always(at, 1, 7);
    at = sn_pb_put_always(at, 2, 1);
    at = sn_pb_end(m, at);
    at = sn_pb_put_bytes(at, 6, "", 0);
    e = (struct sn_error){.offset = -1};
    ok(sn_profile_decode(b, (size_t)(at - b), "p", &e) == NULL &&
           strstr(e.what, "location"),
       "a location that is not there: %s", e.what);
    at = b;
    for (int i = 0; i < 40000; i++) { /* types times samples: more than there are bytes */
        m = sn_pb_begin(at, i % 2 ? 1 : 2);
        at = sn_pb_end(m, m);
    }
    at = sn_pb_put_bytes(at, 6, "", 0);
    e = (struct sn_error){.offset = -1};
    ok(sn_profile_decode(b, (size_t)(at - b), "p", &e) == NULL, "too much promised: %s",
       e.what);
}

/* A message that comes a few bytes at a time, each time to another place. */
struct trickle {
    const struct sn_buf *whole;
    size_t step, at;
    struct sn_arena *arena;
};

static size_t trickle(void *arg, const unsigned char *rest, size_t n,
                      const unsigned char **data)
{
    struct trickle *t = arg;
    size_t left = t->whole->len - t->at, more = left < t->step ? left : t->step;
    unsigned char *now = sn_arena_alloc(t->arena, n + more);
    if (n > 0)
        memcpy(now, rest, n);
    memcpy(now + n, t->whole->data + t->at, more);
    t->at += more;
    *data = now;
    return more > 0 ? n + more : 0;
}

static bool same(const struct sn_profile *p, const struct sn_buf *b)
{
    struct sn_buf c = {.arena = p->arena};
    sn_profile_encode(p, &c);
    return c.len == b->len && memcmp(c.data, b->data, b->len) == 0;
}

static void coming(void)
{
    struct sn_profile *p = made(small);
    struct sn_buf b = encoded(p);
    static const size_t steps[] = {1, 2, 3, 7, 64, 100000};
    for (size_t i = 0; i < SN_COUNT(steps); i++) {
        struct trickle t = {&b, steps[i], 0, sn_arena_new()};
        struct sn_coming c = {trickle, &t, i % 2 ? b.len : 0};
        struct sn_profile *q = sn_profile_decode_coming(&c);
        ok(q != NULL && same(q, &b), "%zu bytes at a time", steps[i]);
        sn_profile_free(q);
        struct sn_buf cut = b;
        cut.len -= 3; /* within the last field */
        t.whole = &cut;
        t.at = 0;
        q = sn_profile_decode_coming(&c);
        ok(q == NULL, "... but not if it ends within a field");
        sn_profile_free(q);
        sn_arena_free(t.arena);
    }
    sn_profile_free(p);
}

static unsigned char *put_location(unsigned char *at, uint64_t id)
{
    unsigned char *m = sn_pb_begin(at, 4);
    at = sn_pb_put_always(m, 1, id);
    return sn_pb_end(m, sn_pb_put_always(at, 3, 0x1000 + id));
}

/* One sample, of these locations. */
static unsigned char *put_sample(unsigned char *at, const uint64_t *ids, size_t n,
                                 bool packed)
{
    unsigned char *m = sn_pb_begin(at, 2), *run = packed ? sn_pb_begin(m, 1) : m;
    at = run;
    for (size_t i = 0; i < n; i++)
        at = packed ? sn_pb_put_number(at, ids[i]) : sn_pb_put_always(at, 1, ids[i]);
    at = packed ? sn_pb_end(run, at) : at;
    return sn_pb_end(m, sn_pb_put_always(at, 2, 7));
}

static unsigned char *put_strings(unsigned char *at, const char *last)
{
    at = sn_pb_put_bytes(at, 6, "", 0);
    at = sn_pb_put_bytes(at, 6, "x", 1);
    return sn_pb_put_bytes(at, 6, last, strlen(last));
}

static unsigned char *put_type(unsigned char *at, uint64_t type, uint64_t unit)
{
    unsigned char *m = sn_pb_begin(at, 1);
    at = sn_pb_put_always(m, 1, type);
    return sn_pb_end(m, sn_pb_put_always(at, 2, unit));
}

enum oddity { NOTHING, TYPES_LAST, STRINGS_FIRST, STRING_TWICE, UNPACKED, ODDITIES };

/* Locations numbered first, first + step, ..., and stacks of none to all of them. */
static unsigned char *odd(unsigned char *at, uint64_t first, uint64_t step,
                          enum oddity oddity)
{
    uint64_t ids[40];
    for (size_t i = 0; i < SN_COUNT(ids); i++)
        ids[i] = first + i * step;
    if (oddity == STRINGS_FIRST)
        at = put_strings(at, "y");
    if (oddity != TYPES_LAST)
        at = put_type(at, 1, 2);
    for (size_t n = 0; n <= SN_COUNT(ids); n++)
        at = put_sample(at, ids, n, oddity != UNPACKED);
    for (size_t i = 0; i < SN_COUNT(ids); i++)
        at = put_location(at, ids[i]);
    if (oddity == TYPES_LAST)
        at = put_type(at, 1, 2);
    if (oddity != STRINGS_FIRST)
        at = put_strings(at, oddity == STRING_TWICE ? "x" : "y");
    return at;
}

/* However it is numbered, and in whatever order it is written: the same profile. */
static void oddities(void)
{
    static const struct {
        uint64_t first, step;
    } numbers[] = {{1, 1},          {2, 1},          {1, 3},        {200, 1},
                   {16000, 100},    {2000000, 9999}, {1u << 28, 1}, {UINT32_MAX - 3, 1},
                   {1ull << 35, 1}, {1ull << 63, 1}};
    static unsigned char b[100000];
    struct sn_error e = {.offset = -1};
    for (size_t i = 0; i < SN_COUNT(numbers) * ODDITIES; i++) {
        enum oddity oddity = i % ODDITIES;
        uint64_t first = numbers[i / ODDITIES].first, step = numbers[i / ODDITIES].step;
        size_t len = (size_t)(odd(b, first, step, oddity) - b);
        struct sn_profile *q = sn_profile_decode(b, len, "p", &e);
        bool good = q != NULL && q->n_samples == 41 && q->n_sample_locs == 820 &&
                    q->n_values == 41 && q->values[40] == 7;
        for (uint32_t k = 0; good && k < 820; k++) {
            uint32_t l = q->sample_locs[k];
            good = q->locations[l].address == 0x1000 + sn_number(&q->location_numbers, l);
        }
        for (uint32_t k = 0; good && k < 41; k++)
            good = q->samples[k].n_locs == k &&
                   (k == 0 || q->sample_locs[q->samples[k].loc0 + k - 1] == k - 1);
        ok(good && strcmp(sn_profile_str(q, q->types[0].unit),
                          oddity == STRING_TWICE ? "x" : "y") == 0,
           "locations from %llu on by %llu, oddity %d: %s", (unsigned long long)first,
           (unsigned long long)step, (int)oddity, e.what);
        sn_profile_free(q);
    }
    const uint64_t missing[] = {1, 2, 41, 3};
    unsigned char *at = odd(b, 1, 1, NOTHING), *end = put_sample(at, missing, 4, true);
    ok(sn_profile_decode(b, (size_t)(end - b), "p", &e) == NULL && e.offset > at - b &&
           strstr(e.what, "location"),
       "one that is not there: at %td, %lld: %s", at - b, (long long)e.offset, e.what);
}

/* Numbers of strings that are not there, whatever comes after them; also such as are one
 * that is there if they are cut to 32 bits, or 0 if one is added. */
static void missing_strings(void)
{
    static const uint64_t numbers[] = {2, UINT32_MAX, 1ull << 32, (1ull << 32) + 1,
                                       UINT64_MAX};
    for (size_t i = 0; i < 2 * SN_COUNT(numbers); i++) {
        unsigned char b[200], *type = sn_pb_begin(b, 1), *at = sn_pb_put(type, 1, 1);
        struct sn_error e = {.offset = -1};
        at = sn_pb_end(type, sn_pb_put(at, 2, numbers[i / 2]));
        at = sn_pb_put(at, 14, i % 2);
        at = sn_pb_put_bytes(sn_pb_put_bytes(at, 6, "", 0), 6, "x", 1);
        struct sn_profile *q = sn_profile_decode(b, (size_t)(at - b), "p", &e);
        ok(q == NULL && strstr(e.what, "string") != NULL, "string %llu: %s",
           (unsigned long long)numbers[i / 2], e.what);
        sn_profile_free(q);
    }
}

/* No frame and no label in all of a profile: there are no such arrays. */
static void nothing_but_values(void)
{
    static const unsigned char b[] = {0x0a, 2,    8, 1,    0x12, 2,    0x10, 3,  0x12,
                                      2,    0x10, 4, 0x32, 0,    0x32, 1,    'x'};
    struct sn_error e = {.offset = -1};
    struct sn_profile *p = sn_profile_decode(b, sizeof b, "p", &e), *both[] = {p, p};
    struct sn_profile *sum = p != NULL ? sn_profile_merge(both, 2, &e) : NULL;
    ok(sum != NULL && sum->n_samples == 1 && sum->values[0] == 14,
       "samples without frames are merged: %s", e.what);
    sn_profile_free(sum);
    sn_profile_free(p);
}

/* Room is made as if all were like what has been read, the first included: that one
 * sample has thousands of labels does not mean that there will be millions. */
static void one_of_many_labels(void)
{
    enum { LABELS = 9000, SAMPLES = 10000 };
    static unsigned char b[LABELS * 16 + SAMPLES * 16];
    struct sn_error e = {.offset = -1};
    unsigned char *at = sn_pb_begin(b, 1);
    at = sn_pb_end(at, sn_pb_put(at, 1, 1));
    for (unsigned i = 0; i < SAMPLES; i++) {
        unsigned char *sample = at = sn_pb_begin(at, 2);
        at = sn_pb_put(at, 2, 1);
        for (unsigned k = 0; i == 0 && k < LABELS; k++) {
            unsigned char *label = at = sn_pb_begin(at, 3);
            at = sn_pb_end(label, sn_pb_put(sn_pb_put(at, 1, 1), 3, k + 1));
        }
        at = sn_pb_end(sample, at);
    }
    at = sn_pb_put_bytes(sn_pb_put_bytes(at, 6, "", 0), 6, "x", 1);
    struct sn_profile *q = sn_profile_decode(b, (size_t)(at - b), "p", &e);
    ok(q != NULL && q->n_labels == LABELS && q->n_samples == SAMPLES &&
           sn_arena_bytes(q->arena) < 16u << 20,
       "%d labels in one of many samples take %zu KB: %s", LABELS,
       q != NULL ? sn_arena_bytes(q->arena) >> 10 : 0, e.what);
    sn_profile_free(q);
}

/* Joined, they are freed, whatever comes of it: the sanitizer looks. */
static void joining(void)
{
    struct sn_error e = {.offset = -1};
    struct sn_profile *good[] = {made("main;f 3\n"), made("main;f 4\nmain 5\n")};
    struct sn_profile *sum = sn_profile_join(good, 2, &e);
    ok(sum != NULL && sum->n_samples == 2 && sum->values[0] == 7, "joins %s", e.what);
    sn_profile_free(sum);
    struct sn_profile *bad[] = {made("main;f 3\n"), made("main 4\n"), made("main 5\n")};
    bad[1]->types[0].type = sn_strtab_add(bad[1]->strings, "widgets");
    ok(sn_profile_join(bad, 3, &e) == NULL && strstr(e.what, "profile 2"), "not: %s",
       e.what);
}

static void merging(void)
{
    struct sn_error e = {.offset = -1};
    struct sn_profile *p = made(small);
    struct sn_profile *q = made("main;parse;read 3 bytes:1024 thread=worker\n"
                                "main;other 4\nmain;gone 0\n");
    q->mappings[0].start += 0x7000; /* the same program, loaded elsewhere */
    q->mappings[0].limit += 0x7000;
    for (uint32_t i = 0; i < q->n_locations; i++)
        q->locations[i].address = 0x7000 + (i < 3 ? p->locations[i].address : 0x9000);
    struct sn_profile *both[] = {p, q}, *sum = sn_profile_merge(both, 2, &e);
    if (ok(sum != NULL, "merges %s", e.what)) {
        is_int(sum->n_samples, 4, "what is equal is one; what is zero is gone");
        is_int(sum->values[0], 33, "and summed, whatever the labels' order");
        is_int(sum->n_mappings, 1, "the same file at two addresses is one");
        sn_profile_free(sum);
    }
    q->types[0].type = sn_strtab_add(q->strings, "widgets");
    ok(sn_profile_merge(both, 2, &e) == NULL && strstr(e.what, "profile 2"),
       "other types: %s", e.what);
    ok(sn_profile_all_types(both, 2, &e), "each gets the types of both");
    sum = sn_profile_merge(both, 2, &e);
    if (ok(sum != NULL && sum->n_types == p->n_types && p->n_types == q->n_types,
           "... and so they merge")) {
        is_str(sn_profile_str(sum, sum->types[sum->n_types - 1].type), "widgets",
               "the other's come last");
        int64_t sums[8] = {0};
        for (uint32_t i = 0; i < sum->n_values; i++)
            sums[i % sum->n_types] += sum->values[i];
        is_int(sums[0], 55, "the first's are as they were");
        is_int(sums[sum->n_types - 1], 7, "0 where a type was not counted");
        sn_profile_free(sum);
    }
    sn_profile_free(p);
    sn_profile_free(q);
}

/* Two calls of the same inlined function, in one line of the function around it. */
static void columns(void)
{
    struct sn_error e = {.offset = -1};
    struct sn_profile *p = made("main;outer|inner 3\n"),
                      *q = made("main;outer|inner 4\n");
    struct sn_profile *both[] = {p, q}, *sum;
    for (uint32_t i = 0; i < p->n_locations; i++)
        if (p->locations[i].n_lines == 2) {
            p->lines[p->locations[i].line0 + 1].column = 7;
            q->lines[q->locations[i].line0 + 1].column = 21;
        }
    sum = sn_profile_merge(both, 2, &e);
    if (ok(sum != NULL, "merges %s", e.what))
        is_int(sum->n_samples, 2,
               "they stay apart: only the column of the outer call differs");
    sn_profile_free(sum);
    sn_profile_free(p);
    sn_profile_free(q);
}

/* Whom to ask for names, and where things are there, outlasts merging, and stays here. */
static void sources(void)
{
    static const struct {
        const char *what, *file[2], *source[2];
        uint32_t mappings;
        const char *kept[2];
        uint64_t start[2];
    } rows[] = {
        {"both, the first's",
         {"/p", "/p"},
         {"http://a/x", "http://b/x"},
         1,
         {"http://a/x"},
         {0x1000}},
        {"only the second's",
         {"/p", "/p"},
         {NULL, "http://b/x"},
         1,
         {"http://b/x"},
         {0x8000}},
        {"only the first's",
         {"/p", "/p"},
         {"http://a/x", NULL},
         1,
         {"http://a/x"},
         {0x1000}},
        {"programs",
         {"/p", "/q"},
         {"http://a/x", NULL},
         2,
         {"http://a/x", NULL},
         {0x1000, 0}},
        {"no names, one server",
         {"", ""},
         {"http://a/x", "http://a/x"},
         1,
         {"http://a/x"},
         {0x1000}},
        {"no names, two servers",
         {"", ""},
         {"http://a/x", "http://b/x"},
         2,
         {"http://a/x", "http://b/x"},
         {0x1000, 0x8000}},
        {"no names, no servers", {"", ""}, {NULL, NULL}, 1, {NULL}, {0}},
        {"no names, a server and none",
         {"", ""},
         {NULL, "http://b/x"},
         2,
         {NULL, "http://b/x"},
         {0, 0x8000}},
    };
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct sn_error e = {.offset = -1};
        struct sn_profile *v[] = {made("main 1\n"), made("main 2\n")};
        for (size_t k = 0; k < 2; k++) {
            struct sn_mapping *m = &v[k]->mappings[0];
            *m =
                (struct sn_mapping){.start = k == 0 ? 0x1000 : 0x8000,
                                    .limit = k == 0 ? 0x9000 : 0x10000,
                                    .file = sn_strtab_add(v[k]->strings, rows[i].file[k]),
                                    .source = rows[i].source[k]};
            m->source_start = m->source != NULL ? m->start : 0;
            v[k]->locations[0].address = m->start + 16;
        }
        struct sn_profile *sum = sn_profile_merge(v, 2, &e);
        sn_profile_free(v[0]);
        sn_profile_free(v[1]);
        if (!ok(sum != NULL, "merges %s", e.what))
            continue;
        is_int(sum->n_mappings, rows[i].mappings, rows[i].what);
        for (uint32_t k = 0; k < sum->n_mappings && k < 2; k++) {
            const struct sn_mapping *m = &sum->mappings[k];
            is_str(m->source != NULL ? m->source : "none",
                   rows[i].kept[k] != NULL ? rows[i].kept[k] : "none", "... its server");
            is_int(m->source_start, rows[i].start[k], "... and where it is there");
        }
        struct sn_buf b = {.arena = sum->arena};
        sn_profile_encode(sum, &b);
        ok(memmem(b.data, b.len, "http:", 5) == NULL, "... which is not written");
        sn_profile_free(sum);
    }
}

/* ---- the spool
 * ---------------------------------------------------------------------------- */

static struct sn_spool_header *blank_spool(struct sn_arena *a, size_t *len)
{
    *len = SN_SPOOL_AT_ENTRIES + 4096;
    struct sn_spool_header *h = sn_arena_alloc(a, *len);
    *h = (struct sn_spool_header){.magic = SN_SPOOL_MAGIC,
                                  .version = 1,
                                  .pid = 7,
                                  .state = 1,
                                  .n_values = SN_CPU_VALUES,
                                  .scale = 1,
                                  .period = 1000000,
                                  .n_modules = 1,
                                  .n_threads = 2,
                                  .clock = "perf",
                                  .exe = "/bin/x",
                                  .start_mono_ns = 5,
                                  .last_mono_ns = 50};
    struct sn_spool_module *m = (void *)((char *)h + SN_SPOOL_AT_MODULES);
    *m = (struct sn_spool_module){.start = 0x1000,
                                  .limit = 0x2000,
                                  .ready = 1,
                                  .build_id_len = 2,
                                  .build_id = {0xab, 0xcd},
                                  .path = "/bin/x"};
    struct sn_spool_thread *t = (void *)((char *)h + SN_SPOOL_AT_THREADS);
    t[1] = (struct sn_spool_thread){.tid = 42, .ready = 1, .name = "worker"};
    return h;
}

static struct sn_spool_entry *add_entry(struct sn_spool_header *h, uint32_t bucket)
{
    uint64_t at = SN_SPOOL_AT_ENTRIES + h->used;
    struct sn_spool_entry *x = (void *)((char *)h + at);
    *x = (struct sn_spool_entry){.thread = 1, .n_pcs = 2};
    x->values[SN_CPU_SAMPLES] = 2;
    x->values[SN_CPU_TICKS] = 3;
    sn_spool_pcs(h, x)[0] = 0x1010;
    sn_spool_pcs(h, x)[1] = 0x1020;
    uint32_t *buckets = (uint32_t *)((char *)h + SN_SPOOL_AT_BUCKETS);
    x->next = buckets[bucket];
    buckets[bucket] = (uint32_t)(at / 8);
    h->used += sizeof *x + (SN_CPU_VALUES + 2) * sizeof x->values[0];
    h->samples += 2;
    return x;
}

static void spool(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_error e = {.offset = -1};
    size_t len;
    struct sn_spool_header *h = blank_spool(a, &len);
    struct sn_spool_entry *x = add_entry(h, 3);
    struct sn_profile *p = sn_spool_read(h, len, "s", &e);
    if (ok(p != NULL, "reads a spool %s", e.what)) {
        is_int(p->n_samples, 1, "an entry is a sample");
        is_int(p->values[0], 3, "of as many periods as it stands for");
        is_int(p->values[1], 3000000, "in nanoseconds");
        is_str(sn_profile_str(p, p->mappings[0].build_id), "abcd", "build id");
        is_str(sn_profile_str(p, p->labels[0].str), "worker", "the thread's name");
        is_int(p->labels[1].num, 42, "and number");
        is_int(p->duration_ns, 45, "until the last sample, where it was killed");
        sn_profile_free(p);
    }
    h->n_buckets = 4;
    p = sn_spool_read(h, len, "s", &e);
    ok(p != NULL && p->n_samples == 1, "of its buckets those that are used are read");
    sn_profile_free(p);
    h->n_buckets = UINT32_MAX;
    p = sn_spool_read(h, len, "s", &e);
    ok(p != NULL && p->n_samples == 1, "and never more than there can be");
    sn_profile_free(p);
    h->n_buckets = 0;
    x->next = (uint32_t)(SN_SPOOL_AT_ENTRIES / 8);
    p = sn_spool_read(h, len, "s", &e);
    ok(p != NULL, "a chain in a circle ends");
    sn_profile_free(p);
    x->next = 0xfffffff0;
    x->n_pcs = 0xffff;
    p = sn_spool_read(h, len, "s", &e);
    ok(p != NULL && p->n_samples == 0, "an entry larger than the file is left out");
    sn_profile_free(p);
    bool fine = true;
    for (size_t n = 0; n < len; n += n < 5000 ? 1 : 997) {
        e = (struct sn_error){.offset = -1};
        p = sn_spool_read(h, n, "s", &e);
        fine = fine && (p != NULL || e.what[0] != '\0');
        sn_profile_free(p);
    }
    ok(fine, "cut short anywhere: a profile, or an error that says why");
    h->period = 0;
    e = (struct sn_error){.offset = -1};
    ok(sn_spool_read(h, len, "s", &e) == NULL, "no period: %s", e.what);
    sn_arena_free(a);
}

static int64_t peak_objects(const struct sn_spool_header *h, size_t len)
{
    struct sn_error e = {.offset = -1};
    struct sn_profile *p = sn_spool_read_now(h, len, "s", &e);
    int64_t value = p != NULL && p->n_samples == 1 ? p->values[4] : -1;
    sn_profile_free(p);
    return value;
}

/* A stack that once had ten blocks, and has three. */
static void marking(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_error e = {.offset = -1};
    size_t len;
    struct sn_spool_header *h = blank_spool(a, &len);
    h->kind = SN_SPOOL_HEAP;
    h->n_values = SN_HEAP_SAMPLED_VALUES;
    h->period = 1;
    h->peak_epoch = 7;
    h->peak_bytes = 1000;
    h->live_bytes = 300;
    struct sn_spool_entry *x = add_entry(h, 3);
    const uint64_t values[] = {[SN_HEAP_ALLOC_OBJECTS] = 12, [SN_HEAP_ALLOC_BYTES] = 1200,
                               [SN_HEAP_FREE_OBJECTS] = 9,   [SN_HEAP_FREE_BYTES] = 900,
                               [SN_HEAP_PEAK_OBJECTS] = 10,  [SN_HEAP_PEAK_BYTES] = 1000,
                               [SN_HEAP_EPOCH] = 7};
    memcpy(x->values, values, sizeof values);
    h->used = 4096;
    is_int(peak_objects(h, len), 10, "what it had at the peak");
    sn_spool_mark_peak(h);
    is_int(h->peak_bytes, 300, "marked: the peak is what is live");
    is_int(peak_objects(h, len), 3, "... of each stack, too");
    h->last_mono_ns = 0;
    struct sn_profile *p = sn_spool_read_now(h, len, "s", &e);
    ok(p != NULL && p->duration_ns > 45, "a program that goes on: until now");
    bool killed = false;
    for (uint32_t i = 0; p != NULL && i < p->n_comments; i++)
        killed |= strstr(sn_profile_str(p, p->comments[i]), "killed") != NULL;
    ok(!killed, "... and it was not killed");
    sn_profile_free(p);
    sn_arena_free(a);
}

int main(void)
{
    round_trip();
    pieces();
    longest();
    hostile();
    coming();
    oddities();
    missing_strings();
    nothing_but_values();
    one_of_many_labels();
    merging();
    joining();
    columns();
    sources();
    spool();
    marking();
    return done();
}
