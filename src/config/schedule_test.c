#include "config/schedule_int.h"

#include "tap.h"

TEST(schedules_are_read_and_told)
{
    static const struct {
        const char *text, *printed, *calendar;
    } good[] = {
        {"never", "never", NULL},
        {"every 15m", "every 15m", "*-*-* *:00/15:00"},
        {"every 1m", "every 1m", "*-*-* *:00/1:00"},
        {"every 60m", "hourly", "*-*-* 00/1:00:00"},
        {"hourly", "hourly", "*-*-* 00/1:00:00"},
        {"every 2h", "every 2h", "*-*-* 00/2:00:00"},
        {"every 120m", "every 2h", "*-*-* 00/2:00:00"},
        {"daily 02:00", "daily 02:00", "*-*-* 02:00:00"},
        {"daily 23:59", "daily 23:59", "*-*-* 23:59:00"},
        {"weekly sunday 03:00", "weekly sunday 03:00", "Sun *-*-* 03:00:00"},
        {"weekly Wed 03:05", "weekly wednesday 03:05", "Wed *-*-* 03:05:00"},
        {"monthly 1 04:00", "monthly 1 04:00", "*-*-01 04:00:00"},
        {"monthly 28 04:00", "monthly 28 04:00", "*-*-28 04:00:00"},
    };
    static const char *const bad[] = {
        "",
        "always",
        "every",
        "every 7m",
        "every 0m",
        "every 24h",
        "every 90m",
        "every 5h",
        "every 30s",
        "daily",
        "daily 2:00",
        "daily 24:00",
        "daily 02:60",
        "daily 02:00:00",
        "daily  02:00",
        "weekly",
        "weekly 03:00",
        "weekly su 03:00",
        "weekly sund 03:00",
        "monthly 0 04:00",
        "monthly 29 04:00",
        "monthly 04:00",
        "monthly 001 04:00",
        "hourly ",
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct config_schedule s;
        char text[SCHEDULE_TEXT_MAX], calendar[CONFIG_CALENDAR_MAX];
        tap_note("%s", good[i].text);
        REQUIRE(schedule_parse(good[i].text, &s));
        CHECK_STR(schedule_print(&s, text), good[i].printed);
        CHECK_STR(config_schedule_calendar(&s, calendar), good[i].calendar);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct config_schedule s;
        tap_note("%s", bad[i]);
        CHECK(!schedule_parse(bad[i], &s));
    }
}
