#include "deploy/engine.h"

#include "base/text.h"
#include "fmt/json.h"
#include "sys/files.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

#define PACKAGES "lib/python3.12/site-packages/"

static const char *
at(const char *name)
{
    static char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", tap_dir(), name);
    return path;
}

/* A generation whose models run there; "": none does. Its number. */
static unsigned
add(const char *env, const char *version)
{
    _cleanup_buf_ struct buf text = BUF_INIT(4 * KIB);
    const struct plan plan = {.fingerprint = "0000000000000000000000000000000000000000000000000000"
                                             "000000000000",
                              .no_gpus = "none",
                              .vllm = {env, version, ""}};
    struct json_writer w;
    json_init(&w, &text, true);
    plan_print(&plan, &w);
    const struct generation_file file = {"plan.json", text.data, text.len};
    const struct generation_wish wish = {"anna", "a test", &file, 1};
    struct err err = {0};
    unsigned number = 0;
    if (generation_add(at("etc"), &wish, &number, &err) < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    return number;
}

static void
install(const char *part)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "env/%s", part);
    CHECK(file_make_dirs(at(path), 0755, NULL) == 0);
}

/* What is told of a generation; "": nothing is wrong. */
static const char *
check(unsigned number)
{
    static struct err err;
    err = (struct err){0};
    int r = deploy_engine_check(at("etc"), number, &err);
    CHECK((r < 0) == (err.id != ERR_NONE));
    CHECK(r == 0 || (err.id == ERR_GENERATION_ENGINE && strstr(err.fix, "citadel engines")));
    return err.what;
}

TEST(a_generation_is_worth_nothing_without_the_release_that_it_ran_on)
{
    char env[512];
    (void)snprintf(env, sizeof(env), "%s", at("env"));
    unsigned number = add(env, "0.13.0");
    CHECK(strstr(check(number), "generation 1 runs on vLLM 0.13.0 in "));
    CHECK(strstr(check(number), "there is no Python environment at "));
    install("bin/vllm");
    install(PACKAGES "vllm-0.13.0.dist-info");
    CHECK(strstr(check(number), "is not whole: bin/python3"));
    install("bin/python3");
    CHECK_STR(check(number), "");
    CHECK(file_remove_tree(at("env/" PACKAGES "vllm-0.13.0.dist-info"), NULL) == 0);
    install(PACKAGES "vllm-0.14.1.dist-info");
    CHECK(strstr(check(number), "/env is 0.14.1 now"));
}

TEST(one_without_vllm_needs_none)
{
    CHECK_STR(check(add("", "")), "");
}
