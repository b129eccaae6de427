#include "cli/complete.h"

#include "tap.h"

#include <stdio.h>

static const struct verb_option no_options[] = {{0}};
static const struct verb_option run_options[] = {
    {"output", 'o', ARG_FILE, "FILE", "where to"},
    {"mode", 'm', ARG_ENUM, "fast|slow", "how"},
    {"force", 'f', ARG_NONE, NULL, "ask nothing"},
    {0},
};
static const struct verb_option show_options[] = {
    {"deep", 'd', ARG_NONE, NULL, "all of it"},
    {0},
};
static const struct verb_option common[] = {
    {"root", 'r', ARG_DIR, "DIR", "below"},
    {"json", 0, ARG_NONE, NULL, "as JSON"},
    {0},
};
static const struct verb verbs[] = {
    {.words = "run", .kind = ARG_MODEL, .max = 2, .summary = "R", .options = run_options},
    {.words = "show", .summary = "S", .options = show_options},
    {.words = "show all", .summary = "A", .options = no_options},
    {.words = "store check", .kind = ARG_FILE, .max = 1, .summary = "C", .options = no_options},
    {.words = "store list", .summary = "L", .options = no_options},
    {.words = "shell",
     .arguments = "[bash|zsh]",
     .kind = ARG_ENUM,
     .max = 1,
     .summary = "P",
     .options = no_options},
    {.words = "help", .kind = ARG_VERB, .max = 3, .summary = "H", .options = no_options},
    {0},
};

static void
offer_model(struct complete *c, enum arg_kind kind)
{
    const char *root = complete_value(c, "root");
    CHECK_EQ(kind, ARG_MODEL);
    complete_offer(c, "phi3", root ? root : "MODEL");
    complete_offer(c, "yi34b", root ? root : "MODEL");
}

/* A '/' stands for the end of a line, and of a word. */
TEST(words_are_offered)
{
    static const struct {
        const char *words, *want;
    } rows[] = {
        {"", "run\tR/show\tS/store\tServices/shell\tP/help\tH/"},
        {"st", "store\tServices/"},
        {"x", ""},
        {"store/", "check\tC/list\tL/"},
        {"store/l", "list\tL/"},
        {"store/x/", ""},
        {"show/", "all\tA/"},
        {"show/--", "--deep\tall of it/--root\tbelow/--json\tas JSON/"},
        {"store/check/", ":file/"},
        {"store/check/a/", ""},
        {"run/", "phi3\tMODEL/yi34b\tMODEL/"},
        {"run/y", "yi34b\tMODEL/"},
        {"-r/x/run/y", "yi34b\tx/"},
        {"run/--root=x/y", "yi34b\tx/"},
        {"run/a/b/", ""},
        {"run/-", "--output\twhere to/--mode\thow/--force\task nothing/--root\tbelow/--json\tas "
                  "JSON/"},
        {"run/--f", "--force\task nothing/"},
        {"run/--/--f", ""},
        {"run/--/p", "phi3\tMODEL/"},
        {"run/--force/", "phi3\tMODEL/yi34b\tMODEL/"},
        {"run/--force=/", ""},
        {"run/-o=x/", ""},
        {"run/-o/-x/", ""},
        {"run/a/b/c/--", ""},
        {"show/x/--", ""},
        {"show/--all/a", ""},
        {"show/--deep/a", ""},
        {"show/--json/a", "all\tA/"},
        {"show all/--", ""},
        {"run/-o/", ":file/"},
        {"run/-o/x/", "phi3\tMODEL/yi34b\tMODEL/"},
        {"run/--output=", ":file/"},
        {"run/--output=x/", "phi3\tMODEL/yi34b\tMODEL/"},
        {"run/--mode/", "fast\t/slow\t/"},
        {"run/--mode/s", "slow\t/"},
        {"run/--mode=s", "--mode=slow\t/"},
        {"run/--mdoe=s", ""},
        {"run/--mdoe/", ""},
        {"-r/", ":dir/"},
        {"-r/x/sto", "store\tServices/"},
        {"--json/store/--json/c", "check\tC/"},
        {"shell/", "bash\t/zsh\t/"},
        {"help/", "run\tR/show\tS/store\tServices/shell\tP/help\tH/"},
        {"help/store/", "check\tC/list\tL/"},
        {"help/store/check/", ""},
        {"help/nothing/", ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(4096);
        const char *words[8] = {0};
        char line[64], *rest = line;
        (void)snprintf(line, sizeof(line), "%s", rows[i].words);
        for (size_t n = 0; rest; n++)
            words[n] = strsep(&rest, "/");
        complete_words(verbs, common, words, offer_model, &out);
        for (char *c = out.data; *c; c++)
            if (*c == '\n')
                *c = '/';
        tap_note("%s", rows[i].words);
        CHECK_STR(out.data, rows[i].want);
    }
}
