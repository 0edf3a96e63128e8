/* write.c: a table becomes a profile. Pages and system calls only, but slow. */
#include "runtime/runtime.h"

static bool write_table(const struct sn_table *t, const char *path, struct sn_error *e)
{
    struct sn_profile *profile = t->header->state == 2
                                     ? sn_spool_read(t->header, t->bytes, path, e)
                                     : sn_spool_read_now(t->header, t->bytes, path, e);
    if (profile == NULL)
        return false;
    struct sn_buf out = {.arena = profile->arena};
    sn_profile_encode(profile, &out);
    bool good = out.failed ? sn_fail(e, path, -1, "out of memory")
                           : sn_file_write(path, out.data, out.len, e);
    sn_profile_free(profile);
    return good;
}

bool sn_table_write(const struct sn_table *t, const char *path, struct sn_error *e)
{
    struct sn_guard guard;
    sn_guard_begin(&guard, false);
    bool good = write_table(t, path, e);
    sn_guard_end(&guard);
    return good;
}
