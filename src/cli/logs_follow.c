/* A connection to the supervisor for each service; what comes is shown line by line, so that no two are
 * mixed. */

#include "base/text.h"
#include "cli/logs.h"
#include "http/client.h"
#include "http/local.h"
#include "service/direct.h"
#include "sys/loop.h"

#include <stdlib.h>
#include <string.h>

#define REFUSAL_MAX (16 * KIB)
#define SAID_MAX (8 * MIB) /* a line that is not whole, and a piece of the answer behind it */

struct following;

struct stream {
    struct following *f;
    const char *name;
    struct http_client *client;
    struct buf said; /* of a line that is not whole; or what it said instead of lines */
    bool began;
    struct err err;
};

struct following {
    const struct logs *logs;
    struct loop *loop;
    struct stream *streams;
    size_t open;
    char since[LOGS_TIME_LEN + 1];
};

static bool
show_line(const struct stream *s, const char *line, size_t len)
{
    const struct logs *logs = s->f->logs;
    char time[LOGS_TIME_LEN + 1] = "";
    if (!logs_has_time(line, len))
        return logs_show(logs, time, s->name, line, len);
    memcpy(time, line, LOGS_TIME_LEN);
    if (memcmp(time, s->f->since, strlen(s->f->since)) < 0)
        return true;
    return logs_show(logs, time, s->name, line + LOGS_TIME_LEN + 1, len - LOGS_TIME_LEN - 1);
}

static void
show_lines(struct stream *s)
{
    const char *at = s->said.data, *end;
    const char *stop = at + s->said.len;
    while ((end = memchr(at, '\n', (size_t)(stop - at)))) {
        if (!show_line(s, at, (size_t)(end - at))) {
            loop_stop(s->f->loop);
            break;
        }
        at = end + 1;
    }
    buf_consume(&s->said, (size_t)(at - s->said.data));
}

static void
on_body(struct http_call *call, const char *bytes, size_t len)
{
    struct stream *s = call->user;
    buf_add(&s->said, bytes, len);
    if (call->head.status == 200)
        show_lines(s);
}

static void
on_finished(struct http_call *call, const struct err *error)
{
    struct stream *s = call->user;
    s->began = call->head.status == 200;
    if (error)
        s->err = *error;
    else if (!s->began)
        (void)http_local_read_error("the supervisor", call->head.status, s->said.data, s->said.len,
                                    &s->err);
    if (--s->f->open == 0)
        loop_stop(s->f->loop);
}

static int
start(struct stream *s)
{
    static const struct http_call_ops ops = {.body = on_body, .finished = on_finished};
    const struct logs *logs = s->f->logs;
    _cleanup_free_ char *address =
        mem_printf("unix:%s/" DIRECT_SOCKET_NAME, logs->config->paths.run);
    _cleanup_free_ char *target = mem_printf("/services/%s/log?lines=%llu&follow=1", s->name,
                                             (unsigned long long)logs->lines);
    struct http_client_config limits = http_client_config_default;
    limits.between_us = limits.first_byte_us = limits.total_us = 0;
    limits.body_bytes_max = UINT64_MAX / 2;
    int r = http_client_new(s->f->loop, address, "localhost", &limits, &s->client, &s->err);
    if (r < 0)
        return r;
    s->f->open++;
    http_call_whole(http_call_new(s->client, "GET", target, &ops, s), NULL, 0);
    return 0;
}

/* 1: nobody is there who could tell. What a group has and this supervisor has not, is passed over. */
static int
judge(const struct following *f)
{
    const struct err *worst = NULL;
    bool ended = false, began = false;
    for (size_t i = 0; i < f->logs->count; i++) {
        const struct stream *s = &f->streams[i];
        if (s->err.id == ERR_HTTP_CONNECT)
            return 1;
        began |= s->began;
        ended |= s->began && s->err.id == ERR_HTTP_CUT;
        bool is_absent = s->err.id == ERR_SERVICE_NONE && f->logs->count > 1;
        if (s->err.id != ERR_NONE && !(s->began && s->err.id == ERR_HTTP_CUT) && !is_absent)
            worst = &s->err;
    }
    if (ended)
        cli_note(f->logs->cli, "the supervisor has ended");
    if (!worst && !began)
        return err_set(&f->logs->cli->err, ERR_NOT_FOUND, "nothing of %s runs here",
                       f->logs->asked);
    if (!worst)
        return 0;
    f->logs->cli->err = *worst;
    return -err_row(worst->id)->err;
}

int
logs_follow(const struct logs *logs)
{
    struct following f = {.logs = logs};
    int r = loop_new(&f.loop, &logs->cli->err);
    if (r < 0)
        return r;
    logs_since(logs, f.since);
    f.streams = mem_alloc((logs->count + 1) * sizeof(*f.streams));
    for (size_t i = 0; i < logs->count; i++) {
        f.streams[i] = (struct stream){.f = &f, .name = logs->names[i]};
        buf_init(&f.streams[i].said, SAID_MAX);
        r = r == 0 ? start(&f.streams[i]) : r;
    }
    if (f.open)
        loop_run(f.loop);
    r = judge(&f);
    for (size_t i = 0; i < logs->count; i++) {
        if (f.streams[i].client)
            http_client_free(f.streams[i].client);
        buf_finish(&f.streams[i].said);
    }
    free(f.streams);
    loop_free(f.loop);
    return r;
}
