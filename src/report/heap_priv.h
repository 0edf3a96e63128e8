/* heap_priv.h: what the reports of a heap share. */
#ifndef SN_REPORT_HEAP_PRIV_H
#define SN_REPORT_HEAP_PRIV_H

#include "report/heap.h"
#include "report_priv.h"

/* heap_top.c: "File: ..." and so on, a line each. */
void sn_heap_head(const struct sn_heap_view *v, struct sn_buf *out);
/* "global data"; of kind 0 "leaked". */
const char *sn_heap_root_name(uint32_t kind);

static inline const char *sn_heap_bytes(uint64_t bytes, char buf[64])
{
    return sn_unit_label((int64_t)bytes, "bytes", "auto", buf, 64);
}

#endif
