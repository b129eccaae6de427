#include "cli/up_view.h"

#include "base/mem.h"
#include "cli/services.h"
#include "sys/clock.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define DRAW_US (100 * 1000ULL)
#define REFRESH_US (1000 * 1000ULL)
#define TEXT_MAX (1 * MIB)
#define LINE_MAX_BYTES (2 * KIB)

/* ---- in place ---- */

static unsigned
count_lines(const struct buf *text)
{
    unsigned lines = 0;
    for (size_t i = 0; i < text->len; i++)
        lines += text->data[i] == '\n';
    return lines;
}

/* Over what was there before; Ctrl-C has put a "^C" behind it. */
static void
erase(const struct up_view *v, struct buf *text)
{
    if (v->lines)
        buf_printf(text, "\r\033[%uA\033[J", v->lines);
}

static void
print_table(const struct up_view *v, struct buf *text)
{
    _cleanup_table_ struct table table;
    table_init(&table, service_columns, SERVICE_COLUMNS);
    for (size_t i = 0; i < direct_count(v->direct); i++) {
        const struct service_seen seen = {.status = *direct_status(v->direct, i)};
        struct service_look look;
        cli_look_from_afar(&seen, &look);
        cli_add_service(&table, &look, clock_wall_us());
    }
    table_print(&table, &v->cli->look, text);
    if (v->footer)
        table_print_line(v->footer, &v->cli->look, text);
}

/* above: what goes before it; NULL: nothing. */
static void
draw(struct up_view *v, const char *above)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX), table = BUF_INIT(TEXT_MAX);
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        v->cli->look.width = size.ws_col;
    print_table(v, &table);
    erase(v, &text);
    if (above)
        buf_add_str(&text, above);
    buf_add(&text, table.data, table.len);
    relay_text(&v->out, text.data, text.len);
    v->lines = count_lines(&table);
}

/* A frame that nobody has seen yet need not be followed by another. */
static void
on_draw(struct loop_timer *timer)
{
    struct up_view *v = container_of(timer, struct up_view, draw);
    if (!relay_is_behind(&v->out))
        draw(v, NULL);
}

static void
on_refresh(struct loop_timer *timer)
{
    struct up_view *v = container_of(timer, struct up_view, refresh);
    if (!relay_is_behind(&v->out))
        draw(v, NULL);
}

/* What does not fit on the screen cannot be drawn over. */
static bool
fits(size_t services)
{
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row == 0 ||
           services + 3 < size.ws_row;
}

/* ---- in lines ---- */

static void
print_change(struct up_view *v, const struct service_status *status)
{
    _cleanup_buf_ struct buf line = BUF_INIT(LINE_MAX_BYTES);
    char text[LINE_MAX_BYTES + 32];
    size_t i = 0;
    time_t now = (time_t)(clock_wall_us() / 1000000);
    struct tm tm;
    while (direct_status(v->direct, i) != status)
        i++;
    cli_service_line(status, &line);
    if (strcmp(v->said[i].data, line.data) == 0)
        return;
    buf_clear(&v->said[i]);
    buf_add(&v->said[i], line.data, line.len);
    size_t len = strftime(text, 32, "%Y-%m-%d %H:%M:%S ", localtime_r(&now, &tm));
    memcpy(text + len, line.data, line.len);
    relay_line(&v->out, text, len + line.len);
}

/* ---- both ---- */

void
up_view_changed(struct up_view *v, const struct service_status *status)
{
    if (!v->in_place)
        print_change(v, status);
    else if (!loop_timer_is_set(&v->draw))
        loop_timer_start(v->loop, &v->draw, DRAW_US, 0);
}

void
up_view_say(struct up_view *v, const char *text)
{
    if (v->in_place)
        draw(v, text);
    else
        relay_text(&v->out, text, strlen(text));
}

void
up_view_open(struct up_view *v, struct cli *cli, struct loop *loop)
{
    const char *term = getenv("TERM");
    *v = (struct up_view){.cli = cli, .loop = loop};
    v->draw.expired = on_draw;
    v->refresh.expired = on_refresh;
    v->in_place =
        isatty(STDOUT_FILENO) && isatty(STDERR_FILENO) && term && *term && !text_eq(term, "dumb");
    relay_init(&v->out, loop, STDOUT_FILENO);
}

static void
forget(struct up_view *v)
{
    for (size_t i = 0; i < v->said_count; i++)
        buf_finish(&v->said[i]);
    free(v->said);
    v->said = NULL;
    v->said_count = 0;
}

/* What has been said of them may be said once more. */
void
up_view_renew(struct up_view *v)
{
    forget(v);
    v->said_count = direct_count(v->direct);
    v->said = mem_alloc(MAX(v->said_count, 1u) * sizeof(*v->said));
    for (size_t i = 0; i < v->said_count; i++)
        buf_init(&v->said[i], LINE_MAX_BYTES);
    v->in_place = v->in_place && fits(v->said_count);
}

void
up_view_show(struct up_view *v, const struct direct *direct)
{
    v->direct = direct;
    up_view_renew(v);
    if (v->in_place)
        loop_timer_start(v->loop, &v->refresh, REFRESH_US, REFRESH_US);
}

void
up_view_close(struct up_view *v)
{
    loop_timer_stop(&v->draw);
    loop_timer_stop(&v->refresh);
    if (v->direct && v->in_place)
        draw(v, NULL);
    relay_finish(&v->out);
    forget(v);
}
