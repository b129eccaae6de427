#include "gateway/ask.h"

#include "ask_rig.h"
#include "base/buf.h"
#include "fmt/json.h"
#include "gateway/multipart.h"
#include "gateway/patch.h"
#include "sys/files.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>

static int
read_json(struct ask *ask, const char *body, struct err *err)
{
    return ask_whole(ask, body, strlen(body), err);
}

TEST(what_a_body_asks_for_is_found)
{
    static const struct {
        const char *body, *model;
        bool stream, include_usage;
        uint64_t max_tokens, answers;
    } rows[] = {
        {"{}", "", false, false, 0, 1},
        {"{\"model\":\"phi3\",\"stream\":true}", "phi3", true, false, 0, 1},
        {"{\"model\":null,\"stream\":null,\"stream_options\":null,\"max_tokens\":null}", "", false,
         false, 0, 1},
        {"{\"m\\u006fdel\":\"ph\\u0069\"}", "phi", false, false, 0, 1},
        {"{\"stream_options\":{\"include_usage\":true},\"stream\":true}", "", true, true, 0, 1},
        {"{\"stream_options\":{\"include_usage\":false},\"stream\":true}", "", true, false, 0, 1},
        {"{\"max_tokens\":5,\"max_completion_tokens\":7,\"n\":3,\"best_of\":2}", "", false, false,
         7, 3},
        {"{\"max_output_tokens\":1e3,\"n\":0}", "", false, false, 1000, 1},
        {"{\"max_tokens\":-1,\"n\":1.5}", "", false, false, 0, 1},
        {"{\"messages\":[{\"model\":\"x\",\"stream\":true}],\"model\":\"y\"}", "y", false, false, 0,
         1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_ask_ struct ask ask = {0};
        tap_note("%s", rows[i].body);
        REQUIRE(read_json(&ask, rows[i].body, NULL) == 0);
        CHECK_STR(ask.model, rows[i].model);
        CHECK_EQ(ask.stream, rows[i].stream);
        CHECK_EQ(ask.include_usage, rows[i].include_usage);
        CHECK_EQ(ask.max_tokens, rows[i].max_tokens);
        CHECK_EQ(ask.answers, rows[i].answers);
    }
}

TEST(what_two_readers_might_read_otherwise_is_refused)
{
    static const struct {
        const char *body, *what;
        int r;
    } rows[] = {
        {"[]", "at byte 0 of the JSON: expected an object, found '['", -EBADMSG},
        {"{\"model\":\"a\",\"model\":\"b\"}",
         "\"model\" is there twice, at bytes 9 and 21 of the JSON", -EBADMSG},
        {"{\"stream\":false,\"\\u0073tream\":true}",
         "\"stream\" is there twice, at bytes 10 and 30 of the JSON", -EBADMSG},
        {"{\"model\":7}",
         "\"model\" is 7, expected the name of a model, as a string of 255 bytes at most", -EINVAL},
        {"{\"model\":\"a\\u0000b\"}",
         "\"model\" is \"a\\u0000b\", expected the name of a model, as a string of 255 bytes at "
         "most",
         -EINVAL},
        {"{\"stream\":\"true\"}", "\"stream\" is \"true\", expected true or false", -EINVAL},
        {"{\"stream\":1}", "\"stream\" is 1, expected true or false", -EINVAL},
        {"{\"stream_options\":[]}", "\"stream_options\" is [], expected an object", -EINVAL},
        {"{\"stream_options\":{\"include_usage\":1}}",
         "\"stream_options.include_usage\" is 1, expected true or false", -EINVAL},
        {"{\"stream_options\":{\"include_usage\":true,\"include_usage\":false}}",
         "in \"stream_options\": \"include_usage\" is there twice, at bytes 17 and 38 of the JSON",
         -EBADMSG},
        {"{\"max_tokens\":\"5\"}", "\"max_tokens\" is \"5\", expected a number", -EINVAL},
        {"{\"n\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18]}",
         "\"n\" is [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,..., expected a number", -EINVAL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_ask_ struct ask ask = {0};
        struct err err = {0};
        tap_note("%s", rows[i].body);
        CHECK_EQ(read_json(&ask, rows[i].body, &err), rows[i].r);
        CHECK_STR(err.what, rows[i].what);
    }
}

TEST(a_user_stands_in_one_of_two_places)
{
    static const struct {
        const char *body, *user, *session;
    } rows[] = {
        {"{\"user\":\"ann\"}", "\"ann\"", ""},
        {"{\"metadata\":{\"user_id\":\"bob\"},\"prompt_cache_key\":\"k\"}", "\"bob\"", "\"k\""},
        {"{\"metadata\":{\"user_id\":\"bob\"},\"user\":\"ann\"}", "\"ann\"", ""},
        {"{\"metadata\":{},\"user\":1,\"prompt_cache_key\":{}}", "", ""},
        {"{\"metadata\":[]}", "", ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_ask_ struct ask ask = {0};
        char found[32];
        REQUIRE(read_json(&ask, rows[i].body, NULL) == 0);
        (void)snprintf(found, sizeof(found), "%.*s", (int)ask.user.len,
                       ask_text_bytes(&ask, &ask.user));
        CHECK_STR(found, rows[i].user);
        (void)snprintf(found, sizeof(found), "%.*s", (int)ask.session.len,
                       ask_text_bytes(&ask, &ask.session));
        CHECK_STR(found, rows[i].session);
    }
}

static void
join(const struct patch_list *list, const char *body, size_t len, struct buf *out)
{
    struct patch_piece pieces[PATCH_PIECES_MAX];
    size_t count = patch_pieces(list, len, pieces);
    buf_clear(out);
    for (size_t i = 0; i < count; i++) {
        CHECK(pieces[i].len > 0);
        buf_add(out, pieces[i].put ? pieces[i].put : body + pieces[i].at, pieces[i].len);
    }
    CHECK_EQ(out->len, patch_length(list, len));
}

static void
check_change(const char *body, const struct ask_change *change, const char *want)
{
    _cleanup_buf_ struct buf out = BUF_INIT(64 * KIB);
    _cleanup_arena_ struct arena arena;
    struct patch_list list;
    _cleanup_ask_ struct ask ask = {0};
    arena_init(&arena, 256 * KIB);
    tap_note("%s", body);
    REQUIRE(read_json(&ask, body, NULL) == 0);
    REQUIRE(ask_change_json(&ask, change, &arena, &list, NULL) == 0);
    join(&list, body, strlen(body), &out);
    CHECK_STR(out.data, want);
}

TEST(only_what_is_to_change_changes)
{
    static const struct ask_param params[] = {
        {"temperature", "0.2", false, RIG_TEMPERATURE},
        {"chat_template_kwargs", "{\"a\":[1]}", true, RIG_KWARGS}};
    static const struct ask_change rename = {.model = "a\"b"}, usage = {.include_usage = true},
                                   nothing = {0}, given = {.params = params, .param_count = 2},
                                   all = {.model = "m",
                                          .include_usage = true,
                                          .params = params,
                                          .param_count = 2};
    static const struct {
        const struct ask_change *change;
        const char *body, *want;
    } rows[] = {
        {&nothing, " { \"model\" : \"x\" } ", " { \"model\" : \"x\" } "},
        {&rename, " { \"model\" : \"x\" , \"y\":1} ", " { \"model\" : \"a\\\"b\" , \"y\":1} "},
        {&rename, "{\"model\":null}", "{\"model\":\"a\\\"b\"}"},
        {&rename, "\n{ \"y\":1}", "\n{\"model\":\"a\\\"b\", \"y\":1}"},
        {&rename, "{ }", "{\"model\":\"a\\\"b\" }"},
        {&rename, "{\"model\":\"a\\u0022b\"}", "{\"model\":\"a\\u0022b\"}"},
        {&usage, "{\"stream\":false}", "{\"stream\":false}"},
        {&usage, "{\"stream\":true}",
         "{\"stream_options\":{\"include_usage\":true},\"stream\":true}"},
        {&usage, "{\"stream\":true,\"stream_options\":null}",
         "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
        {&usage, "{\"stream\":true,\"stream_options\":{ } }",
         "{\"stream\":true,\"stream_options\":{\"include_usage\":true } }"},
        {&usage, "{\"stream\":true,\"stream_options\":{\"x\":1}}",
         "{\"stream\":true,\"stream_options\":{\"include_usage\":true,\"x\":1}}"},
        {&usage, "{\"stream_options\":{\"include_usage\":false},\"stream\":true}",
         "{\"stream_options\":{\"include_usage\":true},\"stream\":true}"},
        {&usage,
         "{\"stream_options\":{\"continuous_usage_stats\":true,\"include_usage\":null},"
         "\"stream\":true}",
         "{\"stream_options\":{\"continuous_usage_stats\":false,\"include_usage\":true},"
         "\"stream\":true}"},
        {&usage,
         "{\"stream_options\":{\"continuous_usage_stats\":true,\"include_usage\":true},"
         "\"stream\":true}",
         "{\"stream_options\":{\"continuous_usage_stats\":true,\"include_usage\":true},"
         "\"stream\":true}"},
        {&given, "{\"temperature\":1}", "{\"chat_template_kwargs\":{\"a\":[1]},\"temperature\":1}"},
        {&given, "{\"chat_template_kwargs\":2}",
         "{\"temperature\":0.2,\"chat_template_kwargs\":{\"a\":[1]}}"},
        {&all, "{\"stream\":true}",
         "{\"model\":\"m\",\"stream_options\":{\"include_usage\":true},\"temperature\":0.2,"
         "\"chat_template_kwargs\":{\"a\":[1]},\"stream\":true}"},
        {&given, "{}", "{\"temperature\":0.2,\"chat_template_kwargs\":{\"a\":[1]}}"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        check_change(rows[i].body, rows[i].change, rows[i].want);
}

TEST(a_parameter_that_is_there_twice_is_refused)
{
    static const char body[] = "{\"seed\":1,\"seed\":2}";
    _cleanup_ask_ struct ask ask = {0};
    CHECK_EQ(read_json(&ask, body, NULL), -EBADMSG);
}

/* Who sends such a thing is told, or passed over; nobody keeps it. */
TEST(values_that_are_large_are_not_kept)
{
    static const struct {
        const char *name, *begin, *end;
        int want;
    } rows[] = {
        {"model", "\"", "\"", -EINVAL},  {"stream_options", "{\"a\":\"", "\"}", -EINVAL},
        {"max_tokens", "", "", -EINVAL}, {"metadata", "{\"user_id\":\"", "\"}", 0},
        {"user", "\"", "\"", 0},         {"previous_response_id", "\"", "\"", 0},
        {"service_tier", "\"", "\"", 0}, {"messages", "\"", "\"", 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf body = BUF_INIT(1 * MIB);
        _cleanup_ask_ struct ask ask = {0};
        char id[8];
        tap_note("%s", rows[i].name);
        buf_printf(&body, "{\"%s\":%s", rows[i].name, rows[i].begin);
        for (unsigned k = 0; k < 50000; k++)
            buf_add_char(&body, '1');
        buf_printf(&body, "%s}", rows[i].end);
        CHECK_EQ(ask_pieces(&ask, body.data, body.len, 4096, NULL), rows[i].want);
        CHECK_EQ(ask.user.kind, JSON_ABSENT);
        ask_text_decode(&ask, &ask.values[ASK_PREVIOUS], id, sizeof(id));
        CHECK_STR(id, "");
        CHECK(ask.texts.len <= 16 * KIB);
    }
}

TEST(values_are_kept_however_pieces_cut_them)
{
    static const char *const bodies[] = {
        "{\"user\":\"abcdef\",\"model\":\"mm\",\"n\":3,\"service_tier\":\"flex\",\"max_tokens\":"
        "77}",
        "{\"service_tier\":\"flex\",\"max_tokens\":77,\"model\":\"mm\",\"user\":\"abcdef\",\"n\":"
        "3}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        for (size_t piece = 1; piece <= strlen(bodies[i]); piece++) {
            _cleanup_ask_ struct ask ask = {0};
            char user[8];
            tap_note("%s by %zu", bodies[i], piece);
            REQUIRE(ask_pieces(&ask, bodies[i], strlen(bodies[i]), piece, NULL) == 0);
            CHECK_STR(ask.model, "mm");
            ask_text_decode(&ask, &ask.user, user, sizeof(user));
            CHECK_STR(user, "abcdef");
            CHECK_EQ(ask.answers, 3);
            CHECK_EQ(ask.max_tokens, 77);
            CHECK_EQ(ask.tier, ASK_TIER_FLEX);
        }
    }
}

TEST(what_the_configuration_gives_counts)
{
    static const struct ask_param given[] = {
        {"max_tokens", "6000", false, ASK_MAX_TOKENS},
        {"n", "4", true, ASK_N},
    };
    static const struct {
        const char *body;
        uint64_t max_tokens, answers;
    } rows[] = {
        {"{}", 6000, 4},
        {"{\"max_tokens\":null}", 6000, 4},
        {"{\"max_tokens\":10}", 10, 4},
        {"{\"n\":50}", 6000, 4},
        {"{\"n\":1,\"best_of\":9}", 6000, 9},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_ask_ struct ask ask = {0};
        tap_note("%s", rows[i].body);
        REQUIRE(ask_whole(&ask, rows[i].body, strlen(rows[i].body), NULL) == 0);
        const struct ask_size size = ask_size(&ask, given, ARRAY_SIZE(given));
        CHECK_EQ(size.max_tokens, rows[i].max_tokens);
        CHECK_EQ(size.answers, rows[i].answers);
    }
}

TEST(a_body_says_about_how_much_goes_in)
{
    static const struct {
        const char *body;
        uint64_t tokens, prompts;
    } rows[] = {
        {"{}", 0, 1},
        {"{\"prompt\":\"0123456789abcdef0123456789abcdef\"}", 11, 1},
        {"{\"prompt\":[\"a\",\"b\",\"c\"]}", 6, 3},
        {"{\"prompt\":[]}", 3, 1},
        {"{\"prompt\":[1,2,3,4,5,6,7,8,9,1,2,3]}", 12, 1},         /* tokens of one */
        {"{\"prompt\":[[1,2,3,4,5,6,7,8],[9,1,2,3,4,5]]}", 16, 2}, /* of two */
        {"{\"input\":[1,2,3,4,5,6,7,8,9,1,2,3]}", 12, 1},
        {"{\"query\":\"0123456789012345\",\"documents\":[\"a\",\"b\",\"c\"]}", 13 + 9, 1},
        {"{\"text_1\":\"0123456789012345\",\"text_2\":[\"a\",\"b\",\"c\"]}", 13 + 9, 1},
        {"{\"text_1\":[\"a\",\"b\",\"c\"],\"text_2\":[\"a\",\"b\",\"c\"]}", 11, 1},
        {"{\"queries\":\"0123456789\",\"items\":{\"content\":[{\"text\":\"a\"},{\"text\":\"b\"}]}}",
         17 + 7, 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (size_t piece = 1; piece <= strlen(rows[i].body); piece++) {
            _cleanup_ask_ struct ask ask = {0};
            size_t len = strlen(rows[i].body);
            tap_note("%s by %zu", rows[i].body, piece);
            REQUIRE(ask_pieces(&ask, rows[i].body, len, piece, NULL) == 0);
            CHECK_EQ(ask_prompt_tokens(&ask, len, false), rows[i].tokens);
            CHECK_EQ(ask_prompts(&ask), rows[i].prompts);
        }
    }
}

/* A text costs what it is long; a picture says little by its bytes. */
TEST(a_talk_says_about_how_much_goes_in)
{
#define LONG "iVBORw0K"
    static const struct {
        const char *head, *unit;
        size_t count;
        uint64_t least, most;
    } rows[] = {
        {"\"image_url\":{\"url\":\"data:image/png;base64,", LONG, 100000, 4096, 4120},
        {"\"image_url\":{\"url\":\"data:image/png;base64,", "iVBORw0K\\/+", 100000, 4096, 4120},
        {"\"image_url\" : \r\n\t\"data:image/svg+xml;charset=utf-8;base64,", LONG, 100000, 4096,
         4130},
        {"\"source\":{\"type\":\"base64\",\"data\":\"", LONG, 100000, 4096, 4120},
        {"\"input_audio\":{\"format\":\"wav\", \"data\" : \"", LONG, 100000, 4096, 4120},
        {"\"image_url\":{\"url\":\"data:image/png;base64,", LONG, 100, 200,
         230}, /* too short to be one */
        {"\"source\":{\"type\":\"base64\",\"data\":\"", "a\\n", 30000, 22500, 22530},
        {"\"source\":{\"type\":\"base64\",\"data\":\"", "a\\u000a", 30000, 52500, 52530},
        {"\"source\":{\"type\":\"base64\",\"data\":\"", "\\u0041\\u002f", 30000, 4096, 4130},
        {"\"image_url\":{\"url\":\"https://e.x/1.png", "", 0, 4096, 4110},
        {"\"image_url\":{\"url\":\"\\u0068ttps://e.x/?q=", "-", 1000, 4096, 4370},
        {"\"video_url\":\"file:///v.mp4", "", 0, 4096, 4110},
        {"\"source\":{\"type\":\"url\",\"url\":\"https://e.x/1.png", "", 0, 4096, 4120},
        {"\"text\":\"", "a b ", 100000, 100000, 100020},
        {"\"text\":\"", "\xe4\xbd\xa0\xe5\xa5\xbd", 10000, 15000, 15020},
        {"\"text\":\"", "a\\n", 30000, 22500, 22530},
        {"\"text\":\"", "a\\u0020", 30000, 52500, 52530},
        {"\"text\":\"", LONG, 10000, 20000, 20030},
        {"\"text\":\"data:image/png;base64,", LONG, 10000, 20000, 20030},
        {"\"text\":\"\\\"url\\\":\\\"data:image/png;base64,", LONG, 10000, 20000, 20030},
        {"\"text\":\"url;base64,", LONG, 10000, 20000, 20030},
        {"\"content\":\"", "a/", 10000, 5000, 5030},
        {"\"url\":\"", "a-", 10000, 5000, 5030},
        {"\"url\":\"https://x/?;base64,", "a%", 10000, 5000, 5040},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf body = BUF_INIT(4 * MIB);
        buf_printf(&body, "{\"messages\":[{%s", rows[i].head);
        for (size_t k = 0; k < rows[i].count; k++)
            buf_add_str(&body, rows[i].unit);
        buf_add_str(&body, "\"");
        if (strstr(rows[i].head, ":{"))
            buf_add_str(&body, "}");
        buf_add_str(&body, "}]}");
        static const size_t pieces[] = {7, 95, 1000, 4096, 1000000};
        for (size_t k = 0; k < ARRAY_SIZE(pieces); k++) {
            _cleanup_ask_ struct ask ask = {0};
            struct err err = {0};
            tap_note("%s%zu of %s by %zu: %s", rows[i].head, rows[i].count, rows[i].unit, pieces[k],
                     err.what);
            REQUIRE(ask_pieces(&ask, body.data, body.len, pieces[k], &err) == 0);
            uint64_t tokens = ask_prompt_tokens(&ask, body.len, true);
            tap_note("%s%zu of %s by %zu: %llu", rows[i].head, rows[i].count, rows[i].unit,
                     pieces[k], (unsigned long long)tokens);
            CHECK(tokens >= rows[i].least && tokens <= rows[i].most);
        }
    }
}

/* Of the same bytes an engine makes text where no picture can stand,
 * whatever they are called there. */
TEST(a_picture_is_one_where_it_can_stand)
{
#define URL "data:image/png;base64,%s"
    static const struct {
        const char *body;
        bool is_one;
    } rows[] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
         "{\"image_url\":{\"detail\":\"low\",\"url\":\"" URL "\"}}]}]}",
         true},
        {"{\"messages\":[{\"content\":[{\"type\":\"tool_result\",\"content\":[{\"source\":"
         "{\"type\":\"base64\",\"data\":\"%s\"}}]}]}]}",
         true},
        {"{\"messages\":[{\"content\":[{\"type\":\"image\",\"source\":"
         "{\"data\":\"%s\",\"type\":\"base64\"}}]}]}",
         true},
        {"{\"messages\":[{\"content\":[{\"type\":\"document\",\"source\":"
         "{\"type\":\"text\",\"data\":\"%s\"}}]}]}",
         false},
        {"{\"messages\":[{\"content\":[{\"source\":{\"type\":\"base64\",\"data\":\"AAAA\"}},"
         "{\"source\":{\"data\":\"%s\",\"type\":\"text\"}}]}]}",
         false},
        {"{\"messages\":[{\"content\":[{\"source\":{\"type\":\"base64\",\"type\":\"text\","
         "\"data\":\"%s\"}}]}]}",
         false},
        {"{\"messages\":[{\"content\":[{\"source\":{\"type\":\"base64url\",\"data\":\"%s\"}}]}]}",
         false},
        {"{\"messages\":[{\"content\":[{\"source\":{\"type\":\"base\",\"data\":\"%s\"}}]}]}",
         false},
        {"{\"messages\":[{\"content\":[{\"source\":{\"data\":\"%s\"}}]}]}", false},
        {"{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"x\",\"data\":\"%s\"}]}]}",
         false},
        {"{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"x\",\"url\":\"" URL "\"}]}]}",
         false},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":{\"image_url\":{\"url\":\"" URL "\"}}}]}",
         false},
        {"{\"input\":[{\"type\":\"function_call_output\",\"output\":{\"data\":\"%s\"}}]}", false},
        {"{\"input\":[{\"type\":\"function_call_output\",\"output\":{\"url\":\"" URL "\"}}]}",
         false},
        {"{\"input\":[{\"output\":[{\"type\":\"input_image\",\"image_url\":\"" URL "\"}]}]}", true},
        {"{\"messages\":[{\"content\":[{\"file\":{\"file_data\":\"" URL "\"}}]}]}", true},
        {"{\"input\":[{\"content\":[{\"type\":\"input_image\",\"image_url\":\"" URL "\"}]}]}",
         true},
        {"{\"input\":[{\"output\":{\"type\":\"computer_screenshot\",\"image_url\":\"" URL "\"}}]}",
         false},
        {"{\"tools\":[{\"function\":{\"image_url\":{\"url\":\"" URL "\"}}}]}", false},
        {"{\"tools\":[{\"function\":{\"description\":\"" URL "\"}}]}", false},
        {"{\"url\":\"" URL "\",\"messages\":[]}", false},
        {"{\"system\":[{\"source\":{\"data\":\"%s\"}}],\"messages\":[]}", false},
        {"{\"metadata\":{\"content\":{\"url\":\"" URL "\"}}}", false},
        {"{\"messages\":[{\"content\":[{\"type\":\"tool_use\",\"input\":{\"source\":"
         "{\"data\":\"%s\"}}}]}]}",
         false},
        {"{\"messages\":[{\"tool_calls\":[{\"function\":{\"arguments\":{\"url\":\"" URL "\"}}}]}]}",
         false},
        {"{\"input\":\"" URL "\"}", false},
    };
    _cleanup_free_ char *sound = mem_alloc(100001);
    memset(sound, 'A', 100000);
    sound[100000] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf body = BUF_INIT(1 * MIB);
        const char *at = strstr(rows[i].body, "%s");
        buf_add(&body, rows[i].body, (size_t)(at - rows[i].body));
        buf_add_str(&body, sound);
        buf_add_str(&body, at + 2);
        for (size_t piece = 5; piece < 2 * body.len; piece *= 11) {
            _cleanup_ask_ struct ask ask = {0};
            tap_note("%s by %zu", rows[i].body, piece);
            REQUIRE(ask_pieces(&ask, body.data, body.len, piece, NULL) == 0);
            uint64_t tokens = ask_prompt_tokens(&ask, body.len, true);
            CHECK(rows[i].is_one ? tokens > 4096 && tokens < 4150 : tokens >= 25000);
        }
    }
}

TEST(a_request_says_how_soon_it_wants_to_be_served)
{
    static const struct {
        const char *body;
        enum ask_tier want;
    } rows[] = {
        {"{}", ASK_TIER_DEFAULT},
        {"{\"service_tier\":\"priority\"}", ASK_TIER_PRIORITY},
        {"{\"service_tier\":\"flex\"}", ASK_TIER_FLEX},
        {"{\"service_tier\":\"auto\"}", ASK_TIER_DEFAULT},
        {"{\"service_tier\":null}", ASK_TIER_DEFAULT},
        {"{\"service_tier\":\"a tier that is longer than any\"}", ASK_TIER_DEFAULT},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_ask_ struct ask ask = {0};
        REQUIRE(read_json(&ask, rows[i].body, NULL) == 0);
        CHECK_EQ(ask.tier, rows[i].want);
    }
}

TEST(no_room_is_told)
{
    static const struct ask_change change = {.model = "m"};
    static const char body[] = "{\"model\":\"x\"}";
    _cleanup_arena_ struct arena arena;
    struct patch_list list;
    _cleanup_ask_ struct ask ask = {0};
    arena_init(&arena, 1);
    REQUIRE(read_json(&ask, body, NULL) == 0);
    CHECK_EQ(ask_change_json(&ask, &change, &arena, &list, NULL), -ENOMEM);
}

/* Bodies as clients send them: what is read again is what was wanted. */
TEST(bodies_of_clients_are_read_and_changed)
{
    static const struct ask_change change = {.model = "other", .include_usage = true};
    _cleanup_buf_ struct buf text = BUF_INIT(1 * MIB), out = BUF_INIT(1 * MIB);
    unsigned bodies = 0;
    REQUIRE(file_read(tap_source("tests/data/openai/request-bodies.jsonl"), &text, NULL) == 0);
    char *rest = text.data;
    for (char *line = strsep(&rest, "\n"); line && *line; line = strsep(&rest, "\n"), bodies++) {
        _cleanup_arena_ struct arena arena;
        struct patch_list list;
        _cleanup_ask_ struct ask ask = {0}, again = {0};
        char *body = strstr(line, "\"body\":") + strlen("\"body\":");
        size_t len = strlen(body) - 1;
        tap_note("%s", body);
        arena_init(&arena, 64 * KIB);
        REQUIRE(ask_whole(&ask, body, len, NULL) == 0);
        REQUIRE(ask_change_json(&ask, &change, &arena, &list, NULL) == 0);
        join(&list, body, len, &out);
        REQUIRE(ask_pieces(&again, out.data, out.len, 7, NULL) == 0);
        CHECK_STR(again.model, "other");
        CHECK_EQ(again.include_usage, ask.stream);
        CHECK_EQ(again.max_tokens, ask.max_tokens);
    }
    CHECK_EQ(bodies, 19);
}

static int
read_form(struct multipart *form, const char *body)
{
    static const char type[] = "multipart/form-data; boundary=b";
    int r = multipart_init(form, type, strlen(type), NULL);
    r = r == 0 ? multipart_read(form, body, strlen(body), NULL) : r;
    return r == 0 ? multipart_end(form, NULL) : r;
}

#define PART(name, value) \
    "--b\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"

TEST(forms_are_asked_and_changed_likewise)
{
    static const struct {
        const char *body, *want;
    } rows[] = {
        {PART("model", "x") PART("stream", "true") "--b--\r\n",
         PART("stream_include_usage", "true") PART("model", "m")
             PART("stream", "true") "--b--\r\n"},
        {"hi\r\n" PART("file", "f") "--b--", "hi\r\n" PART("model", "m") PART("file", "f") "--b--"},
        {PART("stream", "1") PART("stream_include_usage", "False") PART("model", "m") "--b--",
         PART("stream", "1") PART("stream_include_usage", "true") PART("model", "m") "--b--"},
    };
    static const struct ask_change change = {.model = "m", .include_usage = true};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(64 * KIB);
        _cleanup_arena_ struct arena arena;
        struct multipart form;
        struct patch_list list;
        _cleanup_ask_ struct ask ask = {0};
        arena_init(&arena, 64 * KIB);
        REQUIRE(read_form(&form, rows[i].body) == 0);
        REQUIRE(ask_read_form(&ask, &form, NULL) == 0);
        REQUIRE(ask_change_form(&form, &ask, &change, &arena, &list) == 0);
        join(&list, rows[i].body, strlen(rows[i].body), &out);
        CHECK_STR(out.data, rows[i].want);
        REQUIRE(read_form(&form, out.data) == 0);
    }
}

TEST(a_form_says_true_or_false_in_few_ways)
{
    struct multipart form;
    _cleanup_ask_ struct ask ask = {0};
    struct err err = {0};
    REQUIRE(read_form(&form, PART("stream", "yes") "--b--") == 0);
    CHECK_EQ(ask_read_form(&ask, &form, &err), -EINVAL);
    CHECK_STR(err.what, "\"stream\" is yes, expected true or false");
}
