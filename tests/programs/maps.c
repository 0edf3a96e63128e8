/* maps.c: maps, cuts and moves memory, each way in a function of its own; the heap's own
 * blocks are left alone. tests/e2e/heap_maps.py knows what must come of it. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, no_icf))
#define STAY()   __asm__ volatile("" ::: "memory")
#define PAGE     ((size_t)4096)
#define PRIVATE  (MAP_PRIVATE | MAP_ANONYMOUS)
#define USABLE   (PROT_READ | PROT_WRITE)

#define WAY(name, at, pages, protection, flags, fd)                                      \
    NOINLINE static char *name(void)                                                     \
    {                                                                                    \
        char *p = mmap(at, (pages)*PAGE, protection, flags, fd, 0);                      \
        assert(p != MAP_FAILED);                                                         \
        STAY();                                                                          \
        return p;                                                                        \
    }

static char *here;
static int file;

WAY(way_plain, NULL, 16, USABLE, PRIVATE, -1)
WAY(way_kept, NULL, 32, USABLE, PRIVATE, -1)
WAY(way_cut, NULL, 16, USABLE, PRIVATE, -1)
WAY(way_under, NULL, 8, USABLE, PRIVATE, -1)
WAY(way_over, here, 2, USABLE, PRIVATE | MAP_FIXED, -1)
WAY(way_first, NULL, 4, USABLE, PRIVATE, -1)
WAY(way_none, here, 2, PROT_NONE, PRIVATE | (here != NULL ? MAP_FIXED : 0), -1)
WAY(way_shared, NULL, 16, USABLE, MAP_SHARED | MAP_ANONYMOUS, -1)
WAY(way_file, NULL, 1, PROT_READ, MAP_PRIVATE, file)
WAY(way_thread, NULL, 4, USABLE, PRIVATE, -1)
WAY(way_odd, NULL, 2, USABLE, PRIVATE, -1)

NOINLINE static char *way_moved(char *p, size_t from, size_t to)
{
    p = mremap(p, from * PAGE, to * PAGE, MREMAP_MAYMOVE);
    assert(p != MAP_FAILED);
    STAY();
    return p;
}

static void unmap(char *p, size_t pages)
{
    int result = munmap(p, pages * PAGE);
    assert(result == 0);
    (void)result;
}

static void *map_some(void *unused)
{
    char *held[8] = {NULL};
    for (unsigned i = 0; i < 400; i++) {
        char **p = &held[i * 5 % 8];
        if (*p != NULL)
            unmap(*p, 4);
        *p = way_thread();
        memset(*p, 1, 4 * PAGE);
    }
    for (unsigned i = 0; i < 8; i++)
        unmap(held[i], 4);
    return unused;
}

static void cuts(void)
{
    char *p = way_cut();
    unmap(p, 4);             /* the head */
    unmap(p + 12 * PAGE, 4); /* the tail */
    unmap(p + 7 * PAGE, 2);  /* the middle: 3 and 3 are left */
    here = way_under() + 2 * PAGE;
    way_over();
    here += 4 * PAGE;
    way_none(); /* at its end: 2 and 2 are left */
    here = NULL;
}

static void moves(void)
{
    char *p = way_first();
    memset(p, 7, 4 * PAGE);
    p = way_moved(p, 4, 1024);
    assert(p[4 * PAGE - 1] == 7);
    p = way_moved(p, 1024, 512); /* is kept */
    assert(mremap(p, 512 * PAGE, 1024 * PAGE, MREMAP_FIXED) == MAP_FAILED);
}

static void mistakes(void)
{
    char *p = way_odd();
    errno = 0;
    assert(munmap(p + 1, PAGE) == -1 && errno == EINVAL);
    assert(munmap(p, 0) == -1 && errno == EINVAL);
    assert(mmap(NULL, 0, USABLE, PRIVATE, -1, 0) == MAP_FAILED && errno == EINVAL);
    assert(munmap(p, 2 * PAGE - 5) == 0); /* to the end of the page */
}

int main(void)
{
    pthread_t threads[4];
    for (unsigned i = 0; i < 10; i++)
        unmap(way_plain(), 16);
    for (unsigned i = 0; i < 3; i++)
        way_kept();
    cuts();
    moves();
    mistakes();
    file = open("/proc/self/exe", O_RDONLY);
    unmap(way_none(), 2);
    unmap(way_shared(), 16);
    unmap(way_file(), 1);
    for (unsigned i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, map_some, NULL);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
