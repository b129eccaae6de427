/* Any bytes as a part of a repository's index: what is found in one that is accepted lies within it. CRCs
 * are made right first. */

#include "backup/bytes_int.h"
#include "backup/index.h"
#include "backup/repository_int.h"
#include "base/crc32c.h"
#include "base/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char place[] = "/tmp/fuzz-index-XXXXXX";
static int dir = -1;

static void
remove_place(void)
{
    (void)rmdir(place);
}

static void
write_file(const char *name, uint8_t *bytes, size_t len)
{
    if (len >= 32) {
        put_u32(bytes + 24, crc32c(0, bytes + 32, len - 32));
        put_u32(bytes + 28, crc32c(0, bytes, 28));
    }
    _cleanup_close_ int fd = openat(dir, name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = fd < 0 ? -1 : write(fd, bytes, len);
    assert(n == (ssize_t)len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char name[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    struct index *x = NULL;
    uint8_t *bytes = malloc(len + !len);
    assert(bytes);
    memcpy(bytes, data, len);
    if (dir < 0) {
        const char *made = mkdtemp(place);
        dir = made ? open(made, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        assert(dir >= 0 && atexit(remove_place) == 0);
    }
    write_file(name, bytes, len);
    struct repository r = {.kind = &repository_directory, .areas = {[REPOSITORY_INDEX] = dir}};
    if (index_open(&r, &x, NULL) == 0) {
        for (size_t k = 0; k < index_fragment_blocks(x, 0); k++) {
            struct block_id id;
            struct index_place found;
            (void)index_at(x, 0, k, &id);
            (void)index_find(x, &id, &found); /* in no order, it may miss what is there */
        }
        for (size_t k = 0; k < index_fragment_packs(x, 0); k++)
            (void)index_pack_at(x, 0, k);
        index_free(x);
    }
    (void)unlinkat(dir, name, 0);
    free(bytes);
    return 0;
}
