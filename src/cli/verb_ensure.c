#include "cli/load_config.h"
#include "cli/operate.h"
#include "service/service.h"

#include <poll.h>
#include <stdio.h>

const struct verb_help verb_ensure_help = {
    .text =
        "Asks the monitor for a model: one that is stopped is started if there is room for it now, "
        "and the answer waits until it is ready. Nobody makes room: where the GPU memory is taken, "
        "the message says by whom, and it exits with 75. What is held, or was stopped by a person, "
        "is not started; `citadel start` does that.\n\n"
        "It takes root or the account of the services.",
    .examples = VERB_EXAMPLES({"citadel ensure phi3", "start it if it fits, and wait for it"},
                              {"citadel ensure phi3 --no-wait", "and do not wait"}),
};

#define LOOK_AGAIN_MS 200

/* One look at how it is, in an arena of its own. */
struct look {
    struct arena arena;
    const struct value *service;
    struct service_status status;
};

static int
read_answer(struct look *look, const struct value *service, struct err *reterr)
{
    look->service = service;
    if (service && service_status_read(service, &look->status))
        return 0;
    return err_set(reterr, ERR_HTTP_ANSWER, "the monitor answers in a way that is not known here");
}

static int
ask(struct cli *cli, const struct config *config, struct look *look)
{
    const struct operation_wish wish = {.id = OPERATION_ENSURE, .name = cli->args[0]};
    struct value *answer = NULL;
    int r = cli_operate(config, &wish, &look->arena, &answer, &cli->err);
    return r < 0 ? r : read_answer(look, answer, &cli->err);
}

static int
look_again(struct cli *cli, const struct config *config, struct look *look)
{
    const struct operation_wish wish = {.id = OPERATION_SERVICES};
    struct value *answer = NULL;
    arena_finish(&look->arena);
    arena_init(&look->arena, OPERATE_ANSWER_BYTES);
    int r = cli_operate(config, &wish, &look->arena, &answer, &cli->err);
    return r < 0 ? r : read_answer(look, cli_operate_service(answer, cli->args[0]), &cli->err);
}

/* It has become ready, or what was ordered has come to something else. */
static bool
has_ended(const struct look *look)
{
    enum service_state state = look->status.state;
    bool ordered = false;
    (void)value_bool(value_get(look->service, "ordered"), &ordered);
    return state == SERVICE_READY ||
           (!ordered && (service_state_is_settled(state) || state == SERVICE_BACKING_OFF ||
                         state == SERVICE_NOT_NOW));
}

static int
wait_for_it(struct cli *cli, const struct config *config, struct look *look)
{
    char told[sizeof(look->status.status)] = "";
    int r = 0;
    while (r == 0 && !has_ended(look)) {
        (void)poll(NULL, 0, LOOK_AGAIN_MS);
        r = look_again(cli, config, look);
        if (r == 0 && look->status.status[0] && !text_eq(look->status.status, told)) {
            (void)snprintf(told, sizeof(told), "%s", look->status.status);
            cli_note(cli, "%s: %s", look->status.name, told);
        }
    }
    if (r < 0 || look->status.state == SERVICE_READY)
        return r;
    r = err_set(&cli->err,
                look->status.state == SERVICE_NOT_NOW ? ERR_SERVICE_NOT_NOW : ERR_SERVICE_FAILED,
                "%s: %s: %s", look->status.name, service_state_word(look->status.state),
                look->status.reason);
    err_fix(&cli->err, "citadel why %s", look->status.name);
    return r;
}

static int
ensure(struct cli *cli, const struct config *config, struct look *look)
{
    int r = ask(cli, config, look);
    if (r == 0 && !cli_flag(cli, "no-wait"))
        r = wait_for_it(cli, config, look);
    if (r < 0)
        return r;
    if (cli->json)
        json_value(cli->json, NULL, look->service);
    else if (look->status.state == SERVICE_READY)
        cli_print(cli, "%s is ready at %s.\n", look->status.name, look->status.address);
    else
        cli_print(cli, "%s is started.\n", look->status.name);
    return EXIT_CODE_OK;
}

int
verb_ensure(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    struct look look = {0};
    int r = cli_load_deployed(cli, &config);
    if (r < 0)
        return r;
    arena_init(&look.arena, OPERATE_ANSWER_BYTES);
    r = ensure(cli, config, &look);
    arena_finish(&look.arena);
    return r;
}
