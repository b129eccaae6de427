/* Against a strict server (tests/s3_server.py), which checks each signature by itself. */

#include "backup/s3.h"

#include "backup/again.h"
#include "backup/s3_int.h"
#include "base/mem.h"
#include "file_rig.h"
#include "s3_rig.h"
#include "sys/clock.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct err err;

struct rig {
    struct s3 *s3;
    struct s3_rig server;
};

static int
open_s3(unsigned port, const char *password, const char *region, struct s3 **ret)
{
    _cleanup_secret_ struct secret secret = {0};
    struct s3_wish wish = {.key_id = S3_RIG_KEY, .secret = &secret};
    _cleanup_free_ char *place =
        mem_printf("s3+http://127.0.0.1:%u/bucket/a/b/?region=%s", port, region);
    secret_set(&secret, password);
    int r = s3_parse(place, &wish.place, &err);
    return r < 0 ? r : s3_open(&wish, ret, &err);
}

static int
open_rig(struct rig *rig)
{
    *rig = (struct rig){0};
    again_first_us = 1000;
    int r = s3_rig_start(&rig->server);
    return r < 0 ? r : open_s3(rig->server.port, S3_RIG_SECRET, S3_RIG_REGION, &rig->s3);
}

static void
close_rig(struct rig *rig)
{
    s3_free(rig->s3);
    s3_rig_stop(&rig->server);
}
#define _cleanup_rig_ _cleanup_(close_rig)

static const char *
tell(const struct rig *rig, const char *method, const char *target)
{
    return s3_rig_tell(&rig->server, method, target);
}

static unsigned
count_uploads(const struct rig *rig)
{
    unsigned count = 0;
    for (const char *at = tell(rig, "GET", "/_uploads"); *at; at++)
        count += *at == '=';
    return count;
}

/* The next request is treated so. */
static bool
next(const struct rig *rig, const char *how, unsigned count)
{
    _cleanup_free_ char *target = mem_printf("/_next/%s/%u", how, count);
    return strcmp(tell(rig, "POST", target), "") == 0;
}

TEST(s3_objects_go_there_and_come_back)
{
    static const size_t lens[] = {0, 1, 1000, 3 * MIB};
    _cleanup_rig_ struct rig rig;
    REQUIRE(open_rig(&rig) == 0);
    rig.s3->part_bytes = MIB - 1; /* so that the last is stored in parts */
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        _cleanup_close_ int from = file_of_noise(i, lens[i]), to = file_of_noise(0, 0);
        uint64_t bytes = 1;
        tap_note("%zu bytes: %s", lens[i], err.what);
        REQUIRE(s3_store(rig.s3, from, "packs/00", &err) == 0);
        REQUIRE(s3_size(rig.s3, "packs/00", &bytes, &err) == 0);
        CHECK_EQ(bytes, lens[i]);
        REQUIRE(s3_fetch(rig.s3, "packs/00", to, UINT64_MAX, &err) == 0);
        CHECK(files_are_same(from, to, lens[i]));
    }
    CHECK_STR(tell(&rig, "GET", "/_uploads"), "");
}

TEST(s3_reads_from_anywhere)
{
    static uint8_t bytes[1000], want[1000];
    _cleanup_rig_ struct rig rig;
    _cleanup_close_ int from = file_of_noise(3, 1500);
    REQUIRE(open_rig(&rig) == 0 && s3_store(rig.s3, from, "x", &err) == 0);
    for (uint64_t at = 0; at <= 500; at += 125) {
        REQUIRE(s3_read(rig.s3, "x", at, bytes, sizeof(bytes), &err) == 0);
        REQUIRE(pread(from, want, sizeof(want), (off_t)at) == sizeof(want));
        CHECK(memcmp(bytes, want, sizeof(want)) == 0);
    }
    CHECK_EQ(s3_read(rig.s3, "x", 501, bytes, sizeof(bytes), &err), -ENODATA);
    CHECK_EQ(s3_read(rig.s3, "x", 1500, bytes, 1, &err), -ENODATA);
    CHECK_EQ(s3_read(rig.s3, "y", 0, bytes, 1, &err), -ENOENT);
    CHECK_EQ(err.id, ERR_NOT_FOUND);
}

static int
note(void *arg, const char *key, uint64_t bytes)
{
    buf_printf(arg, "%s=%llu ", key, (unsigned long long)bytes);
    return 0;
}

TEST(s3_lists_page_by_page_and_removes)
{
    _cleanup_rig_ struct rig rig;
    _cleanup_close_ int from = file_of_noise(1, 5);
    _cleanup_buf_ struct buf got = BUF_INIT(KIB), want = BUF_INIT(KIB);
    REQUIRE(open_rig(&rig) == 0);
    REQUIRE(s3_list(rig.s3, "", note, &got, &err) == 0);
    CHECK_STR(got.data, "");
    for (int i = 0; i < 10; i++) {
        _cleanup_free_ char *key = mem_printf("packs/%d+& <", i);
        REQUIRE(s3_store(rig.s3, from, key, &err) == 0);
        buf_printf(&want, "%s=5 ", key);
    }
    REQUIRE(s3_store(rig.s3, from, "index/0", &err) == 0);
    REQUIRE(s3_list(rig.s3, "packs/", note, &got, &err) == 0);
    CHECK_STR(got.data, want.data);
    for (int i = 0; i < 2; i++)
        REQUIRE(s3_remove(rig.s3, "index/0", &err) == 0);
    buf_clear(&got);
    REQUIRE(s3_list(rig.s3, "index/", note, &got, &err) == 0);
    CHECK_STR(got.data, "");
}

/* Whatever goes wrong for a while is tried again, and leaves nothing half. */
TEST(s3_outlasts_what_goes_wrong_for_a_while)
{
    static const char *const ways[] = {"503", "429", "500", "cut", "drop"};
    _cleanup_rig_ struct rig rig;
    _cleanup_close_ int from = file_of_noise(7, 3 * MIB);
    REQUIRE(open_rig(&rig) == 0);
    rig.s3->part_bytes = MIB;
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        _cleanup_close_ int to = file_of_noise(0, 0);
        _cleanup_buf_ struct buf got = BUF_INIT(KIB);
        uint64_t bytes = 0;
        tap_note("%s: %s", ways[i], err.what);
        for (unsigned at = 0; at < 6; at++) { /* each request of a store in its turn */
            REQUIRE(at == 0 || next(&rig, "as-always", at));
            REQUIRE(next(&rig, ways[i], 2) && next(&rig, "as-always", 1));
            REQUIRE(s3_store(rig.s3, from, "x", &err) == 0);
            REQUIRE(s3_size(rig.s3, "x", &bytes, &err) == 0 && bytes == 3 * MIB);
            while (strcmp(tell(&rig, "GET", "/_planned"), "0") != 0)
                REQUIRE(s3_size(rig.s3, "x", &bytes, &err) == 0);
        }
        REQUIRE(next(&rig, ways[i], 1));
        REQUIRE(s3_fetch(rig.s3, "x", to, UINT64_MAX, &err) == 0);
        CHECK(files_are_same(from, to, 3 * MIB));
        REQUIRE(next(&rig, ways[i], 1));
        REQUIRE(s3_list(rig.s3, "", note, &got, &err) == 0);
        CHECK_STR(got.data, "x=3145728 ");
    }
}

TEST(s3_says_what_does_not_pass)
{
    _cleanup_rig_ struct rig rig;
    _cleanup_s3_ struct s3 *wrong = NULL, *elsewhere = NULL;
    _cleanup_close_ int from = file_of_noise(1, 100);
    uint64_t bytes;
    REQUIRE(open_rig(&rig) == 0);
    REQUIRE(next(&rig, "503", AGAIN_TRIES));
    CHECK_EQ(s3_store(rig.s3, from, "x", &err), -EIO);
    CHECK_EQ(err.id, ERR_REMOTE_REFUSED);
    CHECK(strstr(err.what, "answers 503 to PUT of 'x': SlowDown: said <SlowDown>"));
    REQUIRE(next(&rig, "moved", 1));
    CHECK_EQ(s3_store(rig.s3, from, "x", &err), -EIO);
    CHECK(strstr(err.fix, "?region="));
    REQUIRE(open_s3(rig.server.port, "another", "eu-test-1", &wrong) == 0);
    CHECK_EQ(s3_store(wrong, from, "x", &err), -EACCES);
    CHECK(strstr(err.what, "SignatureDoesNotMatch") && !strstr(err.what, "another"));
    CHECK(strstr(err.fix, "backup.credentials"));
    REQUIRE(open_s3(rig.server.port, "the/secret+of=tests", "us-east-1", &elsewhere) == 0);
    CHECK_EQ(s3_store(elsewhere, from, "x", &err), -EIO);
    CHECK_EQ(s3_size(rig.s3, "x", &bytes, &err), -ENOENT);
}

/* An upload that is not completed leaves no parts, which somebody would pay for. */
TEST(s3_drops_what_is_not_completed)
{
    _cleanup_rig_ struct rig rig;
    _cleanup_close_ int from = file_of_noise(1, 3 * MIB);
    uint64_t bytes;
    REQUIRE(open_rig(&rig) == 0);
    rig.s3->part_bytes = MIB;
    REQUIRE(next(&rig, "as-always", 4) && next(&rig, "late-error", 1));
    CHECK_EQ(s3_store(rig.s3, from, "x", &err), -EIO);
    CHECK(strstr(err.what, "does not complete 'x': InternalError"));
    CHECK_STR(tell(&rig, "GET", "/_uploads"), "");
    CHECK_EQ(s3_size(rig.s3, "x", &bytes, &err), -ENOENT);
}

TEST(s3_touches_what_is_there_and_nothing_else)
{
    _cleanup_rig_ struct rig rig;
    _cleanup_close_ int from = file_of_noise(1, 100);
    uint64_t then = 0, now = 0, bytes;
    REQUIRE(open_rig(&rig) == 0 && s3_store(rig.s3, from, "locks/x+y", &err) == 0);
    CHECK_STR(tell(&rig, "POST", "/_age/1000/a/b/locks/x+y"), "");
    REQUIRE(s3_changed(rig.s3, "locks/x+y", &then, &err) == 0);
    REQUIRE(s3_touch(rig.s3, "locks/x+y", &err) == 0);
    REQUIRE(s3_changed(rig.s3, "locks/x+y", &now, &err) == 0);
    CHECK(now >= then + 999 * UINT64_C(1000000) && now < then + 1100 * UINT64_C(1000000));
    REQUIRE(s3_size(rig.s3, "locks/x+y", &bytes, &err) == 0);
    CHECK_EQ(bytes, 100);
    CHECK_EQ(s3_touch(rig.s3, "locks/y", &err), -ENOENT);
    CHECK_EQ(s3_changed(rig.s3, "locks/y", &now, &err), -ENOENT);
    REQUIRE(next(&rig, "late-error", 1));
    CHECK_EQ(s3_touch(rig.s3, "locks/x+y", &err), -EIO);
    CHECK(strstr(err.what, "does not touch 'locks/x+y': InternalError"));
}

TEST(s3_stores_what_is_new_once)
{
    _cleanup_rig_ struct rig rig;
    _cleanup_close_ int from = file_of_noise(1, 100), other = file_of_noise(2, 100),
                        to = file_of_noise(0, 0);
    REQUIRE(open_rig(&rig) == 0);
    CHECK_EQ(s3_store_new(rig.s3, from, "x", &err), 0);
    CHECK_EQ(s3_store_new(rig.s3, other, "x", &err), -EEXIST);
    REQUIRE(s3_fetch(rig.s3, "x", to, 100, &err) == 0);
    CHECK(files_are_same(from, to, 100));
    CHECK_EQ(s3_fetch(rig.s3, "x", to, 99, &err), -EFBIG);
    CHECK_EQ(err.id, ERR_TOO_LARGE);
}

/* Of somebody who was killed; whose runs still, is younger. */
TEST(s3_drops_uploads_of_long_ago)
{
    _cleanup_rig_ struct rig rig;
    const uint64_t now_us = clock_wall_us();
    REQUIRE(open_rig(&rig) == 0);
    for (int i = 0; i < 5; i++)
        CHECK_STR(tell(&rig, "POST", i < 4 ? "/_upload/0/a/b/packs/x" : "/_upload/0/other/x"), "");
    REQUIRE(s3_drop_uploads(rig.s3, "packs/", now_us - 60 * UINT64_C(1000000), &err) == 0);
    CHECK_EQ(count_uploads(&rig), 5);
    REQUIRE(s3_drop_uploads(rig.s3, "packs/", now_us + 60 * UINT64_C(1000000), &err) == 0);
    CHECK_EQ(count_uploads(&rig), 1);
}

TEST(s3_tells_that_nobody_is_there)
{
    _cleanup_s3_ struct s3 *s3 = NULL;
    uint64_t bytes;
    REQUIRE(open_s3(1, "x", "eu-test-1", &s3) == 0);
    CHECK(s3_size(s3, "x", &bytes, &err) < 0);
    CHECK_EQ(err.id, ERR_REMOTE_LOST);
    CHECK(strstr(err.what, "127.0.0.1:1"));
}

TEST(s3_places)
{
    static const struct {
        const char *text, *host, *bucket, *prefix, *region;
    } rows[] = {
        {"s3://s3.amazonaws.com/bucket", "s3.amazonaws.com", "bucket", "", "us-east-1"},
        {"s3://minio:9000/a.b-c/x/Y_z/", "minio:9000", "a.b-c", "x/Y_z/", "us-east-1"},
        {"s3://h:443/abc/?region=eu-central-1", "h", "abc", "", "eu-central-1"},
        {"s3+http://[::1]:80/abc", "[::1]", "abc", "", "us-east-1"},
        {"s3://h", NULL, NULL, NULL, NULL},
        {"s3://h/", NULL, NULL, NULL, NULL},
        {"s3://h/ab", NULL, NULL, NULL, NULL},
        {"s3://h/Bucket", NULL, NULL, NULL, NULL},
        {"s3:///abc", NULL, NULL, NULL, NULL},
        {"s3://h x/abc", NULL, NULL, NULL, NULL},
        {"s3://h/abc/a//b", NULL, NULL, NULL, NULL},
        {"s3://h/abc//b", NULL, NULL, NULL, NULL},
        {"s3://h/abc/a%20b", NULL, NULL, NULL, NULL},
        {"s3://h/abc?zone=x", NULL, NULL, NULL, NULL},
        {"s3://h/abc?region=", NULL, NULL, NULL, NULL},
        {"https://h/abc", NULL, NULL, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct s3_place place = {0};
        tap_note("%s", rows[i].text);
        int r = s3_parse(rows[i].text, &place, &err);
        CHECK_EQ(r == 0, rows[i].host != NULL);
        if (r < 0) {
            CHECK(strstr(err.what, rows[i].text) && err.fix[0]);
            continue;
        }
        CHECK_STR(place.host, rows[i].host);
        CHECK_STR(place.bucket, rows[i].bucket);
        CHECK_STR(place.prefix, rows[i].prefix);
        CHECK_STR(place.region, rows[i].region);
    }
    CHECK(s3_parse("s3://AKIA:secret@h/abc", &(struct s3_place){0}, &err) < 0);
    CHECK(!strstr(err.what, "secret@") && strstr(err.what, "keys are secrets"));
}
