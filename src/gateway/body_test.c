#include "gateway/body.h"

#include "base/mem.h"
#include "loop_rig.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static struct loop_rig rig;
static char pattern[3 * MIB];

static void
fill(void)
{
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (char)('a' + i % 23 + i / 4096 % 3);
}

static bool
add_in_pieces(struct body *b, size_t len, size_t piece)
{
    for (size_t at = 0; at < len; at += piece)
        if (body_add(b, pattern + at, MIN(piece, len - at), NULL) < 0)
            return false;
    return true;
}

/* As it reads, in parts of that size. */
static bool
is_pattern(const struct body *b, size_t part)
{
    _cleanup_free_ char *room = mem_alloc(part);
    for (size_t at = 0; at < b->len; at += part) {
        size_t len = MIN(part, b->len - at);
        const char *bytes = body_read(b, at, len, room, NULL);
        if (!bytes || memcmp(bytes, pattern + at, len) != 0)
            return false;
    }
    return true;
}

TEST(body_is_what_came_wherever_it_is_kept)
{
    static const size_t lens[] = {0, 1, BODY_MEMORY_MAX, BODY_MEMORY_MAX + 1, 2 * MIB, 3 * MIB - 1};
    const char *const dirs[] = {tap_dir(), "/nowhere/at/all"};
    static const size_t pieces[] = {4095, 16384, 3 * MIB};
    REQUIRE(loop_rig_open(&rig));
    fill();
    for (size_t i = 0; i < ARRAY_SIZE(lens) * ARRAY_SIZE(dirs) * ARRAY_SIZE(pieces); i++) {
        size_t len = lens[i % ARRAY_SIZE(lens)];
        const char *dir = dirs[i / ARRAY_SIZE(lens) % ARRAY_SIZE(dirs)];
        struct body b;
        body_init(&b, rig.loop, dir, sizeof(pattern));
        tap_note("%zu bytes in %s", len, dir);
        CHECK(add_in_pieces(&b, len, pieces[i % ARRAY_SIZE(pieces)]));
        CHECK_EQ(b.len, len);
        CHECK(is_pattern(&b, 100000) && is_pattern(&b, sizeof(pattern)));
        CHECK_EQ(body_is_in_memory(&b), len <= BODY_MEMORY_MAX || dir != dirs[0]);
        body_finish(&b);
    }
    loop_rig_close(&rig);
}

/* A disk that fails, as far as a process can make one: mapped, it would be the end of us. */
TEST(body_tells_of_a_disk_that_gives_nothing_back)
{
    struct err err = {0};
    struct body b;
    char room[16];
    REQUIRE(loop_rig_open(&rig));
    fill();
    body_init(&b, rig.loop, tap_dir(), sizeof(pattern));
    REQUIRE(add_in_pieces(&b, 2 * MIB, MIB) && !body_is_in_memory(&b));
    REQUIRE(ftruncate(b.fd, MIB) == 0);
    CHECK(body_read(&b, MIB - 16, 16, room, &err) != NULL);
    CHECK(!body_read(&b, MIB - 15, 16, room, &err));
    CHECK_EQ(err.id, ERR_SPOOL);
    CHECK(strstr(err.what, "Input/output error"));
    body_finish(&b);
    loop_rig_close(&rig);
}

/* A file system that takes no more, as far as a process can make one. */
TEST(body_tells_of_a_disk_that_takes_no_more)
{
    struct rlimit old, few;
    struct err err = {0};
    struct body b;
    int r = 0;
    REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    REQUIRE(sigaction(SIGXFSZ, &ignore, &before) == 0);
    few = (struct rlimit){2 * MIB, old.rlim_max};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &few) == 0);
    REQUIRE(loop_rig_open(&rig));
    fill();
    body_init(&b, rig.loop, tap_dir(), 16 * MIB);
    for (size_t at = 0; at < sizeof(pattern) && r == 0; at += MIB / 2)
        r = body_add(&b, pattern + at, MIB / 2, &err);
    body_finish(&b);
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0 && sigaction(SIGXFSZ, &before, NULL) == 0);
    CHECK(r < 0);
    CHECK_EQ(err.id, ERR_SPOOL);
    CHECK(strstr(err.what, ": File too large"));
    loop_rig_close(&rig);
}
