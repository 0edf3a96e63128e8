/*
 * now.c: the heap's profile while the program runs: asked for by the program, or by a
 * signal (mem_signal), in whose handler it is written.
 *
 * The spool is read as it is, while other threads count in it: that takes no lock, so a
 * handler may do it on top of whatever it interrupted, our own work as well. Pages and
 * system calls only, never malloc; on a stack of its own, since a thread's may be small.
 */
#include "runtime/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_uint asked; /* signals that were not answered yet */
static unsigned n_written;
static int taken; /* the signal; 0: none */

/* ---- the profile ----------------------------------------------------------------------
 */

bool sn_heap_write(const char *path, struct sn_error *e)
{
    if (!sn_recording_look())
        return sn_fail(e, NULL, -1, "nothing is being recorded");
    bool good = sn_heap_table.header != NULL
                    ? sn_table_write(&sn_heap_table, path, e)
                    : sn_fail(e, NULL, -1, "the recording is not of the heap (mem)");
    sn_recording_looked();
    return good;
}

/* ---- the signal -----------------------------------------------------------------------
 */

/* DIR/mem.pprof: DIR/mem.1.pprof, or the first number after it that is free. */
static bool choose_name(char *path, size_t size)
{
    char output[PATH_MAX];
    snprintf(output, sizeof output, "%s", sn_recording_heap_output());
    char *end = strrchr(output, '.');
    if (end == NULL)
        return false;
    *end = '\0';
    do {
        if (snprintf(path, size, "%s.%u.pprof", output, ++n_written) >= (int)size)
            return false;
    } while (access(path, F_OK) == 0 && n_written < 100000);
    return true;
}

static void answer(void)
{
    static char path[PATH_MAX + 32]; /* one signal is answered at a time */
    struct sn_error e = {.offset = -1};
    char text[640];
    if (!sn_recording_look())
        return;
    bool good =
        choose_name(path, sizeof path) && sn_table_write(&sn_heap_table, path, &e);
    if (!sn_recording_is_quiet() && good)
        sn_say("mem profile so far written, %s", path);
    else if (!sn_recording_is_quiet())
        sn_say("%s", sn_error_text(&e, text, sizeof text));
    sn_recording_looked();
}

/* Of the program's own signal: nothing of ours is passed on, it was free. */
void sn_on_heap_signal(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    (void)signal;
    (void)info;
    sn_wait_note(context);
    if (atomic_fetch_add(&asked, 1) == 0) /* else it is done by whom we have met */
        do
            sn_stack_call(SN_STACK_PROFILE, answer);
        while (atomic_fetch_sub(&asked, 1) > 1);
    errno = saved;
}

bool sn_heap_signal_take(int signal)
{
    struct sigaction hook = {.sa_sigaction = sn_on_heap_signal,
                             .sa_flags = SA_SIGINFO | SA_RESTART},
                     now;
    sigfillset(&hook.sa_mask);
    sn_stack_open(SN_STACK_PROFILE);
    n_written = 0;
    if (sn_real_sigaction(signal, NULL, &now) != 0 || now.sa_handler != SIG_DFL ||
        sn_real_sigaction(signal, &hook, NULL) != 0)
        return false;
    taken = signal;
    return true;
}

void sn_heap_signal_give_back(void)
{
    struct sigaction deadly = {.sa_handler = SIG_DFL}, now;
    if (taken != 0 && sn_real_sigaction(taken, NULL, &now) == 0 &&
        now.sa_sigaction == sn_on_heap_signal)
        sn_real_sigaction(taken, &deadly, NULL);
    taken = 0;
}

void sn_heap_signal_reset(void)
{
    atomic_store(&asked, 0);
}
