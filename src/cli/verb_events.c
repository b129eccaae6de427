#include "base/quantity.h"
#include "cli/load_config.h"
#include "lifecycle/history.h"
#include "sys/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

const struct verb_help verb_events_help = {
    .text =
        "Shows what has happened, oldest first: services that became ready or failed, and what "
        "the monitor has done about them, and why. With NAME, of that service alone. The history "
        "is kept for monitor.events_keep.\n\n"
        "With --follow it goes on with what happens, until Ctrl-C; with --json too, an object a "
        "line.",
    .examples =
        VERB_EXAMPLES({"citadel events", "the last hundred"},
                      {"citadel events phi3 --since 2h", "of one model, of two hours"},
                      {"citadel events -f --json | jq .event", "as they come, for a program"}),
};

#define LINES_MAX 10000
#define LINE_MAX_BYTES (16 * KIB)

struct showing {
    struct cli *cli;
    const char *name; /* NULL: of all */
    uint64_t since_us;
    uint64_t lines;
    struct history_reader reader;
};

static bool
is_meant(const struct showing *s, const struct event *event)
{
    return event->at_us >= s->since_us && (!s->name || text_eq(s->name, event->service));
}

static const enum tone tones[] = {
    [EVENT_INFO] = TONE_PLAIN, [EVENT_WARNING] = TONE_WARN, [EVENT_ERROR] = TONE_BAD};

static void
show_line(struct showing *s, const struct event *event)
{
    const struct event_row *row = event_row(event->kind);
    const struct table_look *look = &s->cli->look;
    char time[40] = "";
    time_t at = (time_t)(event->at_us / 1000000);
    struct tm tm;
    if (localtime_r(&at, &tm))
        (void)strftime(time, sizeof(time), "%F %T", &tm);
    cli_print(s->cli, "%s  %s%-20s%s  %s%s%s%s%s%s\n", time, tone_start(tones[row->level], look),
              row->id, tone_end(tones[row->level], look), event->service,
              event->service[0] ? ": " : "", event->text, event->by[0] ? " (" : "", event->by,
              event->by[0] ? ")" : "");
}

static void
show(struct showing *s, const struct event *event, bool within_list)
{
    _cleanup_buf_ struct buf line = BUF_INIT(LINE_MAX_BYTES);
    if (!s->cli->json) {
        show_line(s, event);
        return;
    }
    if (!within_list) {
        event_print(event, &line);
        cli_print_bytes(s->cli, line.data, line.len);
        return;
    }
    json_open_map(s->cli->json, NULL);
    event_print_members(event, s->cli->json);
    json_close_map(s->cli->json);
}

/* The last `lines` of those that are meant, in a ring. */
static int
show_last(struct showing *s, bool as_list)
{
    _cleanup_free_ struct event *ring = mem_alloc(MAX(s->lines, 1) * sizeof(*ring));
    struct event event;
    uint64_t count = 0;
    int r;
    while ((r = history_next(&s->reader, &event, &s->cli->err)) > 0)
        if (is_meant(s, &event) && s->lines)
            ring[count++ % s->lines] = event;
    if (as_list)
        json_open_list(s->cli->json, NULL);
    for (uint64_t i = count > s->lines ? count - s->lines : 0; i < count; i++)
        show(s, &ring[i % s->lines], as_list);
    if (as_list)
        json_close_list(s->cli->json);
    if (s->reader.lost)
        cli_note(s->cli, "%llu lines of the history are no events; they are passed over",
                 (unsigned long long)s->reader.lost);
    if (r == 0 && count == 0 && !as_list && !cli_flag(s->cli, "follow"))
        cli_note(s->cli, "nothing%s%s is told%s", s->name ? " of " : "", s->name ? s->name : "",
                 s->since_us ? " in that time" : " so far; the monitor writes the history");
    return r;
}

/* Until nobody reads us. The directory tells when something was written or renamed in it. */
static int
follow(struct showing *s, const char *dir)
{
    char news[4 * KIB] __attribute__((aligned(8)));
    struct event event;
    _cleanup_close_ int fd = inotify_init1(IN_CLOEXEC);
    int r = 0;
    if (fd < 0 || inotify_add_watch(fd, dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0) {
        r = err_set_errno(&s->cli->err, errno, "cannot watch '%s'", dir);
        err_fix(&s->cli->err, "citadel up, or systemctl start citadel-monitor: it makes it");
        return r;
    }
    while (r >= 0 && cli_flush(s->cli) == 0) {
        r = history_next(&s->reader, &event, &s->cli->err);
        if (r > 0 && is_meant(s, &event))
            show(s, &event, false);
        else if (r == 0 && read(fd, news, sizeof(news)) < 0 && errno != EINTR)
            return err_set_errno(&s->cli->err, errno, "watching '%s'", dir);
    }
    if (r >= 0)
        s->cli->err.id = ERR_NONE; /* nobody reads it: the frame knows */
    return MIN(r, EXIT_CODE_OK);
}

static int
read_options(struct cli *cli, struct showing *s)
{
    const char *lines = cli_option(cli, "lines");
    uint64_t since = cli_duration_us(cli, "since", 0), now = clock_wall_us();
    int r = 0;
    s->lines = cli_option(cli, "since") ? LINES_MAX : 100;
    if (lines)
        r = quantity_parse_u64(lines, &s->lines, &cli->err);
    if (r == 0 && s->lines > LINES_MAX)
        r = err_set(&cli->err, ERR_USAGE, "--lines: %s is more than %d", lines, LINES_MAX);
    if (since)
        s->since_us = now - MIN(since, now);
    return r;
}

int
verb_events(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    struct showing s = {.cli = cli, .name = cli->args_count ? cli->args[0] : NULL};
    bool goes_on = cli_flag(cli, "follow");
    int r = read_options(cli, &s);
    if (r == 0)
        r = cli_load_config(cli, &config);
    if (r == 0)
        r = history_reader_open(&s.reader, config->paths.state, &cli->err);
    if (r == 0)
        r = show_last(&s, cli->json && !goes_on);
    if (r == 0 && goes_on) {
        _cleanup_free_ char *dir = mem_printf("%s/monitor", config->paths.state);
        r = follow(&s, dir);
    }
    if (s.reader.path)
        history_reader_close(&s.reader);
    return r;
}
