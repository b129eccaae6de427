#include "backup/flow.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int
read_fd(void *arg, uint64_t at, void *ret_bytes, size_t len)
{
    const int *fd = arg;
    uint8_t *to = ret_bytes;
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(*fd, to + done, len - done, (off_t)(at + done));
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return -ENODATA;
        done += (size_t)MAX(n, 0);
    }
    return 0;
}

struct flow_source
flow_source_fd(int *fd, uint64_t bytes)
{
    return (struct flow_source){.read = read_fd, .arg = fd, .bytes = bytes};
}

static int
read_memory(void *arg, uint64_t at, void *ret_bytes, size_t len)
{
    const struct flow_piece *piece = arg;
    if (at > piece->len || len > piece->len - at)
        return -ENODATA;
    if (len > 0)
        memcpy(ret_bytes, piece->bytes + at, len);
    return 0;
}

struct flow_source
flow_source_memory(struct flow_piece *piece)
{
    return (struct flow_source){.read = read_memory, .arg = piece, .bytes = piece->len};
}
