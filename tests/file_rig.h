#pragma once

/* Files without a name, full of noise, for those who carry files to and fro. */

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static inline int
file_of_noise(uint64_t seed, size_t len)
{
    int fd = memfd_create("noise", MFD_CLOEXEC);
    _cleanup_free_ uint8_t *bytes = mem_alloc(len + 1);
    for (size_t i = 0; i < len; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        bytes[i] = (uint8_t)(seed >> 56);
    }
    return fd < 0 || pwrite(fd, bytes, len, 0) != (ssize_t)len ? -1 : fd;
}

static inline bool
files_are_same(int a, int b, size_t len)
{
    struct stat st;
    _cleanup_free_ uint8_t *x = mem_alloc(len + 1), *y = mem_alloc(len + 1);
    return fstat(b, &st) == 0 && (size_t)st.st_size == len && pread(a, x, len, 0) == (ssize_t)len &&
           pread(b, y, len, 0) == (ssize_t)len && memcmp(x, y, len) == 0;
}
