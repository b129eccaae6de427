#include "lifecycle/ensure.h"

#include "config/config.h"
#include "gpu/lease.h"
#include "lifecycle/lifecycle.h"
#include "tap.h"

#include <stdio.h>

TEST(it_is_started_where_nobody_keeps_it_from_that)
{
    static const struct {
        const char *what;
        enum service_state state;
        int last_exit;
        const char *held_by, *lost;
        enum run_wanted wanted;
        bool asked_to;
        int want; /* 1, 0, or the error's id: */
        enum err_id id;
    } rows[] = {
        {"stopped", SERVICE_STOPPED, 0, NULL, NULL, 0, false, 1, 0},
        {"failed once", SERVICE_FAILED, 1, NULL, NULL, 0, false, 1, 0},
        {"lacked something", SERVICE_NOT_NOW, 75, NULL, NULL, 0, false, 1, 0},
        {"our order is on its way", SERVICE_STOPPED, 0, NULL, NULL, 0, true, 0, 0},
        {"runs", SERVICE_READY, 0, NULL, NULL, 0, false, 0, 0},
        {"loads", SERVICE_STARTING, 0, NULL, NULL, 0, false, 0, 0},
        {"is tried again anyway", SERVICE_BACKING_OFF, 1, NULL, NULL, 0, false, 0, 0},
        {"runs, though held", SERVICE_READY, 0, "anna", NULL, 0, false, 0, 0},
        {"never works", SERVICE_FAILED, 64, NULL, NULL, 0, false, -1, ERR_SERVICE_FAILED},
        {"held", SERVICE_STOPPED, 0, "anna", NULL, 0, false, -1, ERR_RUN_HELD},
        {"by the breaker", SERVICE_STOPPED, 0, RUN_BREAKER, NULL, 0, false, -1, ERR_RUN_HELD},
        {"a person's", SERVICE_STOPPED, 0, NULL, NULL, RUN_WANTED_STOPPED, false, -1, ERR_RUN_HELD},
        {"nobody knows", SERVICE_STOPPED, 0, NULL, "an error", 0, false, -1, ERR_RUN_HELD},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct config_model model = {.name = "a", .engine = CONFIG_ENGINE_COMMAND};
        struct service_status status = {.state = rows[i].state, .last_exit = rows[i].last_exit};
        struct run_record record = {.wanted.state = rows[i].wanted};
        struct gpu_leases leases = {0};
        struct err err = {0};
        const struct lifecycle_need need = {
            .model = &model,
            .known = {.status = &status, .record = &record, .lost = rows[i].lost},
            .asked_to = rows[i].asked_to,
            .leases = &leases};
        tap_note("%s", rows[i].what);
        record.hold.set = rows[i].held_by != NULL;
        (void)snprintf(record.hold.by, sizeof(record.hold.by), "%s",
                       rows[i].held_by ? rows[i].held_by : "");
        int r = lifecycle_ensure(&need, &err);
        CHECK_EQ(r < 0 ? -1 : r, rows[i].want);
        CHECK_EQ(err.id, rows[i].id);
        CHECK_EQ(err.fix[0] != '\0', r < 0);
    }
}

/* What fits is lifecycle_fit()'s, and asked of what is idle alone. */
TEST(it_is_not_started_where_there_is_no_room)
{
    const struct config_model model = {.name = "a", .engine = CONFIG_ENGINE_VLLM};
    struct service_status status = {.state = SERVICE_STOPPED};
    struct run_record record = {0};
    struct gpu_leases leases = {0};
    struct err err = {0};
    const struct lifecycle_need need = {
        .model = &model, .known = {.status = &status, .record = &record}, .leases = &leases};
    CHECK(lifecycle_ensure(&need, &err) < 0);
    CHECK_EQ(err.id, ERR_GPU_NOT_FOUND);
    status.state = SERVICE_READY;
    CHECK_EQ(lifecycle_ensure(&need, NULL), 0);
}
