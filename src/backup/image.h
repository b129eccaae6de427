#pragma once

/* An image becomes a device again, or a file: the one file of its snapshot, block by block, each compared
 * with its digest before it is written. Zeros are not written into a new file, and left to the device
 * where it can make them itself. A device that anybody uses is refused, and one that is too small; what lies
 * behind the image on a larger one stays. A file that does not become whole goes. */

#include "backup/repository.h"
#include "sys/loop.h"

struct image_wish {
    struct repository *repository; /* outlives it */
    uint8_t snapshot[HASH_SHA256_BYTES];
    const char *to; /* a device, or a file that will be there */
    bool replace;   /* and is there already: what it is now goes */
};

struct image_told {
    uint64_t total_bytes, bytes; /* done, */
    uint64_t zero_bytes;         /* and of these zeros */
};

struct image;

/* ended() comes once, from the loop, as in save.h. */
int image_new(struct loop *loop, const struct image_wish *wish,
              void (*ended)(int r, const struct err *err, void *arg), void *arg, struct image **ret,
              struct err *reterr) must_check;
void image_free(struct image *x);
const struct image_told *image_told(const struct image *x);
void image_stop(struct image *x);

/* A device, or a file, that is to be saved: open, and how long it is. One that is mounted and can so change
 * while it is read is refused, unless `anyway`. */
int image_open(const char *path, bool anyway, int *ret_fd, uint64_t *ret_bytes, struct err *reterr)
    must_check;
