#include "backup/raw.h"

#include "backup/repository_int.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)MIB)

int
raw_open(const struct repository *r, enum repository_area area,
         const uint8_t name[HASH_SHA256_BYTES], struct raw *ret, struct err *reterr)
{
    struct stat st = {0};
    char text[HASH_SHA256_HEX];
    hash_sha256_hex(name, text);
    ret->fd = r->kind->get(r, area, text, reterr);
    if (ret->fd < 0)
        return ret->fd;
    if (fstat(ret->fd, &st) < 0)
        return err_set_errno(reterr, errno, "cannot read %s/%s of the repository",
                             repository_area_name(area), text);
    ret->source = flow_source_fd(&ret->fd, (uint64_t)st.st_size);
    return 0;
}

void
raw_close(struct raw *raw)
{
    cleanup_close(&raw->fd);
}

/* ---- to another repository ---- */

static int
misread(enum repository_area area, const char *name, const char *how, struct err *reterr)
{
    return err_set(reterr, area == REPOSITORY_PACKS ? ERR_PACK_DAMAGED : ERR_SNAPSHOT_DAMAGED,
                   "%s/%s of the repository %s", repository_area_name(area), name, how);
}

static int
send(const struct raw *raw, struct object_writer *w, enum repository_area area, const char *name,
     struct err *reterr)
{
    const struct flow_source *from = &raw->source;
    _cleanup_free_ uint8_t *piece = mem_alloc(PIECE_BYTES);
    int r = 0;
    for (uint64_t at = 0; at < from->bytes && r == 0; at += PIECE_BYTES) {
        const size_t len = (size_t)MIN(from->bytes - at, (uint64_t)PIECE_BYTES);
        if (from->read(from->arg, at, piece, len) < 0)
            return misread(area, name, "cannot be read", reterr);
        r = object_write(w, piece, len, reterr);
    }
    if (r < 0 || area == REPOSITORY_PARITY)
        return r < 0 ? r : object_finish_as(w, name, reterr);
    r = object_finish_if(w, name, reterr);
    return r == -EBADMSG ? misread(area, name, "is not what its name says", reterr) : r;
}

int
raw_send(const struct raw *raw, const struct repository *to, enum repository_area area,
         const uint8_t name[HASH_SHA256_BYTES], struct err *reterr)
{
    const struct object_place place = repository_place_raw(to, area);
    struct object_writer w;
    char text[HASH_SHA256_HEX];
    hash_sha256_hex(name, text);
    int r = object_begin(&w, &place, reterr);
    if (r < 0)
        return r;
    r = send(raw, &w, area, text, reterr);
    object_end(&w);
    return r;
}

/* ---- as it has arrived ---- */

static int
differs(const struct repository *r, enum repository_area area, const char *name, struct err *reterr)
{
    int k = err_set(reterr, ERR_COPY_DIFFERS, "%s/%s in %s is not what was written there",
                    repository_area_name(area), name, r->where);
    err_fix(reterr, "look after what keeps %s, remove that file, and run it again", r->where);
    return k;
}

/* What is on the disk, and not what memory still has of it. */
static int
read_back(const struct repository *r, enum repository_area area, const char *name,
          struct err *reterr)
{
    uint8_t digest[HASH_SHA256_BYTES];
    char found[HASH_SHA256_HEX];
    _cleanup_close_ int fd = r->kind->get(r, area, name, reterr);
    if (fd < 0)
        return fd;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    int k = repository_hash_fd(fd, digest);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (k < 0)
        return err_set_errno(reterr, -k, "cannot read back %s/%s of %s", repository_area_name(area),
                             name, r->where);
    hash_sha256_hex(digest, found);
    return strcmp(found, name) == 0 ? 0 : differs(r, area, name, reterr);
}

int
raw_check(const struct repository *r, enum repository_area area,
          const uint8_t name[HASH_SHA256_BYTES], uint64_t bytes, bool whole, struct err *reterr)
{
    char text[HASH_SHA256_HEX];
    uint64_t there = 0;
    hash_sha256_hex(name, text);
    if (whole || !r->kind->measure)
        return read_back(r, area, text, reterr);
    int k = r->kind->measure(r, area, text, &there, reterr);
    return k == 0 && there != bytes ? differs(r, area, text, reterr) : k;
}
