/* fuzz_trace.c: a runtime's trace of any bytes, in one piece and in two. */
#include "formats/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count(void *to, const char *bytes, size_t n)
{
    (void)bytes;
    *(size_t *)to += n;
}

static size_t read_in(const char *bytes, size_t n, size_t cut,
                      const struct sn_trace_limits *limits)
{
    struct sn_trace *t = sn_trace_new(limits);
    size_t back = 0;
    sn_trace_feed(t, bytes, cut, 5, count, &back);
    sn_trace_feed(t, bytes + cut, n - cut, 7, count, &back);
    sn_trace_finish(t, count, &back);
    for (uint32_t i = 0; i < t->n_sweeps; i++)
        if (t->sweeps[i].time_ns < 0 ||
            t->sweeps[i].first + t->sweeps[i].n_samples > t->n_samples)
            abort();
    for (uint32_t i = 0; i < t->n_samples; i++)
        if (t->samples[i].lane >= t->n_lanes || t->samples[i].state >= SN_STATES)
            abort();
    for (uint32_t i = 0; i < t->n_gcs; i++)
        if (t->gcs[i].time_ns < 0 || t->gcs[i].wall_ns < 0)
            abort();
    sn_trace_free(t);
    return back;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct sn_trace_limits few = {4, 8, 4, 4, 3, 3, 6, 4};
    const char *bytes = (const char *)data;
    size_t back = read_in(bytes, size, 0, NULL);
    if (back > size || read_in(bytes, size, size / 2, &few) != back)
        abort();
    return 0;
}
