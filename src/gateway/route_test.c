#include "gateway/route.h"

#include "base/buf.h"
#include "sys/files.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>

static int
find(const char *method, const char *path, struct route_found *found, struct err *err)
{
    return route_find(http_method_of(method, strlen(method)), path, strlen(path), found, err);
}

/* What an engine has, and nobody reaches through the gateway. */
static const char *const closed[] = {
    "/openapi.json",
    "/docs",
    "/version",
    "/load",
    "/ping",
    "/invocations",
    "/inference/v1/generate",
    "/server_info",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/collective_rpc",
    "/sleep",
    "/wake_up",
    "/is_sleeping",
    "/sim/fault",
    "/start_profile",
    "/stop_profile",
    "/scale_elastic_ep",
    "/is_scaling_elastic_ep",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/realtime",
    "/v1/responses/{response_id}/input_items",
    "/v1/moderations",
    "/v1/files",
    "/v1/files/{file_id}",
    "/v1/files/{file_id}/content",
    "/v1/batches",
    "/v1/batches/{batch_id}",
    "/v1/batches/{batch_id}/cancel",
    "/v1/fine_tuning/jobs",
};

static bool
is_closed(const char *path)
{
    for (size_t i = 0; i < ARRAY_SIZE(closed); i++)
        if (strcmp(closed[i], path) == 0)
            return true;
    return false;
}

/* {anything} becomes an id. */
static void
fill(const char *path, char *to, size_t size)
{
    const char *brace = strchr(path, '{');
    int before = brace ? (int)(brace - path) : (int)strlen(path);
    (void)snprintf(to, size, "%.*s%s%s", before, path, brace ? "resp_1" : "",
                   brace ? strchr(brace, '}') + 1 : "");
}

static void
check_known(const char *method, const char *path)
{
    char asked[128];
    struct route_found found;
    int want = is_closed(path) ? -ENOENT : 0;
    fill(path, asked, sizeof(asked));
    tap_note("%s %s", method, path);
    CHECK_EQ(find(method, asked, &found, NULL), want);
}

TEST(every_endpoint_of_the_apis_is_there_or_left_out_on_purpose)
{
    _cleanup_buf_ struct buf text = BUF_INIT(1 * MIB);
    unsigned rows = 0;
    REQUIRE(file_read(tap_source("tests/data/openai/endpoints.csv"), &text, NULL) == 0);
    char *rest = text.data;
    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        char *method = strsep(&line, ","), *path = line ? strsep(&line, ",") : NULL;
        if (!path || strcmp(method, "method") == 0)
            continue;
        check_known(method, path);
        rows++;
    }
    CHECK_EQ(rows, 63);
}

TEST(every_endpoint_of_the_simulator_is_there_or_left_out_on_purpose)
{
    _cleanup_buf_ struct buf text = BUF_INIT(1 * MIB);
    unsigned rows = 0;
    REQUIRE(file_read(tap_source("sim/routes.def"), &text, NULL) == 0);
    char *rest = text.data;
    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        static const char row[] = "ROUTE(";
        if (strncmp(line, row, strlen(row)) != 0)
            continue;
        line += strlen(row);
        char *method = strsep(&line, ","), *path = line ? line + strlen(" \"") : NULL;
        REQUIRE(path != NULL);
        check_known(method, strsep(&path, "\""));
        rows++;
    }
    CHECK(rows > 25);
}

TEST(each_row_is_found_by_its_own_path)
{
    for (unsigned id = 0; id < ROUTE_COUNT; id++) {
        const struct route *row = route_row((enum route_id)id);
        struct route_found found;
        char path[128];
        fill(row->path, path, sizeof(path));
        tap_note("%s", row->path);
        REQUIRE(route_find(row->method, path, strlen(path), &found, NULL) == 0);
        CHECK(found.route == row);
        CHECK_EQ(row->id, id);
    }
}

TEST(paths_are_taken_as_they_are_spelt)
{
    static const struct {
        const char *method, *path, *what, *fix;
        int r;
    } rows[] = {
        {"POST", "/v1/chat/completion", "there is no path '/v1/chat/completion' here",
         "did you mean /v1/chat/completions?", -ENOENT},
        {"POST", "/v1/v1/chat/completions", "there is no path '/v1/v1/chat/completions' here",
         "did you mean /v1/chat/completions?", -ENOENT},
        {"POST", "/v1/chat/completions/", "there is no path '/v1/chat/completions/' here",
         "did you mean /v1/chat/completions?", -ENOENT},
        {"POST", "/V1/chat/completions", "there is no path '/V1/chat/completions' here",
         "did you mean /v1/chat/completions?", -ENOENT},
        {"POST", "//v1/messages", "there is no path '//v1/messages' here",
         "did you mean /v1/messages?", -ENOENT},
        {"POST", "/v1/%63ompletions", "there is no path '/v1/%63ompletions' here",
         "did you mean /v1/completions?", -ENOENT},
        {"GET", "/", "there is no path '/' here",
         "an OpenAI client's base URL ends with /v1 and nothing more", -ENOENT},
        {"GET", "", "there is no path '' here",
         "an OpenAI client's base URL ends with /v1 and nothing more", -ENOENT},
        {"GET", "/v1/chat/completions", "/v1/chat/completions is not asked with GET", "use POST",
         -EOPNOTSUPP},
        {"PURGE", "/metrics", "/metrics is not asked with that method", "use GET, HEAD",
         -EOPNOTSUPP},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct route_found found;
        struct err err = {0};
        CHECK_EQ(find(rows[i].method, rows[i].path, &found, &err), rows[i].r);
        CHECK_STR(err.what, rows[i].what);
        CHECK_STR(err.fix, rows[i].fix);
    }
}

/* An id becomes part of a path to an engine: it has no letter that means something there. */
TEST(ids_are_plain)
{
    static const struct {
        const char *path;
        int r;
    } rows[] = {
        {"/v1/responses/resp_1", 0},    {"/v1/responses/a-b.c:9", 0},
        {"/v1/responses/", -ENOENT},    {"/v1/responses/a/b", -ENOENT},
        {"/v1/responses/..", -ENOENT},  {"/v1/responses/.", -ENOENT},
        {"/v1/responses/...", 0},       {"/v1/responses/%2e%2e", -ENOENT},
        {"/v1/responses/a;b", -ENOENT}, {"/v1/responses/a\\b", -ENOENT},
        {"/v1/responses//", -ENOENT},   {"/v1/responses/a?", -ENOENT},
        {"/v1/responses/a b", -ENOENT},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct route_found found;
        tap_note("%s", rows[i].path);
        CHECK_EQ(find("GET", rows[i].path, &found, NULL), rows[i].r);
    }
}

TEST(names_of_models_have_slashes_and_escapes)
{
    static const struct {
        const char *path, *want;
        int r;
    } rows[] = {
        {"/v1/models/phi3", "phi3", 0},
        {"/v1/models/org/model-7b", "org/model-7b", 0},
        {"/v1/models/org%2Fmodel%2d7b", "org/model-7b", 0},
        {"/v1/models/%C3%A9", "\xC3\xA9", 0},
        {"/v1/models/%C3", NULL, -EBADMSG},
        {"/v1/models/%0a", NULL, -EBADMSG},
        {"/v1/models/%00", NULL, -EBADMSG},
        {"/v1/models/a%2", NULL, -EBADMSG},
        {"/v1/models/a%gg", NULL, -EBADMSG},
        {"/v1/models/0123456789abcde", "0123456789abcde", 0},
        {"/v1/models/0123456789abcdef", NULL, -EMSGSIZE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct route_found found;
        char name[16];
        tap_note("%s", rows[i].path);
        REQUIRE(find("GET", rows[i].path, &found, NULL) == 0);
        CHECK_EQ(route_decode(&found, name, sizeof(name)), rows[i].r);
        if (rows[i].r == 0)
            CHECK_STR(name, rows[i].want);
    }
}

TEST(head_is_get)
{
    struct route_found found;
    REQUIRE(find("HEAD", "/v1/models", &found, NULL) == 0);
    CHECK_EQ(found.route->id, ROUTE_MODELS);
    CHECK_EQ(find("HEAD", "/v1/embeddings", &found, NULL), -EOPNOTSUPP);
}

/* However long a path is, its sentence is short, and cut where that can be seen. */
TEST(a_long_path_is_told_in_part)
{
    char path[1000];
    struct route_found found;
    struct err err = {0};
    memset(path, 'a', sizeof(path));
    path[0] = '/';
    CHECK_EQ(route_find(HTTP_GET, path, sizeof(path), &found, &err), -ENOENT);
    CHECK(strlen(err.what) < 200 && strstr(err.what, "aaa...'"));
}

TEST(the_shape_of_an_error_follows_the_path)
{
    static const struct {
        const char *path;
        enum dialect want;
    } rows[] = {
        {"/v1/messages", DIALECT_MESSAGES}, {"/v1/messages/batches", DIALECT_MESSAGES},
        {"/v1/messagesx", DIALECT_OPENAI},  {"/v1/responses/a/b/c", DIALECT_RESPONSES},
        {"/v1/nothing", DIALECT_OPENAI},    {"", DIALECT_OPENAI},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        CHECK_EQ(route_dialect(rows[i].path, strlen(rows[i].path)), rows[i].want);
}
