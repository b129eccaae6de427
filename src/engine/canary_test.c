#include "engine/canary.h"

#include "base/buf.h"
#include "engine/control.h"
#include "engine/test_int.h"
#include "fmt/json.h"
#include "tap.h"

static struct engine_request
make(enum engine_kind kind, struct buf *body)
{
    struct engine_request request = {0};
    tap_note("%s", engine_kind_name(kind));
    CHECK(engine_canary_make(kind, "m\"x", body, &request) == 0);
    CHECK_STR(request.method, "POST");
    return request;
}

TEST(requests_are_as_small_as_they_can_be)
{
    static const struct {
        enum engine_kind kind;
        const char *path, *body;
    } rows[] = {
        {ENGINE_KIND_CHAT, "/v1/chat/completions",
         "{\"model\":\"m\\\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"ping\"}],"
         "\"max_tokens\":1,\"temperature\":0}"},
        {ENGINE_KIND_COMPLETION, "/v1/completions",
         "{\"model\":\"m\\\"x\",\"prompt\":\"ping\",\"max_tokens\":1,\"temperature\":0}"},
        {ENGINE_KIND_EMBEDDING, "/v1/embeddings", "{\"model\":\"m\\\"x\",\"input\":\"ping\"}"},
        {ENGINE_KIND_RERANK, "/v1/rerank",
         "{\"model\":\"m\\\"x\",\"query\":\"ping\",\"documents\":[\"ping\"]}"},
        {ENGINE_KIND_SCORE, "/score",
         "{\"model\":\"m\\\"x\",\"text_1\":\"ping\",\"text_2\":\"ping\"}"},
        {ENGINE_KIND_CLASSIFY, "/classify", "{\"model\":\"m\\\"x\",\"input\":\"ping\"}"},
    };
    _cleanup_buf_ struct buf body = BUF_INIT(64 * KIB);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct engine_request request = make(rows[i].kind, &body);
        CHECK_STR(request.path, rows[i].path);
        CHECK_STR(request.content_type, "application/json");
        CHECK_STR(request.body, rows[i].body);
        CHECK_EQ(request.body_len, strlen(rows[i].body));
    }
}

TEST(a_picture_is_sent_to_models_that_see)
{
    _cleanup_buf_ struct buf body = BUF_INIT(64 * KIB);
    _cleanup_arena_ struct arena arena;
    struct value *tree;
    struct engine_request request = make(ENGINE_KIND_VISION, &body);
    arena_init(&arena, 64 * KIB);
    REQUIRE(json_parse(&arena, request.body, request.body_len, JSON_STRICT, &tree, NULL, NULL) ==
            0);
    const struct value *message = value_get(tree, "messages")->first;
    const struct value *part = value_get(message, "content")->first;
    CHECK_STR(value_str(value_get(part, "type")), "image_url");
    const char *url = value_str(value_get(value_get(part, "image_url"), "url"));
    REQUIRE(url != NULL);
    CHECK(strncmp(url, "data:image/png;base64,iVBORw0KGgo", 33) == 0);
    CHECK_STR(url + strlen(url) - 16, "AAAASUVORK5CYII="); /* the end that every PNG has */
}

TEST(half_a_second_of_silence_is_sent_to_models_that_hear)
{
    _cleanup_buf_ struct buf body = BUF_INIT(64 * KIB);
    struct engine_request request = make(ENGINE_KIND_TRANSCRIPTION, &body);
    CHECK_STR(request.path, "/v1/audio/transcriptions");
    const char *boundary = strstr(request.content_type, "boundary=");
    REQUIRE(boundary != NULL);
    char delimiter[80];
    (void)snprintf(delimiter, sizeof(delimiter), "--%s", boundary + strlen("boundary="));
    size_t parts = 0, delimiter_len = strlen(delimiter);
    for (size_t i = 0; i + delimiter_len <= request.body_len; i++)
        parts += memcmp(request.body + i, delimiter, delimiter_len) == 0;
    CHECK_EQ(parts, 4); /* three parts and the end */
    CHECK(memcmp(request.body + request.body_len - 4, "--\r\n", 4) == 0);
    CHECK(strstr(request.body, "name=\"model\"\r\n\r\nm\"x\r\n"));
    const unsigned char *wav = memmem(request.body, request.body_len, "RIFF", 4);
    REQUIRE(wav != NULL);
    const char *end = request.body + request.body_len - delimiter_len - 6;
    CHECK_EQ((const char *)wav + 44 + 16000 - end, 0);
    CHECK_EQ(wav[4] + (wav[5] << 8), 36 + 16000);
    CHECK_EQ(wav[24] + (wav[25] << 8), 16000);
}

TEST(auto_tries_one_kind_after_the_other)
{
    static const enum engine_kind want[] = {
        ENGINE_KIND_CHAT,          ENGINE_KIND_COMPLETION, ENGINE_KIND_EMBEDDING,
        ENGINE_KIND_RERANK,        ENGINE_KIND_SCORE,      ENGINE_KIND_CLASSIFY,
        ENGINE_KIND_TRANSCRIPTION, ENGINE_KIND_COUNT,      ENGINE_KIND_COUNT,
    };
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        CHECK_EQ(engine_canary_attempt(ENGINE_KIND_AUTO, i), want[i]);
    CHECK_EQ(engine_canary_attempt(ENGINE_KIND_VISION, 0), ENGINE_KIND_VISION);
    CHECK_EQ(engine_canary_attempt(ENGINE_KIND_VISION, 1), ENGINE_KIND_COUNT);
}

TEST(recorded_answers_are_judged)
{
    static const struct {
        const char *file;
        enum engine_kind kind;
        int status;
        enum engine_answer want;
        const char *told; /* a part of the sentence */
    } rows[] = {
        {"chat-2025-03-recorded.json", ENGINE_KIND_CHAT, 200, ENGINE_ALIVE, ""},
        {"chat-0.22.0-recorded.json", ENGINE_KIND_CHAT, 200, ENGINE_ALIVE, ""},
        {"chat-tool-calls-0.12-era-reconstructed.json", ENGINE_KIND_VISION, 200, ENGINE_ALIVE, ""},
        {"completions-2024-10-recorded.json", ENGINE_KIND_COMPLETION, 200, ENGINE_ALIVE, ""},
        {"completions-2026-09-dev-build-recorded.json", ENGINE_KIND_COMPLETION, 200, ENGINE_ALIVE,
         ""},
        {"embeddings-0.8-era-recorded.json", ENGINE_KIND_EMBEDDING, 200, ENGINE_ALIVE, ""},
        {"rerank-0.7.3-recorded.json", ENGINE_KIND_RERANK, 200, ENGINE_ALIVE, ""},
        {"rerank-0.26.0-recorded.json", ENGINE_KIND_RERANK, 200, ENGINE_ALIVE, ""},
        {"score-2025-10-recorded.json", ENGINE_KIND_SCORE, 200, ENGINE_ALIVE, ""},
        {"classify-reconstructed.json", ENGINE_KIND_CLASSIFY, 200, ENGINE_ALIVE, ""},
        {"audio-transcriptions-text-only-reconstructed.json", ENGINE_KIND_TRANSCRIPTION, 200,
         ENGINE_ALIVE, ""},
        {"audio-transcriptions-usage-reconstructed.json", ENGINE_KIND_TRANSCRIPTION, 200,
         ENGINE_ALIVE, ""},
        {"models-0.26.0-recorded.json", ENGINE_KIND_CHAT, 200, ENGINE_BROKEN, "nothing in the"},
        {"is-sleeping-true-recorded.json", ENGINE_KIND_CHAT, 200, ENGINE_BROKEN, "nothing in the"},
        {"error-400-embeddings-not-supported-flat-recorded.json", ENGINE_KIND_EMBEDDING, 400,
         ENGINE_OTHER_KIND, "'m' does not answer embeddings: The model does not support"},
        {"error-404-unknown-route-reconstructed.json", ENGINE_KIND_CHAT, 404, ENGINE_OTHER_KIND,
         "'m' does not answer chat completions: Not Found"},
        {"error-405-method-not-allowed-reconstructed.json", ENGINE_KIND_SCORE, 405,
         ENGINE_OTHER_KIND, "Method Not Allowed"},
        {"error-404-unknown-model-flat-recorded.json", ENGINE_KIND_CHAT, 404, ENGINE_NO_MODEL,
         "the engine does not know 'm': The model `meta-llama"},
        {"error-404-unknown-model-nested-0.26.0-recorded.json", ENGINE_KIND_RERANK, 404,
         ENGINE_NO_MODEL, "does not exist"},
        {"error-router-model-missing-or-sleeping-recorded.json", ENGINE_KIND_CHAT, 400,
         ENGINE_NO_MODEL, "sleeping"},
        {"error-401-unauthorized-reconstructed.json", ENGINE_KIND_CHAT, 401, ENGINE_KEY_REFUSED,
         "refused the key (401): Unauthorized"},
        {"error-500-engine-core-recorded.json", ENGINE_KIND_CHAT, 500, ENGINE_BROKEN,
         "with 500: EngineCore encountered an issue"},
        {"error-500-plain-text-recorded.txt", ENGINE_KIND_CHAT, 500, ENGINE_BROKEN,
         "with 500: Internal Server Error"},
        {"error-400-missing-field-0.26.0-recorded.json", ENGINE_KIND_RERANK, 400, ENGINE_BROKEN,
         "with 400: 1 validation error"},
        {"error-422-missing-field-before-0.5-reconstructed.json", ENGINE_KIND_CHAT, 422,
         ENGINE_BROKEN, "it does not say why"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t len;
        struct err err = {0};
        _cleanup_free_ char *body = test_read("vllm-responses", rows[i].file, &len);
        REQUIRE(body != NULL);
        tap_note("%s", rows[i].file);
        CHECK_EQ(engine_canary_judge(rows[i].kind, "m", rows[i].status, body, len, &err),
                 rows[i].want);
        CHECK(strstr(err.what, rows[i].told));
        CHECK_EQ(err.id == ERR_NONE, rows[i].want == ENGINE_ALIVE);
    }
}

TEST(other_answers_are_judged)
{
    static const struct {
        int status;
        const char *body;
        enum engine_answer want;
    } rows[] = {
        {200, "", ENGINE_BROKEN},
        {200, "<html>", ENGINE_BROKEN},
        {200, "{\"choices\":[]}", ENGINE_BROKEN},
        {200, "{\"choices\":null}", ENGINE_BROKEN},
        {200, "[]", ENGINE_BROKEN},
        {503, "", ENGINE_BUSY},
        {503, "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable\"}}",
         ENGINE_BUSY},
        {429, "{}", ENGINE_BUSY},
        {501, "{\"error\":{\"code\":501,\"message\":\"This server does not support chat\"}}",
         ENGINE_OTHER_KIND},
        {400,
         "{\"error\":{\"message\":\"As of transformers v4.44, default chat template is no "
         "longer allowed\"}}",
         ENGINE_OTHER_KIND},
        {404, "{\"error\":{\"code\":404,\"message\":\"File Not Found\"}}", ENGINE_OTHER_KIND},
        {302, "", ENGINE_BROKEN},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err err = {0};
        tap_note("%d %s", rows[i].status, rows[i].body);
        CHECK_EQ(engine_canary_judge(ENGINE_KIND_CHAT, "m", rows[i].status, rows[i].body,
                                     strlen(rows[i].body), &err),
                 rows[i].want);
        CHECK(err.id != ERR_NONE);
    }
}

TEST(an_engine_wakes_in_the_safe_order)
{
    const struct engine_step *step = engine_wake_steps(2);
    CHECK_STR(step[0].request.path, "/wake_up?tags=weights");
    CHECK_STR(step[1].request.path, "/collective_rpc");
    CHECK_STR(step[1].request.body, "{\"method\":\"reload_weights\"}");
    CHECK_EQ(step[1].request.body_len, strlen(step[1].request.body));
    CHECK_STR(step[2].request.path, "/wake_up?tags=kv_cache");
    CHECK(step[3].what == NULL);
    CHECK_STR(engine_wake_steps(1)[0].request.path, "/wake_up");
    CHECK_STR(engine_sleep_steps(1)[0].request.path, "/sleep?level=1");
    CHECK_STR(engine_sleep_steps(2)[0].request.path, "/sleep?level=2");
    CHECK(engine_wake_steps(1)[1].what == NULL && engine_sleep_steps(2)[1].what == NULL);
}

TEST(sleep_is_asked_for)
{
    static const char *const bad[] = {"", "{}", "{\"is_sleeping\":\"no\"}", "true"};
    static const char *const files[] = {"is-sleeping-false-recorded.json",
                                        "is-sleeping-true-recorded.json"};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        size_t len;
        bool asleep = i == 0;
        _cleanup_free_ char *body = test_read("vllm-responses", files[i], &len);
        REQUIRE(body != NULL);
        REQUIRE(engine_sleep_answer(body, len, &asleep, NULL) == 0);
        CHECK_EQ(asleep, i);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        bool asleep;
        tap_note("%s", bad[i]);
        CHECK(engine_sleep_answer(bad[i], strlen(bad[i]), &asleep, NULL) < 0);
    }
}
