#include "cli/operate.h"

#include "base/mem.h"
#include "config/config.h"
#include "fmt/json.h"
#include "http/fetch.h"
#include "http/local.h"
#include "service/service.h"

#include <string.h>

#define BODY_MAX (4 * MIB)
#define TARGET_MAX (4 * KIB)

/* As a value in the query of a URL. */
static void
add_escaped(struct buf *out, const char *text)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~";
    for (; *text; text++)
        buf_printf(out, strchr(plain, *text) ? "%c" : "%%%02X", (unsigned char)*text);
}

static void
print_target(const struct operation_wish *wish, struct buf *out)
{
    buf_printf(out, "/%s", operations[wish->id].path);
    if (wish->name)
        buf_printf(out, "/%s", wish->name);
    if (wish->query) {
        buf_printf(out, "?%s=", wish->query);
        add_escaped(out, wish->value);
    }
}

static const char *
owner_word(enum operation_owner owner)
{
    return owner == OPERATION_OF_GATEWAY ? SERVICE_GATEWAY : SERVICE_MONITOR;
}

static int
explain_silence(const struct config *config, enum operation_owner owner, const char *address,
                struct err *reterr)
{
    const char *role = owner_word(owner);
    bool is_enabled =
        owner == OPERATION_OF_GATEWAY ? config->gateway.enabled : config->monitor.enabled;
    int r = err_set(reterr, ERR_SERVICE_DOWN, "no %s answers at %s", role, address);
    if (is_enabled)
        err_fix(reterr, "citadel start %s; or citadel up, where there is no systemd", role);
    else
        err_fix(reterr, "%s: {enabled: true} in %s, then citadel apply", role, config->name);
    return r;
}

int
cli_operate(const struct config *config, const struct operation_wish *wish, struct arena *arena,
            struct value **ret_answer, struct err *reterr)
{
    enum operation_owner owner = operations[wish->id].owner;
    const char *socket =
        owner == OPERATION_OF_GATEWAY ? SERVICE_GATEWAY_SOCKET : SERVICE_MONITOR_SOCKET;
    _cleanup_free_ char *address = mem_printf("unix:%s/%s", config->paths.run, socket);
    _cleanup_buf_ struct buf body = BUF_INIT(BODY_MAX), target = BUF_INIT(TARGET_MAX);
    struct err err = {0};
    unsigned status;
    int r = wish->name ? service_check_spelling(wish->name, reterr) : 0;
    if (r < 0)
        return r;
    print_target(wish, &target);
    if (buf_error(&target) < 0)
        return err_set(reterr, ERR_TOO_LARGE, "'%.40s...' is longer than %d bytes may be",
                       wish->value, (int)TARGET_MAX);
    const struct http_fetch fetch = {
        .address = address,
        .host = "localhost",
        .method = http_method_name(operations[wish->id].method),
        .target = target.data,
        .type = wish->body ? "application/json" : NULL,
        .body = wish->body ? wish->body->data : NULL,
        .len = wish->body ? wish->body->len : 0,
        .timeout_us = wish->timeout_us,
    };
    r = http_fetch(&fetch, &status, &body, &err);
    if (r < 0 && err.id == ERR_HTTP_CONNECT)
        return explain_silence(config, owner, address + strlen("unix:"), reterr);
    if (r < 0) {
        err_prefix(&err, "the %s at %s", owner_word(owner), address + strlen("unix:"));
        if (reterr)
            *reterr = err;
        return r;
    }
    if (status >= 300)
        return http_local_read_error(owner_word(owner), status, body.data, body.len, reterr);
    return json_parse(arena, body.data, body.len, JSON_STRICT, ret_answer, NULL, reterr);
}

const struct value *
cli_operate_service(const struct value *answer, const char *name)
{
    const struct value *list = value_get(answer, "services");
    for (const struct value *v = list ? list->first : NULL; v; v = v->next)
        if (text_eq(value_str(value_get(v, "name")), name))
            return v;
    return NULL;
}
