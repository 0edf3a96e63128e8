/*
 * plugin_dlsym.c: preloaded behind libsonde: a dlsym that allocates, as some C libraries'
 * does. Whoever looks up the real malloc meets it on the way, and gets blocks from a
 * malloc that is not there yet. They are looked at, resized and freed when the program
 * ends: "kept N" says how many, "lost" that one is not as it was left.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *kept[64];
static size_t n_kept;

static void *real_dlsym(void *handle, const char *name)
{
    static void *(*real)(void *, const char *);
    if (real == NULL)
        *(void **)&real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    if (real == NULL)
        *(void **)&real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    return real(handle, name);
}

__attribute__((visibility("default"))) void *dlsym(void *handle, const char *name)
{
    if (n_kept < 64) {
        char *one = malloc(40), *other = calloc(1, 64);
        if (one != NULL && other != NULL && other[63] == 0) {
            strncpy(one, name, 39);
            one[39] = '\0';
            one = realloc(one, 80);
            free(other);
            kept[n_kept++] = one;
        }
    }
    return real_dlsym(handle, name);
}

__attribute__((destructor)) static void look(void)
{
    const char *said = n_kept >= 8 ? "kept\n" : "none\n";
    for (size_t i = 0; i < n_kept; i++) {
        if (strlen(kept[i]) >= 40 || malloc_usable_size(kept[i]) < 80)
            said = "lost\n";
        if (i % 2 == 0)
            kept[i] = realloc(kept[i], 400);
        free(kept[i]);
    }
    (void)!write(STDOUT_FILENO, said, 5);
}
