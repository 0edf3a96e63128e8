/* fuzz_object.c: any bytes as a program: probed, opened, asked for the frames at some
 * addresses. Through a file, since that is what elfutils reads. */
#include "object/object.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint64_t addresses[] = {0,      0x1000,   0x1028,   0x1060,
                                         0x1139, 0x401000, 0x401136, UINT64_MAX};
    struct sn_object_probe probe;
    struct sn_object_frame frames[16];
    char path[64];
    snprintf(path, sizeof path, "/tmp/sonde-fuzz-object.%d", (int)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, len) != (ssize_t)len)
        abort();
    close(fd);
    sn_object_probe(path, &probe, NULL);
    struct sn_object *o = sn_object_open(path, NULL, NULL, NULL, NULL);
    for (size_t i = 0; o != NULL && i < SN_COUNT(addresses); i++)
        sn_object_frames(o, addresses[i], true, frames, SN_COUNT(frames));
    if (o != NULL) /* the same by our own reading */
        sn_object_resolve(o, addresses, SN_COUNT(addresses), true, NULL, NULL);
    for (size_t i = 0; o != NULL && i < SN_COUNT(addresses); i++)
        sn_object_frames(o, addresses[i], true, frames, SN_COUNT(frames));
    sn_object_close(o);
    unlink(path);
    return 0;
}
