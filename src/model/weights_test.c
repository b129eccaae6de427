#include "base/text.h"
#include "fmt/safetensors.h"
#include "model/demand.h"
#include "model/test_int.h"

#include <inttypes.h>

#define CONFIG                                                                                    \
    "\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 8, \"intermediate_size\": 16, "  \
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"vocab_size\": 10, \"torch_dtype\": " \
    "\"bfloat16\""

struct tensor {
    const char *name;
    const char *dtype;
    uint64_t elements;
    uint64_t bytes;
};

/* The tensors, up to one without a name, one behind the other. */
static void
write_tensors(const char *dir, const char *name, const struct tensor *tensors, int64_t extra_bytes)
{
    _cleanup_buf_ struct buf header = BUF_INIT(MIB);
    uint64_t at = 0;
    buf_add_str(&header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (const struct tensor *t = tensors; t->name; t++) {
        buf_printf(&header,
                   ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%" PRIu64 "],\"data_offsets\":[%" PRIu64
                   ",%" PRIu64 "]}",
                   t->name, t->dtype, t->elements, at, at + t->bytes);
        at += t->bytes;
    }
    buf_add_char(&header, '}');
    test_write_safetensors(dir, name, header.data, at, extra_bytes);
}

#define WRITE(dir, name, extra, ...) \
    write_tensors(dir, name, (const struct tensor[]){__VA_ARGS__, {NULL, NULL, 0, 0}}, extra)

/* A directory that lacks nothing but weights. */
static void
make_dir(char dir[TEST_PATH], const char *name, const char *more)
{
    char config[4096];
    test_dir(dir, name);
    (void)snprintf(config, sizeof(config), "{" CONFIG "%s}", more);
    test_write_str(dir, "config.json", config);
    test_write_str(dir, "tokenizer.json", "{}");
}

static void
write_index(const char *dir, const char *map)
{
    char index[4096];
    (void)snprintf(index, sizeof(index),
                   "{\"metadata\": {\"total_size\": 96}, \"weight_map\": {%s}}", map);
    test_write_str(dir, "model.safetensors.index.json", index);
}

/* All problems with their mending, and the numbers of the weights. */
static void
check(const char *dir, const char *want, const char *want_numbers)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf got = BUF_INIT(MIB);
    char numbers[200];
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, dir);
    for (size_t i = 0; i < m.problems_count; i++)
        buf_printf(&got, "%s: %s\n", model_problem_rows[m.problems[i].id].text, m.problems[i].what);
    CHECK_STR(got.data, want);
    CHECK_EQ(model_is_whole(&m), m.weights.whole && !strstr(want, "tokenizer"));
    (void)snprintf(numbers, sizeof(numbers),
                   "%s %zu/%zu files, %zu tensors, %" PRIu64 " bytes, gpu %" PRId64
                   ", params %" PRId64 ", left out %" PRIu64,
                   model_format_text(m.weights.format), m.weights.files, m.weights.files_wanted,
                   m.weights.tensors, m.weights.bytes, (int64_t)m.weights.gpu_bytes,
                   (int64_t)m.weights.params, m.weights.left_out_bytes);
    CHECK_STR(numbers, want_numbers);
}

TEST(one_file)
{
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    WRITE(dir, "model.safetensors", 0, {"a", "BF16", 16, 32}, {"b", "F16", 8, 16});
    check(dir, "", "safetensors 1/1 files, 2 tensors, 48 bytes, gpu 48, params 24, left out 0");
}

TEST(shards_by_index)
{
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    write_index(dir, "\"a\": \"model-00001-of-00002.safetensors\", \"b\": "
                     "\"model-00002-of-00002.safetensors\"");
    WRITE(dir, "model-00001-of-00002.safetensors", 0, {"a", "BF16", 16, 32});
    WRITE(dir, "model-00002-of-00002.safetensors", 0, {"b", "BF16", 32, 64});
    check(dir, "", "safetensors 2/2 files, 2 tensors, 96 bytes, gpu 96, params 48, left out 0");
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, MIB);
    CHECK_EQ(test_read(&arena, dir).weights.declared_bytes, 96);
}

TEST(shards_by_number)
{
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    WRITE(dir, "model-00001-of-00002.safetensors", 0, {"a", "BF16", 16, 32});
    WRITE(dir, "model-00002-of-00002.safetensors", 0, {"b", "BF16", 32, 64});
    check(dir, "", "safetensors 2/2 files, 2 tensors, 96 bytes, gpu 96, params 48, left out 0");
}

TEST(gpt_oss_counts_shards_from_zero)
{
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    WRITE(dir, "model-00000-of-00002.safetensors", 0, {"a", "BF16", 16, 32});
    WRITE(dir, "model-00001-of-00002.safetensors", 0, {"b", "BF16", 16, 32});
    WRITE(dir, "model-00002-of-00002.safetensors", 0, {"c", "BF16", 16, 32});
    check(dir, "", "safetensors 3/3 files, 3 tensors, 96 bytes, gpu 96, params 48, left out 0");
}

TEST(each_missing_shard_is_named)
{
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    write_index(dir, "\"a\": \"model-00001-of-00004.safetensors\", \"b\": "
                     "\"model-00002-of-00004.safetensors\", \"c\": "
                     "\"model-00003-of-00004.safetensors\"");
    WRITE(dir, "model-00002-of-00004.safetensors", 0, {"b", "BF16", 16, 32});
    check(dir,
          "shard-missing: model-00001-of-00004.safetensors is missing\n"
          "shard-missing: model-00003-of-00004.safetensors is missing\n"
          "shard-missing: model-00004-of-00004.safetensors is missing\n",
          "safetensors 1/4 files, 1 tensors, 32 bytes, gpu 2960, params -1, left out 0");
    make_dir(dir, "n", "");
    WRITE(dir, "model-00002-of-00003.safetensors", 0, {"b", "BF16", 16, 32});
    check(dir,
          "shard-missing: model-00001-of-00003.safetensors is missing, as the numbers of the "
          "others show\n"
          "shard-missing: model-00003-of-00003.safetensors is missing, as the numbers of the "
          "others show\n",
          "safetensors 1/3 files, 1 tensors, 32 bytes, gpu 2960, params -1, left out 0");
}

TEST(missing_shards_say_how_to_get_them)
{
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH], want[2 * TEST_PATH];
    make_dir(dir, "m", "");
    WRITE(dir, "model-00002-of-00002.safetensors", 0, {"b", "BF16", 16, 32});
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, dir);
    (void)snprintf(want, sizeof(want),
                   "hf download REPOSITORY model-00001-of-00002.safetensors --local-dir %s", dir);
    REQUIRE(m.problems_count == 1);
    CHECK_STR(m.problems[0].fix, want);
    CHECK_STR(m.problems[0].file, "model-00001-of-00002.safetensors");
}

TEST(shards_that_are_cut_or_too_long)
{
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    WRITE(dir, "model-00001-of-00004.safetensors", -1, {"a", "BF16", 1000, 2000});
    WRITE(dir, "model-00002-of-00004.safetensors", 5, {"b", "BF16", 1000, 2000});
    WRITE(dir, "model-00003-of-00004.safetensors", -2050, {"c", "BF16", 1000, 2000});
    test_write_str(dir, "model-00004-of-00004.safetensors", "abc");
    check(
        dir,
        "shard-truncated: model-00001-of-00004.safetensors is too short: it has 2099 bytes and "
        "needs 2100\n"
        "shard-too-long: model-00002-of-00004.safetensors is too long: it has 2105 bytes and "
        "needs 2100\n"
        "shard-truncated: model-00003-of-00004.safetensors: it has 50 bytes, and its header alone "
        "needs 100\n"
        "shard-truncated: model-00004-of-00004.safetensors: it has 3 bytes, fewer than the length "
        "of a header takes\n",
        "safetensors 4/4 files, 2 tensors, 4000 bytes, gpu 2960, params -1, left out 0");
}

TEST(headers_that_cannot_be_read)
{
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    test_write(dir, "model-00001-of-00005.safetensors", "\0\0\0\0\0\0\0\x80{}", 10);
    test_write_safetensors(dir, "model-00002-of-00005.safetensors", "{\"a\":}", 0, 0);
    test_write_safetensors(dir, "model-00003-of-00005.safetensors",
                           "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                           "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
                           6, 0);
    test_write_safetensors(
        dir, "model-00004-of-00005.safetensors",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 0, 0);
    test_write(dir, "model-00005-of-00005.safetensors", "\x01\0\0\0\0\0\0\0{", 9);
    check(dir,
          "bad-header: model-00001-of-00005.safetensors: its header claims 9223372036854775808 "
          "bytes, more than the 100000000 that are allowed\n"
          "bad-header: model-00002-of-00005.safetensors: its header, column 6: expected a value, "
          "found '}'\n"
          "bad-header: model-00003-of-00005.safetensors: tensor 'b' overlaps tensor 'a'\n"
          "bad-header: model-00004-of-00005.safetensors: its header does not begin with '{'\n"
          "bad-header: model-00005-of-00005.safetensors: its header, column 2: expected a name in "
          "quotes, or '}', found the end of the document\n",
          "safetensors 5/5 files, 0 tensors, 0 bytes, gpu 2960, params -1, left out 0");
}

TEST(tensors_that_the_index_promised)
{
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    write_index(dir, "\"a\": \"model-00001-of-00002.safetensors\", \"b\": "
                     "\"model-00002-of-00002.safetensors\", \"c\": "
                     "\"model-00001-of-00002.safetensors\"");
    WRITE(dir, "model-00001-of-00002.safetensors", 0, {"a", "BF16", 16, 32});
    WRITE(dir, "model-00002-of-00002.safetensors", 0, {"b", "BF16", 16, 32}, {"c", "U8", 1, 1});
    check(dir,
          "tensor-missing: model-00001-of-00002.safetensors lacks the tensor c, which the index "
          "places in it\n",
          "safetensors 2/2 files, 3 tensors, 65 bytes, gpu 2960, params -1, left out 0");
}

TEST(many_missing_tensors_are_counted)
{
    _cleanup_buf_ struct buf map = BUF_INIT(MIB);
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    for (int i = 0; i < 100; i++)
        buf_printf(&map, "%s\"t%d\": \"model.safetensors\"", i ? "," : "", i);
    write_index(dir, map.data);
    WRITE(dir, "model.safetensors", 0, {"t0", "BF16", 16, 32});
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, dir);
    REQUIRE(m.problems_count == 9);
    CHECK_STR(m.problems[0].what,
              "model.safetensors lacks the tensor t1, which the index places in it");
    CHECK_STR(m.problems[8].what,
              "model.safetensors lacks 91 more tensors that the index places in it");
}

TEST(indexes_that_cannot_be_used)
{
    static const struct {
        const char *index, *want;
    } rows[] = {
        {"{",
         "bad-json: model.safetensors.index.json:1:2: expected a name in quotes, or '}', found "
         "the end of the document\n"},
        {"[]", "bad-json: model.safetensors.index.json:1:1: a list, where a map should be\n"},
        {"{}", "bad-value: model.safetensors.index.json has no weight_map\n"},
        {"{\"weight_map\": []}", "bad-value: model.safetensors.index.json has no weight_map\n"},
        {"{\"weight_map\": {}}", "bad-value: model.safetensors.index.json has no weight_map\n"},
        {"{\"weight_map\": {\"a\": 7}}",
         "bad-value: model.safetensors.index.json:1:22: tensor a is "
         "placed in a number, which is no file name\n"},
        {"{\"weight_map\": {\"a\": \"../x.safetensors\"}}",
         "bad-value: model.safetensors.index.json:1:22: tensor a is placed in ../x.safetensors, "
         "which is no file name\n"},
        {"{\"weight_map\": {\"a\": \"\"}}",
         "bad-value: model.safetensors.index.json:1:22: tensor a "
         "is placed in , which is no file name\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char dir[TEST_PATH], name[8];
        (void)snprintf(name, sizeof(name), "m%zu", i);
        tap_note("%s", rows[i].index);
        make_dir(dir, name, "");
        test_write_str(dir, "model.safetensors.index.json", rows[i].index);
        WRITE(dir, "model.safetensors", 0, {"a", "BF16", 16, 32});
        check(dir, rows[i].want,
              "safetensors 1/1 files, 1 tensors, 32 bytes, gpu 2960, params -1, left out 0");
    }
}

TEST(files_that_are_none)
{
    char dir[TEST_PATH], path[2 * TEST_PATH];
    make_dir(dir, "m", "");
    test_write_str(dir, "model-00001-of-00006.safetensors",
                   "version https://git-lfs.github.com/spec/v1\n"
                   "oid sha256:0d1f\nsize 4976698672\n");
    test_write_str(dir, "model-00002-of-00006.safetensors", "");
    (void)snprintf(path, sizeof(path), "%s/model-00003-of-00006.safetensors", dir);
    CHECK(symlink("../blobs/0d1f", path) == 0);
    (void)snprintf(path, sizeof(path), "%s/model-00004-of-00006.safetensors", dir);
    CHECK(mkdir(path, 0755) == 0);
    (void)snprintf(path, sizeof(path), "%s/model-00005-of-00006.safetensors", dir);
    CHECK(mkfifo(path, 0644) == 0);
    (void)snprintf(path, sizeof(path), "%s/model-00006-of-00006.safetensors", dir);
    CHECK(symlink("model-00006-of-00006.safetensors", path) == 0);
    check(
        dir,
        "lfs-pointer: model-00001-of-00006.safetensors is a git-lfs pointer: its 4976698672 bytes "
        "were never fetched\n"
        "empty-file: model-00002-of-00006.safetensors is empty\n"
        "dangling-link: model-00003-of-00006.safetensors is a link to ../blobs/0d1f, which is not "
        "there\n"
        "not-a-file: model-00004-of-00006.safetensors is a directory, not a file\n"
        "not-a-file: model-00005-of-00006.safetensors is a pipe, socket or device, not a file\n"
        "dangling-link: model-00006-of-00006.safetensors is a link to "
        "model-00006-of-00006.safetensors, which leads in a circle\n",
        "safetensors 0/6 files, 0 tensors, 0 bytes, gpu 2960, params -1, left out 0");
}

TEST(links_are_followed)
{
    char dir[TEST_PATH], blobs[TEST_PATH], path[2 * TEST_PATH];
    make_dir(dir, "m", "");
    test_dir(blobs, "blobs");
    WRITE(blobs, "0d1f", 0, {"a", "BF16", 16, 32});
    (void)snprintf(path, sizeof(path), "%s/model.safetensors", dir);
    CHECK(symlink("../blobs/0d1f", path) == 0);
    check(dir, "", "safetensors 1/1 files, 1 tensors, 32 bytes, gpu 32, params 16, left out 0");
}

TEST(weights_are_counted_once)
{
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    write_index(dir, "\"a\": \"model-00001-of-00001.safetensors\"");
    WRITE(dir, "model-00001-of-00001.safetensors", 0, {"a", "BF16", 16, 32});
    WRITE(dir, "consolidated.safetensors", 0, {"x", "BF16", 16, 32});
    test_write_str(dir, "pytorch_model.bin", "pickle");
    test_write_str(dir, "training_args.bin", "not weights");
    check(dir, "", "safetensors 1/1 files, 1 tensors, 32 bytes, gpu 32, params 16, left out 134");
    make_dir(dir, "n", "");
    WRITE(dir, "model.safetensors", 0, {"a", "BF16", 16, 32});
    WRITE(dir, "model-00001-of-00002.safetensors", 0, {"a", "BF16", 16, 32});
    check(dir, "", "safetensors 1/1 files, 1 tensors, 32 bytes, gpu 32, params 16, left out 128");
    make_dir(dir, "o", "");
    WRITE(dir, "consolidated.safetensors", 0, {"x", "BF16", 16, 32});
    check(dir, "", "safetensors 1/1 files, 1 tensors, 32 bytes, gpu 32, params 16, left out 0");
}

TEST(wide_floats_load_narrow)
{
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    WRITE(dir, "model.safetensors", 0, {"a", "F32", 100, 400}, {"b", "F64", 10, 80},
          {"c", "BF16", 10, 20}, {"d", "I64", 1, 8});
    check(dir, "", "safetensors 1/1 files, 4 tensors, 508 bytes, gpu 248, params 121, left out 0");
}

TEST(buffers_and_drafts_are_no_parameters)
{
    char dir[TEST_PATH];
    make_dir(dir, "m", ", \"num_nextn_predict_layers\": 1, \"tie_word_embeddings\": true");
    WRITE(dir, "model.safetensors", 0, {"model.embed_tokens.weight", "BF16", 100, 200},
          {"model.layers.0.self_attn.rotary_emb.inv_freq", "F32", 10, 40},
          {"model.layers.1.mlp.up_proj.weight", "BF16", 10, 20},
          {"model.layers.2.mlp.up_proj.weight", "BF16", 10, 20}, {"mtp.fc.weight", "BF16", 10, 20},
          {"lm_head.weight", "BF16", 100, 200});
    check(dir, "", "safetensors 1/1 files, 6 tensors, 500 bytes, gpu 240, params 110, left out 0");
}

TEST(quantised_weights_are_counted_unpacked)
{
    static const struct {
        const char *config;
        struct tensor tensors[6];
        const char *numbers;
    } rows[] = {
        {"\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 128",
         {{"q_proj.qweight", "I32", 128, 512},
          {"q_proj.qzeros", "I32", 8, 32},
          {"q_proj.scales", "F16", 64, 128},
          {"norm.weight", "F16", 10, 20}},
         "4 tensors, 692 bytes, gpu 692, params 1034"},
        {"\"quant_method\": \"gptq\", \"bits\": 8, \"group_size\": 128",
         {{"q_proj.qweight", "I32", 128, 512},
          {"q_proj.qzeros", "I32", 8, 32},
          {"q_proj.g_idx", "I32", 8, 32},
          {"q_proj.scales", "F16", 64, 128},
          {"norm.weight", "F16", 10, 20}},
         "5 tensors, 724 bytes, gpu 724, params 522"},
        {"\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]",
         {{"q_proj.weight", "F8_E4M3", 1000, 1000},
          {"q_proj.weight_scale_inv", "F32", 4, 16},
          {"norm.weight", "BF16", 10, 20}},
         "3 tensors, 1036 bytes, gpu 1036, params 1010"},
        {"\"quant_method\": \"mxfp4\"",
         {{"experts.gate_up_proj_blocks", "U8", 512, 512},
          {"experts.gate_up_proj_scales", "U8", 32, 32},
          {"experts.gate_up_proj_bias", "BF16", 10, 20}},
         "3 tensors, 564 bytes, gpu 564, params 1034"},
        {"\"quant_method\": \"modelopt\", \"quant_algo\": \"NVFP4\"",
         {{"q_proj.weight", "U8", 512, 512},
          {"q_proj.weight_scale", "F8_E4M3", 64, 64},
          {"q_proj.weight_scale_2", "F32", 1, 4},
          {"q_proj.input_scale", "F32", 1, 4},
          {"norm.weight", "BF16", 10, 20}},
         "5 tensors, 604 bytes, gpu 604, params 1034"},
        {"\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\", "
         "\"config_groups\": {\"group_0\": {\"weights\": {\"num_bits\": 4}}}",
         {{"q_proj.weight_packed", "I32", 128, 512},
          {"q_proj.weight_scale", "BF16", 8, 16},
          {"q_proj.weight_shape", "I64", 2, 16},
          {"norm.weight", "BF16", 10, 20}},
         "4 tensors, 564 bytes, gpu 564, params 1034"},
        {"\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true, \"bnb_4bit_quant_type\": "
         "\"nf4\"",
         {{"q_proj.weight", "U8", 512, 512},
          {"q_proj.weight.absmax", "F32", 16, 64},
          {"q_proj.weight.quant_map", "F32", 16, 64},
          {"q_proj.weight.quant_state.bitsandbytes__nf4", "U8", 90, 90},
          {"norm.weight", "BF16", 10, 20}},
         "5 tensors, 750 bytes, gpu 750, params 1034"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char dir[TEST_PATH], name[8], more[512], want[256];
        (void)snprintf(name, sizeof(name), "m%zu", i);
        (void)snprintf(more, sizeof(more), ", \"quantization_config\": {%s}", rows[i].config);
        (void)snprintf(want, sizeof(want), "safetensors 1/1 files, %s, left out 0",
                       rows[i].numbers);
        tap_note("%s", rows[i].config);
        make_dir(dir, name, more);
        write_tensors(dir, "model.safetensors", rows[i].tensors, 0);
        check(dir, "", want);
    }
}

TEST(quantisation_told_by_older_files)
{
    static const struct {
        const char *file, *content, *want;
    } rows[] = {
        {"quantize_config.json", "{\"bits\": 4, \"group_size\": 128}", "gptq int4 group 128"},
        {"quant_config.json", "{\"w_bit\": 4, \"q_group_size\": 64}", "awq int4 group 64"},
        {"hf_quant_config.json", "{\"quantization\": {\"quant_algo\": \"FP8\"}}", "modelopt fp8"},
        {"hf_quant_config.json", "{}", "none"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        char dir[TEST_PATH], name[8];
        (void)snprintf(name, sizeof(name), "m%zu", i);
        make_dir(dir, name, "");
        test_write_str(dir, rows[i].file, rows[i].content);
        arena_init(&arena, MIB);
        CHECK_STR(test_read(&arena, dir).quant.text, rows[i].want);
    }
}

TEST(without_weights_the_configuration_counts)
{
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    check(dir, "no-weights: no file *.safetensors is there\n",
          "none 0/0 files, 0 tensors, 0 bytes, gpu 2960, params -1, left out 0");
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, dir);
    CHECK(m.params_computed);
    CHECK_EQ(m.params, 1480);
    make_dir(dir, "n", ", \"quantization_config\": {\"quant_method\": \"awq\", \"bits\": 4}");
    check(dir, "no-weights: no file *.safetensors is there\n",
          "none 0/0 files, 0 tensors, 0 bytes, gpu -1, params -1, left out 0");
}

TEST(pickles_are_summed)
{
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    test_write_str(dir, "pytorch_model-00001-of-00003.bin", "12345");
    test_write_str(dir, "pytorch_model-00003-of-00003.bin", "123");
    check(
        dir,
        "shard-missing: pytorch_model-00002-of-00003.bin is missing, as the numbers of the others "
        "show\n"
        "pytorch-only: the weights are pickles only: 2 files, 8 bytes\n",
        "pytorch 2/3 files, 0 tensors, 8 bytes, gpu 2960, params -1, left out 0");
    make_dir(dir, "n", "");
    test_write_str(dir, "pytorch_model.bin", "12345");
    test_write_str(dir, "optimizer.bin", "12345");
    check(dir, "pytorch-only: the weights are pickles only: 1 files, 5 bytes\n",
          "pytorch 1/1 files, 0 tensors, 5 bytes, gpu 2960, params -1, left out 0");
}

TEST(gguf_is_known_by_its_name)
{
    static const struct {
        const char *files[3];
        const char *quant, *problems, *numbers;
    } rows[] = {
        {{"llama-2-7b.Q4_K_M.gguf"},
         "gguf q4_k_m",
         "",
         "gguf 1/1 files, 0 tensors, 24 bytes, gpu 24"},
        {{"m-IQ3_XXS.gguf"}, "gguf iq3_xxs", "", "gguf 1/1 files, 0 tensors, 24 bytes, gpu 24"},
        {{"m-bf16.gguf", "mmproj-f16.gguf"},
         "gguf bf16",
         "",
         "gguf 1/1 files, 0 tensors, 24 bytes, gpu 24"},
        {{"qwen.gguf"}, "gguf", "", "gguf 1/1 files, 0 tensors, 24 bytes, gpu 24"},
        {{"m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"},
         "gguf q8_0",
         "",
         "gguf 2/2 files, 0 tensors, 48 bytes, gpu 48"},
        {{"m-Q8_0-00001-of-00002.gguf"},
         "gguf q8_0",
         "shard-missing: m-Q8_0-00002-of-00002.gguf is missing, as the numbers of the others "
         "show\n",
         "gguf 1/2 files, 0 tensors, 24 bytes, gpu -1"},
        {{"m-Q2_K.gguf", "m-Q4_0.gguf", "m-Q8_0.gguf"},
         "gguf q2_k",
         "several-gguf: 3 GGUF models in one directory: told is m-Q2_K.gguf\n",
         "gguf 1/1 files, 0 tensors, 24 bytes, gpu 24"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        char dir[TEST_PATH], name[8], want[256];
        (void)snprintf(name, sizeof(name), "m%zu", i);
        tap_note("%s", rows[i].files[0]);
        test_dir(dir, name);
        for (size_t k = 0; k < 3 && rows[i].files[k]; k++)
            test_write_gguf(dir, rows[i].files[k]);
        (void)snprintf(want, sizeof(want), "%s, params -1, left out %d", rows[i].numbers,
                       i == 6 ? 2 * TEST_GGUF_BYTES : 0);
        check(dir, rows[i].problems, want);
        arena_init(&arena, MIB);
        struct model m = test_read(&arena, dir);
        CHECK_STR(m.quant.text, rows[i].quant);
        CHECK_EQ(m.kind, MODEL_GENERATE);
    }
}

TEST(a_gguf_head_that_promises_too_much)
{
    char dir[TEST_PATH];
    test_dir(dir, "m");
    test_write(dir, "m.gguf", "GGUF\3\0\0\0\0\0\0\0\0\0\0\200\0\0\0\0\0\0\0\200", 24);
    check(dir,
          "bad-header: m.gguf: its 24 bytes cannot hold 9223372036854775808 tensors and "
          "9223372036854775808 pairs\n",
          "gguf 1/1 files, 0 tensors, 24 bytes, gpu -1, params -1, left out 0");
}

TEST(shards_missing_in_a_row_are_one_problem)
{
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH], want[2 * TEST_PATH];
    make_dir(dir, "m", "");
    WRITE(dir, "model-00002-of-00009.safetensors", 0, {"a", "BF16", 16, 32});
    WRITE(dir, "model-00008-of-00009.safetensors", 0, {"b", "BF16", 16, 32});
    check(dir,
          "shard-missing: model-00001-of-00009.safetensors is missing, as the numbers of the "
          "others show\n"
          "shard-missing: model-00003 to model-00007-of-00009.safetensors are missing, as the "
          "numbers of the others show: 5 files\n"
          "shard-missing: model-00009-of-00009.safetensors is missing, as the numbers of the "
          "others show\n",
          "safetensors 2/9 files, 2 tensors, 64 bytes, gpu 2960, params -1, left out 0");
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, dir);
    REQUIRE(m.problems_count == 3);
    CHECK_STR(m.problems[1].file, "model-00003-of-00009.safetensors");
    CHECK_STR(m.problems[1].last_file, "model-00007-of-00009.safetensors");
    CHECK(!m.problems[2].last_file);
    (void)snprintf(want, sizeof(want), "hf download REPOSITORY --local-dir %s", dir);
    CHECK_STR(m.problems[1].fix, want);
}

TEST(more_shards_than_are_looked_at_are_told)
{
    static const char *const names[] = {"model-00001-of-10001.safetensors",
                                        "model-00001-of-99999.safetensors",
                                        "model-00001-of-99999999999999999999.safetensors"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char dir[TEST_PATH], name[8], want[256];
        (void)snprintf(name, sizeof(name), "m%zu", i);
        tap_note("%s", names[i]);
        make_dir(dir, name, "");
        WRITE(dir, names[i], 0, {"a", "BF16", 16, 32});
        (void)snprintf(want, sizeof(want),
                       "too-many-shards: %s is one of more than 10000 files, the most that are "
                       "looked at\n",
                       names[i]);
        check(dir, want,
              "safetensors 1/1 files, 1 tensors, 32 bytes, gpu 2960, params -1, left out 0");
    }
}

TEST(an_index_of_too_many_shards_is_told)
{
    _cleanup_buf_ struct buf index = BUF_INIT(4 * MIB);
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    buf_add_str(&index, "{\"weight_map\": {");
    for (int i = 0; i <= 10000; i++)
        buf_printf(&index, "%s\"t%d\": \"%d.safetensors\"", i ? "," : "", i, i);
    buf_add_str(&index, "}}");
    test_write(dir, "model.safetensors.index.json", index.data, index.len);
    check(dir,
          "too-many-shards: model.safetensors.index.json names more than 10000 files, the most "
          "that are looked at\n",
          "safetensors 0/0 files, 0 tensors, 0 bytes, gpu 2960, params -1, left out 0");
}

TEST(a_tensor_in_two_files_is_told)
{
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    WRITE(dir, "model-00001-of-00002.safetensors", 0, {"a", "BF16", 16, 32});
    WRITE(dir, "model-00002-of-00002.safetensors", 0, {"a", "BF16", 16, 32}, {"b", "BF16", 16, 32});
    check(dir,
          "tensor-twice: model-00002-of-00002.safetensors holds the tensor a, which "
          "model-00001-of-00002.safetensors holds, too\n",
          "safetensors 2/2 files, 2 tensors, 64 bytes, gpu 2960, params -1, left out 0");
    write_index(dir, "\"a\": \"model-00001-of-00002.safetensors\", \"b\": "
                     "\"model-00002-of-00002.safetensors\"");
    check(dir,
          "tensor-twice: model-00002-of-00002.safetensors holds the tensor a, which "
          "model-00001-of-00002.safetensors holds, too\n",
          "safetensors 2/2 files, 2 tensors, 64 bytes, gpu 2960, params -1, left out 0");
}

TEST(files_without_tensors_are_no_weights)
{
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    test_write_safetensors(dir, "model.safetensors", "{}", 0, 0);
    check(dir, "no-weights: the weight files hold no tensors\n",
          "safetensors 1/1 files, 0 tensors, 0 bytes, gpu 2960, params -1, left out 0");
}

TEST(every_entry_of_an_index_that_is_wrong_is_told)
{
    _cleanup_buf_ struct buf map = BUF_INIT(MIB);
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    write_index(dir, "\"a\": 7, \"b\": \"model.safetensors\", \"c\": \"..\"");
    WRITE(dir, "model.safetensors", 0, {"b", "BF16", 16, 32});
    check(dir,
          "bad-value: model.safetensors.index.json:1:54: tensor a is placed in a number, which is "
          "no file name\n"
          "bad-value: model.safetensors.index.json:1:88: tensor c is placed in .., which is no "
          "file name\n",
          "safetensors 1/1 files, 1 tensors, 32 bytes, gpu 2960, params -1, left out 0");
    for (int i = 0; i < 100; i++)
        buf_printf(&map, "%s\"t%d\": 7", i ? "," : "", i);
    write_index(dir, map.data);
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, dir);
    REQUIRE(m.problems_count == 9);
    CHECK_STR(m.problems[8].what, "model.safetensors.index.json places 92 more tensors in what is "
                                  "no file name");
}

TEST(every_tensor_of_a_header_that_is_wrong_is_told)
{
    _cleanup_buf_ struct buf header = BUF_INIT(MIB);
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH];
    make_dir(dir, "m", "");
    for (int i = 0; i < 100; i++)
        buf_printf(&header, "%c\"t%d\": {}", i ? ',' : '{', i);
    buf_add_char(&header, '}');
    test_write_safetensors(dir, "model.safetensors", header.data, 0, 0);
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, dir);
    REQUIRE(m.problems_count == 9);
    CHECK_STR(m.problems[7].what, "model.safetensors: tensor 't7' has no dtype");
    CHECK_STR(m.problems[8].what, "model.safetensors: 92 more of its tensors are wrong");
}

TEST(many_problems_have_a_ceiling)
{
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH], name[64];
    make_dir(dir, "m", "");
    for (int i = 1; i <= 1201; i += 2) {
        (void)snprintf(name, sizeof(name), "model-%05d-of-01201.safetensors", i);
        test_write_safetensors(dir, name, "{}", 0, 0);
    }
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, dir);
    CHECK_EQ(m.problems_count, 500);
    CHECK_EQ(m.problems_untold, 600 - 500);
    CHECK(!model_is_whole(&m));
}

/* 93 GB of holes: only the headers are read, so it takes no time and no disk. */
TEST(large_checkpoints_cost_nothing)
{
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH], name[64], tensor[16];
    make_dir(dir, "m", "");
    for (int i = 1; i <= 19; i++) {
        (void)snprintf(name, sizeof(name), "model-%05d-of-00019.safetensors", i);
        (void)snprintf(tensor, sizeof(tensor), "experts.%d", i);
        WRITE(dir, name, 0, {tensor, "BF16", UINT64_C(2457000000), UINT64_C(4914000000)});
    }
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, dir);
    CHECK(model_is_whole(&m));
    CHECK_EQ(m.weights.bytes, UINT64_C(19) * 4914000000);
    CHECK_EQ(m.params, UINT64_C(19) * 2457000000);
    CHECK(!m.params_computed);
    CHECK_EQ(model_weight_bytes_on_gpu(&m, 2), UINT64_C(19) * 4914000000 / 2);
}
