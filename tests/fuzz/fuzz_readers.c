/* fuzz_readers.c: any bytes as each of the formats beside profile.proto, whichever they
 * look like. What is accepted must be written and read back. */
#include "formats/readers.h"

static void use(struct sn_profile *p)
{
    struct sn_error e = {.offset = -1};
    struct sn_buf b = {.arena = p->arena};
    sn_profile_encode(p, &b);
    struct sn_profile *again = sn_profile_decode(b.data, b.len, "again", &e);
    if (again == NULL)
        abort();
    sn_profile_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < sn_readers_count; i++) {
        struct sn_error e = {.offset = -1};
        struct sn_profile *p = NULL;
        if (sn_readers[i].is(data, len))
            p = sn_reader_read(&sn_readers[i], data, len, "fuzz", &e);
        if (p != NULL)
            use(p);
        sn_profile_free(p);
    }
    return 0;
}
