#include "deploy/drift.h"

#include "deploy/generation.h"
#include "sys/files.h"
#include "tap.h"

#include <stdio.h>

static const struct generation_file files[] = {{"config.yaml", "a", 1},
                                               {"units/citadel-a.service", "[Service]\n", 10}};

static const char *
path(const char *below)
{
    static char text[1024];
    (void)snprintf(text, sizeof(text), "%s/%s", tap_dir(), below);
    return text;
}

static void
deploy(void)
{
    const struct generation_wish wish = {"anna", "a test", files, 2};
    unsigned number;
    CHECK_EQ(generation_add(tap_dir(), &wish, &number, NULL), 0);
    CHECK_EQ(generation_set(tap_dir(), GENERATION_CURRENT, number, NULL), 0);
}

/* What is found, in one line. */
static void
check_drift(const char *want)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf found = BUF_INIT(4 * KIB);
    struct deploy_drift *items;
    size_t count = 0;
    struct err err = {0};
    arena_init(&arena, 1 * MIB);
    CHECK_EQ(deploy_find_drift(tap_dir(), false, &arena, &items, &count, &err), 0);
    CHECK_STR(err.what, "");
    for (size_t i = 0; i < count; i++)
        buf_printf(&found, "%s%s [%s]", i ? "; " : "", items[i].what, items[i].fix);
    CHECK_STR(found.data, want);
}

TEST(where_nothing_is_deployed_nothing_drifts)
{
    check_drift("");
    deploy();
    check_drift("");
}

TEST(files_that_a_hand_has_touched)
{
    deploy();
    CHECK_EQ(file_write(path("generations/1/config.yaml"), "b", 1, 0644, NULL), 0);
    check_drift("config.yaml of generation 1 was changed by hand [sudo citadel apply]");
    CHECK_EQ(file_remove_tree(path("generations/1/config.yaml"), NULL), 0);
    check_drift("config.yaml of generation 1 is gone [sudo citadel apply]");
    CHECK_EQ(file_write(path("generations/1/config.yaml"), "a", 1, 0644, NULL), 0);
    CHECK_EQ(file_write(path("generations/1/units/citadel-\033.service"), "x", 1, 0644, NULL), 0);
    check_drift("units/citadel-?.service of generation 1 was added by hand [sudo citadel apply]");
}

TEST(a_link_that_leads_nowhere_is_an_error)
{
    _cleanup_arena_ struct arena arena;
    struct deploy_drift *items;
    size_t count;
    struct err err = {0};
    deploy();
    CHECK_EQ(file_remove_tree(path("generations/1"), NULL), 0);
    arena_init(&arena, 1 * MIB);
    CHECK(deploy_find_drift(tap_dir(), false, &arena, &items, &count, &err) < 0);
    CHECK_EQ(err.id, ERR_GENERATION_DAMAGED);
}
