/*
 * sysv_signals.c: the older ways to say what a signal does (sigset(3), sighold(3),
 * ssignal(3)). Inside the C library they go past the hooks of hooks.c, so here they are
 * made of those. As signal-safe as they are.
 */
#include "runtime/runtime.h"

sighandler_t bsd_signal(int signo, sighandler_t handler); /* in no header any more */

SN_PUBLIC sighandler_t bsd_signal(int signo, sighandler_t handler)
{
    return signal(signo, handler);
}

SN_PUBLIC sighandler_t ssignal(int signo, sighandler_t handler)
{
    return signal(signo, handler);
}

/* -1, and errno: there is no such signal. */
static int mask(int how, int signo, sigset_t *before)
{
    sigset_t one;
    sigemptyset(&one);
    return sigaddset(&one, signo) != 0 ? -1 : sigprocmask(how, &one, before);
}

/* SIG_HOLD blocks; any other is set, and the signal let come. What it was: SIG_HOLD if it
 * was blocked. */
SN_PUBLIC sighandler_t sigset(int signo, sighandler_t handler)
{
    const struct sigaction action = {.sa_handler = handler};
    struct sigaction was;
    sigset_t before;
    bool hold = handler == SIG_HOLD;
    if (sigaction(signo, hold ? NULL : &action, &was) != 0 ||
        mask(hold ? SIG_BLOCK : SIG_UNBLOCK, signo, &before) != 0)
        return SIG_ERR;
    return sigismember(&before, signo) ? SIG_HOLD : was.sa_handler;
}

SN_PUBLIC int sighold(int signo)
{
    return mask(SIG_BLOCK, signo, NULL);
}

SN_PUBLIC int sigrelse(int signo)
{
    return mask(SIG_UNBLOCK, signo, NULL);
}

SN_PUBLIC int sigignore(int signo)
{
    const struct sigaction action = {.sa_handler = SIG_IGN};
    return sigaction(signo, &action, NULL);
}
