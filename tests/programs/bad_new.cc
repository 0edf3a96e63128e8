/* bad_new.cc: a block of operator new[] that is deleted twice. */
#include <new>

extern "C" __attribute__((noinline)) char *makes(void)
{
    return new char[100];
}

extern "C" __attribute__((noinline)) void deletes(char *p)
{
    delete[] p;
    __asm__ volatile("" : : : "memory");
}

int main()
{
    char *p = makes();
    deletes(p);
    deletes(p);
    return 0;
}
