/*
 * signals.c: the real-time signals that are ours: of the clocks, and of the socket. Taken
 * when first needed and kept, since one that was on its way may come late; what the
 * program sets for them is noted, and its handlers are called for its own (tick.c).
 */
#include "runtime/runtime.h"

typedef void handler(int signal, siginfo_t *info, void *context);

static handler *const handlers[] = {
    [SN_OWN_CLOCK] = sn_on_tick,
    [SN_OWN_CONTROL] = sn_on_control,
};
static bool taken[SN_OWN_SIGNALS];

int sn_signal_number(enum sn_own_signal own)
{
    return own == SN_OWN_CLOCK ? SN_CLOCK_SIGNAL : SN_CONTROL_SIGNAL;
}

int sn_signal_own(int signal)
{
    for (int own = 0; own < SN_OWN_SIGNALS; own++)
        if (signal == sn_signal_number(own))
            return own;
    return -1;
}

bool sn_signal_is_taken(enum sn_own_signal own, const struct sigaction *now)
{
    return now->sa_sigaction == handlers[own];
}

bool sn_signal_take(enum sn_own_signal own)
{
    /* The control's leaves the stack it comes on, and says from where to a scan of it. */
    struct sigaction action = {.sa_sigaction = handlers[own],
                               .sa_flags = SA_SIGINFO | SA_RESTART |
                                           (own == SN_OWN_CLOCK ? SA_ONSTACK : 0)};
    struct sigaction stray = {.sa_handler = sn_on_stray_io, .sa_flags = SA_RESTART}, old;
    if (taken[own])
        return true;
    sigfillset(&action.sa_mask);
    if (sn_real_sigaction(sn_signal_number(own), &action, &sn_program_actions[own]) != 0)
        return false;
    /* What the kernel sends where the queue of signals is full; its default kills. */
    if (sn_real_sigaction(SIGIO, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
        sn_real_sigaction(SIGIO, &stray, NULL);
    return taken[own] = true;
}
