// alloc_types.cc: allocations whose type debug information tells, and some whose it does
// not.
#include <cstdlib>
#include <vector>

struct node {
    node *next;
    int value;
};
typedef struct {
    char text[77];
} word;
union either {
    int i;
    double d;
};

#define SITE __attribute__((noinline, noclone))
static void *volatile sink;

SITE static void a_struct()
{
    node *n = static_cast<node *>(malloc(sizeof *n));
    sink = n;
}

SITE static void a_typedef()
{
    word *const w = static_cast<word *>(calloc(1, sizeof *w));
    sink = w;
}

SITE static void a_union()
{
    either *e = static_cast<either *>(malloc(sizeof *e));
    sink = e;
}

SITE static void an_array()
{
    node **v = static_cast<node **>(malloc(9 * sizeof *v));
    sink = v;
}

SITE static void a_new()
{
    std::vector<int> *v = new std::vector<int>;
    sink = v;
}

SITE static void a_void()
{
    void *p = malloc(5);
    sink = p;
}

SITE static void no_variable()
{
    sink = malloc(6);
}

int main()
{
    a_struct();
    a_typedef();
    a_union();
    an_array();
    a_new();
    a_void();
    no_variable();
    return 0;
}
