#include "gateway/reply.h"

#include "gateway/problem.h"
#include "http/server.h"
#include "sys/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool
is_printable(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] <= ' ' || bytes[i] > '~')
            return false;
    return len > 0;
}

/* Different among all processes of this host: when this one began to count, and how far it is. */
static void
make_id(reply_id id)
{
    static const char digits[] = "0123456789abcdef";
    static char start[] = "req_0123456789abc01234";
    static uint64_t count;
    if (count == 0)
        (void)snprintf(start, sizeof(start), "req_%013" PRIx64 "%05x", clock_wall_us(),
                       (unsigned)getpid() & 0xfffff);
    memcpy(id, start, sizeof(start) - 1);
    char *to = id + sizeof(start) - 1;
    ++count;
    for (int shift = 36; shift >= 0; shift -= 4)
        *to++ = digits[count >> shift & 0xf];
    *to = '\0';
}

void
reply_read_id(const struct http_request *r, reply_id id)
{
    const struct http1_field *field = http1_find(&r->head, HTTP_FIELD_X_REQUEST_ID);
    const char *value = field ? r->head.bytes + field->value.at : NULL;
    if (!field || field->value.len > REPLY_ID_MAX || !is_printable(value, field->value.len))
        make_id(id);
    else
        (void)snprintf(id, sizeof(reply_id), "%.*s", (int)field->value.len, value);
}

void
reply_begin(struct http_request *r, unsigned status, const char *id)
{
    http_answer_begin(r, status);
    http_answer_field(r, "X-Request-Id", id);
}

void
reply_problem(struct http_request *r, enum dialect dialect, const struct err *err, const char *id,
              uint64_t retry_after_s, const char *allow)
{
    _cleanup_buf_ struct buf body = BUF_INIT(PROBLEM_MAX);
    char seconds[24];
    problem_write(&body, dialect, err, id);
    reply_begin(r, problem_status(err), id);
    http_answer_field(r, "Content-Type", "application/json");
    if (retry_after_s) {
        (void)snprintf(seconds, sizeof(seconds), "%" PRIu64, retry_after_s);
        http_answer_field(r, "Retry-After", seconds);
    }
    if (allow)
        http_answer_field(r, "Allow", allow);
    http_answer_whole(r, body.data, body.len);
}
