#include "base/text.h"
#include "cli/cli.h"
#include "config/show.h"

#include <string.h>

const struct verb_help verb_config_options_help = {
    .text = "Explains the options of citadel.yaml: what each does, what may be given, its default, "
            "and what a change of it needs. Every option of a model stands under models.NAME, and "
            "may stand under defaults: for all models.\n\n"
            "PATH picks a section or an option, as in gateway or models.NAME.port; a word alone "
            "finds the options that have it as their name.",
    .examples = VERB_EXAMPLES({"citadel config options", "all"},
                              {"citadel config options backup", "a section"},
                              {"citadel config options max_model_len", "one option"}),
};

struct listing {
    struct cli *cli;
    const char *path;
    size_t count;
};

/* The path itself, what is in it, or an option whose name it is. */
static bool
is_asked(const char *path, const char *asked)
{
    size_t len = strlen(asked);
    const char *last = strrchr(path, '.');
    if (strncmp(path, asked, len) == 0 && (path[len] == '.' || path[len] == '\0'))
        return true;
    return !strchr(asked, '.') && text_eq(last ? last + 1 : path, asked);
}

static void
print_json(struct json_writer *w, const struct config_option *o)
{
    json_open_map(w, NULL);
    json_str(w, "path", o->path);
    json_str(w, "help", o->help);
    json_str(w, "allowed", o->allowed);
    if (o->meanings[0])
        json_str(w, "meanings", o->meanings);
    json_str(w, "default", o->preset);
    json_str(w, "change", o->reload);
    json_bool(w, "secret", o->secret);
    json_close_map(w);
}

static void
tell(const struct config_option *o, void *arg)
{
    struct listing *l = arg;
    if (o->section || (l->path && !is_asked(o->path, l->path)))
        return;
    l->count++;
    if (l->cli->json) {
        print_json(l->cli->json, o);
        return;
    }
    cli_print(l->cli, "%s\n    %s.\n    Allowed: %s.\n", o->path, o->help, o->allowed);
    if (o->meanings[0])
        cli_print(l->cli, "    %s.\n", o->meanings);
    cli_print(l->cli, "    Default: %s. A change %s.\n\n",
              o->preset ? o->preset : "none, it must be given", o->reload);
}

int
verb_config_options(struct cli *cli)
{
    struct listing l = {.cli = cli, .path = cli->args_count ? cli->args[0] : NULL};
    if (cli->json)
        json_open_list(cli->json, NULL);
    config_each_option(tell, &l);
    if (cli->json)
        json_close_list(cli->json);
    if (l.count > 0)
        return EXIT_CODE_OK;
    int r = err_set(&cli->err, ERR_CONFIG_NO_OPTION, "there is no option or section '%s'", l.path);
    /* models.phi3.port, as errors tell it, is explained as models.NAME.port. */
    const char *rest =
        text_starts(l.path, "models.") ? strchr(l.path + strlen("models."), '.') : NULL;
    if (rest)
        err_fix(&cli->err, "citadel config options models.NAME%s", rest);
    else
        err_fix(&cli->err, "citadel config options");
    return r;
}
