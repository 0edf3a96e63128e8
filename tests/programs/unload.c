/* unload.c LIBRARY DIR: loads libsonde by dlopen on a thread, records, and lets go of it
 * before the thread ends. */
#include "burn.h"

#include <sonde.h>

#include <dlfcn.h>
#include <pthread.h>

static char **words;

static void *record(void *unused)
{
    struct sonde *(*start)(const struct sonde_config *);
    int (*stop)(struct sonde *);
    void *library = dlopen(words[1], RTLD_NOW);
    if (library == NULL)
        return NULL;
    *(void **)&start = dlsym(library, "sonde_start");
    *(void **)&stop = dlsym(library, "sonde_stop");
    struct sonde *p = start(&(struct sonde_config){
        .cpu_profile = true, .quiet = true, .profile_path = words[2]});
    burn(20000);
    stop(p);
    dlclose(library);
    return p != NULL ? words : unused;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    void *result = NULL;
    words = argv;
    if (argc < 3 || pthread_create(&thread, NULL, record, NULL) != 0)
        return 2;
    pthread_join(thread, &result);
    return result == NULL;
}
