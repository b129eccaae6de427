#include "cli/emergency.h"
#include "cli/load_config.h"
#include "deploy/backup.h"
#include "deploy/emergency.h"
#include "deploy/restore.h"
#include "sys/clock.h"

const struct verb_help verb_rollback_status_help = {
    .text = "Tells whether an emergency stop is in force, since when, by whom and why; how many "
            "processes of Citadel run, which is how many another would kill; whether a restore was "
            "interrupted; and which backups there are, as far as who asks may see them.",
    .examples = VERB_EXAMPLES({"sudo citadel rollback status", "how it stands"},
                              {"citadel rollback status --json", "for programs"}),
};

#define LIST_BYTES (16 * MIB)

struct seen {
    struct run_marker marker;
    struct emergency_processes running;
    struct restore_mark restore;
    struct generation *backups;
    size_t backup_count;
    struct err hidden; /* why backups cannot be listed; ERR_NONE: they can */
};

static const struct table_column columns[] = {
    {.title = "BACKUP", .right = true},
    {.title = "MADE"},
    {.title = "BY", .min_width = 4, .expendable = 1},
    {.title = ""},
};

static void
print_backups(struct cli *cli, const struct seen *seen)
{
    _cleanup_table_ struct table table;
    char made[CLOCK_LOCAL_MAX];
    table_init(&table, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < seen->backup_count; i++) {
        const struct generation *b = &seen->backups[i];
        table_addf(&table, TONE_PLAIN, "%u", b->number);
        table_add(&table, TONE_PLAIN, b->damage ? "?" : clock_print_local(b->made_us, made));
        table_add(&table, TONE_PLAIN, b->damage ? "?" : b->by);
        table_add(&table, TONE_BAD, b->damage ? "damaged" : "");
    }
    if (seen->hidden.id != ERR_NONE)
        cli_print(cli, "Backups cannot be listed: %s\n", seen->hidden.what);
    else if (seen->backup_count == 0)
        cli_print(cli, "There is no backup. To make one: citadel rollback backup\n");
    else
        cli_table(cli, &table);
}

static void
print(struct cli *cli, const struct seen *seen)
{
    _cleanup_buf_ struct buf line = BUF_INIT(1 * KIB);
    size_t count = seen->running.all.count, services = emergency_services(&seen->running);
    cli_emergency_line(&seen->marker, &line);
    if (seen->marker.set)
        cli_print(cli,
                  "An emergency stop is in force%s%s. To allow starts: citadel rollback "
                  "emergency --lift\n",
                  line.len ? ", " : "", line.data);
    else
        cli_print(cli, "No emergency stop is in force.\n");
    if (count)
        cli_print(cli, "%zu process%s of %zu service%s run%s.\n", count, count == 1 ? "" : "es",
                  services, services == 1 ? "" : "s", count == 1 ? "s" : "");
    else
        cli_print(cli, "Nothing of Citadel runs.\n");
    if (seen->restore.id)
        cli_print(cli,
                  "The restore of backup %u by %s was interrupted, or is under way. To make it "
                  "good: citadel rollback restore %u\n",
                  seen->restore.id, seen->restore.by, seen->restore.id);
    print_backups(cli, seen);
}

static void
print_json(struct json_writer *w, const struct seen *seen)
{
    json_open_map(w, NULL);
    cli_emergency_json(&seen->marker, w, "emergency");
    json_u64(w, "processes", seen->running.all.count);
    json_u64(w, "services", emergency_services(&seen->running));
    json_u64(w, "restoring", seen->restore.id);
    json_open_list(w, "backups");
    for (size_t i = 0; i < seen->backup_count; i++) {
        json_open_map(w, NULL);
        json_u64(w, "backup", seen->backups[i].number);
        json_u64(w, "made_us", seen->backups[i].made_us);
        json_str(w, "by", seen->backups[i].by);
        json_str(w, "damage", seen->backups[i].damage);
        json_close_map(w);
    }
    json_close_list(w);
    json_str(w, "backups_error", seen->hidden.id == ERR_NONE ? NULL : seen->hidden.what);
    json_close_map(w);
}

int
verb_rollback_status(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_arena_ struct arena arena;
    struct seen seen = {0};
    arena_init(&arena, LIST_BYTES);
    int r = cli_load_deployed(cli, &config);
    if (r < 0)
        return r;
    run_marker_read(config->paths.run, &seen.marker);
    emergency_look(&(struct emergency_wish){.run_dir = config->paths.run}, &seen.running);
    restore_mark_read(config->paths.state, &seen.restore);
    if (generation_list(backup_dir(&arena, config), &arena, &seen.backups, &seen.backup_count,
                        &seen.hidden) == 0)
        seen.hidden.id = ERR_NONE;
    if (cli->json)
        print_json(cli->json, &seen);
    else
        print(cli, &seen);
    vec_finish(&seen.running.all);
    return EXIT_CODE_OK;
}
