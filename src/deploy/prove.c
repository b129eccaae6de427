#include "deploy/prove.h"

#include "config/config.h"
#include "engine/canary.h"
#include "http/fetch.h"
#include "run/run.h"
#include "run/wish.h"

#define ANSWER_MAX (1 * MIB)
#define PATIENCE_US (120 * 1000000ULL) /* an engine may be busy with others */

static int
ask(const struct config_model *model, enum engine_kind kind, enum engine_answer *ret,
    struct err *reterr)
{
    _cleanup_buf_ struct buf body = BUF_INIT(64 * KIB), answer = BUF_INIT(ANSWER_MAX);
    const char *name = run_served_name(model);
    struct engine_request request;
    char address[RUN_ADDRESS_MAX];
    unsigned status;
    int r = engine_canary_make(kind, name, &body, &request);
    if (r < 0)
        return err_set_errno(reterr, -r, "%s: a request cannot be made", model->name);
    const struct http_fetch fetch = {.address = run_address(model->port, address),
                                     .method = request.method,
                                     .target = request.path,
                                     .type = request.content_type,
                                     .body = request.body,
                                     .len = request.body_len,
                                     .timeout_us = PATIENCE_US};
    r = http_fetch(&fetch, &status, &answer, reterr);
    if (r == 0)
        *ret = engine_canary_judge(kind, name, (int)status, answer.data, answer.len, reterr);
    else
        err_prefix(reterr, "%s", model->name);
    return r;
}

int
deploy_prove(const struct config_model *model, struct err *reterr)
{
    enum engine_answer answer = ENGINE_OTHER_KIND;
    int r = 0;
    for (size_t i = 0; r == 0 && answer == ENGINE_OTHER_KIND; i++) {
        enum engine_kind kind = engine_canary_attempt(run_engine_kind(model), i);
        if (kind == ENGINE_KIND_COUNT)
            break;
        r = ask(model, kind, &answer, reterr);
    }
    if (r < 0 || answer == ENGINE_ALIVE)
        return r;
    err_prefix(reterr, "%s does not answer", model->name);
    return reterr ? -err_row(reterr->id)->err : -1;
}
