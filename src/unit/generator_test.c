#include "unit/generator.h"

#include "base/mem.h"
#include "sys/files.h"
#include "tap.h"
#include "unit/rest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char model[] =
    "[Service]\nExecStart=/bin/true\n\n[Install]\nWantedBy=citadel-models.target\n";

struct place {
    char *from, *to;
};

static struct place
make_place(void)
{
    struct place p = {mem_printf("%s/units", tap_dir()), mem_printf("%s/normal", tap_dir())};
    CHECK(mkdir(p.from, 0755) == 0 && mkdir(p.to, 0755) == 0);
    return p;
}

static void
end_place(struct place *p)
{
    free(p->from);
    free(p->to);
}
#define _cleanup_place_ _cleanup_(end_place)

static void
add(const struct place *p, const char *name, const char *text)
{
    _cleanup_free_ char *path = mem_printf("%s/%s", p->from, name);
    CHECK(file_write(path, text, strlen(text), 0644, NULL) == 0);
}

/* What a copy has: its text, or where it leads; "" when it is not there. */
static const char *
look(const struct place *p, const char *name, char text[256])
{
    _cleanup_free_ char *path = mem_printf("%s/%s", p->to, name);
    _cleanup_buf_ struct buf out = BUF_INIT(KIB);
    ssize_t len = readlink(path, text, 255);
    if (len < 0 && file_read(path, &out, NULL) == 0)
        (void)snprintf(text, 256, "%s", out.data);
    else
        text[MAX(len, 0)] = '\0';
    return text;
}

TEST(units_are_copied_and_linked_as_they_say)
{
    _cleanup_place_ struct place p = make_place();
    char text[256];
    add(&p, "citadel-phi3.service", model);
    add(&p, "citadel-coder.service", "[Service]\nExecStart=/bin/true\n");
    add(&p, "citadel-models.target", "[Install]\nWantedBy=citadel-ai.target\n");
    REQUIRE(generator_copy(p.from, tap_dir(), p.to, NULL) == 0);
    CHECK_STR(look(&p, "citadel-phi3.service", text), model);
    CHECK_STR(look(&p, "citadel-models.target.wants/citadel-phi3.service", text),
              "../citadel-phi3.service");
    CHECK_STR(look(&p, "citadel-models.target.wants/citadel-coder.service", text), "");
    CHECK_STR(look(&p, "citadel-ai.target.wants/citadel-models.target", text), "");
    CHECK_STR(look(&p, "multi-user.target.wants/citadel-ai.target", text), "../citadel-ai.target");
}

TEST(what_a_person_has_stopped_is_not_linked)
{
    _cleanup_place_ struct place p = make_place();
    char text[256];
    add(&p, "citadel-phi3.service", model);
    add(&p, "citadel-coder.service", model);
    CHECK_EQ(unit_rest_begin(tap_dir(), "citadel-phi3.service", NULL), 0);
    CHECK_EQ(unit_rest_begin(tap_dir(), "citadel-ai.target", NULL), 0);
    REQUIRE(generator_copy(p.from, tap_dir(), p.to, NULL) == 0);
    CHECK_STR(look(&p, "citadel-phi3.service", text), model);
    CHECK_STR(look(&p, "citadel-models.target.wants/citadel-phi3.service", text), "");
    CHECK_STR(look(&p, "citadel-models.target.wants/citadel-coder.service", text),
              "../citadel-coder.service");
    CHECK_STR(look(&p, "multi-user.target.wants/citadel-ai.target", text), "");
}

TEST(only_units_of_our_own_are_copied)
{
    static const char *const names[] = {"ssh.service", "citadel-x.mount", "citadel-a%b.service",
                                        "citadel.rules", ".citadel-x.service"};
    _cleanup_place_ struct place p = make_place();
    char text[256];
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        add(&p, names[i], model);
    add(&p, "citadel-x.service",
        "[Service]\n\n[Install]\nWantedBy=ssh.service\nWantedBy=../x.target\n");
    REQUIRE(generator_copy(p.from, tap_dir(), p.to, NULL) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        CHECK_STR(look(&p, names[i], text), "");
    CHECK_STR(look(&p, "ssh.service.wants/citadel-x.service", text), "");
}

TEST(nothing_deployed_makes_nothing)
{
    _cleanup_place_ struct place p = make_place();
    char text[256];
    CHECK(rmdir(p.from) == 0);
    CHECK_EQ(generator_copy(p.from, tap_dir(), p.to, NULL), 0);
    CHECK(mkdir(p.from, 0755) == 0);
    CHECK_EQ(generator_copy(p.from, tap_dir(), p.to, NULL), 0);
    CHECK_STR(look(&p, "multi-user.target.wants/citadel-ai.target", text), "");
}

/* One unit that cannot be had: no unit at all. */
static void
check_none(struct place *p)
{
    struct err err = {0};
    CHECK(generator_copy(p->from, tap_dir(), p->to, &err) < 0);
    CHECK(err.what[0]);
    CHECK(rmdir(p->to) == 0); /* empty */
}

TEST(a_generation_is_copied_as_a_whole_or_not_at_all)
{
    static char large[65 * KIB];
    memset(large, 'x', sizeof(large) - 1);
    for (int how = 0; how < 4; how++) {
        _cleanup_place_ struct place p = make_place();
        _cleanup_free_ char *bad = mem_printf("%s/citadel-bad.service", p.from);
        _cleanup_free_ char *there = mem_printf("%s/citadel-phi3.service", p.to);
        tap_note("%d", how);
        add(&p, "citadel-phi3.service", model);
        add(&p, "citadel-models.target", "[Install]\nWantedBy=citadel-ai.target\n");
        if (how == 0)
            add(&p, "citadel-bad.service", large);
        else if (how == 1)
            CHECK(symlink("/etc/passwd", bad) == 0);
        else if (how == 2)
            CHECK(mkfifo(bad, 0600) == 0);
        else
            CHECK(symlink("/nowhere", there) == 0);
        if (how == 3) {
            CHECK(generator_copy(p.from, tap_dir(), p.to, NULL) < 0);
            CHECK(unlink(there) == 0); /* which was there before us */
            CHECK(rmdir(p.to) == 0);
        } else {
            check_none(&p);
        }
        CHECK(file_remove_tree(p.from, NULL) == 0);
    }
}
