/* alloc_plugin.c: code that is loaded and that allocates. */
#include <stddef.h>
#include <stdlib.h>

void *alloc_plugin(size_t size);
__attribute__((visibility("default"))) void *volatile alloc_plugin_keeps;

__attribute__((visibility("default"), noinline)) void *alloc_plugin(size_t size)
{
    void *p = malloc(size);
    __asm__ volatile("" ::: "memory");
    return p;
}
