/* readers.c: the table of what is read beside profile.proto; the order matters where one
 * format's beginning could be another's. Allocates nothing. */
#include "readers_priv.h"

const struct sn_reader sn_readers[] = {
    {"gperftools CPU", sn_is_cpu, sn_read_cpu},
    {"heap as text", sn_is_heap, sn_read_heap},
    {"Go's counts as text", sn_is_count, sn_read_count},
    {"threads as text", sn_is_threads, sn_read_threads},
    {"Java's text", sn_is_java, sn_read_java},
    {"contention as text", sn_is_contention, sn_read_contention},
    {"callgrind", sn_is_callgrind, sn_read_callgrind},
    {"perf script", sn_is_perf_script, sn_read_perf_script},
    {"collapsed stacks", sn_is_collapsed, sn_read_collapsed},
};

const size_t sn_readers_count = SN_COUNT(sn_readers);

const struct sn_reader *sn_reader_find(const unsigned char *data, size_t len)
{
    for (size_t i = 0; i < sn_readers_count; i++)
        if (sn_readers[i].is(data, len))
            return &sn_readers[i];
    return NULL;
}
