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
        "the monitor has done about them, and why; who has deployed what, and how it ended. With "
        "NAME, of that service alone. What the monitor writes is kept for monitor.events_keep.\n\n"
        "With --follow it goes on with what happens, until Ctrl-C; with --json too, an object a "
        "line.",
    .examples =
        VERB_EXAMPLES({"citadel events", "the last hundred"},
                      {"citadel events phi3 --since 2h", "of one model, of two hours"},
                      {"citadel events -f --json | jq .event", "as they come, for a program"}),
};

#define LINES_MAX 10000
#define LINE_MAX_BYTES (16 * KIB)

/* One of the histories, and the event of it that is not shown yet. */
struct source {
    struct history_reader reader;
    struct event event;
    bool has_event;
};

#define SOURCES 2

struct showing {
    struct cli *cli;
    const char *name; /* NULL: of all */
    uint64_t since_us;
    uint64_t lines;
    struct source sources[SOURCES]; /* by enum history_of */
};

/* The oldest that is left of all. 0: there is none. */
static int
next(struct showing *s, struct event *ret_event)
{
    struct source *oldest = NULL;
    for (size_t i = 0; i < SOURCES; i++) {
        struct source *source = &s->sources[i];
        int r = source->has_event ? 1 : history_next(&source->reader, &source->event, &s->cli->err);
        if (r < 0)
            return r;
        source->has_event = r > 0;
        if (r > 0 && (!oldest || source->event.at_us < oldest->event.at_us))
            oldest = source;
    }
    if (!oldest)
        return 0;
    oldest->has_event = false;
    *ret_event = oldest->event;
    return 1;
}

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
    size_t room = MAX(s->lines, 1);
    _cleanup_free_ struct event *ring = mem_alloc(room * sizeof(*ring));
    struct event event;
    uint64_t count = 0;
    int r;
    while ((r = next(s, &event)) > 0)
        if (is_meant(s, &event) && s->lines)
            ring[count++ % room] = event;
    if (as_list)
        json_open_list(s->cli->json, NULL);
    for (uint64_t i = count > s->lines ? count - s->lines : 0; i < count; i++)
        show(s, &ring[i % room], as_list);
    if (as_list)
        json_close_list(s->cli->json);
    uint64_t lost = 0;
    for (size_t i = 0; i < SOURCES; i++)
        lost += s->sources[i].reader.lost;
    if (lost)
        cli_note(s->cli, "%llu lines of the history are no events; they are passed over",
                 (unsigned long long)lost);
    if (r == 0 && count == 0 && !as_list && !cli_flag(s->cli, "follow"))
        cli_note(s->cli, "nothing%s%s is told%s", s->name ? " of " : "", s->name ? s->name : "",
                 s->since_us ? " in that time" : " so far; the monitor writes the history");
    return r;
}

/* The directories tell when something was written or renamed in them; where nothing was ever deployed
 * there is but one. */
static int
watch(struct showing *s, const char *state_dir)
{
    _cleanup_free_ char *services = mem_printf("%s/monitor", state_dir);
    _cleanup_free_ char *deployments = mem_printf("%s/deploy", state_dir);
    const uint32_t news = IN_MODIFY | IN_CREATE | IN_MOVED_TO;
    int fd = inotify_init1(IN_CLOEXEC);
    bool there = fd >= 0 && inotify_add_watch(fd, deployments, news) >= 0;
    if (fd >= 0 && (inotify_add_watch(fd, services, news) >= 0 || (there && errno == ENOENT)))
        return fd;
    int r = err_set_errno(&s->cli->err, errno, "cannot watch '%s'", services);
    err_fix(&s->cli->err, "citadel up, or systemctl start citadel-monitor: it makes it");
    cleanup_close(&fd);
    return r;
}

/* Until nobody reads us. */
static int
follow(struct showing *s, const char *state_dir)
{
    char news[4 * KIB] __attribute__((aligned(8)));
    struct event event;
    _cleanup_close_ int fd = watch(s, state_dir);
    int r = MIN(fd, 0);
    while (r >= 0 && cli_flush(s->cli) == 0) {
        r = next(s, &event);
        if (r > 0 && is_meant(s, &event))
            show(s, &event, false);
        else if (r == 0 && read(fd, news, sizeof(news)) < 0 && errno != EINTR)
            return err_set_errno(&s->cli->err, errno, "watching '%s'", state_dir);
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
        r = cli_load_deployed(cli, &config);
    for (enum history_of i = 0; r == 0 && i < SOURCES; i++)
        r = history_reader_open(&s.sources[i].reader, config->paths.state, i, &cli->err);
    if (r == 0)
        r = show_last(&s, cli->json && !goes_on);
    if (r == 0 && goes_on)
        r = follow(&s, config->paths.state);
    for (size_t i = 0; i < SOURCES; i++)
        if (s.sources[i].reader.path)
            history_reader_close(&s.sources[i].reader);
    return r;
}
