/* dlopen.c DIR [ROUNDS]: loads two plugins in turn, works in them and through them, and
 * unloads them: the second often lands where the first was. */
#include "burn.h"

#include <dlfcn.h>

NOINLINE static void called_back(uint64_t ns)
{
    for (uint64_t end = thread_ns() + ns; thread_ns() < end;)
        burn(20);
    STAY();
}

NOINLINE static void through(const char *directory, const char *name, uint64_t *sum)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/libplugin_%s.so", directory, name);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void (*enter)(uint64_t, void (*)(uint64_t)) =
        library ? (void (*)(uint64_t, void (*)(uint64_t)))dlsym(library, name) : NULL;
    if (enter == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    TIMED(*sum, enter(4000000, called_back));
    dlclose(library);
}

int main(int argc, char **argv)
{
    uint64_t one = 0, two = 0;
    if (argc < 2)
        return 2;
    for (unsigned i = number(argc, argv, 2, 200); i > 0; i--) {
        through(argv[1], "one", &one);
        if (i % 2 == 0)
            through(argv[1], "two", &two);
    }
    truth("one", one);
    truth("two", two);
    return 0;
}
