/* replay.c CORPUS...: a fuzz target as an ordinary test: every file of the directories
 * named goes through it once, whole and cut short. TAP; what it must not do is crash. */
#include "../tap.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#define CUTS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In a block of its very size, so that a sanitizer sees one byte too many. */
static void feed(const uint8_t *data, size_t size)
{
    uint8_t *copy = calloc(size > 0 ? size : 1, 1);
    if (copy == NULL)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void replay(const char *path)
{
    struct stat st;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &st) != 0 || !S_ISREG(st.st_mode)) {
        if (file != NULL)
            fclose(file);
        return;
    }
    size_t size = (size_t)st.st_size;
    uint8_t *data = calloc(size + 1, 1);
    if (data == NULL || fread(data, 1, size, file) != size)
        abort();
    fclose(file);
    feed(data, size);
    for (size_t i = 0; i < CUTS && i < size; i++)
        feed(data, size * i / CUTS);
    free(data);
    ok(true, "%s", strrchr(path, '/') + 1);
}

int main(int argc, char **argv)
{
    feed((const uint8_t *)"", 0);
    ok(true, "nothing at all");
    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        struct dirent *entry;
        while (directory != NULL && (entry = readdir(directory)) != NULL) {
            char path[PATH_MAX + 256];
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            replay(path);
        }
        if (directory != NULL)
            closedir(directory);
    }
    return done();
}
