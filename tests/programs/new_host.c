/* new_host.c PLUGIN...: a C program that loads C++ late and for itself alone. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        void *plugin = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL);
        void (*ways)(void) = NULL;
        if (plugin != NULL)
            *(void **)&ways = dlsym(plugin, "new_ways");
        if (ways == NULL) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        ways();
        dlclose(plugin);
    }
    return 0;
}
