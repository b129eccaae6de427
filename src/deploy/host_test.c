#include "deploy/host_int.h"

#include "tap.h"

/* A model may drain for longer than others may take to start. */
TEST(only_what_starts_has_the_deadline_of_a_deployment)
{
    static const struct {
        enum deploy_act act;
        uint64_t want_us;
    } rows[] = {{DEPLOY_STOP, 0}, {DEPLOY_START, 7}, {DEPLOY_RESTART, 7}, {DEPLOY_RELOAD, 7}};
    const struct deploy_machine machine = {.deadline_us = 7};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct deploy_order order = {.act = rows[i].act, .unit = "citadel-a.service"};
        CHECK_EQ(deploy_limit_us(&machine, &order), rows[i].want_us);
    }
    CHECK_EQ(deploy_limit_us(&machine, NULL), 7);
}
