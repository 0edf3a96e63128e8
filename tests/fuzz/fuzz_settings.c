/* fuzz_settings.c: SONDE comes from whoever starts the program. */
#include "runtime/runtime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sn_settings s = {0};
    struct sn_error e = {.offset = -1};
    char text[4096];
    if (size >= sizeof text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    bool good = sn_settings_parse(&s, text, &e);
    if (good != (e.what[0] == '\0') || (good && s.cpu_hz > 10000))
        abort();
    return 0;
}
