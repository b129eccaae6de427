#include "config/config.h"
#include "plan/plan.h"

#define S_US UINT64_C(1000000)

/* What a shim needs beyond the drain: 15 s from SIGTERM to SIGKILL, 10 s for what was killed to go, 30 s
 * for memory to come back, of which the last look may take 20 s more (run/leave.c); and some. */
#define STOP_MARGIN_US (90 * S_US)
/* The shim keeps the limit of a start itself, and says why it is over: that of others is behind it. */
#define START_MARGIN_US (120 * S_US)
/* The shim says that it lives every two seconds. */
#define WATCHDOG_US (60 * S_US)
#define FORGIVE_US (600 * S_US)

struct plan_times
plan_times_of(const struct config_model *model)
{
    return (struct plan_times){
        .budget = {.burst = model->restart_limit,
                   .delay_us = model->restart_delay_us,
                   .forgive_us = FORGIVE_US,
                   .start_us = model->start_max_us + START_MARGIN_US},
        .stop_us = model->drain_timeout_us + STOP_MARGIN_US,
        .watchdog_us = WATCHDOG_US,
    };
}

struct plan_times
plan_times_of_keeper(void)
{
    return (struct plan_times){
        .budget = {.burst = 20,
                   .delay_us = 5 * S_US,
                   .forgive_us = FORGIVE_US,
                   .start_us = 60 * S_US}, /* TimeoutStartSec= of their units */
        .stop_us = PLAN_KEEPER_STOP_US,
        .watchdog_us = 30 * S_US,
    };
}

struct plan_times
plan_times_of_gateway(const struct config *config)
{
    struct plan_times times = plan_times_of_keeper();
    times.stop_us += config->gateway.drain_timeout_us;
    return times;
}
