#include "gateway/problem.h"

#include "fmt/json.h"
#include "gateway/key.h"
#include "http/sse.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const struct {
    unsigned status;
    const char *openai, *messages;
} types[] = {
#define STATUS(http, openai, messages) {http, openai, messages},
#define CODE(err, code, param)
#include "gateway/problem.def"
#undef STATUS
#undef CODE
};

static const struct {
    enum err_id id;
    const char *code, *param;
} codes[] = {
#define STATUS(http, openai, messages)
#define CODE(err, code, param) {ERR_##err, code, param},
#include "gateway/problem.def"
#undef STATUS
#undef CODE
};

unsigned
problem_status(const struct err *err)
{
    return err->id == ERR_NONE ? 500 : (unsigned)err_row(err->id)->http_status;
}

static const char *
type_of(enum dialect dialect, unsigned status)
{
    size_t best = 0;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (types[i].status == status || types[i].status == status / 100 * 100)
            best = i;
    return dialect == DIALECT_MESSAGES ? types[best].messages : types[best].openai;
}

static const char *
code_of(enum err_id id, const char **ret_param)
{
    *ret_param = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        if (codes[i].id != id)
            continue;
        *ret_param = codes[i].param;
        return codes[i].code;
    }
    return id == ERR_NONE ? NULL : err_row(id)->name;
}

/* A key that stands where none belongs, in a path for instance, is told nobody again. */
static void
hide_tokens(char *text)
{
    for (char *at = text; (at = strstr(at, KEY_TOKEN_START));)
        for (at += strlen(KEY_TOKEN_START); isalnum((unsigned char)*at); at++)
            *at = '*';
}

/* One text for the client: what is wrong, and what mends it. */
static void
write_message(struct json_writer *w, const struct err *err)
{
    char text[sizeof(err->what) + sizeof(err->fix) + 4];
    const char *what = err->what[0] ? err->what : "something went wrong inside the gateway";
    (void)snprintf(text, sizeof(text), "%s%s%s", what, err->fix[0] ? "; " : "", err->fix);
    hide_tokens(text);
    json_str(w, "message", text);
}

/* type, message, param and code: inside "error", and in an event of Responses. */
static void
write_members(struct json_writer *w, const struct err *err, const char *type)
{
    const char *param, *code = code_of(err->id, &param);
    write_message(w, err);
    json_str(w, "type", type);
    json_str(w, "param", param);
    json_str(w, "code", code);
}

static void
write_object(struct json_writer *w, enum dialect dialect, const struct err *err,
             const char *request_id)
{
    const char *type = type_of(dialect, problem_status(err));
    json_open_map(w, NULL);
    if (dialect == DIALECT_MESSAGES)
        json_str(w, "type", "error");
    json_open_map(w, "error");
    if (dialect == DIALECT_MESSAGES) {
        json_str(w, "type", type);
        write_message(w, err);
    } else {
        write_members(w, err, type);
    }
    json_close_map(w);
    if (dialect == DIALECT_MESSAGES && request_id)
        json_str(w, "request_id", request_id);
    json_close_map(w);
}

void
problem_write(struct buf *out, enum dialect dialect, const struct err *err, const char *request_id)
{
    struct json_writer w;
    json_init(&w, out, false);
    write_object(&w, dialect, err, request_id);
}

void
problem_write_event(struct buf *out, enum dialect dialect, const struct err *err,
                    const char *request_id, uint64_t events)
{
    _cleanup_buf_ struct buf data = BUF_INIT(PROBLEM_MAX);
    struct json_writer w;
    json_init(&w, &data, false);
    if (dialect == DIALECT_RESPONSES) {
        json_open_map(&w, NULL);
        write_members(&w, err, "error");
        json_u64(&w, "sequence_number", events);
        json_close_map(&w);
    } else {
        write_object(&w, dialect, err, request_id);
    }
    sse_write(out, dialect == DIALECT_OPENAI ? NULL : "error", data.data, data.len);
}
