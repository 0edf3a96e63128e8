/*
 * debug_file.c: the separate file that holds a stripped file's debug information: by
 * build id, by the name and checksum in .gnu_debuglink, or from a debuginfod server.
 * Whatever is taken has the same build id, or, where there is none, the checksum.
 */
#include "object_priv.h"

#include <elfutils/libdwelf.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static const char *const system_dirs[] = {"/usr/lib/debug", NULL};

struct hunt {
    struct sn_object *o;
    struct sn_buf *tried;
    bool by_checksum;
    uint32_t checksum;
};

/* ---- checksum of a debug link
 * ----------------------------------------------------------
 */

/* CRC-32 (IEEE 802.3, reflected), eight bits a step. */
static uint32_t crc32_add(uint32_t crc, const unsigned char *p, size_t n)
{
    uint32_t table[256];
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? UINT32_C(0xedb88320) : 0);
    }
    for (crc = ~crc; n > 0; n--)
        crc = crc >> 8 ^ table[(crc ^ *p++) & 0xff];
    return ~crc;
}

static uint32_t file_checksum(int fd)
{
    unsigned char buf[1 << 16];
    uint32_t crc = 0;
    ssize_t n;
    for (off_t at = 0; (n = pread(fd, buf, sizeof buf, at)) > 0; at += n)
        crc = crc32_add(crc, buf, (size_t)n);
    return crc;
}

/* ---- one candidate
 * ---------------------------------------------------------------------
 */

static const char *objection(const struct hunt *h, struct elf_file *f)
{
    char id[sizeof h->o->build_id];
    if (elf_build_id(f->elf, id, sizeof id) && h->o->build_id[0] != '\0') {
        if (strcmp(id, h->o->build_id) != 0)
            return "has another build id";
    } else if (!h->by_checksum || file_checksum(f->fd) != h->checksum)
        return "is of another build";
    return elf_has_dwarf(f->elf) ? NULL : "has no debug information";
}

static bool try_path(const struct hunt *h, const char *path)
{
    struct sn_error e = {.offset = -1};
    struct elf_file f;
    const char *why = e.what;
    if (elf_file_open(&f, path, &e)) {
        why = objection(h, &f);
        if (why == NULL) {
            h->o->debug = f;
            return true;
        }
        elf_file_close(&f);
    }
    if (h->tried != NULL)
        sn_buf_printf(h->tried, "%s: %s\n", path, why);
    return false;
}

static bool SN_PRINTF(2, 3) try(const struct hunt *h, const char *fmt, ...)
{
    char path[PATH_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    return n > 0 && n < (int)sizeof path && try_path(h, path);
}

/* ---- where to look
 * ---------------------------------------------------------------------
 */

static bool by_build_id(const struct hunt *h, const char *dir)
{
    const char *id = h->o->build_id;
    return strlen(id) > 2 && (try(h, "%s/.build-id/%.2s/%s.debug", dir, id, id + 2) ||
                              try(h, "%s/%.2s/%s.debug", dir, id, id + 2));
}

static bool by_link(const struct hunt *h, const char *const *dirs, const char *link)
{
    char real[PATH_MAX];
    if (strchr(link, '/') != NULL || link[0] == '\0' ||
        realpath(h->o->path, real) == NULL)
        return false;
    const char *home = dirname(real);
    bool found = try(h, "%s/%s", home, link) || try(h, "%s/.debug/%s", home, link);
    for (; !found && dirs != NULL && *dirs != NULL; dirs++)
        found = try(h, "%s%s/%s", *dirs, home, link) || try(h, "%s/%s", *dirs, link);
    return found || try(h, "%s%s/%s", system_dirs[0], home, link);
}

/* Only where the user named servers. */
static bool from_server(const struct hunt *h, const struct sn_object_search *search)
{
    const char *why;
    char *path =
        debuginfod_fetch(h->o->build_id, search != NULL ? search->fetch : NULL, &why);
    bool found = path != NULL && try(h, "%s", path);
    if (why != NULL && h->tried != NULL)
        sn_buf_printf(h->tried, "%s: %s\n", h->o->path, why);
    free(path);
    return found;
}

bool debug_file_find(struct sn_object *o, const struct sn_object_search *search,
                     struct sn_buf *tried)
{
    GElf_Word crc = 0;
    const char *link = dwelf_elf_gnu_debuglink(o->main.elf, &crc);
    const char *const *extra = search != NULL ? search->dirs : NULL;
    struct hunt h = {o, tried, link != NULL, crc};
    const char *const *const lists[] = {extra, system_dirs};
    for (size_t i = 0; i < SN_COUNT(lists); i++)
        for (const char *const *dir = lists[i]; dir != NULL && *dir != NULL; dir++)
            if (by_build_id(&h, *dir))
                return true;
    return (link != NULL && by_link(&h, extra, link)) || from_server(&h, search);
}
