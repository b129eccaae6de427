#include "role/losses.h"

#include "tap.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Standard error, which somebody reads when the test wants. */
struct reader {
    int fd, before;
};

static bool
reader_open(struct reader *r)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return false;
    *r = (struct reader){fds[0], dup(STDERR_FILENO)};
    return dup2(fds[1], STDERR_FILENO) >= 0 && close(fds[1]) == 0;
}

static void
reader_close(struct reader *r)
{
    (void)dup2(r->before, STDERR_FILENO);
    (void)close(r->before);
    (void)close(r->fd);
}

static void
fill(void)
{
    char bytes[4096];
    memset(bytes, '.', sizeof(bytes));
    while (write(STDERR_FILENO, bytes, sizeof(bytes)) > 0)
        ;
}

static void
drain(const struct reader *r)
{
    char bytes[4096];
    while (read(r->fd, bytes, sizeof(bytes)) > 0)
        ;
}

TEST(losses_that_the_log_has_no_room_for_are_said_later)
{
    struct losses l = {0};
    struct reader r;
    REQUIRE(reader_open(&r));
    const uint64_t first = losses_take(&l, 5);
    fill();
    const uint64_t none = losses_take(&l, 12) + losses_take(&l, 20);
    drain(&r);
    const uint64_t rest = losses_take(&l, 20), again = losses_take(&l, 20);
    reader_close(&r);
    CHECK_EQ(first, 5);
    CHECK_EQ(none, 0);
    CHECK_EQ(rest, 15);
    CHECK_EQ(again, 0);
}

TEST(losses_are_said_once_a_minute)
{
    char line[512] = "";
    struct losses l = {0};
    struct reader r;
    REQUIRE(reader_open(&r));
    losses_tell(&l, 3, "the ledger", "it is slow");
    ssize_t n = read(r.fd, line, sizeof(line) - 1);
    losses_tell(&l, 4, "the ledger", "it is slow");
    ssize_t none = read(r.fd, line + MAX(n, 0), sizeof(line) - 1 - (size_t)MAX(n, 0));
    reader_close(&r);
    CHECK(strstr(line, "the ledger lacks 3 requests: it is slow"));
    CHECK(none < 0);
    CHECK_EQ(l.told, 3);
}
