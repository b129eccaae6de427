#include "backup/restore.h"

#include "backup/block.h"
#include "backup/reading.h"
#include "backup/restore_int.h"
#include "base/quantity.h"
#include "base/text.h"
#include "base/vec.h"
#include "sys/fault.h"
#include "sys/files.h"
#include "sys/work.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SYNC_ONE_BY_ONE 200 /* so many files, or fewer */

/* A file under way. Its runs of blocks are handed out from front to back, and come back in any order. */
struct file {
    struct snapshot_entry entry;
    struct snapshot_records rest; /* blocks that are not handed out */
    uint64_t at;                  /* where these begin */
    struct place place;
    struct place_file open;
    bool compares; /* whether it is as it should be: nothing is written */
    bool differs;
    unsigned runs; /* handed out, and not back */
};

/* A run of blocks, and the thread's tools for it. */
struct run {
    struct work work;
    struct restore *restore;
    struct file *file; /* NULL: it is free */
    struct block_reader *reader;
    uint8_t *bytes;
    uint64_t at;
    struct reading_run part;
    bool differs;
    int r;
    struct err err;
};

struct restore {
    struct restore_wish wish;
    struct restore_told told;
    struct loop *loop;
    void (*ended)(int r, const struct err *err, void *arg);
    void *arg;
    struct loop_defer more, defer;

    struct reading reading;
    struct target target;
    struct owners owners;
    VEC(struct snapshot_entry) late; /* directories and hard links: when all files are there */
    VEC(struct file *) again;        /* that were compared, and differ */
    struct file *current;
    struct run *runs;
    size_t runs_count;
    unsigned at_work;
    struct work finish;
    bool is_finishing;

    int r; /* the first error */
    struct err err;
};

static void step(struct restore *r);

static void
fail(struct restore *r, int k, const struct err *err)
{
    if (k >= 0 || r->r < 0)
        return;
    r->r = k;
    r->err = *err;
}

/* ---- a run, on a thread ---- */

/* How it is now, if so much is there. */
static bool
is_there(const struct run *run)
{
    struct block_id ids[READING_RUN_BLOCKS];
    size_t done = 0;
    while (done < run->part.bytes) {
        ssize_t n = pread(run->file->open.fd, run->bytes + done, run->part.bytes - done,
                          (off_t)(run->at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    block_find_ids(run->restore->wish.repository->keys, run->part.blocks, run->part.count,
                   run->bytes, ids);
    for (size_t i = 0; i < run->part.count; i++)
        if (memcmp(&ids[i], &run->part.blocks[i].id, sizeof(ids[i])) != 0)
            return false;
    return true;
}

static int
do_run(struct run *run)
{
    const struct file *file = run->file;
    if (file->compares || file->open.was_there) {
        bool there = is_there(run);
        run->differs = !there;
        if (there || file->compares)
            return 0;
    }
    int r = block_read(run->reader, run->part.blocks, run->part.count, run->bytes, &run->err);
    if (r < 0)
        return r;
    r = place_write(&file->open, run->bytes, run->part.bytes, run->at,
                    file->entry.flags & SNAPSHOT_SPARSE && !file->open.was_there);
    return r < 0 ? err_set_errno(&run->err, -r, "cannot write '%s'", file->entry.path) : 0;
}

static void
run_work(struct work *work)
{
    struct run *run = container_of(work, struct run, work);
    run->r = do_run(run);
    if (run->r < 0)
        err_prefix(&run->err, "'%s'", run->file->entry.path);
}

/* ---- files ---- */

static void
file_free(struct restore *r, struct file *file)
{
    place_file_close(&file->open);
    if (r->current == file)
        r->current = NULL;
    free(file);
}

static int
begin_writing(struct file *file, struct err *reterr)
{
    file->compares = file->differs = false;
    file->rest = file->entry.blocks;
    file->at = 0;
    return place_file_make(&file->place, &file->entry, &file->open, reterr);
}

/* All of its runs are back. */
static void
end_file(struct restore *r, struct file *file)
{
    struct err err;
    int k = 0;
    if (r->r == 0 && file->compares && file->differs) {
        r->told.bytes -= file->entry.size;
        place_file_close(&file->open);
        vec_push(&r->again, file);
        if (r->current == file)
            r->current = NULL;
        return;
    }
    if (r->r == 0) {
        r->told.files++;
        r->told.same_files += file->compares;
        r->told.same_bytes += file->compares ? file->entry.size : 0;
        k = place_file_end(&file->open, &file->entry, &r->owners, &err);
    }
    fail(r, k, &err);
    file_free(r, file);
}

static int
begin_file(struct restore *r, const struct snapshot_entry *e, struct err *reterr)
{
    struct file *file = mem_new(struct file);
    file->entry = *e;
    file->rest = e->blocks;
    int k = place_find(&r->target, e->path, &file->place, reterr);
    if (k == 0)
        k = place_file_open(&file->place, e, &file->open, reterr);
    file->compares = k > 0;
    if (k == 0)
        k = begin_writing(file, reterr);
    r->current = file;
    if (k < 0)
        file_free(r, file);
    return MIN(k, 0);
}

/* ---- entries ---- */

static int
take(struct restore *r, const struct snapshot_entry *e, struct err *reterr)
{
    struct place place;
    if (e->kind == SNAPSHOT_FILE)
        return begin_file(r, e, reterr);
    if (e->kind == SNAPSHOT_DIRECTORY || e->kind == SNAPSHOT_HARDLINK)
        vec_push(&r->late, *e);
    if (e->kind == SNAPSHOT_HARDLINK || e->path[0] == '\0')
        return 0;
    int k = place_find(&r->target, e->path, &place, reterr);
    return k < 0 ? k : place_make(&place, e, &r->owners, reterr);
}

/* The next that is to be done; those without content are, at once. */
static void
advance(struct restore *r)
{
    while (r->r == 0 && !r->current && !r->reading.is_over) {
        struct snapshot_entry e;
        struct err err;
        int k = 0;
        if (r->again.count > 0) {
            r->current = r->again.items[--r->again.count];
            k = begin_writing(r->current, &err);
        } else {
            k = reading_next(&r->reading, &e, &err);
            if (k > 0)
                k = take(r, &e, &err);
        }
        fail(r, k, &err);
    }
}

/* ---- handing out ---- */

static void
fill(struct run *run, struct file *file)
{
    run->file = file;
    run->at = file->at;
    reading_take_run(&file->rest, &run->part);
    file->at += run->part.bytes;
    file->runs++;
}

static bool
is_handed_out(const struct file *file)
{
    return file->rest.at == file->rest.end;
}

static void
on_run(struct work *work, bool cancelled unused_arg)
{
    struct run *run = container_of(work, struct run, work);
    struct restore *r = run->restore;
    struct file *file = run->file;
    run->file = NULL;
    r->at_work--;
    file->runs--;
    file->differs |= run->differs;
    r->told.bytes += run->part.bytes;
    fail(r, run->r, &run->err);
    if (file->runs == 0 && (is_handed_out(file) || r->r < 0))
        end_file(r, file);
    step(r);
}

static void
hand_out(struct restore *r)
{
    for (size_t i = 0; i < r->runs_count; i++) {
        struct run *run = &r->runs[i];
        if (run->file)
            continue;
        advance(r);
        struct file *file = r->current;
        if (r->r < 0 || !file)
            return;
        if (is_handed_out(file)) { /* it is empty */
            end_file(r, file);
            i--;
            continue;
        }
        fill(run, file);
        if (is_handed_out(file))
            r->current = NULL;
        run->differs = false;
        run->work = (struct work){.run = run_work, .done = on_run};
        r->at_work++;
        work_start(r->loop, &run->work);
    }
}

/* ---- the end ---- */

static int
end_late(struct restore *r, struct err *reterr)
{
    struct place place;
    int k = 0;
    vec_foreach (&r->late, e)
        if (k == 0 && e->kind == SNAPSHOT_HARDLINK) {
            k = place_find(&r->target, e->path, &place, reterr);
            if (k == 0)
                k = place_link(&r->target, &place, e, reterr);
        }
    for (size_t i = r->late.count; i > 0 && k == 0; i--) {
        const struct snapshot_entry *e = &r->late.items[i - 1];
        if (e->kind == SNAPSHOT_DIRECTORY)
            k = place_end_directory(&r->target, e, &r->owners, reterr);
    }
    return k;
}

/* Files and directories, or, where they are many, the file system that they are on. */
static int
sync_entries(struct restore *r, struct err *reterr)
{
    struct snapshot_entry e;
    if (r->told.total_files + r->late.count > SYNC_ONE_BY_ONE)
        return target_sync_all(&r->target, reterr);
    int k = reading_rewind(&r->reading, reterr);
    while (k >= 0 && (k = reading_next(&r->reading, &e, reterr)) > 0)
        if (e.kind == SNAPSHOT_FILE || e.kind == SNAPSHOT_DIRECTORY) {
            k = target_sync(&r->target, e.path, reterr);
            if (k == -EACCES) /* one that this user may not even read */
                return target_sync_all(&r->target, reterr);
            if (k < 0)
                return k;
        }
    return k;
}

static void
run_finish(struct work *work)
{
    struct restore *r = container_of(work, struct restore, finish);
    struct err err;
    if (r->r < 0)
        return;
    int k = end_late(r, &err);
    if (k == 0)
        k = sync_entries(r, &err);
    if (k == 0)
        k = target_end(&r->target, &err);
    fail(r, k, &err);
}

static void
on_finish(struct work *work, bool cancelled unused_arg)
{
    struct restore *r = container_of(work, struct restore, finish);
    r->at_work--;
    r->told.owners = r->owners.refused;
    r->told.attributes = r->owners.attributes;
    loop_defer(r->loop, &r->defer);
}

static void
end_restore(struct loop_defer *defer)
{
    struct restore *r = container_of(defer, struct restore, defer);
    r->ended(r->r, &r->err, r->arg);
}

static void
step(struct restore *r)
{
    if (r->is_finishing)
        return;
    if (r->r == 0)
        hand_out(r);
    if (r->at_work > 0)
        return;
    if (r->r == 0 && (!r->reading.is_over || r->again.count > 0 || r->current)) {
        loop_defer(r->loop, &r->more);
        return;
    }
    r->is_finishing = true;
    r->finish = (struct work){.run = run_finish, .done = on_finish};
    r->at_work++;
    work_start(r->loop, &r->finish);
}

static void
on_more(struct loop_defer *defer)
{
    step(container_of(defer, struct restore, more));
}

/* ---- beginning ---- */

static int
check_space(const struct restore *r, struct err *reterr)
{
    quantity_text wanted, there;
    struct statvfs vfs;
    if (r->wish.in_place || r->target.was_there || fstatvfs(r->target.fd, &vfs) < 0)
        return 0;
    uint64_t left = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    if (r->told.total_bytes <= left)
        return 0;
    return err_set_errno(reterr, ENOSPC, "what is restored takes %s, and there are %s",
                         quantity_show_bytes(r->told.total_bytes, wanted),
                         quantity_show_bytes(left, there));
}

static void
make_runs(struct restore *r)
{
    r->runs_count = r->wish.threads;
    r->runs = mem_alloc(r->runs_count * sizeof(*r->runs));
    for (size_t i = 0; i < r->runs_count; i++) {
        r->runs[i].restore = r;
        r->runs[i].bytes = mem_alloc(READING_RUN_BYTES);
        r->runs[i].reader = block_reader_new(r->wish.repository, r->reading.index);
    }
}

int
restore_new(struct loop *loop, const struct restore_wish *wish,
            void (*ended)(int r, const struct err *err, void *arg), void *arg, struct restore **ret,
            struct err *reterr)
{
    struct restore *r = mem_new(struct restore);
    struct reading_wish reading = {
        .repository = wish->repository, .path = wish->path, .what = "restore"};
    assert(wish->threads > 0 && wish->threads <= RESTORE_THREADS_MAX);
    r->wish = *wish;
    r->loop = loop;
    r->ended = ended;
    r->arg = arg;
    r->more.run = on_more;
    r->defer.run = end_restore;
    r->target = TARGET_INIT;
    memcpy(reading.snapshot, wish->snapshot, sizeof(reading.snapshot));
    int k = reading_open(loop, &reading, &r->reading, reterr);
    r->told.total_files = r->reading.files;
    r->told.total_bytes = r->reading.bytes;
    if (k == 0)
        k = target_open(&r->target, wish, reterr);
    if (k == 0)
        k = check_space(r, reterr);
    if (k < 0) {
        restore_free(r);
        return k;
    }
    make_runs(r);
    loop_defer(loop, &r->more);
    *ret = r;
    return 0;
}

void
restore_stop(struct restore *r)
{
    struct err err;
    if (r->is_finishing)
        return;
    fail(r, err_set_errno(&err, ECANCELED, "the restore into %s was stopped", r->wish.to), &err);
    loop_defer(r->loop, &r->more);
}

void
restore_free(struct restore *r)
{
    if (!r)
        return;
    assert(r->at_work == 0);
    loop_defer_cancel(r->loop, &r->more);
    loop_defer_cancel(r->loop, &r->defer);
    if (r->current)
        file_free(r, r->current);
    vec_foreach (&r->again, file)
        file_free(r, *file);
    vec_finish(&r->again);
    vec_finish(&r->late);
    for (size_t i = 0; i < r->runs_count; i++) {
        block_reader_free(r->runs[i].reader);
        free(r->runs[i].bytes);
    }
    free(r->runs);
    target_close(&r->target);
    reading_close(&r->reading);
    free(r);
}

const struct restore_told *
restore_told(const struct restore *r)
{
    return &r->told;
}
