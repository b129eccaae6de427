#include "http/fetch.h"

#include "http/client.h"
#include "sys/loop.h"

#include <errno.h>

#define TIMEOUT_US (10 * 1000000)

struct fetching {
    struct loop *loop;
    const char *address;
    struct buf *body;
    unsigned status;
    bool finished;
    struct err error;
};

static void
on_finished(struct http_call *call, const struct err *error)
{
    struct fetching *f = call->user;
    f->status = call->head.status;
    f->finished = true;
    if (error)
        f->error = *error;
    else
        buf_add(f->body, call->content.data, call->content.len);
    if (!error && buf_error(f->body) < 0)
        (void)err_set(&f->error, ERR_HTTP_ANSWER, "there is no room for the answer of %s",
                      f->address);
    loop_stop(f->loop);
}

static const struct http_call_ops ops = {.finished = on_finished};

static void
start(struct http_client *client, const struct http_fetch *fetch, struct fetching *f)
{
    struct http_call *call =
        http_call_new(client, fetch->method ? fetch->method : "GET", fetch->target, &ops, f);
    if (fetch->type)
        http_call_field(call, "Content-Type", fetch->type);
    if (fetch->authorization)
        http_call_field(call, "Authorization", fetch->authorization);
    http_call_whole(call, fetch->body, fetch->len);
}

static int
fetch_on(struct loop *loop, const struct http_fetch *fetch, struct fetching *f, struct err *reterr)
{
    struct http_client *client;
    struct http_client_config config = http_client_config_default;
    config.total_us = fetch->timeout_us ? fetch->timeout_us : TIMEOUT_US;
    config.idle_max = 0;
    config.connect_us = config.first_byte_us = config.between_us = 0;
    config.body_bytes_max = f->body->ceiling_bytes - f->body->len;
    int r = http_client_new(loop, fetch->address, fetch->host, &config, &client, reterr);
    if (r < 0)
        return r;
    start(client, fetch, f);
    loop_run(loop);
    http_client_free(client);
    return 0;
}

int
http_fetch(const struct http_fetch *fetch, unsigned *ret_status, struct buf *ret_body,
           struct err *reterr)
{
    struct fetching f = {.address = fetch->address, .body = ret_body};
    int r = loop_new(&f.loop, reterr);
    if (r < 0)
        return r;
    r = fetch_on(f.loop, fetch, &f, reterr);
    loop_free(f.loop);
    if (r < 0)
        return r;
    assert(f.finished);
    if (f.error.id != ERR_NONE) {
        if (reterr)
            *reterr = f.error;
        return -err_row(f.error.id)->err;
    }
    *ret_status = f.status;
    return 0;
}
