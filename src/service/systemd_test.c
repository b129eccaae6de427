#include "service/systemd_int.h"

#include "tap.h"

#include <signal.h>
#include <stdio.h>

static const struct {
    const char *note;
    const char *active, *sub, *result, *said;
    int code, status;
    enum service_state state;
    const char *reason, *shown;
    int last_exit;
} rows[] = {
    {"up", "active", "running", "success", "answers chat completions", 0, 0, SERVICE_READY, "",
     "answers chat completions", -1},
    {"loading", "activating", "start", "success", "loading shard 1/2", 0, 0, SERVICE_STARTING, "",
     "loading shard 1/2", -1},
    {"between two starts", "activating", "auto-restart", "exit-code", "ended: the engine died",
     CLD_EXITED, 1, SERVICE_BACKING_OFF, "the engine died", "", 1},
    {"draining", "deactivating", "stop-sigterm", "success", "2 requests run", 0, 0,
     SERVICE_STOPPING, "", "2 requests run", -1},
    {"stopped", "inactive", "dead", "success", "", CLD_EXITED, 0, SERVICE_STOPPED, "", "", 0},
    {"never works", "failed", "failed", "exit-code", "ended: no such model", CLD_EXITED, 64,
     SERVICE_FAILED, "no such model", "", 64},
    {"not now", "failed", "failed", "exit-code", "ended: the port is taken", CLD_EXITED, 75,
     SERVICE_NOT_NOW, "the port is taken", "", 75},
    {"killed", "failed", "failed", "signal", "loading", CLD_KILLED, SIGKILL, SERVICE_FAILED,
     "killed by SIGKILL; it was: loading", "", 137},
    {"too often", "failed", "failed", "start-limit-hit", "ended: the engine died", CLD_EXITED, 1,
     SERVICE_FAILED, "it failed too often, and systemd gave up: the engine died", "", 1},
    {"too late", "failed", "failed", "timeout", "", CLD_KILLED, SIGKILL, SERVICE_FAILED,
     "it took longer than it may: killed by SIGKILL", "", 137},
    {"never started", "failed", "failed", "resources", "", 0, 0, SERVICE_FAILED,
     "systemd lacked what it needs to start it: it was not started", "", -1},
};

static struct systemd_unit
unit_of(size_t i)
{
    struct systemd_unit u = {.condition_held = true, .since_us = 5};
    (void)snprintf(u.load_state, sizeof(u.load_state), "loaded");
    (void)snprintf(u.active_state, sizeof(u.active_state), "%s", rows[i].active);
    (void)snprintf(u.sub_state, sizeof(u.sub_state), "%s", rows[i].sub);
    (void)snprintf(u.result, sizeof(u.result), "%s", rows[i].result);
    (void)snprintf(u.status_text, sizeof(u.status_text), "%s", rows[i].said);
    u.exit_code = rows[i].code;
    u.exit_status = rows[i].status;
    return u;
}

TEST(what_systemd_says_is_told_in_our_words)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct systemd_unit unit = unit_of(i);
        struct service_status s = {0};
        systemd_tell(&unit, &s);
        tap_note("%s", rows[i].note);
        CHECK_STR(service_state_word(s.state), service_state_word(rows[i].state));
        CHECK_STR(s.reason, rows[i].reason);
        CHECK_STR(s.status, rows[i].shown);
        CHECK_EQ(s.last_exit, rows[i].last_exit);
        CHECK_EQ(s.since_us, 5);
    }
}

TEST(the_next_start_is_told)
{
    struct systemd_unit unit = unit_of(2);
    struct service_status s = {0};
    unit.restart_us = 10;
    systemd_tell(&unit, &s);
    CHECK_EQ(s.next_us, 15);
}

TEST(a_unit_that_may_not_start_says_so)
{
    struct systemd_unit unit = unit_of(4);
    struct service_status s = {0};
    unit.condition_held = false;
    systemd_tell(&unit, &s);
    CHECK_STR(s.reason, ""); /* it was never looked at */
    unit.condition_at_us = 1;
    systemd_tell(&unit, &s);
    CHECK_STR(s.reason, "a condition of its unit does not hold");
}

/* A sentence as long as systemd has room for still fits, and nothing of it drives a terminal. */
TEST(a_long_reason_is_cut)
{
    struct systemd_unit unit = unit_of(5);
    struct service_status s = {0};
    memset(unit.status_text, '\033', sizeof(unit.status_text) - 1);
    systemd_tell(&unit, &s);
    CHECK(strlen(s.reason) > 200 && !strchr(s.reason, '\033'));
}
