/*
 * dw_alternate.c: the file into which dwz moved what several debug files have in common,
 * as those of distributions do. .gnu_debugaltlink holds its path, relative to the file
 * that has it, and its build id, which must be right. Allocates in the object's arena.
 */
#include "object/dw.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

struct link {
    const char *path;
    char id[2 * 64 + 1]; /* hexadecimal */
};

static bool read_link(Elf *elf, struct link *l)
{
    GElf_Shdr h;
    Elf_Data *data = elf_section(elf, ".gnu_debugaltlink", &h);
    const char *end = data != NULL && data->d_buf != NULL
                          ? memchr(data->d_buf, '\0', data->d_size)
                          : NULL;
    if (end == NULL)
        return false;
    l->path = data->d_buf;
    const unsigned char *id = (const unsigned char *)end + 1;
    size_t n = data->d_size - (size_t)(end + 1 - l->path);
    if (n == 0 || n * 2 >= sizeof l->id)
        return false;
    for (size_t i = 0; i < n; i++)
        snprintf(l->id + i * 2, 3, "%02x", id[i]);
    return true;
}

static bool try_path(const struct link *l, struct elf_file *f, const char *path)
{
    char id[sizeof l->id];
    if (!elf_file_open(f, path, NULL))
        return false;
    if (elf_build_id(f->elf, id, sizeof id) && strcmp(id, l->id) == 0)
        return true;
    elf_file_close(f);
    return false;
}

static bool find(const struct link *l, const struct elf_file *from, struct elf_file *f)
{
    char own[64], real[PATH_MAX], path[2 * PATH_MAX];
    snprintf(own, sizeof own, "/proc/self/fd/%d", from->fd);
    ssize_t n = readlink(own, real, sizeof real - 1);
    real[n > 0 ? n : 0] = '\0';
    int length =
        snprintf(path, sizeof path, "%s%s%s", l->path[0] == '/' ? "" : dirname(real),
                 l->path[0] == '/' ? "" : "/", l->path);
    if (length < (int)sizeof path && try_path(l, f, path))
        return true;
    snprintf(path, sizeof path, "/usr/lib/debug/.build-id/%.2s/%s.debug", l->id,
             l->id + 2);
    return try_path(l, f, path);
}

void dw_alternate_open(struct sn_object *o, struct dw *d, struct elf_file *f)
{
    struct link l;
    struct elf_file image;
    if (!read_link(f->elf, &l) || !find(&l, f, &image))
        return;
    struct dw *alternate = sn_arena_alloc(o->arena, sizeof *alternate);
    if (alternate != NULL && dw_open_alone(o, alternate, &image)) {
        alternate->image = image;
        d->alternate = alternate;
    } else
        elf_file_close(&image);
}
