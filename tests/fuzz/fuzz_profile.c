/* fuzz_profile.c: any bytes as a profile, gzipped or not; what is accepted is merged with
 * itself and written, and must be read back. */
#include "profile/profile.h"
#include "wire/wire.h"

#define LIMIT ((size_t)64 << 20)

static void use(struct sn_profile *p)
{
    struct sn_error e = {.offset = -1};
    struct sn_profile *twice[] = {p, p}, *sum = sn_profile_merge(twice, 2, &e);
    if (sum == NULL)
        abort();
    struct sn_buf b = {.arena = sum->arena};
    sn_profile_encode(sum, &b);
    struct sn_profile *again = sn_profile_decode(b.data, b.len, "again", &e);
    if (again == NULL)
        abort();
    sn_profile_free(again);
    sn_profile_free(sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_error e = {.offset = -1};
    unsigned char *plain = (unsigned char *)data;
    if (sn_gzip_is(data, len) &&
        !sn_gzip_inflate(data, len, LIMIT, a, &plain, &len, "fuzz", &e)) {
        sn_arena_free(a);
        return 0;
    }
    struct sn_profile *p = sn_profile_decode(plain, len, "fuzz", &e);
    if (p != NULL)
        use(p);
    sn_profile_free(p);
    sn_arena_free(a);
    return 0;
}
