#include "base/text.h"
#include "cli/cli.h"
#include "cli/complete.h"
#include "config/config.h"
#include "config/problems.h"
#include "config/show.h"
#include "sys/root.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const struct verb_help verb_complete_help = {
    .text = "Tells what could stand next on a command line; the completions of the shells ask it. "
            "The last WORD is the one being typed, and may be empty. Each line of the answer is a "
            "word, a tab and what it means, or :file or :dir, where names of those may stand.",
    .examples = VERB_EXAMPLES({"citadel complete -- he", "help"},
                              {"citadel complete -- version --", "the options of version"}),
};

/* Nobody waits for a pipe while they press Tab. */
static bool
is_pipe(const char *file)
{
    struct stat st;
    return stat(file, &st) == 0 && S_ISFIFO(st.st_mode);
}

/* The configuration that the line names, or the usual one; NULL when it cannot be read: then there
 * is nothing to offer, and nothing to say. */
static struct config *
load_config(const struct complete *c)
{
    _cleanup_config_problems_ struct config_problems problems;
    struct config *config = NULL;
    const char *root = complete_value(c, "root"), *file = complete_value(c, "config");
    const char *named = file ? file : getenv("CITADEL_CONFIG");
    config_problems_init(&problems);
    if ((root && root_set(root, NULL) < 0) || is_pipe(named && *named ? named : "citadel.yaml"))
        return NULL;
    return config_load(file, &config, &problems, NULL) < 0 ? NULL : config;
}

struct paths {
    struct complete *complete;
    const struct config *config; /* NULL: NAME stays NAME */
};

/* Sections first: what is in one is offered when its name and a dot stand. */
static bool
is_near(const struct complete *c, const char *path)
{
    return !strchr(path, '.') || strchr(complete_typed(c), '.');
}

static void
offer_path(const struct config_option *option, void *arg)
{
    static const char placeholder[] = "models.NAME";
    const struct paths *p = arg;
    const char *rest = option->path + strlen(placeholder);
    if (!is_near(p->complete, option->path))
        return;
    if (!p->config || !text_starts(option->path, placeholder)) {
        complete_offer(p->complete, option->path, option->help);
        return;
    }
    for (size_t i = 0; i < p->config->models.count; i++) {
        char path[256];
        (void)snprintf(path, sizeof(path), "models.%s%s", p->config->models.items[i].name, rest);
        complete_offer(p->complete, path, option->help);
    }
}

static void
offer_names(struct complete *c, enum arg_kind kind)
{
    _cleanup_config_ struct config *config = kind == ARG_OPTION ? NULL : load_config(c);
    if (kind == ARG_MODEL) {
        for (size_t i = 0; config && i < config->models.count; i++)
            complete_offer(c, config->models.items[i].name, config->models.items[i].path);
        return;
    }
    config_each_option(offer_path, &(struct paths){c, config});
}

int
verb_complete(struct cli *cli)
{
    _cleanup_buf_ struct buf said = BUF_INIT(MIB);
    complete_words(verb_rows, verb_common, cli->args, offer_names, &said);
    if (!cli->json) {
        cli_print_bytes(cli, said.data, said.len);
        return EXIT_CODE_OK;
    }
    json_open_list(cli->json, NULL);
    for (const char *line = said.data; *line; line += strcspn(line, "\n") + 1) {
        size_t word = strcspn(line, "\t\n"), gap = line[word] == '\t';
        json_open_map(cli->json, NULL);
        json_strn(cli->json, "word", line, word);
        json_strn(cli->json, "what", line + word + gap, strcspn(line + word + gap, "\n"));
        json_close_map(cli->json);
    }
    json_close_list(cli->json);
    return EXIT_CODE_OK;
}
