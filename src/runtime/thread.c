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
    sn_file_line(path, name, size);
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

/* ---- stacks ---------------------------------------------------------------------------
 */

static __thread struct sn_stack_range own_stack
    __attribute__((tls_model("initial-exec")));

static struct sn_stack_range main_stack(void)
{
    uintptr_t top = (uintptr_t)__libc_stack_end;
    return (struct sn_stack_range){top - MAIN_STACK, top};
}

/* Not by pthread_getattr_np for the main thread, for which it reads /proc/self/maps. */
void sn_thread_learn_stack(void)
{
    pthread_attr_t attr;
    void *low = NULL;
    size_t size = 0;
    if (own_stack.hi != 0)
        return;
    if (sn_thread_id() == getpid()) {
        own_stack = main_stack();
    } else if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstack(&attr, &low, &size);
        pthread_attr_destroy(&attr);
        own_stack = (struct sn_stack_range){(uintptr_t)low, (uintptr_t)low + size};
    }
}

/* "LO-HI ...\n", a character at a time: the thread may be one with a very small stack. */
struct maps_line {
    uintptr_t lo, hi;
    enum { IN_LO, IN_HI, BEHIND } part;
};

/* Is the character the one behind a mapping that holds the address? */
static bool meets(struct maps_line *l, char c, uintptr_t address)
{
    uintptr_t digit = (uintptr_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    if (l->part == IN_LO && c == '-') {
        l->part = IN_HI;
        l->hi = 0;
    } else if (l->part == IN_LO) {
        l->lo = l->lo << 4 | digit;
    } else if (l->part == IN_HI && c != ' ') {
        l->hi = l->hi << 4 | digit;
    } else if (l->part == IN_HI) {
        l->part = BEHIND;
        return address >= l->lo && address < l->hi;
    } else if (c == '\n') {
        *l = (struct maps_line){0};
    }
    return false;
}

/* The mapping that holds the address, by the kernel's list; {0} if none. */
static struct sn_stack_range mapping_at(uintptr_t address)
{
    char text[512];
    ssize_t n;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    struct sn_stack_range found = {0};
    struct maps_line line = {0};
    while (fd >= 0 && found.hi == 0 && (n = read(fd, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < n && found.hi == 0; i++)
            if (meets(&line, text[i], address))
                found = (struct sn_stack_range){line.lo, line.hi};
    if (fd >= 0)
        close(fd);
    return found;
}

/* The thread's own block of the C library lies at the top of its stack. It may be in
 * pthread_getattr_np when it asks us, which holds a lock: not by that. */
struct sn_stack_range sn_thread_stack(void)
{
    if (own_stack.hi != 0)
        return own_stack;
    if (sn_thread_id() == getpid())
        return own_stack = main_stack();
    uintptr_t top = (uintptr_t)__builtin_thread_pointer();
    int cancel; /* the program has called malloc, which is no place to be cancelled */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    own_stack = mapping_at(top);
    pthread_setcancelstate(cancel, NULL);
    if (own_stack.hi != 0)
        own_stack.hi = top;
    return own_stack;
}

size_t sn_thread_frame_of(const uintptr_t *pcs, size_t n, const void *caller)
{
    for (size_t i = 0; i < n && i < SN_OWN_FRAMES; i++)
        if (pcs[i] + 1 == (uintptr_t)caller)
            return i;
    return n;
}
