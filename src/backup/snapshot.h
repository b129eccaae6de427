#pragma once

/* Snapshots: what was backed up, when, and of which blocks it can be made again. A snapshot is
 * one file, named by the SHA-256 of its bytes, and the last that a backup writes: what it tells
 * of is in the repository, and what no snapshot tells of was never backed up.
 *
 * It is written and read from front to back in whatever memory there is, and can be searched in
 * step with a directory that is walked in the same order: hence records, and no tree of objects.
 * They are binary since digests are most of it. All numbers are little-endian; a string is 2
 * bytes of length, its bytes, and a zero.
 *
 *   16 bytes   "citadel snap 1\n", and a zero
 *   records    4 bytes of tag, 4 of the payload's length, the payload, 4 of the CRC-32C of all that
 *
 *   "HEAD"     first: begun (8, nanoseconds since 1970), host, subject, name, type, source: strings
 *   "ENTR"     kind (1), flags (1), mode (2), uid (4), gid (4), mtime (8), ctime (8: nanoseconds since
 *              1970, signed), size (8; of a device: major << 32 | minor), inode (8), SHA-256 of a file's
 *              bytes (32), path, target, owner, group: strings
 *   "XATR"     of the entry before: name, a string; value, the rest
 *   "BLKS"     likewise, the next of its bytes: each block's SHA-256 (32) and length (4)
 *   "END "     last: entries, files, bytes, blocks; of these new to the repository: blocks, bytes, bytes
 *              stored; ended (8 each); the name of its SHA256SUMS (32)
 *
 * Entries come in the order of snapshot_order(), which is that of a walk: first the directory
 * itself, whose path is empty. Each lies in a directory that came before, so no path leads out
 * of the snapshot or through a link. The blocks of a file are exactly as long as it is. */

#include "backup/pack.h"

#define SNAPSHOT_PATH_MAX 4095 /* of a path, and of a target */
#define SNAPSHOT_NAME_MAX 255
#define SNAPSHOT_XATTR_MAX ((size_t)(64 * KIB)) /* of a value */
#define SNAPSHOT_XATTRS_MAX 1024                /* of an entry */

enum snapshot_kind {
    SNAPSHOT_DIRECTORY = 1,
    SNAPSHOT_FILE,
    SNAPSHOT_SYMLINK,  /* to its target, which may be anything */
    SNAPSHOT_HARDLINK, /* another name of the file whose path is its target */
    SNAPSHOT_FIFO,
    SNAPSHOT_CHARACTER_DEVICE,
    SNAPSHOT_BLOCK_DEVICE,
    SNAPSHOT_KINDS
};

enum snapshot_flag {
    SNAPSHOT_SPARSE = 1,  /* takes less room than it is long: zeros are not written again */
    SNAPSHOT_CHANGED = 2, /* while it was read: may never have been as it is here */
    SNAPSHOT_FRESH = 4,   /* so new that its times do not tell whether it changes again */
};

struct snapshot_head {
    int64_t begun_ns;
    const char *host;
    const char *subject; /* "models" */
    const char *name;    /* of a model */
    const char *type;    /* "daily"; "" of one that a person asked for */
    const char *source;  /* the path of what was backed up */
};

struct snapshot_block {
    struct block_id id;
    uint32_t bytes;
};

/* Records that follow an entry, as they lie there. */
struct snapshot_records {
    const uint8_t *at, *end;
    uint32_t left; /* in bytes, of the record that is being read */
};

struct snapshot_entry {
    enum snapshot_kind kind;
    unsigned flags;
    uint32_t mode; /* 07777 */
    uint32_t uid, gid;
    int64_t mtime_ns, ctime_ns;
    uint64_t size, inode;
    uint8_t digest[HASH_SHA256_BYTES];
    const char *path;
    const char *target; /* "" where it has none */
    const char *owner, *group;

    struct snapshot_records xattrs, blocks; /* of one that was read */
};

struct snapshot_end {
    uint64_t entries, files, bytes, blocks;
    uint64_t new_blocks, new_bytes, stored_bytes;
    int64_t ended_ns;
    uint8_t sums[HASH_SHA256_BYTES];
};

/* As strcmp(), of paths in the order of a walk that takes what is in a directory right behind
 * it, by the bytes of the names. */
int snapshot_order(const char *a, const char *b);

/* Whether it is a path of an entry: relative, with neither "." nor "..", names and all not too
 * long. */
bool snapshot_takes_path(const char *path);

/* ---- writing ---- */

struct snapshot_writer;

int snapshot_begin(const struct object_place *place, const struct snapshot_head *head,
                   struct snapshot_writer **ret_writer, struct err *reterr) must_check;
void snapshot_writer_free(struct snapshot_writer *w); /* what was not committed is gone */

/* An entry, then its attributes, then its blocks. After an error nothing more can be added. */
int snapshot_add(struct snapshot_writer *w, const struct snapshot_entry *entry, struct err *reterr)
    must_check;
int snapshot_add_xattr(struct snapshot_writer *w, const char *name, const void *value, size_t len,
                       struct err *reterr) must_check;
int snapshot_add_blocks(struct snapshot_writer *w, const struct snapshot_block *blocks,
                        size_t count, struct err *reterr) must_check;
/* So that what was added so far outlives this process, and can be gone on from. */
int snapshot_flush(struct snapshot_writer *w, struct err *reterr) must_check;

/* Likewise, and it comes to nothing: only to be freed. */
void snapshot_abandon(struct snapshot_writer *w);

/* Then it is there, and on the disk. entries, files, bytes and blocks are counted here. */
int snapshot_commit(struct snapshot_writer *w, struct snapshot_end *end,
                    char ret_name[HASH_SHA256_HEX], struct err *reterr) must_check;

uint64_t snapshot_bytes(const struct snapshot_writer *w); /* so far */

/* ---- reading ---- */

/* Of memory that stays; its bytes are a stranger's, if nobody has seen that they fit the name.
 * SNAPSHOT_DAMAGED tells where. */
struct snapshot_reader {
    const uint8_t *bytes;
    size_t len, at;
    struct snapshot_end end; /* once snapshot_next() has returned 0 */

    /* the rest is its own */
    struct snapshot_end seen;
    bool last_is_directory;
    char last[SNAPSHOT_PATH_MAX + 1];
};

int snapshot_open(const void *bytes, size_t len, struct snapshot_reader *ret,
                  struct snapshot_head *ret_head, struct err *reterr) must_check;
/* 1 and the next entry, which points into the memory; 0 behind the last; or an error. */
int snapshot_next(struct snapshot_reader *r, struct snapshot_entry *ret_entry, struct err *reterr)
    must_check;
/* Only how it ends, for lists: of the last bytes, be they all or fewer. And the first that
 * snapshot_open() needs. */
#define SNAPSHOT_END_MAX 108
#define SNAPSHOT_HEAD_MAX 8192
int snapshot_read_end(const void *bytes, size_t len, struct snapshot_end *ret, struct err *reterr)
    must_check;

/* What belongs to an entry that was read: false behind the last. */
struct snapshot_xattr {
    const char *name;
    const uint8_t *value;
    size_t len;
};
bool snapshot_next_xattr(struct snapshot_records *records, struct snapshot_xattr *ret);
bool snapshot_next_block(struct snapshot_records *records, struct snapshot_block *ret);
