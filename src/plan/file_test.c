#include "plan/test_int.h"

#include <errno.h>

#define ROOM (256 * KIB)

static const struct plan_engine whole = {"/opt/citadel/vllm-env-0.14.1", "0.14.1", ""};

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
read_back(struct arena *arena, const char *text, struct plan *ret_plan, struct err *reterr)
{
    struct value *root;
    int r = json_parse(arena, text, strlen(text), JSON_STRICT, &root, NULL, reterr);
    return r < 0 ? r : plan_read(root, arena, ret_plan, reterr);
}

TEST(a_plan_reads_back_as_it_was_printed)
{
    _cleanup_bench_ struct bench b;
    _cleanup_buf_ struct buf text = BUF_INIT(ROOM), again = BUF_INIT(ROOM);
    struct plan back;
    struct err err = {0};
    REQUIRE(make_one(&b));
    bench_print(&b.plan, &text);
    CHECK_EQ(read_back(&b.arena, text.data, &back, &err), 0);
    CHECK_STR(err.what, "");
    bench_print(&back, &again);
    CHECK_STR(again.data, text.data);
    CHECK_STR(back.vllm.env, whole.env);
    CHECK_STR(back.vllm.version, whole.version);
    CHECK_EQ(back.resident_count, b.plan.resident_count);
    CHECK_EQ(back.on_demand_count, b.plan.on_demand_count);
    CHECK_EQ(back.conflict_count, 1);
    CHECK(back.models[0].parts[0].gpu == &back.gpus[0]);
    CHECK_EQ(back.gpus[1].minor, PLAN_NO_MINOR);
    CHECK(back.models[2].full_length_requests < 0);
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
        {"\"fingerprint\": \"", "\"fingerprint\": \"0", "it does not tell what it was made from"},
        {"\"fingerprint\": \"", "\"fingerprint\": \"X", "it does not tell what it was made from"},
        {"\"env\": \"/opt", "\"env\": \"opt", "where vLLM is is not told"},
        {"\"env\": \"/opt/citadel/vllm-env-0.14.1\"", "\"env\": null",
         "vLLM is there and is not, or neither"},
        {"\"version\": \"0.14.1\"", "\"version\": null", "vLLM is there and is not, or neither"},
        {"\"version\": \"0.14.1\"", "\"version\": 14", "where vLLM is is not told"},
        {"\"trouble\": null", "\"trouble\": \"it is gone\"",
         "vLLM is there and is not, or neither"},
        {"\"index\": 1", "\"index\": 0", "a GPU has no index of its own"},
        {"\"minor\": 0", "\"minor\": 4294967295", "the number of a GPU's device is none"},
        {"\"minor\": 0", "\"minor\": -1", "the number of a GPU's device is none"},
        {"\"name\": \"NVIDIA", "\"name\": \"\\u001b[2J",
         "a GPU lacks a text, or has one that cannot be shown"},
        {"\"trouble\": null,", "\"trouble\": \"\",",
         "a GPU lacks a text, or has one that cannot be shown"},
        {"\"total_bytes\": 85899345920", "\"total_bytes\": 85899345920000000",
         "the memory of a GPU is not told, or more is promised than it has"},
        {"\"promised_bytes\": 42949672960", "\"promised_bytes\": 85899345921",
         "the memory of a GPU is not told, or more is promised than it has"},
        {"\"promised_bytes\": 42949672960", "\"promised_bytes\": 42949672961",
         "what is promised of a GPU is not what its models have"},
        {"\"name\": \"a\"", "\"name\": \"../a\"", "a model has no name of its own"},
        {"\"name\": \"b\"", "\"name\": \"a\"", "a model has no name of its own"},
        {"\"fate\": \"resident\"", "\"fate\": \"gone\"", "what becomes of a model is not told"},
        {"\"fate\": \"resident\"", "\"fate\": \"broken\"",
         "a model that does not run has GPUs, or one that does is a conflict"},
        {"\"conflict\": false", "\"conflict\": true",
         "a model that does not run has GPUs, or one that does is a conflict"},
        {"\"priority\": 50", "\"priority\": -1", "a number of a model is none"},
        {"\"claim_bytes\": 42949672960", "\"claim_bytes\": 42949672959",
         "a number of a model is none"},
        {"\"gpu\": 0", "\"gpu\": 2", "a part is of a GPU that is not listed, or twice of one"},
        {"\"parts\": [", "\"parts\": [{\"gpu\": 0, \"bytes\": 1},",
         "a part is of a GPU that is not listed, or twice of one"},
        {"\"bytes\": 42949672960", "\"bytes\": 0", "a part is not of the size of its GPU"},
        {"\"held_by\": [\n        \"a\"", "\"held_by\": [\n        \"c\"",
         "held_by: no resident model has that name"},
        {"\"held_by\": []", "\"held_by\": [\"a\"]",
         "held_by: a model waits for others that cannot hold its memory"},
        {"\"models\": [", "\"moddels\": [", "it has no lists of GPUs and models, or too long ones"},
    };
    _cleanup_bench_ struct bench b;
    _cleanup_buf_ struct buf text = BUF_INIT(ROOM), changed = BUF_INIT(ROOM);
    REQUIRE(make_one(&b));
    bench_print(&b.plan, &text);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct plan plan;
        struct err err = {0};
        tap_note("%s for %s: %s", rows[i].to, rows[i].from, text.data);
        REQUIRE(change(&text, rows[i].from, rows[i].to, &changed));
        CHECK_EQ(read_back(&b.arena, changed.data, &plan, &err), -EBADMSG);
        CHECK_EQ(err.id, ERR_SYNTAX);
        const char *says = strrchr(err.what, '\0') - MIN(strlen(err.what), strlen(rows[i].says));
        CHECK_STR(says, rows[i].says);
    }
}

TEST(too_little_memory_is_an_error)
{
    _cleanup_bench_ struct bench b;
    _cleanup_buf_ struct buf text = BUF_INIT(ROOM);
    struct plan plan;
    struct err err;
    REQUIRE(make_one(&b));
    bench_print(&b.plan, &text);
    for (size_t room = 4 * KIB; room < 16 * KIB; room += 512) {
        _cleanup_arena_ struct arena arena;
        arena_init(&arena, room);
        int read = read_back(&arena, text.data, &plan, &err);
        CHECK(read == 0 || read == -EBADMSG || read == -EFBIG);
        arena_finish(&arena);
        arena_init(&arena, room);
        int made = plan_make(&b.input, &arena, &plan, &err);
        CHECK(made == 0 || made == -EFBIG);
    }
    _cleanup_arena_ struct arena none;
    arena_init(&none, 1);
    CHECK(plan_make(&b.input, &none, &plan, &err) < 0);
    CHECK_EQ(err.id, ERR_TOO_LARGE);
}
