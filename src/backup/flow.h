#pragma once

/* Bytes of an object as they come and go, wherever it lies. */

#include "base/err.h"

/* From anywhere in it: exactly len, or a negative errno. */
struct flow_source {
    int (*read)(void *arg, uint64_t at, void *ret_bytes, size_t len);
    void *arg;
    uint64_t bytes; /* of the whole */
};

/* Out of a file that stays open. */
struct flow_source flow_source_fd(int *fd, uint64_t bytes);

/* Out of memory that stays. */
struct flow_piece {
    const uint8_t *bytes;
    size_t len;
};
struct flow_source flow_source_memory(struct flow_piece *piece);

/* From front to back. */
struct flow_sink {
    int (*write)(void *arg, const void *bytes, size_t len, struct err *reterr);
    void *arg;
};
