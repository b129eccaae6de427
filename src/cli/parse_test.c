#include "base/text.h"
#include "cli/frame.h"

#include "tap.h"

#include <stdio.h>

/* A house of its own, so that the tests stay when the verbs change. */

static const struct verb_option no_options[] = {{0}};
static const struct verb_option run_options[] = {
    {"output", 'o', ARG_FILE, "FILE", "where to"}, {"for", 0, ARG_DURATION, "TIME", "how long"},
    {"mode", 'm', ARG_ENUM, "fast|slow", "how"},   {"force", 'f', ARG_NONE, NULL, "ask nothing"},
    {"insist", 0, ARG_SAME, NULL, "the same"},     {0},
};
static const struct verb_option common[] = {
    {"root", 'r', ARG_DIR, "DIR", "below"},
    {"json", 0, ARG_NONE, NULL, "as JSON"},
    {"help", 'h', ARG_NONE, NULL, "tell"},
    {0},
};
static const struct verb verbs[] = {
    {.words = "run", .arguments = "MODEL...", .min = 1, .max = VERB_MANY, .options = run_options},
    {.words = "show", .arguments = "", .options = no_options},
    {.words = "show all", .arguments = "", .options = no_options},
    {.words = "store check", .arguments = "[FILE]", .max = 1, .options = no_options},
    {.words = "shell",
     .arguments = "bash|zsh",
     .kind = ARG_ENUM,
     .min = 1,
     .max = 1,
     .options = no_options},
    {0},
};

static char program[] = "citadel";

static int
parse(struct cli *cli, char *line)
{
    char *argv[32] = {program};
    int argc = 1;
    for (char *word; (word = strsep(&line, " ")); argc++)
        argv[argc] = word;
    return cli_parse(cli, verbs, common, argc, argv);
}

/* What the parser made of a line: the verb, its arguments, its options. */
static void
tell(const struct cli *cli, struct buf *out)
{
    const struct cli_frame *frame = cli->frame;
    buf_add_str(out, cli->verb ? cli->verb->words : "-");
    for (size_t i = 0; i < cli->args_count; i++)
        buf_printf(out, " (%s)", cli->args[i]);
    for (size_t i = 0; i < frame->given_count; i++)
        buf_printf(out, " %s=%s", frame->given[i].option->name,
                   frame->given[i].value ? frame->given[i].value : "");
}

TEST(lines_are_read)
{
    static const struct {
        const char *line, *want;
    } rows[] = {
        {"show", "show"},
        {"show all", "show all"},
        {"--json show", "show json="},
        {"show --json all", "show all json="},
        {"show all --json --json", "show all json="},
        {"store check", "store check"},
        {"store check f", "store check (f)"},
        {"store --root=/x check -- -f", "store check (-f) root=/x"},
        {"store check -", "store check (-)"},
        {"run a b", "run (a) (b)"},
        {"run a -o f b", "run (a) (b) output=f"},
        {"run -o f --mode slow a", "run (a) output=f mode=slow"},
        {"run a --output=--x", "run (a) output=--x"},
        {"run a --output=x=y", "run (a) output=x=y"},
        {"run a --for 1h30m", "run (a) for=1h30m"},
        {"run -- show", "run (show)"},
        {"run show --force -f", "run (show) force="},
        {"run a --insist --force", "run (a) force="},
        {"run a -r /x -r /x", "run (a) root=/x"},
        {"shell zsh", "shell (zsh)"},
        {"--help", "- help="},
        {"store -h", "- help="},
        {"run --help", "run help="},
        {"shell --help", "shell help="},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_(cli_finish) struct cli cli;
        _cleanup_buf_ struct buf told = BUF_INIT(4096);
        struct cli_frame frame;
        char line[256];
        (void)snprintf(line, sizeof(line), "%s", rows[i].line);
        cli_init(&cli, &frame);
        tap_note("%s", rows[i].line);
        CHECK_EQ(parse(&cli, line), 0);
        CHECK_STR(cli.err.what, "");
        tell(&cli, &told);
        CHECK_STR(told.data, rows[i].want);
    }
}

TEST(wrong_lines_are_refused)
{
    static const struct {
        const char *line;
        enum err_id id;
        const char *what, *fix;
    } rows[] = {
        {"rnu", ERR_NO_VERB, "there is no verb 'rnu'", "citadel run"},
        {"ru", ERR_NO_VERB, "there is no verb 'ru'", "citadel run"},
        {"xylophone", ERR_NO_VERB, "there is no verb 'xylophone'", "citadel help"},
        {"check", ERR_NO_VERB, "there is no verb 'check'", "citadel store check"},
        {"store", ERR_USAGE, "'store' needs one more word: check", "citadel help store"},
        {"store chek", ERR_NO_VERB, "'store' has no verb 'chek'", "citadel store check"},
        {"store --root x y", ERR_NO_VERB, "'store' has no verb 'y'", "citadel help store"},
        {"show al", ERR_NO_VERB, "'show' has no verb 'al'", "citadel show all"},
        {"show all x", ERR_USAGE, "'show all' takes no arguments, but 'x' was given",
         "citadel help show all"},
        {"show all x=y", ERR_USAGE, "'show all' takes no arguments, but 'x' was given",
         "citadel help show all"},
        {"show x=y", ERR_NO_VERB, "'show' has no verb 'x'", "citadel help show"},
        {"x=y", ERR_NO_VERB, "there is no verb 'x'", "citadel help"},
        {"show -- all", ERR_USAGE, "'show' takes no arguments, but 'all' was given",
         "citadel help show"},
        {"store check a b", ERR_USAGE, "'store check' takes only [FILE], but 'b' was given too",
         "citadel help store check"},
        {"run", ERR_USAGE, "'run' needs MODEL...", "citadel help run"},
        {"run --insist=x", ERR_USAGE, "'--force' takes no value, and was given one", ""},
        {"shell bsh", ERR_USAGE, "'shell' does not know 'bsh', but: bash, zsh",
         "citadel shell bash"},
        {"run a --outptu x", ERR_NO_OPTION, "'run' has no option '--outptu'", "--output"},
        {"run a --out x", ERR_NO_OPTION, "'run' has no option '--out'", "citadel help run"},
        {"run a --outptu=x", ERR_NO_OPTION, "'run' has no option '--outptu'", "--output"},
        {"run a -x", ERR_NO_OPTION, "'run' has no option '-x'", "citadel help run"},
        {"run a -fo x", ERR_NO_OPTION, "'run' has no option '-fo'", "--for"},
        {"run a --", ERR_NONE, "", ""},
        {"run a --o", ERR_NO_OPTION, "'run' has no option '--o'", "citadel help run"},
        {"run a -output x", ERR_NO_OPTION, "'run' has no option '-output'", "--output"},
        {"--force run a", ERR_NO_OPTION, "there is no option '--force' for every verb",
         "citadel help"},
        {"run a -o", ERR_USAGE, "'--output' needs a value: FILE", ""},
        {"run a --output=", ERR_USAGE, "'--output' needs a value: FILE", ""},
        {"run a -o --json", ERR_USAGE, "'--output' needs a value: FILE",
         "--output=--json, if that is the value"},
        {"run a --force=yes", ERR_USAGE, "'--force' takes no value, and was given one", ""},
        {"run a -o x -o y", ERR_USAGE, "'--output' is given twice: 'x' and 'y'", ""},
        {"run a -m fats", ERR_USAGE, "'--mode' does not know 'fats', but: fast, slow",
         "--mode fast"},
        {"run a -m quick", ERR_USAGE, "'--mode' does not know 'quick', but: fast, slow", ""},
        {"run --for never a", ERR_VALUE, NULL, NULL},
        {"", ERR_NO_VERB, "there is no verb ''", "citadel help"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_(cli_finish) struct cli cli;
        struct cli_frame frame;
        char line[256];
        (void)snprintf(line, sizeof(line), "%s", rows[i].line);
        cli_init(&cli, &frame);
        tap_note("%s", rows[i].line);
        int r = parse(&cli, line);
        CHECK_EQ(r < 0, rows[i].id != ERR_NONE);
        CHECK_EQ(cli.err.id, rows[i].id);
        if (!rows[i].what)
            continue;
        CHECK_STR(cli.err.what, rows[i].what);
        CHECK_STR(cli.err.fix, rows[i].fix);
    }
}

TEST(options_are_read_by_name)
{
    _cleanup_(cli_finish) struct cli cli;
    struct cli_frame frame;
    char line[] = "run a --for 90s -f";
    cli_init(&cli, &frame);
    REQUIRE(parse(&cli, line) == 0);
    CHECK(cli_flag(&cli, "force"));
    CHECK(!cli_option(&cli, "output"));
    CHECK_EQ(cli_duration_us(&cli, "for", 1), 90000000);
    CHECK_STR(cli.args[0], "a");
    CHECK(!cli.args[1]);
}

/* Any words at all are read or refused, without harm. */
TEST(many_words_are_read_or_refused)
{
    static char pieces[][16] = {"run", "show",  "all",   "--",    "-o",  "--output=x",
                                "-",   "store", "check", "--for", "1h",  "--json",
                                "-h",  "",      "--=",   "shell", "zsh", "=x"};
    uint64_t dice = 1;
    for (size_t round = 0; round < 20000; round++) {
        _cleanup_(cli_finish) struct cli cli;
        struct cli_frame frame;
        char *argv[10] = {program};
        int argc = 1;
        for (; argc < 9; argc++) {
            dice = dice * UINT64_C(6364136223846793005) + 1;
            size_t pick = (dice >> 33) % (ARRAY_SIZE(pieces) + 4);
            if (pick >= ARRAY_SIZE(pieces))
                break;
            argv[argc] = pieces[pick];
        }
        cli_init(&cli, &frame);
        int r = cli_parse(&cli, verbs, common, argc, argv);
        CHECK((r < 0) == (cli.err.id != ERR_NONE));
        CHECK(r < 0 || cli.verb || cli_given(&cli, "help", NULL));
        CHECK(r < 0 || !cli.verb || cli.args_count <= cli.verb->max);
    }
}
