/* test_base.c: arenas, buffers, strings, the map, errors and files; and all of it without
 * memory. */
#include "../tap.h"
#include "base/base.h"

#include <stdio.h>
#include <unistd.h>

static void errors(void)
{
    struct sn_error e = {.offset = -1};
    char text[128];
    ok(!sn_fail(&e, "a.pprof", 12, "cut %s", "short"), "sn_fail is false");
    sn_fail(&e, "b", 1, "later");
    is_str(sn_error_text(&e, text, sizeof text), "a.pprof: offset 12: cut short",
           "the first error wins, with file and offset");
    ok(!sn_fail(NULL, NULL, -1, "x"), "no error wanted");
}

static void strings_and_map(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_strtab *t = sn_strtab_new(a);
    struct sn_map *m = sn_map_new(a);
    struct sn_buf b = {.arena = a};
    bool same = true;
    is_int(sn_strtab_add(t, ""), 0, "the empty string is 0");
    for (uint32_t i = 1; i <= 5000; i++) {
        b.len = 0;
        sn_buf_printf(&b, "name %u", i);
        same = same && sn_strtab_add(t, b.data) == i && sn_strtab_add(t, b.data) == i;
        *sn_map_put(m, (uint64_t)i << 32) = i;
    }
    ok(same, "5000 strings have dense ids");
    is_str(sn_strtab_get(t, 4321), "name 4321", "and are found by id");
    is_int(sn_strtab_find(t, "name 77"), 77, "and by text");
    is_int(sn_strtab_find(t, "absent"), SN_NONE, "absent");
    is_str(sn_strtab_get(t, 99999), "", "an id out of range is empty");
    is_int(sn_map_get(m, UINT64_C(777) << 32), 777, "map");
    is_int(sn_map_get(m, 5), SN_NONE, "map: absent");
    sn_arena_free(a);
}

static void arena_grows(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_buf b = {.arena = a};
    for (int i = 0; i < 100000; i++)
        sn_buf_puts(&b, "0123456789");
    is_int(b.len, 1000000, "a megabyte in pieces");
    ok(memcmp(b.data + 999990, "0123456789", 11) == 0, "its end, with its NUL");
    ok(sn_arena_alloc(a, SIZE_MAX / 2) == NULL && sn_arena_failed(a),
       "absurd sizes fail");
    sn_arena_free(a);
}

static void without_memory(void)
{
    int survived = 0;
    for (unsigned n = 1; n <= 12; n++) {
        sn_pages_fail_after(n);
        struct sn_arena *a = sn_arena_new();
        struct sn_strtab *t = a != NULL ? sn_strtab_new(a) : NULL;
        struct sn_buf b = {.arena = a};
        for (int i = 0; t != NULL && i < 20000; i++) {
            b.len = 0;
            sn_buf_printf(&b, "%d", i);
            if (!b.failed)
                sn_strtab_add(t, b.data);
        }
        survived += t == NULL || sn_arena_failed(a) || sn_strtab_count(t) == 20001;
        sn_arena_free(a);
    }
    sn_pages_fail_after(0);
    is_int(survived, 12, "every page refused in turn is noticed");
}

static void files(void)
{
    char dir[] = "/tmp/sonde-test.XXXXXX", path[64], text[200000];
    struct sn_error e = {.offset = -1};
    struct sn_file f;
    if (mkdtemp(dir) == NULL)
        return;
    memset(text, 'x', sizeof text);
    snprintf(path, sizeof path, "%s/a/b", dir);
    ok(sn_mkdirs(path, &e), "mkdir -p");
    snprintf(path, sizeof path, "%s/a/b/c", dir);
    ok(sn_file_write(path, text, sizeof text, &e), "written");
    ok(sn_file_open(path, 0, &f, &e) && f.len == sizeof text &&
           memcmp(f.data, text, f.len) == 0,
       "read back");
    sn_file_close(&f);
    ok(!sn_file_open(path, 1000, &f, &e) && strstr(e.what, "limit"), "over the limit");
    e = (struct sn_error){.offset = -1};
    ok(!sn_file_open("/nonexistent/x", 0, &f, &e) &&
           strcmp(e.where, "/nonexistent/x") == 0,
       "a missing file is named");
    unlink(path);
    for (int i = 0; i < 3; i++) {
        *strrchr(path, '/') = '\0';
        rmdir(path);
    }
}

/* Numbers as printf has them, also those that lie between two. */
static void units(void)
{
    char label[64], percent[32], number[64], as_percent[64];
    unsigned wrong = 0;
    for (int64_t i = 0; i < 400000; i++) {
        int64_t value =
            i < 200000 ? i : (int64_t)(sn_hash_mix((uint64_t)i) >> (i % 50 + 10));
        double kilobytes = (double)value / 1024, share = (double)value / 16384 * 100;
        snprintf(number, sizeof number, "%.2f", kilobytes);
        char *zeros = strstr(number, ".00");
        strcpy(zeros != NULL ? zeros : number + strlen(number), "kB");
        wrong += strcmp(sn_unit_label(value, "bytes", "kB", label, sizeof label),
                        strcmp(number, "0kB") == 0 ? "0" : number) != 0;
        snprintf(as_percent, sizeof as_percent, share >= 1 ? "%5.2f%%" : "%5.2g%%",
                 share);
        if (share < 99.95 || share > 100.05)
            wrong += strcmp(sn_unit_percent(value, 16384, percent, sizeof percent),
                            as_percent) != 0;
    }
    is_int(wrong, 0, "labels and percentages are rounded as printf does it");
    is_str(sn_unit_label(-1536, "Bytes", "kilobytes", label, sizeof label), "-1.50kB",
           "units are known whatever their case, and in the plural");
    is_str(sn_unit_label(123456, "bytes", "B", label, 5), "1234", "a label is cut");
}

int main(void)
{
    units();
    errors();
    strings_and_map();
    arena_grows();
    without_memory();
    files();
    return done();
}
