/*
 * efence_fence.c: the ways to make pages fault.
 *
 *     guard        MADV_GUARD_INSTALL (Linux 6.13): marks in the page tables
 *     userfaultfd  a missing page is a SIGBUS (5.11; without privileges, where allowed)
 *     mprotect     always; each block is a mapping or two, of which a process has 65,530
 *
 * With the first two the arena is a handful of mappings, however many blocks. Marks are
 * inherited by a fork's child; userfaultfd's are made anew there. Signal-safe, but for
 * `start`. The arena's mappings are made by system calls of our own: mmap() is a hook.
 */
#include "trace/efence.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

#define ZERO_BYTES EF_CHUNK /* no block that userfaultfd gives pages to is larger */

static bool map(char *at, size_t bytes, int protection)
{
    return (void *)syscall(SYS_mmap, at, bytes, protection,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                           0) == at;
}

static bool protect(char *pages, size_t bytes, int protection)
{
    return syscall(SYS_mprotect, pages, bytes, protection) == 0;
}

bool ef_fence_bury(char *pages, size_t bytes)
{
    return map(pages, bytes, PROT_NONE);
}

/* ---- mprotect -------------------------------------------------------------------------
 */

static bool mapped_start(void)
{
    return true;
}

static bool mapped_open(char *chunk)
{
    (void)chunk;
    return true;
}

static bool mapped_give(char *pages, size_t bytes)
{
    return protect(pages, bytes, PROT_READ | PROT_WRITE);
}

/* A fresh mapping joins its neighbours; what only lost its permission may not. */
static bool mapped_take(char *pages, size_t bytes)
{
    return map(pages, bytes, PROT_NONE);
}

/* ---- guard ----------------------------------------------------------------------------
 */

static bool advise(char *pages, size_t bytes, int advice)
{
    while (madvise(pages, bytes, advice) != 0)
        if (errno != EINTR && errno != EAGAIN)
            return false;
    return true;
}

static bool guard_start(void)
{
    char *page = sn_pages_map(EF_PAGE);
    bool good = page != NULL && madvise(page, EF_PAGE, MADV_GUARD_INSTALL) == 0;
    sn_pages_unmap(page, EF_PAGE);
    return good;
}

static bool guard_open(char *chunk)
{
    return protect(chunk, EF_CHUNK, PROT_READ | PROT_WRITE) &&
           (advise(chunk, EF_CHUNK, MADV_GUARD_INSTALL) ||
            (ef_fence_bury(chunk, EF_CHUNK), false));
}

static bool guard_give(char *pages, size_t bytes)
{
    return advise(pages, bytes, MADV_GUARD_REMOVE);
}

/* Not of locked memory (mlockall), where the old way does. */
static bool guard_take(char *pages, size_t bytes)
{
    return advise(pages, bytes, MADV_GUARD_INSTALL) || mapped_take(pages, bytes);
}

/* ---- userfaultfd ----------------------------------------------------------------------
 */

static int uffd = -1;
static char *zeros; /* to copy from: that the page is there then saves a fault */

static bool uffd_start(void)
{
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_SIGBUS};
    if (zeros == NULL && (zeros = sn_pages_map(ZERO_BYTES)) == NULL)
        return false;
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) != 0) {
        syscall(SYS_close, fd);
        fd = -1;
    }
    uffd = fd >= 0 ? sn_fd_move_high(fd) : -1;
    return uffd >= 0;
}

static bool uffd_watch(char *pages, size_t bytes)
{
    struct uffdio_register all = {.range = {(uintptr_t)pages, bytes},
                                  .mode = UFFDIO_REGISTER_MODE_MISSING};
    return ioctl(uffd, UFFDIO_REGISTER, &all) == 0;
}

static bool uffd_open(char *chunk)
{
    return protect(chunk, EF_CHUNK, PROT_READ | PROT_WRITE) &&
           (uffd_watch(chunk, EF_CHUNK) || (ef_fence_bury(chunk, EF_CHUNK), false));
}

static bool uffd_give(char *pages, size_t bytes)
{
    struct uffdio_copy copy = {.src = (uintptr_t)zeros};
    for (size_t done = 0; done < bytes;) {
        copy.dst = (uintptr_t)pages + done;
        copy.len = bytes - done;
        copy.copy = 0;
        if (ioctl(uffd, UFFDIO_COPY, &copy) != 0 && errno != EAGAIN)
            return false;
        done += copy.copy > 0 ? (size_t)copy.copy : 0;
    }
    return true;
}

static bool uffd_take(char *pages, size_t bytes)
{
    return advise(pages, bytes, MADV_DONTNEED) || mapped_take(pages, bytes);
}

int ef_fence_fd(unsigned first, unsigned last)
{
    return uffd >= 0 && (unsigned)uffd >= first && (unsigned)uffd <= last ? uffd : -1;
}

/* The descriptor is the parent's, and works on its memory. */
void ef_fence_after_fork(void)
{
    if (uffd < 0)
        return;
    syscall(SYS_close, uffd);
    uffd_start();
}

/* ---- which ----------------------------------------------------------------------------
 */

const struct ef_fence ef_fences[EF_FENCES] = {
    {"guard", guard_start, guard_open, guard_give, guard_take, NULL},
    {"userfaultfd", uffd_start, uffd_open, uffd_give, uffd_take, uffd_watch},
    [EF_MAPPED] = {"mprotect", mapped_start, mapped_open, mapped_give, mapped_take, NULL},
};

unsigned ef_fence_choose(void)
{
    const char *by = secure_getenv("SONDE_EFENCE_BY");
    for (unsigned i = 0; i < EF_FENCES; i++)
        if ((by == NULL || strcmp(by, ef_fences[i].name) == 0) && ef_fences[i].start())
            return i;
    return EF_FENCES;
}

size_t ef_fence_maps_max(void)
{
    char line[32];
    sn_file_line("/proc/sys/vm/max_map_count", line, sizeof line);
    size_t max = strtoul(line, NULL, 10);
    return max > 0 ? max : 65530;
}
