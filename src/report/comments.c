/* comments.c: what the profile's writer had to say. */
#include "report_priv.h"

bool sn_report_comments(struct sn_profile *p, const struct sn_options *o,
                        const char *argument, struct sn_buf *out, struct sn_error *e)
{
    struct sn_report r;
    (void)argument;
    if (!sn_report_open(&r, p, o, (struct sn_view_kind){0}, false, e))
        return false;
    for (uint32_t i = 0; i < p->n_comments; i++)
        sn_buf_printf(out, "%s\n", sn_profile_str(p, p->comments[i]));
    return sn_report_done(out, e);
}
