#include "service/list.h"

#include "base/buf.h"
#include "config/config.h"
#include "config/problems.h"
#include "plan/plan.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>

static const char models[] = "models:\n"
                             "  chat: {path: m, port: 11400, restart_limit: 3, restart_delay: 2s,\n"
                             "         start_max: 1h, drain_timeout: 30s}\n"
                             "  embed: {path: m, port: 11401, kind: embedding}\n"
                             "  old: {path: m, port: 11402, enabled: false}\n";

static struct config *
read_text(const char *text)
{
    _cleanup_config_problems_ struct config_problems problems;
    struct config *config = NULL;
    struct err err = {0};
    config_problems_init(&problems);
    if (config_parse(text, strlen(text), "x.yaml", &config, &problems, &err) < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    return config;
}

static const struct {
    const char *names[4];
    const char *want; /* what is in the list, with + if it is started */
} lists[] = {
    {{NULL}, "monitor+ gateway+ chat+ embed+ "},
    {{"embed"}, "monitor+ gateway+ chat embed+ "},
    {{"old"}, "monitor+ gateway+ chat embed old+ "},
    {{"old", "chat", "old"}, "monitor+ gateway+ chat+ embed old+ "},
};

static struct config *
read_config(void)
{
    return read_text(models);
}

static int
make(const struct config *config, struct arena *arena, const char *const *names,
     struct service_list *list, struct err *reterr)
{
    static const struct plan_engine vllm = {"/opt/vllm-env-1", "1.2.3", ""};
    const struct service_list_input input = {.config = config,
                                             .program = "/bin/c",
                                             .config_file = "/x.yaml",
                                             .names = names,
                                             .vllm = &vllm};
    return service_list_make(&input, arena, list, reterr);
}

static const struct {
    const char *text;
    const char *want; /* in their order, each with those that it starts after */
} keepers[] = {
    {"models: {m: {path: m}}\n", "monitor() gateway(monitor) m(monitor gateway) "},
    {"gateway: {enabled: false}\nmodels: {m: {path: m}}\n", "monitor() m(monitor) "},
    {"monitor: {enabled: false}\nmodels: {m: {path: m}}\n", "gateway() m(gateway) "},
    {"models: {m: {path: m, enabled: false}}\n", ""}, /* nothing to watch, nobody to answer */
};

TEST(monitor_and_gateway_are_the_first_where_they_are_enabled)
{
    for (size_t i = 0; i < ARRAY_SIZE(keepers); i++) {
        _cleanup_config_ struct config *config = read_text(keepers[i].text);
        _cleanup_arena_ struct arena arena;
        _cleanup_buf_ struct buf got = BUF_INIT(KIB);
        struct service_list list;
        arena_init(&arena, 64 * KIB);
        REQUIRE(make(config, &arena, NULL, &list, NULL) == 0);
        for (size_t n = 0; n < list.count; n++) {
            const struct service *s = &list.items[n];
            buf_printf(&got, "%s(", s->name);
            for (size_t k = 0; k < s->after_count; k++)
                buf_printf(&got, "%s%s", k ? " " : "", s->after[k]);
            buf_add_str(&got, ") ");
        }
        CHECK_STR(got.data, keepers[i].want);
    }
}

TEST(monitor_and_gateway_read_the_configuration_at_their_addresses)
{
    static const char text[] = "monitor: {port: 8002}\ngateway: {port: 8003, drain_timeout: 1h}\n"
                               "models: {m: {path: m}}\n";
    static const char *const addresses[] = {"127.0.0.1:8002", "0.0.0.0:8003"};
    static const char *const verbs[] = {"monitor", "gateway"};
    _cleanup_config_ struct config *config = read_text(text);
    _cleanup_arena_ struct arena arena;
    struct service_list list;
    arena_init(&arena, 64 * KIB);
    REQUIRE(make(config, &arena, NULL, &list, NULL) == 0 && list.count == 3);
    for (size_t i = 0; i < 2; i++) {
        const struct service *s = &list.items[i];
        CHECK_STR(s->argv[1], verbs[i]);
        CHECK_STR(s->argv[3], "/x.yaml");
        CHECK_STR(s->address, addresses[i]);
        CHECK_STR(s->kind, "service");
        CHECK(s->dispensable && s->wanted);
    }
    CHECK(list.items[1].stop_us > UINT64_C(3600000000)); /* its answers may take as long */
}

TEST(those_that_are_named_are_started_and_the_others_are_there)
{
    _cleanup_config_ struct config *config = read_config();
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        _cleanup_arena_ struct arena arena;
        struct service_list list;
        char got[200] = "";
        arena_init(&arena, 64 * KIB);
        REQUIRE(make(config, &arena, lists[i].names, &list, NULL) == 0);
        for (size_t n = 0, len = 0; n < list.count; n++)
            len += (size_t)snprintf(got + len, sizeof(got) - len, "%s%s ", list.items[n].name,
                                    list.items[n].wanted ? "+" : "");
        CHECK_STR(got, lists[i].want);
    }
}

TEST(a_service_has_the_limits_of_its_model)
{
    _cleanup_config_ struct config *config = read_config();
    _cleanup_arena_ struct arena arena;
    struct service_list list;
    char argv[200] = "";
    arena_init(&arena, 64 * KIB);
    REQUIRE(make(config, &arena, NULL, &list, NULL) == 0);
    const struct service *s = &list.items[2]; /* behind monitor and gateway */
    for (size_t i = 0, len = 0; s->argv[i]; i++)
        len += (size_t)snprintf(argv + len, sizeof(argv) - len, "%s ", s->argv[i]);
    CHECK_STR(argv, "/bin/c run chat -c /x.yaml --vllm-env /opt/vllm-env-1 ");
    CHECK_STR(s->engine, "/opt/vllm-env-1: vllm 1.2.3");
    CHECK_STR(s->address, "127.0.0.1:11400");
    CHECK_STR(s->kind, "model");
    CHECK_EQ(s->budget.burst, 3);
    CHECK_EQ(s->budget.delay_us, 2000000);
    CHECK(s->budget.start_us > 3600 * 1000000ULL); /* beyond the shim's own limit */
    CHECK(s->stop_us > 30 * 1000000ULL);
    CHECK(s->watchdog_us > 0);
}

TEST(a_name_that_is_not_there_is_told_with_the_nearest)
{
    static const char *const names[] = {"chat", "embd", NULL};
    _cleanup_config_ struct config *config = read_config();
    _cleanup_arena_ struct arena arena;
    struct service_list list;
    struct err err = {0};
    arena_init(&arena, 64 * KIB);
    CHECK_EQ(make(config, &arena, names, &list, &err), -ENOENT);
    CHECK_STR(err.what, "there is no service 'embd' in x.yaml");
    CHECK_STR(err.fix, "did you mean embed?");
}

TEST(a_list_has_a_ceiling)
{
    _cleanup_config_ struct config *config = read_config();
    _cleanup_arena_ struct arena arena;
    struct service_list list;
    arena_init(&arena, 700);
    CHECK_EQ(make(config, &arena, NULL, &list, NULL), -EFBIG);
}
