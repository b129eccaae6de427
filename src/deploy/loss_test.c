#include "deploy/loss.h"

#include "config/config.h"
#include "config/problems.h"
#include "plan/plan.h"
#include "tap.h"

#include <string.h>

static struct config *
parse(const char *text)
{
    _cleanup_config_problems_ struct config_problems problems;
    struct config *config = NULL;
    config_problems_init(&problems);
    CHECK_EQ(config_parse(text, strlen(text), "test.yaml", &config, &problems, NULL), 0);
    return config;
}

static const struct plan_model models[] = {
    {.name = "well", .fate = PLAN_RESIDENT, .reason = "kept", .fix = ""},
    {.name = "torn", .fate = PLAN_BROKEN, .reason = "a shard is short", .fix = "fetch it"},
    {.name = "large", .fate = PLAN_IMPOSSIBLE, .reason = "no GPU", .fix = ""},
    {.name = "off", .fate = PLAN_DISABLED, .reason = "enabled is false", .fix = ""},
};

static const struct {
    const char *trouble; /* of the one GPU */
    const char *lacks;
} rows[] = {
    {"", "torn large "},
    {"it fell off the bus", "well(GPU) torn large "},
};

TEST(what_is_wanted_and_has_no_place_lacks_something)
{
    _cleanup_config_ struct config *config =
        parse("models: {well: {engine: sim}, torn: {engine: sim}, large: {engine: sim}, off: "
              "{engine: sim, enabled: false}}");
    REQUIRE(config != NULL);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        _cleanup_buf_ struct buf text = BUF_INIT(KIB);
        struct deploy_lack *lacks;
        size_t count;
        const struct plan_gpu gpu = {.trouble = rows[i].trouble};
        const struct plan plan = {
            .gpus = &gpu, .gpu_count = 1, .models = models, .model_count = ARRAY_SIZE(models)};
        arena_init(&arena, 4 * KIB);
        CHECK_EQ(deploy_find_lacks(config, &plan, &arena, &lacks, &count, NULL), 0);
        for (size_t n = 0; n < count; n++)
            buf_printf(&text, "%s%s ", lacks[n].model, lacks[n].of_gpus ? "(GPU)" : "");
        CHECK_STR(text.data, rows[i].lacks);
    }
}

TEST(only_what_is_deployed_can_be_lost)
{
    static const char with_gpu[] = "[Service]\nDeviceAllow=/dev/nvidiactl rw\n";
    static const struct generation_file files[] = {
        {"config.yaml", "x", 1},
        {"units/citadel-a.service", with_gpu, sizeof(with_gpu) - 1},
        {"units/citadel-b.service", "[Service]\n", 10},
    };
    static const struct {
        struct deploy_lack lack;
        bool want;
    } losses[] = {
        {{"a", "", "", false}, true},  {{"a", "", "", true}, true},
        {{"b", "", "", false}, true},  {{"b", "", "", true}, false}, /* it had none */
        {{"c", "", "", false}, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(losses); i++)
        CHECK_EQ(deploy_is_loss(&losses[i].lack, files, ARRAY_SIZE(files)), losses[i].want);
}

TEST(each_loss_is_named_with_its_reason)
{
    static const struct deploy_lack items[] = {{"torn", "a shard is short", "fetch it", false},
                                               {"large", "no GPU", "", false}};
    struct err err;
    CHECK_EQ(deploy_refuse_losses(items, 1, &err), -err_row(ERR_DEPLOY_LOSS)->err);
    CHECK_STR(err.what, "what is deployed and wanted would be lost: torn: a shard is short");
    CHECK_STR(err.fix, "fetch it; or leave it out: citadel disable torn");
    CHECK_EQ(deploy_refuse_losses(items, 2, &err), -err_row(ERR_DEPLOY_LOSS)->err);
    CHECK_STR(err.what,
              "what is deployed and wanted would be lost: torn: a shard is short; large: no GPU");
    CHECK(strstr(err.fix, "citadel disable torn large"));
}

/* A sentence has a ceiling; that there is more is said. */
TEST(of_many_losses_the_rest_is_counted)
{
    struct deploy_lack items[40];
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(items); i++)
        items[i] = (struct deploy_lack){"a-model-with-a-long-name", "its file is away", "", false};
    CHECK_EQ(deploy_refuse_losses(items, ARRAY_SIZE(items), &err), -err_row(ERR_DEPLOY_LOSS)->err);
    CHECK(strstr(err.what, "a-model-with-a-long-name, a-model-with-a-long-name"));
    CHECK(strstr(err.what, " more; `citadel plan` tells why"));
    CHECK(strstr(err.fix, "citadel disable NAME..."));
}
