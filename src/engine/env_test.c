#include "engine/env.h"

#include "base/mem.h"
#include "sys/files.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHOLE "lib/python3.12/site-packages/vllm-0.14.1.dist-info", "bin/vllm", "bin/python3"

static const char *
at(const char *name, char path[512])
{
    (void)snprintf(path, 512, "%s/%s", tap_dir(), name);
    return path;
}

/* An environment with these directories; those below bin/ can be run, as far as access() goes. */
static void
make(const char *env, const char *const *parts)
{
    char name[256], path[512];
    CHECK(file_make_dirs(at(env, path), 0755, NULL) == 0);
    for (; *parts; parts++) {
        (void)snprintf(name, sizeof(name), "%s/%s", env, *parts);
        CHECK(file_make_dirs(at(name, path), 0755, NULL) == 0);
    }
}

TEST(an_environment_is_whole_or_it_is_said_what_is_missing)
{
    static const struct {
        const char *env;
        const char *parts[5];
        const char *says; /* NULL: it is whole */
    } rows[] = {
        {"whole", {WHOLE}, NULL},
        {"no-package",
         {"lib/python3.12/site-packages", "bin/vllm", "bin/python3"},
         "vllm is not installed in "},
        {"no-program",
         {"lib/python3.12/site-packages/vllm-0.14.1.dist-info", "bin/python3"},
         "is not whole: bin/vllm: No such file"},
        {"no-python",
         {"lib/python3.12/site-packages/vllm-0.14.1.dist-info", "bin/vllm"},
         "is not whole: bin/python3: No such file"},
        {"two", {WHOLE, "lib/python3.11/site-packages/vllm-0.13.0.dist-info"}, "which one runs?"},
        {"empty", {NULL}, "there is no Python environment at "},
    };
    char path[512];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct engine_env env;
        struct err err = {0};
        make(rows[i].env, rows[i].parts);
        tap_note("%s", rows[i].env);
        int r = engine_env_find(at(rows[i].env, path), "vllm", &env, &err);
        CHECK_STR(env.path, path);
        CHECK((r == 0) == !rows[i].says);
        CHECK(!rows[i].says ||
              (err.id == ERR_ENGINE_NOT_INSTALLED && strstr(err.what, rows[i].says)));
    }
}

TEST(what_runs_does_so_from_the_directory_that_a_link_leads_to)
{
    static const char *const whole[] = {WHOLE, NULL};
    char link[512], path[512], found[PATH_MAX];
    struct engine_env env;
    struct err err = {0};
    make("vllm-env-0.14.1", whole);
    REQUIRE(symlink("vllm-env-0.14.1", at("vllm-env", link)) == 0);
    CHECK(engine_env_resolve(link, found, NULL) == 0);
    CHECK_STR(found, at("vllm-env-0.14.1", path));
    CHECK(engine_env_find(link, "vllm", &env, NULL) == 0);
    CHECK_STR(env.path, path);

    REQUIRE(symlink("nowhere", at("dangling", link)) == 0);
    CHECK(engine_env_find(link, "vllm", &env, &err) < 0);
    CHECK_STR(env.path, "");
    CHECK(err.id == ERR_ENGINE_NOT_INSTALLED && strstr(err.what, "dangling: No such file"));
}

TEST(all_that_lie_beside_it_are_listed)
{
    static const char *const whole[] = {WHOLE, NULL}, *const half[] = {"pyvenv.cfg", NULL},
                             *const other[] = {"bin/python3", NULL};
    char link[512], path[512];
    struct engine_env_item *items;
    size_t count;
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, 64 * KIB);
    make("here/logs", other);
    make("here/b-half", half);
    make("here/a-whole", whole);
    make("there/c-whole", whole);
    REQUIRE(symlink("../there/c-whole", at("here/vllm-env", link)) == 0);
    REQUIRE(engine_env_list(link, "vllm", &arena, &items, &count, NULL) == 0);
    REQUIRE(count == 3);
    CHECK_STR(items[0].path, at("here/a-whole", path));
    CHECK_STR(items[0].version, "0.14.1");
    CHECK_STR(items[0].trouble, "");
    CHECK_STR(items[1].path, at("here/b-half", path));
    CHECK_STR(items[1].version, "");
    CHECK(strstr(items[1].trouble, "there is no Python environment"));
    CHECK_STR(items[2].path, at("there/c-whole", path));
}

TEST(where_there_is_nothing_nothing_is_listed)
{
    char link[512];
    struct engine_env_item *items;
    size_t count = 1;
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, 64 * KIB);
    CHECK(engine_env_list(at("no/such/vllm-env", link), "vllm", &arena, &items, &count, NULL) == 0);
    CHECK_EQ(count, 0);
}
