/* trace_priv.h: the rows of the table of tracers. */
#ifndef SN_TRACE_PRIV_H
#define SN_TRACE_PRIV_H

#include "trace/trace.h"

extern const struct sn_tracer sn_gcdead;
extern const struct sn_tracer sn_efence;

#endif
