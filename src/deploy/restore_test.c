#include "deploy/restore.h"

#include "base/text.h"
#include "crash.h"
#include "deploy_rig.h"
#include "sys/files.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define CALLS_MAX 400

/* ---- a machine that runs what is wanted of it ---- */

static const char *const names[] = {"citadel-a.service", "citadel-b.service", "citadel-ai.target"};
#define NAMES ARRAY_SIZE(names)

/* Shared with children, so that it outlives their crash. */
static struct machine {
    bool runs[NAMES], shunned[NAMES];
    bool b_fails;
} * machine;

static size_t
index_of(const char *unit)
{
    size_t i = 0;
    while (i < NAMES && !text_eq(names[i], unit))
        i++;
    assert(i < NAMES);
    return i;
}

static int
fake_look(void *arg unused_arg, const char *unit, const char *text unused_arg,
          enum deploy_life *ret, struct err *reterr unused_arg)
{
    size_t i = index_of(unit);
    *ret = machine->runs[i] ? DEPLOY_RUNS : machine->shunned[i] ? DEPLOY_SHUNNED : DEPLOY_RESTS;
    return 0;
}

static int
fake_wish(void *arg unused_arg, const char *unit, bool runs, struct err *reterr unused_arg)
{
    machine->shunned[index_of(unit)] = !runs;
    return 0;
}

static int
fake_carry_out(void *arg unused_arg, struct deploy_order *orders, size_t count,
               struct err *reterr unused_arg)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = index_of(orders[i].unit);
        bool fails = machine->b_fails && at == 1 && orders[i].act != DEPLOY_STOP;
        machine->runs[at] = orders[i].act != DEPLOY_STOP && !fails;
        orders[i].failed = fails;
        (void)snprintf(orders[i].reason, sizeof(orders[i].reason), "it is broken");
    }
    return 0;
}

static const struct deploy_host host = {.check = deploy_rig_check,
                                        .look = fake_look,
                                        .wish = fake_wish,
                                        .prepare = deploy_rig_prepare,
                                        .reload = deploy_rig_reload,
                                        .carry_out = fake_carry_out,
                                        .tell = deploy_rig_tell};

/* ---- the files of it ---- */

#define WANTED(word) "[Service]\n# " word "\n[Install]\nWantedBy=citadel-models.target\n"
#define FILE_OF(name_, text)                                      \
    {                                                             \
        .name = (name_), .bytes = (text), .len = sizeof(text) - 1 \
    }
static const struct generation_file then[] = {
    FILE_OF("config.yaml", "then\n"),
    FILE_OF("units/citadel-a.service", WANTED("then")),
    FILE_OF("units/citadel-b.service", WANTED("same")),
};
static const struct generation_file now[] = {
    FILE_OF("config.yaml", "now\n"),
    FILE_OF("units/citadel-a.service", WANTED("now")),
    FILE_OF("units/citadel-b.service", WANTED("same")),
};
#define FILES ARRAY_SIZE(now)

static const char *
path(const char *below)
{
    static char texts[16][1024];
    static unsigned next;
    char *text = texts[next++ % ARRAY_SIZE(texts)];
    (void)snprintf(text, sizeof(texts[0]), "%s/%s", tap_dir(), below);
    return text;
}

static void
write_text(const char *below, const char *text)
{
    CHECK_EQ(file_write(path(below), text, strlen(text), 0644, NULL), 0);
}

static bool
has_text(const char *below, const char *want)
{
    _cleanup_buf_ struct buf text = BUF_INIT(4 * KIB);
    return file_read(path(below), &text, NULL) == 0 && text_eq(text.data, want);
}

static struct deploy_wish
wish_of(const struct generation_file *files)
{
    static char store[1024], state[1024];
    (void)snprintf(store, sizeof(store), "%s/etc", tap_dir());
    (void)snprintf(state, sizeof(state), "%s/var", tap_dir());
    return (struct deploy_wish){.store = store,
                                .state_dir = state,
                                .by = "anna",
                                .why = "a test",
                                .files = files,
                                .count = FILES,
                                .keep = 10};
}

static void
deploy(const struct generation_file *files)
{
    _cleanup_arena_ struct arena arena;
    struct deploy_end end;
    const struct deploy_wish wish = wish_of(files);
    arena_init(&arena, DEPLOY_BYTES);
    CHECK_EQ(deploy_apply(&wish, &host, &arena, &end, NULL), 0);
}

/* What the machine was, with a file that is only to be read. */
static void
make_backup(void)
{
    static const char *stopped[] = {"citadel-b.service"};
    struct backup_file beside[] = {
        {.path = path("mine.yaml"), .mode = 0600, .bytes = "then\n", .len = 5},
        {.path = path("bin/hook"), .kind = BACKUP_SCRIPT, .mode = 0755, .bytes = "#!", .len = 2},
        {.path = path("record"), .kind = BACKUP_STATE, .mode = 0644, .bytes = "{}", .len = 2},
    };
    const struct backup b = {.files = then,
                             .file_count = FILES,
                             .beside = beside,
                             .beside_count = ARRAY_SIZE(beside),
                             .stopped = stopped,
                             .stopped_count = 1};
    unsigned id = 0;
    CHECK_EQ(file_remove_tree(path("backup"), NULL), 0);
    CHECK_EQ(backup_write(path("backup"), "bert", "a test", &b, &id, NULL), 0);
    CHECK_EQ(id, 1);
}

/* Everything is another since: files beside, generation, wishes. */
static void
change_all(void)
{
    if (!machine)
        machine =
            mmap(NULL, sizeof(*machine), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *machine = (struct machine){0};
    CHECK_EQ(file_remove_tree(path("etc"), NULL), 0);
    CHECK_EQ(file_remove_tree(path("var"), NULL), 0);
    CHECK_EQ(file_remove_tree(path("bin"), NULL), 0);
    CHECK_EQ(file_make_dirs(path("var/deploy"), 0755, NULL), 0);
    CHECK_EQ(file_make_dirs(path("bin"), 0755, NULL), 0);
    deploy(now);
    write_text("mine.yaml", "now\n");
    machine->runs[0] = false;
    machine->shunned[0] = true;
}

static void
begin(void)
{
    make_backup();
    change_all();
}

struct end {
    int r;
    struct err err;
    unsigned to;
};

/* shown: NULL: nothing was; "": what is to come is kept there. */
static struct end
bring_back_shown(char *shown)
{
    _cleanup_arena_ struct arena arena;
    struct end end = {0};
    struct deploy_end deployed;
    struct backup b;
    arena_init(&arena, BACKUP_BYTES);
    end.r = backup_read(path("backup"), 1, &arena, &b, &end.err);
    if (end.r < 0)
        return end;
    struct restore_wish wish = {.deploy = wish_of(b.files), .backup = &b, .id = 1};
    wish.deploy.count = b.file_count;
    if (shown && !*shown) {
        struct restore_outlook outlook;
        CHECK_EQ(restore_look(&wish, &arena, &outlook, NULL), 0);
        memcpy(shown, outlook.digest, HASH_SHA256_HEX);
        return end;
    }
    wish.deploy.expect = shown;
    end.r = restore(&wish, &host, &arena, &deployed, &end.err);
    end.to = deployed.to;
    return end;
}

static struct end
bring_back(void)
{
    return bring_back_shown(NULL);
}

static unsigned
current(void)
{
    unsigned number = 0;
    CHECK_EQ(generation_of(path("etc"), GENERATION_CURRENT, &number, NULL), 0);
    return number;
}

static void
check_is_then(void)
{
    struct restore_mark mark;
    struct stat st;
    CHECK(has_text("etc/current/config.yaml", "then\n"));
    CHECK(has_text("mine.yaml", "then\n") && has_text("bin/hook", "#!"));
    CHECK(stat(path("bin/hook"), &st) == 0 && (st.st_mode & 0777) == 0755);
    CHECK(machine->runs[0] && !machine->shunned[0]);
    CHECK(!machine->runs[1] && machine->shunned[1]);
    restore_mark_read(path("var"), &mark);
    CHECK_EQ(mark.id, 0);
}

TEST(all_of_it_comes_back_as_a_new_generation)
{
    begin();
    struct end end = bring_back();
    CHECK_EQ(end.r, 0);
    CHECK_EQ(end.to, 2);
    CHECK_EQ(current(), 2);
    check_is_then();
    CHECK(!has_text("record", "{}")); /* to be read, not to be put back */
    CHECK_EQ(bring_back().to, 2);
}

TEST(a_deployment_that_fails_puts_all_back)
{
    begin();
    CHECK_EQ(file_remove_tree(path("backup"), NULL), 0);
    const struct generation_file other[] = {then[0], then[1],
                                            FILE_OF("units/citadel-b.service", WANTED("other"))};
    const char *hook = path("bin/hook");
    struct backup_file beside = {
        .path = hook, .kind = BACKUP_SCRIPT, .mode = 0755, .bytes = "#!", .len = 2};
    const struct backup b = {
        .files = other, .file_count = FILES, .beside = &beside, .beside_count = 1};
    unsigned id;
    CHECK_EQ(backup_write(path("backup"), "bert", "a test", &b, &id, NULL), 0);
    machine->b_fails = true;
    CHECK_EQ(bring_back().r < 0, true);
    CHECK_EQ(current(), 1);
    CHECK(!has_text("bin/hook", "#!"));
    CHECK(machine->shunned[0] && !machine->runs[0]);
}

TEST(what_is_not_as_it_was_made_is_not_touched)
{
    static const struct {
        const char *file, *text, *what;
    } rows[] = {
        {"config.yaml", "mine\n", "config.yaml is another"},
        {"beside/002-hook", "rm -rf", "beside/002-hook is another"},
        {"contents.json", "{}", "contents.json is another"},
        {"units/citadel-a.service", NULL, "units/citadel-a.service is missing"},
        {"manifest.json", "{}", "it is not the manifest of a generation"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char below[256];
        begin();
        (void)snprintf(below, sizeof(below), "backup/generations/1/%s", rows[i].file);
        if (rows[i].text)
            write_text(below, rows[i].text);
        else
            CHECK_EQ(file_remove_tree(path(below), NULL), 0);
        struct end end = bring_back();
        CHECK_EQ(end.err.id, ERR_BACKUP_DAMAGED);
        CHECK(strstr(end.err.what, rows[i].what) != NULL);
        CHECK(has_text("mine.yaml", "now\n") && !has_text("bin/hook", "#!"));
        CHECK_EQ(current(), 1);
    }
    CHECK_EQ(file_remove_tree(path("backup"), NULL), 0);
    struct end end = bring_back();
    CHECK_EQ(end.err.id, ERR_BACKUP_NONE);
}

TEST(what_was_shown_comes_back_or_nothing)
{
    char shown[HASH_SHA256_HEX] = "";
    begin();
    (void)bring_back_shown(shown);
    write_text("mine.yaml", "edited since\n");
    struct end end = bring_back_shown(shown);
    CHECK_EQ(end.err.id, ERR_DEPLOY_STALE);
    CHECK(has_text("mine.yaml", "edited since\n") && !has_text("bin/hook", "#!"));
    CHECK_EQ(current(), 1);
    *shown = '\0';
    (void)bring_back_shown(shown);
    CHECK_EQ(bring_back_shown(shown).r, 0);
    check_is_then();
    CHECK_EQ(bring_back_shown(shown).err.id, ERR_DEPLOY_STALE);
}

static void
run_back(void *arg unused_arg)
{
    (void)bring_back();
}

static bool
is_as_now(void)
{
    return has_text("mine.yaml", "now\n") && !has_text("bin/hook", "#!");
}

static bool
is_as_then(void)
{
    return has_text("mine.yaml", "then\n") && has_text("bin/hook", "#!");
}

/* Stopped at any call that changes a file: the generation is the old or the new one, the files beside are
 * all old or all new once what was left is ended, it is told, and the same again makes it good. */
static void
check_crashes(bool torn, unsigned step)
{
    bool crashed = true;
    make_backup();
    for (unsigned n = 1; n < CALLS_MAX && crashed; n += step) {
        enum change_recovered what;
        struct restore_mark mark;
        change_all();
        tap_note("call %u%s", n, torn ? ", torn" : "");
        crashed = crash_at(n, torn, run_back, NULL);
        CHECK(current() == 1 || current() == 2);
        CHECK_EQ(restore_recover(path("etc"), &what, NULL), 0);
        CHECK(is_as_now() || is_as_then());
        CHECK(current() == 1 || is_as_then());
        restore_mark_read(path("var"), &mark);
        CHECK(mark.id == 1 || (current() == 1 ? is_as_now() : is_as_then()));
        CHECK_EQ(bring_back().r, 0);
        check_is_then();
    }
    CHECK(!crashed);
}

TEST(a_crash_at_any_call_leaves_the_old_or_the_new)
{
    check_crashes(false, 1);
}

TEST(and_so_does_one_in_the_middle_of_a_write)
{
    check_crashes(true, 4); /* sys/files and sys/change have every one */
}

static void
run_backup(void *arg unused_arg)
{
    const struct backup b = {.files = now, .file_count = FILES};
    unsigned id;
    (void)!backup_write(path("backup"), "bert", "a test", &b, &id, NULL);
}

TEST(a_crash_at_any_call_of_a_backup_leaves_a_whole_one_or_none)
{
    bool crashed = true;
    make_backup();
    for (unsigned n = 1; n < CALLS_MAX && crashed; n++) {
        _cleanup_arena_ struct arena arena;
        struct generation *list;
        struct backup b;
        size_t count;
        tap_note("call %u", n);
        crashed = crash_at(n, n % 2, run_backup, NULL);
        arena_init(&arena, BACKUP_BYTES);
        CHECK_EQ(generation_list(path("backup"), &arena, &list, &count, NULL), 0);
        CHECK_EQ(list[count - 1].damage == NULL, true);
        CHECK_EQ(backup_read(path("backup"), 1, &arena, &b, NULL), 0);
    }
    CHECK(!crashed);
}
