#include "base/text.h"
#include "model/demand.h"
#include "model/test_int.h"

#include <dirent.h>
#include <math.h>

#define ARENA_MAX MIB

/* --- the published configurations in tests/data/models --- */

static struct model
read_fixture(struct arena *arena, const char *name)
{
    char path[TEST_PATH];
    (void)snprintf(path, sizeof(path), "tests/data/models/%s", name);
    return test_read(arena, tap_source(path));
}

static uint64_t
fact(const struct value *facts, const char *name)
{
    uint64_t n;
    return value_u64(value_get(facts, name), &n) ? n : MODEL_UNKNOWN;
}

/* "awq int4 group 128" begins as the facts tell it in words. */
static bool
same_quantisation(const char *text, const char *told)
{
    return strncmp(text, told, strcspn(text, " ")) == 0;
}

static void
check_facts(const struct model *m, const struct value *facts)
{
    uint64_t attention_layers = fact(facts, "attention_layers");
    const char *kind = value_str(value_get(facts, "kind"));
    uint64_t total = fact(facts, "total_size_bytes");
    CHECK(m->known);
    CHECK_EQ(m->kind, kind && text_starts(kind, "embedding") ? MODEL_EMBEDDING : MODEL_GENERATE);
    if (fact(facts, "params") != MODEL_UNKNOWN)
        CHECK_EQ(m->params, fact(facts, "params"));
    CHECK(m->params_computed);
    CHECK_STR(m->dtype, value_str(value_get(facts, "dtype")));
    CHECK_EQ(m->context, fact(facts, "native_context"));
    CHECK_EQ(model_kv_bytes_per_token(m, 1, KV_AUTO),
             fact(facts, "kv_bytes_per_token_16bit_all_attention_layers"));
    if (attention_layers != MODEL_UNKNOWN)
        CHECK_EQ(m->cache.full.layers + m->cache.window.layers, attention_layers);
    /* What is 32 bits wide on disk is half as large when loaded. */
    if (total != MODEL_UNKNOWN)
        CHECK_EQ(m->weights.gpu_bytes, text_eq(m->dtype, "float32") ? total / 2 : total);
}

static void
check_fixture(const char *name)
{
    _cleanup_arena_ struct arena arena, json;
    _cleanup_buf_ struct buf problems = BUF_INIT(MIB);
    char path[2 * TEST_PATH];
    arena_init(&arena, ARENA_MAX);
    arena_init(&json, ARENA_MAX);
    (void)snprintf(path, sizeof(path), "%s/facts.json", name);
    const struct value *facts = test_read_json(&json, path);
    struct model m = read_fixture(&arena, name);
    check_facts(&m, facts);
    /* The fp8 of DeepSeek-V3 is not in this copy of its configuration. */
    if (!text_eq(name, "DeepSeek-V3"))
        CHECK(same_quantisation(m.quant.text, value_str(value_get(facts, "quantization"))));
    test_problems(&m, &problems);
    CHECK_STR(problems.data, "");
}

TEST(published_configurations_are_as_known)
{
    DIR *dir = opendir(tap_source("tests/data/models"));
    size_t count = 0;
    REQUIRE(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_type != DT_DIR || e->d_name[0] == '.')
            continue;
        tap_note("%s", e->d_name);
        check_fixture(e->d_name);
        count++;
    }
    (void)closedir(dir);
    CHECK_EQ(count, 27);
}

/* A file of configurations with their totals. */
static void
check_totals(const char *file, size_t least)
{
    _cleanup_arena_ struct arena arena, json;
    arena_init(&json, ARENA_MAX);
    arena_init(&arena, 16 * MIB);
    const struct value *all = test_read_json(&json, file);
    CHECK(all->count >= least);
    for (const struct value *v = all->first; v; v = v->next) {
        _cleanup_buf_ struct buf config = BUF_INIT(64 * KIB);
        struct json_writer w;
        tap_note("%s", v->name);
        json_init(&w, &config, false);
        json_value(&w, NULL, value_get(v, "config"));
        struct model m = test_read_config(&arena, config.data);
        CHECK_EQ(m.params, fact(v, "params"));
    }
}

TEST(parameters_are_counted_as_published)
{
    check_totals("published.json", 46);
}

/* Nobody vouches for these but the formula itself. */
TEST(parameters_are_counted_as_before)
{
    check_totals("computed.json", 8);
}

/* --- what others measured --- */

#define CSV_FIELDS 26
enum {
    MODEL,
    QUANT,
    TP = 5,
    PP,
    KV_DTYPE = 11,
    WEIGHTS = 13,
    KV_GIB = 17,
    KV_TOKENS,
    OUTCOME = 21,
    BASIS
};

static size_t
split_csv(char *line, char *fields[CSV_FIELDS])
{
    size_t count = 0;
    while (line && count < CSV_FIELDS) {
        bool quoted = *line == '"';
        fields[count++] = line += quoted;
        line = quoted ? strchr(line, '"') : line;
        char *end = line ? strpbrk(line, ",\n") : NULL;
        if (quoted && line)
            *line = '\0';
        line = end && *end == ',' ? end + 1 : NULL;
        if (end)
            *end = '\0';
    }
    return count;
}

/* The models of measured.csv that there is a configuration of, and how far two of them are off for
 * reasons that are not known: nobody who measured says what else was counted. */
static const struct measured_model {
    const char *measured;
    const char *fixture;   /* a directory */
    const char *published; /* or an entry of published.json */
    double weights_off_gib;
    double cache_off; /* of 1 */
} measured_models[] = {
    {"meta-llama/Llama-3.1-8B-Instruct", "Llama-3.1-8B-Instruct", NULL},
    {"Qwen/Qwen2.5-7B-Instruct", "Qwen2.5-7B", NULL},
    {"Qwen/Qwen2.5-72B-Instruct", "Qwen2.5-72B", NULL},
    {"Qwen/Qwen3-30B-A3B", "Qwen3-30B-A3B", NULL},
    {"Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen3-30B-A3B", NULL},
    {"gpt-oss-20b (finetune)", "gpt-oss-20b", NULL},
    {"deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", "DeepCoder-14B-Preview", NULL},
    {"Qwen/Qwen3-0.6B", NULL, "Qwen3-0.6B"},
    {"Qwen/Qwen3-14B", NULL, "Qwen3-14B"},
    {"Qwen/Qwen3-32B", NULL, "Qwen3-32B"},
    {"Qwen/Qwen2.5-1.5B-Instruct", NULL, "Qwen2.5-1.5B"},
    {"codellama/CodeLlama-7b-hf", NULL, "CodeLlama-7b"},
    {"google/gemma-2-27b-it", NULL, "gemma-2-27b"},
    {"google/gemma-2-2b-it", NULL, "gemma-2-2b"},
    {"google/gemma-7b", NULL, "gemma-7b"},
    {"microsoft/phi-2", NULL, "phi-2"},
    {"moonshotai/Kimi-K2-Thinking", NULL, "Kimi-K2"},
    {"google/gemma-3-12b-it", NULL, "gemma-3-12b-it", .weights_off_gib = 0.61},
    {"Qwen/Qwen3-235B-A22B-FP8", NULL, "Qwen3-235B-A22B", .cache_off = 0.0115},
};

static const struct measured_model *
find_measured(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(measured_models); i++)
        if (text_eq(measured_models[i].measured, name))
            return &measured_models[i];
    return NULL;
}

static struct model
read_measured(struct arena *arena, const struct value *published, const struct measured_model *row)
{
    _cleanup_buf_ struct buf config = BUF_INIT(64 * KIB);
    struct json_writer w;
    if (row->fixture)
        return read_fixture(arena, row->fixture);
    json_init(&w, &config, false);
    json_value(&w, NULL, value_get(value_get(published, row->published), "config"));
    return test_read_config(arena, config.data);
}

static enum kv_dtype
measured_dtype(char *const *row)
{
    if (strstr(row[QUANT], "float32"))
        return KV_32BIT;
    return text_starts(row[KV_DTYPE], "fp8") ? KV_8BIT : KV_AUTO;
}

/* vLLM's figure holds tables for positions and what its allocator rounds up: up to 0.11 GiB were
 * seen. Derived rows are uncertain by 0.5 GiB; those from issues by the V0 engine, which counted
 * what communication takes, too. */
static bool
check_measured_weights(const struct model *m, char *const *row, double off_gib)
{
    double gib = strtod(row[WEIGHTS], NULL);
    bool exact = text_eq(row[BASIS], "table") || text_eq(row[BASIS], "log");
    unsigned gpus = (unsigned)(strtoul(row[TP], NULL, 10) * strtoul(row[PP], NULL, 10));
    uint64_t bytes = model_weight_bytes_on_gpu(m, gpus);
    if (gib == 0 || bytes == MODEL_UNKNOWN)
        return false;
    double ours = (double)bytes / (double)GIB * (strstr(row[QUANT], "float32") ? 2 : 1);
    tap_note("%s: %.2f GiB of weights, ours %.2f", row[MODEL], gib, ours);
    CHECK(fabs(gib - ours - off_gib) <= (exact ? 0.11 : 0.5));
    return true;
}

/* Tokens are told exactly, in blocks; memory is rounded to 0.01 or 0.1 GiB. */
static bool
check_measured_cache(const struct model *m, char *const *row, double off)
{
    double gib = strtod(row[KV_GIB], NULL), tokens = strtod(row[KV_TOKENS], NULL);
    const char *point = strchr(row[KV_GIB], '.');
    if (gib <= 0 || tokens <= 0 || text_eq(row[OUTCOME], "fail"))
        return false;
    double ours = (double)model_kv_bytes_per_token(m, (unsigned)strtoul(row[TP], NULL, 10),
                                                   measured_dtype(row));
    double theirs = gib * (double)GIB / tokens;
    double rounding = (point && strlen(point) > 2 ? 0.005 : 0.05) / gib;
    tap_note("%s: %.0f bytes a token, ours %.0f", row[MODEL], theirs, ours);
    CHECK(fabs(theirs - ours * (1 + off)) / ours <= rounding + MODEL_BLOCK_TOKENS / tokens);
    return true;
}

TEST(estimates_agree_with_measurements)
{
    _cleanup_arena_ struct arena arena, json;
    char line[2048], *row[CSV_FIELDS];
    int weights = 0, caches = 0;
    arena_init(&arena, 32 * MIB);
    arena_init(&json, ARENA_MAX);
    const struct value *published = test_read_json(&json, "published.json");
    FILE *f = fopen(tap_source("tests/data/models/measured.csv"), "re");
    REQUIRE(f);
    while (fgets(line, sizeof(line), f)) {
        const struct measured_model *known =
            split_csv(line, row) > BASIS ? find_measured(row[MODEL]) : NULL;
        if (!known)
            continue;
        struct model m = read_measured(&arena, published, known);
        weights += check_measured_weights(&m, row, known->weights_off_gib);
        caches += check_measured_cache(&m, row, known->cache_off);
    }
    (void)fclose(f);
    CHECK_EQ(weights, 30);
    CHECK_EQ(caches, 14);
}

/* --- how configurations tell things --- */

#define LLAMA                                                                                     \
    "\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 64, " \
    "\"num_hidden_layers\": 8, \"num_attention_heads\": 8, \"num_key_value_heads\": 2"

TEST(context_follows_rope)
{
    static const struct {
        const char *config;
        uint64_t context;
    } rows[] = {
        {"", MODEL_UNKNOWN},
        {", \"max_position_embeddings\": 4096", 4096},
        {", \"max_position_embeddings\": 4096, \"rope_scaling\": null", 4096},
        {", \"n_positions\": 2048", 2048},
        {", \"max_position_embeddings\": 8192, \"seq_length\": 4096", 4096},
        {", \"max_position_embeddings\": 4096, \"rope_scaling\": {\"type\": \"linear\", "
         "\"factor\": 4.0}",
         16384},
        {", \"max_position_embeddings\": 4096, \"rope_scaling\": {\"type\": \"dynamic\", "
         "\"factor\": 2}",
         8192},
        {", \"max_position_embeddings\": 4096, \"rope_scaling\": {\"rope_type\": \"default\"}",
         4096},
        {", \"max_position_embeddings\": 4096, \"rope_scaling\": {\"type\": \"mrope\", "
         "\"mrope_section\": [1]}",
         4096},
        {", \"max_position_embeddings\": 131072, \"rope_scaling\": {\"rope_type\": \"llama3\", "
         "\"factor\": 8}",
         131072},
        {", \"max_position_embeddings\": 131072, \"rope_scaling\": {\"type\": \"longrope\", "
         "\"factor\": 32}",
         131072},
        {", \"max_position_embeddings\": 131072, \"rope_scaling\": {\"type\": \"su\", \"factor\": "
         "32}",
         131072},
        {", \"max_position_embeddings\": 32768, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": "
         "4.0, "
         "\"original_max_position_embeddings\": 32768}",
         131072},
        {", \"max_position_embeddings\": 163840, \"rope_scaling\": {\"type\": \"yarn\", "
         "\"factor\": 40, "
         "\"original_max_position_embeddings\": 4096}",
         163840},
        {", \"max_position_embeddings\": 32768, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": "
         "2}",
         65536},
        {", \"max_position_embeddings\": 40960, \"rope_parameters\": {\"rope_type\": \"yarn\", "
         "\"factor\": 4, "
         "\"original_max_position_embeddings\": 32768}",
         131072},
        {", \"max_position_embeddings\": 1000, \"rope_parameters\": {\"full_attention\": "
         "{\"rope_type\": "
         "\"linear\", \"factor\": 8}, \"sliding_attention\": {\"rope_type\": \"default\"}}",
         8000},
        /* nonsense is left alone */
        {", \"max_position_embeddings\": 4096, \"rope_scaling\": {\"type\": \"linear\", "
         "\"factor\": -4.0}",
         4096},
        {", \"max_position_embeddings\": 4096, \"rope_scaling\": {\"type\": \"linear\", "
         "\"factor\": 1e300}",
         4096},
        {", \"max_position_embeddings\": 4096, \"rope_scaling\": {\"type\": 7, \"factor\": \"x\"}",
         4096},
        {", \"max_position_embeddings\": 4096, \"rope_scaling\": []", 4096},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        char config[2048];
        (void)snprintf(config, sizeof(config), "{" LLAMA "%s}", rows[i].config);
        tap_note("%s", rows[i].config);
        arena_init(&arena, ARENA_MAX);
        CHECK_EQ(test_read_config(&arena, config).context, rows[i].context);
    }
}

#define LAYERS                                                                             \
    "\"hidden_size\": 64, \"num_attention_heads\": 8, \"max_position_embeddings\": 8192, " \
    "\"num_hidden_layers\": 8"

TEST(layers_are_told_apart)
{
    static const struct {
        const char *config;
        unsigned full, window, state;
        uint64_t tokens;
    } rows[] = {
        {"\"architectures\": [\"LlamaForCausalLM\"]", 8, 0, 0, 0},
        {"\"architectures\": [\"MistralForCausalLM\"], \"sliding_window\": 4096", 0, 8, 0, 4096},
        {"\"architectures\": [\"MistralForCausalLM\"], \"sliding_window\": null", 8, 0, 0, 0},
        {"\"architectures\": [\"MistralForCausalLM\"], \"sliding_window\": 8192", 8, 0, 0, 0},
        {"\"architectures\": [\"Phi3ForCausalLM\"], \"sliding_window\": 262144", 8, 0, 0, 0},
        {"\"architectures\": [\"Qwen2ForCausalLM\"], \"sliding_window\": 4096", 8, 0, 0, 0},
        {"\"architectures\": [\"Qwen2ForCausalLM\"], \"sliding_window\": 4096, "
         "\"use_sliding_window\": false",
         8, 0, 0, 0},
        {"\"architectures\": [\"Qwen2ForCausalLM\"], \"sliding_window\": 4096, "
         "\"use_sliding_window\": true, \"max_window_layers\": 8",
         8, 0, 0, 0},
        {"\"architectures\": [\"Qwen2ForCausalLM\"], \"sliding_window\": 4096, "
         "\"use_sliding_window\": true, \"max_window_layers\": 6",
         6, 2, 0, 4096},
        {"\"architectures\": [\"Gemma2ForCausalLM\"], \"sliding_window\": 4096", 4, 4, 0, 4096},
        {"\"architectures\": [\"Gemma3ForCausalLM\"], \"sliding_window\": 512, "
         "\"sliding_window_pattern\": 6",
         1, 7, 0, 512},
        {"\"architectures\": [\"Cohere2ForCausalLM\"], \"sliding_window\": 512, "
         "\"sliding_window_pattern\": 4",
         2, 6, 0, 512},
        {"\"architectures\": [\"Exaone4ForCausalLM\"], \"sliding_window\": 512, "
         "\"sliding_window_pattern\": \"LLLG\"",
         2, 6, 0, 512},
        {"\"architectures\": [\"Llama4ForCausalLM\"], \"model_type\": \"llama4_text\", "
         "\"attention_chunk_size\": 1024",
         2, 6, 0, 1024},
        {"\"architectures\": [\"GptOssForCausalLM\"], \"sliding_window\": 128, \"layer_types\": "
         "[\"sliding_attention\", \"full_attention\", \"sliding_attention\", \"full_attention\", "
         "\"sliding_attention\", \"full_attention\", \"sliding_attention\", \"full_attention\"]",
         4, 4, 0, 128},
        {"\"architectures\": [\"Qwen3ForCausalLM\"], \"sliding_window\": null, \"layer_types\": "
         "[\"full_attention\"]",
         8, 0, 0, 0},
        {"\"architectures\": [\"Qwen3NextForCausalLM\"], \"full_attention_interval\": 4", 2, 0, 6,
         0},
        {"\"architectures\": [\"JambaForCausalLM\"], \"attn_layer_period\": 4, "
         "\"attn_layer_offset\": 1",
         2, 0, 6, 0},
        {"\"architectures\": [\"BambaForCausalLM\"], \"attn_layer_indices\": [1, 3, 7]", 3, 0, 5,
         0},
        {"\"architectures\": [\"NemotronHForCausalLM\"], \"hybrid_override_pattern\": \"M-M*-M-E\"",
         1, 0, 3, 0},
        {"\"architectures\": [\"GraniteMoeHybridForCausalLM\"], \"layer_types\": [\"mamba\", "
         "\"mamba\", \"attention\", \"mamba\"]",
         2, 0, 6, 0},
        {"\"architectures\": [\"RecurrentGemmaForCausalLM\"], \"_block_types\": [\"recurrent\", "
         "\"recurrent\", \"attention\"], \"sliding_window\": 2048",
         2, 0, 6, 0},
        {"\"architectures\": [\"MambaForCausalLM\"]", 0, 0, 8, 0},
        {"\"architectures\": [\"FalconH1ForCausalLM\"]", 8, 0, 8, 0},
        {"\"architectures\": [\"Lfm2ForCausalLM\"], \"layer_types\": [\"conv\", \"conv\", "
         "\"full_attention\", \"conv\"]",
         2, 0, 6, 0},
        {"\"architectures\": [\"Gemma3nForCausalLM\"], \"num_kv_shared_layers\": 3", 5, 0, 0, 0},
        {"\"architectures\": [\"BertModel\"]", 0, 0, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        char config[2048];
        (void)snprintf(config, sizeof(config), "{" LAYERS ", %s}", rows[i].config);
        tap_note("%s", rows[i].config);
        arena_init(&arena, ARENA_MAX);
        struct model_cache cache = test_read_config(&arena, config).cache;
        CHECK(cache.known);
        CHECK_EQ(cache.full.layers, rows[i].full);
        CHECK_EQ(cache.window.layers, rows[i].window);
        CHECK_EQ(cache.state_layers, rows[i].state);
        CHECK_EQ(cache.window_tokens, rows[i].tokens);
    }
}

TEST(what_cannot_be_told_is_unknown)
{
    static const char *const configs[] = {
        "{}",
        "{\"architectures\": [\"LlamaForCausalLM\"]}",
        "{" LAYERS ", \"architectures\": [\"LlamaForCausalLM\"], \"num_key_value_heads\": [1, 2]}",
        "{" LAYERS ", \"architectures\": [\"LlamaForCausalLM\"], \"head_dim\": [1, 2]}",
        "{" LAYERS ", \"architectures\": [\"LlamaForCausalLM\"], \"layer_types\": [\"novel\"]}",
        "{\"hidden_size\": 64, \"num_hidden_layers\": 8}",
        "{" LAYERS
        ", \"architectures\": [\"NovelForConditionalGeneration\"], \"is_encoder_decoder\": true}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(configs); i++) {
        _cleanup_arena_ struct arena arena;
        tap_note("%s", configs[i]);
        arena_init(&arena, ARENA_MAX);
        struct model m = test_read_config(&arena, configs[i]);
        CHECK_EQ(model_kv_bytes_per_token(&m, 1, KV_AUTO), MODEL_UNKNOWN);
        CHECK_EQ(m.params, MODEL_UNKNOWN);
        CHECK_EQ(model_weight_bytes_on_gpu(&m, 1), MODEL_UNKNOWN);
        CHECK_EQ(model_request_bytes(&m, &(struct model_request){.tokens = 100}), MODEL_UNKNOWN);
    }
}

TEST(parameters_stay_unknown_where_a_formula_does_not_hold)
{
    static const char *const configs[] = {
        "\"architectures\": [\"NovelForCausalLM\"]",
        "\"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": 0",
        "\"architectures\": [\"LlamaForCausalLM\"], \"intermediate_size\": [1, 2]",
        ("\"architectures\": [\"DeepseekForCausalLM\"], \"n_routed_experts\": 4, "
         "\"moe_intermediate_size\": 8, \"moe_layer_freq\": 2"),
        "\"architectures\": [\"DeepseekV3ForCausalLM\"], \"kv_lora_rank\": 16",
        "\"architectures\": [\"Qwen3NextForCausalLM\"]",
        "\"architectures\": [\"LlavaForConditionalGeneration\"], \"model_type\": \"llava\"",
    };
    for (size_t i = 0; i < ARRAY_SIZE(configs); i++) {
        _cleanup_arena_ struct arena arena;
        char config[2048];
        (void)snprintf(config, sizeof(config),
                       "{" LAYERS ", \"vocab_size\": 100, \"intermediate_size\": 256, %s}",
                       configs[i]);
        if (strstr(configs[i], "vocab_size") || strstr(configs[i], "intermediate_size\": ["))
            (void)snprintf(config, sizeof(config), "{" LAYERS ", %s}", configs[i]);
        tap_note("%s", configs[i]);
        arena_init(&arena, ARENA_MAX);
        CHECK_EQ(test_read_config(&arena, config).params, MODEL_UNKNOWN);
    }
}

TEST(values_that_cannot_be_are_named)
{
    static const struct {
        const char *config, *want;
    } rows[] = {
        {"{" LLAMA "}", ""},
        {"{" LLAMA ",\n \"head_dim\": \"wide\"}",
         "bad-value: config.json:2:14: head_dim is \"wide\": a whole number up to 65536\n"},
        {"{" LLAMA ",\n \"head_dim\": -8}",
         "bad-value: config.json:2:14: head_dim is -8: a whole number up to 65536\n"},
        {"{" LLAMA ",\n \"head_dim\": 1.5}",
         "bad-value: config.json:2:14: head_dim is 1.5: a whole number up to 65536\n"},
        {"{" LLAMA ",\n \"head_dim\": true}",
         "bad-value: config.json:2:14: head_dim is true: a whole number up to 65536\n"},
        {"{" LLAMA ",\n \"head_dim\": {}}",
         "bad-value: config.json:2:14: head_dim is a map: a whole number up to 65536\n"},
        {"{" LLAMA ",\n \"head_dim\": 18446744073709551615, \"vocab_size\": NaN}",
         "bad-value: config.json:2:14: head_dim is 18446744073709551615: a whole number up to "
         "65536\n"
         "bad-value: config.json:2:50: vocab_size is NaN: a whole number from 1 to 268435456\n"},
        {"{" LLAMA ",\n \"max_position_embeddings\": \"many\"}",
         "bad-value: config.json:2:29: max_position_embeddings is \"many\": a whole number up to "
         "4294967295\n"},
        {"{\"architectures\": [\"LlamaForCausalLM\"], \"num_hidden_layers\": 99999}",
         "bad-value: config.json:1:62: num_hidden_layers is 99999: a whole number from 1 to "
         "1024\n"},
        {"{\"architectures\": [\"NemotronHForCausalLM\"], \"num_hidden_layers\": "
         "5,\n\"hybrid_override_pattern\": \"M*M*\"}",
         "bad-value: config.json:2:28: hybrid_override_pattern has 4 letters for 5 layers\n"},
        {"{", "bad-json: config.json:1:2: expected a name in quotes, or '}', found the end of the "
              "document\n"},
        {"[1, 2]", "bad-json: config.json:1:1: a list, where a map should be\n"},
        {"{}", "unknown-architecture: config.json names no architecture\n"},
        {"{\"architectures\": [\"Novel\x1b[2JForCausalLM\"]}",
         "bad-json: config.json:1:26: a string holds the control byte 0x1B, which is written "
         "\\u001b\n"},
        {"{\"architectures\": [\"Novel\\u001b[2JForCausalLM\"]}",
         "unknown-architecture: the architecture Novel?[2JForCausalLM is not in the table: only "
         "what config.json says is told\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        _cleanup_buf_ struct buf problems = BUF_INIT(MIB);
        tap_note("%s", rows[i].config);
        arena_init(&arena, ARENA_MAX);
        struct model m = test_read_config(&arena, rows[i].config);
        test_problems(&m, &problems);
        CHECK_STR(problems.data, rows[i].want);
    }
}

/* One value at a time in a configuration that is good, each with its one problem. */
TEST(numbers_that_no_model_has_are_named)
{
    static const char *const names[] = {"hidden_size", "num_hidden_layers", "num_attention_heads",
                                        "num_key_value_heads", "vocab_size"};
    static const char *const values[] = {"0", "-1", "1.5", "\"x\"", "9223372036854775808", "{}"};
    for (size_t i = 0; i < ARRAY_SIZE(names) * ARRAY_SIZE(values); i++) {
        const char *wrong = names[i % ARRAY_SIZE(names)];
        _cleanup_buf_ struct buf config = BUF_INIT(MIB), problems = BUF_INIT(MIB);
        _cleanup_arena_ struct arena arena;
        buf_add_str(&config, "{\"architectures\": [\"LlamaForCausalLM\"]");
        for (size_t k = 0; k < ARRAY_SIZE(names); k++)
            buf_printf(&config, ", \"%s\": %s", names[k],
                       names[k] == wrong ? values[i / ARRAY_SIZE(names)] : "8");
        buf_add_char(&config, '}');
        tap_note("%s", config.data);
        arena_init(&arena, ARENA_MAX);
        struct model m = test_read_config(&arena, config.data);
        test_problems(&m, &problems);
        CHECK(strstr(problems.data, wrong) && strstr(problems.data, ": a whole number from 1 to "));
        CHECK(strchr(problems.data, '\n') == problems.data + problems.len - 1);
    }
}

TEST(heads_share_keys_evenly)
{
    static const struct {
        const char *more, *want;
    } rows[] = {
        {"4", ""},
        {"1", ""},
        {"3", "num_key_value_heads is 3: a divisor of the 4 heads\n"},
        {"8", "num_key_value_heads is 8: a divisor of the 4 heads\n"},
        {"3, \"multi_query\": true", ""},
        {"3, \"kv_lora_rank\": 512", ""}, /* one latent vector serves all */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        _cleanup_buf_ struct buf problems = BUF_INIT(MIB);
        char config[512];
        (void)snprintf(config, sizeof(config),
                       "{\"architectures\": [\"LlamaForCausalLM\"], \"num_hidden_layers\": 2, "
                       "\"num_attention_heads\": 4, \"num_key_value_heads\": %s}",
                       rows[i].more);
        tap_note("%s", config);
        arena_init(&arena, ARENA_MAX);
        struct model m = test_read_config(&arena, config);
        test_problems(&m, &problems);
        const char *told = strstr(problems.data, "num_key");
        CHECK_STR(told ? told : "", rows[i].want);
    }
}

TEST(bits_that_no_weight_has_are_named)
{
    static const struct {
        const char *quantization, *want;
    } rows[] = {
        {"\"awq\", \"bits\": 4", ""},
        {"\"exl2\", \"bits\": 4.25", ""},
        {"\"awq\", \"bits\": 0", "bits is 0: from 1 to 32 bits\n"},
        {"\"awq\", \"w_bit\": 64", "w_bit is 64: from 1 to 32 bits\n"},
        {"\"gptq\", \"bits\": -4", "bits is -4: from 1 to 32 bits\n"},
        {"\"gptq\", \"bits\": 9223372036854775808",
         "bits is 9223372036854775808: from 1 to 32 bits\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        _cleanup_buf_ struct buf problems = BUF_INIT(MIB);
        char config[512];
        (void)snprintf(config, sizeof(config),
                       "{" LLAMA ", \"quantization_config\": {\"quant_method\": %s}}",
                       rows[i].quantization);
        tap_note("%s", config);
        arena_init(&arena, ARENA_MAX);
        struct model m = test_read_config(&arena, config);
        test_problems(&m, &problems);
        const char *told = strstr(problems.data, *rows[i].want == 'w' ? "w_bit" : "bits is");
        CHECK_STR(told ? told : "", rows[i].want);
    }
}

TEST(kinds_are_told)
{
    static const struct {
        const char *config;
        enum model_kind kind;
        unsigned inputs;
    } rows[] = {
        {"{" LLAMA "}", MODEL_GENERATE, 0},
        {"{\"architectures\": [\"Qwen2_5_VLForConditionalGeneration\"]}", MODEL_GENERATE,
         MODEL_IMAGE | MODEL_VIDEO},
        {"{\"architectures\": [\"WhisperForConditionalGeneration\"]}", MODEL_TRANSCRIBE,
         MODEL_AUDIO},
        {"{\"architectures\": [\"BertModel\"]}", MODEL_EMBEDDING, 0},
        {"{\"architectures\": [\"BertForSequenceClassification\"]}", MODEL_CLASSIFY, 0},
        {"{\"architectures\": [\"BertForSequenceClassification\"], \"num_labels\": 3}",
         MODEL_CLASSIFY, 0},
        {"{\"architectures\": [\"BertForSequenceClassification\"], \"num_labels\": 1}",
         MODEL_RERANK, 0},
        {"{\"architectures\": [\"XLMRobertaForSequenceClassification\"], \"id2label\": {\"0\": "
         "\"LABEL_0\"}}",
         MODEL_RERANK, 0},
        {"{\"architectures\": [\"Qwen2ForRewardModel\"]}", MODEL_REWARD, 0},
        {"{\"architectures\": [\"NovelForCausalLM\"]}", MODEL_GENERATE, 0},
        {"{\"architectures\": [\"NovelModel\"]}", MODEL_EMBEDDING, 0},
        {"{\"architectures\": [\"NovelForSequenceClassification\"]}", MODEL_CLASSIFY, 0},
        {"{\"architectures\": [\"NovelForConditionalGeneration\"], \"vision_config\": {}, "
         "\"audio_config\": {}}",
         MODEL_GENERATE, MODEL_IMAGE | MODEL_AUDIO},
        {"{\"architectures\": [\"Novel\"]}", MODEL_KIND_UNKNOWN, 0},
        {"{\"architectures\": []}", MODEL_KIND_UNKNOWN, 0},
        {"{\"architectures\": [\"Novel\", \"LlamaForCausalLM\"]}", MODEL_GENERATE, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        tap_note("%s", rows[i].config);
        arena_init(&arena, ARENA_MAX);
        struct model m = test_read_config(&arena, rows[i].config);
        CHECK_EQ(m.kind, rows[i].kind);
        CHECK_EQ(m.inputs, rows[i].inputs);
    }
}

TEST(quantisation_is_told)
{
    static const struct {
        const char *config, *text;
        unsigned bits, group;
    } rows[] = {
        {"null", "none", 0, 0},
        {"\"awq\"", "none", 0, 0},
        {"{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 128}", "awq int4 group 128", 4,
         128},
        {"{\"quant_method\": \"gptq\", \"bits\": 8, \"group_size\": -1}", "gptq int8", 8, 0},
        {"{\"quant_method\": \"fp8\", \"fmt\": \"e4m3\", \"weight_block_size\": [128, 128], "
         "\"activation_scheme\": \"dynamic\"}",
         "fp8 e4m3 block 128x128 dynamic", 8, 0},
        {"{\"quant_method\": \"fp8\"}", "fp8", 8, 0},
        {"{\"quant_method\": \"mxfp4\"}", "mxfp4", 4, 32},
        {"{\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true, \"bnb_4bit_quant_type\": "
         "\"nf4\"}",
         "bitsandbytes nf4", 4, 0},
        {"{\"quant_method\": \"bitsandbytes\", \"load_in_8bit\": true}", "bitsandbytes int8", 8, 0},
        {"{\"quant_method\": \"modelopt\", \"quant_algo\": \"NVFP4\", \"group_size\": 16}",
         "modelopt nvfp4 group 16", 4, 16},
        {"{\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\", "
         "\"config_groups\": {\"group_0\": {\"weights\": {\"num_bits\": 4, \"type\": \"int\", "
         "\"group_size\": 128}}}}",
         "compressed-tensors int4 group 128", 4, 128},
        {"{\"quant_method\": \"compressed-tensors\", \"format\": \"float-quantized\", "
         "\"config_groups\": {\"group_0\": {\"weights\": {\"num_bits\": 8, \"type\": \"float\", "
         "\"group_size\": null}}}}",
         "compressed-tensors fp8", 8, 0},
        {"{\"quant_method\": \"compressed-tensors\", \"format\": \"nvfp4-pack-quantized\", "
         "\"config_groups\": {\"group_0\": {\"weights\": {\"num_bits\": 4, \"type\": \"float\", "
         "\"group_size\": 16}}}}",
         "compressed-tensors nvfp4 group 16", 4, 16},
        {"{\"quant_method\": \"novel\", \"bits\": 3}", "novel int3", 3, 0},
        {"{\"bits\": 3}", "unnamed int3", 3, 0},
        {"{\"quant_method\": \"awq\", \"bits\": 1e300, \"group_size\": []}", "awq", 0, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        char config[2048];
        (void)snprintf(config, sizeof(config), "{" LLAMA ", \"quantization_config\": %s}",
                       rows[i].config);
        tap_note("%s", rows[i].config);
        arena_init(&arena, ARENA_MAX);
        struct model m = test_read_config(&arena, config);
        CHECK_STR(m.quant.text, rows[i].text);
        CHECK_EQ(m.quant.bits, rows[i].bits);
        CHECK_EQ(m.quant.group_size, rows[i].group);
        CHECK_EQ(m.quant.method == MODEL_NOT_QUANTISED, text_eq(rows[i].text, "none"));
    }
}

TEST(nested_configurations_are_searched_inside_first)
{
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, ARENA_MAX);
    struct model m = test_read_config(
        &arena,
        "{\"architectures\": [\"LlavaForConditionalGeneration\"], \"model_type\": \"llava\","
        "\"hidden_size\": 1, \"torch_dtype\": \"float16\","
        "\"text_config\": {\"model_type\": \"llama\", \"max_position_embeddings\": 4096}}");
    CHECK_EQ(m.layers, 32); /* what the text configuration leaves out is Llama's */
    CHECK_EQ(m.heads, 32);
    CHECK_EQ(m.hidden_size, 1);
    CHECK_EQ(m.context, 4096);
    CHECK_STR(m.dtype, "float16");
    CHECK_EQ(m.inputs, MODEL_IMAGE);
    m = test_read_config(&arena,
                         "{\"architectures\": [\"Qwen2_5OmniModel\"], \"thinker_config\": "
                         "{\"text_config\": {\"num_hidden_layers\": 28, \"hidden_size\": 3584, "
                         "\"num_attention_heads\": 28, \"num_key_value_heads\": 4}}}");
    CHECK_EQ(model_kv_bytes_per_token(&m, 1, KV_AUTO), 57344);
}

TEST(multi_query_attention_has_one_head)
{
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, ARENA_MAX);
    struct model m = test_read_config(
        &arena, "{\"architectures\": [\"FalconForCausalLM\"], \"hidden_size\": 4544, "
                "\"num_hidden_layers\": 32, \"num_attention_heads\": 71, \"num_kv_heads\": 71, "
                "\"multi_query\": true, \"new_decoder_architecture\": false}");
    CHECK_EQ(m.cache.full.kv_heads, 1);
    m = test_read_config(&arena,
                         "{\"architectures\": [\"FalconForCausalLM\"], \"hidden_size\": 8192, "
                         "\"num_hidden_layers\": 60, \"num_attention_heads\": 128, "
                         "\"num_kv_heads\": 8, \"multi_query\": true, "
                         "\"new_decoder_architecture\": true}");
    CHECK_EQ(m.cache.full.kv_heads, 8);
}

TEST(own_code_is_needed_only_by_unknown_architectures)
{
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, ARENA_MAX);
    struct model m = read_fixture(&arena, "Phi-3-mini-128k-instruct");
    CHECK(m.has_own_code && !m.needs_remote_code);
    m = test_read_config(&arena, "{\"architectures\": [\"NovelForCausalLM\"], \"auto_map\": {}}");
    CHECK(m.has_own_code && m.needs_remote_code);
    m = test_read_config(&arena, "{\"architectures\": [\"NovelForCausalLM\"]}");
    CHECK(!m.has_own_code && !m.needs_remote_code);
}
