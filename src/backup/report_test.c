#include "backup/report.h"

#include "tap.h"

#include <stdio.h>
#include <string.h>

#define DAY_NS (INT64_C(86400) * 1000000000)

static struct snapshot_row
row_of(unsigned id, const char *name, const char *host, unsigned day)
{
    struct snapshot_row row = {
        .head = {.begun_ns = day * DAY_NS,
                 .host = host,
                 .subject = "models",
                 .name = name,
                 .type = "",
                 .source = "/x"},
        .end = {.bytes = 1000, .new_bytes = 100 * id, .stored_bytes = 50 * id}};
    (void)snprintf(row.name, sizeof(row.name), "%064u", id);
    return row;
}

static void
say(struct marks *marks, enum mark_kind kind, const struct snapshot_row *row, int64_t at_ns)
{
    struct mark *mark = vec_add(&marks->items);
    mark->kind = kind;
    mark->at_ns = at_ns;
    object_digest(row->name, vec_add(&mark->names)->bytes);
}

TEST(a_report_has_a_row_for_each_thing_that_is_backed_up)
{
    struct snapshot_row rows[] = {row_of(1, "phi3", "gpu1", 1),
                                  row_of(2, "coder", "gpu1", 2),
                                  row_of(3, "phi3", "gpu1", 5),
                                  row_of(4, "phi3", "gpu2", 3),
                                  {.name = "damaged", .is_damaged = true}};
    const struct snapshots all = {.rows = rows, .count = ARRAY_SIZE(rows)};
    const struct marks none = {0};
    struct report report;
    report_make(&all, &none, &report);
    REQUIRE(report.rows.count == 3);
    CHECK_STR(report.rows.items[0].name, "coder");
    CHECK_STR(report.rows.items[2].host, "gpu2");
    const struct report_row *phi3 = report_find(&report, "gpu1", "models", "phi3");
    REQUIRE(phi3 != NULL);
    CHECK_EQ(phi3->snapshots, 2);
    CHECK(phi3->newest == &rows[2] && phi3->newest_ns == 5 * DAY_NS);
    CHECK_EQ(phi3->bytes, 1000);
    CHECK_EQ(phi3->total_bytes, 2000);
    CHECK(report_dedup(phi3) == 5 && report_compression(phi3) == 2);
    CHECK_EQ(report.all.snapshots, 4);
    CHECK_EQ(report.unread, 1);
    CHECK(!report_find(&report, "gpu1", "models", "other"));
    report_finish(&report);
}

TEST(a_backup_is_late_a_quarter_of_its_interval_after_it)
{
    const uint64_t day_us = DAY_NS / 1000, hour_us = day_us / 24;
    const struct report_row row = {.newest_ns = 10 * DAY_NS}, none = {0};
    CHECK(!report_is_late(&row, 11 * day_us, day_us));
    CHECK(!report_is_late(&row, 11 * day_us + 6 * hour_us, day_us));
    CHECK(report_is_late(&row, 11 * day_us + 6 * hour_us + 1, day_us));
    CHECK(!report_is_late(&row, 100 * day_us, 0));
    CHECK(report_is_late(&none, 11 * day_us, day_us));
    CHECK(!report_is_late(&row, 9 * day_us, day_us)); /* a clock that went back */
}

TEST(a_report_tells_what_was_proved)
{
    struct snapshot_row rows[] = {row_of(1, "phi3", "gpu1", 1), row_of(2, "phi3", "gpu1", 2),
                                  row_of(3, "phi3", "gpu1", 3), row_of(4, "phi3", "gpu1", 4)};
    const struct snapshots all = {.rows = rows, .count = ARRAY_SIZE(rows)};
    _cleanup_marks_ struct marks marks = {0};
    struct report report;
    say(&marks, MARK_GOOD, &rows[0], 10);
    say(&marks, MARK_GOOD, &rows[1], 10);
    say(&marks, MARK_DAMAGED, &rows[1], 20); /* since */
    say(&marks, MARK_DAMAGED, &rows[2], 10);
    say(&marks, MARK_GOOD, &rows[2], 20); /* mended */
    say(&marks, MARK_DELETED, &rows[3], 10);
    report_make(&all, &marks, &report);
    const struct report_row *row = &report.rows.items[0];
    CHECK_EQ(row->good, 2);
    CHECK_EQ(row->damaged, 1);
    CHECK_EQ(row->deleted, 1);
    CHECK_EQ(row->snapshots, 3);
    CHECK(row->newest_good_ns == 3 * DAY_NS && row->newest == &rows[2]);
    CHECK_EQ(row->total_bytes, 4000); /* what is deleted is stored all the same */
    report_finish(&report);
}
