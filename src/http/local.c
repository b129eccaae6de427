#include "http/local.h"

#include "base/mem.h"
#include "fmt/json.h"
#include "fmt/value.h"
#include "sys/sock.h"

#include <unistd.h>

/* Six bytes at most for each of its texts', as \u001b. */
#define ERROR_MAX (8 * KIB)
#define TREE_MAX (1 * MIB)

void
http_local_answer(struct http_request *r, unsigned status, const struct buf *body)
{
    if (buf_error(body) < 0)
        http_answer(r, 500, NULL, NULL, 0);
    else
        http_answer(r, status, "application/json", body->data, body->len);
}

void
http_local_answer_error(struct http_request *r, const struct err *err)
{
    _cleanup_buf_ struct buf body = BUF_INIT(ERROR_MAX);
    const struct err_row *row = err_row(err->id);
    struct json_writer w;
    json_init(&w, &body, false);
    json_open_map(&w, NULL);
    json_str(&w, "id", row->name);
    json_str(&w, "what", err->what);
    json_str(&w, "fix", err->fix[0] ? err->fix : NULL);
    json_u64(&w, "exit", row->exit);
    json_close_map(&w);
    buf_add_char(&body, '\n');
    http_answer(r, (unsigned)row->http_status, "application/json", body.data, body.len);
}

bool
http_local_admits(struct http_request *r, enum http_local_who who)
{
    struct sock_peer peer;
    struct err err;
    bool own = who == HTTP_LOCAL_OWN;
    if (sock_peer(http_request_fd(r), &peer) == 0 &&
        (peer.uid == 0 || (own && peer.uid == geteuid())))
        return true;
    if (own)
        (void)err_set(&err, ERR_NOT_PERMITTED, "only root and user %u may ask",
                      (unsigned)geteuid());
    else
        (void)err_set(&err, ERR_NOT_PERMITTED, "only root may ask");
    err_fix(&err, "the same with sudo");
    http_local_answer_error(r, &err);
    return false;
}

int
http_local_read_error(const char *who, unsigned status, const char *body, size_t len,
                      struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct value *root = NULL;
    arena_init(&arena, TREE_MAX);
    (void)!json_parse(&arena, body, len, JSON_STRICT, &root, NULL, NULL);
    const char *what = value_str(value_get(root, "what"));
    const char *fix = value_str(value_get(root, "fix"));
    enum err_id id = err_find(value_str(value_get(root, "id")));
    if (id == ERR_NONE)
        id = ERR_HTTP_ANSWER;
    int r =
        what ? err_set(reterr, id, "%s", what) : err_set(reterr, id, "%s answered %u", who, status);
    if (fix)
        err_fix(reterr, "%s", fix);
    return r;
}
