/*
 * own_faults.c: what a program does with SIGSEGV and SIGBUS of its own. Without
 * arguments: what it sees of them, a line each, which must be the same under any tracer.
 *
 *     own_faults caught      recovers from faults in freed blocks, by siglongjmp
 *     own_faults WAY         dies by: null, ignored, raised, overflow, file, blocked,
 * freed, freed_blocked
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf back;
static char *page; /* PROT_NONE */
static char alternate[65536];

static void say(const char *what, long value)
{
    printf("%s %ld\n", what, value);
    fflush(stdout);
}

static void set(int signal, void (*handler)(int, siginfo_t *, void *), int flags,
                int masked)
{
    struct sigaction a = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
    sigemptyset(&a.sa_mask);
    if (masked != 0)
        sigaddset(&a.sa_mask, masked);
    if (sigaction(signal, &a, NULL) != 0)
        abort();
}

static void look(int signal, siginfo_t *info, void *context)
{
    sigset_t now;
    char here;
    stack_t stack;
    sigprocmask(SIG_BLOCK, NULL, &now);
    sigaltstack(NULL, &stack);
    say("signal", signal);
    say("code", info->si_code);
    say("address is the page's", (char *)info->si_addr == page + 5);
    say("itself blocked", sigismember(&now, signal));
    say("SIGUSR1 blocked", sigismember(&now, SIGUSR1));
    say("SIGUSR2 blocked", sigismember(&now, SIGUSR2));
    say("on the other stack", &here >= alternate && &here < alternate + sizeof alternate);
    say("says so", stack.ss_flags == SS_ONSTACK);
    say("context", context != NULL && ((ucontext_t *)context)->uc_link == NULL);
}

static void mend(int signal, siginfo_t *info, void *context)
{
    look(signal, info, context);
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

static void leave(int signal, siginfo_t *info, void *context)
{
    look(signal, info, context);
    siglongjmp(back, 1);
}

static void plain(int signal)
{
    say("plain", signal);
    siglongjmp(back, 1);
}

static void touch(void)
{
    mprotect(page, 4096, PROT_NONE);
    *(volatile char *)(page + 5) = 1;
}

static void see(const char *name, int flags, int masked)
{
    struct sigaction now;
    puts(name);
    set(SIGSEGV, mend, flags, masked);
    touch();
    sigaction(SIGSEGV, NULL, &now);
    say("handler is still there", now.sa_sigaction == mend);
    say("flags are", now.sa_flags);
    say("mask has SIGUSR1", sigismember(&now.sa_mask, SIGUSR1));
}

static int overflow(volatile char *above)
{
    volatile char here[4096];
    here[0] = above[0];
    return overflow(here) + here[0];
}

/* A vfork's child, in our memory, has signals of its own. */
static void see_lent(bool dies)
{
    int status;
    struct sigaction now;
    pid_t child = vfork();
    if (child == 0) {
        struct sigaction plainly = {.sa_handler = SIG_DFL}, old, own;
        sigaction(SIGSEGV, &plainly, &old);
        sigaction(SIGSEGV, NULL, &own);
        signal(SIGBUS, SIG_IGN);
        if (dies)
            *(volatile char *)(page + 5) = 1;
        _exit((old.sa_sigaction == leave) + 2 * (own.sa_handler == SIG_DFL));
    }
    waitpid(child, &status, 0);
    say("child", status);
    sigaction(SIGSEGV, NULL, &now);
    say("handler is still there", now.sa_sigaction == leave);
    sigaction(SIGBUS, NULL, &now);
    say("and none", now.sa_handler == SIG_DFL);
}

static void see_everything(void)
{
    stack_t other = {.ss_sp = alternate, .ss_size = sizeof alternate};
    struct sigaction now;
    sigset_t usr2, segv, old;
    sigemptyset(&usr2);
    sigaddset(&usr2, SIGUSR2);
    sigprocmask(SIG_BLOCK, &usr2, NULL);
    sigaction(SIGSEGV, NULL, &now);
    say("at first", now.sa_handler == SIG_DFL);
    see("simple", 0, 0);
    see("masked", 0, SIGUSR1);
    see("nodefer", SA_NODEFER, 0);
    sigaltstack(&other, NULL);
    see("not on the other stack", SA_RESTART, 0);
    see("on the other stack", SA_ONSTACK, SIGUSR1);
    puts("once");
    set(SIGSEGV, mend, (int)SA_RESETHAND, 0);
    touch();
    sigaction(SIGSEGV, NULL, &now);
    say("reset", now.sa_handler == SIG_DFL);
    puts("left");
    for (int i = 0; i < 3; i++) {
        set(SIGSEGV, leave, 0, 0);
        if (sigsetjmp(back, 1) == 0)
            touch();
    }
    puts("by signal");
    say("was", signal(SIGSEGV, plain) == SIG_DFL);
    if (sigsetjmp(back, 1) == 0)
        touch();
    say("is", signal(SIGSEGV, SIG_DFL) == plain);
    puts("lent");
    set(SIGSEGV, leave, 0, 0);
    mprotect(page, 4096, PROT_NONE);
    see_lent(false);
    see_lent(true);
    if (sigsetjmp(back, 1) == 0)
        touch();
    puts("overflow");
    set(SIGSEGV, leave, SA_ONSTACK, 0);
    if (sigsetjmp(back, 1) == 0)
        say("returned", overflow(alternate));
    puts("sent");
    set(SIGSEGV, look, 0, 0);
    kill(getpid(), SIGSEGV);
    signal(SIGSEGV, SIG_IGN);
    raise(SIGSEGV);
    puts("blocked");
    sigemptyset(&segv);
    sigaddset(&segv, SIGSEGV);
    pthread_sigmask(SIG_BLOCK, &segv, NULL);
    pthread_sigmask(SIG_UNBLOCK, &segv, &old);
    say("was", sigismember(&old, SIGSEGV));
    pthread_sigmask(SIG_UNBLOCK, NULL, &old);
    say("is", sigismember(&old, SIGSEGV));
    puts("no memory");
    FILE *file = tmpfile();
    set(SIGBUS, leave, 0, 0);
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    if (sigsetjmp(back, 1) == 0)
        *(volatile char *)(page + 5) = 1;
    puts("end");
}

/* ---- faults of ours -------------------------------------------------------------------
 */

static void *use_freed(void *unused)
{
    char *volatile p = malloc(24);
    free(p);
    *(volatile char *)p = 1;
    return unused;
}

static void see_caught(void)
{
    for (volatile int i = 0; i < 3; i++) {
        set(SIGSEGV, i == 1 ? mend : leave, 0, 0);
        if (i == 1)
            set(SIGSEGV, leave, SA_NODEFER, 0);
        if (sigsetjmp(back, 1) == 0)
            use_freed(NULL);
        else
            puts("caught");
    }
}

static void die(const char *way)
{
    if (strcmp(way, "ignored") == 0)
        signal(SIGSEGV, SIG_IGN);
    if (strcmp(way, "overflow") == 0)
        say("returned", overflow(alternate));
    if (strcmp(way, "raised") == 0)
        raise(SIGSEGV);
    if (strcmp(way, "file") == 0) {
        page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(tmpfile()), 0);
        *(volatile char *)page = 1;
    }
    if (strcmp(way, "blocked") == 0) { /* kills, whatever handler there is */
        sigset_t all;
        sigfillset(&all);
        set(SIGSEGV, leave, 0, 0);
        pthread_sigmask(SIG_BLOCK, &all, NULL);
    }
    if (strcmp(way, "freed_blocked") == 0) {
        pthread_t thread;
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, NULL);
        pthread_create(&thread, NULL, use_freed, NULL);
        pthread_join(thread, NULL);
    }
    if (strcmp(way, "freed") == 0)
        use_freed(NULL);
    *(volatile char *)page = 1;
}

int main(int argc, char **argv)
{
    page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (argc < 2)
        see_everything();
    else if (strcmp(argv[1], "caught") == 0)
        see_caught();
    else
        die(argv[1]);
    return 0;
}
