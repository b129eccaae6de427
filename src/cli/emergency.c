#include "cli/emergency.h"

#include <time.h>

void
cli_emergency_line(const struct run_marker *marker, struct buf *out)
{
    char text[40] = "";
    time_t at = (time_t)(marker->at_us / 1000000);
    struct tm tm;
    if (marker->at_us && localtime_r(&at, &tm))
        (void)strftime(text, sizeof(text), "since %F %T", &tm);
    buf_add_str(out, text);
    if (marker->by[0])
        buf_printf(out, "%sby %s", out->len ? ", " : "", marker->by);
    if (marker->why[0])
        buf_printf(out, "%s%s", out->len ? ": " : "", marker->why);
}

void
cli_emergency_json(const struct run_marker *marker, struct json_writer *w, const char *name)
{
    if (!marker->set) {
        json_null(w, name);
        return;
    }
    json_open_map(w, name);
    json_u64(w, "since_us", marker->at_us);
    json_str(w, "by", marker->by[0] ? marker->by : NULL);
    json_str(w, "why", marker->why[0] ? marker->why : NULL);
    json_close_map(w);
}
