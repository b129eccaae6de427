#include "base/quantity.h"
#include "base/text.h"
#include "cli/backup.h"
#include "sys/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct verb_help verb_backup_show_help = {
    .text = "Tells all about a snapshot, by the first digits of its name (four or more), or about "
            "the newest "
            "of a model. With --files it lists what is in it, a line each; with --sums it prints "
            "the SHA-256 "
            "of its files as sha256sum does, which also checks them: in a restored directory, with "
            "`sha256sum -c`.",
    .examples = VERB_EXAMPLES({"sudo citadel backup show phi3", "the newest of a model"},
                              {"sudo citadel backup show 3f0c9a --files", "what is in it"},
                              {"sudo citadel backup show phi3 --sums", "for sha256sum -c"}),
};

/* ---- files ---- */

static const char *
kind_word(enum snapshot_kind kind)
{
    static const char *const words[SNAPSHOT_KINDS] = {
        [SNAPSHOT_DIRECTORY] = "directory",
        [SNAPSHOT_FILE] = "file",
        [SNAPSHOT_SYMLINK] = "link",
        [SNAPSHOT_HARDLINK] = "hard-link",
        [SNAPSHOT_FIFO] = "fifo",
        [SNAPSHOT_CHARACTER_DEVICE] = "character-device",
        [SNAPSHOT_BLOCK_DEVICE] = "block-device",
    };
    return words[kind];
}

static void
print_entry(struct cli *cli, const struct snapshot_entry *e)
{
    char when[CLOCK_LOCAL_MAX];
    _cleanup_free_ char *path = mem_strdup(e->path[0] ? e->path : "."),
                        *target = mem_strdup(e->target);
    text_disarm(path);
    text_disarm(target);
    cli_print(cli, "%-9s %04o %-8s %-8s %12" PRIu64 "  %s  %s%s%s%s\n", kind_word(e->kind), e->mode,
              e->owner, e->group, e->kind == SNAPSHOT_FILE ? e->size : 0,
              clock_print_local((uint64_t)MAX(e->mtime_ns / 1000, 0), when), path,
              target[0] ? " -> " : "", target,
              e->flags & SNAPSHOT_CHANGED ? "  (changed while it was read)" : "");
}

static void
json_entry(struct json_writer *w, const struct snapshot_entry *e)
{
    char digest[HASH_SHA256_HEX];
    hash_sha256_hex(e->digest, digest);
    json_open_map(w, NULL);
    json_strn(w, "path", e->path, strlen(e->path));
    json_str(w, "kind", kind_word(e->kind));
    json_u64(w, "mode", e->mode);
    json_str(w, "owner", e->owner);
    json_str(w, "group", e->group);
    json_i64(w, "mtime_ns", e->mtime_ns);
    if (e->kind == SNAPSHOT_FILE) {
        json_u64(w, "bytes", e->size);
        json_str(w, "sha256", digest);
        json_bool(w, "changed", e->flags & SNAPSHOT_CHANGED);
    }
    if (e->target[0])
        json_strn(w, "target", e->target, strlen(e->target));
    json_close_map(w);
}

static int
show_files(struct cli_backup *b, const uint8_t digest[HASH_SHA256_BYTES])
{
    _cleanup_repository_object_ struct repository_object object = {0};
    struct cli *cli = b->cli;
    struct snapshot_reader *reader = mem_new(struct snapshot_reader);
    struct snapshot_head head;
    struct snapshot_entry e;
    int r = repository_map(b->repository, REPOSITORY_SNAPSHOTS, digest, true, &object, &cli->err);
    if (r == 0)
        r = snapshot_open(object.bytes, object.len, reader, &head, &cli->err);
    if (cli->json)
        json_open_list(cli->json, "entries");
    while (r >= 0 && (r = snapshot_next(reader, &e, &cli->err)) > 0)
        if (cli->json)
            json_entry(cli->json, &e);
        else
            print_entry(cli, &e);
    if (cli->json)
        json_close_list(cli->json);
    free(reader);
    return r;
}

/* ---- sums ---- */

static int
show_sums(struct cli_backup *b, const struct snapshot_row *row)
{
    _cleanup_repository_object_ struct repository_object object = {0};
    int r =
        repository_map(b->repository, REPOSITORY_SUMS, row->end.sums, true, &object, &b->cli->err);
    if (r < 0)
        return r;
    if (b->cli->json)
        json_strn(b->cli->json, "sums", (const char *)object.bytes, object.len);
    else
        cli_print_bytes(b->cli, (const char *)object.bytes, object.len);
    return 0;
}

/* ---- all about it ---- */

static void
print(struct cli *cli, const struct snapshot_row *row)
{
    quantity_text size, fresh, stored, took;
    char when[CLOCK_LOCAL_MAX];
    uint64_t us = (uint64_t)MAX((row->end.ended_ns - row->head.begun_ns) / 1000, INT64_C(0));
    _cleanup_free_ char *source = mem_strdup(row->head.source);
    text_disarm(source);
    cli_print(cli, "snapshot  %s\n", row->name);
    cli_print(cli, "of        %s, %s\n", row->head.name, source);
    cli_print(cli, "host      %s\n", row->head.host);
    cli_print(cli, "type      %s\n", row->head.type[0] ? row->head.type : "by hand");
    cli_print(cli, "begun     %s, for %s\n",
              clock_print_local((uint64_t)(row->head.begun_ns / 1000), when),
              quantity_print_us((us + 99999) / 100000 * 100000, took));
    cli_print(cli, "holds     %s in %" PRIu64 " files, %" PRIu64 " blocks\n",
              quantity_show_bytes(row->end.bytes, size), row->end.files, row->end.blocks);
    cli_print(cli, "new       %s, stored in %s\n", quantity_show_bytes(row->end.new_bytes, fresh),
              quantity_show_bytes(row->end.stored_bytes, stored));
}

static int
show(struct cli_backup *b, const struct snapshot_row *row)
{
    struct cli *cli = b->cli;
    bool files = cli_flag(cli, "files"), sums = cli_flag(cli, "sums");
    uint8_t digest[HASH_SHA256_BYTES];
    int r = 0;
    object_digest(row->name, digest);
    if (cli->json) {
        json_open_map(cli->json, NULL);
        cli_backup_json(cli->json, row);
    } else if (!files && !sums) {
        print(cli, row);
    }
    if (files)
        r = show_files(b, digest);
    if (sums && r == 0)
        r = show_sums(b, row);
    if (cli->json)
        json_close_map(cli->json);
    return r;
}

int
verb_backup_show(struct cli *cli)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    struct snapshots all;
    int r = cli_backup_open(cli, &b);
    if (r == 0)
        r = snapshots_read(b.repository, &all, &cli->err);
    if (r < 0)
        return r;
    const struct snapshot_row *row = cli_backup_find(&b, &all, cli->args[0]);
    r = row ? show(&b, row) : -ENOENT;
    snapshots_finish(&all);
    return r < 0 ? r : EXIT_CODE_OK;
}
