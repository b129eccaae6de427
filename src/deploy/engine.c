#include "deploy/engine.h"

#include "base/text.h"
#include "config/config.h"
#include "engine/engine.h"
#include "engine/env.h"
#include "fmt/json.h"
#include "sys/root.h"

#define PLAN_BYTES (4 * GENERATION_FILE_MAX)

int
deploy_engine_read(const char *json, size_t len, struct arena *arena, struct plan_engine *ret,
                   struct err *reterr)
{
    struct value *root;
    int r = json_parse(arena, json, len, JSON_STRICT, &root, NULL, reterr);
    return r < 0 ? r : plan_read_engine(root, arena, ret, reterr);
}

int
deploy_engine_of(const char *store, unsigned number, struct arena *arena, struct plan_engine *ret,
                 struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(GENERATION_FILE_MAX);
    int r = generation_read(store, number, "plan.json", &text, reterr);
    if (r == 0)
        r = deploy_engine_read(text.data, text.len, arena, ret, reterr);
    if (r < 0)
        err_prefix(reterr, "generation %u", number);
    return r;
}

static int
check(const struct plan_engine *wanted, struct err *reterr)
{
    struct engine_env env;
    engine_version_text text;
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, 64 * KIB);
    const char *path = root_path(&arena, wanted->env);
    const char *package = engines[CONFIG_ENGINE_VLLM].python_package;
    int r = engine_env_find(path ? path : wanted->env, package, &env, reterr);
    if (r < 0 || text_eq(engine_version_print(&env.version, text), wanted->version))
        return r;
    return err_set(reterr, ERR_GENERATION_ENGINE, "%s is %s now", wanted->env, text);
}

int
deploy_engine_check(const char *store, unsigned number, struct err *reterr)
{
    struct plan_engine wanted = {"", "", ""};
    struct err why = {0};
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, PLAN_BYTES);
    int r = deploy_engine_of(store, number, &arena, &wanted, reterr);
    if (r < 0 || !wanted.env[0] || check(&wanted, &why) == 0)
        return r;
    r = err_set(reterr, ERR_GENERATION_ENGINE, "generation %u runs on vLLM %s in %s: %s", number,
                wanted.version, wanted.env, why.what);
    err_fix(reterr, "put that release back there; `citadel engines` lists what there is");
    return r;
}
