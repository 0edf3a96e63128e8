/* record_priv.h: what the record room's own files share. */
#ifndef SN_RECORD_PRIV_H
#define SN_RECORD_PRIV_H

#include "record/record.h"

struct sn_record {
    struct sn_arena *arena; /* owned: holds this too */
    char dir[PATH_MAX];
    pid_t child; /* 0: not started */
    bool in_use; /* a process that still runs writes in dir */
    bool keep;   /* dir stays when the recording is freed */
    struct sn_recorded *images;
    uint32_t n_images, cap_images;
    const char **written; /* profiles, in order of their names */
    uint32_t n_written, cap_written;
};

#endif
