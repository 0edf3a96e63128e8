/* gc_dangling.c: on libgc. A live object keeps a pointer to a large one that was freed by
 * hand. Prints the address of the word, and what it holds. */
#include <gc.h>
#include <stdio.h>

struct holder {
    long before[3];
    char *gone;
};

static struct holder *volatile root;

int main(int argc, char **argv)
{
    (void)argv;
    GC_INIT();
    root = GC_MALLOC(sizeof *root);
    char *volatile block = GC_MALLOC(400000);
    root->gone = block;
    printf("%p %p\n", (void *)&root->gone, (void *)block);
    fflush(stdout);
    if (argc > 1)
        GC_FREE(block);
    block = NULL;
    for (int i = 0; i < 3; i++)
        GC_gcollect();
    return root->gone == NULL;
}
