/* readers.c: the table of what is read beside profile.proto; the order matters where one
 * format's beginning could be another's. */
#include "readers_priv.h"

const struct sn_reader sn_readers[] = {
    {"gperftools CPU", sn_is_cpu, sn_read_cpu, true},
    {"heap as text", sn_is_heap, sn_read_heap, true},
    {"Go's counts as text", sn_is_count, sn_read_count, true},
    {"threads as text", sn_is_threads, sn_read_threads, true},
    {"Java's text", sn_is_java, sn_read_java, true},
    {"contention as text", sn_is_contention, sn_read_contention, true},
    {"callgrind", sn_is_callgrind, sn_read_callgrind, false},
    {"perf script", sn_is_perf_script, sn_read_perf_script, false},
    {"collapsed stacks", sn_is_collapsed, sn_read_collapsed, false},
};

const size_t sn_readers_count = SN_COUNT(sn_readers);

const struct sn_reader *sn_reader_find(const unsigned char *data, size_t len)
{
    for (size_t i = 0; i < sn_readers_count; i++)
        if (sn_readers[i].is(data, len))
            return &sn_readers[i];
    return NULL;
}

struct sn_profile *sn_reader_read(const struct sn_reader *r, const unsigned char *data,
                                  size_t len, const char *where, struct sn_error *e)
{
    struct sn_build b;
    struct sn_lines l;
    struct sn_error own = {.offset = -1};
    sn_lines_open(&l, data, len);
    bool good = sn_build_open(&b, where, e != NULL ? e : &own) && r->body(&b, &l);
    if (good && r->drop_frames)
        sn_build_drop_frames(&b);
    else if (good)
        for (uint32_t i = 0; i < b.p->n_functions; i++)
            b.p->functions[i].system_name = 0; /* the names are what is to be shown */
    return sn_build_done(&b, good);
}
