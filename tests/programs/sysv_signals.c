/*
 * sysv_signals.c: the older signal functions, on two signals that tracers hold and one
 * that is nobody's: what they return, and what then happens.
 *
 *     sysv_signals [held]     held: use freed memory with SIGSEGV blocked
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t came;

static void handler(int signo)
{
    came = signo;
}

static const char *name(void (*was)(int))
{
    return was == SIG_DFL    ? "default"
           : was == SIG_IGN  ? "ignored"
           : was == SIG_HOLD ? "held"
           : was == SIG_ERR  ? "error"
           : was == handler  ? "handler"
                             : "another";
}

static void try(int signo)
{
    sigset_t pending;
    came = 0;
    printf("%d: sigset %s", signo, name(sigset(signo, handler)));
    raise(signo);
    printf(", came %d", came == signo);
    came = 0;
    printf(", hold %s", name(sigset(signo, SIG_HOLD)));
    if (signo == SIGUSR1) /* efence lets its two come, held or not */
        raise(signo);
    sigpending(&pending);
    printf(", came %d pending %d", came == signo, sigismember(&pending, signo));
    printf(", release %d", sigrelse(signo));
    printf(", came %d", came == signo);
    printf(", sighold %d", sighold(signo));
    printf(", sigset %s", name(sigset(signo, handler)));
    printf(", sigignore %d", sigignore(signo));
    came = 0;
    raise(signo);
    printf(", came %d", came == signo);
    printf(", ssignal %s", name(ssignal(signo, handler)));
    printf(", default %s\n", name(sigset(signo, SIG_DFL)));
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "held") == 0) {
        char *p = malloc(24);
        sighold(SIGSEGV);
        free(p);
        *(volatile char *)p = 1;
        return 0;
    }
    try(SIGUSR1);
    try(SIGBUS);
    try(SIGSEGV);
    printf("no signal: %s %d\n", name(sigset(1000, handler)), sighold(-3));
    return 0;
}
