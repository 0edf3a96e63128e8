/* paint.c: colours for a table on a terminal: rows by how hot they are. */
#include "cli.h"

#define BOLD   "\033[1m"
#define RED    "\033[31m"
#define YELLOW "\033[33m"
#define PLAIN  "\033[0m"

/* A row of `top` begins "  1.50s 18.75% ..."; its colour by the second column. */
static const char *colour_of(const char *row)
{
    char *end;
    row += strspn(row, " ");
    row += strcspn(row, " \n"); /* the flat value */
    row += strspn(row, " ");
    if (strncmp(row, "flat%", 5) == 0)
        return BOLD;
    if (*row < '0' || *row > '9') /* strtod would pass the line's end */
        return NULL;
    double percent = strtod(row, &end);
    if (*end != '%')
        return NULL;
    return percent >= 10 ? RED : percent >= 2 ? YELLOW : NULL;
}

void paint_table(const struct sn_buf *plain, struct sn_buf *out)
{
    const char *p = plain->data, *end = p + plain->len;
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = stop != NULL ? (size_t)(stop - p) : (size_t)(end - p);
        const char *colour = colour_of(p);
        sn_buf_puts(out, colour != NULL ? colour : "");
        sn_buf_add(out, p, n);
        sn_buf_puts(out, colour != NULL ? PLAIN : "");
        if (stop != NULL)
            sn_buf_putc(out, '\n');
        p += n + (stop != NULL);
    }
    out->failed |= plain->failed;
}
