#include "cli/secrets.h"

#include "base/text.h"
#include "cli/load_config.h"

#include <errno.h>

#define ARENA_MAX (4 * MIB)

int
cli_load_secrets(struct cli *cli, struct cli_secrets *ret_secrets)
{
    arena_init(&ret_secrets->arena, ARENA_MAX);
    int r = secret_store_open(&ret_secrets->arena, &ret_secrets->store, &cli->err);
    if (r == 0)
        r = cli_load_config(cli, &ret_secrets->config);
    if (r < 0 && cli->err.id == ERR_CONFIG_MISSING && !cli->config_file) {
        cli->err = (struct err){0};
        return 0;
    }
    if (r == 0 && secret_uses(ret_secrets->config, &ret_secrets->arena, &ret_secrets->uses,
                              &ret_secrets->use_count) < 0)
        r = err_set(&cli->err, ERR_TOO_LARGE, "%s names too many secrets",
                    ret_secrets->config->name);
    return r;
}

void
cli_secrets_finish(struct cli_secrets *secrets)
{
    config_free(secrets->config);
    arena_finish(&secrets->arena);
}

bool
cli_secret_is_used(const struct secret_use *use, const char *name)
{
    return use->secret->kind == CONFIG_SECRET_CREDENTIAL && text_eq(use->secret->where, name);
}

size_t
cli_secret_options(const struct cli_secrets *secrets, const char *name, struct buf *ret_text)
{
    size_t count = 0;
    for (size_t i = 0; i < secrets->use_count; i++)
        if (cli_secret_is_used(&secrets->uses[i], name))
            buf_printf(ret_text, "%s%s", count++ ? " " : "", secrets->uses[i].option);
    return count;
}

unsigned
cli_secret_readers(const struct cli_secrets *secrets, const char *name)
{
    unsigned readers = 0;
    for (size_t i = 0; i < secrets->use_count; i++)
        if (cli_secret_is_used(&secrets->uses[i], name))
            readers |= secrets->uses[i].readers;
    return readers;
}

static void
add_word(struct buf *out, const char *word)
{
    buf_printf(out, "%s%s", out->len ? " " : "", word);
}

/* Backups are started at their times, and read it then. */
void
cli_secret_services(const struct cli_secrets *secrets, unsigned readers, struct buf *out)
{
    const struct config *c = secrets->config;
    for (size_t i = 0; readers & SECRET_FOR_MODELS && i < c->models.count; i++)
        if (c->models.items[i].enabled)
            add_word(out, c->models.items[i].name);
    if (readers & SECRET_FOR_GATEWAY && c->gateway.enabled)
        add_word(out, "gateway");
    if (readers & SECRET_FOR_MONITOR && c->monitor.enabled)
        add_word(out, "monitor");
}

void
cli_warn_of_open_store(struct cli *cli, const struct secret_store *store)
{
    for (enum secret_form form = 0; form < SECRET_FORMS; form++)
        if (secret_store_is_open(store, form))
            cli_note(cli, "warning: others can get into %s; try: " SECRET_CLOSE_DIR,
                     store->dirs[form], store->dirs[form]);
}
