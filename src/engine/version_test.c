#include "engine/version.h"

#include "base/mem.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static struct engine_version
version(const char *text)
{
    struct engine_version v = {0};
    tap_note("%s", text);
    CHECK(engine_version_parse(text, &v, NULL) == 0);
    return v;
}

/* From old to new; every pair is compared. */
static const char *const in_order[] = {
    "0.8.4",
    "0.8.5",
    "0.8.5.post1.dev2",
    "0.8.5.post1",
    "0.8.5.post2",
    "0.9.0.dev7",
    "0.9.0a1",
    "0.9.0b1.dev3",
    "0.9.0b1",
    "0.9.0rc1",
    "0.9.0rc2",
    "0.9.0",
    "0.9.0.1",
    "0.10.0",
    "0.11.0",
    "0.14.1",
    "0.26.0",
    "0.26.1.dev1",
    "0.26.1rc1.dev1046",
    "0.26.1rc1",
    "0.26.1",
    "1.0",
};

TEST(versions_are_ordered)
{
    for (size_t i = 0; i < ARRAY_SIZE(in_order); i++) {
        struct engine_version a = version(in_order[i]);
        for (size_t j = 0; j < ARRAY_SIZE(in_order); j++) {
            struct engine_version b = version(in_order[j]);
            tap_note("%s against %s", in_order[i], in_order[j]);
            int want = (i > j) - (i < j);
            CHECK_EQ(engine_version_compare(&a, &b), want);
        }
    }
}

TEST(builds_and_spellings_are_the_same_version)
{
    static const char *const same[][2] = {
        {"0.11.0", "0.11.0+cu129"},
        {"v0.11.0", "0.11.0"},
        {"0.11", "0.11.0"},
        {"0.8.5post1", "0.8.5.post1"},
        {"0.13.0+faa43dbf.nv26.01", "0.13.0"},
        {"0.26.1rc1.dev1046+gba07e4a48", "0.26.1rc1.dev1046"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        struct engine_version a = version(same[i][0]), b = version(same[i][1]);
        CHECK_EQ(engine_version_compare(&a, &b), 0);
    }
}

TEST(a_candidate_counts_as_its_release)
{
    struct engine_version candidate = version("0.18.0rc1.dev5"), release = version("0.18.0");
    CHECK(engine_version_compare(&candidate, &release) < 0);
    CHECK_EQ(engine_version_compare_release(&candidate, &release), 0);
}

TEST(what_is_no_version_is_refused)
{
    static const char *const bad[] = {
        "",           "v",         "0.11.",        ".11",
        "0..11",      "latest",    "0.11.0 ",      "0.11.0+",
        "0.11.0+a/b", "0.1.2.3.4", "0.11.0rc",     "0.11.0.post",
        "0.11.0x",    "-1.0",      "9999999999.0", "0.11.0.dev1.post1",
        "1e3",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct engine_version v;
        struct err err = {0};
        tap_note("'%s'", bad[i]);
        CHECK(engine_version_parse(bad[i], &v, &err) == -EINVAL);
        CHECK_EQ(err.id, ERR_VALUE);
    }
}

TEST(a_printed_version_reads_back)
{
    engine_version_text text;
    for (size_t i = 0; i < ARRAY_SIZE(in_order); i++) {
        struct engine_version v = version(in_order[i]), back;
        REQUIRE(engine_version_parse(engine_version_print(&v, text), &back, NULL) == 0);
        CHECK_EQ(engine_version_compare(&v, &back), 0);
    }
    struct engine_version long_one =
        version("999999999.999999999.999999999.999999999rc999999999.post999999999.dev999999999");
    CHECK_STR(engine_version_print(&long_one, text),
              "999999999.999999999.999999999.999999999rc999999999.post999999999.dev999999999");
}

static void
make_dirs(const char *path)
{
    char part[512];
    (void)snprintf(part, sizeof(part), "%s/%s", tap_dir(), path);
    for (char *p = part + strlen(tap_dir()) + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        (void)mkdir(part, 0700);
        *p = '/';
    }
    (void)mkdir(part, 0700);
}

static int
find(struct engine_version *ret_version, struct err *err)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/env", tap_dir());
    *err = (struct err){0};
    return engine_version_find(path, "vllm", ret_version, err);
}

TEST(an_installed_version_is_found_without_python)
{
    struct engine_version found, want = version("0.19.0+cu129");
    struct err err;
    CHECK(find(&found, &err) == -ENOENT);
    CHECK(strstr(err.what, "there is no Python environment"));

    make_dirs("env/lib/python3.12/site-packages/vllm_router-9.0.dist-info");
    make_dirs("env/lib/python3.12/site-packages/vllm");
    make_dirs("env/lib/python3.12/site-packages/vllm-later.dist-info");
    make_dirs("env/lib/site-packages/vllm-0.1.0.dist-info");
    CHECK(find(&found, &err) == -ENOENT);
    CHECK_EQ(err.id, ERR_ENGINE_NOT_INSTALLED);
    CHECK(strstr(err.what, "vllm is not installed in "));

    make_dirs("env/lib/python3.12/site-packages/vllm-0.19.0+cu129.dist-info");
    REQUIRE(find(&found, &err) == 0);
    CHECK_EQ(engine_version_compare(&found, &want), 0);

    make_dirs("env/lib/python3.11/dist-packages/vllm-0.11.0.dist-info");
    CHECK(find(&found, &err) < 0);
    CHECK(strstr(err.what, "vllm-0.19.0+cu129.dist-info") && strstr(err.what, "vllm-0.11.0"));
}
