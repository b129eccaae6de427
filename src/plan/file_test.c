#include "base/text.h"
#include "plan/test_int.h"

#include <errno.h>

#define ROOM (256 * KIB)

#define WHOLE                                        \
    {                                                \
        "/opt/citadel/vllm-env-0.14.1", "0.14.1", "" \
    }
static const struct plan_engine whole = WHOLE;

static bool
make_one(struct bench *b)
{
    if (!bench_open(b, "models: {a: {path: /m/8, gpu_memory_fraction: 0.5}, b: {path: /m/8},"
                       " c: {path: /m/90, residency: always}, d: {engine: sim}}"))
        return false;
    bench_add_model(b, "/m/8", 8);
    bench_add_model(b, "/m/90", 90);
    bench_add_gpus(b, "80 !80");
    b->gpus[1].minor.known = false;
    b->input.vllm = &whole;
    return bench_plan(b);
}

static int
read_back(struct arena *arena, const char *text, struct plan_engine *ret, struct err *reterr)
{
    struct value *root;
    int r = json_parse(arena, text, strlen(text), JSON_STRICT, &root, NULL, reterr);
    return r < 0 ? r : plan_read_engine(root, arena, ret, reterr);
}

TEST(its_engine_reads_back_as_it_was_printed)
{
    static const struct plan_engine rows[] = {
        WHOLE, {"", "", ""}, {"", "", "there is none"}, {"/opt/env", "", "it is not whole"}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_bench_ struct bench b;
        _cleanup_buf_ struct buf text = BUF_INIT(ROOM);
        struct plan_engine back;
        struct err err = {0};
        REQUIRE(make_one(&b));
        b.plan.vllm = rows[i];
        bench_print(&b.plan, &text);
        CHECK_EQ(read_back(&b.arena, text.data, &back, &err), 0);
        CHECK_STR(err.what, "");
        CHECK_STR(back.env, rows[i].env);
        CHECK_STR(back.version, rows[i].version);
        CHECK_STR(back.trouble, rows[i].trouble);
    }
}

TEST(who_waits_for_whom_reads_back)
{
    static const char *const holders[] = {"b", "c"};
    _cleanup_bench_ struct bench b;
    _cleanup_buf_ struct buf text = BUF_INIT(ROOM);
    struct plan_waiting *items;
    struct value *root;
    size_t count;
    REQUIRE(make_one(&b));
    struct plan_model models[] = {b.plan.models[0], b.plan.models[1]};
    models[0].held_by = holders;
    models[0].held_by_count = 2;
    models[1].held_by_count = 0;
    b.plan.models = models;
    b.plan.model_count = 2;
    bench_print(&b.plan, &text);
    REQUIRE(json_parse(&b.arena, text.data, text.len, JSON_STRICT, &root, NULL, NULL) == 0);
    CHECK_EQ(plan_read_waiting(root, &b.arena, &items, &count, NULL), 0);
    REQUIRE(count == 1 && items[0].held_by_count == 2);
    CHECK_STR(items[0].name, "a");
    CHECK_STR(items[0].held_by[0], "b");
    CHECK_STR(items[0].held_by[1], "c");
}

TEST(who_waits_for_nobody_that_has_a_name_is_an_error)
{
    static const char *const rows[] = {
        "{}",
        "{\"format\":2,\"models\":[]}",
        "{\"format\":1,\"models\":[{\"held_by\":[]}]}",
        "{\"format\":1,\"models\":[{\"name\":\"a\",\"held_by\":[null]}]}",
        "{\"format\":1,\"models\":[{\"name\":\"a\",\"held_by\":[\"\\u001b\"]}]}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        struct plan_waiting *items;
        struct value *root;
        size_t count;
        arena_init(&arena, ROOM);
        tap_note("%s", rows[i]);
        REQUIRE(json_parse(&arena, rows[i], strlen(rows[i]), JSON_STRICT, &root, NULL, NULL) == 0);
        CHECK_EQ(plan_read_waiting(root, &arena, &items, &count, NULL), -err_row(ERR_SYNTAX)->err);
    }
}

/* With `from` in it replaced, once. */
static bool
change(const struct buf *text, const char *from, const char *to, struct buf *out)
{
    const char *at = strstr(text->data, from);
    buf_clear(out);
    if (!at)
        return false;
    buf_add(out, text->data, (size_t)(at - text->data));
    buf_add_str(out, to);
    buf_add_str(out, at + strlen(from));
    return true;
}

TEST(what_does_not_add_up_is_refused)
{
    static const struct {
        const char *from, *to, *says;
    } rows[] = {
        {"\"format\": 1", "\"format\": 2", "its format is another one"},
        {"\"format\": 1", "\"former\": 1", "its format is another one"},
        {"\"env\": \"/opt", "\"env\": \"opt", "where vLLM is is not told"},
        {"\"env\": \"/opt", "\"env\": \"/\\u001b[2J", "where vLLM is is not told"},
        {"\"env\": \"/opt/citadel/vllm-env-0.14.1\"", "\"env\": null",
         "vLLM is there and is not, or neither"},
        {"\"version\": \"0.14.1\"", "\"version\": null", "vLLM is there and is not, or neither"},
        {"\"version\": \"0.14.1\"", "\"version\": 14", "where vLLM is is not told"},
        {"\"trouble\": null", "\"trouble\": \"it is gone\"",
         "vLLM is there and is not, or neither"},
    };
    _cleanup_bench_ struct bench b;
    _cleanup_buf_ struct buf text = BUF_INIT(ROOM), changed = BUF_INIT(ROOM);
    REQUIRE(make_one(&b));
    bench_print(&b.plan, &text);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct plan_engine engine;
        struct err err = {0};
        tap_note("%s for %s: %s", rows[i].to, rows[i].from, text.data);
        REQUIRE(change(&text, rows[i].from, rows[i].to, &changed));
        CHECK_EQ(read_back(&b.arena, changed.data, &engine, &err), -EBADMSG);
        CHECK_EQ(err.id, ERR_SYNTAX);
        CHECK(text_ends(err.what, rows[i].says));
    }
}

TEST(too_little_memory_is_an_error)
{
    _cleanup_bench_ struct bench b;
    struct plan plan;
    struct err err;
    REQUIRE(make_one(&b));
    for (size_t room = 4 * KIB; room < 16 * KIB; room += 512) {
        _cleanup_arena_ struct arena arena;
        arena_init(&arena, room);
        int made = plan_make(&b.input, &arena, &plan, &err);
        CHECK(made == 0 || made == -EFBIG);
    }
    _cleanup_arena_ struct arena none;
    arena_init(&none, 1);
    CHECK(plan_make(&b.input, &none, &plan, &err) < 0);
    CHECK_EQ(err.id, ERR_TOO_LARGE);
}
