#include "deploy/phase.h"

#include "base/text.h"
#include "fmt/json.h"
#include "sys/files.h"
#include "tap.h"

#include <stdio.h>

static const char *
path(const char *below)
{
    static char text[1024];
    (void)snprintf(text, sizeof(text), "%s/%s", tap_dir(), below);
    return text;
}

static void
write_phases(const char *text)
{
    CHECK_EQ(file_make_dirs(path("deploy"), 0755, NULL), 0);
    CHECK_EQ(file_write(path("deploy/phases.json"), text, strlen(text), 0644, NULL), 0);
}

TEST(without_a_file_nothing_was_done)
{
    struct deploy_phases phases;
    CHECK_EQ(deploy_phases_load(tap_dir(), &phases, NULL), 0);
    for (unsigned i = 1; i <= DEPLOY_PHASES; i++)
        CHECK_EQ(phases.phases[i].at_us, 0);
}

TEST(what_is_printed_is_read_as_the_same)
{
    static const char text[] = "[{\"phase\":2,\"what\":\"one model\",\"at_us\":5,\"well\":true,"
                               "\"generation\":7,\"by\":\"anna\",\"text\":\"phi3 answers\"}]";
    _cleanup_buf_ struct buf again = BUF_INIT(4 * KIB);
    struct deploy_phases phases;
    struct json_writer w;
    write_phases(text);
    CHECK_EQ(deploy_phases_load(tap_dir(), &phases, NULL), 0);
    CHECK_EQ(phases.phases[1].at_us, 0);
    CHECK(phases.phases[2].well);
    json_init(&w, &again, false);
    deploy_phases_print(&phases, &w, NULL);
    CHECK_STR(again.data, text);
}

TEST(what_is_spoilt_is_told_or_passed_over)
{
    static const char *const passed_over[] = {"{}",
                                              "[]",
                                              "[7]",
                                              "[{\"phase\":0}]",
                                              "[{\"phase\":5}]",
                                              "[{\"phase\":\"one\",\"at_us\":5}]"};
    struct deploy_phases phases;
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_SIZE(passed_over); i++) {
        tap_note("%s", passed_over[i]);
        write_phases(passed_over[i]);
        CHECK_EQ(deploy_phases_load(tap_dir(), &phases, NULL), 0);
        for (unsigned n = 1; n <= DEPLOY_PHASES; n++)
            CHECK_EQ(phases.phases[n].at_us, 0);
    }
    write_phases("[");
    CHECK(deploy_phases_load(tap_dir(), &phases, &err) < 0);
    CHECK(strstr(err.what, "deploy/phases.json") != NULL);
    CHECK_STR(err.fix, "remove it, and begin with phase1");
}

TEST(they_are_forgotten)
{
    struct deploy_phases phases;
    write_phases("[{\"phase\":1,\"at_us\":5,\"well\":true}]");
    CHECK_EQ(deploy_phases_forget(tap_dir(), NULL), 0);
    CHECK_EQ(deploy_phases_load(tap_dir(), &phases, NULL), 0);
    CHECK_EQ(phases.phases[1].at_us, 0);
}
