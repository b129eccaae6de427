#include "cli/load_config.h"
#include "config/config.h"
#include "storage/disk.h"
#include "sys/clock.h"

const struct verb_help verb_storage_health_help = {
    .text =
        "Asks the disks that models, backups, logs, state and the system lie on how they are, by "
        "smartctl of smartmontools, and writes what they say to storage/health.json of "
        "paths.state, "
        "for the monitor, which may not ask them. citadel-storage-health.timer runs it every hour. "
        "Partitions, arrays and mapped devices are followed to the disks that they are made of.\n\n"
        "A disk is failing when it says so, or when an NVMe disk has a critical warning or too few "
        "spare blocks; it is worn when sectors were replaced or could not be read, or its life is "
        "used up. Exits with 3 when one is failing. One that does not tell is unknown, which is no "
        "error: disks of virtual machines do not.",
    .examples = VERB_EXAMPLES({"sudo citadel storage health", "ask the disks"},
                              {"citadel storage health --json", "all that they say, for programs"}),
};

static const struct table_column columns[] = {
    {.title = "DISK"},
    {.title = "HEALTH"},
    {.title = "TEMP", .right = true, .expendable = 2},
    {.title = "HOURS", .right = true, .expendable = 4},
    {.title = "USED", .right = true, .expendable = 3},
    {.title = "MODEL", .min_width = 8, .expendable = 5},
    {.title = "SERVES", .min_width = 8, .expendable = 1},
};

static enum tone
tone_of(enum disk_state state)
{
    static const enum tone tones[] = {
        [DISK_UNKNOWN] = TONE_DIM,
        [DISK_GOOD] = TONE_GOOD,
        [DISK_WORN] = TONE_WARN,
        [DISK_FAILING] = TONE_BAD,
    };
    return tones[state];
}

static void
add_number(struct table *table, bool known, unsigned n, const char *unit)
{
    if (known)
        table_addf(table, TONE_PLAIN, "%u%s", n, unit);
    else
        table_add(table, TONE_DIM, "?");
}

static void
print(struct cli *cli, const struct disks *disks)
{
    _cleanup_table_ struct table table;
    table_init(&table, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < disks->count; i++) {
        const struct disk *d = &disks->items[i];
        table_add(&table, TONE_PLAIN, d->name);
        table_add(&table, tone_of(d->state), disk_state_word(d->state));
        add_number(&table, d->has_celsius, d->celsius, " C");
        add_number(&table, d->has_hours, d->hours, "");
        add_number(&table, d->has_used, d->used_percent, "%");
        table_add(&table, TONE_PLAIN, d->model[0] ? d->model : "?");
        table_add(&table, TONE_PLAIN, d->serves);
    }
    if (disks->count)
        cli_table(cli, &table);
    else
        cli_print(cli, "no disk is known that the configured paths lie on\n");
    for (size_t i = 0; i < disks->count; i++)
        if (disks->items[i].why[0])
            cli_print(cli, "%s: %s\n", disks->items[i].name, disks->items[i].why);
}

static bool
is_failing(const struct disks *disks)
{
    for (size_t i = 0; i < disks->count; i++)
        if (disks->items[i].state == DISK_FAILING)
            return true;
    return false;
}

int
verb_storage_health(struct cli *cli)
{
    static struct disks disks;
    _cleanup_config_ struct config *config = NULL;
    int r = cli_load_config(cli, &config);
    if (r == 0)
        r = disks_list(config, &disks, &cli->err);
    if (r < 0)
        return r;
    disks_ask(&disks);
    uint64_t now_us = clock_wall_us();
    if (cli->json)
        disks_json(&disks, now_us, cli->json);
    else
        print(cli, &disks);
    r = disks_save(&disks, now_us, config->paths.state, &cli->err);
    if (r < 0)
        return r;
    return is_failing(&disks) ? EXIT_CODE_UNHEALTHY : EXIT_CODE_OK;
}
