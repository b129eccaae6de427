#include "cli/deployed.h"

#include "cli/frame.h"
#include "config/config.h"
#include "config/problems.h"
#include "deploy/generation.h"

#include <string.h>

static int
find_by_systemd(struct cli *cli, const struct config *config, struct cli_deployed *ret)
{
    _cleanup_buf_ struct buf text = BUF_INIT(GENERATION_FILE_MAX);
    const struct buf *given = &cli->frame->problems->text;
    const char *store = config->paths.generations;
    bool astray; /* is told as what has drifted */
    int r = generation_or_none(store, GENERATION_CURRENT, &ret->generation, &astray, &cli->err);
    if (r < 0 || ret->generation == 0)
        return r;
    if (generation_read(store, ret->generation, "config.yaml", &text, NULL) == 0)
        ret->differs = text.len != given->len || memcmp(text.data, given->data, text.len) != 0;
    return 0; /* likewise that it is damaged */
}

int
cli_find_deployed(struct cli *cli, const struct config *config, const struct service_view *view,
                  struct cli_deployed *ret)
{
    const struct buf *given = &cli->frame->problems->text;
    char digest[HASH_SHA256_HEX];
    *ret = (struct cli_deployed){0};
    if (view->by_systemd)
        return find_by_systemd(cli, config, ret);
    hash_sha256_text(given->data, given->len, digest);
    ret->generation = view->source.generation;
    ret->file = view->source.file[0] ? view->source.file : NULL;
    ret->differs = ret->file && !text_eq(view->source.digest, digest);
    return 0;
}

void
cli_print_deployed(struct cli *cli, const struct config *config, const struct cli_deployed *d)
{
    if (!d->differs)
        return;
    if (d->generation)
        cli_print(cli, "\nGeneration %u runs, and %s says something else.\n", d->generation,
                  config->name);
    else
        cli_print(cli, "\n%s runs as it was read, and %s says something else.\n", d->file,
                  config->name);
    cli_print(cli, "  try: citadel plan; then citadel apply%s\n",
              d->generation ? "" : ", or citadel reload");
}

void
cli_print_deployed_json(const struct cli_deployed *d, struct json_writer *w)
{
    json_open_map(w, "deployed");
    json_u64(w, "generation", d->generation);
    json_str(w, "file", d->file);
    json_bool(w, "differs", d->differs);
    json_close_map(w);
}
