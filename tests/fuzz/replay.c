/* Runs one fuzz target on the files given, without a fuzzing engine: every corpus is replayed in every
 * test run, so a bug once found stays found. Prints one TAP line a file. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path, int number)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        printf("not ok %d - %s: cannot open\n", number, path);
        return 1;
    }
    static uint8_t data[8u << 20];
    size_t size = fread(data, 1, sizeof data, f);
    fclose(f);
    /* A copy of the exact size: a read past the end is then seen by the address sanitizer. */
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    if (copy == NULL)
        return 1;
    for (size_t i = 0; i < size; i++)
        copy[i] = data[i];
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    printf("ok %d - %s\n", number, path);
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed += replay(argv[i], i);
    return failed != 0;
}
