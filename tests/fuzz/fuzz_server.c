/* A client that sends anything, in pieces that end at each byte FF, and then shuts down its side.
 * Whatever it sends: each request that the handler gets is ended once, the server gives everything
 * back, and what it answers is HTTP in the eyes of our own parser. */

#include "http/server.h"

#include "sys/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
require(bool true_thing)
{
    if (!true_thing)
        abort();
}

/* Handlers: at once, when whole, a pass later, in a stream; some pause, cut or limit the body. */

struct job {
    struct loop_defer defer;
    struct loop *loop;
    struct http_request *request;
};

static uint64_t begun, ended; /* requests */

static void
on_finished(struct http_request *r, bool answered unused_arg)
{
    struct job *job = r->user;
    ended++;
    if (job)
        loop_defer_cancel(job->loop, &job->defer);
    free(job);
}

static void
echo(struct http_request *r)
{
    http_answer(r, 200, "text/plain", r->content.data, r->content.len);
}

static void
stream(struct http_request *r)
{
    http_answer_begin(r, 200);
    http_answer_stream(r);
    for (int i = 0; i < 50; i++)
        (void)http_answer_write(r, "0123456789abcdef", 16);
    http_answer_end(r);
}

static void
on_late(struct loop_defer *defer)
{
    struct job *job = container_of(defer, struct job, defer);
    http_request_resume(job->request);
    echo(job->request);
}

static void
body_piece(struct http_request *r, const char *bytes unused_arg, size_t len)
{
    if (len == 13)
        http_answer_cut(r);
}

static const struct http_request_ops echo_ops = {.complete = echo, .finished = on_finished};
static const struct http_request_ops stream_ops = {
    .body = body_piece, .complete = stream, .finished = on_finished};
static const struct http_request_ops late_ops = {.finished = on_finished};

static void
on_request(struct http_request *r)
{
    const struct http1_head *h = &r->head;
    begun++;
    r->ops = &echo_ops;
    switch (h->path.len > 1 ? h->bytes[h->path.at + 1] : '\0') {
    case 'e': /* echo */
        r->body_bytes_max = 100;
        break;
    case 's':
        r->ops = &stream_ops;
        break;
    case 'l': {
        struct job *job = calloc(1, sizeof(*job));
        require(job != NULL);
        *job = (struct job){.loop = r->arg, .request = r, .defer.run = on_late};
        r->ops = &late_ops;
        r->user = job;
        http_request_pause(r);
        loop_defer(job->loop, &job->defer);
        break;
    }
    default:
        http_answer(r, h->path.len % 2 ? 204 : 404, NULL, "", 0);
    }
}

/* The client */

struct client {
    struct loop *loop;
    struct loop_fd watch;
    struct loop_defer defer;
    int fd;
    const char *bytes;
    size_t len;
    struct buf sent;
    struct buf got;
};

static void
on_answer(struct loop_fd *watch, unsigned events unused_arg)
{
    struct client *c = container_of(watch, struct client, watch);
    char bytes[4096];
    ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);
    if (n > 0)
        buf_add(&c->got, bytes, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        loop_fd_stop(watch);
}

static void
on_send(struct loop_defer *defer)
{
    struct client *c = container_of(defer, struct client, defer);
    const char *cut = memchr(c->bytes, 0xFF, c->len);
    size_t len = cut ? (size_t)(cut - c->bytes) : c->len;
    (void)send(c->fd, c->bytes, len, MSG_NOSIGNAL);
    buf_add(&c->sent, c->bytes, len);
    len += cut != NULL;
    c->bytes += len;
    c->len -= len;
    if (c->len > 0)
        loop_defer(c->loop, defer);
    else
        (void)shutdown(c->fd, SHUT_WR);
}

/* Read as answers to GET: what answers HEAD looks the same and has no body. */
static void
check_answers(const struct buf *got, uint64_t most)
{
    struct http1_head head;
    struct http1_body body;
    size_t at = 0, used, piece;
    uint64_t answers = 0;
    while (at < got->len) {
        enum http1_verdict verdict;
        http1_response_init(&head, &http_server_config_default.head, HTTP_GET);
        verdict = http1_head_read(&head, got->data + at, got->len - at);
        require(verdict == HTTP1_DONE);
        at += head.len;
        http1_body_init(&body, &head, UINT64_MAX);
        do {
            verdict = http1_body_read(&body, got->data + at, got->len - at, &used, &piece);
            at += used;
        } while (verdict == HTTP1_PIECE);
        require(verdict == HTTP1_DONE || (head.minor == 1 && head.framing == HTTP1_UNTIL_CLOSE));
        answers += head.status >= 200;
    }
    require(answers <= most);
}

static void
run(struct loop *loop, struct http_server *server, const char *bytes, size_t len)
{
    int fds[2];
    struct client c = {.loop = loop,
                       .bytes = bytes,
                       .len = len,
                       .sent = BUF_INIT(1 << 20),
                       .got = BUF_INIT(1 << 24)};
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    c.fd = fds[0];
    c.watch.ready = on_answer;
    c.defer.run = on_send;
    require(http_server_adopt(server, fds[1]) == 0);
    require(loop_fd_start(loop, &c.watch, c.fd, LOOP_READ) == 0);
    loop_defer(loop, &c.defer);
    loop_run(loop); /* until both have ended */
    const struct http_server_counts *after = http_server_counts(server);
    require(after->connections == 0 && after->in_flight == 0 && begun == ended);
    require(after->answered + after->gone == after->requests);
    if (!memmem(c.sent.data, c.sent.len, "HEAD", 4) && after->gone == 0)
        check_answers(&c.got, after->requests + after->refused);
    buf_finish(&c.sent);
    buf_finish(&c.got);
    (void)close(c.fd);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct loop *loop;
    struct http_server_config config = http_server_config_default;
    if (len > 20000)
        return 0;
    require(loop_new(&loop, NULL) == 0);
    struct http_service service = {.request = on_request, .arg = loop};
    config.high_bytes = 2000;
    config.low_bytes = 500;
    config.head.head_bytes = 2000;
    config.body_bytes_max = 3000;
    struct http_server *server = http_server_new(loop, &config, &service);
    run(loop, server, (const char *)data, len);
    http_server_free(server);
    loop_free(loop);
    return 0;
}
