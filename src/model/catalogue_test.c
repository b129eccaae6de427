#include "model/test_int.h"

#include <errno.h>

#define CONFIG "{\"architectures\": [\"LlamaForCausalLM\"], \"num_hidden_layers\": 2}"

static void
make_model(const char *name)
{
    char dir[TEST_PATH];
    test_dir(dir, name);
    test_write_str(dir, "config.json", CONFIG);
}

static void
make_link(const char *target, const char *name)
{
    char path[2 * TEST_PATH];
    (void)snprintf(path, sizeof(path), "%s/%s", tap_dir(), name);
    CHECK(symlink(target, path) == 0);
}

/* Names, and what else there is to tell: "a, b = a, c: directory-empty". */
static void
check(const char *dir, const char *want)
{
    _cleanup_model_catalogue_ struct model_catalogue catalogue = {0};
    _cleanup_buf_ struct buf got = BUF_INIT(MIB);
    struct err err = {0};
    char path[2 * TEST_PATH];
    (void)snprintf(path, sizeof(path), "%s/%s", tap_dir(), dir);
    CHECK_EQ(model_catalogue_read(path, &catalogue, &err), 0);
    CHECK_STR(err.what, "");
    vec_foreach (&catalogue.models, m) {
        enum model_problem_id first = m->problems_count ? m->problems[0].id : MODEL_PROBLEMS;
        buf_printf(&got, "%s%s", got.len ? ", " : "", m->name);
        if (m->alias_of)
            buf_printf(&got, " = %s", m->alias_of);
        else if (first < MODEL_PROBLEMS && first != MODEL_PROBLEM_NO_TOKENIZER)
            buf_printf(&got, ": %s", model_problem_rows[first].text);
    }
    CHECK_STR(got.data, want);
    CHECK(!catalogue.more);
}

TEST(models_are_sorted)
{
    char dir[TEST_PATH];
    make_model("models/phi3");
    make_model("models/Mixtral");
    make_model("models/mixtral");
    check("models", "Mixtral, mixtral, phi3");
    test_dir(dir, "models/gone");
    test_dir(dir, "models/.cache");
    test_dir(dir, "models/lost+found");
    test_write_str(tap_dir(), "models/README", "no model");
    test_write_gguf(tap_dir(), "models/qwen-Q4_0.gguf");
    check("models", "Mixtral, gone: directory-empty, mixtral, phi3, qwen-Q4_0.gguf");
}

TEST(an_empty_directory_has_no_models)
{
    char dir[TEST_PATH];
    test_dir(dir, "models");
    check("models", "");
}

TEST(organisations_are_entered)
{
    char dir[TEST_PATH];
    make_model("models/meta-llama/Llama-3.1-8B");
    make_model("models/meta-llama/Llama-3.2-1B");
    test_dir(dir, "models/meta-llama/notes");
    make_model("models/phi3");
    make_model("models/a/b/too-deep");
    check("models", "a: no-config, meta-llama/Llama-3.1-8B, meta-llama/Llama-3.2-1B, phi3");
}

TEST(links_are_followed_once)
{
    char dir[TEST_PATH];
    test_dir(dir, "models");
    make_model("store/phi-3-mini");
    make_model("models/mixtral");
    make_link("../store/phi-3-mini", "models/phi3");
    make_link("../store/phi-3-mini", "models/phi3-again");
    make_link("mixtral", "models/a-link");
    make_link("../store/nothing", "models/dangling");
    make_link("loop", "models/loop");
    make_link(".", "models/self");
    make_link("../models", "models/self-again");
    check("models", "a-link = mixtral, dangling: dangling-link, loop: unreadable, mixtral, "
                    "phi3, phi3-again = phi3");
}

TEST(a_directory_that_is_not_there)
{
    struct model_catalogue catalogue;
    struct err err;
    CHECK_EQ(model_catalogue_read("/nonexistent", &catalogue, &err), -ENOENT);
    CHECK_STR(err.what, "cannot open the models directory /nonexistent: No such file or directory");
    CHECK_EQ(err.id, ERR_NOT_FOUND);
}

TEST(models_that_lie_elsewhere_are_added)
{
    _cleanup_model_catalogue_ struct model_catalogue catalogue = {0};
    char path[2 * TEST_PATH];
    make_model("models/mixtral");
    make_model("store/phi");
    (void)snprintf(path, sizeof(path), "%s/models", tap_dir());
    REQUIRE(model_catalogue_read(path, &catalogue, NULL) == 0);
    (void)snprintf(path, sizeof(path), "%s/store/phi", tap_dir());
    REQUIRE(model_catalogue_add(&catalogue, "phi3", path, NULL) == 0);
    REQUIRE(model_catalogue_add(&catalogue, "yi", "/nonexistent/yi", NULL) == 0);
    CHECK_EQ(catalogue.models.count, 3);
    const struct model *phi = model_catalogue_find(&catalogue, "phi3");
    const struct model *yi = model_catalogue_find(&catalogue, "yi");
    REQUIRE(phi && yi && !model_catalogue_find(&catalogue, "phi"));
    CHECK_EQ(phi->layers, 2);
    REQUIRE(yi->problems_count == 1);
    CHECK_EQ(yi->problems[0].id, MODEL_PROBLEM_MISSING);
    CHECK(!model_is_whole(yi));
}

TEST(a_catalogue_has_a_ceiling)
{
    _cleanup_model_catalogue_ struct model_catalogue catalogue = {0};
    char dir[TEST_PATH], name[64];
    for (int i = 0; i < MODEL_CATALOGUE_MAX + 5; i++) {
        (void)snprintf(name, sizeof(name), "models/m%d", i);
        test_dir(dir, name);
    }
    (void)snprintf(dir, sizeof(dir), "%s/models", tap_dir());
    REQUIRE(model_catalogue_read(dir, &catalogue, NULL) == 0);
    CHECK_EQ(catalogue.models.count, MODEL_CATALOGUE_MAX);
    CHECK(catalogue.more);
    /* One that is asked for by name is found in any case. */
    for (int i = 0; i < MODEL_CATALOGUE_MAX + 5; i++) {
        (void)snprintf(name, sizeof(name), "m%d", i);
        if (!model_catalogue_find(&catalogue, name))
            CHECK_EQ(model_catalogue_add_below(&catalogue, dir, name, NULL), 0);
        CHECK(model_catalogue_find(&catalogue, name));
    }
}

TEST(only_what_could_be_listed_is_found_by_name)
{
    static const struct {
        const char *name;
        int want;
    } rows[] = {
        {"phi3", 0},          {"org/llama", 0},     {"q.gguf", 0},     {"gone", -ENOENT},
        {"README", -ENOENT},  {"", -ENOENT},        {".", -ENOENT},    {"..", -ENOENT},
        {".hidden", -ENOENT}, {"org/..", -ENOENT},  {"org/", -ENOENT}, {"../models/phi3", -ENOENT},
        {"/etc", -ENOENT},    {"org/a/b", -ENOENT},
    };
    char dir[TEST_PATH], name[TEST_PATH];
    make_model("models/phi3");
    make_model("models/org/llama");
    make_model("models/org/a/b");
    test_dir(name, "models/.hidden");
    (void)snprintf(dir, sizeof(dir), "%s/models", tap_dir());
    test_write_str(dir, "README", "no model");
    test_write_gguf(dir, "q.gguf");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_model_catalogue_ struct model_catalogue catalogue;
        tap_note("%s", rows[i].name);
        model_catalogue_init(&catalogue);
        CHECK_EQ(model_catalogue_add_below(&catalogue, dir, rows[i].name, NULL), rows[i].want);
        CHECK_EQ(catalogue.models.count, rows[i].want == 0);
    }
}
