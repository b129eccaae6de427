#include "storage/layout.h"

#include "config/config.h"
#include "config/problems.h"
#include "crash.h"
#include "sys/account.h"
#include "sys/files.h"
#include "sys/root.h"
#include "tap.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* A machine below a directory of the test; its accounts are whoever runs the test. */
struct rig {
    struct config *config;
    char root[256];
};

static void
rig_close(struct rig *rig)
{
    config_freep(&rig->config);
    CHECK(root_set("", NULL) == 0);
}
#define _cleanup_rig_ _cleanup_(rig_close)

static bool
rig_open(struct rig *rig, const char *more)
{
    char text[1024], path[300];
    struct config_problems problems;
    struct err err = {0};
    (void)snprintf(rig->root, sizeof(rig->root), "%s", tap_dir());
    (void)snprintf(path, sizeof(path), "%s/etc", rig->root);
    CHECK(file_make_dirs(path, 0755, NULL) == 0);
    (void)snprintf(text, sizeof(text), "root:x:0:0::/:/\nme:x:%u:%u::/:/\nyou:x:%u:%u::/:/\n",
                   getuid(), getgid(), getuid(), getgid());
    (void)snprintf(path, sizeof(path), "%s/etc/passwd", rig->root);
    CHECK(file_write(path, text, strlen(text), 0644, NULL) == 0);
    CHECK(root_set(rig->root, NULL) == 0);
    int len = snprintf(text, sizeof(text),
                       "service: {user: me, gateway_user: you}\n"
                       "models: {phi3: {engine: sim}, torch: {engine: sim}}\n"
                       "storage: {caches: [hub, torch, ../escape, a/b, .], %s}\n",
                       more);
    config_problems_init(&problems);
    int r = config_parse(text, (size_t)len, "test", &rig->config, &problems, &err);
    config_problems_finish(&problems);
    if (r < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    return r == 0;
}

static const char *
at(const struct rig *rig, const char *path)
{
    static char full[4][512];
    static unsigned next;
    next = (next + 1) % 4;
    (void)snprintf(full[next], sizeof(full[next]), "%s%s", rig->root, path);
    return full[next];
}

/* How many things were wrong, and how many of them no setup mends. */
static size_t
set_up(const struct rig *rig, size_t *ret_left)
{
    _cleanup_storage_report_ struct storage_report report = {0};
    struct err err = {0};
    size_t left = 0;
    if (storage_look(rig->config, &report, &err) < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    for (size_t i = 0; i < report.count; i++)
        if (!storage_is_mendable(&report.items[i]))
            left++;
        else if (storage_mend(rig->config, &report.items[i], &err) < 0)
            tap_fail(__FILE__, __LINE__, "%s", err.what);
    if (ret_left)
        *ret_left = left;
    return report.count;
}

static mode_t
mode_of(const char *path)
{
    struct stat st;
    return lstat(path, &st) < 0 ? 0 : st.st_mode;
}

#define LOOSE "require_mounts: false"

TEST(all_is_made_once_and_then_nothing)
{
    _cleanup_rig_ struct rig rig = {0};
    char target[256] = "";
    REQUIRE(rig_open(&rig, LOOSE));
    (void)umask(0077);
    CHECK(set_up(&rig, NULL) > 30);
    CHECK_EQ(set_up(&rig, NULL), 0);
    CHECK_EQ(mode_of(at(&rig, "/mnt/citadel-models/cache/phi3")), S_IFDIR | 0700);
    CHECK_EQ(mode_of(at(&rig, "/mnt/citadel-models/cache/hub")), S_IFDIR | 0755);
    CHECK_EQ(mode_of(at(&rig, "/opt")), S_IFDIR | 0755);
    CHECK_EQ(mode_of(at(&rig, "/etc/citadel/secrets")), S_IFDIR | 0700);
    REQUIRE(readlink(at(&rig, "/opt/citadel/models"), target, sizeof(target) - 1) > 0);
    CHECK_STR(target, "../../mnt/citadel-models/active");
    /* A model has its name before a cache, and no name leads elsewhere. */
    CHECK_EQ(mode_of(at(&rig, "/mnt/citadel-models/cache/torch")), S_IFDIR | 0700);
    CHECK_EQ(mode_of(at(&rig, "/mnt/citadel-models/escape")), 0);
    CHECK_EQ(mode_of(at(&rig, "/mnt/citadel-models/cache/a")), 0);
}

TEST(nothing_is_written_where_a_disk_is_to_be_mounted)
{
    _cleanup_rig_ struct rig rig = {0};
    size_t left = 0;
    struct err err = {0};
    REQUIRE(rig_open(&rig, "require_mounts: true"));
    CHECK(file_make_dirs(at(&rig, "/mnt/citadel-models"), 0755, NULL) == 0);
    CHECK(set_up(&rig, &left) > 10);
    CHECK_EQ(left, 2);
    CHECK_EQ(mode_of(at(&rig, "/mnt/citadel-models/active")), 0);
    CHECK_EQ(mode_of(at(&rig, "/mnt/citadel-backup")), 0);
    CHECK_EQ(mode_of(at(&rig, "/var/lib/citadel/models")), S_IFDIR | 0755);
    CHECK_EQ(set_up(&rig, &left), 2);
    CHECK_EQ(storage_check_mount(rig.config, STORAGE_models, &err), -EAGAIN);
    CHECK_EQ(err.id, ERR_STORAGE_NOT_MOUNTED);
    CHECK(strstr(err.what, "nothing is mounted at") && strstr(err.what, "/mnt/citadel-models"));
    CHECK(strstr(err.fix, "storage.require_mounts"));
    CHECK_EQ(storage_check_mount(rig.config, STORAGE_backup, NULL), -EAGAIN);
    CHECK_EQ(storage_check_mount(rig.config, STORAGE_state, NULL), 0); /* need not be a disk */
}

TEST(a_model_is_not_asked_for_a_mount_that_need_not_be)
{
    _cleanup_rig_ struct rig rig = {0};
    REQUIRE(rig_open(&rig, LOOSE));
    CHECK(storage_check_mount(rig.config, STORAGE_models, NULL) == 0);
}

/* What an account of a service, or a careless hand, may have put in the place of a directory. */
static void
put_link(const struct rig *rig, const char *path, const char *target)
{
    CHECK(rmdir(at(rig, path)) == 0);
    CHECK(symlink(target, at(rig, path)) == 0);
}

TEST(a_link_in_the_place_of_a_directory_is_not_followed)
{
    _cleanup_rig_ struct rig rig = {0};
    size_t left = 0;
    REQUIRE(rig_open(&rig, LOOSE));
    (void)set_up(&rig, NULL);
    CHECK(file_make_dirs(at(&rig, "/precious"), 0751, NULL) == 0);
    mode_t before = mode_of(at(&rig, "/precious"));
    put_link(&rig, "/mnt/citadel-models/cache/phi3", "../../../precious");
    put_link(&rig, "/var/lib/citadel/gateway", "../../../precious");
    put_link(&rig, "/mnt/citadel-models/cache/hub", "nowhere");
    CHECK_EQ(set_up(&rig, &left), 3);
    CHECK_EQ(left, 3);
    CHECK_EQ(mode_of(at(&rig, "/precious")), before);
    CHECK(S_ISLNK(mode_of(at(&rig, "/mnt/citadel-models/cache/phi3"))));
    CHECK_EQ(mode_of(at(&rig, "/mnt/citadel-models/cache/nowhere")), 0);
}

TEST(what_is_swapped_between_look_and_mend_is_not_followed)
{
    _cleanup_rig_ struct rig rig = {0};
    struct storage_report report;
    size_t refused = 0;
    REQUIRE(rig_open(&rig, LOOSE));
    (void)set_up(&rig, NULL);
    CHECK(file_make_dirs(at(&rig, "/precious"), 0751, NULL) == 0);
    CHECK(chmod(at(&rig, "/precious"), 0751) == 0);
    CHECK(chmod(at(&rig, "/mnt/citadel-models/cache/phi3"), 0777) == 0);
    REQUIRE(storage_look(rig.config, &report, NULL) == 0);
    CHECK_EQ(report.count, 1);
    put_link(&rig, "/mnt/citadel-models/cache/phi3", "../../../precious");
    for (size_t i = 0; i < report.count; i++)
        refused += storage_mend(rig.config, &report.items[i], NULL) < 0;
    CHECK_EQ(refused, 1);
    CHECK_EQ(mode_of(at(&rig, "/precious")), S_IFDIR | 0751);
    storage_report_finish(&report);
}

TEST(an_operators_directory_may_be_elsewhere_and_otherwise)
{
    _cleanup_rig_ struct rig rig = {0};
    REQUIRE(rig_open(&rig, LOOSE));
    (void)set_up(&rig, NULL);
    CHECK(file_make_dirs(at(&rig, "/data"), 0755, NULL) == 0);
    put_link(&rig, "/mnt/citadel-models/active", "../../data");
    CHECK(chmod(at(&rig, "/mnt/citadel-models/staging"), 0770) == 0);
    CHECK_EQ(set_up(&rig, NULL), 0);
}

TEST(modes_and_the_link_come_back_and_what_is_in_the_way_stays)
{
    _cleanup_rig_ struct rig rig = {0};
    size_t left = 0;
    REQUIRE(rig_open(&rig, LOOSE));
    (void)set_up(&rig, NULL);
    CHECK(chmod(at(&rig, "/var/lib/citadel/gateway"), 0777) == 0);
    CHECK(unlink(at(&rig, "/opt/citadel/models")) == 0);
    CHECK(symlink("/elsewhere", at(&rig, "/opt/citadel/models")) == 0);
    CHECK_EQ(set_up(&rig, &left), 2);
    CHECK_EQ(left, 0);
    CHECK_EQ(mode_of(at(&rig, "/var/lib/citadel/gateway")), S_IFDIR | 0700);
    CHECK(unlink(at(&rig, "/opt/citadel/models")) == 0);
    CHECK(file_make_dirs(at(&rig, "/opt/citadel/models/phi3"), 0755, NULL) == 0);
    CHECK_EQ(set_up(&rig, &left), 1);
    CHECK_EQ(left, 1);
    CHECK(S_ISDIR(mode_of(at(&rig, "/opt/citadel/models/phi3"))));
}

TEST(the_link_is_counted_from_where_it_really_lies)
{
    _cleanup_rig_ struct rig rig = {0};
    char expected[PATH_MAX], found[PATH_MAX] = "";
    REQUIRE(rig_open(&rig, LOOSE));
    CHECK(file_make_dirs(at(&rig, "/data/disk/opt"), 0755, NULL) == 0);
    CHECK(symlink("data/disk/opt", at(&rig, "/opt")) == 0);
    (void)set_up(&rig, NULL); /* when the directory of the link is not there yet */
    CHECK_EQ(set_up(&rig, NULL), 0);
    REQUIRE(realpath(at(&rig, "/mnt/citadel-models/active"), expected));
    REQUIRE(realpath(at(&rig, "/opt/citadel/models"), found));
    CHECK_STR(found, expected);
}

TEST(a_link_that_begins_at_the_top_leads_out_of_an_image)
{
    _cleanup_rig_ struct rig rig = {0};
    char found[PATH_MAX] = "";
    REQUIRE(rig_open(&rig, LOOSE));
    (void)set_up(&rig, NULL);
    CHECK(unlink(at(&rig, "/opt/citadel/models")) == 0);
    CHECK(symlink("/mnt/citadel-models/active", at(&rig, "/opt/citadel/models")) == 0);
    CHECK_EQ(set_up(&rig, NULL), 1);
    REQUIRE(readlink(at(&rig, "/opt/citadel/models"), found, sizeof(found) - 1) > 0);
    CHECK_STR(found, "../../mnt/citadel-models/active");
}

TEST(a_link_that_leads_out_of_the_root_is_not_gone_through)
{
    _cleanup_rig_ struct rig rig = {0};
    struct storage_report report;
    size_t failed = 0;
    char outside[] = "/tmp/citadel-layout-XXXXXX";
    REQUIRE(mkdtemp(outside));
    REQUIRE(rig_open(&rig, LOOSE));
    CHECK(file_make_dirs(at(&rig, "/var"), 0755, NULL) == 0);
    CHECK(symlink(outside, at(&rig, "/var/lib")) == 0);
    REQUIRE(storage_look(rig.config, &report, NULL) == 0);
    for (size_t i = 0; i < report.count; i++)
        if (storage_is_mendable(&report.items[i]))
            failed += storage_mend(rig.config, &report.items[i], NULL) < 0;
    CHECK(failed > 0);
    CHECK(rmdir(outside) == 0); /* nothing was made in it */
    storage_report_finish(&report);
}

struct taken {
    size_t count;
    bool dry;
    char last[512];
};

static void
take(const char *path, void *arg)
{
    struct taken *t = arg;
    t->count++;
    (void)snprintf(t->last, sizeof(t->last), "%s", path);
    CHECK_EQ(mode_of(path) != 0, t->dry);
}

TEST(what_is_empty_is_taken_back_and_nothing_else)
{
    _cleanup_rig_ struct rig rig = {0};
    struct taken dry = {.dry = true}, wet = {0};
    REQUIRE(rig_open(&rig, LOOSE));
    (void)set_up(&rig, NULL);
    CHECK(file_write(at(&rig, "/mnt/citadel-models/cache/phi3/kernel"), "x", 1, 0600, NULL) == 0);
    REQUIRE(storage_remove(rig.config, true, take, &dry, NULL) == 0);
    REQUIRE(storage_remove(rig.config, false, take, &wet, NULL) == 0);
    CHECK_EQ(wet.count, dry.count);
    CHECK(wet.count > 20);
    CHECK_EQ(mode_of(at(&rig, "/opt/citadel/models")), 0);
    CHECK_EQ(mode_of(at(&rig, "/mnt/citadel-models/active")), 0);
    CHECK_EQ(mode_of(at(&rig, "/mnt/citadel-models/cache/hub")), 0);
    CHECK(mode_of(at(&rig, "/mnt/citadel-models/cache/phi3/kernel")) != 0);
    CHECK(mode_of(at(&rig, "/opt/citadel")) != 0);
}

TEST(the_link_stays_for_as_long_as_there_are_models)
{
    _cleanup_rig_ struct rig rig = {0};
    struct taken wet = {0};
    REQUIRE(rig_open(&rig, LOOSE));
    (void)set_up(&rig, NULL);
    CHECK(file_make_dirs(at(&rig, "/mnt/citadel-models/active/phi3"), 0755, NULL) == 0);
    REQUIRE(storage_remove(rig.config, false, take, &wet, NULL) == 0);
    CHECK(S_ISLNK(mode_of(at(&rig, "/opt/citadel/models"))));
}

static void
set_up_in_a_child(void *arg)
{
    (void)set_up(arg, NULL);
}

TEST(a_crash_at_any_call_is_made_good_by_the_next_setup)
{
    for (unsigned n = 1;; n += 7) { /* the calls of a place are all alike */
        _cleanup_rig_ struct rig rig = {0};
        CHECK(file_remove_tree(tap_dir(), NULL) == 0);
        CHECK(file_make_dirs(tap_dir(), 0755, NULL) == 0);
        REQUIRE(rig_open(&rig, LOOSE));
        bool crashed = crash_at(n, false, set_up_in_a_child, &rig);
        tap_note("call %u", n);
        (void)set_up(&rig, NULL);
        CHECK_EQ(set_up(&rig, NULL), 0);
        CHECK_EQ(mode_of(at(&rig, "/mnt/citadel-models/cache/phi3")), S_IFDIR | 0700);
        if (!crashed)
            break;
    }
}

TEST(an_account_that_is_not_there_is_named)
{
    _cleanup_rig_ struct rig rig = {0};
    struct storage_report report;
    struct err err = {0};
    REQUIRE(rig_open(&rig, LOOSE));
    CHECK(file_write(at(&rig, "/etc/passwd"), "", 0, 0644, NULL) == 0);
    CHECK_EQ(storage_look(rig.config, &report, &err), -ENOENT);
    CHECK(strstr(err.what, "no account 'me'"));
}
