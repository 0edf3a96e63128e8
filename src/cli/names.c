/*
 * names.c: gives names to the frames in lines of text: "#1 0xADDRESS (FILE+0xOFFSET)", as
 * the tracers print them (trace/stacks.c), becomes "#1 0xADDRESS in FUNCTION
 * SOURCE:LINE (FILE+0xOFFSET)", with a line of its own for each inlined call. What is no
 * frame, or of a file that says nothing, stays as it is. Files are opened once.
 */
#include "names.h"
#include "object/object.h"

#include <stdlib.h>

#define FILES_MAX 256
#define INLINED   16

struct names {
    struct sn_arena *arena;
    struct named_file {
        const char *path;
        struct sn_object *object; /* NULL: it cannot be read */
    } files[FILES_MAX];
    size_t n;
};

struct names *names_new(void)
{
    struct sn_arena *arena = sn_arena_new();
    struct names *n = arena != NULL ? sn_arena_alloc(arena, sizeof *n) : NULL;
    if (n == NULL) {
        sn_arena_free(arena);
        return NULL;
    }
    n->arena = arena;
    return n;
}

void names_free(struct names *n)
{
    if (n == NULL)
        return;
    for (size_t i = 0; i < n->n; i++)
        sn_object_close(n->files[i].object);
    sn_arena_free(n->arena);
}

static struct sn_object *open_object(struct names *n, const char *path, size_t len)
{
    for (size_t i = 0; i < n->n; i++)
        if (strlen(n->files[i].path) == len && memcmp(n->files[i].path, path, len) == 0)
            return n->files[i].object;
    if (n->n == FILES_MAX)
        return NULL;
    struct named_file *f = &n->files[n->n];
    struct sn_error e = {.offset = -1};
    f->path = sn_arena_strndup(n->arena, path, len);
    if (f->path == NULL)
        return NULL;
    f->object = sn_object_open(f->path, NULL, NULL, NULL, &e);
    n->n++;
    return f->object;
}

/* A frame's parts, in the line. */
struct frame {
    size_t head;      /* up to its address, and with it */
    const char *file; /* up to the '+' */
    size_t file_len;
    const char *module; /* " (FILE+0xOFFSET)" and what follows */
    uint64_t offset;
};

/* "    #1 0x55d3 in name (/bin/program+0x117f)". A path may hold anything: the last '+'
 * counts. */
static bool read_frame(const char *line, struct frame *f)
{
    const char *c = line + strspn(line, " ");
    char *end;
    if (c == line || *c != '#')
        return false;
    c += 1 + strspn(c + 1, "0123456789");
    if (strncmp(c, " 0x", 3) != 0)
        return false;
    c += 3 + strspn(c + 3, "0123456789abcdef");
    f->head = (size_t)(c - line);
    const char *plus = strrchr(c, '+');
    f->module = strstr(c, " (");
    if (plus == NULL || f->module == NULL || f->module > plus ||
        strncmp(plus, "+0x", 3) != 0)
        return false;
    f->offset = strtoull(plus + 3, &end, 16);
    f->file = f->module + 2;
    f->file_len = (size_t)(plus - f->file);
    return *end == ')';
}

void names_line(struct names *n, const char *line, struct sn_buf *out)
{
    struct frame f;
    struct sn_object_frame calls[INLINED];
    size_t count = 0;
    struct sn_object *o = NULL;
    if (n != NULL && read_frame(line, &f))
        o = open_object(n, f.file, f.file_len);
    if (o != NULL)
        count = sn_object_frames(o, f.offset, true, calls, INLINED);
    if (count == 0 || calls[count - 1].name[0] == '\0') {
        sn_buf_printf(out, "%s\n", line);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct sn_object_frame *c = &calls[i];
        sn_buf_add(out, line, f.head);
        sn_buf_printf(out, " in %s", sn_demangle(c->name, SN_DEMANGLE_DEFAULT, n->arena));
        if (c->file[0] != '\0')
            sn_buf_printf(out, " %s:%lld", c->file, (long long)c->line);
        sn_buf_printf(out, "%s%s\n", f.module, i + 1 < count ? " inlined" : "");
    }
}
