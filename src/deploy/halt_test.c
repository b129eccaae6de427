#include "deploy/halt.h"

#include "base/text.h"
#include "deploy/pending_int.h"
#include "deploy_rig.h"
#include "sys/files.h"
#include "tap.h"

#include <stdio.h>

#define UNIT(text)                                                                        \
    {                                                                                     \
        .name = "units/citadel-" text, .bytes = "[Install]\nWantedBy=citadel-ai.target\n" \
    }
static const struct generation_file files[] = {
    {.name = "config.yaml", .bytes = "models: {}\n", .len = 11},
    UNIT("backup-logs.service"),
    UNIT("backup-logs.timer"),
    UNIT("gateway.service"),
    UNIT("gateway.socket"),
    UNIT("gpu.service"),
    UNIT("models.target"),
    UNIT("monitor.service"),
    UNIT("phi3.service"),
    UNIT("report.service"),
    UNIT("report.timer"),
    UNIT("storage.service"),
    UNIT("two.service"),
    {.name = "units/citadel-unwanted.service", .bytes = "[Service]\n"},
};

/* The steps as a line: "a b | c". */
static void
print(const struct halt_step steps[HALT_STEPS], struct buf *out)
{
    for (size_t i = 0; i < HALT_STEPS; i++) {
        if (steps[i].count && out->len)
            buf_add_str(out, " | ");
        for (size_t n = 0; n < steps[i].count; n++)
            buf_printf(out, "%s%s", n ? " " : "", steps[i].units[n].name + strlen("citadel-"));
    }
}

TEST(each_group_is_stopped_in_the_reverse_of_its_start)
{
    static const struct {
        const char *group, *want;
    } rows[] = {
        {"all", "backup-logs.service backup-logs.timer report.service report.timer"
                " | models.target phi3.service two.service unwanted.service | gateway.socket"
                " | gateway.service monitor.service | gpu.service | storage.service | ai.target"},
        {"models", "models.target phi3.service two.service unwanted.service"},
        {"gateway", "gateway.socket | gateway.service"},
        {"monitoring", "report.service report.timer | monitor.service"},
        {"infrastructure",
         "backup-logs.service backup-logs.timer"
         " | models.target phi3.service two.service unwanted.service | gpu.service"
         " | storage.service"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        _cleanup_buf_ struct buf got = BUF_INIT(4 * KIB);
        struct halt_step steps[HALT_STEPS];
        arena_init(&arena, 64 * KIB);
        CHECK_EQ(halt_plan(halt_group_find(rows[i].group), files, ARRAY_SIZE(files), &arena, steps),
                 0);
        print(steps, &got);
        CHECK_STR(got.data, rows[i].want);
    }
}

/* ---- a machine that only remembers ---- */

#define UNITS_MAX 16

static struct machine {
    struct {
        const char *unit;
        bool down, unwanted;
    } units[UNITS_MAX];
    size_t count;
    char acted[1024];
    const char *stuck;
    const char *unwritten; /* whose record cannot be changed */
} machine;

static size_t
index_of(const char *unit)
{
    size_t i = 0;
    while (i < machine.count && !text_eq(machine.units[i].unit, unit))
        i++;
    if (i == machine.count)
        machine.units[machine.count++].unit = unit;
    return i;
}

static int
fake_look(void *arg unused_arg, const char *unit, const char *text unused_arg,
          enum deploy_life *ret, struct err *reterr unused_arg)
{
    *ret = machine.units[index_of(unit)].down ? DEPLOY_RESTS : DEPLOY_RUNS;
    return 0;
}

static int
fake_wish(void *arg unused_arg, const char *unit, bool runs, struct err *reterr)
{
    if (machine.unwritten && text_eq(unit, machine.unwritten))
        return err_set(reterr, ERR_CHANGE_BUSY, "another process has kept its record");
    machine.units[index_of(unit)].unwanted = !runs;
    return 0;
}

static int
fake_carry_out(void *arg unused_arg, struct deploy_order *orders, size_t count,
               struct err *reterr unused_arg)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = index_of(orders[i].unit), len = strlen(machine.acted);
        CHECK_EQ(orders[i].act, DEPLOY_STOP);
        bool kept = machine.unwritten && text_eq(orders[i].unit, machine.unwritten);
        CHECK(machine.units[at].unwanted != kept); /* before it is stopped */
        orders[i].failed = text_eq(orders[i].unit, machine.stuck);
        (void)snprintf(orders[i].reason, sizeof(orders[i].reason), "it hangs");
        machine.units[at].down = !orders[i].failed;
        (void)snprintf(machine.acted + len, sizeof(machine.acted) - len, "%s%s", i ? " " : "; ",
                       orders[i].unit + strlen("citadel-"));
    }
    return 0;
}

static const struct deploy_host host = {
    .look = fake_look, .wish = fake_wish, .carry_out = fake_carry_out, .tell = deploy_rig_tell};

struct done {
    int r;
    struct err err;
    size_t stopped;
};

static struct done
stop(enum halt_group group, const struct generation_file *given, size_t count)
{
    struct done done = {0};
    _cleanup_arena_ struct arena arena;
    struct deploy_orders stopped = {0};
    const struct halt_wish wish = {.store = tap_dir(),
                                   .state_dir = tap_dir(),
                                   .by = "anna",
                                   .why = "citadel rollback",
                                   .group = group,
                                   .files = given,
                                   .count = count};
    arena_init(&arena, 1 * MIB);
    done.r = halt(&wish, &host, &arena, &stopped, &done.err);
    done.stopped = stopped.count;
    return done;
}

TEST(what_runs_is_unwanted_first_then_stopped)
{
    machine = (struct machine){0};
    machine.units[index_of("citadel-two.service")].down = true;
    machine.units[index_of("citadel-unwanted.service")].down = true;
    struct done done = stop(HALT_INFRASTRUCTURE, files, ARRAY_SIZE(files));
    CHECK_EQ(done.r, 0);
    CHECK_EQ(done.stopped, 6);
    CHECK_STR(machine.acted, "; backup-logs.service backup-logs.timer"
                             "; models.target phi3.service; gpu.service; storage.service");
    CHECK(machine.units[index_of("citadel-two.service")].unwanted);
    CHECK(!machine.units[index_of("citadel-unwanted.service")].unwanted);
    CHECK(!machine.units[index_of("citadel-monitor.service")].unwanted);
    CHECK_EQ(stop(HALT_INFRASTRUCTURE, files, ARRAY_SIZE(files)).stopped, 0);
}

TEST(one_whose_record_cannot_be_written_is_stopped_like_the_others)
{
    machine = (struct machine){.unwritten = "citadel-phi3.service"};
    struct done done = stop(HALT_MODELS, files, ARRAY_SIZE(files));
    CHECK_EQ(done.r, 0);
    CHECK(machine.units[index_of("citadel-phi3.service")].down);
    CHECK(machine.units[index_of("citadel-two.service")].down);
}

TEST(one_that_does_not_stop_is_told_and_keeps_no_other)
{
    machine = (struct machine){.stuck = "citadel-phi3.service"};
    struct done done = stop(HALT_ALL, files, ARRAY_SIZE(files));
    CHECK_EQ(done.err.id, ERR_DEPLOY_FAILED);
    CHECK_STR(done.err.what, "citadel-phi3.service: it hangs");
    CHECK(machine.units[index_of("citadel-storage.service")].down);
}

TEST(nothing_deployed_is_an_error)
{
    machine = (struct machine){0};
    struct done done = stop(HALT_ALL, NULL, 0);
    CHECK_EQ(done.err.id, ERR_DEPLOY_NOTHING);
}

TEST(what_an_interrupted_deployment_left_is_not_stopped_in_part)
{
    _cleanup_free_ char *dir = mem_printf("%s/deploy", tap_dir());
    struct pending pending = {.under_way = true, .to = 4, .by = "bert"};
    machine = (struct machine){0};
    CHECK_EQ(clock_boot_id(pending.boot), 0);
    CHECK_EQ(file_make_dirs(dir, 0755, NULL), 0);
    CHECK_EQ(pending_save(tap_dir(), &pending, NULL), 0);
    struct done done = stop(HALT_ALL, NULL, 0);
    CHECK_EQ(done.err.id, ERR_DEPLOY_FAILED);
    CHECK(strstr(done.err.what, "generation 4 by bert was interrupted") != NULL);
    pending.boot[0] = '\0'; /* since then the machine has booted: all runs as the link says */
    CHECK_EQ(pending_save(tap_dir(), &pending, NULL), 0);
    CHECK_EQ(stop(HALT_ALL, NULL, 0).err.id, ERR_DEPLOY_NOTHING);
}

TEST(what_is_stopped_is_of_what_was_shown)
{
    const struct generation_wish add = {"anna", "a test", files, ARRAY_SIZE(files)};
    struct halt_outlook outlook = {0};
    struct deploy_orders stopped = {0};
    struct err err = {0};
    unsigned number;
    _cleanup_arena_ struct arena arena;
    struct halt_wish wish = {.store = tap_dir(),
                             .state_dir = tap_dir(),
                             .by = "anna",
                             .why = "citadel rollback",
                             .group = HALT_ALL,
                             .expect = outlook.digest};
    machine = (struct machine){0};
    arena_init(&arena, 4 * MIB);
    REQUIRE(generation_add(tap_dir(), &add, &number, NULL) == 0);
    REQUIRE(generation_set(tap_dir(), GENERATION_CURRENT, number, NULL) == 0);
    CHECK_EQ(halt_look(&wish, &host, &arena, &outlook, NULL), 0);
    REQUIRE(generation_add(tap_dir(), &add, &number, NULL) == 0);
    REQUIRE(generation_set(tap_dir(), GENERATION_CURRENT, number, NULL) == 0);
    CHECK(halt(&wish, &host, &arena, &stopped, &err) < 0);
    CHECK_EQ(err.id, ERR_DEPLOY_STALE);
    CHECK_STR(machine.acted, "");
    CHECK_EQ(halt_look(&wish, &host, &arena, &outlook, NULL), 0);
    machine.units[index_of("citadel-two.service")].down = true; /* by itself, meanwhile */
    CHECK_EQ(halt(&wish, &host, &arena, &stopped, NULL), 0);
    CHECK(machine.acted[0]);
}
