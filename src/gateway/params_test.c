#include "gateway/params.h"

#include "config/config.h"
#include "config/problems.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

static int
parse(const char *text, struct config **ret_config)
{
    struct config_problems problems;
    config_problems_init(&problems);
    int r = config_parse(text, strlen(text), "t.yaml", ret_config, &problems, NULL);
    config_problems_finish(&problems);
    return r;
}

TEST(parameters_are_json_or_texts_and_forced_ones_hold)
{
    static const char text[] =
        "defaults: {parameters: {top_p: 0.9, seed: 1}}\n"
        "models:\n"
        "  m:\n"
        "    parameters: {temperature: 0.2, stop: '[\"a\"]', seed: 2,"
        " suffix: a \"b\", top_k: 5}\n"
        "    forced_parameters: {top_k: 20, logprobs: false, note: '\"1\"'}\n";
    static const char want[] = "!top_k=20 !logprobs=false !note=\"1\" temperature=0.2 "
                               "stop=[\"a\"] seed=2 suffix=\"a \\\"b\\\"\" top_p=0.9 ";
    _cleanup_config_ struct config *config = NULL;
    struct params p;
    char got[400] = "";
    size_t at = 0;
    REQUIRE(parse(text, &config) == 0);
    params_init(&p, &config->models.items[0]);
    for (size_t i = 0; i < p.count && at < sizeof(got); i++)
        at += (size_t)snprintf(got + at, sizeof(got) - at, "%s%s=%s ", p.items[i].forced ? "!" : "",
                               p.items[i].name, p.items[i].json);
    CHECK_STR(got, want);
    params_finish(&p);
}

TEST(some_members_are_not_for_the_configuration_to_give)
{
    static const char *const members[] = {
        "model", "stream", "stream_options",
        "a_name_that_is_longer_than_any_member_of_a_request_has_to_be_for_us"};
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        _cleanup_config_ struct config *config = NULL;
        char text[200];
        (void)snprintf(text, sizeof(text), "models: {m: {forced_parameters: {%s: x}}}\n",
                       members[i]);
        CHECK(parse(text, &config) < 0);
    }
}
