#include "run/relay.h"

#include "sys/log.h"

#include "tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct rig {
    struct loop *loop;
    struct relay relay;
    int hear, tell;
};

static bool
open_rig(struct rig *rig)
{
    int ends[2];
    if (pipe(ends) < 0 || loop_new(&rig->loop, NULL) < 0)
        return false;
    rig->hear = ends[0];
    rig->tell = ends[1];
    (void)fcntl(rig->tell, F_SETPIPE_SZ, 16 * KIB);
    relay_init(&rig->relay, rig->loop, rig->tell);
    return true;
}

static void
close_rig(struct rig *rig)
{
    relay_finish(&rig->relay);
    loop_free(rig->loop);
    (void)close(rig->hear);
    (void)close(rig->tell);
}

/* What there is to read, as text. */
static char *
hear(struct rig *rig)
{
    static char text[2 * MIB];
    size_t len = 0;
    (void)fcntl(rig->hear, F_SETFL, O_NONBLOCK);
    for (ssize_t n; (n = read(rig->hear, text + len, sizeof(text) - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = '\0';
    return text;
}

TEST(lines_go_through)
{
    struct rig rig;
    REQUIRE(open_rig(&rig));
    relay_line(&rig.relay, "one", 3);
    log_info("two");
    relay_line(&rig.relay, "", 0);
    const char *text = hear(&rig);
    CHECK(strncmp(text, "one\n", 4) == 0);
    CHECK(strstr(text, "info: two\n\n"));
    close_rig(&rig);
}

struct reader {
    struct loop_fd fd;
    struct rig *rig;
    struct buf *all;
};

static void
on_readable(struct loop_fd *watch, unsigned events unused_arg)
{
    struct reader *reader = container_of(watch, struct reader, fd);
    buf_add_str(reader->all, hear(reader->rig));
    if (reader->rig->relay.kept.len == 0)
        loop_stop(reader->rig->loop);
}

/* Reads until nothing is kept any more. */
static void
hear_all(struct rig *rig, struct buf *all)
{
    struct reader reader = {.fd = {.ready = on_readable}, .rig = rig, .all = all};
    REQUIRE(loop_fd_start(rig->loop, &reader.fd, rig->hear, LOOP_READ) == 0);
    loop_run(rig->loop);
    loop_fd_stop(&reader.fd);
}

TEST(a_reader_that_is_slow_gets_everything)
{
    struct rig rig;
    _cleanup_buf_ struct buf all = BUF_INIT(2 * MIB), want = BUF_INIT(2 * MIB);
    REQUIRE(open_rig(&rig));
    for (int i = 0; i < 3000; i++) {
        char line[32];
        int len = snprintf(line, sizeof(line), "line %d", i);
        relay_line(&rig.relay, line, (size_t)len);
        buf_printf(&want, "%s\n", line);
    }
    hear_all(&rig, &all);
    CHECK_STR(all.data, want.data);
    close_rig(&rig);
}

TEST(a_reader_that_stops_loses_lines_and_is_told)
{
    struct rig rig;
    _cleanup_buf_ struct buf all = BUF_INIT(2 * MIB);
    char line[1000];
    REQUIRE(open_rig(&rig));
    memset(line, 'x', sizeof(line));
    for (int i = 0; i < 1000; i++)
        relay_line(&rig.relay, line, sizeof(line)); /* never waits */
    CHECK(rig.relay.kept.len <= RELAY_KEPT_BYTES);
    hear_all(&rig, &all);
    const char *told = strstr(all.data, " lines were lost here");
    REQUIRE(told);
    relay_line(&rig.relay, "again", 5);
    CHECK_STR(hear(&rig), "again\n");
    /* Every line is there or counted: 1001 bytes each. */
    const char *number = strrchr(all.data, '(');
    REQUIRE(number);
    long lost = strtol(number + 1, NULL, 10);
    CHECK_EQ((number - all.data) / 1001 + lost, 1000);
    close_rig(&rig);
}

TEST(a_reader_that_has_gone_is_no_trouble)
{
    struct rig rig;
    REQUIRE(open_rig(&rig));
    (void)close(rig.hear);
    rig.hear = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < 1000; i++)
        relay_line(&rig.relay, "one", 3);
    CHECK_EQ(rig.relay.kept.len, 0);
    close_rig(&rig);
}
