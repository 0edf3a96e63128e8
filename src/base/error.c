/* error.c: an error is filled once: the first cause wins. No allocation. */
#include "base/base.h"

#include <stdio.h>

#undef sn_fail
bool sn_fail(struct sn_error *e, const char *where, int64_t offset, const char *fmt, ...)
{
    va_list ap;
    if (e == NULL || e->what[0] != '\0')
        return false;
    va_start(ap, fmt);
    vsnprintf(e->what, sizeof e->what, fmt, ap);
    va_end(ap);
    snprintf(e->where, sizeof e->where, "%s", where != NULL ? where : "");
    e->offset = offset;
    return false;
}

char *sn_error_text(const struct sn_error *e, char *buf, size_t size)
{
    if (e->where[0] != '\0' && e->offset >= 0)
        snprintf(buf, size, "%s: offset %lld: %s", e->where, (long long)e->offset,
                 e->what);
    else if (e->where[0] != '\0')
        snprintf(buf, size, "%s: %s", e->where, e->what);
    else
        snprintf(buf, size, "%s", e->what);
    return buf;
}
