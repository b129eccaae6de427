/* What the program says: results on stdout, messages and errors on stderr. */

#include "cli/frame.h"

#include "base/text.h"
#include "config/problems.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define OUT_FLUSH_BYTES (64 * KIB)

/* A terminal that another program has made non-blocking. */
static void
wait_for_room(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    (void)poll(&poll_fd, 1, -1);
}

static int
write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EAGAIN)
            wait_for_room(fd);
        else if (n < 0 && errno != EINTR)
            return -errno;
        if (n < 0)
            continue;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

int
cli_flush(struct cli *cli)
{
    struct cli_frame *frame = cli->frame;
    if (!frame->write_error && buf_error(&frame->out) < 0)
        frame->write_error = ENOBUFS;
    if (!frame->write_error)
        frame->write_error = -write_all(STDOUT_FILENO, frame->out.data, frame->out.len);
    buf_clear(&frame->out);
    if (frame->write_error == 0)
        return 0;
    (void)err_set(&cli->err, ERR_OUTPUT, "the results could not be written: %s",
                  strerror(frame->write_error));
    return -frame->write_error;
}

static void
flush_some(struct cli *cli)
{
    /* A failure is remembered, and told when the verb has ended. */
    if (cli->frame->out.len >= OUT_FLUSH_BYTES && cli_flush(cli) < 0)
        cli->err.id = ERR_NONE;
}

void
cli_print(struct cli *cli, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    buf_vprintf(&cli->frame->out, fmt, args);
    va_end(args);
    flush_some(cli);
}

void
cli_print_bytes(struct cli *cli, const char *bytes, size_t len)
{
    buf_add(&cli->frame->out, bytes, len);
    flush_some(cli);
}

void
cli_table(struct cli *cli, const struct table *table)
{
    table_print(table, &cli->look, &cli->frame->out);
    flush_some(cli);
}

void
cli_note(struct cli *cli, const char *fmt, ...)
{
    _cleanup_buf_ struct buf line = BUF_INIT(64 * KIB);
    va_list args;
    if (cli->quiet || cli->frame->json)
        return;
    va_start(args, fmt);
    buf_vprintf(&line, fmt, args);
    va_end(args);
    text_disarm(line.data);
    buf_truncate(&line, strlen(line.data));
    buf_add_char(&line, '\n');
    /* A message that cannot be written has nobody to be told to. */
    (void)write_all(STDERR_FILENO, line.data, line.len);
}

void
cli_complain(struct cli *cli, const char *lines)
{
    if (!cli->frame->json)
        (void)write_all(STDERR_FILENO, lines, strlen(lines));
}

static void
add_error_json(struct buf *out, const struct err *err, int exit_code,
               const struct config_problems *problems)
{
    struct json_writer w;
    json_init(&w, out, false);
    json_open_map(&w, NULL);
    json_str(&w, "id", err_row(err->id)->name);
    json_str(&w, "message", err->what);
    json_str(&w, "fix", err->fix[0] ? err->fix : NULL);
    json_i64(&w, "exit", exit_code);
    if (problems && err->id == ERR_CONFIG_INVALID)
        config_problems_json(problems, &w, "problems");
    json_close_map(&w);
    buf_add_char(out, '\n');
}

void
cli_error(struct cli *cli, const struct err *err)
{
    cli_error_as(cli, err, err_exit(err));
}

void
cli_error_as(struct cli *cli, const struct err *err, int exit_code)
{
    _cleanup_buf_ struct buf said = BUF_INIT(1 * MIB);
    const struct table_look *look = &cli->frame->err_look;
    if (cli->frame->json) {
        add_error_json(&said, err, exit_code, cli->frame->problems);
    } else {
        buf_printf(&said, "%scitadel:%s %s\n", tone_start(TONE_BAD, look), tone_end(TONE_BAD, look),
                   err->what);
        if (err->fix[0])
            buf_printf(&said, "  try: %s\n", err->fix);
    }
    (void)write_all(STDERR_FILENO, said.data, said.len);
}

void
cli_print_csv(struct cli *cli, const char *word)
{
    bool is_plain = !strpbrk(word, "\",\r\n");
    cli_print(cli, "%s", is_plain ? "" : "\"");
    for (; *word; word++)
        cli_print(cli, *word == '"' ? "\"\"" : "%c", *word);
    cli_print(cli, "%s", is_plain ? "" : "\"");
}
