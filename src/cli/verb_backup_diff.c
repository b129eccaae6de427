#include "base/quantity.h"
#include "base/text.h"
#include "cli/backup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct verb_help verb_backup_diff_help = {
    .text =
        "Tells what differs between two snapshots, a line each: '+' what only the second has, '-' "
        "what only "
        "the first has, 'M' what has other content, 'm' what has another mode, owner, link or "
        "time, "
        "and "
        "'!' a file whose content differs though size and times are the same: it was spoilt, or "
        "somebody "
        "hides that he changed it. Nothing of the content is read for that. Exits with 0 whether "
        "something differs or not.",
    .examples = VERB_EXAMPLES({"sudo citadel backup diff 3f0c9a phi3", "since then"}),
};

/* One of the two, from front to back. */
struct side {
    struct repository_object object;
    struct snapshot_reader *reader;
    struct snapshot_entry entry;
    bool is_over;
};

struct telling {
    struct cli *cli;
    uint64_t added, removed, changed;
};

static int
side_next(struct side *s, struct err *reterr)
{
    int r = snapshot_next(s->reader, &s->entry, reterr);
    s->is_over = r <= 0;
    return MIN(r, 0);
}

static int
side_open(struct cli_backup *b, const struct snapshot_row *row, struct side *ret)
{
    uint8_t name[HASH_SHA256_BYTES];
    struct snapshot_head head;
    object_digest(row->name, name);
    ret->reader = mem_new(struct snapshot_reader);
    int r =
        repository_map(b->repository, REPOSITORY_SNAPSHOTS, name, true, &ret->object, &b->cli->err);
    if (r == 0)
        r = snapshot_open(ret->object.bytes, ret->object.len, ret->reader, &head, &b->cli->err);
    return r < 0 ? r : side_next(ret, &b->cli->err);
}

static void
side_close(struct side *s)
{
    repository_unmap(&s->object);
    free(s->reader);
}

/* ---- one entry ---- */

static void
tell(struct telling *t, char what, const struct snapshot_entry *e)
{
    t->added += what == '+';
    t->removed += what == '-';
    t->changed += what != '+' && what != '-';
    if (t->cli->json) {
        const char word[] = {what, '\0'};
        json_open_map(t->cli->json, NULL);
        json_str(t->cli->json, "what", word);
        json_strn(t->cli->json, "path", e->path, strlen(e->path));
        json_u64(t->cli->json, "bytes", e->kind == SNAPSHOT_FILE ? e->size : 0);
        json_close_map(t->cli->json);
        return;
    }
    _cleanup_free_ char *path = mem_strdup(e->path[0] ? e->path : ".");
    text_disarm(path);
    cli_print(t->cli, "%c %s\n", what, path);
}

static bool
is_about_the_same(const struct snapshot_entry *a, const struct snapshot_entry *b)
{
    return a->mode == b->mode && a->mtime_ns == b->mtime_ns && text_eq(a->owner, b->owner) &&
           text_eq(a->group, b->group) && text_eq(a->target, b->target);
}

/* 0: nothing differs. */
static char
compare(const struct snapshot_entry *a, const struct snapshot_entry *b)
{
    if (a->kind != b->kind)
        return 'M';
    if (a->kind == SNAPSHOT_FILE && memcmp(a->digest, b->digest, sizeof(a->digest)) != 0)
        return a->size == b->size && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns ? '!'
                                                                                              : 'M';
    return is_about_the_same(a, b) ? 0 : 'm';
}

/* In step, as both are in one order. */
static int
walk(struct telling *t, struct side *a, struct side *b)
{
    int r = 0;
    while (r == 0 && !(a->is_over && b->is_over)) {
        int order = a->is_over ? 1 : b->is_over ? -1 : snapshot_order(a->entry.path, b->entry.path);
        char differs = order == 0 ? compare(&a->entry, &b->entry) : order < 0 ? '-' : '+';
        if (differs)
            tell(t, differs, order < 0 ? &a->entry : &b->entry);
        if (order <= 0)
            r = side_next(a, &t->cli->err);
        if (order >= 0 && r == 0)
            r = side_next(b, &t->cli->err);
    }
    return r;
}

static int
diff(struct cli_backup *b, const struct snapshot_row *from, const struct snapshot_row *to)
{
    struct telling t = {.cli = b->cli};
    struct side sides[2] = {0};
    struct json_writer *w = b->cli->json;
    int r = side_open(b, from, &sides[0]);
    if (r == 0)
        r = side_open(b, to, &sides[1]);
    if (r == 0 && w) {
        json_open_map(w, NULL);
        json_str(w, "from", from->name);
        json_str(w, "to", to->name);
        json_open_list(w, "differences");
    }
    if (r == 0)
        r = walk(&t, &sides[0], &sides[1]);
    if (r == 0 && w) {
        json_close_list(w);
        json_close_map(w);
    } else if (r == 0) {
        cli_print(b->cli, "%" PRIu64 " added, %" PRIu64 " gone, %" PRIu64 " changed\n", t.added,
                  t.removed, t.changed);
    }
    side_close(&sides[0]);
    side_close(&sides[1]);
    return r;
}

int
verb_backup_diff(struct cli *cli)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    struct snapshots all;
    int r = cli_backup_open(cli, &b);
    if (r == 0)
        r = snapshots_read(b.repository, &all, &cli->err);
    if (r < 0)
        return r;
    const struct snapshot_row *from = cli_backup_find(&b, &all, cli->args[0]);
    const struct snapshot_row *to = from ? cli_backup_find(&b, &all, cli->args[1]) : NULL;
    r = to ? diff(&b, from, to) : -ENOENT;
    snapshots_finish(&all);
    return r < 0 ? r : EXIT_CODE_OK;
}
