/* Blocks are read and proved by threads, each a run of its own, and go out in the order of the snapshot:
 * pieces are a ring, filled at its end, written from its beginning, by one work at a time, which
 * compresses as well. So there is as much in memory as there are pieces, however large a file is. */

#include "backup/export.h"

#include "backup/block.h"
#include "backup/export_int.h"
#include "backup/pax.h"
#include "backup/reading.h"
#include "backup/squeeze.h"
#include "backup/sums.h"
#include "base/text.h"
#include "sys/work.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUMS_NAME "SHA256SUMS"
#define SPARE_PIECES 2 /* for who writes, beside one for each thread that reads */
#define TOP_MAX (TEXT_NAME_MAX + 1)
#define TOP_DIGITS 12 /* of a snapshot whose name is none for a directory */

/* An entry and the first of its blocks, or the next of them. */
struct piece {
    struct work work;
    struct export *export;
    struct block_reader *reader;
    uint8_t *bytes;
    struct snapshot_entry entry;
    struct reading_run run;
    bool begins, ends; /* the entry */
    bool is_ready;     /* to be written */
    int r;
    struct err err;
};

struct export
{
    struct export_wish wish;
    struct export_told told;
    struct loop *loop;
    void (*ended)(int r, const struct err *err, void *arg);
    void *arg;
    struct loop_defer more, defer;

    struct reading reading;
    char top[TOP_MAX];
    struct snapshot_entry sums; /* SHA256SUMS, as an entry */

    struct snapshot_entry
        current; /* the entry whose blocks are not all in pieces, if it has some */
    struct snapshot_records rest;
    struct piece *pieces;
    size_t pieces_count;
    size_t first, filled; /* of the ring: where it begins, how many are in use */
    unsigned at_work;

    struct work write; /* of the first pieces, so many; or of what ends the archive */
    size_t writing;
    bool is_finishing;
    int write_r;
    struct err write_err;
    struct export_file file;
    struct squeeze *squeeze;
    struct pax pax;

    int r; /* the first error */
    struct err err;
};

static void step(struct export *x);

static void
fail(struct export *x, int k, const struct err *err)
{
    if (k >= 0 || x->r < 0)
        return;
    x->r = k;
    x->err = *err;
}

/* ---- reading ---- */

static struct piece *
nth_piece(const struct export *x, size_t i)
{
    return &x->pieces[(x->first + i) % x->pieces_count];
}

static void
read_piece(struct work *work)
{
    struct piece *p = container_of(work, struct piece, work);
    p->r = block_read(p->reader, p->run.blocks, p->run.count, p->bytes, &p->err);
    if (p->r < 0)
        err_prefix(&p->err, "'%s'", p->entry.path);
}

static void
on_read(struct work *work, bool cancelled unused_arg)
{
    struct piece *p = container_of(work, struct piece, work);
    struct export *x = p->export;
    x->at_work--;
    p->is_ready = p->r == 0;
    fail(x, p->r, &p->err);
    step(x);
}

/* 1: there is more to go out. */
static int
fill(struct export *x, struct piece *p, struct err *reterr)
{
    p->begins = x->rest.at == x->rest.end;
    if (p->begins) {
        int k = reading_next(&x->reading, &x->current, reterr);
        if (k <= 0)
            return k;
        x->rest = x->current.blocks;
    }
    p->entry = x->current;
    reading_take_run(&x->rest, &p->run);
    p->ends = x->rest.at == x->rest.end;
    return 1;
}

static void
fill_all(struct export *x)
{
    while (x->r == 0 && !x->reading.is_over && x->filled < x->pieces_count) {
        struct piece *p = nth_piece(x, x->filled);
        struct err err;
        int k = fill(x, p, &err);
        fail(x, k, &err);
        if (k <= 0)
            return;
        x->filled++;
        p->is_ready = p->run.count == 0;
        if (p->is_ready)
            continue;
        p->work = (struct work){.run = read_piece, .done = on_read};
        x->at_work++;
        work_start(x->loop, &p->work);
    }
}

/* ---- writing ---- */

static int
write_piece(struct export *x, const struct piece *p, struct err *reterr)
{
    int r = p->begins ? pax_add(&x->pax, x->top, &p->entry, reterr) : 0;
    return r < 0 ? r : pax_write(&x->pax, p->bytes, p->run.bytes, reterr);
}

static void
write_pieces(struct work *work)
{
    struct export *x = container_of(work, struct export, write);
    x->write_r = 0;
    for (size_t i = 0; i < x->writing && x->write_r == 0; i++)
        x->write_r = write_piece(x, nth_piece(x, i), &x->write_err);
}

static void
on_written(struct work *work, bool cancelled unused_arg)
{
    struct export *x = container_of(work, struct export, write);
    x->at_work--;
    for (; x->writing > 0; x->writing--) {
        const struct piece *p = nth_piece(x, 0);
        x->told.bytes += p->run.bytes;
        x->told.files += p->ends && p->entry.kind == SNAPSHOT_FILE;
        x->first = (x->first + 1) % x->pieces_count;
        x->filled--;
    }
    x->told.stored_bytes = x->file.bytes;
    fail(x, x->write_r, &x->write_err);
    step(x);
}

static void
write_all(struct export *x)
{
    if (x->writing > 0)
        return;
    while (x->writing < x->filled && nth_piece(x, x->writing)->is_ready)
        x->writing++;
    if (x->writing == 0)
        return;
    x->write = (struct work){.run = write_pieces, .done = on_written, .writes = x->wish.to};
    x->at_work++;
    work_start(x->loop, &x->write);
}

/* ---- SHA256SUMS ---- */

/* Of all files there are, into the archive; to NULL: only how long it is. */
static int
write_sums(struct export *x, struct pax *to, struct err *reterr)
{
    _cleanup_buf_ struct buf line = BUF_INIT(SUMS_LINE_MAX);
    struct snapshot_entry e;
    int r = reading_rewind(&x->reading, reterr);
    while (r >= 0 && (r = reading_next(&x->reading, &e, reterr)) > 0) {
        if (e.kind != SNAPSHOT_FILE)
            continue;
        _cleanup_free_ char *path = mem_printf("%s/%s", x->top, e.path);
        buf_clear(&line);
        sums_print(e.digest, path, &line);
        x->sums.size += to ? 0 : line.len;
        r = to ? pax_write(to, line.data, line.len, reterr) : 0;
    }
    return r;
}

/* Of a part: those whose file is elsewhere would have no content. */
static int
check_links(struct export *x, struct err *reterr)
{
    struct snapshot_entry e;
    int r = reading_rewind(&x->reading, reterr);
    while (r >= 0 && (r = reading_next(&x->reading, &e, reterr)) > 0)
        if (e.kind == SNAPSHOT_HARDLINK && !reading_has(&x->reading, e.target)) {
            r = err_set(reterr, ERR_SNAPSHOT_NONE,
                        "'%s' is another name of '%s', which is not exported with it", e.path,
                        e.target);
            err_fix(reterr, "a --path that has both, or none");
            return r;
        }
    return r;
}

/* ---- the end ---- */

static int
finish(struct export *x, struct err *reterr)
{
    int r = pax_add(&x->pax, "", &x->sums, reterr);
    if (r == 0)
        r = write_sums(x, &x->pax, reterr);
    if (r == 0)
        r = pax_end(&x->pax, reterr);
    if (r == 0)
        r = squeeze_end(x->squeeze, reterr);
    return r < 0 ? r : export_file_end(&x->file, reterr);
}

static void
run_finish(struct work *work)
{
    struct export *x = container_of(work, struct export, write);
    x->write_r = x->r == 0 ? finish(x, &x->write_err) : 0;
}

static void
on_finish(struct work *work, bool cancelled unused_arg)
{
    struct export *x = container_of(work, struct export, write);
    uint8_t digest[HASH_SHA256_BYTES];
    x->at_work--;
    x->told.stored_bytes = x->file.bytes;
    hash_sha256_final(&x->file.hash, digest);
    hash_sha256_hex(digest, x->told.sha256);
    fail(x, x->write_r, &x->write_err);
    loop_defer(x->loop, &x->defer);
}

static void
end_export(struct loop_defer *defer)
{
    struct export *x = container_of(defer, struct export, defer);
    x->ended(x->r, &x->err, x->arg);
}

static void
step(struct export *x)
{
    if (x->is_finishing)
        return;
    fill_all(x);
    if (x->r == 0)
        write_all(x);
    if (x->at_work > 0)
        return;
    x->is_finishing = true;
    x->write = (struct work){.run = run_finish, .done = on_finish, .writes = x->wish.to};
    x->at_work++;
    work_start(x->loop, &x->write);
}

static int
begin(struct export *x, struct err *reterr)
{
    const struct flow_sink file = export_file_sink(&x->file);
    int r = export_file_make(&x->file, reterr);
    if (r == 0)
        r = squeeze_new(&file, x->wish.threads, &x->squeeze, reterr);
    if (r < 0)
        return r;
    const struct flow_sink squeezed = squeeze_sink(x->squeeze);
    pax_begin(&x->pax, &squeezed);
    x->pieces_count = x->wish.threads + SPARE_PIECES;
    x->pieces = mem_alloc(x->pieces_count * sizeof(*x->pieces));
    for (size_t i = 0; i < x->pieces_count; i++) {
        x->pieces[i].export = x;
        x->pieces[i].bytes = mem_alloc(READING_RUN_BYTES);
        x->pieces[i].reader = block_reader_new(x->wish.repository, x->reading.index);
    }
    return 0;
}

/* The file is made here, and not before there is somebody to stop it: so nothing is left of it. */
static void
on_more(struct loop_defer *defer)
{
    struct export *x = container_of(defer, struct export, more);
    struct err err;
    if (x->r == 0 && !x->squeeze)
        fail(x, begin(x, &err), &err);
    step(x);
}

/* ---- beginning ---- */

/* The directory of the archive: a name that is safe everywhere. */
static void
name_top(struct export *x)
{
    char hex[HASH_SHA256_HEX];
    hash_sha256_hex(x->wish.snapshot, hex);
    if (text_is_name(x->reading.head.name))
        (void)snprintf(x->top, sizeof(x->top), "%s", x->reading.head.name);
    else
        (void)snprintf(x->top, sizeof(x->top), "%.*s", TOP_DIGITS, hex);
}

static int
look(struct export *x, struct err *reterr)
{
    x->sums = (struct snapshot_entry){.kind = SNAPSHOT_FILE,
                                      .mode = 0644,
                                      .mtime_ns = x->reading.head.begun_ns,
                                      .path = SUMS_NAME,
                                      .target = "",
                                      .owner = "root",
                                      .group = "root"};
    x->told.total_files = x->reading.files;
    x->told.total_bytes = x->reading.bytes;
    name_top(x);
    int r = check_links(x, reterr);
    if (r == 0)
        r = write_sums(x, NULL, reterr);
    if (r == 0)
        r = reading_rewind(&x->reading, reterr);
    return r < 0 ? r : export_file_look(&x->file, &x->wish, x->reading.bytes, reterr);
}

int
export_new(struct loop *loop, const struct export_wish *wish,
           void (*ended)(int r, const struct err *err, void *arg), void *arg, struct export **ret,
           struct err *reterr)
{
    struct export *x = mem_new(struct export);
    struct reading_wish reading = {
        .repository = wish->repository, .path = wish->path, .what = "export"};
    assert(wish->threads > 0 && wish->threads <= EXPORT_THREADS_MAX);
    memcpy(reading.snapshot, wish->snapshot, sizeof(reading.snapshot));
    x->wish = *wish;
    x->loop = loop;
    x->ended = ended;
    x->arg = arg;
    x->more.run = on_more;
    x->defer.run = end_export;
    x->file = EXPORT_FILE_INIT;
    int r = reading_open(loop, &reading, &x->reading, reterr);
    if (r == 0)
        r = look(x, reterr);
    if (r < 0) {
        export_free(x);
        return r;
    }
    loop_defer(loop, wish->dry ? &x->defer : &x->more);
    *ret = x;
    return 0;
}

void
export_stop(struct export *x)
{
    struct err err;
    if (x->is_finishing)
        return;
    fail(x,
         err_set_errno(&err, ECANCELED, "the export to %s was stopped",
                       x->wish.to ? x->wish.to : "-"),
         &err);
    loop_defer(x->loop, &x->more);
}

void
export_free(struct export *x)
{
    if (!x)
        return;
    assert(x->at_work == 0);
    loop_defer_cancel(x->loop, &x->more);
    loop_defer_cancel(x->loop, &x->defer);
    for (size_t i = 0; i < x->pieces_count; i++) {
        block_reader_free(x->pieces[i].reader);
        free(x->pieces[i].bytes);
    }
    free(x->pieces);
    squeeze_free(x->squeeze);
    export_file_close(&x->file);
    reading_close(&x->reading);
    free(x);
}

const struct export_told *
export_told(const struct export *x)
{
    return &x->told;
}
