/* Any bytes as the beginning of a GGUF file, which claims to have 1 MiB more than there is. Where one is
 * accepted its tensors follow each other to the end of the file, and the file is cut as they lie. */

#include "backup/cut.h"
#include "fmt/gguf.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define CEILING (4 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Each begins where the one before it ends; the first behind what tells of them. */
static void
check_tensors(const struct gguf_tensors *t, uint64_t file_bytes)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct gguf_tensor *one = &t->items[i];
        assert(one->name && one->begin < one->end && one->begin > 24);
        assert(one->end == (i + 1 < t->count ? t->items[i + 1].begin : file_bytes));
    }
}

static void
check_layout(const struct cut_layout *layout, const struct gguf_tensors *t, uint64_t file_bytes)
{
    uint64_t at = 0;
    assert(layout->count == (t ? t->count + 1 : file_bytes > 0));
    for (size_t i = 0; i < layout->count; i++) {
        const struct cut_region *region = &layout->regions[i];
        assert(region->begin == at && region->end > at && (i > 0) == (region->tensor != NULL));
        at = region->end;
    }
    assert(at == file_bytes);
}

static void
check_file(int fd, uint64_t file_bytes)
{
    _cleanup_arena_ struct arena arena, other;
    struct gguf_tensors tensors = {0};
    struct cut_layout layout;
    struct err err = {0};
    arena_init(&arena, CEILING);
    arena_init(&other, CEILING);
    int r = gguf_read_tensors(&arena, fd, file_bytes, &tensors, &err);
    assert((r < 0) == (err.what[0] != '\0') && (r == 0 || r == -EBADMSG || r == -ENOMEM));
    check_tensors(&tensors, file_bytes);
    r = cut_layout(&other, fd, file_bytes, &layout);
    assert(r == 0);
    check_layout(&layout, tensors.count > 0 ? &tensors : NULL, file_bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char bytes[4] = "GGUF";
    _cleanup_close_ int fd = memfd_create("gguf", MFD_CLOEXEC);
    assert(fd >= 0 && write(fd, data, len) == (ssize_t)len);
    if (len >= sizeof(bytes)) /* always that: the rest is what is tried */
        assert(pwrite(fd, bytes, sizeof(bytes), 0) == sizeof(bytes));
    check_file(fd, len);
    check_file(fd, len + MIB);
    return 0;
}
