/* fuzz_remote.c: any bytes as a server's answer for three addresses, two of them equal,
 * of a mapping that was moved. */
#include "symbolize/symbolize.h"

struct answer {
    const uint8_t *data;
    size_t len;
};

static bool serve(void *arg, const char *module, const char *url,
                  const struct sn_buf *query, struct sn_buf *answer, struct sn_error *e)
{
    const struct answer *a = arg;
    (void)module, (void)url, (void)query, (void)e;
    sn_buf_add(answer, a->data, a->len);
    return !answer->failed;
}

static struct sn_profile *fetched(void)
{
    static const uint64_t addresses[] = {0x401000, 0x402000, 0x402000};
    struct sn_profile *p = sn_profile_new();
    if (p == NULL)
        abort();
    SN_PUSH(p->arena, p->types, p->n_types, p->cap_types);
    struct sn_mapping *m = SN_PUSH(p->arena, p->mappings, p->n_mappings, p->cap_mappings);
    *m = (struct sn_mapping){.start = 0x400000,
                             .limit = 0x500000,
                             .source = "http://host/pprof/heap",
                             .source_start = 0x10000000};
    for (size_t i = 0; i < SN_COUNT(addresses); i++)
        SN_PUSH(p->arena, p->locations, p->n_locations, p->cap_locations)->address =
            addresses[i];
    return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct answer answer = {data, len};
    struct sn_symbolize_options o = {.ask = serve, .ask_arg = &answer, .no_local = true};
    struct sn_error e = {.offset = -1};
    struct sn_profile *p = fetched();
    bool good = sn_symbolize(p, &o, NULL, &e);
    if (good != (e.what[0] == '\0') || !sn_profile_check(p, "fuzz", NULL))
        abort();
    sn_profile_free(p);
    return 0;
}
