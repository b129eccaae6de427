#include "storage/clean.h"

#include "config/config.h"
#include "config/problems.h"
#include "storage/usage.h"
#include "storage/walk.h"
#include "sys/clock.h"
#include "sys/files.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DAY_S 86400
#define DAY_US (UINT64_C(86400) * 1000000)

static const char *
at(const char *path)
{
    static char full[4][1024];
    static unsigned next;
    next = (next + 1) % 4;
    (void)snprintf(full[next], sizeof(full[next]), "%s/%s", tap_dir(), path);
    return full[next];
}

static struct config *
configure(void)
{
    char text[2048];
    struct config *config = NULL;
    struct config_problems problems;
    const char *d = tap_dir();
    int len = snprintf(text, sizeof(text),
                       "paths: {models: %s/m, backup: %s/b, logs: %s/root/logs, state: %s/s, "
                       "root: %s/root}\n"
                       "models: {phi3: {engine: sim}}\n",
                       d, d, d, d, d);
    config_problems_init(&problems);
    CHECK(config_parse(text, (size_t)len, "test", &config, &problems, NULL) == 0);
    config_problems_finish(&problems);
    for (size_t i = 0; i < 4; i++) {
        static const char *const dirs[] = {"m/cache/phi3", "m/staging", "b/temp",
                                           "root/logs/models"};
        CHECK(file_make_dirs(at(dirs[i]), 0755, NULL) == 0);
    }
    return config;
}

/* A file that nobody has used for so many days. */
static void
put(const char *path, int days)
{
    struct timespec when[2];
    (void)clock_gettime(CLOCK_REALTIME, &when[0]);
    when[0].tv_sec -= (time_t)days * DAY_S;
    when[1] = when[0];
    CHECK(file_write(at(path), "0123456789", 10, 0644, NULL) == 0);
    CHECK(utimensat(AT_FDCWD, at(path), when, AT_SYMLINK_NOFOLLOW) == 0);
}

/* As if so much more time had gone by: what was just made has just been moved here, too. */
static bool
find(const struct config *config, unsigned days, struct clean_list *list)
{
    const struct clean_ages ages = clean_ages_of(config);
    return clean_find(config, &ages, clock_wall_us() + days * DAY_US, list, NULL) == 0;
}

static const struct clean_item *
item_of(const struct clean_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].name, name) == 0)
            return &list->items[i];
    return NULL;
}

TEST(only_what_is_old_and_of_no_use_is_found)
{
    static const struct {
        const char *path, *name;
        int days;
        bool found;
    } rows[] = {
        {"root/logs/models/phi3.log", "models/phi3.log", 900, false},
        {"root/logs/models/phi3.log.1", "models/phi3.log.1", 31, true},
        {"root/logs/models/phi3.log.2", "models/phi3.log.2", 29, false},
        {"root/logs/access.log-20260101.gz", "access.log-20260101.gz", 31, true},
        {"root/logs/metrics.json", "metrics.json", 900, false},
        {"m/cache/phi3/kernel", "phi3/kernel", 91, true},
        {"m/cache/phi3/used", "phi3/used", 89, false},
        {"m/staging/half", "half", 900, false}, /* it has just come here */
    };
    _cleanup_config_ struct config *config = configure();
    _cleanup_clean_list_ struct clean_list list = {0};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        put(rows[i].path, rows[i].days);
    REQUIRE(find(config, 0, &list));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%s", rows[i].path);
        CHECK_EQ(item_of(&list, rows[i].name) != NULL, rows[i].found || list.is_blind);
    }
}

TEST(what_was_left_goes_once_it_has_lain_there)
{
    _cleanup_config_ struct config *config = configure();
    _cleanup_clean_list_ struct clean_list list = {0};
    put("m/staging/half", 0);
    put("b/temp/part\nwith a line", 0);
    REQUIRE(find(config, 8, &list));
    CHECK_EQ(list.count, 2);
    for (size_t i = 0; i < list.count; i++)
        CHECK_EQ(clean_remove(&list, &list.items[i]), 0);
    CHECK(access(at("m/staging/half"), F_OK) < 0);
    CHECK(access(at("b/temp/part\nwith a line"), F_OK) < 0);
}

TEST(what_is_open_or_mapped_stays)
{
    _cleanup_config_ struct config *config = configure();
    _cleanup_clean_list_ struct clean_list list = {0};
    put("m/staging/open", 0);
    put("m/staging/mapped", 0);
    put("m/staging/free", 0);
    _cleanup_close_ int open_fd = open(at("m/staging/open"), O_RDONLY | O_CLOEXEC);
    int mapped_fd = open(at("m/staging/mapped"), O_RDONLY | O_CLOEXEC);
    void *map = mmap(NULL, 10, PROT_READ, MAP_SHARED, mapped_fd, 0);
    REQUIRE(open_fd >= 0 && map != MAP_FAILED);
    (void)close(mapped_fd);
    REQUIRE(find(config, 8, &list));
    REQUIRE(list.count == 3);
    CHECK_EQ(clean_remove(&list, item_of(&list, "open")), -EBUSY);
    CHECK_EQ(clean_remove(&list, item_of(&list, "mapped")), -EBUSY);
    CHECK_EQ(clean_remove(&list, item_of(&list, "free")), 0);
    (void)munmap(map, 10);
}

TEST(what_has_changed_since_it_was_shown_stays)
{
    _cleanup_config_ struct config *config = configure();
    _cleanup_clean_list_ struct clean_list list = {0};
    CHECK(file_make_dirs(at("m/staging/in"), 0755, NULL) == 0);
    CHECK(file_make_dirs(at("elsewhere"), 0755, NULL) == 0);
    put("m/staging/written", 0);
    put("m/staging/replaced", 0);
    put("m/staging/gone", 0);
    put("m/staging/in/file", 0);
    put("elsewhere/file", 0);
    REQUIRE(find(config, 8, &list));
    CHECK_EQ(list.count, 4);
    put("m/staging/written", -1);
    put("m/staging/replaced", 0); /* by another file of that name */
    CHECK(unlink(at("m/staging/gone")) == 0);
    CHECK(rename(at("m/staging/in"), at("m/staging/was")) == 0);
    CHECK(symlink("../../elsewhere", at("m/staging/in")) == 0);
    CHECK_EQ(clean_remove(&list, item_of(&list, "written")), -ESTALE);
    CHECK_EQ(clean_remove(&list, item_of(&list, "replaced")), -ESTALE);
    CHECK_EQ(clean_remove(&list, item_of(&list, "gone")), -ENOENT);
    CHECK_EQ(clean_remove(&list, item_of(&list, "in/file")), -ELOOP);
    CHECK(access(at("elsewhere/file"), F_OK) == 0);
}

TEST(links_are_not_followed_and_not_removed)
{
    _cleanup_config_ struct config *config = configure();
    _cleanup_clean_list_ struct clean_list list = {0};
    CHECK(file_make_dirs(at("elsewhere"), 0755, NULL) == 0);
    put("elsewhere/precious", 900);
    CHECK(symlink("../../elsewhere", at("m/staging/dir")) == 0);
    CHECK(symlink("../../elsewhere/precious", at("m/staging/file")) == 0);
    CHECK(symlink("self", at("m/staging/self")) == 0);
    CHECK(mkfifo(at("m/staging/pipe"), 0600) == 0);
    REQUIRE(find(config, 900, &list));
    CHECK_EQ(list.count, 0);
}

/* ---- walking ---- */

struct counting {
    struct walk walk;
    unsigned files;
};

static bool
count(struct walk *walk, const char *path, const struct stat *st unused_arg)
{
    struct counting *c = container_of(walk, struct counting, walk);
    CHECK(*path && *path != '/');
    c->files++;
    return true;
}

TEST(a_tree_that_is_too_deep_is_counted_and_left)
{
    struct counting c = {.walk = {.file = count}};
    int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < WALK_DEPTH_MAX + 50; i++) {
        REQUIRE(mkdirat(dir, "deeper", 0755) == 0);
        int next = openat(dir, "deeper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        (void)close(dir);
        dir = next;
        int fd = openat(dir, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        cleanup_close(&fd);
    }
    (void)close(dir);
    _cleanup_close_ int top = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_EQ(walk_run(&c.walk, top), 0);
    CHECK_EQ(c.files, WALK_DEPTH_MAX);
    CHECK_EQ(c.walk.skipped, 1);
    CHECK(!c.walk.is_over);
    /* Nobody removes trees that are so deep; halved, they can be. */
    _cleanup_buf_ struct buf half = BUF_INIT(64 * KIB);
    for (int i = 0; i < WALK_DEPTH_MAX / 2 + 10; i++)
        buf_printf(&half, "%sdeeper", i ? "/" : "");
    CHECK(renameat(top, half.data, top, "other") == 0);
}

TEST(each_area_counts_its_own)
{
    static struct usage_area areas[USAGE_AREAS];
    _cleanup_config_ struct config *config = configure();
    put("m/cache/phi3/one", 0);
    put("m/cache/phi3/two", 0);
    CHECK(link(at("m/cache/phi3/one"), at("m/cache/phi3/again")) == 0);
    put("root/logs/models/log", 0);
    put("root/readme", 0);
    CHECK(symlink("..", at("root/up")) == 0);
    REQUIRE(usage_measure(config, areas, NULL, NULL, NULL) == 0);
    for (size_t i = 0; i < USAGE_AREAS; i++) {
        static const struct {
            const char *name;
            bool is_there;
            unsigned files;
        } want[USAGE_AREAS] = {{"active", false, 0}, {"cache", true, 3}, {"staging", true, 0},
                               {"backup", true, 0},  {"logs", true, 1},  {"state", false, 0},
                               {"root", true, 2}};
        tap_note("%s", want[i].name);
        CHECK_STR(areas[i].name, want[i].name);
        CHECK_EQ(areas[i].is_there, want[i].is_there);
        CHECK_EQ(areas[i].files, want[i].files);
        CHECK_EQ(areas[i].disk_bytes > 0, want[i].is_there);
    }
    struct stat one, dir;
    REQUIRE(stat(at("m/cache/phi3/one"), &one) == 0 && stat(at("m/cache/phi3"), &dir) == 0);
    CHECK_EQ(areas[1].bytes, (uint64_t)(2 * one.st_blocks + dir.st_blocks) * 512);
}
