/* fuzz_spool.c: a spool into which anything was written, of each kind. The input is laid
 * over a blank one in pieces: two bytes of place (in units of 32 bytes over all the
 * tables), then 30 of content. */
#include "profile/profile.h"

#define PIECE 32

static void read_one(uint32_t kind, uint32_t n_values, const uint8_t *data, size_t len)
{
    static const size_t size = SN_SPOOL_AT_ENTRIES + 65536;
    struct sn_arena *a = sn_arena_new();
    struct sn_error e = {.offset = -1};
    unsigned char *spool = sn_arena_alloc(a, size);
    *(struct sn_spool_header *)spool = (struct sn_spool_header){.magic = SN_SPOOL_MAGIC,
                                                                .version = 1,
                                                                .state = 1,
                                                                .kind = kind,
                                                                .n_values = n_values,
                                                                .scale = 1,
                                                                .period = 1000000,
                                                                .n_modules = 3,
                                                                .n_threads = 3,
                                                                .used = 65536};
    for (; len >= PIECE; data += PIECE, len -= PIECE) {
        size_t at = ((size_t)data[0] << 8 | data[1]) * 32 % (size - PIECE);
        if (at >= sizeof(uint64_t) + 8) /* not the magic and the version */
            memcpy(spool + at, data + 2, PIECE - 2);
    }
    sn_profile_free(sn_spool_read(spool, size, "fuzz", &e));
    sn_arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    read_one(SN_SPOOL_CPU, SN_CPU_VALUES, data, len);
    read_one(SN_SPOOL_HEAP, SN_HEAP_SAMPLED_VALUES, data, len);
    read_one(SN_SPOOL_HEAP, SN_HEAP_VALUES, data, len);
    return 0;
}
