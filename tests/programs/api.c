/* api.c DIR: what sonde.h promises, from a program that links the library. TAP. */
#include "../tap.h"
#include "burn.h"

#include <sonde.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *directory;

static const char *in(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static struct sonde *start(const char *path)
{
    return sonde_start(
        &(struct sonde_config){.cpu_profile = true, .quiet = true, .profile_path = path});
}

NOINLINE static void work(unsigned ms)
{
    for (uint64_t end = thread_ns() + ms * UINT64_C(1000000); thread_ns() < end;)
        burn(50);
    STAY();
}

static void refusals(void)
{
    static const struct {
        const char *name;
        struct sonde_config config;
        int error;
    } rows[] = {
        {"nothing asked", {.quiet = true}, 0},
        {"blocking beside cpu", {.cpu_profile = true, .block_profile = true}, ENOTSUP},
        {"a size from nowhere", {.size = 3, .cpu_profile = true}, EINVAL},
        {"too high a rate", {.cpu_profile = true, .cpu_hz = 1000000}, EINVAL},
        {"a file for a directory",
         {.cpu_profile = true, .profile_path = "/dev/null/x"},
         0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        errno = 0;
        struct sonde *p = sonde_start(&rows[i].config);
        int error = errno;
        ok(p == NULL, "%s: refused", rows[i].name);
        ok(rows[i].error != 0 ? error == rows[i].error : error != 0, "... errno %d (%s)",
           error, strerror(error));
        ok(sonde_error()[0] != '\0', "... in words: %s", sonde_error());
        struct sigaction now;
        sigaction(SIGINT, NULL, &now);
        ok(now.sa_handler == SIG_DFL, "... and nothing is hooked");
        sonde_stop(p);
    }
    ok(sonde_start(NULL) == NULL && errno == EINVAL, "no configuration");
}

static void *fail_on_a_thread(void *unused)
{
    sonde_start(NULL);
    return unused;
}

static void errors_apart(void)
{
    pthread_t thread;
    char mine[256];
    sonde_start(&(struct sonde_config){.block_profile = true});
    snprintf(mine, sizeof mine, "%s", sonde_error());
    if (pthread_create(&thread, NULL, fail_on_a_thread, NULL) == 0)
        pthread_join(thread, NULL);
    is_str(sonde_error(), mine, "another thread's error is its own");
}

static void one_at_a_time(void)
{
    struct sonde *p = start(in("first"));
    ok(p != NULL, "starts: %s", sonde_error());
    ok(access(in("first"), F_OK) == 0, "the directory is made");
    errno = 0;
    ok(start(in("second")) == NULL && errno == EBUSY, "a second start: EBUSY");
    ok(sonde_error()[0] != '\0', "... in words: %s", sonde_error());
    ok(access(in("second"), F_OK) != 0, "... and leaves no directory");
    work(100);
    is_int(sonde_stop(p), 0, "stops");
    is_int(sonde_stop(p), 0, "a second stop is harmless");
    is_int(sonde_stop(NULL), 0, "so is none");
    ok(access(in("first/cpu.pprof"), R_OK) == 0, "the profile is there");
}

static void *work_on_a_thread(void *unused)
{
    (void)unused;
    work(100);
    return NULL;
}

static void again(void)
{
    for (int i = 0; i < 20; i++) {
        char name[32];
        pthread_t thread;
        snprintf(name, sizeof name, "again%d", i);
        struct sonde *p = start(in(name));
        if (p == NULL || pthread_create(&thread, NULL, work_on_a_thread, NULL) != 0) {
            ok(false, "round %d: %s", i, sonde_error());
            return;
        }
        work(20);
        int status = sonde_stop(p); /* while the other thread is still at work */
        snprintf(name, sizeof name, "again%d/cpu.pprof", i);
        if (status != 0 || access(in(name), R_OK) != 0)
            ok(false, "round %d: %s", i, sonde_error());
        pthread_join(thread, NULL);
    }
    ok(true, "start, stop, start again");
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    directory = argv[1];
    refusals();
    errors_apart();
    one_at_a_time();
    again();
    return done();
}
