/* alloc_plugin.c: code that is loaded and that allocates, also as it is loaded and
 * unloaded, and whose thread-local memory the loader allocates when it is first touched.
 */
#include <stddef.h>
#include <stdlib.h>

#define PUBLIC __attribute__((visibility("default"), noinline))

void *alloc_plugin(size_t size);
char *alloc_plugin_local(void);
__attribute__((visibility("default"))) void *volatile alloc_plugin_keeps;

static void *mine;
static __thread char local[4096];

PUBLIC void *alloc_plugin(size_t size)
{
    void *p = malloc(size);
    __asm__ volatile("" ::: "memory");
    return p;
}

PUBLIC char *alloc_plugin_local(void)
{
    return local;
}

__attribute__((constructor)) static void load(void)
{
    mine = malloc(4321);
}

__attribute__((destructor)) static void unload(void)
{
    free(mine);
}
