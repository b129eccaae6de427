/* Runs a fuzz target over the files named on the command line: a corpus as an ordinary test. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int
replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return 1;
    }
    (void)fseek(f, 0, SEEK_END);
    long len = ftell(f);
    rewind(f);
    /* Exactly as long as the input, so that a sanitizer sees a read past its end. */
    uint8_t *data = malloc(len > 0 ? (size_t)len : 1);
    size_t got = data && len > 0 ? fread(data, 1, (size_t)len, f) : 0;
    (void)fclose(f);
    if (data && len >= 0)
        (void)LLVMFuzzerTestOneInput(data, got);
    free(data);
    return data && len >= 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed |= replay(argv[i]);
    return failed;
}
