/*
 * floor.c: preloaded, the least that a sampling profiler can cost: the clock libsonde
 * uses (a task-clock perf_event delivered as a signal; FLOOR_HZ a second) and a handler
 * that only counts. For the main thread. At exit it says on standard error how often it
 * ran.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile unsigned long ticks;

static void on_tick(int signal)
{
    (void)signal;
    ticks++;
}

__attribute__((constructor)) static void start(void)
{
    const char *hz = getenv("FLOOR_HZ");
    if (hz == NULL)
        return;
    struct perf_event_attr a = {.size = sizeof a,
                                .type = PERF_TYPE_SOFTWARE,
                                .config = PERF_COUNT_SW_TASK_CLOCK,
                                .sample_period = 1000000000u / strtoul(hz, NULL, 10),
                                .disabled = 1,
                                .exclude_hv = 1,
                                .wakeup_events = 1};
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    struct f_owner_ex owner = {F_OWNER_TID, (pid_t)syscall(SYS_gettid)};
    int fd = (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0 || sigaction(SIGRTMIN + 5, &action, NULL) != 0 ||
        fcntl(fd, F_SETOWN_EX, &owner) < 0 || fcntl(fd, F_SETSIG, SIGRTMIN + 5) < 0 ||
        fcntl(fd, F_SETFL, O_ASYNC) < 0 || ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) < 0) {
        perror("floor");
        _exit(1);
    }
}

__attribute__((destructor)) static void stop(void)
{
    if (ticks > 0)
        fprintf(stderr, "%lu\n", ticks);
}
