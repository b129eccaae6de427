#include "cli/hold.h"

#include "cli/load_config.h"

static void
print(struct cli *cli, const struct value *service)
{
    const struct value *hold = value_get(service, "hold");
    char name[TEXT_NAME_MAX + 1], by[64], why[200];
    value_copy_str(value_get(service, "name"), name, sizeof(name));
    value_copy_str(value_get(hold, "by"), by, sizeof(by));
    value_copy_str(value_get(hold, "why"), why, sizeof(why));
    if (hold)
        cli_print(cli, "%s is held by %s: %s.\n", name, by, why);
    else
        cli_print(cli, "%s is not held.\n", name);
}

int
cli_change_hold(struct cli *cli, const struct operation_wish *wish)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_arena_ struct arena arena;
    struct value *service = NULL;
    arena_init(&arena, OPERATE_ANSWER_BYTES);
    int r = cli_load_deployed(cli, &config);
    if (r == 0)
        r = cli_operate(config, wish, &arena, &service, &cli->err);
    if (r < 0)
        return r;
    if (cli->json)
        json_value(cli->json, NULL, service);
    else
        print(cli, service);
    return EXIT_CODE_OK;
}
