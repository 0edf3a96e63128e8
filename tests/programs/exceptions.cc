// exceptions.cc [MS]: throws through frames with destructors, and works on both sides.
#include "burn.h"

#include <stdexcept>
#include <string>

namespace
{

struct guard {
    ~guard()
    {
        burn(5);
    }
};

NOINLINE int thrower(unsigned depth)
{
    guard g;
    if (depth == 0) {
        burn(20);
        throw std::runtime_error("bottom");
    }
    int below = thrower(depth - 1);
    STAY();
    return below + 1;
}

template <typename T> NOINLINE T catcher(unsigned depth)
{
    T caught = 0;
    try {
        caught = T(thrower(depth));
    } catch (const std::exception &e) {
        caught = T(std::string(e.what()).size());
    }
    STAY();
    return caught;
}

} // namespace

int main(int argc, char **argv)
{
    uint64_t until_ns = UINT64_C(1000000) * number(argc, argv, 1, 1000);
    long caught = 0;
    while (thread_ns() < until_ns)
        caught += catcher<long>(20);
    std::printf("caught %s\n", caught % 6 == 0 ? "all" : "some");
    return 0;
}
