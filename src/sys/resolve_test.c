#include "sys/resolve.h"

#include "loop_rig.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

struct told {
    unsigned times;
    bool has_ip;
    char text[128];
};

static void
on_told(void *arg, const char *ip, const char *why)
{
    struct told *t = arg;
    t->times++;
    t->has_ip = ip != NULL;
    (void)snprintf(t->text, sizeof(t->text), "%s", ip ? ip : why);
}

static struct told
resolve_one(const char *host, bool forget)
{
    struct told t = {0};
    struct loop *loop;
    if (loop_new(&loop, NULL) < 0)
        return t;
    struct resolve *r = resolve_begin(loop, host, on_told, &t);
    if (forget)
        resolve_forget(r);
    loop_run(loop);
    loop_free(loop);
    return t;
}

TEST(resolve_tells_the_address_of_a_name)
{
    static const struct {
        const char *host, *want;
    } rows[] = {{"192.0.2.7", "192.0.2.7"}, {"2001:db8::1", "[2001:db8::1]"}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct told t = resolve_one(rows[i].host, false);
        CHECK_EQ(t.times, 1);
        CHECK(t.has_ip);
        CHECK_STR(t.text, rows[i].want);
    }
}

TEST(resolve_tells_why_there_is_none)
{
    struct told t = resolve_one("no host has blanks", false);
    CHECK_EQ(t.times, 1);
    CHECK(!t.has_ip && t.text[0]);
}

TEST(resolve_tells_nobody_who_has_forgotten_it)
{
    CHECK_EQ(resolve_one("192.0.2.7", true).times, 0);
}
