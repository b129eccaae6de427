#pragma once

/* An object in memory, for those who read and write it piece by piece. */

#include "backup/flow.h"
#include "base/buf.h"

#include <errno.h>
#include <string.h>

static inline int
flow_write_buf(void *arg, const void *bytes, size_t len, struct err *reterr unused_arg)
{
    buf_add(arg, bytes, len);
    return buf_error(arg);
}

static inline int
flow_read_buf(void *arg, uint64_t at, void *ret_bytes, size_t len)
{
    const struct buf *b = arg;
    if (at > b->len || len > b->len - at)
        return -ENODATA;
    memcpy(ret_bytes, b->data + at, len);
    return 0;
}

static inline struct flow_sink
flow_to(struct buf *to)
{
    return (struct flow_sink){.write = flow_write_buf, .arg = to};
}

static inline struct flow_source
flow_from(struct buf *from)
{
    return (struct flow_source){.read = flow_read_buf, .arg = from, .bytes = from->len};
}
