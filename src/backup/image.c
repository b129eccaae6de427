#include "backup/image.h"

#include "backup/block.h"
#include "backup/reading.h"
#include "base/mem.h"
#include "base/quantity.h"
#include "base/text.h"
#include "sys/fault.h"
#include "sys/files.h"
#include "sys/mounts.h"
#include "sys/root.h"
#include "sys/work.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MODE 0600 /* there may be anything in it */

/* ---- how long, and whether anybody uses it ---- */

static int
find_length(int fd, const char *path, struct stat *ret_st, uint64_t *ret_bytes, struct err *reterr)
{
    if (fstat(fd, ret_st) < 0)
        return err_set_errno(reterr, errno, "'%s'", path);
    *ret_bytes = (uint64_t)ret_st->st_size;
    if (S_ISREG(ret_st->st_mode))
        return 0;
    if (!S_ISBLK(ret_st->st_mode)) {
        int r = err_set(reterr, ERR_USAGE, "'%s' is neither a block device nor a file", path);
        err_fix(reterr, "lsblk -p shows the devices");
        return r;
    }
    return ioctl(fd, BLKGETSIZE64, ret_bytes) < 0 ? err_set_errno(reterr, errno, "'%s'", path) : 0;
}

/* Where nothing but file systems that are mounted to be read hold it, it does not change. */
static bool
is_only_read(const struct stat *st)
{
    struct mounts mounts;
    bool is_mounted = false, is_read = true;
    if (mounts_read(&mounts, NULL) < 0)
        return false;
    for (size_t i = 0; i < mounts.count; i++) {
        bool is_it = mounts.rows[i].device == st->st_rdev;
        is_mounted |= is_it;
        is_read &= !is_it || mounts.rows[i].read_only;
    }
    mounts_finish(&mounts);
    return is_mounted && is_read;
}

/* Opened for itself alone, a device says whether anybody has it: also one of its partitions, or what is made
 * of it. */
static int
check_use(const char *path, const struct stat *st, struct err *reterr)
{
    _cleanup_close_ int alone = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);
    if (alone >= 0 || errno != EBUSY || is_only_read(st))
        return 0;
    int r = err_set(reterr, ERR_USAGE, "'%s' is in use, and may change while it is read", path);
    err_fix(reterr,
            "unmount what is on it, or mount it read-only; or --force, for what a power cut "
            "would leave");
    return r;
}

int
image_open(const char *path, bool anyway, int *ret_fd, uint64_t *ret_bytes, struct err *reterr)
{
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(reterr, errno, "cannot read '%s'", path);
    int r = find_length(fd, path, &st, ret_bytes, reterr);
    if (r == 0 && S_ISBLK(st.st_mode) && !anyway)
        r = check_use(path, &st, reterr);
    if (r == 0)
        *ret_fd = take_fd(&fd);
    return r;
}

/* ---- back ---- */

struct image {
    struct image_wish wish;
    struct image_told told;
    struct loop *loop;
    void (*ended)(int r, const struct err *err, void *arg);
    void *arg;
    struct loop_defer defer;
    struct work work;
    struct reading reading;
    bool has_reading;
    struct block_reader *reader;
    uint8_t *bytes;
    int fd;
    bool is_device;
    bool is_stopped, is_at_work; /* is_stopped: of both threads */
    int r;
    struct err err;
};

static int
refuse_small(const struct image *x, uint64_t is, struct err *reterr)
{
    quantity_text wants, has;
    return err_set_errno(reterr, ENOSPC, "the image is %s long, and '%s' has %s",
                         quantity_show_bytes(x->told.total_bytes, wants), x->wish.to,
                         quantity_show_bytes(is, has));
}

static int
take_device(struct image *x, struct err *reterr)
{
    struct stat st;
    uint64_t is;
    x->is_device = true;
    x->fd = open(x->wish.to, O_WRONLY | O_EXCL | O_CLOEXEC);
    if (x->fd < 0 && errno == EBUSY) {
        int r = err_set(reterr, ERR_USAGE, "'%s' is in use", x->wish.to);
        err_fix(reterr, "unmount what is on it");
        return r;
    }
    if (x->fd < 0)
        return err_set_errno(reterr, errno, "cannot write '%s'", x->wish.to);
    int r = find_length(x->fd, x->wish.to, &st, &is, reterr);
    return r == 0 && is < x->told.total_bytes ? refuse_small(x, is, reterr) : r;
}

static int
take_file(struct image *x, bool is_there, struct err *reterr)
{
    const int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
    if (is_there && !x->wish.replace) {
        int r = err_set(reterr, ERR_RESTORE_THERE, "'%s' is there already", x->wish.to);
        err_fix(reterr, "another --to; or --replace, to lose what it is");
        return r;
    }
    x->fd = file_open(x->wish.to, flags | (is_there ? 0 : O_EXCL), FILE_MODE);
    if (x->fd < 0)
        return root_err(reterr, x->fd, "cannot make '%s'", x->wish.to);
    int r = fault_truncate(x->fd, 0);
    if (r == 0)
        r = fault_truncate(x->fd, (off_t)x->told.total_bytes);
    return r < 0 ? err_set_errno(reterr, -r, "cannot write '%s'", x->wish.to) : 0;
}

static int
take_target(struct image *x, struct err *reterr)
{
    struct stat st;
    if (stat(x->wish.to, &st) < 0)
        return errno == ENOENT ? take_file(x, false, reterr)
                               : err_set_errno(reterr, errno, "'%s'", x->wish.to);
    if (S_ISBLK(st.st_mode) && x->wish.replace)
        return take_device(x, reterr);
    if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode))
        return err_set(reterr, ERR_USAGE, "'%s' is neither a block device nor a file", x->wish.to);
    return take_file(x, true, reterr);
}

static bool
is_zero(const uint8_t *bytes, size_t len)
{
    return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* Of a new file that is how it begins. A device may know a quick way; one that does not is written. */
static bool
is_zero_already(struct image *x, const uint8_t *bytes, size_t len)
{
    uint64_t range[2] = {x->told.bytes, len};
    if (!is_zero(bytes, len))
        return false;
    x->told.zero_bytes += len;
    return !x->is_device || ioctl(x->fd, BLKZEROOUT, range) == 0;
}

static int
write_run(struct image *x, const uint8_t *bytes, size_t len, struct err *reterr)
{
    if (!is_zero_already(x, bytes, len)) {
        int r = lseek(x->fd, (off_t)x->told.bytes, SEEK_SET) < 0 ? -errno
                                                                 : fault_write(x->fd, bytes, len);
        if (r < 0)
            return err_set_errno(reterr, -r, "cannot write '%s'", x->wish.to);
    }
    __atomic_fetch_add(&x->told.bytes, len, __ATOMIC_RELAXED);
    return 0;
}

static int
write_blocks(struct image *x, struct snapshot_records rest, struct err *reterr)
{
    struct reading_run run;
    int r = 0;
    for (reading_take_run(&rest, &run); r == 0 && run.count > 0; reading_take_run(&rest, &run)) {
        if (__atomic_load_n(&x->is_stopped, __ATOMIC_RELAXED))
            return err_set_errno(reterr, ECANCELED, "the restore to '%s' was stopped", x->wish.to);
        r = block_read(x->reader, run.blocks, run.count, x->bytes, reterr);
        const uint8_t *at = x->bytes;
        for (size_t i = 0; r == 0 && i < run.count; at += run.blocks[i++].bytes)
            r = write_run(x, at, run.blocks[i].bytes, reterr);
    }
    if (r == 0 && (r = fault_sync(x->fd)) < 0)
        r = err_set_errno(reterr, -r, "cannot bring '%s' to the disk", x->wish.to);
    return r;
}

/* The first file is the image. */
static int
write_image(struct image *x, struct err *reterr)
{
    struct snapshot_entry e;
    int r;
    while ((r = reading_next(&x->reading, &e, reterr)) > 0 && e.kind != SNAPSHOT_FILE)
        ;
    if (r == 0)
        return err_set(reterr, ERR_SNAPSHOT_DAMAGED, "the snapshot has no image");
    x->told.total_bytes = e.size;
    if (r > 0)
        r = take_target(x, reterr);
    return r < 0 ? r : write_blocks(x, e.blocks, reterr);
}

static void
run_image(struct work *work)
{
    struct image *x = container_of(work, struct image, work);
    x->r = write_image(x, &x->err);
    /* As long as it is, it would be taken for the image. */
    if (x->r < 0 && x->fd >= 0 && !x->is_device)
        (void)!fault_unlink(AT_FDCWD, x->wish.to, false);
}

/* ---- beginning and end ---- */

static void
end_image(struct loop_defer *defer)
{
    struct image *x = container_of(defer, struct image, defer);
    x->ended(x->r, &x->err, x->arg);
}

static void
on_written(struct work *work, bool cancelled unused_arg)
{
    struct image *x = container_of(work, struct image, work);
    x->is_at_work = false;
    loop_defer(x->loop, &x->defer);
}

int
image_new(struct loop *loop, const struct image_wish *wish,
          void (*ended)(int r, const struct err *err, void *arg), void *arg, struct image **ret,
          struct err *reterr)
{
    struct image *x = mem_new(struct image);
    struct reading_wish reading = {.repository = wish->repository, .what = "restore"};
    memcpy(reading.snapshot, wish->snapshot, sizeof(reading.snapshot));
    x->wish = *wish;
    x->loop = loop;
    x->ended = ended;
    x->arg = arg;
    x->fd = -1;
    x->defer.run = end_image;
    x->has_reading = true;
    int r = reading_open(loop, &reading, &x->reading, reterr);
    if (r < 0) {
        image_free(x);
        return r;
    }
    x->told.total_bytes = x->reading.bytes;
    x->reader = block_reader_new(wish->repository, x->reading.index);
    x->bytes = mem_alloc(READING_RUN_BYTES);
    x->is_at_work = true;
    x->work = (struct work){.run = run_image, .done = on_written};
    work_start(loop, &x->work);
    *ret = x;
    return 0;
}

void
image_stop(struct image *x)
{
    __atomic_store_n(&x->is_stopped, true, __ATOMIC_RELAXED);
}

void
image_free(struct image *x)
{
    if (!x)
        return;
    assert(!x->is_at_work);
    loop_defer_cancel(x->loop, &x->defer);
    if (x->reader)
        block_reader_free(x->reader);
    free(x->bytes);
    if (x->has_reading)
        reading_close(&x->reading);
    cleanup_close(&x->fd);
    free(x);
}

const struct image_told *
image_told(const struct image *x)
{
    return &x->told;
}
