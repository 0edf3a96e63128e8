/*
 * fence.cc: one planted fault a run, for efence.
 *
 *     fence WAY SIZE [OFFSET [HOW [ALIGNMENT]]]
 *
 * Prints the block's address, and "survived" if it gets that far. HOW the block is
 * allocated: malloc, calloc, realloc, memalign, aligned_alloc, posix_memalign, valloc,
 * new, array. OFFSET is from the block's beginning.
 */
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <malloc.h>
#include <new>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define SITE extern "C" __attribute__((noinline, noclone))

static const char *how = "malloc";
static size_t alignment = 16;

SITE char *allocating_site(size_t size)
{
    void *p = nullptr;
    if (strcmp(how, "malloc") == 0)
        p = malloc(size);
    else if (strcmp(how, "calloc") == 0)
        p = calloc(1, size);
    else if (strcmp(how, "realloc") == 0)
        p = realloc(malloc(3), size);
    else if (strcmp(how, "memalign") == 0)
        p = memalign(alignment, size);
    else if (strcmp(how, "aligned_alloc") == 0)
        p = aligned_alloc(alignment, size);
    else if (strcmp(how, "posix_memalign") == 0)
        errno = posix_memalign(&p, alignment, size);
    else if (strcmp(how, "valloc") == 0)
        p = valloc(size);
    else if (strcmp(how, "new") == 0)
        p = operator new(size);
    else if (strcmp(how, "array") == 0)
        p = new char[size];
    if ((uintptr_t)p % (alignment > 16 ? alignment : 16) != 0 || p == nullptr)
        abort();
    return (char *)p;
}

SITE void freeing_site(char *p)
{
    if (strcmp(how, "new") == 0)
        operator delete(p);
    else if (strcmp(how, "array") == 0)
        delete[] p;
    else
        free(p);
}

SITE void writing_site(volatile char *p)
{
    *p = 1;
}

SITE int reading_site(const volatile char *p)
{
    return *p;
}

/* A string of n bytes with its end, which is no block. */
static const char *text_of(size_t n)
{
    static char text[1 << 20];
    memset(text, 'x', n - 1);
    text[n - 1] = '\0';
    return text;
}

/* What the C library does for the program, with n bytes. */
SITE void library_site(const char *call, char *to, size_t n)
{
    const char *from = text_of(n);
    if (strcmp(call, "memcpy") == 0)
        memcpy(to, from, n);
    else if (strcmp(call, "memset") == 0)
        memset(to, 2, n);
    else if (strcmp(call, "strcpy") == 0)
        strcpy(to, from);
    else if (strcmp(call, "sprintf") == 0)
        sprintf(to, "%s", from);
    else if (strcmp(call, "strlen") == 0)
        printf("%zu\n", strlen((char *)memset(to, 'x', n - 1))); /* no end in it */
}

/* What the kernel does for it. */
SITE void kernel_site(const char *call, char *p, size_t n)
{
    int ends[2], file = open("/proc/self/exe", O_RDONLY);
    struct iovec v = {p, n};
    struct msghdr m = {};
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    ssize_t got = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0 || write(ends[1], "abcd", 4) != 4)
        abort();
    if (strcmp(call, "read") == 0)
        got = read(ends[0], p, n);
    else if (strcmp(call, "pread") == 0)
        got = pread(file, p, n, 0);
    else if (strcmp(call, "readv") == 0)
        got = readv(ends[0], &v, 1);
    else if (strcmp(call, "recv") == 0)
        got = recv(ends[0], p, n, 0);
    else if (strcmp(call, "recvfrom") == 0)
        got = recvfrom(ends[0], p, n, 0, nullptr, nullptr);
    else if (strcmp(call, "recvmsg") == 0)
        got = recvmsg(ends[0], &m, 0);
    else if (strcmp(call, "write") == 0)
        got = write(ends[0], p, n);
    else if (strcmp(call, "pwrite") == 0)
        got = pwrite(fileno(tmpfile()), p, n, 0);
    else if (strcmp(call, "writev") == 0)
        got = writev(ends[0], &v, 1);
    else if (strcmp(call, "send") == 0)
        got = send(ends[0], p, n, 0);
    else if (strcmp(call, "sendto") == 0)
        got = sendto(ends[0], p, n, 0, nullptr, 0);
    else if (strcmp(call, "sendmsg") == 0)
        got = sendmsg(ends[0], &m, 0);
    printf("%s %zd %s\n", call, got, got < 0 ? strerror(errno) : "");
}

/* ---- threads --------------------------------------------------------------------------
 */

static void *allocate_here(void *size)
{
    return allocating_site(*(size_t *)size);
}

static void *free_here(void *p)
{
    freeing_site((char *)p);
    return nullptr;
}

static void *write_here(void *p)
{
    writing_site((char *)p);
    return nullptr;
}

static void *in_thread(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    void *result;
    if (pthread_create(&thread, nullptr, function, argument) != 0 ||
        pthread_join(thread, &result) != 0)
        abort();
    return result;
}

/* ---- the ways -------------------------------------------------------------------------
 */

SITE void fault(const char *way, char *p, size_t size, ptrdiff_t offset)
{
    if (strcmp(way, "write") == 0)
        writing_site(p + offset);
    else if (strcmp(way, "read") == 0)
        reading_site(p + offset);
    else if (strcmp(way, "none") == 0)
        memset(p, 3, size);
    else if (strcmp(way, "freed_write") == 0)
        freeing_site(p), writing_site(p + offset);
    else if (strcmp(way, "freed_read") == 0)
        freeing_site(p), reading_site(p + offset);
    else if (strcmp(way, "twice") == 0)
        freeing_site(p), freeing_site(p);
    else if (strcmp(way, "interior") == 0)
        freeing_site(p + offset);
    else if (strcmp(way, "moved") == 0)
        free(realloc(p, size + 1)), writing_site(p + offset);
    else if (strcmp(way, "found_by_realloc") == 0)
        writing_site(p + offset), free(realloc(p, size + 1));
    else if (strcmp(way, "usable") == 0)
        freeing_site(p), printf("%zu\n", malloc_usable_size(p));
    else if (strcmp(way, "again") == 0)
        freeing_site(p), free(realloc(p, size + 1));
    else if (strcmp(way, "threads") == 0)
        in_thread(free_here, p), in_thread(write_here, p + offset);
    else if (strncmp(way, "library_", 8) == 0)
        library_site(way + 8, p, size + (size_t)offset);
    else if (strncmp(way, "kernel_freed_", 13) == 0)
        freeing_site(p), kernel_site(way + 13, p, size);
    else if (strncmp(way, "kernel_", 7) == 0)
        kernel_site(way + 7, p, size + (size_t)offset);
    else
        exit(2);
}

int main(int argc, char **argv)
{
    size_t size = argc > 2 ? strtoul(argv[2], nullptr, 10) : 0;
    ptrdiff_t offset = argc > 3 ? strtol(argv[3], nullptr, 10) : 0;
    if (argc > 4)
        how = argv[4];
    if (argc > 5)
        alignment = strtoul(argv[5], nullptr, 10);
    bool threads = argc > 1 && strcmp(argv[1], "threads") == 0;
    char *p = threads ? (char *)in_thread(allocate_here, &size) : allocating_site(size);
    printf("%p\n", (void *)p);
    fflush(stdout);
    fault(argc > 1 ? argv[1] : "none", p, size, offset);
    if (argc > 1 && (strcmp(argv[1], "write") == 0 || strcmp(argv[1], "none") == 0))
        freeing_site(p);
    puts("survived");
    return 0;
}
