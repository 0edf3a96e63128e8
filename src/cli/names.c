/*
 * names.c: gives names to the frames in lines of text: "#1 0xADDRESS (FILE+0xOFFSET)", as
 * the tracers print them (trace/stacks.c), becomes "#1 0xADDRESS in FUNCTION
 * SOURCE:LINE (FILE+0xOFFSET)", with a line of its own for each inlined call. What is no
 * frame, or of a file that says nothing, stays as it is. Files are opened once.
 */
#include "names.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

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

void names_line(struct sn_namer *n, const char *line, struct sn_buf *out)
{
    struct frame f;
    struct sn_namer_frame calls[SN_NAMER_FRAMES];
    char path[PATH_MAX];
    size_t count = 0;
    if (n != NULL && read_frame(line, &f) && f.file_len < sizeof path) {
        snprintf(path, sizeof path, "%.*s", (int)f.file_len, f.file);
        count = sn_namer_file_frames(n, path, f.offset, calls, SN_COUNT(calls));
    }
    if (count == 0 || calls[count - 1].function[0] == '\0') {
        sn_buf_printf(out, "%s\n", line);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct sn_namer_frame *c = &calls[i];
        sn_buf_add(out, line, f.head);
        sn_buf_printf(out, " in %s", c->function);
        if (c->file[0] != '\0')
            sn_buf_printf(out, " %s:%lld", c->file, (long long)c->line);
        sn_buf_printf(out, "%s%s\n", f.module, i + 1 < count ? " inlined" : "");
    }
}
