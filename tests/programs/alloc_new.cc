// alloc_new.cc: memory as C++ asks for it: every operator new and delete, containers,
// exceptions, memory that cannot be had. Prints its truth, as the others do, and lines
// "yes NAME" or "no NAME" of what must hold. With OWN_NEW the program has an operator new
// of its own, which the library must leave to it.
#include "alloc.h"

#include <list>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static size_t own_calls;

#ifdef OWN_NEW
// The counterparts for arrays, nothrow and sizes end here by themselves; but for
// alignments.
NOINLINE void *operator new(size_t size)
{
    own_calls++;
    void *p = malloc(size);
    if (p == nullptr)
        throw std::bad_alloc();
    return p;
}
NOINLINE void operator delete(void *p) noexcept
{
    free(p);
    STAY();
}
NOINLINE void operator delete(void *p, size_t) noexcept
{
    free(p);
    STAY();
}
#endif

namespace
{

void check(const char *name, bool good)
{
    out(good ? "yes " : "no ");
    out(name);
    out("\n");
}

constexpr std::align_val_t wide{64};
using std::nothrow;

// ---- every overload; sizes are whole multiples of the alignment ----

#define MAKE(name, expression)                                                           \
    NOINLINE void *name(size_t n)                                                        \
    {                                                                                    \
        void *p = expression;                                                            \
        STAY();                                                                          \
        return p;                                                                        \
    }
MAKE(new_plain, ::operator new(n))
MAKE(new_nothrow, ::operator new(n, nothrow))
MAKE(new_array, ::operator new[](n))
MAKE(new_array_nothrow, ::operator new[](n, nothrow))
MAKE(new_aligned, ::operator new(n, wide))
MAKE(new_aligned_nothrow, ::operator new(n, wide, nothrow))
MAKE(new_array_aligned, ::operator new[](n, wide))
MAKE(new_array_aligned_nothrow, ::operator new[](n, wide, nothrow))

void delete_plain(void *p, size_t)
{
    ::operator delete(p);
}
void delete_sized(void *p, size_t n)
{
    ::operator delete(p, n);
}
void delete_nothrow(void *p, size_t)
{
    ::operator delete(p, nothrow);
}
void delete_array(void *p, size_t)
{
    ::operator delete[](p);
}
void delete_array_sized(void *p, size_t n)
{
    ::operator delete[](p, n);
}
void delete_array_nothrow(void *p, size_t)
{
    ::operator delete[](p, nothrow);
}
void delete_aligned(void *p, size_t)
{
    ::operator delete(p, wide);
}
void delete_aligned_sized(void *p, size_t n)
{
    ::operator delete(p, n, wide);
}
void delete_aligned_nothrow(void *p, size_t)
{
    ::operator delete(p, wide, nothrow);
}
void delete_array_aligned(void *p, size_t)
{
    ::operator delete[](p, wide);
}
void delete_array_aligned_sized(void *p, size_t n)
{
    ::operator delete[](p, n, wide);
}
void delete_array_aligned_nothrow(void *p, size_t)
{
    ::operator delete[](p, wide, nothrow);
}

using maker = void *(size_t);
using breaker = void(void *, size_t);

const struct {
    const char *name;
    maker *make;
    breaker *breakers[3];
} overloads[] = {
    {"new_plain", new_plain, {delete_plain, delete_sized, delete_nothrow}},
    {"new_nothrow", new_nothrow, {delete_plain, delete_sized, delete_nothrow}},
    {"new_array", new_array, {delete_array, delete_array_sized, delete_array_nothrow}},
    {"new_array_nothrow",
     new_array_nothrow,
     {delete_array, delete_array_sized, delete_array_nothrow}},
    {"new_aligned",
     new_aligned,
     {delete_aligned, delete_aligned_sized, delete_aligned_nothrow}},
    {"new_aligned_nothrow",
     new_aligned_nothrow,
     {delete_aligned, delete_aligned_sized, delete_aligned_nothrow}},
    {"new_array_aligned",
     new_array_aligned,
     {delete_array_aligned, delete_array_aligned_sized, delete_array_aligned_nothrow}},
    {"new_array_aligned_nothrow",
     new_array_aligned_nothrow,
     {delete_array_aligned, delete_array_aligned_sized, delete_array_aligned_nothrow}},
};

// Of four blocks three go, each by another delete: one at once, the last is kept.
NOINLINE void every_overload()
{
    bool aligned = true;
    for (const auto &o : overloads) {
        account *a = account_open(o.name, "every_overload");
        for (size_t i = 0; i < 100; i++) {
            block held[4];
            for (size_t k = 0; k < 4; k++) {
                size_t n = 64 * (1 + i + k);
                held[k] = count_alloc(a, o.make(n), n);
                aligned &= o.breakers[0] == delete_plain ||
                           o.breakers[0] == delete_array ||
                           (uintptr_t)unhide(held[k].hidden) % 64 == 0;
                memset(unhide(held[k].hidden), 'x', n);
            }
            for (size_t k = 3; k > 0; k--) {
                count_free(held[k]);
                o.breakers[k - 1](unhide(held[k].hidden), held[k].size);
            }
        }
    }
    check("aligned", aligned);
}

// ---- what cannot be had ----

volatile size_t too_much = SIZE_MAX / 2;
[[maybe_unused]] size_t handled;

template <typename Call> bool throws(Call call)
{
    try {
        call();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

[[maybe_unused]] void on_failure()
{
    if (++handled == 3)
        throw std::bad_alloc();
}

void without_memory()
{
    check("new throws", throws([] { new_plain(too_much); }));
    check("new[] throws", throws([] { new_array(too_much); }));
    check("aligned new throws", throws([] { new_aligned(too_much); }));
    check("aligned new[] throws", throws([] { new_array_aligned(too_much); }));
    check("new[] of too many throws", throws([] {
              auto *volatile p = new long[too_much];
              delete[] p;
          }));
    check("nothrow does not", !new_nothrow(too_much) && !new_array_nothrow(too_much) &&
                                  !new_aligned_nothrow(too_much) &&
                                  !new_array_aligned_nothrow(too_much));
    check("a vector throws", throws([] { std::vector<char>().reserve(too_much); }));
#ifndef OWN_NEW
    std::set_new_handler(on_failure);
    check("the new handler is called until it throws",
          throws([] { new_plain(too_much); }) && handled == 3);
    std::set_new_handler(nullptr);
#endif
    void *p = new_plain(0), *q = new_plain(0);
    check("new of nothing", p != nullptr && p != q);
    delete_plain(p, 0);
    delete_plain(q, 0);
    delete_plain(nullptr, 0);
}

// ---- containers and objects ----

struct object {
    char bytes[480];
};
std::vector<object *> objects;
auto &numbers = *new std::list<long>; // never destroyed

NOINLINE void with_objects()
{
    account *a = account_open("with_objects", "with_objects");
    for (size_t i = 0; i < 100; i++) {
        objects[i] = new object;
        block b = count_alloc(a, objects[i], sizeof(object));
        if (i % 2 == 0) {
            count_free(b);
            delete objects[i];
            objects[i] = nullptr;
        }
    }
    STAY();
}

NOINLINE void with_vector()
{
    account *a = account_open("with_vector", "with_vector");
    for (size_t i = 1; i <= 100; i++) {
        std::vector<int> v;
        v.reserve(i);
        count_free(count_alloc(a, v.data(), i * sizeof(int)));
    }
    STAY();
}

NOINLINE void with_string()
{
    account *a = account_open("with_string", "with_string");
    for (size_t i = 100; i < 200; i++) {
        std::string s(i, 'x');
        count_free(count_alloc(a, s.data(), i + 1));
    }
    STAY();
}

NOINLINE void with_list()
{
    account *a = account_open("with_list", "with_list");
    for (long i = 0; i < 100; i++) {
        numbers.push_back(i);
        count_alloc(a, &numbers.back(), 3 * sizeof(void *));
    }
    STAY();
}

// ---- exceptions: what they are made of is the runtime's; how many there are is ours
// ----

NOINLINE void thrower(int depth)
{
    std::vector<char> held(1000);
    if (depth == 0)
        throw std::runtime_error("bottom");
    thrower(depth - 1);
    STAY();
}

void with_exceptions()
{
    size_t caught = 0;
    for (int i = 0; i < 200; i++) {
        try {
            thrower(i % 10);
        } catch (const std::exception &e) {
            caught += std::string(e.what()) == "bottom";
        }
    }
    check("all are caught", caught == 200);
}

// ---- a thread's objects ----

struct late {
    std::string text = std::string(500, 'l');
    ~late()
    {
        text += text;
    }
};
thread_local late of_thread;

void with_threads()
{
    size_t sum = 0;
    for (int i = 0; i < 10; i++)
        std::thread([&sum] { sum += of_thread.text.size(); }).join();
    check("threads have their objects", sum == 5000);
}

} // namespace

int main()
{
    objects.resize(100);
    every_overload();
    without_memory();
    with_objects();
    with_vector();
    with_string();
    with_list();
    with_exceptions();
    with_threads();
#ifdef OWN_NEW
    check("its own operator new is called", own_calls > 1600);
#else
    check("no operator new of its own", own_calls == 0);
#endif
    truths_print();
    return 0;
}
