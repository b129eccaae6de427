/* Runs a fuzz target over files, or over all files of a directory: a corpus as an ordinary test.
 * The name of the input that is being tried stands last on standard error when one fails. */

#include <dirent.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static unsigned tried;

static int
replay_file(FILE *f, size_t len)
{
    /* Exactly as long as the input, so that a sanitizer sees a read past its end. */
    uint8_t *data = malloc(len ? len : 1);
    int ok = data && fread(data, 1, len, f) == len;
    if (ok) {
        (void)LLVMFuzzerTestOneInput(data, len);
        tried++;
    }
    free(data);
    return ok ? 0 : 1;
}

static int
replay_path(const char *path)
{
    FILE *f = fopen(path, "rbe");
    long len = -1;
    int failed = 1;
    (void)fprintf(stderr, "%s\n", path);
    if (f && fseek(f, 0, SEEK_END) == 0 && (len = ftell(f)) >= 0 && fseek(f, 0, SEEK_SET) == 0)
        failed = replay_file(f, (size_t)len);
    if (f)
        (void)fclose(f);
    if (failed)
        (void)fprintf(stderr, "cannot be read\n");
    return failed;
}

static int
replay_directory(DIR *dir, const char *path)
{
    int failed = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char full[PATH_MAX];
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(full, sizeof(full), "%s/%s", path, entry->d_name);
        failed |= replay_path(full);
    }
    return failed;
}

int
main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        failed |= dir ? replay_directory(dir, argv[i]) : replay_path(argv[i]);
        if (dir)
            (void)closedir(dir);
    }
    (void)printf("%u inputs\n", tried);
    return tried ? failed : 1;
}
