/* thread.c: what there is to know of a thread. Not for handlers. */
#include "runtime/runtime.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAIN_STACK ((uintptr_t)64 << 20)

extern void *__libc_stack_end; /* of ld.so: the outermost frame of the main thread */

pid_t sn_thread_id(void)
{
    return (pid_t)syscall(SYS_gettid);
}

void sn_thread_name(pid_t tid, char *name, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", (int)tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, name, size - 1);
    if (fd >= 0)
        close(fd);
    name[n > 0 ? n : 0] = '\0';
    name[strcspn(name, "\n")] = '\0';
}

/* Not by opendir, which calls malloc: in a fork's child it may not be ready. */
void sn_thread_each(void (*visit)(pid_t tid, void *argument), void *argument)
{
    _Alignas(struct dirent64) char entries[2048];
    int tasks = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ssize_t n;
    while (tasks >= 0 && (n = getdents64(tasks, entries, sizeof entries)) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *d = (const void *)(entries + at);
            pid_t tid = (pid_t)strtol(d->d_name, NULL, 10);
            if (tid > 0)
                visit(tid, argument);
            at += d->d_reclen;
        }
    if (tasks >= 0)
        close(tasks);
}

/* The main thread's without pthread_getattr_np, which reads /proc/self/maps. */
struct sn_stack_range sn_thread_stack(void)
{
    pthread_attr_t attr;
    void *low = NULL;
    size_t size = 0;
    if (sn_thread_id() == getpid()) {
        uintptr_t top = (uintptr_t)__libc_stack_end;
        return (struct sn_stack_range){top - MAIN_STACK, top};
    }
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstack(&attr, &low, &size);
        pthread_attr_destroy(&attr);
    }
    return (struct sn_stack_range){(uintptr_t)low, (uintptr_t)low + size};
}

size_t sn_thread_frame_of(const uintptr_t *pcs, size_t n, const void *caller)
{
    for (size_t i = 0; i < n && i < SN_OWN_FRAMES; i++)
        if (pcs[i] + 1 == (uintptr_t)caller)
            return i;
    return n;
}
