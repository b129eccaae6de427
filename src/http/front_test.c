/* The table of tests/data/http_front/requests against the server: each request whole, byte by
 * byte, and cut in two at every place. What is answered, what reaches the handler and what
 * becomes of the connection must not depend on that.
 *
 * One thing may: whether a client that waits to be told to go on is told so. When its body is there
 * already, nobody tells it. */

#include "server_rig.h"

#include "sys/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define TABLE "tests/data/http_front/requests"
#define TABLE_BYTES_MAX (1 * MIB)
#define STATUSES_MAX 64
#define LONG_BYTES 2048 /* what is longer is cut in its ends, and here and there */
#define ENDS_BYTES 160
#define STRIDE 499
#define PASSES_MAX 20000
#define LAST GET("/v1/models") /* asked on a connection that is kept */

enum fate { KEPT, CLOSED, WAITS };

/* One of the table. */
struct asked {
    char name[64];
    struct buf sent;
    struct buf reached; /* a line each */
    unsigned statuses[STATUSES_MAX];
    size_t count;
    enum fate fate;
    char reason[32];
};

/* ---- the table ---- */

static int
hex(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

static void
add_escaped(struct buf *b, const char *text, const char *end)
{
    static const char plain[][2] = {
        {'r', '\r'}, {'n', '\n'}, {'t', '\t'}, {'0', '\0'}, {'\\', '\\'}};
    for (; text < end; text++) {
        char c = *text;
        if (c == '\\' && *++text == 'x') {
            c = (char)(hex(text[1]) << 4 | hex(text[2]));
            text += 2;
        } else if (c == '\\') {
            for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
                c = *text == plain[i][0] ? plain[i][1] : c;
        }
        buf_add(b, &c, 1);
    }
}

/* `> BYTES` or `>N BYTES`, without what it begins with. */
static void
add_line(struct buf *b, const char *line, const char *end, const char *behind)
{
    const char *text = strchr(line, ' ') + 1;
    unsigned long times = line[0] == ' ' ? 1 : strtoul(line, NULL, 10);
    for (unsigned long i = 0; i < times; i++) {
        add_escaped(b, text, end);
        buf_add_str(b, behind);
    }
}

static void
read_expected(struct asked *a, const char *line, const char *end)
{
    static const char *const fates[] = {[KEPT] = "kept", [CLOSED] = "closed", [WAITS] = "waits"};
    char text[512], *rest = text, *word;
    (void)snprintf(text, sizeof(text), "%.*s", (int)(end - line), line);
    while ((word = strsep(&rest, " "))) {
        char *status;
        unsigned long n = strtoul(word, &status, 10);
        unsigned long times = *status == '*' ? n : n > 0;
        n = *status == '*' ? strtoul(status + 1, NULL, 10) : n;
        for (unsigned long i = 0; i < times && a->count < STATUSES_MAX; i++)
            a->statuses[a->count++] = (unsigned)n;
        for (size_t i = 0; i < ARRAY_SIZE(fates); i++)
            if (strcmp(word, fates[i]) == 0) {
                a->fate = (enum fate)i;
                (void)snprintf(a->reason, sizeof(a->reason), "%s", rest ? rest : "");
                return;
            }
    }
    tap_fail(__FILE__, __LINE__, "%s says nothing of the connection: %s", a->name, text);
}

/* Reads one and tells where the next begins; NULL: there is none. */
static const char *
read_asked(struct asked *a, const char *at)
{
    *a = (struct asked){.sent = BUF_INIT(TABLE_BYTES_MAX), .reached = BUF_INIT(TABLE_BYTES_MAX)};
    while (*at && *at != '[')
        at = strchr(at, '\n') + 1;
    if (!*at)
        return NULL;
    (void)snprintf(a->name, sizeof(a->name), "%.*s", (int)strcspn(at + 1, "]"), at + 1);
    for (;;) {
        const char *end = strchr(at, '\n');
        if (*at == '>')
            add_line(&a->sent, at + 1, end, "");
        else if (*at == '=')
            add_line(&a->reached, at + 1, end, "\n");
        else if (*at == '<')
            read_expected(a, at + 1, end);
        at = end + 1;
        if (!*at || *at == '[')
            return at;
    }
}

static void
free_asked(struct asked *a)
{
    buf_finish(&a->sent);
    buf_finish(&a->reached);
}

/* ---- who answers ---- */

static struct buf reached;

static void
record(struct http_request *r)
{
    const struct http1_head *h = &r->head;
    buf_add(&reached, h->bytes + h->method_name.at, h->method_name.len);
    buf_add(&reached, " ", 1);
    buf_add(&reached, h->bytes + h->target.at, h->target.len);
}

static void
answer_completion(struct http_request *r)
{
    buf_add_str(&reached, "POST /v1/completions ");
    buf_add(&reached, r->content.data, r->content.len);
    buf_add(&reached, "\n", 1);
    http_answer(r, 200, NULL, "{}", 2);
}

static bool
is_of_no_method(const struct http1_head *h)
{
    return h->method == HTTP_CONNECT || http1_is(h, h->path, "/v1/completions");
}

static void
on_asked(struct http_request *r)
{
    static const struct http_request_ops ops = {.finished = on_finished};
    static const struct http_request_ops completion_ops = {.complete = answer_completion,
                                                           .finished = on_finished};
    const struct http1_head *h = &r->head;
    bool gets = h->method == HTTP_GET || h->method == HTTP_HEAD;
    r->ops = &ops;
    if (h->method == HTTP_POST && http1_is(h, h->path, "/v1/completions")) {
        r->ops = &completion_ops;
        return;
    }
    record(r);
    buf_add(&reached, "\n", 1);
    if (h->method == HTTP_OPTIONS)
        http_answer(r, 204, NULL, "", 0);
    else if (http1_is(h, h->path, "/v1/models"))
        http_answer(r, gets ? 200 : 405, NULL, "{}", 2);
    else
        http_answer(r, is_of_no_method(h) ? 405 : 404, NULL, "{}", 2);
}

/* ---- one connection ---- */

/* Ready in each pass: a pass is what one call of turn() runs. */
static struct loop_fd always;

static void
on_always(struct loop_fd *watch unused_arg, unsigned events unused_arg)
{
    loop_stop(rig->turn.loop);
}

struct talk {
    const struct asked *asked;
    int fd; /* of the client */
    bool in_pieces;
    struct buf got;
    bool ended;
    unsigned statuses[STATUSES_MAX];
    size_t count;
    char last[1024]; /* the content of the last answer */
};

static void
turn(struct talk *t)
{
    char bytes[16 * KIB];
    loop_run(rig->turn.loop);
    ssize_t n = t->ended ? 0 : recv(t->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n > 0)
        buf_add(&t->got, bytes, (size_t)n);
    t->ended |= n == 0 || (n < 0 && errno != EAGAIN);
}

/* What the server does not want any more it need not take. */
static void
say(struct talk *t, const char *bytes, size_t len)
{
    for (size_t at = 0; at < len && !t->ended;) {
        ssize_t n = send(t->fd, bytes + at, len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            return;
        at += n > 0 ? (size_t)n : 0;
        turn(t);
    }
}

static bool
read_answer(struct talk *t, const char **at, const char *end)
{
    struct http1_head head;
    struct http1_body body;
    enum http1_verdict verdict;
    bool to_head = t->count == 0 && strncmp(t->asked->sent.data, "HEAD ", 5) == 0;
    http1_response_init(&head, &http_server_config_default.head, to_head ? HTTP_HEAD : HTTP_GET);
    verdict = http1_head_read(&head, *at, (size_t)(end - *at));
    if (verdict != HTTP1_DONE || t->count == STATUSES_MAX)
        return false;
    *at += head.len;
    http1_body_init(&body, &head, UINT64_MAX);
    t->last[0] = '\0';
    for (size_t used, piece; verdict != HTTP1_REFUSED; *at += used) {
        verdict = http1_body_read(&body, *at, (size_t)(end - *at), &used, &piece);
        if (verdict == HTTP1_PIECE)
            (void)snprintf(t->last, sizeof(t->last), "%.*s", (int)piece, *at);
        else
            break;
    }
    t->statuses[t->count++] = head.status;
    return verdict == HTTP1_DONE;
}

static bool
read_answers(struct talk *t)
{
    const char *at = t->got.data, *end = t->got.data + t->got.len;
    t->count = 0;
    while (at < end)
        if (!read_answer(t, &at, end))
            return false;
    return true;
}

static size_t
count_finals(const unsigned *statuses, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += statuses[i] >= 200;
    return n;
}

/* Until everything is answered; of a connection that ends, until it does. */
static void
hear(struct talk *t)
{
    size_t wanted = count_finals(t->asked->statuses, t->asked->count) + (t->asked->fate == KEPT);
    for (int i = 0; i < PASSES_MAX && !t->ended; i++) {
        turn(t);
        if (t->asked->fate == KEPT && read_answers(t) &&
            count_finals(t->statuses, t->count) >= wanted)
            return;
    }
}

static bool
same_statuses(const struct talk *t)
{
    const struct asked *a = t->asked;
    size_t said = 0, i = 0;
    for (size_t k = 0; k < t->count; k++) {
        bool is_wanted = i < a->count && t->statuses[k] == a->statuses[i];
        bool may_be = t->statuses[k] == 100 && t->in_pieces && strstr(a->sent.data, "Expect:");
        bool is_last = a->fate == KEPT && i == a->count && t->statuses[k] == 200;
        if (!is_wanted && !may_be && !is_last)
            return false;
        i += is_wanted;
        said += is_last && !is_wanted;
    }
    return i == a->count && said == (a->fate == KEPT);
}

static bool
same_reached(const struct asked *a)
{
    struct buf *b = &reached;
    const char last[] = "GET /v1/models\n";
    size_t more = a->fate == KEPT ? sizeof(last) - 1 : 0;
    return b->len == a->reached.len + more && memcmp(b->data, a->reached.data, a->reached.len) == 0;
}

static bool
is_right(struct talk *t)
{
    const struct asked *a = t->asked;
    return read_answers(t) && same_statuses(t) && same_reached(a) &&
           t->ended == (a->fate != KEPT) && strstr(t->last, a->reason);
}

/* `cuts` pieces, of `size` bytes but for the last. */
static bool
ask(const struct asked *a, size_t first, size_t size)
{
    struct talk t = {.asked = a, .got = BUF_INIT(1 * MIB), .in_pieces = first < a->sent.len};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return false;
    t.fd = pair[0];
    buf_clear(&reached);
    if (http_server_adopt(rig->server, pair[1]) < 0)
        return false;
    for (size_t at = 0, len = first; at < a->sent.len; at += len, len = size)
        say(&t, a->sent.data + at, MIN(len, a->sent.len - at));
    if (a->fate == KEPT)
        say(&t, LAST, strlen(LAST));
    else if (a->fate == WAITS)
        (void)shutdown(t.fd, SHUT_WR);
    hear(&t);
    bool right = is_right(&t);
    if (!right)
        tap_fail(__FILE__, __LINE__,
                 "%s, cut at %zu and every %zu: answered \"%s\"; reached \"%s\"", a->name, first,
                 size, t.got.data, reached.data);
    (void)close(t.fd);
    buf_finish(&t.got);
    for (int i = 0; counts()->connections > 0 && i < PASSES_MAX; i++)
        loop_run(rig->turn.loop);
    return right;
}

/* Of a long one, where the heads of its parts are. */
static size_t
next_cut(const struct asked *a, size_t at)
{
    bool inside = at >= ENDS_BYTES && at + ENDS_BYTES + STRIDE < a->sent.len;
    return at + (a->sent.len > LONG_BYTES && inside ? STRIDE : 1);
}

static bool
ask_all_ways(const struct asked *a)
{
    bool right = ask(a, a->sent.len, 1) && ask(a, 1, a->sent.len > LONG_BYTES ? 7 : 1);
    for (size_t cut = 1; right && cut < a->sent.len; cut = next_cut(a, cut))
        right = ask(a, cut, a->sent.len);
    return right;
}

TEST(front_requests)
{
    _cleanup_buf_ struct buf table = BUF_INIT(TABLE_BYTES_MAX);
    struct asked asked;
    size_t count = 0;
    RIG(r_.service.request = on_asked);
    _cleanup_close_ int ready = eventfd(1, EFD_CLOEXEC);
    always.ready = on_always;
    REQUIRE(file_read(tap_source(TABLE), &table, NULL) == 0);
    REQUIRE(loop_fd_start(rig->turn.loop, &always, ready, LOOP_READ) == 0);
    buf_init(&reached, TABLE_BYTES_MAX);
    for (const char *at = table.data; (at = read_asked(&asked, at)); count++) {
        CHECK(ask_all_ways(&asked));
        free_asked(&asked);
    }
    free_asked(&asked);
    buf_finish(&reached);
    loop_fd_stop(&always);
    CHECK(count >= 150);
}
