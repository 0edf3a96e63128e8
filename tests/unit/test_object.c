/* test_object.c: what a file is, told before it is run; and ELF files that were cut or
 * overwritten. */
#include "../tap.h"
#include "object/object.h"

#include <elf.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/sonde-object.XXXXXX", path[64], self[4096];

static void put(const void *data, size_t len, mode_t mode)
{
    FILE *f = fopen(path, "wb");
    fwrite(data, 1, len, f);
    fclose(f);
    chmod(path, mode);
}

static void probes(void)
{
    struct sn_object_probe o;
    struct sn_error e = {.offset = -1};
    ok(sn_object_probe(self, &o, &e) && o.elf && !o.foreign && !o.setuid &&
           strstr(o.interp, "ld") != NULL,
       "this program: ELF, with an interpreter %s", o.interp);
    put("#!/bin/sh -e\nexit 0\n", 20, 0755);
    ok(sn_object_probe(path, &o, &e) && !o.elf && strcmp(o.interp, "/bin/sh") == 0,
       "a script, and who runs it");
    ok(!sn_object_probe("/gone/away", &o, &e) && strstr(e.what, "No such file"),
       "none: %s", e.what);
    e = (struct sn_error){.offset = -1};
    ok(!sn_object_probe("/tmp", &o, &e), "a directory: %s", e.what);
}

/* This program's bytes with its header changed. */
static void altered(void)
{
    struct sn_error e = {.offset = -1};
    struct sn_object_probe o;
    struct sn_file f;
    if (!ok(sn_file_open(self, 0, &f, &e), "reads itself"))
        return;
    unsigned char *copy = malloc(f.len);
    Elf64_Ehdr *header = (Elf64_Ehdr *)copy;
    memcpy(copy, f.data, f.len);
    header->e_machine = EM_AARCH64;
    put(copy, f.len, 0755);
    ok(sn_object_probe(path, &o, &e) && o.foreign, "another machine's: %s", o.machine);
    memcpy(copy, f.data, f.len);
    put(copy, f.len, 04755);
    ok(sn_object_probe(path, &o, &e) && o.setuid, "setuid");
    bool fine = true;
    for (size_t n = 0; n < f.len; n = n * 5 / 4 + 1) {
        put(copy, n, 0755);
        e = (struct sn_error){.offset = -1};
        struct sn_object_frame frame;
        struct sn_object *x = sn_object_open(path, NULL, NULL, NULL, &e);
        fine = fine && (x != NULL || e.what[0] != '\0');
        if (x != NULL)
            sn_object_frames(x, header->e_entry, true, &frame, 1);
        sn_object_close(x);
        sn_object_probe(path, &o, &e);
    }
    ok(fine, "cut short anywhere: opened, or an error that says why");
    for (unsigned round = 0; round < 40; round++) {
        struct sn_object_frame frames[16];
        memcpy(copy, f.data, f.len);
        for (unsigned i = 0; i < 200; i++) /* not the magic */
            copy[16 + sn_hash_mix(round * 1000 + i) % (f.len - 16)] ^=
                (unsigned char)(1u << i % 8);
        put(copy, f.len, 0755);
        struct sn_object *x = sn_object_open(path, NULL, NULL, NULL, NULL);
        for (uint64_t at = 0x1000; x != NULL && at < 0x20000; at += 0x333)
            sn_object_frames(x, at, true, frames, 16);
        sn_object_close(x);
    }
    ok(true, "bits turned over: nothing worse than wrong names");
    free(copy);
    sn_file_close(&f);
}

int main(void)
{
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0 || mkdtemp(directory) == NULL)
        return skip_all("no /proc, or nowhere to write");
    snprintf(path, sizeof path, "%s/file", directory);
    probes();
    altered();
    unlink(path);
    rmdir(directory);
    return done();
}
