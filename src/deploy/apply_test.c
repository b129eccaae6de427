#include "deploy/apply.h"

#include "base/text.h"
#include "crash.h"
#include "deploy/pending_int.h"
#include "deploy_rig.h"
#include "sys/files.h"
#include "tap.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CALLS_MAX 400
#define UNITS_MAX 8
#define WHOLE "citadel-ai.target"

/* ---- a machine, as far as a deployment sees it ---- */

struct fake_unit {
    char name[64];
    char loaded[256]; /* "": there is none */
    char runs_as[256];
    bool runs, shunned, held, never_stops;
    enum deploy_life
        known; /* not DEPLOY_RUNS: the host sees it better than what was deployed tells */
};

/* Shared with children, so that it outlives their crash, as systemd does. */
static struct machine {
    struct fake_unit units[UNITS_MAX];
    size_t count;
    unsigned reloads, prepares, acts;
    char acted[UNITS_MAX * 2][80];
    bool reload_fails, behind, reload_is_deaf;
} * machine;

static struct fake_unit *
unit_of(const char *name)
{
    for (size_t i = 0; i < machine->count; i++)
        if (text_eq(machine->units[i].name, name))
            return &machine->units[i];
    assert(machine->count < UNITS_MAX);
    struct fake_unit *unit = &machine->units[machine->count++];
    (void)snprintf(unit->name, sizeof(unit->name), "%s", name);
    return unit;
}

static const char *
path(const char *below)
{
    static char text[1024];
    (void)snprintf(text, sizeof(text), "%s/%s", tap_dir(), below);
    return text;
}

static int
fake_check(void *arg unused_arg, bool *ret_behind, struct err *reterr unused_arg)
{
    *ret_behind = machine->behind;
    return 0;
}

static int
fake_look(void *arg unused_arg, const char *unit, const char *text unused_arg,
          enum deploy_life *ret, struct err *reterr unused_arg)
{
    const struct fake_unit *u = unit_of(unit);
    *ret = u->runs ? u->known : u->shunned ? DEPLOY_SHUNNED : u->held ? DEPLOY_HELD : DEPLOY_RESTS;
    return 0;
}

static int
fake_list(void *arg unused_arg, struct arena *arena, const char ***ret_units, size_t *ret_count,
          struct err *reterr unused_arg)
{
    *ret_units = arena_alloc(arena, UNITS_MAX * sizeof(**ret_units));
    *ret_count = 0;
    for (size_t i = 0; i < machine->count; i++)
        if (machine->units[i].runs && !text_eq(machine->units[i].name, WHOLE))
            (*ret_units)[(*ret_count)++] = machine->units[i].name;
    return 0;
}

static int
fake_wish(void *arg unused_arg, const char *unit, bool runs, struct err *reterr unused_arg)
{
    unit_of(unit)->shunned = !runs;
    return 0;
}

static int
fake_prepare(void *arg unused_arg, bool deployed unused_arg, struct err *reterr unused_arg)
{
    machine->prepares++;
    return 0;
}

/* As the generator does it. */
static int
fake_reload(void *arg unused_arg, struct err *reterr)
{
    DIR *dir = opendir(path("etc/current/units"));
    if (machine->reload_fails) {
        if (dir)
            (void)closedir(dir);
        return err_set(reterr, ERR_SYSTEM, "systemd does not read them");
    }
    machine->reloads++;
    for (size_t i = 0; i < machine->count; i++)
        (void)snprintf(machine->units[i].loaded, sizeof(machine->units[i].loaded), "%s",
                       text_eq(machine->units[i].name, WHOLE) ? "WantedBy=" : "");
    for (struct dirent *e; dir && (e = readdir(dir));) {
        _cleanup_buf_ struct buf text = BUF_INIT(200);
        char below[512];
        (void)snprintf(below, sizeof(below), "etc/current/units/%s", e->d_name);
        if (text_ends(e->d_name, ".service") && file_read(path(below), &text, NULL) == 0) {
            struct fake_unit *u = unit_of(e->d_name);
            (void)snprintf(u->loaded, sizeof(u->loaded), "%s", text.data);
        }
    }
    if (dir)
        (void)closedir(dir);
    return 0;
}

static bool
is_big(const struct fake_unit *u)
{
    return strstr(u->loaded, "big") != NULL;
}

/* Two do not fit into the memory. */
static bool
another_big_one_runs(const struct fake_unit *u)
{
    for (size_t i = 0; i < machine->count; i++)
        if (&machine->units[i] != u && machine->units[i].runs && is_big(&machine->units[i]))
            return true;
    return false;
}

static int
fake_carry_out(void *arg unused_arg, struct deploy_order *orders, size_t count,
               struct err *reterr unused_arg)
{
    for (size_t i = 0; i < count; i++) {
        struct fake_unit *u = unit_of(orders[i].unit);
        char *acted = machine->acted[machine->acts++ % ARRAY_SIZE(machine->acted)];
        (void)snprintf(acted, sizeof(machine->acted[0]), "%s %s", deploy_act_word(orders[i].act),
                       u->name);
        orders[i].failed = orders[i].act == DEPLOY_STOP && u->never_stops;
        (void)snprintf(orders[i].reason, sizeof(orders[i].reason), "it does not stop");
        if (orders[i].act == DEPLOY_RELOAD && machine->reload_is_deaf)
            orders[i].failed = true;
        if (orders[i].failed)
            continue;
        u->runs = orders[i].act != DEPLOY_STOP && u->loaded[0] && !strstr(u->loaded, "broken") &&
                  !(is_big(u) && another_big_one_runs(u));
        (void)snprintf(u->runs_as, sizeof(u->runs_as), "%s", u->runs ? u->loaded : "");
        orders[i].failed = orders[i].act != DEPLOY_STOP && !u->runs;
        (void)snprintf(orders[i].reason, sizeof(orders[i].reason), "it is broken");
    }
    return 0;
}

static const struct deploy_host host = {.check = fake_check,
                                        .look = fake_look,
                                        .wish = fake_wish,
                                        .prepare = fake_prepare,
                                        .reload = fake_reload,
                                        .carry_out = fake_carry_out,
                                        .tell = deploy_rig_tell};

/* Everything starts as the current generation says. */
static void
reboot(void)
{
    (void)!fake_reload(NULL, NULL);
    for (size_t i = 0; i < machine->count; i++) {
        struct fake_unit *u = &machine->units[i];
        u->runs = strstr(u->loaded, "WantedBy=") && !strstr(u->loaded, "broken");
        (void)snprintf(u->runs_as, sizeof(u->runs_as), "%s", u->runs ? u->loaded : "");
    }
}

/* ---- what is deployed ---- */

#define UNIT(name_, says)                                                  \
    {                                                                      \
        .name = "units/citadel-" name_ ".service", .bytes = SERVICE(says), \
        .len = sizeof(SERVICE(says)) - 1,                                  \
    }
#define SERVICE(says) \
    "[Service]\nType=notify\nSlice=citadel-models.slice\nX=" says "\n[Install]\nWantedBy=x\n"

static const struct generation_file first[] = {UNIT("a", "1"), UNIT("b", "1"), UNIT("c", "1")};
static const struct generation_file second[] = {UNIT("a", "1"), UNIT("b", "2"), UNIT("d", "1")};
static const struct generation_file bad[] = {UNIT("a", "1"), UNIT("b", "broken"), UNIT("c", "1")};

struct end {
    int r;
    struct deploy_end end;
    struct err err;
};

static struct deploy_wish
wish_of(const struct generation_file *files)
{
    static char store[512], state[512];
    (void)snprintf(store, sizeof(store), "%s/etc", tap_dir());
    (void)snprintf(state, sizeof(state), "%s/var", tap_dir());
    return (struct deploy_wish){.store = store,
                                .state_dir = state,
                                .by = "anna",
                                .why = "a test",
                                .files = files,
                                .count = 3,
                                .keep = 10};
}

static struct end
deploy_wish(const struct deploy_wish *wish)
{
    _cleanup_arena_ struct arena arena;
    struct end end = {0};
    arena_init(&arena, DEPLOY_BYTES);
    end.r = deploy_apply(wish, &host, &arena, &end.end, &end.err);
    end.end.failed = NULL; /* it was in the arena */
    return end;
}

static struct end
deploy(const struct generation_file *files)
{
    const struct deploy_wish wish = wish_of(files);
    return deploy_wish(&wish);
}

static struct end
switch_to(unsigned number)
{
    struct deploy_wish wish = wish_of(NULL);
    wish.number = number;
    return deploy_wish(&wish);
}

static void
begin(void)
{
    if (!machine)
        machine =
            mmap(NULL, sizeof(*machine), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(machine != MAP_FAILED);
    memset(machine, 0, sizeof(*machine));
    CHECK_EQ(file_remove_tree(path("etc"), NULL), 0);
    CHECK_EQ(file_remove_tree(path("var"), NULL), 0);
    CHECK_EQ(file_make_dirs(path("etc"), 0755, NULL), 0);
    CHECK_EQ(file_make_dirs(path("var/deploy"), 0755, NULL), 0);
}

static unsigned
link_of(enum generation_link link)
{
    unsigned number = 0;
    CHECK_EQ(generation_of(path("etc"), link, &number, NULL), 0);
    return number;
}

static bool
is_pending(void)
{
    struct pending p;
    CHECK_EQ(pending_load(path("var"), &p, NULL), 0);
    return p.under_way;
}

/* All that runs does so as these files say, and nothing else runs. */
static void
check_runs(const struct generation_file *files)
{
    for (size_t i = 0; i < machine->count; i++) {
        const struct fake_unit *u = &machine->units[i];
        const struct generation_file *file = NULL;
        for (size_t n = 0; n < 3; n++)
            if (text_eq(deploy_unit_of(files[n].name), u->name))
                file = &files[n];
        CHECK_EQ(u->runs, file != NULL || text_eq(u->name, WHOLE));
        if (file)
            CHECK_STR(u->runs_as, file->bytes);
    }
}

TEST(a_first_deployment_starts_everything)
{
    begin();
    struct end end = deploy(first);
    CHECK_EQ(end.r, 0);
    CHECK_EQ(end.end.to, 1);
    CHECK_EQ(link_of(GENERATION_CURRENT), 1);
    CHECK_EQ(link_of(GENERATION_STABLE), 1);
    CHECK(!is_pending());
    check_runs(first);
}

TEST(a_second_one_touches_only_what_differs)
{
    begin();
    CHECK_EQ(deploy(first).r, 0);
    machine->acts = 0;
    CHECK_EQ(deploy(second).r, 0);
    check_runs(second);
    CHECK_EQ(machine->acts, 4); /* what goes and what is restarted is stopped before any starts */
    CHECK_STR(machine->acted[0], "stop citadel-c.service");
    CHECK_STR(machine->acted[1], "stop citadel-b.service");
    CHECK_STR(machine->acted[2], "start citadel-b.service");
    CHECK_STR(machine->acted[3], "start citadel-d.service");
}

static unsigned calls;

static int
count_call(const char *call unused_arg, size_t *bytes unused_arg)
{
    calls++;
    return 0;
}

TEST(the_same_again_writes_nothing_and_starts_nothing)
{
    begin();
    CHECK_EQ(deploy(first).r, 0);
    machine->acts = machine->reloads = calls = 0;
    fault_before = count_call;
    CHECK_EQ(deploy(first).r, 0);
    fault_before = NULL;
    CHECK_EQ(calls, 0);
    CHECK_EQ(machine->acts, 0);
    CHECK_EQ(machine->reloads, 0);
}

/* What a terminal keeps of what it has shown. */
static void
show(const struct generation_file *files, char ret_digest[HASH_SHA256_HEX])
{
    _cleanup_arena_ struct arena arena;
    struct deploy_outlook outlook;
    const struct deploy_wish wish = wish_of(files);
    arena_init(&arena, DEPLOY_BYTES);
    CHECK_EQ(deploy_look(&wish, &host, &arena, &outlook, NULL), 0);
    memcpy(ret_digest, outlook.digest, HASH_SHA256_HEX);
}

static struct end
deploy_shown(const struct generation_file *files, const char *shown)
{
    struct deploy_wish wish = wish_of(files);
    wish.expect = shown;
    return deploy_wish(&wish);
}

static void
check_refused(const struct generation_file *files, const char *shown)
{
    machine->acts = machine->reloads = calls = 0;
    fault_before = count_call;
    struct end end = deploy_shown(files, shown);
    fault_before = NULL;
    CHECK_EQ(end.err.id, ERR_DEPLOY_STALE);
    CHECK(strstr(end.err.fix, "citadel plan"));
    CHECK_EQ(calls, 0);
    CHECK_EQ(machine->acts + machine->reloads, 0);
}

TEST(what_was_shown_is_done)
{
    char shown[HASH_SHA256_HEX];
    begin();
    CHECK_EQ(deploy(first).r, 0);
    show(second, shown);
    unit_of("citadel-a.service")->runs = false; /* what runs may change at any time */
    CHECK_EQ(deploy_shown(second, shown).r, 0);
    check_runs(second);
    show(bad, shown);
    CHECK_EQ(deploy_shown(bad, shown).err.id, ERR_DEPLOY_REVERTED);
    check_runs(second);
}

TEST(what_was_not_shown_is_not_done)
{
    static const struct generation_file edited[] = {UNIT("a", "1"), UNIT("b", "2"), UNIT("d", "2")};
    char shown[HASH_SHA256_HEX];
    begin();
    CHECK_EQ(deploy(first).r, 0);
    show(second, shown);
    check_refused(edited, shown); /* as another release would render it, or after an edit */
    CHECK_EQ(deploy(edited).r, 0);
    check_refused(second, shown); /* somebody else was quicker */
    check_refused(edited, shown);
    CHECK_EQ(deploy(first).r, 0); /* the same files as then, and another generation */
    check_refused(second, shown);
}

TEST(what_should_run_and_does_not_is_started_but_for_what_a_person_stopped)
{
    begin();
    CHECK_EQ(deploy(first).r, 0);
    unit_of("citadel-a.service")->runs = false;
    unit_of("citadel-b.service")->runs = false;
    unit_of("citadel-b.service")->shunned = true;
    machine->acts = 0;
    CHECK_EQ(deploy(first).r, 0);
    CHECK_EQ(machine->acts, 1);
    CHECK_STR(machine->acted[0], "start citadel-a.service");
    CHECK_EQ(link_of(GENERATION_CURRENT), 1);
}

TEST(what_a_person_stopped_is_told)
{
    _cleanup_arena_ struct arena arena;
    struct deploy_outlook outlook;
    begin();
    CHECK_EQ(deploy(first).r, 0);
    unit_of("citadel-b.service")->runs = false;
    unit_of("citadel-b.service")->shunned = true;
    arena_init(&arena, DEPLOY_BYTES);
    const struct deploy_wish wish = wish_of(first);
    CHECK_EQ(deploy_look(&wish, &host, &arena, &outlook, NULL), 0);
    REQUIRE(outlook.left_count == 1);
    CHECK_STR(outlook.left[0], "citadel-b.service");
    CHECK(deploy_is_nothing(&outlook));
}

TEST(what_a_person_stopped_is_started_if_it_is_insisted_on)
{
    begin();
    CHECK_EQ(deploy(first).r, 0);
    unit_of("citadel-b.service")->runs = false;
    unit_of("citadel-b.service")->shunned = true;
    struct deploy_wish wish = wish_of(first);
    wish.insist = true;
    CHECK_EQ(deploy_wish(&wish).r, 0);
    check_runs(first);
    CHECK(!unit_of("citadel-b.service")->shunned);
}

#define ONCE(says) \
    "[Service]\nType=oneshot\nRemainAfterExit=yes\nX=" says "\n[Install]\nWantedBy=x\n"
#define ONCE_UNIT(name_, says)                                          \
    {                                                                   \
        .name = "units/citadel-" name_ ".service", .bytes = ONCE(says), \
        .len = sizeof(ONCE(says)) - 1                                   \
    }

/* What rests on it would only fail of that, and hide why. */
TEST(nothing_is_started_on_what_could_not_take_its_change)
{
    static const struct generation_file before[] = {UNIT("a", "1"), UNIT("b", "1"),
                                                    ONCE_UNIT("s", "1")};
    static const struct generation_file after[] = {UNIT("b", "1"), UNIT("n", "1"),
                                                   ONCE_UNIT("s", "broken")};
    begin();
    CHECK_EQ(deploy(before).r, 0);
    machine->acts = 0;
    struct end end = deploy(after);
    CHECK_EQ(end.err.id, ERR_DEPLOY_REVERTED);
    CHECK(strstr(end.err.what, "citadel-s.service: it is broken"));
    for (unsigned i = 0; i < machine->acts; i++)
        CHECK(!text_eq(machine->acted[i], "start citadel-n.service"));
    check_runs(before);
}

TEST(a_change_that_fails_is_taken_back)
{
    begin();
    CHECK_EQ(deploy(first).r, 0);
    struct end end = deploy(bad);
    CHECK_EQ(end.err.id, ERR_DEPLOY_REVERTED);
    CHECK_STR(end.err.what,
              "generation 2 was taken back, and 1 runs again: citadel-b.service: it is "
              "broken");
    CHECK_STR(end.err.fix, "citadel logs b");
    CHECK(end.end.reverted);
    CHECK_EQ(link_of(GENERATION_CURRENT), 1);
    CHECK_EQ(link_of(GENERATION_STABLE), 1);
    CHECK(!is_pending());
    check_runs(first);
}

TEST(a_change_that_fails_stays_if_it_is_to)
{
    struct deploy_wish wish;
    begin();
    CHECK_EQ(deploy(first).r, 0);
    wish = wish_of(bad);
    wish.stay = true;
    CHECK_EQ(deploy_wish(&wish).err.id, ERR_DEPLOY_FAILED);
    CHECK_EQ(link_of(GENERATION_CURRENT), 2);
    CHECK_EQ(link_of(GENERATION_STABLE), 1);
}

TEST(units_that_systemd_does_not_read_are_taken_back)
{
    begin();
    CHECK_EQ(deploy(first).r, 0);
    machine->reload_fails = true;
    CHECK_EQ(deploy(second).err.id, ERR_DEPLOY_FAILED); /* nor does it read the old ones */
    CHECK_EQ(link_of(GENERATION_CURRENT), 1);
    machine->reload_fails = false;
    CHECK(is_pending());
    CHECK_EQ(deploy(first).r, 0);
    check_runs(first);
}

TEST(a_generation_of_before_comes_back_byte_for_byte)
{
    _cleanup_arena_ struct arena arena;
    struct generation_damage *damage;
    size_t damages = 1;
    begin();
    CHECK_EQ(deploy(first).r, 0);
    CHECK_EQ(deploy(second).r, 0);
    CHECK_EQ(switch_to(1).r, 0);
    check_runs(first);
    CHECK_EQ(link_of(GENERATION_CURRENT), 1);
    arena_init(&arena, 1 * MIB);
    CHECK_EQ(generation_check(path("etc"), 1, &arena, &damage, &damages, NULL), 0);
    CHECK_EQ(damages, 0);
    CHECK_EQ(switch_to(7).err.id, ERR_GENERATION_NONE);
}

TEST(a_unit_changed_by_hand_is_replaced)
{
    begin();
    CHECK_EQ(deploy(first).r, 0);
    CHECK_EQ(file_write(path("etc/generations/1/units/citadel-b.service"), "mine", 4, 0644, NULL),
             0);
    machine->acts = 0;
    CHECK_EQ(deploy(first).r, 0);
    CHECK_EQ(link_of(GENERATION_CURRENT), 2);
    check_runs(first);
    CHECK_EQ(switch_to(1).err.id, ERR_GENERATION_DAMAGED);
}

TEST(a_machine_that_is_behind_is_made_to_look_again)
{
    begin();
    CHECK_EQ(deploy(first).r, 0);
    machine->behind = true;
    machine->reloads = machine->prepares = machine->acts = 0;
    CHECK_EQ(deploy(first).r, 0);
    CHECK_EQ(machine->reloads, 1);
    CHECK_EQ(machine->prepares, 1);
    CHECK_EQ(machine->acts, 0);
}

TEST(accounts_are_made_only_when_they_change)
{
    static const struct generation_file with[] = {
        UNIT("a", "1"), UNIT("b", "1"), {"units/citadel.sysusers", "u x\n", 4}};
    begin();
    CHECK_EQ(deploy(first).r, 0);
    CHECK_EQ(machine->prepares, 0);
    CHECK_EQ(deploy(with).r, 0);
    CHECK_EQ(machine->prepares, 1);
}

/* ---- what does not stop ---- */

static bool
was_acted(const char *what)
{
    for (unsigned i = 0; i < MIN(machine->acts, (unsigned)ARRAY_SIZE(machine->acted)); i++)
        if (text_starts(machine->acted[i], what))
            return true;
    return false;
}

TEST(who_takes_all_away_gets_nothing_back)
{
    begin();
    CHECK_EQ(deploy(first).r, 0);
    unit_of("citadel-b.service")->never_stops = true;
    machine->acts = 0;
    struct end end = switch_to(0);
    CHECK_EQ(end.err.id, ERR_DEPLOY_FAILED);
    CHECK_STR(end.err.what, "nothing is deployed any more, but not all has stopped: "
                            "citadel-b.service: it does not stop");
    CHECK_EQ(link_of(GENERATION_CURRENT), 0);
    CHECK(!was_acted("start"));
    CHECK(!unit_of("citadel-a.service")->runs);
    unit_of("citadel-b.service")->never_stops = false;
    CHECK_EQ(switch_to(0).r, 0);
    CHECK(!unit_of("citadel-b.service")->runs);
    CHECK(!is_pending());
}

TEST(what_does_not_stop_is_not_changed_under_its_feet)
{
    begin();
    CHECK_EQ(deploy(first).r, 0);
    unit_of("citadel-b.service")->never_stops = true;
    struct end end = deploy(second);
    CHECK_EQ(end.err.id, ERR_DEPLOY_REVERTED);
    CHECK_STR(end.err.what, "generation 2 was taken back, and 1 runs again: citadel-b.service: it "
                            "does not stop");
    CHECK_EQ(link_of(GENERATION_CURRENT), 1);
    check_runs(first);
    CHECK(!is_pending());
}

TEST(what_does_not_stop_is_told_when_the_others_are_to_stay)
{
    struct deploy_wish wish = wish_of(second);
    begin();
    CHECK_EQ(deploy(first).r, 0);
    unit_of("citadel-b.service")->never_stops = true;
    wish.stay = true;
    struct end end = deploy_wish(&wish);
    CHECK_EQ(end.err.id, ERR_DEPLOY_FAILED);
    CHECK_STR(end.err.what, "generation 2 is current, and not as it should be: citadel-b.service: "
                            "it does not stop");
    CHECK_STR(unit_of("citadel-b.service")->runs_as, first[1].bytes);
    unit_of("citadel-b.service")->never_stops = false;
    CHECK_EQ(deploy_wish(&wish).r, 0);
    check_runs(second);
}

/* ---- what would be lost ---- */

static const struct generation_file without_c[] = {UNIT("a", "1"), UNIT("b", "1"), UNIT("d", "1")};

static struct deploy_wish
wish_lacking(const struct deploy_lack *lack)
{
    struct deploy_wish wish = wish_of(without_c);
    wish.lacks = lack;
    wish.lack_count = 1;
    return wish;
}

TEST(what_is_deployed_is_not_lost_with_what_it_needs)
{
    static const struct deploy_lack lack = {"c", "its disk is away", "mount it", false};
    struct deploy_wish wish = wish_lacking(&lack);
    begin();
    CHECK_EQ(deploy(first).r, 0);
    machine->acts = machine->reloads = calls = 0;
    fault_before = count_call;
    struct end end = deploy_wish(&wish);
    fault_before = NULL;
    CHECK_EQ(end.err.id, ERR_DEPLOY_LOSS);
    CHECK(strstr(end.err.what, "c: its disk is away"));
    CHECK_EQ(calls, 0);
    CHECK_EQ(machine->acts + machine->reloads, 0);
    check_runs(first);
    wish.lose = true;
    CHECK_EQ(deploy_wish(&wish).r, 0);
    check_runs(without_c);
    wish.lose = false;
    CHECK_EQ(deploy_wish(&wish).r, 0); /* what is given up is no loss any more */
}

TEST(what_was_never_deployed_is_no_loss)
{
    static const struct deploy_lack lack = {"e", "its disk is away", "mount it", false};
    const struct deploy_wish wish = wish_lacking(&lack);
    begin();
    CHECK_EQ(deploy_wish(&wish).r, 0);
    CHECK_EQ(deploy(first).r, 0);
    CHECK_EQ(deploy_wish(&wish).r, 0);
    check_runs(without_c);
}

/* ---- who makes room ---- */

#define BIG(more) "[Service]\nType=notify\nSlice=citadel-models.slice\nX=big" more "\n"
#define WANTED "\n[Install]\nWantedBy=x\n"
#define FILE_OF(name_, text)                                    \
    {                                                           \
        .name = name_, .bytes = (text), .len = sizeof(text) - 1 \
    }
#define PLAN_OF(waits, for_whom)                                        \
    FILE_OF("plan.json", "{\"format\":1,\"models\":[{\"name\":\"" waits \
                         "\",\"held_by\":[\"" for_whom "\"]},{\"name\":\"c\",\"held_by\":[]}]}")
#define UNIT_OF(name, text) FILE_OF("units/citadel-" name ".service", text)

static const struct generation_file a_is_resident[] = {
    PLAN_OF("b", "a"), UNIT_OF("a", BIG("") WANTED), UNIT_OF("b", BIG(""))};
static const struct generation_file b_is_resident[] = {PLAN_OF("a", "b"), UNIT_OF("a", BIG("")),
                                                       UNIT_OF("b", BIG("") WANTED)};
static const struct generation_file b_is_broken[] = {PLAN_OF("a", "b"), UNIT_OF("a", BIG("")),
                                                     UNIT_OF("b", BIG(" broken") WANTED)};

static void
check_who_runs(bool a, bool b)
{
    CHECK_EQ(unit_of("citadel-a.service")->runs, a);
    CHECK_EQ(unit_of("citadel-b.service")->runs, b);
}

TEST(what_is_not_to_stay_makes_room_for_what_is)
{
    begin();
    CHECK_EQ(deploy(a_is_resident).r, 0);
    check_who_runs(true, false);
    machine->acts = 0;
    CHECK_EQ(deploy(b_is_resident).r, 0);
    CHECK_EQ(machine->acts, 2);
    CHECK_STR(machine->acted[0], "stop citadel-a.service");
    CHECK_STR(machine->acted[1], "start citadel-b.service");
    check_who_runs(false, true);
    CHECK_EQ(link_of(GENERATION_STABLE), 2);
    CHECK_EQ(switch_to(1).r, 0);
    check_who_runs(true, false);
}

TEST(it_is_told_for_whom)
{
    _cleanup_arena_ struct arena arena;
    struct deploy_outlook outlook;
    const struct deploy_wish wish = wish_of(b_is_resident);
    begin();
    CHECK_EQ(deploy(a_is_resident).r, 0);
    arena_init(&arena, DEPLOY_BYTES);
    CHECK_EQ(deploy_look(&wish, &host, &arena, &outlook, NULL), 0);
    REQUIRE(outlook.orders.count == 2);
    for (size_t i = 0; i < 2; i++)
        CHECK_STR(outlook.orders.items[i].makes_room_for,
                  text_eq(outlook.orders.items[i].unit, "citadel-a.service") ? "b" : NULL);
}

TEST(who_made_room_comes_back_when_it_was_for_nothing)
{
    begin();
    CHECK_EQ(deploy(a_is_resident).r, 0);
    CHECK_EQ(deploy(b_is_broken).err.id, ERR_DEPLOY_REVERTED);
    check_who_runs(true, false);
    CHECK_EQ(link_of(GENERATION_CURRENT), 1);
}

/* Nobody wants it by itself in the generation that comes back. */
TEST(and_so_does_what_somebody_had_asked_for)
{
    static const struct generation_file b_is_gone[] = {
        FILE_OF("config.yaml", "x"), FILE_OF("plan.json", "{\"format\":1}"), UNIT_OF("a", BIG(""))};
    begin();
    CHECK_EQ(deploy(b_is_gone).r, 0);
    unit_of("citadel-a.service")->runs = true;
    CHECK_EQ(deploy(b_is_broken).err.id, ERR_DEPLOY_REVERTED);
    CHECK(unit_of("citadel-a.service")->runs);
    CHECK_EQ(link_of(GENERATION_CURRENT), 1);
}

TEST(nobody_makes_room_for_one_that_is_not_started)
{
    begin();
    CHECK_EQ(deploy(b_is_resident).r, 0);
    unit_of("citadel-b.service")->runs = false;
    unit_of("citadel-b.service")->shunned = true;
    unit_of("citadel-a.service")->runs = true;
    machine->acts = 0;
    CHECK_EQ(deploy(b_is_resident).r, 0);
    CHECK_EQ(machine->acts, 0);
    check_who_runs(true, false);
}

TEST(what_starts_with_the_machine_no_more_goes_on)
{
    static const struct generation_file before[] = {
        FILE_OF("config.yaml", "x"), UNIT_OF("a", BIG("") WANTED), UNIT_OF("b", "[Service]\n")};
    static const struct generation_file after[] = {
        FILE_OF("config.yaml", "x"), UNIT_OF("a", BIG("")), UNIT_OF("b", "[Service]\n")};
    begin();
    CHECK_EQ(deploy(before).r, 0);
    machine->acts = 0;
    CHECK_EQ(deploy(after).r, 0);
    CHECK_EQ(machine->acts, 0);
    CHECK(unit_of("citadel-a.service")->runs);
    CHECK_EQ(link_of(GENERATION_STABLE), 2);
}

/* ---- what was well ---- */

static bool
starts_none(const char *unit unused_arg)
{
    return false;
}

TEST(stable_is_where_all_was_started)
{
    struct deploy_wish wish = wish_of(second);
    begin();
    CHECK_EQ(deploy(first).r, 0);
    wish.starts = starts_none;
    CHECK_EQ(deploy_wish(&wish).r, 0);
    CHECK_EQ(link_of(GENERATION_CURRENT), 2);
    CHECK_EQ(link_of(GENERATION_STABLE), 1);
    CHECK_EQ(deploy(second).r, 0);
    CHECK_EQ(link_of(GENERATION_STABLE), 2);
    check_runs(second);
}

TEST(what_is_new_since_all_was_well_is_taken_back_when_it_fails_late)
{
    static const struct generation_file with[] = {UNIT("a", "1"), UNIT("b", "1"),
                                                  UNIT("d", "broken")};
    struct deploy_wish wish = wish_of(with);
    begin();
    CHECK_EQ(deploy(first).r, 0);
    wish.starts = starts_none;
    CHECK_EQ(deploy_wish(&wish).r, 0);
    CHECK_EQ(deploy(with).err.id, ERR_DEPLOY_REVERTED);
    CHECK_EQ(link_of(GENERATION_CURRENT), 1);
    check_runs(first);
}

TEST(a_first_one_in_which_something_fails_is_not_stable)
{
    begin();
    CHECK_EQ(deploy(bad).err.id, ERR_DEPLOY_FAILED);
    CHECK_EQ(link_of(GENERATION_STABLE), 0);
    CHECK_EQ(deploy(first).r, 0);
    CHECK_EQ(link_of(GENERATION_STABLE), 2);
}

TEST(what_the_breaker_holds_is_started_when_it_has_changed)
{
    begin();
    CHECK_EQ(deploy(first).r, 0);
    unit_of("citadel-b.service")->runs = false;
    unit_of("citadel-b.service")->held = true;
    machine->acts = 0;
    CHECK_EQ(deploy(first).r, 0);
    CHECK_EQ(machine->acts, 0);
    CHECK_EQ(deploy(second).r, 0);
    check_runs(second);
}

/* ---- the way back ---- */

TEST(as_many_may_fail_as_will)
{
    begin();
    for (unsigned i = 0; i < PENDING_FROM_MAX + 4; i++) {
        char text[128];
        struct generation_file files[3];
        memcpy(files, first, sizeof(files));
        (void)snprintf(text, sizeof(text), SERVICE("broken %u"), i);
        files[1].bytes = text;
        files[1].len = strlen(text);
        struct deploy_wish wish = wish_of(files);
        wish.stay = true;
        CHECK_EQ(deploy_wish(&wish).err.id, ERR_DEPLOY_FAILED);
    }
    CHECK_EQ(deploy(second).r, 0);
    check_runs(second);
    CHECK(!is_pending());
}

TEST(a_damaged_generation_is_replaced)
{
    begin();
    CHECK_EQ(deploy(first).r, 0);
    CHECK_EQ(file_write(path("etc/generations/1/manifest.json"), "{", 1, 0644, NULL), 0);
    struct end end = deploy(first);
    CHECK_EQ(end.r, 0);
    CHECK_EQ(link_of(GENERATION_CURRENT), 2);
    check_runs(first);
    CHECK_EQ(switch_to(1).err.id, ERR_GENERATION_DAMAGED);
}

TEST(a_link_that_leads_nowhere_is_made_anew)
{
    for (int all = 0; all < 2; all++) {
        begin();
        CHECK_EQ(deploy(first).r, 0);
        CHECK_EQ(file_link(path("etc/current"), "generations/99", NULL), 0);
        if (all)
            CHECK_EQ(file_link(path("etc/stable"), "generations/98", NULL), 0);
        machine->acts = 0;
        CHECK_EQ(deploy(first).r, 0);
        CHECK_EQ(machine->acts, 6); /* they may run as anything */
        check_runs(first);
        CHECK_EQ(link_of(GENERATION_CURRENT), 2);
        CHECK_EQ(link_of(GENERATION_STABLE), 2);
    }
}

/* ---- how one that runs differs ---- */

#define LIVE(says, live) \
    "[Unit]\nX-CitadelLive=" live "\n[Service]\nType=notify\nX=" says "\n[Install]\nWantedBy=x\n"

static const struct {
    const char *from, *to;
    enum deploy_life known;
    const char *act; /* NULL: nothing is done */
} differences[] = {
    {LIVE("1", "1"), LIVE("1", "1"), DEPLOY_RUNS, NULL},
    {LIVE("1", "1"), LIVE("2", "1"), DEPLOY_RUNS, "restart"},
    {LIVE("1", "1"), LIVE("1", "2"), DEPLOY_RUNS, "reload"},
    {LIVE("1", "1"), LIVE("2", "2"), DEPLOY_RUNS, "restart"},
    {LIVE("1", "1"), LIVE("2", "2"), DEPLOY_RUNS_SO, NULL},
    {LIVE("1", "1"), LIVE("1", "2"), DEPLOY_RUNS_SO, "reload"},
    {LIVE("1", "1"), LIVE("1", "1"), DEPLOY_RUNS_LIVE, "reload"},
    {LIVE("1", "1"), LIVE("2", "2"), DEPLOY_RUNS_LIVE, "reload"},
    {LIVE("1", "1"), LIVE("1", "1"), DEPLOY_RUNS_ELSE, "restart"},
    {LIVE("1", "1"), LIVE("1", "2"), DEPLOY_RUNS_ELSE, "restart"},
};

static struct end
deploy_text(const char *text)
{
    const struct generation_file file = {"units/citadel-a.service", text, strlen(text)};
    struct deploy_wish wish = wish_of(&file);
    wish.count = 1;
    return deploy_wish(&wish);
}

TEST(what_can_be_taken_up_is_and_the_rest_restarts)
{
    for (size_t i = 0; i < ARRAY_SIZE(differences); i++) {
        char want[64] = "";
        begin();
        tap_note("row %zu", i);
        CHECK_EQ(deploy_text(differences[i].from).r, 0);
        unit_of("citadel-a.service")->known = differences[i].known;
        machine->acts = 0;
        memset(machine->acted, 0, sizeof(machine->acted));
        CHECK_EQ(deploy_text(differences[i].to).r, 0);
        CHECK_EQ(machine->acts, differences[i].act != NULL);
        if (differences[i].act)
            (void)snprintf(want, sizeof(want), "%s citadel-a.service", differences[i].act);
        CHECK_STR(machine->acted[0], want);
    }
}

TEST(who_does_not_take_it_up_is_started_anew)
{
    begin();
    CHECK_EQ(deploy_text(LIVE("1", "1")).r, 0);
    machine->reload_is_deaf = true;
    machine->acts = 0;
    struct end end = deploy_text(LIVE("1", "2"));
    CHECK_EQ(end.r, 0);
    CHECK_EQ(machine->acts, 2);
    CHECK_STR(machine->acted[0], "reload citadel-a.service");
    CHECK_STR(machine->acted[1], "restart citadel-a.service");
    CHECK(unit_of("citadel-a.service")->runs);
}

/* One of which no generation tells. */
TEST(a_stranger_that_runs_is_stopped)
{
    begin();
    CHECK_EQ(deploy(first).r, 0);
    unit_of("citadel-z.service")->runs = true;
    struct deploy_host listing = host;
    const struct deploy_wish wish = wish_of(first);
    _cleanup_arena_ struct arena arena;
    struct deploy_end end;
    arena_init(&arena, DEPLOY_BYTES);
    listing.list = fake_list;
    machine->acts = 0;
    CHECK_EQ(deploy_apply(&wish, &listing, &arena, &end, NULL), 0);
    CHECK_EQ(machine->acts, 1);
    CHECK_STR(machine->acted[0], "stop citadel-z.service");
    check_runs(first);
}

static void
run_deploy(void *files)
{
    (void)deploy(files);
}

/* Stopped at any call that changes a file, the machine is at the old or the new generation, and the
 * next deployment, or the next boot, makes it whole. */
static void
check_crashes(const struct generation_file *next, const struct generation_file *goal, bool boots)
{
    bool crashed = true;
    for (unsigned n = 1; n < CALLS_MAX && crashed; n++)
        for (int torn = 0; torn < (boots ? 1 : 2); torn++) {
            tap_note("call %u%s", n, torn ? ", torn" : "");
            begin();
            CHECK_EQ(deploy(first).r, 0);
            crashed = crash_at(n, torn, run_deploy, (void *)(uintptr_t)next);
            unsigned current = link_of(GENERATION_CURRENT);
            CHECK(current == 1 || current == 2);
            if (boots)
                reboot();
            if (boots && (current == 1 || next == second))
                check_runs(current == 1 ? first : second);
            struct end end = deploy(next);
            CHECK(end.r == 0 || end.err.id == ERR_DEPLOY_REVERTED);
            check_runs(goal);
            CHECK(!is_pending());
        }
    CHECK(!crashed);
}

TEST(a_crash_at_any_call_leaves_the_old_or_the_new)
{
    check_crashes(second, second, false);
}

TEST(and_so_does_one_that_takes_the_machine_with_it)
{
    check_crashes(second, second, true);
}

TEST(a_crash_at_any_call_of_taking_back_leaves_the_old)
{
    check_crashes(bad, first, false);
}

TEST(and_so_does_one_of_taking_back_that_takes_the_machine_with_it)
{
    check_crashes(bad, first, true);
}

/* A call that fails, and perhaps all behind it, leaves what runs as one of the two; and what could not be
 * told is made good by the next. */
TEST(a_disk_that_fails_at_any_call_is_no_mixture)
{
    for (int dead = 0; dead < 2; dead++) {
        fail_left = 0;
        for (unsigned n = 1; n < CALLS_MAX && fail_left == 0; n++) {
            begin();
            CHECK_EQ(deploy(first).r, 0);
            tap_note("call %u%s", n, dead ? " and all behind it" : "");
            fail_at(n, dead, run_deploy, (void *)(uintptr_t)second);
            if (!dead && !is_pending())
                check_runs(link_of(GENERATION_CURRENT) == 1 ? first : second);
            CHECK_EQ(deploy(second).r, 0);
            check_runs(second);
            CHECK(!is_pending());
        }
        CHECK(fail_left > 0);
    }
}

static const struct {
    const char *what, *text;
} spoilt[] = {
    {"empty", ""},
    {"no JSON", "to: 7\n"},
    {"no goal", "{\"from\": [1]}"},
    {"from is no list", "{\"from\": 1, \"to\": 2}"},
};

TEST(a_spoilt_note_of_what_is_pending_is_told)
{
    for (size_t i = 0; i < ARRAY_SIZE(spoilt); i++) {
        struct pending p;
        struct err err = {0};
        begin();
        tap_note("%s", spoilt[i].what);
        CHECK_EQ(file_write(path("var/deploy/pending.json"), spoilt[i].text, strlen(spoilt[i].text),
                            0644, NULL),
                 0);
        CHECK(pending_load(path("var"), &p, &err) < 0);
        CHECK(strstr(err.what, "var/deploy/pending.json") != NULL);
        CHECK(err.fix[0] != '\0');
    }
}

TEST(what_is_pending_reads_back)
{
    struct pending p = {.by = "anna", .to = 40, .under_way = true, .failed = true}, q;
    begin();
    for (unsigned i = 1; i <= PENDING_FROM_MAX + 1; i++)
        pending_add_from(&p, i);
    CHECK_EQ(pending_save(path("var"), &p, NULL), 0);
    CHECK_EQ(pending_load(path("var"), &q, NULL), 0);
    CHECK_EQ(q.from_count, PENDING_FROM_MAX);
    CHECK(q.unknown && q.failed && q.under_way);
    CHECK_EQ(q.to, 40);
}
