/*
 * waits.c: what a blocked thread waits for: its system call, and of that what tells most:
 * the file behind a descriptor, the variable at a futex's address. /proc/TID/syscall
 * (proc(5)) is only for who may trace the process; to others, and after setuid, the
 * kernel still names the function in which it sleeps, wchan. Kept until the thread runs.
 */
#include "sched_priv.h"

#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum argument { NOTHING, FD, FUTEX };

static const struct call {
    long number;
    const char *name;
    enum argument first;
} calls[] = {
    {SYS_futex, "futex", FUTEX},
    {SYS_read, "read", FD},
    {SYS_readv, "readv", FD},
    {SYS_pread64, "pread64", FD},
    {SYS_preadv, "preadv", FD},
    {SYS_write, "write", FD},
    {SYS_writev, "writev", FD},
    {SYS_pwrite64, "pwrite64", FD},
    {SYS_pwritev, "pwritev", FD},
    {SYS_recvfrom, "recvfrom", FD},
    {SYS_recvmsg, "recvmsg", FD},
    {SYS_recvmmsg, "recvmmsg", FD},
    {SYS_sendto, "sendto", FD},
    {SYS_sendmsg, "sendmsg", FD},
    {SYS_sendmmsg, "sendmmsg", FD},
    {SYS_sendfile, "sendfile", FD},
    {SYS_splice, "splice", FD},
    {SYS_copy_file_range, "copy_file_range", FD},
    {SYS_accept, "accept", FD},
    {SYS_accept4, "accept4", FD},
    {SYS_connect, "connect", FD},
    {SYS_close, "close", FD},
    {SYS_fsync, "fsync", FD},
    {SYS_fdatasync, "fdatasync", FD},
    {SYS_sync_file_range, "sync_file_range", FD},
    {SYS_fallocate, "fallocate", FD},
    {SYS_ftruncate, "ftruncate", FD},
    {SYS_flock, "flock", FD},
    {SYS_fcntl, "fcntl", FD},
    {SYS_ioctl, "ioctl", FD},
    {SYS_getdents64, "getdents64", FD},
    {SYS_io_uring_enter, "io_uring_enter", FD},
    {SYS_epoll_pwait, "epoll_pwait", FD},
    {SYS_epoll_pwait2, "epoll_pwait2", FD},
    {SYS_mq_timedreceive, "mq_timedreceive", FD},
    {SYS_mq_timedsend, "mq_timedsend", FD},
#ifdef SYS_epoll_wait /* the calls that newer machines never had */
    {SYS_epoll_wait, "epoll_wait", FD},
    {SYS_poll, "poll", NOTHING},
    {SYS_select, "select", NOTHING},
    {SYS_pause, "pause", NOTHING},
    {SYS_open, "open", NOTHING},
    {SYS_vfork, "vfork", NOTHING},
    {SYS_fork, "fork", NOTHING},
    {SYS_unlink, "unlink", NOTHING},
    {SYS_rename, "rename", NOTHING},
    {SYS_mkdir, "mkdir", NOTHING},
    {SYS_stat, "stat", NOTHING},
#endif
    {SYS_ppoll, "ppoll", NOTHING},
    {SYS_pselect6, "pselect6", NOTHING},
    {SYS_nanosleep, "nanosleep", NOTHING},
    {SYS_clock_nanosleep, "clock_nanosleep", NOTHING},
    {SYS_wait4, "wait4", NOTHING},
    {SYS_waitid, "waitid", NOTHING},
    {SYS_rt_sigtimedwait, "rt_sigtimedwait", NOTHING},
    {SYS_rt_sigsuspend, "rt_sigsuspend", NOTHING},
    {SYS_restart_syscall, "restart_syscall", NOTHING},
    {SYS_openat, "openat", NOTHING},
    {SYS_newfstatat, "newfstatat", NOTHING},
    {SYS_unlinkat, "unlinkat", NOTHING},
    {SYS_sync, "sync", NOTHING},
    {SYS_io_getevents, "io_getevents", NOTHING},
    {SYS_msgrcv, "msgrcv", NOTHING},
    {SYS_msgsnd, "msgsnd", NOTHING},
    {SYS_semop, "semop", NOTHING},
    {SYS_semtimedop, "semtimedop", NOTHING},
    {SYS_sched_yield, "sched_yield", NOTHING},
    {SYS_mmap, "mmap", NOTHING},
    {SYS_munmap, "munmap", NOTHING},
    {SYS_mprotect, "mprotect", NOTHING},
    {SYS_madvise, "madvise", NOTHING},
    {SYS_brk, "brk", NOTHING},
    {SYS_clone, "clone", NOTHING},
    {SYS_clone3, "clone3", NOTHING},
    {SYS_execve, "execve", NOTHING},
    {SYS_exit, "exit", NOTHING},
    {SYS_exit_group, "exit_group", NOTHING},
    {SYS_membarrier, "membarrier", NOTHING},
    {SYS_process_vm_readv, "process_vm_readv", NOTHING},
    {449, "futex_waitv", NOTHING},
};

static void forget(struct sn_thread *t)
{
    t->on[0] = t->where[0] = '\0';
    t->on_fd = -1;
}

static void name_call(struct sn_thread *t, long number, enum argument *first)
{
    for (size_t i = 0; i < SN_COUNT(calls); i++)
        if (calls[i].number == number) {
            snprintf(t->where, sizeof t->where, "%s", calls[i].name);
            *first = calls[i].first;
            return;
        }
    snprintf(t->where, sizeof t->where, "syscall_%ld", number);
}

static void name_file(struct sn_sched *s, struct sn_thread *t, int fd)
{
    char path[64];
    snprintf(path, sizeof path, "%d/fd/%d", (int)t->tid, fd);
    ssize_t n = readlinkat(sn_slot_fd(s, s->task_dir), path, t->on, sizeof t->on - 1);
    t->on[n > 0 ? n : 0] = '\0';
    t->on_fd = fd;
}

/* Who joins a thread waits at the word where the kernel keeps its number while it lives.
 */
static bool name_joined(struct sn_sched *s, struct sn_thread *t, uint64_t address)
{
    int32_t word = 0;
    struct iovec here = {&word, sizeof word}, there = {(void *)address, sizeof word};
    if (process_vm_readv(s->plan.pid, &here, 1, &there, 1, 0) != sizeof word ||
        word <= 0 || sn_threads_find(&s->threads, word) == NULL)
        return false;
    snprintf(t->on, sizeof t->on, "M%d", (int)word);
    return true;
}

/* "202 0x55d0c8a012a0 0x189 ...", "running", or "-1 SP PC": in no system call. */
enum sn_asked sn_waits_ask(struct sn_sched *s, struct sn_thread *t)
{
    char text[256], *end;
    if (!sn_proc_read_kept(s, t, SN_FILE_SYSCALL, text, sizeof text))
        return SN_WAITS_UNSEEN;
    if (text[0] == 'r')
        return SN_WAITS_NOT;
    long number = strtol(text, &end, 10);
    if (number < 0)
        return SN_WAITS_UNSEEN;
    if (!t->has_run && t->where[0] != '\0')
        return SN_WAITS;
    enum argument first = NOTHING;
    uint64_t argument = strtoull(end, NULL, 16);
    forget(t);
    name_call(t, number, &first);
    if (first == FUTEX && !name_joined(s, t, argument))
        sn_symbols_name(s, argument, t->on, sizeof t->on);
    else if (first == FD && argument <= INT32_MAX)
        name_file(s, t, (int)argument);
    return SN_WAITS;
}

void sn_waits_guess(struct sn_sched *s, struct sn_thread *t)
{
    char function[64];
    forget(t);
    bool known = t->asked == SN_WAITS_UNSEEN &&
                 sn_proc_read(s, t, "wchan", function, sizeof function) &&
                 strcmp(function, "0") != 0;
    snprintf(t->where, sizeof t->where, "%.31s", known ? function : "?");
}
