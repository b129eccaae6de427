#include "config/reread.h"

#include "base/text.h"
#include "config/problems.h"
#include "fmt/json.h"
#include "sys/files.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>

#define HEAD "models:\n  a: {path: m, port: 11400%s}\n  b: {path: m, port: 11401}\n%s"

/* One option more than before, and what that is for each: taken up (l), a restart (r), nothing (-). */
static const struct {
    const char *of_a, *rest, *path;
    char a, b, monitor;
} rows[] = {
    {"", "", NULL, '-', '-', '-'},
    {"", "# a word\n", NULL, '-', '-', '-'},
    {", stall_limit: 90s", "", "models.a.stall_limit", 'r', '-', 'l'},
    {", priority: 70", "", "models.a.priority", 'l', '-', 'l'},
    {"", "log_level: debug\n", "log_level", 'l', 'l', 'l'},
    {"", "hub: {offline: false}\n", "hub.offline", 'r', 'r', 'l'},
    {"", "paths: {root: /srv/x}\n", "paths.root", 'r', 'r', 'r'},
    {"", "monitor: {health_interval: 5s}\n", "monitor.health_interval", '-', '-', 'l'},
    {"", "monitor: {port: 8002}\n", "monitor.port", '-', '-', 'r'},
    {"", "storage: {require_mounts: false}\n", "storage.require_mounts", '-', '-', 'l'},
};

static void
write_config(const char *path, const char *of_a, const char *rest)
{
    char text[1024];
    int len = snprintf(text, sizeof(text), HEAD, of_a, rest);
    CHECK_EQ(file_write(path, text, (size_t)len, 0644, NULL), 0);
}

static struct config *
load(const char *path)
{
    _cleanup_config_problems_ struct config_problems problems;
    struct config *config = NULL;
    struct err err = {0};
    config_problems_init(&problems);
    if (config_load(path, &config, &problems, &err) < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    return config;
}

/* The path of the first item of a list of the answer; NULL: it is empty. */
static const char *
first_of(const struct value *answer, const char *list)
{
    const struct value *v = value_get(answer, list);
    return v && v->count ? value_str(value_get(v->first, "path")) : NULL;
}

static void
check_one(const struct config *before, const char *name, char want, const char *path)
{
    _cleanup_config_reread_ struct config_reread reread = {0};
    _cleanup_buf_ struct buf text = BUF_INIT(64 * KIB);
    _cleanup_arena_ struct arena arena;
    char was[CONFIG_PART_HEX], is[CONFIG_PART_HEX], was_live[CONFIG_PART_HEX],
        live[CONFIG_PART_HEX];
    struct value *answer = NULL;
    struct json_writer w;
    tap_note("%s: %s", name, path ? path : "nothing");
    REQUIRE(config_reread(before, name, &reread, NULL) == 0);
    json_init(&w, &text, false);
    config_reread_print(&reread, &w);
    arena_init(&arena, MIB);
    REQUIRE(json_parse(&arena, text.data, text.len, JSON_STRICT, &answer, NULL, NULL) == 0);
    CHECK_STR(first_of(answer, "restart"), want == 'r' ? path : NULL);
    if (want != 'r')
        CHECK_STR(first_of(answer, "live"), want == 'l' ? path : NULL);
    CHECK_EQ(reread.restart, want == 'r');
    /* What units bear says the same. */
    config_digest(before, name, CONFIG_AT_START, was);
    config_digest(reread.config, name, CONFIG_AT_START, is);
    CHECK_EQ(!text_eq(was, is), want == 'r');
    config_digest(before, name, CONFIG_LIVE, was_live);
    config_digest(reread.config, name, CONFIG_LIVE, live);
    if (text_eq(name, "monitor"))
        CHECK_EQ(!text_eq(was_live, live), want != '-');
    else
        CHECK_EQ(!text_eq(was_live, live), text_eq(path, "log_level"));
}

TEST(each_takes_up_what_it_can_and_says_what_it_cannot)
{
    char path[300];
    (void)snprintf(path, sizeof(path), "%s/x.yaml", tap_dir());
    write_config(path, "", "");
    _cleanup_config_ struct config *before = load(path);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        write_config(path, rows[i].of_a, rows[i].rest);
        check_one(before, "a", rows[i].a, rows[i].path);
        check_one(before, "b", rows[i].b, rows[i].path);
        check_one(before, "monitor", rows[i].monitor, rows[i].path);
    }
}

TEST(a_wrong_one_is_refused_with_its_first_error)
{
    _cleanup_config_reread_ struct config_reread reread = {0};
    struct err err = {0};
    char path[300];
    (void)snprintf(path, sizeof(path), "%s/y.yaml", tap_dir());
    write_config(path, "", "");
    _cleanup_config_ struct config *before = load(path);
    write_config(path, ", stall_limit: soon, start_max: later", "");
    CHECK_EQ(config_reread(before, "a", &reread, &err), -EINVAL);
    CHECK_EQ(err.id, ERR_CONFIG_INVALID);
    CHECK(text_starts(err.what, "what was read before holds: "));
    CHECK(strstr(err.what, "y.yaml:2:") && strstr(err.what, "soon") && !strstr(err.what, "later"));
    CHECK(reread.config == NULL);
    (void)remove(path);
    CHECK_EQ(config_reread(before, "a", &reread, &err), -ENOENT);
}
