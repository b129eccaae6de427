#include "gateway/usage.h"

#include "gateway/allowance.h"
#include "sys/files.h"
#include "tap.h"

#include <dirent.h>
#include <stdio.h>

/* Everything that is passed on, in pieces of that size. */
static void
pass(struct usage_reader *r, const char *bytes, size_t len, size_t step, struct buf *out)
{
    for (size_t at = 0, end; at < len; at = end) {
        end = at + MIN(step, len - at);
        for (size_t from = at, used; from < end; from += used) {
            struct usage_piece piece;
            usage_read(r, bytes + from, end - from, &used, &piece);
            CHECK(used || piece.len);
            buf_add(out, piece.bytes, piece.len);
        }
    }
}

struct want {
    const char *file;
    enum dialect dialect;
    bool complete, failed;
    uint64_t in, out, cached;
};

/* The answers of engines: usage, and end, however they arrive. */
static const struct want answers[] = {
    {"chat-0.11-era-recorded.json", DIALECT_OPENAI, true, false, 12, 9, 0},
    {"chat-0.26.0-logprobs-reconstructed.json", DIALECT_OPENAI, true, false, 11, 1, 0},
    {"chat-cached-tokens-and-metrics-fixture.json", DIALECT_OPENAI, true, false, 42, 128, 20},
    {"chat-tool-calls-0.12-era-reconstructed.json", DIALECT_OPENAI, true, false, 377, 378, 0},
    {"completions-2025-10-recorded.json", DIALECT_OPENAI, true, false, 4, 7, 0},
    {"embeddings-0.8-era-recorded.json", DIALECT_OPENAI, true, false, 8, 0, 0},
    {"rerank-0.26.0-recorded.json", DIALECT_OPENAI, true, false, 226, 0, 0},
    {"score-2025-10-recorded.json", DIALECT_OPENAI, true, false, 47, 0, 0},
    {"messages-nonstream-reconstructed.json", DIALECT_MESSAGES, true, false, 28, 8, 0},
    {"responses-nonstream-reconstructed.json", DIALECT_RESPONSES, true, false, 28, 8, 0},
    {"audio-transcriptions-usage-reconstructed.json", DIALECT_OPENAI, true, false, 0, 0, 0},
    {"chat-stream-0.6-era-include-usage-reconstructed.sse", DIALECT_OPENAI, true, false, 42, 8, 0},
    {"chat-stream-0.23.0-continuous-usage-reconstructed.sse", DIALECT_OPENAI, true, false, 26, 14,
     0},
    {"chat-stream-0.28.0-include-usage-end-recorded.sse", DIALECT_OPENAI, true, false, 34, 22, 0},
    {"chat-stream-final-metrics-object-fixture.sse", DIALECT_OPENAI, true, false, 14, 152, 0},
    {"chat-stream-engine-dies-reconstructed.sse", DIALECT_OPENAI, true, true, 0, 0, 0},
    {"chat-stream-cut-in-mid-event-reconstructed.sse", DIALECT_OPENAI, false, false, 0, 0, 0},
    {"completions-stream-2025-05-two-chunks-recorded.sse", DIALECT_OPENAI, false, false, 0, 0, 0},
    {"audio-transcriptions-stream-usage-reconstructed.sse", DIALECT_OPENAI, true, false, 4, 5, 0},
    {"messages-stream-text-reconstructed.sse", DIALECT_MESSAGES, true, false, 28, 8, 0},
    {"messages-stream-thinking-tool-use-reconstructed.sse", DIALECT_MESSAGES, true, false, 28, 31,
     0},
    {"responses-stream-text-reconstructed.sse", DIALECT_RESPONSES, true, false, 28, 8, 0},
    {"responses-stream-function-call-reconstructed.sse", DIALECT_RESPONSES, true, false, 151, 14,
     0},
};

static void
check_answer(const struct want *w, size_t step)
{
    _cleanup_buf_ struct buf text = BUF_INIT(1 * MIB), out = BUF_INIT(1 * MIB);
    struct usage_reader r;
    char path[128];
    (void)snprintf(path, sizeof(path), "tests/data/vllm-responses/%s", w->file);
    REQUIRE(file_read(tap_source(path), &text, NULL) == 0);
    bool events = strstr(w->file, ".sse") != NULL;
    tap_note("%s by %zu", w->file, step);
    usage_init(&r, w->dialect, events ? USAGE_EVENTS : USAGE_JSON, false);
    pass(&r, text.data, text.len, step, &out);
    struct usage_piece last;
    usage_end(&r, &last);
    buf_add(&out, last.bytes, last.len);
    CHECK_EQ(r.complete, w->complete);
    CHECK_EQ(r.failed, w->failed);
    CHECK_EQ(r.usage.in, w->in);
    CHECK_EQ(r.usage.out, w->out);
    CHECK_EQ(r.usage.cached, w->cached);
    CHECK_EQ(r.usage.told, w->in > 0);
    /* Byte for byte, up to the last whole event. */
    CHECK(out.len <= text.len && memcmp(out.data, text.data, out.len) == 0);
    CHECK(!w->complete || out.len == text.len);
    CHECK(w->complete || out.len == 0 || memcmp(text.data + out.len - 2, "\n\n", 2) == 0);
    usage_finish(&r);
}

TEST(what_engines_answer_is_read_however_it_arrives)
{
    static const size_t steps[] = {1, 2, 3, 7, 64, 1000, SIZE_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++)
        for (size_t k = 0; k < ARRAY_SIZE(steps); k++)
            check_answer(&answers[i], steps[k]);
}

static void
check_events(enum dialect dialect, bool drop, const char *text, const char *want,
             const char *summary)
{
    for (size_t step = 1; step <= strlen(text); step++) {
        _cleanup_buf_ struct buf out = BUF_INIT(1 * MIB);
        struct usage_reader r;
        char found[64];
        tap_note("%s by %zu", text, step);
        usage_init(&r, dialect, USAGE_EVENTS, drop);
        pass(&r, text, strlen(text), step, &out);
        (void)snprintf(found, sizeof(found), "%d/%d/%d %d%s%s", (int)r.usage.in, (int)r.usage.out,
                       (int)r.usage.cached, (int)r.events, r.complete ? " complete" : "",
                       r.failed ? " failed" : "");
        CHECK_STR(out.data, want);
        CHECK_STR(found, summary);
        usage_finish(&r);
    }
}

#define LAST "{\"choices\":[ ],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}"

TEST(the_chunk_that_we_asked_for_is_not_passed_on)
{
    static const struct {
        bool drop;
        const char *text, *want, *summary;
    } rows[] = {
        {true, "data: {\"choices\":[{}]}\n\ndata: " LAST "\n\ndata: [DONE]\n\n",
         "data: {\"choices\":[{}]}\n\ndata: [DONE]\n\n", "3/2/0 2 complete"},
        {false, "data: " LAST "\n\ndata: [DONE]\n\n", "data: " LAST "\n\ndata: [DONE]\n\n",
         "3/2/0 2 complete"},
        {true, "data:" LAST "\r\n\r\ndata: [DONE]\r\n\r\n", "data: [DONE]\r\n\r\n",
         "3/2/0 1 complete"},
        {true, "data:" LAST "\r\rdata: [DONE]\r\r", "data: [DONE]\r\r", "3/2/0 1 complete"},
        {true, "data: " LAST "\n\ndata: " LAST "\n\n: hi\n\n", ": hi\n\n", "3/2/0 0"},
        {true, "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":3}}\n\n",
         "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":3}}\n\n", "3/0/0 1"},
        {true, "data: {\"choices\":[],\"usage\":null}\n\n",
         "data: {\"choices\":[],\"usage\":null}\n\n", "0/0/0 1"},
        {true, "data: {\"choices\":[],\ndata: \"usage\":{\"prompt_tokens\":3}}\nid: 4\n\n", "",
         "3/0/0 0"},
        {true, "data: {\"error\":null}\n\ndata: {\"error\":{\"message\":\"x\"}}\n\n",
         "data: {\"error\":null}\n\ndata: {\"error\":{\"message\":\"x\"}}\n\n", "0/0/0 2 failed"},
        {true, "data: no JSON\n\n\n\r\n\rdata: {\"a", "data: no JSON\n\n\n\r\n\r", "0/0/0 1"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        check_events(DIALECT_OPENAI, rows[i].drop, rows[i].text, rows[i].want, rows[i].summary);
}

TEST(named_events_have_their_own_ends)
{
    static const struct {
        enum dialect dialect;
        const char *text, *summary;
    } rows[] = {
        {DIALECT_MESSAGES,
         "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":"
         "{\"input_tokens\":5,\"cache_read_input_tokens\":7,\"cache_creation_input_tokens\":1,"
         "\"output_tokens\":1}}}\n\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":"
         "9}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
         "13/9/7 3 complete"},
        {DIALECT_MESSAGES, "data: {\"type\":\"error\",\"error\":{}}\n\ndata: [DONE]\n\n",
         "0/0/0 2 failed"},
        {DIALECT_RESPONSES,
         "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":4,"
         "\"input_tokens_details\":{\"cached_tokens\":3},\"output_tokens\":2}}}\n\n",
         "4/2/3 1 complete"},
        {DIALECT_RESPONSES, "data: {\"type\":\"response.failed\",\"response\":{}}\n\n",
         "0/0/0 1 complete failed"},
        {DIALECT_RESPONSES,
         "data: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n", "0/0/0 1"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        check_events(rows[i].dialect, true, rows[i].text, rows[i].text, rows[i].summary);
}

TEST(usage_is_found_in_json_that_has_more_of_the_name)
{
    static const struct {
        const char *text;
        bool complete;
        uint64_t in;
        bool told;
    } rows[] = {
        {"{\"usage\":{\"prompt_tokens\":3}}", true, 3, true},
        {" \n{ \"a\" : [ { \"usage\":{\"prompt_tokens\":9} } ] , \"usage\" : {\"prompt_tokens\":3 "
         "} } ",
         true, 3, true},
        {"{\"x\":\"usage\",\"y\":\"\\\"usage\\\":{\",\"usage\":{\"prompt_tokens\":3},\"z\":[[]]}",
         true, 3, true},
        {"{\"y\":\"\\\\\\\"{\",\"usage\":{\"prompt_tokens\":3}}", true, 3, true},
        {"{\"a\\\"{\":\"\\\"\",\"usage\":{\"prompt_tokens\":3}}", true, 3, true},
        {"{\"usage2\":{\"prompt_tokens\":3}}", true, 0},
        {"{\"usag\\u0065\":{\"prompt_tokens\":3}}", true, 0},
        {"{\"usage\":{\"prompt_tokens\":3}", false, 0},
        {"{\"meta\":{\"billed_units\":{\"input_tokens\":3}}}", true, 3, true},
        {"[{\"usage\":{\"prompt_tokens\":3}}]", false, 0},
        {"\"usage\":{\"prompt_tokens\":3}", false, 0},
        {"1\n00:00:01 --> 00:00:02\n{\"usage\":{\"prompt_tokens\":3}}", false, 0},
        {"{\"usage\":{\"prompt_tokens\":\"3\"}}", true, 0},
        {"{\"usage\":{\"prompt_tokens\":0}}", true, 0, true},
        {"{\"usage\":{\"completion_tokens\":0}}", true, 0, true},
        {"{\"usage\":{\"type\":\"duration\",\"seconds\":19}}", true, 0},
        {"{\"usage\":{}}", true, 0},
        {"{\"meta\":{}}", true, 0},
        {"{\"meta\":{\"input_tokens\":3}}", true, 0},
        {"{\"usage\":null}", true, 0},
        {"", false, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (size_t step = 1; step < 50; step++) {
            _cleanup_buf_ struct buf out = BUF_INIT(1 * MIB);
            struct usage_reader r;
            tap_note("%s by %zu", rows[i].text, step);
            usage_init(&r, DIALECT_OPENAI, USAGE_JSON, true);
            pass(&r, rows[i].text, strlen(rows[i].text), step, &out);
            CHECK_STR(out.data, rows[i].text);
            CHECK_EQ(r.complete, rows[i].complete);
            CHECK_EQ(r.usage.in, rows[i].in);
            CHECK_EQ(r.usage.told, rows[i].told);
            usage_finish(&r);
        }
}

/* What is too large passes at once, before it is known what it is; what follows is read again. */
TEST(an_event_above_its_ceiling_passes_at_once)
{
    static const char begin[] = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5},\"x\":\"",
                      end[] = "\"}\n\n", last[] = "data: " LAST "\n\ndata: [DONE]\n\n";
    for (unsigned large = 0; large < 2; large++)
        for (size_t step = 999; step < 4 * MIB; step *= 40) {
            _cleanup_buf_ struct buf text = BUF_INIT(4 * MIB), out = BUF_INIT(4 * MIB);
            struct usage_reader r;
            size_t fill = USAGE_EVENT_MAX - strlen(begin) - strlen(end) + large;
            buf_add_str(&text, begin);
            for (size_t i = 0; i < fill; i++)
                buf_add_char(&text, 'x');
            buf_add_str(&text, end);
            size_t event = text.len;
            buf_add_str(&text, last);
            usage_init(&r, DIALECT_OPENAI, USAGE_EVENTS, true);
            pass(&r, text.data, text.len, step, &out);
            bool unread = large && step < event;
            tap_note("%zu bytes by %zu", event, step);
            CHECK_EQ(out.len, (unread ? event : 0) + strlen("data: [DONE]\n\n"));
            CHECK(memcmp(out.data, unread ? text.data : "data", 4) == 0);
            CHECK(r.complete && r.usage.in == 3 && r.held.len <= USAGE_EVENT_MAX);
            usage_finish(&r);
        }
}

/* An event of 2 MiB: `begin` in front of a long text, `end` behind it. */
static void
check_large(enum dialect dialect, const char *begin, const char *end, const char *want)
{
    for (size_t step = 999; step < MIB; step *= 40) {
        _cleanup_buf_ struct buf text = BUF_INIT(4 * MIB), out = BUF_INIT(4 * MIB);
        struct usage_reader r;
        struct usage_piece last;
        char found[64];
        tap_note("%s...%s by %zu", begin, end, step);
        usage_init(&r, dialect, USAGE_EVENTS, true);
        buf_add_str(&text, begin);
        while (text.len < 2 * MIB)
            buf_add_str(&text, "data: \\\"usage\\\":{}");
        buf_add_str(&text, end);
        pass(&r, text.data, text.len, step, &out);
        usage_end(&r, &last);
        (void)snprintf(found, sizeof(found), "%d/%d%s%s%s", (int)r.usage.in, (int)r.usage.out,
                       r.usage.told ? " told" : "", r.complete ? " complete" : "",
                       r.failed ? " failed" : "");
        CHECK_STR(found, want);
        CHECK(out.len == text.len && memcmp(out.data, text.data, out.len) == 0);
        usage_finish(&r);
    }
}

#define TOLD "{\"input_tokens\":4,\"output_tokens\":2}"

TEST(the_end_of_a_stream_is_seen_however_large_its_event_is)
{
    static const struct {
        enum dialect dialect;
        const char *begin, *end, *want;
    } rows[] = {
        {DIALECT_RESPONSES,
         "event: x\r\ndata: {\"type\":\"response.completed\",\"response\":{\"type\":1,\"a\":\"",
         "\",\"usage\":" TOLD "}}\r\n\r\n", "4/2 told complete"},
        {DIALECT_RESPONSES, "data:{\"response\":{\"usage\":" TOLD ",\"a\":[{\"usage\":{}},\"",
         "\"]},\"type\" : \"response.incomplete\" }\n\n", "4/2 told complete"},
        {DIALECT_RESPONSES, "data: {\"type\":\"response.cancelled\",\"a\":\"", "\"}\n\n",
         "0/0 complete"},
        {DIALECT_RESPONSES, "data: {\"type\":\"response.failed\",\"a\":\"", "\"}\n\n",
         "0/0 complete failed"},
        {DIALECT_RESPONSES, "data: {\"type\":\"error\",\"a\":\"", "\"}\n\n", "0/0 failed"},
        {DIALECT_OPENAI, "data: {\"type\":\"transcript.text.done\",\"a\":\"",
         "\",\ndata: \"usage\":" TOLD "}\n\n", "4/2 told complete"},
        {DIALECT_OPENAI, "data: {\"type\":\"speech.audio.done\",\"a\":\"", "\"}\n\n",
         "0/0 complete"},
        {DIALECT_OPENAI,
         "data: {\"usage\":" TOLD ",\"type\":\"image_generation.completed\",\"a\":\"", "\"}\n\n",
         "4/2 told complete"},
        {DIALECT_OPENAI, "data: {\"type\":\"image_edit.completed\",\"a\":\"",
         "\",\"usage\":" TOLD "}\n", "4/2 told complete"},
        {DIALECT_OPENAI, "data: {\"error\":{\"message\":\"", "\"}}\n\n", "0/0 failed"},
        {DIALECT_OPENAI, "data: {\"error\":null,\"a\":\"", "\"}\n\n", "0/0"},
        {DIALECT_MESSAGES, "data: {\"type\":\"message_stop\",\"a\":\"", "\"}\n\n", "0/0 complete"},
        {DIALECT_MESSAGES, "data: {\"type\":\"message_start\",\"message\":{\"a\":\"",
         "\",\"type\":\"message_stop\",\"usage\":" TOLD "}}\n\n", "4/2 told"},
        /* None of these is the end. */
        {DIALECT_MESSAGES, "data: {\"type\":\"message_stop\",\"a\":\"", "\"\n\n", "0/0"},
        {DIALECT_MESSAGES, "x: {\"type\":\"message_stop\",\"a\":\"", "\"}\n\n", "0/0"},
        {DIALECT_OPENAI, "data: {\"a\":{\"type\":\"speech.audio.done\",\"b\":\"", "\"}}\n\n",
         "0/0"},
        {DIALECT_OPENAI, "data: [\"", "\"]\n\n", "0/0"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        check_large(rows[i].dialect, rows[i].begin, rows[i].end, rows[i].want);
}

/* Also where the piece that is too much begins with the end of a line: it is
 * not the end of the event. */
TEST(lines_of_an_event_above_its_ceiling_belong_to_it)
{
    static const char rest[] = "\ndata: " LAST "\n\n";
    _cleanup_buf_ struct buf text = BUF_INIT(4 * MIB), out = BUF_INIT(4 * MIB);
    struct usage_reader r;
    buf_add_str(&text, "data: ");
    while (text.len < USAGE_EVENT_MAX)
        buf_add_char(&text, 'x');
    buf_add_str(&text, rest);
    usage_init(&r, DIALECT_OPENAI, USAGE_EVENTS, true);
    pass(&r, text.data, text.len, USAGE_EVENT_MAX, &out);
    CHECK_EQ(out.len, text.len);
    CHECK_EQ(r.events, 1);
    usage_finish(&r);
}

TEST(a_value_above_its_ceiling_is_not_kept)
{
    _cleanup_buf_ struct buf text = BUF_INIT(4 * MIB), out = BUF_INIT(4 * MIB);
    struct usage_reader r;
    buf_add_str(&text, "{\"usage\":{\"prompt_tokens\":5,\"x\":\"");
    for (size_t i = 0; i < 2 * USAGE_VALUE_MAX; i++)
        buf_add_char(&text, 'x');
    buf_add_str(&text, "\"}}");
    usage_init(&r, DIALECT_OPENAI, USAGE_JSON, false);
    pass(&r, text.data, text.len, 1000, &out);
    CHECK(r.complete && !r.usage.told && out.len == text.len);
    usage_finish(&r);
}

/* Rows of it are summed for years. */
TEST(no_more_is_believed_than_an_answer_can_take)
{
    static const char *const counts[] = {"18446744073709551615", "99999999999999999999999999"};
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        _cleanup_buf_ struct buf body = BUF_INIT(KIB), out = BUF_INIT(KIB);
        struct usage_reader r;
        buf_printf(&body, "{\"usage\": {\"prompt_tokens\": %s}}", counts[i]);
        usage_init(&r, DIALECT_OPENAI, USAGE_JSON, false);
        pass(&r, body.data, body.len, body.len, &out);
        CHECK_EQ(r.usage.in, ALLOWANCE_CLAIM_MAX);
        usage_finish(&r);
    }
}

/* Nor is anything of an answer that has told it once, in whatever event. */
TEST(what_cannot_be_is_not_told)
{
    static const struct {
        const char *usage;
        bool told;
        uint64_t absurd;
    } rows[] = {
        {"\"input_tokens\":600,\"output_tokens\":40", true, 0},
        {"\"input_tokens\":601,\"output_tokens\":40", false, 601},
        {"\"input_tokens\":600,\"output_tokens\":41", false, 41},
        {"\"input_tokens\":1,\"cache_read_input_tokens\":600", false, 601},
        {"\"output_tokens\":18446744073709551615", false, ALLOWANCE_CLAIM_MAX},
        {"\"output_tokens\":-1", true, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf text = BUF_INIT(KIB), out = BUF_INIT(KIB);
        struct usage_reader r;
        tap_note("%s", rows[i].usage);
        buf_printf(
            &text,
            "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5}}}\n\n"
            "data: {\"type\":\"message_delta\",\"usage\":{%s}}\n\n"
            "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":2}}\n\n",
            rows[i].usage);
        usage_init(&r, DIALECT_MESSAGES, USAGE_EVENTS, false);
        r.most_in = 600;
        r.most_out = 40;
        pass(&r, text.data, text.len, 13, &out);
        CHECK_EQ(r.usage.told, rows[i].told);
        CHECK_EQ(r.usage.absurd, rows[i].absurd);
        CHECK_EQ(r.usage.out, rows[i].told ? 2 : 0);
        usage_finish(&r);
    }
}

/* What is told of it is in no proportion to what is around it. */
TEST(what_a_stream_says_is_as_long_as_its_texts)
{
    static const struct {
        enum dialect dialect;
        const char *event;
        uint64_t bytes;
    } rows[] = {
        {DIALECT_OPENAI, "{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}",
         0},
        {DIALECT_OPENAI,
         "{\"id\":\"chatcmpl-1\",\"model\":\"text\",\"choices\":[{\"index\":0,\"delta\":"
         "{\"content\":\"a word\"},\"logprobs\":{\"content\":[{\"token\":\"a word\"}]}}]}",
         6},
        {DIALECT_OPENAI, "{\"choices\":[{\"text\":\"one\"},{\"text\":\"three\"}]}", 8},
        {DIALECT_OPENAI,
         "{\"choices\":[{\"delta\":{\"reasoning_content\":\"so\",\"reasoning\":\"be\"}}]}", 4},
        {DIALECT_OPENAI,
         "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"function\":"
         "{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": 1}\"}}]}}]}",
         8},
        {DIALECT_OPENAI,
         "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"custom\":{\"input\":\"ls -l\"}}]}}]}", 5},
        {DIALECT_OPENAI, "{\"choices\":[{\"message\":{\"content\":\"whole\"}}]}", 5},
        {DIALECT_OPENAI, "{\"type\":\"transcript.text.delta\",\"delta\":\" spoken\"}", 7},
        {DIALECT_OPENAI, "{\"delta\":\"\\u4f60\\u00e4\\u0041\\n\\ud83d\\ude00\"}", 11},
        {DIALECT_MESSAGES,
         "{\"type\":\"message_start\",\"message\":{\"content\":[{\"text\":\"none\"}]}}", 0},
        {DIALECT_MESSAGES,
         "{\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\",\"text\":\"at "
         "once\"}}",
         7},
        {DIALECT_MESSAGES, "{\"type\":\"content_block_delta\",\"delta\":{\"text\":\"some\"}}", 4},
        {DIALECT_MESSAGES, "{\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}", 2},
        {DIALECT_MESSAGES, "{\"delta\":{\"partial_json\":\"{}\"}}", 2},
        {DIALECT_RESPONSES, "{\"type\":\"response.output_text.delta\",\"delta\":\"some\"}", 4},
        {DIALECT_RESPONSES, "{\"type\":\"response.output_text.done\",\"text\":\"again\"}", 0},
        {DIALECT_RESPONSES,
         "{\"type\":\"response.created\",\"response\":{\"tools\":[{\"text\":\"no\"}]}}", 0},
        {DIALECT_OPENAI, "{\"choices\":[{\"delta\":{\"content\":\"broken\"}}", 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf text = BUF_INIT(4 * KIB), out = BUF_INIT(4 * KIB);
        struct usage_reader r;
        tap_note("%s", rows[i].event);
        buf_printf(&text, "data: %s\n\n", rows[i].event);
        usage_init(&r, rows[i].dialect, USAGE_EVENTS, false);
        pass(&r, text.data, text.len, 11, &out);
        CHECK_EQ(r.text_bytes, rows[i].bytes);
        CHECK_EQ(r.events, 1);
        usage_finish(&r);
    }
}

/* Larger than is held, or not: what is counted of it is the same, but for escapes. */
TEST(what_a_large_event_says_counts_as_what_a_small_one_does)
{
    static const struct {
        const char *begin, *end;
        uint64_t bytes;
    } rows[] = {
        {"{\"choices\":[{\"delta\":{\"role\":\"a\",\"content\":\"", "\"}}]}", 2 * MIB},
        {"{\"id\":\"text\",\"choices\" : [{\"a\":{},\"text\" :\"", "\",\"b\":\"text\"}]}", 2 * MIB},
        {"{\"type\":\"t\",\"delta\":\"", "\"}", 2 * MIB},
        {"{\"choices\":[{\"text\":\"one\"},{\"te\\u0078t\":\"", "\"},{\"text\":\"\\u4f60\\n\"}]}",
         3 + 4},
        {"{\"choices\":[{\"logprobs\":{\"content\":[{\"token\":\"", "\"}]}}]}", 0},
        {"{\"choices\":[],\"text\":\"", "\"}", 0},
        {"{\"message\":{\"content\":[{\"text\":\"", "\"}]}}", 0},
        {"{\"response\":{\"output\":[{\"text\":\"", "\"}]}}", 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (size_t step = 7; step < 4 * MIB; step *= 600) {
            _cleanup_buf_ struct buf text = BUF_INIT(4 * MIB), out = BUF_INIT(4 * MIB);
            struct usage_reader r;
            tap_note("%s by %zu", rows[i].begin, step);
            buf_printf(&text, "data: %s", rows[i].begin);
            for (size_t k = 0; k < 2 * MIB / 8; k++)
                buf_add_str(&text, "0123 567");
            buf_printf(&text, "%s\n\n", rows[i].end);
            usage_init(&r, i == 6 ? DIALECT_MESSAGES : DIALECT_RESPONSES, USAGE_EVENTS, false);
            pass(&r, text.data, text.len, step, &out);
            CHECK_EQ(r.text_bytes, rows[i].bytes);
            CHECK_EQ(r.events, 1);
            usage_finish(&r);
        }
}

TEST(short_texts_of_an_answer_count_where_they_are_said)
{
    static const struct {
        const char *body;
        uint64_t bytes;
    } rows[] = {
        {"{\"text\":\"spoken\",\"id\":\"text\",\"x\":\"y\"}", 6},
        {"{\"choices\":[{\"text\":\"one\"},{\"text\" :\n \"three\",\"id\":\"no\"}]}", 8},
        {"{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"hello\"}}]}", 5},
        {"{\"choices\":[{\"message\":{\"reasoning_content\":\"hm\",\"content\":null}}]}", 2},
        {"{\"choices\":[{\"text\":\"\\u4f60\\u597d\\n\\\\\"}]}", 8},
        {"{\"output\":[{\"content\":[{\"type\":\"text\",\"text\":\"so\"}]}]}", 2},
        {"{\"choices\":[{\"text\":[\"a\",{\"a\":\"b\"}],\"a\":\"c\",\"t\\u0065xt\":\"d\"}]}", 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (size_t step = 1; step <= strlen(rows[i].body); step++) {
            _cleanup_buf_ struct buf out = BUF_INIT(4 * KIB);
            struct usage_reader r;
            tap_note("%s by %zu", rows[i].body, step);
            usage_init(&r, DIALECT_OPENAI, USAGE_JSON, false);
            pass(&r, rows[i].body, strlen(rows[i].body), step, &out);
            CHECK_EQ(r.text_bytes, rows[i].bytes);
            usage_finish(&r);
        }
}

TEST(what_an_answer_says_are_its_long_texts)
{
#define TEN "0123456789"
#define SIXTY TEN TEN TEN TEN TEN TEN
    static const char text[] = "{\"id\":\"chatcmpl-" TEN TEN TEN "\",\"choices\":[{\"message\":"
                               "{\"role\":\"assistant\",\"content\":\"" SIXTY "\\n" SIXTY
                               "\"}},{\"text\":\"" SIXTY "1234\"}],\"data\":[1,2,\"" SIXTY "\"]}";
    for (size_t step = 1; step <= sizeof(text); step++) {
        _cleanup_buf_ struct buf out = BUF_INIT(4 * KIB);
        struct usage_reader r;
        usage_init(&r, DIALECT_OPENAI, USAGE_JSON, false);
        pass(&r, text, sizeof(text) - 1, step, &out);
        CHECK(r.text_bytes >= 184 && r.text_bytes <= 186);
        usage_finish(&r);
    }
}
