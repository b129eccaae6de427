#include "fmt/gguf.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define HEAD_BYTES 24
/* The least that one of them takes: a name's length, a type and a value; a name's length, the
 * number of dimensions, a type and a place. */
#define PAIR_BYTES 13
#define TENSOR_BYTES 24

static uint64_t
read_number(const unsigned char *bytes, size_t len)
{
    uint64_t n = 0;
    while (len-- > 0)
        n = n << 8 | bytes[len];
    return n;
}

int
gguf_read(int fd, uint64_t file_bytes, struct gguf *ret, struct err *reterr)
{
    unsigned char head[HEAD_BYTES];
    ssize_t n = pread(fd, head, sizeof(head), 0);
    if (n < 0)
        return err_set_errno(reterr, errno, "it cannot be read");
    if (n < HEAD_BYTES)
        return err_set(reterr, ERR_GGUF, "it has %zd bytes, fewer than the %d of a head", n,
                       HEAD_BYTES);
    struct gguf g = {.version = (unsigned)read_number(head + 4, 4),
                     .tensors = read_number(head + 8, 8),
                     .pairs = read_number(head + 16, 8)};
    if (memcmp(head, "GGUF", 4) != 0)
        return err_set(reterr, ERR_GGUF, "it does not begin with 'GGUF'");
    if (g.version < 2 || g.version > 3)
        return err_set(reterr, ERR_GGUF, "its version is %u, and known are 2 and 3", g.version);
    unsigned __int128 least = (unsigned __int128)g.tensors * TENSOR_BYTES;
    least += (unsigned __int128)g.pairs * PAIR_BYTES;
    if (file_bytes < HEAD_BYTES || least > file_bytes - HEAD_BYTES)
        return err_set(reterr, ERR_GGUF,
                       "its %" PRIu64 " bytes cannot hold %" PRIu64 " tensors and %" PRIu64
                       " pairs",
                       file_bytes, g.tensors, g.pairs);
    *ret = g;
    return 0;
}
