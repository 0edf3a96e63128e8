/* json.h: what all that writes JSON needs. */
#ifndef SN_JSON_H
#define SN_JSON_H

#include "base/base.h"

/* A JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. */
void sn_json_string(struct sn_buf *out, const char *text);

#endif
