/*
 * alloc_file.c: a trace of allocations from its file, a mapped piece at a time, so that
 * memory does not grow with it. It may grow meanwhile, and be cut to what is in it when
 * its process ends: only slots that were claimed, which stay, are looked at.
 */
#include "alloctrace.h"
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE ((uint64_t)64 << 10) /* slots */
#define PAGE  4096

static int open_path(const char *path, struct alloc_file *f, struct sn_error *e)
{
    bool input = strcmp(path, "-") == 0;
    int fd = input ? -1 : open(path, O_RDWR | O_CLOEXEC);
    f->shared = fd >= 0;
    if (input)
        fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
    else if (fd < 0)
        fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        sn_fail(e, f->path, -1, "cannot open: %s", strerror(errno));
    return fd;
}

bool alloc_file_open(const char *path, struct alloc_file *f, struct sn_error *e)
{
    struct stat now;
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    *f = (struct alloc_file){.fd = -1};
    snprintf(f->path, sizeof f->path, "%s", name);
    f->fd = open_path(path, f, e);
    if (f->fd < 0)
        return false;
    if (fstat(f->fd, &now) != 0 || !S_ISREG(now.st_mode)) {
        sn_fail(e, name, -1, "it is no file");
    } else if (now.st_size < SN_ALLOCTRACE_AT) {
        sn_fail(e, name, now.st_size, "it is cut short in its head");
    } else {
        int access = f->shared ? PROT_READ | PROT_WRITE : PROT_READ;
        void *p = mmap(NULL, SN_ALLOCTRACE_AT, access, MAP_SHARED, f->fd, 0);
        f->header = p != MAP_FAILED ? p : NULL;
        if (f->header != NULL)
            return true;
        sn_fail(e, name, -1, "cannot map: %s", strerror(errno));
    }
    alloc_file_close(f);
    return false;
}

void alloc_file_close(struct alloc_file *f)
{
    if (f->header != NULL)
        munmap(f->header, SN_ALLOCTRACE_AT);
    f->header = NULL;
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

/* Slots that are both claimed and in the file. */
static uint64_t slots_of(const struct alloc_file *f)
{
    struct stat now;
    uint64_t used = __atomic_load_n(&f->header->used, __ATOMIC_ACQUIRE);
    if (fstat(f->fd, &now) != 0 || now.st_size < SN_ALLOCTRACE_AT)
        return 0;
    uint64_t there =
        ((uint64_t)now.st_size - SN_ALLOCTRACE_AT) / sizeof(struct sn_alloctrace_slot);
    return used < there ? used : there;
}

static uint64_t at_of(uint64_t slot)
{
    return SN_ALLOCTRACE_AT + slot * sizeof(struct sn_alloctrace_slot);
}

bool alloc_file_step(struct alloc_file *f, struct sn_alloctrace *t, bool last,
                     bool (*visit)(void *argument, const struct sn_alloc_event *x),
                     void *argument, struct sn_error *e)
{
    uint64_t all = slots_of(f), n = all > f->next ? all - f->next : 0;
    if (n == 0)
        return false;
    bool to_the_end = n <= PIECE;
    n = to_the_end ? n : PIECE;
    uint64_t begin = at_of(f->next) & ~(uint64_t)(PAGE - 1), end = at_of(f->next + n);
    char *p = mmap(NULL, end - begin, PROT_READ, MAP_SHARED, f->fd, (off_t)begin);
    if (p == MAP_FAILED)
        return sn_fail(e, f->path, -1, "cannot map: %s", strerror(errno));
    const struct sn_alloctrace_slot *slots = (const void *)(p + (at_of(f->next) - begin));
    uint64_t read =
        sn_alloctrace_read(t, slots, n, last && to_the_end, visit, argument, e);
    if (read == 0 && last && (e == NULL || e->what[0] == '\0')) /* not written: over it */
        read = sn_alloctrace_read(t, slots, 1, true, visit, argument, e);
    munmap(p, end - begin);
    f->next += read;
    return read > 0 && (e == NULL || e->what[0] == '\0');
}

bool alloc_file_is_cut(const struct alloc_file *f, struct sn_error *e)
{
    uint64_t there = slots_of(f);
    struct stat now = {0};
    if (f->header->why != SN_ALLOCTRACE_WHOLE || there >= f->header->used)
        return false;
    fstat(f->fd, &now);
    sn_fail(e, f->path, now.st_size, "it is cut short: %llu of %llu slots are here",
            (unsigned long long)there, (unsigned long long)f->header->used);
    return true;
}

void alloc_file_forget(struct alloc_file *f)
{
    uint64_t end = at_of(f->next) & ~(uint64_t)(PAGE - 1);
    if (f->shared && end > SN_ALLOCTRACE_AT)
        fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, SN_ALLOCTRACE_AT,
                  (off_t)(end - SN_ALLOCTRACE_AT));
}
