/* own_profiles.c [DIRECTORY]: profiles of the program's own, and the state of the heap.
 * Speaks TAP; leaves connections.pprof and, of a recording, files.pprof in DIRECTORY. */
#include "../tap.h"

#include <errno.h>
#include <pthread.h>
#include <sonde.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, no_icf))

static struct sonde_profile *connections;

NOINLINE static int dial(intptr_t number)
{
    int result = sonde_profile_add(connections, (void *)number);
    __asm__ volatile("" : "+r"(result));
    return result;
}

NOINLINE static int answer(intptr_t number)
{
    int result = sonde_profile_add(connections, (void *)number);
    __asm__ volatile("" : "+r"(result));
    return result;
}

static void *dial_some(void *from)
{
    for (intptr_t i = 0; i < 1000; i++)
        dial((intptr_t)from + i);
    for (intptr_t i = 0; i < 1000; i += 2)
        sonde_profile_remove(connections, (void *)((intptr_t)from + i));
    return NULL;
}

static void keys(void)
{
    errno = 0;
    ok(sonde_profile_new("a/b") == NULL && errno == EINVAL, "a name is a file's");
    ok(sonde_profile_new("") == NULL && errno == EINVAL, "no name");
    errno = 0;
    ok(sonde_profile_new("mem") == NULL && errno == EINVAL, "nor is it a recording's");
    connections = sonde_profile_new("connections");
    ok(connections != NULL, "a profile");
    ok(sonde_profile_new("connections") == connections, "the same by its name");
    is_int(dial(0), 0, "the key 0");
    is_int(dial(1), 0, "a key");
    ok(dial(1) == -1 && errno == EEXIST, "again");
    is_int((int64_t)sonde_profile_count(connections), 2, "two");
    is_int(sonde_profile_remove(connections, (void *)1), 0, "removed");
    ok(sonde_profile_remove(connections, (void *)1) == -1 && errno == ENOENT, "again");
    ok(sonde_profile_add(connections, (void *)-1) == -1 && errno == EINVAL, "no key");
    is_int(answer(2), 0, "by another way");
}

static void threads(void)
{
    pthread_t t[4];
    for (intptr_t i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, dial_some, (void *)(10000 * (i + 1)));
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    is_int((int64_t)sonde_profile_count(connections), 2002, "of four threads");
}

static void child(void)
{
    int status = 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(dial(77) == 0 && sonde_profile_count(connections) == 2003 ? 0 : 1);
    ok(waitpid(pid, &status, 0) == pid && status == 0, "a fork's child has a copy");
    is_int((int64_t)sonde_profile_count(connections), 2002, "which is its own");
}

static void state(void)
{
    struct sonde_mem_stats before = {0}, after = {0};
    struct sonde_config config = {.size = sizeof config,
                                  .mem_profile = true,
                                  .mem_exact = true,
                                  .mem_mmap = true,
                                  .quiet = true};
    errno = 0;
    ok(sonde_read_mem_stats(NULL) == -1 && errno == EINVAL, "nowhere to put it");
    is_int(sonde_read_mem_stats(&before), 0, "the state of the heap");
    ok(!before.counted, "nothing is counted");
    struct sonde *p = sonde_start(&config);
    ok(p != NULL, "a recording: %s", sonde_error());
    char *volatile block = malloc(10 << 20);
    memset(block, 1, 10 << 20);
    is_int(sonde_read_mem_stats(&after), 0, "the state later");
    ok(after.counted && after.objects >= 1 && after.allocations >= after.objects,
       "it is counted");
    ok(before.in_use_bytes == 0 /* mimalloc does not tell */
           ? after.in_use_bytes == 0
           : after.in_use_bytes >= before.in_use_bytes + (10 << 20),
       "ten megabytes more");
    ok(after.system_bytes >= after.in_use_bytes && after.fragmentation < 1, "of all");
    ok(after.peak_resident_bytes >= after.resident_bytes && after.resident_bytes > 0,
       "resident");
    free(block);
    is_int(sonde_read_mem_stats(&after), 0, "and when it is free");
    ok(after.frees >= 1, "a free is counted");
    void *map = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    is_int(sonde_read_mem_stats(&before), 0, "with a mapping");
    munmap(map, 8192);
    is_int(sonde_read_mem_stats(&after), 0, "without it");
    is_int((int64_t)(before.objects - after.objects), 1, "which was an object");
    sonde_stop(p);
}

NOINLINE static void lose(void)
{
    void *block = malloc(3333);
    sonde_profile_add(sonde_profile_new("lost"), block);
    __asm__ volatile("" : : "r"(&block) : "memory");
    block = NULL;
}

/* So that nothing is left where the pointer was. */
NOINLINE static void wipe(void)
{
    char space[1 << 18];
    memset(space, 0, sizeof space);
    __asm__ volatile("" : : "r"(space) : "memory");
}

/* A key is no pointer: what only a profile knows is leaked, for mem.pprof. */
static void leak(const char *directory)
{
    struct sonde_config config = {.size = sizeof config,
                                  .mem_profile = true,
                                  .mem_exact = true,
                                  .quiet = true,
                                  .profile_path = directory};
    struct sonde *p = sonde_start(&config);
    lose();
    wipe();
    is_int(sonde_stop(p), 0, "a recording with a key that is a leaked block");
}

/* Recorded by the environment: parent and child have a file each. */
static int two_processes(void)
{
    struct sonde_profile *held = sonde_profile_new("held");
    sonde_profile_add(held, "both");
    pid_t pid = fork();
    if (pid == 0)
        sonde_profile_add(held, "child's");
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "two") == 0)
        return two_processes();
    char path[512];
    keys();
    threads();
    child();
    state();
    snprintf(path, sizeof path, "%s/connections.pprof", argc > 1 ? argv[1] : ".");
    is_int(sonde_profile_write(connections, path), 0, "written");
    ok(sonde_profile_write(NULL, path) == -1 && sonde_error()[0] != '\0', "of nothing");
    ok(sonde_profile_write(connections, "/proc/no/where") == -1, "nowhere");
    struct sonde_config config = {.size = sizeof config,
                                  .cpu_profile = true,
                                  .quiet = true,
                                  .profile_path = argc > 1 ? argv[1] : "."};
    struct sonde *p = sonde_start(&config);
    sonde_profile_add(sonde_profile_new("files"), &config);
    sonde_stop(p);
    leak(argc > 1 ? argv[1] : ".");
    return done();
}
