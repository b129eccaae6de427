/* What happens around a verb. Arguments are read, the verb runs, what it printed is written, its
 * error is spoken: each once, here. Results are collected first, so that a verb that fails in the
 * middle of a JSON document leaves none behind, and a full disk or a reader that has gone is seen. */

#include "cli/frame.h"

#include "base/quantity.h"
#include "base/text.h"
#include "config/problems.h"
#include "sys/log.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define OUT_CEILING_BYTES (64 * MIB)

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
    *cli = (struct cli){.frame = frame};
    json_init(&frame->writer, &frame->out, true);
}

void
cli_finish(struct cli *cli)
{
    buf_finish(&cli->frame->out);
    free(cli->frame->args);
    if (cli->frame->problems)
        config_problems_finish(cli->frame->problems);
    free(cli->frame->problems);
}

static int
take_common(struct cli *cli)
{
    const char *root = "";
    (void)cli_given(cli, "config", &cli->config_file);
    (void)cli_given(cli, "root", &root);
    if (cli_given(cli, "log-level", &cli->log_level)) {
        enum log_level level = LOG_LEVEL_INFO;
        bool known = log_level_parse(cli->log_level, &level);
        assert(known); /* the parser has checked it */
        log_insist_level(level);
    }
    cli->quiet = cli_given(cli, "quiet", NULL);
    if (cli_given(cli, "json", NULL))
        cli->json = &cli->frame->writer;
    return root_set(root, &cli->err);
}

static int
run(struct cli *cli, int argc, char *argv[])
{
    int r = cli_parse(cli, verb_rows, verb_common, argc, argv);
    if (r == 0)
        r = take_common(cli);
    if (r < 0)
        return r;
    if (cli_given(cli, "help", NULL)) {
        (void)cli_help(cli, cli->frame->words);
        return EXIT_CODE_OK;
    }
    if (cli_given(cli, "version", NULL))
        cli->verb = verb_find(verb_rows, "version");
    return cli->verb->run(cli);
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
    /* The calls fail, too: EPIPE, EFBIG. */
    (void)sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    (void)sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
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
    } else if (w < 0) {
        r = EXIT_CODE_FAILED; /* whatever the results are, nobody has them */
    }
    cli_finish(&cli);
    return r;
}
