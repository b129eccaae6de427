/* backup_metadata.json, at the top of a repository: which snapshots it has, for people and
 * scripts that have no Citadel. Nothing of ours reads it. Of one that is encrypted it tells no
 * more than that. */

#include "cli/backup.h"
#include "sys/clock.h"

#define TEXT_MAX ((size_t)(256 * MIB))

static int
add_snapshots(struct cli_backup *b, struct json_writer *w, struct err *reterr)
{
    struct snapshots all;
    int r = snapshots_read(b->repository, &all, reterr);
    if (r < 0)
        return r;
    json_open_list(w, "snapshots");
    for (size_t i = 0; i < all.count; i++) {
        json_open_map(w, NULL);
        cli_backup_json(w, &all.rows[i]);
        json_close_map(w);
    }
    json_close_list(w);
    snapshots_finish(&all);
    return 0;
}

static int
write_all(struct cli_backup *b, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX);
    struct json_writer w;
    int r = 0;
    json_init(&w, &text, true);
    json_open_map(&w, NULL);
    json_str(&w, "id", b->repository->id);
    json_u64(&w, "format", REPOSITORY_FORMAT);
    json_bool(&w, "encrypted", b->repository->is_encrypted);
    json_u64(&w, "written_us", clock_wall_us());
    if (!b->repository->is_encrypted)
        r = add_snapshots(b, &w, reterr);
    json_close_map(&w);
    buf_add_char(&text, '\n');
    if (r == 0 && buf_error(&text) < 0)
        r = err_set(reterr, ERR_TOO_LARGE, "the repository has more snapshots than are told");
    return r < 0
               ? r
               : repository_write(b->repository, CLI_BACKUP_METADATA, text.data, text.len, reterr);
}

void
cli_backup_write_metadata(struct cli_backup *b)
{
    struct err err;
    if (write_all(b, &err) < 0)
        cli_note(b->cli, "warning: " CLI_BACKUP_METADATA " could not be written: %s", err.what);
}
