#include "gateway/problem.h"

#include "fmt/json.h"
#include "tap.h"

static const char *
body(struct buf *out, enum dialect dialect, enum err_id id, const char *what, const char *fix)
{
    struct err err = {0};
    if (id != ERR_NONE)
        (void)err_set(&err, id, "%s", what);
    if (fix)
        err_fix(&err, "%s", fix);
    buf_clear(out);
    problem_write(out, dialect, &err, "req-1");
    return out->data;
}

TEST(each_api_has_its_own_shape)
{
    _cleanup_buf_ struct buf out = BUF_INIT(PROBLEM_MAX);
    CHECK_STR(
        body(&out, DIALECT_OPENAI, ERR_NO_MODEL, "no model 'x'", "did you mean y?"),
        "{\"error\":{\"message\":\"no model 'x'; did you mean y?\",\"type\":\"not_found_error\","
        "\"param\":\"model\",\"code\":\"model_not_found\"}}");
    CHECK_STR(body(&out, DIALECT_RESPONSES, ERR_SYNTAX, "no JSON", NULL),
              "{\"error\":{\"message\":\"no JSON\",\"type\":\"invalid_request_error\","
              "\"param\":null,\"code\":\"fmt.syntax\"}}");
    CHECK_STR(body(&out, DIALECT_MESSAGES, ERR_NO_MODEL, "no model 'x'", "did you mean y?"),
              "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\","
              "\"message\":\"no model 'x'; did you mean y?\"},\"request_id\":\"req-1\"}");
}

TEST(a_status_has_its_word_or_that_of_its_hundred)
{
    static const struct {
        enum err_id id;
        unsigned status;
        const char *openai, *messages;
    } rows[] = {
        {ERR_NONE, 500, "\"server_error\"", "\"api_error\""},
        {ERR_SYNTAX, 400, "\"invalid_request_error\"", "\"invalid_request_error\""},
        {ERR_NO_METHOD, 405, "\"invalid_request_error\"", "\"invalid_request_error\""},
        {ERR_TOO_LARGE, 413, "\"invalid_request_error\"", "\"request_too_large\""},
        {ERR_HTTP_CONNECT, 502, "\"server_error\"", "\"api_error\""},
        {ERR_ENGINE_HUNG, 503, "\"server_error\"", "\"overloaded_error\""},
        {ERR_HTTP_TIMEOUT, 504, "\"server_error\"", "\"timeout_error\""},
    };
    _cleanup_buf_ struct buf out = BUF_INIT(PROBLEM_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct err err = {.id = rows[i].id};
        CHECK_EQ(problem_status(&err), rows[i].status);
        CHECK(strstr(body(&out, DIALECT_OPENAI, rows[i].id, "w", NULL), rows[i].openai));
        CHECK(strstr(body(&out, DIALECT_MESSAGES, rows[i].id, "w", NULL), rows[i].messages));
    }
}

TEST(a_stream_that_has_begun_ends_with_an_event)
{
    static const char *const want[DIALECT_COUNT] = {
        [DIALECT_OPENAI] =
            "data: {\"error\":{\"message\":\"cut\",\"type\":\"server_error\",\"param\":null,"
            "\"code\":\"http.cut-off\"}}\n\n",
        [DIALECT_RESPONSES] =
            "event: error\ndata: {\"message\":\"cut\",\"type\":\"error\",\"param\":null,"
            "\"code\":\"http.cut-off\",\"sequence_number\":7}\n\n",
        [DIALECT_MESSAGES] = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_"
                             "error\",\"message\":\"cut\"}}\n\n",
    };
    for (unsigned d = 0; d < DIALECT_COUNT; d++) {
        _cleanup_buf_ struct buf out = BUF_INIT(PROBLEM_MAX);
        struct err err = {0};
        (void)err_set(&err, ERR_HTTP_CUT, "cut");
        problem_write_event(&out, (enum dialect)d, &err, NULL, 7);
        CHECK_STR(out.data, want[d]);
    }
}

/* The longest sentences, of bytes that are written as six each, are JSON and below the ceiling. */
TEST(what_a_client_sent_is_escaped_and_bounded)
{
    for (unsigned d = 0; d < DIALECT_COUNT; d++) {
        _cleanup_buf_ struct buf out = BUF_INIT(PROBLEM_MAX), event = BUF_INIT(PROBLEM_MAX);
        _cleanup_arena_ struct arena arena;
        struct value *root;
        struct err err = {.id = ERR_NO_MODEL};
        memset(err.what, 1, sizeof(err.what) - 1);
        memset(err.fix, '"', sizeof(err.fix) - 1);
        arena_init(&arena, 1 * MIB);
        problem_write(&out, (enum dialect)d, &err, "r\"\n");
        problem_write_event(&event, (enum dialect)d, &err, "r\"\n", UINT64_MAX);
        CHECK_EQ(buf_error(&out), 0);
        CHECK_EQ(buf_error(&event), 0);
        CHECK(!strchr(out.data, '\n'));
        CHECK_EQ(json_parse(&arena, out.data, out.len, JSON_STRICT, &root, NULL, NULL), 0);
    }
}

TEST(a_key_is_told_nobody_again)
{
    _cleanup_buf_ struct buf out = BUF_INIT(PROBLEM_MAX);
    struct err err = {0};
    (void)err_set(&err, ERR_NO_PATH, "there is no path '/v1/ctdl_0aF/ctdl_9' here");
    err_fix(&err, "ask for ctdl_77z, or show a key: ctdl_ is how they begin");
    problem_write(&out, DIALECT_OPENAI, &err, NULL);
    CHECK(
        strstr(out.data, "'/v1/ctdl_***/ctdl_*' here; ask for ctdl_***, or show a key: ctdl_ is"));
}
