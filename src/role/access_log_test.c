#include "role/access_log.h"

#include "base/mem.h"
#include "config/config.h"
#include "gateway/ledger.h"
#include "loop_rig.h"
#include "sys/files.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct loop_rig rig;
static struct config config;
static char path[512];

static bool
open_log(struct access_log *log)
{
    char dir[300];
    (void)snprintf(dir, sizeof(dir), "%s/services", tap_dir());
    (void)snprintf(path, sizeof(path), "%s/access.log", dir);
    config.paths.logs = tap_dir();
    config.gateway.access_log = CONFIG_ACCESS_LOG_FILE;
    if (!loop_rig_open(&rig) || file_make_dirs(dir, 0700, NULL) < 0)
        return false;
    *log = (struct access_log){.fd = -1};
    access_log_open(log, rig.loop, &config);
    return true;
}

static size_t
lines(void)
{
    _cleanup_buf_ struct buf text = BUF_INIT(4 * MIB);
    size_t count = 0;
    if (file_read_if_there(path, &text, NULL) <= 0)
        return 0;
    for (const char *at = text.data; (at = strchr(at, '\n')); at++)
        count++;
    return count;
}

TEST(lines_of_an_access_log_come_a_little_later_and_none_is_lost)
{
    const struct ledger_row row = {.time_us = 1, .status = 200};
    struct access_log log;
    REQUIRE(open_log(&log));
    for (unsigned i = 0; i < 100; i++)
        access_log_add(&log, &row, "req_1", NULL);
    CHECK_EQ(lines(), 0);
    CHECK(LOOP_WAIT(&rig, lines() == 100));
    for (unsigned i = 0; i < 100; i++)
        access_log_add(&log, &row, "req_1", NULL);
    access_log_close(&log);
    loop_rig_close(&rig);
    CHECK_EQ(lines(), 200);
    CHECK_EQ(log.lost, 0);
}

/* As behind a disk that hangs: nothing is taken off meanwhile. */
TEST(lines_of_an_access_log_that_wait_have_a_ceiling)
{
    const struct ledger_row row = {.time_us = 1, .status = 200};
    const unsigned count = 20000;
    struct access_log log;
    REQUIRE(open_log(&log));
    for (unsigned i = 0; i < count; i++)
        access_log_add(&log, &row, "req_1", NULL);
    CHECK(log.lost > 0 && log.lost < count);
    CHECK(LOOP_WAIT(&rig, lines() == count - log.lost));
    struct stat st;
    CHECK(stat(path, &st) == 0 && (uint64_t)st.st_size <= ACCESS_LOG_WAITING_BYTES);
    access_log_close(&log);
    loop_rig_close(&rig);
}

/* The reason is that of the last loss. */
TEST(lines_of_an_access_log_that_are_lost_have_their_own_reason)
{
    const struct ledger_row row = {.time_us = 1, .status = 200};
    _cleanup_free_ char *dir = mem_printf("%s/services", tap_dir());
    struct access_log log;
    REQUIRE(open_log(&log));
    REQUIRE(file_remove_tree(dir, NULL) == 0 && file_write(dir, "", 0, 0600, NULL) == 0);
    access_log_add(&log, &row, "req_1", NULL);
    CHECK(LOOP_WAIT(&rig, log.lost == 1));
    CHECK(strcmp(access_log_why(&log), strerror(ENOTDIR)) == 0);
    while (log.lost == 1)
        access_log_add(&log, &row, "req_1", NULL);
    CHECK(strcmp(access_log_why(&log), "its disk is too slow") == 0);
    REQUIRE(unlink(dir) == 0);
    access_log_close(&log);
    loop_rig_close(&rig);
    CHECK(lines() > 0); /* and the directory is there again */
}
