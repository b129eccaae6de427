/* Against the server of OpenSSH itself, over pipes where ssh would be; and against what is said
 * here. */

#include "backup/sftp.h"

#include "backup/sftp_int.h"
#include "base/mem.h"
#include "file_rig.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVER "/usr/lib/openssh/sftp-server"

static struct err err;

/* ---- the real server ---- */

struct rig {
    struct sftp *sftp;
    struct proc proc;
    char top[200];
};

static int
open_rig(struct rig *rig, bool only_reads)
{
    const char *const argv[] = {SERVER, "-e", only_reads ? "-R" : NULL, NULL};
    int down[2], up[2];
    *rig = (struct rig){0};
    (void)snprintf(rig->top, sizeof(rig->top), "%s", tap_dir());
    if (pipe2(down, O_CLOEXEC) < 0 || pipe2(up, O_CLOEXEC) < 0)
        return -errno;
    struct proc_wish wish = {.argv = argv, .fds = {down[0], up[1], -1}};
    int r = proc_start(&wish, &rig->proc, &err);
    (void)close(down[0]);
    (void)close(up[1]);
    return r < 0 ? r : sftp_open(up[0], down[1], -1, &rig->sftp, &err);
}

static void
close_rig(struct rig *rig)
{
    sftp_free(rig->sftp);
    sftp_end_program(&rig->proc);
}
#define _cleanup_rig_ _cleanup_(close_rig)

static const char *
at(const struct rig *rig, const char *name)
{
    static char paths[4][300];
    static unsigned next;
    char *path = paths[next++ % ARRAY_SIZE(paths)];
    (void)snprintf(path, sizeof(paths[0]), "%s/%s", rig->top, name);
    return path;
}

TEST(sftp_files_go_there_and_come_back)
{
    static const size_t lens[] = {0, 1, SFTP_PIECE, SFTP_PIECE + 1, 200 * SFTP_PIECE + 7};
    _cleanup_rig_ struct rig rig;
    REQUIRE(open_rig(&rig, false) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        _cleanup_close_ int from = file_of_noise(i, lens[i]), to = file_of_noise(0, 0);
        struct sftp_file file;
        tap_note("%zu bytes: %s", lens[i], err.what);
        REQUIRE(from >= 0 && to >= 0);
        REQUIRE(sftp_store(rig.sftp, from, at(&rig, "draft"), at(&rig, "name"), &err) == 0);
        REQUIRE(sftp_stat(rig.sftp, at(&rig, "name"), &file, &err) == 0);
        CHECK(file.is_file && !file.is_directory && file.bytes == lens[i]);
        CHECK_EQ(sftp_stat(rig.sftp, at(&rig, "draft"), &file, &err), -ENOENT);
        REQUIRE(sftp_fetch(rig.sftp, at(&rig, "name"), to, UINT64_MAX, &err) == 0);
        CHECK(files_are_same(from, to, lens[i]));
    }
}

TEST(sftp_reads_from_anywhere)
{
    static uint8_t bytes[3 * SFTP_PIECE], want[3 * SFTP_PIECE];
    const size_t len = sizeof(bytes) + 1000;
    _cleanup_rig_ struct rig rig;
    _cleanup_close_ int from = file_of_noise(5, len);
    REQUIRE(open_rig(&rig, false) == 0);
    REQUIRE(sftp_store(rig.sftp, from, at(&rig, "draft"), at(&rig, "name"), &err) == 0);
    for (size_t i = 0; i < 1001; i += 77) {
        REQUIRE(sftp_read(rig.sftp, at(&rig, "name"), i, bytes, sizeof(bytes) - i, &err) == 0);
        REQUIRE(pread(from, want, sizeof(bytes) - i, (off_t)i) == (ssize_t)(sizeof(bytes) - i));
        CHECK(memcmp(bytes, want, sizeof(bytes) - i) == 0);
    }
    CHECK_EQ(sftp_read(rig.sftp, at(&rig, "name"), 1001, bytes, sizeof(bytes), &err), -ENODATA);
    CHECK_EQ(sftp_read(rig.sftp, at(&rig, "name"), 1000, bytes, sizeof(bytes), &err), 0);
    CHECK_EQ(sftp_read(rig.sftp, at(&rig, "none"), 0, bytes, 1, &err), -ENOENT);
    CHECK(!sftp_is_lost(rig.sftp));
}

TEST(sftp_touches_what_is_there_and_nothing_else)
{
    const struct timespec then[2] = {{1000000000, 0}, {1000000000, 0}};
    _cleanup_rig_ struct rig rig;
    _cleanup_close_ int from = file_of_noise(1, 100), to = file_of_noise(0, 0);
    struct sftp_file file;
    REQUIRE(open_rig(&rig, false) == 0);
    REQUIRE(sftp_store(rig.sftp, from, at(&rig, "draft"), at(&rig, "x"), &err) == 0);
    REQUIRE(utimensat(AT_FDCWD, at(&rig, "x"), then, 0) == 0);
    REQUIRE(sftp_touch(rig.sftp, at(&rig, "x"), &err) == 0);
    REQUIRE(sftp_stat(rig.sftp, at(&rig, "x"), &file, &err) == 0);
    CHECK(file.changed_s > 1700000000 && file.bytes == 100);
    REQUIRE(sftp_fetch(rig.sftp, at(&rig, "x"), to, 100, &err) == 0);
    CHECK(files_are_same(from, to, 100));
    CHECK_EQ(sftp_fetch(rig.sftp, at(&rig, "x"), to, 99, &err), -EFBIG);
    CHECK_EQ(sftp_touch(rig.sftp, at(&rig, "y"), &err), -ENOENT);
    CHECK_EQ(sftp_stat(rig.sftp, at(&rig, "y"), &file, &err), -ENOENT);
}

TEST(sftp_stores_what_is_new_once)
{
    _cleanup_rig_ struct rig rig;
    _cleanup_close_ int from = file_of_noise(1, 100), other = file_of_noise(2, 100),
                        to = file_of_noise(0, 0);
    REQUIRE(open_rig(&rig, false) == 0);
    CHECK_EQ(sftp_store_new(rig.sftp, from, at(&rig, "draft"), at(&rig, "x"), &err), 0);
    CHECK_EQ(sftp_store_new(rig.sftp, other, at(&rig, "draft"), at(&rig, "x"), &err), -EEXIST);
    REQUIRE(sftp_fetch(rig.sftp, at(&rig, "x"), to, UINT64_MAX, &err) == 0);
    CHECK(files_are_same(from, to, 100));
}

static int
count_names(void *arg, const char *name, const struct sftp_file *file)
{
    unsigned *count = arg;
    *count += file->is_file && strncmp(name, "n-", 2) == 0 ? 1 : 1000;
    return *count == 7 ? -ECANCELED : 0;
}

TEST(sftp_lists_makes_renames_and_removes)
{
    _cleanup_rig_ struct rig rig;
    unsigned count = 10;
    uint64_t room = 0;
    REQUIRE(open_rig(&rig, false) == 0);
    CHECK_EQ(sftp_list(rig.sftp, at(&rig, "d"), count_names, &count, &err), -ENOENT);
    CHECK_EQ(err.id, ERR_NOT_FOUND);
    REQUIRE(sftp_make_directory(rig.sftp, at(&rig, "d"), &err) == 0);
    REQUIRE(sftp_make_directory(rig.sftp, at(&rig, "d"), &err) == 0);
    REQUIRE(sftp_list(rig.sftp, at(&rig, "d"), count_names, &count, &err) == 0);
    CHECK_EQ(count, 10);
    for (int i = 0; i < 300; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "d/n-%d", i);
        (void)close(open(at(&rig, name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    }
    REQUIRE(sftp_list(rig.sftp, at(&rig, "d"), count_names, &count, &err) == 0);
    CHECK_EQ(count, 310);
    count = 0;
    CHECK_EQ(sftp_list(rig.sftp, at(&rig, "d"), count_names, &count, &err), -ECANCELED);
    CHECK_EQ(count, 7);
    REQUIRE(sftp_rename(rig.sftp, at(&rig, "d/n-1"), at(&rig, "d/n-2"), &err) == 0);
    CHECK_EQ(sftp_remove(rig.sftp, at(&rig, "d/n-1"), &err), -ENOENT);
    CHECK_EQ(sftp_remove(rig.sftp, at(&rig, "d/n-2"), &err), 0);
    CHECK(access(at(&rig, "d/n-2"), F_OK) < 0);
    CHECK(sftp_free_bytes(rig.sftp, rig.top, &room, &err) == 0 && room > 0);
}

TEST(sftp_says_what_the_other_host_does_not_do)
{
    _cleanup_rig_ struct rig rig;
    _cleanup_close_ int from = file_of_noise(1, 100 * SFTP_PIECE);
    struct sftp_file file;
    REQUIRE(open_rig(&rig, true) == 0);
    CHECK_EQ(sftp_store(rig.sftp, from, at(&rig, "draft"), at(&rig, "name"), &err), -EACCES);
    CHECK_EQ(err.id, ERR_REMOTE_REFUSED);
    CHECK(strstr(err.what, "/draft': Permission denied"));
    CHECK(sftp_make_directory(rig.sftp, at(&rig, "d"), &err) < 0);
    CHECK(sftp_remove(rig.sftp, rig.top, &err) < 0);
    CHECK_EQ(sftp_stat(rig.sftp, rig.top, &file, &err), 0);
    CHECK(file.is_directory);
}

/* What fails in the middle leaves no answers for the next who asks. */
TEST(sftp_goes_on_after_a_disk_that_is_full)
{
    _cleanup_rig_ struct rig rig;
    _cleanup_close_ int from = file_of_noise(1, 300 * SFTP_PIECE);
    struct sftp_file file;
    REQUIRE(open_rig(&rig, false) == 0);
    CHECK_EQ(sftp_store(rig.sftp, from, "/dev/full", at(&rig, "name"), &err), -EIO);
    CHECK_EQ(err.id, ERR_REMOTE_REFUSED);
    CHECK_EQ(sftp_stat(rig.sftp, rig.top, &file, &err), 0);
    CHECK_EQ(sftp_fetch(rig.sftp, rig.top, from, UINT64_MAX, &err), -EIO); /* that is a directory */
    CHECK_EQ(sftp_stat(rig.sftp, rig.top, &file, &err), 0);
}

TEST(sftp_is_lost_once_and_for_all)
{
    _cleanup_rig_ struct rig rig;
    struct sftp_file file;
    REQUIRE(open_rig(&rig, false) == 0);
    REQUIRE(proc_signal(&rig.proc, SIGKILL) == 0);
    for (int i = 0; i < 2; i++) {
        err = (struct err){0};
        CHECK(sftp_stat(rig.sftp, rig.top, &file, &err) < 0);
        CHECK_EQ(err.id, ERR_REMOTE_LOST);
        CHECK(sftp_is_lost(rig.sftp));
    }
}

TEST(sftp_does_not_wait_for_ever)
{
    _cleanup_rig_ struct rig rig;
    struct sftp_file file;
    REQUIRE(open_rig(&rig, false) == 0);
    rig.sftp->silence_ms = 50;
    REQUIRE(proc_signal(&rig.proc, SIGSTOP) == 0);
    CHECK(sftp_stat(rig.sftp, rig.top, &file, &err) < 0);
    CHECK_EQ(err.id, ERR_REMOTE_LOST);
    CHECK(strstr(err.what, "says nothing any more"));
    REQUIRE(proc_signal(&rig.proc, SIGCONT) == 0);
}

/* ---- what is no server ---- */

/* One that has said all this, and nothing more, and ends with these words. */
static int
open_said(const void *said, size_t len, const char *words, struct sftp **ret)
{
    int in[2], said_words[2], out = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (out < 0 || pipe2(in, O_CLOEXEC) < 0 || pipe2(said_words, O_CLOEXEC) < 0)
        return -errno;
    if (write(in[1], said, len) != (ssize_t)len ||
        write(said_words[1], words, strlen(words)) != (ssize_t)strlen(words))
        return -EIO;
    (void)close(in[1]);
    (void)close(said_words[1]);
    return sftp_open(in[0], out, said_words[0], ret, &err);
}

#define HELLO "\0\0\0\5\2\0\0\0\3"
#define SAID(text) text, sizeof(text) - 1

TEST(sftp_takes_no_stranger_for_a_server)
{
    static const struct {
        const char *said;
        size_t len;
        bool greets;
    } rows[] = {
        {SAID(""), false},
        {SAID("Welcome to the nas of Ann\n"), false},
        {SAID("\0\0\0\0"), false},
        {SAID("\377\377\377\377\2\0\0\0\3"), false},
        {SAID("\0\0\0\5\2\0\0\0\2"), false},
        {SAID("\0\0\0\2\2\0"), false},
        {SAID("\0\0\0\15\2\0\0\0\3\0\0\0\377abcd"), false},
        {SAID(HELLO), true},
        {SAID(HELLO "\0\0\0\5\151\0\0\0\1"), true},          /* attributes without flags */
        {SAID(HELLO "\0\0\0\11\151\0\0\0\7\0\0\0\0"), true}, /* of another request */
        {SAID(HELLO "\0\0\0\15\151\0\0\0\1\200\0\0\0\377\377\377\377"), true},
        {SAID(HELLO "\0\0\0\11\147\0\0\0\1\0\0\0\0"), true}, /* data */
        {SAID(HELLO "\0\0\0\11\145\0\0\0\1\0\0\0\0"), true}, /* a success that tells nothing */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_sftp_ struct sftp *s = NULL;
        struct sftp_file file;
        tap_note("row %zu", i);
        err = (struct err){0};
        int r = open_said(rows[i].said, rows[i].len, "", &s);
        CHECK_EQ(r == 0, rows[i].greets);
        if (r == 0)
            r = sftp_stat(s, "/", &file, &err);
        CHECK(r < 0);
        CHECK_EQ(err.id, ERR_REMOTE_LOST);
    }
}

/* A name that is a path leads somewhere else. */
TEST(sftp_takes_no_path_for_a_name)
{
    static const char hello[] = HELLO "\0\0\0\12\146\0\0\0\1\0\0\0\1h"
                                      "\0\0\0\31\150\0\0\0\2\0\0\0\1"
                                      "\0\0\0\4../x\0\0\0\0\0\0\0\0";
    _cleanup_sftp_ struct sftp *s = NULL;
    unsigned count = 0;
    REQUIRE(open_said(SAID(hello), "", &s) == 0);
    CHECK(sftp_list(s, "/", count_names, &count, &err) < 0);
    CHECK_EQ(err.id, ERR_REMOTE_LOST);
    CHECK_EQ(count, 0);
}

TEST(sftp_tells_why_it_is_not_let_in)
{
    _cleanup_sftp_ struct sftp *s = NULL;
    CHECK(open_said("", 0, "Warning: a banner\nann@nas: Permission denied (publickey).\r\n", &s) <
          0);
    CHECK(strstr(err.what, ": ann@nas: Permission denied (publickey)."));
    CHECK(!strstr(err.what, "banner"));
}

/* ---- places ---- */

TEST(sftp_places)
{
    static const struct {
        const char *text, *user, *host, *path;
        unsigned port;
    } rows[] = {
        {"sftp://nas/srv/a b", "", "nas", "/srv/a b", 0},
        {"sftp://ann@nas.example:2222/x", "ann", "nas.example", "/x", 2222},
        {"sftp://nas/~/x/y", "", "nas", "x/y", 0},
        {"sftp://[fe80::1]:65535/x@y:1", "", "fe80::1", "/x@y:1", 65535},
        {"sftp://[::1]/x", "", "::1", "/x", 0},
        {"sftp://nas", NULL, NULL, NULL, 0},
        {"sftp://nas/", NULL, NULL, NULL, 0},
        {"sftp:///x", NULL, NULL, NULL, 0},
        {"sftp://nas:0/x", NULL, NULL, NULL, 0},
        {"sftp://nas:65536/x", NULL, NULL, NULL, 0},
        {"sftp://nas:/x", NULL, NULL, NULL, 0},
        {"sftp://-oProxyCommand=x/x", NULL, NULL, NULL, 0},
        {"sftp://-l@nas/x", NULL, NULL, NULL, 0},
        {"sftp://a;b@nas/x", NULL, NULL, NULL, 0},
        {"sftp://@nas/x", NULL, NULL, NULL, 0},
        {"sftp://[::1/x", NULL, NULL, NULL, 0},
        {"sftp://[::1]x/x", NULL, NULL, NULL, 0},
        {"http://nas/x", NULL, NULL, NULL, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sftp_place place = {0};
        tap_note("%s", rows[i].text);
        int r = sftp_parse(rows[i].text, &place, &err);
        CHECK_EQ(r == 0, rows[i].host != NULL);
        if (r < 0) {
            CHECK(strstr(err.what, rows[i].text) && err.fix[0]);
            continue;
        }
        CHECK_STR(place.user, rows[i].user);
        CHECK_STR(place.host, rows[i].host);
        CHECK_STR(place.path, rows[i].path);
        CHECK_EQ(place.port, rows[i].port);
    }
    CHECK(sftp_parse("sftp://ann:secret@nas/x", &(struct sftp_place){0}, &err) < 0);
    CHECK(!strstr(err.what, "secret") && strstr(err.what, "password"));
}
