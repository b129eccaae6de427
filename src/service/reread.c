#include "service/reread.h"

#include "base/buf.h"
#include "base/text.h"
#include "fmt/json.h"
#include "http/fetch.h"
#include "http/local.h"
#include "run/run.h"
#include "service/service.h"

#define BODY_MAX (4 * MIB)
#define TREE_MAX (64 * MIB)

static char *
print_address(const char *run_dir, const char *name)
{
    if (text_eq(name, SERVICE_MONITOR))
        return mem_printf("unix:%s/" SERVICE_MONITOR_SOCKET, run_dir);
    if (text_eq(name, SERVICE_GATEWAY))
        return mem_printf("unix:%s/" SERVICE_GATEWAY_SOCKET, run_dir);
    return mem_printf("unix:%s/models/%s/" RUN_SOCKET_NAME, run_dir, name);
}

int
service_reread(const char *run_dir, const char *name, struct arena *arena,
               struct value **ret_answer, struct err *reterr)
{
    _cleanup_free_ char *address = print_address(run_dir, name);
    _cleanup_buf_ struct buf body = BUF_INIT(BODY_MAX);
    const struct http_fetch fetch = {
        .address = address, .host = "localhost", .method = "POST", .target = "/reload"};
    struct err err = {0};
    unsigned status;
    int r = http_fetch(&fetch, &status, &body, &err);
    if (r < 0 && err.id == ERR_HTTP_CONNECT)
        return err_set(reterr, ERR_SERVICE_DOWN, "%s does not answer at %s", name, address);
    if (r < 0) {
        err_prefix(&err, "%s", name);
        if (reterr)
            *reterr = err;
        return r;
    }
    if (status != 200)
        return http_local_read_error(name, status, body.data, body.len, reterr);
    return json_parse(arena, body.data, body.len, JSON_STRICT, ret_answer, NULL, reterr);
}

int
service_reread_all(const char *run_dir, const char *name, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct value *answer = NULL;
    arena_init(&arena, TREE_MAX);
    int r = service_reread(run_dir, name, &arena, &answer, reterr);
    if (r < 0)
        return r;
    const struct value *restart = value_get(answer, "restart");
    if (!restart || restart->count == 0)
        return 0;
    const char *path = value_str(value_get(restart->first, "path"));
    r = err_set(reterr, ERR_SERVICE_FAILED, "%s reads %s only when it starts", name,
                path ? path : "what has changed");
    err_fix(reterr, "citadel restart %s", name);
    return r;
}
