/*
 * frame_pointer.c: where rbp points, of a function that has it as its frame pointer, if
 * only rsp is known. It is a guess, by what lies on the stack: at rbp the caller's own,
 * above it the return address.
 *
 * Pure but for the caller's loads; signal-safe if they are; bounded.
 */
#include "unwind/x86_64/arch.h"

#define LOOK_BYTES  (UINT64_C(64) << 10) /* how large a frame may be */
#define CHAIN_BYTES (UINT64_C(1) << 20)  /* how far above the caller's may be */

enum likely {
    NO,
    BY_POINTER, /* a call through a pointer was made from there */
    CHAINED,    /* a call, and the saved frame pointer leads upwards */
    CERTAIN     /* a call of this function */
};

static enum likely judge(const struct sn_unwind_env *env, uint64_t at, uint64_t saved,
                         uint64_t ra, uint64_t function)
{
    uint64_t code, target;
    uint8_t before[8];
    if (!env->is_code(env->arg, ra - 1) || !env->load(env->arg, ra - 8, &code))
        return NO;
    memcpy(before, &code, sizeof before);
    if (!sn_arch_is_call(before, ra, &target))
        return NO;
    if (target != 0 && target == function)
        return CERTAIN;
    if (saved > at && saved - at < CHAIN_BYTES && saved % 8 == 0)
        return CHAINED;
    return target == 0 ? BY_POINTER : NO;
}

bool sn_unwind_frame_pointer(const struct sn_unwind_env *env, uint64_t sp,
                             uint64_t function, uint64_t *fp)
{
    enum likely best = NO;
    uint64_t at = (sp + 7) & ~UINT64_C(7), saved, ra;
    if (!env->load(env->arg, at, &saved))
        return false;
    for (uint64_t end = at + LOOK_BYTES; at < end && best < CERTAIN;
         at += 8, saved = ra) {
        if (!env->load(env->arg, at + 8, &ra))
            break;
        enum likely how = judge(env, at, saved, ra, function);
        if (how > best)
            *fp = at;
        best = how > best ? how : best;
    }
    return best > NO;
}
