/* names.h: names for the frames that the tracers print (names.c). */
#ifndef SN_CLI_NAMES_H
#define SN_CLI_NAMES_H

#include "cli.h"

struct names; /* the files that were met */

struct names *names_new(void);    /* NULL: out of memory */
void names_free(struct names *n); /* NULL-safe */
/* Append the line (without its newline) to `out`, with names and a newline. */
void names_line(struct names *n, const char *line, struct sn_buf *out);

#endif
