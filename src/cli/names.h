/* names.h: names for the frames that the tracers print (names.c). */
#ifndef SN_CLI_NAMES_H
#define SN_CLI_NAMES_H

#include "cli.h"
#include "symbolize/symbolize.h"

/* Append the line (without its newline) to `out`, with names and a newline. n may be
 * NULL: without. */
void names_line(struct sn_namer *n, const char *line, struct sn_buf *out);

#endif
