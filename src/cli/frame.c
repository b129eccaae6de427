#include "cli/frame.h"

#include "base/quantity.h"
#include "base/text.h"
#include "sys/log.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define OUT_CEILING_BYTES (64 * MIB)
#define OUT_FLUSH_BYTES (64 * KIB)

/* --- what was given --------------------------------------------------------------------------- */

bool
cli_given(const struct cli *cli, const char *name, const char **ret_value)
{
    const struct cli_frame *frame = cli->frame;
    for (size_t i = 0; i < frame->given_count; i++) {
        if (!text_eq(frame->given[i].option->name, name))
            continue;
        if (ret_value)
            *ret_value = frame->given[i].value;
        return true;
    }
    return false;
}

static const struct verb_option *
own_option(const struct cli *cli, const char *name)
{
    const struct verb_option *o = cli->verb->options;
    while (o->name && !text_eq(o->name, name))
        o++;
    assert(o->name);
    return o;
}

bool
cli_flag(const struct cli *cli, const char *name)
{
    assert(own_option(cli, name)->kind == ARG_NONE);
    return cli_given(cli, name, NULL);
}

const char *
cli_option(const struct cli *cli, const char *name)
{
    const char *value = NULL;
    assert(own_option(cli, name)->kind != ARG_NONE);
    (void)cli_given(cli, name, &value);
    return value;
}

uint64_t
cli_duration_us(const struct cli *cli, const char *name, uint64_t otherwise_us)
{
    const char *value = cli_option(cli, name);
    uint64_t us = otherwise_us;
    if (value) {
        int r = quantity_parse_us(value, &us, NULL);
        assert(r == 0); /* the parser has read it */
    }
    return us;
}

/* --- output ----------------------------------------------------------------------------------- */

static int
write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
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
    if (cli->quiet)
        return;
    va_start(args, fmt);
    buf_vprintf(&line, fmt, args);
    va_end(args);
    buf_add_char(&line, '\n');
    /* A message that cannot be written has nobody to be told to. */
    (void)write_all(STDERR_FILENO, line.data, line.len);
}

void
cli_complain(struct cli *cli, const char *lines)
{
    /* Programs are told by the result, or by the error that follows. */
    if (!cli->frame->json)
        (void)write_all(STDERR_FILENO, lines, strlen(lines));
}

static void
add_error_json(struct buf *out, const struct err *err)
{
    struct json_writer w;
    json_init(&w, out, false);
    json_open_map(&w, NULL);
    json_str(&w, "id", err_row(err->id)->name);
    json_str(&w, "message", err->what);
    json_str(&w, "fix", err->fix[0] ? err->fix : NULL);
    json_u64(&w, "exit", err_exit(err));
    json_close_map(&w);
    buf_add_char(out, '\n');
}

void
cli_error(struct cli *cli, const struct err *err)
{
    _cleanup_buf_ struct buf said = BUF_INIT(64 * KIB);
    const struct table_look *look = &cli->frame->err_look;
    if (cli->frame->json) {
        add_error_json(&said, err);
    } else {
        buf_printf(&said, "%scitadel:%s %s\n", tone_start(TONE_BAD, look), tone_end(TONE_BAD, look),
                   err->what);
        if (err->fix[0])
            buf_printf(&said, "  try: %s\n", err->fix);
    }
    (void)write_all(STDERR_FILENO, said.data, said.len);
}

/* --- the frame -------------------------------------------------------------------------------- */

static bool
is_set(const char *variable)
{
    const char *value = getenv(variable);
    return value && value[0];
}

/* The locale's character set, by the variables that choose it. */
static bool
is_utf8(void)
{
    static const char *const variables[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
        const char *value = getenv(variables[i]);
        if (value && *value)
            return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

static unsigned
terminal_width(int fd)
{
    struct winsize size = {0};
    uint64_t columns;
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    if (is_set("COLUMNS") && quantity_parse_u64(getenv("COLUMNS"), &columns, NULL) == 0)
        return (unsigned)MIN(columns, (uint64_t)1000);
    return 80;
}

static struct table_look
look_of(int fd, bool no_color)
{
    struct table_look look = {.utf8 = is_utf8()};
    if (!isatty(fd))
        return look;
    look.width = terminal_width(fd);
    look.color =
        !no_color && !is_set("NO_COLOR") && is_set("TERM") && !text_eq(getenv("TERM"), "dumb");
    return look;
}

/* What must be known before the command line is read, so that an error in it is told as wanted. */
static bool
has_word(char *const argv[], const char *word)
{
    for (; *argv && !text_eq(*argv, "--"); argv++)
        if (text_eq(*argv, word))
            return true;
    return false;
}

void
cli_init(struct cli *cli, struct cli_frame *frame)
{
    *frame = (struct cli_frame){.out = BUF_INIT(OUT_CEILING_BYTES)};
    *cli = (struct cli){.frame = frame, .root = ""};
    json_init(&frame->writer, &frame->out, true);
}

void
cli_finish(struct cli *cli)
{
    buf_finish(&cli->frame->out);
    free(cli->frame->args);
}

static void
take_common(struct cli *cli)
{
    (void)cli_given(cli, "config", &cli->config_file);
    (void)cli_given(cli, "root", &cli->root);
    if (cli_given(cli, "log-level", &cli->log_level)) {
        enum log_level level = LOG_LEVEL_INFO;
        bool known = log_level_parse(cli->log_level, &level);
        assert(known); /* the parser has checked it */
        log_set_level(level);
    }
    cli->quiet = cli_given(cli, "quiet", NULL);
    if (cli_given(cli, "json", NULL))
        cli->json = &cli->frame->writer;
}

static int
run(struct cli *cli, int argc, char *argv[])
{
    int r = cli_parse(cli, verb_rows, verb_common, argc, argv);
    if (r < 0)
        return r;
    take_common(cli);
    if (cli_given(cli, "help", NULL)) {
        (void)cli_help(cli, cli->frame->words);
        return EXIT_CODE_OK;
    }
    if (cli_given(cli, "version", NULL))
        cli->verb = verb_find(verb_rows, "version");
    r = root_set(cli->root, &cli->err);
    return r < 0 ? r : cli->verb->run(cli);
}

static int
end_output(struct cli *cli)
{
    struct cli_frame *frame = cli->frame;
    if (frame->writer.depth > 0)
        buf_clear(&frame->out); /* half a document, of a verb that failed */
    else if (cli->json && frame->out.len > 0)
        buf_add_char(&frame->out, '\n');
    return cli_flush(cli);
}

/* A descriptor of 0 to 2 that is closed would be given to the next file that is opened. What takes
 * its place here fails as the closed one would have. */
static void
hold_standard_descriptors(void)
{
    static const int flags[] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", flags[fd]) < 0)
            abort();
}

int
cli_main(int argc, char *argv[])
{
    struct cli cli;
    struct cli_frame frame;
    hold_standard_descriptors();
    (void)sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    cli_init(&cli, &frame);
    frame.json = has_word(argv, "--json");
    frame.err_look = look_of(STDERR_FILENO, has_word(argv, "--no-color"));
    cli.look = look_of(STDOUT_FILENO, has_word(argv, "--no-color"));

    int r = run(&cli, argc, argv);
    if (r < 0 && cli.err.id == ERR_NONE)
        (void)err_set_errno(&cli.err, -r, "'%s' failed", frame.words);
    const struct err failed = cli.err;
    int w = end_output(&cli);
    if (w < 0 && w != -EPIPE)
        cli_error(&cli, &cli.err);
    if (r < 0) {
        cli_error(&cli, &failed);
        r = err_exit(&failed);
    }
    cli_finish(&cli);
    return r == EXIT_CODE_OK && w < 0 ? EXIT_CODE_FAILED : r;
}
