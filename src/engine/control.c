#include "engine/control.h"

#include "fmt/json.h"

#define POST(path)                  \
    {                               \
        "POST", path, NULL, NULL, 0 \
    }
#define POST_JSON(path, text)                                    \
    {                                                            \
        "POST", path, "application/json", text, sizeof(text) - 1 \
    }

static const struct engine_step sleep_1[] = {
    {"moving the weights to host memory", POST("/sleep?level=1")},
    {0},
};

static const struct engine_step sleep_2[] = {
    {"dropping the weights", POST("/sleep?level=2")},
    {0},
};

static const struct engine_step wake_1[] = {
    {"moving the weights back", POST("/wake_up")},
    {0},
};

/* Memory for the weights, the weights, then the cache: the cache first, or weights that were never
 * read again, give nonsense or a crash. */
static const struct engine_step wake_2[] = {
    {"taking memory for the weights", POST("/wake_up?tags=weights")},
    {"loading the weights", POST_JSON("/collective_rpc", "{\"method\":\"reload_weights\"}")},
    {"taking memory for the cache", POST("/wake_up?tags=kv_cache")},
    {0},
};

const struct engine_step *
engine_sleep_steps(unsigned level)
{
    assert(level == 1 || level == 2);
    return level == 1 ? sleep_1 : sleep_2;
}

const struct engine_step *
engine_wake_steps(unsigned level)
{
    assert(level == 1 || level == 2);
    return level == 1 ? wake_1 : wake_2;
}

const struct engine_request engine_sleep_question = {"GET", "/is_sleeping", NULL, NULL, 0};

int
engine_sleep_answer(const char *body, size_t len, bool *ret_asleep, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct value *answer;
    arena_init(&arena, 64 * KIB);
    int r = json_parse(&arena, body, len, JSON_STRICT, &answer, NULL, reterr);
    if (r < 0)
        return r;
    if (!value_bool(value_get(answer, "is_sleeping"), ret_asleep))
        return err_set(reterr, ERR_SYNTAX, "the engine does not say whether it sleeps");
    return 0;
}
