/*
 * profile_gen.c: a pprof profile of many distinct stacks, for who reads profiles.
 *
 *     profile_gen STACKS [FUNCTIONS [SEED]] > raw.pb
 *
 * A stack is a walk through a call graph: a function has six calls, to callees that are
 * the likelier the lower their number, of which the first is made half the time, the
 * second a quarter, and so on. It has 25 to 55 frames. One sample in eight has a label of
 * text, one in sixteen a number of bytes. The message is not compressed.
 *
 * Format: https://github.com/google/pprof/blob/main/proto/profile.proto
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLS 6

static uint64_t state = 0x9e3779b97f4a7c15;

static uint64_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static double fraction(void)
{
    return (double)(draw() >> 11) / (double)(UINT64_C(1) << 53);
}

struct message {
    unsigned char bytes[2048];
    size_t n;
};

static void varint(struct message *m, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        m->bytes[m->n++] = (unsigned char)(v | 0x80);
    m->bytes[m->n++] = (unsigned char)v;
}

static void number(struct message *m, unsigned field, uint64_t v)
{
    varint(m, field << 3);
    varint(m, v);
}

static void bytes(struct message *m, unsigned field, const void *v, size_t n)
{
    varint(m, field << 3 | 2);
    varint(m, n);
    memcpy(m->bytes + m->n, v, n);
    m->n += n;
}

static void sub(struct message *m, unsigned field, const struct message *inner)
{
    bytes(m, field, inner->bytes, inner->n);
}

static void put(unsigned field, const struct message *inner)
{
    struct message m = {.n = 0};
    sub(&m, field, inner);
    fwrite(m.bytes, 1, m.n, stdout);
}

static void put_text(const char *text)
{
    struct message m = {.n = 0};
    bytes(&m, 6, text, strlen(text));
    fwrite(m.bytes, 1, m.n, stdout);
}

/* The strings' numbers: these, then each function's name, file, and the labels' values.
 */
enum { NOTHING, SAMPLES, COUNT, CPU, NANOSECONDS, BINARY, REQUEST, BYTES, FIXED };
static const char *const fixed[] = {
    "", "samples", "count", "cpu", "nanoseconds", "/opt/server", "request", "bytes"};
enum { FILES = 500, VALUES = 50 };

static void put_type(unsigned field, unsigned type, unsigned unit)
{
    struct message m = {.n = 0};
    number(&m, 1, type);
    number(&m, 2, unit);
    put(field, &m);
}

static void put_code(uint64_t functions)
{
    for (uint64_t f = 0; f < functions; f++) {
        struct message m = {.n = 0};
        number(&m, 1, f + 1);
        number(&m, 2, FIXED + f);
        number(&m, 3, FIXED + f);
        number(&m, 4, FIXED + functions + f % FILES);
        number(&m, 5, 10 * (f / FILES));
        put(5, &m);
    }
    for (uint64_t i = 0; i < functions * CALLS; i++) {
        struct message m = {.n = 0}, line = {.n = 0};
        number(&line, 1, i / CALLS + 1);
        number(&line, 2, 10 * (i / CALLS / FILES) + i % CALLS + 1);
        number(&m, 1, i + 1);
        number(&m, 2, 1);
        number(&m, 3, 0x400000 + 64 * i);
        sub(&m, 4, &line);
        put(4, &m);
    }
}

static void put_strings(uint64_t functions)
{
    char text[128];
    for (unsigned i = 0; i < FIXED; i++)
        put_text(fixed[i]);
    for (uint64_t f = 0; f < functions; f++) {
        snprintf(text, sizeof text,
                 "example.com/server/package%03u.(*Type%02u).method%05u",
                 (unsigned)(f % FILES), (unsigned)(f % 37), (unsigned)f);
        put_text(text);
    }
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(text, sizeof text, "/src/server/package%03u/file%03u.go", i, i);
        put_text(text);
    }
    for (unsigned i = 0; i < VALUES; i++) {
        snprintf(text, sizeof text, "/api/v1/request/%02u", i);
        put_text(text);
    }
}

static void put_labels(struct message *m, uint64_t functions)
{
    if (draw() % 8 == 0) {
        struct message l = {.n = 0};
        number(&l, 1, REQUEST);
        number(&l, 2, FIXED + functions + FILES + draw() % VALUES);
        sub(m, 3, &l);
    }
    if (draw() % 16 == 0) {
        struct message l = {.n = 0};
        number(&l, 1, BYTES);
        number(&l, 3, UINT64_C(16) << draw() % 16);
        number(&l, 4, BYTES);
        sub(m, 3, &l);
    }
}

/* Which of a function's calls: each half as likely as the one before. */
static unsigned which_call(void)
{
    unsigned i = 0;
    for (uint64_t bits = draw(); i < CALLS - 1 && (bits & 1) != 0; bits >>= 1)
        i++;
    return i;
}

static void put_stack(const uint32_t *callees, uint64_t functions)
{
    uint64_t stack[64];
    size_t n = 25 + draw() % 31;
    uint64_t f = 0, count = 1 + (uint64_t)(4 / (0.1 + fraction()));
    for (size_t i = n; i-- > 0;) {
        uint64_t call = f * CALLS + which_call();
        stack[i] = call + 1;
        f = callees[call];
    }
    struct message m = {.n = 0}, list = {.n = 0};
    for (size_t i = 0; i < n; i++)
        varint(&list, stack[i]);
    sub(&m, 1, &list);
    list.n = 0;
    varint(&list, count);
    varint(&list, 10000000 * count);
    sub(&m, 2, &list);
    put_labels(&m, functions);
    put(2, &m);
}

int main(int argc, char **argv)
{
    uint64_t stacks = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
    uint64_t functions = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000;
    uint32_t *callees = malloc(functions * CALLS * sizeof *callees);
    if (callees == NULL || functions == 0)
        return 1;
    for (uint64_t i = 0; i < functions * CALLS; i++)
        callees[i] = (uint32_t)(fraction() * fraction() * (double)functions);
    if (argc > 3)
        state += strtoull(argv[3], NULL, 10); /* the same program, another run */
    put_type(1, SAMPLES, COUNT);
    put_type(1, CPU, NANOSECONDS);
    struct message m = {.n = 0};
    number(&m, 1, 1);
    number(&m, 2, 0x400000);
    number(&m, 3, 0x400000 + 64 * functions * CALLS);
    number(&m, 5, BINARY);
    number(&m, 7, 1);
    number(&m, 8, 1);
    number(&m, 9, 1);
    put(3, &m);
    for (uint64_t i = 0; i < stacks; i++)
        put_stack(callees, functions);
    put_code(functions);
    put_strings(functions);
    put_type(11, CPU, NANOSECONDS);
    m.n = 0;
    number(&m, 12, 10000000);
    number(&m, 9, UINT64_C(1700000000000000000));
    number(&m, 10, UINT64_C(60000000000));
    fwrite(m.bytes, 1, m.n, stdout);
    free(callees);
    return ferror(stdout) || fclose(stdout) != 0;
}
