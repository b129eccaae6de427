/* A secret as somebody gives it. Room for the longest one is taken at once: a buffer that moves leaves
 * copies behind, which nobody wipes. */

#include "secrets/store_int.h"

#include "sys/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int
secret_take(const char *bytes, size_t len, struct secret *ret_value, struct err *reterr)
{
    if (len && bytes[len - 1] == '\n')
        len--;
    if (len && bytes[len - 1] == '\r')
        len--;
    if (len == 0) {
        int r = err_set(reterr, ERR_SECRET_VALUE, "the value is empty");
        err_fix(reterr, "give one; what is to go: citadel secrets rm NAME");
        return r;
    }
    if (len > SECRET_BYTES_MAX)
        return err_set(reterr, ERR_SECRET_VALUE, "the value is longer than %zu bytes",
                       (size_t)SECRET_BYTES_MAX);
    if (memchr(bytes, '\0', len))
        return err_set(reterr, ERR_SECRET_VALUE, "the value has a NUL byte in it");
    char *text = mem_strndup(bytes, len);
    secret_set(ret_value, text);
    explicit_bzero(text, len);
    free(text);
    return 0;
}

int
secret_read(int fd, struct secret *ret_value, struct err *reterr)
{
    struct buf bytes = BUF_INIT(SECRET_BYTES_MAX + 2); /* the end of a line */
    if (!buf_reserve(&bytes, bytes.ceiling_bytes))
        return err_set_errno(reterr, ENOMEM, "reading a secret");
    int r = file_read_fd(fd, &bytes);
    if (r == 0)
        r = secret_take(bytes.data, bytes.len, ret_value, reterr);
    else if (r == -EFBIG)
        r = err_set(reterr, ERR_SECRET_VALUE, "the value is longer than %zu bytes",
                    (size_t)SECRET_BYTES_MAX);
    else
        r = err_set_errno(reterr, -r, "reading a secret");
    explicit_bzero(bytes.data, bytes.room);
    buf_finish(&bytes);
    return r;
}
