#include "sys/account.h"

#include "sys/files.h"
#include "sys/root.h"
#include "tap.h"

#include <stdio.h>

static void
put(const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/etc", tap_dir());
    CHECK(file_make_dirs(path, 0755, NULL) == 0);
    (void)snprintf(path, sizeof(path), "%s/etc/%s", tap_dir(), name);
    CHECK(file_write(path, text, strlen(text), 0644, NULL) == 0);
}

TEST(an_image_has_its_own_accounts)
{
    struct account a;
    struct err err = {0};
    char text[ACCOUNT_TEXT_MAX];
    put("passwd", "root:x:0:0::/:/bin/sh\nmodels:x:777:778::/:/bin/false\n");
    put("group", "root:x:0:\nai:x:900:models\n");
    REQUIRE(root_set(tap_dir(), NULL) == 0);
    REQUIRE(account_find("models", NULL, &a, NULL) == 0);
    CHECK_EQ(a.uid, 777);
    CHECK_EQ(a.gid, 778);
    REQUIRE(account_find("models", "ai", &a, NULL) == 0);
    CHECK_EQ(a.gid, 900);
    CHECK(account_find("daemon", NULL, &a, &err) < 0);
    CHECK_EQ(err.id, ERR_NO_ACCOUNT);
    CHECK(strstr(err.what, "no account 'daemon'"));
    CHECK(account_find("models", "nobody", &a, &err) < 0);
    CHECK(strstr(err.what, "no group 'nobody'"));
    CHECK_STR(account_print_user(777, text), "models");
    CHECK_STR(account_print_user(1, text), "1");
    CHECK_STR(account_print_group(900, text), "ai");
    REQUIRE(root_set("", NULL) == 0);
}

TEST(without_a_root_they_are_those_of_this_machine)
{
    struct account a;
    char text[ACCOUNT_TEXT_MAX];
    REQUIRE(account_find("root", "root", &a, NULL) == 0);
    CHECK_EQ(a.uid, 0);
    CHECK_STR(account_print_user(0, text), "root");
    CHECK_STR(account_print_group(0, text), "root");
    CHECK(account_find("no-account-of-this-name", NULL, &a, NULL) < 0);
}
