// new_ways.cc: C++'s operators where they are not simply there: in a plugin that brings
// the C++ library with it (PLUGIN), where that library is in the program (static), with
// handlers that allocate, after exceptions. Every allocation has a function of its own,
// which must be its leaf; tests/e2e/heap_cxx.py knows how often.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <sys/resource.h>

#define NOINLINE __attribute__((noinline, no_icf))
#define STAY()   __asm__ volatile("" ::: "memory")

namespace
{

constexpr std::align_val_t wide{64};
using std::nothrow;
volatile size_t one = 1;

// Each makes a block of `n` bytes and frees it.
#define WAY(name, make, free)                                                            \
    NOINLINE void name(size_t n)                                                         \
    {                                                                                    \
        void *volatile p = make;                                                         \
        memset(p, 1, n);                                                                 \
        free;                                                                            \
        STAY();                                                                          \
    }
WAY(way_new, ::operator new(n), ::operator delete(p))
WAY(way_array, ::operator new[](n), ::operator delete[](p))
WAY(way_nothrow, ::operator new(n, nothrow), ::operator delete(p, nothrow))
WAY(way_array_nothrow, ::operator new[](n, nothrow), ::operator delete[](p, nothrow))
WAY(way_aligned, ::operator new(n, wide), ::operator delete(p, wide))
WAY(way_array_aligned, ::operator new[](n, wide), ::operator delete[](p, n, wide))
WAY(way_aligned_nothrow, ::operator new(n, wide, nothrow),
    ::operator delete(p, wide, nothrow))
WAY(way_array_aligned_nothrow, ::operator new[](n, wide, nothrow),
    ::operator delete[](p, wide, nothrow))

NOINLINE void every_way()
{
    for (size_t i = 0; i < 10; i++) {
        way_new(64 * one);
        way_array(64 * one);
        way_nothrow(64 * one);
        way_array_nothrow(64 * one);
        way_aligned(64 * one);
        way_array_aligned(64 * one);
        way_aligned_nothrow(64 * one);
        way_array_aligned_nothrow(64 * one);
    }
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
}

#ifndef PLUGIN
constexpr size_t large = size_t{64} << 20;
volatile size_t too_much = size_t{1} << 46; // none has it, whatever the limit is
bool helps;

void limit(rlim_t bytes)
{
    rlimit now;
    getrlimit(RLIMIT_AS, &now);
    now.rlim_cur = bytes;
    setrlimit(RLIMIT_AS, &now);
}

NOINLINE void handler_malloc()
{
    free(malloc(100 * one));
    STAY();
}

NOINLINE void handler_new()
{
    ::operator delete(::operator new(200 * one));
    STAY();
}

// The first time it makes room, then it gives up.
NOINLINE void handler()
{
    limit(RLIM_INFINITY);
    handler_malloc();
    handler_new();
    if (!helps)
        throw std::bad_alloc();
    helps = false;
}

NOINLINE void way_helped()
{
    limit(1 << 20); // no more than there is
    helps = true;
    ::operator delete(::operator new(large *one));
    STAY();
}

NOINLINE bool way_thrown()
{
    try {
        void *volatile p = ::operator new[](too_much);
        ::operator delete[](p);
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

// As deep as anything the throw went through, and deeper.
NOINLINE void deep(unsigned depth)
{
    char space[64];
    __asm__ volatile("" : : "r"(space) : "memory");
    if (depth > 0)
        deep(depth - 1);
    else
        way_array_nothrow(64 * one);
    STAY();
}

NOINLINE void without_memory()
{
    std::set_new_handler(handler);
    for (int i = 0; i < 10; i++) {
        way_helped();
        if (!way_thrown())
            abort();
        for (unsigned depth = 0; depth < 8; depth++)
            deep(depth);
    }
    std::set_new_handler(nullptr);
}
#endif

} // namespace

extern "C" __attribute__((visibility("default"))) void new_ways()
{
    every_way();
#ifndef PLUGIN
    without_memory();
#endif
}

#ifndef PLUGIN
int main()
{
    new_ways();
}
#endif
