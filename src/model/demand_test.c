#include "model/demand.h"
#include "model/test_int.h"

#define ARENA_MAX MIB

static struct model
read_fixture(struct arena *arena, const char *name)
{
    char path[TEST_PATH];
    (void)snprintf(path, sizeof(path), "tests/data/models/%s", name);
    return test_read(arena, tap_source(path));
}

TEST(heads_are_spread_over_gpus)
{
    static const struct {
        const char *model;
        unsigned tensor_parallel;
        enum kv_dtype dtype;
        uint64_t bytes;
    } rows[] = {
        {"Llama-3.1-8B-Instruct", 0, KV_AUTO, 131072},
        {"Llama-3.1-8B-Instruct", 1, KV_AUTO, 131072},
        {"Llama-3.1-8B-Instruct", 1, KV_16BIT, 131072},
        {"Llama-3.1-8B-Instruct", 1, KV_8BIT, 65536},
        {"Llama-3.1-8B-Instruct", 1, KV_8BIT_DS_MLA, 65536},
        {"Llama-3.1-8B-Instruct", 1, KV_32BIT, 262144},
        {"Llama-3.1-8B-Instruct", 2, KV_AUTO, 65536},
        {"Llama-3.1-8B-Instruct", 8, KV_AUTO, 16384},
        {"Llama-3.1-8B-Instruct", 16, KV_AUTO, 16384}, /* a head is on two GPUs */
        {"Qwen2.5-7B", 8, KV_8BIT, 7168},
        /* a latent vector is not spread */
        {"DeepSeek-V3", 1, KV_AUTO, 70272},
        {"DeepSeek-V3", 8, KV_AUTO, 70272},
        {"DeepSeek-V3", 8, KV_8BIT, 35136},
        {"DeepSeek-V3", 8, KV_8BIT_DS_MLA, 61 * 656},
        {"DeepSeek-V3", 8, KV_32BIT, 140544},
        {"Jamba-v0.1", 2, KV_AUTO, 8192},
        {"bge-large-en", 1, KV_AUTO, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        tap_note("%s on %u", rows[i].model, rows[i].tensor_parallel);
        arena_init(&arena, ARENA_MAX);
        struct model m = read_fixture(&arena, rows[i].model);
        CHECK_EQ(model_kv_bytes_per_token(&m, rows[i].tensor_parallel, rows[i].dtype),
                 rows[i].bytes);
    }
}

TEST(weights_are_spread_over_gpus)
{
    struct model m = {.weights.gpu_bytes = 1001};
    CHECK_EQ(model_weight_bytes_on_gpu(&m, 0), 1001);
    CHECK_EQ(model_weight_bytes_on_gpu(&m, 1), 1001);
    CHECK_EQ(model_weight_bytes_on_gpu(&m, 2), 501);
    m.weights.gpu_bytes = MODEL_UNKNOWN - 1;
    CHECK_EQ(model_weight_bytes_on_gpu(&m, 2), INT64_MAX);
    m.weights.gpu_bytes = MODEL_UNKNOWN;
    CHECK_EQ(model_weight_bytes_on_gpu(&m, 2), MODEL_UNKNOWN);
}

TEST(a_request_takes_whole_blocks)
{
    static const struct {
        const char *model;
        struct model_request request;
        uint64_t bytes;
    } rows[] = {
        {"Llama-3.1-8B-Instruct", {.tokens = 0}, 0},
        {"Llama-3.1-8B-Instruct", {.tokens = 1}, UINT64_C(16) * 131072},
        {"Llama-3.1-8B-Instruct", {.tokens = 16}, UINT64_C(16) * 131072},
        {"Llama-3.1-8B-Instruct", {.tokens = 17}, UINT64_C(32) * 131072},
        {"Llama-3.1-8B-Instruct",
         {.tokens = 131072, .tensor_parallel = 2},
         UINT64_C(131072) * 65536},
        /* the 48 GiB of one full prompt */
        {"Phi-3-mini-128k-instruct", {.tokens = 131072}, UINT64_C(48) << 30},
        /* 42 layers of 8192 bytes a token, half of them with a window of 4096 */
        {"Gemma-2-9b", {.tokens = 8192}, UINT64_C(8192) * 42 * 8192},
        {"Gemma-2-9b", {.tokens = 8192, .batch_tokens = 2048}, UINT64_C(8192) * 42 * 8192},
        {"Gemma-2-9b",
         {.tokens = 8192, .batch_tokens = 2048, .windows = true},
         UINT64_C(8192) * 21 * (8192 + 6144 + 16)},
        {"Gemma-2-9b",
         {.tokens = 8192, .batch_tokens = 8192, .windows = true},
         UINT64_C(8192) * 21 * (8192 + 8192 + 16)},
        {"Gemma-2-9b",
         {.tokens = 100, .batch_tokens = 2048, .windows = true},
         UINT64_C(8192) * 21 * (112 + 112 + 16)},
        {"gpt-oss-20b",
         {.tokens = 131072, .batch_tokens = 8192, .windows = true, .dtype = KV_8BIT},
         UINT64_C(1024) * 12 * (131072 + 8320 + 16)},
        /* a state of one size, and few layers that grow */
        {"Jamba-v0.1", {.tokens = 0}, 28 * 8192 * 2 * (3 + 16)},
        {"Jamba-v0.1", {.tokens = 0, .tensor_parallel = 2}, 28 * 4096 * 2 * (3 + 16)},
        {"Jamba-v0.1", {.tokens = 16}, 28 * 8192 * 2 * (3 + 16) + 16 * 16384},
        {"Nemotron-H-8B-Base-8K", {.tokens = 0}, 24 * 2 * (3 * (8192 + 2 * 8 * 128) + 8192 * 128)},
        {"Nemotron-H-8B-Base-8K",
         {.tokens = 0, .tensor_parallel = 16}, /* a group is on two GPUs */
         24 * 2 * (3 * (512 + 2 * 128) + 512 * 128)},
        {"bge-large-en", {.tokens = 512}, 0},
        {"Llama-3.1-8B-Instruct", {.tokens = UINT64_C(1) << 46}, UINT64_C(1) << 63},
        {"Llama-3.1-8B-Instruct", {.tokens = UINT64_C(1) << 47}, MODEL_UNKNOWN},
        {"Llama-3.1-8B-Instruct", {.tokens = MODEL_UNKNOWN}, MODEL_UNKNOWN},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        tap_note("%s, row %zu", rows[i].model, i);
        arena_init(&arena, ARENA_MAX);
        struct model m = read_fixture(&arena, rows[i].model);
        CHECK_EQ(model_request_bytes(&m, &rows[i].request), rows[i].bytes);
    }
}

TEST(states_of_other_recurrent_layers)
{
    static const struct {
        const char *config;
        uint64_t bytes; /* a sequence */
    } rows[] = {
        /* two delta layers: (2 x 4 x 16 + 8 x 32) columns of 3, and 8 matrices of 16 x 32 */
        {"{\"architectures\": [\"Qwen3NextForCausalLM\"], \"num_hidden_layers\": 2, "
         "\"full_attention_interval\": 8, \"linear_num_key_heads\": 4, \"linear_key_head_dim\": "
         "16, "
         "\"linear_num_value_heads\": 8, \"linear_value_head_dim\": 32, "
         "\"linear_conv_kernel_dim\": 4}",
         2 * 2 * (3 * (2 * 4 * 16 + 8 * 32) + 8 * 16 * 32)},
        /* the same with a state of 32 bit */
        {"{\"architectures\": [\"Qwen3NextForCausalLM\"], \"num_hidden_layers\": 2, "
         "\"full_attention_interval\": 8, \"linear_num_key_heads\": 4, \"linear_key_head_dim\": "
         "16, "
         "\"linear_num_value_heads\": 8, \"linear_value_head_dim\": 32, "
         "\"linear_conv_kernel_dim\": 4, \"mamba_ssm_dtype\": \"float32\"}",
         2 * (2 * 3 * (2 * 4 * 16 + 8 * 32) + 4 * 8 * 16 * 32)},
        {"{\"architectures\": [\"Lfm2ForCausalLM\"], \"num_hidden_layers\": 1, "
         "\"hidden_size\": 100, \"conv_L_cache\": 3, \"layer_types\": [\"conv\"]}",
         2 * 2 * 100},
        {"{\"architectures\": [\"MambaForCausalLM\"], \"num_hidden_layers\": 1, \"hidden_size\": "
         "10, "
         "\"intermediate_size\": 20, \"state_size\": 16, \"conv_kernel\": 4}",
         2 * 20 * (3 + 16)},
        /* recurrent, but of a kind that is not known here */
        {"{\"architectures\": [\"RecurrentGemmaForCausalLM\"], \"num_hidden_layers\": 1, "
         "\"block_types\": [\"recurrent\"]}",
         MODEL_UNKNOWN},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        tap_note("%s", rows[i].config);
        arena_init(&arena, ARENA_MAX);
        struct model m = test_read_config(&arena, rows[i].config);
        CHECK_EQ(model_state_bytes_per_sequence(&m, 1), rows[i].bytes);
    }
}

/* Each of 4 decoder layers keeps its own 448 tokens and the encoder's 1500. */
TEST(speech_keeps_what_was_heard)
{
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, ARENA_MAX);
    struct model m = test_read_config(
        &arena, "{\"architectures\": [\"WhisperForConditionalGeneration\"], \"d_model\": 384, "
                "\"decoder_layers\": 4, \"decoder_attention_heads\": 6, "
                "\"max_target_positions\": 448, \"max_source_positions\": 1500, "
                "\"is_encoder_decoder\": true}");
    CHECK_EQ(m.context, 448);
    CHECK_EQ(model_kv_bytes_per_token(&m, 1, KV_AUTO), 4 * 2 * 384 * 2);
    CHECK_EQ(model_request_bytes(&m, &(struct model_request){.tokens = 448}),
             (448 + 1500) * 4 * 2 * 384 * 2);
}
