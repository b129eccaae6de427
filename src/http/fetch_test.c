#include "http/fetch.h"

#include "sys/sock.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define OK(length, body) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n" body

struct script {
    int listener;
    const char *answer;
};

static void *
play(void *arg)
{
    struct script *s = arg;
    char bytes[4096];
    int fd;
    while ((fd = sock_accept(s->listener, NULL)) == -EAGAIN)
        ;
    while (recv(fd, bytes, sizeof(bytes), 0) < 0 && errno == EAGAIN)
        ;
    (void)send(fd, s->answer, strlen(s->answer), MSG_NOSIGNAL);
    (void)close(fd);
    return NULL;
}

static int
fetch_from(const char *answer, unsigned *ret_status, struct buf *ret_body, struct err *reterr)
{
    struct sock_addr addr;
    struct script script = {.answer = answer};
    sock_addr_text address;
    pthread_t thread;
    int r = sock_addr_parse("127.0.0.1:0", &addr, NULL);
    assert(r == 0);
    script.listener = sock_listen(&addr, 0600, NULL);
    addr.port = (uint16_t)sock_bound_port(script.listener);
    struct http_fetch fetch = {.address = sock_addr_print(&addr, address), .target = "/"};
    r = pthread_create(&thread, NULL, play, &script);
    assert(r == 0);
    int got = http_fetch(&fetch, ret_status, ret_body, reterr);
    (void)pthread_join(thread, NULL);
    (void)close(script.listener);
    return got;
}

TEST(fetch_returns_answers_and_errors)
{
    _cleanup_buf_ struct buf body = BUF_INIT(5);
    struct err err = {0};
    unsigned status;
    CHECK_EQ(fetch_from(OK("5", "hello"), &status, &body, &err), 0);
    CHECK_EQ(status, 200);
    CHECK_STR(body.data, "hello");
    buf_clear(&body);
    CHECK_EQ(fetch_from("HTTP/1.1 503 Busy\r\n\r\nlater", &status, &body, &err), 0);
    CHECK_EQ(status, 503);
    CHECK_STR(body.data, "later");
    buf_clear(&body);
    CHECK_EQ(fetch_from(OK("6", "hello!"), &status, &body, &err), -EBADMSG);
    CHECK_EQ(err.id, ERR_HTTP_ANSWER);
    CHECK_EQ(fetch_from("", &status, &body, &err), -ECONNRESET);
    body.failed = true; /* as if memory ran out */
    CHECK_EQ(fetch_from(OK("1", "h"), &status, &body, &err), -EBADMSG);
    CHECK(strstr(err.what, "no room"));
    struct http_fetch fetch = {.address = "127.0.0.1:99999", .target = "/"};
    CHECK_EQ(http_fetch(&fetch, &status, &body, &err), -EINVAL);
}
