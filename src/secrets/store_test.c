#include "secrets/store_int.h"

#include "base/text.h"
#include "crash.h"
#include "sys/files.h"
#include "tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CALLS_MAX 100 /* that change files, of one of the operations below */

/* For systemd-creds: what it "encrypts" has the name before it, and letters for others. It takes only
 * words that hold no value, and fails when the file FAIL is there. */
static const char fake[] =
    "#!/bin/sh\n"
    "cd \"${0%/*}\" || exit 1\n"
    "if [ -e FAIL ]; then echo a warning >&2; echo no key here >&2; exit 1; fi\n"
    "case \"$1\" in\n"
    "encrypt) echo \"$3\"; tr a-z b-za ;;\n"
    "decrypt) { read -r name; [ \"$name\" = \"$2\" ] || exit 1; tr b-za a-z; } < \"$3\" ;;\n"
    "esac\n";

static struct secret_store store;
static char dirs[SECRET_FORMS][512], program[512];

static void
open_store(bool has_creds)
{
    for (int form = 0; form < SECRET_FORMS; form++) {
        (void)snprintf(dirs[form], sizeof(dirs[form]), "%s/etc/%s", tap_dir(),
                       secret_form_word((enum secret_form)form));
        store.dirs[form] = dirs[form];
    }
    (void)snprintf(program, sizeof(program), "%s/creds", tap_dir());
    store.creds = has_creds ? program : NULL;
    store.why_not = "this is a test";
    if (file_write(program, fake, sizeof(fake) - 1, 0755, NULL) < 0)
        abort();
}

static void
break_creds(bool broken)
{
    char path[600];
    (void)snprintf(path, sizeof(path), "%s/FAIL", tap_dir());
    if ((broken ? file_write(path, "", 0, 0600, NULL) : unlink(path)) < 0)
        abort();
}

/* Whether systemd-creds is there. */
static void
can_encrypt(bool can)
{
    store.creds = can ? program : NULL;
}

static int
put(const char *name, const char *text, enum secret_form *ret_form, struct err *ret_why_not)
{
    _cleanup_secret_ struct secret value = {0};
    secret_set(&value, text);
    return secret_store_put(&store, name, &value, ret_form, ret_why_not, NULL);
}

/* "" when it is not there. */
static const char *
get(const char *name)
{
    static char text[SECRET_BYTES_MAX + 1];
    _cleanup_secret_ struct secret value = {0};
    struct err err = {0};
    int r = secret_store_get(&store, name, &value, &err);
    if (r < 0 && err.id != ERR_SECRET_NONE)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    (void)snprintf(text, sizeof(text), "%s", r < 0 ? "" : secret_reveal(&value));
    return text;
}

static const char *
path_of(enum secret_form form, const char *name)
{
    static char path[1024];
    char file[SECRET_FILE_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", store.dirs[form],
                   secret_file_name(form, name, file));
    return path;
}

static bool
is_there(enum secret_form form, const char *name)
{
    return access(path_of(form, name), F_OK) == 0;
}

TEST(a_secret_is_encrypted_where_that_works)
{
    enum secret_form form = SECRET_PLAIN;
    struct err why_not = {0};
    open_store(true);
    REQUIRE(put("hub", "squeamish", &form, &why_not) == 0);
    CHECK_EQ(form, SECRET_ENCRYPTED);
    CHECK(is_there(SECRET_ENCRYPTED, "hub") && !is_there(SECRET_PLAIN, "hub"));
    _cleanup_buf_ struct buf bytes = BUF_INIT(4096);
    REQUIRE(file_read(path_of(SECRET_ENCRYPTED, "hub"), &bytes, NULL) == 0);
    CHECK(!strstr(bytes.data, "squeamish") && strstr(bytes.data, "--with-key=host") == NULL);
    CHECK(text_starts(bytes.data, "--name=citadel.hub\n"));
    CHECK_STR(get("hub"), "squeamish");
}

TEST(a_secret_is_plain_where_it_must_be_and_why_is_said)
{
    enum secret_form form = SECRET_ENCRYPTED;
    struct err why_not = {0};
    struct stat st;
    open_store(true);
    REQUIRE(unlink(program) == 0);
    REQUIRE(put("hub", "squeamish", &form, &why_not) == 0);
    CHECK_EQ(form, SECRET_PLAIN);
    CHECK(strstr(why_not.what, program));
    REQUIRE(stat(path_of(SECRET_PLAIN, "hub"), &st) == 0);
    CHECK_EQ(st.st_mode & 07777, 0600);
    REQUIRE(stat(store.dirs[SECRET_PLAIN], &st) == 0);
    CHECK_EQ(st.st_mode & 07777, 0700);
    CHECK_STR(get("hub"), "squeamish");
    open_store(false);
    REQUIRE(put("hub", "other", &form, &why_not) == 0);
    CHECK_STR(why_not.what, "this is a test");
    CHECK_STR(get("hub"), "other");
}

TEST(a_secret_does_not_lie_open_since_it_could_not_be_encrypted)
{
    _cleanup_secret_ struct secret value = {0};
    enum secret_form form;
    struct err why_not, err = {0};
    open_store(true);
    REQUIRE(put("hub", "one", &form, &why_not) == 0);
    break_creds(true);
    secret_set(&value, "two");
    CHECK(secret_store_put(&store, "hub", &value, &form, &why_not, &err) < 0);
    CHECK_STR(err.what, "systemd-creds, of citadel.hub: no key here");
    CHECK(strstr(err.fix, geteuid() == 0 ? "citadel secrets set hub --plain" : "sudo"));
    CHECK(is_there(SECRET_ENCRYPTED, "hub") && !is_there(SECRET_PLAIN, "hub"));
    break_creds(false);
    CHECK_STR(get("hub"), "one");
}

/* One form takes the place of the other, in both directions. */
TEST(a_secret_is_kept_once)
{
    enum secret_form form;
    struct err why_not;
    open_store(true);
    REQUIRE(put("hub", "one", &form, &why_not) == 0);
    can_encrypt(false);
    REQUIRE(put("hub", "two", &form, &why_not) == 0);
    CHECK(!is_there(SECRET_ENCRYPTED, "hub") && is_there(SECRET_PLAIN, "hub"));
    CHECK_STR(get("hub"), "two");
    can_encrypt(true);
    REQUIRE(put("hub", "three", &form, &why_not) == 0);
    CHECK(is_there(SECRET_ENCRYPTED, "hub") && !is_there(SECRET_PLAIN, "hub"));
    CHECK_STR(get("hub"), "three");
}

TEST(what_a_person_left_open_is_closed)
{
    enum secret_form form;
    struct err why_not;
    struct stat st;
    open_store(false);
    REQUIRE(put("hub", "one", &form, &why_not) == 0);
    REQUIRE(chmod(path_of(SECRET_PLAIN, "hub"), 0644) == 0);
    REQUIRE(put("hub", "two", &form, &why_not) == 0);
    REQUIRE(stat(path_of(SECRET_PLAIN, "hub"), &st) == 0);
    CHECK_EQ(st.st_mode & 07777, 0600);
}

TEST(names_that_are_none)
{
    static const char *const names[] = {
        "", ".", "..", "../etc/shadow", "a/b", "A", "a b", "a\n", ".hidden", "-x", "a*"};
    enum secret_form form;
    struct err why_not;
    char longest[TEXT_NAME_MAX + 2] = {0};
    open_store(false);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        tap_note("'%s'", names[i]);
        CHECK_EQ(put(names[i], "x", &form, &why_not), -EINVAL);
        CHECK_EQ(secret_store_remove(&store, names[i], NULL), -EINVAL);
    }
    memset(longest, 'a', TEXT_NAME_MAX);
    CHECK_EQ(put(longest, "x", &form, &why_not), 0);
    CHECK_STR(get(longest), "x");
    longest[TEXT_NAME_MAX] = 'a';
    CHECK_EQ(put(longest, "x", &form, &why_not), -EINVAL);
}

TEST(values_as_they_are_given)
{
    static char long_one[SECRET_BYTES_MAX + 3];
    memset(long_one, 'x', sizeof(long_one));
    const struct {
        const char *bytes;
        size_t len;
        const char *want; /* NULL: refused */
    } rows[] = {
        {"hf_x", 4, "hf_x"},
        {"hf_x\n", 5, "hf_x"},
        {"hf_x\r\n", 6, "hf_x"},
        {"a\nb\n", 4, "a\nb"},
        {" x ", 3, " x "},
        {"x\n\n", 3, "x\n"},
        {"", 0, NULL},
        {"\n", 1, NULL},
        {"\r\n", 2, NULL},
        {"a\0b", 3, NULL},
        {long_one, SECRET_BYTES_MAX + 1, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_secret_ struct secret value = {0};
        int ends[2];
        tap_note("row %zu", i);
        REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
        REQUIRE(write(ends[1], rows[i].bytes, rows[i].len) == (ssize_t)rows[i].len);
        (void)close(ends[1]);
        CHECK_EQ(secret_read(ends[0], &value, NULL), rows[i].want ? 0 : -EINVAL);
        CHECK_STR(secret_reveal(&value), rows[i].want);
        (void)close(ends[0]);
    }
}

TEST(the_longest_value_goes_through)
{
    enum secret_form form;
    struct err why_not;
    static char text[SECRET_BYTES_MAX + 1];
    memset(text, 'x', SECRET_BYTES_MAX);
    open_store(true);
    REQUIRE(put("long", text, &form, &why_not) == 0);
    CHECK_EQ(form, SECRET_ENCRYPTED);
    CHECK_STR(get("long"), text);
}

/* Files of others, and what a crash has left, are no secrets of ours. */
TEST(the_list_has_ours)
{
    _cleanup_arena_ struct arena arena;
    struct secret_kept *items;
    size_t count;
    enum secret_form form;
    struct err why_not;
    arena_init(&arena, MIB);
    open_store(true);
    REQUIRE(secret_store_list(&store, &arena, &items, &count, NULL) == 0);
    CHECK_EQ(count, 0);
    REQUIRE(put("b", "x", &form, &why_not) == 0 && put("a", "x", &form, &why_not) == 0);
    can_encrypt(false);
    REQUIRE(put("c", "x", &form, &why_not) == 0);
    static const char *const others[] = {"passwd.root", ".citadel.a.new", "citadel.", "citadel.X"};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        char path[1024];
        (void)snprintf(path, sizeof(path), "%s/%s", store.dirs[SECRET_ENCRYPTED], others[i]);
        REQUIRE(file_write(path, "x", 1, 0600, NULL) == 0);
    }
    REQUIRE(secret_store_list(&store, &arena, &items, &count, NULL) == 0);
    REQUIRE(count == 3);
    CHECK_STR(items[0].name, "a");
    CHECK_STR(items[1].name, "b");
    CHECK_STR(items[2].name, "c");
    CHECK(items[1].form == SECRET_ENCRYPTED && items[2].form == SECRET_PLAIN);
}

TEST(what_is_removed_is_gone)
{
    enum secret_form form;
    struct err why_not, err;
    open_store(true);
    REQUIRE(put("hub", "one", &form, &why_not) == 0);
    CHECK_EQ(secret_store_remove(&store, "hub", NULL), 0);
    CHECK_STR(get("hub"), "");
    CHECK(secret_store_remove(&store, "hub", &err) < 0 && err.id == ERR_SECRET_NONE);
}

/* A value that was encrypted for one name is not read under another. */
TEST(a_file_under_another_name_is_refused)
{
    _cleanup_secret_ struct secret value = {0};
    enum secret_form form;
    struct err why_not, err = {0};
    char to[1024];
    open_store(true);
    REQUIRE(put("hub", "one", &form, &why_not) == 0);
    (void)snprintf(to, sizeof(to), "%s", path_of(SECRET_ENCRYPTED, "other"));
    REQUIRE(rename(path_of(SECRET_ENCRYPTED, "hub"), to) == 0);
    CHECK(secret_store_get(&store, "other", &value, &err) < 0);
    CHECK(err.id == ERR_SECRET_CREDS && !secret_is_set(&value));
}

/* ---- crashes, and disks that fail ---- */

static void
put_two(void *arg unused_arg)
{
    enum secret_form form;
    struct err why_not;
    (void)!put("hub", "two", &form, &why_not);
}

static void
remove_it(void *arg unused_arg)
{
    (void)!secret_store_remove(&store, "hub", NULL);
}

/* Before: which form it was kept in, and after: whether it can be encrypted. */
static void
prepare(bool was_encrypted, bool is_encrypted)
{
    enum secret_form form;
    struct err why_not;
    open_store(was_encrypted);
    (void)!secret_store_remove(&store, "hub", NULL);
    if (put("hub", "one", &form, &why_not) < 0)
        abort();
    open_store(is_encrypted);
}

TEST(a_crash_leaves_the_old_value_or_the_new_one)
{
    for (unsigned from = 0; from < 8; from++) {
        bool was = from & 1, can = from & 2, torn = from & 4, crashed = true;
        unsigned n;
        for (n = 1; crashed && n < CALLS_MAX; n++) {
            tap_note("from %u, call %u", from, n);
            prepare(was, can);
            crashed = crash_at(n, torn, put_two, NULL);
            can_encrypt(true);
            const char *is = get("hub");
            CHECK(crashed ? text_eq(is, "one") || text_eq(is, "two") : text_eq(is, "two"));
        }
        CHECK(n > 4 && n < CALLS_MAX);
    }
}

TEST(a_disk_that_fails_leaves_the_old_value_or_the_new_one)
{
    for (unsigned n = 1; n < 20; n++) {
        tap_note("call %u", n);
        prepare(true, true);
        fail_at(n, n & 1, put_two, NULL);
        const char *is = get("hub");
        CHECK(text_eq(is, "one") || text_eq(is, "two"));
    }
}

TEST(a_crash_while_removing_leaves_it_or_not)
{
    bool crashed = true;
    unsigned n;
    for (n = 1; crashed && n < CALLS_MAX; n++) {
        tap_note("call %u", n);
        prepare(true, true);
        crashed = crash_at(n, false, remove_it, NULL);
        const char *is = get("hub");
        CHECK(crashed ? text_eq(is, "one") || text_eq(is, "") : text_eq(is, ""));
    }
    CHECK(n > 2 && n < CALLS_MAX);
}
