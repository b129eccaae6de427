#include "sim/schema.h"

#include "tap.h"

static void
check(const char *schema, const char *want)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf out = BUF_INIT(64 * KIB);
    struct json_writer w;
    struct value *tree;
    arena_init(&arena, 1 * MIB);
    tap_note("%s", schema);
    REQUIRE(json_parse(&arena, schema, strlen(schema), JSON_STRICT, &tree, NULL, NULL) == 0);
    json_init(&w, &out, false);
    schema_write(&w, NULL, tree, "hi");
    CHECK_STR(out.data, want);
}

TEST(a_value_fits_its_schema)
{
    static const struct {
        const char *schema, *want;
    } rows[] = {
        {"{}", "\"hi\""},
        {"{\"type\":\"string\"}", "\"hi\""},
        {"{\"type\":\"boolean\"}", "true"},
        {"{\"type\":\"null\"}", "null"},
        {"{\"type\":[\"integer\",\"null\"]}", "0"},
        {"{\"type\":\"integer\",\"minimum\":-3}", "-3"},
        {"{\"type\":\"number\",\"exclusiveMinimum\":4}", "5"},
        {"{\"enum\":[\"red\",\"blue\"]}", "\"red\""},
        {"{\"const\":{\"a\":[1]}}", "{\"a\":[1]}"},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}", "[0]"},
        {"{\"type\":\"array\"}", "[]"},
        {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{}}}", "{\"a\":0,\"b\":\"hi\"}"},
        {"{\"anyOf\":[{\"type\":\"null\"},{}]}", "null"},
        {"{\"$ref\":\"#/$defs/X\",\"$defs\":{\"X\":{\"type\":\"boolean\"}}}", "true"},
        {"{\"$ref\":\"#/$defs/Y\"}", "\"hi\""},
        {"{\"$ref\":\"elsewhere\"}", "\"hi\""},
        {"{\"type\":7,\"properties\":[1],\"enum\":{},\"anyOf\":[]}", "{}"},
        {"[1]", "\"hi\""},
        {"true", "\"hi\""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        check(rows[i].schema, rows[i].want);
}

/* A schema that refers to itself has an end. */
TEST(schemas_without_end_are_cut)
{
    check("{\"$ref\":\"#\"}", "null");
    check("{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}", "[[[[[[[[null]]]]]]]]");
}

/* Ten times as much with each level would be a thousand million values. */
TEST(schemas_that_multiply_are_cut)
{
    static const char schema[] =
        "{\"properties\":{\"a\":{\"$ref\":\"#\"},\"b\":{\"$ref\":\"#\"},\"c\":{\"$ref\":\"#\"},"
        "\"d\":{\"properties\":{\"a\":{\"$ref\":\"#\"}}},\"e\":{\"$ref\":\"#\"},\"f\":{\"$ref\":\"#"
        "\"},"
        "\"g\":{\"$ref\":\"#\"},\"h\":{\"$ref\":\"#\"},\"i\":{\"$ref\":\"#\"},\"j\":{\"$ref\":\"#"
        "\"}}}";
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf out = BUF_INIT(1 * MIB);
    struct json_writer w;
    struct value *tree;
    arena_init(&arena, 1 * MIB);
    REQUIRE(json_parse(&arena, schema, strlen(schema), JSON_STRICT, &tree, NULL, NULL) == 0);
    json_init(&w, &out, false);
    schema_write(&w, NULL, tree, "hi");
    CHECK_EQ(buf_error(&out), 0);
    CHECK(out.len > 10000 && out.len < 1 * MIB);
}
