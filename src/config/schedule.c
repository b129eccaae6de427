#include "config/schedule_int.h"

#include "base/quantity.h"
#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HOUR 60u
#define DAY 1440u

static const char *const days[] = {"sunday",   "monday", "tuesday", "wednesday",
                                   "thursday", "friday", "saturday"};

/* "HH:MM" and nothing behind it. */
static bool
read_time(const char *text, unsigned *ret_minutes)
{
    for (size_t i = 0; i < 5; i++)
        if (i == 2 ? text[i] != ':' : !isdigit((unsigned char)text[i]))
            return false;
    unsigned hour = (unsigned)(text[0] - '0') * 10 + (unsigned)(text[1] - '0');
    unsigned minute = (unsigned)(text[3] - '0') * 10 + (unsigned)(text[4] - '0');
    *ret_minutes = hour * HOUR + minute;
    return hour < 24 && minute < 60 && !text[5];
}

/* "15m" or "2h": runs must fall on the same minutes of every day. */
static bool
read_interval(const char *text, unsigned *ret_minutes)
{
    uint64_t us;
    if (quantity_parse_us(text, &us, NULL) < 0 || us % 60000000 != 0)
        return false;
    uint64_t minutes = us / 60000000;
    *ret_minutes = (unsigned)minutes;
    return minutes >= 1 && minutes < DAY &&
           (HOUR % minutes == 0 || (minutes % HOUR == 0 && DAY % minutes == 0));
}

/* A day of the week by its name or the first three letters of it. */
static const char *
read_week_day(const char *text, unsigned *ret_day)
{
    size_t len = strcspn(text, " ");
    for (unsigned i = 0; i < ARRAY_SIZE(days); i++) {
        if ((len == 3 || len == strlen(days[i])) && strncasecmp(text, days[i], len) == 0) {
            *ret_day = i;
            return text[len] == ' ' ? text + len + 1 : NULL;
        }
    }
    return NULL;
}

/* The month's day: 29 and above would leave months out. */
static const char *
read_month_day(const char *text, unsigned *ret_day)
{
    unsigned day = 0;
    size_t len = 0;
    for (; len < 2 && isdigit((unsigned char)text[len]); len++)
        day = day * 10 + (unsigned)(text[len] - '0');
    *ret_day = day;
    return day >= 1 && day <= 28 && text[len] == ' ' ? text + len + 1 : NULL;
}

bool
schedule_parse(const char *text, struct config_schedule *ret_schedule)
{
    struct config_schedule s = {.kind = CONFIG_SCHEDULE_EVERY, .minutes = HOUR};
    const char *time = NULL;
    bool ok = false;
    if (text_eq(text, "never")) {
        s = (struct config_schedule){.kind = CONFIG_SCHEDULE_NEVER};
        ok = true;
    } else if (text_eq(text, "hourly")) {
        ok = true;
    } else if (text_starts(text, "every ")) {
        ok = read_interval(text + 6, &s.minutes);
    } else if (text_starts(text, "daily ")) {
        s.kind = CONFIG_SCHEDULE_DAILY;
        time = text + 6;
    } else if (text_starts(text, "weekly ")) {
        s.kind = CONFIG_SCHEDULE_WEEKLY;
        time = read_week_day(text + 7, &s.day);
    } else if (text_starts(text, "monthly ")) {
        s.kind = CONFIG_SCHEDULE_MONTHLY;
        time = read_month_day(text + 8, &s.day);
    }
    if (!ok && !(time && read_time(time, &s.minutes)))
        return false;
    *ret_schedule = s;
    return true;
}

const char *
schedule_print(const struct config_schedule *schedule, char text[SCHEDULE_TEXT_MAX])
{
    unsigned minutes = schedule->minutes, hour = minutes / HOUR, minute = minutes % HOUR;
    switch (schedule->kind) {
    case CONFIG_SCHEDULE_NEVER:
        return "never";
    case CONFIG_SCHEDULE_EVERY:
        if (minutes == HOUR)
            return "hourly";
        (void)snprintf(text, SCHEDULE_TEXT_MAX, minute ? "every %um" : "every %uh",
                       minute ? minutes : hour);
        return text;
    case CONFIG_SCHEDULE_DAILY:
        (void)snprintf(text, SCHEDULE_TEXT_MAX, "daily %02u:%02u", hour, minute);
        return text;
    case CONFIG_SCHEDULE_WEEKLY:
        assert(schedule->day < ARRAY_SIZE(days));
        (void)snprintf(text, SCHEDULE_TEXT_MAX, "weekly %s %02u:%02u", days[schedule->day], hour,
                       minute);
        return text;
    case CONFIG_SCHEDULE_MONTHLY:
        break;
    }
    (void)snprintf(text, SCHEDULE_TEXT_MAX, "monthly %u %02u:%02u", schedule->day, hour, minute);
    return text;
}

const char *
config_schedule_calendar(const struct config_schedule *schedule, char text[CONFIG_CALENDAR_MAX])
{
    unsigned minutes = schedule->minutes, hour = minutes / HOUR, minute = minutes % HOUR;
    switch (schedule->kind) {
    case CONFIG_SCHEDULE_NEVER:
        return NULL;
    case CONFIG_SCHEDULE_EVERY:
        if (minutes < HOUR)
            (void)snprintf(text, CONFIG_CALENDAR_MAX, "*-*-* *:00/%u:00", minutes);
        else
            (void)snprintf(text, CONFIG_CALENDAR_MAX, "*-*-* 00/%u:00:00", hour);
        return text;
    case CONFIG_SCHEDULE_DAILY:
        (void)snprintf(text, CONFIG_CALENDAR_MAX, "*-*-* %02u:%02u:00", hour, minute);
        return text;
    case CONFIG_SCHEDULE_WEEKLY:
        assert(schedule->day < ARRAY_SIZE(days));
        (void)snprintf(text, CONFIG_CALENDAR_MAX, "%c%c%c *-*-* %02u:%02u:00",
                       toupper(days[schedule->day][0]), days[schedule->day][1],
                       days[schedule->day][2], hour, minute);
        return text;
    case CONFIG_SCHEDULE_MONTHLY:
        break;
    }
    (void)snprintf(text, CONFIG_CALENDAR_MAX, "*-*-%02u %02u:%02u:00", schedule->day, hour, minute);
    return text;
}
