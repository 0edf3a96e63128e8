/* viewers.h: programs that show a report, and files for what has no name (viewers.c). */
#ifndef SN_VIEWERS_H
#define SN_VIEWERS_H

#include "cli.h"

struct viewer;

/* Of a format that is to be shown by a program; NULL: it is not. */
const struct viewer *viewer_find(const struct sn_report_format *f);
/* An empty file for it to show, for its user's eyes only. */
bool viewer_file(const struct viewer *v, char *path, size_t size, struct sn_error *e);
/* Start the first program that is there. `wait` until it ends; else it goes its own way.
 */
bool viewer_show(const struct viewer *v, const char *path, bool wait, struct sn_error *e);

/* The end of a file's name for a report that is not printed; NULL: it is text. */
const char *away_suffix(const struct sn_report_format *f);
/* The first of STEM001.SUFFIX, STEM002.SUFFIX, ... that is free; made. */
bool output_number(const char *stem, const char *suffix, char *path, size_t size,
                   struct sn_error *e);

#endif
