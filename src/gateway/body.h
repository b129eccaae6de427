#pragma once

/* A request's body while it is kept: in memory as long as it is small, and from there on in a file
 * without a name, so that many large ones cost page cache and disk instead of memory. Of these the
 * beginning is in memory, too.
 *
 * The file is written and read by the spool (spool.h), a part at a time: the loop waits for no
 * disk. So whoever adds may get ahead of the disk, and then has to wait; and what is read may
 * have to be fetched. It is not mapped, since a disk that fails would end us. Where none can be
 * made (no such directory, a file system without O_TMPFILE) the body stays in memory: ceilings
 * count it in either place. */

#include "base/buf.h"
#include "base/err.h"

struct spool;

#define BODY_MEMORY_MAX (1 * MIB)
#define BODY_HEAD_BYTES (256 * KIB) /* that are in memory of any body */
#define BODY_PART_BYTES (256 * KIB) /* that are fetched at a time */

struct body_file;

struct body {
    /* The disk has caught up, or what was asked for is fetched; or it has failed (ERR_SPOOL), and
     * the body can only be finished, which may be done in there. */
    void (*ready)(struct body *b, const struct err *error);
    void *user;
    size_t len; /* so far */

    /* the rest is the body's own */
    struct spool *spool;
    const char *dir;
    struct buf memory;      /* all of it, or its head */
    struct body_file *file; /* NULL: it is in memory */
    bool stays;             /* there: no file can be made */
};

/* dir: where files are made; it outlives the body, as the spool does. ready is to be set. */
void body_init(struct body *b, struct spool *spool, const char *dir, uint64_t bytes_max);
void body_finish(struct body *b);

/* ERR_SPOOL: the disk hangs. A client may read it, so it does not say where. After a
 * failure nothing may follow. */
int body_add(struct body *b, const char *bytes, size_t len, struct err *reterr) must_check;
/* It is so far ahead of the disk that no more should be added before ready(). */
bool body_is_ahead(const struct body *b);
/* The disk has all of it; else ready() is told when it has. */
bool body_is_kept(const struct body *b);

/* Up to len bytes of one that is kept: as many as ret_len tells. NULL: they are fetched, and
 * ready() is told; then they are to be asked for again. */
const char *body_look(struct body *b, size_t at, size_t len, size_t *ret_len) must_check;
/* So many bytes of the beginning are in memory: NULL, and 0, for what lies behind. */
const char *body_head(const struct body *b, size_t at, size_t *ret_len) must_check;
