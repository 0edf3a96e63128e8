/* plugin.c: code that dlopen.c loads; built twice, as PLUGIN_NAME one and two. */
#include "burn.h"

void PLUGIN_NAME(uint64_t ns, void (*back)(uint64_t ns));

NOINLINE __attribute__((visibility("default"))) void
PLUGIN_NAME(uint64_t ns, void (*back)(uint64_t ns))
{
    for (uint64_t end = thread_ns() + ns / 2; thread_ns() < end;)
        burn(20);
    back(ns / 2);
    STAY();
}
