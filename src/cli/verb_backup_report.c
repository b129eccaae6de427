#include "backup/report.h"
#include "base/quantity.h"
#include "base/text.h"
#include "cli/backup.h"
#include "sys/clock.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct verb_help verb_backup_report_help = {
    .text =
        "Tells what the repository has of each thing that is backed up: how many snapshots, how "
        "old the newest is, how large that is, what all of them take, how many times smaller that "
        "is since content is stored once (dedup) and since it is compressed, and how many of them "
        "`citadel backup verify` has proved; and what room is left.\n\n"
        "What is missing is told with the command that mends it: a model that has no backup, or an "
        "older one than its schedule wants (a quarter of the interval is allowed for the run "
        "itself), one of which no snapshot was proved, what is damaged. Then the exit code is 3.",
    .examples = VERB_EXAMPLES({"citadel backup report", "what there is, and what is missing"},
                              {"citadel backup report --csv", "for a spreadsheet"},
                              {"citadel backup report --json", "for programs"}),
};

#define DAY_US UINT64_C(86400000000)

struct missing {
    char *what, *fix;
};

struct reporting {
    struct cli_backup b;
    char host[HOST_NAME_MAX + 1];
    struct snapshots all;
    bool has_snapshots;
    struct marks marks;
    struct report report;
    uint64_t now_us, room; /* room: UINT64_MAX: nobody says */
    uint64_t objective_us; /* of models; 0: none */
    VEC(struct missing) missing;
};

/* ---- how old it may be ---- */

static uint64_t
interval_us(const struct config_schedule *s)
{
    switch (s->kind) {
    case CONFIG_SCHEDULE_EVERY:
        return s->minutes * UINT64_C(60000000);
    case CONFIG_SCHEDULE_DAILY:
        return DAY_US;
    case CONFIG_SCHEDULE_WEEKLY:
        return 7 * DAY_US;
    case CONFIG_SCHEDULE_MONTHLY:
        return 31 * DAY_US;
    case CONFIG_SCHEDULE_NEVER:
    default:
        return UINT64_MAX;
    }
}

static uint64_t
find_objective(const struct config_backup *o)
{
    const struct config_backup_models *m = &o->models;
    const uint64_t us =
        MIN(interval_us(&m->daily), MIN(interval_us(&m->weekly), interval_us(&m->monthly)));
    return !o->enabled || us == UINT64_MAX ? 0 : us;
}

static uint64_t
age_us(const struct reporting *k, int64_t ns)
{
    const int64_t us = ns / 1000;
    return us > 0 && (uint64_t)us < k->now_us ? k->now_us - (uint64_t)us : 0;
}

static uint64_t
whole_minutes(const struct reporting *k, const struct report_row *row)
{
    return age_us(k, row->newest_ns) / 60000000 * 60000000;
}

static bool
is_late(const struct reporting *k, const struct report_row *row)
{
    return text_eq(row->subject, "models") && text_eq(row->host, k->host) &&
           report_is_late(row, k->now_us, k->objective_us);
}

/* ---- what is missing ---- */

/* Takes both. */
static void
miss(struct reporting *k, char *what, char *fix)
{
    vec_push(&k->missing, ((struct missing){what, fix}));
}

static void
look_at_model(struct reporting *k, const struct config_model *model)
{
    const struct report_row *row = report_find(&k->report, k->host, "models", model->name);
    quantity_text age, wanted;
    if (!row || row->snapshots == 0) {
        miss(k, mem_printf("%s has no backup", model->name),
             mem_printf("sudo citadel backup models %s", model->name));
        return;
    }
    if (is_late(k, row))
        miss(k,
             mem_printf("the newest backup of %s is %s old, and every %s one is wanted",
                        model->name, quantity_print_us(whole_minutes(k, row), age),
                        quantity_print_us(k->objective_us, wanted)),
             mem_printf("sudo citadel backup models %s", model->name));
    if (row->good == 0)
        miss(k, mem_printf("no backup of %s was proved yet", model->name),
             mem_printf("sudo citadel backup verify %s", model->name));
}

static void
look_at_room(struct reporting *k)
{
    quantity_text room, used;
    uint64_t most = 0;
    vec_foreach (&k->report.rows, row)
        most = MAX(most, row->newest ? row->newest->end.stored_bytes : 0);
    if (k->room == UINT64_MAX || k->room >= most)
        return;
    miss(k,
         mem_printf("there is room for %s, and the last backup took %s",
                    quantity_show_bytes(k->room, room), quantity_show_bytes(most, used)),
         mem_strdup("sudo citadel backup prune"));
}

static void
look_for_missing(struct reporting *k)
{
    const struct config *config = k->b.config;
    for (size_t i = 0; i < config->models.count; i++)
        if (cli_backup_takes_model(config, i))
            look_at_model(k, &config->models.items[i]);
    vec_foreach (&k->report.rows, row)
        if (row->damaged)
            miss(k,
                 mem_printf("of %s, %" PRIu64 " of %" PRIu64 " snapshots are damaged", row->name,
                            row->damaged, row->snapshots),
                 mem_strdup("sudo citadel backup verify --repair"));
    if (k->report.unread)
        miss(k, mem_printf("snapshots that cannot be read: %" PRIu64, k->report.unread),
             mem_strdup("sudo citadel backup verify --repair"));
    look_at_room(k);
}

static void
print_missing(const struct reporting *k)
{
    struct cli *cli = k->b.cli;
    vec_foreach (&k->missing, m) {
        if (cli->json) {
            json_open_map(cli->json, NULL);
            json_str(cli->json, "what", m->what);
            json_str(cli->json, "fix", m->fix);
            json_close_map(cli->json);
        } else {
            cli_print(cli, "%s%s\n  try: %s\n", m == k->missing.items ? "\n" : "", m->what, m->fix);
        }
    }
}

/* ---- for people, programs and spreadsheets ---- */

static const char *
print_ratio(double r, char ret[16])
{
    (void)snprintf(ret, 16, "%.2f", r);
    return ret;
}

static void
add_row(const struct reporting *k, struct table *table, const struct report_row *row)
{
    quantity_text age, size, stored;
    char dedup[16], compression[16];
    const bool any = row->newest_ns > 0;
    table_add(table, TONE_PLAIN, row->subject);
    table_addf(table, TONE_PLAIN, "%s%s%s", row->name, text_eq(row->host, k->host) ? "" : " of ",
               text_eq(row->host, k->host) ? "" : row->host);
    table_addf(table, TONE_PLAIN, "%" PRIu64, row->snapshots);
    table_add(table, is_late(k, row) ? TONE_BAD : TONE_PLAIN,
              any ? quantity_print_us(whole_minutes(k, row), age) : "-");
    table_add(table, TONE_PLAIN, quantity_show_bytes(row->bytes, size));
    table_add(table, TONE_PLAIN, quantity_show_bytes(row->stored_bytes, stored));
    table_add(table, TONE_PLAIN, print_ratio(report_dedup(row), dedup));
    table_add(table, TONE_PLAIN, print_ratio(report_compression(row), compression));
    table_addf(table, row->damaged ? TONE_BAD : TONE_PLAIN, "%" PRIu64 " of %" PRIu64, row->good,
               row->snapshots);
}

static void
print_table(const struct reporting *k)
{
    static const struct table_column columns[] = {
        {.title = "Subject"},
        {.title = "Name", .min_width = 8},
        {.title = "Snapshots", .right = true},
        {.title = "Newest", .right = true},
        {.title = "Size", .right = true},
        {.title = "Stored", .right = true},
        {.title = "Dedup", .right = true},
        {.title = "Compression", .right = true},
        {.title = "Proved", .right = true},
    };
    struct cli *cli = k->b.cli;
    quantity_text room, total, stored;
    _cleanup_table_ struct table table;
    table_init(&table, columns, ARRAY_SIZE(columns));
    vec_foreach (&k->report.rows, row)
        add_row(k, &table, row);
    cli_table(cli, &table);
    cli_print(cli, "\n%" PRIu64 " snapshots of %s are stored in %s", k->report.all.snapshots,
              quantity_show_bytes(k->report.all.total_bytes, total),
              quantity_show_bytes(k->report.all.stored_bytes, stored));
    if (k->room == UINT64_MAX)
        cli_print(cli, "\n");
    else
        cli_print(cli, "; there is room for %s\n", quantity_show_bytes(k->room, room));
}

static void
json_row(const struct reporting *k, const struct report_row *row)
{
    struct json_writer *w = k->b.cli->json;
    json_u64(w, "snapshots", row->snapshots);
    json_u64(w, "deleted", row->deleted);
    json_u64(w, "good", row->good);
    json_u64(w, "damaged", row->damaged);
    json_i64(w, "newest_us", row->newest_ns / 1000);
    json_i64(w, "newest_good_us", row->newest_good_ns / 1000);
    json_u64(w, "bytes", row->bytes);
    json_u64(w, "total_bytes", row->total_bytes);
    json_u64(w, "new_bytes", row->new_bytes);
    json_u64(w, "stored_bytes", row->stored_bytes);
    json_real(w, "dedup", report_dedup(row));
    json_real(w, "compression", report_compression(row));
}

static void
print_json(const struct reporting *k)
{
    struct json_writer *w = k->b.cli->json;
    json_open_map(w, NULL);
    json_open_list(w, "rows");
    vec_foreach (&k->report.rows, row) {
        json_open_map(w, NULL);
        json_str(w, "subject", row->subject);
        json_str(w, "name", row->name);
        json_str(w, "host", row->host);
        json_bool(w, "late", is_late(k, row));
        json_row(k, row);
        json_close_map(w);
    }
    json_close_list(w);
    json_open_map(w, "all");
    json_row(k, &k->report.all);
    json_close_map(w);
    json_u64(w, "unread_snapshots", k->report.unread);
    json_u64(w, "objective_us", k->objective_us);
    if (k->room == UINT64_MAX)
        json_null(w, "room_bytes");
    else
        json_u64(w, "room_bytes", k->room);
    json_open_list(w, "missing");
    print_missing(k);
    json_close_list(w);
    json_close_map(w);
}

static void
print_csv(const struct reporting *k)
{
    struct cli *cli = k->b.cli;
    cli_print(cli, "subject,name,host,snapshots,good,damaged,newest_us,bytes,total_bytes,new_bytes,"
                   "stored_bytes\r\n");
    vec_foreach (&k->report.rows, row) {
        cli_print_csv(cli, row->subject);
        cli_print(cli, ",");
        cli_print_csv(cli, row->name);
        cli_print(cli, ",");
        cli_print_csv(cli, row->host);
        cli_print(cli,
                  ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRId64 ",%" PRIu64 ",%" PRIu64
                  ",%" PRIu64 ",%" PRIu64 "\r\n",
                  row->snapshots, row->good, row->damaged, row->newest_ns / 1000, row->bytes,
                  row->total_bytes, row->new_bytes, row->stored_bytes);
    }
}

/* ---- all of it ---- */

static int
look(struct reporting *k)
{
    struct err *err = &k->b.cli->err;
    int r = marks_read(k->b.repository, &k->marks, err);
    if (r == 0)
        r = repository_find_room(k->b.repository, &k->room, err);
    if (r == 0)
        r = snapshots_read(k->b.repository, &k->all, err);
    if (r < 0)
        return r;
    k->has_snapshots = true;
    (void)gethostname(k->host, sizeof(k->host) - 1);
    k->now_us = clock_wall_us();
    k->objective_us = find_objective(&k->b.config->backup);
    report_make(&k->all, &k->marks, &k->report);
    look_for_missing(k);
    return 0;
}

static void
print(const struct reporting *k)
{
    if (k->b.cli->json) {
        print_json(k);
    } else if (cli_flag(k->b.cli, "csv")) {
        print_csv(k);
    } else {
        print_table(k);
        print_missing(k);
    }
}

static void
finish(struct reporting *k)
{
    vec_foreach (&k->missing, m) {
        free(m->what);
        free(m->fix);
    }
    vec_finish(&k->missing);
    report_finish(&k->report);
    marks_finish(&k->marks);
    if (k->has_snapshots)
        snapshots_finish(&k->all);
    cli_backup_close(&k->b);
}

int
verb_backup_report(struct cli *cli)
{
    struct reporting k = {0};
    int r = cli->json && cli_flag(cli, "csv")
                ? err_set(&cli->err, ERR_USAGE, "--csv and --json are two forms; one at a time")
                : cli_backup_open(cli, &k.b);
    if (r == 0)
        r = look(&k);
    if (r == 0)
        print(&k);
    const int code = k.missing.count > 0 ? EXIT_CODE_UNHEALTHY : EXIT_CODE_OK;
    finish(&k);
    return r < 0 ? r : code;
}
