#include "base/text.h"
#include "model/test_int.h"

#include <errno.h>

#define CONFIG                                                                                   \
    "{\"architectures\": [\"LlamaForCausalLM\"], \"num_hidden_layers\": 2, \"hidden_size\": 8, " \
    "\"num_attention_heads\": 2, \"max_position_embeddings\": 4096}"
#define LFS "version https://git-lfs.github.com/spec/v1\noid sha256:0d1f\nsize 9085657\n"

static void
write_weights(const char *dir)
{
    test_write_safetensors(dir, "model.safetensors",
                           "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, 0);
}

static void
make_link(const char *target, const char *dir, const char *name)
{
    char path[2 * TEST_PATH];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    CHECK(symlink(target, path) == 0);
}

static void
check_problems(const struct model *m, const char *want)
{
    _cleanup_buf_ struct buf got = BUF_INIT(MIB);
    for (size_t i = 0; i < m->problems_count; i++)
        buf_printf(&got, "%s: %s\n", model_problem_rows[m->problems[i].id].text,
                   m->problems[i].what);
    CHECK_STR(got.data, want);
}

/* Files of a directory, up to one without a name, and all that is wrong with it. */
struct file_row {
    const char *name, *content;
};

static const struct {
    struct file_row files[5];
    bool weights;
    const char *problems;
    bool whole;
} directories[] = {
    {{{NULL}}, false, "directory-empty: the directory is empty\n", false},
    {{{".gitattributes", "x"}}, false, "directory-empty: the directory is empty\n", false},
    {{{"config.json", CONFIG}, {"tokenizer.json", "{}"}}, true, "", true},
    {{{"config.json", CONFIG}, {"tokenizer.model", "x"}}, true, "", true},
    {{{"config.json", CONFIG}, {"vocab.json", "{}"}}, true, "", true},
    {{{"config.json", CONFIG}, {"tokenizer.json", "\xff\xfe garbage"}},
     true,
     "bad-json: tokenizer.json:1:1: expected a value, found byte 0xFF\n",
     false},
    {{{"config.json", CONFIG}},
     true,
     "no-tokenizer: neither tokenizer.json nor tokenizer.model is there\n",
     false},
    {{{"tokenizer.json", "{}"}}, true, "no-config: config.json is missing\n", false},
    {{{"README.md", "hello"}},
     false,
     "no-config: config.json is missing\n"
     "no-tokenizer: neither tokenizer.json nor tokenizer.model is there\n"
     "no-weights: no file *.safetensors is there\n",
     false},
    {{{"config.json", ""}, {"tokenizer.json", "{}"}},
     true,
     "empty-file: config.json is empty\n",
     false},
    {{{"config.json", LFS}, {"tokenizer.json", "{}"}},
     true,
     "lfs-pointer: config.json is a git-lfs pointer: its 9085657 bytes were never fetched\n",
     false},
    {{{"config.json", CONFIG}, {"tokenizer.json", LFS}},
     true,
     "lfs-pointer: tokenizer.json is a git-lfs pointer: its 9085657 bytes were never fetched\n",
     false},
    {{{"config.json", CONFIG}, {"tokenizer.json", LFS}, {"tokenizer.model", "x"}},
     true,
     "lfs-pointer: tokenizer.json is a git-lfs pointer: its 9085657 bytes were never fetched\n",
     false},
    {{{"config.json", "{\"a\": 1,\n\"a\": 2}"}, {"tokenizer.json", "{}"}},
     true,
     "bad-json: config.json:2:1: the name 'a' stands twice in a map\n",
     false},
    {{{"config.json", CONFIG}, {"tokenizer.json", "{}"}, {"tokenizer_config.json", "{"}},
     true,
     "bad-json: tokenizer_config.json:1:2: expected a name in quotes, or '}', found the end of the "
     "document\n",
     false},
    /* a download that stopped: what it lacks breaks the model, that it stopped does not */
    {{{"config.json", CONFIG}, {"tokenizer.json", "{}"}, {"model.safetensors.part", "x"}},
     true,
     "partial-download: model.safetensors.part is a download that was begun and not ended\n",
     true},
    {{{"adapter_config.json", "{\"base_model_name_or_path\": \"meta-llama/Llama-3.1-8B\"}"}},
     false,
     "adapter: a LoRA adapter for meta-llama/Llama-3.1-8B, and no model of its own\n",
     false},
    {{{"adapter_config.json", "{}"}, {"adapter_model.safetensors", "x"}},
     false,
     "adapter: a LoRA adapter, and no model of its own\n",
     false},
};

TEST(directories_tell_what_they_lack)
{
    for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
        _cleanup_arena_ struct arena arena;
        char dir[TEST_PATH], name[8];
        (void)snprintf(name, sizeof(name), "m%zu", i);
        tap_note("row %zu", i);
        test_dir(dir, name);
        for (const struct file_row *f = directories[i].files; f->name; f++)
            test_write_str(dir, f->name, f->content);
        if (directories[i].weights)
            write_weights(dir);
        arena_init(&arena, MIB);
        struct model m = test_read(&arena, dir);
        check_problems(&m, directories[i].problems);
        CHECK_EQ(model_is_whole(&m), directories[i].whole);
        CHECK_STR(m.name, name);
        CHECK_STR(m.dir, dir);
    }
}

TEST(pointers_say_how_to_fetch)
{
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH], want[2 * TEST_PATH];
    test_dir(dir, "m");
    test_write_str(dir, "config.json", LFS);
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, dir);
    (void)snprintf(want, sizeof(want), "git -C %s lfs pull", dir);
    REQUIRE(m.problems_count > 0);
    CHECK_STR(m.problems[0].fix, want);
}

TEST(what_comes_with_a_model)
{
    static const struct {
        const char *name, *content;
        bool chat_template, generation_config, own_code;
    } rows[] = {
        {"README.md", "x", false, false, false},
        {"chat_template.jinja", "x", true, false, false},
        {"chat_template.json", "{}", true, false, false},
        {"tokenizer_config.json", "{\"chat_template\": \"x\"}", true, false, false},
        {"tokenizer_config.json", "{\"auto_map\": {}}", false, false, true},
        {"tokenizer_config.json", "{\"model_max_length\": Infinity}", false, false, false},
        {"generation_config.json", "{}", false, true, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        char dir[TEST_PATH], name[8];
        (void)snprintf(name, sizeof(name), "m%zu", i);
        tap_note("%s: %s", rows[i].name, rows[i].content);
        test_dir(dir, name);
        test_write_str(dir, "config.json", CONFIG);
        test_write_str(dir, rows[i].name, rows[i].content);
        arena_init(&arena, MIB);
        struct model m = test_read(&arena, dir);
        CHECK_EQ(m.has_chat_template, rows[i].chat_template);
        CHECK_EQ(m.has_generation_config, rows[i].generation_config);
        CHECK_EQ(m.has_own_code, rows[i].own_code);
    }
}

TEST(sentence_transformers_embed)
{
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH];
    test_dir(dir, "m");
    test_write_str(dir, "config.json", CONFIG);
    test_write_str(dir, "modules.json", "[]");
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, dir);
    CHECK_EQ(m.kind, MODEL_EMBEDDING);
    CHECK_EQ(m.context, 4096);
    test_write_str(dir, "sentence_bert_config.json", "{\"max_seq_length\": 512}");
    CHECK_EQ(test_read(&arena, dir).context, 512);
}

TEST(partial_downloads_are_found_where_tools_leave_them)
{
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH], download[TEST_PATH];
    test_dir(dir, "m");
    test_dir(download, "m/.cache/huggingface/download");
    test_write_str(download, "model.safetensors.0d1f.incomplete", "x");
    test_write_str(download, "model.safetensors.metadata", "x");
    test_write_str(dir, "config.json", CONFIG);
    test_write_str(dir, "tokenizer.json", "{}");
    write_weights(dir);
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, dir);
    check_problems(&m, "partial-download: "
                       ".cache/huggingface/download/model.safetensors.0d1f.incomplete is a "
                       "download that was begun and not ended\n");
}

/* models--org--name/{blobs,refs,snapshots/REVISION}, with links from snapshots into blobs. */
TEST(a_hub_cache_is_read_by_its_snapshot)
{
    _cleanup_arena_ struct arena arena;
    char hub[TEST_PATH], dir[TEST_PATH], other[TEST_PATH], want[2 * TEST_PATH];
    test_dir(hub, "hub");
    test_dir(dir, "hub/snapshots/0d1f");
    test_dir(other, "hub/blobs");
    test_write_str(other, "c0", CONFIG);
    test_write_str(other, "c1.incomplete", "x");
    write_weights(dir);
    make_link("../../blobs/c0", dir, "config.json");
    make_link("../../blobs/c2", dir, "tokenizer.json");
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, hub);
    (void)snprintf(want, sizeof(want), "%s/snapshots/0d1f", hub);
    CHECK_STR(m.dir, want);
    CHECK_STR(m.name, "hub");
    CHECK_EQ(m.layers, 2);
    check_problems(&m, "dangling-link: tokenizer.json is a link to ../../blobs/c2, which is not "
                       "there\n"
                       "partial-download: ../../blobs/c1.incomplete is a download that was begun "
                       "and not ended\n");

    /* Of several snapshots, the one that refs/main names. */
    test_dir(other, "hub/snapshots/1e2f");
    m = test_read(&arena, hub);
    CHECK_STR(m.dir, hub);
    test_dir(other, "hub/refs");
    test_write_str(other, "main", "0d1f\n");
    CHECK_STR(test_read(&arena, hub).dir, want);
    test_write_str(other, "main", "../../../../etc");
    CHECK_STR(test_read(&arena, hub).dir, hub);
}

TEST(a_gguf_file_is_a_model)
{
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH], path[2 * TEST_PATH];
    test_dir(dir, "m");
    test_write_gguf(dir, "llama-Q4_K_M.gguf");
    test_write_gguf(dir, "other-Q8_0.gguf");
    (void)snprintf(path, sizeof(path), "%s/llama-Q4_K_M.gguf", dir);
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, path);
    check_problems(&m, "");
    CHECK_STR(m.name, "llama-Q4_K_M.gguf");
    CHECK_STR(m.quant.text, "gguf q4_k_m");
    CHECK_EQ(m.weights.bytes, TEST_GGUF_BYTES);
}

TEST(what_is_no_directory_is_an_error)
{
    _cleanup_arena_ struct arena arena;
    struct model m;
    struct err err;
    char dir[TEST_PATH], path[2 * TEST_PATH];
    test_dir(dir, "m");
    test_write_str(dir, "file", "x");
    arena_init(&arena, MIB);
    CHECK_EQ(model_read(&arena, "/nonexistent/model", &m, &err), -ENOENT);
    CHECK_STR(err.what,
              "cannot open the model directory /nonexistent/model: No such file or directory");
    (void)snprintf(path, sizeof(path), "%s/file", dir);
    CHECK_EQ(model_read(&arena, path, &m, NULL), -ENOTDIR);
}

TEST(memory_is_bounded)
{
    char dir[TEST_PATH];
    test_dir(dir, "m");
    test_write_str(dir, "config.json", CONFIG);
    for (size_t ceiling = 0; ceiling < 4096; ceiling += 64) {
        _cleanup_arena_ struct arena arena;
        struct model m;
        struct err err = {0};
        arena_init(&arena, ceiling);
        int r = model_read(&arena, dir, &m, &err);
        CHECK(r == 0 || (r == -EFBIG && err.id == ERR_TOO_LARGE));
    }
}

TEST(names_from_outside_are_safe_to_print)
{
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH];
    test_dir(dir, "m");
    test_write_str(dir, "config.json", CONFIG);
    test_write_str(dir, "tokenizer.json", "{}");
    test_write_safetensors(dir, "a\x1b[2Jb.safetensors", "{\"x\xC2\x9By\":7}", 0, 0);
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, dir);
    check_problems(&m, "bad-header: a?[2Jb.safetensors: tensor 'x?y' has no dtype\n");
}

/* Of a long tokenizer the ends are read: one that is cut, or no text, is found. */
TEST(long_tokenizers_begin_and_end_as_json)
{
    static const struct {
        const char *head, *tail;
        bool whole;
    } rows[] = {
        {"{\"a\": \"", "\"}\n", true},
        {" \n{\"a\": \"", "\"} \n ", true},
        {"<html>", "\"}", false},
        {"{\"a\": \"", "", false},
        {"{\"a\": \"\xff\xff", "\"}", false},
        {"{\"a\": \"", "\xff\xff\"}", false},
    };
    _cleanup_buf_ struct buf text = BUF_INIT(MIB);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        char dir[TEST_PATH], name[8];
        (void)snprintf(name, sizeof(name), "m%zu", i);
        tap_note("row %zu", i);
        test_dir(dir, name);
        test_write_str(dir, "config.json", CONFIG);
        write_weights(dir);
        buf_clear(&text);
        buf_add_str(&text, rows[i].head);
        while (text.len < 100000)
            buf_add_str(&text, "\xe2\x82\xac");
        buf_add_str(&text, rows[i].tail);
        test_write(dir, "tokenizer.json", text.data, text.len);
        arena_init(&arena, MIB);
        struct model m = test_read(&arena, dir);
        check_problems(&m, rows[i].whole ? ""
                                         : "bad-json: tokenizer.json does not begin with '{' "
                                           "and end with '}', as JSON\n");
    }
}

TEST(commands_are_quoted_or_not_told)
{
    static const char *const names[] = {"$(touch pwn)", "a;id", "a b", "plain"};
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH], want[2 * TEST_PATH], longest[256];
    arena_init(&arena, MIB);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        tap_note("%s", names[i]);
        test_dir(dir, names[i]);
        test_write_str(dir, "config.json", LFS);
        test_write_str(dir, "tokenizer.json", "{}");
        struct model m = test_read(&arena, dir);
        REQUIRE(m.problems_count > 0);
        const char *quote = text_eq(names[i], "plain") ? "" : "'";
        (void)snprintf(want, sizeof(want), "git -C %s%s%s lfs pull", quote, dir, quote);
        CHECK_STR(m.problems[0].fix, want);
    }
    memset(longest, '\n', sizeof(longest) - 1); /* four letters each as they are quoted */
    longest[sizeof(longest) - 1] = '\0';
    test_dir(dir, longest);
    test_write_str(dir, "config.json", LFS);
    struct model m = test_read(&arena, dir);
    REQUIRE(m.problems_count > 0);
    CHECK_STR(m.problems[0].fix, "");
}

TEST(directories_may_hold_many_files)
{
    _cleanup_arena_ struct arena arena;
    char dir[TEST_PATH], path[2 * TEST_PATH];
    test_dir(dir, "m");
    test_write_str(dir, "config.json", CONFIG);
    for (int i = 0; i < 10100; i++) {
        (void)snprintf(path, sizeof(path), "%s/%d.md", dir, i);
        CHECK(mkfifo(path, 0600) == 0);
    }
    arena_init(&arena, MIB);
    struct model m = test_read(&arena, dir);
    REQUIRE(m.problems_count > 0);
    CHECK_STR(m.problems[0].what, "more than 10000 entries, which is too many to look at");
    CHECK_EQ(m.problems_count, 1); /* nothing is said to be missing that was not looked for */
    CHECK(!model_is_whole(&m));
}
